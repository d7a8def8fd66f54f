// An application that installs the package as npm does from a node, bundled as people bundle: it has to hold its seat in a real browser, to
// load once, and never as a worker of its own. LEASEHOLD_URL is a real server, LEASEHOLD_KEY an operator's key.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as chromium from '../../../web/client/tests/browsers/chromium.js';
import { pass, startSite, until } from '../../../web/client/tests/browsers/world.js';
import { application, areThere, tools } from './tools.js';

const { LEASEHOLD_URL: url, LEASEHOLD_KEY: admin } = process.env;
const lacks = [!chromium.path && 'Chromium', !areThere() && 'bundlers, and no registry'].filter(Boolean);
if (lacks.length) {
	console.error(`there is no ${lacks.join(' and no ')}`);
	process.exit(77);
}
const required = createRequire(join(tools, 'package.json'));
const tool = async (name) => {
	const { default: whole, ...parts } = await import(pathToFileURL(required.resolve(name)));
	return Object.keys(parts).length ? { ...whole, ...parts } : whole;
};

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

/** Counts workers and their answers before the application begins. */
const WATCHED = `<script>
window.workers = [];
window.answers = 0;
const Real = Worker;
window.Worker = class extends Real {
	constructor(...given) {
		super(...given);
		workers.push(String(given[0]));
		this.addEventListener('message', () => (answers += 1));
	}
};
</script>`;

const BUNDLERS = {
	async esbuild(home) {
		const { build } = await tool('esbuild');
		const { outputFiles } = await build({ absWorkingDir: home, entryPoints: ['app.js'], bundle: true, format: 'esm', minify: true, write: false, logLevel: 'error' });
		return outputFiles[0].text;
	},
	async vite(home) {
		const { build } = await tool('vite');
		await build({ root: home, configFile: false, logLevel: 'error', build: { outDir: 'vite', rollupOptions: { input: join(home, 'app.js'), output: { entryFileNames: 'app.js' } } } });
		return readFileSync(join(home, 'vite/app.js'), 'utf8');
	},
	async webpack(home) {
		const webpack = required('webpack');
		const done = await new Promise((resolve, reject) => {
			webpack({ context: home, mode: 'production', entry: './app.js', output: { path: join(home, 'webpack'), filename: 'app.js' } }, (error, stats) => (error ? reject(error) : resolve(stats)));
		});
		assert.ok(!done.hasErrors(), done.toString());
		return readFileSync(join(home, 'webpack/app.js'), 'utf8');
	},
	async rollup(home) {
		const { rollup } = await tool('rollup');
		const plugin = (name) => required(`@rollup/plugin-${name}`);
		const replaced = plugin('replace')({ preventAssignment: true, 'process.env.NODE_ENV': '"production"' });
		const bundle = await rollup({ input: join(home, 'app.js'), plugins: [plugin('node-resolve').nodeResolve({ browser: true }), plugin('commonjs')(), replaced] });
		const { output } = await bundle.generate({ format: 'es', inlineDynamicImports: true });
		return output[0].code;
	},
};

const home = await application(url, { 'app.js': APP });
const sent = {};
const pages = {};
try {
	// As a server renders it: nothing is done, nothing is missing.
	const rendered = spawnSync(process.execPath, ['--input-type=module', '-e', `
		import { Client, SeatClient } from 'leasehold';
		import 'leasehold/node';
		new SeatClient({ url: 'http://seats.test', pool: 'crm' });
		console.log(typeof new Client('http://seats.test').acquire, typeof window);
	`], { cwd: home, encoding: 'utf8' });
	assert.equal(rendered.stdout, 'function undefined\n', rendered.stderr);
	for (const [name, bundle] of Object.entries(BUNDLERS)) {
		const body = await bundle(home);
		pages[`/${name}`] = { body: `<!doctype html>${WATCHED}<script type="module" src="/${name}/app.js"></script>` };
		Object.defineProperty(pages, `/${name}/app.js`, {
			get() {
				sent[name] = (sent[name] ?? 0) + 1;
				return { body, type: 'text/javascript' };
			},
		});
	}
} finally {
	rmSync(home, { recursive: true });
}

async function ask(method, path, body) {
	const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
	const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
	assert.ok(answer.ok, `${method} ${path} is ${answer.status}`);
	return answer.json().catch(() => null);
}

const site = await startSite({ url }, pages);
const origin = site.origin('localhost');
const browser = await chromium.launch({ origins: [origin] });
try {
	for (const name of Object.keys(BUNDLERS)) {
		const pool = `js-${name}`;
		await ask('PUT', `/v1/pools/${pool}`, { capacity: 2, ttl_ms: 3_000, linger_ms: 500 });
		const { secret } = await ask('POST', '/v1/keys', { name: pool, role: 'client', pools: [pool], origins: [origin] });
		const tab = await browser.open(`${origin}/${name}?pool=${pool}&key=${secret}`);
		await until(`${name}: the page has its seat`, () => tab.run("window.seat?.state === 'held'").catch(() => false));
		await pass(1_500);
		assert.equal(sent[name], 1, `${name}: the application was loaded more than once: as a worker`);
		assert.deepEqual([await tab.run('runs'), await tab.run('seat.state'), await tab.run('typeof useSeat')], [1, 'held', 'function'], name);
		const workers = await tab.run('workers');
		assert.ok(workers.length && workers.every((address) => address.startsWith('blob:')), `${name}: ${workers}`);
		await until(`${name}: its worker answers`, () => tab.run('answers > 0'));
		await tab.run(`client.hold("${pool}", { holder: "bob" }, (seat) => seat.check())`);
		const { items } = await ask('GET', `/v1/pools/${pool}/leases`);
		assert.deepEqual(items.map(({ holder }) => holder), ['bundled'], name);
		assert.deepEqual(tab.errors, [], name);
		await tab.close();
	}
} finally {
	await browser.stop();
	await site.stop();
}
