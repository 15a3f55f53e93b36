/**
 * A conversation: a tree of messages, and which branch is shown. An edit or another answer is a sibling, so nothing is
 * ever lost. Plain data, as it is stored and exported.
 *
 * conversation: id, title, named (whether by hand), created, updated (ms), model, system, parameters,
 *   messages (by id), shown (parent's id or "" -> the child that is shown)
 * message: id, parent (id or ""), role (user or assistant), text, created (ms); an answer also has
 *   model, status (running, done, stopped, failed), finish, error {kind, text, advice, param, wait, at},
 *   usage {prompt, answer, earlier}, ttft and seconds, tokens [[name, logprob, [[name, logprob], …]], …] (see talk/tokens.js)
 */

export function newConversation({ model = "", parameters = {}, system = "" } = {}) {
  const now = Date.now();
  return {
    id: crypto.randomUUID?.() ?? fallbackId(),
    title: "New conversation",
    named: false,
    created: now,
    updated: now,
    model,
    system,
    parameters: { ...parameters },
    messages: {},
    shown: {},
  };
}

/** crypto.randomUUID is there on https and loopback only. */
function fallbackId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Adds a message behind `parent` ("" for the first one) and shows it. */
export function add(conversation, parent, role, text, more = {}) {
  const id = crypto.randomUUID?.() ?? fallbackId();
  const message = { id, parent, role, text, created: Date.now(), ...more };
  conversation.messages[id] = message;
  families.delete(conversation);
  conversation.shown[parent] = id;
  conversation.updated = message.created;
  if (role === "user" && !conversation.named && parent === "") conversation.title = titleOf(text);
  return message;
}

/** Conversation -> parent's id -> its children: a conversation of thousands of messages is walked once, not for each. */
const families = new WeakMap();

/** The children of a message, oldest first. */
export function children(conversation, parent) {
  let family = families.get(conversation);
  if (!family) {
    family = new Map();
    for (const message of Object.values(conversation.messages)) {
      if (!family.has(message.parent)) family.set(message.parent, []);
      family.get(message.parent).push(message);
    }
    families.set(conversation, family);
  }
  return family.get(parent) ?? [];
}

/** The messages that are shown, from the first to the last. */
export function branch(conversation) {
  const path = [];
  for (let at = ""; ; ) {
    const next = conversation.messages[conversation.shown[at]] ?? children(conversation, at).at(-1);
    if (!next) return path;
    path.push(next);
    at = next.id;
  }
}

/** The messages from the first to this one. */
export function pathTo(conversation, id) {
  const path = [];
  for (let message = conversation.messages[id]; message; message = conversation.messages[message.parent]) path.unshift(message);
  return path;
}

/**
 * What a model is sent: the system prompt and the messages. Answers that ended without a word are left out, and what was
 * asked before and after them is one message: the templates of many models refuse two of one side in a row.
 */
export function asRequest(conversation, path) {
  const sent = conversation.system.trim() ? [{ role: "system", content: conversation.system }] : [];
  for (const { role, text } of path) {
    if (role === "assistant" && text === "") continue;
    const before = sent.at(-1);
    if (before?.role === role) before.content += `\n\n${text}`;
    else sent.push({ role, content: text });
  }
  return sent;
}

/**
 * Brings what another tab has kept of a conversation into `mine`. Its messages stay the same objects, so that views of
 * them go on. `own`: ids of messages of which this tab knows more; which versions are shown stays as it is here.
 */
export function adopt(mine, kept, own) {
  const messages = mine.messages;
  for (const [id, message] of Object.entries(kept.messages)) {
    if (!messages[id]) {
      messages[id] = message;
      families.delete(mine);
    } else if (!own.includes(id)) Object.assign(messages[id], message);
  }
  Object.assign(mine, kept, { messages, shown: { ...kept.shown, ...mine.shown } });
}

export function titleOf(text) {
  const line = text.trim().split("\n")[0].replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line || "New conversation";
}
