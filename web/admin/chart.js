// Values of a picture, under the pointer and by arrow keys, in a line above it. Without this the browser shows the title of the place
// under the pointer; here it is taken off, so that nothing is said twice. A click shows closer what can be shown closer, and so does Enter.

for (const figure of document.querySelectorAll("figure.chart")) {
  const line = document.createElement("output");
  line.className = "reading";
  for (const svg of figure.querySelectorAll(":scope > svg")) {
    const places = [...svg.querySelectorAll(".readings rect")];
    if (places.length === 0) continue;
    const texts = places.map((place) => place.querySelector("title").textContent);
    for (const [at, place] of places.entries()) {
      place.querySelector("title").remove();
      place.closest("a")?.setAttribute("aria-label", texts[at]);
    }
    const closer = svg.querySelector(".readings a") ? ", click or Enter to look closer" : "";
    line.dataset.hint = `Values: under the pointer, or with the arrow keys${closer}`;
    const across = places.filter((place) => place.y.baseVal.value === places[0].y.baseVal.value).length;
    let at = -1, tapped = null;
    svg.tabIndex = 0;
    svg.setAttribute("role", "application");
    svg.setAttribute("aria-roledescription", "chart");
    const show = (next) => {
      places[at]?.classList.remove("at");
      at = next;
      places[at]?.classList.add("at");
      line.textContent = texts[at] ?? "";
    };
    const under = (event) => places.indexOf(event.target.closest?.(".readings rect"));
    svg.addEventListener("pointermove", (event) => { const next = under(event); if (next >= 0 && next !== at) show(next); });
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch" && document.activeElement !== svg) show(-1); });
    // A finger has no way to point without a tap: the first one reads, the second one follows.
    svg.addEventListener("pointerdown", (event) => { tapped = event.pointerType === "touch" && under(event) !== at ? under(event) : null; if (tapped !== null) show(tapped); });
    svg.addEventListener("click", (event) => { if (tapped !== null && under(event) === tapped) event.preventDefault(); tapped = null; });
    svg.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10 };
      if (across < places.length) Object.assign(steps, { ArrowDown: across, ArrowUp: -across });
      const last = places.length - 1;
      if (event.key in steps) show(at < 0 ? (steps[event.key] > 0 ? 0 : last) : Math.min(Math.max(at + steps[event.key], 0), last));
      else if (event.key === "Home") show(0);
      else if (event.key === "End") show(last);
      else if (event.key === "Escape") show(-1);
      else if (event.key === "Enter" && places[at]?.closest("a")) location.assign(places[at].closest("a").getAttribute("href"));
      else return;
      event.preventDefault();
    });
    svg.addEventListener("blur", () => show(-1));
  }
  if (line.dataset.hint) figure.querySelector("figcaption").after(line);
}
