//! `/v1/holders`: people and what they hold, over all pools that the caller may see.
//!
//! A holder is found by its leases: there is no index of holders, because every acquire would pay for it. A list reads the records of all
//! leases of the pools that it is about, a thousand at a time, as a list of leases with a filter does.

pub(crate) mod end;
pub(crate) mod list;
pub(crate) mod notify;
pub(crate) mod read;

use std::collections::{BTreeSet, HashSet};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Operator;
use super::problem::{Code, Problem};
use super::{App, pool_not_found};
use crate::lease::Lease;
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::store::{self, Block, EventId, Left, MAX_NOTICES, NoticeLeft, Selection};

/// Most blocks that are read at once.
const BLOCKS_AT_ONCE: usize = 1_000;
/// Days for which somebody who held something is one of the people of a tenant, and most events that are read to know it.
const OWN_DAYS: i64 = 7;
const OWN_EVENTS: usize = 100_000;
const EVENTS_AT_ONCE: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(read::read))
        .routes(routes!(end::end))
        .routes(routes!(notify::notify))
}

/// The pools that are asked about: those that are named, or all that the caller may see.
pub(super) async fn pools_of(
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

/// All blocks of a pool.
pub(super) async fn blocks_of(app: &App, pool: &PoolName) -> Result<Vec<Block>, store::Error> {
    let mut found: Vec<Block> = Vec::new();
    let mut after = None;
    loop {
        let page = app
            .0
            .store
            .blocks(pool, after.as_ref(), BLOCKS_AT_ONCE)
            .await?;
        let page = page.unwrap_or_default();
        let whole = page.len() == BLOCKS_AT_ONCE;
        after = page.last().map(|last| (last.until, last.holder.clone()));
        found.extend(page);
        if !whole {
            return Ok(found);
        }
    }
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
    let rest = Selection::of(None, None).within(Some(own.clone()));
    let hold_now = |leases: Vec<Lease>| {
        let holders = leases.iter().filter_map(|lease| lease.holder.as_ref());
        people.extend(holders.map(|holder| holder.key().to_owned()));
        Ok::<_, store::Error>(())
    };
    store.each_page(pool, rest, hold_now).await?;
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
    let of_holder = Selection::of(Some(holder.clone()), None).within(own.cloned());
    let mut found = Vec::new();
    let add = |leases| {
        found.extend(leases);
        Ok::<_, store::Error>(())
    };
    app.0.store.each_page(pool, of_holder, add).await?;
    Ok(found)
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
        NoticeLeft::Full => Err(Problem::new(
            Code::TooManyRequests,
            format!(
                "{MAX_NOTICES} messages wait for a lease of this holder already, and each heartbeat brings one. Send it again later."
            ),
        )),
        NoticeLeft::TooMany => Err(Problem::new(
            Code::TooManyRequests,
            format!(
                "Notices wait for 1000 leases of the pool {pool} already. Ask again after their next heartbeats."
            ),
        )),
    }
}
