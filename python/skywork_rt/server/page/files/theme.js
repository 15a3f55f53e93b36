/* Light or dark, before anything is drawn: the only script that is no module, so that the page never flashes. */
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let wanted = "system";
  const show = () => {
    const chosen = wanted === "light" || wanted === "dark";
    document.documentElement.dataset.theme = chosen ? wanted : dark.matches ? "dark" : "light";
  };
  try {
    wanted = JSON.parse(localStorage.getItem("skywork-rt:preferences") ?? "{}").theme;
  } catch {
    // The system's own.
  }
  dark.addEventListener("change", show);
  document.addEventListener("appearance", (event) => {
    wanted = event.detail;
    show();
  });
  show();
})();
