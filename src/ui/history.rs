//! What happened in a pool over time: a picture, a sentence, a table, and the figures that vendors bill by.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::charts;
use super::frame::{Tab, downloads, number, percent, pool_page, seats, span, time};
use super::range::{DAY, HOUR, MONTH, Preset, Range, WEEK, YEAR, at};
use super::{Fields, Format, link};
use crate::history::last_day;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::history::slots::{
    HistoryBody, HistoryQuery, MAX_SLOTS, SlotBody, StepWord, slots, to_csv,
};
use crate::http::history::usage::{UsageBody, UsageQuery, usage};
use crate::http::problem::Problem;
use crate::http::when::When;
use crate::names::PoolName;
use crate::time::Timestamp;

const PRESETS: &[Preset] = &[HOUR, DAY, WEEK, MONTH, YEAR];
/// Rows of the table below the picture; the rest is in the file.
const ROWS: usize = 400;

const STEPS: [(StepWord, &str, &str); 3] = [
    (StepWord::Minute, "minute", "by minute"),
    (StepWord::Hour, "hour", "by hour"),
    (StepWord::Day, "day", "by day"),
];

/// The step of the address, else one that makes a picture of some hundred slots at most.
fn step(fields: &Fields, range: &Range) -> StepWord {
    let chosen = fields.get("step");
    let chosen = STEPS.iter().find(|(_, word, _)| Some(*word) == chosen);
    chosen.map_or_else(
        || match range.ms() / 3_600_000 {
            0..=3 => StepWord::Minute,
            4..=192 => StepWord::Hour,
            _ => StepWord::Day,
        },
        |(step, _, _)| *step,
    )
}

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app.pool(&name).await?;
    let range = Range::of(&fields, pool.at, last_day::zone(&pool), PRESETS, DAY)?;
    let step = step(&fields, &range);
    let zone = range.zone.name().to_owned();
    let wanted = HistoryQuery {
        step: Some(step),
        from: Some(When::exactly(range.from)),
        to: Some(When::exactly(range.to)),
        tz: Some(zone.clone()),
        format: None,
    };
    let history = slots(&app, &name, &wanted).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(history).into_response()),
        Format::Csv => return Ok(to_csv(&name, &history, range.chosen(&fields))),
        Format::Html => {}
    }
    let wanted = UsageQuery {
        tz: Some(zone),
        ..UsageQuery::default()
    };
    let usage = usage(&app, &name, &wanted).await?;

    let path = Tab::History.of(&name);
    let here = |replaced: &[(&str, &str)]| {
        link(
            &path,
            &fields,
            &["range", "from", "to", "step", "tz"],
            replaced,
        )
    };
    // A part of the picture is shown closer at an address of its own, down to minutes.
    let closer = |from: Timestamp, until: Timestamp| {
        if until.since(from) < 10 * 60_000 {
            return None;
        }
        let (from, until) = (from.to_string(), until.to_string());
        Some(link(
            &path,
            &fields,
            &["tz"],
            &[("from", &from), ("to", &until)],
        ))
    };
    let steps = html! {
        span.steps {
            @for (other, word, title) in STEPS {
                @if range.ms() / other.step().ms() <= MAX_SLOTS {
                    a href=(here(&[("step", word)])) aria-current=[(other == step).then_some("true")] { (title) }
                }
            }
        }
    };
    let body = html! {
        (month(&usage))
        (range.choice(&path, &fields, &["step"], &steps))
        @if history.items.is_empty() {
            p.empty { "There is no history of this time. Minutes are kept for 48 hours, hours for 35 days, days for 800." }
        } @else {
            (charts::levels(&summary(&history, &range), &history.items, range.zone, closer))
            (table(&history, &range))
            p.row { (downloads(&here(&[("format", "csv")]), &here(&[("format", "json")]))) }
        }
    };
    Ok(pool_page(&operator.caller, &pool, Tab::History, &body))
}

/// The figures of the last 30 days, as vendors tell them.
fn month(usage: &UsageBody) -> Markup {
    html! {
        h2 { "Last " (usage.days) " days" }
        dl.figures {
            div { dt { "In use now" } dd { (number(usage.current)) " of " (number(usage.capacity)) } }
            div { dt { "Daily average of the peaks" } dd { (seats(usage.daily_average)) } }
            div { dt { "Daily maximum" } dd { (number(usage.daily_max)) } }
            div {
                dt { "Sustained peak (" (usage.sustained_peak.minutes) " min in total)" }
                dd { (number(usage.sustained_peak.seats)) }
            }
            div { dt { "Utilisation" } dd { (percent(usage.utilisation.share)) } }
            div { dt { "No seat free" } dd { (span(usage.utilisation.full_ms)) } }
            div { dt { "Enough for 95 % of the time" } dd { (number(usage.utilisation.enough_for_95_percent)) } }
        }
    }
}

fn denials(slot: &SlotBody) -> u64 {
    slot.denials.values().sum()
}

/// What the picture shows, in a sentence or three.
fn summary(history: &HistoryBody, range: &Range) -> String {
    let Some(peak) = history
        .items
        .iter()
        .rev()
        .max_by_key(|slot| slot.high_water_mark)
    else {
        return String::new();
    };
    let ms = |slot: &SlotBody| slot.until.since(slot.from) as f64;
    let all: f64 = history.items.iter().map(ms).sum();
    let mean = history
        .items
        .iter()
        .map(|slot| slot.mean * ms(slot))
        .sum::<f64>()
        / all.max(1.0);
    let denied: u64 = history.items.iter().map(denials).sum();
    let full: u64 = history.items.iter().map(|slot| slot.full_ms).sum();
    let mut text = if peak.high_water_mark == 0 {
        "No seat was in use.".to_owned()
    } else {
        format!(
            "At most {} of {} seats were in use at once, from {} on; {mean:.1} on average.",
            peak.high_water_mark,
            peak.capacity,
            at(peak.from, range.zone),
        )
    };
    if full > 0 {
        text += &format!(" No seat was free for {}.", span(full));
    }
    text += &match denied {
        0 => " Nobody was denied.".to_owned(),
        1 => " One denial.".to_owned(),
        denied => format!(" {denied} denials."),
    };
    text
}

fn table(history: &HistoryBody, range: &Range) -> Markup {
    let knows_idle = history.items.iter().any(|slot| slot.idle_mean.is_some());
    html! {
        details.data {
            summary { "Data table" }
            div.scroll tabindex="0" role="region" aria-labelledby="data" {
                table {
                    caption #data {
                        "Seats in use, newest first, times in " (range.zone.name())
                        @if history.items.len() > ROWS { ": the last " (ROWS) " of " (number(history.items.len() as u64)) " rows. The file has all." }
                    }
                    thead {
                        tr {
                            @for title in ["From", "Most at once", "Mean", "Capacity", "Utilisation", "No seat free", "Grants", "Denials", "Ends"] {
                                th scope="col" { (title) }
                            }
                            @if knows_idle { th scope="col" { "Idle on average" } }
                        }
                    }
                    tbody { @for slot in history.items.iter().rev().take(ROWS) { (row(slot, knows_idle)) } }
                }
            }
        }
    }
}

fn row(slot: &SlotBody, knows_idle: bool) -> Markup {
    let reasons = |counts: &std::collections::BTreeMap<String, u64>| {
        let texts: Vec<String> = counts
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        texts.join(", ")
    };
    html! {
        tr {
            th scope="row" { (time(slot.from)) }
            td.num { (number(slot.high_water_mark)) }
            td.num { (seats(slot.mean)) }
            td.num { (number(slot.capacity)) }
            td.num { (percent(slot.utilisation)) }
            td.num { @if slot.full_ms > 0 { (span(slot.full_ms)) } @else { "–" } }
            td.num { (number(slot.grants)) }
            td { @if slot.denials.is_empty() { "–" } @else { (reasons(&slot.denials)) } }
            td { @if slot.ends.is_empty() { "–" } @else { (reasons(&slot.ends)) } }
            @if knows_idle { td.num { @if let Some(idle) = slot.idle_mean { (seats(idle)) } @else { "–" } } }
        }
    }
}
