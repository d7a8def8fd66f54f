//! The only place that spells keys. `lua/README.md` describes them.
//!
//! It is long because it is one list: whoever looks for a key finds it here, and nobody can spell one twice.
//!
//! What stands in front of all of them is fixed once for the process, because a process is a node of one installation: as a part of
//! every key it would otherwise go through every function that names one.

use std::fmt::Write as _;
use std::sync::OnceLock;

use redis::{RedisWrite, ToRedisArgs};

use super::error::Error;
use super::slot::{crc16, slot};
use crate::names::{Holder, KeyPrefix, LeaseId, PoolName, Tenant};
use crate::token::fingerprint;
use crate::webhook::WebhookId;

/// Version of the format; in front of every key, behind the prefix of the installation.
const FORMAT: &str = "lh1";

/// What stands in front of every key, the version with it.
static PREFIX: OnceLock<String> = OnceLock::new();

/// What stands in front of every key, as patterns and rights of users name it: `staging:lh1`.
pub(super) fn root(prefix: &KeyPrefix) -> String {
    if prefix.is_empty() {
        FORMAT.to_owned()
    } else {
        format!("{prefix}:{FORMAT}")
    }
}

/// Fixes what stands in front of every key, before any is named.
pub(super) fn begin_with(prefix: &KeyPrefix) -> Result<(), Error> {
    let wanted = root(prefix);
    if PREFIX.get_or_init(|| wanted.clone()) == &wanted {
        return Ok(());
    }
    Err(Error::not_sent(
        "one process is of one installation: it has used another key_prefix before",
    ))
}

/// What stands in front of every key.
fn prefix() -> &'static str {
    PREFIX.get_or_init(|| FORMAT.to_owned())
}

/// A key that there is once in an installation; without what stands in front of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key(&'static str);

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", prefix(), self.0)
    }
}

impl ToRedisArgs for Key {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}

impl redis::ToSingleRedisArg for Key {}

/// How many buckets an installation has. Fixed at the first start, because it is part of every key.
pub(super) const BUCKETS: u16 = 32;

/// STRING: number of buckets of this installation.
pub(super) const BUCKET_COUNT: Key = Key("buckets");

/// STRING: tells this installation from others; made at the first start.
pub(super) const INSTALLATION: Key = Key("installation");

/// STRING: the secret that signs tokens, where no setting gives one.
pub(super) const SECRET: Key = Key("secret");

/// STRING: grows with every change of an access key. In one slot with [`ACCESS_KEYS`].
pub(super) const ACCESS_KEYS_REVISION: Key = Key("{keys}:revision");

/// All keys of an installation, as `ACL SETUSER` takes it.
pub(super) const ALL: Key = Key("*");

/// All channels of an installation, as `ACL SETUSER` takes it. A user may subscribe to a pattern only if its rights have
/// exactly that pattern.
pub(super) const QUEUES: Key = Key("*:queue");

/// A channel on which nobody publishes. Whoever listens on it has a subscription also while nobody waits, and is not cut as an
/// idle client.
pub(super) const LISTENING: Key = Key("{nodes}:queue");

/// The HASH, ZSET, STREAM or STRING that rights are tried with. The ZSET is also a channel.
pub(super) fn probe(kind: &str) -> Option<Key> {
    Some(match kind {
        "hash" => Key("{doctor}:hash"),
        "zset" => Key("{doctor}:queue"),
        "stream" => Key("{doctor}:stream"),
        "text" => Key("{doctor}:text"),
        _ => return None,
    })
}

/// One key of each kind that there is.
pub(super) fn of_each_kind() -> impl Iterator<Item = String> {
    let single = [
        BUCKET_COUNT,
        INSTALLATION,
        SECRET,
        ACCESS_KEYS_REVISION,
        ACCESS_KEYS,
        NODES,
        WEBHOOKS_REVISION,
        AUDIT,
        SESSIONS,
        ACCESS_KEY_USES,
    ];
    let single = single.into_iter().map(|key| key.to_string());
    single
        .chain([login("x")])
        .chain(Bucket::all().map(Bucket::clock))
}

/// HASH: key id -> its record, JSON.
pub(super) const ACCESS_KEYS: Key = Key("{keys}:records");

/// ZSET: the last changes of access keys, each a revision and the id of a key -> the revision. In one slot with [`ACCESS_KEYS`].
pub(super) const ACCESS_KEY_CHANGES: Key = Key("{keys}:changes");

/// ZSET: key id -> when it was used last, ms. In one slot with [`ACCESS_KEYS`].
pub(super) const ACCESS_KEY_USES: Key = Key("{keys}:used");

/// ZSET with a TTL: what a node says about itself, JSON -> when it did last, ms.
pub(super) const NODES: Key = Key("{nodes}:signs");

/// HASH: the marks of nodes, and of the buckets that they have ticked. In one slot with [`NODES`].
pub(super) const MARKS: Key = Key("{nodes}:marks");

/// STRING: grows with every change of a webhook. In one slot with everything else about alerts that is not of one bucket.
pub(super) const WEBHOOKS_REVISION: Key = Key("{alerts}:revision");

/// HASH: webhook id -> its record, JSON, with its secrets.
pub(super) const WEBHOOKS: Key = Key("{alerts}:webhooks");

/// STREAM: the alerts of all buckets.
pub(super) const ALERT_LOG: Key = Key("{alerts}:log");

/// HASH: alert id -> the alert, JSON, while it is raised.
pub(super) const RAISED: Key = Key("{alerts}:raised");

/// HASH: id of a raised alert -> who acknowledged it, JSON.
pub(super) const ACKNOWLEDGED: Key = Key("{alerts}:acknowledged");

/// HASH: id of a raised alert of which a snooze kept the messages back -> the snooze.
pub(super) const SUPPRESSED: Key = Key("{alerts}:suppressed");

/// HASH: alert and webhook -> when the last reminder was made, or the message that a snooze had kept back, ms.
pub(super) const REMINDED: Key = Key("{alerts}:reminded");

/// HASH: snooze id -> which alerts, until when, and by whom, JSON.
pub(super) const SNOOZES: Key = Key("{alerts}:snoozes");

/// HASH: bucket -> last entry of its outbox that is in the log.
pub(super) const RELAYED: Key = Key("{alerts}:relayed");

/// HASH: the clock of what is done about alerts; as that of a bucket.
pub(super) const ALERTS_CLOCK: Key = Key("{alerts}:clock");

/// HASH: delivery id -> its record, JSON.
pub(super) const DELIVERIES: Key = Key("{alerts}:deliveries");

/// ZSET: delivery id -> end of the claim of the node that sends it, ms.
pub(super) const CLAIMS: Key = Key("{alerts}:claims");

/// ZSET: deliveries of a webhook that wait for an attempt -> when it is due, ms.
pub(super) fn pending(webhook: &WebhookId) -> String {
    format!("{}:{{alerts}}:{webhook}:pending", prefix())
}

/// ZSET: deliveries of a webhook that arrived -> when, ms.
pub(super) fn delivered(webhook: &WebhookId) -> String {
    format!("{}:{{alerts}}:{webhook}:delivered", prefix())
}

/// ZSET: deliveries of a webhook that were given up -> when, ms.
pub(super) fn dead(webhook: &WebhookId) -> String {
    format!("{}:{{alerts}}:{webhook}:dead", prefix())
}

/// STREAM: who did what.
pub(super) const AUDIT: Key = Key("{audit}:trail");

/// STRING with a TTL: who is logged in to the admin pages, by the hash of what the browser keeps.
pub(super) fn login(fingerprint: &str) -> String {
    format!("{}:{{login}}:{fingerprint}", prefix())
}

/// HASH: hash of a login -> whose it is, with which secret it was made, from where and when, JSON. In the slot of the logins.
pub(super) const SESSIONS: Key = Key("sessions:{login}");

/// STRING with a TTL: a login that can be used once, by the hash of its code.
pub(super) fn login_code(fingerprint: &str) -> String {
    format!("{}:{{login}}:once:{fingerprint}", prefix())
}

/// STRING with a TTL: what the provider is shown when a login ends, encrypted, by the hash of what the browser keeps.
pub(super) fn login_hint(fingerprint: &str) -> String {
    format!("{}:{{login}}:hint:{fingerprint}", prefix())
}

/// The keys of records that every node has a copy of.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordKeys {
    revision: Key,
    records: Key,
    changes: Key,
}

impl RecordKeys {
    /// Those of access keys.
    pub(super) const ACCESS_KEYS: Self = Self {
        revision: ACCESS_KEYS_REVISION,
        records: ACCESS_KEYS,
        changes: ACCESS_KEY_CHANGES,
    };

    /// Those of webhooks.
    pub(super) const WEBHOOKS: Self = Self {
        revision: WEBHOOKS_REVISION,
        records: WEBHOOKS,
        // Nobody writes it: there are at most a hundred.
        changes: Key("{alerts}:changes"),
    };

    pub(super) const fn revision(self) -> Key {
        self.revision
    }

    pub(super) const fn records(self) -> Key {
        self.records
    }

    pub(super) const fn changes(self) -> Key {
        self.changes
    }
}

/// The keys of the log of alerts, of all buckets together.
#[derive(Debug, Clone, Copy)]
pub(super) struct AlertKeys;

impl AlertKeys {
    pub(super) const fn clock(self) -> Key {
        ALERTS_CLOCK
    }

    pub(super) const fn revision(self) -> Key {
        WEBHOOKS_REVISION
    }

    pub(super) const fn webhooks(self) -> Key {
        WEBHOOKS
    }

    pub(super) const fn relayed(self) -> Key {
        RELAYED
    }

    pub(super) const fn log(self) -> Key {
        ALERT_LOG
    }

    pub(super) const fn raised(self) -> Key {
        RAISED
    }

    pub(super) const fn acknowledged(self) -> Key {
        ACKNOWLEDGED
    }

    pub(super) const fn suppressed(self) -> Key {
        SUPPRESSED
    }

    pub(super) const fn snoozes(self) -> Key {
        SNOOZES
    }

    pub(super) const fn reminded(self) -> Key {
        REMINDED
    }

    pub(super) const fn deliveries(self) -> Key {
        DELIVERIES
    }

    pub(super) const fn claims(self) -> Key {
        CLAIMS
    }
}

/// The keys of one webhook, and those of alerts.
#[derive(Debug, Clone, Copy)]
pub(super) struct WebhookKeys<'a>(pub(super) &'a WebhookId);

impl WebhookKeys<'_> {
    pub(super) const fn clock(self) -> Key {
        AlertKeys.clock()
    }

    pub(super) const fn revision(self) -> Key {
        AlertKeys.revision()
    }

    pub(super) const fn webhooks(self) -> Key {
        AlertKeys.webhooks()
    }

    pub(super) const fn deliveries(self) -> Key {
        AlertKeys.deliveries()
    }

    pub(super) const fn claims(self) -> Key {
        AlertKeys.claims()
    }

    pub(super) fn pending(self) -> String {
        pending(self.0)
    }

    pub(super) fn delivered(self) -> String {
        delivered(self.0)
    }

    pub(super) fn dead(self) -> String {
        dead(self.0)
    }
}

/// A group of pools that share a hash tag, and so a cluster slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bucket(u16);

impl Bucket {
    /// The bucket of a pool.
    pub(super) fn of(pool: &PoolName) -> Self {
        Self(crc16(pool.as_str().as_bytes()) % BUCKETS)
    }

    /// The bucket whose silences count for what belongs to none.
    pub(super) const fn of_no_pool() -> Self {
        Self(0)
    }

    /// All buckets.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..BUCKETS).map(Self)
    }

    /// The bucket with this number, if there is one.
    pub(super) fn numbered(number: u16) -> Option<Self> {
        (number < BUCKETS).then_some(Self(number))
    }

    /// Its number, which is in its keys.
    pub(super) const fn number(self) -> u16 {
        self.0
    }

    /// Its place among all buckets.
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The cluster slot of all its keys.
    pub(super) fn slot(self) -> u16 {
        slot(self.clock().as_bytes())
    }

    /// HASH: the bucket's clock.
    pub(super) fn clock(self) -> String {
        format!("{}:{{{}}}:clock", prefix(), self.0)
    }

    /// HASH with a TTL: written to see whether writes pass. `probe` alone is that of nodes of the version before, a STRING.
    pub(super) fn probe(self) -> String {
        format!("{}:{{{}}}:probe:hash", prefix(), self.0)
    }

    /// No key: commands are tried on it.
    pub(super) fn absent(self) -> String {
        format!("{}:{{{}}}:probe:absent", prefix(), self.0)
    }

    /// ZSET: pool -> when a sweep has work, ms.
    pub(super) fn due(self) -> String {
        format!("{}:{{{}}}:due", prefix(), self.0)
    }

    /// HASH: when the bucket was last evaluated for alerts, and which were raised.
    pub(super) fn watch(self) -> String {
        format!("{}:{{{}}}:watch", prefix(), self.0)
    }

    /// STREAM: alerts of the bucket that are on the way into the log of all.
    pub(super) fn outbox(self) -> String {
        format!("{}:{{{}}}:alerts", prefix(), self.0)
    }

    /// ZSET: pool -> when its alerts are to be evaluated, ms.
    pub(super) fn evaluations(self) -> String {
        format!("{}:{{{}}}:evaluations", prefix(), self.0)
    }

    /// ZSET: pool -> when its history is to be rolled up, ms.
    pub(super) fn rollups(self) -> String {
        format!("{}:{{{}}}:rollups", prefix(), self.0)
    }

    /// ZSET: the bucket's pools -> version.
    pub(super) fn pools(self) -> String {
        format!("{}:{{{}}}:pools", prefix(), self.0)
    }
}

/// Whose leases of a pool are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexedBy<'a> {
    /// Everybody's.
    All,
    /// Those of one holder.
    Holder(&'a Holder),
    /// Those of one tenant.
    Tenant(&'a Tenant),
}

/// The keys of one pool.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The pool's bucket.
    pub(super) bucket: Bucket,
    prefix: String,
}

impl Keys {
    /// The keys of `pool`.
    pub(super) fn of(pool: &PoolName) -> Self {
        let bucket = Bucket::of(pool);
        Self {
            bucket,
            prefix: format!("{}:{{{}}}:{pool}:", prefix(), bucket.0),
        }
    }

    /// The clock of the pool's bucket.
    pub(super) fn clock(&self) -> String {
        self.bucket.clock()
    }

    /// The index of what is due in the pool's bucket.
    pub(super) fn due(&self) -> String {
        self.bucket.due()
    }

    /// The names of the pools of the pool's bucket.
    pub(super) fn pools(&self) -> String {
        self.bucket.pools()
    }

    /// The alerts of the pool's bucket that are on their way.
    pub(super) fn outbox(&self) -> String {
        self.bucket.outbox()
    }

    /// The pools of the pool's bucket whose alerts are to be evaluated.
    pub(super) fn evaluations(&self) -> String {
        self.bucket.evaluations()
    }

    /// The pools of the pool's bucket whose history is to be rolled up.
    pub(super) fn rollups(&self) -> String {
        self.bucket.rollups()
    }

    /// The mark of the whole pool.
    pub(super) fn pool_mark(&self) -> String {
        self.mark(IndexedBy::All)
    }

    fn key(&self, name: &str) -> String {
        let mut key = String::with_capacity(self.prefix.len() + name.len());
        key.push_str(&self.prefix);
        key.push_str(name);
        key
    }

    /// HASH: the policy.
    pub(super) fn config(&self) -> String {
        self.key("config")
    }

    /// ZSET: lease id -> expiry, ms.
    pub(super) fn leases(&self) -> String {
        self.key("leases")
    }

    /// ZSET: lease id -> end, ms, until its record is stamped.
    pub(super) fn expired(&self) -> String {
        self.key("expired")
    }

    /// STREAM: the history.
    pub(super) fn events(&self) -> String {
        self.key("events")
    }

    /// STREAM: the history while it is copied, within a script.
    pub(super) fn events_copy(&self) -> String {
        self.key("events:copy")
    }

    /// ZSET: holder -> start of its run of denials, ms.
    pub(super) fn denied(&self) -> String {
        self.key("denied")
    }

    /// HASH: minute and code -> how many acquires were denied, until that is rolled up.
    pub(super) fn denials(&self) -> String {
        self.key("denials")
    }

    /// ZSET: holder -> end of its block, ms.
    pub(super) fn blocks(&self) -> String {
        self.key("blocks")
    }

    /// HASH with a TTL: holder -> end and start of its block, its author and its reason.
    pub(super) fn block_notes(&self) -> String {
        self.key("block_notes")
    }

    /// HASH with a TTL: lease id -> what an operator left for its next heartbeat.
    pub(super) fn notices(&self) -> String {
        self.key("notices")
    }

    /// HASH with a TTL: up to which fence the leases of the pool, or those of it that this names, were ended at once, and why.
    pub(super) fn mark(&self, whose: IndexedBy<'_>) -> String {
        match whose {
            IndexedBy::All => self.key("ended"),
            IndexedBy::Holder(holder) => {
                self.key_of("ended:", fingerprint(&[b"holder", holder.key().as_bytes()]))
            }
            IndexedBy::Tenant(tenant) => self.key_of(
                "ended:",
                fingerprint(&[b"tenant", tenant.as_str().as_bytes()]),
            ),
        }
    }

    /// ZSET: lease id -> end, ms, of evicted leases until their record is stamped.
    pub(super) fn evicted(&self) -> String {
        self.key("evicted")
    }

    /// HASH: lease id -> kind of seat, fence, tenant and holder.
    pub(super) fn who(&self) -> String {
        self.key("who")
    }

    /// HASH: seats in use, in all, by kind and by tenant.
    pub(super) fn seats(&self) -> String {
        self.key("seats")
    }

    /// ZSET: leases by holder, kind, tenant and fence.
    pub(super) fn holders(&self) -> String {
        self.key("holders")
    }

    /// HASH: seat-milliseconds of overdraft, by day.
    pub(super) fn lent(&self) -> String {
        self.key("lent")
    }

    /// ZSET: lease id -> when its user was last active, ms; only of those that nobody uses.
    pub(super) fn idle(&self) -> String {
        self.key("idle")
    }

    /// ZSET: lease id -> fence, of leases in a pool with a longest hold.
    pub(super) fn held(&self) -> String {
        self.key("held")
    }

    /// ZSET: named seats by period and holder.
    pub(super) fn named(&self) -> String {
        self.key("named")
    }

    /// ZSET: ticket -> order of arrival. Also the name of the channel on which tickets are called.
    pub(super) fn queue(&self) -> String {
        self.key("queue")
    }

    /// ZSET: ticket -> deadline of its next request, ms.
    pub(super) fn waiting(&self) -> String {
        self.key("waiting")
    }

    /// HASH: ticket -> what was asked for.
    pub(super) fn tickets(&self) -> String {
        self.key("tickets")
    }

    /// ZSET: those who are to be called for a seat, and those who are called, by tenant and arrival.
    pub(super) fn line(&self) -> String {
        self.key("line")
    }

    /// ZSET: tenant -> arrival of its first one in line.
    pub(super) fn heads(&self) -> String {
        self.key("heads")
    }

    /// ZSET: tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms.
    pub(super) fn called(&self) -> String {
        self.key("called")
    }

    /// HASH: what is known of the pool's alerts, and how far its events are judged.
    pub(super) fn alerts(&self) -> String {
        self.key("alerts")
    }

    /// HASH with a TTL: lease id -> what is known of it until its end is written down.
    pub(super) fn records(&self) -> String {
        self.key("records")
    }

    /// HASH with a TTL: how one lease ended.
    pub(super) fn tombstone(&self, id: LeaseId) -> String {
        self.key_of("lease:", id)
    }

    /// STRING with a TTL: the lease that an idempotency key got.
    pub(super) fn repeated(&self, key: LeaseId) -> String {
        self.key_of("key:", key)
    }

    /// STRING: how far the events are rolled up.
    pub(super) fn rolled(&self) -> String {
        self.key("rolled")
    }

    /// HASH with a TTL: slots of one length.
    pub(super) fn slots(&self, step: &str, stretch: i64) -> String {
        format!("{}{step}:{stretch}", self.prefix)
    }

    fn key_of(&self, kind: &str, id: LeaseId) -> String {
        let mut key = String::with_capacity(self.prefix.len() + kind.len() + LeaseId::LEN);
        key.push_str(&self.prefix);
        key.push_str(kind);
        write!(key, "{id}").expect("a string takes any text");
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_pool_carry_its_bucket_as_the_hash_tag() {
        let keys = Keys::of(&"crm".parse().unwrap());
        let tag = format!("lh1:{{{}}}:", keys.bucket.0);
        let id = LeaseId::from_bytes([0; 16]);
        for key in [
            keys.bucket.clock(),
            keys.bucket.due(),
            keys.bucket.pools(),
            keys.config(),
            keys.leases(),
            keys.expired(),
            keys.events(),
            keys.denied(),
            keys.denials(),
            keys.blocks(),
            keys.notices(),
            keys.evicted(),
            keys.who(),
            keys.seats(),
            keys.holders(),
            keys.lent(),
            keys.named(),
            keys.queue(),
            keys.waiting(),
            keys.tickets(),
            keys.line(),
            keys.heads(),
            keys.called(),
            keys.alerts(),
            keys.bucket.watch(),
            keys.bucket.outbox(),
            keys.bucket.evaluations(),
            keys.bucket.rollups(),
            keys.events_copy(),
            keys.records(),
            keys.tombstone(id),
            keys.repeated(id),
        ] {
            assert!(key.starts_with(&tag), "{key}");
        }
        assert_eq!(
            keys.tombstone(id),
            format!("{tag}crm:lease:AAAAAAAAAAAAAAAAAAAAAA")
        );
    }
}
