// Programs as people write them, against the real server at LEASEHOLD_URL. LEASEHOLD_KEY is an operator's key: the tests make pools.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Client, Gateway } from '../src/node.js';
import { Client as Portable } from '../src/index.js';

const { LEASEHOLD_URL: url, LEASEHOLD_KEY: key } = process.env;

const BACKEND = `
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Client, Gateway } from ${JSON.stringify(new URL('../src/node.js', import.meta.url))};
const [url, key, pool, path] = process.argv.slice(1);
const tokens = new Map(JSON.parse(readFileSync(path)));
const save = (done) => (writeFileSync(path, JSON.stringify([...tokens])), done);
const kept = { set: (...pair) => save(tokens.set(...pair)), delete: (session) => save(tokens.delete(session)), entries: () => tokens.entries() };
const seats = new Gateway(new Client(url, { key }), pool, { tokens: kept });
console.log(await seats.restore());
for await (const session of createInterface({ input: process.stdin })) console.log((await seats.login(session, { holder: session })).id);
`;

async function ask(method, path, body) {
	const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
	const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
	const text = await answer.text();
	assert.ok(answer.ok, text);
	return text && JSON.parse(text);
}

async function pool(name, policy) {
	await ask('PUT', `/v1/pools/${name}`, policy);
	return name;
}

const holders = async (name) => (await ask('GET', `/v1/pools/${name}/leases?limit=200`)).items.map(({ holder }) => holder).sort();

async function until(reached) {
	for (let tries = 0; !(await reached()); tries += 1) {
		assert.ok(tries < 400, 'it did not happen in time');
		await sleep(50);
	}
}

test('a backend that is killed and started again goes on with its seats', async (t) => {
	const name = await pool('js-backend', { capacity: 5, ttl_ms: 10_000 });
	const home = mkdtempSync(join(tmpdir(), 'leasehold-js-'));
	const path = join(home, 'tokens.json');
	t.after(() => rmSync(home, { recursive: true }));
	writeFileSync(path, '[]');
	const start = () => {
		const child = spawn(process.execPath, ['--input-type=module', '-e', BACKEND, url, key, name, path], { stdio: ['pipe', 'pipe', 'inherit'] });
		t.after(() => child.kill('SIGKILL'));
		const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
		return { child, read: async () => (await lines.next()).value };
	};
	const login = async ({ child, read }) => {
		child.stdin.write('ann\nbob\n');
		return [await read(), await read()];
	};
	const first = start();
	assert.equal(await first.read(), '0');
	const ids = await login(first);
	assert.equal(JSON.parse(readFileSync(path)).length, 2);
	first.child.kill('SIGKILL');
	await once(first.child, 'exit');
	const second = start();
	assert.equal(await second.read(), '2');
	assert.deepEqual(await login(second), ids);
	assert.deepEqual(await holders(name), ['ann', 'bob']);
	second.child.stdin.end(); // It has nothing more to do, as at the end of a deployment: the next one continues.
	const [code] = await once(second.child, 'exit');
	assert.equal(code, 0);
	const third = start();
	assert.equal(await third.read(), '2');
	assert.deepEqual(await login(third), ids);
	assert.deepEqual(await holders(name), ['ann', 'bob']);
});

test('the seats of a backend that keeps no tokens go back when it ends', async () => {
	const name = await pool('js-backend-ends', { capacity: 5, ttl_ms: 60_000 });
	const text = `
		import { Client, Gateway } from ${JSON.stringify(new URL('../src/node.js', import.meta.url))};
		const [url, key, pool] = process.argv.slice(1);
		await new Gateway(new Client(url, { key }), pool).login('s1', { holder: 'ann' });
	`;
	const child = spawn(process.execPath, ['--input-type=module', '-e', text, url, key, name], { stdio: 'inherit' });
	assert.deepEqual(await once(child, 'exit'), [0, null]);
	assert.deepEqual(await holders(name), []);
});

test('a lost seat is told and forgotten', async () => {
	const name = await pool('js-lost', { capacity: 2, ttl_ms: 1_000 });
	const lost = [];
	const tokens = new Map();
	const onLost = (session, error) => lost.push([session, error.code, error.reason]);
	const seats = new Gateway(new Client(url, { key }), name, { tokens, onLost });
	const [one, same] = await Promise.all([seats.login('s1', { holder: 'ann' }), seats.login('s1', { holder: 'ann' })]);
	assert.equal(one, same);
	await seats.login('s2', { holder: 'bob' });
	await ask('POST', `/v1/pools/${name}/leases/terminate`, { holder: 'ann', reason: 'Over.' });
	await until(() => lost.length);
	assert.deepEqual(lost, [['s1', 'lease_terminated', 'Over.']]);
	assert.throws(() => seats.check('s1'), { isLost: true });
	assert.deepEqual([...tokens.keys()], ['s2']);
	assert.ok(seats.check('s2').sure);
	await seats.logout('s2');
	assert.deepEqual(await holders(name), []);
	assert.equal(tokens.size, 0);
});

for (const [kind, Kind] of [['Node', Client], ['fetch', Portable]]) {
	test(`work is stopped by its signal when the seat is terminated, with ${kind}`, async () => {
		const name = await pool('js-hold', { capacity: 2, ttl_ms: 1_000 });
		const client = new Kind(url, { key });
		const holding = client.hold(name, { holder: 'ann' }, async (seat, signal) => {
			const shown = inspect([client, seat], { depth: 9, showHidden: true }) + JSON.stringify([client, seat]);
			assert.ok(!shown.includes(seat.token) && !shown.includes(key));
			await ask('POST', `/v1/pools/${name}/leases/terminate`, { holder: 'ann', reason: 'Over.' });
			await sleep(20_000, null, { signal });
		});
		await assert.rejects(holding, { name: 'SeatError', code: 'lease_terminated', reason: 'Over.', isLost: true });
		await assert.rejects(client.hold(name, {}, () => Promise.reject(new RangeError('mine'))), RangeError);
		assert.equal(await client.hold(name, {}, () => 42), 42);
		assert.deepEqual(await holders(name), []);
	});
}

test('hundreds of seats are kept by few requests', async () => {
	const name = await pool('js-many', { capacity: 300, ttl_ms: 6_000 });
	const client = new Client(url, { key });
	const seats = await Promise.all(Array.from({ length: 120 }, (_, i) => client.acquire(name, { holder: `h${i}` })));
	let requests = 0;
	subscribe('http.client.request.start', () => (requests += 1));
	await sleep(8_000);
	assert.ok(seats.every((seat) => seat.sure));
	assert.ok(requests > 2 && requests < 60, `${requests} requests`);
	await client.close();
	assert.deepEqual(await holders(name), []);
});

test('misuse fails at once, and never shows a key', async () => {
	assert.throws(() => new Client('ftp://seats.example'), /http/);
	assert.throws(() => new Client('https://user:secret@seats.example'), (error) => !error.message.includes('secret'));
	assert.throws(() => new Client(url, { key: 'secret\n' }), (error) => !error.message.includes('secret'));
	await assert.rejects(new Client(url, { key }).acquire('crm', { holdr: 'ann' }), /holdr/);
	await assert.rejects(new Client(url, { key }).acquire('js-none'), { code: 'pool_not_found', isLost: false });
	await assert.rejects(new Client('http://127.0.0.1:9').acquire('crm', { timeout: 300 }), { code: 'unreachable', isTemporary: true });
});

// Grants a lease and closes each connection 100 ms after its answer. It has a thread of its own: the test blocks this one.
const CLOSING = `
const { parentPort } = require('node:worker_threads');
const body = JSON.stringify({ lease: { id: 'l1', expires_in_ms: 4_000, renew_after_ms: 500 }, token: 't1' });
const answer = 'HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: ' + body.length + '\\r\\n\\r\\n' + body;
require('node:net').createServer((socket) => {
	socket.on('error', () => {});
	socket.on('data', () => { socket.write(answer); setTimeout(() => socket.end(), 100); });
}).listen(0, '127.0.0.1', function () { parentPort.postMessage(this.address().port); });
`;

function block(ms) {
	for (const end = Date.now() + ms; Date.now() < end; );
}

test('a program that was blocked uses no dead connection, and is not sure of an old lease', async (t) => {
	const server = new Worker(CLOSING, { eval: true });
	t.after(() => server.terminate());
	const [port] = await once(server, 'message');
	const events = [];
	const seat = await new Client(`http://127.0.0.1:${port}`).acquire('crm', { onEvent: (_, { state }) => events.push(state) });
	block(700);
	assert.equal(seat.state, 'held');
	await sleep(200); // The heartbeat that is due goes out on a new connection.
	assert.deepEqual(events, ['acquiring', 'held']);
	block(4_100);
	assert.equal(seat.state, 'grace');
	assert.equal(seat.sure, false);
	await until(() => seat.sure);
	await seat.release();
});

test('a release that nobody waits for is sent before the program ends', async () => {
	const name = await pool('js-exit', { capacity: 2, ttl_ms: 60_000 });
	const text = `
		import { Client } from ${JSON.stringify(new URL('../src/node.js', import.meta.url))};
		const [url, key, pool] = process.argv.slice(1);
		const client = new Client(url, { key });
		(await client.acquire(pool, { holder: 'ann' })).release();
		client.acquire(pool, { holder: 'bob', signal: AbortSignal.timeout(1) }).catch(() => {});
	`;
	const child = spawn(process.execPath, ['--input-type=module', '-e', text, url, key, name], { stdio: 'inherit' });
	assert.deepEqual(await once(child, 'exit'), [0, null]);
	assert.deepEqual(await holders(name), []);
});

const react = await import('react').then(() => import('./mount.js'), () => null);
test('a component that is gone gives its seat back a moment later, and one that loses it says why', { skip: !react }, async () => {
	const name = await pool('js-react', { capacity: 2, ttl_ms: 1_000, linger_ms: 100 });
	const client = new Client(url, { key });
	const views = [];
	react.mount('a', client, name, { holder: 'ann' }, (view) => views.push(view));
	const last = () => views.at(-1);
	await until(() => last()?.state === 'held');
	const { id } = last().seat;
	react.unmount('a');
	await sleep(300);
	react.mount('a', client, name, { holder: 'ann' }, (view) => views.push(view));
	await until(() => last().state === 'held');
	assert.equal(last().seat.id, id);
	await ask('POST', `/v1/pools/${name}/leases/terminate`, { holder: 'ann', reason: 'Over.' });
	await until(() => last().state === 'lost');
	assert.equal(last().reason, 'Over.');
	const { again } = last();
	again();
	again(); // A second click asks for nothing more.
	await until(() => last().state === 'held');
	assert.deepEqual(await holders(name), ['ann']);
	assert.notEqual(last().seat.id, id);
	react.unmount('a');
	assert.deepEqual(await holders(name), ['ann']);
	await until(async () => !(await holders(name)).length);
	assert.equal(react.rendered(client, name), 'idle');
	assert.deepEqual(await holders(name), []);
});

test('a component asks whether somebody is still there, and comes back with its user', { skip: !react }, async () => {
	const name = await pool('js-react-idle', { capacity: 1, ttl_ms: 1_500, idle: { after_ms: 2_000, then: 'end', notice_ms: 1_500 } });
	const client = new Client(url, { key });
	let idle = 1_000;
	let view = null;
	react.mount('b', client, name, { holder: 'ann', reacquire: true, idle: () => idle }, (next) => (view = next));
	await until(() => view?.ending?.reason === 'idle');
	idle = 5;
	await until(() => view.ending === null);
	assert.equal(view.state, 'held');
	idle = 3_000;
	await until(() => view.state === 'lost');
	assert.deepEqual([view.code, view.reason, view.ending], ['lease_evicted', 'idle', null]);
	assert.match(view.detail, /nobody|Nobody/);
	assert.deepEqual(await holders(name), []);
	idle = 1;
	await until(() => view.state === 'held');
	react.unmount('b');
	await client.close();
});

test('the types declare what the modules export', async () => {
	for (const entry of ['index', 'node', 'react', 'verify']) {
		const own = entry === 'index' || entry === 'node' ? ['index.d.ts', 'widget.d.ts'] : [];
		const types = [...own, `${entry}.d.ts`];
		const text = types.map((file) => readFileSync(new URL(`../src/${file}`, import.meta.url), 'utf8')).join();
		const declared = new Set([...text.matchAll(/export declare (?:class|function) (\w+)/g)].map(([, name]) => name));
		const exported = entry === 'react' && !react ? ['useSeat'] : Object.keys(await import(`../src/${entry}.js`));
		assert.deepEqual(exported.sort(), [...declared].sort(), entry);
	}
});
