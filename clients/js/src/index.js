// For everything that has `fetch`. Programs for Node import `leasehold/node`.

export { SeatError } from './errors.js';
export { Client, Seat, hold } from './client.js';
export { Gateway } from './gateway.js';
