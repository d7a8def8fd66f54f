// The clock of a page, both ends of it. A hidden page's own timers run up to a minute late, a worker's do not.
// So each timer is armed in the worker and in the page, and the first to fire counts: the worker may be missing.

/** The server that this file came from, if a node served it. In a bundle, this is the address of something else. */
const [FILE, SERVER] = /^(https?:.+)\/client\/(?:[0-9a-f]{16}\/)?leasehold(?:-worker)?\.js/.exec(import.meta.url) ?? [];
export const SERVED_BY = SERVER;

const NAME = 'leasehold clock';
const GAP_MS = 3_000;

/**
 * The worker's end: [id, ms] comes back as the id after that time. It is a text, so that a worker can be made of it without loading
 * anything, whatever a bundler makes of this file. `build.mjs` also makes leasehold-worker.js of it.
 */
export const WORKER = `
let seen = Date.now();
onmessage = ({ data: [id, ms] }) => setTimeout(postMessage, ms, id);
setInterval(() => {
	const now = Date.now();
	if (Math.abs(now - seen) > ${GAP_MS}) postMessage('gap');
	seen = now;
}, 500);
`;

/**
 * The page's end. `wake` is called when the page may have missed something: with `true` when time stood still (the
 * device slept, or the page was frozen) or the network came back, with `false` when the agent looks at it again.
 * `scope` is what stands for `globalThis`. `url` is where leasehold-worker.js is, if not beside this file; `false` is for no worker.
 */
export function clock(scope, url, wake) {
	const { Date, Math, performance, document } = scope;
	const fires = new Map();
	let worker, pulse, listening, last = 0;

	/** Where a worker can be had: only what is known to be one, and of this origin. Browsers complain of any other. */
	function sources() {
		if (url === false || !scope.Worker) return [];
		const file = url ? String(url) : FILE && `${FILE.slice(0, FILE.lastIndexOf('/'))}/leasehold-worker.js`;
		return [...(file && isOwn(file) ? [() => file] : []), blob];
	}

	function isOwn(file) {
		try {
			return new URL(file, scope.location.href).origin === scope.location.origin;
		} catch {
			return false;
		}
	}

	function spawn([source, ...others]) {
		worker = null;
		if (!source) return look(Date.now());
		try {
			const mine = (worker = new scope.Worker(source(), { type: 'module', name: NAME }));
			mine.onmessage = ({ data }) => (data === 'gap' ? wake(true) : fires.get(data)?.());
			// A policy says so here, and not by throwing.
			mine.onerror = (event) => {
				event.preventDefault?.();
				mine.terminate();
				if (mine === worker) spawn(others);
			};
		} catch {
			spawn(others);
		}
	}

	/** Without a worker the page looks by itself, at worst once a minute. */
	function look(seen) {
		const now = Date.now();
		pulse = scope.setTimeout(look, 1_000, now);
		if (now - seen > 1_000 + GAP_MS) wake(true);
	}

	/** Runs until `stop`, and listens to these events of the window, too. */
	function start(events) {
		stop();
		spawn(sources());
		listening = new AbortController();
		const on = (target, type, run) => target?.addEventListener?.(type, run, { signal: listening.signal });
		for (const [type, run] of Object.entries(events)) on(scope, type, run);
		on(scope, 'focus', () => wake(false));
		on(document, 'visibilitychange', () => wake(false));
		on(document, 'resume', () => wake(true));
		// A whole office comes back at once, and should not be heard at once.
		on(scope, 'online', () => after(Math.random() * 1_500, () => wake(true)));
	}

	/** Calls `run` after this time. Returns what cancels it. */
	function after(ms, run) {
		const id = ++last;
		const cancel = () => (scope.clearTimeout(timer), fires.delete(id));
		const fire = () => cancel() && run();
		const timer = scope.setTimeout(fire, ms);
		fires.set(id, fire);
		worker?.postMessage([id, ms]);
		return cancel;
	}

	function stop() {
		scope.clearTimeout(pulse);
		listening?.abort();
		worker?.terminate();
		worker = null;
	}

	// Two clocks, because the monotonic one may stand still in sleep: the one that ran further is believed.
	const stamp = (wall = Date.now()) => ({ now: performance.now() - Date.now() + wall, wall });
	const since = (at) => (at ? Math.max(performance.now() - at.now, Date.now() - at.wall) : Infinity);

	return { start, after, stop, stamp, since };
}

function blob() {
	return URL.createObjectURL(new Blob([WORKER], { type: 'text/javascript' }));
}
