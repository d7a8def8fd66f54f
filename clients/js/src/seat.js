// One seat: its machine, and the object that the program has of it.

import { SeatError } from './errors.js';
import { away, begin, seen, step, sure } from './machine.js';

const END_MS = 3_000;
const POLL_MS = 1_000;
const MOST_IDLE_MS = 31 * 24 * 3_600_000;
export const INSPECT = Symbol.for('nodejs.util.inspect.custom');

const isActive = (name) => name === 'held' || name === 'unstable' || name === 'grace';

function seed() {
	const bytes = crypto.getRandomValues(new Uint8Array(16));
	return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** One seat: its machine, its timers and its requests. */
export class Runner {
	timers = new Map();
	calls = new Map();
	details = {};
	fault = 'The server did not answer.';
	lost = null;
	ending = false;
	listeners = new Set();
	waiters = new Set();
	stop = new AbortController();
	touched = null;
	lastIdle = null;
	idleFails = false;
	idleSaid = false;

	/** `idle` is a function of the program, if it has one. */
	constructor(engine, options, { idle } = {}) {
		this.engine = engine;
		this.idle = idle || undefined;
		this.state = begin(options);
		this.seed = seed();
		this.seat = new Seat(this);
	}

	/** Takes one step, and carries out what follows. */
	feed(event) {
		const { engine } = this;
		const before = this.state.token;
		const [state, out] = step(this.state, event, engine.platform.now());
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
		if (out.tell) this.say(out.tell);
		if (out.done) engine.rest(this);
		else if (Object.keys(out).length) engine.start(this);
		for (const waiter of [...this.waiters]) waiter();
		this.poll();
		return out;
	}

	/** What the server had to say besides. */
	say(told) {
		this.onSaid?.(told);
		this.deliver({ state: this.state.name, ...told });
	}

	/** The user did something just now. */
	touch() {
		this.touched = this.engine.platform.now().mono;
		this.back();
	}

	back() {
		if (this.state.flight || away(this.state)) this.feed({ event: 'active' });
	}

	/** How long nobody has used the seat; null if that is not known. */
	idleMs() {
		this.lastIdle = this.askedIdle();
		if (this.idleFails) return null;
		const known = [this.lastIdle, this.untouchedMs()].filter((ms) => ms !== null);
		return known.length ? Math.max(0, Math.min(...known, MOST_IDLE_MS)) : null;
	}

	untouchedMs() {
		return this.touched === null ? null : this.engine.platform.now().mono - this.touched;
	}

	askedIdle() {
		this.idleFails = false;
		try {
			const ms = this.idle?.();
			return Number.isFinite(ms) ? Math.floor(ms) : null;
		} catch (error) {
			this.idleFails = true;
			// Once: heartbeats go on for days.
			if (!this.idleSaid) this.engine.log.error('the function for the idle time of a seat threw; its heartbeats go on, and the seat counts as used', error);
			this.idleSaid = true;
			return null;
		}
	}

	/** Where only the function of the program knows that its user is back, it is asked once a second. */
	poll() {
		if (!this.idle || this.polling || !this.polls()) return;
		this.polling = true;
		this.engine.platform.after(POLL_MS, () => {
			const last = this.lastIdle;
			this.lastIdle = this.askedIdle();
			this.polling = false;
			if (last !== null && this.lastIdle !== null && this.lastIdle < last) this.back();
			this.poll();
		});
	}

	polls() {
		return away(this.state);
	}

	/** Time has jumped, or the network is back. */
	wake() {
		this.feed({ event: 'wake' });
	}

	plan(name, span) {
		const { platform } = this.engine;
		this.timers.get(name)?.cancel();
		this.timers.delete(name);
		if (!span) return;
		const [from, to] = span;
		const ms = from + Math.floor(platform.random() * (to - from + 1));
		const cancel = platform.after(ms, () => {
			this.timers.delete(name);
			this.engine.fire(this, name);
		});
		this.timers.set(name, { cancel, at: platform.now().mono + ms });
	}

	tell(told) {
		const { state, code, ...details } = told;
		this.details = details;
		if (state === 'held') this.lost = null;
		if (state === 'lost' || state === 'released') {
			this.lost = new SeatError(code, details, true);
			this.stop.abort(this.lost);
		}
		this.onTold?.(told);
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
					cancel?.();
					signal?.removeEventListener('abort', settle);
					this.waiters.delete(look);
					resolve();
				};
				const look = () => reached() && settle();
				const cancel = ms === null ? null : this.engine.platform.after(ms, settle);
				signal?.addEventListener('abort', settle);
				this.waiters.add(look);
				look();
			}),
		);
	}

	quiet() {
		return this.until(() => !this.engine.busy.has(this), END_MS);
	}

	/** Waits for the answer to a yield. */
	async yielded() {
		await this.until(() => this.state.flight?.kind !== 'yield', null);
		return this.state.name === 'released' && this.state.code === 'handed_over';
	}

	isDecided() {
		return !this.isAsking();
	}

	isAsking() {
		return this.state.name === 'acquiring' || this.state.name === 'waiting';
	}

	giveUp() {
		this.feed({ event: 'cancel' });
		if (this.state.lease) this.feed({ event: 'release' }); // The grant came first.
	}

	/** Why work has to stop, or null. */
	loss() {
		const [name, code] = seen(this.state, this.engine.platform.now());
		return isActive(name) ? null : (this.lost ?? new SeatError(code ?? name, this.details, true));
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
		return seen(this.#runner.state, this.#runner.engine.platform.now())[0];
	}

	/** Why it is not simply held. */
	get code() {
		return seen(this.#runner.state, this.#runner.engine.platform.now())[1];
	}

	/** Whether nobody else can have the seat at this moment. */
	get sure() {
		return sure(this.#runner.state, this.#runner.engine.platform.now());
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

	/** The user did something just now. From the first call on, heartbeats report how long nobody did. It may be called often. */
	active() {
		this.#runner.touch();
	}

	/** While it waits: asks those who have a seat whether one of them gives theirs away. */
	request() {
		this.#runner.feed({ event: 'request' });
	}

	/** Gives the seat to whoever asked for one first; resolves with whether it did. If nobody asks any more, the seat stays. */
	async yieldSeat() {
		this.#runner.feed({ event: 'yield' });
		return this.#runner.yielded();
	}

	/** What the next heartbeat will report: how long nobody has used the seat, in milliseconds, or null. */
	get idle() {
		return this.#runner.idleMs();
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

/** Works in a seat until the work is done or the seat is lost, and gives it back. */
export const hold = (seat, work, options) => seat.hold(work, options);
