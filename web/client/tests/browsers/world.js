// What the browser tests stand on: a real node with its own Redis, and a site of an integrator, which is not the node.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const CLIENT = new URL('../../', import.meta.url);
const BINARY = resolve(process.env.LEASEHOLD ?? join(process.env.CARGO_TARGET_DIR ?? 'target', 'debug/leasehold'));

/** Polls until it is so. `what` is told when it never is. */
export async function until(what, condition, within = 10_000) {
	const deadline = Date.now() + within;
	for (;;) {
		const value = await condition();
		if (value) return value;
		if (Date.now() > deadline) throw new Error(`not within ${within} ms: ${what}`);
		await pass(25);
	}
}

export const pass = (ms) => new Promise((done) => setTimeout(done, ms));

async function freePort() {
	const server = createServer().listen(0, '127.0.0.1');
	await new Promise((done) => server.once('listening', done));
	const { port } = server.address();
	await new Promise((done) => server.close(done));
	return port;
}

/** A node, in open mode unless there is a key. Pools in tests live fast: TTL 6 s, a beat every 2 s, linger 1 s. */
export async function startNode({ adminKey } = {}) {
	if (!existsSync(BINARY)) throw new Error(`there is no ${BINARY}: cargo build`);
	const directory = mkdtempSync(join(tmpdir(), 'leasehold-node-'));
	const port = await freePort();
	const child = spawn(BINARY, ['serve'], {
		cwd: directory, stdio: 'ignore',
		env: { PATH: process.env.PATH, HOME: directory, LEASEHOLD_LISTEN: `127.0.0.1:${port}`, LEASEHOLD_DRAIN_WAIT_MS: '0',
			...(adminKey && { LEASEHOLD_ADMIN_KEY: adminKey }) },
	});
	const gone = new Promise((done) => child.once('exit', done));
	const url = `http://127.0.0.1:${port}`;
	await until('the node is ready', () => fetch(`${url}/readyz`).then(({ ok }) => ok, () => false), 20_000);
	const call = async (method, path, body) => {
		const answer = await fetch(`${url}${path}`, {
			method, body: body && JSON.stringify(body),
			headers: { ...(body && { 'content-type': 'application/json' }), ...(adminKey && { authorization: `Bearer ${adminKey}` }) },
		});
		const json = await answer.json().catch(() => null);
		return { status: answer.status, ...json };
	};
	let pools = 0;
	return {
		url, port, call,
		/** A pool of its own for each test. */
		pool: async (policy = {}) => {
			const name = `pool-${++pools}`;
			const { status, detail } = await call('PUT', `/v1/pools/${name}`, { capacity: 1, ttl_ms: 6_000, linger_ms: 1_000, ...policy });
			if (status !== 201) throw new Error(`${status}: ${detail}`);
			const path = `/v1/pools/${name}/leases`;
			return {
				name,
				leases: async () => (await call('GET', path)).items,
				acquire: (holder = 'competitor') => call('POST', path, { holder }),
				terminate: (reason) => call('POST', `${path}/terminate`, { all: true, reason }),
			};
		},
		stop: async () => {
			child.kill('SIGTERM');
			await Promise.race([gone, pass(8_000).then(() => child.kill('SIGKILL'))]);
			rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
		},
	};
}

/**
 * A site: `pages` are the documents by path. It serves the client's files itself, as they are on disk, and hands on
 * to the node what is below /v1, and notes when: so its pages are same-origin with the node, and the test sees each beat.
 */
export async function startSite(node, pages) {
	const beats = [];
	const server = createServer(async (request, response) => {
		const path = new URL(request.url, 'http://site').pathname;
		const { body, policy, type = 'text/html' } = pages[path] ?? {};
		if (body !== undefined) {
			response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, ...(policy && { 'content-security-policy': policy }) });
			return response.end(body);
		}
		if (/^\/client\/leasehold(-worker)?\.js$/.test(path)) {
			return response.writeHead(200, { 'content-type': 'text/javascript' }).end(readFileSync(new URL(path.slice(8), CLIENT)));
		}
		if (!path.startsWith('/v1/')) return response.writeHead(404).end();
		const chunks = [];
		for await (const chunk of request) chunks.push(chunk);
		const sent = Buffer.concat(chunks);
		beats.push({ path, at: Date.now(), token: sent.length ? JSON.parse(sent).token : undefined });
		const { host, connection, 'content-length': length, ...headers } = request.headers;
		const answer = await fetch(`${node.url}${request.url}`, { method: request.method, headers, body: sent.length ? sent : undefined }).catch(() => null);
		if (!answer) return response.writeHead(502).end();
		response.writeHead(answer.status, Object.fromEntries([...answer.headers].filter(([name]) => !/^(connection|content-length|transfer-encoding|date)$/.test(name))));
		response.end(Buffer.from(await answer.arrayBuffer()));
	});
	await new Promise((done) => server.listen(0, '127.0.0.1', done));
	const { port } = server.address();
	return {
		port, beats,
		origin: (host) => `http://${host}:${port}`,
		stop: () => new Promise((done) => (server.close(done), server.closeAllConnections())),
	};
}

/** A page of an integrator, with what the test wants to know in `window.states` and `window.seat`. */
export const page = (script = '') => `<!doctype html><title>Work</title><script type="module" src="/page.js"></script>${script}`;

export const PAGE_SCRIPT = `
import { SeatClient } from '/client/leasehold.js';
const { search } = location;
const options = Object.fromEntries(new URLSearchParams(search));
window.states = [];
window.reasons = [];
const seat = (window.seat = new SeatClient({ ...options, wait: 'wait' in options, ...(options.worker === 'none' && { worker: false }) }));
seat.addEventListener('statechange', ({ detail }) => {
	states.push(detail.to);
	if (detail.reason) reasons.push(detail.reason);
});
seat.addEventListener('resumed', () => states.push('resumed'));
seat.acquire().catch(() => {});
`;

/** What people write first: a timer of the page. It is here to lose its seat. */
export const NAIVE_SCRIPT = `
const { pool } = Object.fromEntries(new URLSearchParams(location.search));
const post = (path, body) => fetch('/v1/' + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
const { token, lease } = await (await post('pools/' + pool + '/leases', { holder: 'naive' })).json();
window.seat = { state: 'held', lease };
setInterval(() => post('leases/renew', { token }), lease.renew_after_ms);
`;
