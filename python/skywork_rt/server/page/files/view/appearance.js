/** The switch between the system's appearance, light and dark. theme.js puts it on. */

import { find } from "../dom.js";
import { preferences } from "../store/preferences.js";

const NEXT = { system: "light", light: "dark", dark: "system" };
const SAID = { system: "as the system", light: "light", dark: "dark" };

export function startAppearance() {
  const button = find("theme");
  const show = () => {
    const theme = preferences.get("theme");
    document.dispatchEvent(new CustomEvent("appearance", { detail: theme }));
    const label = `Appearance: ${SAID[theme] ?? SAID.system}`;
    button.title = label;
    button.setAttribute("aria-label", label);
  };
  button.addEventListener("click", () => {
    preferences.set("theme", NEXT[preferences.get("theme")] ?? "light");
    show();
  });
  show();
}
