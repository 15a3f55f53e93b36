/**
 * The blocks of a Markdown text, as far as models write them: headings, paragraphs, fenced code, lists, quotes, tables and
 * rules. HTML is text like any other. A block has `type`, its own lines as `source`, and `end`, the offset behind them.
 */

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}>[ \t]?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:( +)(?=\S)|[ \t]*$)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const DEEPEST = 8; // lists in quotes in lists …; below that it is plain text

export function parse(text, depth = 0) {
  const lines = text.split("\n");
  const ends = [];
  let offset = 0;
  for (const line of lines) ends.push((offset += line.length + 1));
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    if (lines[at].trim() === "") {
      at += 1;
      continue;
    }
    const [block, next] = blockAt(lines, at, depth);
    block.source = lines.slice(at, next).join("\n");
    block.end = Math.min(ends[next - 1], text.length);
    blocks.push(block);
    at = next;
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  let match;
  if ((match = FENCE.exec(line))) return code(lines, at, match);
  if ((match = HEADING.exec(line))) return [heading(match), at + 1];
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  if (startsTable(lines, at)) return table(lines, at);
  return paragraph(lines, at);
}

function heading([, marks, text = ""]) {
  return { type: "heading", level: marks.length, text: text.trim().replace(/(^|[ \t])#+$/, "").trim() };
}

function code(lines, at, [, fence, info]) {
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  const text = lines.slice(at + 1, end).join("\n");
  return [{ type: "code", language: info.trim().split(/\s/)[0], text }, Math.min(end + 1, lines.length)];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [{ type: "quote", blocks: parse(inner.join("\n"), depth + 1) }, end];
}

/** Its blocks are looked at when it is drawn only: of a long list that grows, no item but the last one is. */
class Item {
  constructor(source, depth) {
    Object.assign(this, { source, depth });
  }

  get blocks() {
    return (this.parsed ??= parse(this.source, this.depth));
  }
}

/** Items of one kind; an item is its first line, and what is indented behind it. */
function list(lines, at, depth) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const items = [];
  while (at < lines.length) {
    const match = ITEM.exec(lines[at]);
    if (!match || /\d/.test(match[2]) !== ordered || match[1].length > indent.length + 3 || RULE.test(lines[at])) break;
    const end = itemEnd(lines, at, match);
    const width = match[0].length;
    const inner = [lines[at].slice(width), ...lines.slice(at + 1, end).map((line) => outdented(line, width))];
    items.push(new Item(inner.join("\n"), depth + 1));
    at = end;
    const next = firstFilled(lines, at);
    if (next < lines.length && ITEM.test(lines[next])) at = next;
  }
  return [{ type: "list", ordered, start: ordered ? parseInt(mark, 10) : null, items }, at];
}

function itemEnd(lines, at, match) {
  const least = match[1].length + 2;
  let end = at + 1;
  for (let next = end; next < lines.length; next += 1) {
    const line = lines[next];
    if (line.trim() === "") continue;
    const indent = line.length - line.trimStart().length;
    const lazy = next === end && !ITEM.test(line) && !interrupts(lines, next);
    if (indent < least && !lazy) break;
    end = next + 1;
  }
  return end;
}

const outdented = (line, width) => line.slice(Math.min(width, line.length - line.trimStart().length));

function firstFilled(lines, at) {
  while (at < lines.length && lines[at].trim() === "") at += 1;
  return at;
}

/** A row, and below it dashes for as many cells. */
function startsTable(lines, at) {
  const below = lines[at + 1] ?? "";
  return lines[at].includes("|") && below.includes("-") && DELIMITERS.test(below) && cells(lines[at]).length === cells(below).length;
}

function table(lines, at) {
  const head = cells(lines[at]);
  const marks = cells(lines[at + 1]);
  const align = head.map((_, column) => alignment(marks[column] ?? ""));
  const rows = [];
  let end = at + 2;
  for (; end < lines.length && lines[end].trim() !== "" && lines[end].includes("|"); end += 1) {
    const row = cells(lines[end]);
    rows.push({ source: lines[end], cells: head.map((_, column) => row[column] ?? "") });
  }
  return [{ type: "table", head, align, rows }, end];
}

const alignment = (mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "right") : "left");

/** Cells of a row; a bar behind a backslash or in code is none. */
function cells(line) {
  const row = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  const found = row.match(/(?:\\.|`[^`]*`|[^|])+|(?<=\|)(?=\|)|^(?=\|)/g) ?? [];
  return found.map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() !== "" && !interrupts(lines, end)) end += 1;
  return [{ type: "paragraph", text: lines.slice(at, end).join("\n").trim() }, end];
}

/** Whether a line ends the paragraph before it. A number other than 1 begins no list there, so "in\n1984. Then" is none. */
function interrupts(lines, at) {
  const line = lines[at];
  const item = ITEM.exec(line);
  const starts = item && item[3] && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1 || item[1].length > 0);
  return Boolean(starts) || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || startsTable(lines, at);
}
