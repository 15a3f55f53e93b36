/** Which tab makes an answer. A browser's locks end with the tab that holds them, however that ended. */

const NAME = "skywork-rt:answer:";
const locks = navigator.locks; // on https and loopback only

/** Whether this browser can tell at all. */
export const canTell = Boolean(locks);

/** Holds the answer for this tab until the function that this gives is called. */
export function hold(id) {
  let end;
  const ended = new Promise((resolve) => (end = resolve));
  locks?.request(NAME + id, () => ended).catch(() => {});
  return end;
}

/** Ends when no tab makes the answer; at once where the browser cannot tell. */
export async function released(id) {
  await locks?.request(NAME + id, () => {});
}
