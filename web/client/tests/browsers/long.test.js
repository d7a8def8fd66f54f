// What needs minutes: pages that are hidden for so long that the browser stretches their timers, and a browser that is quit.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import * as chromium from './chromium.js';
import * as firefox from './firefox.js';
import { NAIVE_SCRIPT, PAGE_SCRIPT, page, pass, startNode, startSite, until } from './world.js';

const HIDDEN_MS = 90_000;
const POLICY = { capacity: 1, ttl_ms: 15_000, resume_window_ms: 0 };
const BEAT_MS = POLICY.ttl_ms / 3;

let node, site;

before(async () => {
	node = await startNode();
	site = await startSite(node, {
		'/worker': { body: page() },
		'/no-worker': { body: page(), policy: "default-src 'self'; worker-src 'none'" },
		'/page.js': { body: PAGE_SCRIPT, type: 'text/javascript' },
		'/naive': { body: '<!doctype html><script type="module" src="/naive.js"></script>' },
		'/naive.js': { body: NAIVE_SCRIPT, type: 'text/javascript' },
		'/front': { body: '<!doctype html><title>In front</title>' },
	});
});

after(async () => {
	await site?.stop();
	await node?.stop();
});

const open = async (browser, path, pool) => {
	const tab = await browser.open(`${site.origin('localhost')}${path}?pool=${pool.name}&holder=agent-7`);
	await until('the page has its seat', () => tab.run("window.seat?.state === 'held'").catch(() => false));
	return tab;
};

for (const [name, driver] of [['Chromium', chromium], ['Firefox', firefox]]) {
	describe(name, { skip: driver.path ? false : `there is no ${name}` }, () => {
		let browser;
		before(async () => {
			browser = await driver.launch({ origins: [site.origin('localhost')] });
		});
		after(() => browser?.stop());

		test('a hidden page keeps its seat, with and without a worker; one with a timer of its own does not', async () => {
			const paths = name === 'Chromium' ? ['/worker', '/no-worker', '/naive'] : ['/worker', '/no-worker'];
			const seats = [];
			for (const path of paths) {
				const pool = await node.pool(POLICY);
				seats.push({ path, pool, tab: await open(browser, path, pool), lost: false });
			}
			const front = await browser.open(`${site.origin('localhost')}/front`);
			await front.front();
			for (const { tab } of seats) assert.equal(await tab.run('document.visibilityState'), 'hidden');
			const from = Date.now();
			while (Date.now() < from + HIDDEN_MS) {
				for (const seat of seats) seat.lost ||= !(await seat.pool.leases()).length;
				await pass(500);
			}
			assert.deepEqual(seats.filter(({ lost }) => lost).map(({ path }) => path), paths.slice(2));
			const tokens = new Map();
			for (const { path, token, at } of site.beats) {
				if (!path.endsWith('/renew') || at < from) continue;
				tokens.set(token, [...(tokens.get(token) ?? []), at]);
			}
			const gaps = [...tokens.values()].map((ats) => Math.max(...ats.slice(1).map((at, i) => at - ats[i])));
			console.log(`${name}: longest gaps of hidden pages that beat every ${BEAT_MS} ms: ${gaps.join(', ')} ms`);
			assert.ok(gaps.slice(0, 2).every((gap) => gap <= 1.5 * BEAT_MS), String(gaps));
			for (const { tab } of seats) await tab.close();
		});

		if (driver !== chromium) return;

		test('who quits the browser frees the seat within the linger time', async () => {
			const pool = await node.pool();
			const other = await chromium.launch({ origins: [site.origin('localhost')] });
			await open(other, '/worker', pool);
			await other.quit();
			await until('the seat is free', async () => !(await pool.leases()).length, 3_000);
			await other.stop();
		});
	});
}
