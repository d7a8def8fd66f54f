// The client for Node. It adds connections that are checked before they are reused, a clock that runs while the machine sleeps, and
// the release of all seats when the program ends.

import http from 'node:http';
import https from 'node:https';
import os from 'node:os';
import { Client as Portable } from './client.js';
import { engines, portable } from './engine.js';

export { SeatError } from './errors.js';
export { Seat, hold } from './seat.js';
export { SeatClient } from './widget.js';
export { Gateway } from './gateway.js';

const AGENT = 'leasehold-js/0.1.0 (spec 2)';
const IDLE_MS = 30_000;
const MOST_BYTES = 4 << 20;
const began = { uptime: os.uptime() * 1_000, mono: performance.now() };

// performance.now() stops while the machine sleeps. The uptime of Linux does not, but it is coarse.
function now() {
	const mono = performance.now() - began.mono;
	const uptime = process.platform === 'linux' ? os.uptime() * 1_000 - began.uptime - 20 : 0;
	return { mono: Math.floor(Math.max(mono, uptime)), wall: Date.now() };
}

class Connections {
	now = now;
	random = portable.random;
	after = portable.after;
	start = portable.start;
	stayAlive = portable.stayAlive;
	#agent;

	constructor(secure, agent) {
		this.#agent = agent ?? new (secure ? https : http).Agent({ keepAlive: true, maxFreeSockets: 8, timeout: IDLE_MS });
	}

	async post(url, headers, body, { signal, fresh }) {
		await new Promise(setImmediate); // Lets the event loop notice that a kept connection was closed.
		signal.throwIfAborted();
		if (fresh) this.close();
		const { request: make } = url.startsWith('https:') ? https : http;
		const length = Buffer.byteLength(body);
		const options = { method: 'POST', agent: this.#agent, signal, headers: { ...headers, 'user-agent': AGENT, 'content-length': length } };
		const response = await new Promise((resolve, reject) => {
			const request = make(url, options, resolve);
			request.on('socket', (socket) => socket.unref());
			request.on('error', reject);
			request.end(body);
		});
		const chunks = [];
		let bytes = 0;
		for await (const chunk of response) {
			bytes += chunk.length;
			if (bytes > MOST_BYTES) throw new Error('its answer is too long');
			chunks.push(chunk);
		}
		return { status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() };
	}

	/** Closes the idle connections. */
	close() {
		for (const socket of Object.values(this.#agent.freeSockets ?? {}).flat()) socket.destroy();
	}
}

/** Speaks to one server. One for a whole program is enough. */
export class Client extends Portable {
	constructor(url, { agent, ...options } = {}) {
		super(url, { ...options, platform: new Connections(new URL(url).protocol === 'https:', agent) });
	}
}

// The event loop is empty. Node waits for the releases, three seconds at most.
process.on('beforeExit', () => {
	for (const engine of [...engines]) engine.end({ exiting: true });
});
