// Theme: what the reader's system says, until one is chosen; the choice is kept where the browser allows it.
// It is in the head, so that a stored theme is set before anything is drawn.
const KEPT = "aoft_bench-theme";

function kept() {
  try { return localStorage.getItem(KEPT); } catch { return null; } // some browsers forbid storage to local files
}

function showTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try { localStorage.setItem(KEPT, name); } catch { /* shown, not kept */ }
}

showTheme(kept() ?? "auto");
document.documentElement.dataset.script = "runs";

function startTheme() {
  const box = document.querySelector(".theme");
  box.hidden = false;
  const radio = [...box.querySelectorAll("input")].find((input) => input.value === kept());
  if (radio) radio.checked = true;
  box.addEventListener("change", (event) => showTheme(event.target.value));
}
