// The client: who is asked, with which key, and for which seats.

import { Engine } from './engine.js';
import { SeatError } from './errors.js';
import { INSPECT, Runner } from './seat.js';

const ACQUIRE_MS = 30_000;
const OPTIONS = ['holder', 'tenant', 'label', 'platform', 'activities', 'wait', 'reacquire', 'request', 'maxGrace', 'onEvent', 'onLost', 'signal', 'timeout', 'sharing', 'idle'];

/** Speaks to one server. One for a whole program is enough. */
export class Client {
	#engine;

	constructor(url, options) {
		this.#engine = new Engine(url, options);
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
		this.#engine.platform.close?.();
	}

	async #start(pool, options = {}, event) {
		const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name) && name !== 'onToken' && name !== 'outlives');
		if (unknown) throw new TypeError(`there is no option ${unknown}`);
		if (typeof pool !== 'string' || !pool) throw new TypeError('a seat is of a pool, which has a name');
		const { holder, tenant, label, platform, activities, wait = false, reacquire = false, request = false, maxGrace, signal, sharing, idle } = options;
		if (idle != null && idle !== false && typeof idle !== 'function') throw new TypeError('idle is a function, or false');
		if (activities && !Array.isArray(activities)) throw new TypeError('activities are a list of texts');
		if (maxGrace != null && !(maxGrace >= 0)) throw new TypeError('maxGrace is a number of milliseconds');
		signal?.throwIfAborted();
		const wanted = { pool, holder, tenant, label, platform, activities, wait, reacquire, request, max_grace_ms: maxGrace };
		const Kind = this.#engine.platform.Runner ?? Runner;
		const runner = new Kind(this.#engine, { ...wanted, key: this.#engine.kind }, { sharing, idle });
		const { onEvent, onLost, onToken, timeout = wait ? null : ACQUIRE_MS } = options;
		if (onEvent) runner.listeners.add(onEvent);
		if (onLost) runner.listeners.add((seat, told) => told.state === 'lost' && onLost(seat, new SeatError(told.code, told, true)));
		Object.assign(runner, { onToken, outlives: options.outlives ?? false }); // Of a gateway.
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
