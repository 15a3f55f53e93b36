/** Conversations as files: JSON with everything, which comes back in, and Markdown of the branch that is shown. */

import { branch, newConversation, titleOf } from "./conversation.js";

const FORMAT = "skywork-rt conversations";
const VERSION = 1;
const MOST_BYTES = 64 << 20;
const DEEPEST = 8; // lists and objects within a parameter
const ID = /^[0-9a-f-]{1,64}$/i;

export function toJson(conversations) {
  return JSON.stringify({ format: FORMAT, version: VERSION, exported: new Date().toISOString(), conversations }, null, 1);
}

export function toMarkdown(conversation) {
  const parts = [`# ${conversation.title}`];
  if (conversation.system.trim()) parts.push(`**System**\n\n${conversation.system}`);
  for (const message of branch(conversation)) {
    const who = message.role === "user" ? "You" : message.model || "Assistant";
    parts.push(`**${who}**\n\n${message.text}`);
  }
  return `${parts.join("\n\n")}\n`;
}

export function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function fileName(conversation, ending) {
  const plain = conversation.title.normalize("NFKD").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return `${plain.slice(0, 60) || "conversation"}.${ending}`;
}

/** The conversations of a file, checked field by field: it may hold anything. Raises Error that says what is wrong. */
export async function fromFile(file) {
  if (file.size > MOST_BYTES) throw new Error(`${file.name} has ${file.size} bytes; at most ${MOST_BYTES} are read.`);
  let found;
  try {
    found = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is not JSON. Choose a file that this page has exported as JSON.`);
  }
  if (found?.format !== FORMAT || !Array.isArray(found.conversations)) {
    throw new Error(`${file.name} holds no conversations of this page.`);
  }
  if (found.version !== VERSION) throw new Error(`${file.name} has version ${found.version}; this page reads ${VERSION}.`);
  if (!found.conversations.length) throw new Error(`${file.name} holds no conversations.`);
  return found.conversations.map((each, index) => checked(each, `${file.name}, conversation ${index + 1}`));
}

function checked(given, where) {
  if (!isObject(given) || !isObject(given.messages)) throw new Error(`${where}: there are no messages.`);
  const fresh = newConversation();
  const messages = {};
  for (const [id, message] of Object.entries(given.messages)) messages[id] = checkedMessage(id, message, given.messages, where);
  refuseCircles(messages, where);
  const shown = Object.entries(isObject(given.shown) ? given.shown : {});
  const first = Object.values(messages).find((message) => message.parent === "");
  return {
    ...fresh,
    title: text(given.title).slice(0, 200) || titleOf(first?.text ?? ""),
    named: given.named === true,
    created: time(given.created) ?? fresh.created,
    updated: time(given.updated) ?? fresh.updated,
    model: text(given.model),
    system: text(given.system),
    parameters: isObject(given.parameters) ? Object.fromEntries(Object.entries(given.parameters).filter(([, value]) => isShallow(value, DEEPEST))) : {},
    messages,
    shown: Object.fromEntries(shown.filter(([parent, id]) => messages[id]?.parent === parent)),
  };
}

function checkedMessage(id, given, all, where) {
  if (!ID.test(id)) throw new Error(`${where}: a message's id is not one.`);
  const role = given?.role;
  if (role !== "user" && role !== "assistant") throw new Error(`${where}: a message has the role ${String(role)}.`);
  if (typeof given.text !== "string") throw new Error(`${where}: a message has no text.`);
  if (typeof given.parent !== "string" || (given.parent !== "" && !Object.hasOwn(all, given.parent))) throw new Error(`${where}: a message's parent is missing.`);
  const message = { id, parent: given.parent, role, text: given.text, created: time(given.created) ?? Date.now() };
  if (role === "user") return message;
  return {
    ...message,
    model: text(given.model),
    status: ["done", "stopped", "failed"].includes(given.status) ? given.status : "stopped",
    finish: text(given.finish) || null,
    error: isObject(given.error) ? checkedError(given.error) : null,
    usage: isObject(given.usage) ? checkedUsage(given.usage) : null,
    ttft: number(given.ttft),
    seconds: number(given.seconds),
    ...(Array.isArray(given.tokens) ? { tokens: given.tokens.filter(isToken) } : {}),
  };
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const text = (value) => (typeof value === "string" ? value : "");
const number = (value) => (Number.isFinite(value) ? value : null);
/** Milliseconds that are a date. */
const time = (value) => (Number.isFinite(value) && Math.abs(value) <= 8.64e15 ? value : null);
/** JSON may be nested deeper than a browser can keep it. */
const isShallow = (value, left) => typeof value !== "object" || value === null || (left > 0 && Object.values(value).every((each) => isShallow(each, left - 1)));
const isPair = (value) => Array.isArray(value) && typeof value[0] === "string" && Number.isFinite(value[1]);
const isToken = (value) => isPair(value) && Array.isArray(value[2]) && value[2].every(isPair);
const checkedUsage = (given) => ({
  prompt: number(given.prompt) ?? 0,
  answer: number(given.answer) ?? 0,
  earlier: number(given.earlier) ?? 0,
});
const checkedError = (given) => ({
  kind: text(given.kind),
  text: text(given.text),
  advice: text(given.advice),
  param: text(given.param) || null,
  wait: 0,
  at: 0,
});

function refuseCircles(messages, where) {
  const good = new Set([""]);
  for (const start of Object.values(messages)) {
    const walked = new Set();
    let at = start.id;
    while (!good.has(at)) {
      if (walked.has(at)) throw new Error(`${where}: its messages run in a circle.`);
      walked.add(at);
      at = messages[at].parent;
    }
    walked.forEach((id) => good.add(id));
  }
}
