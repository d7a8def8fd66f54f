//! Many seats of one pool at once, for a backend that starts with all its people.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::Store;
use super::acquire::{AcquireRequest, Acquired, Denial, Given, Grant};
use super::error::Error;
use super::keys::Keys;
use super::record::{LiveLease, Ttls, activities_json};
use super::renewals::RECORD_MARGIN;
use super::scripts;
use super::scripts::acquire_many::{Reply, Request, RequestReply, Status, Word};
use crate::lease::Seat;
use crate::names::{Holder, Label, LeaseId, Platform, PoolName, Tenant};

/// Maximum of requests per call, which takes about two milliseconds of Redis's time.
pub const ACQUIRE_AT_ONCE: usize = 32;
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
            if bite.iter().any(|asked| asked.snapshot.has_rules()) {
                return Ok(vec![self.acquire(pool, &asked[0]).boxed().await?]);
            }
            let keys = Keys::of(pool);
            let activities: Vec<_> = bite
                .iter()
                .map(|asked| activities_json(&asked.activities))
                .collect();
            let requests = bite.iter().zip(&activities).map(|(asked, activities)| {
                // The ids stay the same if the call has to be sent again.
                let id = LeaseId::random();
                let repeated = asked.key.map(|key| keys.repeated(key));
                Request {
                    repeated: repeated.unwrap_or_else(|| keys.tombstone(id)),
                    id,
                    holder: asked.holder.as_ref().map(Holder::key),
                    tenant: asked.tenant.as_ref().map(Tenant::as_str),
                    label: asked.label.as_ref().map(Label::as_str),
                    activities: activities.as_deref(),
                    platform: asked.platform.as_ref().map(Platform::as_str),
                }
            });
            let requests: Vec<Request<'_>> = requests.collect();
            let call = scripts::AcquireMany {
                keys: &keys,
                name: pool,
                margin: RECORD_MARGIN,
                incarnation: bite[0].snapshot.incarnation(),
                requests: &requests,
            };
            let mut restored = false;
            loop {
                let reply = self.call(keys.bucket, &call).await?;
                return match reply.status {
                    Status::Done => {
                        let rows = bite.iter().zip(&reply.requests);
                        Ok(rows
                            .map(|(asked, row)| answer(pool, asked, &reply, row))
                            .collect())
                    }
                    Status::Changed => {
                        self.status(pool).boxed().await?;
                        Ok(vec![Acquired::Changed])
                    }
                    Status::Rules => {
                        self.status(pool).boxed().await?;
                        Ok(vec![self.acquire(pool, &asked[0]).boxed().await?])
                    }
                    Status::NoPool | Status::Recovering
                        if !restored && self.restore(pool).await? =>
                    {
                        restored = true;
                        continue;
                    }
                    Status::Recovering => Ok(vec![Acquired::Recovering {
                        retry_after: Duration::from_secs(1),
                    }]),
                    Status::NoPool => Ok(vec![Acquired::NoPool]),
                };
            }
        })
        .await
    }
}

/// The answer to one of them.
fn answer(pool: &PoolName, asked: &AcquireRequest, reply: &Reply, row: &RequestReply) -> Acquired {
    let denial = Denial {
        in_use: row.in_use,
        capacity: reply.capacity,
        retry_after: row.retry_after,
    };
    match (row.word, row.id) {
        (Word::Granted, Some(id)) => Acquired::Granted(Grant::new(
            pool,
            asked,
            &Given {
                id,
                seat: Seat::Concurrent,
                at: reply.now,
                expires_at: row.expires_at,
                ttl: reply.ttl,
                fence: row.fence,
                generation: reply.generation,
                in_use: row.in_use,
                capacity: reply.capacity,
            },
        )),
        (Word::Existing, Some(id)) => {
            let found = LiveLease {
                id,
                score: row.score,
                expires_at: row.expires_at,
                read_at: reply.now,
                ttls: Ttls::of(reply.ttl, reply.renewed_with, reply.changed),
            };
            Acquired::Existing(Grant {
                lease: found.lease(pool, row.detail.as_deref().unwrap_or_default()),
                at: reply.now,
                generation: reply.generation,
                in_use: row.in_use,
                capacity: reply.capacity,
                named_left: None,
                turn: None,
            })
        }
        (Word::HolderBlocked, _) => Acquired::blocked(denial, reply.now, row.detail.clone()),
        (Word::Recovering, _) => Acquired::Recovering {
            retry_after: row.retry_after,
        },
        (Word::PoolFull | Word::Granted | Word::Existing, _) => Acquired::PoolFull(denial),
    }
}
