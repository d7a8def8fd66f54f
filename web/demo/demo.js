// A page as an integrator writes it. What matters are the lines up to `show`; the rest is furniture.

import { SeatClient } from '../client/leasehold.js';

const pool = new URLSearchParams(location.search).get('pool') ?? 'demo';
const at = (id) => document.getElementById(id);
let seat;

function login() {
	seat = new SeatClient({ pool, holder: at('holder').value, key: at('key').value, wait: true, platform: 'web' });
	seat.addEventListener('statechange', ({ detail }) => show(detail));
	seat.addEventListener('waiting', ({ detail }) => show(detail));
	seat.addEventListener('ending', ({ detail }) => warn(detail));
	seat.acquire().catch(() => {}); // The states tell.
}
at('login').addEventListener('submit', (event) => {
	event.preventDefault();
	sessionStorage.setItem('agent', at('holder').value);
	login();
});
at('logout').addEventListener('click', () => seat.release());

const SAYS = {
	acquiring: () => 'Asking for a seat …',
	waiting: ({ problem }) => problem?.detail ?? `All seats are in use. You are number ${problem?.position ?? '…'} in the queue.`,
	held: () => 'You have a seat.',
	unstable: () => 'The server does not answer. You still have your seat.',
	suspect: () => 'No answer for a long time. Your seat may be gone.',
	lost: ({ code, reason, problem }) => UNUSED[code === 'lease_evicted' && reason]
		?? (reason ? `Your seat was taken back: ${reason}` : problem?.detail ?? 'Your seat is gone.'),
	denied: ({ problem, code }) => problem?.detail ?? `There is no seat for you: ${code}.`,
	released: () => 'You have given your seat back.',
};

// A new seat comes with the next thing that you do, not before: that would take it from whoever needed it.
const UNUSED = {
	idle: 'Nobody used your seat for a while, so it was given back, or to somebody who needed it. Do something, and you get another one.',
	max_hold: 'You had your seat for as long as this pool allows. Do something, and you get another one.',
};

// Whatever is done in the page is an answer, and the client sends it at once. The button is for those who look for one.
function warn(ending) {
	clearInterval(warn.countdown);
	at('ending').hidden = !ending;
	if (!ending) return;
	const end = performance.now() + ending.in_ms;
	const tell = () => {
		const seconds = Math.max(0, Math.ceil((end - performance.now()) / 10_000) * 10); // Not each second: it is read aloud.
		const what = ending.then === 'yield' ? 'whoever needs your seat gets it' : 'your seat ends';
		const why = ending.reason === 'idle' ? 'You have done nothing for a while' : 'You have had your seat for long';
		const when = seconds ? `in about ${seconds} s` : 'from now on';
		at('ending').querySelector('output').textContent = `${why}: ${what} ${when}.`;
	};
	tell();
	warn.countdown = setInterval(tell, 10_000);
}
setInterval(() => (at('idle').textContent = Math.floor((seat?.idle ?? 0) / 1_000)), 1_000);

function show(detail) {
	if (!['held', 'unstable', 'suspect'].includes(detail.to)) warn(null);
	const text = SAYS[detail.to](detail);
	const there = !['lost', 'denied', 'released'].includes(detail.to);
	if (!there) sessionStorage.removeItem('agent');
	at('state').textContent = text;
	at('state').dataset.state = detail.to;
	at('logout').disabled = !there;
	for (const field of at('login').querySelectorAll('input, button:not([type])')) field.disabled = there;
	const line = document.createElement('li');
	line.textContent = `${new Date().toLocaleTimeString()} ${detail.to}: ${text}`;
	at('log').prepend(line);
	at('lease').replaceChildren();
	if (!seat.lease) return;
	const { id, started_at: since, ttl_ms: ttl } = seat.lease;
	for (const [name, value] of Object.entries({ Lease: id, Since: new Date(since).toLocaleTimeString(), 'Without a beat it ends after': `${ttl / 1_000} s` })) {
		at('lease').append(
			Object.assign(document.createElement('dt'), { textContent: name }),
			Object.assign(document.createElement('dd'), { textContent: value }),
		);
	}
}

at('pool').textContent = pool;

// Whoever is logged in still is after a reload, as in a product. The client finds its lease again by itself.
if (sessionStorage.getItem('agent')) {
	at('holder').value = sessionStorage.getItem('agent');
	login();
}
