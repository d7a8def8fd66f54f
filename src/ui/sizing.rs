//! How many seats a pool needs, what each number would have meant, and which way of buying is cheaper.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use chrono_tz::Tz;
use maud::{Markup, html};

use super::charts;
use super::frame::{Tab, count, downloads, number, pool_page, span};
use super::quantity::{duration, price};
use super::range::{FIVE_WEEKS, HOUR_MS, MONTH, Preset, Range, WEEK, utc};
use super::{Fields, Format, link};
use crate::history::last_day;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem};
use crate::http::sizing::{
    BusiestDayBody, ComparisonBody, GrowthBody, HarvestBody, PointBody, SizingBody, SizingQuery,
    size, to_csv,
};
use crate::http::when::When;
use crate::names::PoolName;
use crate::time::Timestamp;

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
/// What of it the forms set.
const TERMS: [&str; 4] = [
    "target_lean",
    "target_balanced",
    "reserve",
    "sustained_minutes",
];
const PRICES: [&str; 2] = ["price_named", "price_concurrent"];

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

/// A price of the address, as people write it, or tiers of prices.
fn price_of(fields: &Fields, name: &str) -> Result<Option<String>, Problem> {
    let Some(text) = fields.get(name) else {
        return Ok(None);
    };
    if text.contains(':') {
        return Ok(Some(text.to_owned()));
    }
    Ok(Some(price(name, text)?.to_string()))
}

/// A number of the address; none if it is not there.
fn of<T: std::str::FromStr>(fields: &Fields, name: &str) -> Result<Option<T>, Problem> {
    let text = fields.get(name).filter(|text| !text.is_empty());
    text.map(|text| {
        text.parse().map_err(|_| {
            Problem::new(
                Code::InvalidRequest,
                format!("`{name}` is not such a number."),
            )
        })
    })
    .transpose()
}

/// A share as people write it.
fn percent(share: f64) -> String {
    format!("{} %", (share * 100_000.0).round() / 1_000.0)
}

/// The three choices, each with what it would have meant.
fn choices(sizing: &SizingBody) -> Markup {
    let SizingBody {
        choices,
        inputs,
        reserve,
        ..
    } = sizing;
    let lean = format!(
        "refuses at most {} of the requests",
        percent(inputs.target_lean)
    );
    let balanced = format!(
        "refuses at most {}, and covers the sustained peak",
        percent(inputs.target_balanced)
    );
    let rows = [
        (
            "Now",
            "what there is",
            inputs.capacity,
            None,
            Some(&sizing.present),
        ),
        (
            "Lean",
            lean.as_str(),
            choices.lean.seats,
            Some(reserve.lean),
            Some(&choices.lean),
        ),
        (
            "Balanced",
            balanced.as_str(),
            choices.balanced.seats,
            Some(reserve.balanced),
            Some(&choices.balanced),
        ),
        (
            "Never refuse",
            "refuses none",
            choices.never_refuse.seats,
            Some(reserve.never_refuse),
            Some(&choices.never_refuse),
        ),
        (
            "Never refuse, and 10 %",
            "for what has not been seen",
            choices.never_refuse_and_10_percent,
            None,
            None,
        ),
        (
            "Never refuse, and 20 %",
            "for what has not been seen",
            choices.never_refuse_and_20_percent,
            None,
            None,
        ),
    ];
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="choices" {
            table {
                caption #choices { "What would have happened with each number of seats" }
                thead {
                    tr {
                        @for title in ["Choice", "Seats", "Than now"] { th scope="col" { (title) } }
                        th scope="col" { "With " (number(reserve.percent)) " % reserve" }
                        @for title in ["Refused", "Holders concerned", "Longest wait"] { th scope="col" { (title) } }
                    }
                }
                tbody {
                    @for (name, about, seats, with_reserve, point) in rows {
                        tr {
                            th scope="row" { (name) br; span.quiet.plain { (about) } }
                            td.num { strong { (number(seats)) } }
                            td.num { (difference(seats, inputs.capacity)) }
                            td.num { @match with_reserve { Some(seats) => { (number(seats)) } None => { "–" } } }
                            @match point {
                                Some(point) => {
                                    td.num { (number(point.denials)) span.quiet { " of " (number(inputs.wishes)) } }
                                    td.num { (number(point.holders_denied)) }
                                    td.num { @if point.denials == 0 { "–" } @else { (span(point.longest_wait_ms)) } }
                                },
                                None => { td.num { "0" } td.num { "0" } td.num { "–" } },
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What formulas say to it.
fn cross_check(sizing: &SizingBody) -> Markup {
    let check = &sizing.cross_check;
    html! {
        p.quiet {
            "The reserve is added to " (sizing.reserve.applied_to) ". For comparison: for at most " (percent(check.target))
            " refused in the busiest hour Erlang's formula wants " (number(check.erlang_b_seats)) " seats, and Engset's, for as many holders, "
            (number(check.engset_seats)) ". Both assume that people come at random, which shifts do not; where the replay wants more, believe it."
        }
    }
}

/// A form for what the choices are made with.
fn terms(path: &str, fields: &Fields, range: &Range, sizing: &SizingBody) -> Markup {
    let inputs = &sizing.inputs;
    html! {
        details.other open[TERMS.iter().any(|name| fields.get(name).is_some())] {
            summary { "Other terms" }
            form.row method="get" action=(path) {
                (kept(fields, range, &PRICES))
                label { "Lean refuses at most (share)" input name="target_lean" type="number" min="0" max="1" step="any" value=(inputs.target_lean); }
                label { "Balanced refuses at most (share)" input name="target_balanced" type="number" min="0" max="1" step="any" value=(inputs.target_balanced); }
                label { "Reserve, percent" input name="reserve" type="number" min="0" max="100" value=(sizing.reserve.percent); }
                label { "Sustained for, minutes" input name="sustained_minutes" type="number" min="1" max="50400" value=(inputs.sustained_minutes); }
                button type="submit" { "Replay" }
            }
        }
    }
}

/// What a form keeps of the address besides its own fields.
fn kept(fields: &Fields, range: &Range, others: &[&str]) -> Markup {
    html! {
        @for name in ["range", "from", "to"].iter().chain(others) {
            @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); }
        }
        input type="hidden" name="tz" value=(range.zone.name());
    }
}

fn difference(seats: u64, now: u64) -> Markup {
    html! {
        @if seats > now { "+" (number(seats - now)) }
        @else if seats < now { "−" (number(now - seats)) }
        @else { "the same" }
    }
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

/// What it would have meant to give idle seats away, in a sentence.
fn harvested(harvest: &HarvestBody, zone: Tz) -> Markup {
    let fewer = harvest.seats_now.saturating_sub(harvest.seats_needed);
    html! {
        h2 { "Idle seats" }
        p {
            strong { (format!("{:.1}", harvest.idle_mean)) " of " (count(harvest.seats_now, "seat", "seats")) }
            " were idle on average, for more than " (duration(harvest.after_ms)) ". "
            @if fewer > 0 {
                "Given away when somebody needs them, " strong { (number(harvest.seats_needed)) " would have been enough" }
                @if let Some(saving) = harvest.saving { ", which saves " strong { (format!("{saving:.2}")) } } "."
            } @else {
                "Given away when somebody needs them, nobody would have been refused with " (count(harvest.seats_needed, "seat", "seats")) "."
            }
            " With the seats that there are, " (count(harvest.denials_avoided, "denial", "denials")) " would have been avoided."
        }
        @if let Some(day) = harvest.busiest_day.as_ref().filter(|day| day.wanted != day.used) {
            (busiest_day(day, harvest.seats_now, zone))
        }
        p.quiet { "Whoever comes back to an idle seat is taken for somebody who asks anew." @if harvest.saving.is_none() { " With the price of a concurrent seat below, this says what it saves." } }
    }
}

/// The busiest day as it was, and as it would have been.
fn busiest_day(day: &BusiestDayBody, seats: u64, zone: Tz) -> Markup {
    let most = |levels: &[u64]| levels.iter().copied().max().unwrap_or(0);
    let date = utc(day.from).with_timezone(&zone).format("%a %-d %b %Y");
    let summary = format!(
        "{date}, the busiest day: at most {} seats were wanted at once, and without those that were idle {}. There are {seats} now.",
        most(&day.wanted),
        most(&day.used),
    );
    let hour = usize::try_from(HOUR_MS / day.step_ms).unwrap_or(1);
    let hours = day.wanted.chunks(hour).zip(day.used.chunks(hour));
    html! {
        (charts::day(&summary, day, seats, zone))
        details.data {
            summary { "The day as a table" }
            table.short {
                caption.hidden { "The most seats at once in each hour" }
                thead { tr { th scope="col" { "From" } th.num scope="col" { "Wanted" } th.num scope="col" { "Used" } } }
                tbody {
                    @for (place, (wanted, used)) in (0..).zip(hours) {
                        tr {
                            th scope="row" { (utc(Timestamp(day.from.0 + place * HOUR_MS)).with_timezone(&zone).format("%H:%M")) }
                            td.num { (number(most(wanted))) }
                            td.num { (number(most(used))) }
                        }
                    }
                }
            }
        }
    }
}

/// Which way of buying is cheaper: a form, and the answer.
fn prices(path: &str, fields: &Fields, range: &Range, sizing: &SizingBody) -> Markup {
    html! {
        section #prices {
            h2 { "Named or concurrent seats" }
            form.row method="get" action=(format!("{path}#prices")) {
                (kept(fields, range, &TERMS))
                label { "Price of a named seat" input name="price_named" value=[fields.get("price_named")] required placeholder="10" autocomplete="off" aria-describedby="price-hint"; }
                label { "Price of a concurrent seat" input name="price_concurrent" value=[fields.get("price_concurrent")] required placeholder="35" autocomplete="off" aria-describedby="price-hint"; }
                button type="submit" { "Compare" }
            }
            p.quiet #price-hint { "A number, or tiers: 1:35,11:30 is 35 each for the first ten seats, and 30 for each further one." }
            @if let Some(compared) = &sizing.named_vs_concurrent { (comparison(compared)) }
        }
    }
}

fn comparison(compared: &ComparisonBody) -> Markup {
    let cost = |cost: f64| format!("{cost:.2}");
    let is = |word: &str| compared.cheaper == word;
    let mix = &compared.cheapest_mix;
    html! {
        p role="status" {
            strong {
                @if is("named") { "Named seats are cheaper" } @else { "Concurrent seats are cheaper" }
            }
            ", if nobody is to be refused: " (cost(compared.named.cost)) " against " (cost(compared.concurrent.cost)) "."
        }
        div.scroll tabindex="0" role="region" aria-labelledby="compared" {
            table.short {
                caption #compared { "What this demand would have cost" }
                thead { tr { @for title in ["Way of buying", "Seats", "Cost"] { th scope="col" { (title) } } } }
                tbody {
                    tr { th scope="row" { "A named seat for each holder" } td.num { (number(compared.named.seats)) } td.num { (cost(compared.named.cost)) } }
                    tr { th scope="row" { "Concurrent seats for the peak" } td.num { (number(compared.concurrent.seats)) } td.num { (cost(compared.concurrent.cost)) } }
                    tr {
                        th scope="row" { "The cheapest mix" br; span.quiet.plain { "named seats for those who hold longest" } }
                        td.num { (number(mix.named_seats)) " named, " (number(mix.concurrent_seats)) " concurrent" }
                        td.num { (cost(mix.cost)) }
                    }
                }
            }
        }
    }
}
