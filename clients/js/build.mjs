// Makes of src/ what nodes serve: one file for pages, the worker of its clock, its types, and the package itself.
//
//   node build.mjs            writes them into web/client
//   node build.mjs --check    says whether those that are there are current

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { WORKER } from './src/clock.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const out = (name) => here(`../../web/client/${name}`);
const BANNER = '// Made of clients/js/src by clients/js/build.mjs. What it does: docs/widget.md.';

async function bundled(entry) {
	const { outputFiles } = await build({
		absWorkingDir: here('.'), entryPoints: [entry], bundle: true, format: 'esm', target: 'es2022', minify: true, write: false,
		charset: 'utf8', banner: { js: BANNER }, legalComments: 'none',
	});
	return outputFiles[0].text;
}

/** The types of the one file: those of its parts, without what ties them together. */
function types() {
	const parts = ['index.d.ts', 'widget.d.ts'].map((name) => readFileSync(here(`src/${name}`), 'utf8'));
	return parts.join('\n').replace(/^(?:import|export) .* from '\.\/.*';\n/gm, '');
}

/** A tar archive as npm makes them: everything below package/, and nothing of this machine. */
function archive() {
	const { files } = JSON.parse(readFileSync(here('package.json'), 'utf8'));
	const names = ['package.json', 'README.md', ...files.flatMap((name) => readdirSync(here(name)).sort().map((file) => `${name}/${file}`))];
	const blocks = names.flatMap((name) => {
		const text = readFileSync(here(name));
		return [header(`package/${name}`, text.length), text, Buffer.alloc((512 - (text.length % 512)) % 512)];
	});
	return Buffer.concat([...blocks, Buffer.alloc(1_024)]);
}

function header(name, length) {
	const block = Buffer.alloc(512);
	const octal = (value, width) => `${value.toString(8).padStart(width - 1, '0')}\0`;
	block.write(name, 0);
	block.write(octal(0o644, 8) + octal(0, 8) + octal(0, 8) + octal(length, 12) + octal(499_162_500, 12), 100);
	block.write('        0', 148);
	block.write('ustar\x0000', 257);
	const sum = block.reduce((all, byte) => all + byte, 0);
	block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
	return block;
}

const files = {
	'leasehold.js': Buffer.from(await bundled('src/served.js')),
	// It is a module, because pages that got an older leasehold.js from another node import their clock from here.
	'leasehold-worker.js': Buffer.from(`${await bundled('src/clock.js')}if (globalThis.name === 'leasehold clock' && !globalThis.document) {${WORKER}}\n`),
	'leasehold.d.ts': Buffer.from(types()),
	'leasehold-client.tgz': gzipSync(archive(), { level: 9 }),
};

/** The docs print what nodes say in /client/manifest.json. */
function documented(text) {
	const served = Object.keys(files).map((name) => readFileSync(out(name)));
	const version = createHash('sha256').update(Buffer.concat(served)).digest('hex').slice(0, 16);
	const rows = Object.keys(files).slice(0, 2).map((name, i) => `| \`${name}\` | \`sha384-${createHash('sha384').update(served[i]).digest('base64')}\` |`);
	return text.replace(/(Of this version \()[0-9a-f]{16}/, `$1${version}`).replace(/(\| file \| integrity \|\n.*\n)(?:\|.*\n)+/, `$1${rows.join('\n')}\n`);
}

for (const [name, bytes] of Object.entries(files)) {
	if (!process.argv.includes('--check')) writeFileSync(out(name), bytes);
	// Another version of zlib may write other bytes for the same content.
	const plain = (all) => (name.endsWith('.tgz') ? gunzipSync(all) : all);
	if (!plain(readFileSync(out(name))).equals(plain(bytes))) {
		console.error(`web/client/${name} is not current: run node clients/js/build.mjs`);
		process.exitCode = 1;
	}
}

const docs = here('../../docs/widget.md');
const text = readFileSync(docs, 'utf8');
if (!process.argv.includes('--check')) writeFileSync(docs, documented(text));
else if (documented(text) !== text) {
	console.error('docs/widget.md has other hashes: run node clients/js/build.mjs');
	process.exitCode = 1;
}
