// A page that is not there: what leasehold.js looks for in `globalThis`, with a clock that the test turns.

/** One browser: pages in it share its locks, its channels, its clocks and its server. */
export class Browser {
  #now = 0;
  #timers = [];
  #locks = new Map();
  #channels = new Set();
  requests = [];

  /** `answer(path, body, request)` gives [status, body, headers], or nothing for a network that fails. */
  constructor(answer) {
    this.answer = answer;
  }

  /** Lets time pass, timer by timer. `asleep` moves only the wall clock, as a closed lid does. */
  async pass(ms, { asleep = false } = {}) {
    if (asleep) {
      this.slept = (this.slept ?? 0) + ms;
      return;
    }
    const until = this.#now + ms;
    await settle();
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.splice(this.#timers.indexOf(due), 1);
      this.#now = Math.max(this.#now, due.at);
      if (!due.page.frozen) due.run(...due.args);
      await settle();
    }
    this.#now = until;
    await settle();
  }

  get now() {
    return this.#now;
  }

  page({ storage = new Map(), hidden = false, ...more } = {}) {
    const page = Object.assign(new EventTarget(), { frozen: false, storage, beacons: [], random: 0.5 });
    const document = Object.assign(new EventTarget(), { hidden });
    const browser = this;
    const closed = new Set();
    const scope = Object.assign(page, {
      document,
      Date: { now: () => 1_800_000_000_000 + browser.#now + (browser.slept ?? 0) },
      performance: { now: () => browser.#now },
      Math: { ...mathOf(page) },
      setTimeout: (run, ms, ...args) => {
        const timer = { at: browser.#now + ms, run, args, page };
        browser.#timers.push(timer);
        return timer;
      },
      clearTimeout: (timer) => {
        const at = browser.#timers.indexOf(timer);
        if (at >= 0) browser.#timers.splice(at, 1);
      },
      fetch: (url, request) => browser.#fetch(url, request),
      sessionStorage: {
        getItem: (key) => storage.get(key) ?? null,
        setItem: (key, value) => storage.set(key, value),
        removeItem: (key) => storage.delete(key),
      },
      navigator: {
        locks: {
          request: (...args) => browser.#lock(page, ...args),
          query: async () => ({ pending: [...browser.#locks].flatMap(([name, all]) => all.filter(({ has }) => !has).map(() => ({ name }))) }),
        },
        sendBeacon: (url, body) => (page.beacons.push([new URL(url).pathname, JSON.parse(body)]), true),
      },
      BroadcastChannel: class {
        constructor(name) {
          Object.assign(this, { name, page });
          browser.#channels.add(this);
        }
        postMessage(message) {
          const data = structuredClone(message);
          for (const other of browser.#channels) {
            if (other === this || other.name !== this.name) continue;
            queueMicrotask(() => !other.page.frozen && browser.#channels.has(other) && other.onmessage?.({ data }));
          }
        }
        close() {
          browser.#channels.delete(this);
        }
      },
      ...more,
    });
    /** As a closed tab or a reload: the page hears of it, and then it is gone. */
    page.close = () => {
      page.dispatchEvent(Object.assign(new Event('pagehide'), { persisted: false }));
      page.crash();
    };
    page.crash = () => {
      page.frozen = true;
      for (const channel of browser.#channels) if (channel.page === page) browser.#channels.delete(channel);
      for (const [name, waiters] of browser.#locks) {
        for (const waiter of [...waiters]) if (waiter.page === page) browser.#unlock(name, waiter);
      }
      closed.add(page);
    };
    return scope;
  }

  async #fetch(url, request) {
    const path = new URL(url).pathname;
    const body = JSON.parse(request.body);
    this.requests.push({ path, body, at: this.#now, headers: request.headers ?? {} });
    const answer = await this.answer(path, body, request);
    if (request.signal?.aborted || !answer) throw new TypeError('failed to fetch');
    const [status, json, headers = {}] = answer;
    const text = typeof json === 'string' ? json : JSON.stringify(json);
    const type = typeof json === 'string' ? 'text/html' : json.code ? 'application/problem+json' : 'application/json';
    return { status, headers: new Headers({ 'content-type': type, ...headers }), text: async () => text };
  }

  // As Web Locks: the first waiter has it; a thief pushes the holder out.
  #lock(page, name, options, run) {
    return new Promise((resolve, reject) => {
      const waiters = this.#locks.get(name) ?? [];
      this.#locks.set(name, waiters);
      const waiter = { page, run, resolve, reject };
      options.signal?.addEventListener('abort', () => {
        if (!waiter.has) waiters.splice(waiters.indexOf(waiter), 1), reject(new DOMException('', 'AbortError'));
      });
      if (options.steal) {
        const [holder] = waiters.filter((other) => other.has);
        if (holder) waiters.splice(waiters.indexOf(holder), 1), holder.reject(new DOMException('', 'AbortError'));
        waiters.unshift(waiter);
      } else {
        waiters.push(waiter);
      }
      this.#grant(name);
    });
  }

  #grant(name) {
    const [first] = this.#locks.get(name);
    if (!first || first.has) return;
    first.has = true;
    queueMicrotask(async () => {
      const result = await first.run({ name });
      first.resolve(result);
      this.#unlock(name, first);
    });
  }

  #unlock(name, waiter) {
    const waiters = this.#locks.get(name);
    const at = waiters.indexOf(waiter);
    if (at < 0) return;
    waiters.splice(at, 1);
    this.#grant(name);
  }
}

function mathOf(page) {
  return { ...Object.fromEntries(Object.getOwnPropertyNames(Math).map((name) => [name, Math[name]])), random: () => page.random };
}

/** Lets everything happen that needs no time. */
async function settle() {
  for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A server that knows one pool, as the real one answers. */
export class Server {
  leases = new Map();
  capacity = 1;
  ttl = 60_000;
  idleAfter = 900_000;
  #last = 0;
  down = false;

  constructor(browser) {
    this.browser = browser;
    this.answer = this.answer.bind(this);
  }

  get clock() {
    return this.browser.now + (this.browser.slept ?? 0);
  }

  live() {
    return [...this.leases.values()].filter((lease) => !lease.end && lease.until > this.clock);
  }

  document(lease) {
    return {
      id: lease.id, expires_in_ms: lease.until - this.clock, ttl_ms: this.ttl, renew_after_ms: this.ttl / 3, outage_grace_ms: this.grace,
      activities: lease.activities ?? [], active_at: lease.active_at ?? null,
    };
  }

  answer(path, body, request) {
    if (this.down) return undefined;
    const problem = (status, code, more = {}) => [status, { status, code, ...more }];
    if (path.endsWith('/leases')) {
      const key = request.headers['idempotency-key'];
      const known = this.live().find((lease) => lease.key === key);
      if (known) return [200, { lease: this.document(known), token: known.token }];
      if (this.live().length >= this.capacity) return problem(409, 'pool_full', { retry_after_ms: 30_000, capacity: this.capacity });
      const id = `lease-${++this.#last}`;
      const lease = { id, token: `token-${this.#last}`, key, until: this.clock + this.ttl, activities: body.activities };
      this.leases.set(lease.token, lease);
      return [201, { lease: this.document(lease), token: lease.token }];
    }
    const lease = this.leases.get(body.token);
    if (!lease) return problem(401, 'invalid_token');
    if (path.endsWith('/renew')) {
      if (lease.end) return problem(410, lease.end, { reason: lease.reason });
      const resumed = lease.until <= this.clock;
      if (resumed && this.live().length >= this.capacity) return problem(410, 'lease_expired');
      lease.until = this.clock + this.ttl;
      lease.activities = body.activities ?? lease.activities;
      const idle = body.idle_ms ?? null;
      lease.active_at = idle === null ? null : new Date(this.clock - idle).toISOString();
      const left = this.idleAfter - idle;
      const ends = left < 120_000 ? { in_ms: left, reason: 'idle', then: 'yield' } : undefined;
      return [200, { lease: this.document(lease), resumed, ends }];
    }
    if (path.endsWith('/release')) lease.end ??= 'lease_released';
    return [204, {}];
  }
}
