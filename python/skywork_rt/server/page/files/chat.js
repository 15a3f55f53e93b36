/**
 * What the page knows and does; the views show it and call it. Events: `list` (the conversations), `conversation` (another
 * one or another branch is shown), `answer` (a message has grown, in `detail`), `state` (an answer began or ended),
 * `models`, `invalid` (a parameter, `detail` {name, problem}), `key` (the server wants one), `notice` (a sentence or "").
 */

import * as database from "./store/database.js";
import { add, asRequest, branch, newConversation, pathTo } from "./store/conversation.js";
import { preferences } from "./store/preferences.js";
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
  running = new Map(); // conversation's id -> AbortController

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  async start() {
    await database.open();
    for (const each of await database.all()) this.conversations.set(each.id, asLeft(each));
    database.onChangeElsewhere((id) => this.readAgain(id));
    this.open(preferences.get("last"));
    if (!database.lasting()) this.tell("notice", "This browser keeps nothing for this page: conversations end with it. Export what you need.");
    await this.connect();
  }

  /** Models and parameters of the server; while it is away it is asked again and again. */
  async connect() {
    clearTimeout(this.retry);
    try {
      const [models, parameters] = await Promise.all([listModels(), this.parameters.length ? this.parameters : listParameters()]);
      Object.assign(this, { models, parameters });
      if (this.isAway) this.tell("notice", "");
      this.isAway = false;
      this.tell("models");
    } catch (error) {
      if (error.kind === "key") {
        this.tell("key", error.message);
        return;
      }
      this.isAway = true;
      this.tell("notice", `${error.message} The page looks for it every ${RETRY_MS / 1000} seconds.`);
      this.retry = setTimeout(() => this.connect(), RETRY_MS);
    }
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

  /** Keeps what has changed. A full disk is told, and what was asked for goes on. */
  async save(conversation) {
    if (!this.conversations.has(conversation.id)) return;
    try {
      await database.save(conversation);
    } catch (error) {
      const full = error?.name === "QuotaExceededError";
      const why = full ? "This browser's room for the page is full" : `The conversation could not be kept (${error?.name})`;
      this.tell("notice", `${why}. Export conversations that you need, and delete some.`);
    }
  }

  /** What came so far, when the page is left. */
  saveRunning() {
    for (const id of this.running.keys()) this.save(this.conversations.get(id));
  }

  async readAgain(id) {
    if (id && this.running.has(id)) return;
    const kept = this.current.id;
    const running = [...this.running.keys()].map((each) => [each, this.conversations.get(each)]);
    this.conversations = new Map([...(await database.all()).map((each) => [each.id, each]), ...running]);
    if (id === kept || !id) this.open(kept);
    else this.tell("list");
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
    this.running.get(id)?.abort();
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
    this.running.set(conversation.id, controller);
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
    this.running.delete(conversation.id);
    conversation.updated = Date.now();
    await this.save(conversation);
    this.tell("state", { conversation, message });
    this.tell("list");
    if (message.error?.kind === "key") this.tell("key", message.error.text);
    else if (message.error?.param) this.tell("invalid", { name: message.error.param, problem: message.error.text });
    this.connect();
  }
}

/** A conversation as it is found: an answer that ran when the page was closed came no further. */
function asLeft(conversation) {
  for (const message of Object.values(conversation.messages)) {
    if (message.status !== "running") continue;
    message.status = "failed";
    const advice = "What came is kept. Go on with it, or regenerate the answer.";
    message.error = { kind: "cut", text: "The page was closed while this answer came.", advice, param: null, wait: 0, at: 0 };
  }
  return conversation;
}
