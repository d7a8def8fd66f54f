//! The only module that speaks Redis: one method per script of `lua/`.
//!
//! Everything is decided by the scripts, at one instant, by Redis's clock. This module names the keys, sends the
//! call and decodes the reply; it keeps nothing that decides. Deliberately absent: a trait with a second
//! implementation in memory. The scripts are the logic, so a fake would test nothing.

mod access_keys;
mod acknowledge_alert;
mod acquire;
mod acquire_by_rules;
mod acquire_many;
mod agreement;
mod alert_log;
mod alerts;
mod audit;
mod batcher;
mod blocks;
mod call;
mod check;
mod clock_shift;
mod connection;
mod deliveries;
mod diagnosis;
pub mod embedded;
mod error;
mod events;
mod failover;
mod formats;
mod health;
mod heartbeat;
mod hints;
mod history;
mod info;
mod installation;
mod keys;
mod lease;
mod leave;
mod leave_notice;
mod leave_queue;
mod list;
mod list_queue;
mod logins;
mod losses;
mod meters;
mod named;
mod nodes;
mod ownership;
mod past;
mod policy_snapshot;
mod poll_queue;
mod pool_cache;
mod pools;
mod readiness;
mod record;
mod records;
mod reindex;
mod release;
mod remind_alerts;
mod renew;
mod renew_by_rules;
mod renewals;
mod request_seat;
mod restore;
mod resume;
mod rights;
mod script;
mod script_trace;
#[allow(clippy::identity_op, reason = "positions of generated code may be 0")]
mod scripts;
mod seats;
mod secret;
mod slot;
mod snooze_alerts;
mod sweeper;
mod terminate;
mod unreadable;
mod use_reports;
mod waiters;
mod webhooks;
mod yield_seat;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

pub use self::access_keys::PutKey;
pub use self::acknowledge_alert::{Acknowledged, Acknowledgement};
pub use self::acquire::{AcquireRequest, Acquired, Denial, Grant, Wait};
pub use self::acquire_many::ACQUIRE_AT_ONCE;
use self::agreement::Agreement;
pub(crate) use self::agreement::disagreements;
pub use self::alert_log::{AlertsFilter, AlertsPage, LoggedAlert};
pub use self::alerts::{Alert, AlertState};
pub use self::audit::{Action, ActionOutcome, AuditEntry, AuditFilter, OwnEntries};
use self::batcher::Batcher;
pub use self::blocks::{Block, BlockEnd, Blocked, LONGEST_BLOCK};
use self::call::within_deadline;
pub use self::check::Checked;
use self::connection::Connections;
pub use self::deliveries::{Attempt, Claimed, Delivery, Enqueued, Finished, Stage};
pub use self::diagnosis::diagnose;
pub use self::error::{Error, Outcome, Trouble};
pub use self::events::{Event, EventId, Silence};
pub use self::failover::{FailoverResult, fail_over};
use self::hints::Hints;
pub use self::history::{Denials, RollupLooks, RollupState, SlotRange, SlotRequest};
use self::keys::Bucket;
pub use self::leave_notice::{Left, MAX_NOTICES, Notice, NoticeLeft};
pub use self::leave_queue::{Leaving, QueueLeft, Turn};
pub use self::list::{Cursor, Listing, Selection, Sort};
pub use self::list_queue::{Waiter, Waiters};
pub use self::logins::{CODE, LOGIN, Login, OpenSession, Session, SessionOfPerson};
use self::losses::Losses;
use self::meters::Meters;
pub(crate) use self::meters::{AcquireOutcome, EndKind, OTHERS, Series};
pub use self::named::{Force, NamedChange, NamedChanged, NamedSeat, NamedSeats};
pub use self::nodes::{Announcement, Node, Server};
pub use self::past::PastEvent;
pub use self::policy_snapshot::PolicySnapshot;
use self::pool_cache::PoolCache;
pub use self::pools::{Deleted, Expect, Put};
pub use self::readiness::Readiness;
pub use self::renew::{Renewal, Renewed};
use self::renewals::Renewals;
pub use self::request_seat::RequestedSeat;
#[doc(hidden)]
pub use self::script::text_of as script_text;
pub use self::script_trace::{ScriptTrace, carry, durable};
use self::seats::SeatRequest;
pub use self::snooze_alerts::{Snooze, Snoozed};
pub use self::terminate::{Terminated, Termination};
use self::unreadable::Unreadable;
use self::use_reports::UseReports;
pub use self::waiters::HeldOpen;
use self::waiters::Lines;
pub use self::webhooks::PutWebhook;
use crate::config::Durability;
use crate::names::KeyPrefix;
use crate::tasks;
use crate::time::Timestamp;
use crate::tls::Tls;

/// The pools and leases of an installation, in Redis. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

/// What all clones share.
pub(crate) struct Shared {
    connections: Connections,
    /// For calls that wait for a replica, which keeps their connection from others.
    waiting: Option<Connections>,
    pool_cache: PoolCache,
    use_reports: UseReports,
    losses: Losses,
    renewals: Renewals,
    seats: Batcher<SeatRequest>,
    keyring: access_keys::KeyCache,
    key_uses: access_keys::Uses,
    webhooks: webhooks::WebhookCache,
    hints: Hints,
    lines: Lines,
    meters: Meters,
    unreadable: Unreadable,
    agreement: Agreement,
    /// Whether this node ends what is due.
    sweeps: bool,
    owned: ownership::Owned,
    alert_looks: alerts::AlertLooks,
    /// What this node is called among the others.
    node: String,
    servers: nodes::ServersCache,
    installation: installation::Installation,
    /// What signs tokens, if it is kept in the store.
    secret: std::sync::RwLock<Option<SecretString>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.0.connections)
    }
}

/// How to reach Redis.
#[derive(Debug)]
pub struct Options {
    /// Any of the forms that [`crate::config::RedisUrl`] reads.
    pub url: SecretString,
    /// How the two ends of a connection with TLS know each other.
    pub tls: Tls,
    /// What stands in front of every key; one for the process.
    pub key_prefix: KeyPrefix,
    /// Maximum connections of this node.
    pub connections: u32,
    /// How long Redis may take for one answer.
    pub timeout: Duration,
    /// How often this node ends what is due; zero for never.
    pub sweep_every: Duration,
    /// What acquire, release and terminate wait for.
    pub durability: Durability,
    /// Maximum pools with metric series of their own.
    pub metrics_max_pools: usize,
}

impl Store {
    /// Connects, loads all scripts, checks the server and opens the buckets. Fails rather than serve half.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        keys::begin_with(&options.key_prefix)?;
        let connections = Connections::open(options).await?;
        connections.check(options).await?;
        let waiting = match options.durability {
            Durability::Async => None,
            Durability::Replicated => Some(connections.another(options).await?),
        };

        let lanes = if connections.source().is_cluster() {
            usize::from(keys::BUCKETS)
        } else {
            1
        };
        let store = Self(Arc::new_cyclic(|shared: &std::sync::Weak<Shared>| Shared {
            connections,
            waiting,
            pool_cache: PoolCache::new(),
            use_reports: UseReports::default(),
            losses: Losses::default(),
            keyring: access_keys::KeyCache::default(),
            key_uses: access_keys::Uses::default(),
            webhooks: webhooks::WebhookCache::default(),
            hints: Hints::new(),
            lines: Lines::default(),
            meters: Meters::new(options.metrics_max_pools),
            unreadable: Unreadable::new(),
            agreement: Agreement::default(),
            sweeps: !options.sweep_every.is_zero(),
            owned: ownership::Owned::new(!options.sweep_every.is_zero()),
            alert_looks: alerts::AlertLooks::default(),
            node: nodes::new_id(),
            servers: nodes::ServersCache::default(),
            installation: installation::Installation::default(),
            secret: std::sync::RwLock::default(),
            renewals: Renewals::start(lanes, shared),
            seats: Batcher::start(lanes, shared),
        }));
        store.read_clock().await?;
        store.look_at_installation().await?;
        for bucket in Bucket::all() {
            store.open(bucket, 0).await?;
        }
        store.refresh_keys().await?;
        let shared = Arc::downgrade(&store.0);
        tasks::spawn("keyring", {
            let shared = shared.clone();
            move || access_keys::run(shared.clone())
        });
        if !options.sweep_every.is_zero() {
            let every = options.sweep_every;
            tasks::spawn("sweeper", move || sweeper::run(shared.clone(), every));
        }
        Ok(store)
    }

    /// Asks Redis for the time, once: from then on every answer carries it.
    async fn read_clock(&self) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        let (seconds, micros): (i64, i64) =
            redis::cmd("TIME").query_async(&mut *connection).await?;
        self.0
            .pool_cache
            .set_now(Timestamp(seconds * 1_000 + micros / 1_000));
        Ok(())
    }

    /// About what Redis's clock says; for the age of a token, never for a lease.
    pub fn now(&self) -> Timestamp {
        self.0.pool_cache.now()
    }
}

/// Text of a value that always has one.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// It is moved several times with each call: at 20 KB that was a tenth of a node's time for a heartbeat.
    #[test]
    fn what_waits_for_a_call_is_small() {
        let renew = size_of_future(|store: &'static Store, renewal| store.renew(renewal));
        let release = size_of_future(|store: &'static Store, claims| store.release(claims));
        let acquire =
            size_of_future(|store: &'static Store, (pool, asked)| store.acquire(pool, asked));
        assert!(renew <= 512, "{renew}");
        assert!(release <= 1_536, "{release}");
        assert!(acquire <= 3_072, "{acquire}");
    }
}
