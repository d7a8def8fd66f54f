// Seats, and the engine that keeps them: it carries out what their machines output. Only node.js has what needs Node.

import { begin, seen, spread, step, sure } from './machine.js';
import { SeatError } from './errors.js';

const TICK_MS = 1_000;
const MANY = 20;
const BATCH = 500;
const END_MS = 3_000;
const ACQUIRE_MS = 30_000;
const MOST_MS = 2 ** 31 - 1; // What a timer can count to.
const INSPECT = Symbol.for('nodejs.util.inspect.custom');
const OPTIONS = ['holder', 'tenant', 'label', 'platform', 'activities', 'wait', 'reacquire', 'maxGrace', 'onEvent', 'onLost', 'signal', 'timeout'];

/** The engines with seats or requests; node.js ends them at the end of the program. */
export const engines = new Set();

const isActive = (name) => name === 'held' || name === 'unstable' || name === 'grace';
const randomIn = ([from, to]) => Math.min(MOST_MS, from + Math.floor(Math.random() * (to - from + 1)));
const parsed = (text) => {
	try {
		return JSON.parse(text);
	} catch {
		return null;
	}
};

/** A timer that keeps no program from ending. */
function after(ms, what) {
	const timer = setTimeout(what, ms);
	timer.unref?.();
	return timer;
}

function seed() {
	const bytes = crypto.getRandomValues(new Uint8Array(16));
	return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Sends requests with `fetch`, which cannot ask for a new connection. */
export const fetchTransport = {
	now: () => ({ mono: Math.floor(performance.now()), wall: Date.now() }),
	async post(url, headers, body, { signal }) {
		const answer = await fetch(url, { method: 'POST', headers, body, signal, redirect: 'manual', credentials: 'omit', cache: 'no-store' });
		const status = answer.type === 'opaqueredirect' ? 302 : answer.status;
		return { status, headers: Object.fromEntries(answer.headers), text: await answer.text() };
	},
};

/** One seat: its machine, its timers and its requests. */
class Runner {
	timers = new Map();
	calls = new Map();
	details = {};
	fault = 'The server did not answer.';
	lost = null;
	ending = false;
	listeners = new Set();
	waiters = new Set();
	stop = new AbortController();

	constructor(engine, options) {
		this.engine = engine;
		this.state = begin(options);
		this.seed = seed();
		this.seat = new Seat(this);
	}

	/** Takes one step, and carries out what follows. */
	feed(event) {
		const { engine } = this;
		const before = this.state.token;
		const [state, out] = step(this.state, event, engine.transport.now());
		this.state = state;
		this.calls.get(out.abort)?.abort();
		for (const [timer, span] of Object.entries(out.timers ?? {})) this.plan(timer, span);
		for (const request of out.send ?? []) {
			const alone = !engine.batch || request.path !== '/v1/leases/renew' || Object.keys(request.body).length > 1;
			if (alone) engine.send([[this, request]]);
			else engine.batch.push([this, request]);
		}
		for (const told of out.emit ?? []) this.tell(told);
		if (state.token && state.token !== before) this.onToken?.(state.token);
		if (out.tell) this.deliver({ state: state.name, ...out.tell });
		if (out.done) engine.rest(this);
		else if (Object.keys(out).length) engine.start(this);
		for (const waiter of [...this.waiters]) waiter();
	}

	plan(name, span) {
		clearTimeout(this.timers.get(name)?.timer);
		this.timers.delete(name);
		if (!span) return;
		const ms = randomIn(span);
		const timer = after(ms, () => {
			this.timers.delete(name);
			this.engine.fire(this, name);
		});
		this.timers.set(name, { timer, at: this.engine.transport.now().mono + ms });
	}

	tell(told) {
		const { state, code, ...details } = told;
		this.details = details;
		if (state === 'held') this.lost = null;
		if (state === 'lost' || state === 'released') {
			this.lost = new SeatError(code, details, true);
			this.stop.abort(this.lost);
		}
		this.deliver(told);
	}

	/** Calls the listeners of the program after this step: one that throws or takes long costs no heartbeat. */
	deliver(event) {
		for (const listener of this.listeners) {
			queueMicrotask(async () => {
				try {
					await listener(this.seat, { ...event });
				} catch (error) {
					this.engine.log.error('a listener of a seat threw; its heartbeats go on', error);
				}
			});
		}
	}

	/** Waits until something is so, at most for a time, and until a signal says otherwise. */
	until(reached, ms, signal) {
		return this.engine.keepAlive(
			new Promise((resolve) => {
				const settle = () => {
					clearTimeout(timer);
					signal?.removeEventListener('abort', settle);
					this.waiters.delete(look);
					resolve();
				};
				const look = () => reached() && settle();
				const timer = ms === null ? undefined : after(Math.min(ms, MOST_MS), settle);
				signal?.addEventListener('abort', settle);
				this.waiters.add(look);
				look();
			}),
		);
	}

	quiet() {
		return this.until(() => !this.engine.busy.has(this), END_MS);
	}

	isDecided() {
		return this.state.name !== 'acquiring' && this.state.name !== 'waiting';
	}

	giveUp() {
		this.feed({ event: 'cancel' });
		if (this.state.lease) this.feed({ event: 'release' }); // The grant came first.
	}

	/** Why work has to stop, or null. */
	loss() {
		const [name, code] = seen(this.state, this.engine.transport.now());
		return isActive(name) ? null : (this.lost ?? new SeatError(code ?? name, this.details, true));
	}
}

class Engine {
	busy = new Set();
	batch = null;
	pending = 0;

	constructor(base, key, transport, log) {
		Object.assign(this, { base, key, transport, log });
		this.kind = typeof key === 'function' ? 'function' : key ? 'fixed' : 'none';
	}

	start(runner) {
		this.busy.add(runner);
		if (this.ticker) return;
		engines.add(this);
		let last = this.transport.now();
		this.ticker = setInterval(() => {
			const now = this.transport.now();
			const apart = Math.abs(now.wall - now.mono - (last.wall - last.mono));
			const jumped = apart > 1_000 || now.mono - last.mono > TICK_MS + 2_000;
			last = now;
			if (jumped) for (const one of [...this.busy]) one.feed({ event: 'wake' });
		}, TICK_MS);
		this.ticker.unref?.();
	}

	rest(runner) {
		this.busy.delete(runner);
		if (this.busy.size) return;
		clearInterval(this.ticker);
		this.ticker = null;
		engines.delete(this);
	}

	/** Keeps the program alive until the promise settles: the timers and sockets of this client do not. */
	async keepAlive(promise) {
		this.alive ??= setInterval(() => {}, MOST_MS);
		this.pending += 1;
		try {
			return await promise;
		} finally {
			this.pending -= 1;
			if (!this.pending) this.alive = clearInterval(this.alive);
		}
	}

	/** A timer of a seat is due. Beyond twenty seats those that are nearly due go along. */
	fire(runner, timer) {
		const held = [...this.busy].filter((one) => one.state.lease);
		this.batch = held.length > MANY ? [] : null;
		runner.feed({ event: 'timer', timer });
		if (this.batch?.length) {
			const { mono } = this.transport.now();
			for (const other of held) {
				const due = other.timers.get('next');
				if (!due || !other.state.lease || due.at - mono > other.state.lease.renew_after_ms * 0.15) continue;
				clearTimeout(due.timer);
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
			clearTimeout(timer);
			const ids = group.map(([, request]) => request.id);
			const many = group.length > 1 && event.event === 'answer';
			const events = many ? spread(ids, event.status, event.headers, event.body) : ids.map((id) => ({ ...event, id }));
			for (const [i, [runner, request]] of group.entries()) {
				runner.calls.delete(request.id);
				if (fault) runner.fault = `${new URL(this.base).host} did not answer: ${fault}`;
				runner.feed(events[i]);
			}
		};
		const timer = after(timeout, () => {
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
		const [runner, { path, body, acquisition, refused = false }] = group[0];
		const headers = { accept: 'application/json', 'content-type': 'application/json' };
		if (acquisition) {
			headers['idempotency-key'] = `${runner.seed}-${acquisition}`;
			const key = this.kind === 'function' ? await this.askForKey(refused) : this.key;
			if (key) headers.authorization = `Bearer ${key}`;
		}
		const fresh = group.some(([, request]) => request.fresh);
		const many = group.length > 1;
		const tokens = group.map(([, request]) => request.body.token);
		return this.transport.post(this.base + (many ? '/v1/leases/renew-many' : path), headers, JSON.stringify(many ? { tokens } : body), { signal, fresh });
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

	/** Releases all seats, and waits once for what is under way, with one limit of time for all of them. */
	async end() {
		const open = [...this.busy].filter((runner) => !runner.ending);
		for (const runner of open) {
			runner.ending = true;
			runner.feed({ event: 'release' });
		}
		await Promise.all(open.map((runner) => runner.quiet()));
	}
}

/** A seat, from its grant to its end. It is made by `client.acquire`. */
export class Seat {
	#runner;

	constructor(runner) {
		this.#runner = runner;
	}

	get pool() {
		return this.#runner.state.options.pool;
	}

	get holder() {
		return this.#runner.state.options.holder ?? null;
	}

	/** As of now, also where no timer has fired yet. */
	get state() {
		return seen(this.#runner.state, this.#runner.engine.transport.now())[0];
	}

	/** Why it is not simply held. */
	get code() {
		return seen(this.#runner.state, this.#runner.engine.transport.now())[1];
	}

	/** Whether nobody else can have the seat at this moment. */
	get sure() {
		return sure(this.#runner.state, this.#runner.engine.transport.now());
	}

	get lease() {
		return { ...this.#runner.state.lease };
	}

	get id() {
		return this.lease.id ?? null;
	}

	get fence() {
		return this.lease.fence ?? null;
	}

	get proof() {
		return this.#runner.state.proof;
	}

	/** The secret of the lease, for a backend that goes on after a restart. */
	get token() {
		return this.#runner.state.token;
	}

	/** Aborted when work has to stop; its reason is a SeatError. */
	get signal() {
		return this.#runner.stop.signal;
	}

	/** Throws a SeatError if work has to stop. In `grace` it may go on. */
	check() {
		const loss = this.#runner.loss();
		if (loss) throw loss;
	}

	/** Tells operators what the holder works on, with the next heartbeat. */
	report({ activities, label } = {}) {
		this.#runner.feed({ event: 'report', ...(activities && { activities: [...activities] }), ...(label !== undefined && { label }) });
	}

	/** Calls listener(seat, event) for every change from now on; gives back what ends that. */
	listen(listener) {
		const own = (...told) => listener(...told);
		this.#runner.listeners.add(own);
		return () => this.#runner.listeners.delete(own);
	}

	/** Gives the seat back. It never rejects, takes three seconds at most, and may be called at any time. */
	async release() {
		this.#runner.feed({ event: 'release' });
		await this.#runner.quiet();
	}

	/** Goes away, as a page does: the seat is kept for the pool's `linger_ms`. */
	async close() {
		this.#runner.feed({ event: 'close' });
		await this.#runner.quiet();
	}

	/** Works in the seat until the work is done or the seat is lost, and gives it back. */
	async hold(work, { signal } = {}) {
		const runner = this.#runner;
		const stop = signal ? AbortSignal.any([signal, this.signal]) : this.signal;
		try {
			const result = await runner.engine.keepAlive((async () => work(this, stop))());
			this.signal.throwIfAborted(); // Work that did not notice the loss has not succeeded, even if the seat came back.
			this.check();
			return result;
		} catch (error) {
			const stopped = error === stop.reason || error?.name === 'AbortError';
			throw (stopped && !signal?.aborted && (this.signal.reason ?? runner.loss())) || error;
		} finally {
			await this.release();
		}
	}

	[Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
		return this.release();
	}

	toJSON() {
		return { pool: this.pool, holder: this.holder, id: this.id, state: this.state };
	}

	[INSPECT]() {
		return `Seat ${this.id ?? '-'} of ${this.pool}: ${this.state}`;
	}
}

/** Speaks to one server. One for a whole program is enough. */
export class Client {
	#engine;

	constructor(url, { key, log = console, transport = fetchTransport } = {}) {
		const { protocol, username, password, search, hash } = new URL(url);
		if (protocol !== 'http:' && protocol !== 'https:') throw new TypeError('the address of a server begins with http:// or https://');
		if (username || password || search || hash) throw new TypeError('the address of a server has no user, no query and no fragment');
		// Without the key itself: this may be logged.
		if (key != null && typeof key !== 'function' && !/^[!-~]+$/.test(key)) throw new TypeError('a key is one line of plain letters');
		this.#engine = new Engine(String(url).replace(/\/+$/, ''), key ?? null, transport, log);
	}

	get url() {
		return this.#engine.base;
	}

	/** Takes a seat, or rejects with a SeatError. `timeout` and `signal` bound the acquire, never the seat. */
	acquire(pool, options) {
		return this.#start(pool, options, { event: 'acquire' });
	}

	/** Goes on with a seat whose token was kept. */
	adopt(pool, token, options) {
		if (typeof token !== 'string' || !token) throw new TypeError('a token is a text');
		return this.#start(pool, options, { event: 'adopt', token });
	}

	/** Takes a seat, works in it, and gives it back. `work(seat, signal)` is told of the loss by the signal. */
	async hold(pool, options, work) {
		const seat = await this.acquire(pool, options);
		return seat.hold(work, options);
	}

	/** Releases all seats, within three seconds. */
	async close() {
		await this.#engine.end();
		this.#engine.transport.close?.();
	}

	async #start(pool, options = {}, event) {
		const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name) && name !== 'onToken');
		if (unknown) throw new TypeError(`there is no option ${unknown}`);
		if (typeof pool !== 'string' || !pool) throw new TypeError('a seat is of a pool, which has a name');
		const { holder, tenant, label, platform, activities, wait = false, reacquire = false, maxGrace, signal } = options;
		if (activities && !Array.isArray(activities)) throw new TypeError('activities are a list of texts');
		if (maxGrace != null && !(maxGrace >= 0)) throw new TypeError('maxGrace is a number of milliseconds');
		signal?.throwIfAborted();
		const wanted = { pool, holder, tenant, label, platform, activities, wait, reacquire, max_grace_ms: maxGrace };
		const runner = new Runner(this.#engine, { ...wanted, key: this.#engine.kind });
		const { onEvent, onLost, onToken, timeout = wait ? null : ACQUIRE_MS } = options;
		if (onEvent) runner.listeners.add(onEvent);
		if (onLost) runner.listeners.add((seat, told) => told.state === 'lost' && onLost(seat, new SeatError(told.code, told, true)));
		runner.onToken = onToken;
		runner.feed(event);
		await runner.until(() => runner.isDecided(), timeout, signal);
		const { state } = runner;
		if (state.lease && state.name !== 'lost' && !signal?.aborted) return runner.seat;
		const code = state.code ?? (runner.isDecided() ? state.name : 'timeout');
		const details = code === 'unreachable' ? { detail: runner.fault } : runner.details;
		const error = new SeatError(code, details, state.name === 'lost');
		runner.giveUp();
		signal?.throwIfAborted();
		throw error;
	}

	toJSON() {
		return { url: this.url };
	}

	[INSPECT]() {
		return `Client of ${this.url}`;
	}
}

/** Works in a seat until the work is done or the seat is lost, and gives it back. */
export const hold = (seat, work, options) => seat.hold(work, options);
