// What an integrator writes, for `tsc --strict`: each `@ts-expect-error` is a mistake that the types must catch.

import { SeatClient, SeatError, type Lease, type SeatState } from '../leasehold.js';

const seat = new SeatClient({ pool: 'crm', holder: 'agent-7', wait: true, key: async ({ refused }) => (refused ? 'new' : 'old') });

seat.addEventListener('statechange', ({ detail }) => {
	const to: SeatState = detail.to;
	console.log(to, detail.reason ?? detail.code, detail.lease?.id);
});
seat.addEventListener('waiting', ({ detail }) => console.log(detail.problem?.position));
seat.addEventListener('resumed', ({ detail }) => console.log(detail.lease.fence));
seat.addEventListener('anything', (event) => console.log(event.type));

export async function login(): Promise<Lease | string> {
	try {
		return await seat.acquire();
	} catch (error) {
		if (error instanceof SeatError) return error.problem.detail ?? error.code;
		throw error;
	}
}

export const logout = (): Promise<void> => seat.release();

seat.setActivities(['Order 17']);

// @ts-expect-error A pool is needed.
new SeatClient({ holder: 'agent-7' });
// @ts-expect-error There is no such state.
if (seat.state === 'open') console.log();
// @ts-expect-error The state is not the page's to set.
seat.state = 'held';
// @ts-expect-error One text is not a list.
seat.setActivities('Order 17');
