//! When a pool is busy: weekday against hour.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::charts;
use super::frame::{Tab, downloads, number, percent, pool_page, seats};
use super::range::{MONTH, Preset, Range, WEEK, WEEKS};
use super::{Fields, Format, link};
use crate::history::last_day;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::history::patterns::{CellBody, PatternsBody, PatternsQuery, patterns, to_csv};
use crate::http::problem::Problem;
use crate::http::when::When;
use crate::names::PoolName;

const PRESETS: &[Preset] = &[WEEK, WEEKS, MONTH];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app.pool(&name).await?;
    let range = Range::of(&fields, pool.at, last_day::zone(&pool), PRESETS, WEEKS)?;
    let wanted = PatternsQuery {
        from: Some(When::exactly(range.from)),
        to: Some(When::exactly(range.to)),
        tz: Some(range.zone.name().to_owned()),
        format: None,
    };
    let patterns = patterns(&app, &name, &wanted).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(patterns).into_response()),
        Format::Csv => return Ok(to_csv(&name, &patterns)),
        Format::Html => {}
    }
    let path = Tab::Patterns.of(&name);
    let here =
        |replaced: &[(&str, &str)]| link(&path, &fields, &["range", "from", "to", "tz"], replaced);
    let body = html! {
        (range.choice(&path, &fields, &[], &html! {}))
        @if patterns.cells.iter().all(|cell| cell.hours == 0.0) {
            p.empty { "There is no history of this time. Hours are kept for 35 days." }
        } @else {
            (charts::heat(&summary(&patterns), |day, hour| {
                let cell = &patterns.cells[day * 24 + hour];
                (cell.utilisation, cell.full.is_some_and(|full| full > 0.0))
            }, |day, hour| said(&patterns.cells[day * 24 + hour])))
            (busiest(&patterns))
            (table(&patterns))
            p.row { (downloads(&here(&[("format", "csv")]), &here(&[("format", "json")]))) }
        }
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Patterns, &body))
}

/// A cell in words.
fn said(cell: &CellBody) -> String {
    let (Some(mean), Some(peak)) = (cell.mean, cell.peak) else {
        return format!("{}: not known", named(cell));
    };
    let mean = seats(mean);
    let mut text = format!("{}: {mean} seats on average, at most {peak}", named(cell));
    if let Some(share) = cell.utilisation {
        text += &format!(", {} used", percent(share));
    }
    if let Some(full) = cell.full.filter(|full| *full > 0.0) {
        text += &format!(", no seat free for {} of the time", percent(full));
    }
    match cell.denials {
        0 => {}
        1 => text += ", one denial",
        denied => text += &format!(", {denied} denials"),
    }
    text
}

/// The hour of a cell, as people say it.
fn named(cell: &CellBody) -> String {
    let day = DAYS
        .iter()
        .find(|day| day.eq_ignore_ascii_case(cell.weekday))
        .unwrap_or(&cell.weekday);
    format!("{day} {:02}:00 to {:02}:00", cell.hour, cell.hour + 1)
}

fn summary(patterns: &PatternsBody) -> String {
    let Some(busiest) = patterns.busiest.first() else {
        return "Nobody had a seat in this time.".to_owned();
    };
    let full = patterns
        .cells
        .iter()
        .filter(|cell| cell.full.is_some_and(|full| full > 0.0))
        .count();
    let share = busiest.utilisation.map_or_else(String::new, |share| {
        format!(", {} of the capacity", percent(share))
    });
    let mut text = format!(
        "The busiest hour is {}, with {:.1} seats in use on average{share}.",
        named(busiest),
        busiest.mean.unwrap_or(0.0),
    );
    text += &match full {
        0 => " A seat was free at all times.".to_owned(),
        1 => " In one hour of the week there was no free seat at times.".to_owned(),
        full => format!(" In {full} hours of the week there was no free seat at times."),
    };
    text
}

fn busiest(patterns: &PatternsBody) -> Markup {
    html! {
        @if !patterns.busiest.is_empty() {
            div.scroll tabindex="0" role="region" aria-labelledby="busiest" {
                table.short {
                    caption #busiest { "The busiest hours, times in " (patterns.tz) }
                    thead {
                        tr {
                            @for title in ["Hour", "Mean", "Most at once", "Utilisation", "No seat free", "Denials"] { th scope="col" { (title) } }
                        }
                    }
                    tbody {
                        @for cell in &patterns.busiest {
                            tr {
                                th scope="row" { (named(cell)) }
                                td.num { (cell.mean.map(seats).unwrap_or_default()) }
                                td.num { (cell.peak.map_or_else(|| html! {}, number)) }
                                td.num { (cell.utilisation.map(percent).unwrap_or_default()) }
                                td.num { (cell.full.map(percent).unwrap_or_default()) " of the time" }
                                td.num { @if cell.denials == 0 { "–" } @else { (number(cell.denials)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn table(patterns: &PatternsBody) -> Markup {
    html! {
        details.data {
            summary { "Data table" }
            div.scroll tabindex="0" role="region" aria-labelledby="data" {
                table.grid {
                    caption #data { "Seats in use on average, and at most, by hour and weekday; times in " (patterns.tz) }
                    thead { tr { th scope="col" { "Hour" } @for day in DAYS { th scope="col" { (day) } } } }
                    tbody {
                        @for hour in 0..24 {
                            tr {
                                th scope="row" { (format!("{hour:02}:00")) }
                                @for day in 0..7 {
                                    @let cell = &patterns.cells[day * 24 + hour];
                                    td.num {
                                        @match (cell.mean, cell.peak) {
                                            (Some(mean), Some(peak)) => { (seats(mean)) span.quiet { " / " (number(peak)) } }
                                            _ => { "–" }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
