//! `GET /v1/pools/{pool}/usage`: how full a pool is, and was in the last days.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::accept::{self, Format};
use super::super::csv::{self, Cell};
use super::super::extract::{Path, Query};
use super::super::problem::Problem;
use super::super::{App, pool_not_found};
use super::{invalid, rounded, share, zone};
use crate::history::slot::Slot;
use crate::history::usage as full;
use crate::names::PoolName;
use crate::time::Timestamp;

/// Maximum days per usage report: as long as days are kept.
const MAX_DAYS: u32 = 800;
/// Maximum minutes of a sustained peak.
const MAX_MINUTES: u64 = 800 * 24 * 60;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(usage_of))
}

/// What is wanted of a usage report.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// How many days, today included, 1 to 800; 30 without it.
    #[param(minimum = 1, maximum = 800)]
    pub(crate) days: Option<u32>,
    /// Time zone of the days, by its IANA name; UTC without it. Days of other zones than UTC reach back 35 days.
    pub(crate) tz: Option<String>,
    /// For how long in total a level has to be reached for the sustained peak, in minutes; 30 without it.
    #[param(minimum = 1, maximum = 1_152_000)]
    pub(crate) sustained_minutes: Option<u64>,
    /// From which share of the capacity on time is counted in `utilisation`, in percent; 90 without it.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) percent: Option<u64>,
    /// `json` or `csv`, in place of the header `Accept`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// How full a pool is and was.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageBody {
    /// Seats in use now.
    pub(crate) current: u64,
    /// Seats in all now.
    pub(crate) capacity: u64,
    /// Seats in use that are idle by the last report of their holders; only of a pool whose policy has `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) idle_now: Option<u64>,
    /// Seats that were idle on average in all days together; only of a pool whose policy has `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) idle_mean: Option<f64>,
    /// Mean of the days' maxima, over the days since the pool has a history.
    pub(crate) daily_average: f64,
    /// The most seats in use at once.
    pub(crate) daily_max: u64,
    /// How many days were asked for.
    pub(crate) days: u32,
    /// The days since the pool has a history, the present one last.
    pub(crate) daily: Vec<DayBody>,
    /// Earliest day: in UTC days are kept for 800 days, in other zones for 35; null without days.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) covered_from: Option<Timestamp>,
    /// The highest number of seats in use that was reached for a while in total; some vendors bill that.
    pub(crate) sustained_peak: SustainedBody,
    /// How much of what there was has been used.
    pub(crate) utilisation: UtilisationBody,
    /// Denials by reason; those of one holder within two minutes count once.
    pub(crate) denials: BTreeMap<String, u64>,
    /// Acquires that were denied, by reason: each one, also of the same holder.
    pub(crate) raw_denials: BTreeMap<String, u64>,
    /// Time in which nobody could ask for a seat, or of which nothing is known.
    pub(crate) gap_ms: u64,
}

/// The highest number of seats at which at least that many were in use for `minutes` in total.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SustainedBody {
    pub(crate) minutes: u64,
    pub(crate) seats: u64,
}

/// How much of the seats has been used, in all days together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UtilisationBody {
    /// Share of the seats' time in which they were in use, 1 for all; more with an overdraft.
    pub(crate) share: f64,
    /// From which share of the capacity on `at_or_above_ms` counts, in percent.
    pub(crate) percent: u64,
    /// Time at which so much of the capacity was in use, or more.
    pub(crate) at_or_above_ms: u64,
    /// Time at which no seat was free.
    pub(crate) full_ms: u64,
    /// Time that is known.
    pub(crate) known_ms: u64,
    /// Seats in use times their time.
    pub(crate) seat_ms: u64,
    /// Seats in all times their time.
    pub(crate) capacity_ms: u64,
    /// Seats that were enough for 95 % of the time.
    pub(crate) enough_for_95_percent: u64,
}

impl UtilisationBody {
    fn of(whole: &Slot, percent: u64) -> Self {
        let levels = &whole.levels;
        let capacity_ms = levels.capacity_ms();
        Self {
            share: rounded(share(whole.seat_ms, capacity_ms)),
            percent,
            at_or_above_ms: levels.at_least_ms(percent),
            full_ms: levels.at_least_ms(100),
            known_ms: levels.ms(),
            seat_ms: whole.seat_ms,
            capacity_ms,
            enough_for_95_percent: levels.enough_for(0.95),
        }
    }
}

/// One day.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DayBody {
    #[schema(value_type = String, format = Date)]
    pub(crate) date: chrono::NaiveDate,
    /// The most seats in use at once.
    pub(crate) high_water_mark: u64,
    /// Seats in use on average.
    pub(crate) mean: f64,
    /// Leases that got a seat.
    pub(crate) grants: u64,
    /// Capacity at the end.
    pub(crate) capacity: u64,
    /// Share of the seats' time in which they were in use, 1 for all.
    pub(crate) utilisation: f64,
    /// Seats that were idle on average; only of a pool whose policy has `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) idle_mean: Option<f64>,
    /// Time at which no seat was free.
    pub(crate) full_ms: u64,
    /// Denials; those of one holder within two minutes count once.
    pub(crate) denials: u64,
    /// Acquires that were denied, also of the same holder.
    pub(crate) raw_denials: u64,
    /// Time in which nobody could ask for a seat, or of which nothing is known.
    pub(crate) gap_ms: u64,
}

/// Says how full a pool is, and was in the last days.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/usage", operation_id = "usage", tag = "history",
    params(UsageQuery),
    responses((status = 200, body = UsageBody)),
)]
async fn usage_of(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<UsageQuery>,
) -> Result<Response, Problem> {
    let found = usage(&app, &pool, &wanted).await?;
    if accept::is_csv(&headers, wanted.format) {
        return Ok(to_csv(&pool, &found));
    }
    Ok(Json(found).into_response())
}

/// How full a pool is, and was in the last days.
pub(crate) async fn usage(
    app: &App,
    pool: &PoolName,
    wanted: &UsageQuery,
) -> Result<UsageBody, Problem> {
    let days = wanted.days.unwrap_or(30);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(invalid(format!("`days` is 1 to {MAX_DAYS}.")));
    }
    let minutes = wanted.sustained_minutes.unwrap_or(30);
    if !(1..=MAX_MINUTES).contains(&minutes) {
        return Err(invalid(format!(
            "`sustained_minutes` is 1 to {MAX_MINUTES}."
        )));
    }
    let percent = wanted.percent.unwrap_or(90);
    if !(1..=100).contains(&percent) {
        return Err(invalid("`percent` is 1 to 100."));
    }
    let zone = zone(wanted.tz.as_deref())?;
    let found = full::usage(&app.0.store, pool, days, zone)
        .await?
        .ok_or_else(|| pool_not_found(pool))?;
    let daily = found.days.iter().map(|(date, day)| DayBody {
        date: *date,
        high_water_mark: day.slot.high_water_mark,
        mean: rounded(day.mean()),
        idle_mean: found.idle.map(|_| rounded(day.idle_mean())),
        grants: day.slot.grants,
        capacity: day.slot.capacity,
        utilisation: rounded(share(day.slot.seat_ms, day.slot.levels.capacity_ms())),
        full_ms: day.slot.levels.at_least_ms(100),
        denials: day.slot.denials.values().sum(),
        raw_denials: day.slot.raw_denials.values().sum(),
        gap_ms: day.slot.gap_ms,
    });
    Ok(UsageBody {
        current: found.current,
        capacity: found.capacity,
        idle_now: found.idle,
        idle_mean: found
            .idle
            .map(|_| rounded(share(found.whole.idle_ms, found.whole.levels.ms()))),
        daily_average: rounded(found.daily_average),
        daily_max: found.daily_max,
        days,
        daily: daily.collect(),
        covered_from: found.days.first().map(|(_, day)| day.from),
        sustained_peak: SustainedBody {
            minutes,
            seats: found.whole.levels.sustained(minutes * 60_000),
        },
        utilisation: UtilisationBody::of(&found.whole, percent),
        denials: found.whole.denials,
        raw_denials: found.whole.raw_denials,
        gap_ms: found.whole.gap_ms,
    })
}

/// Days as a file.
pub(crate) fn to_csv(pool: &PoolName, found: &UsageBody) -> Response {
    let knows_idle = found.daily.iter().any(|day| day.idle_mean.is_some());
    let mut columns = vec![
        "date",
        "high_water_mark",
        "mean",
        "grants",
        "capacity",
        "utilisation",
        "full_ms",
        "denials",
        "raw_denials",
        "gap_ms",
    ];
    if knows_idle {
        columns.push("idle_mean");
    }
    let rows = found.daily.iter().map(|day| {
        let mut row = vec![
            Cell::plain(&day.date),
            Cell::plain(&day.high_water_mark),
            Cell::plain(&day.mean),
            Cell::plain(&day.grants),
            Cell::plain(&day.capacity),
            Cell::plain(&day.utilisation),
            Cell::plain(&day.full_ms),
            Cell::plain(&day.denials),
            Cell::plain(&day.raw_denials),
            Cell::plain(&day.gap_ms),
        ];
        if knows_idle {
            row.push(Cell::plain(&day.idle_mean.unwrap_or_default()));
        }
        row
    });
    csv::file(&format!("{pool}-usage"), &columns, rows)
}
