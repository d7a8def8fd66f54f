//! `GET /v1/pools/{pool}/sizing`: how many seats a pool needs.

mod body;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::body::{
    BusiestDayBody, ComparisonBody, GrowthBody, HarvestBody, PointBody, SizingBody,
};
use super::accept::{self, Format};
use super::csv::{self, Cell};
use super::extract::{Path, Query};
use super::history::zone;
use super::problem::{Code, Problem};
use super::when::When;
use super::{App, pool_not_found};
use crate::blocking;
use crate::history::prices::Prices;
use crate::history::{demand, reading};
use crate::names::PoolName;
use crate::time::Timestamp;

/// Length of the demand without `from`, ms: as long as events are kept.
const EVENTS_KEPT_MS: i64 = 35 * 86_400_000;
/// Maximum minutes of a sustained peak.
const MAX_MINUTES: u64 = 35 * 24 * 60;
/// Share of refused requests that a lean and a balanced choice accept by default.
const LEAN: f64 = 0.005;
const BALANCED: f64 = 0.001;
/// For how long in total a level has to be reached for a sustained peak, in minutes, without another time.
const SUSTAINED_MINUTES: u64 = 30;
/// What is added for what has not been seen, in percent, without another share.
const RESERVE: u64 = 10;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(sizing))
}

/// What is wanted of the sizing.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SizingQuery {
    /// From when; without it as long as events are kept, 35 days.
    #[param(value_type = Option<String>, example = "2026-11-28")]
    pub(crate) from: Option<When>,
    /// End. Default: now.
    #[param(value_type = Option<String>, example = "2026-11-29T08:00:00Z")]
    pub(crate) to: Option<When>,
    /// Price of a named seat, or tiers: `1:10,51:8` is 10 each for the first fifty and 8 for each further one.
    pub(crate) price_named: Option<String>,
    /// Price of a concurrent seat, likewise.
    pub(crate) price_concurrent: Option<String>,
    /// Share of refused requests that the lean choice accepts, 0 to 1; 0.005 without it.
    pub(crate) target_lean: Option<f64>,
    /// Share of refused requests that the balanced choice accepts, 0 to 1; 0.001 without it.
    pub(crate) target_balanced: Option<f64>,
    /// What is added to each choice for what has not been seen, in percent, 0 to 100; 10 without it.
    #[param(maximum = 100)]
    pub(crate) reserve: Option<u64>,
    /// For how long in total a level has to be reached for a sustained peak, in minutes; 30 without it.
    #[param(minimum = 1, maximum = 1_152_000)]
    pub(crate) sustained_minutes: Option<u64>,
    /// Time zone of `from` and `to` where they name none, and of the days whose busy hours count, by its IANA name; UTC without it.
    pub(crate) tz: Option<String>,
    /// `json` or `csv` (the curve), in place of the header `Accept`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// Says how many seats a pool needs, by replaying its recorded demand with other numbers of seats.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/sizing", tag = "history",
    params(SizingQuery),
    responses((status = 200, description = "The curve also as `text/csv`", body = SizingBody)),
)]
async fn sizing(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<SizingQuery>,
) -> Result<Response, Problem> {
    let sizing = size(&app, &pool, &wanted).await?;
    if accept::is_csv(&headers, wanted.format) {
        return Ok(to_csv(&pool, &sizing));
    }
    Ok(Json(sizing).into_response())
}

/// How many seats a pool needs.
pub(crate) async fn size(
    app: &App,
    pool: &PoolName,
    wanted: &SizingQuery,
) -> Result<SizingBody, Problem> {
    let price = |name: &str, text: Option<&String>| -> Result<Option<Prices>, Problem> {
        text.map(|text| {
            text.parse()
                .map_err(|error| invalid(format!("`{name}`: {error}.")))
        })
        .transpose()
    };
    let named = price("price_named", wanted.price_named.as_ref())?;
    let concurrent = price("price_concurrent", wanted.price_concurrent.as_ref())?;
    let status = app
        .0
        .store
        .status(pool)
        .await?
        .ok_or_else(|| pool_not_found(pool))?;
    let zone = zone(wanted.tz.as_deref())?;
    let at = |name, when: &Option<When>| when.as_ref().map(|when| when.at(name, zone)).transpose();
    let to = at("to", &wanted.to)?.unwrap_or(status.at);
    let from = at("from", &wanted.from)?.unwrap_or(Timestamp(to.0 - EVENTS_KEPT_MS));
    if to <= from {
        return Err(invalid("`from` comes before `to`.".into()));
    }

    let covered_from = reading::covered_from(&app.0.store, pool, from).await?;
    let terms = Terms::of(wanted, status.capacity, covered_from)?;
    let after_ms = status.policy.idle.map(|idle| idle.after_ms);
    let demand = demand::demand(&app.0.store, pool, from, to, status.at).await?;
    let (weeks, was_full) =
        demand::weekly_peaks(&app.0.store, pool, to, terms.sustained_minutes * 60_000).await?;
    Ok(blocking::run(move || {
        let demand = demand.in_zone(zone);
        let harvest = after_ms.map(|after_ms| {
            HarvestBody::of(&demand, zone, after_ms, terms.capacity, concurrent.as_ref())
        });
        let prices = named.zip(concurrent);
        let sizing = SizingBody::of(&demand, &weeks, was_full, &terms, prices.as_ref());
        SizingBody { harvest, ..sizing }
    })
    .await)
}

/// The curve as a file.
pub(crate) fn to_csv(pool: &PoolName, sizing: &SizingBody) -> Response {
    let columns = [
        "seats",
        "denials",
        "holders_denied",
        "longest_wait_ms",
        "erlang_b",
        "engset",
        "full_ms",
        "unused_seat_hours",
    ];
    let rows = sizing.curve.iter().map(|point| {
        vec![
            Cell::plain(&point.seats),
            Cell::plain(&point.denials),
            Cell::plain(&point.holders_denied),
            Cell::plain(&point.longest_wait_ms),
            Cell::plain(&point.erlang_b),
            Cell::plain(&point.engset),
            Cell::plain(&point.full_ms),
            Cell::plain(&point.unused_seat_hours),
        ]
    });
    csv::file(&format!("{pool}-sizing"), &columns, rows)
}

/// What an answer is made with, besides the demand.
struct Terms {
    lean: f64,
    balanced: f64,
    reserve: u64,
    sustained_minutes: u64,
    capacity: u64,
    covered_from: Option<Timestamp>,
}

impl Terms {
    fn of(
        wanted: &SizingQuery,
        capacity: u64,
        covered_from: Option<Timestamp>,
    ) -> Result<Self, Problem> {
        let share = |name: &str, share: Option<f64>, usual: f64| match share.unwrap_or(usual) {
            share if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(invalid(format!("`{name}` is a share, 0 to 1."))),
        };
        let terms = Self {
            lean: share("target_lean", wanted.target_lean, LEAN)?,
            balanced: share("target_balanced", wanted.target_balanced, BALANCED)?,
            reserve: wanted.reserve.unwrap_or(RESERVE),
            sustained_minutes: wanted.sustained_minutes.unwrap_or(SUSTAINED_MINUTES),
            capacity,
            covered_from,
        };
        if terms.reserve > 100 {
            return Err(invalid("`reserve` is 0 to 100, in percent.".into()));
        }
        if !(1..=MAX_MINUTES).contains(&terms.sustained_minutes) {
            return Err(invalid(format!(
                "`sustained_minutes` is 1 to {MAX_MINUTES}."
            )));
        }
        Ok(terms)
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}
