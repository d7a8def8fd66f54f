//! People: a search over all pools that the caller may see, and a page for each person.

pub(super) mod actions;
pub(super) mod person;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{Tab, count, downloads, number, page, time};
use super::{Fields, Format, link};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::holders::list::{HoldersPage, HoldersQuery, PersonBody, everybody, people};
use crate::http::problem::{Code, Problem};
use crate::http::table;
use crate::names::{PoolName, Tenant, holder_segment};
use crate::pool::Privacy;

pub(super) const HERE: &str = "/admin/people";
/// People of a page.
const LIMIT: usize = 100;

/// The address of a person's page.
pub(super) fn address(holder: &str) -> String {
    format!("{HERE}/{}", holder_segment(holder))
}

/// The name of a person as a link to the page about it; that of nobody in particular as it is.
pub(super) fn linked(holder: Option<&str>) -> Markup {
    html! {
        @match holder {
            Some(holder) => a.person href=(address(holder)) { bdi { (holder) } },
            None => "Guest",
        }
    }
}

/// What the address asks for.
pub(super) fn wanted(fields: &Fields) -> Result<HoldersQuery, Problem> {
    let invalid =
        |invalid: crate::names::Invalid| Problem::new(Code::InvalidRequest, invalid.to_string());
    Ok(HoldersQuery {
        q: fields.get("q").map(str::to_owned),
        pool: fields
            .get("pool")
            .map(str::parse)
            .transpose()
            .map_err(invalid)?,
        tenant: fields
            .get("tenant")
            .map(|tenant| Tenant::try_from(tenant.to_owned()))
            .transpose()
            .map_err(invalid)?,
        limit: Some(LIMIT),
        cursor: fields.get("cursor").map(str::to_owned),
        format: None,
    })
}

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let wanted = wanted(&fields)?;
    let format = Format::wanted(&headers, fields.get("format"));
    if format == Format::Csv {
        let all = everybody(&app, &operator, &wanted).await?;
        return Ok(table::file("leasehold-people", &all, None));
    }
    let found = people(&app, &operator, &wanted).await?;
    if format == Format::Json {
        return Ok(Json(found).into_response());
    }
    let of = |replaced: &[(&str, &str)]| link(HERE, &fields, &["q", "pool", "tenant"], replaced);
    let is_filtered = ["q", "pool", "tenant"]
        .iter()
        .any(|name| fields.get(name).is_some());
    let body = html! {
        h1 { "People" }
        form.row.filter role="search" method="get" action=(HERE) {
            label { "Name, label or activity" input name="q" type="search" value=[fields.get("q")] #search; }
            label { "Pool" input name="pool" value=[fields.get("pool")]; }
            label { "Tenant" input name="tenant" value=[fields.get("tenant")]; }
            button type="submit" { "Search" }
            @if is_filtered { a href=(HERE) { "Show all" } }
            a href="/admin/blocks" { "Who is blocked" }
            span.grow {}
            (downloads(&of(&[("format", "csv")]), &of(&[("format", "json")])))
        }
        @if found.items.is_empty() {
            p.empty {
                @if is_filtered { "Nobody who holds a seat, or is blocked, matches." }
                @else { "Nobody holds a seat now." }
            }
        } @else { (list(&found)) }
        @if let Some(name) = fields.get("q") {
            p { "Somebody who holds nothing now has a page too: " a href=(address(name)) { "look up " bdi { (name) } } "." }
        }
        p.row {
            @if fields.get("cursor").is_some() { a href=(of(&[])) { "First page" } }
            @if let Some(next) = &found.next_cursor { a href=(of(&[("cursor", next)])) rel="next" { "Next page" } }
        }
        (nameless(&app, &operator))
    };
    Ok(page(&operator.caller, "People", HERE, &body))
}

/// People in a table.
pub(super) fn list(found: &HoldersPage) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="people" {
            table {
                caption #people { "People who hold seats, or are blocked" }
                thead {
                    tr {
                        th scope="col" { "Person" }
                        th.number scope="col" { "Seats" }
                        @for title in ["Where", "Since", "Blocked until"] { th scope="col" { (title) } }
                    }
                }
                tbody { @for person in &found.items { (row(person)) } }
            }
        }
    }
}

fn row(person: &PersonBody) -> Markup {
    html! {
        tr {
            th scope="row" { (linked(Some(&person.holder))) }
            td.number { (number(person.seats)) }
            td {
                @for (place, held) in person.pools.iter().enumerate() {
                    @if place > 0 { ", " }
                    a href=(Tab::Agents.of(&held.pool)) { (held.pool) }
                    @if held.leases > 1 { " ×" (held.leases) }
                }
            }
            td { @if let Some(since) = person.since() { (time(since)) } }
            td { @if let Some(until) = person.blocked_until { strong.bad { (time(until)) } } }
        }
    }
}

/// The pools in which people cannot be found as elsewhere, and what is possible there.
pub(super) fn nameless(app: &App, operator: &Operator) -> Markup {
    let mut names = app.store().cached_names();
    names.retain(|name| operator.caller.is_for(name));
    let with = |privacy: Privacy| -> Vec<&PoolName> {
        let has = |name: &&PoolName| {
            let policy = app.store().cached_policy(name);
            policy.is_some_and(|policy| policy.privacy == privacy)
        };
        names.iter().filter(has).collect()
    };
    let (pseudonymous, anonymous) = (with(Privacy::Pseudonymous), with(Privacy::Anonymous));
    html! {
        @if !pseudonymous.is_empty() {
            p.quiet {
                (count(pseudonymous.len() as u64, "pool keeps", "pools keep")) " pseudonyms in place of names ("
                (listed(&pseudonymous)) "): there somebody is found by the whole name, exactly as it is written, and not by a part of it."
            }
        }
        @if !anonymous.is_empty() {
            p.quiet {
                (count(anonymous.len() as u64, "pool knows", "pools know")) " no people (" (listed(&anonymous)) "), so nobody is found there."
            }
        }
    }
}

/// The first of some names.
fn listed(names: &[&PoolName]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| name.to_string())
        .collect();
    if SHOWN < names.len() {
        text.push(format!("and {} more", names.len() - SHOWN));
    }
    text.join(", ")
}
