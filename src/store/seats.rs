//! Acquires and releases of pools without rules. Those that arrive while a call is under way share the next one
//! ([`super::batcher`]), a call for each pool: the releases first, because they often free what is asked for.
//!
//! The lane owns what it sends, so it knows of a grant also when whoever asked is gone: such a seat goes back at once.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::Store;
use super::acquire::{AcquireRequest, Acquired, Denial, Given, Grant};
use super::batcher::{Batched, Waiting};
use super::error::{Error, Trouble};
use super::heartbeat::RECORD_MARGIN;
use super::keys::{Bucket, Keys};
use super::record::{LiveLease, Ttls, activities_json};
use super::script::Request as _;
use super::script_trace::ScriptStep;
use super::scripts;
use super::scripts::acquire::{AnswerReply, Lease, Repeat, Reply, Status, Word};
use crate::lease::Seat;
use crate::names::{Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::token::{self, Claims};
use crate::{tasks, telemetry};

/// Maximum leases of one call; about half a millisecond of Redis's time.
pub(super) const BATCH: usize = 64;

/// A seat that somebody asks for or gives back.
#[derive(Debug)]
pub(super) struct SeatRequest {
    pool: PoolName,
    /// The same however often this is sent.
    id: LeaseId,
    holder: Option<Holder>,
    tenant: Option<Tenant>,
    /// None if the seat is given back.
    acquire: Option<Acquire>,
}

/// What is said of a seat that is asked for.
#[derive(Debug)]
struct Acquire {
    /// Platform, label and activities, as in a record.
    details: String,
    key: Option<LeaseId>,
    /// Of the pool, as the node knows it; 0 if it does not.
    incarnation: u64,
}

impl SeatRequest {
    /// A seat for whoever asks, as the lease `id`.
    pub(super) fn acquire(pool: &PoolName, asked: &AcquireRequest, id: LeaseId) -> Self {
        let platform = asked.platform.as_ref().map_or("", Platform::as_str);
        let label = asked.label.as_ref().map_or("", Label::as_str);
        let activities = activities_json(&asked.activities).unwrap_or_default();
        let mut details = [platform, label, &activities].join("\u{1}");
        details.truncate(details.trim_end_matches('\u{1}').len());
        Self {
            pool: pool.clone(),
            id,
            holder: asked.holder.clone(),
            tenant: asked.tenant.clone(),
            acquire: Some(Acquire {
                details,
                key: asked.key,
                incarnation: asked.snapshot.incarnation(),
            }),
        }
    }

    /// The seat of a lease that is given back.
    pub(super) fn release(claims: &Claims) -> Self {
        Self {
            pool: claims.pool.clone(),
            id: claims.id,
            holder: claims.holder.clone(),
            tenant: claims.tenant.clone(),
            acquire: None,
        }
    }

    fn is_release(&self) -> bool {
        self.acquire.is_none()
    }

    fn key(&self) -> Option<LeaseId> {
        self.acquire.as_ref()?.key
    }

    /// What the answer to it names as its script.
    fn script(&self) -> &'static str {
        if self.is_release() {
            "release"
        } else {
            "acquire"
        }
    }
}

/// What became of a request, and where that stands in the order of its bucket.
pub(super) struct SeatAnswer {
    pub(super) step: ScriptStep,
    pub(super) outcome: SeatOutcome,
}

pub(super) enum SeatOutcome {
    /// The lease was live, and its seat is free.
    Freed,
    /// A new lease, or the one that the same request got before.
    Granted(Given),
    /// Any other answer to who asked.
    Decided(Box<Acquired>),
    /// Nothing was decided, and that is why. `Done` is said of a release that `release.lua` has to look at.
    Undecided(Status),
}

/// An answer that is on its way to whoever asked.
pub(super) struct Delivery {
    answer: SeatAnswer,
    seat: Option<UnheardSeat>,
}

impl Delivery {
    /// The answer, for somebody who has it now.
    pub(super) fn heard(self) -> SeatAnswer {
        if let Some(mut seat) = self.seat {
            seat.lease = None;
        }
        self.answer
    }
}

/// A seat of which nobody has heard yet. If it is dropped like that, the seat goes back.
struct UnheardSeat {
    store: Store,
    /// None when somebody has heard of it.
    lease: Option<(SeatRequest, Given)>,
}

impl Drop for UnheardSeat {
    fn drop(&mut self) {
        let Some((request, given)) = self.lease.take() else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let claims = Claims {
            id: given.id,
            pool: request.pool,
            generation: given.generation,
            holder: request.holder,
            tenant: request.tenant,
            label: None,
            platform: None,
            fence: given.fence,
            seat: given.seat,
            started_at: given.started_at(),
            issued_at: given.at,
            details: false,
        };
        let store = self.store.clone();
        tasks::finish(async move {
            let done = store.release(&claims).await;
            tracing::debug!(pool.name = %claims.pool, ok = done.is_ok(), "gave back a seat whose client is gone");
        });
    }
}

impl Batched for SeatRequest {
    type Answer = Delivery;

    const NAME: &'static str = "seats";
    const ROUND: usize = 512;

    async fn send_round(store: &Store, mut round: Vec<Waiting<Self>>) {
        // A release is meant, whether or not somebody waits for its answer.
        round.retain(|waiting| waiting.request.is_release() || !waiting.is_abandoned());
        // Stable: those of one pool and kind stay in the order in which they came.
        round.sort_by(|a, b| {
            let place = |waiting: &Waiting<Self>| (waiting.bucket, !waiting.request.is_release());
            let (a_place, b_place) = (place(a), place(b));
            (a_place.0, &a.request.pool, a_place.1).cmp(&(b_place.0, &b.request.pool, b_place.1))
        });
        let mut calls = FuturesUnordered::new();
        while !round.is_empty() {
            let size = size_of_call(round.iter().map(|waiting| &waiting.request));
            let rest = round.split_off(size);
            let batch = std::mem::replace(&mut round, rest);
            calls.push(store.send_seats(batch));
        }
        while calls.next().await.is_some() {}
    }
}

/// How many of the first of these requests, sorted by pool and kind, go into one call.
fn size_of_call<'a>(requests: impl Iterator<Item = &'a SeatRequest>) -> usize {
    let (mut pool, mut incarnation) = (None, None);
    requests
        .take(BATCH)
        .take_while(|request| {
            let of_call = *pool.get_or_insert(&request.pool);
            let own = request.acquire.as_ref().map(|acquire| acquire.incarnation);
            of_call == &request.pool && own.is_none_or(|own| *incarnation.get_or_insert(own) == own)
        })
        .count()
}

impl Store {
    /// Puts a request into its lane and waits for the answer.
    pub(super) async fn ask_for_seat(&self, request: SeatRequest) -> Result<SeatAnswer, Error> {
        let bucket = Bucket::of(&request.pool);
        Ok(self.0.seats.ask(bucket, request).await?.heard())
    }

    /// Sends requests for one pool in one call, and answers them.
    async fn send_seats(&self, mut batch: Vec<Waiting<SeatRequest>>) {
        metrics::histogram!(telemetry::SEATS_PER_CALL).record(batch.len() as f64);
        let result = self.ask_for_seats(batch.iter().map(|it| &it.request)).await;
        let releases = batch.iter().filter(|it| it.request.is_release()).count();
        let is_mixed = 0 < releases && releases < batch.len();
        let trouble = result.as_ref().err().and_then(Error::trouble);
        if is_mixed && trouble.is_some_and(|trouble| !Trouble::is_of_connection(trouble)) {
            // A full Redis refuses newcomers, and takes seats back: nobody is refused for the company.
            let acquires = batch.split_off(releases);
            for batch in [batch, acquires] {
                let result = self.ask_for_seats(batch.iter().map(|it| &it.request)).await;
                self.answer_seats(batch, result);
            }
            return;
        }
        self.answer_seats(batch, result);
    }

    fn answer_seats(
        &self,
        batch: Vec<Waiting<SeatRequest>>,
        result: Result<Vec<SeatAnswer>, Error>,
    ) {
        let answers = match result {
            Ok(answers) => answers,
            Err(error) => {
                for waiting in batch {
                    let _ = waiting.answer.send(Err(error.clone()));
                }
                return;
            }
        };
        for (waiting, answer) in batch.into_iter().zip(answers) {
            // A client with a key asks again with it, and gets the same seat.
            let seat = match &answer.outcome {
                SeatOutcome::Granted(given) if waiting.request.key().is_none() => {
                    Some(UnheardSeat {
                        store: self.clone(),
                        lease: Some((waiting.request, *given)),
                    })
                }
                _ => None,
            };
            // A seat that is not heard of goes back as the delivery is dropped.
            let _ = waiting.answer.send(Ok(Delivery { answer, seat }));
        }
    }

    /// Asks for seats of one pool, and gives some back, in one call. Releases come first; the answers are in the same order.
    pub(super) async fn ask_for_seats<'a>(
        &self,
        requests: impl Iterator<Item = &'a SeatRequest>,
    ) -> Result<Vec<SeatAnswer>, Error> {
        let requests: Vec<&SeatRequest> = requests.collect();
        let keys = Keys::of(&requests[0].pool);
        let leases: Vec<Lease<'_>> = requests
            .iter()
            .map(|request| Lease {
                id: request.id,
                holder: request.holder.as_ref().map(Holder::key),
                tenant: request.tenant.as_ref().map(Tenant::as_str),
                details: request.acquire.as_ref().map(|acquire| &*acquire.details),
            })
            .collect();
        let repeats: Vec<Repeat> = requests
            .iter()
            .zip(1..)
            .filter_map(|(request, place)| {
                let repeated = keys.repeated(request.key()?);
                Some(Repeat { repeated, place })
            })
            .collect();
        let acquires = requests.iter().filter_map(|it| it.acquire.as_ref());
        let call = scripts::Acquire {
            keys: &keys,
            name: &requests[0].pool,
            margin: RECORD_MARGIN,
            keep: token::LIFE,
            incarnation: acquires.clone().next().map_or(0, |first| first.incarnation),
            releases: (requests.len() - acquires.count()) as u64,
            leases: &leases,
            repeats: &repeats,
        };
        let reply = self.run(keys.bucket, &call.call()).await?;
        let durable = reply.durable;
        let reply = call.read(&reply)?;
        let (releases, all) = (call.releases as usize, requests.len());
        let is_whole = reply.freed.len() == releases
            && (reply.answers.is_empty() || reply.answers.len() == all - releases);
        if reply.status == Status::Done && !is_whole {
            return Err(Error::Broken(format!(
                "acquire.lua answered about {} releases of {releases} and {} acquires of {}",
                reply.freed.len(),
                reply.answers.len(),
                all - releases
            )));
        }
        let step = |at: usize| {
            let later = (all - 1 - at) as u64;
            ScriptStep {
                script: requests[at].script(),
                seq: reply.seq - if reply.numbered { later } else { 0 },
                at: reply.now.0,
                durable,
            }
        };
        let outcome = |at: usize| match at.checked_sub(releases) {
            _ if reply.status != Status::Done => SeatOutcome::Undecided(reply.status),
            None if reply.freed.as_bytes()[at] == b'1' => SeatOutcome::Freed,
            None => SeatOutcome::Undecided(Status::Done),
            Some(place) => match reply.answers.get(place) {
                Some(row) => reply.answered(requests[at], row),
                None => reply.in_order(requests[at].id, place as u64),
            },
        };
        Ok((0..all)
            .map(|at| SeatAnswer {
                step: step(at),
                outcome: outcome(at),
            })
            .collect())
    }
}

impl Reply {
    fn given(&self, id: LeaseId, fence: u64, in_use: u64) -> Given {
        Given {
            id,
            seat: Seat::Concurrent,
            at: self.now,
            expires_at: self.now + self.ttl,
            ttl: self.ttl,
            fence,
            generation: self.generation,
            in_use,
            capacity: self.capacity,
        }
    }

    /// What became of the acquire at this place, where they were decided in one go.
    fn in_order(&self, id: LeaseId, place: u64) -> SeatOutcome {
        if place < self.granted {
            return SeatOutcome::Granted(self.given(
                id,
                self.fence + place,
                self.in_use + place + 1,
            ));
        }
        SeatOutcome::Decided(Box::new(Acquired::PoolFull(Denial {
            in_use: self.in_use + self.granted,
            capacity: self.capacity,
            retry_after: self.retry_after,
        })))
    }

    /// The same, where each was decided alone.
    fn answered(&self, request: &SeatRequest, row: &AnswerReply) -> SeatOutcome {
        let denial = Denial {
            in_use: row.seats,
            capacity: self.capacity,
            retry_after: row.wait,
        };
        let acquired = match (row.word, row.lease) {
            (Word::Granted, Some(id)) => {
                return SeatOutcome::Granted(Given {
                    expires_at: row.expires_at,
                    ..self.given(id, row.own_fence, row.seats)
                });
            }
            (Word::Existing, Some(id)) => {
                let found = LiveLease {
                    id,
                    score: row.score,
                    expires_at: row.expires_at,
                    read_at: self.now,
                    ttls: Ttls::of(self.ttl, self.renewed_with, self.changed),
                };
                let record = row.detail.as_deref().unwrap_or_default();
                Acquired::Existing(Grant {
                    lease: found.lease(&request.pool, record),
                    at: self.now,
                    generation: self.generation,
                    in_use: row.seats,
                    capacity: self.capacity,
                    named_left: None,
                    turn: None,
                })
            }
            (Word::HolderBlocked, _) => Acquired::blocked(denial, self.now, row.detail.clone()),
            (Word::Recovering, _) => Acquired::Recovering {
                retry_after: row.wait,
            },
            (Word::PoolFull | Word::Granted | Word::Existing, _) => Acquired::PoolFull(denial),
        };
        SeatOutcome::Decided(Box::new(acquired))
    }
}

#[cfg(test)]
mod tests;
