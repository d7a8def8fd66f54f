// Runs the vectors of ../../spec/machine, or with the argument `proof` those of ../../spec/proof: one line of JSON for each.

import { readFileSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { away, begin, seen, spread, step, sure } from '../src/machine.js';

const layer = process.argv[2] ?? 'machine';
const home = new URL(`../../spec/${layer}/`, import.meta.url);
const plain = (value) => JSON.parse(JSON.stringify(value));

/** Nothing, or what differs. */
function run({ options, steps }) {
	let state = begin(options);
	for (const [number, { at, event, then }] of steps.entries()) {
		const now = typeof at === 'number' ? { mono: at, wall: at } : at;
		let out = {};
		if (event) [state, out] = step(state, event, now);
		if (!then) continue;
		const { peek = {}, ...expected } = then;
		const got = plain({ state: seen(state, now)[0], sure: sure(state, now), ...out });
		if (!isDeepStrictEqual(got, expected)) return `step ${number + 1}: got ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`;
		const known = { token: state.token, proof: state.proof, lease_id: state.lease?.id ?? null, away: away(state) };
		for (const [name, value] of Object.entries(peek)) {
			if (known[name] !== value) return `step ${number + 1}: ${name} is ${known[name]}, expected ${value}`;
		}
	}
	return null;
}

function batch({ ids, status, headers, body, events }) {
	const got = plain(spread(ids, status, headers, body));
	return isDeepStrictEqual(got, events) ? null : `got ${JSON.stringify(got)}`;
}

const proof = layer === 'proof' ? (await import('./proofs.js')).run : null;
for (const file of readdirSync(home).filter((name) => name.endsWith('.json')).sort()) {
	const stem = basename(file, '.json');
	const document = JSON.parse(readFileSync(new URL(file, home), 'utf8'));
	for (const vector of document.vectors) {
		const why = proof ? await proof(vector, document.keys) : stem === 'batch' ? batch(vector) : run(vector);
		console.log(JSON.stringify({ vector: `${layer}/${stem}: ${vector.name}`, ok: !why, ...(why && { why }) }));
		if (why) process.exitCode = 1;
	}
}
