// What programs of people need of npm, and the package as a node serves it: for the tests of bundles and of web backends.

import { existsSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const tools = fileURLToPath(new URL('./tools/', import.meta.url));
const npm = (cwd, ...words) => spawnSync('npm', [...words, '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], { cwd, encoding: 'utf8' });

/** Whether they are there, fetched if they were not. */
export function areThere() {
	const last = join(tools, 'node_modules/.package-lock.json');
	if (!existsSync(last)) npm(tools, 'ci');
	// A registry may lack what is optional and for another system; that `ci` refuses.
	if (!existsSync(last)) npm(tools, 'install', '--no-save');
	return existsSync(last);
}

/** A directory of an application that has installed the package from a node. */
export async function application(url, files) {
	const home = mkdtempSync(join(tmpdir(), 'leasehold-app-'));
	for (const [name, text] of Object.entries({ 'package.json': '{"type":"module","private":true}', ...files })) writeFileSync(join(home, name), text);
	const answer = await fetch(`${url}/client/leasehold-client.tgz`);
	writeFileSync(join(home, 'client.tgz'), Buffer.from(await answer.arrayBuffer()));
	const { status, stderr } = npm(home, 'install', '--offline', '--legacy-peer-deps', './client.tgz');
	if (status) throw new Error(stderr);
	const there = join(tools, 'node_modules');
	for (const name of readdirSync(there).filter((one) => !one.startsWith('.') && one !== 'leasehold')) {
		if (!name.startsWith('@')) symlinkSync(join(there, name), join(home, 'node_modules', name));
	}
	return home;
}
