/** Blocks as nodes, and a block that has grown made equal to its new form with as little work as possible. */

import { copyText, el } from "../dom.js";
import { inline } from "./inline.js";

/** The node of a block. */
export function render(block) {
  return MAKERS[block.type](block);
}

/** Makes `node`, made of `before`, show `after`; gives the node that does. */
export function update(node, before, after) {
  if (before.source === after.source && before.type === after.type) return node;
  if (before.type === after.type && GROWERS[after.type]?.(node, before, after)) return node;
  const fresh = render(after);
  node.replaceWith(fresh);
  return fresh;
}

/** Makes the children of `parent`, made of the blocks `before`, show `after`. */
export function updateAll(parent, before, after) {
  const nodes = [...parent.childNodes];
  after.forEach((block, index) => {
    if (index < before.length) update(nodes[index], before[index], block);
    else parent.append(render(block));
  });
  nodes.slice(after.length).forEach((node) => node.remove());
}

const MAKERS = {
  paragraph: (block) => el("p", {}, inline(block.text)),
  heading: (block) => el(`h${Math.min(block.level + 2, 6)}`, { class: `h${block.level}` }, inline(block.text)),
  rule: () => el("hr"),
  quote: (block) => el("blockquote", {}, block.blocks.map(render)),
  list: (block) => {
    const items = block.items.map(listItem);
    return block.ordered ? el("ol", { start: block.start }, items) : el("ul", {}, items);
  },
  table: (block) => {
    const head = el("tr", {}, block.head.map((cell, column) => tableCell("th", cell, block.align[column])));
    const body = el("tbody", {}, block.rows.map((row) => tableRow(row, block.align)));
    return el("div", { class: "table", tabIndex: 0, role: "region", "aria-label": "Table" }, el("table", {}, el("thead", {}, head), body));
  },
  code: (block) => {
    const text = el("code", {}, document.createTextNode(block.text));
    const copy = el("button", { type: "button", class: "quiet", on: { click: () => copyText(text.textContent, copy) } }, "Copy");
    const head = el("div", { class: "code-head" }, el("span", {}, block.language || "text"), copy);
    return el("div", { class: "code" }, head, el("pre", { tabIndex: 0, role: "region", "aria-label": "Code" }, text));
  },
};

const listItem = (item) => {
  const [first] = item.blocks;
  const box = first?.type === "paragraph" && /^\[[ xX]\] /.test(first.text);
  if (box) first.text = (first.text[1] === " " ? "☐" : "☑") + first.text.slice(3);
  return el("li", { class: box ? "task" : "" }, item.blocks.map(render));
};

const tableRow = (row, align) => el("tr", {}, row.cells.map((cell, column) => tableCell("td", cell, align[column])));
const tableCell = (name, text, align) => el(name, { class: align }, inline(text));

/** How a block of each type grows at its end; false when it has changed otherwise. */
const GROWERS = {
  code: (node, before, after) => {
    if (before.language !== after.language || !after.text.startsWith(before.text)) return false;
    node.querySelector("code").firstChild.appendData(after.text.slice(before.text.length));
    return true;
  },
  list: (node, before, after) => {
    if (before.ordered !== after.ordered || before.start !== after.start) return false;
    grow(node, before.items, after.items, listItem);
    return true;
  },
  quote: (node, before, after) => {
    updateAll(node, before.blocks, after.blocks);
    return true;
  },
  table: (node, before, after) => {
    if (before.head.join("|") !== after.head.join("|") || before.align.join() !== after.align.join()) return false;
    grow(node.querySelector("tbody"), before.rows, after.rows, (row) => tableRow(row, after.align));
    return true;
  },
};

/** Rows or items: those whose source is another are made anew. */
function grow(parent, before, after, make) {
  const nodes = [...parent.children];
  after.forEach((each, index) => {
    if (index >= before.length) parent.append(make(each));
    else if (each.source !== before[index].source) nodes[index].replaceWith(make(each));
  });
  nodes.slice(after.length).forEach((node) => node.remove());
}
