//! Who used a pool, how often and how long.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{Tab, count, number, pool_page, span, time};
use super::past::Past;
use super::people::linked;
use super::range::MONTH;
use super::{Fields, Format};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::history::holders::{HolderBody, holders};
use crate::http::problem::Problem;
use crate::http::table;
use crate::names::PoolName;
use crate::pool::Privacy;

/// Columns, with the word of their order.
const COLUMNS: [(&str, &str); 4] = [
    ("Holder", "holder"),
    ("Leases", "leases"),
    ("Time held", "held"),
    ("Last seen", "last_seen"),
];

/// The column of a pool whose policy tells how long people are idle.
const IDLE: (&str, &str) = ("Time idle", "idle");

fn sort(items: &mut [HolderBody], order: &str) {
    let (word, descending) = order
        .strip_prefix('-')
        .map_or((order, false), |word| (word, true));
    match word {
        "leases" => items.sort_by_key(|held| held.leases),
        "held" => items.sort_by_key(|held| held.held_ms),
        "idle" => items.sort_by_key(|held| held.idle_ms),
        "last_seen" => items.sort_by_key(|held| held.last_seen_at),
        _ => items.sort_by(|a, b| a.holder.cmp(&b.holder)),
    }
    if descending {
        items.reverse();
    }
}

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let format = Format::wanted(&headers, fields.get("format"));
    let past = Past::of(&app, &name, Tab::Holders, &fields, format, &["sort"], MONTH).await?;
    let mut found = holders(&app, &operator, &name, &past.wanted).await?;
    let order = fields.get("sort").unwrap_or("-held");
    sort(&mut found.items, order);
    match format {
        Format::Json => return Ok(Json(found).into_response()),
        Format::Csv => {
            return Ok(table::file(
                &format!("{name}-holders"),
                &found.items,
                past.range.chosen(&fields),
            ));
        }
        Format::Html => {}
    }
    let here = |replaced: &[(&str, &str)]| past.here(replaced);
    let next = found.next_cursor.as_ref();
    let whole = past.is_whole(next);
    let all: u64 = found.items.iter().map(|held| held.held_ms).sum();
    let tells_idle = past.pool.policy.tells_idle_people();
    let columns = COLUMNS.into_iter().chain(tells_idle.then_some(IDLE));
    let body = html! {
        (past.choice(&html! {}))
        @if past.pool.policy.privacy != Privacy::Named {
            p.notice { "This pool keeps no names of holders; what is below is what it keeps in their place." }
        }
        @if found.items.is_empty() {
            p.empty { "Nobody had a seat in this time." }
        } @else {
            p {
                @if !whole { "On this page: " }
                (count(found.items.len() as u64, "holder", "holders")) " held seats for " (span(all)) " together."
            }
            div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                table {
                    caption #caption { "Holders, and what they used" @if !whole { ", a page of them in this order" } }
                    thead { tr { @for (title, word) in columns { (super::leases::sorted_heading(title, word, order, &|next| here(&[("sort", next)]))) } th scope="col" { "Share of the time" } } }
                    tbody { @for held in &found.items { (row(held, all)) } }
                }
            }
        }
        (past.turning(next, ["First page", "Next page"]))
    };
    Ok(pool_page(&operator.caller, &past.pool, Tab::Holders, &body))
}

fn row(held: &HolderBody, all: u64) -> Markup {
    let share = (held.held_ms * 100).checked_div(all).unwrap_or(0);
    html! {
        tr {
            th scope="row" { @if held.holder.is_some() { (linked(held.holder.as_deref())) } @else { "Guests" } }
            td.num { (number(held.leases)) }
            td.num { (span(held.held_ms)) }
            td { @if let Some(at) = held.last_seen_at { (time(at)) } }
            @if let Some(idle_ms) = held.idle_ms { td.num { (span(idle_ms)) } }
            td.num { (share) " %" }
        }
    }
}
