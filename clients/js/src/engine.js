// Carries out what the machines of all seats of a client output. Only node.js has what needs Node.

import { spread } from './machine.js';

const TICK_MS = 1_000;
const MANY = 20;
const BATCH = 500;
const MOST_MS = 2 ** 31 - 1; // What a timer can count to.

/** The engines with seats or requests; node.js ends them at the end of the program. */
export const engines = new Set();

const reported = ({ idle_ms }) => idle_ms === undefined ? {} : { idle_ms };
const parsed = (text) => {
	try {
		return JSON.parse(text);
	} catch {
		return null;
	}
};

/**
 * What a seat needs of the place where it runs: clocks, chance, timers that keep no program from ending, and requests. `fetch` cannot
 * ask for a new connection. node.js and page.js have better ones.
 */
export const portable = {
	now: () => ({ mono: Math.floor(performance.now()), wall: Date.now() }),
	random: () => Math.random(),

	/** Calls `run` later; gives back what prevents that. */
	after(ms, run) {
		const timer = setTimeout(run, Math.min(ms, MOST_MS));
		timer.unref?.();
		return () => clearTimeout(timer);
	},

	/** Calls `wake` whenever time has jumped; gives back what ends that. */
	start({ wake }) {
		let last = this.now();
		const ticker = setInterval(() => {
			const now = this.now();
			const apart = Math.abs(now.wall - now.mono - (last.wall - last.mono));
			const jumped = apart > 1_000 || now.mono - last.mono > TICK_MS + 2_000;
			last = now;
			if (jumped) wake(true);
		}, TICK_MS);
		ticker.unref?.();
		return () => clearInterval(ticker);
	},

	/** Keeps the program from ending until what it gives back is called. */
	stayAlive() {
		const timer = setInterval(() => {}, MOST_MS);
		return () => clearInterval(timer);
	},

	async post(url, headers, body, { signal, keepalive }, fetch = globalThis.fetch) {
		const request = { method: 'POST', headers, body, signal, keepalive, redirect: 'manual', credentials: 'omit', cache: 'no-store' };
		const answer = await fetch(url, request);
		const status = answer.type === 'opaqueredirect' ? 302 : answer.status;
		return { status, headers: Object.fromEntries(answer.headers), text: await answer.text() };
	},
};

export class Engine {
	busy = new Set();
	batch = null;
	pending = 0;

	constructor(url, { key = null, log = console, platform = portable } = {}) {
		const { protocol, username, password, search, hash } = new URL(url);
		if (protocol !== 'http:' && protocol !== 'https:') throw new TypeError('the address of a server begins with http:// or https://');
		if (username || password || search || hash) throw new TypeError('the address of a server has no user, no query and no fragment');
		// Without the key itself: this may be logged.
		if (key != null && typeof key !== 'function' && !/^[!-~]+$/.test(key)) throw new TypeError('a key is one line of plain letters');
		Object.assign(this, { base: String(url).replace(/\/+$/, ''), key, platform, log });
		this.kind = typeof key === 'function' ? 'function' : key ? 'fixed' : 'none';
	}

	start(runner) {
		this.busy.add(runner);
		if (this.stop) return;
		engines.add(this);
		const all = (what) => (...given) => [...this.busy].forEach((one) => one[what]?.(...given));
		this.stop = this.platform.start({ wake: all('wake'), hide: all('hide'), show: all('show'), act: all('act') });
	}

	rest(runner) {
		this.busy.delete(runner);
		if (this.busy.size) return;
		this.stop?.();
		this.stop = null;
		engines.delete(this);
	}

	/** Keeps the program alive until the promise settles: the timers and sockets of this client do not. */
	async keepAlive(promise) {
		this.alive ??= this.platform.stayAlive?.();
		this.pending += 1;
		try {
			return await promise;
		} finally {
			this.pending -= 1;
			if (!this.pending) this.alive = this.alive?.();
		}
	}

	/** A timer of a seat is due. Beyond twenty seats those that are nearly due go along. */
	fire(runner, timer) {
		const held = [...this.busy].filter((one) => one.state.lease);
		this.batch = held.length > MANY ? [] : null;
		runner.feed({ event: 'timer', timer });
		if (this.batch?.length) {
			const { mono } = this.platform.now();
			for (const other of held) {
				const due = other.timers.get('next');
				if (!due || !other.state.lease || due.at - mono > other.state.lease.renew_after_ms * 0.15) continue;
				due.cancel();
				other.timers.delete('next');
				other.feed({ event: 'timer', timer: 'next' });
			}
		}
		const batch = this.batch ?? [];
		this.batch = null;
		while (batch.length) this.send(batch.splice(0, BATCH));
	}

	async send(group) {
		const timeout = Math.min(...group.map(([, request]) => request.timeout_ms));
		const call = new AbortController();
		let heard = false;
		const hear = (event, fault) => {
			if (heard) return;
			heard = true;
			cancel();
			const ids = group.map(([, request]) => request.id);
			const many = group.length > 1 && event.event === 'answer';
			const events = many ? spread(ids, event.status, event.headers, event.body) : ids.map((id) => ({ ...event, id }));
			for (const [i, [runner, request]] of group.entries()) {
				runner.calls.delete(request.id);
				if (fault) runner.fault = `${new URL(this.base).host} did not answer: ${fault}`;
				runner.feed({ ...events[i], ...reported(request) });
			}
		};
		const cancel = this.platform.after(timeout, () => {
			call.abort();
			hear({ event: 'failed' }, 'no answer in time');
		});
		// One seat of many that is released must not abort the heartbeats of all.
		if (group.length === 1) group[0][0].calls.set(group[0][1].id, call);
		const failed = (error) => {
			const { message, code } = error?.errors?.[0] ?? error?.cause ?? error ?? {};
			return [{ event: 'failed' }, call.signal.aborted ? null : message || code || 'the request failed'];
		};
		const answered = ({ status, headers, text }) => [{ event: 'answer', status, headers, body: parsed(text) }];
		hear(...(await this.post(group, call.signal).then(answered, failed)));
	}

	async post(group, signal) {
		await this.askForIdle(group);
		const [runner, { path, body, acquisition, refused = false }] = group[0];
		const headers = { accept: 'application/json', 'content-type': 'application/json' };
		if (acquisition) {
			headers['idempotency-key'] = `${runner.seed}-${acquisition}`;
			const key = this.kind === 'function' ? await this.askForKey(refused) : this.key;
			if (key) headers.authorization = `Bearer ${key}`;
		}
		const fresh = group.some(([, request]) => request.fresh);
		const many = group.length > 1;
		const leases = group.map(([, request]) => ({ token: request.body.token, ...reported(request) }));
		const together = leases.some(({ idle_ms }) => idle_ms !== undefined) ? { leases } : { tokens: leases.map(({ token }) => token) };
		// What ends a seat is sent even if the page goes away meanwhile.
		const keepalive = /\/(release|leave)$/.test(path);
		const url = this.base + (many ? '/v1/leases/renew-many' : path);
		const said = many ? together : { ...body, ...reported(group[0][1]) };
		return this.platform.post(url, headers, JSON.stringify(said), { signal, fresh, keepalive });
	}

	async askForIdle(group) {
		const asked = group.filter(([, { idle }]) => idle);
		if (!asked.length) return;
		await null; // Not in the middle of a step: the function is the program's.
		for (const [runner, request] of asked) request.idle_ms = runner.idleMs() ?? undefined;
	}

	async askForKey(refused) {
		try {
			await null; // Not in the middle of a step.
			return await this.key({ refused });
		} catch (error) {
			this.log.error('the function for the key of a Leasehold client failed', error);
			throw new Error('the function for the key failed');
		}
	}

	/** Releases all seats, or those whose token is not kept, and waits once for what is under way, with one limit of time for all of them. */
	async end({ exiting = false } = {}) {
		const open = [...this.busy].filter((runner) => !runner.ending && !(exiting && runner.outlives));
		for (const runner of open) {
			runner.ending = true;
			runner.feed({ event: 'release' });
		}
		await Promise.all(open.map((runner) => runner.quiet()));
	}
}
