//! `GET /v1/pools/{pool}/patterns`: when a pool is busy, weekday by hour.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use chrono::Weekday;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::App;
use super::super::accept::{self, Format};
use super::super::csv;
use super::super::extract::{Path, Query};
use super::super::problem::Problem;
use super::super::when::When;
use super::{must_exist, range, rounded, zone};
use crate::history::patterns as busy;
use crate::names::PoolName;
use crate::time::Timestamp;

/// Length of patterns without `from`, ms: whole weeks, so that each weekday counts alike.
const USUAL_MS: i64 = 28 * 86_400_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(patterns_of))
}

/// What is wanted of the patterns.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PatternsQuery {
    /// From when; without it 28 days back. Hours are kept for 35 days.
    #[param(value_type = Option<String>, example = "2026-11-28")]
    pub(crate) from: Option<When>,
    /// End. Default: now.
    #[param(value_type = Option<String>, example = "2026-11-29T08:00:00Z")]
    pub(crate) to: Option<When>,
    /// Time zone of the hours, by its IANA name; UTC without it.
    pub(crate) tz: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// When a pool is busy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PatternsBody {
    /// Begin of what was looked at.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Timestamp,
    /// Time zone of the hours.
    pub(crate) tz: String,
    /// 168 of them: the hours of Monday, then of Tuesday, and so on.
    pub(crate) cells: Vec<CellBody>,
    /// The hours that are busiest on average, at most ten, the busiest first.
    pub(crate) busiest: Vec<CellBody>,
}

/// An hour of a weekday, in all weeks together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CellBody {
    /// `monday` to `sunday`.
    pub(crate) weekday: &'static str,
    /// 0 to 23, by the clock of the time zone.
    pub(crate) hour: u32,
    /// Time that is known, in hours; 0 where there is no history.
    pub(crate) hours: f64,
    /// Seats in use on average; null without a history.
    pub(crate) mean: Option<f64>,
    /// The most seats in use at once; null without a history.
    pub(crate) peak: Option<u64>,
    /// Begin of the slot, an hour or a quarter of one, in which that was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) peak_at: Option<Timestamp>,
    /// Share of the seats that was in use, 1 for all; null without a seat.
    pub(crate) utilisation: Option<f64>,
    /// Share of the time at which no seat was free.
    pub(crate) full: Option<f64>,
    /// Denials; those of one holder within two minutes count once.
    pub(crate) denials: u64,
    /// Acquires that were denied, also of the same holder.
    pub(crate) raw_denials: u64,
}

impl From<&busy::Cell> for CellBody {
    fn from(cell: &busy::Cell) -> Self {
        Self {
            weekday: word(cell.weekday),
            hour: cell.hour,
            hours: rounded(cell.ms as f64 / 3_600_000.0),
            mean: cell.mean().map(rounded),
            peak: cell.peak_at.map(|_| cell.peak),
            peak_at: cell.peak_at,
            utilisation: cell.utilisation().map(rounded),
            full: cell.full().map(rounded),
            denials: cell.denials,
            raw_denials: cell.raw_denials,
        }
    }
}

const fn word(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Mon => "monday",
        Weekday::Tue => "tuesday",
        Weekday::Wed => "wednesday",
        Weekday::Thu => "thursday",
        Weekday::Fri => "friday",
        Weekday::Sat => "saturday",
        Weekday::Sun => "sunday",
    }
}

/// Says when a pool is busy: mean, peak and share of the capacity for each hour of the week.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/patterns", operation_id = "patterns", tag = "history",
    params(PatternsQuery),
    responses((status = 200, description = "The cells also as `text/csv`", body = PatternsBody)),
)]
async fn patterns_of(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<PatternsQuery>,
) -> Result<Response, Problem> {
    let found = patterns(&app, &pool, &wanted).await?;
    if accept::is_csv(&headers, wanted.format) {
        return Ok(to_csv(&pool, &found));
    }
    Ok(Json(found).into_response())
}

/// When a pool is busy.
pub(crate) async fn patterns(
    app: &App,
    pool: &PoolName,
    wanted: &PatternsQuery,
) -> Result<PatternsBody, Problem> {
    let zone = zone(wanted.tz.as_deref())?;
    let now = must_exist(app, pool).await?;
    let (from, to) = range(
        wanted.from.as_ref(),
        wanted.to.as_ref(),
        zone,
        now,
        USUAL_MS,
    )?;
    let found = busy::patterns(&app.0.store, pool, from, to, zone).await?;
    let cells = found.cells.iter().map(CellBody::from);
    Ok(PatternsBody {
        from: found.from,
        until: found.until,
        tz: zone.name().to_owned(),
        cells: cells.collect(),
        busiest: found.busiest().into_iter().map(CellBody::from).collect(),
    })
}

/// The cells as a file.
pub(crate) fn to_csv(pool: &PoolName, found: &PatternsBody) -> Response {
    let columns = [
        "weekday",
        "hour",
        "hours",
        "mean",
        "peak",
        "peak_at",
        "utilisation",
        "full",
        "denials",
        "raw_denials",
    ];
    let rows = found.cells.iter().map(|cell| {
        vec![
            csv::Cell::plain(cell.weekday),
            csv::Cell::plain(&cell.hour),
            csv::Cell::plain(&cell.hours),
            csv::Cell::known(cell.mean),
            csv::Cell::known(cell.peak),
            csv::Cell::known(cell.peak_at),
            csv::Cell::known(cell.utilisation),
            csv::Cell::known(cell.full),
            csv::Cell::plain(&cell.denials),
            csv::Cell::plain(&cell.raw_denials),
        ]
    });
    csv::file(&format!("{pool}-patterns"), &columns, rows)
}
