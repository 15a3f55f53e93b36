/** Says a sentence to readers of the screen. An answer is said to have begun and ended, never token by token. */

import { find } from "../dom.js";

export function announce(sentence) {
  const region = find("announcements");
  region.textContent = "";
  setTimeout(() => (region.textContent = sentence), 30);
}
