/** Questions in a dialog of the browser's own, which keeps the focus and ends with Escape. */

import { el, find } from "../dom.js";
import { room } from "../store/database.js";
import { download, fileName, fromFile, toJson, toMarkdown } from "../store/files.js";
import { key } from "../store/key.js";

/** Shows a dialog; its buttons have `value`. Gives the value of the one that was used, "" for Escape. */
function shown(title, ...content) {
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, el("form", { method: "dialog" }, el("h2", { id: "dialog-title" }, title), ...content));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

const choices = (...buttons) => el("div", { class: "row end" }, buttons);
const choice = (value, label, kind = "") => el("button", { value, class: kind }, label);
/** No button of the form's own, which Enter would take. */
const cancel = () => el("button", { type: "button", on: { click: (event) => event.target.closest("dialog").close("") } }, "Cancel");

export async function confirmed(title, text, action) {
  return (await shown(title, el("p", {}, text), choices(cancel(), choice("yes", action, "danger")))) === "yes";
}

/** Asks for the API key; whether one was given. */
export async function askForKey(why) {
  if (document.querySelector("dialog[open]")) return false;
  const only = { pattern: "\\s*[!-~]*\\s*", title: "A key has Latin letters, digits and signs only" }; // a header carries no others
  const field = el("input", { type: "password", id: "key", value: key.value, autocomplete: "off", spellcheck: false, ...only });
  const keep = el("input", { type: "checkbox", id: "keep-key", checked: key.kept });
  const used = await shown(
    "API key",
    el("p", {}, why || "A server that was started with keys (--api-key) wants one with every request."),
    el("label", { htmlFor: "key" }, "Key"),
    field,
    el("label", { class: "check" }, keep, "Keep it in this browser. Else it is forgotten with this tab."),
    choices(cancel(), choice("use", "Use this key", "primary")),
  );
  if (used !== "use") return false;
  key.set(field.value.trim(), keep.checked);
  return true;
}

const act = (label, action, more = {}) => el("button", { type: "button", on: { click: action }, ...more }, label);

/** Export, import, room, delete all. */
export async function showFiles(chat) {
  const { current } = chat;
  const kept = chat.conversations.has(current.id);
  const file = el("input", { type: "file", accept: ".json,application/json", id: "import-file", class: "hidden-file", multiple: true });
  const told = el("p", { class: "problem", role: "alert" });
  const space = el("p", { class: "note" }, "Conversations are in this browser only.");
  room().then((found) => {
    if (found) space.textContent = `Conversations are in this browser only. They take ${megabytes(found.usage)} of the ${megabytes(found.quota)} that it allows.`;
  });
  file.addEventListener("change", () => takeIn(chat, file, told));
  await shown(
    "Export and import",
    el("h3", {}, "This conversation"),
    el(
      "div",
      { class: "row" },
      act("JSON", () => download(fileName(current, "json"), "application/json", toJson([current])), { disabled: !kept, id: "export-json" }),
      act("Markdown", () => download(fileName(current, "md"), "text/markdown", toMarkdown(current)), { disabled: !kept, id: "export-markdown" }),
    ),
    el("p", { class: "note" }, "JSON has every version of every message, parameters and probabilities; Markdown has what is shown."),
    el("h3", {}, "All conversations"),
    el(
      "div",
      { class: "row" },
      act("Export as JSON", () => download("conversations.json", "application/json", toJson(chat.listed)), { disabled: !chat.listed.length, id: "export-all" }),
      act("Import JSON…", () => file.click(), { id: "import" }),
      act("Delete all…", () => removeAll(chat), { class: "danger", disabled: !chat.listed.length, id: "delete-all" }),
    ),
    file,
    told,
    space,
    choices(choice("", "Close", "primary")),
  );
}

async function takeIn(chat, field, told) {
  try {
    const found = (await Promise.all([...field.files].map(fromFile))).flat();
    await chat.takeIn(found);
    field.closest("dialog").close();
  } catch (error) {
    told.textContent = error.message;
  }
  field.value = "";
}

async function removeAll(chat) {
  find("import").closest("dialog").close();
  const count = chat.listed.length;
  if (await confirmed("Delete all conversations?", `${count} of them are then gone from this browser.`, "Delete all")) await chat.removeAll();
}

const megabytes = (bytes) => (bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);
