// For pages, and for everything else that has `fetch`. Programs for Node import `leasehold/node`.

import { Client as Portable } from './client.js';
import { SERVED_BY } from './clock.js';
import { portable } from './engine.js';
import { Page, isPage } from './page.js';

export { SeatError } from './errors.js';
export { Seat, hold } from './seat.js';
export { SeatClient } from './widget.js';
export { Gateway } from './gateway.js';

/** Speaks to one server. One for a whole program is enough. Without an address it is the one that served this file. */
export class Client extends Portable {
	constructor(url = SERVED_BY, { worker, leave, ...options } = {}) {
		if (!url) throw new TypeError('a client needs the address of a server');
		super(url, { platform: isPage(globalThis) ? new Page({ worker, leave }) : portable, ...options });
	}
}
