//! Who gets no seat for a time, over all pools.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{Tab, downloads, may, page, time};
use super::people::{address, linked};
use super::{Fields, Format, link};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::{Caller, Operator};
use crate::http::blocks::{BlockBody, Blocks, BlocksQuery, of_all_pools};
use crate::http::problem::Problem;
use crate::http::table;
use crate::names::Tenant;

const HERE: &str = "/admin/blocks";
/// Blocks of a page of a file.
const EXPORTED_AT_ONCE: usize = 1_000;

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let mut wanted = BlocksQuery {
        cursor: fields.get("cursor").map(str::to_owned),
        ..BlocksQuery::default()
    };
    let found = match Format::wanted(&headers, fields.get("format")) {
        Format::Json => {
            let found = of_all_pools(&app, &operator, &wanted).await?;
            return Ok(Json(found).into_response());
        }
        Format::Csv => {
            wanted.limit = Some(EXPORTED_AT_ONCE);
            let mut items = Vec::new();
            loop {
                let found = of_all_pools(&app, &operator, &wanted).await?;
                items.extend(found.items);
                wanted.cursor = found.next_cursor;
                if wanted.cursor.is_none() {
                    return Ok(table::file("leasehold-blocks", &items, None));
                }
            }
        }
        Format::Html => of_all_pools(&app, &operator, &wanted).await?,
    };
    let body = html! {
        p.crumbs { a href="/admin/people" { "People" } " / Blocks" }
        h1 { "Blocks" }
        @if fields.get("done").is_some() { p.good role="status" { "The block is lifted." } }
        div #live data-every="15" {
            @if found.items.is_empty() { p.empty { "Nobody is blocked." } }
            @else { (list(&found, &fields, &operator.caller)) }
        }
    };
    Ok(page(&operator.caller, "Blocks", "", &body))
}

fn list(found: &Blocks, fields: &Fields, caller: &Caller) -> Markup {
    let acts = may(caller, Role::Operator);
    let of = |replaced: &[(&str, &str)]| link(HERE, fields, &[], replaced);
    html! {
        p.row { span.grow {} (downloads("?format=csv", "?format=json")) }
        div.scroll tabindex="0" role="region" aria-labelledby="caption" {
            table {
                caption #caption { "Who gets no seat, and until when; what they hold they keep" }
                thead {
                    tr {
                        @for title in ["Person", "Pool", "Tenants", "Until", "Reason", "By", "Since"] { th scope="col" { (title) } }
                        @if acts { th scope="col" { span.hidden { "Actions" } } }
                    }
                }
                tbody { @for block in &found.items { (row(block, caller)) } }
            }
        }
        p.row {
            @if fields.get("cursor").is_some() { a href=(of(&[])) { "First page" } }
            @if let Some(next) = &found.next_cursor { a href=(of(&[("cursor", next)])) rel="next" { "Next page" } }
        }
    }
}

/// For whom alone a block counts; nothing for everybody.
pub(super) fn tenants(block: &BlockBody) -> String {
    let tenants: Vec<&str> = block.tenants.iter().flatten().map(Tenant::as_str).collect();
    tenants.join(", ")
}

/// Whether a caller may lift a block: one for all tenants is for whoever sees all of them.
pub(super) fn may_lift(caller: &Caller, block: &BlockBody) -> bool {
    let sees_all = caller.tenants_in(&block.pool).is_none();
    may(caller, Role::Operator) && (sees_all || block.tenants.is_some())
}

fn row(block: &BlockBody, caller: &Caller) -> Markup {
    html! {
        tr data-key=(format!("{} {} {}", block.pool, block.holder, tenants(block))) {
            th scope="row" { (linked(Some(&block.holder))) }
            td { a href=(Tab::Agents.of(&block.pool)) { (block.pool) } }
            td { (tenants(block)) }
            td { (time(block.until)) }
            td { bdi { (block.reason.as_deref().unwrap_or_default()) } }
            td { bdi { (block.by.as_deref().unwrap_or_default()) } }
            td { @if let Some(since) = block.since { (time(since)) } }
            @if may(caller, Role::Operator) {
                td.actions { @if may_lift(caller, block) {
                    form method="post" action=(format!("{}/unblock", address(&block.holder))) {
                        input type="hidden" name="pool" value=(block.pool);
                        input type="hidden" name="back" value="blocks";
                        button type="submit" { "Unblock" span.hidden { " " bdi { (block.holder) } " in " (block.pool) } }
                    }
                } }
            }
        }
    }
}
