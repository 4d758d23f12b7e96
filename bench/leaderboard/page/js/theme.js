// The switch between light and dark; it follows the system until it is used.

const NEXT = { auto: "light", light: "dark", dark: "auto" };

/** Make a button switch the theme. */
export function themeSwitch(button) {
  let theme = "auto";
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  });
}
