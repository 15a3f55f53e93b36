/**
 * A Markdown text that grows. Whatever is not the last block is finished: it is never looked at again, so that a new token
 * costs by the length of the last block, not of the answer.
 */

import { parse } from "./blocks.js";
import { updateAll } from "./render.js";

export class LiveMarkdown {
  constructor(parent) {
    this.parent = parent;
    this.clear();
  }

  clear() {
    this.parent.replaceChildren();
    this.tail = this.parent.appendChild(document.createElement("div"));
    this.tail.className = "tail";
    this.text = "";
    this.finished = 0; // characters
    this.blocks = []; // those of the tail
  }

  /** Shows `text`: what was there, and more. Another text begins anew. */
  show(text) {
    if (!text.startsWith(this.text)) this.clear();
    this.text = text;
    const blocks = parse(text.slice(this.finished));
    updateAll(this.tail, this.blocks, blocks);
    this.blocks = blocks;
    if (blocks.length > 1) this.finish(blocks);
  }

  finish(blocks) {
    const done = [...this.tail.childNodes].slice(0, -1);
    this.tail.before(...done);
    this.finished += blocks.at(-2).end;
    this.blocks = parse(this.text.slice(this.finished));
  }
}
