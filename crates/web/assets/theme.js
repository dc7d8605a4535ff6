// Light or dark: what the system says, unless somebody chose here. A classic script, since it has to run before the first paint.
'use strict';

const THEME = 'convoke-theme';

function chosenTheme() {
  // Storage may be shut off; then the system decides.
  try { return localStorage.getItem(THEME); } catch { return null; }
}

function applyTheme(theme) {
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

// From what is seen now to the other one, and back to the system's once they agree again.
function toggleTheme() {
  const system = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  const now = document.documentElement.dataset.theme ?? system;
  const next = now === 'dark' ? 'light' : 'dark';
  applyTheme(next);
  try {
    if (next === system) localStorage.removeItem(THEME);
    else localStorage.setItem(THEME, next);
  } catch { /* It holds for this page then. */ }
  return next;
}

applyTheme(chosenTheme());
