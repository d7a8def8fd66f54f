//! `GET /v1/holders`: people by name, or by what they are working on.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{blocks_of, pools_of};
use crate::http::App;
use crate::http::accept::Format;
use crate::http::access::Operator;
use crate::http::blocks::may_concern;
use crate::http::csv::Cell;
use crate::http::extract::Query;
use crate::http::problem::{Code, Problem};
use crate::http::table::{Asked, Column, Page, Row};
use crate::lease::Lease;
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::pool::SeatPer;
use crate::store::Selection;
use crate::time::Timestamp;

/// Holders of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// No limit, and one more is still a number.
const EVERYBODY: usize = usize::MAX - 1;
/// Maximum of leases that a list reads; a larger request has to name the pool.
const MAX_LEASES: usize = 500_000;
/// Pools that are asked at the same time.
const AT_ONCE: usize = 8;

/// What is wanted of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HoldersQuery {
    /// Only holders with this in their name, or in the label or an activity of a lease, without regard to case. Of somebody
    /// whose name does not have it, only the leases that have it are listed.
    pub(crate) q: Option<String>,
    /// Only what they hold in this pool.
    #[param(value_type = Option<String>)]
    pub(crate) pool: Option<PoolName>,
    /// Only what they hold for this tenant.
    #[param(value_type = Option<String>)]
    pub(crate) tenant: Option<Tenant>,
    /// Page size, 1 to 1000; 100 by default.
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// Part of the list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldersPage {
    pub(crate) items: Vec<PersonBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// Somebody who holds something, or is blocked.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Person)]
pub(crate) struct PersonBody {
    /// Who it is, as pools keep it.
    #[schema(example = "agent-7")]
    pub(crate) holder: String,
    /// Seats in use by it, in all these pools.
    pub(crate) seats: u64,
    /// What it holds, by pool.
    pub(crate) pools: Vec<HeldInPool>,
    /// Until when it gets no seat in one of these pools at least; null if it is not blocked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) blocked_until: Option<Timestamp>,
}

/// What somebody holds in one pool.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct HeldInPool {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// Live leases.
    pub(crate) leases: u64,
    /// Since when the oldest of them.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
}

impl Page for HoldersPage {
    type Row = PersonBody;

    fn items(&self) -> &[PersonBody] {
        &self.items
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl Row for PersonBody {
    const COLUMNS: &'static [Column<Self>] = &[
        ("holder", |person, _| Cell::text(Some(&person.holder))),
        ("seats", |person, _| Cell::plain(&person.seats)),
        ("leases", |person, _| {
            Cell::plain(&person.pools.iter().map(|held| held.leases).sum::<u64>())
        }),
        ("pools", |person, _| {
            let pools: Vec<&str> = person.pools.iter().map(|held| held.pool.as_str()).collect();
            Cell::text(Some(&pools.join(" ")))
        }),
        ("since", |person, zone| {
            Cell::at_if_any(person.since(), zone)
        }),
        ("blocked_until", |person, zone| {
            Cell::at_if_any(person.blocked_until, zone)
        }),
    ];
}

/// Lists people by name: what they hold now, and whether they are blocked, over all pools that the caller may see.
#[utoipa::path(
    get,
    path = "/v1/holders",
    tag = "holders",
    operation_id = "list_holders",
    params(HoldersQuery),
    responses(
        (status = 200, body = HoldersPage),
        (status = 404, description = "`pool_not_found`"),
    ),
)]
pub(in crate::http) async fn list(
    State(app): State<App>,
    operator: Operator,
    asked: Asked,
    Query(wanted): Query<HoldersQuery>,
) -> Result<Response, Problem> {
    let found = people(&app, &operator, &wanted).await?;
    Ok(asked.answer(wanted.format, "leasehold-people", &found, None))
}

/// What the list is about, in the form in which leases are compared with it.
struct Filter<'a> {
    /// Only holders behind this one.
    after: Option<String>,
    /// In lower case.
    text: Option<String>,
    tenant: Option<&'a Tenant>,
    /// People of a page.
    limit: usize,
}

impl Filter<'_> {
    fn is_behind(&self, holder: &str) -> bool {
        self.after.as_deref().is_none_or(|after| after < holder)
    }

    fn is_named(&self, holder: &str) -> bool {
        let text = self.text.as_ref();
        text.is_none_or(|text| holder.to_lowercase().contains(text))
    }

    fn matches(&self, holder: &str, lease: &Lease) -> bool {
        let Some(text) = &self.text else { return true };
        let has = |value: &str| value.to_lowercase().contains(text);
        self.is_named(holder)
            || lease
                .label
                .as_ref()
                .is_some_and(|label| has(label.as_str()))
            || lease
                .activities
                .iter()
                .any(|activity| has(activity.as_str()))
    }
}

/// One page of people.
pub(crate) async fn people(
    app: &App,
    operator: &Operator,
    wanted: &HoldersQuery,
) -> Result<HoldersPage, Problem> {
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`limit` is 1 to {MAX_LIMIT}."),
        ));
    }
    search(app, operator, wanted, limit).await
}

/// All people that match, in one search: nothing is cut off silently.
pub(crate) async fn everybody(
    app: &App,
    operator: &Operator,
    wanted: &HoldersQuery,
) -> Result<Vec<PersonBody>, Problem> {
    let found = search(app, operator, wanted, EVERYBODY).await?;
    Ok(found.items)
}

/// The first people that match, in order of their names; it reads all leases of the pools that are asked about.
async fn search(
    app: &App,
    operator: &Operator,
    wanted: &HoldersQuery,
    limit: usize,
) -> Result<HoldersPage, Problem> {
    let filter = Filter {
        after: wanted.cursor.as_deref().map(after).transpose()?,
        text: wanted.q.as_ref().map(|text| text.to_lowercase()),
        tenant: wanted.tenant.as_ref(),
        limit,
    };
    let pools = pools_of(app, operator, wanted.pool.clone().map(|pool| vec![pool])).await?;
    let (filter, read) = (&filter, &AtomicUsize::new(0));
    let mut found = stream::iter(pools)
        .map(|pool| async move { of_pool(app, operator, &pool, filter, read).await })
        .buffered(AT_ONCE)
        .boxed();
    let mut people: BTreeMap<String, PersonBody> = BTreeMap::new();
    while let Some(part) = found.try_next().await? {
        for (holder, person) in part {
            match people.get_mut(&holder) {
                Some(known) => known.join(person),
                None => {
                    people.insert(holder, person);
                }
            }
        }
        filter.keep_a_page(&mut people);
    }
    drop(found);
    let more = people.len() > limit;
    let items: Vec<PersonBody> = people.into_values().take(limit).collect();
    let last = items.last().filter(|_| more);
    Ok(HoldersPage {
        next_cursor: last.map(|last| URL_SAFE_NO_PAD.encode(&last.holder)),
        items,
    })
}

/// The holder behind which a page begins.
fn after(cursor: &str) -> Result<String, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                "`cursor` is not one of this list. Begin again without it.",
            )
        })
}

impl Filter<'_> {
    /// A page of them is kept, and one more: then there is another page. Whoever is behind these in one pool is so in all.
    fn keep_a_page(&self, people: &mut BTreeMap<String, PersonBody>) {
        while people.len() > self.limit + 1 {
            people.pop_last();
        }
    }
}

/// The people of one pool. `read` counts the leases that were read in all of them.
async fn of_pool(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    filter: &Filter<'_>,
    read: &AtomicUsize,
) -> Result<BTreeMap<String, PersonBody>, Problem> {
    let mut people: BTreeMap<String, PersonBody> = BTreeMap::new();
    let per_holder = app.0.store.cached_policy(pool);
    let per_holder = per_holder.is_some_and(|policy| policy.seat_per == SeatPer::Holder);
    let own = operator.tenants_in(pool);
    let rest = Selection::of(None, filter.tenant.cloned()).within(own.clone());
    // One that is renewed while the list is read comes twice.
    let mut seen: HashSet<LeaseId> = HashSet::new();
    let add = |leases: Vec<Lease>| {
        let new = leases.len();
        if read.fetch_add(new, Ordering::Relaxed) + new > MAX_LEASES {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!(
                    "These are more than {MAX_LEASES} leases. Name one pool in `pool`, or ask for one person."
                ),
            ));
        }
        for lease in &leases {
            let holder = lease.holder.as_ref().map(Holder::as_str);
            let Some(holder) = holder.filter(|holder| {
                filter.is_behind(holder) && filter.matches(holder, lease) && seen.insert(lease.id)
            }) else {
                continue;
            };
            let person = people
                .entry(holder.to_owned())
                .or_insert_with(|| PersonBody::new(holder));
            person.add(lease, per_holder);
        }
        filter.keep_a_page(&mut people);
        Ok(())
    };
    app.0.store.each_page(pool, rest, add).await?;
    if filter.tenant.is_none() {
        let blocks = blocks_of(app, pool).await?.into_iter();
        for block in blocks.filter(|block| may_concern(block, own.as_ref())) {
            // Who sees some tenants only, sees blocks of those who hold something for them.
            let is_known = people.contains_key(&block.holder);
            let is_wanted = filter.is_behind(&block.holder)
                && (is_known || (own.is_none() && filter.is_named(&block.holder)));
            if is_wanted {
                let person = people
                    .entry(block.holder.clone())
                    .or_insert_with(|| PersonBody::new(&block.holder));
                person.blocked_until = person.blocked_until.max(Some(block.until));
            }
        }
        filter.keep_a_page(&mut people);
    }
    Ok(people)
}

impl PersonBody {
    fn new(holder: &str) -> Self {
        Self {
            holder: holder.to_owned(),
            seats: 0,
            pools: Vec::new(),
            blocked_until: None,
        }
    }

    fn add(&mut self, lease: &Lease, per_holder: bool) {
        match self.pools.last_mut() {
            Some(held) => {
                held.leases += 1;
                held.since = held.since.min(lease.started_at);
                self.seats += u64::from(!per_holder);
            }
            None => {
                self.pools.push(HeldInPool {
                    pool: lease.pool.clone(),
                    leases: 1,
                    since: lease.started_at,
                });
                self.seats += 1;
            }
        }
    }

    /// Adds what the same person holds in another pool.
    fn join(&mut self, other: Self) {
        self.seats += other.seats;
        self.pools.extend(other.pools);
        self.blocked_until = self.blocked_until.max(other.blocked_until);
    }

    /// Since when it holds something.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.pools.iter().map(|held| held.since).min()
    }
}
