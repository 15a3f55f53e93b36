/**
 * Conversations in the browser's IndexedDB. Where that is missing or refused (some private windows), they last as long as
 * the page, and `lasting` is false.
 */

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

/** Other tabs of this page: `told` hears that something has changed there. */
export function onChangeElsewhere(told) {
  channel?.addEventListener("message", (event) => told(event.data));
}

export const all = () => (database ? run("readonly", (store) => store.getAll()) : Promise.resolve([...memory.values()]));

export async function save(conversation) {
  await (database ? run("readwrite", (store) => store.put(conversation)) : memory.set(conversation.id, structuredClone(conversation)));
  channel?.postMessage(conversation.id);
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
    transaction.commit?.(); // nothing more comes, and the page may be about to end
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? request.error);
  });
}
