//! Live leases, filtered and sorted, a page at a time.
//!
//! Redis keeps leases in order of expiry, so that order costs a page. Any other order, and any filter, reads the
//! records of all leases of the pool, a thousand at a time, and keeps only what belongs on the page.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::leases::from_record;
use super::script::LIST;
use crate::lease::{Holder, Instant, Lease, LeaseId, Tenant};
use crate::pool::PoolName;

/// Leases that are read at once.
const CHUNK: usize = 1_000;

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
    /// Who holds it.
    Holder,
    /// The sub-account.
    Tenant,
    /// What operators read next to the holder.
    Label,
    /// What the holder runs on.
    Platform,
    /// How many activities it has.
    Activities,
}

/// Where a lease stands in an order; the id decides among equals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In an order by instants or numbers.
    Number(i64, LeaseId),
    /// In an order by texts, without regard to case; no text comes first.
    Text(String, LeaseId),
}

/// What is wanted of a listing.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only leases of this holder.
    pub holder: Option<Holder>,
    /// Only leases of this tenant.
    pub tenant: Option<Tenant>,
    /// Only leases with this in holder, tenant, label, activities, platform or id, without regard to case.
    pub text: Option<String>,
    /// The order.
    pub sort: Sort,
    /// From the last to the first.
    pub descending: bool,
    /// Only what comes after this place.
    pub after: Option<Place>,
    /// Most leases of a page, at least 1.
    pub limit: usize,
}

/// Part of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The leases, in the order that was asked for.
    pub leases: Vec<Lease>,
    /// Where the next page begins; none at the end.
    pub next: Option<Place>,
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

    fn matches(&self, lease: &Lease) -> bool {
        let same = self
            .holder
            .as_ref()
            .is_none_or(|holder| lease.holder.as_ref() == Some(holder))
            && self
                .tenant
                .as_ref()
                .is_none_or(|tenant| lease.tenant.as_ref() == Some(tenant));
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

    fn place(&self, lease: &Lease) -> Place {
        let text = |value: Option<&str>| Place::Text(value.unwrap_or("").to_lowercase(), lease.id);
        match self.sort {
            Sort::ExpiresAt => Place::Number(lease.expires_at.0, lease.id),
            Sort::StartedAt => Place::Number(lease.started_at.0, lease.id),
            Sort::RenewedAt => Place::Number(lease.renewed_at.0, lease.id),
            Sort::Holder => text(lease.holder.as_ref().map(Holder::as_str)),
            Sort::Tenant => text(lease.tenant.as_ref().map(Tenant::as_str)),
            Sort::Label => text(lease.label.as_ref().map(|label| label.as_str())),
            Sort::Platform => text(lease.platform.as_ref().map(|platform| platform.as_str())),
            Sort::Activities => Place::Number(
                i64::try_from(lease.activities.iter().count()).expect("few"),
                lease.id,
            ),
        }
    }

    /// Orders a page and cuts it to one more than the limit, which tells that there is a next one.
    fn cut(&self, found: &mut Vec<(Place, Lease)>) {
        found.sort_unstable_by(|(a, _), (b, _)| self.order(a, b));
        found.truncate(self.limit + 1);
    }

    fn order(&self, a: &Place, b: &Place) -> Ordering {
        if self.descending { b.cmp(a) } else { a.cmp(b) }
    }
}

/// Leases as Redis keeps them, by expiry, each with its place in that order.
pub(super) struct Page {
    pub(super) rows: Vec<((i64, LeaseId), Lease)>,
    /// Whether there may be more behind the last.
    pub(super) more: bool,
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
        if selection.sort == Sort::ExpiresAt && !selection.descending {
            self.select_by_expiry(pool, selection).await
        } else {
            self.select_sorted(pool, selection).await
        }
    }

    /// Reads on until the page is full.
    async fn select_by_expiry(
        &self,
        pool: &PoolName,
        selection: &Selection,
    ) -> Result<Option<Listing>, Error> {
        let mut listing = Listing::default();
        let mut last = match &selection.after {
            Some(Place::Number(score, id)) => Some((*score, *id)),
            _ => None,
        };
        let mut read = last;
        loop {
            let Some(page) = self
                .list(pool, read, CHUNK.min(selection.limit + 1))
                .await?
            else {
                return Ok(None);
            };
            for (place, lease) in page.rows {
                read = Some(place);
                if !selection.matches(&lease) {
                    continue;
                }
                if listing.leases.len() == selection.limit {
                    listing.next = last.map(|(score, id)| Place::Number(score, id));
                    return Ok(Some(listing));
                }
                listing.leases.push(lease);
                last = Some(place);
            }
            if !page.more {
                return Ok(Some(listing));
            }
        }
    }

    /// Reads all, and keeps what belongs on the page.
    async fn select_sorted(
        &self,
        pool: &PoolName,
        selection: &Selection,
    ) -> Result<Option<Listing>, Error> {
        let mut found: Vec<(Place, Lease)> = Vec::new();
        let mut read = None;
        loop {
            let Some(page) = self.list(pool, read, CHUNK).await? else {
                return Ok(None);
            };
            for (place, lease) in page.rows {
                read = Some(place);
                if !selection.matches(&lease) {
                    continue;
                }
                let place = selection.place(&lease);
                let is_beyond = |after| selection.order(after, &place) == Ordering::Less;
                if selection.after.as_ref().is_none_or(is_beyond) {
                    found.push((place, lease));
                }
            }
            if found.len() > 2 * selection.limit + CHUNK {
                selection.cut(&mut found);
            }
            if !page.more {
                break;
            }
        }
        selection.cut(&mut found);
        let more = found.len() > selection.limit;
        found.truncate(selection.limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|(place, _)| place.clone());
        Ok(Some(Listing {
            leases: found.into_iter().map(|(_, lease)| lease).collect(),
            next,
        }))
    }

    /// Live leases in order of expiry, at most `limit` (1 to 1000), after a place in that order. `None` if there
    /// is no such pool. A lease that is renewed meanwhile moves to the end, so it may come twice but is never missed.
    pub(super) async fn list(
        &self,
        pool: &PoolName,
        after: Option<(i64, LeaseId)>,
        limit: usize,
    ) -> Result<Option<Page>, Error> {
        let keys = Keys::of(pool);
        let call = LIST
            .call(3)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(after.map_or(0, |(score, _)| score))
            .arg(after.map_or(String::new(), |(_, id)| id.to_string()))
            .arg(limit);
        let reply = self.run(keys.bucket, &call).await?;
        match reply.status() {
            "no_pool" => return Ok(None),
            "listed" => {}
            _ => return Err(reply.unexpected(0)),
        }
        let now = reply.now()?;
        let ttls = Ttls {
            now: reply.int(3)?,
            before: reply.int(4)?,
            changed: reply.int(5)?,
        };
        let mut leases = Vec::with_capacity((reply.len() - 6) / 3);
        for at in (6..reply.len()).step_by(3) {
            leases.push((
                reply.parse::<LeaseId>(at)?,
                reply.int(at + 1)?,
                reply.instant(at + 2)?,
            ));
        }

        let mut records = redis::pipe();
        for (id, _, _) in &leases {
            records.cmd("HGETALL").arg(keys.record(*id));
        }
        let records: Vec<HashMap<String, String>> = if leases.is_empty() {
            Vec::new()
        } else {
            let mut connection = self.0.connections.get().await?;
            records.query_async(&mut *connection).await?
        };

        let more = leases.len() == limit;
        let rows = leases
            .iter()
            .zip(&records)
            .map(|((id, score, expires_at), record)| {
                let renewed_at = ttls.beat(*score, record);
                let ttl = Duration::from_millis(ttls.now.cast_unsigned());
                let lease = from_record(pool, *id, record, renewed_at, *expires_at, now, ttl);
                ((*score, *id), lease)
            })
            .collect();
        Ok(Some(Page { rows, more }))
    }
}

/// What tells the last beat of a lease from its expiry.
struct Ttls {
    now: i64,
    before: i64,
    changed: i64,
}

impl Ttls {
    /// When a lease with this score was last renewed, ms.
    fn beat(&self, score: i64, record: &HashMap<String, String>) -> Instant {
        let number = |name: &str| record.get(name).and_then(|text| text.parse::<i64>().ok());
        if number("left") == Some(score)
            && let Some(beat) = number("beat")
        {
            return Instant(beat);
        }
        // A beat before the change of the TTL was for the old one.
        if self.before > 0 && score - self.now < self.changed {
            return Instant(score - self.before);
        }
        Instant(score - self.now)
    }
}
