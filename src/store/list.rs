//! Live leases, filtered and sorted, a page at a time.
//!
//! Redis keeps leases in order of expiry, so that order costs a page. Any other order, and any filter, looks at all leases
//! of the pool and their records, a thousand at a time, and keeps no more than a page of them.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::record::{LiveLease, Ttls};
use super::scripts;
use super::scripts::list::Status;
use crate::lease::Lease;
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::time::Timestamp;

/// Leases that are read at once.
const CHUNK: usize = 1_000;
/// Chunks whose records are under way at a time: while Redis reads one, the node takes in another.
const AT_ONCE: usize = 3;

/// What a listing is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// When the seat goes back; the order that costs nothing.
    #[default]
    ExpiresAt,
    /// When the seat was granted.
    StartedAt,
    /// When it was last renewed.
    RenewedAt,
    /// The holder.
    Holder,
    /// The sub-account.
    Tenant,
    /// What operators read next to the holder.
    Label,
    /// What the holder runs on.
    Platform,
    /// How many activities it has.
    Activities,
    /// When its user was last active; those of whom nothing is known count as active.
    ActiveAt,
}

/// Where a lease stands in an order; the id decides among equals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cursor {
    /// In an order by instants or numbers.
    Number(i64, LeaseId),
    /// In an order by strings, without regard to case; a missing one comes first.
    Text(String, LeaseId),
}

/// What is wanted of a listing.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only leases of this holder.
    pub holder: Option<Holder>,
    /// Only leases of this tenant.
    pub tenant: Option<Tenant>,
    /// Only leases of these tenants: what somebody may see.
    pub within: Option<BTreeSet<Tenant>>,
    /// Only leases with this in holder, tenant, label, activities, platform or id, without regard to case.
    pub text: Option<String>,
    /// Only leases whose users had done nothing for at least this time, ms, by their last report.
    pub idle_ms: Option<u64>,
    /// The order.
    pub sort: Sort,
    /// From the last to the first.
    pub descending: bool,
    /// Only what comes after this place.
    pub after: Option<Cursor>,
    /// Maximum of leases per page, at least 1.
    pub limit: usize,
}

/// Part of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The leases, in the order that was asked for.
    pub leases: Vec<Lease>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
}

impl Selection {
    /// All leases of a pool that match `holder` and `tenant`, in order of expiry.
    pub fn of(holder: Option<Holder>, tenant: Option<Tenant>) -> Self {
        Self {
            holder,
            tenant,
            limit: CHUNK,
            ..Self::default()
        }
    }

    /// The same, only of these tenants.
    pub fn within(self, within: Option<BTreeSet<Tenant>>) -> Self {
        Self { within, ..self }
    }

    /// Whether the order is that in which Redis keeps leases.
    fn has_stored_order(&self) -> bool {
        self.sort == Sort::ExpiresAt && !self.descending
    }

    fn is_filtered(&self) -> bool {
        self.holder.is_some()
            || self.tenant.is_some()
            || self.within.is_some()
            || self.text.is_some()
            || self.idle_ms.is_some()
    }

    /// Whether it takes the record of a lease to tell whether it matches, and where it stands.
    fn asks_for_records(&self) -> bool {
        self.sort != Sort::ExpiresAt || self.is_filtered()
    }

    fn matches(&self, lease: &Lease) -> bool {
        let same = self
            .holder
            .as_ref()
            .is_none_or(|holder| lease.holder.as_ref().map(Holder::key) == Some(holder.key()))
            && self
                .tenant
                .as_ref()
                .is_none_or(|tenant| lease.tenant.as_ref() == Some(tenant))
            && self.within.as_ref().is_none_or(|own| {
                lease
                    .tenant
                    .as_ref()
                    .is_some_and(|tenant| own.contains(tenant))
            })
            && self
                .idle_ms
                .is_none_or(|idle_ms| lease.active_at.is_some() && idle_ms <= lease.unused_ms());
        let Some(text) = self.text.as_ref().filter(|_| same) else {
            return same;
        };
        let has =
            |value: Option<&str>| value.is_some_and(|value| value.to_lowercase().contains(text));
        has(lease.holder.as_ref().map(Holder::as_str))
            || has(lease.tenant.as_ref().map(Tenant::as_str))
            || has(lease.label.as_ref().map(|label| label.as_str()))
            || has(lease.platform.as_ref().map(|platform| platform.as_str()))
            || lease
                .activities
                .iter()
                .any(|activity| has(Some(activity.as_str())))
            || lease.id.to_string().to_lowercase() == *text
    }

    fn place(&self, lease: &Lease) -> Cursor {
        let text = |value: Option<&str>| Cursor::Text(value.unwrap_or("").to_lowercase(), lease.id);
        match self.sort {
            Sort::ExpiresAt => Cursor::Number(lease.expires_at.0, lease.id),
            Sort::StartedAt => Cursor::Number(lease.started_at.0, lease.id),
            Sort::RenewedAt => Cursor::Number(lease.renewed_at.0, lease.id),
            Sort::ActiveAt => Cursor::Number(lease.active_at.map_or(i64::MAX, |at| at.0), lease.id),
            Sort::Holder => text(lease.holder.as_ref().map(Holder::as_str)),
            Sort::Tenant => text(lease.tenant.as_ref().map(Tenant::as_str)),
            Sort::Label => text(lease.label.as_ref().map(|label| label.as_str())),
            Sort::Platform => text(lease.platform.as_ref().map(|platform| platform.as_str())),
            Sort::Activities => Cursor::Number(
                i64::try_from(lease.activities.iter().count()).expect("few"),
                lease.id,
            ),
        }
    }

    /// Orders a page and cuts it to one more than the limit, which tells that there is a next one.
    fn cut(&self, found: &mut Vec<(Cursor, LiveLease)>) {
        found.sort_unstable_by(|(a, _), (b, _)| self.order(a, b));
        found.truncate(self.limit + 1);
    }

    fn order(&self, a: &Cursor, b: &Cursor) -> Ordering {
        if self.descending { b.cmp(a) } else { a.cmp(b) }
    }
}

impl Store {
    /// A page of the live leases of a pool. `None` if there is no such pool.
    ///
    /// Leases that are renewed between two pages may come twice in an order by expiry or beat, but none is missed.
    pub async fn select(
        &self,
        pool: &PoolName,
        selection: &Selection,
    ) -> Result<Option<Listing>, Error> {
        // In the order of Redis the page is full when enough was found; in any other one all have to be looked at.
        let as_recorded = selection.has_stored_order();
        let (size, at_once) = if as_recorded && !selection.is_filtered() {
            (CHUNK.min(selection.limit + 1), 1)
        } else {
            (CHUNK, AT_ONCE)
        };
        let after = match &selection.after {
            Some(Cursor::Number(score, id)) if as_recorded => Some((*score, *id)),
            _ => None,
        };
        let Some(first) = self.index(pool, after, size).await? else {
            return Ok(None);
        };
        let chunks = stream::try_unfold((Some(first), None), |(read, after)| async move {
            let chunk = match (read, after) {
                (Some(chunk), _) => Some(chunk),
                (None, Some(_)) => self.index(pool, after, size).await?,
                (None, None) => None,
            };
            Ok::<_, Error>(chunk.map(|chunk: Index| {
                let next = chunk.found.last().filter(|_| chunk.more);
                let next = next.map(LiveLease::place);
                (chunk, (None, next))
            }))
        });
        let mut chunks = chunks
            .map_ok(|chunk| async {
                let records = if selection.asks_for_records() {
                    let ids = chunk.found.iter().map(|found| found.id);
                    self.records(pool, ids).await?
                } else {
                    Vec::new()
                };
                Ok::<_, Error>((chunk, records))
            })
            .try_buffered(at_once)
            .boxed();
        let mut found: Vec<(Cursor, LiveLease)> = Vec::new();
        while let Some((chunk, records)) = chunks.try_next().await? {
            for (place, at) in chunk.found.into_iter().enumerate() {
                let record = records.get(place).map_or("", String::as_str);
                let lease = at.lease(pool, record);
                if !selection.matches(&lease) {
                    continue;
                }
                if as_recorded {
                    found.push((Cursor::Number(at.score, at.id), at));
                    continue;
                }
                let place = selection.place(&lease);
                let is_beyond = |after| selection.order(after, &place) == Ordering::Less;
                if selection.after.as_ref().is_none_or(is_beyond) {
                    found.push((place, at));
                }
            }
            if as_recorded && found.len() > selection.limit {
                break;
            }
            if !as_recorded && found.len() > 2 * selection.limit + CHUNK {
                selection.cut(&mut found);
            }
        }
        drop(chunks);
        if !as_recorded {
            selection.cut(&mut found);
        }
        let more = found.len() > selection.limit;
        found.truncate(selection.limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|(place, _)| place.clone());
        let mut leases = Vec::with_capacity(found.len());
        for some in found.chunks(CHUNK) {
            let ids = some.iter().map(|(_, found)| found.id);
            let records = self.records(pool, ids).await?;
            let without = some.iter().zip(&records);
            let without = without.filter(|(_, record)| record.is_empty());
            let gone = self
                .gone(pool, without.map(|((_, found), _)| found.id))
                .await?;
            let whole = some.iter().zip(&records);
            let whole = whole.filter(|((_, found), _)| !gone.contains(&found.id));
            leases.extend(whole.map(|((_, found), record)| found.lease(pool, record)));
        }
        Ok(Some(Listing { leases, next }))
    }

    /// Hands over all leases of a selection, a page at a time; none if there is no such pool. A lease that is renewed meanwhile may come twice.
    pub async fn each_page<E: From<Error>>(
        &self,
        pool: &PoolName,
        mut selection: Selection,
        mut take: impl FnMut(Vec<Lease>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(listing) = self.select(pool, &selection).await? {
            take(listing.leases)?;
            match listing.next {
                Some(next) => selection.after = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// Those of some leases that have ended. One without a record is rather one that ended while the list was read than one whose record
    /// was lost.
    async fn gone(
        &self,
        pool: &PoolName,
        ids: impl Iterator<Item = LeaseId>,
    ) -> Result<HashSet<LeaseId>, Error> {
        let ids: Vec<LeaseId> = ids.collect();
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let mut read = redis::cmd("ZMSCORE");
        read.arg(Keys::of(pool).leases());
        read.arg(ids.iter().map(LeaseId::to_string).collect::<Vec<_>>());
        let mut connection = self.0.connections.get().await?;
        let scores: Vec<Option<String>> = read.query_async(&mut *connection).await?;
        let ended = ids.into_iter().zip(scores);
        Ok(ended
            .filter(|(_, score)| score.is_none())
            .map(|(id, _)| id)
            .collect())
    }

    /// Live leases in order of expiry, at most `limit` (1 to 1000), after a place in that order, without their records. `None` if
    /// there is no such pool. A lease that is renewed meanwhile moves to the end, so it may come twice but is never missed.
    async fn index(
        &self,
        pool: &PoolName,
        after: Option<(i64, LeaseId)>,
        limit: usize,
    ) -> Result<Option<Index>, Error> {
        let keys = Keys::of(pool);
        let list = scripts::List {
            keys: &keys,
            after_score: after.map_or(0, |(score, _)| score),
            after_id: after.map(|(_, id)| id),
            limit: limit as u64,
        };
        let reply = self.call(keys.bucket, &list).await?;
        match reply.status {
            Status::NoPool => return Ok(None),
            Status::Recovering => return Err(Error::Recovering),
            Status::Listed => {}
        }
        let ttls = Ttls::of(reply.ttl, reply.renewed_with, reply.changed);
        let found = reply.leases.iter().map(|lease| {
            let ends_at_score = Timestamp(lease.score);
            let in_amnesty = reply.floor < ends_at_score && ends_at_score < reply.until_ms;
            LiveLease {
                id: lease.id,
                score: lease.score,
                expires_at: if in_amnesty {
                    reply.until_ms
                } else {
                    ends_at_score
                },
                read_at: reply.now,
                ttls,
            }
        });
        let found: Vec<LiveLease> = found.collect();
        let more = found.len() == limit;
        Ok(Some(Index { found, more }))
    }

    /// The packed records of leases, in the order of the ids; empty where a lease has no record.
    async fn records(
        &self,
        pool: &PoolName,
        ids: impl Iterator<Item = LeaseId>,
    ) -> Result<Vec<String>, Error> {
        let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = redis::cmd("HMGET");
        read.arg(Keys::of(pool).records()).arg(ids);
        let mut connection = self.0.connections.get().await?;
        let records: Vec<Option<String>> = read.query_async(&mut *connection).await?;
        Ok(records.into_iter().map(Option::unwrap_or_default).collect())
    }
}

/// Live leases in order of expiry.
struct Index {
    found: Vec<LiveLease>,
    /// Whether there may be more behind the last.
    more: bool,
}
