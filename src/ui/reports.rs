//! Reports over all pools: a month or other days, a sheet on the page, and all of them as files.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{Months, NaiveDate};
use chrono_tz::Tz;
use futures_util::StreamExt as _;
use maud::{Markup, PreEscaped, html};

use super::frame::{Tab, count, downloads, may, number, page, span, why_denied};
use super::people::linked;
use super::{Fields, Format, link};
use crate::access_key::Role;
use crate::history::usage::date;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{Cell, local};
use crate::http::problem::Problem;
use crate::http::reports::denials::DenialRow;
use crate::http::reports::people::PersonRow;
use crate::http::reports::summary::SummaryRow;
use crate::http::reports::tenants::TenantRow;
use crate::http::reports::workbook::{title, workbook};
use crate::http::reports::{Report, ReportQuery, Sheet, first_of, sheet};
use crate::names::PoolName;

pub(super) const HERE: &str = "/admin/reports";
/// Rows of a sheet on the page. The files have all.
const SHOWN: usize = 500;
/// Pools that are listed to choose from; of more their names are typed.
const LISTED: usize = 60;
/// Months to choose from: as long as days are kept.
const MONTHS: u32 = 26;
/// What the address says and keeps.
const KEPT: [&str; 5] = ["month", "from", "to", "tz", "pools"];

const SHEETS: [(&str, &str, Role); 4] = [
    ("", SummaryRow::NAME, Role::Reports),
    ("/tenants", TenantRow::NAME, Role::Reports),
    ("/people", PersonRow::NAME, Role::Viewer),
    ("/denials", DenialRow::NAME, Role::Viewer),
];

pub(super) async fn summary(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let totals = |rows: &[SummaryRow]| Some(totals(rows));
    show::<SummaryRow>(&app, &operator, &headers, fields, totals).await
}

pub(super) async fn tenants(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    show::<TenantRow>(&app, &operator, &headers, fields, |_| None).await
}

pub(super) async fn people(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    show::<PersonRow>(&app, &operator, &headers, fields, |_| None).await
}

pub(super) async fn denials(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    show::<DenialRow>(&app, &operator, &headers, fields, |_| None).await
}

pub(super) async fn excel(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, Problem> {
    workbook(&app, &operator, &wanted(&fields)).await
}

/// What the address asks for.
fn wanted(fields: &Fields) -> ReportQuery {
    let text = |name: &str| fields.get(name).map(str::to_owned);
    let chosen: Vec<&str> = fields
        .all("pools")
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    // The form has both, and days that somebody typed are meant.
    let from = text("from");
    ReportQuery {
        month: text("month").filter(|_| from.is_none()),
        from: from.and_then(|from| serde_json::from_value(from.into()).ok()),
        to: text("to").and_then(|to| serde_json::from_value(to.into()).ok()),
        tz: text("tz"),
        pools: (!chosen.is_empty()).then(|| chosen.join(",")),
        format: None,
        bom: None,
    }
}

async fn show<T: Sheet>(
    app: &App,
    operator: &Operator,
    headers: &HeaderMap,
    fields: Fields,
    totals: impl Fn(&[T]) -> Option<Markup>,
) -> Result<Response, Problem> {
    let wanted = wanted(&fields);
    // Boxes send a field each, and links have one.
    let fields = with_one_list(fields, wanted.pools.as_deref());
    match Format::wanted(headers, fields.get("format")) {
        Format::Json => return sheet::<T>(app, operator, &wanted, false).await,
        Format::Csv => return sheet::<T>(app, operator, &wanted, true).await,
        Format::Html => {}
    }
    let (report, pools) = Report::of(app, operator, &wanted).await?;
    let all = match wanted.pools {
        Some(_) => own_pools(app, operator).await?,
        None => pools.clone(),
    };
    let place = place::<T>();
    let here = format!("{HERE}{place}");
    let mut rows = Vec::new();
    let mut parts = T::rows(&report, pools.clone());
    while rows.len() <= SHOWN {
        match parts.next().await {
            Some(part) => rows.extend(part?),
            None => break,
        }
    }
    let more = SHOWN < rows.len();
    rows.truncate(SHOWN);
    let file = |format: &str| link(&here, &fields, &KEPT, &[("format", format)]);
    let body = html! {
        h1 { "Reports" }
        (choice(&report, &fields, &here, &all, &pools))
        nav.tabs aria-label="Sheets" {
            @for (path, name, role) in SHEETS {
                @if may(&operator.caller, role) {
                    a href=(link(&format!("{HERE}{path}"), &fields, &KEPT, &[]))
                        aria-current=[(path == place).then_some("page")] { (name) }
                }
            }
        }
        (about(&report, &pools))
        @if rows.is_empty() { p.empty { (nothing::<T>()) } }
        @else {
            @if !more && let Some(totals) = totals(&rows) { (totals) }
            (table(&rows, &report, more))
        }
        p.row {
            a.button.main href=(link(&format!("{HERE}/workbook"), &fields, &KEPT, &[])) download { "Excel, all sheets" }
            span { "This sheet as " }
            (downloads(&file("csv"), &file("json")))
        }
        p.quiet { "Files have every row. A workbook is put together before it arrives; with more than 100 000 rows it is refused, and the sheets one by one are not." }
    };
    Ok(page(&operator.caller, "Reports", HERE, &body))
}

/// The place of a sheet behind the address of the page.
fn place<T: Sheet>() -> &'static str {
    let sheet = SHEETS.into_iter().find(|(_, name, _)| *name == T::NAME);
    sheet.map_or("", |(place, _, _)| place)
}

fn with_one_list(fields: Fields, pools: Option<&str>) -> Fields {
    let mut fields: Vec<(String, String)> = fields
        .0
        .into_iter()
        .filter(|(name, _)| name != "pools")
        .collect();
    if let Some(pools) = pools {
        fields.push(("pools".to_owned(), pools.to_owned()));
    }
    Fields(fields)
}

async fn own_pools(app: &App, operator: &Operator) -> Result<Vec<PoolName>, Problem> {
    let mut names = app.store().names().await?;
    names.retain(|name| operator.caller.is_for(name));
    Ok(names)
}

fn nothing<T: Sheet>() -> &'static str {
    match T::WORD {
        "denials" => "Nobody was denied in these days.",
        "people" => "Nobody held a seat in these days.",
        "tenants" => "Nobody held a seat in these days, or was denied one.",
        _ => "There is no pool yet.",
    }
}

/// A month in words.
fn month_name(first: NaiveDate) -> String {
    first.format("%B %Y").to_string()
}

/// The time and the pools that the report is about.
fn choice(
    report: &Report,
    fields: &Fields,
    here: &str,
    all: &[PoolName],
    pools: &[PoolName],
) -> Markup {
    let days = report.days;
    let zone = days.zone.name();
    let this = first_of(date(report.now, days.zone));
    let months: Vec<NaiveDate> = (0..MONTHS)
        .filter_map(|back| this.checked_sub_months(Months::new(back)))
        .collect();
    let is_whole = |first: NaiveDate, months: u32| {
        days.first == first && days.last + chrono::Days::new(1) == first + Months::new(months)
    };
    let whole_month = months.iter().copied().find(|first| is_whole(*first, 1));
    let day = |day: NaiveDate| day.to_string();
    let of_month = |first: NaiveDate| {
        let word = first.format("%Y-%m").to_string();
        link(here, fields, &["tz", "pools"], &[("month", &word)])
    };
    let of_months = |count: u32| {
        let first = this - Months::new(count);
        let dates = [day(first), day(this)];
        let replaced = [("from", dates[0].as_str()), ("to", dates[1].as_str())];
        (
            is_whole(first, count),
            link(here, fields, &["tz", "pools"], &replaced),
        )
    };
    let presets = [
        ("This month", is_whole(this, 1), of_month(this)),
        (
            "Last month",
            is_whole(this - Months::new(1), 1),
            of_month(this - Months::new(1)),
        ),
        ("Last 3 months", of_months(3).0, of_months(3).1),
        ("Last 12 months", of_months(12).0, of_months(12).1),
    ];
    let chosen: BTreeSet<&PoolName> = pools.iter().collect();
    let is_some = fields.get("pools").is_some();
    html! {
        nav.presets aria-label="Time" data-tz=(zone) {
            @for (name, is_chosen, address) in presets {
                a href=(address) aria-current=[is_chosen.then_some("true")] { (name) }
            }
        }
        form.filter.choice method="get" action=(here) {
            div.row {
                label { "Month"
                    select name="month" {
                        @if whole_month.is_none() { option value="" selected { "other days" } }
                        @for first in months {
                            option value=(first.format("%Y-%m")) selected[whole_month == Some(first)] {
                                (month_name(first)) @if first == this { " (so far)" }
                            }
                        }
                    }
                }
                label { "Time zone" input name="tz" list="zones" value=(zone) autocomplete="off" spellcheck="false" required; }
                datalist #zones data-zones {}
                button type="submit" { "Show" }
            }
            details open[whole_month.is_none()] {
                summary { "Other days" }
                div.row {
                    label { "First day" input type="date" name="from" value=[whole_month.is_none().then(|| day(days.first))]; }
                    label { "Before" input type="date" name="to" value=[whole_month.is_none().then(|| day(days.last + chrono::Days::new(1)))]; }
                }
            }
            details open[is_some] {
                summary { "Pools: " @if is_some { (number(pools.len() as u64)) " of " (number(all.len() as u64)) } @else { "all" } }
                @if all.len() <= LISTED {
                    fieldset.pools {
                        legend.hidden { "Pools" }
                        @for pool in all {
                            label { input type="checkbox" name="pools" value=(pool) checked[is_some && chosen.contains(pool)]; (pool) }
                        }
                    }
                    p.quiet { "None ticked means all." }
                } @else {
                    div.field {
                        label { "Names, with commas between them; all if it is empty" input name="pools" value=[fields.get("pools")]; }
                    }
                }
            }
        }
    }
}

/// What the sheet is about, and what it cannot know.
fn about(report: &Report, pools: &[PoolName]) -> Markup {
    let (days, period) = (report.days, &report.period);
    let is_month = days.first == first_of(days.first)
        && days.last + chrono::Days::new(1) == days.first + Months::new(1);
    let day = |day: NaiveDate| day.format("%-d %B %Y").to_string();
    html! {
        p.about {
            strong {
                @if is_month { (month_name(days.first)) }
                @else { (day(days.first)) " to " (day(days.last)) }
            }
            @if !period.is_over { ", so far" }
            ". " (count(pools.len() as u64, "pool", "pools")) ", days of " (period.tz) "."
            @if period.events_from > period.from {
                " Tenants, people and denials are known from "
                (local(period.events_from, days.zone).format("%-d %B, %H:%M"))
                " on, because events are kept for 35 days."
            }
            @if period.days_of != period.tz {
                " The summary is made of days of " (period.days_of) ", because hours are kept for 35 days."
            }
        }
    }
}

/// All pools together.
fn totals(rows: &[SummaryRow]) -> Markup {
    let sum = |of: fn(&SummaryRow) -> Option<u64>| rows.iter().filter_map(of).sum::<u64>();
    let hours: f64 = rows.iter().filter_map(|row| row.seat_hours).sum();
    html! {
        dl.figures {
            div { dt { "Seat hours" } dd { (decimal(hours)) } }
            div { dt { "Leases that got a seat" } dd { (number(sum(|row| row.grants))) } }
            div { dt { "Denials" } dd { (number(sum(|row| row.denials))) } }
            div { dt { "Sum of the peaks" } dd { (number(sum(|row| row.peak))) } }
        }
    }
}

fn table<T: Sheet>(rows: &[T], report: &Report, more: bool) -> Markup {
    let zone = report.days.zone;
    // A column that says nothing is left out: not every pool has tenants, and gaps are rare.
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            T::COLUMNS
                .iter()
                .map(|(_, cell)| cell(row, Some(zone)))
                .collect()
        })
        .collect();
    let says_nothing = |column: &str, cell: &Cell| match cell {
        Cell::Text(text) | Cell::Plain(text) => text.is_empty(),
        Cell::Number(number) => ["gap_hours", "raw_denials"].contains(&column) && *number == 0.0,
        Cell::At(at, _) => column == "covered_from" && *at <= report.period.from,
        Cell::Day(_) => false,
    };
    let used: Vec<bool> = (0_usize..)
        .zip(T::COLUMNS)
        .map(|(at, (name, _))| !cells.iter().all(|row| says_nothing(name, &row[at])))
        .collect();
    let columns = || T::COLUMNS.iter().enumerate().filter(|(at, _)| used[*at]);
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="sheet" {
            table.sheet {
                caption #sheet {
                    (T::NAME) ", times in " (zone.name())
                    @if more { ": the first " (number(SHOWN as u64)) " rows. The files have all." }
                }
                thead {
                    tr {
                        @for (at, (name, _)) in columns() {
                            th scope="col" class=[is_number(&cells, at).then_some("number")] { (title(name)) }
                        }
                    }
                }
                tbody {
                    @for row in &cells {
                        tr {
                            @for (at, (name, _)) in columns() {
                                @let class = is_number(&cells, at).then_some("number");
                                @if at == 0 { th scope="row" { (shown(name, &row[at])) } }
                                @else { td class=[class] { (shown(name, &row[at])) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn is_number(cells: &[Vec<Cell>], column: usize) -> bool {
    cells
        .iter()
        .any(|row| matches!(row[column], Cell::Number(_)))
}

/// A cell for people.
fn shown(column: &str, cell: &Cell) -> Markup {
    match (column, cell) {
        ("pool", Cell::Plain(name)) => html! {
            @match name.parse::<PoolName>() {
                Ok(pool) => a href=(Tab::History.of(&pool)) { (name) },
                Err(_) => (name),
            }
        },
        ("holder", Cell::Text(name)) => linked(Some(name.as_str()).filter(|name| !name.is_empty())),
        ("code", Cell::Plain(code)) => html! { (why_denied(code)) },
        ("true_denial", Cell::Plain(word)) => html! {
            @match word.as_str() { "true" => "yes", "false" => "no", _ => "open" }
        },
        ("waited_ms", Cell::Number(ms)) => html! { (span(*ms as u64)) },
        ("utilisation", Cell::Number(share)) => html! { (super::frame::percent(*share)) },
        (_, Cell::Text(text) | Cell::Plain(text)) if text.is_empty() => html! { "–" },
        (_, Cell::Text(text)) => html! { bdi { (text) } },
        (_, Cell::Plain(text)) => html! { (text) },
        (_, Cell::Number(value)) => decimal(*value),
        (_, Cell::Day(day)) => html! { span.num { (day.format("%-d %b")) } },
        (_, Cell::At(at, zone)) => {
            let at = local(*at, zone.unwrap_or(Tz::UTC));
            html! { span.num { (at.format("%Y-%m-%d %H:%M:%S")) } }
        }
    }
}

/// A number with one decimal, if it has any.
fn decimal(value: f64) -> Markup {
    let whole = number(value.trunc() as u64);
    if value == value.trunc() {
        return whole;
    }
    let tenths = (value * 10.0).round() as u64;
    PreEscaped(format!(
        "{}.{}",
        number(tenths / 10).into_string(),
        tenths % 10
    ))
}
