/** The bar above the conversation: its title, the model, and the switches. */

import { el, find } from "../dom.js";
import { preferences } from "../store/preferences.js";

export class Header {
  constructor(chat) {
    this.chat = chat;
    this.notes = { server: "", storage: "" };
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
    chat.addEventListener("notice", (event) => this.note(event.detail));
    find("notice-again").addEventListener("click", () => chat.connect());
    find("notice-close").addEventListener("click", () => {
      this.note({ about: "storage", text: "" });
      find("input").focus();
    });
    this.showSwitch();
  }

  /** What is wrong with the server comes first; what is wrong with the storage can be put away. */
  note({ about, text }) {
    if (this.notes[about] === text) return;
    this.notes[about] = text;
    const { server, storage } = this.notes;
    find("notice").hidden = !server && !storage;
    find("notice-text").textContent = server || storage;
    find("notice-again").hidden = !server;
    find("notice-close").hidden = Boolean(server);
  }

  /** A model that is not open yet says so: its first answer takes as long as opening it. */
  showModels() {
    const { models, model, current } = this.chat;
    const missing = model && current.model && current.model !== model.id ? current.model : "";
    const said = JSON.stringify([missing, ...models.map((each) => [each.id, each.loaded])]);
    if (said !== this.said) {
      this.models.replaceChildren(
        ...models.map((each) => {
          const note = missing && each === model ? ` (instead of ${missing})` : each.loaded ? "" : " (opens when asked)";
          return el("option", { value: each.id }, each.id + note);
        }),
      );
      this.said = said;
    }
    if (model) this.models.value = model.id;
    this.models.title = missing ? `The server has no ${missing}, which this conversation had: ${model.id} answers` : "";
    this.models.disabled = models.length === 0;
  }

  showSwitch() {
    this.tokens.setAttribute("aria-pressed", String(preferences.get("tokens")));
  }
}
