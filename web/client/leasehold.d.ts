
/** What each state means: clients/spec/README.md. In `held`, `unstable` and `grace` work may go on. A SeatClient says `suspect` for `grace`. */
export type SeatState = 'idle' | 'acquiring' | 'waiting' | 'held' | 'unstable' | 'grace' | 'suspect' | 'lost' | 'denied' | 'released';

/** A seat, as the server describes it. There may be more fields. */
export interface Lease {
	readonly id: string;
	readonly fence?: number;
	readonly expires_in_ms: number;
	readonly renew_after_ms: number;
	readonly outage_grace_ms?: number | null;
	readonly pool?: string;
	readonly holder?: string | null;
	readonly tenant?: string | null;
	readonly label?: string | null;
	readonly activities?: readonly string[];
	readonly platform?: string | null;
	readonly seat?: string;
	readonly started_at?: string;
	readonly renewed_at?: string;
	readonly expires_at?: string;
	readonly ttl_ms?: number;
	readonly [more: string]: unknown;
}

/** What the server said: a problem document (RFC 9457), or what a queue says. */
export interface Problem {
	/** Why, as a stable word: `pool_full`, `lease_terminated`, `unreachable`, … */
	readonly code?: string;
	readonly status?: number;
	readonly title?: string;
	readonly detail?: string;
	/** What an operator wrote. Show it as text. */
	readonly reason?: string;
	readonly blocked_until?: string;
	readonly request_id?: string;
	readonly retry_after_ms?: number;
	readonly in_use?: number;
	readonly capacity?: number;
	/** The place in the queue, from 1. */
	readonly position?: number;
	readonly eta_ms?: number;
}

/** A change of a seat, with what the server said of it. */
export interface SeatEvent extends Problem {
	readonly state: SeatState;
	/** The lease had expired, and has its seat again. */
	readonly resumed?: boolean;
	/** What an operator has to say. Show it as text. */
	readonly notice?: Notice;
	/** The seat ends soon unless its user does something; null when that is no longer so. */
	readonly ending?: Ending | null;
	/** Somebody would like this seat: see {@link Seat.yieldSeat}. Once for each request; null when none is open any more. */
	readonly seat_requested?: SeatRequest | null;
}

export interface SeatRequest {
	/** How many ask. Nobody says who. */
	readonly requests: number;
	/** For how long they wait for an answer; none is an answer, too. */
	readonly answer_in_ms: number;
}

export interface Notice {
	readonly message: string;
	readonly at?: string;
}

export interface Ending {
	readonly in_ms: number;
	/** `idle`: any activity ends the matter. `max_hold`: it was held for long, and nothing does. */
	readonly reason: string;
	/** `yield`: when somebody else needs a seat. `end`: in any case. */
	readonly then: string;
}

export type Listener = (seat: Seat, event: SeatEvent) => unknown;

/** Why there is no seat. */
export declare class SeatError extends Error {
	constructor(code: string, details?: Partial<SeatEvent>, isLost?: boolean);
	/** The stable word for programs. */
	readonly code: string;
	/** Of the answer; null without one. */
	readonly status: number | null;
	/** A sentence for people. */
	readonly detail: string;
	/** What an operator wrote. Show it as text. */
	readonly reason: string | null;
	/** Milliseconds. */
	readonly retryAfter: number | null;
	readonly requestId: string | null;
	/** All that the server said of it. */
	readonly problem: Problem;
	/** Whether a seat was lost, and not merely denied. */
	readonly isLost: boolean;
	/** Whether the same request may do better later. */
	get isTemporary(): boolean;
}

export interface AcquireOptions {
	holder?: string;
	tenant?: string;
	/** What operators read beside the holder. */
	label?: string;
	platform?: string;
	activities?: readonly string[];
	/** Queue when all seats are in use. */
	wait?: boolean;
	/** Ask once more when the seat has expired. */
	reacquire?: boolean;
	/** While it waits, ask those who have a seat for theirs, where the pool allows that. */
	request?: boolean;
	/** Stop sooner in an outage than the server allows; milliseconds. */
	maxGrace?: number;
	/** How long the acquire may take, in milliseconds: 30,000 without; no limit with `wait`, or with null. Never bounds the seat. */
	timeout?: number | null;
	/** Ends the acquire, which then rejects with the reason of the signal. Whoever stops waiting has no seat. */
	signal?: AbortSignal;
	/** Called for each change, in order, not in the middle of anything. */
	onEvent?: Listener;
	onLost?: (seat: Seat, error: SeatError) => unknown;
	/** In pages. `holder`, the default: the tabs of a holder in one browser share the seat. `tab`: each has its own. */
	sharing?: 'holder' | 'tab';
	/**
	 * How long the user has done nothing, in milliseconds, or null if that is not known. In a page that is measured without it; with
	 * `false` nothing is reported.
	 */
	idle?: (() => number | null | undefined) | false;
}

export type Work<Result> = (seat: Seat, signal: AbortSignal) => Result | Promise<Result>;

/** A seat, from its grant to its end. A lost one is not used again: acquire another. */
export declare class Seat {
	private constructor();
	readonly pool: string;
	readonly holder: string | null;
	/** As of now, also where no timer has fired yet. */
	readonly state: SeatState;
	/** Why it is not simply held. */
	readonly code: string | null;
	/** Whether nobody else can have the seat at this moment. */
	readonly sure: boolean;
	/** The lease as the server told it last; empty without one. */
	readonly lease: Partial<Lease>;
	/** The id of the lease. Not a secret. */
	readonly id: string | null;
	/** Grows with every grant in the pool, for resources that refuse older holders. */
	readonly fence: number | null;
	/** The signed proof of the lease, in a pool that has proofs. */
	readonly proof: string | null;
	/** The secret of the lease, for a backend that goes on after a restart. */
	readonly token: string | null;
	/** Aborted when work has to stop; its reason is a {@link SeatError}. */
	readonly signal: AbortSignal;
	/** Throws a {@link SeatError} if work has to stop. In `grace` it may go on. */
	check(): void;
	/** Tells operators what the holder works on, with the next heartbeat. */
	report(news: { activities?: readonly string[]; label?: string }): void;
	/** The user did something just now. From the first call on, heartbeats report how long nobody did. It may be called often. */
	active(): void;
	/** While it waits: asks those who have a seat whether one of them gives theirs away. */
	request(): void;
	/** Gives the seat to whoever asked for one first; resolves with whether it did. If nobody asks any more, the seat stays. */
	yieldSeat(): Promise<boolean>;
	/** What the next heartbeat will report: how long nobody has used the seat, in milliseconds, or null. */
	readonly idle: number | null;
	/** Calls the listener for every change from now on; gives back what ends that. */
	listen(listener: Listener): () => void;
	/** Gives the seat back, in a page for all tabs that share it. It never rejects, takes three seconds at most, and may be called at any time. */
	release(): Promise<void>;
	/** Goes away, as a page does: other tabs keep the seat; without any it is kept for the pool's `linger_ms`. */
	close(): Promise<void>;
	/** Works in the seat until the work is done or the seat is lost, and gives it back. */
	hold<Result>(work: Work<Result>, options?: { signal?: AbortSignal }): Promise<Result>;
}

export interface ClientOptions {
	/** A client key, or what gets one: called for each acquire, and once more with `refused` when it was refused. */
	key?: string | ((asked: { refused: boolean }) => string | Promise<string>);
	/** Where faults of the program's own functions are written. No key and no token is. */
	log?: { error(message: string, error: unknown): void };
	/** In pages: where leasehold-worker.js is. Without, it is beside this module, or made of a text. `false`: no worker. */
	worker?: string | URL | false;
	/** In pages: whether a page that goes away says so. Default: true. */
	leave?: boolean;
}

/** Speaks to one server. One for a whole program is enough. */
export declare class Client {
	/** Without an address it is the server that this module came from. */
	constructor(url?: string | URL, options?: ClientOptions);
	readonly url: string;
	/** Takes a seat, or rejects with a {@link SeatError}. */
	acquire(pool: string, options?: AcquireOptions): Promise<Seat>;
	/** Goes on with a seat whose token was kept. */
	adopt(pool: string, token: string, options?: AcquireOptions): Promise<Seat>;
	/** Takes a seat, works in it, and gives it back. The signal of the work is aborted when the seat is lost; then this rejects with the loss. */
	hold<Result>(pool: string, options: AcquireOptions, work: Work<Result>): Promise<Result>;
	/** Releases all seats, within three seconds. */
	close(): Promise<void>;
}

/** Works in a seat until the work is done or the seat is lost, and gives it back. */
export declare function hold<Result>(seat: Seat, work: Work<Result>, options?: { signal?: AbortSignal }): Promise<Result>;

/** Where tokens are kept over a restart, such as a Map or a table. */
export interface Tokens {
	set(session: string, token: string): unknown;
	delete(session: string): unknown;
	entries(): Iterable<[string, string]> | Promise<Iterable<[string, string]>>;
}

/** One seat for each session of a product, for a web backend. With `tokens` the seats stay when the program ends, for the next start of it. */
export declare class Gateway {
	constructor(client: Client, pool: string, options?: { tokens?: Tokens; onLost?: (session: string, error: SeatError) => unknown });
	readonly size: number;
	/** After a restart: goes on with all seats whose tokens were kept. How many there are. */
	restore(options?: { timeout?: number | null }): Promise<number>;
	/** A seat for this session, the one that it has or a new one. Rejects with a {@link SeatError}. */
	login(session: string, options?: AcquireOptions): Promise<Seat>;
	/** For each request of a user: the seat, or it throws a {@link SeatError}. */
	check(session: string): Seat;
	/** The user of this session did something just now: see {@link Seat.active}. */
	active(session: string): void;
	/** Gives the seat of this session back. */
	logout(session: string): Promise<void>;
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
