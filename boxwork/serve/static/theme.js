// Light, dark, or as the system has it.  Loaded before the first paint, so that no page flashes in the wrong one.
(() => {
  const root = document.documentElement;
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  const stored = () => { try { return localStorage.getItem("boxwork.theme"); } catch { return null; } };
  apply(stored());
  addEventListener("DOMContentLoaded", () => {
    // On a phone the navigation is wider than its place: this page's entry is where one sees it.
    document.querySelector(".bar nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    const button = document.getElementById("theme");
    if (!button) return;
    const say = () => {
      const theme = root.dataset.theme ?? "system";
      button.setAttribute("aria-label", `Colours: ${theme}. Change`);
      button.title = `Colours: ${theme}`;
    };
    say();
    button.addEventListener("click", () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const order = dark ? [undefined, "light", "dark"] : [undefined, "dark", "light"];
      const next = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
      apply(next);
      try { next ? localStorage.setItem("boxwork.theme", next) : localStorage.removeItem("boxwork.theme"); } catch { /* private mode */ }
      say();
    });
  });
})();
