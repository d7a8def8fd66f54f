//! `/v1/pools/{pool}/usage`, `/history`, `/denials` and `/holders`: what happened, as JSON and as CSV.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::csv::{self, Cell};
use super::extract::{Path, Query};
use super::problem::{Code, Problem, ProblemDocument};
use super::{App, pool_not_found};
use crate::history::replay::Step;
use crate::history::usage::Span;
use crate::history::{denials, holders, usage};
use crate::lease::Instant;
use crate::pool::PoolName;
use crate::store::EventId;

/// Most slots of one answer.
const MAX_SLOTS: i64 = 3_000;
/// Most days of a usage report: as long as days are kept.
const MAX_DAYS: u32 = 800;
/// Rows of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// How far back a report goes that does not say from when, ms: as long as events are kept.
const EVENTS_KEPT_MS: i64 = 35 * 86_400_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(usage_of))
        .routes(routes!(history_of))
        .routes(routes!(denials_of))
        .routes(routes!(holders_of))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail.into())
}

fn zone(name: Option<&str>) -> Result<Tz, Problem> {
    name.map_or(Ok(Tz::UTC), |name| {
        name.parse().map_err(|_| {
            invalid("`tz` is not a time zone of the IANA database. Send one like Europe/Zurich, or UTC.")
        })
    })
}

fn instant(at: Option<DateTime<Utc>>) -> Option<Instant> {
    at.map(|at| Instant(at.timestamp_millis()))
}

async fn must_exist(app: &App, pool: &PoolName) -> Result<Instant, Problem> {
    let status = app.0.store.status(pool).await?;
    status
        .map(|pool| pool.at)
        .ok_or_else(|| pool_not_found(pool))
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// What is wanted of a usage report.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageWanted {
    /// How many days, today included, 1 to 800; 30 without it.
    days: Option<u32>,
    /// Time zone of the days, by its IANA name; UTC without it.
    tz: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    format: Option<String>,
}

/// How full a pool is and was.
#[derive(Debug, Serialize, ToSchema)]
struct UsageBody {
    /// Seats in use now.
    current: u64,
    /// Seats in all now.
    capacity: u64,
    /// Mean of the days' maxima, over the days since the pool has a history.
    daily_average: f64,
    /// The most seats in use at once.
    daily_max: u64,
    /// How many days were asked for.
    days: u32,
    /// The days since the pool has a history, the present one last.
    daily: Vec<DayBody>,
}

/// One day.
#[derive(Debug, Serialize, ToSchema)]
struct DayBody {
    #[schema(value_type = String, format = Date)]
    date: chrono::NaiveDate,
    /// The most seats in use at once.
    high_water_mark: u64,
    /// Seats in use on the average.
    mean: f64,
    /// Leases that got a seat.
    grants: u64,
    /// Capacity at the end.
    capacity: u64,
}

/// Says how full a pool is, and was in the last days.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/usage",
    tag = "history",
    operation_id = "usage",
    params(("pool" = String, Path, description = "Name of the pool"), UsageWanted),
    responses(
        (status = 200, description = "Also as `text/csv`, if `Accept` says so", body = UsageBody),
        (status = 400, description = "`invalid_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "`unauthorized`, `forbidden`, `pool_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
async fn usage_of(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<UsageWanted>,
) -> Result<Response, Problem> {
    let days = wanted.days.unwrap_or(30);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(invalid(format!("`days` is 1 to {MAX_DAYS}.")));
    }
    let zone = zone(wanted.tz.as_deref())?;
    let found = usage::usage(&app.0.store, &pool, days, zone)
        .await?
        .ok_or_else(|| pool_not_found(&pool))?;
    let daily = found.days.iter().map(|(date, day)| DayBody {
        date: *date,
        high_water_mark: day.slot.high_water_mark,
        mean: rounded(day.mean()),
        grants: day.slot.grants,
        capacity: day.slot.capacity,
    });
    if csv::is_wanted(&headers, wanted.format.as_deref()) {
        let columns = ["date", "high_water_mark", "mean", "grants", "capacity"];
        let rows = daily.map(|day| {
            vec![
                Cell::plain(&day.date),
                Cell::plain(&day.high_water_mark),
                Cell::plain(&day.mean),
                Cell::plain(&day.grants),
                Cell::plain(&day.capacity),
            ]
        });
        return Ok(csv::file(&format!("{pool}-usage"), &columns, rows));
    }
    Ok(Json(UsageBody {
        current: found.current,
        capacity: found.capacity,
        daily_average: rounded(found.daily_average),
        daily_max: found.daily_max,
        days,
        daily: daily.collect(),
    })
    .into_response())
}

/// The length of a slot.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StepWord {
    /// Kept for 48 hours.
    Minute,
    /// Kept for 35 days.
    Hour,
    /// Kept for 800 days in UTC, for 35 in other zones.
    Day,
}

impl StepWord {
    const fn step(self) -> Step {
        match self {
            Self::Minute => Step::Minute,
            Self::Hour => Step::Hour,
            Self::Day => Step::Day,
        }
    }

    /// How far back a report goes that does not say from when, ms.
    const fn usual_ms(self) -> i64 {
        match self {
            Self::Minute => 3_600_000,
            Self::Hour => 86_400_000,
            Self::Day => 30 * 86_400_000,
        }
    }
}

/// What is wanted of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryWanted {
    /// `minute`, `hour` or `day`; `hour` without it.
    #[param(inline)]
    step: Option<StepWord>,
    /// From when; without it the last hour, day or 30 days, by step.
    from: Option<DateTime<Utc>>,
    /// Until when; now without it.
    to: Option<DateTime<Utc>>,
    /// Time zone of days, by its IANA name; UTC without it.
    tz: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    format: Option<String>,
}

/// Slots, one after the other.
#[derive(Debug, Serialize, ToSchema)]
struct HistoryBody {
    items: Vec<SlotBody>,
}

/// What happened in a stretch of time.
#[derive(Debug, Serialize, ToSchema)]
struct SlotBody {
    /// Its begin.
    #[schema(value_type = String, format = DateTime)]
    from: Instant,
    /// Its end, or now if it is not over.
    #[schema(value_type = String, format = DateTime)]
    until: Instant,
    /// Capacity at the end.
    capacity: u64,
    /// The most seats in use at once.
    high_water_mark: u64,
    /// Seats in use on the average.
    mean: f64,
    /// Leases that got a seat, those that came back included.
    grants: u64,
    /// Denials by reason; those of one holder within two minutes count once.
    denials: BTreeMap<String, u64>,
    /// Ends by reason.
    ends: BTreeMap<String, u64>,
    /// Milliseconds at each number of seats in use.
    levels_ms: BTreeMap<u64, u64>,
}

impl From<Span> for SlotBody {
    fn from(span: Span) -> Self {
        Self {
            mean: rounded(span.mean()),
            from: span.from,
            until: span.until,
            capacity: span.slot.capacity,
            high_water_mark: span.slot.high_water_mark,
            grants: span.slot.grants,
            denials: span.slot.denials,
            ends: span.slot.ends,
            levels_ms: span.slot.levels,
        }
    }
}

/// Says what happened in a pool, by minute, hour or day.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/history",
    tag = "history",
    operation_id = "history",
    params(("pool" = String, Path, description = "Name of the pool"), HistoryWanted),
    responses(
        (status = 200, description = "Also as `text/csv`, if `Accept` says so", body = HistoryBody),
        (status = 400, description = "`invalid_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "`unauthorized`, `forbidden`, `pool_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
async fn history_of(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<HistoryWanted>,
) -> Result<Response, Problem> {
    let zone = zone(wanted.tz.as_deref())?;
    let word = wanted.step.unwrap_or(StepWord::Hour);
    let now = must_exist(&app, &pool).await?;
    let to = instant(wanted.to).unwrap_or(Instant(now.0 + 1));
    let from = instant(wanted.from).unwrap_or(Instant(to.0 - word.usual_ms()));
    if to <= from {
        return Err(invalid("`from` comes before `to`."));
    }
    if MAX_SLOTS < (to.0 - from.0) / word.step().ms() {
        return Err(invalid(format!(
            "That is more than {MAX_SLOTS} slots. Ask for a shorter time or a longer step."
        )));
    }
    let spans = usage::history(&app.0.store, &pool, word.step(), from, to, zone).await?;
    if csv::is_wanted(&headers, wanted.format.as_deref()) {
        let columns = [
            "from",
            "until",
            "capacity",
            "high_water_mark",
            "mean",
            "grants",
            "denials",
            "ends",
        ];
        let rows = spans.into_iter().map(SlotBody::from).map(|slot| {
            vec![
                Cell::plain(&slot.from),
                Cell::plain(&slot.until),
                Cell::plain(&slot.capacity),
                Cell::plain(&slot.high_water_mark),
                Cell::plain(&slot.mean),
                Cell::plain(&slot.grants),
                Cell::plain(&slot.denials.values().sum::<u64>()),
                Cell::plain(&slot.ends.values().sum::<u64>()),
            ]
        });
        return Ok(csv::file(&format!("{pool}-history"), &columns, rows));
    }
    let items = spans.into_iter().map(SlotBody::from).collect();
    Ok(Json(HistoryBody { items }).into_response())
}

/// What is wanted of a list of what happened.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// From when; without it as long as events are kept, 35 days.
    from: Option<DateTime<Utc>>,
    /// Until when; now without it.
    to: Option<DateTime<Utc>>,
    /// Most rows of the page, 1 to 1000; 100 without it.
    limit: Option<usize>,
    /// `next_cursor` of the page before, with everything else as it was.
    cursor: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    format: Option<String>,
}

impl Wanted {
    fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            Ok(limit)
        } else {
            Err(invalid(format!("`limit` is 1 to {MAX_LIMIT}.")))
        }
    }

    fn range(&self, now: Instant) -> (Instant, Instant) {
        let to = instant(self.to).unwrap_or(Instant(now.0 + 1));
        let from = instant(self.from).unwrap_or(Instant(to.0 - EVENTS_KEPT_MS));
        (from, to)
    }
}

fn not_a_cursor() -> Problem {
    invalid("`cursor` is not one of this list. Begin again without it.")
}

/// Part of the denials.
#[derive(Debug, Serialize, ToSchema)]
struct DenialsBody {
    items: Vec<DenialBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// A denial; further ones of the same holder within two minutes belong to it.
#[derive(Debug, Serialize, ToSchema)]
struct DenialBody {
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    /// Why.
    #[schema(example = "pool_full")]
    code: String,
    holder: Option<String>,
    tenant: Option<String>,
    /// Whether the holder got no seat within two minutes; null as long as that can still happen.
    true_denial: Option<bool>,
}

/// Lists who was denied, oldest first, and whether that holder got a seat soon after.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/denials",
    tag = "history",
    operation_id = "denials",
    params(("pool" = String, Path, description = "Name of the pool"), Wanted),
    responses(
        (status = 200, description = "Also as `text/csv`, if `Accept` says so", body = DenialsBody),
        (status = 400, description = "`invalid_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "`unauthorized`, `forbidden`, `pool_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
async fn denials_of(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let limit = wanted.limit()?;
    let (from, to) = wanted.range(must_exist(&app, &pool).await?);
    let after = match &wanted.cursor {
        Some(cursor) => cursor.parse().map_err(|_| not_a_cursor())?,
        None => EventId::before_ms(from.0),
    };
    let (found, next) = denials::denials(&app.0.store, &pool, after, to, limit).await?;
    let items: Vec<DenialBody> = found
        .into_iter()
        .map(|denial| DenialBody {
            at: denial.at,
            code: denial.code,
            holder: denial.holder,
            tenant: denial.tenant,
            true_denial: denial.true_denial,
        })
        .collect();
    if csv::is_wanted(&headers, wanted.format.as_deref()) {
        let columns = ["at", "code", "holder", "tenant", "true_denial"];
        let rows = items.into_iter().map(|denial| {
            vec![
                Cell::plain(&denial.at),
                Cell::plain(&denial.code),
                Cell::text(denial.holder.as_deref()),
                Cell::text(denial.tenant.as_deref()),
                Cell::plain(
                    &denial
                        .true_denial
                        .map_or(String::new(), |word| word.to_string()),
                ),
            ]
        });
        return Ok(csv::file(&format!("{pool}-denials"), &columns, rows));
    }
    Ok(Json(DenialsBody {
        items,
        next_cursor: next.map(|id| id.to_string()),
    })
    .into_response())
}

/// Part of the holders.
#[derive(Debug, Serialize, ToSchema)]
struct HoldersBody {
    items: Vec<HolderBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// What one holder did.
#[derive(Debug, Serialize, ToSchema)]
struct HolderBody {
    /// Null for all who are anonymous, together.
    holder: Option<String>,
    /// Leases that were live at some instant of the range.
    leases: u64,
    /// Time for which they were, together.
    held_ms: u64,
    /// The last instant of the range at which one was.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Option<Instant>,
}

/// Lists who used a pool, by name, how often and how long.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/holders",
    tag = "history",
    operation_id = "holders",
    params(("pool" = String, Path, description = "Name of the pool"), Wanted),
    responses(
        (status = 200, description = "Also as `text/csv`, if `Accept` says so", body = HoldersBody),
        (status = 400, description = "`invalid_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "`unauthorized`, `forbidden`, `pool_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
async fn holders_of(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let limit = wanted.limit()?;
    let (from, to) = wanted.range(must_exist(&app, &pool).await?);
    let found = holders::holders(&app.0.store, &pool, from, to).await?;
    // The nameless come first; a cursor is the name of the last holder of the page before, behind a sign.
    let after = match wanted.cursor.as_deref() {
        None => None,
        Some(cursor) => Some(match cursor.split_at_checked(1) {
            Some(("=", name)) => Some(name.to_owned()),
            Some(("-", "")) => None,
            _ => return Err(not_a_cursor()),
        }),
    };
    let mut rest = found
        .into_iter()
        .filter(|(holder, _)| after.as_ref().is_none_or(|after| after < holder));
    let items: Vec<HolderBody> = rest
        .by_ref()
        .take(limit)
        .map(|(holder, held)| HolderBody {
            holder,
            leases: held.leases,
            held_ms: held.held_ms,
            last_seen_at: held.last_seen_at,
        })
        .collect();
    let more = rest.next().is_some();
    if csv::is_wanted(&headers, wanted.format.as_deref()) {
        let columns = ["holder", "leases", "held_ms", "last_seen_at"];
        let rows = items.into_iter().map(|row| {
            vec![
                Cell::text(row.holder.as_deref()),
                Cell::plain(&row.leases),
                Cell::plain(&row.held_ms),
                Cell::plain(&row.last_seen_at.map_or(String::new(), |at| at.to_string())),
            ]
        });
        return Ok(csv::file(&format!("{pool}-holders"), &columns, rows));
    }
    let next_cursor = items.last().filter(|_| more).map(|row| {
        row.holder
            .as_ref()
            .map_or("-".to_owned(), |name| format!("={name}"))
    });
    Ok(Json(HoldersBody { items, next_cursor }).into_response())
}
