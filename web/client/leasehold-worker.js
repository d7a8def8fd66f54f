// The clock of leasehold.js, both ends of it. A hidden page's own timers run up to a minute late, a worker's do not.
// So each timer is armed in the worker and in the page, and the first to fire counts: the worker may be missing.

/** The server that this file came from, if it came from one. */
export const SERVED_BY = /^(https?:.+)\/client\/(?:[0-9a-f]{16}\/)?leasehold-worker\.js/.exec(import.meta.url)?.[1];

const HERE = /^https?:/.test(import.meta.url) && import.meta.url;
const NAME = 'leasehold clock';
const GAP_MS = 3_000;

/**
 * The page's end. `wake` is called when the page may have missed something: with `true` when time stood still (the
 * device slept, or the page was frozen) or the network came back, with `false` when the agent looks at it again.
 * `scope` is what stands for `globalThis`. `url` is where this file is, if not here; `false` is for no worker.
 */
export function clock(scope, url = HERE, wake) {
	const { Date, Math, performance, document } = scope;
	const fires = new Map();
	let worker, pulse, listening, last = 0;

	// A worker of another origin is refused, but a blob may load it. A policy may forbid both.
	const sources = () => (url && scope.Worker ? [() => String(url), () => blob(String(url))] : []);

	function spawn([source, ...others]) {
		worker = null;
		if (!source) return look(Date.now());
		try {
			const mine = (worker = new scope.Worker(source(), { type: 'module', name: NAME }));
			mine.onmessage = ({ data }) => (data === 'gap' ? wake(true) : fires.get(data)?.());
			// A policy says so here, and not by throwing.
			mine.onerror = () => mine === worker && spawn(others);
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

function blob(url) {
	return URL.createObjectURL(new Blob([`import ${JSON.stringify(url)};`], { type: 'text/javascript' }));
}

// The worker's end: [id, ms] comes back as the id after that time.
if (globalThis.name === NAME && !globalThis.document) {
	let seen = Date.now();
	onmessage = ({ data: [id, ms] }) => setTimeout(postMessage, ms, id);
	setInterval(() => {
		const now = Date.now();
		if (Math.abs(now - seen) > GAP_MS) postMessage('gap');
		seen = now;
	}, 500);
}
