//! Who got no seat, and whether that was all.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{Tab, count, number, pool_page, time};
use super::past::Past;
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
    let past = Past::of(&app, &name, Tab::Denials, &fields, "true", WEEK).await?;
    let mut found = denials(&app, &name, &past.wanted).await?;
    let only_true = fields.get("true").is_some();
    let (all, truly) = (found.items.len(), truly(&found.items));
    if only_true {
        found
            .items
            .retain(|denial| denial.true_denial == Some(true));
    }
    match Format::wanted(&headers, fields.get("format")) {
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
        @if all == 0 {
            p.empty { @if whole { "Nobody was denied in this time." } @else { "There are no more denials." } }
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
                        thead { tr { @for title in ["When", "Holder", "Tenant", "Why", "A seat soon after"] { th scope="col" { (title) } } } }
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
            td { bdi { (denial.holder.as_deref().unwrap_or("Guest")) } }
            td { bdi { (denial.tenant.as_deref().unwrap_or_default()) } }
            td { code { (denial.code) } }
            td {
                @match denial.true_denial {
                    Some(true) => { strong.bad { "no" } },
                    Some(false) => { "yes, within two minutes" },
                    None => { span.quiet { "not yet" } },
                }
            }
        }
    }
}
