// Many at once: a range with Shift, all of the page with one button, and a bar that says how many are selected.

const form = document.querySelector("form[data-select]");
const bar = form?.querySelector(".bar");
if (bar) {
  const ticks = () => [...form.querySelectorAll("input[name=ids]")];
  const [count, page, none] = ["count", "page", "none"].map((name) => bar.querySelector(`[data-${name}]`));
  let last = null;
  function show() {
    const all = ticks(), chosen = all.filter((tick) => tick.checked);
    const whole = chosen.length > 0 && chosen.length === all.length;
    count.textContent = chosen.length === 0 ? ""
      : whole ? `All ${chosen.length} on this page are selected.`
      : `${chosen.length} selected`;
    page.hidden = whole || all.length === 0;
    none.hidden = chosen.length === 0;
    bar.classList.toggle("some", chosen.length > 0);
  }
  function set(some, value) {
    for (const tick of some) tick.checked = value;
    // The live part stands still while something is selected.
    some[0]?.dispatchEvent(new Event("change", { bubbles: true }));
  }
  form.addEventListener("click", (event) => {
    if (!event.target.matches("input[name=ids]")) return;
    const all = ticks(), here = all.indexOf(event.target), there = all.findIndex((tick) => tick.value === last);
    if (event.shiftKey && there >= 0) {
      set(all.slice(Math.min(here, there), Math.max(here, there) + 1), event.target.checked);
    }
    last = event.target.value;
  });
  form.addEventListener("change", show);
  page.addEventListener("click", () => set(ticks(), true));
  none.addEventListener("click", () => set(ticks(), false));
  show();
}
