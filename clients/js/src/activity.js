// How long nobody has used a page: a time, and nothing of what was typed, or where. See docs/widget.md.

const EVENTS = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'touchmove'];
const TOLD_MS = 1_000;
const FRAME_MS = 15_000;
const DETECTED_MS = 60_000; // Browsers allow no less.

export class Activity {
	#last;
	#told = -Infinity;
	#detector = null;

	/** `now` is a clock in milliseconds that only goes forward. */
	constructor(scope, now) {
		Object.assign(this, { scope, now });
		this.#last = now();
	}

	/** Calls `told` when somebody does something, once a second at most. */
	start(told) {
		const { scope } = this;
		const { document } = scope;
		this.told = told;
		this.stop();
		if (!document) return;
		this.listening = new AbortController();
		const how = { signal: this.listening.signal, passive: true, capture: true };
		for (const type of EVENTS) scope.addEventListener(type, () => this.act(), how);
		document.addEventListener('visibilitychange', () => document.hidden || this.act(), how);
		scope.addEventListener('blur', () => this.#look(), how);
	}

	stop() {
		this.listening?.abort();
		this.scope.clearTimeout?.(this.looking);
	}

	act() {
		this.#last = this.now();
		if (this.#last - this.#told < TOLD_MS) return;
		this.#told = this.#last;
		this.told?.();
	}

	/** What people do in a frame of another site nobody here hears of: as long as it has the focus, it counts. */
	#look() {
		const { scope } = this;
		const { document } = scope;
		scope.clearTimeout(this.looking);
		if (document.activeElement?.tagName !== 'IFRAME' || !document.hasFocus()) return;
		this.act();
		this.looking = scope.setTimeout(() => this.#look(), FRAME_MS);
	}

	idleMs() {
		return this.#detector?.userState === 'active' && this.#detector.screenState !== 'locked' ? 0 : this.now() - this.#last;
	}

	/**
	 * From now on also counts what is done outside of the page, where the browser can tell: asks its user for the permission, so it
	 * has to be called in a click. Whether it is so.
	 */
	async detect() {
		const { IdleDetector } = this.scope;
		if (this.#detector || !IdleDetector) return Boolean(this.#detector);
		try {
			if ((await IdleDetector.requestPermission()) !== 'granted') return false;
			const detector = new IdleDetector();
			detector.addEventListener('change', () => {
				const { userState, screenState } = detector;
				if (userState === 'active' && screenState !== 'locked') this.act();
				else this.#last = Math.max(this.#last, this.now() - (userState === 'idle' ? DETECTED_MS : 0));
			});
			await detector.start({ threshold: DETECTED_MS });
			this.#detector = detector;
			return true;
		} catch {
			return false;
		}
	}
}
