// A product whose users hold the seats of a pool while they are logged in: docs/backend.md. What is its own log-in is left out.

import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import express from 'express';
import { Client, Gateway } from 'leasehold/node';

const { SEATS_URL = 'http://127.0.0.1:7070', SEATS_KEY, POOL = 'demo', TOKENS = 'seats.json', PORT = '3000' } = process.env;

// Tokens are secrets. A table of your database does as well: `set`, `delete` and `entries` may return promises.
const kept = new Map(existsSync(TOKENS) ? JSON.parse(readFileSync(TOKENS)) : []);
const save = () => {
	writeFileSync(`${TOKENS}.new`, JSON.stringify([...kept]), { mode: 0o600 });
	renameSync(`${TOKENS}.new`, TOKENS);
};
const tokens = {
	set: (session, token) => (kept.set(session, token), save()),
	delete: (session) => (kept.delete(session), save()),
	entries: () => [...kept],
};

const seats = new Gateway(new Client(SEATS_URL, { key: SEATS_KEY }), POOL, {
	tokens,
	onLost: (session, { code, reason }) => console.error(`a session has lost its seat: ${reason ?? code}`),
});

/** Continues with the seats of the process before, and tries again while the server is away. */
async function restore() {
	await seats.restore({ timeout: 10_000 });
	if (seats.size < kept.size) setTimeout(restore, 5_000).unref();
}
await restore();

function refuse(response, { code, detail, reason, isLost, isTemporary, retryAfter }) {
	if (retryAfter) response.set('retry-after', Math.ceil(retryAfter / 1_000));
	response.status(isLost ? 401 : isTemporary ? 503 : 403).json({ code, detail, reason });
}

const app = express();
app.use(express.json());

app.post('/login', async ({ body }, response) => {
	const session = randomUUID();
	try {
		await seats.login(session, { holder: body.user, timeout: 10_000 });
		response.cookie('session', session, { httpOnly: true, sameSite: 'lax' }).sendStatus(204);
	} catch (error) {
		refuse(response, error); // pool_full, holder_blocked, unreachable …
	}
});

// Whoever gets past here has a seat. No request to the server is made for that.
app.use((request, response, next) => {
	request.session = /\bsession=([\w-]+)/.exec(request.headers.cookie)?.[1];
	try {
		seats.check(request.session);
		seats.active(request.session); // Whoever asks for something is there.
		next();
	} catch (error) {
		refuse(response, error);
	}
});

app.get('/work', (request, response) => response.send('work'));

app.post('/logout', async (request, response) => {
	await seats.logout(request.session);
	response.clearCookie('session').sendStatus(204);
});

const server = app.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
// The seats stay: the next process continues with them.
process.once('SIGTERM', () => server.close(() => process.exit()));
