// Takes webhooks, and believes only those that are signed, fresh and new.
//
//     WEBHOOK_SECRET=whsec_… node examples/webhook-receiver.mjs 3000
//
// `leasehold webhook create` prints the secret. While it is rolled, give both with a space between.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const FRESH_SECONDS = 5 * 60;

// Whether a message was signed with one of the secrets in the last five minutes. `body` is what came, before anybody parsed it.
export function verify(secrets, headers, body, nowSeconds = Date.now() / 1000) {
	const id = headers['webhook-id'], at = headers['webhook-timestamp'];
	if (!id || !/^\d+$/.test(at ?? '') || Math.abs(nowSeconds - Number(at)) > FRESH_SECONDS) return false;
	const given = (headers['webhook-signature'] ?? '').split(' ').filter((text) => text.startsWith('v1,'));
	return secrets.some((secret) => {
		const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
		const wanted = createHmac('sha256', key).update(`${id}.${at}.`).update(body).digest();
		return given.some((text) => {
			const signature = Buffer.from(text.slice(3), 'base64');
			return signature.length === wanted.length && timingSafeEqual(signature, wanted);
		});
	});
}

// Messages come at least once: one that was seen is taken again, and nothing is done.
const seen = new Set();

function take(message) {
	const { type, data } = message;
	console.log(`${type} ${data.state ?? ''} ${data.summary}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
	const secrets = (process.env.WEBHOOK_SECRET ?? '').split(' ').filter(Boolean);
	createServer(async (request, response) => {
		const chunks = [];
		for await (const chunk of request) chunks.push(chunk);
		const body = Buffer.concat(chunks);
		if (request.method !== 'POST' || !verify(secrets, request.headers, body)) {
			response.writeHead(401).end();
			return;
		}
		// Answered first: what takes long would be sent again.
		response.writeHead(204).end();
		const id = request.headers['webhook-id'];
		if (seen.has(id)) return;
		seen.add(id);
		if (seen.size > 10_000) seen.delete(seen.values().next().value);
		take(JSON.parse(body));
	}).listen(Number(process.argv[2] ?? 3000), '127.0.0.1');
}
