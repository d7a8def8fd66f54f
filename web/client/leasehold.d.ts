/** Keeps a seat of a Leasehold pool for a page. What happens when: docs/widget.md. */

/**
 * - `idle`: nothing was asked.
 * - `acquiring`: asked, or asking again because the server does not answer.
 * - `waiting`: the pool is full and `wait` is set, or the server is in maintenance; `problem` says which.
 * - `held`: the seat is there.
 * - `unstable`: a beat was missed; the seat is still there.
 * - `suspect`: no answer for so long that the seat may be gone. It goes on asking.
 * - `lost`: the server said that the seat is gone.
 * - `denied`: the server said that there is none.
 * - `released`: given back, by this tab or another.
 */
export type SeatState =
	| 'idle' | 'acquiring' | 'waiting' | 'held' | 'unstable' | 'suspect' | 'lost' | 'denied' | 'released';

/** A seat, as the server describes it. There may be more fields. */
export interface Lease {
	readonly id: string;
	readonly pool: string;
	readonly holder: string | null;
	readonly tenant: string | null;
	readonly label: string | null;
	readonly activities: readonly string[];
	readonly platform: string | null;
	readonly seat: string;
	/** Grows with every grant in the pool. */
	readonly fence: number;
	readonly started_at: string;
	readonly renewed_at: string;
	readonly expires_at: string;
	readonly expires_in_ms: number;
	readonly ttl_ms: number;
	readonly renew_after_ms: number;
}

/** A problem document (RFC 9457), or what a queue says. There may be more fields. */
export interface Problem {
	/** The machine word: `pool_full`, `lease_terminated`, … */
	readonly code?: string;
	readonly status?: number;
	readonly title?: string;
	readonly detail?: string;
	/** What the operator wrote who ended the lease. Show it as text. */
	readonly reason?: string | null;
	readonly blocked_until?: string | null;
	readonly in_use?: number;
	readonly capacity?: number;
	readonly retry_after_ms?: number;
	/** The place in the queue, from 1. */
	readonly position?: number;
	readonly eta_ms?: number;
	readonly [more: string]: unknown;
}

export interface SeatOptions {
	/** The pool to take a seat of. */
	pool: string;
	/** The server; left out, the one that this module came from. */
	url?: string | URL;
	/** Who holds the seat. Left out, the lease is anonymous, and each tab has its own. */
	holder?: string;
	tenant?: string;
	/** What operators read beside the holder, at most 128 bytes. */
	label?: string;
	/** What the holder works on: at most 32 texts of at most 128 bytes. */
	activities?: readonly string[];
	platform?: string;
	/** A client key, or what gets one; called for each acquire, and once more with `refused` when it was refused. */
	key?: string | ((asked: { refused: boolean }) => string | Promise<string>);
	/** Whether to wait when the pool is full. Default: false. */
	wait?: boolean;
	/** `holder` (default): the tabs of a holder share one lease. `tab`: each has its own. */
	sharing?: 'holder' | 'tab';
	/** Whether to ask once more when the lease has expired. Default: true. Never after *terminated*. */
	reacquire?: boolean;
	/** Whether a page that goes away says so. Default: true. */
	leave?: boolean;
	/** Where leasehold-worker.js is; left out, beside this module. `false`: no worker. */
	worker?: string | URL | false;
	/** What stands for `globalThis`, in tests. */
	scope?: object;
}

export interface SeatEvent {
	readonly from: SeatState;
	readonly to: SeatState;
	/** Why, as a machine word: `lease_terminated`, `pool_full`, … */
	readonly code?: string;
	/** What the operator wrote. Show it as text. */
	readonly reason?: string | null;
	readonly problem: Problem | null;
	/** The lease that it is about. */
	readonly lease: Lease | null;
}

/** Each state is an event, too; `waiting` comes again with each new place in the queue. */
export type SeatEventMap = { [state in Exclude<SeatState, 'idle'>]: CustomEvent<SeatEvent> } & {
	statechange: CustomEvent<SeatEvent>;
	/** The lease had expired, and has its seat again. */
	resumed: CustomEvent<{ readonly lease: Lease }>;
};

/** There is no seat. */
export declare class SeatError extends Error {
	/** The machine word: `pool_full`, `lease_released`, … */
	readonly code: string;
	readonly problem: Problem;
}

export declare class SeatClient extends EventTarget {
	constructor(options: SeatOptions);
	readonly state: SeatState;
	readonly lease: Lease | null;
	/** What the server said last, if it was not a lease. */
	readonly problem: Problem | null;
	/** Whether this tab beats for the holder's tabs. */
	readonly leader: boolean;
	/** Asks for a seat until there is one, or until it is clear that there is none: then a {@link SeatError}. */
	acquire(): Promise<Lease>;
	/** Gives the seat back, for all tabs; also gives up an acquire, and the place in the queue. Call it at logout, before the page is left. Does not fail. */
	release(): Promise<void>;
	/** Says what the holder works on now; with several tabs, the last word counts. */
	setActivities(activities: readonly string[]): void;
	addEventListener<K extends keyof SeatEventMap>(type: K, listener: ((event: SeatEventMap[K]) => void) | null, options?: boolean | AddEventListenerOptions): void;
	addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
	removeEventListener<K extends keyof SeatEventMap>(type: K, listener: ((event: SeatEventMap[K]) => void) | null, options?: boolean | EventListenerOptions): void;
	removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}
