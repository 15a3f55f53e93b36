/** The bar above the conversation: its title, the model, and the switches. */

import { el, find } from "../dom.js";
import { preferences } from "../store/preferences.js";

export class Header {
  constructor(chat) {
    this.chat = chat;
    this.models = find("model");
    this.tokens = find("tokens-switch");
    this.models.addEventListener("change", () => chat.setModel(this.models.value));
    this.tokens.addEventListener("click", () => {
      preferences.set("tokens", !preferences.get("tokens"));
      this.showSwitch();
      chat.tell("conversation");
    });
    chat.addEventListener("models", () => this.showModels());
    chat.addEventListener("conversation", () => {
      find("title").textContent = chat.current.title;
      document.title = chat.conversations.has(chat.current.id) ? `${chat.current.title} · skywork_rt` : "skywork_rt";
      this.showModels();
    });
    chat.addEventListener("list", () => (find("title").textContent = chat.current.title));
    chat.addEventListener("notice", (event) => {
      find("notice").hidden = !event.detail;
      find("notice-text").textContent = event.detail;
    });
    find("notice-again").addEventListener("click", () => {
      find("notice").hidden = true;
      chat.connect();
    });
    this.showSwitch();
  }

  /** A model that is not open yet says so: its first answer takes as long as opening it. */
  showModels() {
    const { models, model } = this.chat;
    const said = JSON.stringify(models.map((each) => [each.id, each.loaded]));
    if (said !== this.said) {
      this.models.replaceChildren(
        ...models.map((each) => el("option", { value: each.id }, each.loaded ? each.id : `${each.id} (opens when asked)`)),
      );
      this.said = said;
    }
    if (model) this.models.value = model.id;
    this.models.disabled = models.length === 0;
  }

  showSwitch() {
    this.tokens.setAttribute("aria-pressed", String(preferences.get("tokens")));
  }
}
