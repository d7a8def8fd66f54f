//! The clients: those who come and go, those who keep their seat, and gateways that renew many at once. All of them write
//! down what they heard.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::checker::{Kind, Operation, Outcome};
use crate::harness::{ANY, Answer, Client, Reply};

/// Milliseconds since the epoch, by the clock of clients.
pub(crate) fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64()
        * 1e3
}

/// A pool of one round, and who works in it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) pool: String,
    pub(crate) capacity: usize,
    pub(crate) ttl: u64,
    pub(crate) linger: u64,
    pub(crate) resume_window: u64,
    /// Who come and go; more of them than seats that are left.
    pub(crate) guests: usize,
    /// Who keep their seat for the whole round.
    pub(crate) keepers: usize,
    /// Gateways, each with this many seats.
    pub(crate) gateways: usize,
    pub(crate) seats_of_gateway: usize,
    /// Who wait in the queue of the pool until it is their turn; without any it has none.
    pub(crate) waiters: usize,
    /// Between two operations of a client, ms.
    pub(crate) pause: u64,
}

impl Plan {
    pub(crate) fn policy(&self) -> Value {
        let mut policy = json!({
            "capacity": self.capacity,
            "ttl_ms": self.ttl,
            "linger_ms": self.linger,
            "resume_window_ms": self.resume_window,
        });
        if self.waiters > 0 {
            policy["queue"] = json!({"max_waiting": 10 * self.waiters});
        }
        policy
    }
}

/// What all clients of a pool saw.
#[derive(Debug, Default)]
pub(crate) struct Log {
    operations: Mutex<Vec<Operation>>,
    /// Answers that no client should ever get.
    strange: Mutex<Vec<String>>,
    answered: AtomicU64,
}

impl Log {
    fn add(&self, operation: Operation) {
        if operation.ran.is_some() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        self.operations
            .lock()
            .expect("no panic while held")
            .push(operation);
    }

    /// How many operations a script has answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> (Vec<Operation>, Vec<String>) {
        let operations = std::mem::take(&mut *self.operations.lock().expect("no panic while held"));
        let strange = std::mem::take(&mut *self.strange.lock().expect("no panic while held"));
        (operations, strange)
    }
}

/// The clients of one pool at work.
pub(crate) struct Crowd {
    pub(crate) plan: Plan,
    pub(crate) log: Arc<Log>,
    /// What clients heard in another pool that is deleted and created again all the time.
    pub(crate) remade: Arc<Log>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Crowd {
    pub(crate) fn start(plan: Plan, nodes: &[Client]) -> Self {
        let (log, stop) = (Arc::new(Log::default()), watch::Sender::new(false));
        let remade = Arc::new(Log::default());
        let all = plan.guests + plan.keepers + plan.gateways + plan.waiters;
        let tasks = (0..=all).map(|number| {
            let is_remaker = number == all;
            let one = One {
                number,
                nodes: nodes.to_vec(),
                turn: number,
                dice: number as u64 + 1,
                log: Arc::clone(if is_remaker { &remade } else { &log }),
                stopped: stop.subscribe(),
                plan: plan.clone(),
                holder: format!("h{number}").into(),
                asked: 0,
                failures: 0,
            };
            if is_remaker {
                tokio::spawn(one.remake())
            } else if number < plan.guests {
                tokio::spawn(one.come_and_go())
            } else if number < plan.guests + plan.keepers {
                tokio::spawn(one.keep())
            } else if number >= all - plan.waiters {
                tokio::spawn(one.wait_in_line())
            } else {
                tokio::spawn(one.renew_for_many())
            }
        });
        Self {
            tasks: tasks.collect(),
            plan,
            log,
            remade,
            stop,
        }
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            task.await.expect("a client does not panic");
        }
    }
}

/// Number and instant of the scripts of a request that decide, with their words.
fn steps(reply: &Reply) -> Vec<(&str, u64, i64)> {
    let trail = reply.header("leasehold-trail").unwrap_or_default();
    let decides = [
        "acquire",
        "acquire_by_rules",
        "renew",
        "resume",
        "release",
        "leave",
        "terminate",
        "block",
        "delete_pool",
    ];
    trail
        .split(", ")
        .filter_map(|step| {
            let mut words = step.split(' ');
            let (script, seq, at) = (words.next()?, words.next()?, words.next()?);
            let known = decides.contains(&script);
            known.then_some((script, seq.parse().ok()?, at.parse().ok()?))
        })
        .collect()
}

/// What a reply means; none for one that nobody should get.
fn meaning(kind: Kind, reply: &Reply) -> Option<Outcome> {
    Some(match (kind, reply.status) {
        (Kind::Acquire, 201) => Outcome::Granted,
        (Kind::Acquire, 200) => Outcome::Existing,
        (Kind::Acquire, 202) => Outcome::Queued,
        (Kind::Acquire, 410) if reply["code"] == "ticket_expired" => Outcome::TicketExpired,
        (Kind::Acquire, 409) if reply["code"] == "pool_full" => Outcome::Denied,
        (Kind::Acquire, 409) if reply["code"] == "holder_blocked" => Outcome::Blocked,
        (Kind::Renew, 200) if reply["resumed"] == true => Outcome::Resumed,
        (Kind::Renew, 200) => Outcome::Renewed,
        (Kind::Renew, 410) if reply["code"] == "lease_expired" => Outcome::Expired,
        (Kind::Renew, 410) if reply["code"] != "lease_evicted" => Outcome::Final,
        (Kind::Release | Kind::Leave | Kind::Unblock | Kind::Delete, 204) => Outcome::Done,
        (Kind::Terminate | Kind::Block, 200) => Outcome::Done,
        // Its node is gone, or silent.
        (_, 0) => Outcome::Unknown,
        (_, 503) if reply["outcome"] == "unknown" => Outcome::Unknown,
        (_, 503) => Outcome::NotRun,
        _ => return None,
    })
}

/// A lease as its holder knows it.
#[derive(Debug, Clone)]
struct Held {
    id: Arc<str>,
    token: String,
}

/// One client.
struct One {
    number: usize,
    nodes: Vec<Client>,
    turn: usize,
    dice: u64,
    log: Arc<Log>,
    stopped: watch::Receiver<bool>,
    plan: Plan,
    holder: Arc<str>,
    asked: u64,
    /// How often in a row nobody answered.
    failures: u32,
}

impl One {
    fn node(&mut self) -> Client {
        self.turn += 1;
        self.nodes[self.turn % self.nodes.len()].clone()
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    fn is_over(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits this long, or until the end of the round.
    async fn pause(&mut self, ms: u64) {
        let pause = tokio::time::sleep(Duration::from_millis(ms));
        tokio::select! {
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
            () = pause => {}
        }
    }

    /// After how long it is worth asking again where there was no answer: soon, and later each time.
    fn later(&mut self) -> u64 {
        self.failures += 1;
        let most = 1_000.min(100 << self.failures.min(5));
        most / 2 + self.roll(most / 2)
    }

    /// Sends one operation and writes down what became of it.
    async fn record(
        &self,
        kind: Kind,
        id: &Arc<str>,
        key: &Arc<str>,
        call: Answer,
    ) -> (Outcome, Reply) {
        self.record_with(kind, id, key, "", call).await
    }

    /// The same of somebody with a ticket.
    async fn record_with(
        &self,
        kind: Kind,
        id: &Arc<str>,
        key: &Arc<str>,
        ticket: &str,
        call: Answer,
    ) -> (Outcome, Reply) {
        let sent = now_ms();
        let reply = call.await;
        let received = now_ms();
        let Some(outcome) = meaning(kind, &reply) else {
            let text = format!("{kind:?} was answered {}: {}", reply.status, reply.text);
            self.log.strange.lock().expect("no panic").push(text);
            return (Outcome::Unknown, reply);
        };
        // The deciding script is the last one that is not a mere look.
        let ran = steps(&reply).last().map(|(_, seq, at)| (*seq, *at));
        let lease = matches!(
            outcome,
            Outcome::Granted | Outcome::Renewed | Outcome::Resumed
        );
        self.log.add(Operation {
            kind,
            outcome,
            sent,
            received,
            id: match outcome {
                Outcome::Granted | Outcome::Existing => reply.id().into(),
                _ => Arc::clone(id),
            },
            key: Arc::clone(key),
            ticket: match ticket {
                "" => reply["ticket"].as_str().unwrap_or_default().into(),
                ticket => ticket.into(),
            },
            holder: Arc::clone(&self.holder),
            ran: ran.filter(|_| !matches!(outcome, Outcome::Unknown | Outcome::NotRun)),
            expires_at: match kind {
                _ if lease => reply.instant("/lease/expires_at"),
                Kind::Block if outcome == Outcome::Done => reply.instant("/until"),
                _ => 0,
            },
            fence: if lease {
                reply.number("/lease/fence")
            } else {
                0
            },
        });
        (outcome, reply)
    }

    /// Asks for a seat, once more with the same key if nobody knows what became of it.
    async fn acquire(&mut self) -> (Outcome, Option<Held>, Arc<str>) {
        self.asked += 1;
        let key: Arc<str> = format!("{}-{}-{}", self.plan.pool, self.number, self.asked).into();
        let nobody: Arc<str> = "".into();
        for again in [true, false] {
            let body = json!({"holder": &*self.holder});
            let call = self.node().acquire_once(&self.plan.pool, &key, body, ANY);
            let (outcome, reply) = self.record(Kind::Acquire, &nobody, &key, call).await;
            match outcome {
                Outcome::Granted | Outcome::Existing => {
                    self.failures = 0;
                    let (id, token) = (reply.id().into(), reply.token());
                    return (outcome, Some(Held { id, token }), key);
                }
                Outcome::Unknown if again && !self.is_over() => {
                    let pause = 20 + self.later();
                    self.pause(pause).await;
                }
                _ => return (outcome, None, key),
            }
        }
        (Outcome::Unknown, None, key)
    }

    async fn renew(&mut self, held: &mut Held) -> Outcome {
        let nobody: Arc<str> = "".into();
        let call = self.node().renew(&held.token, ANY);
        let (outcome, reply) = self.record(Kind::Renew, &held.id, &nobody, call).await;
        // Always the latest.
        if let Some(token) = reply["token"].as_str() {
            token.clone_into(&mut held.token);
        }
        outcome
    }

    /// Takes a seat, beats, is late, gives it back, and tries what it must not get.
    async fn come_and_go(mut self) {
        let nobody: Arc<str> = "".into();
        let ttl = self.plan.ttl;
        // Deadlines can be met only where they are near.
        let short = ttl <= 2_000;
        while !self.is_over() {
            let (outcome, held, key) = self.acquire().await;
            let Some(mut held) = held else {
                let pause = match outcome {
                    Outcome::Denied => self.plan.pause + self.roll(2 * self.plan.pause),
                    _ => self.later(),
                };
                self.pause(pause).await;
                continue;
            };
            if self.roll(3) == 0 {
                let body = json!({"holder": &*self.holder});
                let call = self.node().acquire_once(&self.plan.pool, &key, body, ANY);
                self.record(Kind::Acquire, &nobody, &key, call).await;
            }
            for _ in 0..self.roll(8) {
                let pause = match self.roll(8) {
                    0 if short => ttl - 15 + self.roll(30),
                    1 if short => ttl + 100 + self.roll(400),
                    _ => self.roll(4 * self.plan.pause.min(ttl / 4)),
                };
                self.pause(pause).await;
                if self.roll(10) == 0 {
                    let call = self.node().leave(&held.token, ANY);
                    self.record(Kind::Leave, &held.id, &nobody, call).await;
                }
                if matches!(
                    self.renew(&mut held).await,
                    Outcome::Expired | Outcome::Final
                ) {
                    break;
                }
            }
            let way = self.roll(6);
            let call = match way {
                0 if short => continue,
                // Live or not: also what has expired and could be resumed ends with it.
                5 => {
                    if short {
                        let pause = self.roll(2) * (ttl + 100);
                        self.pause(pause).await;
                    }
                    let body = json!({"holder": &*self.holder, "reason": "Over"});
                    let call = self.node().terminate(&self.plan.pool, body, ANY);
                    self.record(Kind::Terminate, &held.id, &nobody, call).await
                }
                1 => {
                    let body = json!({"ids": [&*held.id], "reason": "Over"});
                    let call = self.node().terminate(&self.plan.pool, body, ANY);
                    self.record(Kind::Terminate, &held.id, &nobody, call).await
                }
                _ => {
                    let call = self.node().release(&held.token, ANY);
                    self.record(Kind::Release, &held.id, &nobody, call).await
                }
            };
            // An operation without an answer may still run; no seat is left behind for a whole TTL.
            if !matches!(call.0, Outcome::Done) && !self.is_over() {
                self.pause(150).await;
                let call = self.node().release(&held.token, ANY);
                self.record(Kind::Release, &held.id, &nobody, call).await;
            }
            if way == 5 || self.roll(2) == 0 {
                self.renew(&mut held).await;
            }
            if self.roll(6) == 0 {
                self.be_blocked().await;
            }
        }
    }

    /// Is kept out for a while, asks all the same, and is perhaps let in again.
    async fn be_blocked(&mut self) {
        let nobody: Arc<str> = "".into();
        let path = format!("/v1/pools/{}/blocks/{}", self.plan.pool, self.holder);
        let for_ms = 100 + self.roll(600);
        let body = json!({"for_ms": for_ms, "reason": "Enough"});
        let call = self.node().call(Method::PUT, &path).json(&body).expect(ANY);
        self.record(Kind::Block, &nobody, &nobody, call).await;
        for _ in 0..=self.roll(3) {
            let pause = self.roll(for_ms / 2);
            self.pause(pause).await;
            if let (_, Some(held), _) = self.acquire().await {
                let call = self.node().release(&held.token, ANY);
                self.record(Kind::Release, &held.id, &nobody, call).await;
            }
        }
        if self.roll(2) == 0 {
            let call = self.node().call(Method::DELETE, &path).expect(ANY);
            self.record(Kind::Unblock, &nobody, &nobody, call).await;
        }
    }

    /// Makes a pool, takes seats in it, deletes it in every state of a lease, makes it anew, and tries the old tokens.
    async fn remake(mut self) {
        let nobody: Arc<str> = "".into();
        self.plan.pool.push_str("-remade");
        let path = format!("/v1/pools/{}", self.plan.pool);
        let evict = json!({"capacity": 2, "ttl_ms": 1_000, "resume_window_ms": 5_000,
            "when_full": "evict_oldest_of_holder"});
        let plain = json!({"capacity": 2, "ttl_ms": 1_000, "resume_window_ms": 5_000});
        let mut old: Vec<Held> = Vec::new();
        while !self.is_over() {
            let policy = if self.roll(2) == 0 { &evict } else { &plain };
            let put = self.node().put_pool(&self.plan.pool, policy.clone(), ANY);
            if put.await.status >= 300 {
                let pause = self.later();
                self.pause(pause).await;
                continue;
            }
            self.failures = 0;
            for held in &mut old {
                self.renew(held).await;
            }
            for _ in 0..3 {
                if let (_, Some(held), _) = self.acquire().await {
                    old.push(held);
                }
            }
            if self.roll(3) == 0 {
                // Those expire with this, and are in no tombstone yet.
                self.pause(1_050).await;
                if let (_, Some(held), _) = self.acquire().await {
                    old.push(held);
                }
            }
            let call = self.node().call(Method::DELETE, &path).expect(ANY);
            self.record(Kind::Delete, &nobody, &nobody, call).await;
            let forgotten = old.len().saturating_sub(8);
            old.drain(..forgotten);
            let pause = self.roll(2 * self.plan.pause);
            self.pause(pause).await;
        }
    }

    /// Waits in the queue for a seat, has it for a moment, and gives it back. Asks all the time, so it never loses its place.
    async fn wait_in_line(mut self) {
        let nobody: Arc<str> = "".into();
        let mut ticket = String::new();
        while !self.is_over() {
            let body = if ticket.is_empty() {
                json!({"holder": &*self.holder, "wait": true})
            } else {
                json!({ "ticket": ticket })
            };
            let pool = self.plan.pool.clone();
            let call = self.node().acquire(&pool, body, ANY);
            let recorded = self.record_with(Kind::Acquire, &nobody, &nobody, &ticket, call);
            let (outcome, reply) = recorded.await;
            match outcome {
                Outcome::Queued => {
                    self.failures = 0;
                    if let (true, Some(text)) = (ticket.is_empty(), reply["ticket"].as_str()) {
                        text.clone_into(&mut ticket);
                    }
                    let pause = self.plan.pause + self.roll(3 * self.plan.pause);
                    self.pause(pause).await;
                }
                Outcome::Granted | Outcome::Existing => {
                    ticket.clear();
                    let mut held = Held {
                        id: reply.id().into(),
                        token: reply.token(),
                    };
                    let pause = self.roll(4 * self.plan.pause);
                    self.pause(pause).await;
                    if self.roll(2) == 0 {
                        self.renew(&mut held).await;
                    }
                    let call = self.node().release(&held.token, ANY);
                    self.record(Kind::Release, &held.id, &nobody, call).await;
                }
                Outcome::Unknown | Outcome::NotRun => {
                    let pause = self.later();
                    self.pause(pause).await;
                }
                _ => {
                    ticket.clear();
                    self.pause(self.plan.pause).await;
                }
            }
        }
    }

    /// Keeps a seat as a browser does: beats, and soon again when nobody answers.
    async fn keep(mut self) {
        while !self.is_over() {
            let (_, Some(mut held), _) = self.acquire().await else {
                let pause = 200 + self.roll(300);
                self.pause(pause).await;
                continue;
            };
            let mut pause = 0;
            loop {
                self.pause(pause).await;
                if self.is_over() {
                    return;
                }
                let beat = (self.plan.ttl / 3).min(10 * self.plan.pause);
                pause = match self.renew(&mut held).await {
                    Outcome::Renewed | Outcome::Resumed => {
                        self.failures = 0;
                        beat / 2 + self.roll(beat / 2 + 1)
                    }
                    Outcome::Unknown | Outcome::NotRun => self.later(),
                    _ => break,
                };
            }
        }
    }

    /// Holds seats for others, as a gateway does, and renews all of them in one request.
    async fn renew_for_many(mut self) {
        let mut all: Vec<Held> = Vec::new();
        while !self.is_over() {
            if all.len() < self.plan.seats_of_gateway {
                if let (_, Some(held), _) = self.acquire().await {
                    // Two requests with one key get one lease.
                    if !all.iter().any(|other| other.id == held.id) {
                        all.push(held);
                    }
                    continue;
                }
                self.pause(200).await;
            }
            if all.is_empty() {
                continue;
            }
            let pause = if self.renew_all(&mut all).await {
                self.failures = 0;
                self.plan.pause + self.roll(self.plan.pause)
            } else {
                self.later()
            };
            self.pause(pause).await;
        }
    }

    /// Renews all, and forgets those that are lost. Whether there was an answer.
    async fn renew_all(&mut self, all: &mut Vec<Held>) -> bool {
        let tokens: Vec<&str> = all.iter().map(|held| held.token.as_str()).collect();
        let call = self.node().renew_many(&tokens, ANY);
        let sent = now_ms();
        let reply = call.await;
        let received = now_ms();
        let results = match reply.status {
            200 => reply.list("results").to_vec(),
            0 | 503 => vec![Value::Null; all.len()],
            _ => {
                let text = format!("renew-many: {}: {}", reply.status, reply.text);
                self.log.strange.lock().expect("no panic").push(text);
                return false;
            }
        };
        // The call itself, and then a step for each of its leases.
        let steps = steps(&reply);
        let known = reply.status == 200 && steps.len() == results.len() + 1;
        let none = reply["outcome"] == "none";
        let mut kept = Vec::with_capacity(all.len());
        for (place, (mut held, result)) in all.drain(..).zip(&results).enumerate() {
            let (outcome, ran) = if known {
                let (_, seq, at) = steps[place + 1];
                let outcome = match (result["status"].as_str(), result["code"].as_str()) {
                    (Some("renewed"), _) => Outcome::Renewed,
                    (Some("resumed"), _) => Outcome::Resumed,
                    (_, Some("lease_expired")) => Outcome::Expired,
                    _ => Outcome::Final,
                };
                (outcome, Some((seq, at)))
            } else if none {
                (Outcome::NotRun, None)
            } else {
                (Outcome::Unknown, None)
            };
            let rest = result["expires_in_ms"].as_i64().unwrap_or(0);
            self.log.add(Operation {
                kind: Kind::Renew,
                outcome,
                sent,
                received,
                id: Arc::clone(&held.id),
                key: "".into(),
                ticket: "".into(),
                holder: Arc::clone(&self.holder),
                ran,
                expires_at: match ran {
                    Some((_, at)) if rest > 0 => at + rest,
                    _ => 0,
                },
                fence: 0,
            });
            if let Some(token) = result["token"].as_str() {
                token.clone_into(&mut held.token);
            }
            if !matches!(outcome, Outcome::Expired | Outcome::Final) {
                kept.push(held);
            }
        }
        *all = kept;
        reply.status == 200
    }
}
