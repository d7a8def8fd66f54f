// What only a browser shows, against the real server at LEASEHOLD_URL: tabs that share a seat, and who is there. Much more of this kind is in
// web/client/tests/browsers.

import assert from 'node:assert/strict';
import * as chromium from '../../../web/client/tests/browsers/chromium.js';
import { PAGE_SCRIPT, page, pass, startSite, until } from '../../../web/client/tests/browsers/world.js';

const { LEASEHOLD_URL: url, LEASEHOLD_KEY: admin } = process.env;
if (!chromium.path) {
	console.error('there is no Chromium');
	process.exit(77);
}

async function ask(method, path, body) {
	const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
	const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
	assert.ok(answer.ok, `${method} ${path} is ${answer.status}`);
	return answer.json().catch(() => null);
}

const pages = {
	'/work': { body: page() },
	'/page.js': { body: PAGE_SCRIPT, type: 'text/javascript' },
};
const site = await startSite({ url }, pages);
const origin = site.origin('localhost');
const browser = await chromium.launch({ origins: [origin] });
try {
	await ask('PUT', '/v1/pools/js-tabs', { capacity: 2, ttl_ms: 3_000, linger_ms: 500 });
	await ask('PUT', '/v1/pools/js-idle', { capacity: 1, ttl_ms: 3_000, idle: { after_ms: 3_000, then: 'end', notice_ms: 2_000 } });
	const { secret } = await ask('POST', '/v1/keys', { name: 'js-tabs', role: 'client', pools: ['js-tabs', 'js-idle'], origins: [origin] });
	const holders = async (pool = 'js-tabs') => (await ask('GET', `/v1/pools/${pool}/leases`)).items.map(({ holder }) => holder);
	const open = async (path, pool = 'js-tabs') => {
		const tab = await browser.open(`${origin}${path}?pool=${pool}&key=${secret}&holder=ann`);
		await until('the page has its seat', () => tab.run("window.seat?.state === 'held'").catch(() => false));
		return tab;
	};
	const leads = (tab) => tab.run('seat.leader');

	const [one, two] = [await open('/work'), await open('/work')];
	assert.deepEqual([await leads(one), await leads(two)], [true, false]);
	assert.deepEqual(await holders(), ['ann']);
	await one.freeze();
	await until('the other tab leads', () => leads(two), 4_500);
	await pass(3_500);
	await one.thaw();
	await until('the frozen tab has noticed', async () => !(await leads(one)), 4_500);
	assert.deepEqual(await two.run('states'), ['acquiring', 'held']);
	assert.deepEqual(await holders(), ['ann']);
	await two.run('seat.release()');
	await until('it is released in both', async () => (await one.run('seat.state')) === 'released');
	assert.deepEqual(await holders(), []);

	// A page asks whether somebody is still there; what a person does with a mouse or a key is the answer, and after the end brings a new seat.
	const idle = await open('/work', 'js-idle');
	await idle.run("window.endings = []; seat.addEventListener('ending', ({ detail }) => endings.push(detail?.reason ?? null))");
	const asked = () => idle.run("endings.at(-1) === 'idle'");
	await until('it asks', asked);
	await idle.tell('Input.dispatchMouseEvent', { type: 'mouseMoved', x: 20, y: 20 });
	await until('the mouse is an answer', () => idle.run('endings.at(-1) === null'));
	await until('it asks again', asked);
	await until('nobody answers', () => idle.run("seat.state === 'lost'"));
	assert.deepEqual(await idle.run('[seat.problem.code, seat.problem.reason]'), ['lease_evicted', 'idle']);
	await pass(2_000);
	assert.deepEqual([await holders('js-idle'), await idle.run('states.at(-1)')], [[], 'lost']);
	await idle.tell('Input.dispatchKeyEvent', { type: 'keyDown', key: 'a', code: 'KeyA', text: 'a' });
	await until('a key brings a new seat', () => idle.run("seat.state === 'held'"));
	assert.deepEqual(await holders('js-idle'), ['ann']);
	assert.deepEqual(idle.errors, []);
} finally {
	await browser.stop();
	await site.stop();
}
