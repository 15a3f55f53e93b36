/** The list of conversations: open, search, rename, delete. On a phone it is a drawer. */

import { el, find, iconButton } from "../dom.js";
import { confirmed } from "./dialogs.js";

export class Sidebar {
  constructor(chat, drawer) {
    Object.assign(this, { chat, drawer });
    this.list = find("conversations");
    this.search = find("search");
    this.search.addEventListener("input", () => this.show());
    find("new").addEventListener("click", () => {
      chat.create();
      drawer.close();
      find("input").focus();
    });
    chat.addEventListener("list", () => this.show());
  }

  show() {
    const wanted = this.search.value.trim().toLowerCase();
    const listed = this.chat.listed.filter((each) => matches(each, wanted));
    const held = document.activeElement?.closest?.("#conversations li")?.dataset.id;
    this.list.replaceChildren(...listed.map((each) => this.item(each)));
    if (held) this.list.querySelector(`li[data-id="${CSS.escape(held)}"] button`)?.focus();
    find("no-conversations").hidden = listed.length > 0;
    find("no-conversations").textContent = wanted ? "Nothing found." : "No conversations yet.";
  }

  item(conversation) {
    const { chat } = this;
    const open = el(
      "button",
      {
        type: "button",
        class: "open",
        "aria-current": conversation.id === chat.current.id ? "true" : null,
        on: {
          click: () => {
            chat.open(conversation.id);
            this.drawer.close();
          },
        },
      },
      el("span", { class: "title" }, conversation.title),
      el("span", { class: "when" }, chat.isRunning(conversation.id) ? "answering…" : when(conversation.updated)),
    );
    const node = el(
      "li",
      { data: { id: conversation.id } },
      open,
      iconButton("edit", `Rename ${conversation.title}`, () => this.rename(node, conversation)),
      iconButton("trash", `Delete ${conversation.title}`, () => this.remove(conversation)),
    );
    return node;
  }

  rename(node, conversation) {
    const done = (save) => {
      field.onblur = null;
      if (save) this.chat.rename(conversation.id, field.value);
      this.show();
      this.list.querySelector(`li[data-id="${CSS.escape(conversation.id)}"] button`)?.focus();
    };
    const field = el("input", { value: conversation.title, "aria-label": "Title", maxLength: 200, onblur: () => done(true) });
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") done(true);
      else if (event.key === "Escape") done(false);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    node.replaceChildren(field);
    field.select();
  }

  async remove(conversation) {
    const sure = await confirmed("Delete this conversation?", `“${conversation.title}” is then gone from this browser.`, "Delete");
    if (sure) await this.chat.remove(conversation.id);
  }
}

function matches(conversation, wanted) {
  if (!wanted || conversation.title.toLowerCase().includes(wanted)) return true;
  return Object.values(conversation.messages).some((message) => message.text.toLowerCase().includes(wanted));
}

function when(time) {
  const date = new Date(time);
  const today = new Date();
  if (date.toDateString() === today.toDateString()) return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const sameYear = date.getFullYear() === today.getFullYear();
  return date.toLocaleDateString([], { day: "numeric", month: "short", ...(sameYear ? {} : { year: "numeric" }) });
}
