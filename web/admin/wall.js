// A wallboard: how full a few pools are, large enough for a screen on a wall. It has a key of its own, which reads numbers and no names, and
// asks with it like any program: there is no login that could end. The key comes in the fragment of the address, which no server
// and no log ever gets, or by hand; this browser keeps it until it is revoked. Through an outage, and a reload in it, the last numbers
// stay, with how old they are.

const EVERY = 500, AGAIN = 1000, PATIENCE = 4000, OLD = 3000, SHOWN = 16;
const stored = {
  get: (name) => { try { return localStorage.getItem(`leasehold.${name}`); } catch { return null; } },
  set: (name, value) => {
    try { value === null ? localStorage.removeItem(`leasehold.${name}`) : localStorage.setItem(`leasehold.${name}`, value); } catch { /* a private window */ }
  },
};
const part = (id) => document.getElementById(id);
const [board, state, start, wrong] = ["board", "state", "start", "wrong"].map(part);
const asked = new URLSearchParams(location.search);
const theme = asked.get("theme") ?? stored.get("theme");
if (["light", "dark"].includes(theme)) document.documentElement.dataset.theme = theme;

let key = stored.get("wall.key"), checked = key !== null;
let last = null, kept = 0;
const given = new URLSearchParams(location.hash.slice(1)).get("key");
if (given) {
  history.replaceState(null, "", location.pathname + location.search);
  use(given);
} else if (key) {
  try { last = JSON.parse(stored.get("wall.last")); } catch { /* of another version */ }
}

function use(text) {
  key = text.trim();
  checked = false;
  last = null;
  stored.set("wall.last", null);
}
function forget(why) {
  key = last = null;
  stored.set("wall.key", null);
  stored.set("wall.last", null);
  wrong.textContent = why;
  show();
}

const ask = (path) => fetch(path, {
  headers: { authorization: `Bearer ${key}` }, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(PATIENCE),
});

// Whoever stands before a wall may open its browser, so it keeps no key that says more than the wall does.
async function check() {
  const people = await ask("../v1/holders?limit=1");
  if (people.ok) return forget("This key may do more than a wall shows. Make one of the role reports.");
  if (people.status === 403) {
    checked = true;
    stored.set("wall.key", key);
  } else if (people.status === 401) forget("This key is not known here, or not any more.");
  else throw new Error(people.status);
}

async function look() {
  const used = key;
  const answer = await ask("../v1/pools?limit=1000");
  if (key !== used) return;
  if (answer.status === 401 || answer.status === 403) return forget("The key of this wall has ended.");
  if (!answer.ok) throw new Error(answer.status);
  const { items } = await answer.json();
  last = { at: Date.now(), pools: items.map(({ name, in_use, capacity_now, free, waiting, maintenance }) =>
    ({ name, in_use, capacity: capacity_now, free, waiting, maintenance: maintenance?.message ?? null })) };
  if (last.at - kept > 5000) { kept = last.at; stored.set("wall.last", JSON.stringify(last)); }
}

async function go() {
  let wait = EVERY;
  if (key && !document.hidden) {
    try {
      if (!checked) await check();
      if (key) await look();
    } catch { wait = AGAIN; }
    show();
  }
  setTimeout(go, wait);
}

const number = new Intl.NumberFormat();
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
function age(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
function level({ in_use, capacity }) {
  if (in_use >= capacity) return in_use > 0 ? "full" : "fine";
  return in_use * 10 >= capacity * 8 ? "high" : "fine";
}
function about(pool) {
  const words = [pool.maintenance !== null ? `Maintenance: ${pool.maintenance}` : pool.free > 0 ? `${number.format(pool.free)} free` : "no seat free"];
  if (pool.waiting > 0) words.push(`${number.format(pool.waiting)} waiting`);
  return words.join(" · ");
}
function put(element, text) { if (element.textContent !== text) element.textContent = text; }

function card() {
  const card = document.createElement("li");
  const title = document.createElement("h2");
  const figures = document.createElement("p"), used = document.createElement("strong"), of = document.createElement("span");
  figures.className = "figures";
  figures.append(used, " ", of);
  const meter = document.createElement("meter"), words = document.createElement("p");
  meter.setAttribute("aria-hidden", "true");
  words.className = "words";
  card.append(title, figures, meter, words);
  return card;
}

// The pools of the address in its order, else the fullest.
function chosen(pools) {
  const named = asked.get("pools")?.split(",").map((name) => name.trim());
  if (named) return named.map((name) => pools.find((pool) => pool.name === name)).filter(Boolean);
  const share = ({ in_use, capacity }) => in_use / Math.max(capacity, 1);
  return pools.length <= SHOWN ? pools : pools.toSorted((a, b) => share(b) - share(a)).slice(0, SHOWN);
}

function show() {
  start.hidden = key !== null;
  board.hidden = key === null;
  const pools = last && key ? chosen(last.pools) : [];
  while (board.children.length > pools.length) board.lastChild.remove();
  while (board.children.length < pools.length) board.append(card());
  pools.forEach((pool, at) => {
    const [title, figures, meter, words] = board.children[at].children;
    board.children[at].className = pool.maintenance !== null ? "paused" : level(pool);
    put(title, pool.name);
    put(figures.firstChild, number.format(pool.in_use));
    put(figures.lastChild, `of ${number.format(pool.capacity)}`);
    figures.classList.toggle("long", figures.textContent.length > 9);
    meter.max = Math.max(pool.capacity, 1);
    meter.value = Math.min(pool.in_use, meter.max);
    put(words, about(pool));
  });
  board.dataset.count = pools.length;
  if (!key) { put(state, ""); document.body.classList.remove("old"); return; }
  const old = !last || Date.now() - last.at > OLD;
  document.body.classList.toggle("old", old);
  const more = last ? last.pools.length - pools.length : 0;
  if (!last) put(state, "No answer yet. It is asked for again every second.");
  else if (old) put(state, `No answer for ${age(Date.now() - last.at)}. This was so at ${Date.now() - last.at > 72e6 ? date.format(last.at) : clock.format(last.at)}.`);
  else put(state, `${clock.format(last.at)}${more > 0 ? ` · ${pools.length} of ${last.pools.length} pools` : ""}`);
}

start.addEventListener("submit", (event) => {
  event.preventDefault();
  use(new FormData(start).get("key"));
  wrong.textContent = "";
  start.reset();
  show();
});
// A screen on a wall stays on.
async function stayOn() {
  try { if (!document.hidden) await navigator.wakeLock?.request("screen"); } catch { /* the system decides */ }
}
document.addEventListener("visibilitychange", stayOn);
stayOn();
setInterval(show, 1000);
show();
go();
