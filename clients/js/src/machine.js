// The rules of one seat, as a pure function: step(state, event, now) → [state, output].
//
// Nothing here reads a clock, draws a random number or opens a socket, so that the vectors in clients/spec/machine can turn time
// by hand. What the words mean is written down once for all clients, in clients/spec/README.md.

export const ENDS = new Set(['lease_expired', 'lease_released', 'lease_terminated', 'lease_evicted', 'invalid_token', 'pool_not_found']);
const CLOSED = new Set(['maintenance', 'recovering']);
const FULL = new Set(['pool_full', 'tenant_full', 'queue_full']);
const GRACE_OVER = 'outage_grace_over';

const REQUEST_MS = 8_000;
const LONG_POLL_MS = 20_000;
const END_MS = 3_000;
const MOST_MS = 31 * 24 * 3_600_000; // What a heartbeat may report as a length of time.
const TEXTS = ['title', 'detail', 'reason', 'blocked_until', 'request_id'];
const NUMBERS = ['retry_after_ms', 'in_use', 'capacity', 'position', 'eta_ms'];
const TOLD = ['notice'];
const UNUSED = ['idle', 'max_hold'];
const AWAY_MS = 60_000;
const RENEWED = ['expires_in_ms', 'renew_after_ms', 'outage_grace_ms', 'active_at'];

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isLength = (value) => typeof value === 'number' && value >= 0;
const isText = (value) => typeof value === 'string' && value !== '';
const isLease = (lease) => isObject(lease) && isText(lease.id) && isLength(lease.expires_in_ms) && isLength(lease.renew_after_ms);
const isActive = (name) => name === 'held' || name === 'unstable' || name === 'grace';
const isAsking = (name) => name === 'acquiring' || name === 'waiting';
const pick = (names, from, fits) => Object.fromEntries(names.filter((name) => fits(from[name])).map((name) => [name, from[name]]));
const encoded = (pool) => encodeURIComponent(pool).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** A seat that nobody has asked for. */
export function begin(options) {
	return {
		options, name: 'idle', code: null, position: null, lease: null, token: null, proof: null, ticket: null,
		sent: { mono: 0, wall: 0 }, acquisition: 0, requests: 0, flight: null, strays: {}, ending: null, misses: 0,
		fresh: false, refused: false, heard: false, again: false, dormant: false, idle: null, ends: null, returned: false, plain: false,
		asked: null, wishes: Boolean(options.request), canRequest: false, requested: false,
		news: false, label: options.label, activities: options.activities, running: {},
	};
}

/** How long ago it was, by the clock that says more. */
export const since = (then, now) => Math.max(now.mono - then.mono, now.wall - then.wall);

/** How much longer the lease surely lives, counted from when its last good request left. */
export const left = (state, now) => (state.lease ? Math.floor(state.lease.expires_in_ms) - since(state.sent, now) : 0);

/** How long work may go on after that; null is without limit. */
function grace(state) {
	const limits = [state.lease?.outage_grace_ms, state.options.max_grace_ms].filter(isLength);
	return limits.length ? Math.floor(Math.min(...limits)) : null;
}

/** Name and code of the state as the clock has it, also where no timer has fired yet. */
export function seen(state, now) {
	if (!isActive(state.name) || left(state, now) > 0) return [state.name, state.code];
	const limit = grace(state);
	return limit !== null && left(state, now) + limit <= 0 ? ['lost', GRACE_OVER] : ['grace', state.code];
}

/** Whether nobody else can have the seat. */
export const sure = (state, now) => ['held', 'unstable'].includes(seen(state, now)[0]);

/** Whether somebody who comes back may have another seat after an end like this. */
export const isUnused = (code, reason) => code === 'lease_evicted' && UNUSED.includes(reason);

/** Whether the next activity of the user makes a difference: to a seat that may end as idle, or to one that has ended so. */
export function away({ lease, dormant, ends, idle }) {
	if (!lease || dormant) return dormant;
	return ends?.reason === 'idle' || (isText(lease.active_at) && (idle ?? 0) >= Math.min(Math.floor(lease.renew_after_ms), AWAY_MS));
}

const isSettled = (status) => Boolean(status) && status < 500 && status !== 408 && status !== 429;
const isBusy = (s) => Boolean(s.flight || s.ending || s.dormant || Object.keys(s.strays).length || Object.keys(s.running).length);

/** What follows from an event. The output has only what is to be done. */
export function step(state, event, now) {
	const draft = { ...state, strays: { ...state.strays }, running: { ...state.running } };
	draft.flight = state.flight && { ...state.flight };
	draft.ending = state.ending && { ...state.ending };
	const out = {};
	new Step(draft, now, out).take(event);
	if (isBusy(state) && !isBusy(draft)) out.done = true;
	return [draft, out];
}

/** Makes of the answer to a `renew-many` one event for each beat in it. A malformed one ends nobody. */
export function spread(ids, status, headers, body) {
	const results = status === 200 ? body?.results : null;
	if (Array.isArray(results) && results.length === ids.length) return ids.map((id, i) => ({ event: 'result', id, result: results[i] }));
	// Words that end a lease stand in a result, and nowhere else.
	const foreign = status === 200 || ENDS.has(body?.code);
	return ids.map((id) => ({ event: 'answer', id, status, headers, body: foreign ? null : body }));
}

/** The code of a problem document of Leasehold. The error page of a proxy has none. */
function problemCode(status, headers, body) {
	const media = (headers['content-type'] ?? '').split(';')[0].trim().toLowerCase();
	return status >= 400 && media === 'application/problem+json' && isObject(body) && isText(body.code) ? body.code : null;
}

function retryAfter(headers, body, ours) {
	if (ours && isLength(body?.retry_after_ms)) return Math.floor(body.retry_after_ms);
	const seconds = (headers['retry-after'] ?? '').trim();
	return /^\d{1,9}$/.test(seconds) ? Number(seconds) * 1_000 : 0;
}

/** What an event tells of an answer. Never a token or a ticket. */
function detailsOf(status, body, ours) {
	if (!ours || !isObject(body)) return status ? { status } : {};
	const details = { ...pick(TEXTS, body, isText), ...pick(NUMBERS, body, isLength) };
	return status >= 400 ? { status, ...details } : details;
}

/** One step, with the state that it works on and the output that it collects. */
class Step {
	constructor(state, now, out) {
		Object.assign(this, { s: state, now, out });
	}

	take(event) {
		if (event.event === 'timer') delete this.s.running[event.timer];
		if (event.event !== 'forked') this.look();
		switch (event.event) {
			case 'acquire': return this.acquire();
			case 'adopt': return this.adopt(event.token);
			case 'timer': return this.timer(event.timer);
			case 'wake': return this.wake();
			case 'report': return this.report(event);
			case 'active': return this.active();
			case 'request': return this.wish();
			case 'yield': return this.yieldSeat();
			case 'release': return this.end('/v1/leases/release', 'lease_released', 3);
			case 'close': return this.end('/v1/leases/leave', 'closed', 1);
			case 'cancel': return isAsking(this.s.name) ? this.end('/v1/leases/release', 'cancelled', 3) : undefined;
			case 'forked': return this.forked();
			case 'takeover': return this.takeover();
			default: return this.hear(event);
		}
	}

	// Events of the program and of the shell.

	acquire() {
		const { s } = this;
		if (isAsking(s.name) || s.lease) return;
		this.stop('next');
		Object.assign(s, { misses: 0, fresh: false, again: false, dormant: false, plain: false, acquisition: s.acquisition + 1 });
		this.to('acquiring');
		if (!s.ending) return this.ask();
		s.again = true; // The seat that is being given back may be the one that it gets.
		if (!s.flight) this.giveBack();
	}

	adopt(token) {
		if (this.s.name !== 'idle') return;
		this.s.token = token;
		this.to('acquiring');
		this.beat();
	}

	timer(name) {
		const { s } = this;
		if (name === 'deadline') {
			if (isActive(s.name) && !s.running.deadline) this.watch();
		} else if (s.flight) return;
		else if (s.ending) this.giveBack();
		else if (s.lease || (s.token && s.name === 'acquiring')) this.beat();
		else if (isAsking(s.name)) this.ask();
		else if (s.name === 'lost' && s.again) this.acquire();
	}

	wake() {
		const { s } = this;
		if (s.ending || !(s.lease || isAsking(s.name))) return;
		if (s.flight) {
			if (since(s.flight.at, this.now) <= 3_000) return;
			this.abort(); // The network that it hangs on may be gone.
		} else if (s.lease && since(s.sent, this.now) <= 1_000) return;
		this.stop('next');
		if (s.token) this.beat();
		else this.ask();
	}

	report(event) {
		const { s } = this;
		s.activities = event.activities ?? s.activities;
		s.label = event.label ?? s.label;
		s.news = true;
		if (s.lease && !s.flight) this.wait(500, 500);
	}

	/** The user is there, or back. */
	active() {
		const { s } = this;
		if (s.dormant) this.acquire();
		else if (s.flight) s.returned = s.flight.idle;
		else if (s.name === 'held' && away(s)) this.beat(); // In an outage the tries have their own times.
	}

	/** Whoever waits would like the seat of somebody else. */
	wish() {
		if (!isAsking(this.s.name)) return;
		this.s.wishes = true;
		this.request();
	}

	/** The seat goes to whoever asked for one. */
	yieldSeat() {
		const { s } = this;
		if (!s.lease || s.ending || s.flight?.kind === 'yield') return;
		if (s.flight) this.abort();
		this.send('/v1/leases/yield', { token: s.token }, this.patience(), { kind: 'yield', fresh: s.fresh });
	}

	/** Only in pages: this one goes on with a copy of the state of a page that is gone, or that froze. */
	takeover() {
		Object.assign(this.s, { flight: null, ending: null, strays: {}, running: {}, misses: 0, fresh: true, refused: false });
		if (isActive(this.s.name)) this.watch();
		this.timer('next');
	}

	forked() {
		const { s } = this;
		// The sockets, the timers and the seat are the parent's.
		Object.assign(s, { flight: null, ending: null, strays: {}, running: {}, again: false, dormant: false });
		if (isAsking(s.name) || isActive(s.name) || s.lease) this.finish('lost', 'forked');
	}

	// Answers.

	hear(event) {
		const { s } = this;
		const { flight } = s;
		const { status = 0, headers = {}, body = null } = event;
		if (event.id in s.strays) {
			const kind = s.strays[event.id];
			delete s.strays[event.id];
			if (kind === 'request') s.requested = isSettled(status);
			else if (kind !== 'end' && isText(body?.token)) this.send('/v1/leases/release', { token: body.token }, END_MS, { stray: 'end' });
			else if (kind === 'ask' && isText(body?.ticket)) this.leaveQueue(body.ticket);
			return;
		}
		if (flight?.id !== event.id) return; // It came too late, and a later one has been heard.
		s.flight = null;
		s.idle = event.idle_ms ?? null;
		if (event.event === 'result') return this.hearResult(flight, event.result);
		const code = problemCode(status, headers, body);
		if (flight.kind === 'end') this.hearEnd(status);
		else if (flight.kind === 'yield') this.hearYield(status, body, code);
		else if (flight.kind === 'renew') this.hearBeat(flight, status, headers, body, code);
		else this.hearAsk(flight, status, headers, body, code);
	}

	hearAsk(flight, status, headers, body, code) {
		const { s } = this;
		const granted = (status === 200 || status === 201) && isObject(body) && isLease(body.lease) && isText(body.token);
		const queued = status === 202 && isObject(body) && isText(body.ticket);
		const ours = Boolean(granted || queued || code);
		const wait = retryAfter(headers, body, ours);
		const details = detailsOf(status, body, ours);
		const { refused } = s;
		s.refused = false;
		s.heard ||= ours;
		if (granted) return this.hold(flight, body, body.lease);
		if (queued) {
			s.requested &&= body.ticket === s.ticket;
			s.ticket = body.ticket;
			s.misses = 0;
			s.canRequest = body.can_request === true;
			this.to('waiting', null, details);
			const rest = Math.max(0, (wait || 2_000) - since(flight.at, this.now));
			if (rest) this.wait(Math.floor(rest / 2), rest - Math.floor(rest / 10));
			else this.wait(0, 100);
			return this.request();
		}
		if (code === 'ticket_expired' && s.ticket) {
			s.ticket = null;
			s.acquisition += 1;
			this.to('acquiring', code, details);
			return this.wait(0, 100);
		}
		if (CLOSED.has(code) || (s.options.wait && FULL.has(code))) {
			s.misses = 0;
			this.to('waiting', code, details);
			const least = Math.min(Math.max(wait, 500), CLOSED.has(code) ? 60_000 : 5_000);
			return this.wait(least, least + Math.floor(least / 10));
		}
		if (code === 'unauthorized' && s.options.key === 'function' && !refused) {
			s.refused = true;
			return this.ask();
		}
		if (code === 'invalid_request' && s.idle !== null) {
			s.plain = true; // An older server knows nothing of it.
			return this.ask();
		}
		const temporary = [0, 408, 429].includes(status) || status >= 500;
		if (code && !temporary && code !== 'ticket_expired') return this.finish('denied', code, details);
		if (!ours && !s.heard && !temporary) return this.finish('denied', 'not_leasehold', details);
		if (code === 'draining' && !s.misses) return this.atOnce();
		if (s.name === 'acquiring') this.to('acquiring', code ?? (status ? 'not_leasehold' : 'unreachable'), details);
		this.retry(wait, !status);
	}

	hearBeat(flight, status, headers, body, code) {
		const { s } = this;
		const lease = status === 200 && isObject(body) ? body.lease : null;
		if (isLease(lease) && (!s.lease || lease.id === s.lease.id)) return this.hold(flight, body, lease);
		if (ENDS.has(code)) return this.lose(code, detailsOf(status, body, true));
		s.news ||= flight.news && code !== 'invalid_request';
		if (code === 'draining' && !s.misses) return this.atOnce();
		if (code === 'invalid_request' && s.idle !== null && s.lease) {
			const { active_at: _, ...older } = s.lease;
			s.lease = older;
			s.news ||= flight.news;
			return this.wait(0, 100);
		}
		const said = code ?? (status ? 'not_leasehold' : 'unreachable');
		this.miss(said, detailsOf(status, body, Boolean(code)), retryAfter(headers, body, Boolean(code)), !status);
	}

	hearResult(flight, result) {
		const { s } = this;
		const { id = s.lease?.id, status, code, expires_in_ms } = isObject(result) ? result : {};
		const own = id === s.lease?.id; // Else it is somebody else's.
		if (own && (status === 'renewed' || status === 'resumed') && s.lease && isLength(expires_in_ms)) {
			const lease = { ...s.lease, ...pick(RENEWED, result, (value) => value !== undefined) };
			return this.hold(flight, { ...result, resumed: status === 'resumed' }, lease);
		}
		if (own && status === 'lost' && ENDS.has(code)) return this.lose(code, detailsOf(0, result, true));
		if (own && status === 'invalid') return this.lose('invalid_token', {});
		s.news ||= flight.news;
		this.miss('not_leasehold', {}, 0, false);
	}

	hearYield(status, body, code) {
		if (status === 200 && isObject(body) && body.yielded === true) return this.finish('released', 'handed_over');
		if (ENDS.has(code)) return this.lose(code, detailsOf(status, body, true));
		this.s.fresh ||= !status;
		this.wait(0, 100); // A heartbeat tells whether the seat is still there.
	}

	hearEnd(status) {
		const { s } = this;
		const { ending } = s;
		if (ending && !isSettled(status) && ending.tries < ending.most && since(ending.at, this.now) < END_MS - 500) return this.wait(100, 400);
		s.ending = null;
		if (!s.again) return;
		s.again = false;
		this.ask();
	}

	// What is done.

	hold(flight, body, lease) {
		const { s } = this;
		Object.assign(s, { lease, sent: flight.at, ticket: null, position: null, fresh: false, heard: true });
		if (isText(body.token)) s.token = body.token;
		if (isText(body.proof)) s.proof = body.proof;
		const told = pick(TOLD, body, (value) => value !== undefined && value !== null);
		const ends = isObject(body.ends) && isLength(body.ends.in_ms) ? body.ends : null;
		if (ends || s.ends) told.ending = ends;
		Object.assign(s, { ends, plain: false });
		const request = isObject(body.seat_requested) && isLength(body.seat_requested.answer_in_ms) ? body.seat_requested : null;
		// Once for each request: the time that is left grows only when another one comes.
		if (request && (s.asked === null || request.answer_in_ms > s.asked)) told.seat_requested = request;
		else if (!request && s.asked !== null) told.seat_requested = null;
		s.asked = request ? request.answer_in_ms : null;
		if (Object.keys(told).length) this.out.tell = told;
		if (left(s, this.now) <= 0) { // It took longer than the lease lasts.
			if (isAsking(s.name)) s.name = 'held';
			this.look();
			return this.retry(0, false);
		}
		s.misses = 0;
		this.to('held', null, body.resumed === true ? { resumed: true } : {});
		this.watch();
		const every = Math.max(100, Math.min(Math.floor(lease.renew_after_ms), Math.floor(lease.expires_in_ms / 2)));
		const back = s.returned && away(s);
		s.returned = false;
		if (back) this.wait(0, 0);
		else if (s.news) this.wait(500, 500);
		else this.wait(every - Math.floor((every * 15) / 100), every);
	}

	miss(code, details, wait, unheard) {
		const { s } = this;
		if (s.name === 'held' || s.name === 'unstable') this.to('unstable', code, details);
		else if (s.name === 'acquiring') this.to('acquiring', code, details);
		else if (s.name === 'grace') s.code = code;
		this.retry(wait, unheard);
	}

	lose(code, details) {
		const { s } = this;
		if (s.name === 'acquiring' && s.options.reacquire && code !== 'lease_terminated') {
			s.token = null; // It was remembered from an earlier life of the program.
			s.acquisition += 1;
			return this.ask();
		}
		this.finish(code === 'lease_released' ? 'released' : 'lost', code, details);
		if (s.options.reacquire && (code === 'lease_expired' || code === 'invalid_token')) {
			s.again = true;
			this.wait(0, 2_000);
		}
		// Whoever took it back before anybody is there would undo what the pool is asked to do.
		s.dormant = Boolean(s.options.reacquire && isUnused(code, details.reason));
	}

	end(path, code, most) {
		const { s } = this;
		const { ticket } = s;
		const token = code === 'cancelled' ? null : s.token; // An adopted one is not this program's to give up.
		if (!(s.lease || s.again || s.dormant || isAsking(s.name))) return;
		if (s.ending) { // It was asked for again, and is no longer.
			s.again = false;
			return this.to('released', code);
		}
		if (s.flight?.kind === 'ask') {
			s.strays[s.flight.id] = ticket ? 'poll' : 'ask'; // If it brings a seat or a place, that goes back.
			s.flight = null;
		} else if (s.flight) this.abort();
		this.finish('released', code);
		if (token) {
			s.ending = { path, body: { token }, tries: 0, at: this.now, most };
			this.giveBack();
		} else if (ticket) this.leaveQueue(ticket);
	}

	request() {
		const { s } = this;
		if (!s.wishes || !s.canRequest || !s.ticket || s.requested) return;
		s.requested = true;
		this.send(`/v1/pools/${encoded(s.options.pool)}/queue/request`, { ticket: s.ticket }, 1_000, { stray: 'request' });
	}

	leaveQueue(ticket) {
		this.send(`/v1/pools/${encoded(this.s.options.pool)}/queue/leave`, { ticket }, 1_000, { stray: 'end' });
	}

	giveBack() {
		const { ending } = this.s;
		ending.tries += 1;
		const timeout = Math.max(100, Math.min(2_000, END_MS - since(ending.at, this.now)));
		this.send(ending.path, ending.body, timeout, { kind: 'end', fresh: ending.tries > 1 });
	}

	ask() {
		const { s } = this;
		const { pool, holder, tenant, platform, wait } = s.options;
		const activities = s.activities?.length ? s.activities : null;
		let body = { holder, tenant, label: s.label, platform, activities, wait: wait || null };
		// Whoever goes on with a ticket of an earlier page first wants to know the place.
		const wait_ms = s.ticket && s.name === 'waiting' ? LONG_POLL_MS : null;
		if (s.ticket) body = { ticket: s.ticket, wait_ms };
		s.news = false;
		const more = { acquisition: s.acquisition, ...(s.refused && { refused: true }) };
		const timeout = REQUEST_MS + (wait_ms ?? 0);
		this.send(`/v1/pools/${encoded(pool)}/leases`, body, timeout, { kind: 'ask', fresh: s.fresh, more, idle: !s.ticket && !s.plain });
	}

	beat() {
		const { s } = this;
		const rest = left(s, this.now);
		const body = { token: s.token, ...(s.news && { activities: s.activities, label: s.label }) };
		if (s.lease && rest < 0 && 'outage_grace_ms' in s.lease) body.grace_used_ms = Math.min(-rest, grace(s) ?? MOST_MS, MOST_MS);
		this.send('/v1/leases/renew', body, this.patience(), { kind: 'renew', fresh: s.fresh, news: s.news, idle: 'active_at' in (s.lease ?? {}) });
		s.news = false;
	}

	/** How long to wait for an answer about the lease. */
	patience() {
		const rest = left(this.s, this.now);
		return rest > 0 ? Math.max(250, Math.min(REQUEST_MS, Math.floor(rest / 2))) : REQUEST_MS;
	}

	/** Plans the next try: full jitter, and what the server asked for as far as the lease allows. */
	retry(wait, unheard) {
		const { s } = this;
		const rest = left(s, this.now);
		let [limit, most] = [60_000, 8_000];
		if (s.lease && rest > 0) {
			limit = Math.max(100, Math.floor(rest / 2));
			most = Math.min(8_000, Math.floor(s.lease.renew_after_ms / 2));
		} else if (s.lease) { // Whoever beats within a lease's length of the server's return keeps the seat.
			most = limit = Math.max(100, Math.min(30_000, Math.floor(s.lease.expires_in_ms / 2)));
		}
		const low = Math.max(100, Math.min(wait, limit - Math.floor(limit / 10)));
		const high = Math.max(low + Math.floor(low / 10), Math.min(most, 1_000 * 2 ** Math.min(s.misses, 10)));
		s.misses += 1;
		s.fresh ||= unheard;
		this.wait(low, Math.max(low, Math.min(high, limit)));
	}

	/** The node says good-bye: another one answers a new connection. */
	atOnce() {
		Object.assign(this.s, { misses: 1, fresh: true });
		this.wait(0, 0);
	}

	finish(name, code, details) {
		this.stop('next');
		this.stop('deadline');
		Object.assign(this.s, { lease: null, token: null, ticket: null, proof: null, position: null });
		Object.assign(this.s, { misses: 0, fresh: false, refused: false, again: false });
		Object.assign(this.s, { dormant: false, idle: null, ends: null, returned: false });
		Object.assign(this.s, { asked: null, wishes: Boolean(this.s.options.request), canRequest: false, requested: false });
		this.to(name, code, details);
	}

	/** Brings the state up to the clock. */
	look() {
		const [name, code] = seen(this.s, this.now);
		if (name === this.s.name) return;
		this.to(name, code);
		this.stop('deadline');
		if (name === 'grace') this.watch();
	}

	watch() {
		const rest = left(this.s, this.now);
		const limit = grace(this.s);
		if (rest > 0) this.wait(rest, rest, 'deadline');
		else if (limit !== null) this.wait(rest + limit, rest + limit, 'deadline');
	}

	to(name, code = null, details = {}) {
		const { s } = this;
		const { position = null } = details;
		const another = ['acquiring', 'waiting', 'lost'].includes(name) && code !== s.code;
		const moved = name === 'waiting' && position !== null && position !== s.position;
		const told = name !== s.name || details.resumed || another || moved;
		if (name !== 'waiting' || position !== null) s.position = position;
		Object.assign(s, { name, code });
		if (told) (this.out.emit ??= []).push({ state: name, ...(code && { code }), ...details });
	}

	send(path, body, timeout, { kind, stray, fresh, news = false, idle = false, more }) {
		const { s } = this;
		const id = (s.requests += 1);
		const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined && value !== null));
		(this.out.send ??= []).push({ id, path, body: given, timeout_ms: timeout, ...more, ...(fresh && { fresh: true }), ...(idle && { idle: true }) });
		if (stray) {
			s.strays[id] = stray;
			return;
		}
		this.stop('next');
		s.flight = { id, kind, at: this.now, news, idle: idle && kind === 'renew' };
	}

	abort() {
		const { s } = this;
		this.out.abort = s.flight.id;
		s.news ||= s.flight.news;
		Object.assign(s, { flight: null, fresh: true });
	}

	wait(low, high, timer = 'next') {
		this.s.running[timer] = true;
		(this.out.timers ??= {})[timer] = [low, high];
	}

	stop(timer) {
		if (!this.s.running[timer]) return;
		delete this.s.running[timer];
		(this.out.timers ??= {})[timer] = null;
	}
}
