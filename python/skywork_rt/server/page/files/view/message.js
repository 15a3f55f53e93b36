/** One message: its text, what can be done with it, and for an answer how it was made and what went wrong. */

import { copyText, el, find, iconButton } from "../dom.js";
import { LiveMarkdown } from "../markdown/live.js";
import { children } from "../store/conversation.js";
import { preferences } from "../store/preferences.js";
import { speed } from "../talk/answer.js";
import { openEditor } from "./editor.js";
import { TokenText } from "./probabilities.js";

export class MessageView {
  constructor(message, chat) {
    Object.assign(this, { message, chat });
    this.isAnswer = message.role === "assistant";
    this.body = el("div", { class: this.isAnswer ? "body prose" : "body" });
    this.trouble = el("div", { class: "trouble-place" });
    this.foot = el("footer", {});
    this.node = el(
      "article",
      { class: `message ${message.role}`, "aria-label": this.isAnswer ? `Answer of ${message.model}` : "You", data: { id: message.id } },
      this.body,
      this.trouble,
      this.foot,
    );
    this.refresh();
  }

  /** All of it: the branch, the state or a preference has changed. */
  refresh() {
    this.grow();
    const { status, error, finish, text } = this.message;
    const versions = children(this.chat.current, this.message.parent).length;
    const state = JSON.stringify([status, error, finish, text !== "", versions, this.chat.isRunning(), this.isAnswer && this.factsText()]);
    if (state === this.state) return; // what has the focus keeps it
    this.state = state;
    this.showTrouble();
    this.foot.replaceChildren(...[this.siblings(), this.actions(), this.facts()].filter(Boolean));
    this.node.classList.toggle("running", this.message.status === "running");
    this.node.setAttribute("aria-busy", String(this.message.status === "running"));
  }

  /** What a button does; with the keyboard the focus goes on to the message field, since the button does not last. */
  acting(work) {
    return (event) => {
      work();
      if (event.detail === 0) find("input").focus();
    };
  }

  /** The text alone, which has grown. */
  grow() {
    if (this.editing) return;
    if (!this.isAnswer) {
      if (this.body.textContent !== this.message.text) this.body.textContent = this.message.text;
      return;
    }
    if (preferences.get("tokens") && this.message.tokens) this.showTokens();
    else this.showMarkdown();
    const facts = this.foot.querySelector(".facts");
    if (this.message.status === "running" && facts) facts.textContent = this.factsText();
  }

  showMarkdown() {
    if (!this.markdown) {
      this.tokens = null;
      this.body.replaceChildren();
      this.markdown = new LiveMarkdown(this.body);
    }
    if (this.markdown.text !== this.message.text) this.markdown.show(this.message.text);
  }

  showTokens() {
    if (!this.tokens) {
      this.markdown = null;
      this.tokens = new TokenText();
      this.body.replaceChildren(this.tokens.node);
    }
    this.tokens.show(this.message.tokens);
  }

  siblings() {
    const all = children(this.chat.current, this.message.parent);
    if (all.length < 2) return null;
    const at = all.findIndex((each) => each.id === this.message.id);
    const go = (index) => () => {
      this.chat.show(all[index]);
      this.chat.tell("focus", { id: all[index].id, at: ".siblings button:not(:disabled)" });
    };
    return el(
      "div",
      { class: "siblings", role: "group", "aria-label": "Versions of this message" },
      iconButton("left", "Version before", go(at - 1), { disabled: at === 0 }),
      el("span", {}, `${at + 1}/${all.length}`),
      iconButton("right", "Next version", go(at + 1), { disabled: at === all.length - 1 }),
    );
  }

  facts() {
    return this.isAnswer ? el("span", { class: "facts" }, this.factsText()) : null;
  }

  factsText() {
    const { model, status, usage, finish, ttft, seconds, text } = this.message;
    if (status === "running" && !text && !usage?.answer) {
      const known = this.chat.models.find((each) => each.id === model);
      return known && !known.loaded ? `${model} is being opened…` : `${model} reads…`;
    }
    const made = (usage?.answer ?? 0) + (usage?.earlier ?? 0);
    const rate = seconds > 0 ? speed(this.message) : null;
    const parts = [
      model,
      made > 0 && `${made.toLocaleString("en")} tokens`,
      rate && `${rate < 100 ? rate.toFixed(1) : Math.round(rate)} tokens/s`,
      ttft > 0 && `first after ${ttft < 10 ? ttft.toFixed(2) : Math.round(ttft)} s`,
      status === "stopped" && "stopped",
      finish === "length" && "ended by length",
      finish === "edited" && "edited",
      preferences.get("tokens") && !this.message.tokens && status !== "running" && text && "made without probabilities",
    ];
    return parts.filter(Boolean).join(" · ");
  }

  actions() {
    const { message, chat, isAnswer } = this;
    if (message.status === "running") return null;
    const busy = chat.isRunning();
    const copy = iconButton("copy", "Copy", () => copyText(message.text, copy));
    const unfinished = isAnswer && message.text && (message.finish !== "stop" || message.status === "failed");
    return el(
      "div",
      { class: "actions" },
      copy,
      iconButton("edit", isAnswer ? "Edit the answer" : "Edit, and ask again", () => this.edit(), { disabled: busy }),
      isAnswer && iconButton("again", "Regenerate", this.acting(() => chat.regenerate(message)), { disabled: busy }),
      unfinished && iconButton("more", "Go on with this answer", this.acting(() => chat.goOn(message)), { disabled: busy }),
    );
  }

  showTrouble() {
    const { error, status } = this.message;
    this.trouble.replaceChildren();
    clearInterval(this.countdown);
    if (!error || status === "running") return;
    const again = el("button", { type: "button", on: { click: this.acting(() => this.chat.regenerate(this.message)) } }, "Try again");
    const more = el("button", { type: "button", on: { click: this.acting(() => this.chat.goOn(this.message)) } }, "Go on");
    this.trouble.append(
      el(
        "div",
        { class: "trouble", role: "alert" },
        el("p", {}, el("strong", {}, sentence(error.text)), error.advice ? ` ${error.advice}` : ""),
        this.message.text ? el("p", { class: "note" }, "This answer is not complete.") : null,
        el("div", { class: "row" }, again, this.message.text && error.kind !== "refused" ? more : null),
      ),
    );
    if (error.wait > 0) this.waitBefore(again, error.at + error.wait * 1000);
  }

  /** Counts the seconds down that the server asked for (Retry-After). */
  waitBefore(button, until) {
    const left = () => Math.ceil((until - Date.now()) / 1000);
    const tick = () => {
      button.disabled = left() > 0;
      button.textContent = left() > 0 ? `Try again in ${left()} s` : "Try again";
      if (left() <= 0) clearInterval(this.countdown);
    };
    tick();
    this.countdown = setInterval(tick, 250);
  }

  edit() {
    const { message, chat } = this;
    const leave = () => {
      this.editing = false;
      this.state = null;
      this.node.classList.remove("editing");
      this.markdown = this.tokens = null;
      this.refresh();
      chat.tell("focus", { id: message.id, at: ".actions button:nth-child(2)" });
    };
    this.editing = true;
    this.node.classList.add("editing");
    this.foot.replaceChildren();
    openEditor(this.body, {
      text: message.text,
      label: this.isAnswer ? "The answer's text" : "Your message",
      action: this.isAnswer ? "Save as a new version" : "Ask again",
      save: (text) => {
        if (text === message.text || chat.edit(message, text)) return "";
        if (chat.isRunning()) return "An answer is coming: wait for its end, or stop it.";
        return text.trim() ? "It could not be asked: see the settings and the server." : "A message needs a text.";
      },
      leave,
    });
  }
}

/** Servers end their errors with a full stop or without. */
const sentence = (text) => (/[.!?]$/.test(text.trim()) ? text : `${text}.`);
