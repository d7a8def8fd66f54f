// Verifies proofs of leases without asking the server, with the cryptography of the platform: Node and today's browsers.
//
// A proof shows that its holder had a seat when it was signed, and when the lease ends. The seat may have been taken away since:
// before anything expensive ask POST /v1/leases/check.

const FRESH_MS = 300_000;
const REFETCH_MS = 60_000;
const PAUSE_MS = 60_000;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const FIELD = 2n ** 255n - 19n;
// The y of the points of small order, also as they can be written in another way: a signature for one may fit every message.
const SMALL = new Set([
	0n, 1n, FIELD - 1n, FIELD, FIELD + 1n,
	number('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'.match(/../g).map((byte) => parseInt(byte, 16))),
	number('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'.match(/../g).map((byte) => parseInt(byte, 16))),
]);

/** The proof proves nothing. */
export class InvalidProof extends Error {
	name = 'InvalidProof';
}

function must(right, why) {
	if (!right) throw new InvalidProof(why);
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Bytes in little endian, without the highest bit: the y of a point. */
function number(bytes) {
	return [...bytes].reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n) & (2n ** 255n - 1n);
}

function decode(text) {
	must(typeof text === 'string' && /^[A-Za-z0-9_-]+$/.test(text) && text.length % 4 !== 1, 'it is not base64url without padding');
	const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/'));
	const again = btoa(plain).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
	must(again === text, 'it could be written in another way');
	return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

/** Whether no object in a text of valid JSON has a member twice. */
function isOnce(text) {
	const open = [];
	for (const [token, string, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/gs)) {
		if (token === '{' || token === '[') open.push(new Set());
		else if (token === '}' || token === ']') open.pop();
		else if (colon) {
			const name = JSON.parse(string);
			if (open.at(-1).has(name)) return false;
			open.at(-1).add(name);
		}
	}
	return true;
}

function object(part) {
	const bytes = decode(part);
	let text, value;
	try {
		text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
		value = JSON.parse(text);
	} catch {
		throw new InvalidProof('it is no JSON');
	}
	must(isObject(value), 'it is no object');
	must(isOnce(text), 'a member stands there twice');
	return value;
}

function instant(claims, name) {
	const value = claims[name];
	must(typeof value === 'number' && Number.isFinite(value) && value >= 0, `${name} is no time`);
	return value;
}

function bytesOf(text) {
	try {
		return decode(text);
	} catch {
		return []; // A key that cannot be read does not spoil the others.
	}
}

async function keysOf({ keys }) {
	const found = new Map();
	for (const { kty, crv, use = 'sig', kid, x } of keys.filter(isObject)) {
		if (kty !== 'OKP' || crv !== 'Ed25519' || use !== 'sig') continue;
		const bytes = bytesOf(x);
		if (bytes.length !== 32 || SMALL.has(number(bytes))) continue;
		const key = await crypto.subtle.importKey('raw', bytes, { name: 'Ed25519' }, false, ['verify']);
		found.set(kid, found.has(kid) ? null : key); // Two of one name are none.
	}
	return found;
}

async function fetchKeys(url) {
	const answer = await fetch(url, { redirect: 'error', credentials: 'omit', headers: { accept: 'application/json' }, signal: AbortSignal.timeout(8_000) });
	const keys = answer.ok ? await answer.json() : null;
	if (!Array.isArray(keys?.keys)) throw new Error(`${url} does not tell the keys of an instance`);
	return keysOf(keys);
}

/**
 * Verifies the proofs of one instance for one audience. The keys are those given, or are fetched from `url` + `/v1/jwks` when they are
 * five minutes old, and for an unknown key at most once a minute. Never from an address in a proof.
 */
export class Verifier {
	#issuer;
	#audience;
	#leeway;
	#url;
	#keys;
	#known = new Map();
	#pinned = null;
	#fetched = -Infinity;
	#pause = -Infinity;
	#failures = 0;
	#fetching = null;

	constructor({ issuer, audience, url, keys, leeway = 5 }) {
		if (!issuer || !audience) throw new TypeError('a verifier needs an issuer and an audience');
		if (!(leeway >= 0 && leeway <= 60)) throw new TypeError('the leeway is 0 to 60 seconds');
		if (!keys && !url) throw new TypeError('a verifier needs keys, or the url of a server that tells them');
		this.#issuer = issuer;
		this.#audience = audience;
		this.#leeway = leeway;
		this.#url = url && `${String(url).replace(/\/+$/, '')}/v1/jwks`;
		this.#keys = keys;
	}

	/** What a proof says, or it rejects with InvalidProof. `at` is the time in seconds since 1970, now without. */
	async verify(proof, { at = Date.now() / 1_000 } = {}) {
		const parts = typeof proof === 'string' && proof.length <= 8_192 ? proof.split('.') : [];
		must(parts.length === 3, 'it has not three parts');
		const [header, claims, signature] = [object(parts[0]), object(parts[1]), decode(parts[2])];
		must(header.alg === 'EdDSA' || header.alg === 'Ed25519', 'its algorithm is not Ed25519');
		must(header.typ === 'leasehold-lease+jwt', 'it is not a proof of a lease');
		must(!['crit', 'jwk', 'jku', 'x5u', 'x5c'].some((name) => name in header), 'its header wants more than a proof may');
		must(typeof header.kid === 'string', 'it names no key');
		const scalar = signature.subarray(32);
		must(signature.length === 64 && scalar[31] < 128 && number(scalar) < ORDER, 'its signature is malformed');
		const key = await this.#key(header.kid);
		const signed = new TextEncoder().encode(`${parts[0]}.${parts[1]}`);
		must(await crypto.subtle.verify({ name: 'Ed25519' }, key, signature, signed), 'its signature is of another key or another text');
		const { iss, aud, sub = null, jti, lh } = claims;
		must(iss === this.#issuer, 'it is of another instance');
		must(aud === this.#audience || (Array.isArray(aud) && aud.includes(this.#audience)), 'it is for somebody else');
		const [issued, expires] = [instant(claims, 'iat'), instant(claims, 'exp')];
		must(issued <= at + this.#leeway, 'it is of the future');
		must(at < expires + this.#leeway, 'it has expired');
		must(isObject(lh) && typeof jti === 'string' && (sub === null || typeof sub === 'string'), 'it says nothing of a lease');
		must(typeof lh.pool === 'string' && Number.isInteger(lh.fence), 'it says nothing of a pool');
		const times = { issuedAt: new Date(issued * 1_000), expiresAt: new Date(expires * 1_000), graceMs: lh.grace_ms ?? null };
		return { id: jti, pool: lh.pool, holder: sub, tenant: lh.tenant ?? null, fence: lh.fence, ...times };
	}

	async #key(kid) {
		if (this.#keys) this.#known = await (this.#pinned ??= keysOf(this.#keys));
		else {
			const now = performance.now();
			const age = now - this.#fetched;
			const due = age > FRESH_MS || (age > REFETCH_MS && !this.#known.has(kid));
			if (due && now >= this.#pause) await (this.#fetching ??= this.#fetch());
		}
		const key = this.#known.get(kid);
		must(key, 'its key is unknown');
		return key;
	}

	async #fetch() {
		try {
			this.#known = await fetchKeys(this.#url);
			this.#fetched = performance.now();
			this.#failures = 0;
		} catch {
			// The old ones are good for a while, and no proof waits for a server that is away.
			this.#pause = performance.now() + Math.min(PAUSE_MS, 1_000 * 2 ** this.#failures);
			this.#failures = Math.min(this.#failures + 1, 10);
		} finally {
			this.#fetching = null;
		}
	}
}
