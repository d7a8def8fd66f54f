//! Histories of a small world with its own clock: right ones, in which the checker finds nothing, and others with a
//! mistake, which it finds. The world makes a million operations in no time, and those mistakes too that no script can make:
//! those of a node.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Grace, History, Kind, OUTAGE, Operation, Outcome, Segment};
use crate::harness::Event;

const CAPACITY: usize = 6;
const TTL: i64 = 1_000;
const LINGER: i64 = 200;
const WINDOW: i64 = 5_000;
const CLIENTS: usize = 14;

/// What the world does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    NodeClock,
    CountsExpired,
    LivesAtItsDeadline,
    RenewResurrects,
    NoTombstone,
    RetryWithANewId,
    GrantOnTimeOut,
    RebuildWithoutLimit,
    NoAmnesty,
    NewcomersDoNotWait,
    ReplyOfAnother,
    EndWithoutEvent,
    OldMasterAnswers,
    CallGrantsOneTooMany,
    CallSentAgainWithNewIds,
    CallTurnedRound,
}

impl Mistake {
    /// Whether it can only be made where one call decides about several. Histories without a mistake have such calls too.
    fn is_of_a_crowd(self) -> bool {
        matches!(
            self,
            Self::None
                | Self::CallGrantsOneTooMany
                | Self::CallSentAgainWithNewIds
                | Self::CallTurnedRound
        )
    }
}

/// A lease as its client knows it.
#[derive(Debug, Clone)]
struct Held {
    id: Arc<str>,
    key: Arc<str>,
    generation: i64,
    /// As far as the client knows.
    expires_at: i64,
    /// What it does next is later than this.
    next: i64,
}

/// Redis, its nodes and the clients, all in one.
#[derive(Clone)]
struct World {
    mistake: Mistake,
    dice: u64,
    now: i64,
    segment: Segment,
    before: Vec<Segment>,
    tick: i64,
    seq: u64,
    fence: u64,
    leases: HashMap<Arc<str>, i64>,
    by_expiry: BTreeSet<(i64, Arc<str>)>,
    expired: HashMap<Arc<str>, i64>,
    tombstones: HashMap<Arc<str>, bool>,
    keys: HashMap<Arc<str>, Arc<str>>,
    held: Vec<Option<Held>>,
    operations: Vec<Operation>,
    silences: Vec<(f64, f64)>,
    lossy: Vec<(f64, f64)>,
    /// Whether a call decides about several.
    in_company: bool,
}

impl World {
    fn new(mistake: Mistake, seed: u64) -> Self {
        let now = 1_000_000;
        Self {
            mistake,
            dice: seed,
            now,
            segment: Segment {
                generation: now,
                ..Segment::default()
            },
            before: Vec::new(),
            tick: now,
            seq: 0,
            fence: 0,
            leases: HashMap::new(),
            by_expiry: BTreeSet::new(),
            expired: HashMap::new(),
            tombstones: HashMap::new(),
            keys: HashMap::new(),
            held: vec![None; CLIENTS],
            operations: Vec::new(),
            silences: Vec::new(),
            lossy: Vec::new(),
            in_company: false,
        }
    }

    fn roll(&mut self, sides: i64) -> i64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.dice >> 33) % sides.unsigned_abs()).expect("small")
    }

    fn event(&mut self, kind: &str, id: &str, at: i64, holder: &str, reason: &str) {
        self.segment.events.push(Event {
            kind: kind.to_owned(),
            id: id.to_owned(),
            at,
            holder: holder.to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// A script begins: its instant, after a silence with an amnesty.
    fn script(&mut self, node: usize) -> i64 {
        let skew = if self.mistake == Mistake::NodeClock && node == 1 {
            900
        } else {
            0
        };
        let now = (self.now + skew).max(self.tick);
        let gap = now - self.tick;
        if gap > OUTAGE && self.mistake != Mistake::NoAmnesty {
            self.segment.graces.push(Grace {
                floor: self.tick,
                back: now,
                gap,
            });
        }
        self.tick = now;
        self.seq += 1;
        self.end_due(now);
        now
    }

    fn end_of(&self, expiry: i64) -> i64 {
        let graces = self.segment.graces.iter();
        graces
            .rev()
            .find_map(|grace| grace.extends(expiry, TTL, LINGER))
            .unwrap_or(expiry)
    }

    fn lives(&self, id: &str, now: i64) -> bool {
        let end = self.leases.get(id).map_or(0, |expiry| self.end_of(*expiry));
        end > now || (end == now && self.mistake == Mistake::LivesAtItsDeadline)
    }

    fn set(&mut self, id: &Arc<str>, expiry: i64) {
        if let Some(old) = self.leases.insert(Arc::clone(id), expiry) {
            self.by_expiry.remove(&(old, Arc::clone(id)));
        }
        self.by_expiry.insert((expiry, Arc::clone(id)));
    }

    fn remove(&mut self, id: &Arc<str>) {
        if let Some(old) = self.leases.remove(id) {
            self.by_expiry.remove(&(old, Arc::clone(id)));
        }
    }

    fn end_due(&mut self, now: i64) {
        if self.mistake == Mistake::CountsExpired && !self.seq.is_multiple_of(40) {
            return;
        }
        while let Some((expiry, id)) = self.by_expiry.first().cloned()
            && expiry <= now
        {
            if self.lives(&id, now) {
                return;
            }
            let at = self.end_of(expiry);
            self.remove(&id);
            self.expired.insert(Arc::clone(&id), at);
            if self.mistake != Mistake::EndWithoutEvent || !self.seq.is_multiple_of(10) {
                self.event("ended", &id, at, "", "expired");
            }
        }
    }

    fn granted(&mut self, id: &Arc<str>, now: i64, client: usize) {
        self.set(id, now + TTL);
        self.fence += 1;
        self.event("started", id, now, &format!("h{client}"), "");
    }

    /// What the script of an acquire says: the word, the lease, its expiry, its fence.
    fn acquire(
        &mut self,
        client: usize,
        key: &Arc<str>,
        now: i64,
    ) -> (Outcome, Arc<str>, i64, u64) {
        let nobody: Arc<str> = "".into();
        if let Some(id) = self.keys.get(key).cloned()
            && self.lives(&id, now)
        {
            return (Outcome::Existing, id, 0, 0);
        }
        let waits = self.segment.after_loss && now < self.segment.generation + TTL;
        if waits && self.mistake != Mistake::NewcomersDoNotWait {
            return (Outcome::NotRun, nobody, 0, 0);
        }
        let one_more =
            usize::from(self.in_company && self.mistake == Mistake::CallGrantsOneTooMany);
        if self.leases.len() >= CAPACITY + one_more {
            return (Outcome::Denied, nobody, 0, 0);
        }
        // What a failover loses has an id that nobody else gets.
        let id: Arc<str> = format!("lease-{}-{}", self.fence, self.operations.len()).into();
        self.granted(&id, now, client);
        self.keys.insert(Arc::clone(key), Arc::clone(&id));
        (Outcome::Granted, id, now + TTL, self.fence)
    }

    fn renew(&mut self, held: &Held, now: i64) -> (Outcome, i64) {
        let id = &held.id;
        if self.lives(id, now) {
            self.set(id, now + TTL);
            return (Outcome::Renewed, now + TTL);
        }
        let final_end = self.tombstones.contains_key(id);
        if final_end && self.mistake != Mistake::NoTombstone {
            return (Outcome::Final, 0);
        }
        let lost = held.generation < self.segment.generation;
        let word = match self.expired.get(id) {
            Some(ended) if now - ended > WINDOW => return (Outcome::Expired, 0),
            Some(_) => "resumed",
            None if lost && now > self.segment.generation + WINDOW => return (Outcome::Expired, 0),
            None => "rebuilt",
        };
        let unlimited = match self.mistake {
            Mistake::RenewResurrects => word == "resumed",
            Mistake::RebuildWithoutLimit => word == "rebuilt",
            _ => false,
        };
        if self.leases.len() >= CAPACITY && !unlimited {
            return (Outcome::Expired, 0);
        }
        self.set(id, now + TTL);
        self.expired.remove(id);
        self.event(word, id, now, "", "");
        (Outcome::Resumed, now + TTL)
    }

    /// Frees a seat permanently.
    fn end(&mut self, id: &Arc<str>, now: i64, reason: &str) {
        if self.leases.contains_key(id) {
            self.remove(id);
            self.event("ended", id, now, "", reason);
        }
        self.tombstones.insert(Arc::clone(id), true);
    }

    /// One operation of one client, and its answer.
    fn operate(&mut self, client: usize, kind: Kind, key: &Arc<str>) -> Outcome {
        let held = self.held[client].clone();
        let node = usize::try_from(self.roll(2)).expect("small");
        let sent = self.now as f64 + 0.2;
        self.now += self.roll(2);
        let lost_reply = self.roll(25) == 0;
        let runs = !lost_reply || self.roll(2) == 0;
        let mut operation = Operation {
            kind,
            outcome: Outcome::Unknown,
            sent,
            received: 0.0,
            id: held.as_ref().map_or("".into(), |held| Arc::clone(&held.id)),
            key: Arc::clone(key),
            ticket: "".into(),
            holder: format!("h{client}").into(),
            ran: None,
            expires_at: 0,
            fence: 0,
        };
        if runs {
            let now = self.script(node);
            operation.ran = Some((self.seq, now));
            let id = Arc::clone(&operation.id);
            match kind {
                Kind::Acquire => {
                    let mut said = self.acquire(client, key, now);
                    if self.mistake == Mistake::RetryWithANewId && self.roll(3) == 0 {
                        self.keys.remove(key);
                        said = self.acquire(client, key, now);
                    }
                    let (outcome, id, expires_at, fence) = said;
                    (operation.outcome, operation.expires_at) = (outcome, expires_at);
                    (operation.id, operation.fence) = (id, fence);
                }
                Kind::Renew => {
                    let held = held.as_ref().expect("who beats has a lease");
                    (operation.outcome, operation.expires_at) = self.renew(held, now);
                }
                Kind::Leave => {
                    if self.lives(&id, now) && self.leases[&id] > now + LINGER {
                        self.set(&id, now + LINGER);
                    }
                    operation.outcome = Outcome::Done;
                }
                Kind::Block | Kind::Unblock | Kind::Delete => {
                    unreachable!("there are no operators in this world")
                }
                Kind::Release | Kind::Terminate => {
                    let released = kind == Kind::Release;
                    let word = if released { "released" } else { "terminated" };
                    self.end(&id, now, word);
                    operation.outcome = Outcome::Done;
                }
            }
            if self.mistake == Mistake::ReplyOfAnother && self.roll(200) == 0 {
                operation.ran = Some((self.seq - 1, now));
            }
            if operation.outcome == Outcome::NotRun {
                operation.ran = None;
            }
        }
        if lost_reply {
            operation.outcome = Outcome::Unknown;
            operation.ran = None;
            operation.expires_at = 0;
            if kind == Kind::Acquire {
                operation.id = "".into();
            }
            if self.mistake == Mistake::GrantOnTimeOut && kind == Kind::Acquire {
                operation.outcome = Outcome::Granted;
                operation.id = format!("invented-{}", self.seq).into();
                operation.ran = Some((self.seq, self.tick));
                operation.expires_at = self.tick + TTL;
            }
        }
        operation.received = self.now as f64 + 0.9;
        // What its client does next comes after it.
        self.now += 1;
        let (outcome, id, expires_at) = (
            operation.outcome,
            Arc::clone(&operation.id),
            operation.expires_at,
        );
        self.operations.push(operation);
        let generation = self.segment.generation;
        match outcome {
            Outcome::Granted | Outcome::Existing => {
                self.held[client] = Some(Held {
                    id,
                    key: Arc::clone(key),
                    generation,
                    expires_at: expires_at.max(self.now),
                    next: 0,
                });
            }
            Outcome::Renewed | Outcome::Resumed => {
                if let Some(held) = &mut self.held[client] {
                    (held.expires_at, held.generation) = (expires_at, generation);
                }
            }
            _ => {}
        }
        outcome
    }

    /// All who have no lease ask in the same moment, and one call decides about them, one after the other. Each decision has a
    /// number of its own.
    fn crowd(&mut self) {
        let clients: Vec<usize> = (0..CLIENTS)
            .filter(|client| self.held[*client].is_none())
            .collect();
        if clients.len() < 2 {
            return;
        }
        let sent = self.now as f64 + 0.2;
        let now = self.script(0);
        let first = self.seq;
        self.seq += clients.len() as u64 - 1;
        self.in_company = true;
        let mut operations = Vec::new();
        let keys: Vec<Arc<str>> = clients
            .iter()
            .map(|client| format!("c{client}-{first}").into())
            .collect();
        if self.mistake == Mistake::CallSentAgainWithNewIds {
            // The first answer got lost, and the node does not know any more what it had asked for.
            for (client, key) in clients.iter().zip(&keys) {
                self.acquire(*client, key, now);
                self.keys.remove(key);
                // So that the next one has another name.
                self.fence += 1;
            }
        }
        for (at, (client, key)) in clients.iter().zip(&keys).enumerate() {
            let (outcome, id, expires_at, fence) = self.acquire(*client, key, now);
            let place = match self.mistake {
                Mistake::CallTurnedRound => clients.len() - 1 - at,
                _ => at,
            };
            operations.push(Operation {
                kind: Kind::Acquire,
                outcome,
                sent,
                received: self.now as f64 + 0.9,
                id,
                key: Arc::clone(key),
                ticket: "".into(),
                holder: format!("h{client}").into(),
                ran: (outcome != Outcome::NotRun).then_some((first + place as u64, now)),
                expires_at,
                fence,
            });
        }
        self.in_company = false;
        self.now += 1;
        for ((client, key), operation) in clients.into_iter().zip(keys).zip(operations) {
            if operation.outcome == Outcome::Granted {
                self.held[client] = Some(Held {
                    id: Arc::clone(&operation.id),
                    key,
                    generation: self.segment.generation,
                    expires_at: operation.expires_at,
                    next: 0,
                });
                self.plan(client);
            }
            self.operations.push(operation);
        }
    }

    /// A client does something if it is time.
    fn step(&mut self, client: usize) {
        let Some(held) = self.held[client].clone() else {
            let key: Arc<str> = format!("k{client}-{}", self.operations.len()).into();
            if self.operate(client, Kind::Acquire, &key) == Outcome::Unknown {
                // Once more with the same key.
                self.operate(client, Kind::Acquire, &key);
            }
            self.plan(client);
            return;
        };
        if held.next > self.now {
            // Who aims at its deadline meets it.
            if held.next != held.expires_at || held.next - self.now > 30 {
                return;
            }
            self.now = held.next;
        }
        let what = match self.roll(12) {
            0 => Kind::Release,
            1 => Kind::Terminate,
            2 => Kind::Leave,
            3 => Kind::Acquire,
            _ => Kind::Renew,
        };
        let outcome = self.operate(client, what, &held.key);
        match (what, outcome) {
            (Kind::Release | Kind::Terminate, _) => {
                // What it must not get.
                self.operate(client, Kind::Renew, &held.key);
                self.held[client] = None;
            }
            (_, Outcome::Expired | Outcome::Final | Outcome::Denied | Outcome::NotRun) => {
                self.held[client] = None;
            }
            _ => self.plan(client),
        }
    }

    /// Mostly in time, at times around the deadline, at times too late.
    fn plan(&mut self, client: usize) {
        let pause = match self.roll(8) {
            0 => TTL + 100 + self.roll(2_000),
            _ => self.roll(TTL / 2),
        };
        let at_the_end = self.roll(6) == 0;
        let now = self.now;
        if let Some(held) = &mut self.held[client] {
            held.next = if at_the_end {
                held.expires_at
            } else {
                now + pause
            };
        }
    }

    /// Nothing runs for this long.
    fn outage(&mut self, lasting: i64, keeps: bool) {
        let from = self.now;
        self.now += lasting;
        self.silences.push((from as f64, self.now as f64));
        if !keeps {
            let next = Segment {
                generation: self.now,
                after_loss: true,
                ..Segment::default()
            };
            self.before.push(std::mem::replace(&mut self.segment, next));
            self.leases.clear();
            self.by_expiry.clear();
            self.expired.clear();
            self.tombstones.clear();
            self.keys.clear();
            (self.seq, self.tick) = (0, self.now);
            self.lossy
                .push((from as f64 - 200.0, self.now as f64 - 1.0));
        }
        // Everybody beats soon after the return, newcomers come too.
        let now = self.now;
        for held in self.held.iter_mut().flatten() {
            held.next = held.next.min(now + 20);
        }
    }

    /// Takes the other's data, and gives it one's own. Clients and time stay.
    fn swap_data(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.segment, &mut other.segment);
        std::mem::swap(&mut self.tick, &mut other.tick);
        std::mem::swap(&mut self.seq, &mut other.seq);
        std::mem::swap(&mut self.fence, &mut other.fence);
        std::mem::swap(&mut self.leases, &mut other.leases);
        std::mem::swap(&mut self.by_expiry, &mut other.by_expiry);
        std::mem::swap(&mut self.expired, &mut other.expired);
        std::mem::swap(&mut self.tombstones, &mut other.tombstones);
        std::mem::swap(&mut self.keys, &mut other.keys);
    }

    /// The master falls silent, and a replica that lags behind takes its place.
    fn fail_over(&mut self, replica: &mut Self) {
        self.swap_data(replica);
        self.now += 1_700;
        self.lossy
            .push((replica.now as f64 - 1.0, self.now as f64 - 1.0));
    }

    fn history(mut self) -> History {
        self.script(0);
        let starts: i64 = self.segment.events.iter().map(Event::change).sum();
        let members = i64::try_from(self.leases.len()).expect("small");
        let mut segments = self.before;
        segments.push(self.segment);
        History {
            capacity: CAPACITY,
            ttl: TTL,
            linger: LINGER,
            resume_window: WINDOW,
            queue: false,
            until: self.now,
            balance: (starts, members),
            left_records: Vec::new(),
            segments,
            operations: self.operations,
            remade: Vec::new(),
            lossy: self.lossy,
            repeated: Vec::new(),
            sent_again: Vec::new(),
            silences: self.silences,
            only_notices_fail: Vec::new(),
            moved: Vec::new(),
            skew: (0, 0),
        }
    }
}

/// A history of about this many operations, with outages of all lengths and a loss of all data.
fn history(mistake: Mistake, seed: u64, operations: usize) -> History {
    let mut world = World::new(mistake, seed);
    let mut outages = [
        (4_000, true),
        (700, true),
        (9_000, true),
        (100, false),
        (1_500, false),
        (50, false),
    ]
    .into_iter()
    .zip(1..);
    let mut next = outages.next();
    while world.operations.len() < operations {
        if let Some(((lasting, keeps), number)) = next
            && world.operations.len() > operations * number / 7
        {
            world.outage(lasting, keeps);
            next = outages.next();
        }
        // The ticks of nodes; a sweep comes by itself with each script.
        if world.now - world.tick > 800 {
            world.script(0);
        }
        let client = usize::try_from(world.roll(CLIENTS as i64)).expect("small");
        world.step(client);
        world.now += world.roll(3);
        if mistake.is_of_a_crowd() && world.roll(12) == 0 {
            world.crowd();
        }
    }
    world.history()
}

/// A history with failovers, in each of which the last that was acknowledged is lost.
fn history_with_failovers(mistake: Mistake, seed: u64) -> History {
    let mut world = World::new(mistake, seed);
    for _ in 0..6 {
        for _ in 0..400 {
            if world.now - world.tick > 800 {
                world.script(0);
            }
            let client = usize::try_from(world.roll(CLIENTS as i64)).expect("small");
            world.step(client);
            world.now += world.roll(3);
        }
        let mut other = world.clone();
        for client in 0..5 {
            world.step(client);
        }
        world.fail_over(&mut other);
        // What the old master was asked later, when it woke up.
        for round in 0..60 {
            let old = mistake == Mistake::OldMasterAnswers && (20..30).contains(&round);
            if old {
                world.swap_data(&mut other);
            }
            let client = usize::try_from(world.roll(CLIENTS as i64)).expect("small");
            world.step(client);
            world.now += 5 + world.roll(3);
            if old {
                world.swap_data(&mut other);
            }
        }
    }
    world.history()
}

#[test]
fn what_a_failover_loses_is_no_violation() {
    for seed in 0..40 {
        let verdict = history_with_failovers(Mistake::None, seed).check();
        assert!(
            verdict.violations.is_empty(),
            "seed {seed}: {:#?}",
            &verdict.violations[..verdict.violations.len().min(5)]
        );
        assert!(verdict.answered > 800, "{}", verdict.answered);
    }
}

/// The time of loss is over when the replica has taken over: what the old master acknowledges after it is one.
#[test]
fn an_old_master_that_goes_on_answering_is_found() {
    let mut found = 0;
    for seed in 0..20 {
        let violations = history_with_failovers(Mistake::OldMasterAnswers, seed)
            .check()
            .violations;
        found += usize::from(violations.iter().any(|text| text.starts_with("order")));
    }
    assert!(found >= 15, "found in {found} of 20 histories");
}

/// A reply gets lost, the node asks again, and by then the lease lives only by what the first run did.
#[test]
fn a_renewal_that_ran_in_time_and_once_more_is_no_violation() {
    let operation = |kind, outcome, (sent, received), ran: (u64, i64)| Operation {
        kind,
        outcome,
        sent,
        received,
        id: "a".into(),
        key: "".into(),
        ticket: "".into(),
        holder: "ann".into(),
        ran: Some(ran),
        expires_at: ran.1 + TTL,
        fence: 1,
    };
    let end = 10_000 + TTL;
    let history = |sent_before_the_end: f64, sent_again: Vec<(f64, f64)>| {
        let sent = end as f64 - sent_before_the_end;
        History {
            capacity: 1,
            ttl: TTL,
            linger: LINGER,
            resume_window: WINDOW,
            queue: false,
            until: end + 100,
            balance: (1, 1),
            left_records: Vec::new(),
            segments: vec![Segment {
                generation: 5_000,
                after_loss: false,
                events: vec![Event {
                    kind: "started".to_owned(),
                    id: "a".to_owned(),
                    at: 10_000,
                    holder: "ann".to_owned(),
                    reason: String::new(),
                }],
                graces: Vec::new(),
            }],
            operations: vec![
                operation(
                    Kind::Acquire,
                    Outcome::Granted,
                    (9_999.0, 10_001.0),
                    (1, 10_000),
                ),
                operation(
                    Kind::Renew,
                    Outcome::Renewed,
                    (sent, end as f64 + 16.0),
                    (4, end + 14),
                ),
            ],
            remade: Vec::new(),
            lossy: Vec::new(),
            repeated: Vec::new(),
            sent_again,
            silences: Vec::new(),
            only_notices_fail: Vec::new(),
            moved: Vec::new(),
            skew: (0, 0),
        }
    };
    let window = vec![(end as f64 - 500.0, end as f64 + 500.0)];
    let right = history(10.0, window.clone()).check().violations;
    assert_eq!(right, Vec::<String>::new());
    for wrong in [history(10.0, Vec::new()), history(-10.0, window)] {
        let found = wrong.check().violations;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("maximum term"), "{found:#?}");
    }
}

#[test]
fn nothing_is_found_in_right_histories() {
    for seed in 0..40 {
        let verdict = history(Mistake::None, seed, 3_000).check();
        assert!(
            verdict.violations.is_empty(),
            "seed {seed}: {:#?}",
            &verdict.violations[..verdict.violations.len().min(5)]
        );
        assert!(verdict.answered > 1_500);
    }
}

#[test]
fn each_mistake_is_found() {
    let mistakes = [
        (Mistake::NodeClock, "clock"),
        (Mistake::CountsExpired, "denied"),
        (Mistake::LivesAtItsDeadline, "maximum term"),
        (Mistake::RenewResurrects, "admission"),
        (Mistake::NoTombstone, "finality"),
        (Mistake::RetryWithANewId, "invented"),
        (Mistake::GrantOnTimeOut, "invented"),
        (Mistake::RebuildWithoutLimit, "admission"),
        (Mistake::NoAmnesty, "outage"),
        (Mistake::NewcomersDoNotWait, "recovering"),
        (Mistake::ReplyOfAnother, "order"),
        (Mistake::EndWithoutEvent, "conservation"),
        (Mistake::CallGrantsOneTooMany, "admission"),
        (Mistake::CallSentAgainWithNewIds, "invented"),
        (Mistake::CallTurnedRound, "fences"),
    ];
    for (mistake, word) in mistakes {
        let mut found = 0;
        for seed in 0..20 {
            let verdict = history(mistake, seed, 4_000).check();
            found += usize::from(verdict.violations.iter().any(|text| text.starts_with(word)));
        }
        let other: Vec<String> = history(mistake, 0, 4_000).check().violations;
        assert!(
            found >= 3,
            "{mistake:?} was found in {found} of 20 histories: {other:#?}"
        );
    }
}

#[test]
fn a_long_history_is_judged_as_a_short_one() {
    // Quadratic work would take hours at this size.
    let history = history(Mistake::None, 7, 200_000);
    let verdict = history.check();
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert!(verdict.operations >= 200_000);
}

#[test]
fn a_record_that_outlives_its_lease_is_found() {
    let history = |left_records: Vec<String>| History {
        left_records,
        ..History::of(1, TTL)
    };
    assert_eq!(history(Vec::new()).check().violations, [""; 0]);
    let found = history(vec!["gone".to_owned()]).check().violations;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("gone"), "{found:?}");
}
