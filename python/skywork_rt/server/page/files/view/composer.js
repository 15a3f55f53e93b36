/** The field for a message, its button, and how much of the model's length is used. */

import { el, find, icon } from "../dom.js";
import { branch } from "../store/conversation.js";
import { growing } from "./editor.js";

export class Composer {
  constructor(chat, thread) {
    Object.assign(this, { chat, thread });
    this.input = find("input");
    this.fit = growing(this.input);
    this.button = find("send");
    this.usage = find("usage");
    this.drafts = new Map();
    this.byTouch = matchMedia("(pointer: coarse)"); // keyboards of phones have no Shift+Enter: the button sends
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("input", () => this.refresh());
    this.button.addEventListener("click", () => (chat.isRunning() ? chat.stop() : this.send()));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && chat.isRunning() && !document.querySelector("dialog[open]")) chat.stop();
    });
    for (const name of ["state", "models"]) chat.addEventListener(name, () => this.refresh());
    chat.addEventListener("conversation", () => this.change());
    chat.addEventListener("answer", () => {
      this.soon ??= requestAnimationFrame(() => {
        this.soon = null;
        this.showUsage();
      });
    });
    this.change();
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !this.byTouch.matches) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && this.input.value === "") {
      event.preventDefault();
      this.thread.editLast();
    }
  }

  send() {
    if (!this.chat.send(this.input.value)) return;
    this.input.value = "";
    this.drafts.delete(this.chat.current.id);
    this.fit();
    this.refresh();
  }

  /** Another conversation has a draft of its own. */
  change() {
    const { id } = this.chat.current ?? {};
    if (id !== this.shown) {
      if (this.shown) this.drafts.set(this.shown, this.input.value);
      this.input.value = this.drafts.get(id) ?? "";
      this.shown = id;
      this.fit();
    }
    this.refresh();
  }

  refresh() {
    if (!this.chat.current) return;
    const running = this.chat.isRunning();
    if (this.state !== running) {
      this.state = running;
      const label = running ? "Stop (Escape)" : "Send (Enter)";
      this.button.replaceChildren(icon(running ? "stop" : "send"));
      this.button.title = label;
      this.button.setAttribute("aria-label", label);
    }
    this.button.disabled = !running && (!this.input.value.trim() || !this.chat.model);
    this.showUsage();
  }

  /** Of the last answer whose tokens the server has counted: what the next prompt begins with. */
  showUsage() {
    const counted = branch(this.chat.current).findLast((message) => message.usage?.prompt);
    const most = this.chat.model?.max_model_len;
    if (!counted || !most) {
      this.usage.replaceChildren();
      return;
    }
    const used = counted.usage.prompt + counted.usage.answer;
    this.meter ??= el("meter", { min: 0, "aria-label": "Part of the model's length that is used" });
    this.said ??= el("span");
    Object.assign(this.meter, { max: most, high: most * 0.9, optimum: 0, value: used });
    this.said.textContent = `${used.toLocaleString("en")} of ${most.toLocaleString("en")} tokens`;
    if (!this.meter.isConnected) this.usage.replaceChildren(this.meter, this.said);
  }
}
