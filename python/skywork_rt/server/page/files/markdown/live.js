/**
 * A Markdown text that grows. What stands before the last block of its whole lines is finished: it is never looked at
 * again, so that a new token costs by the length of the last block, not of the answer.
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
    if (blocks.length > 1) this.finish();
  }

  /** Only whole lines tell that a block has ended: a line that has begun with - may become a rule, a list or a table's. */
  finish() {
    const whole = parse(this.text.slice(this.finished, this.text.lastIndexOf("\n") + 1));
    const sure = whole.slice(0, -1);
    if (!sure.length || sure.some((block, index) => block.source !== this.blocks[index]?.source)) return;
    this.tail.before(...[...this.tail.childNodes].slice(0, sure.length));
    this.finished += sure.at(-1).end;
    this.blocks = this.blocks.slice(sure.length);
  }
}
