// The program that the scenarios of ../../spec/wire drive: lines of JSON in, lines of JSON out. See ../../spec/README.md.

import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Client, Gateway, SeatError } from '../src/node.js';
import { Verifier } from '../src/verify.js';

const seats = {};
const stops = {};
const react = await import('./mount.js').catch(() => null);
let client, verifier, gateway, server;
const tokens = new Map();
const kept = () => Object.fromEntries([...tokens].map(([session, token]) => [session, token.replace('SECRET-', '')]));

const say = (line) => writeSync(1, `${JSON.stringify(line)}\n`);

const idles = {}; // What the program says of each seat: milliseconds, or "raise".

function options({ as, holder, tenant, label, wait, reacquire, request, activities, max_grace_ms: maxGrace, timeout_ms: timeout, listener, idle: said }) {
	idles[as] = said;
	const idle = said === undefined ? undefined : () => {
		if (idles[as] === 'raise') throw new Error('a function of the program');
		return idles[as];
	};
	stops[as] = new AbortController();
	const onEvent = async (seat, { state, ...more }) => {
		say({ seat: as, event: state, id: seat.id ?? undefined, ...more });
		if (listener === 'raise') throw new Error('a listener of the program');
		if (listener === 'block') await sleep(10_000, null, { ref: false });
	};
	return { holder, tenant, label, wait, reacquire, request, activities, maxGrace, timeout, signal: stops[as].signal, onEvent, idle };
}

function failed(as, error) {
	if (error instanceof SeatError) say({ seat: as, error: error.code, detail: error.detail, temporary: error.isTemporary });
	else say({ seat: as, error: error.name === 'AbortError' ? 'cancelled' : String(error) });
}

async function acquire(line) {
	const { as, pool, token } = line;
	try {
		const seat = await (token ? client.adopt(pool, token, options(line)) : client.acquire(pool, options(line)));
		seats[as] = seat;
		say({ seat: as, result: 'held', id: seat.id, fence: seat.fence, sure: seat.sure });
	} catch (error) {
		failed(as, error);
	}
}

async function ended({ as, do: how }) {
	const began = performance.now();
	await seats[as][how]();
	say({ seat: as, done: how, ms: Math.floor(performance.now() - began) });
}

const steps = {
	start({ url, keys }) {
		server = url;
		client = new Client(url, { key: keys.length > 1 ? ({ refused }) => keys[refused ? 1 : 0] : keys[0] });
		process.stderr.write(`${inspect(client, { depth: 9, showHidden: true })}\n`); // In which no secret may stand.
	},
	acquire,
	adopt: acquire,
	async hold(line) {
		const { as, pool } = line;
		const work = async (seat, signal) => {
			seats[as] = seat;
			say({ seat: as, body: 'runs' });
			await sleep(60_000, null, { signal });
		};
		try {
			await client.hold(pool, options(line), work);
		} catch (error) {
			if (error.isLost) say({ seat: as, body: 'lost', code: error.code, reason: error.reason ?? undefined });
			else say({ seat: as, body: 'cancelled' });
		}
	},
	async many({ pool, count, touch }) {
		const one = async (name) => {
			const onLost = (_, { code }) => say({ seat: name, event: 'lost', code });
			seats[name] = await client.acquire(pool, { holder: name, onLost });
			if (touch) seats[name].active();
		};
		await Promise.all(Array.from({ length: count }, (_, i) => one(`s${i + 1}`)));
		say({ seat: '', result: 'held', count: Object.keys(seats).length });
	},
	cancel: ({ as }) => stops[as].abort(),
	release: ended,
	close: ended,
	check({ as }) {
		const seat = seats[as];
		let said = 'ok';
		try {
			seat.check();
		} catch (error) {
			said = error.code;
		}
		process.stderr.write(`${inspect(seat, { depth: 9, showHidden: true })} ${JSON.stringify(seat)}\n`);
		say({ seat: as, check: said, state: seat.state, sure: seat.sure });
	},
	touch: ({ as, session }) => (session ? gateway.active(session) : seats[as].active()),
	hand_over: async ({ as }) => say({ seat: as, handed_over: await seats[as].yieldSeat() }),
	idle({ as, ms }) {
		idles[as] = ms;
	},
	report: ({ as, activities }) => seats[as].report({ activities }),
	async verify({ as, proof, at, issuer, audience, times }) {
		verifier ??= new Verifier({ issuer, audience, url: server });
		let verified = 0;
		for (let n = 0; n < times; n += 1) verified += await verifier.verify(proof, { at }).then(() => 1, () => 0);
		say({ seat: as, verified });
	},
	gateway(line) {
		for (const [session, token] of Object.entries(line.tokens)) tokens.set(session, token);
		gateway = new Gateway(client, line.pool, { tokens });
		return steps.restore(line);
	},
	async restore({ as, timeout_ms: timeout }) {
		say({ seat: as, restored: await gateway.restore({ timeout }), kept: kept() });
	},
	async login({ as, session, holder, reacquire }) {
		const seat = await gateway.login(session, { holder, reacquire });
		say({ seat: as, login: session, id: seat.id });
	},
	kept: ({ as }) => say({ seat: as, kept: kept() }),
	mount({ as, pool, holder }) {
		let said = false;
		react.mount(as, client, pool, { holder }, ({ state, seat }) => {
			if (state === 'held' && !said) say({ seat: as, result: 'held', id: seat.id, fence: seat.fence, sure: seat.sure });
			said ||= state === 'held';
		});
	},
	unmount: ({ as }) => react.unmount(as),
};

// As programs do that want to end well: without it, SIGTERM ends Node at once.
process.once('SIGTERM', async () => {
	await client?.close();
	process.exit(143);
});

say({ ready: 'js', spec: 2, can: ['cancel', 'exit', 'verify', 'gateway', ...(react ? ['react'] : [])] });
try {
	for await (const text of createInterface({ input: process.stdin })) {
		const line = { as: 's', ...JSON.parse(text) };
		if (line.do === 'quit') break;
		if (line.do === 'raise') throw new Error('an error of the program');
		steps[line.do](line);
	}
	process.stdin.destroy(); // Nothing is left to do, and so Node ends; what gives the seats back then is not this program.
} catch (error) {
	await client?.close();
	throw error;
}
