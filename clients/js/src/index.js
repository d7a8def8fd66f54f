// For everything that has `fetch`. Programs for Node import `leasehold/node`.

export { SeatError } from './errors.js';
export { Client } from './client.js';
export { Seat, hold } from './seat.js';
export { Gateway } from './gateway.js';
