// What every node serves as /client/leasehold.js.

export { Client, Seat, SeatClient, SeatError, hold } from './index.js';
