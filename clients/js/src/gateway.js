// Seats that a web backend holds for the users who are logged in to it.

import { SeatError } from './errors.js';
import { isUnused } from './machine.js';

const AT_ONCE = 16;
const isGood = (seat) => ['held', 'unstable', 'grace'].includes(seat.state);

/**
 * One seat for each session of a product. `tokens` is where the secrets of the leases are kept over a restart: anything with `set`,
 * `delete` and `entries` like those of a Map, also with promises. With it the seats stay when the program ends, for the next start of it.
 */
export class Gateway {
	#client;
	#pool;
	#tokens;
	#onLost;
	#seats = new Map();
	#logins = new Map();
	#writes = new Map();
	#keeps;

	constructor(client, pool, { tokens, onLost } = {}) {
		this.#client = client;
		this.#pool = pool;
		this.#tokens = tokens ?? new Map();
		this.#keeps = Boolean(tokens);
		this.#onLost = onLost;
	}

	get size() {
		return this.#seats.size;
	}

	/**
	 * After a restart: goes on with all seats whose tokens were kept. How many there are. A token is forgotten if its lease has ended, and
	 * stays if no server answered within the time: call this again then.
	 */
	async restore({ timeout } = {}) {
		const kept = [...(await this.#tokens.entries())].filter(([session]) => !this.#seats.has(session)).reverse();
		const work = async () => {
			for (let next = kept.pop(); next; next = kept.pop()) await this.#restore(...next, timeout);
		};
		await Promise.all(Array.from({ length: AT_ONCE }, work));
		return this.size;
	}

	/** A seat for this session, the one that it has or a new one. Rejects with a SeatError; options as in acquire. */
	login(session, options) {
		const under = this.#logins.get(session);
		if (under) return under;
		const login = this.#login(session, options).finally(() => this.#logins.delete(session));
		this.#logins.set(session, login);
		return login;
	}

	/** For each request of a user: the seat, or it throws a SeatError. */
	check(session) {
		const seat = this.#seats.get(session);
		if (!seat) throw new SeatError('lease_released', {}, true);
		seat.check();
		return seat;
	}

	/** The user of this session did something just now: see Seat.active. */
	active(session) {
		this.#seats.get(session)?.active();
	}

	/** Gives the seat of this session back. */
	async logout(session) {
		await this.#logins.get(session)?.catch(() => {});
		const seat = this.#seats.get(session);
		this.#seats.delete(session);
		await seat?.release();
		await this.#write(session, null);
	}

	async #login(session, options = {}) {
		const seat = this.#seats.get(session);
		if (seat && isGood(seat)) return seat;
		await seat?.release(); // It may still hope to come back.
		return this.#put(session, await this.#client.acquire(this.#pool, this.#options(session, options)));
	}

	async #restore(session, token, timeout) {
		try {
			await this.#put(session, await this.#client.adopt(this.#pool, token, this.#options(session, { timeout })));
		} catch (error) {
			const { isLost, code } = error;
			if (isLost || code === 'lease_released') await this.#write(session, null); // Else the server was away, and the seat may still be there.
		}
	}

	async #put(session, seat) {
		this.#seats.set(session, seat);
		await this.#write(session, seat.token);
		return seat;
	}

	#options(session, options) {
		return {
			...options,
			outlives: this.#keeps,
			onToken: (token) => this.#seats.has(session) && this.#write(session, token).catch(() => {}),
			onEvent: (seat, event) => {
				const lost = event.state === 'lost' || event.state === 'denied' ? this.#lost(session, seat, event, options.reacquire) : null;
				return Promise.all([lost, (async () => options.onEvent?.(seat, event))()]);
			},
		};
	}

	async #lost(session, seat, { state, code, ...event }, reacquire) {
		if (this.#seats.get(session) !== seat) return; // An acquire that was denied, or a seat that is no longer this session's.
		const expired = code === 'lease_expired' || code === 'invalid_token' || isUnused(code, event.reason);
		const again = code === 'outage_grace_over' || (reacquire && expired);
		if (state === 'denied' || !again) {
			this.#seats.delete(session);
			await this.#write(session, null);
		}
		await this.#onLost?.(session, new SeatError(code, event, true));
	}

	/** Keeps a token, or forgets it. For one session in the order in which it was said. */
	#write(session, token) {
		const write = async () => (token ? this.#tokens.set(session, token) : this.#tokens.delete(session));
		const last = (this.#writes.get(session) ?? Promise.resolve()).then(write, write);
		this.#writes.set(session, last);
		const forget = () => this.#writes.get(session) === last && this.#writes.delete(session);
		last.then(forget, forget);
		return last;
	}
}
