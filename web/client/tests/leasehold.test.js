// The states of the widget client, with a clock that the test turns: `node --test web/client/tests/`, no packages.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { SeatClient, SeatError } from '../leasehold.js';
import { Browser, Server } from './page.js';

let browser, server;

beforeEach(() => {
  browser = new Browser((...asked) => server.answer(...asked));
  server = new Server(browser);
});

function open(options = {}, page = browser.page()) {
  const seat = new SeatClient({ url: 'http://seats.test/', pool: 'crm', holder: 'agent-7', scope: page, ...options });
  const states = [];
  seat.addEventListener('statechange', ({ detail }) => states.push(detail.to));
  return { seat, page, states };
}

async function held(options, page) {
  const tab = open(options, page);
  const asked = tab.seat.acquire();
  await browser.pass(50);
  assert.equal(tab.seat.state, 'held');
  await asked;
  return tab;
}

const renewals = () => browser.requests.filter(({ path }) => path.endsWith('/renew'));
const asks = () => browser.requests.filter(({ path }) => path.endsWith('/leases'));

test('a seat is acquired once, however often it is asked for', async () => {
  const { seat, states } = open();
  const [one, two] = [seat.acquire(), seat.acquire()];
  await browser.pass(50);
  assert.equal(await one, await two);
  assert.equal(await seat.acquire(), seat.lease);
  assert.equal(asks().length, 1);
  assert.deepEqual(states, ['acquiring', 'held']);
});

test('it beats at a third of the TTL, never later, and not in step with others', async () => {
  for (const random of [0, 0.999]) {
    browser.requests.length = 0;
    const page = browser.page();
    page.random = random;
    const { seat } = await held({ holder: `agent ${random}` }, page);
    const from = browser.now;
    await browser.pass(120_000);
    const gaps = renewals().map(({ at }, i, all) => at - (all[i - 1]?.at ?? from));
    assert.ok(gaps.length >= 5 && gaps.every((gap) => gap >= 16_900 && gap <= 20_000), String(gaps));
    await seat.release();
  }
});

test('there are never two renewals in flight', async () => {
  const { page } = await held();
  let flying = 0;
  const { answer } = browser;
  browser.answer = async (...asked) => {
    flying += 1;
    assert.equal(flying, 1);
    await new Promise((done) => page.setTimeout(done, 2_000));
    flying -= 1;
    return answer(...asked);
  };
  for (let turn = 0; turn < 20; turn++) {
    page.dispatchEvent(new Event('online'));
    page.document.dispatchEvent(new Event('resume'));
    await browser.pass(1_700);
  }
});

test('a full pool denies, with the document of the server', async () => {
  await held({ holder: 'first' });
  const { seat, states } = open();
  const refused = assert.rejects(seat.acquire(), (error) => {
    assert.ok(error instanceof SeatError);
    assert.equal(error.code, 'pool_full');
    assert.equal(error.problem.capacity, 1);
    return true;
  });
  await browser.pass(50);
  await refused;
  assert.deepEqual(states, ['acquiring', 'denied']);
  await browser.pass(300_000);
  assert.equal(asks().length, 2);
});

test('who waits gets the seat when it comes free', async () => {
  const first = await held({ holder: 'first' });
  const { seat, states } = open({ wait: true });
  const asked = seat.acquire();
  await browser.pass(20_000);
  assert.equal(seat.state, 'waiting');
  await first.seat.release();
  await browser.pass(6_000);
  assert.equal((await asked).id, seat.lease.id);
  assert.deepEqual(states, ['acquiring', 'waiting', 'held']);
  assert.equal(new Set(asks().slice(1).map(({ headers }) => headers['idempotency-key'])).size, 1);
});

test('a ticket keeps the place in the queue', async () => {
  const answers = [
    [202, { ticket: 'place', position: 2, retry_after_ms: 2_000, eta_ms: 9_000 }],
    [202, { ticket: 'place', position: 1, retry_after_ms: 2_000, eta_ms: 4_000 }],
  ];
  browser.answer = (...asked) => answers.shift() ?? server.answer(...asked);
  const { seat } = open({ wait: true });
  const positions = [];
  seat.addEventListener('waiting', ({ detail }) => positions.push(detail.problem.position));
  seat.acquire();
  await browser.pass(6_000);
  assert.equal(seat.state, 'held');
  assert.deepEqual(positions, [2, 1]);
  assert.deepEqual(asks().map(({ body }) => body.ticket), [undefined, 'place', 'place']);
});

test('who gives up waiting leaves the queue at once', async () => {
  browser.answer = (path) => (path.endsWith('/leave') ? [204, {}] : [202, { ticket: 'place', position: 2, retry_after_ms: 2_000 }]);
  const leaves = () => browser.requests.filter(({ path }) => path === '/v1/pools/crm/queue/leave');
  const { seat } = open({ wait: true });
  seat.acquire();
  await browser.pass(1_000);
  const released = seat.release();
  await browser.pass(100);
  await released;
  assert.equal(seat.state, 'released');
  assert.deepEqual(leaves().map(({ body, headers }) => [body, headers]), [[{ ticket: 'place' }, {}]]);
  await browser.pass(20_000);
  assert.equal(asks().length, 1);

  // One that gives up before it knows its place.
  const { seat: other, page } = open({ wait: true, holder: 'other' });
  const { answer } = browser;
  browser.answer = async (...asked) => {
    await new Promise((done) => page.setTimeout(done, 500));
    return answer(...asked);
  };
  other.acquire();
  await browser.pass(100);
  other.release();
  await browser.pass(2_000);
  assert.equal(leaves().length, 2);
  assert.equal(other.state, 'released');
});

test('a reload keeps the place in the queue, too', async () => {
  browser.answer = () => [202, { ticket: 'place', position: 2, retry_after_ms: 2_000 }];
  const { page, seat } = open({ wait: true });
  seat.acquire();
  await browser.pass(1_000);
  page.close();
  open({ wait: true }, browser.page({ storage: page.storage })).seat.acquire();
  await browser.pass(500);
  assert.deepEqual(asks().map(({ body }) => body.ticket), [undefined, 'place']);
  assert.equal(new Set(asks().map(({ headers }) => headers['idempotency-key'])).size, 1);
});

test('in maintenance it waits, says why, and comes back by itself', async () => {
  let closed = true;
  browser.answer = (...asked) =>
    closed ? [503, { code: 'maintenance', detail: 'Back at 20:00', retry_after_ms: 3_000 }] : server.answer(...asked);
  const { seat } = open();
  seat.acquire();
  await browser.pass(10_000);
  assert.equal(seat.state, 'waiting');
  assert.equal(seat.problem.detail, 'Back at 20:00');
  closed = false;
  await browser.pass(4_000);
  assert.equal(seat.state, 'held');
});

test('a lost reply to an acquire does not take a second seat', async () => {
  let lose = true;
  browser.answer = (...asked) => {
    const answer = server.answer(...asked);
    return lose ? ((lose = false), undefined) : answer;
  };
  const { seat } = open();
  seat.acquire();
  await browser.pass(10_000);
  assert.equal(seat.state, 'held');
  assert.equal(server.leases.size, 1);
});

test('an outage shorter than the lease makes it unstable and then held again', async () => {
  const { states } = await held();
  await browser.pass(15_000);
  server.down = true;
  await browser.pass(30_000);
  server.down = false;
  await browser.pass(10_000);
  assert.deepEqual(states, ['acquiring', 'held', 'unstable', 'held']);
});

test('a longer outage makes it suspect at the deadline, and the first answer decides', async () => {
  const { seat, states } = await held();
  const resumed = [];
  seat.addEventListener('resumed', ({ detail }) => resumed.push(detail.lease.id));
  server.down = true;
  await browser.pass(59_900);
  assert.equal(seat.state, 'unstable');
  await browser.pass(200);
  assert.equal(seat.state, 'suspect');
  await browser.pass(600_000);
  const last = renewals().slice(-10).map(({ at }) => at);
  assert.ok(last.at(-1) - last[0] > 9 * 10_000, 'it goes on asking, but slowly');
  server.down = false;
  await browser.pass(31_000);
  assert.deepEqual(states, ['acquiring', 'held', 'unstable', 'suspect', 'held']);
  assert.equal(resumed.length, 1);
});

test('it asks as late as the server says', async () => {
  await held();
  let closed = true;
  browser.answer = (...asked) =>
    closed && asked[0].endsWith('/renew') ? [503, {}, { 'retry-after': '7' }] : server.answer(...asked);
  await browser.pass(45_000);
  closed = false;
  const [first, ...others] = renewals().map(({ at }) => at);
  assert.ok(others.every((at, i) => at - (others[i - 1] ?? first) >= 7_000), String(others));
});

test('the 404 of a balancer ends nothing', async () => {
  const { seat } = await held();
  browser.answer = () => [404, '<h1>Not found</h1>'];
  await browser.pass(30_000);
  assert.equal(seat.state, 'unstable');
});

test('a request that hangs is given up after 8 s', async () => {
  const { seat, page } = await held();
  browser.answer = (path, body, { signal }) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined)));
  await browser.pass(20_000 + 8_500);
  assert.equal(seat.state, 'unstable');
  assert.ok(page);
});

test('terminated: it says the reason, and stays away', async () => {
  const { seat, states } = await held();
  const said = [];
  seat.addEventListener('lost', ({ detail }) => said.push([detail.code, detail.reason]));
  Object.assign([...server.leases.values()][0], { end: 'lease_terminated', reason: 'Shift is over' });
  await browser.pass(300_000);
  assert.deepEqual(said, [['lease_terminated', 'Shift is over']]);
  assert.deepEqual(states, ['acquiring', 'held', 'lost']);
  assert.equal(asks().length, 1);
});

test('an expired lease that cannot resume is lost, and asked for again once', async () => {
  const { seat, states } = await held();
  await browser.pass(90_000, { asleep: true });
  server.leases.set('other', { id: 'other', token: 'other', until: server.clock + 600_000 });
  await browser.pass(5_000);
  assert.equal(seat.state, 'denied');
  assert.deepEqual(states, ['acquiring', 'held', 'suspect', 'lost', 'acquiring', 'denied']);
});

test('a device that wakes beats within a second', async () => {
  const { seat, states } = await held();
  await browser.pass(5_000);
  await browser.pass(3_600_000, { asleep: true });
  await browser.pass(1_000);
  assert.equal(seat.state, 'held');
  assert.deepEqual(states, ['acquiring', 'held', 'suspect', 'held']);
});

test('release gives the seat back, once, and never fails', async () => {
  const { seat, states } = await held();
  await seat.release();
  await seat.release();
  assert.equal(server.live().length, 0);
  assert.deepEqual(states, ['acquiring', 'held', 'released']);
  await held();
  server.down = true;
  const { seat: other } = open();
  await other.release();
});

test('who gives up while it is asked gives back what comes', async () => {
  const { page, seat } = open();
  const { answer } = browser;
  browser.answer = async (...asked) => {
    await new Promise((done) => page.setTimeout(done, 1_000));
    return answer(...asked);
  };
  const refused = assert.rejects(seat.acquire(), { code: 'lease_released' });
  await browser.pass(500);
  const released = seat.release();
  await refused;
  await browser.pass(3_000);
  await released;
  assert.equal(server.leases.size, 1);
  assert.equal(server.live().length, 0);
});

test('a listener may release at any time', async () => {
  const { seat, states } = open();
  seat.addEventListener('acquiring', () => seat.release());
  await assert.rejects(seat.acquire(), { code: 'lease_released' });
  await browser.pass(10_000);
  assert.deepEqual(states, ['acquiring', 'released']);
  assert.equal(browser.requests.length, 0);
});

test('after giving up it can be asked again at once', async () => {
  const { seat } = open();
  seat.acquire();
  await seat.release();
  seat.acquire();
  await browser.pass(1_000);
  assert.equal(seat.state, 'held');
  assert.equal(server.live().length, 1);
});

test('a key that cannot be fetched now is fetched again', async () => {
  let fails = 3;
  const { seat } = open({ key: () => (fails-- > 0 ? Promise.reject(new Error('offline')) : 'key') });
  seat.acquire();
  await browser.pass(20_000);
  assert.equal(seat.state, 'held');
});

test('activities go with the next beat, at once', async () => {
  const { seat } = await held({ activities: ['Order 17'] });
  assert.deepEqual([...server.leases.values()][0].activities, ['Order 17']);
  seat.setActivities(['Order 18', 'Chat']);
  await browser.pass(1_000);
  assert.deepEqual([...server.leases.values()][0].activities, ['Order 18', 'Chat']);
  await browser.pass(60_000);
  assert.equal(renewals().filter(({ body }) => body.activities).length, 1);
});

test('a reload keeps the seat, and says that it leaves in between', async () => {
  const { page } = await held();
  page.close();
  assert.deepEqual(page.beacons, [['/v1/leases/leave', { token: 'token-1' }]]);
  const { seat } = await held({}, browser.page({ storage: page.storage }));
  assert.equal(seat.lease.id, 'lease-1');
  await browser.pass(2_500);
  assert.equal(renewals().length, 2, 'once at once, and once more for a leave that is late');
  assert.equal(asks().length, 1);
});

test('a reload while it is asked asks with the same key', async () => {
  const { page, seat } = open();
  server.down = true;
  seat.acquire();
  await browser.pass(100);
  page.close();
  server.down = false;
  await held({}, browser.page({ storage: page.storage }));
  assert.equal(new Set(asks().map(({ headers }) => headers['idempotency-key'])).size, 1);
});

test('without locks or storage every page has its own lease', async () => {
  server.capacity = 2;
  const bare = () => browser.page({ navigator: {}, BroadcastChannel: undefined, sessionStorage: undefined });
  await held({}, bare());
  await held({}, bare());
  assert.equal(server.live().length, 2);
});

test('a page of another holder in the same tab does not get the lease', async () => {
  server.capacity = 2;
  const { page } = await held();
  page.close();
  const { seat } = await held({ holder: 'agent-8' }, browser.page({ storage: page.storage }));
  assert.equal(seat.lease.id, 'lease-2');
});

test('the key can be fetched for each ask, and again when it is refused', async () => {
  const asked = [];
  browser.answer = (path, body, request) =>
    request.headers?.authorization === 'Bearer new' ? server.answer(path, body, request) : [401, { code: 'unauthorized' }];
  await held({ key: async ({ refused }) => (asked.push(refused), refused ? 'new' : 'old') });
  assert.deepEqual(asked, [false, true]);
});

test('tabs of one holder share one lease and one beat', async () => {
  const one = await held();
  const two = await held();
  const three = await held();
  assert.deepEqual([one, two, three].map(({ seat }) => seat.leader), [true, false, false]);
  assert.equal(server.leases.size, 1);
  browser.requests.length = 0;
  await browser.pass(60_000);
  assert.ok(renewals().length <= 4, String(renewals().length));
  two.page.close();
  assert.deepEqual(two.page.beacons, []);
  await browser.pass(60_000);
  assert.equal(one.seat.state, 'held');
});

test('when the leading tab closes, another leads at once', async () => {
  const one = await held();
  const two = await held();
  one.page.close();
  assert.equal(one.page.beacons.length, 1, 'the other undoes it; if it goes too, the seat is free');
  await browser.pass(3_000);
  assert.ok(two.seat.leader);
  assert.equal(renewals().length, 2);
  two.page.close();
  assert.equal(two.page.beacons.length, 1);
});

test('a frozen leader loses the lead, and the seat stays', async () => {
  const one = await held();
  const two = await held();
  one.page.frozen = true;
  await browser.pass(31_000);
  assert.ok(two.seat.leader);
  await browser.pass(60_000);
  one.page.frozen = false;
  await browser.pass(60_000);
  assert.ok(!one.seat.leader);
  assert.deepEqual(two.states, ['acquiring', 'held']);
  assert.equal(server.leases.size, 1);
});

test('logout in one tab is logout in all', async () => {
  const one = await held();
  const two = await held();
  await two.seat.release();
  await browser.pass(100);
  assert.deepEqual([one.seat.state, two.seat.state], ['released', 'released']);
  assert.equal(server.live().length, 0);
});

test('terminated is heard in all tabs', async () => {
  const one = await held();
  const two = await held();
  const reasons = [];
  for (const { seat } of [one, two]) seat.addEventListener('lost', ({ detail }) => reasons.push(detail.reason));
  Object.assign([...server.leases.values()][0], { end: 'lease_terminated', reason: 'Bye' });
  await browser.pass(25_000);
  assert.deepEqual(reasons, ['Bye', 'Bye']);
});

test('fifty tabs that come online together do not beat together', async () => {
  server.capacity = 50;
  for (let i = 0; i < 50; i++) {
    const page = browser.page();
    page.random = i / 50;
    await held({ holder: `agent-${i}` }, page);
    page.number = i;
    (server.pages ??= []).push(page);
  }
  await browser.pass(2_000);
  browser.requests.length = 0;
  for (const page of server.pages) page.dispatchEvent(new Event('online'));
  await browser.pass(1_600);
  const at = renewals().map((request) => request.at);
  assert.ok(at.length >= 50 && Math.max(...at) - Math.min(...at) >= 1_000);
});

test('fetchLater is armed in the tab that leads, and replaces the beacon', async () => {
  const armed = new Set();
  const fetchLater = (url, { body, signal }) => {
    armed.add(signal);
    signal.addEventListener('abort', () => armed.delete(signal));
  };
  const one = await held({}, browser.page({ fetchLater }));
  await held({}, browser.page({ fetchLater }));
  await browser.pass(60_000);
  assert.equal(armed.size, 1);
  one.page.close();
  assert.deepEqual(one.page.beacons, []);
  assert.equal(armed.size, 1);
  await browser.pass(100);
  assert.equal(armed.size, 2, 'that of the closed tab is the browser\'s now');
});

test('a page that comes back from the cache of the browser beats at once', async () => {
  const { page, seat } = await held();
  page.dispatchEvent(Object.assign(new Event('pagehide'), { persisted: true }));
  assert.equal(page.beacons.length, 1);
  await browser.pass(5_000);
  page.dispatchEvent(new Event('pageshow'));
  await browser.pass(100);
  assert.equal(renewals().length, 1);
  assert.equal(seat.state, 'held');
});

test('importing and constructing need no page', async () => {
  const seat = new SeatClient({ url: 'http://seats.test', pool: 'crm' });
  assert.equal(seat.state, 'idle');
  await seat.release();
  assert.throws(() => new SeatClient({ url: 'http://seats.test' }), TypeError);
});

test('a page of a captive portal is no seat, and ends none', async () => {
  browser.answer = () => [200, '<h1>Welcome to the hotel</h1>'];
  const { seat } = open();
  const refused = assert.rejects(seat.acquire(), { code: 'not_leasehold' });
  await browser.pass(50);
  await refused;
  browser.answer = (...asked) => server.answer(...asked);
  const { seat: other } = await held({ holder: 'other' });
  browser.answer = () => [302, '<h1>Log in</h1>'];
  await browser.pass(30_000);
  assert.equal(other.state, 'unstable');
});

test('work stops when an outage lasts longer than the pool allows, and the seat comes back by itself', async () => {
  server.grace = 30_000;
  const { seat, states } = await held();
  server.down = true;
  await browser.pass(89_900);
  assert.equal(seat.state, 'suspect');
  await browser.pass(200);
  assert.equal(seat.problem.code, 'outage_grace_over');
  const back = seat.acquire();
  server.down = false;
  await browser.pass(31_000);
  assert.equal((await back).id, 'lease-1');
  assert.deepEqual(states, ['acquiring', 'held', 'unstable', 'suspect', 'lost', 'held']);
});

test('whoever closes leaves the seat to the other tabs, and without any for a while', async () => {
  const one = await held();
  const two = await held();
  await one.seat.close();
  assert.equal(one.seat.state, 'released');
  assert.equal(one.seat.problem.code, 'closed');
  await browser.pass(50);
  assert.ok(two.seat.leader);
  await two.seat.close();
  await browser.pass(50);
  assert.equal(browser.requests.filter(({ path }) => path.endsWith('/leave')).length, 1);
  assert.equal(browser.requests.filter(({ path }) => path.endsWith('/release')).length, 0);
  // A part of the page that is shown again in the same tab goes on with the seat.
  const again = await held({}, browser.page({ storage: two.page.storage }));
  assert.equal(again.seat.lease.id, 'lease-1');
  assert.equal(asks().length, 1);
});

test('an acquire can be given up by a signal or after a time, and other tabs go on asking', async () => {
  server.down = true;
  const stop = new AbortController();
  const one = open();
  const two = open();
  const given = assert.rejects(one.seat.acquire({ signal: stop.signal }), /enough/);
  const late = assert.rejects(two.seat.acquire({ timeout: 20_000 }), { code: 'unreachable', message: /^seats.test did not answer/ });
  await browser.pass(2_000);
  stop.abort(new Error('enough'));
  await given;
  assert.equal(one.seat.state, 'released');
  await browser.pass(1_000);
  assert.ok(two.seat.leader);
  await browser.pass(20_000);
  await late;
  const { length } = browser.requests;
  server.down = false;
  await browser.pass(60_000);
  assert.equal(browser.requests.length, length);
  assert.equal(server.leases.size, 0);
});

test('a queued place goes on with its number after a reload, and then waits for long', async () => {
  browser.answer = () => [202, { ticket: 'place', position: 2, retry_after_ms: 2_000 }];
  const { page, seat } = open({ wait: true });
  seat.acquire();
  await browser.pass(1_000);
  page.close();
  const after = open({ wait: true }, browser.page({ storage: page.storage })).seat;
  after.acquire();
  await browser.pass(100);
  assert.equal(after.problem.position, 2);
  await browser.pass(4_000);
  assert.deepEqual(asks().map(({ body }) => body.wait_ms).slice(0, 3), [undefined, undefined, 20_000]);
});

test('requests with a token have no header that another origin would have to allow first', async () => {
  const { seat } = await held({ key: 'secret' });
  await browser.pass(60_000);
  await seat.release();
  const bare = browser.requests.filter(({ path }) => !path.endsWith('/leases'));
  assert.ok(bare.length > 2 && bare.every(({ headers }) => !Object.keys(headers).length));
  assert.equal(asks()[0].headers.authorization, 'Bearer secret');
});

const said = () => renewals().map(({ body }) => body.idle_ms);
const does = (page, type = 'keydown') => page.dispatchEvent(new Event(type));

test('a page reports how long nobody used it, and beats at once when its user comes back', async () => {
  const { page, seat } = await held();
  await browser.pass(61_000);
  assert.ok(said().length >= 3 && said().every((ms, i) => Math.abs(ms - renewals()[i].at) < 100), String(said()));
  const { length } = said();
  does(page, 'pointermove');
  await browser.pass(10);
  assert.equal(said().length, length + 1);
  assert.ok(said().at(-1) < 20);
  for (let move = 0; move < 100; move += 1) {
    does(page, 'pointermove');
    await browser.pass(100);
  }
  assert.equal(said().length, length + 1);
  assert.ok(seat.idle < 200);
});

test('a page that is shown is used, and one that is hidden is not', async () => {
  const { page } = await held();
  await browser.pass(30_000);
  page.document.hidden = true;
  page.document.dispatchEvent(new Event('visibilitychange'));
  await browser.pass(30_000);
  assert.ok(said().at(-1) > 35_000);
  page.document.hidden = false;
  page.document.dispatchEvent(new Event('visibilitychange'));
  await browser.pass(100);
  assert.ok(said().at(-1) < 100);
});

test('the tab that leads says the least idle time of all, and hears at once who comes back in another', async () => {
  const one = await held();
  const two = await held();
  await browser.pass(61_000);
  assert.ok(said().at(-1) > 40_000);
  const { length } = said();
  does(two.page);
  await browser.pass(50);
  assert.equal(said().length, length + 1);
  assert.ok(said().at(-1) < 100);
  await browser.pass(5_000);
  does(two.page);
  one.page.close();
  await browser.pass(20_000);
  assert.ok(two.seat.leader && said().at(-1) <= 20_000, String(said()));
});

test('a page asks whether somebody is still there, and any activity is the answer', async () => {
  server.idleAfter = 180_000;
  const tabs = [await held(), await held()];
  const endings = tabs.map(({ seat }) => {
    const all = [];
    seat.addEventListener('ending', ({ detail }) => all.push(detail));
    return all;
  });
  await browser.pass(100_000);
  for (const all of endings) {
    assert.ok(all.length && all[0].in_ms < 120_000 && all[0].in_ms > 90_000, JSON.stringify(all));
    assert.equal(all[0].reason, 'idle');
  }
  does(tabs[1].page);
  await browser.pass(100);
  assert.deepEqual(endings.map((all) => all.at(-1)), [null, null]);
  assert.equal(tabs[0].seat.state, 'held');
});

for (const [who, at] of [['the tab that leads', 0], ['another tab', 1]]) {
  test(`after an end as idle nothing is asked before somebody is there, in ${who}`, async () => {
    const tabs = [await held(), await held()];
    const reasons = [];
    tabs[0].seat.addEventListener('lost', ({ detail }) => reasons.push(detail.reason));
    Object.assign(server.leases.get('token-1'), { end: 'lease_evicted', reason: 'idle' });
    await browser.pass(600_000);
    assert.deepEqual(tabs.map(({ seat }) => seat.state), ['lost', 'lost']);
    assert.deepEqual(reasons, ['idle']);
    assert.equal(asks().length, 1);
    const { length } = browser.requests;
    does(tabs[at].page);
    await browser.pass(3_000);
    assert.deepEqual(tabs.map(({ seat }) => seat.state), ['held', 'held']);
    assert.deepEqual(tabs.map(({ seat }) => seat.lease.id), ['lease-2', 'lease-2']);
    assert.equal(browser.requests.length, length + 1);
  });
}

test('a tab whose leader is frozen after an end as idle takes the new seat itself', async () => {
  const one = await held();
  const two = await held();
  Object.assign(server.leases.get('token-1'), { end: 'lease_evicted', reason: 'idle' });
  await browser.pass(60_000);
  one.page.frozen = true;
  for (let second = 0; second < 4; second += 1) {
    does(two.page);
    await browser.pass(1_000);
  }
  assert.ok(two.seat.leader);
  assert.equal(two.seat.state, 'held');
});

test('a page that loads anew after an end as idle asks for a seat of its own', async () => {
  const { page } = await held();
  Object.assign(server.leases.get('token-1'), { end: 'lease_evicted', reason: 'idle' });
  await browser.pass(60_000);
  page.close();
  const after = await held({}, browser.page({ storage: page.storage }));
  assert.equal(after.seat.lease.id, 'lease-2');
  const keys = asks().map(({ headers }) => headers['idempotency-key']);
  assert.notEqual(keys[0], keys[1]);
});

test('an acquire, a release or a close after an end as idle is heeded', async () => {
  for (const how of ['acquire', 'release', 'close']) {
    const { seat, page } = await held();
    const token = [...server.leases.keys()].at(-1);
    Object.assign(server.leases.get(token), { end: 'lease_evicted', reason: 'max_hold' });
    await browser.pass(60_000);
    assert.equal(seat.state, 'lost');
    seat[how]();
    await browser.pass(1_000);
    assert.equal(seat.state, how === 'acquire' ? 'held' : 'released');
    if (how === 'acquire') seat.release();
    does(page);
    await browser.pass(5_000);
    assert.equal(server.live().length, 0);
  }
});

test('work in a frame that the page cannot see into counts as long as it has the focus', async () => {
  const { page } = await held();
  Object.assign(page.document, { activeElement: { tagName: 'IFRAME' }, hasFocus: () => true });
  does(page, 'blur');
  await browser.pass(120_000);
  assert.ok(said().every((ms) => ms <= 20_000) && said().at(-1) <= 15_100, String(said()));
  page.document.hasFocus = () => false;
  await browser.pass(120_000);
  assert.ok(said().at(-1) > 80_000, String(said()));
});

test('a product that knows better says it, by a function or a call, or says nothing', async () => {
  let idle = 5_000;
  const { page, seat } = await held({ idle: () => idle });
  assert.equal(asks()[0].body.idle_ms, 5_000);
  does(page);
  await browser.pass(20_000);
  idle = 70_000;
  await browser.pass(20_000);
  assert.deepEqual(said().slice(0, 2), [5_000, 70_000]);
  assert.equal(seat.idle, 70_000);
  seat.active(); // A call is in progress.
  await browser.pass(10);
  assert.ok(said().at(-1) < 20);
  idle = 80_000;
  await browser.pass(60_000);
  assert.ok(said().at(-1) > 20_000);
  const { length } = said();
  idle = 100;
  await browser.pass(1_500);
  assert.equal(said().length, length + 1);
  assert.equal(said().at(-1), 100);
  await seat.release();
  const quiet = await held({ idle: false });
  does(quiet.page);
  await browser.pass(60_000);
  assert.equal(asks().at(-1).body.idle_ms, undefined);
  assert.equal(said().at(-1), undefined);
  assert.equal(quiet.seat.idle, null);
});

test('a browser that can tell is asked on request, and counts what is done elsewhere', async () => {
  const detectors = [];
  class IdleDetector extends EventTarget {
    static requestPermission = async () => 'granted';
    userState = 'active';
    screenState = 'unlocked';
    async start() {
      detectors.push(this);
    }
  }
  const { seat } = await held({}, browser.page({ IdleDetector }));
  await browser.pass(61_000);
  assert.ok(said().at(-1) > 40_000);
  assert.equal(await seat.detectIdle(), true);
  assert.equal(seat.idle, 0);
  await browser.pass(60_000);
  assert.equal(said().at(-1), 0);
  const [detector] = detectors;
  detector.userState = 'idle';
  detector.dispatchEvent(new Event('change'));
  assert.equal(seat.idle, 60_000);
  await seat.release();
  IdleDetector.requestPermission = async () => 'denied';
  const other = await held({}, browser.page({ IdleDetector }));
  assert.equal(await other.seat.detectIdle(), false);
  assert.equal(await (await held({}, browser.page())).seat.detectIdle(), false);
});

test('an older server is told nothing of idle time', async () => {
  const { answer } = browser;
  browser.answer = (path, body, request) => {
    if ('idle_ms' in body) return [400, { status: 400, code: 'invalid_request' }];
    const [status, said] = answer(path, body, request);
    return [status, { ...said, lease: { ...said.lease, active_at: undefined } }];
  };
  await held();
  assert.equal(asks().length, 2);
  await browser.pass(60_000);
  assert.ok(said().length >= 3 && said().every((ms) => ms === undefined));
});
