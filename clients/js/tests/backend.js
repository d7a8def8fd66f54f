// examples/express/server.js as people run it, against the real server at LEASEHOLD_URL. LEASEHOLD_KEY is an operator's key.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { application, areThere } from './tools.js';

const { LEASEHOLD_URL: url, LEASEHOLD_KEY: admin } = process.env;
if (!areThere()) {
	console.error('there is no Express, and no registry');
	process.exit(77);
}
const pool = 'js-express';

async function ask(method, path, body) {
	const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
	const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
	const text = await answer.text();
	assert.ok(answer.ok, text);
	return text && JSON.parse(text);
}

const leases = async () => Object.fromEntries((await ask('GET', `/v1/pools/${pool}/leases?limit=100`)).items.map(({ holder, id }) => [holder, id]));

async function until(reached) {
	for (let tries = 0; !(await reached()); tries += 1) {
		assert.ok(tries < 300, 'it did not happen in time');
		await sleep(50);
	}
}

const program = new URL('../../../examples/express/server.js', import.meta.url);
const home = await application(url, { 'server.js': readFileSync(program) });
let child = null;

async function start(key) {
	const env = { ...process.env, SEATS_URL: url, SEATS_KEY: key, POOL: pool, PORT: '0' };
	child = spawn(process.execPath, ['server.js'], { cwd: home, env, stdio: ['ignore', 'pipe', 'pipe'] });
	const errors = [];
	createInterface({ input: child.stderr }).on('line', (line) => errors.push(line));
	const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), once(child, 'exit').then(() => [errors.join('\n')])]);
	const [, port] = /^listening on (\d+)$/.exec(line) ?? assert.fail(line);
	const request = async (method, path, cookie, body) => {
		const headers = { 'content-type': 'application/json', ...(cookie && { cookie }) };
		const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers, body: body && JSON.stringify(body) });
		const said = await answer.text();
		return { status: answer.status, cookie: answer.headers.get('set-cookie')?.split(';')[0], code: /^\{/.test(said) ? JSON.parse(said).code : undefined };
	};
	return {
		errors,
		login: (user) => request('POST', '/login', null, { user }),
		work: (cookie) => request('GET', '/work', cookie),
		logout: (cookie) => request('POST', '/logout', cookie),
		async stop(signal) {
			child.kill(signal);
			await once(child, 'exit');
		},
	};
}

try {
	await ask('PUT', `/v1/pools/${pool}`, { capacity: 8, ttl_ms: 3_000 });
	// The limits of a key that is made for pages: a backend meets them with its first rush.
	const limits = { per_minute: 600, burst: 3, per_address_per_minute: 600 };
	const { secret } = await ask('POST', '/v1/keys', { name: pool, role: 'client', pools: [pool], limits });
	let backend = await start(secret);
	const users = ['ann', 'bob', 'cid', 'dan', 'eve', 'fay', 'gil', 'hal'];
	const logins = await Promise.all(users.map((user) => backend.login(user)));
	assert.deepEqual(logins.map(({ status }) => status), users.map(() => 204));
	assert.deepEqual(await backend.login('ida'), { status: 403, cookie: undefined, code: 'pool_full' });
	assert.equal((await backend.work('session=nobody')).status, 401);
	const cookies = Object.fromEntries(users.map((user, i) => [user, logins[i].cookie]));
	const ids = await leases();
	assert.deepEqual(Object.keys(ids).sort(), users);
	assert.equal(statSync(join(home, 'seats.json')).mode & 0o077, 0, 'others can read the tokens');

	for (const signal of ['SIGKILL', 'SIGTERM']) { // A crash, then a deployment: the seats are the same after both.
		await backend.stop(signal);
		assert.deepEqual(await leases(), ids);
		backend = await start(secret);
		for (const user of users) assert.equal((await backend.work(cookies[user])).status, 200);
		await sleep(1_500);
	}
	await sleep(2_000);
	assert.deepEqual(await leases(), ids);

	await ask('POST', `/v1/pools/${pool}/leases/terminate`, { holder: 'ann', reason: 'Over.' });
	await until(async () => (await backend.work(cookies.ann)).status === 401);
	assert.deepEqual(backend.errors, ['a session has lost its seat: Over.']);
	assert.equal((await backend.work(cookies.bob)).status, 200);
	for (const user of users.slice(1)) assert.equal((await backend.logout(cookies[user])).status, 204);
	assert.deepEqual(await leases(), {});
	assert.deepEqual(JSON.parse(readFileSync(join(home, 'seats.json'))), []);
	await backend.stop('SIGTERM');
} finally {
	child?.kill('SIGKILL');
	rmSync(home, { recursive: true, force: true });
}
