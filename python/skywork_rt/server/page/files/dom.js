/** Building nodes. Text goes in as text only, so that nothing of a model or a file is ever read as HTML. */

/**
 * An element. `properties`: those of the node, `class`, `data` (an object), `on` (listeners by event) and attributes with
 * a dash or in lower case. `children`: nodes and texts; null and false are left out.
 */
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || (key === "class" && !value)) continue;
    if (key === "class") node.className = value;
    else if (key === "data") Object.assign(node.dataset, value);
    else if (key === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else if (key in node && !key.includes("-") && key !== "list" && key !== "role") node[key] = value;
    else if (value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const find = (id) => document.getElementById(id);

/** Shapes of 16 by 16, drawn with a line. */
const ICONS = {
  menu: "M2 4h12M2 8h12M2 12h12",
  plus: "M8 3v10M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  send: "M8 13V3M3.5 7.5L8 3l4.5 4.5",
  stop: "M4.5 4.5h7v7h-7z",
  copy: "M6 6h7v7H6zM10 3H3v7",
  edit: "M3 13l.7-3L11 2.7l2.3 2.3L6 12.3z",
  again: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3",
  more: "M3 4.5l4 3.5-4 3.5M9 4.5l4 3.5-4 3.5",
  left: "M10 3L5 8l5 5",
  right: "M6 3l5 5-5 5",
  down: "M8 3v10M3.5 8.5L8 13l4.5-4.5",
  tune: "M2 5h6M12 5h2M2 11h2M8 11h6M10 3v4M6 9v4",
  odds: "M3 13V9M8 13V3M13 13V6",
  key: "M6.5 9.5a3 3 0 1 1 0-.01zM8.5 7.5L14 2M11.5 4.5L13 6",
  trash: "M3 4.5h10M6 4.5V3h4v1.5M4.5 4.5l.5 9h6l.5-9",
  theme: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  files: "M8 2v7M5 6.5L8 9.5l3-3M3 11v2.5h10V11",
};

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.dataset.shape = name;
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows a shape only; `label` is its name for readers of the screen and as a hint. */
export function iconButton(shape, label, onClick, more = {}) {
  const { class: extra = "", ...properties } = more;
  return el(
    "button",
    { type: "button", class: `icon-button ${extra}`, title: label, "aria-label": label, on: { click: onClick }, ...properties },
    icon(shape),
  );
}

/** Shows a word in place of a button's content for a moment. */
export function flash(button, word) {
  const before = [...button.childNodes];
  button.replaceChildren(word);
  setTimeout(() => button.replaceChildren(...before), 1200);
}

export async function copyText(text, button) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copySelected(text);
    flash(button, "Copied");
  } catch {
    flash(button, "Not allowed");
  }
}

/** Browsers give pages of other machines a clipboard by https only; by http this older way is left. */
function copySelected(text) {
  const area = el("textarea", { value: text, class: "unseen" });
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  if (!done) throw new Error("not allowed");
}
