/** An answer token by token, tinted by how likely each was; a card tells what else might have stood there. */

import { el, find } from "../dom.js";
import { TokenReader, visible } from "../talk/tokens.js";
import { announce } from "./announce.js";

const LEVELS = [0.9, 0.6, 0.3, 0.1, 0.02]; // at least this likely: level 0 to 4, else 5

const percent = (logprob) => {
  const value = Math.exp(logprob) * 100;
  return value < 0.01 ? "< 0.01 %" : `${value < 10 ? value.toFixed(2) : value.toFixed(1)} %`;
};

export class TokenText {
  constructor() {
    this.node = el("div", {
      class: "tokens",
      tabIndex: 0,
      role: "group",
      "aria-label": "Tokens with their probabilities. The arrow keys go from one to the next.",
      on: {
        pointerover: (event) => this.pick(event.target),
        pointerleave: () => this.pick(null),
        click: (event) => this.pick(event.target),
        keydown: (event) => this.move(event),
        blur: () => this.pick(null),
      },
    });
    this.tokens = [];
    this.reader = new TokenReader();
    this.count = 0;
    this.active = null;
  }

  /** Shows the tokens that have come since the last call. */
  show(tokens) {
    this.tokens = tokens;
    const fresh = document.createDocumentFragment();
    for (; this.count < tokens.length; this.count += 1) {
      const [name, logprob] = tokens[this.count];
      const text = this.reader.read(name);
      const level = LEVELS.findIndex((least) => Math.exp(logprob) >= least);
      const kind = `token level-${level < 0 ? LEVELS.length : level}${text ? "" : " part"}`;
      fresh.append(el("span", { class: kind, data: { index: this.count } }, text));
    }
    this.node.append(fresh);
  }

  pick(target) {
    const span = target?.closest?.(".token") ?? null;
    if (span === this.active) return;
    this.active?.classList.remove("active");
    this.active = span;
    span?.classList.add("active");
    showCard(span, span && this.tokens[Number(span.dataset.index)]);
  }

  move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape" && this.active) {
      event.stopPropagation();
      this.pick(null);
    }
    if (step === undefined || !this.count) return;
    event.preventDefault();
    const at = this.active ? Number(this.active.dataset.index) : step > 0 ? -1 : this.count;
    const next = this.node.children[Math.max(0, Math.min(this.count - 1, at + step))];
    this.pick(next);
    next.scrollIntoView({ block: "nearest" });
    const [text, logprob, others] = this.tokens[Number(next.dataset.index)];
    const rest = others.filter(([other]) => other !== text).map(([other, odds]) => `${visible(other)} ${percent(odds)}`);
    announce(`${visible(text)}, ${percent(logprob)}. ${rest.length ? `Else: ${rest.join(", ")}` : ""}`);
  }
}

const card = el("div", { class: "card", id: "token-card", hidden: true });
let shown = null; // the token that it is about

function showCard(span, token) {
  if (!card.isConnected) document.body.append(card);
  card.hidden = !span;
  shown = span;
  if (!span) return;
  const [text, logprob, others] = token;
  const rows = others.some(([other]) => other === text) ? others : [...others, [text, logprob]];
  card.replaceChildren(
    el(
      "table",
      {},
      el("caption", {}, `${visible(text)} · ${percent(logprob)}`),
      rows.map(([other, odds]) =>
        el("tr", { class: other === text ? "chosen" : "" }, el("td", {}, visible(other)), el("td", { class: "right" }, percent(odds)), el("td", {}, bar(odds))),
      ),
    ),
  );
  place();
}

/** Beside the token, wherever it is seen by now; not at all while it is out of sight. */
function place() {
  const box = shown.getClientRects()[0] ?? shown.getBoundingClientRect();
  const sight = find("scroller").getBoundingClientRect();
  card.hidden = !shown.isConnected || box.bottom < sight.top || box.top > sight.bottom;
  const left = Math.max(8, Math.min(box.left, innerWidth - card.offsetWidth - 8));
  const below = box.bottom + 6 + card.offsetHeight < innerHeight;
  card.style.left = `${left}px`;
  card.style.top = `${below ? box.bottom + 6 : box.top - card.offsetHeight - 6}px`;
}

function bar(logprob) {
  const node = el("span", { class: "odds" });
  node.style.inlineSize = `${Math.max(1, Math.exp(logprob) * 64)}px`;
  return node;
}

addEventListener("scroll", () => shown && place(), { capture: true, passive: true });
