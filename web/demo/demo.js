// A page as an integrator writes it. What matters are the lines up to `show`; the rest is furniture.

import { SeatClient } from '../client/leasehold.js';

const pool = new URLSearchParams(location.search).get('pool') ?? 'demo';
const at = (id) => document.getElementById(id);
let seat;

function login() {
	seat = new SeatClient({ pool, holder: at('holder').value, key: at('key').value, wait: true, platform: 'web' });
	seat.addEventListener('statechange', ({ detail }) => show(detail));
	seat.addEventListener('waiting', ({ detail }) => show(detail));
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
	lost: ({ reason, problem }) => (reason ? `Your seat was taken back: ${reason}` : problem?.detail ?? 'Your seat is gone.'),
	denied: ({ problem, code }) => problem?.detail ?? `There is no seat for you: ${code}.`,
	released: () => 'You have given your seat back.',
};

function show(detail) {
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
