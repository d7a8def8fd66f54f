import type { Agent } from 'node:http';
import { Client as Portable, type ClientOptions } from './index.js';

export * from './index.js';

/** Speaks to one server. One for a whole program is enough. */
export declare class Client extends Portable {
	/** `agent` makes the connections instead of ours: a proxy, certificates of one's own. */
	constructor(url: string | URL, options?: ClientOptions & { agent?: Agent });
}
