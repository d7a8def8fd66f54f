/** What a proof says. */
export interface Proof {
	readonly id: string;
	readonly pool: string;
	readonly holder: string | null;
	readonly tenant: string | null;
	readonly fence: number;
	readonly issuedAt: Date;
	readonly expiresAt: Date;
	/** Null is without limit, or not told. */
	readonly graceMs: number | null;
}

/** The proof proves nothing. */
export declare class InvalidProof extends Error {}

export interface VerifierOptions {
	issuer: string;
	audience: string;
	/** Where `/v1/jwks` is, if the keys are not given. */
	url?: string | URL;
	/** Keys that are pinned, as `/v1/jwks` tells them. */
	keys?: { keys: readonly object[] };
	/** Seconds, 0 to 60; 5 without. */
	leeway?: number;
}

/** Verifies the proofs of one instance for one audience. */
export declare class Verifier {
	constructor(options: VerifierOptions);
	/** What a proof says, or it rejects with {@link InvalidProof}. `at` is a time in seconds since 1970, now without. */
	verify(proof: string, options?: { at?: number }): Promise<Proof>;
}
