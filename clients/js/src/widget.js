// The seat of a page as an object with events: what pages have embedded from a node since the first version. The rules are those of
// every client; only their names are older here: `suspect` is `grace`.

import { SERVED_BY } from './clock.js';
import { Engine } from './engine.js';
import { SeatError } from './errors.js';
import { seen } from './machine.js';
import { Page, PageRunner } from './page.js';

const FINAL = new Set(['lost', 'denied', 'released']);
const OLD_NAMES = { grace: 'suspect' };
const named = (state) => OLD_NAMES[state] ?? state;

export class SeatClient extends EventTarget {
	#engine;
	#options;
	#more;
	#runner = null;
	#asked = null;
	#state = 'idle';
	/** What the server said last, if it was not a lease. */
	problem = null;

	constructor({ url = SERVED_BY, pool, key, worker, leave = true, scope = globalThis, sharing, idle, ...options }) {
		super();
		if (!url || !pool) throw new TypeError('a SeatClient needs `pool`, and the `url` of the server');
		const address = new URL(String(url), scope.location?.href);
		this.#engine = new Engine(address, { key: key || null, platform: new Page({ scope, worker, leave }) });
		const { holder, tenant, label, platform, activities, wait = false, reacquire = true, maxGrace } = options;
		this.#options = { pool, holder, tenant, label, platform, activities, wait, reacquire, max_grace_ms: maxGrace };
		this.#more = { sharing, idle };
	}

	get state() {
		if (!this.#runner || !['held', 'unstable', 'suspect'].includes(this.#state)) return this.#state;
		return named(seen(this.#runner.state, this.#engine.platform.now())[0]);
	}

	get lease() {
		return FINAL.has(this.#state) ? null : (this.#runner?.state.lease ?? null);
	}

	get leader() {
		return Boolean(this.#runner?.leader);
	}

	/** Asks for a seat until there is one, or until it is clear that there is none. `signal` and `timeout` bound the asking, not the seat. */
	acquire({ signal, timeout } = {}) {
		if (this.#asked) return this.#asked.promise;
		if (this.lease) return Promise.resolve(this.lease);
		const asked = {};
		asked.promise = new Promise((resolve, reject) => Object.assign(asked, { resolve, reject }));
		asked.promise.catch(() => {}); // Who listens to the events need not catch.
		this.#asked = asked;
		if (this.#runner?.state.lease) this.#runner.wake(true); // After a long outage it still asks by itself.
		else if (this.#runner?.state.dormant) this.#runner.touch();
		else this.#start(asked);
		this.#bound(asked, signal, timeout);
		return asked.promise;
	}

	/** Gives the seat back, for all tabs; also gives up an acquire, and the place in the queue. Does not fail. */
	async release() {
		await this.#end('release', 'lease_released');
	}

	/** This page needs the seat no longer. Other tabs keep it; without any it is kept for the pool's `linger_ms`. */
	async close() {
		await this.#end('close', 'closed');
	}

	setActivities(activities) {
		this.#options.activities = [...activities];
		this.#runner?.feed({ event: 'report', activities: [...activities] });
	}

	/** The user did something just now, also where the page cannot see it: in a call, in a frame. It may be called often. */
	active() {
		this.#runner?.touch();
	}

	/** What the next heartbeat will report: how long nobody has used the seat, in milliseconds, or null. */
	get idle() {
		return this.#runner?.idleMs() ?? null;
	}

	/**
	 * Counts also what is done outside of the page, where the browser has an IdleDetector and its user allows it. To be called in a
	 * click. Whether it is so.
	 */
	detectIdle() {
		return this.#engine.platform.activity.detect();
	}

	async #start(asked) {
		const before = this.#runner;
		this.#become('acquiring');
		if (before?.isBusy()) await before.quiet(); // The seat that is being given back may be the one that it gets.
		if (this.#asked !== asked) return; // Given up meanwhile, or by a listener.
		const engine = this.#engine;
		const runner = new PageRunner(engine, { ...this.#options, key: engine.kind }, this.#more);
		this.#runner = runner;
		runner.onTold = ({ state, code, resumed, ...details }) => {
			if (runner !== this.#runner) return;
			this.#become(named(state), code ? { code, ...details } : state === 'waiting' ? details : null, runner.state.lease);
			if (resumed) this.#emit('resumed', { lease: runner.state.lease });
		};
		runner.onSaid = (said) => {
			if (runner === this.#runner) for (const [type, detail] of Object.entries(said)) this.#emit(type, detail);
		};
		runner.feed({ event: 'acquire' });
	}

	#bound(asked, signal, timeout) {
		const give = (code, reason) => {
			if (this.#asked !== asked) return;
			this.#asked = null;
			const { state, fault, details } = this.#runner ?? {};
			const why = (code === 'timeout' && state?.code) || code;
			asked.reject(reason ?? this.#error(why, { code: why, ...(why === 'unreachable' ? { detail: fault } : details) }));
			this.#runner?.giveUp();
			this.#become('released', { code });
		};
		if (signal?.aborted) give('cancelled', signal.reason);
		const abort = () => give('cancelled', signal.reason);
		signal?.addEventListener('abort', abort);
		const cancel = timeout == null ? null : this.#engine.platform.after(timeout, () => give('timeout'));
		asked.done = () => (cancel?.(), signal?.removeEventListener('abort', abort));
		asked.promise.then(asked.done, asked.done);
	}

	async #end(kind, code) {
		const runner = this.#runner;
		const asks = this.#asked && !runner?.isAsking();
		runner?.feed({ event: kind });
		if (asks) this.#become('released', { code });
		await runner?.quiet();
	}

	#error(code, problem) {
		const error = new SeatError(code, problem, this.#state === 'lost');
		return Object.assign(error, { message: error.detail }); // For people, as it always was.
	}

	#become(state, problem = null, lease = null) {
		const from = this.#state;
		const { code, reason } = problem ?? {};
		const last = lease ?? this.#last;
		this.#last = lease;
		this.#state = state;
		this.problem = problem;
		const asked = this.#asked;
		if (state === 'held' || FINAL.has(state)) this.#asked = null;
		if (state === 'held') asked?.resolve(lease);
		else if (FINAL.has(state)) asked?.reject(this.#error(code, problem));
		const detail = { from, to: state, code, reason, problem, lease: FINAL.has(state) ? (last ?? null) : lease };
		if (from !== state) this.#emit('statechange', detail);
		if (from !== state || state === 'waiting') this.#emit(state, detail);
	}

	#last = null;

	#emit(type, detail) {
		this.dispatchEvent(new CustomEvent(type, { detail }));
	}
}
