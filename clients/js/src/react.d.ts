import type { AcquireOptions, Client, Ending, Seat, SeatRequest, SeatState } from './index.js';

export interface SeatView {
	readonly state: SeatState;
	readonly code: string | null;
	readonly detail: string | null;
	/** What an operator wrote. Show it as text. */
	readonly reason: string | null;
	/** The place in the queue, from 1. */
	readonly position: number | null;
	/** The seat ends soon unless its user does something: ask whether somebody is still there. */
	readonly ending: Ending | null;
	/** Somebody would like the seat: offer `seat.yieldSeat()`. */
	readonly seatRequested: SeatRequest | null;
	readonly seat: Seat | null;
	/** What the acquire rejected with. */
	readonly error: Error | null;
	/** Asks once more after `lost`, `denied` or `released`. */
	again(): void;
}

/**
 * A seat for as long as a component that asks for it is shown, and a second more. All components that ask one client for the same pool,
 * holder and tenant share it; the options of the first count. With null as the pool none is wanted. On a server it is `idle`.
 */
export declare function useSeat(client: Client, pool: string | null, options?: Omit<AcquireOptions, 'signal'>): SeatView;
