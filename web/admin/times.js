// Times: in the zone that the reader chose, and written as the language of the browser writes them. The choice holds on all pages; the
// address of a view that the server works out in a zone names the zone. Without this all times are UTC.

import { stored } from "./stored.js";

const zone = document.getElementById("zone");
const drawn = document.querySelector("[data-tz]");
const known = Intl.supportedValuesOf?.("timeZone") ?? [];

function named(word) {
  if (word === "pool") return zone.querySelector("[value=pool]")?.dataset.zone;
  if (word !== "browser") return word;
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
  return ["Etc/UTC", "Etc/GMT", "GMT", "Etc/Unknown"].includes(name) ? "UTC" : name;
}
const here = () => named(zone?.value ?? "browser");
const format = (style) => new Intl.DateTimeFormat(undefined, { ...style, timeZone: here() });

// A time of today, in seconds or in minutes.
export const clock = (at) => format({ timeStyle: "medium" }).format(at);
export const minutes = (at) => format({ timeStyle: "short" }).format(at);

export function times(root) {
  const day = format({ dateStyle: "medium" }), second = format({ timeStyle: "medium" });
  const both = format({ dateStyle: "medium", timeStyle: "medium" });
  const today = day.format(new Date());
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.textContent = ("near" in time.dataset && day.format(at) === today ? second : both).format(at);
    time.title = time.dateTime;
  }
  // Times that somebody writes are in the same zone.
  for (const field of root.querySelectorAll("[data-zone-of-form]")) {
    field.querySelector("span").textContent = field.parentNode.querySelector("[name=tz]").value = here();
  }
}

function inZone(name) {
  const address = new URL(location.href);
  address.searchParams.set("tz", name);
  return address.href;
}
if (zone) {
  zone.hidden = false;
  document.getElementById("zone-utc").hidden = true;
  const chosen = stored.get("zone") ?? "browser";
  if (known.includes(chosen) && ![...zone.options].some((option) => option.value === chosen)) zone.append(new Option(chosen, chosen));
  zone.value = chosen;
  // That of another pool.
  if (!zone.value) zone.value = "browser";
  const asked = drawn && new URLSearchParams(location.search).get("tz");
  if (asked && asked !== here()) {
    // Somebody else's link: their zone, for this page.
    const option = [...zone.options].find((option) => named(option.value) === asked);
    zone.value = (option ?? zone.appendChild(new Option(asked, asked))).value;
  } else if (drawn && !asked && drawn.dataset.tz !== here()) {
    location.replace(inZone(here()));
  }
  // All others, when somebody looks for one.
  function offer() {
    if (zone.querySelector("optgroup")) return;
    const others = document.createElement("optgroup");
    others.label = "Other zones";
    const there = new Set([...zone.options].map((option) => option.value));
    others.append(...known.filter((name) => !there.has(name)).map((name) => new Option(name, name)));
    if (others.children.length > 0) zone.append(others);
  }
  for (const name of ["pointerdown", "focus"]) zone.addEventListener(name, offer);
  zone.addEventListener("change", () => {
    stored.set("zone", zone.value);
    if (drawn) location.assign(inZone(here()));
    else times(document);
  });
}
times(document);

// Zones to choose from, where one is written: those that the browser knows.
for (const list of document.querySelectorAll("[data-zones]")) {
  for (const name of ["UTC", ...known]) list.append(new Option(name, name));
}
