"use strict";
const most = 500; /* of each kind are laid out at once, so that a key is answered without a pause */
const form = document.querySelector("form"), shown = document.getElementById("shown");
const collect = selector => Array.from(document.querySelectorAll(selector), e => ({ e, text: e.textContent.toLowerCase(), kinds: e.dataset.kinds }));
const entries = collect("[data-entry]"), rows = collect("#matrix tbody tr");
let all = false;
function show(list, fits) {
  let n = 0;
  for (const x of list) {
    const hide = !fits(x) || ++n > most && !all;
    if (x.e.hidden !== hide) x.e.hidden = hide;
  }
  return n;
}
function filter() {
  const words = form.q.value.toLowerCase().split(/\s+/).filter(Boolean), kind = form.kind.value;
  const fits = x => words.every(w => x.text.includes(w)) && (!kind || x.kinds.includes(kind));
  const n = show(entries, fits), m = show(rows, fits);
  form.more.hidden = all || n <= most && m <= most;
  shown.textContent = (all ? n : Math.min(n, most)) + " of " + entries.length + " shown";
}
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (target && target.hidden) { target.hidden = false; target.scrollIntoView(); }
}
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", e => e.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
form.more.addEventListener("click", () => { all = true; filter(); });
addEventListener("beforeprint", () => { all = true; filter(); });
addEventListener("hashchange", reveal);
addEventListener("keydown", e => {
  if (e.key === "/" && document.activeElement !== form.q) { e.preventDefault(); form.q.focus(); }
  if (e.key === "Escape") { form.reset(); form.q.blur(); }
});
filter();
reveal();
