// A seat for React components. Components that ask for the same seat share it, and it outlives their coming and going for a moment:
// StrictMode, a change of the route and a hot reload release nothing.

import { useCallback, useSyncExternalStore } from 'react';

const RELEASE_MS = 1_000;
const IDLE = Object.freeze({ state: 'idle', code: null, detail: null, reason: null, position: null, ending: null, seatRequested: null, seat: null, error: null, again: () => {} });
const FINAL = new Set(['lost', 'denied', 'released']);
const WORKS = new Set(['held', 'unstable', 'grace']);
// On the global object: a module that is loaded again finds the seats of the one before.
const clients = (globalThis[Symbol.for('leasehold.seats')] ??= new WeakMap());

class SharedSeat {
	snapshot = IDLE;
	users = new Set();
	running = false;
	ending = null;

	constructor(ask, forget) {
		Object.assign(this, { ask, forget, again: () => this.restart() });
	}

	restart() {
		if (!FINAL.has(this.snapshot.state) || !this.users.size) return;
		this.ending = this.snapshot.seat?.release(); // After an outage it may still hope to come back.
		this.start();
		this.tell({ state: 'acquiring', seat: null });
	}

	subscribe(notify) {
		clearTimeout(this.leaving);
		this.users.add(notify);
		if (!this.running) this.start();
		return () => {
			this.users.delete(notify);
			if (this.users.size) return;
			this.leaving = setTimeout(() => this.end(), RELEASE_MS);
			this.leaving.unref?.();
		};
	}

	async start() {
		this.running = true;
		const stop = (this.stop = new AbortController());
		const onEvent = (seat, event) => stop === this.stop && this.tell({ ...event, seat });
		await this.ending; // The seat that is being given back may be the one that it gets.
		try {
			await this.ask({ signal: stop.signal, onEvent });
		} catch (error) {
			const { code = null, detail = String(error), reason = null } = error;
			const state = FINAL.has(this.snapshot.state) ? this.snapshot.state : 'denied';
			if (!stop.signal.aborted) this.tell({ state, code, detail, reason, seat: this.snapshot.seat, error });
		}
	}

	tell({ state, code = null, detail = null, reason = null, position = null, ending, seat_requested: request, seat, error = null }) {
		const near = ending === undefined && WORKS.has(state) ? this.snapshot.ending : (ending ?? null);
		const seatRequested = request === undefined && WORKS.has(state) ? this.snapshot.seatRequested : (request ?? null);
		this.snapshot = Object.freeze({ state, code, detail, reason, position, ending: near, seatRequested, seat, error, again: this.again });
		for (const notify of [...this.users]) notify();
	}

	async end() {
		this.running = false;
		const { seat } = this.snapshot;
		this.stop.abort();
		this.stop = null;
		this.snapshot = IDLE;
		this.ending = seat?.close(); // In a page, another tab may still need it.
		await this.ending;
		if (!this.running) this.forget();
	}
}

/** What is known of a seat, and nothing else: `pool` may be null as long as none is wanted. */
export function useSeat(client, pool, options = {}) {
	const name = pool ? JSON.stringify([pool, options.holder ?? null, options.tenant ?? null]) : null;
	// The options of the component that comes first count.
	const subscribe = useCallback((notify) => (name ? shared(client, name, pool, options).subscribe(notify) : () => {}), [client, name]);
	const snapshot = useCallback(() => clients.get(client)?.get(name)?.snapshot ?? IDLE, [client, name]);
	return useSyncExternalStore(subscribe, snapshot, () => IDLE);
}

function shared(client, name, pool, options) {
	if (!clients.has(client)) clients.set(client, new Map());
	const seats = clients.get(client);
	const ask = ({ signal, onEvent }) => {
		const both = (seat, event) => {
			onEvent(seat, event);
			return options.onEvent?.(seat, event);
		};
		return client.acquire(pool, { timeout: null, ...options, signal, onEvent: both });
	};
	if (!seats.has(name)) seats.set(name, new SharedSeat(ask, () => seats.delete(name)));
	return seats.get(name);
}
