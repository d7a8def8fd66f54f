// Firefox over WebDriver BiDi, which it speaks by itself. Needs Node's own WebSocket (--experimental-websocket before 22).

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const path = globalThis.WebSocket
	&& [process.env.FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox'].find((file) => file && existsSync(file));

export async function launch() {
	const profile = mkdtempSync(join(tmpdir(), 'leasehold-firefox-'));
	writeFileSync(join(profile, 'user.js'), [
		'user_pref("network.dns.localDomains", "crm.test,other.test,seats.test");',
		'user_pref("app.update.enabled", false);',
		'user_pref("browser.shell.checkDefaultBrowser", false);',
		'user_pref("datareporting.policy.dataSubmissionEnabled", false);',
		'user_pref("network.captive-portal-service.enabled", false);',
		'user_pref("network.connectivity-service.enabled", false);',
	].join('\n'));
	const child = spawn(path, ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port', '0'], {
		stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, HOME: profile },
	});
	const address = await new Promise((resolve, reject) => {
		let said = '';
		child.stderr.setEncoding('utf8').on('data', (text) => {
			said += text;
			const found = /WebDriver BiDi listening on (ws:\S+)/.exec(said);
			if (found) resolve(found[1]);
		});
		child.once('exit', () => reject(new Error(`Firefox does not start: ${said}`)));
	});
	const socket = new WebSocket(`${address}/session`);
	await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
	const gone = new Promise((resolve) => child.once('exit', resolve));
	const waiting = new Map();
	let last = 0;
	socket.onmessage = ({ data }) => {
		const message = JSON.parse(data);
		const asked = waiting.get(message.id);
		waiting.delete(message.id);
		if (message.type === 'error') asked?.reject(new Error(`${message.error}: ${message.message}`));
		else asked?.resolve(message.result);
	};
	const send = (method, params = {}) =>
		new Promise((resolve, reject) => {
			waiting.set(++last, { resolve, reject });
			socket.send(JSON.stringify({ id: last, method, params }));
		});
	await send('session.new', { capabilities: {} });

	async function open(url) {
		const { context } = await send('browsingContext.create', { type: 'tab' });
		const tell = (method, params) => send(`browsingContext.${method}`, { context, ...params });
		await tell('navigate', { url, wait: 'complete' });
		const run = async (expression) => {
			const answer = await send('script.evaluate', { expression: `(async () => JSON.stringify(await (${expression})))()`, awaitPromise: true, target: { context } });
			if (answer.type !== 'success') throw new Error(answer.exceptionDetails.text);
			return answer.result.value === undefined ? undefined : JSON.parse(answer.result.value);
		};
		return {
			run, errors: [],
			front: () => tell('activate'),
			close: () => tell('close', { promptUnload: true }),
			reload: () => tell('reload', { wait: 'complete' }),
			go: (to) => tell('navigate', { url: to, wait: 'complete' }),
			back: () => tell('traverseHistory', { delta: -1 }),
		};
	}

	return {
		name: 'Firefox', open, send,
		stop: async () => {
			child.kill('SIGKILL');
			await gone;
			rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
		},
	};
}
