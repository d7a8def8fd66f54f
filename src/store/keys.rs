//! The only place that spells keys. `lua/README.md` says what each of them holds.

use std::fmt::Write as _;

use crate::lease::{Holder, LeaseId, Tenant};
use crate::pool::PoolName;
use crate::token::fingerprint;
use crate::webhook::WebhookId;

/// Version of the format; in front of every key.
const PREFIX: &str = "lh1";

/// How many buckets an installation has. Fixed at the first start, because it is part of every key.
pub(super) const BUCKETS: u16 = 32;

/// STRING: number of buckets of this installation.
pub(super) const BUCKET_COUNT: &str = "lh1:buckets";

/// STRING: the secret that signs tokens, where no setting gives one.
pub(super) const SECRET: &str = "lh1:secret";

/// STRING: grows with every change of an access key. In one slot with [`ACCESS_KEYS`].
pub(super) const ACCESS_KEYS_REVISION: &str = "lh1:{keys}:revision";

/// HASH, ZSET, STREAM and STRING that `leasehold doctor` tries the rights of a user with. The second is also a channel.
pub(super) const PROBES: [&str; 4] = [
    "lh1:{doctor}:hash",
    "lh1:{doctor}:queue",
    "lh1:{doctor}:stream",
    "lh1:{doctor}:text",
];

/// HASH: key id -> its record, JSON.
pub(super) const ACCESS_KEYS: &str = "lh1:{keys}:records";

/// ZSET with a TTL: what a node says about itself, JSON -> when it did last, ms.
pub(super) const NODES: &str = "lh1:{nodes}:signs";

/// STRING: grows with every change of a webhook. In one slot with everything else about alerts that is not of one bucket.
pub(super) const WEBHOOKS_REVISION: &str = "lh1:{alerts}:revision";

/// HASH: webhook id -> its record, JSON, with its secrets.
pub(super) const WEBHOOKS: &str = "lh1:{alerts}:webhooks";

/// STREAM: the alerts of all buckets.
pub(super) const ALERT_LOG: &str = "lh1:{alerts}:log";

/// HASH: alert id -> the alert, JSON, while it is raised.
pub(super) const RAISED: &str = "lh1:{alerts}:raised";

/// HASH: bucket -> last entry of its outbox that is in the log.
pub(super) const RELAYED: &str = "lh1:{alerts}:relayed";

/// HASH: delivery id -> its record, JSON.
pub(super) const DELIVERIES: &str = "lh1:{alerts}:deliveries";

/// ZSET: delivery id -> until when a node sends it, ms.
pub(super) const CLAIMS: &str = "lh1:{alerts}:claims";

/// ZSET: deliveries of a webhook that wait for an attempt -> when it is due, ms.
pub(super) fn pending(webhook: &WebhookId) -> String {
    format!("{PREFIX}:{{alerts}}:{webhook}:pending")
}

/// ZSET: deliveries of a webhook that arrived -> when, ms.
pub(super) fn delivered(webhook: &WebhookId) -> String {
    format!("{PREFIX}:{{alerts}}:{webhook}:delivered")
}

/// ZSET: deliveries of a webhook that were given up -> when, ms.
pub(super) fn dead(webhook: &WebhookId) -> String {
    format!("{PREFIX}:{{alerts}}:{webhook}:dead")
}

/// STREAM: who did what.
pub(super) const AUDIT: &str = "lh1:{audit}:trail";

/// STRING with a TTL: who is logged in to the admin pages, by the hash of what the browser keeps.
pub(super) fn login(fingerprint: &str) -> String {
    format!("{PREFIX}:{{login}}:{fingerprint}")
}

/// STRING with a TTL: a login that can be used once, by the hash of its code.
pub(super) fn login_code(fingerprint: &str) -> String {
    format!("{PREFIX}:{{login}}:once:{fingerprint}")
}

/// A group of pools that share a hash tag, and so a cluster slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bucket(u16);

impl Bucket {
    /// The bucket of a pool.
    pub(super) fn of(pool: &PoolName) -> Self {
        Self(crc16(pool.as_str().as_bytes()) % BUCKETS)
    }

    /// All buckets.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..BUCKETS).map(Self)
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
        format!("{PREFIX}:{{{}}}:clock", self.0)
    }

    /// STRING with a TTL: written to see whether writes pass.
    pub(super) fn probe(self) -> String {
        format!("{PREFIX}:{{{}}}:probe", self.0)
    }

    /// ZSET: pool -> when a sweep has work, ms.
    pub(super) fn due(self) -> String {
        format!("{PREFIX}:{{{}}}:due", self.0)
    }

    /// HASH: when the bucket was looked at for alerts, and what was told of it.
    pub(super) fn watch(self) -> String {
        format!("{PREFIX}:{{{}}}:watch", self.0)
    }

    /// STREAM: alerts of the bucket that are on the way into the log of all.
    pub(super) fn alerts(self) -> String {
        format!("{PREFIX}:{{{}}}:alerts", self.0)
    }

    /// ZSET: the bucket's pools -> version.
    pub(super) fn pools(self) -> String {
        format!("{PREFIX}:{{{}}}:pools", self.0)
    }
}

/// Whose leases of a pool are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose<'a> {
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
            prefix: format!("{PREFIX}:{{{}}}:{pool}:", bucket.0),
        }
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

    /// ZSET: holder -> begin of its run of denials, ms.
    pub(super) fn denied(&self) -> String {
        self.key("denied")
    }

    /// HASH: minute and code -> how many acquires were denied, until that is rolled up.
    pub(super) fn denials(&self) -> String {
        self.key("denials")
    }

    /// ZSET: holder -> until when it may not acquire, ms.
    pub(super) fn blocks(&self) -> String {
        self.key("blocks")
    }

    /// HASH with a TTL: holder -> until when it is blocked, since when, by whom and why.
    pub(super) fn block_notes(&self) -> String {
        self.key("block_notes")
    }

    /// HASH with a TTL: up to which fence the leases of the pool, or those of it that this names, were ended at once, and why.
    pub(super) fn mark(&self, whose: Whose<'_>) -> String {
        match whose {
            Whose::All => self.key("ended"),
            Whose::Holder(holder) => self.named(
                "ended:",
                fingerprint(&[b"holder", holder.as_str().as_bytes()]),
            ),
            Whose::Tenant(tenant) => self.named(
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

    /// ZSET: named seats by period and holder.
    pub(super) fn named_seats(&self) -> String {
        self.key("named")
    }

    /// ZSET: ticket -> order of arrival. Also the name of the channel on which a seat that came free is told.
    pub(super) fn queue(&self) -> String {
        self.key("queue")
    }

    /// All channels of that kind.
    pub(super) const QUEUES: &str = "lh1:*:queue";

    /// ZSET: ticket -> until when it has to ask again, ms.
    pub(super) fn waiting(&self) -> String {
        self.key("waiting")
    }

    /// HASH: ticket -> what was asked for.
    pub(super) fn tickets(&self) -> String {
        self.key("tickets")
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
        self.named("lease:", id)
    }

    /// STRING with a TTL: the lease that an idempotency key got.
    pub(super) fn repeated(&self, key: LeaseId) -> String {
        self.named("key:", key)
    }

    /// STRING: how far the events are rolled up.
    pub(super) fn rolled(&self) -> String {
        self.key("rolled")
    }

    /// HASH with a TTL: slots of one length.
    pub(super) fn slots(&self, step: &str, stretch: i64) -> String {
        format!("{}{step}:{stretch}", self.prefix)
    }

    fn named(&self, kind: &str, id: LeaseId) -> String {
        let mut key = String::with_capacity(self.prefix.len() + kind.len() + LeaseId::LEN);
        key.push_str(&self.prefix);
        key.push_str(kind);
        write!(key, "{id}").expect("a string takes any text");
        key
    }
}

/// The cluster slot of a key: by what is in its first braces, if there is anything.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % 16_384
}

/// CRC16-CCITT (XMODEM), as Redis Cluster hashes keys; the polynomial is in its cluster specification.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn slots_are_those_that_a_server_computes() {
        // By CLUSTER KEYSLOT.
        for (key, expected) in [("foo", 12_182), ("{foo}.x", 12_182), ("a{}b", 13_694)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

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
            keys.evicted(),
            keys.who(),
            keys.seats(),
            keys.holders(),
            keys.lent(),
            keys.named_seats(),
            keys.queue(),
            keys.waiting(),
            keys.tickets(),
            keys.alerts(),
            keys.bucket.watch(),
            keys.bucket.alerts(),
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
