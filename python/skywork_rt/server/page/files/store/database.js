/**
 * Conversations in the browser's IndexedDB. Where that is missing or refused (some private windows), they last as long as
 * the page, and `lasting` is false.
 */

import { adopt } from "./conversation.js";

const NAME = "skywork-rt";
const STORE = "conversations";

let database = null;
const memory = new Map();
const channel = "BroadcastChannel" in window ? new BroadcastChannel(NAME) : null;

export const lasting = () => database !== null;

export async function open() {
  try {
    database = await promised(
      Object.assign(indexedDB.open(NAME, 1), {
        onupgradeneeded: (event) => event.target.result.createObjectStore(STORE, { keyPath: "id" }),
      }),
    );
    database.onversionchange = () => database.close();
  } catch {
    database = null;
  }
}

/** Other tabs of this page: `told` hears that something has changed there. Tabs that keep nothing share nothing. */
export function onChangeElsewhere(told) {
  channel?.addEventListener("message", (event) => database && told(event.data));
}

export const all = () => (database ? run("readonly", (store) => store.getAll()) : Promise.resolve([...memory.values()]));

export const get = (id) => (database ? run("readonly", (store) => store.get(id)) : Promise.resolve(memory.get(id)));

/**
 * Keeps a conversation together with the messages that other tabs have kept of it. `own`: ids of messages of which this tab
 * knows more than what is kept.
 */
export async function save(conversation, own = []) {
  if (database) await run("readwrite", (store) => uniting(store, conversation, own));
  else memory.set(conversation.id, structuredClone(conversation));
  channel?.postMessage(conversation.id);
}

/** Keeps a conversation as it is here, at once: a page that is being left can wait for nothing. */
export function saveAtOnce(conversation) {
  if (database) run("readwrite", (store) => store.put(conversation)).catch(() => {});
}

function uniting(store, conversation, own) {
  const asking = store.get(conversation.id);
  const { messages, shown, ...here } = conversation;
  asking.onsuccess = () => {
    if (asking.result) adopt(conversation, asking.result, own);
    Object.assign(conversation, here);
    store.put(conversation);
  };
}

export async function remove(id) {
  await (database ? run("readwrite", (store) => store.delete(id)) : memory.delete(id));
  channel?.postMessage(id);
}

export async function removeAll() {
  await (database ? run("readwrite", (store) => store.clear()) : memory.clear());
  channel?.postMessage("");
}

/** Bytes that this origin takes and may take, as the browser estimates; null where it does not tell. */
export async function room() {
  const { usage, quota } = (await navigator.storage?.estimate?.()) ?? {};
  return quota ? { usage, quota } : null;
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

/** Ends when the data is written; a full disk is an error of the transaction. */
function run(mode, work) {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    if (request) transaction.commit?.(); // nothing more comes, and the page may be about to end
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? request?.error);
  });
}
