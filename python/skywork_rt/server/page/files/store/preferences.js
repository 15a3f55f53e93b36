/** Small choices that this browser keeps: appearance, open panels, the parameters of the next conversation. */

const NAME = "skywork-rt:preferences";
const DEFAULTS = { theme: "system", panel: false, tokens: false, model: "", parameters: {}, last: "" };

function load() {
  try {
    const found = JSON.parse(localStorage.getItem(NAME) ?? "{}");
    return { ...DEFAULTS, ...(found && typeof found === "object" ? found : {}) };
  } catch {
    return { ...DEFAULTS };
  }
}

const values = load();

export const preferences = {
  get: (name) => values[name],
  set(name, value) {
    values[name] = value;
    try {
      localStorage.setItem(NAME, JSON.stringify(values));
    } catch {
      // Full or forbidden: the choice lasts as long as the page.
    }
  },
};
