/** A field that grows with its text, and the one that stands in place of a message that is edited. */

import { el } from "../dom.js";

/** Makes a textarea as high as its text, which cannot be told while it is hidden; CSS bounds it. */
export function growing(area) {
  const fit = () => {
    area.style.blockSize = "auto";
    if (area.scrollHeight) area.style.blockSize = `${area.scrollHeight + 2}px`;
  };
  area.addEventListener("input", fit);
  return fit;
}

/**
 * Takes the place of what `parent` has. Enter saves, Shift+Enter breaks the line, Escape leaves. `save` gives
 * what keeps it from taking the text, "" if it has. */
export function openEditor(parent, { text, label, action, save, leave }) {
  const area = el("textarea", { value: text, "aria-label": label, rows: 1 });
  const fit = growing(area);
  const problem = el("p", { class: "problem", role: "alert" });
  const done = () => {
    problem.textContent = save(area.value);
    if (!problem.textContent) leave();
  };
  area.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      done();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      leave();
    }
  });
  const buttons = el(
    "div",
    { class: "row end" },
    el("button", { type: "button", on: { click: leave } }, "Cancel"),
    el("button", { type: "button", class: "primary", on: { click: done } }, action),
  );
  parent.replaceChildren(el("div", { class: "editor" }, area, problem, buttons));
  fit();
  area.focus();
  area.setSelectionRange(text.length, text.length);
}
