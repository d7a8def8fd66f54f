//! Live leases, filtered and sorted, a page at a time.
//!
//! Redis keeps leases in order of expiry, so that order costs a page. Any other order, and any filter, reads the
//! records of all leases of the pool, a thousand at a time, and keeps only what belongs on the page.

use super::Store;
use super::error::Error;
use crate::lease::{Holder, Lease, LeaseId, Tenant};
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

    fn is_natural(&self) -> bool {
        self.sort == Sort::ExpiresAt && !self.descending
    }

    /// Orders a page and cuts it to one more than the limit, which tells that there is a next one.
    fn cut(&self, found: &mut Vec<(Place, Lease)>) {
        found.sort_unstable_by(|(a, _), (b, _)| if self.descending { b.cmp(a) } else { a.cmp(b) });
        found.truncate(self.limit + 1);
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
        let mut found: Vec<(Place, Lease)> = Vec::new();
        let mut after = match (&selection.after, selection.is_natural()) {
            (Some(Place::Number(score, id)), true) => Some((*score, *id)),
            _ => None,
        };
        loop {
            let chunk = if selection.is_natural() {
                selection.limit.min(CHUNK)
            } else {
                CHUNK
            };
            let Some(page) = self.list(pool, after, chunk).await? else {
                return Ok(None);
            };
            for lease in page
                .leases
                .into_iter()
                .filter(|lease| selection.matches(lease))
            {
                let place = selection.place(&lease);
                let beyond = selection.is_natural()
                    || selection.after.as_ref().is_none_or(|after| {
                        if selection.descending {
                            place < *after
                        } else {
                            *after < place
                        }
                    });
                if beyond {
                    found.push((place, lease));
                }
            }
            if selection.is_natural() && found.len() >= selection.limit {
                // The place of the last lease is its score, which is its expiry except under an amnesty.
                let more = found.len() > selection.limit || page.next.is_some();
                found.truncate(selection.limit);
                let next = page
                    .next
                    .filter(|_| more)
                    .map(|(score, id)| Place::Number(score, id));
                return Ok(Some(Listing {
                    leases: found.into_iter().map(|(_, lease)| lease).collect(),
                    next,
                }));
            }
            if found.len() > 2 * selection.limit + CHUNK {
                selection.cut(&mut found);
            }
            let Some(next) = page.next else { break };
            after = Some(next);
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
}
