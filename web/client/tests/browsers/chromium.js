// Chromium over its debugging pipe: no driver, so that none of a driver's default flags turns the throttling off.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const path = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
	.find((file) => file && existsSync(file));

/**
 * Starts one. `origins` may be treated as secure although they are plain HTTP, so that locks exist there.
 * Intensive throttling of hidden pages begins after `graceSeconds`, and not after five minutes.
 */
export async function launch({ origins = [], graceSeconds = 10, args = [] } = {}) {
	const profile = mkdtempSync(join(tmpdir(), 'leasehold-chromium-'));
	const child = spawn(path, [
		'--headless=new', '--no-sandbox', '--no-first-run', '--disable-gpu', '--disable-quic', '--disable-sync',
		'--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage',
		`--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/${graceSeconds}`,
		'--host-resolver-rules=MAP *.test 127.0.0.1',
		...(origins.length ? [`--unsafely-treat-insecure-origin-as-secure=${origins.join(',')}`] : []),
		'--remote-debugging-pipe', `--user-data-dir=${profile}`, ...args,
	], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
	const [, , , input, output] = child.stdio;
	const waiting = new Map();
	const listeners = new Set();
	let last = 0;
	let rest = '';
	output.setEncoding('utf8').on('data', (text) => {
		const messages = (rest + text).split('\0');
		rest = messages.pop();
		for (const message of messages.map((json) => JSON.parse(json))) {
			const asked = waiting.get(message.id);
			waiting.delete(message.id);
			if (!asked) for (const listener of listeners) listener(message);
			else if (message.error) asked.reject(new Error(JSON.stringify(message.error)));
			else asked.resolve(message.result);
		}
	});
	input.on('error', () => {});
	const gone = new Promise((resolve) => child.once('exit', resolve));
	gone.then(() => waiting.forEach(({ reject }) => reject(new Error('the browser is gone'))));

	const send = (method, params = {}, sessionId = undefined) =>
		new Promise((resolve, reject) => {
			waiting.set(++last, { resolve, reject });
			input.write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
		});

	/** Opens a tab, in front of the others. */
	async function open(url) {
		const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
		const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
		const tell = (method, params) => send(method, params, sessionId);
		const errors = [];
		listeners.add(({ method, params, sessionId: from }) => {
			if (from !== sessionId) return;
			if (method === 'Runtime.exceptionThrown') errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
			if (method === 'Log.entryAdded' && params.entry.source === 'security') errors.push(params.entry.text);
		});
		await Promise.all(['Runtime.enable', 'Page.enable', 'Log.enable'].map((method) => tell(method)));
		await tell('Page.navigate', { url });
		const run = async (expression) => {
			const { result, exceptionDetails } = await tell('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
			if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
			return result.value;
		};
		return {
			tell, run, errors,
			front: () => send('Target.activateTarget', { targetId }),
			close: () => send('Target.closeTarget', { targetId }),
			freeze: () => tell('Page.setWebLifecycleState', { state: 'frozen' }),
			thaw: () => tell('Page.setWebLifecycleState', { state: 'active' }),
			reload: () => tell('Page.reload'),
			go: (to) => tell('Page.navigate', { url: to }),
			back: async () => {
				const { entries, currentIndex } = await tell('Page.getNavigationHistory');
				await tell('Page.navigateToHistoryEntry', { entryId: entries[currentIndex - 1].id });
			},
			crash: () => void tell('Page.crash').catch(() => {}),
			offline: async (offline) => {
				await tell('Network.enable');
				await tell('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
			},
			shot: async () => Buffer.from((await tell('Page.captureScreenshot')).data, 'base64'),
		};
	}

	return {
		name: 'Chromium', open, send,
		/** As the agent quits it. */
		quit: async () => {
			await send('Browser.close').catch(() => {});
			await gone;
		},
		/** As a crash of all of it. */
		stop: async () => {
			child.kill('SIGKILL');
			await gone;
			rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
		},
	};
}
