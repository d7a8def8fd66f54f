//! `GET /v1/holders/{holder}`: all that is known of a person.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use chrono::NaiveDate;
use chrono_tz::Tz;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{blocks_of, is_own_person, leases_of, name_in, pools_of};
use crate::history::holders::{self as history, HolderHistory};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::blocks::{BlockBody, may_concern};
use crate::http::extract::{HolderSegment, Path, Query};
use crate::http::history::denials::DenialBody;
use crate::http::history::zone;
use crate::http::leases::LeaseBody;
use crate::http::problem::{Code, Problem};
use crate::names::{Holder, PoolName};
use crate::store::{NamedChange, NamedChanged};
use crate::time::{Timestamp, millis};

/// Pools that are asked at the same time.
const AT_ONCE: usize = 8;
/// Maximum length of a person's history: events are kept no longer.
const MAX_DAYS: u32 = 35;
/// Most people who wait that are looked through in a pool.
const MAX_WAITING: usize = 1_000;
/// Denials and ended leases that are told one by one, the last ones of each pool.
const LAST: usize = 100;

/// What is wanted of one person.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HolderQuery {
    /// Also its history of that many days, 1 to 35.
    pub(crate) days: Option<u32>,
    /// Time zone of the days, of the IANA database; UTC without it.
    pub(crate) tz: Option<String>,
}

/// All that is known of a person.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct HolderDetails {
    /// Who it is.
    #[schema(example = "agent-7")]
    pub(crate) holder: String,
    /// What it holds now.
    pub(crate) leases: Vec<LeaseBody>,
    /// What it waits for.
    pub(crate) waiting: Vec<WaitingFor>,
    /// Named seats that it has in the present period.
    pub(crate) named: Vec<NamedSeatOf>,
    /// Where it gets no seat.
    pub(crate) blocks: Vec<BlockBody>,
    /// What it did, by pool; only with `days`. With a key for some tenants, for theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) history: Option<Vec<HistoryInPool>>,
}

/// A place in a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitingFor {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// 1 is the next.
    pub(crate) position: u64,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) since: Option<Timestamp>,
    /// Until when it has to ask again to keep its place.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) asks_again_by: Timestamp,
    /// About how long it waits still. Null for a key with `tenants`, because it tells how many others stand in front.
    pub(crate) eta_ms: Option<u64>,
}

/// A named seat.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamedSeatOf {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// `used`, `assigned` or `transferred`.
    pub(crate) how: String,
}

/// What somebody did in a pool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryInPool {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// Leases that were live at some instant of these days.
    pub(crate) leases: u64,
    /// Hours for which they were, together.
    pub(crate) hours: f64,
    /// How often it was denied, by reason; repeated denials within two minutes are one.
    pub(crate) denials: BTreeMap<String, u64>,
    /// How its leases ended, by reason.
    pub(crate) ends: BTreeMap<String, u64>,
    /// The last instant at which it held one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_seen_at: Option<Timestamp>,
    /// The days on which it held one, oldest first.
    pub(crate) days: Vec<DayOfHolder>,
    /// Its last denials one by one, oldest first, at most 100, and how long it took until a seat came.
    pub(crate) denied: Vec<DenialBody>,
    /// Its leases that ended last, oldest first, at most 100, and why they did.
    pub(crate) ended: Vec<EndedLease>,
}

/// A day of a person in a pool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DayOfHolder {
    /// The day in the zone that was asked for.
    #[schema(value_type = String, format = Date)]
    pub(crate) date: NaiveDate,
    /// Hours for which leases were live, together.
    pub(crate) hours: f64,
}

/// A lease that ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndedLease {
    pub(crate) id: String,
    /// When it began, or was resumed.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) ended_at: Timestamp,
    /// `expired`, `released`, `terminated` or `evicted`.
    pub(crate) reason: String,
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
pub(in crate::http) async fn read(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
    Query(wanted): Query<HolderQuery>,
) -> Result<Json<HolderDetails>, Problem> {
    Ok(Json(details(&app, &operator, &holder, &wanted).await?))
}

/// All that is known of a person.
pub(crate) async fn details(
    app: &App,
    operator: &Operator,
    holder: &Holder,
    wanted: &HolderQuery,
) -> Result<HolderDetails, Problem> {
    if wanted
        .days
        .is_some_and(|days| !(1..=MAX_DAYS).contains(&days))
    {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`days` is 1 to {MAX_DAYS}."),
        ));
    }
    let zone = zone(wanted.tz.as_deref())?;
    let days = wanted.days.map(|days| (days, zone));
    let pools = pools_of(app, operator, None).await?;
    let mut details = HolderDetails {
        holder: holder.as_str().to_owned(),
        ..HolderDetails::default()
    };
    let mut found = stream::iter(pools)
        .map(|pool| async move { in_pool(app, operator, pool, holder, days).await })
        .buffered(AT_ONCE)
        .boxed();
    while let Some(part) = found.try_next().await? {
        details.leases.extend(part.leases);
        details.waiting.extend(part.waiting);
        details.named.extend(part.named);
        details.blocks.extend(part.blocks);
        if let Some(history) = part.history {
            details.history.get_or_insert_default().extend(history);
        }
    }
    drop(found);
    Ok(details)
}

/// What is known of a person in one pool.
async fn in_pool(
    app: &App,
    operator: &Operator,
    pool: PoolName,
    holder: &Holder,
    days: Option<(u32, Tz)>,
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
                eta_ms: sees_all.then(|| millis(waiter.eta)),
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
    let of_person =
        blocks.filter(|block| block.holder == holder.key() && may_concern(block, own.as_ref()));
    details
        .blocks
        .extend(of_person.map(|block| BlockBody::of(&pool, block)));
    if let Some((days, zone)) = days {
        let now = store.now();
        let from = Timestamp(now.0 - i64::from(days) * 86_400_000);
        let known = history::holder(store, &pool, holder.key(), from, now, own.as_ref()).await?;
        let did_anything = known.used.leases > 0 || !known.denials.is_empty();
        details.history = Some(
            did_anything
                .then(|| HistoryInPool::of(pool, known, zone))
                .into_iter()
                .collect(),
        );
    }
    Ok(details)
}

impl HistoryInPool {
    fn of(pool: PoolName, known: HolderHistory, zone: Tz) -> Self {
        let hours = |ms: u64| (ms as f64 / 36_000.0).round() / 100.0;
        let days = known.held_by_day(zone).into_iter();
        let last = |all: usize| all.saturating_sub(LAST);
        let (denied, ended) = (last(known.denied.len()), last(known.ended.len()));
        Self {
            pool,
            leases: known.used.leases,
            hours: hours(known.used.held_ms),
            days: days
                .map(|(date, ms)| DayOfHolder {
                    date,
                    hours: hours(ms),
                })
                .collect(),
            denials: known.denials,
            ends: known.ends,
            last_seen_at: known.used.last_seen_at,
            denied: known
                .denied
                .into_iter()
                .skip(denied)
                .map(DenialBody::from)
                .collect(),
            ended: known
                .ended
                .into_iter()
                .skip(ended)
                .map(|ended| EndedLease {
                    id: ended.lease,
                    started_at: ended.since,
                    ended_at: ended.at,
                    reason: ended.reason,
                })
                .collect(),
        }
    }
}
