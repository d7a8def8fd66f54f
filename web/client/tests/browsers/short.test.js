// The widget client in real browsers, where a few seconds are enough. What needs minutes is in long.test.js.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import * as chromium from './chromium.js';
import * as firefox from './firefox.js';
import { PAGE_SCRIPT, page, pass, startNode, startSite, until } from './world.js';

const STRICT = "default-src 'self'";

/** The linger time of the pools here is 1 s; this leaves room for a busy machine. Without a leave it would be 6 s. */
const LINGER = 3_000;
/** Firefox loses what a closing tab sends in about one close of three. Then time frees the seat. */
const CLOSED = { Chromium: LINGER, Firefox: 7_500 };

let node, site, pages;

before(async () => {
	node = await startNode();
	pages = {
		'/work': { body: page() },
		'/strict': { body: page(), policy: STRICT },
		'/no-worker': { body: page(), policy: `${STRICT}; worker-src 'none'` },
		'/frame': { body: '<!doctype html><title>Host</title><body></body>' },
		'/other': { body: '<!doctype html><title>Elsewhere</title>' },
		'/page.js': { body: PAGE_SCRIPT, type: 'text/javascript' },
	};
	site = await startSite(node, pages);
});

after(async () => {
	await site?.stop();
	await node?.stop();
});

for (const driver of [chromium, firefox]) {
	const name = driver === chromium ? 'Chromium' : 'Firefox';
	describe(name, { skip: driver.path ? false : `there is no ${name}` }, () => {
		let browser;
		before(async () => {
			const hosts = ['crm.test', 'other.test', 'localhost'];
			browser = await driver.launch({ origins: hosts.map((host) => site.origin(host)) });
		});
		after(() => browser?.stop());

		const state = (tab) => tab.run('window.seat?.state').catch(() => undefined);
		const opened = async (path, pool, more = '') => {
			const tab = await browser.open(`${site.origin('localhost')}${path}?pool=${pool.name}&holder=agent-7${more}`);
			await until('the page has its seat', async () => (await state(tab)) === 'held');
			return tab;
		};

		test('it holds a seat under a strict policy, with and without a worker', async () => {
			for (const path of ['/strict', '/no-worker']) {
				const pool = await node.pool();
				const tab = await opened(path, pool);
				await pass(6_500);
				assert.deepEqual(await tab.run('states'), ['acquiring', 'held']);
				if (path === '/strict') assert.deepEqual(tab.errors, []);
				await tab.close();
			}
		});

		test('a full pool is denied, and who waits gets the seat', async () => {
			const pool = await node.pool();
			const taken = await pool.acquire();
			const denied = await browser.open(`${site.origin('localhost')}/work?pool=${pool.name}&holder=b`);
			const waits = await browser.open(`${site.origin('localhost')}/work?pool=${pool.name}&holder=c&wait`);
			await until('one is denied', async () => (await state(denied)) === 'denied');
			await until('one waits', async () => (await state(waits)) === 'waiting');
			assert.equal(await denied.run('seat.problem.code'), 'pool_full');
			await until('the competitor has expired', async () => (await state(waits)) === 'held', 13_000);
			assert.equal(taken.status, 201);
			await Promise.all([denied.close(), waits.close()]);
		});

		test('who waits in a queue is told its place, keeps it through a reload, and gets the seat', async () => {
			const pool = await node.pool({ queue: { max_waiting: 5 } });
			await pool.acquire();
			const tab = await browser.open(`${site.origin('localhost')}/work?pool=${pool.name}&holder=c&wait`);
			await until('it waits', async () => (await state(tab)) === 'waiting');
			const { status } = await node.call('POST', `/v1/pools/${pool.name}/leases`, { holder: 'later', wait: true });
			assert.equal(status, 202);
			await tab.reload();
			await until('it waits', async () => (await state(tab)) === 'waiting');
			assert.equal(await tab.run('seat.problem.position'), 1);
			await until('it has the seat', async () => (await state(tab)) === 'held', 10_000);
			await tab.close();
		});

		test('where a seat is for a holder, tabs with a lease each share it', async () => {
			const pool = await node.pool({ seat_per: 'holder' });
			const tabs = [await opened('/work', pool, '&sharing=tab'), await opened('/work', pool, '&sharing=tab')];
			assert.equal((await pool.leases()).length, 2);
			assert.equal((await pool.acquire()).status, 409);
			await tabs[0].close();
			await pass(4_000);
			assert.equal(await state(tabs[1]), 'held');
			assert.equal((await pool.acquire()).status, 409);
			await tabs[1].close();
		});

		test('the tab that reloads keeps its seat from a competitor', async () => {
			const pool = await node.pool();
			const tab = await opened('/work', pool);
			const { id } = (await pool.leases())[0];
			let stop = false;
			const competitor = (async () => {
				while (!stop) {
					const { status } = await pool.acquire();
					assert.equal(status, 409);
					await pass(50);
				}
			})();
			for (let turn = 0; turn < 20; turn++) {
				await tab.reload();
				await until('it is back', async () => (await state(tab)) === 'held');
				await pass(turn % 4 ? 100 : 2_500);
			}
			stop = true;
			await competitor;
			assert.deepEqual((await pool.leases()).map((lease) => lease.id), [id]);
			await tab.close();
		});

		test('the last tab closed frees the seat within the linger time', async () => {
			const pool = await node.pool();
			const tab = await opened('/work', pool);
			await tab.close();
			await until('the seat is free', async () => !(await pool.leases()).length, CLOSED[name]);
		});

		test('one of two tabs closed leaves the seat with the other', async () => {
			const pool = await node.pool();
			const first = await opened('/work', pool);
			const second = await opened('/work', pool);
			assert.equal((await pool.leases()).length, 1);
			assert.deepEqual(await Promise.all([first, second].map((tab) => tab.run('seat.leader'))), [true, false]);
			await first.close();
			await until('the other leads', () => second.run('seat.leader'), 1_000);
			await pass(7_000);
			assert.deepEqual(await second.run('states'), ['acquiring', 'held']);
			await second.close();
			await until('the seat is free', async () => !(await pool.leases()).length, CLOSED[name]);
		});

		test('terminated is said in all tabs, with its reason, and they stay away', async () => {
			const pool = await node.pool();
			const tabs = [await opened('/work', pool), await opened('/work', pool)];
			await pool.terminate('Shift is over');
			for (const tab of tabs) await until('it is lost', async () => (await state(tab)) === 'lost', 3_000);
			assert.deepEqual(await Promise.all(tabs.map((tab) => tab.run('reasons'))), [['Shift is over'], ['Shift is over']]);
			await pass(3_000);
			assert.equal((await pool.leases()).length, 0);
			await Promise.all(tabs.map((tab) => tab.close()));
		});

		test('logout in one tab frees the seat at once and is logout in all', async () => {
			const pool = await node.pool({ linger_ms: 60_000 });
			const tabs = [await opened('/work', pool), await opened('/work', pool)];
			await tabs[1].run('seat.release()');
			assert.equal((await pool.leases()).length, 0);
			await until('the other heard', async () => (await state(tabs[0])) === 'released', 1_000);
			await Promise.all(tabs.map((tab) => tab.close()));
		});

		test('a part of the product that closes leaves the seat to other tabs, and alone frees it after the linger time', async () => {
			const pool = await node.pool();
			const tabs = [await opened('/work', pool), await opened('/work', pool)];
			await tabs[0].run('seat.close()');
			assert.equal(await state(tabs[0]), 'released');
			await until('the other leads', () => tabs[1].run('seat.leader'), 1_000);
			await pass(2_500);
			assert.deepEqual(await tabs[1].run('states'), ['acquiring', 'held']);
			await tabs[1].run('seat.close()');
			await until('the seat is free', async () => !(await pool.leases()).length, LINGER);
			await Promise.all(tabs.map((tab) => tab.close()));
		});

		test('who goes back in history has the seat again', async () => {
			const pool = await node.pool();
			const tab = await opened('/work', pool);
			await tab.go(`${site.origin('localhost')}/other`);
			await until('it is elsewhere', () => tab.run('location.pathname === "/other"').catch(() => false));
			await tab.back();
			await until('it is back', async () => (await state(tab)) === 'held');
			await pass(3_500);
			assert.equal((await pool.leases()).length, 1);
			if (browser.name === 'Chromium') {
				assert.ok(await tab.run('states.length === 2'), 'the page came from the cache, nothing of the client prevents it');
			}
			await tab.close();
		});

		if (driver !== chromium) return;

		test('a crashed tab frees the seat within the linger time', async () => {
			const pool = await node.pool();
			const tab = await opened('/work', pool);
			tab.crash();
			await until('the seat is free', async () => !(await pool.leases()).length, LINGER);
			await tab.close();
		});

		test('a page frozen for longer than the TTL resumes, or says that it is lost', async () => {
			for (const taken of [false, true]) {
				const pool = await node.pool();
				const tab = await opened('/work', pool);
				await tab.freeze();
				await until('the lease has expired', async () => !(await pool.leases()).length, 8_000);
				if (taken) assert.equal((await pool.acquire()).status, 201);
				await tab.thaw();
				const told = await until('it knows', async () => (await tab.run('states')).slice(2).find((one) => /resumed|lost/.test(one)), 1_500);
				assert.equal(told, taken ? 'lost' : 'resumed');
				await tab.close();
			}
		});

		test('a frozen leader loses the lead, and the seat stays', async () => {
			const pool = await node.pool();
			const leader = await opened('/work', pool);
			const follower = await opened('/work', pool);
			await leader.freeze();
			await until('the follower leads', () => follower.run('seat.leader'), 4_500);
			await pass(3_000);
			await leader.thaw();
			await pass(2_000);
			assert.deepEqual(await Promise.all([leader, follower].map((tab) => tab.run('seat.leader'))), [false, true]);
			assert.deepEqual(await follower.run('states'), ['acquiring', 'held']);
			const from = Date.now();
			await pass(6_000);
			const beats = site.beats.filter(({ path, at }) => path.endsWith('/renew') && at > from);
			assert.ok(beats.length <= 4, `one stream of beats, not ${beats.map(({ at }) => at - from)}`);
			assert.equal((await pool.leases()).length, 1);
			await Promise.all([leader.close(), follower.close()]);
		});

		test('a network that goes and comes back is told, and the seat is there again', async () => {
			const pool = await node.pool();
			const tab = await opened('/work', pool);
			await tab.offline(true);
			await until('it is suspect', async () => (await state(tab)) === 'suspect', 8_000);
			await tab.offline(false);
			await until('it is held', async () => (await state(tab)) === 'held', 3_000);
			assert.deepEqual(await tab.run('states'), ['acquiring', 'held', 'unstable', 'suspect', 'held', 'resumed']);
			await tab.close();
		});

		test('a frame below two sites holds one lease each, and one site has one', async () => {
			const pool = await node.pool({ capacity: 2 });
			const tabs = [];
			for (const host of ['crm.test', 'crm.test', 'other.test']) {
				const tab = await browser.open(`${site.origin(host)}/frame`);
				tabs.push(tab);
				const frame = `${site.origin('localhost')}/work?pool=${pool.name}&holder=agent-7`;
				await until('the host is there', () => tab.run('document.body && location.pathname === "/frame"'));
				await tab.run(`document.body.append(Object.assign(document.createElement('iframe'), { src: ${JSON.stringify(frame)} }))`);
				await pass(1_500);
			}
			assert.equal((await pool.leases()).length, 2);
			await pass(7_000);
			assert.equal((await pool.leases()).length, 2);
			await Promise.all(tabs.map((tab) => tab.close()));
			await until('they are free', async () => !(await pool.leases()).length, LINGER);
		});

		test('a crashed tab that is loaded again has its lease again', async () => {
			const pool = await node.pool({ linger_ms: 5_000 });
			const tab = await opened('/work', pool);
			const [{ id }] = await pool.leases();
			tab.crash();
			await pass(500);
			await tab.reload();
			await until('it is back', async () => (await state(tab)) === 'held');
			assert.deepEqual((await pool.leases()).map((lease) => lease.id), [id]);
			await tab.close();
		});

		test('a page of another site holds a seat with a client key, and says when it leaves', async () => {
			const guarded = await startNode({ adminKey: 'an-admin-key-that-nobody-can-guess-for-a-test' });
			try {
				const pool = await guarded.pool();
				const origin = site.origin('crm.test');
				const key = await guarded.call('POST', '/v1/keys', { name: 'crm', role: 'client', pools: [pool.name], origins: [origin] });
				assert.equal(key.status, 201);
				pages['/cross.js'] = {
					type: 'text/javascript',
					body: `import { SeatClient } from '${guarded.url}/client/leasehold.js';
						window.answers = 0;
						const { postMessage } = Worker.prototype;
						Worker.prototype.postMessage = function (...sent) {
							this.addEventListener('message', () => (window.answers += 1));
							Worker.prototype.postMessage = postMessage;
							this.postMessage(...sent);
						};
						window.seat = new SeatClient({ pool: '${pool.name}', holder: 'agent-7', key: '${key.secret}' });
						seat.acquire().catch(() => {});`,
				};
				const policy = `default-src 'self'; script-src 'self' ${guarded.url}; connect-src ${guarded.url}; worker-src blob:`;
				pages['/cross'] = { body: '<!doctype html><script type="module" src="/cross.js"></script>', policy };
				const tab = await browser.open(`${origin}/cross`);
				await until('it has its seat', async () => (await state(tab)) === 'held');
				await pass(7_000);
				await tab.reload();
				await until('it has it again', async () => (await state(tab)) === 'held');
				await pass(2_000);
				assert.equal(await state(tab), 'held');
				await until('its worker answers', () => tab.run('answers > 0'));
				assert.deepEqual(tab.errors, []);
				// What goes wrong in the first hour of an integration.
				const say = (more) => `(async () => {
					const { SeatClient } = await import('${guarded.url}/client/leasehold.js');
					return new SeatClient({ pool: '${pool.name}', holder: 'b', key: '${key.secret}', ${more} }).acquire({ timeout: 3_000 }).catch(({ code, message }) => code + ': ' + message);
				})()`;
				assert.match(await tab.run(say("key: 'lh_client_wrong'")), /^unauthorized: /);
				assert.match(await tab.run(say("pool: 'crmm'")), /^(forbidden|pool_not_found): /);
				const elsewhere = await browser.open(`${site.origin('other.test')}/other`);
				assert.match(await elsewhere.run(say('')), /^origin_not_allowed: /);
				await elsewhere.close();
				await tab.close();
				await until('the seat is free', async () => !(await pool.leases()).length, CLOSED[name]);
			} finally {
				await guarded.stop();
			}
		});

		test('the demo shows a seat without a complaint', async () => {
			const pool = await node.pool();
			const tab = await browser.open(`${node.url}/demo?pool=${pool.name}`);
			await until('it is there', () => tab.run('document.readyState === "complete" && !!document.querySelector("#login button")'));
			await tab.run('document.querySelector("#login button").click()');
			await until('it has a seat', () => tab.run('document.querySelector("#state").dataset.state === "held"'));
			await tab.reload();
			await until('it has it after a reload', () => tab.run('document.querySelector("#state")?.dataset.state === "held"'));
			await tab.run('document.querySelector("#logout").click()');
			await until('it gave it back', () => tab.run('document.querySelector("#state").dataset.state === "released"'));
			assert.deepEqual(tab.errors, []);
			await tab.close();
		});
	});
}

test('the gateway of the examples holds many seats, beats for all at once, and gives them back', async () => {
	const pool = await node.pool({ capacity: 3 });
	const example = new URL('../../../../examples/gateway.mjs', import.meta.url).pathname;
	const child = spawn(process.execPath, [example, node.url, pool.name, '4'], { stdio: ['ignore', 'pipe', 'pipe'] });
	const gone = new Promise((done) => child.once('exit', done));
	let said = '';
	for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
	await until('it holds three', async () => (await pool.leases()).length === 3);
	await pass(7_000);
	assert.equal((await pool.leases()).length, 3);
	child.kill('SIGTERM');
	await gone;
	assert.equal((await pool.leases()).length, 0);
	assert.equal(said, 'gateway-4: pool_full\nholding 3 seats of ' + pool.name + '\nreleased\n');
});
