/** A side of the page that can be shown and hidden. On narrow screens it lies over the conversation, before a veil. */

import { find } from "../dom.js";

const narrow = (width) => matchMedia(`(max-width: ${width}px)`);

export class Drawer {
  /** `wide`: whether it is open at first where there is room; `keep` hears of each change there. */
  constructor({ id, button, width, wide, keep }) {
    this.node = find(id);
    this.button = find(button);
    this.small = narrow(width);
    this.wide = wide;
    this.keep = keep;
    this.button.addEventListener("click", () => this.set(!this.isOpen, true));
    // Before any other listener of Escape: the topmost thing ends.
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.covers || document.querySelector("dialog[open]")) return;
      event.stopImmediatePropagation();
      this.leave();
    });
    find("veil").addEventListener("click", () => this.covers && this.leave());
    this.small.addEventListener("change", () => this.settle());
    this.settle();
  }

  settle() {
    this.set(!this.small.matches && this.wide);
  }

  open() {
    this.set(true);
  }

  /** Only where it covers the conversation. */
  close() {
    if (this.small.matches) this.set(false);
  }

  /** Whether it lies over the conversation. */
  get covers() {
    return this.isOpen && this.small.matches;
  }

  leave() {
    this.close();
    this.button.focus();
  }

  set(open, byHand = false) {
    this.isOpen = open;
    this.node.classList.toggle("closed", !open);
    this.button.setAttribute("aria-expanded", String(open));
    if (byHand && !this.small.matches) {
      this.wide = open;
      this.keep?.(open);
    }
    if (open) this.opened?.();
    this.node.classList.toggle("narrow", this.small.matches);
    holdFocus();
    if (byHand && open) this.node.querySelector("button, input, textarea")?.focus();
  }
}

/** While a drawer covers the conversation, keys and readers of the screen reach nothing behind it. */
function holdFocus() {
  const covering = document.querySelector(".drawer.narrow:not(.closed)");
  find("veil").hidden = !covering;
  for (const part of [document.querySelector("main"), document.querySelector(".skip")]) part.inert = Boolean(covering);
  for (const drawer of document.querySelectorAll(".drawer")) {
    drawer.inert = drawer.classList.contains("closed") || Boolean(covering && drawer !== covering);
  }
}
