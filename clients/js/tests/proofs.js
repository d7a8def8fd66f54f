// Runs one vector of ../../spec/proof.

import { InvalidProof, Verifier } from '../src/verify.js';

/** Nothing, or what differs. */
export async function run(vector, known) {
	const { issuer, audience, leeway_s: leeway, proof, at, ok, keys = { keys: known } } = vector;
	try {
		await new Verifier({ issuer, audience, leeway, keys }).verify(proof, { at });
		return ok ? null : 'accepted';
	} catch (error) {
		return !ok && error instanceof InvalidProof ? null : String(error);
	}
}
