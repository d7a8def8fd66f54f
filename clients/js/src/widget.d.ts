import type { Ending, Lease, Notice, Problem, SeatState } from './index.js';

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
	/** Stop sooner in an outage than the server allows; milliseconds. */
	maxGrace?: number;
	/** Whether a page that goes away says so. Default: true. */
	leave?: boolean;
	/** Where leasehold-worker.js is; left out, beside this module, or made of a text. `false`: no worker. */
	worker?: string | URL | false;
	/**
	 * How long the user has done nothing, in milliseconds, or null if that is not known: from products that know better than the
	 * page, which measures it otherwise. With `false` nothing is reported.
	 */
	idle?: (() => number | null | undefined) | false;
	/** What stands for `globalThis`, in tests. */
	scope?: object;
}

export interface SeatChange {
	readonly from: SeatState;
	readonly to: SeatState;
	/** Why, as a stable word: `lease_terminated`, `pool_full`, … */
	readonly code?: string;
	/** What the operator wrote. Show it as text. */
	readonly reason?: string | null;
	readonly problem: Problem | null;
	/** The lease that it is about. */
	readonly lease: Lease | null;
}

/** Each state is an event, too; `waiting` comes again with each new place in the queue. */
export type SeatEventMap = { [state in Exclude<SeatState, 'idle' | 'grace'>]: CustomEvent<SeatChange> } & {
	statechange: CustomEvent<SeatChange>;
	/** The lease had expired, and has its seat again. */
	resumed: CustomEvent<{ readonly lease: Lease }>;
	/** The seat ends soon unless its user does something; null when that is no longer so. */
	ending: CustomEvent<Ending | null>;
	/** What an operator has to say. Show it as text. */
	notice: CustomEvent<Notice>;
};

/** Keeps a seat for a page, as an object with events. What happens when: docs/widget.md. */
export declare class SeatClient extends EventTarget {
	constructor(options: SeatOptions);
	readonly state: SeatState;
	readonly lease: Lease | null;
	/** What the server said last, if it was not a lease. */
	readonly problem: Problem | null;
	/** Whether this tab sends the heartbeats for the holder's tabs. */
	readonly leader: boolean;
	/** Asks for a seat until there is one, or until it is clear that there is none: then a SeatError. `signal` and `timeout` bound the asking, never the seat. */
	acquire(options?: { signal?: AbortSignal; timeout?: number }): Promise<Lease>;
	/** Gives the seat back, for all tabs; also gives up an acquire, and the place in the queue. Call it at logout, before the page is left. Does not fail. */
	release(): Promise<void>;
	/** This page needs the seat no longer. Other tabs keep it; without any it is kept for the pool's `linger_ms`. Does not fail. */
	close(): Promise<void>;
	/** Says what the holder works on now; with several tabs, the last word counts. */
	setActivities(activities: readonly string[]): void;
	/** The user did something just now, also where the page cannot see it: in a call, in a frame. It may be called often. */
	active(): void;
	/** What the next heartbeat will report: how long nobody has used the seat, in milliseconds, or null. */
	readonly idle: number | null;
	/**
	 * Counts also what is done outside of the page, where the browser has an IdleDetector and its user allows it. To be called in a
	 * click. Whether it is so.
	 */
	detectIdle(): Promise<boolean>;
	addEventListener<K extends keyof SeatEventMap>(type: K, listener: ((event: SeatEventMap[K]) => void) | null, options?: boolean | AddEventListenerOptions): void;
	addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
	removeEventListener<K extends keyof SeatEventMap>(type: K, listener: ((event: SeatEventMap[K]) => void) | null, options?: boolean | EventListenerOptions): void;
	removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}
