//! The leases of a pool, and how to end them.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::json;

use super::frame::{Tab, gauge, may, number, page, pool_page, span, time_of_day};
use super::{Fields, Format, query};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::leases::list::{self, Leases, LeasesQuery};
use crate::http::leases::terminate::{Outcome, terminate_ids, terminate_matching};
use crate::http::leases::{LeaseBody, MAX_IDS};
use crate::http::pool_not_found;
use crate::http::problem::{Code, Problem};
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::pool::Pool;
use crate::store::{Selection, Termination};
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

/// What the address of the view says.
fn wanted(fields: &Fields) -> LeasesQuery {
    let word = |name: &str| fields.get(name).map(str::to_owned);
    LeasesQuery {
        holder: fields
            .get("holder")
            .and_then(|holder| Holder::recorded(holder.to_owned()).ok()),
        tenant: fields
            .get("tenant")
            .and_then(|tenant| Tenant::recorded(tenant.to_owned()).ok()),
        q: word("q"),
        sort: word("sort"),
        limit: Some(LIMIT),
        cursor: word("cursor"),
        format: None,
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
    if format == Format::Csv {
        let all = LeasesQuery {
            limit: None,
            ..wanted(&fields)
        };
        return list::export(&app, &operator, &name, all).await;
    }
    let leases = list::page(&app, &operator, &name, wanted(&fields)).await?;
    if format == Format::Json {
        return Ok(Json(leases).into_response());
    }
    let pool = app
        .store()
        .status(&name)
        .await?
        .ok_or_else(|| pool_not_found(&name))?;
    let body = html! {
        form.row.filter role="search" method="get" {
            label { "Search" input name="q" type="search" value=[fields.get("q")] #search; }
            label { "Tenant" input name="tenant" value=[fields.get("tenant")]; }
            @if let Some(sort) = fields.get("sort") { input type="hidden" name="sort" value=(sort); }
            button type="submit" { "Filter" }
            @if is_filtered(&fields) { a href=(format!("/admin/pools/{name}")) { "Clear filters" } }
            span.grow {}
            a href=(same(&fields, [("format", Some("csv"))])) download { "CSV" }
            a href=(same(&fields, [("format", Some("json"))])) { "JSON" }
        }
        (table(&pool, &leases, &fields, &operator))
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Agents, &body))
}

fn is_filtered(fields: &Fields) -> bool {
    ["q", "tenant", "holder"]
        .iter()
        .any(|name| fields.get(name).is_some())
}

/// The query of this view with some values replaced.
fn same<'a, const N: usize>(
    fields: &'a Fields,
    replaced: [(&'a str, Option<&'a str>); N],
) -> String {
    let kept = ["q", "tenant", "holder", "sort"]
        .into_iter()
        .filter_map(|name| {
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
        form #live data-every="5" method="get" action=(action) {
            @if whole { p.summary {
                strong { (number(pool.in_use)) " of " (number(capacity)) } " seats in use"
                @if pool.waiting > 0 { " · " a href=(Tab::Queue.of(&pool.name)) { (number(pool.waiting)) " waiting" } }
                (gauge(pool.in_use, capacity))
            } }
            @if leases.items.is_empty() {
                p.empty {
                    @if is_filtered(fields) { "No agent that is connected matches the filters." }
                    @else { "There are currently no agents connected." }
                }
            } @else {
                @for name in ["q", "tenant", "holder"] {
                    @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); }
                }
                div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                    table {
                        caption #caption.hidden { "Active agents" }
                        thead {
                            tr {
                                @if may_terminate { th scope="col" { span.hidden { "Select" } } }
                                @for (title, word) in COLUMNS { (heading(title, word, sorted, fields)) }
                                th scope="col" { "Seat" }
                                th scope="col" { "Lease" }
                            }
                        }
                        tbody {
                            @for lease in &leases.items { (row(lease, pool.at, &seats, may_terminate)) }
                        }
                    }
                }
                @if may_terminate {
                    p.row {
                        button type="submit" { "Terminate selected…" }
                        button type="submit" name="all" value="1" {
                            @if is_filtered(fields) { "Terminate all that match…" } @else { "Terminate all…" }
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
    may_terminate: bool,
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
            @if may_terminate {
                td.pick {
                    input type="checkbox" name="ids" value=(id)
                        aria-label=(format!("Select {}", holder.unwrap_or("Guest")));
                }
            }
            th scope="row" {
                bdi { (holder.unwrap_or("Guest")) }
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
            td { (serde_json::to_value(lease.seat).ok().and_then(|seat| seat.as_str().map(str::to_owned)).unwrap_or_default()) }
            td { code { (id) } }
        }
    }
}

/// Which leases a form is about: those that are ticked, or all that match.
enum SelectedLeases {
    Ids(Vec<LeaseId>),
    Matching(Box<Selection>),
}

fn chosen(
    operator: &Operator,
    pool: &PoolName,
    fields: &Fields,
) -> Result<SelectedLeases, Problem> {
    if fields.get("all").is_some() {
        let selection = LeasesQuery {
            cursor: None,
            sort: None,
            ..wanted(fields)
        }
        .selection()?
        .within(operator.tenants_in(pool));
        return Ok(SelectedLeases::Matching(Box::new(selection)));
    }
    let ids: Vec<LeaseId> = fields
        .all("ids")
        .map(|id| id.parse())
        .collect::<Result<_, _>>()
        .map_err(|invalid: crate::names::Invalid| {
            Problem::new(Code::InvalidRequest, invalid.to_string())
        })?;
    if ids.is_empty() || ids.len() > MAX_IDS {
        return Err(Problem::new(
            Code::InvalidRequest,
            "Select the leases to terminate first, at most 1000 at a time.",
        ));
    }
    Ok(SelectedLeases::Ids(ids))
}

/// Asks for confirmation, with the number of leases.
pub(super) async fn confirm(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let back = format!("/admin/pools/{name}");
    let chosen = chosen(&operator, &name, &fields)?;
    let (count, sample) = count(&app, &name, &chosen).await?;
    let how_many = match count {
        1 => "1 lease".to_owned(),
        COUNTED => format!("at least {COUNTED} leases"),
        _ => format!("{count} leases"),
    };
    let whole_pool = matches!(&chosen, SelectedLeases::Matching(_)) && !is_filtered(&fields);
    let body = html! {
        p.crumbs { a href="/admin" { "Overview" } " / " a href=(back) { (name) } " / Terminate" }
        h1 { "Terminate " (how_many) " of " (name) "?" }
        p { "The seats are free at once. Who held them reads the reason with the next heartbeat. This cannot be undone." }
        @if !sample.is_empty() {
            ul { @for holder in &sample { li { bdi { (holder) } } } @if count > sample.len() { li { "and others" } } }
        }
        form method="post" action=(format!("{back}/terminate")) {
            @for name in ["all", "q", "tenant", "holder"] {
                @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); }
            }
            @for id in fields.all("ids") { input type="hidden" name="ids" value=(id); }
            label for="reason" { "Reason, which the agents read" }
            input #reason name="reason" maxlength="512" list="reasons" autocomplete="off";
            datalist #reasons {
                option value="The shift is over." {}
                option value="The seat is needed for somebody else." {}
                option value="Maintenance." {}
            }
            label for="block" { "Keep the holders from coming back for" }
            select #block name="block_ms" {
                option value="0" { "no time" }
                option value="300000" { "5 minutes" }
                option value="3600000" { "1 hour" }
                option value="86400000" { "1 day" }
            }
            @if whole_pool {
                label for="sure" { "To end all leases of the pool, write its name" }
                input #sure name="sure" required pattern=(name) autocomplete="off";
            }
            p.row {
                a.button href=(back) autofocus { "Cancel" }
                button.danger type="submit" { "Terminate " (how_many) }
            }
        }
    };
    Ok(page(&operator.caller, "Terminate", "", &body))
}

/// How many, and the first holders.
async fn count(
    app: &App,
    pool: &PoolName,
    chosen: &SelectedLeases,
) -> Result<(usize, Vec<String>), Problem> {
    const SAMPLE: usize = 5;
    let name = |lease: &crate::lease::Lease| {
        lease
            .holder
            .as_ref()
            .map_or_else(|| "Guest".to_owned(), |holder| holder.as_str().to_owned())
    };
    match chosen {
        SelectedLeases::Ids(ids) => Ok((ids.len(), Vec::new())),
        SelectedLeases::Matching(selection) => {
            let mut selection = selection.clone();
            selection.limit = COUNTED;
            let listing = app
                .store()
                .select(pool, &selection)
                .await?
                .ok_or_else(|| pool_not_found(pool))?;
            Ok((
                listing.leases.len(),
                listing.leases.iter().take(SAMPLE).map(name).collect(),
            ))
        }
    }
}

pub(super) async fn terminate(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let reason = fields.get("reason").map(str::to_owned);
    let block_ms: u64 = fields
        .get("block_ms")
        .and_then(|ms| ms.parse().ok())
        .unwrap_or(0);
    let all = fields.get("all").is_some();
    let said = |name: &str| fields.get(name).map(str::to_owned);
    operator.notes.after(&json!({
        "all": all, "q": said("q"), "tenant": said("tenant"), "holder": said("holder"), "reason": reason, "block_ms": block_ms,
    }));
    if reason.as_ref().is_some_and(|reason| reason.len() > 512) || block_ms > 86_400_000 {
        return Err(Problem::new(
            Code::InvalidRequest,
            "The reason has at most 512 bytes, the block at most a day.",
        ));
    }
    let chosen = chosen(&operator, &name, &fields)?;
    if all && !is_filtered(&fields) && fields.get("sure") != Some(name.as_str()) {
        return Err(Problem::new(
            Code::InvalidRequest,
            "To end all leases of a pool, write its name. Go back and do so.",
        ));
    }
    if app.store().status(&name).await?.is_none() {
        return Err(pool_not_found(&name));
    }
    let why = Termination {
        reason,
        block: Duration::from_millis(block_ms),
        holder: None,
        by: operator.caller.name().to_owned(),
    };
    let results = match &chosen {
        SelectedLeases::Ids(ids) => terminate_ids(&app, &operator, &name, ids, &why).await?,
        SelectedLeases::Matching(selection) => {
            terminate_matching(&app, &name, selection, &why).await?
        }
    };
    let ended: Vec<&Outcome> = results
        .iter()
        .filter(|result| result.status == "terminated")
        .collect();
    operator.notes.target(&format!("{} leases", ended.len()));
    let ids: Vec<LeaseId> = ended.iter().take(MAX_IDS).map(|result| result.id).collect();
    operator.notes.before(&json!({ "leases": ids }));

    let back = format!("/admin/pools/{name}");
    let body = html! {
        p.crumbs { a href="/admin" { "Overview" } " / " a href=(back) { (name) } " / Terminated" }
        h1 { (ended.len()) " of " (results.len()) " leases were terminated" }
        p role="status" {
            @if ended.len() < results.len() { "The others had ended before." } @else { "The seats are free." }
        }
        table {
            caption { "The result for each lease" }
            thead { tr { th scope="col" { "Lease" } th scope="col" { "Result" } } }
            tbody {
                @for result in results.iter().take(MAX_IDS) {
                    tr { th scope="row" { code { (result.id) } } td { (result.status) } }
                }
            }
        }
        p.row { a.button href=(back) { "Back to the list" } a href="/admin/audit?action=leases.terminate" { "Audit trail" } }
    };
    Ok(page(&operator.caller, "Terminated", "", &body))
}
