// Values of the small pictures of the overview, under the pointer and by arrow keys, in the line below each. The page renews itself under
// the reader's hands, so what is read is put into the new part before it takes the place of the old one.

import { minutes } from "./times.js";

const HOUR = 3_600_000;
let reading = null;

const values = (svg) => svg.dataset.values.split(" ");
const first = (svg) => 24 - values(svg).length;
const key = (svg) => svg.closest("[data-key]")?.dataset.key;

function draw(svg, at) {
  const mark = svg.querySelector(".at"), line = svg.parentNode.querySelector("output");
  mark.setAttribute("width", at === null ? 0 : 1);
  mark.setAttribute("x", at === null ? 0 : first(svg) + at);
  if (at === null) { line.textContent = ""; return; }
  const from = Date.parse(svg.dataset.from) + at * HOUR;
  const hour = at === values(svg).length - 1 ? `since ${minutes(from)}` : `${minutes(from)} to ${minutes(from + HOUR)}`;
  line.textContent = `${hour}: at most ${values(svg)[at]}`;
}
function show(svg, at) {
  const last = values(svg).length - 1;
  if (last < 0) return;
  if (reading && reading.svg !== svg) draw(reading.svg, null);
  reading = at === null ? null : { svg, at: Math.min(Math.max(at, 0), last) };
  draw(svg, reading?.at ?? null);
}
function dress(root) {
  for (const svg of root.querySelectorAll(".spark[data-values]")) {
    svg.tabIndex = 0;
    if (reading && key(svg) === key(reading.svg)) draw(svg, Math.min(reading.at, values(svg).length - 1));
  }
}

const spark = (event) => event.target.closest?.(".spark[data-values]");
function point(event) {
  const svg = spark(event);
  if (!svg) return;
  const box = svg.getBoundingClientRect();
  show(svg, Math.floor((event.clientX - box.left) / box.width * 24) - first(svg));
}
for (const name of ["pointermove", "pointerdown"]) document.addEventListener(name, point);
document.addEventListener("pointerout", (event) => {
  const svg = spark(event);
  if (svg && event.pointerType !== "touch" && document.activeElement !== svg && !svg.contains(event.relatedTarget)) show(svg, null);
});
document.addEventListener("focusout", (event) => { if (spark(event)) show(spark(event), null); });
document.addEventListener("keydown", (event) => {
  const svg = spark(event);
  if (!svg || event.altKey || event.ctrlKey || event.metaKey) return;
  const last = values(svg).length - 1, at = reading?.svg === svg ? reading.at : null;
  const next = { ArrowLeft: at === null ? last : at - 1, ArrowRight: at === null ? 0 : at + 1, Home: 0, End: last, Escape: null };
  if (!(event.key in next)) return;
  event.preventDefault();
  show(svg, next[event.key]);
});
document.addEventListener("fresh", (event) => dress(event.detail));
dress(document);
