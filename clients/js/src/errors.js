const SENTENCES = {
	unreachable: 'The server did not answer.',
	timeout: 'No seat was granted in time.',
	not_leasehold: 'What answered is not a Leasehold server. Check the address, and what stands in front of it.',
	outage_grace_over: 'The server has not been heard for longer than work may go on without it.',
	cancelled: 'The request for a seat was withdrawn.',
	closed: 'The client was closed.',
	lease_released: 'The seat was given back.',
	idle: 'Nobody used the seat for a while, and it was given back.',
	max_hold: 'The seat was held for as long as its pool allows, and was given back.',
};

/** Why there is no seat. `code` is the stable word for programs, `detail` a sentence for people. */
export class SeatError extends Error {
	constructor(code, details = {}, isLost = false) {
		const detail = details.detail || SENTENCES[code === 'lease_evicted' ? details.reason : code] || details.title || code;
		super(`${detail} (${code})`);
		this.name = 'SeatError';
		this.code = code;
		this.status = details.status ?? null;
		this.detail = detail;
		this.reason = details.reason ?? null;
		this.retryAfter = details.retry_after_ms ?? null;
		this.requestId = details.request_id ?? null;
		this.isLost = isLost;
		this.problem = { code, ...details };
	}

	/** Whether the same request may do better later. */
	get isTemporary() {
		return this.code === 'unreachable' || this.code === 'timeout' || this.status === 429 || this.status >= 500;
	}
}
