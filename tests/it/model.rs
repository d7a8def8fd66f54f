//! Random operations against a plain model of what the contract says.
//!
//! Time is real, and only Redis's clock decides, so the model knows the end of a lease as two instants of this process:
//! before the request was sent plus the TTL, and after the answer came plus the TTL. In between it accepts either
//! answer and learns from it; outside it accepts one. A slow machine makes the model less sure, never wrong.
//!
//! `PROPTEST_CASES=500 cargo test --test it model` searches for longer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::ReferenceStateMachine;
use serde_json::json;

use crate::harness::{Launch, Node, Redis, Reply, let_pass};

const TTL: Duration = Duration::from_millis(1_000);
const LINGER: Duration = Duration::from_millis(300);
const WINDOW: Duration = Duration::from_millis(400);

#[derive(Debug, Clone)]
enum Step {
    Acquire,
    /// The same idempotency key as the acquire of this lease.
    AcquireAgain(usize),
    Renew(usize),
    RenewAll,
    Release(usize),
    Leave(usize),
    Terminate(usize),
    TerminateAll,
    Configure {
        capacity: u64,
    },
    Wait {
        ms: u64,
    },
}

/// Which steps make sense: those about a lease come after an acquire.
struct Story;

impl ReferenceStateMachine for Story {
    /// How many acquires there were. A lease is named by a number, modulo those that were granted.
    type State = usize;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<usize> {
        Just(0).boxed()
    }

    fn transitions(asked: &usize) -> BoxedStrategy<Step> {
        if *asked == 0 {
            return Just(Step::Acquire).boxed();
        }
        let lease = 0..*asked;
        prop_oneof![
            6 => Just(Step::Acquire),
            2 => lease.clone().prop_map(Step::AcquireAgain),
            5 => lease.clone().prop_map(Step::Renew),
            1 => Just(Step::RenewAll),
            2 => lease.clone().prop_map(Step::Release),
            2 => lease.clone().prop_map(Step::Leave),
            1 => lease.prop_map(Step::Terminate),
            1 => prop::bool::weighted(0.2).prop_map(|all| if all { Step::TerminateAll } else { Step::RenewAll }),
            1 => (0..5_u64).prop_map(|capacity| Step::Configure { capacity }),
            2 => prop::sample::select(vec![320, 650, 1_050]).prop_map(|ms| Step::Wait { ms }),
        ]
        .boxed()
    }

    fn apply(asked: usize, step: &Step) -> usize {
        asked + usize::from(matches!(step, Step::Acquire))
    }

    fn preconditions(asked: &usize, step: &Step) -> bool {
        match step {
            Step::AcquireAgain(lease)
            | Step::Renew(lease)
            | Step::Release(lease)
            | Step::Leave(lease)
            | Step::Terminate(lease) => lease < asked,
            _ => true,
        }
    }
}

/// An instant of Redis's, known to lie between two of ours.
#[derive(Debug, Clone, Copy)]
struct Between(Instant, Instant);

impl Between {
    fn plus(self, time: Duration) -> Self {
        Self(self.0 + time, self.1 + time)
    }

    fn or_earlier(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.min(other.1))
    }

    /// Whether it is before `other`, if that is certain.
    fn is_before(self, other: Self) -> Option<bool> {
        // Redis counts whole milliseconds.
        let grain = Duration::from_millis(2);
        if self.1 + grain < other.0 {
            Some(true)
        } else if other.1 + grain < self.0 {
            Some(false)
        } else {
            None
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Lives until `ends`, and can be resumed for a while after it.
    Timed,
    Released,
    Terminated,
}

#[derive(Debug, Clone)]
struct Lease {
    id: String,
    token: String,
    key: String,
    fate: Fate,
    ends: Between,
}

impl Lease {
    /// Whether it lives at this time, if that is certain.
    fn lives(&self, at: Between) -> Option<bool> {
        match self.fate {
            Fate::Timed => at.is_before(self.ends),
            Fate::Released | Fate::Terminated => Some(false),
        }
    }
}

/// How many there are at least and at most.
#[derive(Debug, Clone, Copy)]
struct Count {
    least: u64,
    most: u64,
}

impl Count {
    /// Whether they are fewer than `capacity`, if that is certain.
    fn fits_below(self, capacity: u64) -> Option<bool> {
        if self.most < capacity {
            Some(true)
        } else if self.least >= capacity {
            Some(false)
        } else {
            None
        }
    }

    fn allows(self, count: u64) -> bool {
        (self.least..=self.most).contains(&count)
    }
}

/// Holds a certain expectation against what happened.
fn agree(expected: Option<bool>, happened: bool, what: &str, reply: &Reply) {
    if let Some(expected) = expected {
        assert_eq!(
            happened, expected,
            "{what}: {} {}",
            reply.status, reply.text
        );
    }
}

/// The pool as it must be, next to the pool as it is.
struct World<'a> {
    node: &'a Node,
    redis: &'a Redis,
    pool: String,
    capacity: u64,
    /// Leases that were listed after the last step; more than `capacity` only after it was lowered.
    listed: usize,
    leases: Vec<Lease>,
    acquires: usize,
    newest_fence: u64,
}

/// Makes a call and brackets it: the script ran between the two instants.
async fn timed(call: impl Future<Output = Reply>) -> (Reply, Between) {
    let sent = Instant::now();
    let reply = call.await;
    (reply, Between(sent, Instant::now()))
}

impl<'a> World<'a> {
    async fn new(node: &'a Node, redis: &'a Redis) -> Self {
        static CASES: AtomicUsize = AtomicUsize::new(0);
        let pool = format!("case-{}", CASES.fetch_add(1, Ordering::Relaxed));
        let mut world = Self {
            node,
            redis,
            pool,
            capacity: 0,
            listed: 0,
            leases: Vec::new(),
            acquires: 0,
            newest_fence: 0,
        };
        world.configure(3).await;
        world
    }

    /// Live leases at this time, without the one of this number.
    fn live(&self, at: Between, except: Option<usize>) -> Count {
        let others = self
            .leases
            .iter()
            .enumerate()
            .filter(|(number, _)| Some(*number) != except);
        let mut count = Count { least: 0, most: 0 };
        for (_, lease) in others {
            let lives = lease.lives(at);
            count.least += u64::from(lives == Some(true));
            count.most += u64::from(lives != Some(false));
        }
        count
    }

    /// The number of a granted lease; `None` without a grant.
    fn pick(&self, number: usize) -> Option<usize> {
        number.checked_rem(self.leases.len())
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Acquire => {
                self.acquires += 1;
                self.acquire(format!("key-{}", self.acquires)).await;
            }
            Step::AcquireAgain(number) => {
                if let Some(number) = self.pick(number) {
                    self.acquire(self.leases[number].key.clone()).await;
                }
            }
            Step::Renew(number) => {
                if let Some(number) = self.pick(number) {
                    self.renew(number).await;
                }
            }
            Step::RenewAll => self.renew_all().await,
            Step::Release(number) => {
                if let Some(number) = self.pick(number) {
                    self.node.release(&self.leases[number].token, 204).await;
                    let lease = &mut self.leases[number];
                    if lease.fate == Fate::Timed {
                        lease.fate = Fate::Released;
                    }
                }
            }
            Step::Leave(number) => {
                if let Some(number) = self.pick(number) {
                    let (_, at) = timed(self.node.leave(&self.leases[number].token, 204)).await;
                    let lease = &mut self.leases[number];
                    // If it is not certain that it lived, its end is not either, and leaving moves it by nothing
                    // with an observable difference.
                    if lease.lives(at) == Some(true) {
                        lease.ends = lease.ends.or_earlier(at.plus(LINGER));
                    }
                }
            }
            Step::Terminate(number) => {
                if let Some(number) = self.pick(number) {
                    self.terminate(&[number]).await;
                }
            }
            Step::TerminateAll => {
                let (reply, at) =
                    timed(self.node.terminate(&self.pool, json!({"all": true}), 200)).await;
                let ended: BTreeSet<_> = reply
                    .list("results")
                    .iter()
                    .map(|result| result["id"].to_string())
                    .collect();
                for lease in &mut self.leases {
                    let named = ended.contains(&json!(lease.id).to_string());
                    agree(
                        lease.lives(at),
                        named,
                        &format!("terminate all: {}", lease.id),
                        &reply,
                    );
                    // Also what had ended by time, and could have been resumed.
                    if lease.fate == Fate::Timed {
                        lease.fate = Fate::Terminated;
                    }
                }
            }
            Step::Configure { capacity } => self.configure(capacity).await,
            Step::Wait { ms } => let_pass(ms).await,
        }
    }

    async fn configure(&mut self, capacity: u64) {
        let policy = json!({"capacity": capacity, "ttl_ms": TTL.as_millis(), "linger_ms": LINGER.as_millis(),
            "resume_window_ms": WINDOW.as_millis()});
        self.node.put_pool(&self.pool, policy, [200, 201]).await;
        self.capacity = capacity;
    }

    async fn acquire(&mut self, key: String) {
        let (reply, at) =
            timed(
                self.node
                    .acquire_once(&self.pool, &key, json!({}), [200, 201, 409]),
            )
            .await;
        let earlier = self.leases.iter().rposition(|lease| lease.key == key);
        let lives = earlier.map_or(Some(false), |number| self.leases[number].lives(at));
        agree(
            lives,
            reply.status == 200,
            "the lease of the key lives",
            &reply,
        );
        if reply.status == 200 {
            let lease = &self.leases[earlier.expect("only a key that was used has a lease")];
            assert_eq!(reply.id(), lease.id);
            return;
        }

        let live = self.live(at, None);
        agree(
            live.fits_below(self.capacity),
            reply.status == 201,
            "a seat is free",
            &reply,
        );
        if reply.status == 409 {
            assert_eq!(reply["code"], "pool_full");
            assert_eq!(reply["capacity"], self.capacity);
            assert!(
                live.allows(reply.number("/in_use")),
                "{live:?}: {}",
                reply.text
            );
            assert!(reply.number("/retry_after_ms") <= 1_000, "{}", reply.text);
            return;
        }
        assert!(
            live.allows(reply.number("/pool/in_use") - 1),
            "{live:?}: {}",
            reply.text
        );
        assert!(
            reply.number("/pool/in_use") <= self.capacity,
            "one too many: {}",
            reply.text
        );
        let fence = reply.number("/lease/fence");
        assert!(
            fence > self.newest_fence,
            "fence {fence} after {}",
            self.newest_fence
        );
        self.newest_fence = fence;
        let lease = Lease {
            id: reply.id(),
            token: reply.token(),
            key,
            fate: Fate::Timed,
            ends: at.plus(TTL),
        };
        self.leases.push(lease);
    }

    async fn renew(&mut self, number: usize) {
        let (reply, at) = timed(self.node.renew(&self.leases[number].token, [200, 410])).await;
        let outcome = match (reply.status, reply["resumed"].as_bool()) {
            (200, Some(false)) => "renewed",
            (200, Some(true)) => "resumed",
            _ => "lost",
        };
        let code = reply["code"].as_str().unwrap_or_default().to_owned();
        self.renewed(
            number,
            at,
            self.live(at, Some(number)),
            outcome,
            &code,
            &reply,
        );
    }

    /// All leases in one call. Resumes among them take seats from each other, so only what each may be is checked.
    async fn renew_all(&mut self) {
        let tokens: Vec<_> = self
            .leases
            .iter()
            .map(|lease| lease.token.clone())
            .collect();
        let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
        let (reply, at) = timed(self.node.renew_many(&tokens, 200)).await;
        let results = reply.list("results").to_vec();
        assert_eq!(results.len(), self.leases.len());
        let resumed = results
            .iter()
            .filter(|result| result["status"] == "resumed")
            .count() as u64;
        let before: Vec<_> = (0..results.len())
            .map(|number| self.live(at, Some(number)))
            .collect();
        for (number, result) in results.iter().enumerate() {
            assert_eq!(result["id"], self.leases[number].id);
            let others = Count {
                least: before[number].least,
                most: before[number].most + resumed,
            };
            let code = result["code"].as_str().unwrap_or_default();
            let outcome = result["status"].as_str().unwrap_or_default();
            self.renewed(number, at, others, outcome, code, &reply);
        }
    }

    fn renewed(
        &mut self,
        number: usize,
        at: Between,
        others: Count,
        outcome: &str,
        code: &str,
        reply: &Reply,
    ) {
        let free = others.fits_below(self.capacity);
        let lease = &mut self.leases[number];
        match lease.fate {
            Fate::Released => return assert_eq!(code, "lease_released", "{}", reply.text),
            Fate::Terminated => return assert_eq!(code, "lease_terminated", "{}", reply.text),
            Fate::Timed => {}
        }
        agree(
            lease.lives(at),
            outcome == "renewed",
            "the lease lives",
            reply,
        );
        if outcome == "renewed" {
            lease.ends = at.plus(TTL);
            return;
        }
        let in_time = at.is_before(lease.ends.plus(WINDOW));
        let may_resume = match (in_time, free) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        agree(
            may_resume,
            outcome == "resumed",
            "the lease can be resumed",
            reply,
        );
        if outcome == "resumed" {
            lease.ends = at.plus(TTL);
        } else {
            assert_eq!((outcome, code), ("lost", "lease_expired"), "{}", reply.text);
        }
    }

    async fn terminate(&mut self, numbers: &[usize]) {
        let ids: Vec<_> = numbers
            .iter()
            .map(|number| &self.leases[*number].id)
            .collect();
        let (reply, at) = timed(self.node.terminate(&self.pool, json!({ "ids": ids }), 200)).await;
        for (number, result) in numbers.iter().zip(reply.list("results")) {
            let lease = &mut self.leases[*number];
            agree(
                lease.lives(at),
                result["status"] == "terminated",
                "the lease lives",
                &reply,
            );
            // One that has expired is terminated too: it cannot be resumed.
            if lease.fate == Fate::Timed {
                lease.fate = Fate::Terminated;
            }
        }
    }

    /// What holds after every step.
    async fn check(&mut self) {
        let (reply, at) = timed(self.node.list(&self.pool, "limit=1000", 200)).await;
        let items = reply.list("items");
        let listed: BTreeSet<_> = items
            .iter()
            .map(|item| item["id"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(listed.len(), items.len(), "listed twice: {}", reply.text);
        for lease in &self.leases {
            agree(
                lease.lives(at),
                listed.contains(lease.id.as_str()),
                &format!("{} is listed", lease.id),
                &reply,
            );
        }
        let known = listed
            .iter()
            .all(|id| self.leases.iter().any(|lease| lease.id == *id));
        assert!(known, "a lease that nobody acquired: {}", reply.text);

        // Only a capacity that was lowered leaves more leases than seats, and then they only become fewer.
        let limit = self
            .listed
            .max(usize::try_from(self.capacity).expect("small"));
        assert!(
            listed.len() <= limit,
            "{} leases, at most {limit}: {}",
            listed.len(),
            reply.text
        );
        self.listed = listed.len();

        let (reply, at) = timed(self.node.availability(&self.pool, 200)).await;
        let (live, in_use) = (self.live(at, None), reply.number("/in_use"));
        assert!(live.allows(in_use), "{live:?}: {}", reply.text);
        assert_eq!(reply["capacity"], self.capacity);
        assert_eq!(reply["free"], self.capacity.saturating_sub(in_use));

        let (balance, members) = self.redis.balance(&self.pool).await;
        assert_eq!(
            balance, members,
            "starts less ends, and members of the sorted set"
        );
    }

    /// What holds at the end: every lease has a start, then by turns an end and a return.
    async fn check_history(&self) {
        let events = self.redis.events(&self.pool).await;
        for lease in &self.leases {
            let story: Vec<_> = events.iter().filter(|event| event.id == lease.id).collect();
            assert_eq!(story[0].kind, "started", "{story:?}");
            for pair in story.windows(2) {
                assert_eq!(pair[0].change(), -pair[1].change(), "{story:?}");
                assert!(pair[0].at <= pair[1].at, "{story:?}");
            }
            let last = story
                .iter()
                .rev()
                .find(|event| event.kind == "ended")
                .map(|event| event.reason.as_str());
            let fits = match lease.fate {
                Fate::Timed => matches!(last, None | Some("expired")),
                // It may have expired before.
                Fate::Released => matches!(last, Some("released" | "expired")),
                Fate::Terminated => matches!(last, Some("terminated" | "expired")),
            };
            assert!(fits, "{lease:?}: {story:?}");
        }
    }
}

#[test]
fn random_operations_do_what_a_plain_model_of_the_contract_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads");
    // Values that need the runtime are dropped in it.
    let _entered = runtime.enter();
    let redis = runtime.block_on(Redis::start());
    let node = runtime.block_on(Launch::on(&redis.url()).start());

    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(16);
    let config = Config {
        cases,
        failure_persistence: None,
        // A step takes real time, so shrinking has to come to an end.
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let result =
        TestRunner::new(config).run(&Story::sequential_strategy(1..40), |(_, steps, seen)| {
            runtime.block_on(async {
                let mut world = World::new(&node, &redis).await;
                for step in &steps {
                    if let Some(seen) = &seen {
                        seen.fetch_add(1, Ordering::SeqCst);
                    }
                    world.take(step).await;
                    world.check().await;
                }
                world.check_history().await;
            });
            Ok(())
        });
    if let Err(error) = result {
        panic!("{error}");
    }
}
