/** The API key: for this tab only, unless its owner wants it kept in this browser. Never a part of an export. */

const NAME = "skywork-rt:key";
let here = ""; // where the browser keeps nothing for the page

export const key = {
  get value() {
    return stored(() => sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME)) ?? here;
  },
  get kept() {
    return Boolean(stored(() => localStorage.getItem(NAME)));
  },
  set(text, keep) {
    here = text;
    stored(() => {
      sessionStorage.removeItem(NAME);
      localStorage.removeItem(NAME);
      if (text) (keep ? localStorage : sessionStorage).setItem(NAME, text);
    });
  },
};

function stored(work) {
  try {
    return work();
  } catch {
    return null;
  }
}
