// What only a browser shows, against the real server at LEASEHOLD_URL: tabs that share a seat, and an application that was bundled with
// the package. Much more of this kind is in web/client/tests/browsers.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
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

const APP = `
import { Client, SeatClient } from 'leasehold';
import { useSeat } from 'leasehold/react';
window.useSeat = useSeat;
window.runs = (window.runs ?? 0) + 1;
const { pool, key } = Object.fromEntries(new URLSearchParams(location.search));
window.seat = new SeatClient({ url: location.origin, pool, key, holder: 'bundled' });
window.seat.acquire();
window.client = new Client(location.origin, { key });
`;

/** An application in a directory of its own, which installs the package as npm would from a node, and bundles it. */
async function bundled() {
	const { build } = await import('esbuild');
	const home = mkdtempSync(join(tmpdir(), 'leasehold-bundle-'));
	try {
		writeFileSync(join(home, 'package.json'), '{"type":"module","private":true}');
		writeFileSync(join(home, 'app.js'), APP);
		writeFileSync(join(home, 'client.tgz'), Buffer.from(await (await fetch(`${url}/client/leasehold-client.tgz`)).arrayBuffer()));
		const npm = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--silent', '--offline', '--legacy-peer-deps', './client.tgz'];
		const { status, stderr } = spawnSync('npm', npm, { cwd: home, encoding: 'utf8' });
		assert.equal(status, 0, stderr);
		const nodePaths = [fileURLToPath(new URL('../node_modules', import.meta.url))]; // For React.
		const { outputFiles } = await build({ absWorkingDir: home, entryPoints: ['app.js'], bundle: true, format: 'esm', minify: true, write: false, nodePaths, logLevel: 'error' });
		const server = spawnSync(process.execPath, ['--input-type=module', '-e', `
			import { Client, SeatClient } from 'leasehold';
			import 'leasehold/node';
			new SeatClient({ url: 'http://seats.test', pool: 'crm' });
			console.log(typeof new Client('http://seats.test').acquire, typeof window);
		`], { cwd: home, encoding: 'utf8' });
		assert.equal(server.stdout, 'function undefined\n', server.stderr); // As a server renders it: nothing is done, nothing is missing.
		return outputFiles[0].text;
	} finally {
		rmSync(home, { recursive: true });
	}
}

const installed = await import('esbuild').then(() => true, () => false);
const app = installed ? await bundled() : null;
let asked = 0;
const pages = {
	'/work': { body: page() },
	'/page.js': { body: PAGE_SCRIPT, type: 'text/javascript' },
	'/bundle': { body: '<!doctype html><script type="module" src="/app.js"></script>' },
	get '/app.js'() {
		asked += 1;
		return { body: app, type: 'text/javascript' };
	},
};
const site = await startSite({ url }, pages);
const origin = site.origin('localhost');
const browser = await chromium.launch({ origins: [origin] });
try {
	await ask('PUT', '/v1/pools/js-tabs', { capacity: 2, ttl_ms: 3_000, linger_ms: 500 });
	const { secret } = await ask('POST', '/v1/keys', { name: 'js-tabs', role: 'client', pools: ['js-tabs'], origins: [origin] });
	const holders = async () => (await ask('GET', '/v1/pools/js-tabs/leases')).items.map(({ holder }) => holder);
	const open = async (path) => {
		const tab = await browser.open(`${origin}${path}?pool=js-tabs&key=${secret}&holder=ann`);
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

	if (app) {
		const tab = await open('/bundle');
		await pass(1_500);
		assert.equal(asked, 1, 'the application was loaded more than once: as a worker');
		assert.deepEqual([await tab.run('runs'), await tab.run('seat.state'), await tab.run('typeof useSeat')], [1, 'held', 'function']);
		assert.deepEqual(tab.errors, []);
		await tab.run('client.hold("js-tabs", { holder: "bob" }, (seat) => seat.check())');
		assert.deepEqual(await holders(), ['bundled']);
	} else console.error('no esbuild: bundles are not tried');
} finally {
	await browser.stop();
	await site.stop();
}
