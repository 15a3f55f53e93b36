/**
 * What the page knows and does; the views show it and call it. Events: `list` (the conversations), `conversation` (another
 * one or another branch is shown), `answer` (a message has grown, in `detail`), `state` (an answer began or ended),
 * `models`, `invalid` (a parameter, `detail` {name, problem}), `key` (the server wants one), `notice` (`detail` {about: server
 * or storage, text}; no text: all is well again).
 */

import * as database from "./store/database.js";
import { add, adopt, asRequest, branch, newConversation, pathTo } from "./store/conversation.js";
import { preferences } from "./store/preferences.js";
import { canTell, hold, released } from "./store/running.js";
import { streamAnswer } from "./talk/answer.js";
import { readAll } from "./talk/parameters.js";
import { listModels, listParameters } from "./talk/server.js";

const RETRY_MS = 3000;
const SAVE_MS = 1000;
const SAVE_TOKENS_MS = 6000;

export class Chat extends EventTarget {
  models = [];
  parameters = [];
  conversations = new Map();
  current = null;
  watched = new Set(); // ids of answers that another tab makes, or made
  running = new Map(); // conversation's id -> {controller, message}

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  async start() {
    await database.open();
    for (const each of await database.all()) {
      this.conversations.set(each.id, each);
      this.watch(each);
    }
    database.onChangeElsewhere((id) => this.readAgain(id));
    this.open(preferences.get("last"));
    if (!database.lasting()) this.notice("storage", "This browser keeps nothing for this page: conversations end with it. Export what you need.");
    await this.connect();
  }

  /** Models and parameters of the server; while it is away it is asked again and again. */
  async connect() {
    clearTimeout(this.retry);
    try {
      const [models, parameters] = await Promise.all([listModels(), this.parameters.length ? this.parameters : listParameters()]);
      Object.assign(this, { models, parameters });
      this.notice("server", "");
      this.tell("models");
    } catch (error) {
      if (error.kind === "key") {
        this.notice("server", `${error.message} ${error.advice}`);
        this.tell("key", error.message);
        return;
      }
      this.notice("server", `${error.message} The page looks for it every ${RETRY_MS / 1000} seconds.`);
      this.retry = setTimeout(() => this.connect(), RETRY_MS);
    }
  }

  notice(about, text) {
    this.tell("notice", { about, text });
  }

  // Conversations.

  get listed() {
    return [...this.conversations.values()].sort((one, other) => other.updated - one.updated);
  }

  open(id) {
    this.current = this.conversations.get(id) ?? this.fresh();
    preferences.set("last", this.conversations.has(id) ? id : "");
    this.tell("conversation");
    this.tell("list");
    this.tell("state");
  }

  create() {
    this.open("");
  }

  fresh() {
    return newConversation({ model: preferences.get("model"), parameters: preferences.get("parameters") });
  }

  rename(id, title) {
    const conversation = this.conversations.get(id);
    if (!conversation || !title.trim()) return;
    Object.assign(conversation, { title: title.trim().slice(0, 200), named: true });
    this.save(conversation);
    this.tell("list");
    if (conversation === this.current) this.tell("conversation");
  }

  async remove(id) {
    this.stop(id);
    this.conversations.delete(id);
    await database.remove(id);
    if (this.current.id === id) this.create();
    this.tell("list");
  }

  async removeAll() {
    for (const id of this.conversations.keys()) this.stop(id);
    this.conversations.clear();
    await database.removeAll();
    this.create();
  }

  async takeIn(conversations) {
    for (const each of conversations) {
      this.conversations.set(each.id, each);
      await this.save(each);
    }
    if (conversations.length) this.open(conversations[0].id);
  }

  /** Keeps what has changed, with the message that was made here. A full disk is told, and what was asked for goes on. */
  async save(conversation, message = this.running.get(conversation.id)?.message) {
    if (!this.conversations.has(conversation.id)) return;
    try {
      await database.save(conversation, message ? [message.id] : []);
      if (database.lasting()) this.notice("storage", "");
    } catch (error) {
      const full = error?.name === "QuotaExceededError";
      const why = full ? "This browser's room for the page is full" : `The conversation could not be kept (${error?.name})`;
      this.notice("storage", `${why}. Export conversations that you need, and delete some.`);
    }
  }

  /** What came so far, when the page is left. */
  saveRunning() {
    for (const id of this.running.keys()) if (this.conversations.has(id)) database.saveAtOnce(this.conversations.get(id));
  }

  /** Another tab has changed a conversation, or with "" deleted all of them. */
  async readAgain(id) {
    const kept = id && (await database.get(id));
    const mine = this.conversations.get(id);
    if (!kept) this.forget(id ? [id] : [...this.conversations.keys()]);
    else if (mine) adopt(mine, kept, this.running.has(id) ? [this.running.get(id).message.id] : []);
    else this.conversations.set(id, kept);
    if (kept && canTell) this.watch(this.conversations.get(id));
    if (kept && id === this.current.id) this.tell("conversation");
    this.tell("list");
  }

  forget(ids) {
    const isShown = ids.includes(this.current.id);
    for (const id of ids) {
      this.stop(id);
      this.conversations.delete(id);
    }
    if (isShown) this.create();
  }

  /** An answer that no tab makes any more came no further: its page was closed. */
  watch(conversation) {
    for (const message of Object.values(conversation.messages)) {
      if (message.status !== "running" || this.watched.has(message.id) || this.running.get(conversation.id)?.message === message) continue;
      this.watched.add(message.id);
      released(message.id).then(async () => {
        this.watched.delete(message.id);
        await this.settle(conversation, message);
      });
    }
  }

  async settle(conversation, message) {
    const kept = (await database.get(conversation.id))?.messages[message.id];
    if (!kept || this.running.get(conversation.id)?.message === message) return;
    Object.assign(message, kept);
    if (message.status === "running") {
      leave(message);
      await this.save(conversation, message);
    }
    if (conversation.id === this.current.id) this.tell("conversation");
  }

  // What is set.

  get model() {
    const wanted = this.models.find((model) => model.id === this.current.model);
    return wanted ?? this.models[0] ?? null;
  }

  setModel(id) {
    this.current.model = id;
    preferences.set("model", id);
    this.save(this.current);
    this.tell("models");
  }

  setSystem(text) {
    this.current.system = text;
    this.save(this.current);
  }

  /** `value` undefined: the model's default. */
  setParameter(name, value) {
    if (value === undefined) delete this.current.parameters[name];
    else this.current.parameters[name] = value;
    preferences.set("parameters", this.current.parameters);
    this.save(this.current);
  }

  // Answers.

  isRunning(id = this.current.id) {
    return this.running.has(id);
  }

  /** Whether an answer may begin: nothing runs here, there is a model, and no parameter is wrong. */
  mayAnswer() {
    if (this.isRunning() || !this.model) return false;
    const { name, problem } = readAll(this.parameters, this.current.parameters);
    if (problem) this.tell("invalid", { name, problem });
    return !problem;
  }

  /** Sends a text behind the branch that is shown; whether it was sent. */
  send(text) {
    if (!text.trim() || !this.mayAnswer()) return false;
    this.ask(branch(this.current).at(-1)?.id ?? "", text);
    return true;
  }

  /** A text in place of another one: of a question another branch, with an answer; of an answer a branch without. */
  edit(message, text) {
    if (message.role === "user") {
      if (!text.trim() || !this.mayAnswer()) return false;
      this.ask(message.parent, text);
      return true;
    }
    if (this.isRunning()) return false;
    const edited = add(this.current, message.parent, "assistant", text, { model: message.model, status: "done", finish: "edited", error: null, usage: null });
    this.show(edited);
    return true;
  }

  ask(parent, text) {
    this.conversations.set(this.current.id, this.current);
    preferences.set("last", this.current.id);
    this.answer(add(this.current, parent, "user", text).id);
  }

  /** Another answer beside this one. */
  regenerate(message) {
    if (this.mayAnswer()) this.answer(message.role === "user" ? message.id : message.parent);
  }

  /** An imported answer may be of a model that this server lacks. */
  goOn(message) {
    if (!this.mayAnswer()) return;
    if (!this.models.some((model) => model.id === message.model)) message.model = this.model.id;
    this.run(message, true);
  }

  show(message) {
    this.current.shown[message.parent] = message.id;
    this.save(this.current);
    this.tell("conversation");
  }

  stop(id = this.current.id) {
    this.running.get(id)?.controller.abort();
  }

  answer(parent) {
    const message = add(this.current, parent, "assistant", "", { model: this.model.id, status: "running", finish: null, error: null, usage: null });
    this.run(message, false);
  }

  async run(message, goOn) {
    const conversation = this.current;
    const { values } = readAll(this.parameters, conversation.parameters);
    const controller = new AbortController();
    const withTokens = preferences.get("tokens") && !(goOn && message.text && !message.tokens);
    if (goOn && !withTokens) delete message.tokens;
    const messages = asRequest(conversation, pathTo(conversation, goOn ? message.id : message.parent));
    this.running.set(conversation.id, { controller, message });
    const release = hold(message.id);
    message.status = "running";
    this.save(conversation);
    this.tell("conversation");
    this.tell("list");
    this.tell("state");
    let kept = performance.now();
    await streamAnswer({
      model: message.model,
      messages,
      parameters: values,
      withTokens,
      goOn,
      message,
      signal: controller.signal,
      changed: () => {
        if (performance.now() - kept > (withTokens ? SAVE_TOKENS_MS : SAVE_MS)) {
          kept = performance.now();
          this.save(conversation);
        }
        this.tell("answer", { conversation, message });
      },
    });
    conversation.updated = Date.now();
    await this.save(conversation, message); // until then this tab's message counts, not the one that is kept
    this.running.delete(conversation.id);
    release();
    this.tell("state", { conversation, message });
    this.tell("list");
    if (message.error?.kind === "key") this.tell("key", message.error.text);
    else if (message.error?.param) this.tell("invalid", { name: message.error.param, problem: message.error.text });
    this.connect();
  }
}

/** Marks an answer whose page was closed while it came. */
function leave(message) {
  message.status = "failed";
  const advice = "What came is kept. Go on with it, or regenerate the answer.";
  message.error = { kind: "cut", text: "The page was closed while this answer came.", advice, param: null, wait: 0, at: 0 };
}
