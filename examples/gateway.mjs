// A gateway that holds many seats for others, with one request a beat: `renew-many`.
//
//     node examples/gateway.mjs http://127.0.0.1:7070 demo 5        (LEASEHOLD_KEY=… if the server wants a key)
//
// It acquires, beats when the server says so, keeps the latest tokens, says which seats are lost, and releases on Ctrl-C.

const [url = 'http://127.0.0.1:7070', pool = 'demo', seats = '5'] = process.argv.slice(2);
const key = process.env.LEASEHOLD_KEY;

async function post(path, body, headers = {}) {
	const answer = await fetch(`${url}/v1/${path}`, {
		method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(8_000),
		headers: { 'content-type': 'application/json', ...headers },
	});
	return { status: answer.status, ...(await answer.json().catch(() => ({}))) };
}

const held = new Map(); // lease id -> { holder, token }
let next = 20_000;

for (let number = 1; number <= Number(seats); number++) {
	const holder = `gateway-${number}`;
	const answer = await post(`pools/${pool}/leases`, { holder }, key && { authorization: `Bearer ${key}` });
	if (!answer.token) {
		console.error(`${holder}: ${answer.code}`);
		continue;
	}
	held.set(answer.lease.id, { holder, token: answer.token });
	next = answer.lease.renew_after_ms;
}
console.log(`holding ${held.size} seats of ${pool}`);

async function beat() {
	const asked = [...held];
	let wait = next;
	// At most 1 000 tokens a request.
	for (let from = 0; from < asked.length; from += 1_000) {
		const part = asked.slice(from, from + 1_000);
		const { results } = await post('leases/renew-many', { tokens: part.map(([, { token }]) => token) }).catch(() => ({}));
		if (!results) wait = Math.min(wait, 1_000 + Math.random() * 1_000); // No answer ends nothing: ask again soon.
		results?.forEach(({ status, code, token }, i) => {
			const [id, seat] = part[i];
			if (token) seat.token = token;
			if (status === 'renewed') return;
			console.log(`${seat.holder}: ${status}${code ? ` (${code})` : ''}`);
			if (status !== 'resumed') held.delete(id);
		});
	}
	if (held.size) timer = setTimeout(beat, wait);
}
let timer = held.size && setTimeout(beat, next);

for (const signal of ['SIGINT', 'SIGTERM']) {
	process.once(signal, async () => {
		clearTimeout(timer);
		await Promise.allSettled([...held.values()].map(({ token }) => post('leases/release', { token })));
		console.log('released');
		process.exit();
	});
}
