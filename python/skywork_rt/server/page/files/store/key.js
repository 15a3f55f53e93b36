/** The API key: for this tab only, unless its owner wants it kept in this browser. Never a part of an export. */

const NAME = "skywork-rt:key";

export const key = {
  get value() {
    return sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME) ?? "";
  },
  get kept() {
    return localStorage.getItem(NAME) !== null;
  },
  set(text, keep) {
    sessionStorage.removeItem(NAME);
    localStorage.removeItem(NAME);
    if (text) (keep ? localStorage : sessionStorage).setItem(NAME, text);
  },
};
