//! Random operations on pools with random rules, against a plain model of `docs/pools.md`.
//!
//! Time stands still: the bucket's clock is put ahead of the real one and moves only with a step. So the model
//! knows every answer exactly, and who is served when.
//!
//! `PROPTEST_CASES=500 cargo test --test it rules::model` searches for longer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{index_is_true, jump};
use crate::harness::{Client, Launch, Redis, Reply};
use crate::history::by_hand::held;

const TTL: u64 = 10_000;
const SILENT: u64 = 6_000;
/// A client that has not asked for this time is passed over until it asks again.
const IN_TIME: u64 = 2_600;
const WINDOW: u64 = 8_000;
const HOLDERS: [&str; 5] = ["ann", "bob", "cid", "dan", ""];
const TENANTS: [&str; 4] = ["capped", "kept", "other", ""];

/// The rules of a case.
#[derive(Debug, Clone)]
struct Rules {
    capacity: i64,
    per_holder: bool,
    /// `capped` may have 1, `kept` has 1 reserved, all others may have 2.
    tenants: bool,
    /// One named seat; whether who finds it taken gets a concurrent one.
    named: Option<bool>,
    max_waiting: Option<usize>,
    /// Another capacity from 5 s to 15 s after the start.
    scheduled: Option<i64>,
}

#[derive(Debug, Clone)]
enum Step {
    Acquire {
        holder: usize,
        tenant: usize,
        wait: bool,
    },
    SeatRequest(usize),
    Renew(usize),
    Release(usize),
    Pass {
        ms: u64,
    },
}

fn rules() -> impl Strategy<Value = Rules> {
    (
        1..4_i64,
        any::<bool>(),
        any::<bool>(),
        prop::option::of(any::<bool>()),
        prop::option::weighted(0.8, 1..4_usize),
        prop::option::of(1..5_i64),
    )
        .prop_map(
            |(capacity, per_holder, tenants, named, max_waiting, scheduled)| Rules {
                capacity,
                per_holder,
                tenants,
                named,
                max_waiting,
                scheduled,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..HOLDERS.len(), 0..TENANTS.len(), prop::bool::weighted(0.6))
            .prop_map(|(holder, tenant, wait)| Step::Acquire { holder, tenant, wait }),
        5 => any::<usize>().prop_map(Step::SeatRequest),
        3 => any::<usize>().prop_map(Step::Renew),
        3 => any::<usize>().prop_map(Step::Release),
        3 => prop::sample::select(vec![1, 1_999, 3_000, 6_000]).prop_map(|ms| Step::Pass { ms }),
    ]
}

#[derive(Debug, Clone)]
struct Lease {
    id: String,
    token: String,
    /// The ticket that it was got with.
    ticket: Option<String>,
    holder: &'static str,
    tenant: &'static str,
    named: bool,
    ends: u64,
    released: bool,
    /// Its end by time was written down.
    recorded: bool,
}

#[derive(Debug, Clone)]
struct Waiter {
    ticket: String,
    holder: &'static str,
    tenant: &'static str,
    until: u64,
    /// It was passed over since it asked.
    passed: bool,
    /// A seat is kept for it until then.
    called: Option<u64>,
}

impl Waiter {
    fn asks_by(&self) -> u64 {
        self.until - SILENT + IN_TIME
    }
}

struct World<'a> {
    nodes: &'a [Client],
    redis: &'a Redis,
    pool: String,
    rules: Rules,
    began: u64,
    now: u64,
    leases: Vec<Lease>,
    queue: Vec<Waiter>,
    /// Tickets that were given, with those that lost their place.
    tickets: Vec<String>,
    named: BTreeSet<&'static str>,
    calls: usize,
}

/// What somebody who asks gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Named,
    Concurrent,
    Denied(&'static str),
}

/// The seats that are in use, and those that are promised to who came before.
#[derive(Clone, Default)]
struct Taken(Vec<(&'static str, &'static str)>);

impl Taken {
    fn has_seat(&self, rules: &Rules, holder: &str) -> bool {
        rules.per_holder && !holder.is_empty() && self.0.iter().any(|(other, _)| *other == holder)
    }

    /// Seats of one tenant, or of all.
    fn seats(&self, rules: &Rules, tenant: Option<&str>) -> i64 {
        let of_tenant = |of: &&(&str, &str)| tenant.is_none_or(|tenant| of.1 == tenant);
        let mut sharers = BTreeSet::new();
        let mut seats = 0;
        for (holder, _) in self.0.iter().filter(of_tenant) {
            if !rules.per_holder || holder.is_empty() || sharers.insert(*holder) {
                seats += 1;
            }
        }
        seats
    }

    fn is_at_max(&self, rules: &Rules, tenant: &str) -> bool {
        let max = match tenant {
            _ if !rules.tenants => return false,
            "" => return false,
            "capped" => 1,
            _ => 2,
        };
        self.seats(rules, Some(tenant)) >= max
    }

    /// `true` if a tenant can have a seat besides those that are reserved for another.
    fn has_room(&self, rules: &Rules, capacity: i64, tenant: &str) -> bool {
        let kept = if rules.tenants && tenant != "kept" {
            (1 - self.seats(rules, Some("kept"))).max(0)
        } else {
            0
        };
        self.seats(rules, None) + kept < capacity
    }
}

impl World<'_> {
    fn capacity(&self) -> i64 {
        let since = self.now - self.began;
        match self.rules.scheduled {
            Some(capacity) if (5_000..15_000).contains(&since) => capacity,
            _ => self.rules.capacity,
        }
    }

    fn live(&self) -> impl Iterator<Item = &Lease> {
        let now = self.now;
        self.leases
            .iter()
            .filter(move |lease| !lease.released && lease.ends > now)
    }

    fn taken(&self) -> Taken {
        let counted = self.live().filter(|lease| !lease.named);
        Taken(counted.map(|lease| (lease.holder, lease.tenant)).collect())
    }

    /// Seats in use, and those that are kept for tickets that are called; a client with two tickets has two of those.
    fn taken_or_kept(&self) -> Taken {
        let mut taken = self.taken();
        let called = self.queue.iter().filter(|waiter| waiter.called.is_some());
        taken.0.extend(called.map(|waiter| ("", waiter.tenant)));
        taken
    }

    /// Writes down ends by time. Returns whether there were any.
    fn end_due(&mut self) -> bool {
        let now = self.now;
        let due = |lease: &&mut Lease| !lease.released && !lease.recorded && lease.ends <= now;
        let ended = self.leases.iter_mut().filter(due);
        ended.map(|lease| lease.recorded = true).count() > 0
    }

    /// Calls those who are next.
    fn call_next(&mut self) {
        let (now, capacity) = (self.now, self.capacity());
        for waiter in &mut self.queue {
            if waiter.called.is_some_and(|until| until <= now) {
                (waiter.called, waiter.passed) = (None, true);
            }
        }
        loop {
            let taken = self.taken_or_kept();
            let anybody = taken.has_room(&self.rules, capacity, "");
            let kept = self.rules.tenants && taken.has_room(&self.rules, capacity, "kept");
            let next = self.queue.iter().position(|waiter| {
                !waiter.passed
                    && waiter.called.is_none()
                    && (anybody || (kept && waiter.tenant == "kept"))
                    && !taken.is_at_max(&self.rules, waiter.tenant)
            });
            let Some(next) = next else {
                return;
            };
            let shares = self.taken().has_seat(&self.rules, self.queue[next].holder);
            let waiter = &mut self.queue[next];
            if shares || waiter.asks_by() <= now {
                waiter.passed = true;
            } else {
                waiter.called = Some(waiter.asks_by());
            }
        }
    }

    /// What the rules say to somebody who asks: with a place, or as a newcomer.
    fn verdict(
        &mut self,
        holder: &'static str,
        tenant: &'static str,
        place: Option<usize>,
    ) -> Verdict {
        if let Some(spill) = self.rules.named {
            if !holder.is_empty() && (self.named.contains(holder) || self.named.is_empty()) {
                return Verdict::Named;
            }
            if !spill {
                return Verdict::Denied("named_seats_exhausted");
            }
        }
        let taken = self.taken();
        let shares = taken.has_seat(&self.rules, holder);
        let here = shares && taken.0.contains(&(holder, tenant));
        if !here && taken.is_at_max(&self.rules, tenant) {
            return Verdict::Denied("tenant_full");
        }
        if shares {
            return Verdict::Concurrent;
        }
        self.call_next();
        let called = place.map(|place| self.queue[place].called.take());
        let (rules, capacity, taken) = (&self.rules, self.capacity(), self.taken_or_kept());
        let may = match called {
            Some(called) => called.is_some(),
            None => !taken.is_at_max(rules, tenant),
        };
        if may && taken.has_room(rules, capacity, tenant) {
            Verdict::Concurrent
        } else if rules.tenants && taken.seats(rules, None) < capacity {
            Verdict::Denied("reserved")
        } else {
            Verdict::Denied("pool_full")
        }
    }

    fn node(&mut self) -> Client {
        self.calls += 1;
        self.nodes[self.calls % self.nodes.len()].clone()
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Acquire {
                holder,
                tenant,
                wait,
            } => {
                self.end_due();
                self.drop_the_silent();
                self.acquire(HOLDERS[holder], TENANTS[tenant], wait).await;
            }
            Step::SeatRequest(number) if !self.tickets.is_empty() => {
                self.end_due();
                self.drop_the_silent();
                let ticket = self.tickets[number % self.tickets.len()].clone();
                self.ask(&ticket).await;
            }
            Step::Renew(number) if !self.leases.is_empty() => {
                self.renew(number % self.leases.len()).await;
            }
            Step::Release(number) if !self.leases.is_empty() => {
                let number = number % self.leases.len();
                let node = self.node();
                node.release(&self.leases[number].token, 204).await;
                let was_live = self.live().any(|lease| lease.id == self.leases[number].id);
                let before = self.taken().seats(&self.rules, None);
                self.leases[number].released = true;
                let freed = was_live && self.taken().seats(&self.rules, None) < before;
                if self.end_due() || freed {
                    self.call_next();
                }
            }
            Step::Pass { ms } => {
                self.now += ms;
                jump(self.redis, &self.pool, self.now).await;
            }
            _ => {}
        }
    }

    fn drop_the_silent(&mut self) {
        self.queue.retain(|waiter| waiter.until > self.now);
    }

    async fn acquire(&mut self, holder: &'static str, tenant: &'static str, wait: bool) {
        let verdict = self.verdict(holder, tenant, None);
        let mut body = json!({ "wait": wait });
        for (field, value) in [("holder", holder), ("tenant", tenant)] {
            if !value.is_empty() {
                body[field] = json!(value);
            }
        }
        let node = self.node();
        let reply = node.acquire(&self.pool, body, [201, 202, 409]).await;
        let queues = wait && matches!(verdict, Verdict::Denied("pool_full" | "reserved"));
        match self.rules.max_waiting.filter(|_| queues) {
            Some(max) if self.queue.len() >= max => {
                assert_eq!(reply["code"], "queue_full", "{}", reply.text);
            }
            Some(_) => {
                let ticket = queued(&reply, self.queue.len());
                self.tickets.push(ticket.clone());
                self.queue.push(Waiter {
                    ticket,
                    holder,
                    tenant,
                    until: self.now + SILENT,
                    passed: false,
                    called: None,
                });
            }
            None => self.settle(verdict, holder, tenant, None, &reply),
        }
    }

    async fn ask(&mut self, ticket: &str) {
        let node = self.node();
        let body = json!({ "ticket": ticket });
        let reply = node.acquire(&self.pool, body, [201, 202, 409, 410]).await;
        let with_it = |lease: &&Lease| lease.ticket.as_deref() == Some(ticket);
        if let Some(lease) = self.live().find(with_it) {
            assert_eq!((reply.status, reply.id()), (201, lease.id.clone()));
            return;
        }
        let Some(place) = self.queue.iter().position(|waiter| waiter.ticket == ticket) else {
            assert_eq!(reply["code"], "ticket_expired", "{}", reply.text);
            return;
        };
        // It is there: late or not, it is among those who may be called.
        let now = self.now;
        let waiter = &mut self.queue[place];
        (waiter.passed, waiter.until) = (false, waiter.until.max(now + SILENT));
        waiter.called = waiter.called.map(|until| until.max(now + IN_TIME));
        let waiter = waiter.clone();
        let verdict = self.verdict(waiter.holder, waiter.tenant, Some(place));
        if matches!(verdict, Verdict::Denied("pool_full" | "reserved")) {
            assert_eq!(queued(&reply, place), ticket, "{}", reply.text);
            self.queue[place].until = self.now + SILENT;
            return;
        }
        let was_called = self.queue.remove(place).called.is_some();
        let ticket = Some(ticket.to_owned());
        self.settle(verdict, waiter.holder, waiter.tenant, ticket, &reply);
        // A seat that was kept for it is the next one's.
        if was_called || matches!(verdict, Verdict::Denied(_)) {
            self.call_next();
        }
    }

    fn settle(
        &mut self,
        verdict: Verdict,
        holder: &'static str,
        tenant: &'static str,
        ticket: Option<String>,
        reply: &Reply,
    ) {
        let seat = match verdict {
            Verdict::Named => "named",
            Verdict::Concurrent => "concurrent",
            Verdict::Denied(code) => {
                if code == "reserved" {
                    assert_eq!(reply["limit"], "reserved", "{}", reply.text);
                } else {
                    assert_eq!(reply["code"], code, "{verdict:?}: {}", reply.text);
                }
                return;
            }
        };
        assert_eq!(reply.status, 201, "{verdict:?}: {}", reply.text);
        assert_eq!(reply["lease"]["seat"], seat, "{}", reply.text);
        let word = |field: &str| {
            reply["lease"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(
            (word("holder").as_str(), word("tenant").as_str()),
            (holder, tenant)
        );
        let named = verdict == Verdict::Named;
        if named {
            self.named.insert(holder);
        }
        self.leases.push(Lease {
            id: reply.id(),
            token: reply.token(),
            ticket,
            holder,
            tenant,
            named,
            ends: self.now + TTL,
            released: false,
            recorded: false,
        });
        assert_eq!(
            reply["pool"]["in_use"],
            self.taken().seats(&self.rules, None),
            "{}",
            reply.text
        );
    }

    async fn renew(&mut self, number: usize) {
        let lease = self.leases[number].clone();
        let node = self.node();
        let reply = node.renew(&lease.token, [200, 410]).await;
        if lease.released {
            assert_eq!(reply["code"], "lease_released");
            return;
        }
        if lease.ends > self.now {
            assert_eq!(reply["resumed"], false, "{}", reply.text);
        } else {
            // A late beat is asked as a newcomer is.
            let in_time = self.now - lease.ends <= WINDOW;
            self.end_due();
            let verdict = in_time.then(|| {
                self.drop_the_silent();
                self.verdict(lease.holder, lease.tenant, None)
            });
            match verdict {
                Some(Verdict::Named | Verdict::Concurrent) => {
                    assert_eq!(reply["resumed"], true, "{verdict:?}: {}", reply.text);
                    self.leases[number].named = verdict == Some(Verdict::Named);
                    if self.leases[number].named {
                        self.named.insert(lease.holder);
                    }
                }
                _ => {
                    assert_eq!(
                        reply["code"], "lease_expired",
                        "{verdict:?}: {}",
                        reply.text
                    );
                    return;
                }
            }
        }
        self.leases[number].ends = self.now + TTL;
        self.leases[number].recorded = false;
    }

    async fn check(&mut self) {
        // Whoever looks at the pool lets a sweep write down what has ended.
        if self.end_due() {
            self.drop_the_silent();
            self.call_next();
        }
        let node = self.node();
        let reply = node.availability(&self.pool, 200).await;
        let in_use = self.taken().seats(&self.rules, None);
        assert_eq!(reply["in_use"], in_use, "{}", reply.text);
        assert_eq!(reply["capacity"], self.capacity(), "{}", reply.text);
        let waiting = self.queue.iter().filter(|waiter| waiter.until > self.now);
        assert_eq!(reply["waiting"], waiting.count(), "{}", reply.text);
        if self.rules.tenants {
            let capped = self.taken().seats(&self.rules, Some("capped"));
            assert_eq!(
                reply["tenants"]["capped"]["in_use"], capped,
                "{}",
                reply.text
            );
        }
        if self.rules.named.is_some() {
            assert_eq!(reply["named"]["taken"], self.named.len(), "{}", reply.text);
        }
        let (balance, members) = self.redis.balance(&self.pool).await;
        assert_eq!(balance, members, "starts less ends, and leases");
    }
}

fn queued(reply: &Reply, place: usize) -> String {
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(reply["position"], place + 1, "{}", reply.text);
    reply["ticket"].as_str().expect("a ticket").to_owned()
}

fn policy(rules: &Rules, began: u64) -> Value {
    let at = |offset: u64| {
        let ms = (began + offset).cast_signed();
        chrono::DateTime::from_timestamp_millis(ms)
            .expect("a time")
            .to_rfc3339()
    };
    let mut policy = json!({"capacity": rules.capacity, "ttl_ms": TTL, "linger_ms": 1_000, "resume_window_ms": WINDOW});
    if rules.per_holder {
        policy["seat_per"] = json!("holder");
    }
    if rules.tenants {
        policy["tenants"] = json!({"capped": {"max": 1}, "kept": {"reserved": 1}});
        policy["tenant_max"] = json!(2);
    }
    if let Some(spill) = rules.named {
        policy["named"] = json!({"seats": 1, "spill_to_concurrent": spill});
    }
    if let Some(max_waiting) = rules.max_waiting {
        policy["queue"] = json!({ "max_waiting": max_waiting });
    }
    if let Some(capacity) = rules.scheduled {
        policy["schedule"] =
            json!([{"from": at(5_000), "until": at(15_000), "capacity": capacity}]);
    }
    policy
}

#[test]
fn random_operations_under_random_rules_do_what_the_plain_model_does() {
    static CASES: AtomicUsize = AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads");
    let _entered = runtime.enter();
    let redis = runtime.block_on(Redis::start());
    // Without sweepers, so that nothing happens but what a step does.
    let (_proxy, url) = held(&redis);
    let launch = || Launch::on(&url).set("sweep_every_ms", "0").start();
    let launched = runtime.block_on(async { [launch().await, launch().await] });
    let nodes = [(*launched[0]).clone(), (*launched[1]).clone()];

    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(24);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let strategy = (rules(), prop::collection::vec(step(), 1..40));
    let result = TestRunner::new(config).run(&strategy, |(rules, steps)| {
        runtime.block_on(async {
            let pool = format!("case-{}", CASES.fetch_add(1, Ordering::Relaxed));
            // Two pools of a bucket share a clock, so each case begins an hour after the one before.
            let hours = u64::try_from(CASES.load(Ordering::Relaxed)).expect("few");
            let real = u64::try_from(chrono::Utc::now().timestamp_millis()).expect("after 1970");
            let began = real + hours * 3_600_000;
            nodes[0].put_pool(&pool, json!({"capacity": 1}), 201).await;
            jump(&redis, &pool, began).await;
            nodes[0].put_pool(&pool, policy(&rules, began), 200).await;
            let mut world = World {
                nodes: &nodes,
                redis: &redis,
                pool,
                began,
                now: began,
                leases: Vec::new(),
                queue: Vec::new(),
                tickets: Vec::new(),
                named: BTreeSet::new(),
                calls: 0,
                rules,
            };
            for step in &steps {
                world.take(step).await;
                world.check().await;
            }
            let indexed = world.rules.per_holder
                || world.rules.tenants
                || world.rules.named.is_some()
                || world.rules.max_waiting.is_some();
            if indexed {
                index_is_true(&redis, &world.pool, world.rules.per_holder).await;
            }
        });
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
