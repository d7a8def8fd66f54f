//! After a day and more of random work on real nodes every slot is right, by two computations: by a count of the raw
//! events, and by what the clients heard and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use leasehold::history::rollup;
use leasehold::history::slot::Step;
use leasehold::names::PoolName;
use leasehold::store::Store;
use serde_json::{Value, json};

use super::by_hand::{self, DAY, HOUR, Hands, MINUTE, every_slot_is_right, ms};
use crate::harness::{Installation, Reply};

/// No jump is longer: nodes notice ends within two seconds, and here by the next thing that somebody does.
const LONGEST_JUMP: i64 = 50_000;

/// Random, and the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).cast_signed() % bound
    }

    fn once_in(&mut self, times: i64) -> bool {
        self.below(times) == 0
    }

    fn pick<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        let count = i64::try_from(from.len()).expect("few");
        (count > 0).then(|| from.swap_remove(usize::try_from(self.below(count)).expect("small")))
    }
}

/// A lease as its client knows it.
struct Mine {
    token: String,
    id: String,
    holder: String,
    since: i64,
    expires: i64,
}

/// What clients heard, and nothing else.
#[derive(Default)]
struct ClientLog {
    /// Holders, and the start and end of their seats.
    lives: Vec<(String, i64, i64)>,
    grants: Vec<i64>,
    resumes: Vec<i64>,
    ends: Vec<(i64, &'static str)>,
    /// Each denied acquire.
    denials: Vec<(i64, String)>,
}

impl ClientLog {
    fn end(&mut self, lease: &Mine, at: i64, reason: &'static str) {
        self.lives.push((lease.holder.clone(), lease.since, at));
        self.ends.push((at, reason));
    }
}

/// A day in a pool, and what its clients heard of it.
struct Day<'a> {
    cluster: &'a Installation,
    pool: &'a str,
    linger: i64,
    /// Whether leases of a holder share its seat, and the pool has other rules.
    shared: bool,
    /// When the schedule changes the capacity.
    changes: Vec<i64>,
    /// When somebody last noticed what was due.
    looked: i64,
    hands: Hands,
    dice: Dice,
    mine: Vec<Mine>,
    /// Whose heartbeats have stopped.
    silent: Vec<Mine>,
    told: ClientLog,
}

/// What somebody does.
enum Deed {
    Acquire { holder: String, tenant: String },
    Renew(Mine),
    Release(Mine),
    Leave(Mine),
    Terminate(Mine),
    Configure(u64),
}

impl Day<'_> {
    fn alive(&self) -> impl Iterator<Item = &Mine> {
        let now = self.hands.now;
        self.mine
            .iter()
            .chain(&self.silent)
            .filter(move |lease| now < lease.expires)
    }

    /// How long nothing happens by itself that nobody would notice in time.
    fn longest_jump(&self) -> i64 {
        let now = self.hands.now;
        let first = self.alive().map(|lease| lease.expires - now).min();
        LONGEST_JUMP + first.unwrap_or(0).min(self.next_change())
    }

    /// How long the schedule changes nothing.
    fn next_change(&self) -> i64 {
        let now = self.hands.now;
        let next = self
            .changes
            .iter()
            .map(|at| at - now)
            .filter(|ms| *ms > 0)
            .min();
        next.unwrap_or(DAY)
    }

    async fn time_passes(&mut self) {
        let most = self.longest_jump();
        let now = self.hands.now;
        let jump = match self.dice.below(12) {
            0 => 0,
            1 => self.dice.below(5),
            2..=7 => self.dice.below(8_000),
            8 | 9 => self.dice.below(LONGEST_JUMP),
            // To the first instant of a minute, or of an hour.
            10 if self.dice.once_in(2) && HOUR - now % HOUR <= most => HOUR - now % HOUR,
            10 => (MINUTE - now % MINUTE).min(most),
            // To the instant at which somebody's time is over.
            11 if self.dice.once_in(2) && LONGEST_JUMP < most => most - LONGEST_JUMP,
            _ => self.dice.below(most),
        };
        self.hands.pass(jump).await;
    }

    fn deeds(&mut self) -> Vec<Deed> {
        let mut deeds = Vec::new();
        let now = self.hands.now;
        let mut instants = self
            .mine
            .iter()
            .chain(&self.silent)
            .map(|lease| lease.expires)
            .chain(self.changes.iter().copied());
        let due = instants.any(|at| self.looked < at && at <= now);
        if due || self.dice.once_in(3) {
            self.looked = now;
            let holder = format!("agent-{}", self.dice.below(14));
            let tenant =
                ["", "acme", "other"][usize::try_from(self.dice.below(3)).unwrap()].to_owned();
            deeds.push(Deed::Acquire { holder, tenant });
        }
        for _ in 0..self.dice.below(4) {
            let Some(lease) = self.dice.pick(&mut self.mine) else {
                break;
            };
            match self.dice.below(14) {
                0..=7 => deeds.push(Deed::Renew(lease)),
                8 | 9 => deeds.push(Deed::Release(lease)),
                10 => deeds.push(Deed::Leave(lease)),
                11 => deeds.push(Deed::Terminate(lease)),
                _ => self.silent.push(lease),
            }
        }
        if self.dice.once_in(10)
            && let Some(lease) = self.dice.pick(&mut self.silent)
        {
            // It comes back, perhaps too late.
            deeds.push(Deed::Renew(lease));
        }
        if self.dice.once_in(25) {
            // A pool that keeps a seat for somebody cannot have none.
            let seats = self.dice.below(10).max(i64::from(self.shared));
            deeds.push(Deed::Configure(seats.unsigned_abs()));
        }
        deeds
    }

    /// All of it at the same instant, each by another node.
    async fn happens(&mut self, deeds: Vec<Deed>) {
        let pool = self.pool;
        let nodes = &self.cluster.nodes;
        let first = usize::try_from(self.dice.below(2)).unwrap();
        let calls = deeds.into_iter().enumerate().map(|(at, deed)| async move {
            let node = &nodes[(first + at) % nodes.len()];
            let reply: Option<Reply> = match &deed {
                Deed::Acquire { holder, tenant } => {
                    let mut body = json!({"holder": holder});
                    if !tenant.is_empty() {
                        body["tenant"] = json!(tenant);
                    }
                    Some(node.acquire(pool, body, [201, 409]).await)
                }
                Deed::Renew(lease) => Some(node.renew(&lease.token, [200, 401, 410]).await),
                Deed::Release(lease) => Some(node.release(&lease.token, [204, 401]).await),
                Deed::Leave(lease) => Some(node.leave(&lease.token, [204, 401]).await),
                Deed::Terminate(lease) => {
                    Some(node.terminate(pool, json!({"ids": [lease.id]}), 200).await)
                }
                Deed::Configure(seats) => {
                    Some(node.patch_pool(pool, json!({"capacity": seats}), 200).await)
                }
            };
            (deed, reply)
        });
        for (deed, reply) in join_all(calls).await {
            let reply = reply.expect("an answer");
            self.note(deed, &reply);
        }
    }

    fn note(&mut self, deed: Deed, reply: &Reply) {
        let now = self.hands.now;
        // A token of more than a day ago; a lease that goes on gets a new one sooner.
        if let (Deed::Release(lease) | Deed::Leave(lease), 401) = (&deed, reply.status) {
            assert!(lease.expires <= now);
        }
        match deed {
            Deed::Acquire { holder, .. } if reply.status == 201 => {
                assert_eq!(reply.instant("/lease/started_at"), now);
                self.told.grants.push(now);
                self.mine.push(Mine {
                    token: reply.token(),
                    id: reply.id(),
                    holder,
                    since: now,
                    expires: reply.instant("/lease/expires_at"),
                });
            }
            Deed::Acquire { .. } => {
                let code = reply["code"].as_str().expect("a code").to_owned();
                self.told.denials.push((now, code));
            }
            Deed::Renew(mut lease) if reply.status == 200 => {
                if reply["resumed"] == Value::Bool(true) {
                    self.told.end(&lease, lease.expires, "expired");
                    self.told.resumes.push(now);
                    lease.since = now;
                }
                lease.expires = reply.instant("/lease/expires_at");
                if let Some(token) = reply["token"].as_str() {
                    token.clone_into(&mut lease.token);
                }
                self.mine.push(lease);
            }
            // Too late, or with a token of more than a day ago.
            Deed::Renew(lease) => self.told.end(&lease, lease.expires, "expired"),
            Deed::Leave(mut lease) => {
                if now < lease.expires {
                    lease.expires = lease.expires.min(now + self.linger);
                }
                self.silent.push(lease);
            }
            Deed::Release(lease) | Deed::Terminate(lease) if lease.expires <= now => {
                self.told.end(&lease, lease.expires, "expired");
            }
            Deed::Release(lease) => self.told.end(&lease, now, "released"),
            Deed::Terminate(lease) => self.told.end(&lease, now, "terminated"),
            Deed::Configure(_) => {}
        }
    }

    /// Everybody is sent home, and for hours nobody comes.
    async fn closing_time(&mut self) {
        let all = json!({"all": true, "reason": "Closing time"});
        self.cluster.nodes[0].terminate(self.pool, all, 200).await;
        let now = self.hands.now;
        for lease in self.mine.drain(..).chain(self.silent.drain(..)) {
            if lease.expires <= now {
                self.told.end(&lease, lease.expires, "expired");
            } else {
                self.told.end(&lease, now, "terminated");
            }
        }
        // Whose time was over before is written down too.
        self.somebody_looks_in().await;
        let mut left = 20 * MINUTE + self.dice.below(3 * HOUR);
        while left > 0 {
            let jump = left.min(self.next_change() + LONGEST_JUMP);
            self.hands.pass(jump).await;
            self.somebody_looks_in().await;
            left -= jump;
        }
    }

    /// Comes and goes, so that what was due is written down.
    async fn somebody_looks_in(&mut self) {
        self.looked = self.hands.now;
        let (holder, tenant) = ("late".to_owned(), String::new());
        self.happens(vec![Deed::Acquire { holder, tenant }]).await;
        let came = self.mine.iter().position(|lease| lease.holder == "late");
        if let Some(lease) = came.map(|at| self.mine.swap_remove(at)) {
            self.happens(vec![Deed::Release(lease)]).await;
        }
    }

    /// When how many seats were in use, as the clients know it.
    fn lives(&self) -> Vec<(i64, i64)> {
        let now = self.hands.now;
        let live = self
            .alive()
            .map(|lease| (lease.holder.clone(), lease.since, now));
        let mut lives: Vec<_> = self.told.lives.iter().cloned().chain(live).collect();
        lives.sort();
        let mut seats: Vec<(i64, i64)> = Vec::new();
        let mut last: Option<String> = None;
        for (holder, from, until) in lives {
            match seats.last_mut() {
                // Leases of one holder share its seat.
                Some(seat) if self.shared && last.as_ref() == Some(&holder) && from <= seat.1 => {
                    seat.1 = seat.1.max(until);
                }
                _ => seats.push((from, until)),
            }
            last = Some(holder);
        }
        seats
    }

    /// Compares every slot with what the clients heard.
    async fn clients_agree(&mut self, store: &Store, name: &PoolName) {
        let now = self.hands.now;
        let late = self.mine.extract_if(.., |lease| lease.expires <= now);
        let late: Vec<Mine> = late
            .chain(self.silent.extract_if(.., |lease| lease.expires <= now))
            .collect();
        for lease in late {
            self.told.end(&lease, lease.expires, "expired");
        }
        let seats = self.lives();
        for (step, length) in [
            (Step::Minute, MINUTE),
            (Step::Quarter, 15 * MINUTE),
            (Step::Hour, HOUR),
            (Step::Day, DAY),
        ] {
            let found = rollup::slots(store, name, step, 0, now)
                .await
                .unwrap()
                .expect("a history");
            for (number, slot) in (found.first..).zip(&found.slots) {
                let from = number * length;
                let until = (from + length).min(now);
                let within = |at: i64| from <= at && at < until;
                let seat_ms: i64 = seats
                    .iter()
                    .map(|(begin, end)| (*end.min(&until) - *begin.max(&from)).max(0))
                    .sum();
                assert_eq!(slot.seat_ms, ms(seat_ms), "{step:?} from {from}");
                let grants = self.told.grants.iter().filter(|at| within(**at)).count() as u64;
                assert_eq!(slot.grants, grants, "{step:?} from {from}");
                let resumes = self.told.resumes.iter().filter(|at| within(**at)).count() as u64;
                assert_eq!(slot.resumes, resumes, "{step:?} from {from}");
                let mut ends: BTreeMap<String, u64> = BTreeMap::new();
                for (_, reason) in self.told.ends.iter().filter(|(at, _)| within(*at)) {
                    *ends.entry((*reason).to_owned()).or_default() += 1;
                }
                assert_eq!(slot.ends, ends, "{step:?} from {from}");
            }
        }
    }
}

async fn a_day(policy: Value, seed: u64, batches: usize) {
    let (cluster, _proxy, url) = by_hand::held_cluster(&[]).await;
    let store = super::store_at(&url, Duration::ZERO).await;
    let pool: PoolName = "crm".parse().expect("a name");
    // Tomorrow at half past five, so that a midnight lies in it.
    let today = store.clock().await.expect("a clock").0.div_euclid(DAY);
    let hands = Hands::take(
        &cluster.redis,
        "crm",
        (today + 1) * DAY + 17 * HOUR + 30 * MINUTE,
    )
    .await;
    let shared = policy["seat_per"] == "holder";
    let instants = policy["schedule"].as_array().into_iter().flatten();
    let instants = instants.flat_map(|entry| [entry["from"].as_str(), entry["until"].as_str()]);
    let changes = instants
        .flatten()
        .map(|at| {
            at.parse::<chrono::DateTime<chrono::Utc>>()
                .expect("RFC 3339")
        })
        .map(|at| at.timestamp_millis())
        .collect();
    let linger = policy["linger_ms"].as_i64().expect("a linger");
    cluster.nodes[0].put_pool("crm", policy, 201).await;
    let mut day = Day {
        cluster: &cluster,
        pool: "crm",
        linger,
        shared,
        changes,
        looked: hands.now,
        hands,
        dice: Dice(seed),
        mine: Vec::new(),
        silent: Vec::new(),
        told: ClientLog::default(),
    };
    let end = day.hands.now + 40 * HOUR;
    for batch in 1..=batches {
        day.time_passes().await;
        let deeds = day.deeds();
        day.happens(deeds).await;
        if day.dice.once_in(20) {
            // As two nodes at the same time do it; how often must not matter.
            let most = usize::try_from(1 + day.dice.below(400)).expect("small");
            let (a, b) = tokio::join!(
                rollup::roll_up(&store, &pool, most),
                rollup::roll_up(&store, &pool, 50_000)
            );
            a.and(b).expect("Redis answers");
        }
        if batch % (batches / 6) == 0 {
            day.closing_time().await;
        }
        if end < day.hands.now {
            break;
        }
    }
    day.somebody_looks_in().await;
    // What happens at the present instant belongs to the time after it.
    day.hands.pass(1).await;
    assert!(
        day.told.grants.len() > batches / 10,
        "{} grants",
        day.told.grants.len()
    );
    assert!(
        day.told.denials.len() > batches / 20,
        "{} denials",
        day.told.denials.len()
    );

    let denials = std::mem::take(&mut day.told.denials);
    every_slot_is_right(&store, &cluster.nodes[1], &pool, &mut day.hands, &denials).await;
    day.clients_agree(&store, &pool).await;
}

#[tokio::test]
async fn every_slot_of_a_day_is_what_clients_were_told_and_what_counting_by_hand_gives() {
    let policy = json!({"capacity": 6, "ttl_ms": 600_000, "linger_ms": 10_000});
    a_day(policy, 7, 2_000).await;
}

#[tokio::test]
async fn every_slot_is_right_where_holders_share_seats_and_the_schedule_changes_the_capacity() {
    let tomorrow = chrono::Utc::now().date_naive() + chrono::Days::new(1);
    let at = |days: u64, time: &str| format!("{}T{time}Z", tomorrow + chrono::Days::new(days));
    let policy = json!({
        "capacity": 6, "ttl_ms": 600_000, "linger_ms": 10_000, "seat_per": "holder",
        "tenants": {"acme": {"max": 3, "reserved": 1}}, "tenant_max": 4,
        "schedule": [
            {"name": "evening", "from": at(0, "19:00:00.001"), "until": at(0, "23:59:59.999"), "capacity": 9},
            {"name": "night", "from": at(1, "00:00:00"), "until": at(1, "06:00:00"), "capacity": 2},
        ],
    });
    a_day(policy, 11, 1_200).await;
}
