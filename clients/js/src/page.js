// Seats in pages. What a page adds to a seat: a clock that runs while it is hidden, a word when it goes away, the same seat after a
// reload, and one seat for all tabs of a holder in a browser.

import { Activity } from './activity.js';
import { clock } from './clock.js';
import { portable } from './engine.js';
import { away, isUnused, since } from './machine.js';
import { Runner } from './seat.js';

const MOST_MS = 2 ** 31 - 1;
const YIELD_MS = 10_000;
const FINAL = new Set(['lost', 'denied', 'released']);
const ACQUISITION = /^(.+)-(\d+)$/;

/** Whether there is a page, or a worker of one. Elsewhere there are no tabs, and none of its events. */
export const isPage = (scope) => Boolean(scope.document ?? scope.WorkerGlobalScope);

export class Page {
	Runner = PageRunner;
	#clock;

	constructor({ scope = globalThis, worker, leave = true } = {}) {
		Object.assign(this, { scope, leave });
		this.activity = new Activity(scope, () => this.now().mono);
		this.#clock = clock(scope, worker, (surely) => this.wake?.(surely));
	}

	now() {
		const { performance, Date } = this.scope;
		return { mono: Math.floor(performance.now()), wall: Date.now() };
	}

	random() {
		return this.scope.Math.random();
	}

	after(ms, run) {
		return this.#clock.after(Math.min(ms, MOST_MS), run);
	}

	start({ wake, hide, show, act }) {
		this.wake = wake;
		this.#clock.start({ pagehide: hide, pageshow: show });
		this.activity.start(act);
		return () => {
			this.#clock.stop();
			this.activity.stop();
		};
	}

	/** Only what needs them has headers: a request without is sent to another origin without asking it first. */
	async post(url, headers, body, more) {
		const { fetch, location } = this.scope;
		const needed = headers['idempotency-key'] || url.endsWith('/renew-many');
		try {
			return await portable.post(url, needed ? headers : {}, body, more, fetch);
		} catch (error) {
			if (more.signal.aborted || !location || new URL(url).origin === location.origin) throw error;
			// Browsers do not tell a page of another origin what was wrong.
			throw new Error(`${error.message}. It is away, or what stands in front of it lets no page of ${location.origin} read its answers`);
		}
	}
}

/**
 * A seat that the tabs of a holder share. The one with the lock leads: its machine runs, and tells the others, which only copy. Where
 * there are no locks, or nobody to share with, each leads for itself.
 */
export class PageRunner extends Runner {
	/** `out`: no tab is sharing yet, or any more. `away`: the page is in the cache of the browser. */
	mode = 'out';

	constructor(engine, options, { sharing, idle } = {}) {
		super(engine, options, { idle });
		const { scope, leave } = engine.platform;
		this.scope = scope;
		this.leave = leave;
		this.leaving = `${engine.base}/v1/leases/leave`;
		this.name = JSON.stringify(['leasehold', engine.base, options.pool, options.tenant, options.holder]);
		this.shares = options.holder != null && sharing !== 'tab' && scope.navigator?.locks && scope.BroadcastChannel;
		this.reacquire = options.reacquire;
		this.measures = idle === undefined && Boolean(this.scope.document);
	}

	get leader() {
		return this.mode === 'lead';
	}

	feed(event) {
		const kind = event.event;
		if (this.mode === 'out') {
			if (kind === 'acquire' || kind === 'adopt') return this.begin(event.token);
			return super.feed(event); // What is still under way after the end.
		}
		if (kind === 'release') return this.giveBack();
		if (kind === 'close' || kind === 'cancel') return this.leaveAlone(kind);
		if (kind === 'report' && this.mode === 'follow') return this.tellOthers('activities', { activities: event.activities, label: event.label });
		if ((kind === 'yield' || kind === 'request') && this.mode === 'follow') return this.tellOthers(kind, {});
		if (this.mode !== 'lead') return undefined; // It is the leader's now.
		return this.lead(event);
	}

	/** A step of the machine, and what the other tabs, the next page and the browser have to know of it. */
	lead(event) {
		const { sent, acquisition } = this.state;
		const out = super.feed(event);
		const { state } = this;
		if (this.mode !== 'lead') return out;
		if (state.lease && state.sent !== sent) {
			this.state.options = { ...state.options, reacquire: this.reacquire };
			this.arm();
			if (this.settle) {
				// The page that led before may have left, and be heard after this beat: the next one undoes that, too.
				const ms = Math.min(2_000, Math.floor(state.lease.renew_after_ms / 4));
				this.plan('next', [ms, ms]);
				this.settle = false;
			}
		}
		if (state.sent !== sent || state.acquisition !== acquisition) this.store(this.shares);
		if (state.dormant) this.store(false);
		if (this.isOver()) return this.end(out);
		this.inform({ resumed: out.emit?.some(({ resumed }) => resumed), told: out.tell });
		return out;
	}

	async yielded() {
		// It is the leader that is answered. What comes after that is a heartbeat, which a page that follows hears of.
		if (this.mode === 'follow') await this.until(() => this.isOver(), YIELD_MS);
		return super.yielded();
	}

	isOver() {
		const { name, lease, again, dormant } = this.state;
		return FINAL.has(name) && !lease && !again && !dormant;
	}

	end(out) {
		this.store(false);
		this.inform({});
		this.part();
		if (out?.done || !this.isBusy()) this.engine.rest(this);
		return out;
	}

	isBusy() {
		const { flight, ending, strays } = this.state;
		return Boolean(flight || ending || Object.keys(strays).length);
	}

	// The beginning, and the end.

	begin(adopted) {
		const [token, request, ticket] = this.kept() ?? [];
		const [, seed = this.seed, acquisition = this.state.acquisition + 1] = ACQUISITION.exec(request) ?? [];
		this.seed = seed;
		Object.assign(this.state, { name: 'acquiring', code: null, acquisition: Number(acquisition), token: adopted ?? token ?? null, ticket: ticket ?? null });
		// A seat of a page before this one is no more than a hint: if it is gone, this page still wants one.
		if (token && !adopted) this.state.options = { ...this.state.options, reacquire: true };
		if (this.measures) this.touched = this.engine.platform.now().mono;
		this.engine.start(this);
		this.tell({ state: 'acquiring' });
		this.join();
		for (const waiter of [...this.waiters]) waiter();
	}

	giveBack() {
		const others = this.mode === 'follow';
		if (others) this.state = { ...this.state, running: {} };
		const out = super.feed({ event: 'release' });
		if (this.mode !== 'out') this.end(out);
		return out;
	}

	/** This page needs the seat no longer. It goes back if no other tab has it. */
	async leaveAlone(kind) {
		if (kind === 'cancel' && !['acquiring', 'waiting'].includes(this.state.name)) return;
		const { mode } = this;
		const shared = mode === 'follow' || (await this.hasOthers());
		if (this.mode !== mode) return;
		if (kind === 'close') this.store(this.state.token);
		else this.store(false);
		this.part();
		if (!shared) {
			const { token } = this.state;
			const out = super.feed({ event: kind });
			if (!out.done && this.isBusy()) return;
			if (token && kind === 'close') this.store(token);
		} else {
			this.forget();
			this.state = { ...this.state, name: 'released', code: kind === 'close' ? 'closed' : 'cancelled', lease: null, token: null, ticket: null };
			this.tell({ state: this.state.name, code: this.state.code });
		}
		this.engine.rest(this);
		for (const waiter of [...this.waiters]) waiter();
	}

	giveUp() {
		if (this.mode === 'out') return super.giveUp();
		this.listeners.clear();
		return this.leaveAlone(this.state.lease ? 'release' : 'cancel');
	}

	/** Whether another tab waits for the lock. */
	async hasOthers() {
		if (!this.shares) return false;
		try {
			const { pending } = await this.scope.navigator.locks.query();
			return pending.some(({ name }) => name === this.name);
		} catch {
			return false;
		}
	}

	// The page.

	wake(surely) {
		const { state } = this;
		const ago = since(state.sent, this.engine.platform.now());
		if (this.mode === 'follow') return state.lease && ago > state.lease.renew_after_ms && this.look(1_000);
		return (surely || (state.lease && ago > state.lease.renew_after_ms / 2)) && this.feed({ event: 'wake' });
	}

	/** Somebody did something in this page. */
	act() {
		if (this.measures) this.touch();
	}

	/** All tabs are told, because any of them may lead next. */
	touch() {
		super.touch();
		if (this.mode === 'lead') this.tellOthers('active');
	}

	back() {
		if (this.mode !== 'follow') return super.back();
		this.tellOthers('active');
		if (this.state.dormant && !this.unlook) this.look(1_000); // Unless the leader is frozen, it takes a seat.
	}

	untouchedMs() {
		const untouched = super.untouchedMs();
		return this.measures ? Math.min(untouched ?? Infinity, this.engine.platform.activity.idleMs()) : untouched;
	}

	polls() {
		return this.mode === 'follow' || (this.mode === 'lead' && away(this.state));
	}

	hide({ persisted }) {
		const { mode, scope } = this;
		const { token, acquisition, dormant } = this.state;
		if (mode === 'out' || mode === 'away') return;
		if (mode === 'lead' && token && this.leave && (persisted || !this.later)) {
			const body = JSON.stringify({ token }); // As text: a beacon of JSON is dropped without a word.
			const request = { method: 'POST', body, keepalive: true, credentials: 'omit', cache: 'no-store' };
			if (!scope.navigator?.sendBeacon?.(this.leaving, body)) scope.fetch(this.leaving, request).catch(() => {});
		}
		if (persisted) this.later = this.later?.abort();
		this.store(token || (acquisition && !dormant));
		this.part();
		this.forget();
		this.mode = 'away';
	}

	/** The page comes back out of the cache of the browser. */
	show() {
		if (this.mode !== 'away') return;
		const [token, , ticket] = this.kept() ?? [];
		// Another page of this tab may have gone on with the seat, or taken another one.
		if (token && token !== this.state.token) Object.assign(this.state, { name: 'acquiring', lease: null, token, ticket: ticket ?? null });
		this.join();
	}

	// Where there is fetchLater, the browser sends the leave when the page is gone, also by a crash.
	arm() {
		this.later = this.later?.abort();
		if (!this.scope.fetchLater || !this.leave) return;
		this.later = new AbortController();
		const { signal } = this.later;
		try {
			const body = JSON.stringify({ token: this.state.token });
			this.scope.fetchLater(this.leaving, { method: 'POST', body, signal, credentials: 'omit', cache: 'no-store' });
		} catch {
			this.later = null; // By a quota or a policy. The beacon does it.
		}
	}

	/** Drops what is under way. An answer that comes all the same is for nobody. */
	forget() {
		for (const call of this.calls.values()) call.abort();
		for (const { cancel } of this.timers.values()) cancel();
		this.timers.clear();
	}

	// For the next page in this tab. A sandboxed frame has no storage: there a reload is a new lease.

	storage(use) {
		try {
			return use(this.scope.sessionStorage);
		} catch {
			return undefined;
		}
	}

	kept() {
		const kept = this.storage((storage) => JSON.parse(storage.getItem(this.name)));
		// A duplicate of the tab has a copy: with locks it finds that another leads, without it finds nothing.
		if (!this.shares) this.store(false);
		return kept;
	}

	store(put) {
		const { token, ticket } = this.state;
		const text = JSON.stringify([token, this.request(), ticket ?? undefined]);
		this.storage((storage) => (put ? storage.setItem(this.name, text) : storage.removeItem(this.name)));
	}

	request() {
		return this.state.acquisition ? `${this.seed}-${this.state.acquisition}` : null;
	}

	// The other tabs.

	join() {
		if (!this.shares) return this.takeOver();
		this.mode = 'follow';
		this.channel = new this.scope.BroadcastChannel(this.name);
		this.channel.onmessage = ({ data }) => this.hear(data);
		this.queue();
		this.joining = true;
		this.tellOthers('hello');
		this.look(1_000);
	}

	part() {
		this.mode = 'out';
		this.unlook = this.unlook?.();
		this.channel = this.channel?.close();
		this.queued?.abort();
		this.free = this.free?.();
		if (FINAL.has(this.state.name)) this.later = this.later?.abort();
	}

	async queue(steal) {
		this.queued?.abort();
		const mine = (this.queued = new AbortController());
		const { locks } = this.scope.navigator;
		try {
			await locks.request(this.name, steal ? { steal } : { signal: mine.signal }, () => {
				if (mine.signal.aborted) return undefined;
				this.takeOver();
				return new Promise((done) => (this.free = done));
			});
		} catch {
			if (mine.signal.aborted || this.mode === 'out' || this.mode === 'away') return;
			if (this.mode === 'follow') return this.takeOver(); // This frame may not have locks.
			this.mode = 'follow'; // Stolen, because this page was frozen.
			this.forget();
			this.later = this.later?.abort();
			this.queue();
			this.look();
		}
	}

	takeOver() {
		this.unlook = this.unlook?.();
		this.mode = 'lead';
		this.settle = Boolean(this.state.token);
		this.engine.start(this);
		this.lead({ event: 'takeover' });
	}

	// A leader that says nothing by itself is frozen, though it may answer. It loses the lead, sooner to a visible tab.
	look(ms = this.state.dormant ? null : (this.state.lease?.renew_after_ms ?? 4_000) * (this.scope.document?.hidden ? 2 : 1.25)) {
		if (this.mode !== 'follow') return;
		this.unlook = this.unlook?.();
		if (ms === null) return; // It has nothing to say before somebody is there.
		const cancel = this.engine.platform.after(ms * (1 + this.engine.platform.random() / 8), () => {
			this.unlook = null;
			this.queue(true);
		});
		this.unlook = () => void cancel();
	}

	tellOthers(kind, more) {
		this.channel?.postMessage({ kind, ...more });
	}

	// In words that pages with an older version of this file know, too.
	inform(more) {
		const { name, lease, token, ticket, sent, proof, code } = this.state;
		const problem = code || name === 'waiting' ? { code, ...this.details } : null;
		const state = name === 'grace' ? 'suspect' : name;
		this.tellOthers('state', { ...more, state, problem, lease, token, request: this.request(), ticket, proof, wall: sent.wall });
	}

	hear({ kind, ...said }) {
		if (kind === 'activities' && this.mode === 'lead') this.feed({ event: 'report', ...said });
		if ((kind === 'yield' || kind === 'request') && this.mode === 'lead') this.feed({ event: kind });
		if (kind === 'active') this.touched = this.engine.platform.now().mono;
		if (kind === 'active' && this.mode === 'lead') this.back();
		if (kind === 'hello' && this.mode === 'lead') this.inform({ reply: true });
		if (kind === 'state' && this.mode === 'follow') this.copy(said);
		if (kind === 'state' && this.mode === 'lead' && said.state === 'released') this.released(said);
	}

	/** Another tab has logged out for all of them. */
	released({ problem }) {
		this.part();
		if (this.state.flight?.kind === 'ask') return super.feed({ event: 'release' }); // If it brings a seat, that goes back.
		this.forget();
		this.copy({ state: 'released', problem });
	}

	copy({ state: said, problem, lease, token, request, ticket, proof, wall, reply, resumed, told }) {
		const { name, code, position } = this.state;
		const { code: why = null, ...details } = problem ?? {};
		const [, seed, acquisition] = ACQUISITION.exec(request) ?? [];
		const { mono, wall: now } = this.engine.platform.now();
		if (seed) this.seed = seed;
		this.state = {
			...this.state, name: said === 'suspect' ? 'grace' : said, code: why, position: details.position ?? null,
			lease: lease ?? null, token: token ?? null, ticket: ticket ?? null, proof: proof ?? null,
			sent: wall ? { mono: mono - (now - wall), wall } : this.state.sent, acquisition: Number(acquisition ?? this.state.acquisition),
			again: said === 'lost' && this.reacquire && /^(lease_expired|invalid_token)$/.test(why), heard: true,
			dormant: said === 'lost' && Boolean(this.reacquire) && isUnused(why, details.reason),
			ends: told && 'ending' in told ? told.ending : this.state.ends,
		};
		const { state } = this;
		if (state.name !== name || resumed || (why !== code && !['held', 'unstable', 'grace'].includes(name)) || state.position !== position) {
			this.tell({ state: state.name, ...(why && { code: why }), ...details, ...(resumed && { resumed }) });
		}
		if (told) this.say(told);
		this.poll();
		if (this.isOver()) {
			this.store(false);
			this.part();
			this.engine.rest(this);
		} else {
			if (this.joining || !reply) this.look();
			this.joining = false;
		}
		for (const waiter of [...this.waiters]) waiter();
	}
}
