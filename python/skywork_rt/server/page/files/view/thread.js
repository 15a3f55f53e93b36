/** The column of messages: the branch that is shown, drawn at most once a frame while an answer comes. */

import { el, find, iconButton } from "../dom.js";
import { branch } from "../store/conversation.js";
import { announce } from "./announce.js";
import { MessageView } from "./message.js";

const NEAR = 48; // pixels from the end that count as the end
const SHARE = 4; // drawing may take one part in so many of the time

export class Thread {
  constructor(chat) {
    this.chat = chat;
    this.scroller = find("scroller");
    this.column = find("messages");
    this.views = new Map();
    this.atEnd = true;
    this.latest = iconButton("down", "To the latest", () => this.toEnd(), { id: "latest", hidden: true });
    find("composer").prepend(this.latest);
    this.scroller.addEventListener("scroll", () => this.noteScroll(), { passive: true });
    chat.addEventListener("conversation", () => this.show());
    chat.addEventListener("models", () => this.show());
    chat.addEventListener("answer", (event) => this.drawSoon(event.detail));
    chat.addEventListener("state", (event) => this.noteState(event.detail));
    chat.addEventListener("focus", (event) => this.focus(event.detail));
    new ResizeObserver(() => this.atEnd && this.toEnd()).observe(this.scroller);
  }

  show() {
    const { current } = this.chat;
    const other = this.shown !== current.id;
    if (other) this.views.clear();
    this.shown = current.id;
    const path = branch(current);
    const kept = new Map();
    for (const message of path) {
      const view = this.views.get(message.id);
      kept.set(message.id, view?.message === message ? view : new MessageView(message, this.chat));
    }
    this.views = kept;
    const nodes = path.length ? [...kept.values()].map((view) => view.node) : [this.welcome()];
    if (nodes.length !== this.column.children.length || nodes.some((node, index) => node !== this.column.children[index])) {
      this.column.replaceChildren(...nodes);
    }
    for (const view of kept.values()) if (!view.editing) view.refresh();
    const last = path.at(-1);
    if (other || (last?.status === "running" && last.id !== this.last)) this.toEnd();
    this.last = last?.id;
  }

  welcome() {
    const { model } = this.chat;
    const about = model && `${model.max_model_len.toLocaleString("en")} tokens of prompt and answer. Conversations stay in this browser.`;
    return el("div", { class: "welcome" }, el("h2", {}, model ? `Talk to ${model.id}` : "Looking for the server…"), el("p", {}, about ?? ""));
  }

  /** Draws in the next frame. Where drawing takes long (a block of very many characters), it rests in proportion. */
  drawSoon({ conversation, message }) {
    if (conversation.id !== this.shown || this.frame) return;
    const wait = Math.max(0, (this.rest ?? 0) - performance.now());
    const draw = () => {
      this.frame = null;
      const begun = performance.now();
      this.views.get(message.id)?.grow();
      if (this.atEnd) this.toEnd();
      const took = performance.now() - begun;
      this.rest = took > 8 ? performance.now() + took * (SHARE - 1) : 0;
    };
    this.frame = true;
    if (wait > 0) setTimeout(() => requestAnimationFrame(draw), wait);
    else requestAnimationFrame(draw);
  }

  noteState(ended) {
    for (const view of this.views.values()) if (!view.editing) view.refresh();
    if (this.chat.isRunning()) announce("The answer has begun.");
    if (!ended || ended.conversation.id !== this.shown) return;
    const { message } = ended;
    if (this.atEnd) this.toEnd();
    if (!message.error) announce(message.status === "stopped" ? "The answer was stopped." : `The answer is complete: ${message.text.split(/\s+/).length} words.`);
  }

  focus({ id, at }) {
    (this.views.get(id)?.node.querySelector(at) ?? find("input")).focus();
  }

  editLast() {
    const last = [...this.views.values()].findLast((view) => !view.isAnswer);
    if (last && !this.chat.isRunning()) last.edit();
  }

  noteScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    this.latest.hidden = this.atEnd;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.atEnd = true;
    this.latest.hidden = true;
  }
}
