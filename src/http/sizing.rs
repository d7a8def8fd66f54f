//! `GET /v1/pools/{pool}/sizing`: how many seats a pool needs.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accept::{self, Format};
use super::csv::{self, Cell};
use super::extract::{Path, Query};
use super::history::zone;
use super::problem::{Code, Problem};
use super::when::When;
use super::{App, pool_not_found};
use crate::blocking;
use crate::history::busiest_day::{BusiestDay, PART_MS};
use crate::history::growth::Growth;
use crate::history::prices::{Comparison, Prices};
use crate::history::sizing::{Demand, Point, knee};
use crate::history::{demand, formulas, reading};
use crate::names::PoolName;
use crate::time::Timestamp;

/// Length of the demand without `from`, ms: as long as events are kept.
const EVENTS_KEPT_MS: i64 = 35 * 86_400_000;
/// Maximum minutes of a sustained peak.
const MAX_MINUTES: u64 = 35 * 24 * 60;
/// Wishes without which a replay says little.
const ENOUGH: u64 = 30;
/// Share of refused requests that a lean and a balanced choice accept by default.
const LEAN: f64 = 0.005;
const BALANCED: f64 = 0.001;
/// For how long in total a level has to be reached for a sustained peak, in minutes, without another time.
const SUSTAINED_MINUTES: u64 = 30;
/// What is added for what has not been seen, in percent, without another share.
const RESERVE: u64 = 10;
/// To what.
const APPLIED_TO: &str = "the seats of each choice, which are replayed peaks and so hold the ups and downs of a day already; for a \
     mean 10 to 20 % would be far too little";

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

/// How many seats a pool needs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SizingBody {
    pub(crate) inputs: InputsBody,
    /// What different numbers of seats would have meant.
    pub(crate) curve: Vec<PointBody>,
    /// Where the curve bends: beyond that, one more seat helps little. Null for a curve that does not bend.
    pub(crate) knee: Option<PointBody>,
    /// What the seats that there are now would have meant.
    pub(crate) present: PointBody,
    pub(crate) choices: ChoicesBody,
    /// The choices with a reserve for growth and surprises.
    pub(crate) reserve: ReserveBody,
    /// What formulas say to the replay.
    pub(crate) cross_check: CrossCheckBody,
    /// The way the peak of a week goes; null for fewer than eight weeks.
    pub(crate) growth: Option<GrowthBody>,
    /// Which way of buying is cheaper; null without both prices.
    pub(crate) named_vs_concurrent: Option<ComparisonBody>,
    /// What it would have meant to give idle seats away; only of a pool whose policy has `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) harvest: Option<HarvestBody>,
    /// What to keep in mind, as sentences.
    pub(crate) warnings: Vec<String>,
}

/// What it would have meant to give idle seats away: whoever comes back to one asks for a seat anew.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HarvestBody {
    /// After this time without activity a seat is idle.
    pub(crate) after_ms: u64,
    /// Seats that there are now.
    pub(crate) seats_now: u64,
    /// How many of them were idle on average.
    pub(crate) idle_mean: f64,
    /// The number of seats with which nobody would have been refused.
    pub(crate) seats_needed: u64,
    /// So many requests fewer would have been refused with `seats_now`.
    pub(crate) denials_avoided: u64,
    /// What the seats beyond `seats_needed` cost; only with `price_concurrent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) saving: Option<f64>,
    /// The day on which most seats were wanted at once; only where somebody wanted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) busiest_day: Option<BusiestDayBody>,
}

/// One day, with idle seats and without.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BusiestDayBody {
    /// Its begin.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// Length of a part of it.
    #[schema(example = 900_000)]
    pub(crate) step_ms: i64,
    /// The most seats that were wanted at once in each part.
    pub(crate) wanted: Vec<u64>,
    /// The same without those that were idle.
    pub(crate) used: Vec<u64>,
}

impl From<BusiestDay> for BusiestDayBody {
    fn from(BusiestDay { from, wanted, used }: BusiestDay) -> Self {
        Self {
            from,
            step_ms: PART_MS,
            wanted,
            used,
        }
    }
}

impl HarvestBody {
    fn of(demand: &Demand, zone: Tz, after_ms: u64, capacity: u64, price: Option<&Prices>) -> Self {
        let harvest = demand.harvest(capacity);
        let cost = |price: &Prices| price.of(capacity) - price.of(harvest.seats_needed);
        Self {
            after_ms,
            seats_now: capacity,
            idle_mean: (harvest.idle_mean * 1_000.0).round() / 1_000.0,
            seats_needed: harvest.seats_needed,
            denials_avoided: harvest.denials_avoided,
            saving: price.map(|price| cost(price).max(0.0)),
            busiest_day: BusiestDay::of(demand, zone).map(BusiestDayBody::from),
        }
    }
}

/// What the answer is made of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InputsBody {
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: Timestamp,
    /// Leases, and true denials.
    pub(crate) wishes: u64,
    /// How many of them are true denials; for these the median length of a lease is assumed.
    pub(crate) true_denials: u64,
    pub(crate) holders: u64,
    /// Seats that were wanted on average (Erlang).
    pub(crate) load: f64,
    /// The most seats that were wanted at once.
    pub(crate) peak: u64,
    /// Seats that there are now.
    pub(crate) capacity: u64,
    /// Seats that were wanted on average in the busiest hour of a day, the mean over the days (Erlang).
    pub(crate) busy_hour_load: f64,
    /// The highest number of seats that was wanted for `sustained_minutes` in total.
    pub(crate) sustained_peak: u64,
    pub(crate) sustained_minutes: u64,
    /// Share of refused requests that the lean choice accepts.
    pub(crate) target_lean: f64,
    /// Share of refused requests that the balanced choice accepts.
    pub(crate) target_balanced: f64,
    /// Earliest event that this report is based on; null without events.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) covered_from: Option<Timestamp>,
    /// Whether the pool was full, so that demand above its capacity is a lower bound.
    pub(crate) is_lower_bound: bool,
}

/// The choices with a reserve for growth and surprises.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReserveBody {
    /// How much is added.
    pub(crate) percent: u64,
    /// To what it is added.
    pub(crate) applied_to: &'static str,
    pub(crate) lean: u64,
    pub(crate) balanced: u64,
    pub(crate) never_refuse: u64,
}

/// What formulas say to the replay: seats with which at most `target` of the busy hour's demand is refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CrossCheckBody {
    /// The share that the balanced choice accepts.
    pub(crate) target: f64,
    /// By Erlang's B formula, for demand that comes at random from very many.
    pub(crate) erlang_b_seats: u64,
    /// By Engset's formula, for demand that comes at random from the holders that there are.
    pub(crate) engset_seats: u64,
}

/// What this number of seats would have meant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PointBody {
    pub(crate) seats: u64,
    /// Wishes that would have been refused.
    pub(crate) denials: u64,
    /// Holders to whom that would have happened.
    pub(crate) holders_denied: u64,
    /// The longest time until one of them could have had a seat.
    pub(crate) longest_wait_ms: u64,
    /// Share of refused requests by Erlang's B formula, for comparison.
    pub(crate) erlang_b: f64,
    /// Share of time at which all seats are taken by Engset's formula, for comparison.
    pub(crate) engset: f64,
    /// Time at which all seats would have been taken.
    pub(crate) full_ms: u64,
    /// Hours of seats that nobody would have used.
    pub(crate) unused_seat_hours: f64,
}

impl From<Point> for PointBody {
    fn from(point: Point) -> Self {
        let rounded = |share: f64| (share * 1e6).round() / 1e6;
        Self {
            seats: point.seats,
            denials: point.denials,
            holders_denied: point.holders_denied,
            longest_wait_ms: point.longest_wait_ms,
            erlang_b: rounded(point.erlang_b),
            engset: rounded(point.engset),
            full_ms: point.full_ms,
            unused_seat_hours: (point.unused_seat_ms as f64 / 3_600_000.0).round(),
        }
    }
}

/// Three answers, each with its consequences.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChoicesBody {
    /// At most `target_lean` of the requests would have been refused.
    pub(crate) lean: PointBody,
    /// At most `target_balanced` of them, and never fewer seats than the sustained peak.
    pub(crate) balanced: PointBody,
    /// None.
    pub(crate) never_refuse: PointBody,
    /// `never_refuse` and 10 % for what has not been seen.
    pub(crate) never_refuse_and_10_percent: u64,
    /// `never_refuse` and 20 % for what has not been seen.
    pub(crate) never_refuse_and_20_percent: u64,
}

/// The way the peak of a week goes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrowthBody {
    /// Weeks that were looked at.
    pub(crate) weeks: u64,
    /// Seats more in a week.
    pub(crate) seats_per_week: f64,
    /// The true figure lies between these with 90 % confidence.
    pub(crate) seats_per_week_interval: [f64; 2],
    /// Peak to expect in six months, and at most by the interval.
    pub(crate) in_6_months: [u64; 2],
    /// Peak to expect in twelve months, and at most by the interval.
    pub(crate) in_12_months: [u64; 2],
}

/// Which way of buying is cheaper, if nobody is to be refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComparisonBody {
    /// `named` or `concurrent`.
    pub(crate) cheaper: &'static str,
    pub(crate) named: CostBody,
    pub(crate) concurrent: CostBody,
    /// Named seats for those who hold longest, the rest shares.
    pub(crate) cheapest_mix: MixBody,
}

/// Seats, and what they cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CostBody {
    pub(crate) seats: u64,
    pub(crate) cost: f64,
}

/// Seats of both kinds, and what they cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MixBody {
    pub(crate) named_seats: u64,
    pub(crate) concurrent_seats: u64,
    pub(crate) cost: f64,
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
    let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
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

    let share = |name: &str, share: Option<f64>, usual: f64| match share.unwrap_or(usual) {
        share if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(invalid(format!("`{name}` is a share, 0 to 1."))),
    };
    let terms = Terms {
        lean: share("target_lean", wanted.target_lean, LEAN)?,
        balanced: share("target_balanced", wanted.target_balanced, BALANCED)?,
        reserve: wanted.reserve.unwrap_or(RESERVE),
        sustained_minutes: wanted.sustained_minutes.unwrap_or(SUSTAINED_MINUTES),
        capacity: status.capacity,
        covered_from: reading::covered_from(&app.0.store, pool, from).await?,
    };
    if terms.reserve > 100 {
        return Err(invalid("`reserve` is 0 to 100, in percent.".into()));
    }
    if !(1..=MAX_MINUTES).contains(&terms.sustained_minutes) {
        return Err(invalid(format!(
            "`sustained_minutes` is 1 to {MAX_MINUTES}."
        )));
    }
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

impl SizingBody {
    fn of(
        demand: &Demand,
        weeks: &[u64],
        was_full: bool,
        terms: &Terms,
        prices: Option<&(Prices, Prices)>,
    ) -> Self {
        let capacity = terms.capacity;
        let rounded = |number: f64| (number * 1_000.0).round() / 1_000.0;
        let sustained = demand.levels().sustained(terms.sustained_minutes * 60_000);
        let lean = demand.fewest(terms.lean);
        let balanced = match demand.fewest(terms.balanced) {
            point if point.seats < sustained => demand.with(sustained),
            point => point,
        };
        let with = |seats: u64| (seats * (100 + terms.reserve)).div_ceil(100);
        let load = demand.busy_hour_load();
        let is_lower_bound = demand.denied() > 0 || capacity <= demand.peak();
        let never = demand.fewest(0.0);
        let more = |percent: u64| (never.seats * (100 + percent)).div_ceil(100);
        let growth = Growth::of(weeks);
        let curve = demand.curve();
        Self {
            inputs: InputsBody {
                from: demand.from,
                to: demand.to,
                wishes: demand.len(),
                true_denials: demand.denied(),
                holders: demand.holders(),
                load: rounded(demand.load()),
                busy_hour_load: rounded(load),
                sustained_peak: sustained,
                sustained_minutes: terms.sustained_minutes,
                target_lean: terms.lean,
                target_balanced: terms.balanced,
                covered_from: terms.covered_from,
                is_lower_bound,
                peak: demand.peak(),
                capacity,
            },
            knee: knee(&curve).map(PointBody::from),
            curve: curve.into_iter().map(PointBody::from).collect(),
            present: demand.with(capacity).into(),
            choices: ChoicesBody {
                lean: lean.into(),
                balanced: balanced.into(),
                never_refuse: never.into(),
                never_refuse_and_10_percent: more(10),
                never_refuse_and_20_percent: more(20),
            },
            reserve: ReserveBody {
                percent: terms.reserve,
                applied_to: APPLIED_TO,
                lean: with(lean.seats),
                balanced: with(balanced.seats),
                never_refuse: with(never.seats),
            },
            cross_check: CrossCheckBody {
                target: terms.balanced,
                erlang_b_seats: formulas::fewest(terms.balanced, |seats| {
                    formulas::erlang_b(seats, load)
                }),
                engset_seats: formulas::fewest(terms.balanced, |seats| {
                    formulas::engset_refused(seats, demand.holders(), load)
                }),
            },
            growth: growth.map(|growth| {
                let (in_6, at_most_6) = growth.ahead(26.0);
                let (in_12, at_most_12) = growth.ahead(52.0);
                GrowthBody {
                    weeks: growth.weeks,
                    seats_per_week: growth.seats_per_week,
                    seats_per_week_interval: growth.interval.into(),
                    in_6_months: [in_6, at_most_6],
                    in_12_months: [in_12, at_most_12],
                }
            }),
            named_vs_concurrent: prices.map(|(named, concurrent)| {
                let compared = Comparison::of(demand, named, concurrent);
                let (named_seats, concurrent_seats, cost) = compared.mix;
                ComparisonBody {
                    cheaper: if compared.named < compared.concurrent {
                        "named"
                    } else {
                        "concurrent"
                    },
                    named: CostBody {
                        seats: compared.named_seats,
                        cost: compared.named,
                    },
                    concurrent: CostBody {
                        seats: compared.concurrent_seats,
                        cost: compared.concurrent,
                    },
                    cheapest_mix: MixBody {
                        named_seats,
                        concurrent_seats,
                        cost,
                    },
                }
            }),
            harvest: None,
            warnings: warnings(demand, is_lower_bound, terms, growth.map(|_| was_full)),
        }
    }
}

/// `growth` is whether the pool was full in a week of the trend; none if there is no trend.
fn warnings(
    demand: &Demand,
    is_lower_bound: bool,
    terms: &Terms,
    growth: Option<bool>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if demand.len() < ENOUGH {
        warnings.push(format!(
            "There are only {} requests in this time: a replay of so few has little meaning.",
            demand.len()
        ));
    }
    if is_lower_bound {
        warnings.push(
            "The pool was full: who was refused or did not ask at all is not in the record, so what is above its \
             capacity is a lower bound."
                .to_owned(),
        );
    }
    match growth {
        None => warnings.push(format!(
            "There are fewer than {} whole weeks: too few for a trend.",
            Growth::ENOUGH
        )),
        Some(true) => warnings.push(
            "The pool was full in weeks of the trend: their peaks are lower bounds, and so is the growth.".to_owned(),
        ),
        Some(false) => {}
    }
    if let Some(covered) = terms.covered_from.filter(|at| demand.from < *at) {
        warnings.push(format!(
            "Events are kept from {covered} on: the demand before that is not in here."
        ));
    }
    warnings.push("Events of five weeks say nothing of seasons.".to_owned());
    warnings
}
