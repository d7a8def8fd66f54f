// What the admin pages do better with a script: a theme, and a list that stays fresh.
// Everything works without it. The server sends whole pages; this puts the new rows into the old ones by their key,
// so that focus, selection and scroll stay where they are.

import { stored } from "./stored.js";
import { clock, times } from "./times.js";

// Our own server's pages, escaped there; scripts in a parsed document do not run.
const trusted = window.trustedTypes?.createPolicy("leasehold", { createHTML: (text) => text });
const parse = (text) => new DOMParser().parseFromString(trusted ? trusted.createHTML(text) : text, "text/html");
const say = (text) => { document.getElementById("say").textContent = text; };

// Theme: as the system says, until somebody says otherwise.
const theme = document.getElementById("theme");
const themes = ["system", "light", "dark"];
function dress(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  if (theme) theme.textContent = `Theme: ${name}`;
}
let dressed = themes.includes(stored.get("theme")) ? stored.get("theme") : "system";
dress(dressed);
if (theme) {
  theme.hidden = false;
  theme.addEventListener("click", () => {
    dressed = themes[(themes.indexOf(dressed) + 1) % themes.length];
    stored.set("theme", dressed);
    dress(dressed);
  });
}

// Takes over what changed, and leaves alone what did not.
function merge(old, fresh) {
  if (old.nodeName !== fresh.nodeName) { old.replaceWith(fresh); return; }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(old.nodeName === "DETAILS" && name === "open")) old.removeAttribute(name);
  }
  const key = (node) => node.dataset?.key;
  const known = new Map([...old.childNodes].filter(key).map((node) => [key(node), node]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = key(child) ? known.get(key(child)) : at;
    if (!same || (key(child) === undefined && key(same) !== undefined)) { old.insertBefore(child, at); continue; }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    merge(same, child);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

// The live part of the page.
const live = document.getElementById("live");
if (live) {
  const line = document.createElement("p");
  line.id = "refresh";
  const text = document.createElement("span");
  const pause = document.createElement("button");
  pause.type = "button";
  const every = document.createElement("select");
  every.setAttribute("aria-label", "Refresh every");
  for (const seconds of [2, 5, 15, 60]) every.add(new Option(`every ${seconds} s`, seconds));
  every.value = stored.get("every") ?? live.dataset.every;
  line.append(text, pause, every);
  live.before(line);

  // A page may have a part that is cheaper to ask for than all of it.
  const source = () => {
    const address = new URL(location.href);
    // The answer to a form is at the address of the form, which cannot be asked for.
    if (live.dataset.at) address.pathname = live.dataset.at;
    for (const [name, value] of new URLSearchParams(live.dataset.source ?? "")) address.searchParams.set(name, value);
    return address;
  };
  let paused = false, last = Date.now(), failed = 0, timer;
  // Why nothing is to move under the reader's hands.
  function pausing() {
    if (paused) return "Paused";
    if (live.querySelector("input:checked")) return "Paused while leases are selected";
    const selection = document.getSelection();
    return selection?.type === "Range" && live.contains(selection.anchorNode) ? "Paused while text is selected" : null;
  }
  const held = () => document.hidden || pausing() !== null;
  function show() {
    if (out) return;
    const age = Math.round((Date.now() - last) / 1000);
    line.classList.toggle("stale", failed > 0);
    const why = pausing();
    text.textContent = failed > 0 ? `Stale: no answer, last data of ${clock(last)}`
      : why ? `${why}, data of ${clock(last)}`
      : `Live, updated ${age} s ago`;
    pause.textContent = paused ? "Resume" : "Pause";
  }
  // The login is over: nothing comes any more, and that is no outage.
  let out = false;
  function loggedOut() {
    out = true;
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Log in";
    text.replaceChildren(`You are logged out, last data of ${clock(last)}. `, link);
    line.classList.add("stale");
    pause.hidden = every.hidden = true;
    say("You are logged out.");
  }
  async function refresh() {
    clearTimeout(timer);
    if (out) return;
    if (!held()) {
      try {
        const answer = await fetch(source(), { headers: { accept: "text/html" }, redirect: "manual" });
        if (answer.type === "opaqueredirect") { loggedOut(); return; }
        if (!answer.ok) throw new Error(answer.status);
        const whole = parse(await answer.text());
        const fresh = whole.getElementById("live");
        if (fresh && !held()) {
          times(fresh);
          document.dispatchEvent(new CustomEvent("fresh", { detail: fresh }));
          merge(live, fresh);
          last = Date.now();
        }
        const [open, now] = [document, whole].map((page) => page.getElementById("open-alerts"));
        if (open && now) merge(open, now);
        if (failed > 0) say("Data is fresh again.");
        failed = 0;
      } catch {
        if (failed === 0) say("Data is stale: the server does not answer.");
        failed += 1;
      }
    }
    timer = setTimeout(refresh, every.value * 1000 * Math.min(1 + failed, 6));
  }
  pause.addEventListener("click", () => { paused = !paused; show(); if (!paused) refresh(); });
  every.addEventListener("change", () => { stored.set("every", every.value); refresh(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  live.addEventListener("change", show);
  document.addEventListener("selectionchange", show);
  timer = setTimeout(refresh, every.value * 1000);
  setInterval(show, 1000);
  show();
}

// "/" goes to the search field of the page, or to the one for people; not while somebody writes.
document.addEventListener("keydown", (event) => {
  const search = document.getElementById("search") ?? document.getElementById("find");
  if (event.key !== "/" || !search || event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  search.focus();
});

// What is wrong with a form is read first.
document.getElementById("problems")?.focus();
for (const link of document.querySelectorAll("#problems a")) {
  link.addEventListener("click", (event) => {
    const field = document.getElementById(link.hash.slice(1));
    if (!field) return;
    event.preventDefault();
    (field.labels?.[0] ?? field).scrollIntoView();
    field.focus({ preventScroll: true });
  });
}

// A box that stands for all, and those that stand for one each: whoever ticks one kind means the other no longer.
for (const set of document.querySelectorAll("[data-all]")) {
  set.addEventListener("change", ({ target }) => {
    if (!target.checked) return;
    const isAll = (box) => box.value === set.dataset.all;
    for (const box of set.querySelectorAll("[type=checkbox]")) {
      if (isAll(box) !== isAll(target)) box.checked = false;
    }
  });
}
