//! The answer: the choices, the curve behind them, what formulas say to it, and what to keep in mind.

use chrono_tz::Tz;
use serde::Serialize;
use utoipa::ToSchema;

use super::Terms;
use crate::history::busiest_day::{BusiestDay, PART_MS};
use crate::history::formulas;
use crate::history::growth::Growth;
use crate::history::prices::{Comparison, Prices};
use crate::history::sizing::{Demand, Point, knee};
use crate::time::Timestamp;

/// Fewer requests than these have little meaning.
const ENOUGH: u64 = 30;
/// To what the reserve is added.
const APPLIED_TO: &str = "the seats of each choice, which are replayed peaks and so hold the ups and downs of a day already; for a \
     mean 10 to 20 % would be far too little";

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

impl SizingBody {
    pub(super) fn of(
        demand: &Demand,
        weeks: &[u64],
        was_full: bool,
        terms: &Terms,
        prices: Option<&(Prices, Prices)>,
    ) -> Self {
        let inputs = InputsBody::of(demand, terms);
        let choices = ChoicesBody::of(demand, terms.lean, terms.balanced, inputs.sustained_peak);
        let growth = Growth::of(weeks);
        let curve = demand.curve();
        let was_full = growth.as_ref().map(|_| was_full);
        Self {
            knee: knee(&curve).map(PointBody::from),
            curve: curve.into_iter().map(PointBody::from).collect(),
            present: demand.with(terms.capacity).into(),
            reserve: ReserveBody::of(&choices, terms.reserve),
            choices,
            cross_check: CrossCheckBody::of(demand, terms.balanced),
            growth: growth.map(GrowthBody::from),
            named_vs_concurrent: prices.map(|(named, concurrent)| {
                ComparisonBody::from(Comparison::of(demand, named, concurrent))
            }),
            harvest: None,
            warnings: warnings(demand, inputs.is_lower_bound, terms, was_full),
            inputs,
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

impl InputsBody {
    fn of(demand: &Demand, terms: &Terms) -> Self {
        let rounded = |number: f64| (number * 1_000.0).round() / 1_000.0;
        Self {
            from: demand.from,
            to: demand.to,
            wishes: demand.len(),
            true_denials: demand.denied(),
            holders: demand.holders(),
            load: rounded(demand.load()),
            peak: demand.peak(),
            capacity: terms.capacity,
            busy_hour_load: rounded(demand.busy_hour_load()),
            sustained_peak: demand.levels().sustained(terms.sustained_minutes * 60_000),
            sustained_minutes: terms.sustained_minutes,
            target_lean: terms.lean,
            target_balanced: terms.balanced,
            covered_from: terms.covered_from,
            is_lower_bound: demand.denied() > 0 || terms.capacity <= demand.peak(),
        }
    }
}

/// What this number of seats would have meant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PointBody {
    pub(crate) seats: u64,
    /// Requests that would have been refused.
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

impl ChoicesBody {
    fn of(demand: &Demand, lean: f64, balanced: f64, sustained_peak: u64) -> Self {
        let balanced = match demand.fewest(balanced) {
            point if point.seats < sustained_peak => demand.with(sustained_peak),
            point => point,
        };
        let never = demand.fewest(0.0);
        Self {
            lean: demand.fewest(lean).into(),
            balanced: balanced.into(),
            never_refuse: never.into(),
            never_refuse_and_10_percent: with_reserve(never.seats, 10),
            never_refuse_and_20_percent: with_reserve(never.seats, 20),
        }
    }
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

impl ReserveBody {
    fn of(choices: &ChoicesBody, percent: u64) -> Self {
        Self {
            percent,
            applied_to: APPLIED_TO,
            lean: with_reserve(choices.lean.seats, percent),
            balanced: with_reserve(choices.balanced.seats, percent),
            never_refuse: with_reserve(choices.never_refuse.seats, percent),
        }
    }
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

impl CrossCheckBody {
    fn of(demand: &Demand, target: f64) -> Self {
        let load = demand.busy_hour_load();
        Self {
            target,
            erlang_b_seats: formulas::fewest(target, |seats| formulas::erlang_b(seats, load)),
            engset_seats: formulas::fewest(target, |seats| {
                formulas::engset_refused(seats, demand.holders(), load)
            }),
        }
    }
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

impl From<Growth> for GrowthBody {
    fn from(growth: Growth) -> Self {
        let (in_6, at_most_6) = growth.ahead(26.0);
        let (in_12, at_most_12) = growth.ahead(52.0);
        Self {
            weeks: growth.weeks,
            seats_per_week: growth.seats_per_week,
            seats_per_week_interval: growth.interval.into(),
            in_6_months: [in_6, at_most_6],
            in_12_months: [in_12, at_most_12],
        }
    }
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

impl From<Comparison> for ComparisonBody {
    fn from(compared: Comparison) -> Self {
        let (named_seats, concurrent_seats, cost) = compared.mix;
        Self {
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
    }
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

impl HarvestBody {
    pub(super) fn of(
        demand: &Demand,
        zone: Tz,
        after_ms: u64,
        capacity: u64,
        price: Option<&Prices>,
    ) -> Self {
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

/// So many seats, and a share of them more, in percent.
fn with_reserve(seats: u64, percent: u64) -> u64 {
    (seats * (100 + percent)).div_ceil(100)
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
