/* Light or dark, before anything is drawn: the only script that is no module, so that the page never flashes. */
(() => {
  try {
    const { theme } = JSON.parse(localStorage.getItem("skywork-rt:preferences") ?? "{}");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // The system's own.
  }
})();
