"use strict";
const form = document.querySelector("form"), shown = document.getElementById("shown");
const entries = Array.from(document.querySelectorAll("[data-entry]"), e => ({ e, text: e.textContent.toLowerCase(), kind: e.dataset.entry }));
const rows = Array.from(document.querySelectorAll("#matrix tbody tr"), e => ({ e, text: e.textContent.toLowerCase(), kinds: e.dataset.kinds }));
function filter() {
  const words = form.q.value.toLowerCase().split(/\s+/).filter(Boolean), kind = form.kind.value;
  const has = t => words.every(w => t.includes(w));
  let n = 0;
  for (const x of entries) {
    const hide = !(has(x.text) && (!kind || x.kind === kind));
    if (x.e.hidden !== hide) x.e.hidden = hide;
    if (!hide) n++;
  }
  for (const x of rows) {
    const hide = !(has(x.text) && (!kind || x.kinds.includes(kind)));
    if (x.e.hidden !== hide) x.e.hidden = hide;
  }
  shown.textContent = n + " of " + entries.length + " shown";
}
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", e => e.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
document.addEventListener("keydown", e => {
  if (e.key === "/" && document.activeElement !== form.q) { e.preventDefault(); form.q.focus(); }
  if (e.key === "Escape") { form.reset(); form.q.blur(); }
});
filter();
