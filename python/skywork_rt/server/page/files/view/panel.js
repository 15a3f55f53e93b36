/** The panel of a conversation's system prompt and sampling parameters; its fields are made of the server's own table. */

import { el, find } from "../dom.js";
import { kindOf, read, shown, written } from "../talk/parameters.js";
import { growing } from "./editor.js";

/** What most people change comes first; everything else that the server knows is below. */
const FIRST = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "repetition_penalty", "seed", "stop"];

export class Panel {
  constructor(chat, drawer) {
    Object.assign(this, { chat, drawer });
    this.system = find("system");
    this.fit = growing(this.system);
    drawer.opened = this.fit;
    this.fields = new Map();
    this.system.addEventListener("change", () => chat.setSystem(this.system.value));
    this.system.addEventListener("input", () => chat.setSystem(this.system.value));
    find("reset").addEventListener("click", () => this.reset());
    chat.addEventListener("models", () => this.build());
    chat.addEventListener("conversation", () => this.fill());
    chat.addEventListener("state", () => {
      if (chat.isRunning()) for (const field of this.fields.values()) field.check();
    });
    chat.addEventListener("invalid", (event) => this.complain(event.detail));
  }

  build() {
    if (!this.fields.size) {
      const rows = shown(this.chat.parameters);
      const rank = (row) => (FIRST.includes(row.name) ? FIRST.indexOf(row.name) : FIRST.length);
      for (const row of rows) this.fields.set(row.name, new Field(row, this.chat));
      const first = rows.filter((row) => rank(row) < FIRST.length).sort((one, other) => rank(one) - rank(other));
      find("first-parameters").replaceChildren(...first.map((row) => this.fields.get(row.name).node));
      find("other-parameters").replaceChildren(
        ...rows.filter((row) => rank(row) === FIRST.length).map((row) => this.fields.get(row.name).node),
      );
    }
    this.fill();
  }

  fill() {
    const { current, model } = this.chat;
    if (this.system !== document.activeElement && this.system.value !== current.system) this.system.value = current.system;
    this.fit();
    for (const field of this.fields.values()) field.fill(current.parameters[field.row.name], model?.default_sampling_params ?? {});
  }

  reset() {
    for (const name of this.fields.keys()) this.chat.setParameter(name, undefined);
    this.fill();
  }

  complain({ name, problem }) {
    const field = this.fields.get(name);
    if (!field) return;
    this.drawer.open();
    field.node.closest("details")?.setAttribute("open", "");
    field.complain(problem);
    field.input.focus();
  }
}

class Field {
  constructor(row, chat) {
    Object.assign(this, { row, chat, kind: kindOf(row) });
    const id = `parameter-${row.name}`;
    this.input = control(this.kind, id);
    this.problem = el("p", { class: "problem", id: `${id}-problem`, role: "alert" });
    this.input.addEventListener("input", () => this.take());
    const range = row.range && !row.description.includes(row.range) ? ` Must be ${row.range}.` : "";
    const hint = { texts: " One a line; \\n stands for a line break.", ids: " Such as 2, 13.", json: " As JSON." }[this.kind] ?? "";
    const about = el("p", { class: "about", id: `${id}-about` }, row.description.replace(/ None: .*$/, "") + range + hint);
    this.input.setAttribute("aria-describedby", `${id}-about ${id}-problem`);
    this.node = el("div", { class: `field ${this.kind}` }, el("label", { htmlFor: id }, row.name), this.input, about, this.problem);
  }

  fill(value, defaults) {
    const standard = defaults[this.row.name] ?? (this.row.name === "max_tokens" ? null : this.row.default);
    const said = standard === null || standard === undefined ? "not set" : String(standard);
    if (this.kind === "bool") this.input.options[0].textContent = `default (${standard ? "on" : "off"})`;
    else this.input.placeholder = this.row.name === "max_tokens" && standard === null ? "what the length leaves" : said;
    const text = written(this.row, value);
    if (this.input === document.activeElement || this.input.value === text) return; // what the server said of it stays
    this.input.value = text;
    this.check();
  }

  check() {
    this.complain(read(this.row, this.input.value).problem);
  }

  take() {
    const { value, problem } = read(this.row, this.input.value);
    this.complain(problem);
    this.chat.setParameter(this.row.name, problem ? this.input.value : value);
  }

  complain(problem = "") {
    this.problem.textContent = problem;
    if (problem) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}

function control(kind, id) {
  const off = { autocomplete: "off", spellcheck: false };
  if (kind === "bool") {
    const choices = [["", "default"], ["true", "on"], ["false", "off"]];
    return el("select", { id }, choices.map(([value, text]) => el("option", { value }, text)));
  }
  if (kind === "texts" || kind === "json") return el("textarea", { id, rows: 2, ...off });
  return el("input", { id, type: "text", inputMode: kind === "int" ? "numeric" : kind === "float" ? "decimal" : "text", ...off });
}
