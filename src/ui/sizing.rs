//! How many seats a pool needs, what each number would have meant, and which way of buying is cheaper.

mod choices;
mod forms;
mod idle;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use self::choices::{choices, cross_check};
use self::forms::{PRICES, TERMS, of, price_of, prices, terms};
use self::idle::harvested;
use super::frame::{Tab, count, downloads, number, pool_page, span};
use super::range::{FIVE_WEEKS, MONTH, Preset, Range, WEEK};
use super::{Fields, Format, charts, link};
use crate::history::last_day;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::problem::Problem;
use crate::http::sizing::{GrowthBody, PointBody, SizingBody, SizingQuery, size, to_csv};
use crate::http::when::When;
use crate::names::PoolName;

const PRESETS: &[Preset] = &[WEEK, MONTH, FIVE_WEEKS];
/// What the address keeps.
const KEPT: [&str; 10] = [
    "range",
    "from",
    "to",
    "tz",
    "price_named",
    "price_concurrent",
    "target_lean",
    "target_balanced",
    "reserve",
    "sustained_minutes",
];

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app.pool(&name).await?;
    let range = Range::of(&fields, pool.at, last_day::zone(&pool), PRESETS, FIVE_WEEKS)?;
    let wanted = SizingQuery {
        from: Some(When::exactly(range.from)),
        to: Some(When::exactly(range.to)),
        price_named: price_of(&fields, "price_named")?,
        price_concurrent: price_of(&fields, "price_concurrent")?,
        target_lean: of(&fields, "target_lean")?,
        target_balanced: of(&fields, "target_balanced")?,
        reserve: of(&fields, "reserve")?,
        sustained_minutes: of(&fields, "sustained_minutes")?,
        tz: Some(range.zone.name().to_owned()),
        format: None,
    };
    let sizing = size(&app, &name, &wanted).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(sizing).into_response()),
        Format::Csv => return Ok(to_csv(&name, &sizing)),
        Format::Html => {}
    }
    let path = Tab::Sizing.of(&name);
    let here = |replaced: &[(&str, &str)]| link(&path, &fields, &KEPT, replaced);
    let body = html! {
        (range.choice(&path, &fields, &[PRICES.as_slice(), &TERMS].concat(), &html! {}))
        @if sizing.inputs.wishes == 0 {
            p.empty { "Nobody wanted a seat in this time, so there is nothing to replay. What is replayed is kept for 35 days." }
        } @else {
            p.quiet {
                "The recorded demand, replayed with other numbers of seats: " (count(sizing.inputs.wishes, "wish", "wishes")) " of "
                (count(sizing.inputs.holders, "holder", "holders")) ", " @if sizing.inputs.true_denials == 0 { "none" } @else { (number(sizing.inputs.true_denials)) } " of them truly denied"
                ". Seats wanted on average: " (format!("{:.1}", sizing.inputs.load)) "; in the busiest hour of a day: "
                (format!("{:.1}", sizing.inputs.busy_hour_load)) "; for " (number(sizing.inputs.sustained_minutes))
                " minutes in total: " (number(sizing.inputs.sustained_peak)) "; at most: " (number(sizing.inputs.peak)) "."
            }
            @for warning in &sizing.warnings { p.notice { (warning) } }
            (choices(&sizing))
            @if let Some(harvest) = &sizing.harvest { (harvested(harvest, range.zone)) }
            (cross_check(&sizing))
            (terms(&path, &fields, &range, &sizing))
            (picture(&sizing))
            (table(&sizing))
            @if let Some(growth) = &sizing.growth { (trend(growth)) }
        }
        (prices(&path, &fields, &range, &sizing))
        p.row { (downloads(&here(&[("format", "csv")]), &here(&[("format", "json")]))) }
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Sizing, &body))
}

/// A share as people write it.
fn percent(share: f64) -> String {
    format!("{} %", (share * 100_000.0).round() / 1_000.0)
}

fn picture(sizing: &SizingBody) -> Markup {
    let choices = &sizing.choices;
    let points: Vec<(u64, u64)> = sizing
        .curve
        .iter()
        .map(|point| (point.seats, point.denials))
        .collect();
    let mark = |seats, name, now| charts::Marked { seats, name, now };
    let mut marks = vec![
        mark(choices.lean.seats, "lean", false),
        mark(choices.balanced.seats, "balanced", false),
        mark(choices.never_refuse.seats, "never refuse", false),
        mark(sizing.inputs.capacity, "now", true),
    ];
    // A pool that is far too large would leave its curve no room.
    let most = 2 * sizing.inputs.peak.max(1);
    marks.retain(|mark| mark.seats <= most);
    let knee = sizing.knee.as_ref();
    let mut summary = knee.map_or_else(String::new, |knee| {
        format!(
            "The curve bends at {} seats: beyond that, one more seat helps little. ",
            knee.seats
        )
    });
    summary += &format!(
        "{} seats refuse at most {} of the requests, {} at most {}, {} none. There are {} now.",
        choices.lean.seats,
        percent(sizing.inputs.target_lean),
        choices.balanced.seats,
        percent(sizing.inputs.target_balanced),
        choices.never_refuse.seats,
        sizing.inputs.capacity
    );
    let knee = knee.map(|knee| (knee.seats, knee.denials));
    charts::curve(&summary, &points, knee, &marks)
}

fn table(sizing: &SizingBody) -> Markup {
    let share = |share: f64| format!("{:.2} %", share * 100.0);
    html! {
        details.data {
            summary { "Data table" }
            div.scroll tabindex="0" role="region" aria-labelledby="data" {
                table {
                    caption #data { "Seats, and who would have been refused. The two formulas assume that people come at random." }
                    thead {
                        tr {
                            @for title in ["Seats", "Refused", "Holders concerned", "Longest wait", "Lost by Erlang B", "Full by Engset"] { th scope="col" { (title) } }
                        }
                    }
                    tbody {
                        @for PointBody { seats, denials, holders_denied, longest_wait_ms, erlang_b, engset, .. } in &sizing.curve {
                            tr {
                                th.num scope="row" { (number(*seats)) }
                                td.num { (number(*denials)) }
                                td.num { (number(*holders_denied)) }
                                td.num { @if *denials == 0 { "–" } @else { (span(*longest_wait_ms)) } }
                                td.num { (share(*erlang_b)) }
                                td.num { (share(*engset)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn trend(growth: &GrowthBody) -> Markup {
    let [low, high] = growth.seats_per_week_interval;
    html! {
        section {
            h2 { "Growth" }
            p {
                "The peaks of the last " (count(growth.weeks, "week", "weeks")) " grow by " (format!("{:+.2}", growth.seats_per_week))
                " seats a week; nine of ten of the slopes lie between " (format!("{low:+.2}")) " and " (format!("{high:+.2}")) ". "
                "If it goes on like this the peak is " strong { (number(growth.in_6_months[0])) } " in six months (at most "
                (number(growth.in_6_months[1])) ") and " strong { (number(growth.in_12_months[0])) } " in twelve (at most "
                (number(growth.in_12_months[1])) ")."
            }
        }
    }
}
