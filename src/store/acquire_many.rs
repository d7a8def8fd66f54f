//! Many seats of one pool at once, for a backend that starts with all its people.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::leases::{
    AcquireRequest, Acquired, Denial, Grant, activities_json, granted_to, or_empty,
};
use super::record::{LiveLease, Ttls};
use super::renewals::record_margin;
use super::script::{ACQUIRE_MANY, Call, Reply};
use crate::names::{Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::time::Timestamp;

/// Most requests of one call, which takes about two milliseconds of Redis's time.
pub const ACQUIRE_AT_ONCE: usize = 32;
/// Fields of a reply before those of the first request, and of each.
const HEAD: usize = 9;
const EACH: usize = 8;

impl Store {
    /// Answers the first of these requests, at least one of them, in their order. Each is decided alone.
    ///
    /// A pool without rules answers as many as fit into one call, one with rules a single one.
    pub async fn acquire_first(
        &self,
        pool: &PoolName,
        asked: &[AcquireRequest],
    ) -> Result<Vec<Acquired>, Error> {
        super::within_deadline(async {
            let bite = &asked[..asked.len().min(ACQUIRE_AT_ONCE)];
            if bite.iter().any(|asked| asked.known.has_rules()) {
                return Ok(vec![self.acquire(pool, &asked[0]).boxed().await?]);
            }
            let call = acquire_many_call(pool, bite);
            let mut restored = false;
            loop {
                let reply = self.run(Keys::of(pool).bucket, &call).await?;
                return match reply.status() {
                    "done" => bite
                        .iter()
                        .enumerate()
                        .map(|(at, asked)| answer(pool, asked, &reply, HEAD + at * EACH))
                        .collect(),
                    "rules" => {
                        self.status(pool).boxed().await?;
                        Ok(vec![self.acquire(pool, &asked[0]).boxed().await?])
                    }
                    "no_pool" | "recovering" if !restored && self.restore(pool).await? => {
                        restored = true;
                        continue;
                    }
                    "recovering" => Ok(vec![Acquired::Recovering {
                        retry_after: Duration::from_secs(1),
                    }]),
                    "no_pool" => Ok(vec![Acquired::NoPool]),
                    _ => Err(reply.unexpected(0)),
                };
            }
        })
        .await
    }
}

fn acquire_many_call(pool: &PoolName, bite: &[AcquireRequest]) -> Call {
    let keys = Keys::of(pool);
    let mut call = ACQUIRE_MANY
        .call(11 + 2 * bite.len())
        .arg(keys.bucket.clock())
        .arg(keys.bucket.due())
        .arg(keys.config())
        .arg(keys.leases())
        .arg(keys.expired())
        .arg(keys.events())
        .arg(keys.denied())
        .arg(keys.blocks())
        .arg(keys.records())
        .arg(keys.denials())
        .arg(keys.block_notes());
    // The ids stay the same if the call has to be sent again.
    let ids: Vec<LeaseId> = bite.iter().map(|_| LeaseId::random()).collect();
    for (asked, id) in bite.iter().zip(&ids) {
        let tombstone = keys.tombstone(*id);
        call.push(&tombstone);
        match asked.key {
            Some(key) => call.push(keys.repeated(key)),
            None => call.push(&tombstone),
        }
    }
    call.push(pool.as_str());
    call.push(record_margin());
    for (asked, id) in bite.iter().zip(&ids) {
        call.push(id.to_string());
        call.push(or_empty(asked.holder.as_ref(), Holder::key));
        call.push(or_empty(asked.tenant.as_ref(), Tenant::as_str));
        call.push(or_empty(asked.label.as_ref(), Label::as_str));
        call.push(activities_json(&asked.activities));
        call.push(or_empty(asked.platform.as_ref(), Platform::as_str));
    }
    call
}

/// What one of them is told, whose fields begin at `at`.
fn answer(
    pool: &PoolName,
    asked: &AcquireRequest,
    reply: &Reply,
    at: usize,
) -> Result<Acquired, Error> {
    let now = reply.now()?;
    let (capacity, in_use) = (reply.count(7)?, reply.count(at + 5)?);
    let generation = reply.count(6)?;
    let retry_after = Duration::from_millis(reply.count(at + 6)?);
    let grant = |lease, at| Grant {
        lease,
        at,
        generation,
        in_use,
        capacity,
        named_left: None,
        turn: None,
    };
    let denial = Denial {
        in_use,
        capacity,
        retry_after,
    };
    Ok(match reply.text(at)? {
        "granted" => {
            let ttl = Duration::from_millis(reply.count(3)?);
            let (id, fence) = (reply.parse(at + 1)?, reply.count(at + 4)?);
            let lease = granted_to(pool, asked, id, fence, reply.instant(at + 3)?, now, ttl);
            Acquired::Granted(grant(lease, now))
        }
        "existing" => {
            let found = LiveLease {
                id: reply.parse(at + 1)?,
                score: reply.int(at + 2)?,
                expires_at: reply.instant(at + 3)?,
                read_at: now,
                ttls: Ttls {
                    now: reply.int(3)?,
                    before: reply.int(4)?,
                    changed: reply.int(5)?,
                },
            };
            Acquired::Existing(grant(found.lease(pool, reply.text(at + 7)?), now))
        }
        "pool_full" => Acquired::PoolFull(denial),
        "holder_blocked" => {
            let reason = reply.text(at + 7)?;
            Acquired::HolderBlocked(
                denial,
                Timestamp(now.0 + reply.int(at + 6)?),
                (!reason.is_empty()).then(|| reason.to_owned()),
            )
        }
        "recovering" => Acquired::Recovering { retry_after },
        _ => return Err(reply.unexpected(at)),
    })
}
