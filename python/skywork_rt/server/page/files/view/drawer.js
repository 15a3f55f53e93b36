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
    this.node.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.small.matches && this.isOpen) {
        event.stopPropagation();
        this.close();
        this.button.focus();
      }
    });
    find("veil").addEventListener("click", () => this.close());
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

  set(open, byHand = false) {
    this.isOpen = open;
    this.node.classList.toggle("closed", !open);
    this.node.inert = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (byHand && !this.small.matches) {
      this.wide = open;
      this.keep?.(open);
    }
    if (open) this.opened?.();
    if (byHand && open) this.node.querySelector("button, input, textarea")?.focus();
    this.node.classList.toggle("narrow", this.small.matches);
    find("veil").hidden = !document.querySelector(".drawer.narrow:not(.closed)");
  }
}
