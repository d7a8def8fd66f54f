// Keeps a seat of a Leasehold pool for a page. What happens when: docs/widget.md; what each thing is: leasehold.d.ts.
// No dependencies, cookies, globals or `unload`. A server can import it, too.

import { SERVED_BY, clock } from './leasehold-worker.js';

// Only these words end a lease: the 404 of a balancer has none of them.
const ENDS = /^(lease_(expired|released|terminated|evicted)|invalid_token|pool_not_found)$/;

const POST = { method: 'POST', cache: 'no-store', credentials: 'omit' };
const unique = () => crypto.getRandomValues(new Uint32Array(4)).join('-');

export class SeatError extends Error {
	constructor(code, problem) {
		super(problem.detail ?? problem.title ?? code);
		Object.assign(this, { name: 'SeatError', code, problem });
	}
}

export class SeatClient extends EventTarget {
	constructor(options) {
		super();
		keep(this, options);
	}
}

function keep(seat, options) {
	const { pool, holder, tenant, label, platform, wait, key, reacquire = true, leave = true, scope = globalThis } = options;
	const { Date, Math, navigator, document, BroadcastChannel } = scope;
	const url = (options.url ?? SERVED_BY)?.toString().replace(/\/+$/, '');
	if (!url || !pool) throw new TypeError('a SeatClient needs `pool`, and the `url` of the server');
	const leaving = `${url}/v1/leases/leave`;
	const ofPool = `pools/${encodeURIComponent(pool)}`;
	const { start, after, stop, stamp, since } = clock(scope, options.worker, wake);
	const name = JSON.stringify(['leasehold', url, pool, tenant, holder]);
	const shares = holder != null && options.sharing !== 'tab' && navigator?.locks && BroadcastChannel;
	let activities = options.activities, news, asked, again, away;
	let token, request, ticket, sent, flight, hurry, settle, misses, epoch = 0;
	let next, deadline, watch, later, channel, queued, free, joining;
	Object.assign(seat, { state: 'idle', lease: null, problem: null, leader: false, acquire, release, setActivities });

	function acquire() {
		if (asked) return asked.promise;
		if (seat.lease) return Promise.resolve(seat.lease);
		scope.clearTimeout(again);
		const promise = new Promise((resolve, reject) => (asked = { resolve, reject }));
		promise.catch(() => {}); // Who listens to the events need not catch.
		misses = 0;
		start({ pagehide: hide, pageshow: () => away && join() });
		asked.promise = promise;
		to('acquiring');
		if (asked) join(); // A listener may have released it.
		return promise;
	}

	async function release() {
		scope.clearTimeout(again);
		const [last, place] = [token, ticket];
		if (asked || seat.lease) to('released', { code: 'lease_released' });
		await giveBack(last, place);
	}

	function setActivities(list, heard) {
		activities = [...list];
		news = true;
		if (!heard) say('activities', { activities });
		if (seat.leader && seat.lease) plan(500);
	}

	function to(state, problem = null) {
		const { state: from, lease } = seat;
		const { code, reason } = problem ?? {};
		const { resolve, reject } = asked ?? {};
		Object.assign(seat, { state, problem });
		if (seat.leader || state === 'released') tell();
		if (/lost|denied|released/.test(state)) {
			ticket = undefined;
			token = request = asked = seat.lease = null;
			later = later?.abort();
			part();
			store();
			stop();
			if (reacquire && /lease_expired|invalid_token/.test(code)) again = scope.setTimeout(acquire, Math.random() * 2_000);
			reject?.(new SeatError(code, problem));
		} else if (state === 'held') {
			asked = null;
			resolve?.(lease);
		}
		const detail = { from, to: state, code, reason, problem, lease };
		if (from !== state) emit('statechange', detail);
		if (from !== state || state === 'waiting') emit(state, detail);
	}

	const emit = (type, detail) => seat.dispatchEvent(new CustomEvent(type, { detail }));

	// A lease is valid from the moment its request left.
	const left = () => (seat.lease ? seat.lease.expires_in_ms - since(sent) : 0);

	async function post(path, body, more) {
		const abort = new AbortController();
		const mine = { at: stamp(), abort: () => abort.abort() };
		if (!more?.keepalive) flight = mine;
		const cancel = after(8_000, mine.abort);
		try {
			const sent = { ...POST, ...(await more), body: JSON.stringify(body), signal: abort.signal };
			const answer = await scope.fetch(`${url}/v1/${path}`, sent);
			const said = await answer.json().catch(() => ({}));
			return { status: answer.status, said, least: said.retry_after_ms ?? (answer.headers.get('retry-after') | 0) * 1_000 };
		} catch {
			return { status: 0, said: {}, least: 0 };
		} finally {
			cancel();
			if (flight === mine) flight = null;
		}
	}

	function plan(ms) {
		next?.();
		next = after(ms, go);
	}

	function go() {
		if (!seat.leader || flight) return;
		next?.();
		if (token) renew();
		else ask();
	}

	function retry(least) {
		const most = !seat.lease ? 8_000 : left() > 0 ? Math.min(8_000, seat.lease.renew_after_ms / 2) : 30_000;
		const wait = Math.random() * Math.min(most, 1_000 * 2 ** misses++);
		plan(hurry ? 0 : Math.max(100, wait, Math.min(least, 60_000)));
		hurry = false;
	}

	function pause(said, least) {
		misses = 0;
		ticket = said.ticket ?? ticket;
		to('waiting', said);
		plan(Math.max(500, least) * (1 + Math.random() / 10));
	}

	async function headers(refused) {
		const secret = key?.call ? await key({ refused }) : key;
		const headers = { 'content-type': 'application/json', 'idempotency-key': request };
		if (secret) headers.authorization = `Bearer ${secret}`;
		return { headers };
	}

	async function ask(refused = false) {
		const mine = epoch;
		request ??= unique();
		store(shares);
		const at = stamp();
		news = false;
		const body = { holder, tenant, label, activities, platform, wait, ticket: ticket ?? undefined };
		const { status, said, least } = await post(`${ofPool}/leases`, body, headers(refused));
		if (mine !== epoch) {
			if (!asked) giveBack(said.token, said.ticket); // Nobody waits for it any more.
		} else if (said.token) {
			hold(said, at);
		} else if (status === 202 || /^(maintenance|recovering)$/.test(said.code)) {
			pause(said, least);
		} else if (wait && /^(pool|tenant|queue)_full$/.test(said.code)) {
			pause(said, Math.min(least, 5_000));
		} else if (/^(0|408|429|5..)$/.test(status)) {
			retry(least);
		} else if (status === 401 && key?.call && !refused) {
			ask(true);
		} else if (ticket) {
			ticket = undefined; // Its place in the queue is gone.
			retry(0);
		} else {
			to('denied', { code: `http_${status}`, ...said });
		}
	}

	async function renew() {
		const mine = epoch;
		const at = stamp();
		const body = { token, activities: news ? activities : undefined };
		news = false; // Also if the server refuses them: that must not cost the seat.
		const { status, said, least } = await post('leases/renew', body);
		if (mine !== epoch) return;
		if (said.lease) hold(said, at);
		else if (!ENDS.test(said.code)) {
			news ||= status !== 400 && body.activities;
			if (seat.lease) to(left() > 0 ? 'unstable' : 'suspect', said);
			retry(least);
		} else if (seat.lease || said.code === 'lease_terminated') {
			to('lost', said);
		} else {
			token = null; // Remembered from before a reload.
			go();
		}
	}

	function hold(said, at) {
		seat.lease = said.lease;
		token = said.token ?? token;
		sent = at;
		request = null;
		hurry = misses = 0;
		store(shares);
		to('held');
		overdue();
		if (said.resumed) emit('resumed', { lease: seat.lease });
		arm();
		const every = seat.lease.renew_after_ms;
		// The page that led before may have left, and be heard after this beat: the next one undoes that, too.
		plan(settle ? Math.min(2_000, every / 4) : news ? 500 : every * (0.85 + Math.random() * 0.15));
		settle = false;
	}

	function overdue() {
		deadline?.();
		if (seat.lease && left() <= 0) to('suspect', seat.problem);
		else if (seat.lease) deadline = after(left(), overdue);
	}

	async function giveBack(token, ticket) {
		const path = token ? 'leases/release' : `${ofPool}/queue/leave`;
		for (let tries = 0; tries < 3 && (token || ticket); tries++) {
			const { status } = await post(path, token ? { token } : { ticket }, { keepalive: true });
			if (status && status < 500) return;
			await new Promise((done) => after(500, done));
		}
	}

	function wake(surely) {
		overdue();
		if (!seat.leader) since(sent) > seat.lease?.renew_after_ms && look(1_000);
		else if (!flight && since(sent) > (surely ? 1_000 : seat.lease?.renew_after_ms / 2)) go();
		else if (flight && since(flight.at) > 3_000) {
			hurry = true; // The network that it hangs on may be gone.
			flight.abort();
		}
	}

	function hide({ persisted }) {
		away = true;
		if (seat.leader && token && leave && (persisted || !later)) {
			const body = JSON.stringify({ token }); // As text: a beacon of JSON is dropped without a word.
			if (!navigator?.sendBeacon?.(leaving, body)) scope.fetch(leaving, { ...POST, body, keepalive: true }).catch(() => {});
		}
		if (persisted) later = later?.abort();
		store(token || request);
		part();
	}

	// Where there is fetchLater, the browser sends the leave when the page is gone, also by a crash.
	function arm() {
		later = later?.abort();
		if (!scope.fetchLater || !leave) return;
		later = new AbortController();
		try {
			scope.fetchLater(leaving, { ...POST, body: JSON.stringify({ token }), signal: later.signal });
		} catch {
			later = null; // By a quota or a policy. The beacon does it.
		}
	}

	// For the next page in this tab. A sandboxed frame has no storage: there a reload is a new lease.
	function storage(use) {
		try {
			return use(scope.sessionStorage);
		} catch {}
	}

	function store(put) {
		storage((kept) => (put ? kept.setItem(name, JSON.stringify([token, request, ticket])) : kept.removeItem(name)));
	}

	function join() {
		away = false;
		[token, request, ticket] = storage((kept) => JSON.parse(kept.getItem(name))) ?? [token, request, ticket];
		// A duplicate of the tab has a copy: with locks it finds that another leads, without it finds nothing.
		store(shares && token);
		if (!shares) return lead();
		channel = new BroadcastChannel(name);
		channel.onmessage = ({ data }) => hear(data);
		queue();
		joining = true;
		say('hello');
		look(1_000);
	}

	function part() {
		epoch++;
		flight = null;
		for (const cancel of [next, deadline, watch]) cancel?.();
		channel = channel?.close();
		queued?.abort();
		free = free?.();
		seat.leader = false;
	}

	// Tabs of one holder share a lease. The one with the lock leads: it beats, and tells the others.

	async function queue(steal) {
		queued?.abort();
		const mine = (queued = new AbortController());
		try {
			await navigator.locks.request(name, steal ? { steal } : { signal: mine.signal }, () => {
				if (mine.signal.aborted) return;
				lead();
				return new Promise((done) => (free = done));
			});
		} catch {
			if (mine.signal.aborted) return;
			if (!seat.leader) return lead(); // This frame may not have locks.
			epoch++; // Stolen, because this page was frozen.
			seat.leader = false;
			next?.();
			later = later?.abort();
			queue();
			look();
		}
	}

	function lead() {
		watch?.();
		seat.leader = true;
		settle = Boolean(token);
		tell();
		go();
	}

	// A leader that says nothing by itself is frozen, though it may answer. It loses the lead, sooner to a visible tab.
	function look(ms = (seat.lease?.renew_after_ms ?? 4_000) * (document?.hidden ? 2 : 1.25)) {
		if (seat.leader || !channel) return;
		watch?.();
		watch = after(ms * (1 + Math.random() / 8), () => queue(true));
	}

	const say = (kind, more) => channel?.postMessage({ kind, ...more });

	function tell(reply) {
		const { state, problem, lease } = seat;
		say('state', { reply, state, problem, lease, token, request, ticket, wall: sent?.wall });
	}

	function hear({ kind, ...said }) {
		if (kind === 'activities') setActivities(said.activities, true);
		if (kind === 'hello' && seat.leader) tell(true);
		if (kind === 'state' && (!seat.leader || said.state === 'released')) mirror(said);
	}

	function mirror({ wall, lease, state, problem, reply, ...said }) {
		({ token, request, ticket } = said);
		seat.lease = lease;
		sent = stamp(wall);
		to(state, problem);
		overdue();
		if (joining || !reply) look();
		joining = false;
	}
}
