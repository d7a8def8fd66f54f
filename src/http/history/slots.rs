//! `GET /v1/pools/{pool}/history`: what happened, by minute, hour or day.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::App;
use super::super::accept::{self, Format};
use super::super::csv::{self, Cell};
use super::super::extract::{Path, Query};
use super::super::problem::Problem;
use super::super::when::When;
use super::{invalid, must_exist, range, rounded, share, zone};
use crate::history::slot::Step;
use crate::history::usage::{self, Span};
use crate::names::PoolName;
use crate::pool::Waited;
use crate::time::Timestamp;

/// Maximum slots per answer.
pub(crate) const MAX_SLOTS: i64 = 3_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(history_of))
}

/// The length of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepWord {
    /// Kept for 48 hours.
    Minute,
    /// Kept for 35 days.
    Hour,
    /// Kept for 800 days in UTC, for 35 in other zones.
    Day,
}

impl StepWord {
    /// Its length.
    pub(crate) const fn step(self) -> Step {
        match self {
            Self::Minute => Step::Minute,
            Self::Hour => Step::Hour,
            Self::Day => Step::Day,
        }
    }

    /// Length of a report without `from`, ms.
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
pub(crate) struct HistoryQuery {
    /// `minute`, `hour` or `day`; `hour` without it.
    #[param(inline)]
    pub(crate) step: Option<StepWord>,
    /// From when; without it the last hour, day or 30 days, by step.
    #[param(value_type = Option<String>, example = "2026-11-28")]
    pub(crate) from: Option<When>,
    /// End. Default: now.
    #[param(value_type = Option<String>, example = "2026-11-29T08:00:00Z")]
    pub(crate) to: Option<When>,
    /// Time zone of hours and days, by its IANA name; UTC without it.
    pub(crate) tz: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// Slots, one after the other.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryBody {
    pub(crate) items: Vec<SlotBody>,
    /// Earliest slot: as far back as slots are kept, and the pool has a history; null without slots.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) covered_from: Option<Timestamp>,
}

/// How long holders had waited in the queue when they were served.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Waited)]
pub(crate) struct WaitedBody {
    /// Median of the wait.
    #[schema(example = 4_000)]
    pub(crate) p50_ms: u64,
    /// Nineteen of twenty.
    #[schema(example = 20_000)]
    pub(crate) p95_ms: u64,
}

impl From<Waited> for WaitedBody {
    fn from(waited: Waited) -> Self {
        Self {
            p50_ms: waited.p50_ms,
            p95_ms: waited.p95_ms,
        }
    }
}

/// What happened in a stretch of time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SlotBody {
    /// Its begin.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// Its end, or now if it is not over.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Timestamp,
    /// Capacity at the end.
    pub(crate) capacity: u64,
    /// The most seats in use at once.
    pub(crate) high_water_mark: u64,
    /// Seats in use on average.
    pub(crate) mean: f64,
    /// Leases that got a seat for the first time.
    pub(crate) grants: u64,
    /// Leases that had ended by time, or were lost, and got their seat again: each time one did.
    pub(crate) resumes: u64,
    /// Denials by reason; those of one holder within two minutes count once.
    pub(crate) denials: BTreeMap<String, u64>,
    /// Acquires that were denied, by reason: each one, also of the same holder.
    pub(crate) raw_denials: BTreeMap<String, u64>,
    /// How long those had waited who were served from the queue, to within a quarter; null if nobody was.
    pub(crate) waited: Option<WaitedBody>,
    /// Seats that were idle on average; only of a pool whose policy has `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) idle_mean: Option<f64>,
    /// Ends by reason.
    pub(crate) ends: BTreeMap<String, u64>,
    /// Milliseconds at each number of seats in use; for more than a thousand seats in steps of a thousandth.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(crate) levels_ms: BTreeMap<u64, u64>,
    /// Milliseconds at which no seat was free.
    pub(crate) full_ms: u64,
    /// Milliseconds in which nobody could ask for a seat, because Redis or all nodes were away, or of which nothing is
    /// known because data was lost. What is in use in that time is the last that was known.
    pub(crate) gap_ms: u64,
    /// Share of the seats' time in which they were in use, 1 for all; more with an overdraft.
    pub(crate) utilisation: f64,
}

impl SlotBody {
    /// A slot of a pool in which it is known which seats are idle, or not.
    fn of(span: Span, knows_idle: bool) -> Self {
        let was_idle = knows_idle || span.slot.idle_ms > 0;
        Self {
            mean: rounded(span.mean()),
            idle_mean: was_idle.then(|| rounded(span.idle_mean())),
            from: span.from,
            until: span.until,
            capacity: span.slot.capacity,
            high_water_mark: span.slot.high_water_mark,
            grants: span.slot.grants,
            resumes: span.slot.resumes,
            denials: span.slot.denials,
            raw_denials: span.slot.raw_denials,
            gap_ms: span.slot.gap_ms,
            waited: Waited::of(&span.slot.waits).map(WaitedBody::from),
            ends: span.slot.ends,
            levels_ms: span.slot.levels.by_level(),
            full_ms: span.slot.levels.at_least_ms(100),
            utilisation: rounded(share(span.slot.seat_ms, span.slot.levels.capacity_ms())),
        }
    }
}

/// Says what happened in a pool, by minute, hour or day.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/history", operation_id = "history", tag = "history",
    params(HistoryQuery),
    responses((status = 200, body = HistoryBody)),
)]
async fn history_of(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<HistoryQuery>,
) -> Result<Response, Problem> {
    let found = slots(&app, &pool, &wanted).await?;
    if accept::is_csv(&headers, wanted.format) {
        let chosen = wanted
            .tz
            .as_deref()
            .map(|name| zone(Some(name)))
            .transpose()?;
        return Ok(to_csv(&pool, &found, chosen));
    }
    Ok(Json(found).into_response())
}

/// What happened in a pool, slot after slot.
pub(crate) async fn slots(
    app: &App,
    pool: &PoolName,
    wanted: &HistoryQuery,
) -> Result<HistoryBody, Problem> {
    let zone = zone(wanted.tz.as_deref())?;
    let word = wanted.step.unwrap_or(StepWord::Hour);
    let now = must_exist(app, pool).await?;
    let (from, to) = range(
        wanted.from.as_ref(),
        wanted.to.as_ref(),
        zone,
        now,
        word.usual_ms(),
    )?;
    if MAX_SLOTS < (to.0 - from.0) / word.step().ms() {
        return Err(invalid(format!(
            "That is more than {MAX_SLOTS} slots. Ask for a shorter time or a longer step."
        )));
    }
    let policy = app.0.store.cached_policy(pool);
    let knows_idle = policy.is_some_and(|policy| policy.idle.is_some());
    let spans = usage::history(&app.0.store, pool, word.step(), from, to, zone).await?;
    let items: Vec<SlotBody> = spans
        .into_iter()
        .map(|span| SlotBody::of(span, knows_idle))
        .collect();
    Ok(HistoryBody {
        covered_from: items.first().map(|slot| slot.from),
        items,
    })
}

/// Slots as a file.
pub(crate) fn to_csv(pool: &PoolName, found: &HistoryBody, zone: Option<Tz>) -> Response {
    let knows_idle = found.items.iter().any(|slot| slot.idle_mean.is_some());
    let mut columns = vec![
        "from",
        "until",
        "capacity",
        "high_water_mark",
        "mean",
        "grants",
        "denials",
        "ends",
        "full_ms",
        "utilisation",
        "raw_denials",
        "gap_ms",
        "resumes",
    ];
    if knows_idle {
        columns.push("idle_mean");
    }
    let rows = found.items.iter().map(|slot| {
        let mut row = vec![
            Cell::at(slot.from, zone),
            Cell::at(slot.until, zone),
            Cell::plain(&slot.capacity),
            Cell::plain(&slot.high_water_mark),
            Cell::plain(&slot.mean),
            Cell::plain(&slot.grants),
            Cell::plain(&slot.denials.values().sum::<u64>()),
            Cell::plain(&slot.ends.values().sum::<u64>()),
            Cell::plain(&slot.full_ms),
            Cell::plain(&slot.utilisation),
            Cell::plain(&slot.raw_denials.values().sum::<u64>()),
            Cell::plain(&slot.gap_ms),
            Cell::plain(&slot.resumes),
        ];
        if knows_idle {
            row.push(Cell::plain(&slot.idle_mean.unwrap_or_default()));
        }
        row
    });
    csv::file(&format!("{pool}-history"), &columns, rows)
}
