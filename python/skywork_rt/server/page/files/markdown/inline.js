/**
 * Text within a block as nodes: emphasis, code, links, line breaks. Only text nodes and elements of this list are ever
 * made. What finds no end is text; each search that fails is remembered, so that a text costs time by its length alone.
 */

import { el } from "../dom.js";

const SCHEMES = /^(https?:\/\/|mailto:)/i;
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": "\u00a0" };
const SPECIAL = /[\\`*_~[!<&\n]|https?:\/\//g;
const DEEPEST = 6;

export function inline(text, depth = 0) {
  if (depth > DEEPEST) return [text];
  const out = [];
  const missing = new Set();
  let plain = "";
  let at = 0;
  const put = (node) => {
    if (plain) out.push(plain);
    plain = "";
    out.push(node);
  };
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const next = SPECIAL.exec(text);
    if (!next) break;
    plain += text.slice(at, next.index);
    at = next.index;
    const found = special(text, at, depth, missing);
    if (!found) {
      plain += next[0];
      at += next[0].length;
    } else {
      if (typeof found.node === "string") plain += found.node;
      else put(found.node);
      at = found.end;
    }
  }
  plain += text.slice(at);
  if (plain) out.push(plain);
  return out;
}

function special(text, at, depth, missing) {
  switch (text[at]) {
    case "\\":
      return escaped(text, at);
    case "`":
      return codeSpan(text, at, missing);
    case "*":
    case "_":
    case "~":
      return emphasis(text, at, depth, missing);
    case "[":
      return link(text, at, at, depth, missing);
    case "!":
      return text[at + 1] === "[" ? link(text, at, at + 1, depth, missing) : null;
    case "<":
      return within(text, at, /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y, (match) => anchor(match[1], [match[1]]));
    case "&":
      return within(text, at, /&(?:amp|lt|gt|quot|#39|nbsp);/y, (match) => ENTITIES[match[0]]);
    case "\n":
      return { node: el("br"), end: at + 1 };
    default:
      return bareLink(text, at);
  }
}

function within(text, at, pattern, make) {
  pattern.lastIndex = at;
  const match = pattern.exec(text);
  return match && { node: make(match), end: at + match[0].length };
}

function escaped(text, at) {
  const next = text[at + 1];
  if (next === "\n") return { node: el("br"), end: at + 2 };
  return next && /[!-/:-@[-`{-~]/.test(next) ? { node: next, end: at + 2 } : null;
}

function codeSpan(text, at, missing) {
  let length = 1;
  while (text[at + length] === "`") length += 1;
  const mark = "`".repeat(length);
  const whole = { node: mark, end: at + length };
  if (missing.has(mark)) return whole;
  const closing = new RegExp(`(?<!\`)\`{${length}}(?!\`)`, "g");
  closing.lastIndex = at + length;
  const end = closing.exec(text)?.index;
  if (end === undefined) {
    missing.add(mark);
    return whole;
  }
  const inner = text.slice(at + length, end).replace(/\n/g, " ");
  const bare = inner.startsWith(" ") && inner.endsWith(" ") && inner.trim() ? inner.slice(1, -1) : inner;
  return { node: el("code", {}, bare), end: end + length };
}

function emphasis(text, at, depth, missing) {
  const mark = text[at];
  const double = text[at + 1] === mark;
  if (mark === "~" && !double) return null;
  const size = double ? 2 : 1;
  const marks = mark.repeat(size);
  const opens = !/\s/.test(text[at + size] ?? " ") && !(mark === "_" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? ""));
  const end = opens && !missing.has(marks) ? closer(text, at + size, mark, size) : -1;
  if (end < 0) {
    if (opens) missing.add(marks);
    return { node: marks, end: at + size };
  }
  const name = mark === "~" ? "del" : double ? "strong" : "em";
  return { node: el(name, {}, inline(text.slice(at + size, end), depth + 1)), end: end + size };
}

/** Where the marks end that began before `from`; -1 for nowhere. */
function closer(text, from, mark, size) {
  for (let at = text.indexOf(mark, from + 1); at >= 0; ) {
    let run = 1;
    while (text[at + run] === mark) run += 1;
    const fits = size === 2 ? run >= 2 : run % 2 === 1;
    const left = !/[\s\\]/.test(text[at - 1]);
    const right = mark !== "_" || !/[\p{L}\p{N}]/u.test(text[at + run] ?? "");
    if (fits && left && right) return at + run - size;
    at = text.indexOf(mark, at + run);
  }
  return -1;
}

/** [label](address "title"); of an image its label, as a link: the page shows nothing that another host serves. */
function link(text, at, open, depth, missing) {
  if (missing.has("](")) return null;
  const middle = text.indexOf("](", open);
  if (middle < 0) {
    missing.add("](");
    return null;
  }
  const label = text.slice(open + 1, middle);
  if (label.length > 1000 || /(?<!\\)\[/.test(label)) return null;
  return within(text.slice(0, middle + 2300), middle, /\]\(\s*<?([^\s()<>]{0,2000}(?:\([^\s()<>]{0,200}\)[^\s()<>]{0,200})?)>?(?:\s+"[^"]{0,200}")?\s*\)/y, (match) => {
    const shown = open > at && !label ? [match[1]] : inline(label, depth + 1);
    return SCHEMES.test(match[1]) ? anchor(match[1], shown) : el("span", {}, shown, match[1] ? ` (${match[1]})` : "");
  });
}

function bareLink(text, at) {
  return within(text, at, /https?:\/\/[^\s<>"`]{1,2000}/y, () => "") && trimmedLink(text, at);
}

/** A sentence's punctuation behind an address is no part of it, nor is a bracket that was opened before it. */
function trimmedLink(text, at) {
  let address = /^https?:\/\/[^\s<>"`]{1,2000}/.exec(text.slice(at, at + 2010))[0];
  address = address.replace(/[.,;:!?'*_\]]+$/, "");
  if (address.endsWith(")") && !address.includes("(")) address = address.slice(0, -1);
  return { node: anchor(address, [address]), end: at + address.length };
}

function anchor(address, shown) {
  return el("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, shown);
}
