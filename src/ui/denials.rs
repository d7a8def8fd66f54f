//! Who got no seat, and whether that was all.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{Tab, count, number, pool_page, time, why_denied};
use super::past::Past;
use super::people::linked;
use super::people::person::waited;
use super::range::WEEK;
use super::{Fields, Format};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::history::denials::{DenialBody, denials};
use crate::http::problem::Problem;
use crate::http::table;
use crate::names::PoolName;

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let format = Format::wanted(&headers, fields.get("format"));
    let past = Past::of(
        &app,
        &name,
        Tab::Denials,
        &fields,
        format,
        &["true", "q"],
        WEEK,
    )
    .await?;
    let mut found = denials(&app, &operator, &name, &past.wanted).await?;
    let only_true = fields.get("true").is_some();
    // One person, or whoever has this in the name.
    let person = fields.get("q").map(str::to_lowercase);
    if let Some(text) = &person {
        found.items.retain(|denial| {
            let holder = denial.holder.as_ref();
            holder.is_some_and(|holder| holder.to_lowercase().contains(text))
        });
    }
    let (all, truly) = (found.items.len(), truly(&found.items));
    if only_true {
        found
            .items
            .retain(|denial| denial.true_denial == Some(true));
    }
    match format {
        Format::Json => return Ok(Json(found).into_response()),
        Format::Csv => {
            return Ok(table::file(
                &format!("{name}-denials"),
                &found.items,
                past.range.chosen(&fields),
            ));
        }
        Format::Html => {}
    }
    let here = |replaced: &[(&str, &str)]| past.here(replaced);
    let toggle = html! {
        span.steps {
            a href=(here(&[("true", "")])) aria-current=[(!only_true).then_some("true")] { "All denials" }
            a href=(here(&[("true", "1")])) aria-current=[only_true.then_some("true")] { "True denials" }
        }
    };
    let next = found.next_cursor.as_ref();
    let whole = past.is_whole(next);
    let body = html! {
        (past.choice(&toggle))
        form.row.filter role="search" method="get" {
            @for name in ["range", "from", "to", "tz", "true"] { @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); } }
            label { "Person" input name="q" type="search" value=[fields.get("q")] #search; }
            button type="submit" { "Filter" }
            @if person.is_some() { a href=(here(&[("q", "")])) { "Everybody" } }
        }
        @if all == 0 {
            p.empty {
                @if person.is_some() { "Nobody of this name was denied in this time" @if !whole { ", on this page" } "." }
                @else if whole { "Nobody was denied in this time." } @else { "There are no more denials." }
            }
        } @else {
            p {
                @if !whole { "On this page: " }
                (count(all as u64, "denial", "denials")) ", of which " strong { (number(truly)) }
                @if truly == 1 { " is a true one." } @else { " are true ones." }
                span.quiet { " A denial is a true one if the holder got no seat within two minutes; asking again in that time counts once." }
            }
            @if found.items.is_empty() {
                p.empty { "No denial was a true one: everybody got a seat within two minutes. " a href=(here(&[("true", "")])) { "Show all" } }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                    table {
                        caption #caption { "Denials, newest first" }
                        thead { tr { @for title in ["When", "Holder", "Tenant", "Why", "A seat came after"] { th scope="col" { (title) } } } }
                        tbody { @for denial in found.items.iter().rev() { (row(denial)) } }
                    }
                }
            }
        }
        (past.turning(next, ["Earliest", "Later denials"]))
    };
    Ok(pool_page(&operator.caller, &past.pool, Tab::Denials, &body))
}

fn truly(denials: &[DenialBody]) -> u64 {
    let truly = denials
        .iter()
        .filter(|denial| denial.true_denial == Some(true));
    truly.count() as u64
}

fn row(denial: &DenialBody) -> Markup {
    html! {
        tr {
            th scope="row" { (time(denial.at)) }
            td { (linked(denial.holder.as_deref())) }
            td { bdi { (denial.tenant.as_deref().unwrap_or_default()) } }
            td { (why_denied(&denial.code)) span.quiet { " " code { (denial.code) } } }
            td {
                (waited(denial.waited_ms, denial.true_denial))
            }
        }
    }
}
