/** Puts the parts together. */

import { Chat } from "./chat.js";
import { find, icon } from "./dom.js";
import { preferences } from "./store/preferences.js";
import { startAppearance } from "./view/appearance.js";
import { Composer } from "./view/composer.js";
import { askForKey, showFiles } from "./view/dialogs.js";
import { Drawer } from "./view/drawer.js";
import { Header } from "./view/header.js";
import { Panel } from "./view/panel.js";
import { Sidebar } from "./view/sidebar.js";
import { Thread } from "./view/thread.js";

for (const place of document.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));

const chat = new Chat();
chat.current = chat.fresh();
const list = new Drawer({ id: "sidebar", button: "menu", width: 820, wide: true });
const settings = new Drawer({
  id: "panel",
  button: "settings",
  width: 1120,
  wide: preferences.get("panel"),
  keep: (open) => preferences.set("panel", open),
});
const thread = new Thread(chat);
new Composer(chat, thread);
new Sidebar(chat, list);
new Panel(chat, settings);
new Header(chat);
startAppearance();

async function enterKey(why) {
  if (await askForKey(why)) chat.connect();
}
chat.addEventListener("key", (event) => enterKey(event.detail));
find("key-button").addEventListener("click", () => enterKey(""));
find("files").addEventListener("click", () => showFiles(chat));
for (const button of document.querySelectorAll("[data-closes]")) {
  button.addEventListener("click", () => {
    const drawer = button.dataset.closes === "panel" ? settings : list;
    drawer.set(false, true);
    drawer.button.focus();
  });
}
addEventListener("pagehide", () => chat.saveRunning());
addEventListener("focus", () => !chat.isRunning() && chat.connect());

await chat.start();
find("input").focus();
document.documentElement.dataset.ready = "";
