//! The leases of a pool, and how to end them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::json;

use super::form::{Form, is_first};
use super::frame::{
    Tab, count, gauge, kind_of_seat, may, number, page, pool_page, span, time_of_day,
};
use super::people::{self, linked};
use super::quantity::{duration, duration_ms};
use super::{Fields, Format, query, redirect};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::leases::list::{self, Leases, LeasesQuery};
use crate::http::leases::terminate::{Outcome, terminate_ids, terminate_matching};
use crate::http::leases::{LeaseBody, MAX_IDS};
use crate::http::pool_not_found;
use crate::http::problem::{Code, Problem};
use crate::http::records::DAY_MS;
use crate::lease::Lease;
use crate::names::{Holder, Invalid, LeaseId, PoolName, Tenant};
use crate::pool::{Idle, Pool};
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
            ..wanted(fields)?
        }
        .selection()?
        .within(operator.tenants_in(pool));
        return Ok(SelectedLeases::Matching(Box::new(selection)));
    }
    let ids: Vec<LeaseId> = fields
        .all("ids")
        .map(|id| id.parse())
        .collect::<Result<_, _>>()
        .map_err(|invalid: Invalid| Problem::new(Code::InvalidRequest, invalid.to_string()))?;
    if ids.is_empty() || ids.len() > MAX_IDS {
        return Err(Problem::new(
            Code::InvalidRequest,
            "Select the leases to terminate first, at most 1000 at a time.",
        ));
    }
    Ok(SelectedLeases::Ids(ids))
}

/// Asks for confirmation, with the people that it is about.
pub(super) async fn confirm(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    ask(&app, &operator, &name, &fields, &Form::new("end")).await
}

/// Where somebody came from.
fn back_to(pool: &PoolName, fields: &Fields) -> String {
    match fields.get("person") {
        Some(person) => people::address(person),
        None => {
            let kept = FILTERS.map(|name| (name, fields.get(name)));
            format!("/admin/pools/{pool}{}", query(kept))
        }
    }
}

/// Seats and people in a few words, as in "3 seats of 2 people".
fn whose(leases: &[Lease]) -> String {
    let people: BTreeSet<&str> = leases
        .iter()
        .filter_map(|lease| lease.holder.as_ref().map(Holder::key))
        .collect();
    let guests = leases.iter().filter(|lease| lease.holder.is_none()).count();
    let seats = match leases.len() {
        1 => "1 seat".to_owned(),
        COUNTED => format!("at least {COUNTED} seats"),
        seats => format!("{seats} seats"),
    };
    let people = match people.len() {
        0 => None,
        1 => leases
            .iter()
            .find_map(|lease| lease.holder.as_ref())
            .map(|holder| holder.as_str().to_owned()),
        people => Some(format!("{people} people")),
    };
    let guests = match guests {
        0 => None,
        1 => Some("1 guest".to_owned()),
        guests => Some(format!("{guests} guests")),
    };
    let all: Vec<String> = people.into_iter().chain(guests).collect();
    format!("{seats} of {}", all.join(" and "))
}

/// The people of some leases, each once, with how many seats of each.
fn names(leases: &[Lease]) -> Markup {
    const SHOWN: usize = 20;
    let mut seats: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for lease in leases {
        *seats
            .entry(lease.holder.as_ref().map(Holder::as_str))
            .or_default() += 1;
    }
    html! {
        ul {
            @for (holder, seats) in seats.iter().take(SHOWN) {
                li { (linked(*holder)) @if *seats > 1 { " ×" (seats) } }
            }
            @if SHOWN < seats.len() { li { "and " (seats.len() - SHOWN) " more" } }
        }
    }
}

async fn ask(
    app: &App,
    operator: &Operator,
    name: &PoolName,
    fields: &Fields,
    form: &Form<'_>,
) -> Result<Response, Problem> {
    let back = back_to(name, fields);
    let chosen = chosen(operator, name, fields);
    let chosen = match chosen {
        Ok(chosen) => chosen,
        // Nothing is ticked: the list again, with a word about it.
        Err(problem) if problem.code() == Code::InvalidRequest => {
            return Ok(redirect(&format!("/admin/pools/{name}?none=1")));
        }
        Err(problem) => return Err(problem),
    };
    let leases = affected(app, operator, name, &chosen).await?;
    let what = whose(&leases);
    let whole_pool = matches!(&chosen, SelectedLeases::Matching(_)) && !is_filtered(fields);
    let body = html! {
        p.crumbs { a href="/admin" { "Overview" } " / " a href=(format!("/admin/pools/{name}")) { (name) } " / End" }
        (form.summary())
        @if leases.is_empty() {
            h1 { "There is nothing to end" }
            p.empty { "These leases have ended meanwhile. " a href=(back) { "Back" } }
        } @else {
            h1 { "End " (what) " in " (name) "?" }
            @if let Some(idle_ms) = fields.get("idle_ms").and_then(|ms| ms.parse().ok()) {
                p { "Only those whose users had done nothing for " (duration(idle_ms)) " by their last report when you confirm. Whoever is back by then keeps the seat." }
            }
            p { "The seats are free at once. Who held them reads the reason with the next heartbeat. This cannot be undone." }
            (names(&leases))
            form method="post" action=(format!("/admin/pools/{name}/terminate")) {
                @for name in ["all", "person"].into_iter().chain(FILTERS) {
                    @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); }
                }
                @for id in fields.all("ids") { input type="hidden" name="ids" value=(id); }
                input type="hidden" name="seen" value=(leases.len());
                (form.once())
                (form.field("reason", "Reason", "What the people read.", "", |control| html! {
                    input id=(control.id) name="reason" value=(control.value) list="reasons" autocomplete="off"
                        aria-invalid=[control.invalid] aria-describedby=[&control.described];
                    datalist #reasons {
                        option value="The shift is over." {}
                        option value="The seat is needed for somebody else." {}
                        option value="Maintenance." {}
                    }
                }))
                (form.text("block", "Keep from coming back for", "Such as 10 min or 1 h, at most a day; empty for no time.", ""))
                @if whole_pool {
                    (form.text("sure", "To end all seats of the pool, write its name", "", ""))
                }
                p.row {
                    a.button href=(back) autofocus[!form.is_refused()] { "Cancel" }
                    button.danger type="submit" { "End " (what) }
                }
            }
        }
    };
    Ok(form.answer(page(&operator.caller, "End seats", "", &body)))
}

/// The leases that a form is about, at most as many as are counted.
async fn affected(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    chosen: &SelectedLeases,
) -> Result<Vec<Lease>, Problem> {
    let (mut selection, ids) = match chosen {
        SelectedLeases::Ids(ids) => {
            let all = Selection::of(None, None).within(operator.tenants_in(pool));
            (all, Some(ids.iter().copied().collect::<HashSet<LeaseId>>()))
        }
        SelectedLeases::Matching(selection) => ((**selection).clone(), None),
    };
    selection.limit = 1_000;
    let wanted = ids.as_ref().map_or(COUNTED, HashSet::len);
    let mut found: Vec<Lease> = Vec::new();
    let mut seen: HashSet<LeaseId> = HashSet::new();
    loop {
        let listing = app.store().select(pool, &selection).await?;
        let listing = listing.ok_or_else(|| pool_not_found(pool))?;
        let theirs = listing.leases.into_iter().filter(|lease| {
            ids.as_ref().is_none_or(|ids| ids.contains(&lease.id)) && seen.insert(lease.id)
        });
        found.extend(theirs);
        match listing.next {
            Some(next) if found.len() < wanted => selection.after = Some(next),
            _ => break,
        }
    }
    found.truncate(wanted);
    Ok(found)
}

pub(super) async fn terminate(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    match end(&app, &operator, &name, &fields).await {
        Ok(page) => Ok(page),
        Err(problem) => {
            let form = Form::refused("end", &fields, problem)?;
            ask(&app, &operator, &name, &fields, &form).await
        }
    }
}

async fn end(
    app: &App,
    operator: &Operator,
    name: &PoolName,
    fields: &Fields,
) -> Result<Response, Problem> {
    let reason = fields.get("reason").map(str::to_owned);
    let block_ms = match fields.get("block") {
        Some(text) => duration_ms("block", text)?,
        None => 0,
    };
    let all = fields.get("all").is_some();
    let said = |name: &str| fields.get(name).map(str::to_owned);
    operator.notes.after(&json!({
        "all": all, "q": said("q"), "tenant": said("tenant"), "holder": said("holder"), "idle_ms": said("idle_ms"), "reason": reason, "block_ms": block_ms,
    }));
    let invalid = |field: &str, sentence: &'static str| {
        Problem::new(Code::InvalidRequest, sentence).at_field(field, sentence)
    };
    if reason.as_ref().is_some_and(|reason| reason.len() > 512) {
        return Err(invalid("reason", "The reason has at most 512 bytes."));
    }
    if block_ms > DAY_MS {
        return Err(invalid("block", "The block lasts at most a day."));
    }
    let chosen = chosen(operator, name, fields)?;
    if all && !is_filtered(fields) && fields.get("sure") != Some(name.as_str()) {
        return Err(invalid(
            "sure",
            "To end all seats of a pool, write its name.",
        ));
    }
    app.pool(name).await?;
    let leases = affected(app, operator, name, &chosen).await?;
    let seen = fields
        .get("seen")
        .and_then(|seen| seen.parse::<usize>().ok());
    if let Some(seen) = seen
        && all
        && leases.len() > seen.saturating_add(seen.div_ceil(10))
    {
        return Err(Problem::new(
            Code::PreconditionFailed,
            format!(
                "There are {} seats now, and you saw {seen}. Look at the names again.",
                leases.len()
            ),
        ));
    }
    let why = Termination {
        reason,
        block: Duration::from_millis(block_ms),
        holder: None,
        by: operator.caller.name().to_owned(),
    };
    // A reload would end whoever has come since.
    if all && !is_first(app, fields).await? {
        return Ok(redirect(&back_to(name, fields)));
    }
    let results = match &chosen {
        SelectedLeases::Ids(ids) => terminate_ids(app, operator, name, ids, &why).await?,
        SelectedLeases::Matching(selection) => {
            terminate_matching(app, name, selection, &why).await?
        }
    };
    let ended: Vec<&Outcome> = results
        .iter()
        .filter(|result| result.status == "terminated")
        .collect();
    operator.notes.target(&format!("{} leases", ended.len()));
    let ids: Vec<LeaseId> = ended.iter().take(MAX_IDS).map(|result| result.id).collect();
    operator.notes.before(&json!({ "leases": ids }));

    let holders: HashMap<LeaseId, Option<&str>> = leases
        .iter()
        .map(|lease| (lease.id, lease.holder.as_ref().map(Holder::as_str)))
        .collect();
    let ended_ids: HashSet<LeaseId> = ended.iter().map(|result| result.id).collect();
    let of_ended: Vec<Lease> = leases
        .iter()
        .filter(|lease| ended_ids.contains(&lease.id))
        .take(MAX_IDS)
        .cloned()
        .collect();
    let back = back_to(name, fields);
    let body = html! {
        p.crumbs { a href="/admin" { "Overview" } " / " a href=(format!("/admin/pools/{name}")) { (name) } " / Ended" }
        h1 {
            @if of_ended.len() == ended.len() && !of_ended.is_empty() { (whose(&of_ended)) @if ended.len() == 1 { " was ended" } @else { " were ended" } }
            @else { (count(ended.len() as u64, "seat was ended", "seats were ended")) }
        }
        p role="status" {
            @if ended.len() < results.len() { (number((results.len() - ended.len()) as u64)) " had ended before." } @else { "The seats are free." }
        }
        table.short {
            caption { "The result for each seat" }
            thead { tr { th scope="col" { "Person" } th scope="col" { "Lease" } th scope="col" { "Result" } } }
            tbody {
                @for result in results.iter().take(MAX_IDS) {
                    tr {
                        th scope="row" { (linked(holders.get(&result.id).copied().flatten())) }
                        td { code { (result.id) } }
                        td { @if result.status == "terminated" { "ended" } @else { "had ended before" } }
                    }
                }
            }
        }
        p.row { a.button href=(back) { "Back" } a href="/admin/audit?action=leases.terminate" { "Audit trail" } }
    };
    Ok(page(&operator.caller, "Ended", "", &body))
}
