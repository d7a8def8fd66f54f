//! `/v1/holders`: people and what they hold, over all pools that the caller may see.
//!
//! A holder is found by its leases: there is no index of holders, because every acquire would pay for it. A list reads the records of all
//! leases of the pools that it is about, a thousand at a time, as a list of leases with a filter does.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Operator;
use super::blocks::BlockBody;
use super::extract::{Body, Path, Query};
use super::leases::LeaseBody;
use super::leases::terminate::{self, check_block_ms, check_text};
use super::problem::{Code, Problem};
use super::{App, pool_not_found};
use crate::history::holders::{self as history, HolderHistory};
use crate::lease::Lease;
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::pool::SeatPer;
use crate::store::{
    self, Block, EventId, Left, NamedChange, NamedChanged, NoticeLeft, Selection, Termination,
};
use crate::time::{Timestamp, millis};

/// Holders of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Maximum of leases that a list reads; a larger request has to name the pool.
const MAX_LEASES: usize = 500_000;
/// Pools that are asked at the same time.
const AT_ONCE: usize = 8;
/// Maximum length of a person's history: events are kept no longer.
const MAX_DAYS: u32 = 35;
/// Days for which somebody who held something is one of the people of a tenant, and most events that are read to know it.
const OWN_DAYS: i64 = 7;
const OWN_EVENTS: usize = 100_000;
const EVENTS_AT_ONCE: usize = 1_000;
/// Most people who wait that are looked through in a pool.
const MAX_WAITING: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(end))
        .routes(routes!(notify))
}

/// What is wanted of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HoldersQuery {
    /// Only holders with this in their name, without regard to case.
    q: Option<String>,
    /// Only what they hold in this pool.
    #[param(value_type = Option<String>)]
    pool: Option<PoolName>,
    /// Only what they hold for this tenant.
    #[param(value_type = Option<String>)]
    tenant: Option<Tenant>,
    /// Page size, 1 to 1000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Part of the list.
#[derive(Debug, Serialize, ToSchema)]
struct HoldersPage {
    items: Vec<PersonBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// Somebody who holds something, or is blocked.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Person)]
struct PersonBody {
    /// Who it is, as pools keep it.
    #[schema(example = "agent-7")]
    holder: String,
    /// Seats in use by it, in all these pools.
    seats: u64,
    /// What it holds, by pool.
    pools: Vec<HeldInPool>,
    /// Until when it gets no seat in one of these pools at least; null if it is not blocked.
    #[schema(value_type = Option<String>, format = DateTime)]
    blocked_until: Option<Timestamp>,
}

/// What somebody holds in one pool.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct HeldInPool {
    #[schema(value_type = String, example = "crm")]
    pool: PoolName,
    /// Live leases.
    leases: u64,
    /// Since when the oldest of them.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// The pools that are asked about: the one that is named, or all that the caller may see.
async fn pools_of(
    app: &App,
    operator: &Operator,
    named: Option<Vec<PoolName>>,
) -> Result<Vec<PoolName>, Problem> {
    let mut all = app.0.store.names().await?;
    all.retain(|pool| operator.caller.is_for(pool));
    let Some(mut named) = named else {
        return Ok(all);
    };
    named.sort_unstable();
    named.dedup();
    // A foreign one is as unknown as one that is not there.
    match named.iter().find(|pool| all.binary_search(pool).is_err()) {
        Some(unknown) => Err(pool_not_found(unknown)),
        None => Ok(named),
    }
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
async fn list(
    State(app): State<App>,
    operator: Operator,
    Query(wanted): Query<HoldersQuery>,
) -> Result<Json<HoldersPage>, Problem> {
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`limit` is 1 to {MAX_LIMIT}."),
        ));
    }
    let after = match &wanted.cursor {
        None => None,
        Some(cursor) => Some(
            URL_SAFE_NO_PAD
                .decode(cursor)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    Problem::new(
                        Code::InvalidRequest,
                        "`cursor` is not one of this list. Begin again without it.",
                    )
                })?,
        ),
    };
    let text = wanted.q.as_ref().map(|text| text.to_lowercase());
    let is_wanted = |holder: &str| {
        after.as_deref().is_none_or(|after| after < holder)
            && text
                .as_ref()
                .is_none_or(|text| holder.to_lowercase().contains(text))
    };
    let pools = pools_of(&app, &operator, wanted.pool.clone().map(|pool| vec![pool])).await?;
    let mut people: BTreeMap<String, PersonBody> = BTreeMap::new();
    let mut read = 0;
    for pool in pools {
        let per_holder = app.0.store.cached_policy(&pool);
        let per_holder = per_holder.is_some_and(|policy| policy.seat_per == SeatPer::Holder);
        let own = operator.tenants_in(&pool);
        let mut rest = Selection::of(None, wanted.tenant.clone()).within(own.clone());
        // One that is renewed while the list is read comes twice.
        let mut seen: HashSet<LeaseId> = HashSet::new();
        while let Some(listing) = app.0.store.select(&pool, &rest).await? {
            read += listing.leases.len();
            if read > MAX_LEASES {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    format!(
                        "These are more than {MAX_LEASES} leases. Name one pool in `pool`, or ask for one person."
                    ),
                ));
            }
            for lease in &listing.leases {
                let holder = lease.holder.as_ref().map(Holder::as_str);
                let Some(holder) =
                    holder.filter(|holder| is_wanted(holder) && seen.insert(lease.id))
                else {
                    continue;
                };
                let person = people
                    .entry(holder.to_owned())
                    .or_insert_with(|| PersonBody::new(holder));
                person.add(lease, per_holder);
            }
            // A page of them is kept, and one more: then there is another page.
            while people.len() > limit + 1 {
                people.pop_last();
            }
            match listing.next {
                Some(next) => rest.after = Some(next),
                None => break,
            }
        }
        if wanted.tenant.is_none() {
            for block in blocks_of(&app, &pool).await? {
                // Who sees some tenants only, sees blocks of those who hold something for them.
                let is_known = || {
                    people
                        .get(&block.holder)
                        .is_some_and(|person| person.pools.iter().any(|held| held.pool == pool))
                };
                if is_wanted(&block.holder) && (own.is_none() || is_known()) {
                    let person = people
                        .entry(block.holder.clone())
                        .or_insert_with(|| PersonBody::new(&block.holder));
                    person.blocked_until = person.blocked_until.max(Some(block.until));
                }
            }
        }
    }
    let more = people.len() > limit;
    let items: Vec<PersonBody> = people.into_values().take(limit).collect();
    let last = items.last().filter(|_| more);
    Ok(Json(HoldersPage {
        next_cursor: last.map(|last| URL_SAFE_NO_PAD.encode(&last.holder)),
        items,
    }))
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
        match self.pools.last_mut().filter(|held| held.pool == lease.pool) {
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
}

/// All blocks of a pool.
pub(super) async fn blocks_of(app: &App, pool: &PoolName) -> Result<Vec<Block>, store::Error> {
    let mut found: Vec<Block> = Vec::new();
    let mut after = None;
    loop {
        let page = app.0.store.blocks(pool, after.as_ref(), MAX_LIMIT).await?;
        let page = page.unwrap_or_default();
        let whole = page.len() == MAX_LIMIT;
        after = page.last().map(|last| (last.until, last.holder.clone()));
        found.extend(page);
        if !whole {
            return Ok(found);
        }
    }
}

/// What is wanted of one person.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HolderQuery {
    /// Also its history of that many days, 1 to 35.
    days: Option<u32>,
}

/// All that is known of a person.
#[derive(Debug, Default, Serialize, ToSchema)]
struct HolderDetails {
    /// Who it is.
    #[schema(example = "agent-7")]
    holder: String,
    /// What it holds now.
    leases: Vec<LeaseBody>,
    /// What it waits for.
    waiting: Vec<WaitingFor>,
    /// Named seats that it has in the present period.
    named: Vec<NamedSeatOf>,
    /// Where it gets no seat.
    blocks: Vec<BlockBody>,
    /// What it did, by pool; only with `days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    history: Option<Vec<HistoryInPool>>,
}

/// A place in a queue.
#[derive(Debug, Serialize, ToSchema)]
struct WaitingFor {
    #[schema(value_type = String, example = "crm")]
    pool: PoolName,
    /// 1 is the next.
    position: u64,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Until when it has to ask again to keep its place.
    #[schema(value_type = String, format = DateTime)]
    asks_again_by: Timestamp,
    /// About how long it waits still.
    eta_ms: u64,
}

/// A named seat.
#[derive(Debug, Serialize, ToSchema)]
struct NamedSeatOf {
    #[schema(value_type = String, example = "crm")]
    pool: PoolName,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// `used`, `assigned` or `transferred`.
    how: String,
}

/// What somebody did in a pool.
#[derive(Debug, Serialize, ToSchema)]
struct HistoryInPool {
    #[schema(value_type = String, example = "crm")]
    pool: PoolName,
    /// Leases that were live at some instant of these days.
    leases: u64,
    /// Hours for which they were, together.
    hours: f64,
    /// How often it was denied, by reason; repeated denials within two minutes are one.
    denials: BTreeMap<String, u64>,
    /// How its leases ended, by reason.
    ends: BTreeMap<String, u64>,
    /// The last instant at which it held one.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
}

/// Shows a person: what it holds, waits for and has, where it is blocked, and with `days` what it did.
///
/// Somebody who is unknown has nothing.
#[utoipa::path(
    get,
    path = "/v1/holders/{holder}",
    tag = "holders",
    operation_id = "read_holder",
    params(HolderQuery),
    responses(
        (status = 200, body = HolderDetails),
    ),
)]
async fn read(
    State(app): State<App>,
    operator: Operator,
    Path(holder): Path<Holder>,
    Query(wanted): Query<HolderQuery>,
) -> Result<Json<HolderDetails>, Problem> {
    if wanted
        .days
        .is_some_and(|days| !(1..=MAX_DAYS).contains(&days))
    {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`days` is 1 to {MAX_DAYS}."),
        ));
    }
    let pools = pools_of(&app, &operator, None).await?;
    let mut details = HolderDetails {
        holder: holder.as_str().to_owned(),
        history: wanted.days.map(|_| Vec::new()),
        ..HolderDetails::default()
    };
    let (app, operator, holder) = (&app, &operator, &holder);
    let mut found = stream::iter(pools)
        .map(|pool| async move { in_pool(app, operator, pool, holder, wanted.days).await })
        .buffered(AT_ONCE)
        .boxed();
    while let Some(part) = found.try_next().await? {
        details.leases.extend(part.leases);
        details.waiting.extend(part.waiting);
        details.named.extend(part.named);
        details.blocks.extend(part.blocks);
        if let Some(history) = &mut details.history {
            history.extend(part.history.into_iter().flatten());
        }
    }
    drop(found);
    Ok(Json(details))
}

/// What is known of a person in one pool.
async fn in_pool(
    app: &App,
    operator: &Operator,
    pool: PoolName,
    holder: &Holder,
    days: Option<u32>,
) -> Result<HolderDetails, Problem> {
    let store = &app.0.store;
    let mut details = HolderDetails::default();
    let Some(holder) = name_in(app, &pool, holder).await? else {
        return Ok(details);
    };
    let own = operator.tenants_in(&pool);
    let sees_all = own.is_none();
    if let Some(own) = &own
        && !is_own_person(app, &pool, own, &holder).await?
    {
        return Ok(details);
    }
    let leases = leases_of(app, &pool, &holder, own.as_ref()).await?;
    details.leases = leases
        .into_iter()
        .map(|lease| app.lease_body(lease))
        .collect();
    let policy = store.cached_policy(&pool);
    if policy.as_ref().is_some_and(|policy| policy.queue.is_some()) {
        let waiters = store.list_queue(&pool, 0, MAX_WAITING).await?;
        let mut waiters = waiters.map(|waiters| waiters.items).unwrap_or_default();
        if let Some(own) = &own {
            waiters.retain(|waiter| {
                waiter
                    .tenant
                    .as_ref()
                    .is_some_and(|tenant| own.contains(tenant))
            });
            for (waiter, position) in waiters.iter_mut().zip(1..) {
                waiter.position = position;
            }
        }
        details.waiting = waiters
            .into_iter()
            .filter(|waiter| waiter.holder.as_ref().map(Holder::key) == Some(holder.key()))
            .map(|waiter| WaitingFor {
                pool: pool.clone(),
                position: waiter.position,
                since: waiter.since,
                asks_again_by: waiter.asks_again_by,
                eta_ms: millis(waiter.eta),
            })
            .collect();
    }
    if policy.as_ref().is_some_and(|policy| policy.named.is_some())
        && let NamedChanged::Done(seats) = store.named(&pool, NamedChange::Read(&holder)).await?
    {
        details.named = seats
            .items
            .into_iter()
            .map(|seat| NamedSeatOf {
                pool: pool.clone(),
                since: seat.since,
                how: seat.how,
            })
            .collect();
    }
    let blocks = blocks_of(app, &pool).await?.into_iter();
    let own = blocks.filter(|block| block.holder == holder.key());
    details
        .blocks
        .extend(own.map(|block| BlockBody::of(&pool, block)));
    // What happened is not kept by tenant.
    if let Some(days) = days.filter(|_| sees_all) {
        let now = store.now();
        let from = Timestamp(now.0 - i64::from(days) * 86_400_000);
        let HolderHistory {
            used,
            denials,
            ends,
        } = history::holder(store, &pool, holder.as_str(), from, now).await?;
        if used.leases > 0 || !denials.is_empty() {
            details.history = Some(vec![HistoryInPool {
                pool,
                leases: used.leases,
                hours: (used.held_ms as f64 / 36_000.0).round() / 100.0,
                denials,
                ends,
                last_seen_at: used.last_seen_at,
            }]);
        }
    }
    Ok(details)
}

/// The name under which a pool knows a holder; none in an anonymous pool, and where only a later version can read the policy.
async fn name_in(
    app: &App,
    pool: &PoolName,
    holder: &Holder,
) -> Result<Option<Holder>, store::Error> {
    match app.recorded_name(pool, holder.clone()).await {
        Err(store::Error::Newer(_)) => Ok(None),
        name => name,
    }
}

/// Where a holder is known, by which name. The trail gets these names, and no other: there may be no pool that keeps the one
/// that was asked for.
async fn known_in(
    app: &App,
    operator: &Operator,
    pools: Option<Vec<PoolName>>,
    holder: &Holder,
) -> Result<Vec<(PoolName, Holder)>, Problem> {
    let mut known = Vec::new();
    for pool in pools_of(app, operator, pools).await? {
        if let Some(name) = name_in(app, &pool, holder).await? {
            known.push((pool, name));
        }
    }
    let names: BTreeSet<&str> = known.iter().map(|(_, name)| name.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    operator.notes.target(&names.join(", "));
    Ok(known)
}

/// Who holds something for these tenants, or did lately. Others are unknown to whoever sees these tenants only.
pub(super) async fn own_people(
    app: &App,
    pool: &PoolName,
    own: &BTreeSet<Tenant>,
) -> Result<HashSet<String>, store::Error> {
    let store = &app.0.store;
    let mut people = HashSet::new();
    let mut rest = Selection::of(None, None).within(Some(own.clone()));
    while let Some(listing) = store.select(pool, &rest).await? {
        let holders = listing
            .leases
            .iter()
            .filter_map(|lease| lease.holder.as_ref());
        people.extend(holders.map(|holder| holder.key().to_owned()));
        match listing.next {
            Some(next) => rest.after = Some(next),
            None => break,
        }
    }
    let mut after = EventId::before_ms(store.now().0 - OWN_DAYS * 86_400_000);
    for _ in 0..OWN_EVENTS / EVENTS_AT_ONCE {
        let events = store.events(pool, after, EVENTS_AT_ONCE).await?;
        let Some(last) = events.last() else { break };
        after = last.id;
        let is_last = events.len() < EVENTS_AT_ONCE;
        for event in events {
            let tenant = event
                .tenant
                .and_then(|tenant| Tenant::recorded(tenant).ok());
            if event.kind != "denied" && tenant.is_some_and(|tenant| own.contains(&tenant)) {
                people.extend(event.holder);
            }
        }
        if is_last {
            break;
        }
    }
    Ok(people)
}

/// Whether somebody holds something for these tenants, or did lately.
pub(super) async fn is_own_person(
    app: &App,
    pool: &PoolName,
    own: &BTreeSet<Tenant>,
    holder: &Holder,
) -> Result<bool, store::Error> {
    if !leases_of(app, pool, holder, Some(own)).await?.is_empty() {
        return Ok(true);
    }
    let people = own_people(app, pool, own).await?;
    Ok(people.contains(holder.key()) || people.contains(holder.as_str()))
}

/// The live leases of a holder, by the name under which the pool knows it; only of these tenants, if some are named.
async fn leases_of(
    app: &App,
    pool: &PoolName,
    holder: &Holder,
    own: Option<&BTreeSet<Tenant>>,
) -> Result<Vec<Lease>, store::Error> {
    let mut rest = Selection::of(Some(holder.clone()), None).within(own.cloned());
    let mut found = Vec::new();
    while let Some(listing) = app.0.store.select(pool, &rest).await? {
        found.extend(listing.leases);
        match listing.next {
            Some(next) => rest.after = Some(next),
            None => break,
        }
    }
    Ok(found)
}

/// When leases end that an operator terminates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum When {
    /// At once.
    #[default]
    Now,
    /// With the first heartbeat without activities.
    Idle,
}

/// Why and where the leases of a person end.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct EndHolder {
    /// Only in these pools; in all that the caller may see without it.
    #[schema(value_type = Option<Vec<String>>)]
    pools: Option<Vec<PoolName>>,
    /// What the person reads in the next renew, at most 512 bytes.
    #[schema(max_length = 512, example = "The shift is over.")]
    reason: Option<String>,
    /// For how long the person may not acquire in these pools; 0 for not at all. With `idle` from the end of a lease on.
    #[schema(maximum = 31_622_400_000_u64)]
    block_ms: u64,
    /// When they end.
    when: When,
}

/// What became of each lease.
#[derive(Debug, Serialize, ToSchema)]
struct EndHolderResults {
    results: Vec<EndHolderResult>,
}

/// What became of one lease.
#[derive(Debug, Serialize, ToSchema)]
struct EndHolderResult {
    #[schema(value_type = String, example = "crm")]
    pool: PoolName,
    #[schema(value_type = String)]
    id: LeaseId,
    /// `terminated`; `ended` if it was not live any more; `pending` if it ends with the first heartbeat without activities.
    status: &'static str,
}

/// Ends the leases of a person, at once or when it is idle.
#[utoipa::path(
    post,
    path = "/v1/holders/{holder}/terminate",
    tag = "holders",
    operation_id = "terminate_holder",
    request_body = EndHolder,
    responses(
        (status = 200, body = EndHolderResults),
        (status = 404, description = "`pool_not_found`"),
    ),
)]
async fn end(
    State(app): State<App>,
    operator: Operator,
    Path(holder): Path<Holder>,
    Body(body): Body<EndHolder>,
) -> Result<Json<EndHolderResults>, Problem> {
    operator.notes.after(&body);
    check_text("reason", body.reason.as_deref())?;
    check_block_ms(body.block_ms)?;
    let reason = body.reason.filter(|reason| !reason.is_empty());
    let mut results = Vec::new();
    let known = known_in(&app, &operator, body.pools, &holder).await?;
    for (number, (pool, name)) in known.into_iter().enumerate() {
        let why = Termination {
            reason: reason.clone(),
            block: Duration::from_millis(body.block_ms),
            holder: Some(name.clone()),
            by: operator.caller.name().to_owned(),
        };
        let ended = match body.when {
            When::Now => {
                let own = operator.tenants_in(&pool);
                let selection = Selection::of(Some(name), None).within(own);
                let ended = terminate::terminate_matching(&app, &pool, &selection, &why).await;
                let ended = ended.map_err(|error| error.after_a_part(number > 0))?;
                ended
                    .into_iter()
                    .map(|ended| (ended.id, ended.status))
                    .collect()
            }
            When::Idle => leave(
                &app,
                &operator,
                (number, &pool),
                &name,
                Left::EndWhenIdle(&why),
            )
            .await?
            .into_iter()
            .map(|(id, lives)| (id, if lives { "pending" } else { "ended" }))
            .collect::<Vec<_>>(),
        };
        results.extend(ended.into_iter().map(|(id, status)| EndHolderResult {
            pool: pool.clone(),
            id,
            status,
        }));
    }
    tracing::info!(
        leases = results.len(),
        "an operator ended the leases of a holder"
    );
    Ok(Json(EndHolderResults { results }))
}

/// Leaves something for the next heartbeats of a holder, and says of each lease whether it lives.
async fn leave(
    app: &App,
    operator: &Operator,
    (number, pool): (usize, &PoolName),
    holder: &Holder,
    left: Left<'_>,
) -> Result<Vec<(LeaseId, bool)>, Problem> {
    // What was done in the pools before this one stays.
    let failed = |error: store::Error| error.after_a_part(number > 0);
    let own = operator.tenants_in(pool);
    let leases = leases_of(app, pool, holder, own.as_ref())
        .await
        .map_err(failed)?;
    let ids: Vec<LeaseId> = leases.into_iter().map(|lease| lease.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let left = app.0.store.leave_notice(pool, &ids, left).await;
    match left.map_err(failed)? {
        NoticeLeft::Left(lives) => Ok(ids.into_iter().zip(lives).collect()),
        NoticeLeft::NoPool => Ok(Vec::new()),
        NoticeLeft::TooMany => Err(Problem::new(
            Code::TooManyRequests,
            format!(
                "Notices wait for 1000 leases of the pool {pool} already. Ask again after their next heartbeats."
            ),
        )),
    }
}

/// A message to a person.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NotifyHolder {
    /// What it reads, at most 512 bytes.
    #[schema(
        min_length = 1,
        max_length = 512,
        example = "The shift ends in ten minutes."
    )]
    message: String,
    /// Only with leases in these pools; in all that the caller may see without it.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    pools: Option<Vec<PoolName>>,
}

/// How many leases will hear of it.
#[derive(Debug, Serialize, ToSchema)]
struct Notified {
    /// Live leases whose next heartbeat brings the message.
    leases: usize,
}

/// Sends a message to a person: the next heartbeat of each of its leases brings it, once.
#[utoipa::path(
    post,
    path = "/v1/holders/{holder}/notice",
    tag = "holders",
    operation_id = "notify_holder",
    request_body = NotifyHolder,
    responses(
        (status = 202, description = "It waits for the next heartbeats", body = Notified),
        (status = 404, description = "`pool_not_found`"),
        (status = 429, description = "`too_many_requests`: too many leases have a message that waits"),
    ),
)]
async fn notify(
    State(app): State<App>,
    operator: Operator,
    Path(holder): Path<Holder>,
    Body(body): Body<NotifyHolder>,
) -> Result<(StatusCode, Json<Notified>), Problem> {
    operator
        .notes
        .after(&json!({ "message": body.message, "pools": body.pools }));
    if body.message.trim().is_empty() {
        return Err(Problem::new(
            Code::InvalidRequest,
            "`message` says nothing.",
        ));
    }
    check_text("message", Some(&body.message))?;
    let mut leases = 0;
    let known = known_in(&app, &operator, body.pools, &holder).await?;
    for (number, (pool, name)) in known.into_iter().enumerate() {
        let left = leave(
            &app,
            &operator,
            (number, &pool),
            &name,
            Left::Notice(&body.message),
        )
        .await?;
        leases += left.iter().filter(|(_, lives)| *lives).count();
    }
    Ok((StatusCode::ACCEPTED, Json(Notified { leases })))
}
