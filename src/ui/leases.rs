//! The leases of a pool, and how to end them.

pub(super) mod terminate;

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{Tab, count, gauge, kind_of_seat, may, number, pool_page, span, time_of_day};
use super::people::linked;
use super::quantity::duration;
use super::{Fields, Format, query};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::leases::LeaseBody;
use crate::http::leases::list::{self, Leases, LeasesQuery};
use crate::http::problem::{Code, Problem};
use crate::names::{Holder, Invalid, PoolName, Tenant};
use crate::pool::{Idle, Pool};
use crate::time::Timestamp;

/// Leases of a page.
const LIMIT: usize = 100;
/// Leases that are counted before a number becomes "at least".
const COUNTED: usize = 10_000;

/// Columns: title, the word of the order if there is one.
const COLUMNS: [(&str, &str); 8] = [
    ("Holder", "holder"),
    ("Tenant", "tenant"),
    ("Label", "label"),
    ("Activities", "activities"),
    ("Platform", "platform"),
    ("Started", "started_at"),
    ("Last beat", "renewed_at"),
    ("Expires in", "expires_at"),
];

/// The column of a pool whose policy has `idle`.
const IDLE: (&str, &str) = ("Idle for", "active_at");
/// What a list is filtered by.
const FILTERS: [&str; 4] = ["q", "tenant", "holder", "idle_ms"];
/// Idle times to filter by, in minutes, besides that of the policy.
const IDLE_MINUTES: [u64; 4] = [5, 15, 30, 60];

/// What the address of the view says.
fn wanted(fields: &Fields) -> Result<LeasesQuery, Problem> {
    let word = |name: &str| fields.get(name).map(str::to_owned);
    // What cannot be would filter nothing, and all seats would be ended in place of none.
    let wrong = |invalid: Invalid| Problem::new(Code::InvalidRequest, format!("{invalid}."));
    let no_time = |_| {
        let sentence = "idle_ms is a whole number of milliseconds.";
        Problem::new(Code::InvalidRequest, sentence).at_field("idle_ms", sentence)
    };
    Ok(LeasesQuery {
        holder: word("holder")
            .map(Holder::recorded)
            .transpose()
            .map_err(wrong)?,
        tenant: word("tenant")
            .map(Tenant::recorded)
            .transpose()
            .map_err(wrong)?,
        q: word("q"),
        idle_ms: word("idle_ms")
            .map(|ms| ms.parse())
            .transpose()
            .map_err(no_time)?,
        sort: word("sort"),
        limit: Some(LIMIT),
        cursor: word("cursor"),
        format: None,
    })
}

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let format = Format::wanted(&headers, fields.get("format"));
    if format == Format::Csv {
        let all = LeasesQuery {
            limit: None,
            ..wanted(&fields)?
        };
        return list::export(&app, &operator, &name, all).await;
    }
    let leases = list::page(&app, &operator, &name, wanted(&fields)?).await?;
    if format == Format::Json {
        return Ok(Json(leases).into_response());
    }
    let pool = app.pool(&name).await?;
    let body = html! {
        form.row.filter role="search" method="get" {
            label { "Search" input name="q" type="search" value=[fields.get("q")] #search; }
            label { "Tenant" input name="tenant" value=[fields.get("tenant")]; }
            @if let Some(idle) = &pool.policy.idle { (idle_filter(idle.after_ms, fields.get("idle_ms"))) }
            @if let Some(sort) = fields.get("sort") { input type="hidden" name="sort" value=(sort); }
            button type="submit" { "Filter" }
            @if is_filtered(&fields) { a href=(format!("/admin/pools/{name}")) { "Clear filters" } }
            span.grow {}
            a href=(same(&fields, [("format", Some("csv"))])) download { "CSV" }
            a href=(same(&fields, [("format", Some("json"))])) { "JSON" }
        }
        @if fields.get("none").is_some() { p.notice role="status" { "Select those that are to end first." } }
        (table(&pool, &leases, &fields, &operator))
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Agents, &body))
}

fn is_filtered(fields: &Fields) -> bool {
    // A seat is idle for no time at all whoever uses it.
    FILTERS.iter().any(|name| {
        let value = fields.get(name);
        value.is_some_and(|value| *name != "idle_ms" || value != "0")
    })
}

/// A choice of how long nobody has used a seat.
fn idle_filter(after_ms: u64, chosen: Option<&str>) -> Markup {
    let minutes = IDLE_MINUTES.into_iter().map(|minutes| minutes * 60_000);
    let mut times: Vec<u64> = minutes.chain([after_ms]).collect();
    times.extend(chosen.and_then(|ms| ms.parse::<u64>().ok()));
    times.sort_unstable();
    times.dedup();
    html! {
        label {
            "Idle for at least"
            select name="idle_ms" {
                option value="" { "any time" }
                @for ms in times { option value=(ms) selected[chosen == Some(ms.to_string().as_str())] { (duration(ms)) } }
            }
        }
    }
}

/// The query of this view with some values replaced.
fn same<'a, const N: usize>(
    fields: &'a Fields,
    replaced: [(&'a str, Option<&'a str>); N],
) -> String {
    let kept = FILTERS.into_iter().chain(["sort"]).filter_map(|name| {
        let is_replaced = replaced.iter().any(|(other, _)| *other == name);
        (!is_replaced).then(|| (name, fields.get(name)))
    });
    let query = query(kept.chain(replaced));
    if query.is_empty() {
        "?".to_owned()
    } else {
        query
    }
}

fn table(pool: &Pool, leases: &Leases, fields: &Fields, operator: &Operator) -> Markup {
    let may_terminate = may(&operator.caller, Role::Operator);
    // Who is for some tenants reads nothing of how full the pool is.
    let whole = operator.tenants_in(&pool.name).is_none();
    let mut seats: HashMap<&str, usize> = HashMap::new();
    for lease in &leases.items {
        if let Some(holder) = &lease.holder {
            *seats.entry(holder.key()).or_default() += 1;
        }
    }
    let capacity = pool.capacity;
    let sorted = fields.get("sort").unwrap_or("expires_at");
    let action = format!("/admin/pools/{}/terminate", pool.name);
    html! {
        form.whole method="get" action=(action) data-select {
            @for name in FILTERS {
                @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); }
            }
            div #live data-every="5" {
                @if whole { p.summary {
                    strong { (number(pool.in_use)) " of " (number(capacity)) } " seats in use"
                    @if let Some(idle) = pool.policy.idle.filter(|_| pool.idle > 0) {
                        " · " (number(pool.idle)) " idle"
                        @if may_terminate {
                            " · " a href=(format!("{action}?all=1&idle_ms={}", idle.after_ms)) { "End " (count(pool.idle, "idle seat…", "idle seats…")) }
                        }
                    }
                    @if pool.waiting > 0 { " · " a href=(Tab::Queue.of(&pool.name)) { (number(pool.waiting)) " waiting" } }
                    (gauge(pool.in_use, capacity))
                } }
                @if leases.items.is_empty() {
                    p.empty {
                        @if is_filtered(fields) { "No agent that is connected matches the filters." }
                        @else { "There are currently no agents connected." }
                    }
                } @else {
                    div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                        table {
                            caption #caption.hidden { "Active agents" }
                            thead {
                                tr {
                                    @if may_terminate { th scope="col" { span.hidden { "Select" } } }
                                    @for (title, word) in COLUMNS { (heading(title, word, sorted, fields)) }
                                    @if pool.policy.idle.is_some() { (heading(IDLE.0, IDLE.1, sorted, fields)) }
                                    th scope="col" { "Seat" }
                                    th scope="col" { "Lease" }
                                    @if may_terminate { th scope="col" { span.hidden { "Actions" } } }
                                }
                            }
                            tbody {
                                @for lease in &leases.items { (row(lease, pool.at, &seats, pool.policy.idle, may_terminate.then_some(action.as_str()))) }
                            }
                        }
                    }
                    p.row {
                        @if fields.get("cursor").is_some() { a href=(same(fields, [])) { "First page" } }
                        @if let Some(next) = &leases.next_cursor {
                            a href=(same(fields, [("cursor", Some(next.as_str()))])) rel="next" { "Next page" }
                        }
                    }
                }
            }
            // Outside of what is replaced: it says what is selected.
            @if may_terminate {
                p.row.bar {
                    span data-count role="status" {}
                    button type="button" data-page hidden { "Select all on this page" }
                    button type="button" data-none hidden { "Select none" }
                    button type="submit" { "End selected…" }
                    button type="submit" name="all" value="1" {
                        @if is_filtered(fields) { "End all that match…" } @else { "End all…" }
                    }
                }
            }
        }
    }
}

fn heading(title: &str, word: &str, sorted: &str, fields: &Fields) -> Markup {
    sorted_heading(title, word, sorted, &|next| {
        same(fields, [("sort", Some(next))])
    })
}

/// The heading of a column that a list can be sorted by: a link to the list in that order, or in the other direction.
pub(super) fn sorted_heading(
    title: &str,
    word: &str,
    sorted: &str,
    address: &dyn Fn(&str) -> String,
) -> Markup {
    let descending = format!("-{word}");
    let (order, next) = match sorted {
        sorted if sorted == word => (Some("ascending"), descending.as_str()),
        sorted if sorted == descending => (Some("descending"), word),
        _ => (None, word),
    };
    html! {
        th scope="col" aria-sort=[order] {
            a href=(address(next)) {
                (title)
                @match order {
                    Some("ascending") => span aria-hidden="true" { " ▲" },
                    Some(_) => span aria-hidden="true" { " ▼" },
                    None => {}
                }
            }
        }
    }
}

fn row(
    lease: &LeaseBody,
    at: Timestamp,
    seats: &HashMap<&str, usize>,
    idle: Option<Idle>,
    end: Option<&str>,
) -> Markup {
    let holder = lease.holder.as_ref().map(|holder| holder.as_str());
    let many = lease
        .holder
        .as_ref()
        .and_then(|holder| seats.get(holder.key()))
        .copied()
        .unwrap_or(1);
    let activities: Vec<&str> = lease
        .activities
        .iter()
        .map(|activity| activity.as_str())
        .collect();
    let id = lease.id.to_string();
    html! {
        tr data-key=(id) {
            @if end.is_some() {
                td.pick {
                    input type="checkbox" name="ids" value=(id)
                        aria-label=(format!("Select {}", holder.unwrap_or("Guest")));
                }
            }
            th scope="row" {
                (linked(holder))
                @if many > 1 { " " span.badge title="More than one lease of this holder is on this page" { "×" (many) } }
            }
            td { bdi { (lease.tenant.as_ref().map(|tenant| tenant.as_str()).unwrap_or_default()) } }
            td { bdi { (lease.label.as_ref().map(|label| label.as_str()).unwrap_or_default()) } }
            td {
                @if !activities.is_empty() {
                    details data-key=(format!("{id}-activities")) {
                        summary { (activities.len()) }
                        ul { @for activity in &activities { li { bdi { (activity) } } } }
                    }
                }
            }
            td { (lease.platform.as_ref().map(|platform| platform.as_str()).unwrap_or_default()) }
            td { (time_of_day(lease.started_at)) }
            td.num title=(lease.renewed_at) { (span(at.since(lease.renewed_at))) " ago" }
            td.num { (span(lease.expires_in_ms)) }
            @if let (Some(active_at), Some(rule)) = (lease.active_at, idle) { (idle_for(lease, active_at, rule, at)) }
            td { (kind_of_seat(lease.seat)) }
            td { code { (id) } }
            @if let Some(end) = end {
                td.actions { a href=(format!("{end}{}", query([("ids", Some(id.as_str()))]))) { "End" span.hidden { " the seat of " bdi { (holder.unwrap_or("Guest")) } } } }
            }
        }
    }
}

/// For how long nobody has used a seat, as a cell. Of somebody who is active it is not told, because it may lag.
pub(super) fn idle_for(
    lease: &LeaseBody,
    active_at: Option<Timestamp>,
    rule: Idle,
    at: Timestamp,
) -> Markup {
    html! {
        @match active_at {
            None => td.num.quiet { "not known" },
            Some(active_at) if lease.renewed_at.since(active_at) <= rule.lag_ms() => td.num { "active" },
            Some(active_at) => td.num title=(active_at) { (span(at.since(active_at))) },
        }
    }
}
