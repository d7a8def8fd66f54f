// What people write with the package, for `tsc --strict`: each `@ts-expect-error` is a mistake that the types must catch.

import { Client, Gateway, SeatClient, SeatError, hold, type Seat, type SeatEvent } from '../src/index.js';
import { Client as NodeClient } from '../src/node.js';
import { useSeat } from '../src/react.js';
import { Verifier } from '../src/verify.js';

const client = new Client('https://seats.example', { key: 'lh_client_1', worker: false });

export async function script(signal: AbortSignal): Promise<number> {
	const seat: Seat = await client.acquire('crm', { holder: 'agent-7', timeout: 30_000, signal, sharing: 'tab' });
	seat.listen((one, event: SeatEvent) => console.log(one.id, event.state, event.position, event.ending?.in_ms));
	seat.active();
	await seat.close();
	return hold(seat, async (one) => one.fence ?? 0);
}

export async function backend(): Promise<string> {
	const seats = new Gateway(new NodeClient('https://seats.example'), 'crm', { tokens: new Map() });
	try {
		return (await seats.login('session', { holder: 'ann' })).pool;
	} catch (error) {
		return error instanceof SeatError ? (error.problem.detail ?? error.code) : String(error);
	}
}

export const shown = (): string => useSeat(client, 'crm', { holder: 'ann', idle: () => null }).ending?.reason ?? '';
export const widget: Promise<{ id: string }> = new SeatClient({ pool: 'crm' }).acquire({ timeout: 1_000 });
export const verifier = new Verifier({ issuer: 'https://seats.example', audience: 'crm', url: 'https://seats.example' });

// @ts-expect-error There is no such option.
client.acquire('crm', { holdr: 'ann' });
// @ts-expect-error A seat is made by a client.
new Seat();
// @ts-expect-error Either of two.
client.acquire('crm', { sharing: 'browser' });
