//! The first page: each pool at a glance, and the three commands that make an empty installation live.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use maud::{Markup, html};
use serde::Serialize;
use serde_json::json;

use super::form::Form;
use super::frame::{
    Tab, commands, count, downloads, gauge, may, number, page, span, time, time_of_day,
};
use super::{Fields, Format, link, nodes, settings};
use crate::access_key::Role;
use crate::history::last_day::{LastDay, last_day};
use crate::http::App;
use crate::http::access::{Caller, Operator};
use crate::http::csv::{self, Cell};
use crate::http::holders::list::{HoldersQuery, people};
use crate::http::pools::own_view;
use crate::http::problem::{Code, Problem};
use crate::names::PoolName;
use crate::pool::{DEMO, Pool};
use crate::time::Timestamp;

/// Pools of a page unless the address says otherwise, and at most.
const LIMIT: usize = 60;
const MAX_LIMIT: usize = 1_000;
/// Pools that are looked at to find the fullest; whoever has more finds them by name.
const ORDERED: usize = 2_000;
/// Pools whose last day is looked at together.
const AT_ONCE: usize = 8;
/// People that are shown where somebody may look for one.
const PEOPLE: usize = 5;

/// A pool and its last day.
struct PoolSummary {
    pool: Pool,
    /// None for somebody who is for some tenants only: it is of all.
    last_day: Option<LastDay>,
}

/// The same for programs.
#[derive(Serialize)]
struct PoolSummaryBody<'a> {
    name: &'a PoolName,
    in_use: u64,
    capacity: u64,
    free: u64,
    waiting: u64,
    peak_today: Option<u64>,
    denials_today: Option<u64>,
    full_since: Option<Timestamp>,
    /// Most seats in use in each of the last hours.
    hours: Vec<u64>,
}

impl PoolSummary {
    fn body(&self) -> PoolSummaryBody<'_> {
        let pool = &self.pool;
        let last_day = self.last_day.as_ref();
        PoolSummaryBody {
            name: &pool.name,
            in_use: pool.in_use,
            capacity: pool.capacity,
            free: pool.free(),
            waiting: pool.waiting,
            peak_today: last_day.map(|day| day.peak_today),
            denials_today: last_day.map(|day| day.denials_today),
            full_since: last_day.and_then(|day| day.full_since),
            hours: last_day
                .iter()
                .flat_map(|day| &day.hours)
                .map(|hour| hour.slot.high_water_mark)
                .collect(),
        }
    }
}

/// A page of pools, and where the next one begins.
struct Page {
    seen: Vec<PoolSummary>,
    /// Pools that match, on all pages.
    all: usize,
    next: Option<String>,
}

/// The page that the address names. `cursor` is where it begins.
async fn pools(
    app: &App,
    operator: &Operator,
    fields: &Fields,
    cursor: Option<&str>,
) -> Result<Page, Problem> {
    let caller = &operator.caller;
    let limit = match fields.get("limit").map(str::parse) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
        Some(_) => {
            let detail = format!("`limit` is 1 to {MAX_LIMIT}.");
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
    };
    let wanted = fields.get("q").unwrap_or_default().to_lowercase();
    let store = app.store();
    let mut names = store.names().await?;
    names.retain(|name| caller.is_for(name) && name.as_str().to_lowercase().contains(&wanted));
    let mut all = names.len();
    // How full pools are tells of others.
    let only_full = is_only_full(fields);
    let by_use = (fields.get("sort") == Some("use") || only_full) && !caller.names_tenants();
    let (pools, next) = if by_use {
        names.truncate(ORDERED);
        let mut pools = store.statuses(names).await?;
        if only_full {
            pools.retain(|pool| pool.free() == 0 && pool.in_use > 0);
            all = pools.len();
        }
        pools.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.name.cmp(&b.name)));
        let first = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let more = first + limit < pools.len();
        let page = pools.into_iter().skip(first).take(limit).collect();
        (page, more.then(|| (first + limit).to_string()))
    } else {
        if let Some(after) = cursor {
            names.retain(|name| after < name.as_str());
        }
        let next = (limit < names.len()).then(|| names[limit - 1].to_string());
        names.truncate(limit);
        (store.statuses(names).await?, next)
    };
    let seen: Vec<PoolSummary> = stream::iter(pools)
        .map(|pool| async {
            let whole = caller.tenants_in(&pool.name).is_none();
            let last_day = match whole {
                true => Some(last_day(store, &pool).await?),
                false => None,
            };
            let pool = own_view(app, operator, pool).await?;
            Ok::<_, Problem>(PoolSummary { pool, last_day })
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(Page { seen, all, next })
}

/// Whether only pools are wanted in which nobody finds a seat.
fn is_only_full(fields: &Fields) -> bool {
    fields.get("only") == Some("full")
}

/// How full a pool is. One without seats is full if somebody has one, and empty if not.
fn share(pool: &Pool) -> f64 {
    pool.in_use as f64 / pool.capacity.max(1) as f64
}

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => {
            let page_of = pools(&app, &operator, &fields, fields.get("cursor")).await?;
            let pools: Vec<PoolSummaryBody<'_>> =
                page_of.seen.iter().map(PoolSummary::body).collect();
            let body = json!({"pools": pools, "next_cursor": page_of.next});
            Ok(Json(body).into_response())
        }
        Format::Csv => {
            // A file is whole, from where the page begins.
            let mut page_of = pools(&app, &operator, &fields, fields.get("cursor")).await?;
            let mut rows = page_of.seen;
            while let Some(next) = page_of.next {
                page_of = pools(&app, &operator, &fields, Some(&next)).await?;
                rows.append(&mut page_of.seen);
            }
            Ok(to_csv(&rows))
        }
        Format::Html => draw(&app, &operator, &headers, &fields, &Form::new("pool")).await,
    }
}

/// The page, with the form for a new pool.
pub(super) async fn draw(
    app: &App,
    operator: &Operator,
    headers: &HeaderMap,
    fields: &Fields,
    form: &Form<'_>,
) -> Result<Response, Problem> {
    let caller = &operator.caller;
    let page_of = pools(app, operator, fields, fields.get("cursor")).await?;
    // Whoever has a key for some pools sees those, and nothing of how the installation is built.
    let everything = caller.sees_everything();
    let health = if everything {
        nodes::health(&crate::http::nodes::nodes(app).await?)
    } else {
        html! { span.dot.ok aria-hidden="true" {} "The service answers." }
    };
    let wanted = fields.get("q");
    // A search for a person begins here, too. It reads all leases, so the part that refreshes itself does without.
    let only_now = fields.get("part") == Some("now");
    let people = match wanted {
        Some(text) if may(caller, Role::Viewer) && !only_now => {
            let asked = HoldersQuery {
                q: Some(text.to_owned()),
                limit: Some(PEOPLE),
                ..HoldersQuery::default()
            };
            match people(app, operator, &asked).await {
                Ok(found) => Some(found),
                // Too many to be searched, or a name that cannot be: it may still be that of a pool.
                Err(problem) if problem.code() == Code::InvalidRequest => None,
                Err(problem) => return Err(problem),
            }
        }
        _ => None,
    };
    let same = |more: &[(&str, &str)]| link("/admin", fields, &["q", "sort", "view", "only"], more);
    let by_use = fields.get("sort") == Some("use");
    let (as_table, only_full) = (fields.get("view") == Some("table"), is_only_full(fields));
    let body = html! {
        h1 { "Overview" }
        (form.summary())
        @if page_of.all > 1 || wanted.is_some() || only_full {
            form.row.filter role="search" method="get" action="/admin" {
                label { "Pool or person" input name="q" type="search" value=[wanted]; }
                label {
                    "Order"
                    select name="sort" {
                        option value="name" selected[!by_use] { "by name" }
                        option value="use" selected[by_use] { "fullest first" }
                    }
                }
                label {
                    "As"
                    select name="view" {
                        option value="cards" selected[!as_table] { "cards" }
                        option value="table" selected[as_table] { "a table" }
                    }
                }
                label { "Pools" select name="only" { option value="" { "all" } option value="full" selected[only_full] { "only full ones" } } }
                button type="submit" { "Show" }
                @if wanted.is_some() || only_full { a href="/admin" { "Show all" } }
                span.grow {}
                (downloads(&same(&[("limit", "1000"), ("format", "csv")]), &same(&[("limit", "1000"), ("format", "json")])))
            }
        }
        @if page_of.seen.iter().any(|seen| seen.pool.name.as_str().starts_with(DEMO)) {
            p.notice { strong { "Demonstration: " } "the past and the people of pools that begin with " code { (DEMO) } " are made up." }
        }
        @if let Some(people) = people.filter(|people| !people.items.is_empty()) {
            (super::people::list(&people))
            p.row { a href=(link("/admin/people", fields, &["q"], &[])) { "All people that match" } }
        }
        div #live data-every="5" data-source="?part=now" data-at="/admin" {
            p.health { (health) }
            @if page_of.all == 0 && wanted.is_none() && !only_full {
                (first_steps(headers, caller))
            } @else if page_of.seen.is_empty() {
                p.empty { @if only_full { "No pool is full. " } @else { "No pool has this in its name. " } a href="/admin" { "Show all" } }
            } @else {
                @if as_table { (table(&page_of.seen, may(caller, Role::Viewer))) }
                @else { ul.cards {
                    @for seen in &page_of.seen { li data-key=(seen.pool.name) { (card(seen, may(caller, Role::Viewer))) } }
                } }
                p.row {
                    @if page_of.seen.len() < page_of.all {
                        span.quiet { (number(page_of.seen.len() as u64)) " of " (count(page_of.all as u64, "pool", "pools")) }
                    }
                    @if fields.get("cursor").is_some() { a href=(same(&[])) { "First page" } }
                    @if let Some(next) = &page_of.next {
                        a href=(same(&[("cursor", next)])) rel="next" { "Next page" }
                    }
                }
            }
        }
        @if may(caller, Role::Admin) && everything { (settings::new_pool(form)) }
    };
    Ok(form.answer(page(caller, "Overview", "/admin", &body)))
}

fn to_csv(seen: &[PoolSummary]) -> Response {
    let columns = [
        "pool",
        "in_use",
        "capacity",
        "waiting",
        "peak_today",
        "denials_today",
        "full_since",
    ];
    let rows = seen.iter().map(|PoolSummary { pool, last_day }| {
        let last_day = last_day.as_ref();
        vec![
            Cell::text(Some(pool.name.as_str())),
            Cell::plain(&pool.in_use),
            Cell::plain(&pool.capacity),
            Cell::plain(&pool.waiting),
            Cell::known(last_day.map(|day| day.peak_today)),
            Cell::known(last_day.map(|day| day.denials_today)),
            Cell::known(last_day.and_then(|day| day.full_since)),
        ]
    });
    csv::file("leasehold-pools", &columns, rows)
}

/// Many pools, a line each.
fn table(seen: &[PoolSummary], sees_people: bool) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="pools" {
            table {
                caption #pools.hidden { "Pools" }
                thead {
                    tr {
                        th scope="col" { "Pool" }
                        @for title in ["In use", "Seats", "Free", "Waiting", "Peak today", "Denials today"] { th.number scope="col" { (title) } }
                        th scope="col" { "State" }
                    }
                }
                tbody { @for seen in seen { (line(seen, sees_people)) } }
            }
        }
    }
}

fn line(PoolSummary { pool, last_day }: &PoolSummary, sees_people: bool) -> Markup {
    let name = &pool.name;
    let Some(last_day) = last_day else {
        return html! {
            tr data-key=(name) {
                th scope="row" { a href=(Tab::Agents.of(name)) { (name) } }
                td.number { (number(pool.in_use)) }
                @for _ in 0..2 { td {} }
                td.number { (number(pool.waiting)) }
                @for _ in 0..3 { td {} }
            }
        };
    };
    let first = if sees_people {
        Tab::Agents
    } else {
        Tab::History
    };
    html! {
        tr data-key=(name) {
            th scope="row" { a href=(first.of(name)) { (name) } }
            td.number { (number(pool.in_use)) }
            td.number { (number(pool.capacity)) }
            td.number { (number(pool.free())) }
            td.number { (number(pool.waiting)) }
            td.number { (number(last_day.peak_today)) }
            td.number {
                @if last_day.denials_today > 0 && sees_people { a href=(Tab::Denials.of(name)) { (number(last_day.denials_today)) } }
                @else { (number(last_day.denials_today)) }
            }
            td {
                @if pool.overcommit() > 0 { strong.bad { "Over by " (number(pool.overcommit())) } }
                @else if pool.free() == 0 && pool.capacity > 0 {
                    strong.bad { "Full" } @if let Some(since) = last_day.full_since { " since " (time_of_day(since)) }
                }
                @if pool.policy.maintenance.is_some() { " " strong.bad { "Maintenance" } }
            }
        }
    }
}

fn card(PoolSummary { pool, last_day }: &PoolSummary, sees_people: bool) -> Markup {
    let (capacity, free) = (pool.capacity, pool.free());
    let Some(last_day) = last_day else {
        return html! {
            article {
                h2 { a href=(Tab::Agents.of(&pool.name)) { (pool.name) } }
                p.big { (number(pool.in_use)) span.quiet { " in use by your tenants" } }
                p.state {
                    @for (tenant, seats) in &pool.tenants { bdi { (tenant) } ": " (number(*seats)) " " }
                    @if pool.waiting > 0 { " · " (number(pool.waiting)) " waiting" }
                    @if pool.policy.maintenance.is_some() { " · " strong.bad { "Maintenance" } }
                }
            }
        };
    };
    html! {
        article {
            @let first = if sees_people { Tab::Agents } else { Tab::History };
            h2 { a href=(first.of(&pool.name)) { (pool.name) } }
            p.big { (number(pool.in_use)) span.quiet { " of " (number(capacity)) " in use" } }
            (gauge(pool.in_use, capacity))
            p.state {
                @if pool.overcommit() > 0 {
                    strong.bad { "Over by " (number(pool.overcommit())) } ": no new seats until it fits"
                } @else if capacity == 0 {
                    "No seats: nobody gets in"
                } @else if free == 0 {
                    strong.bad { "Full" }
                    @if let Some(since) = last_day.full_since {
                        " since " (time_of_day(since)) span.quiet { " (" (span(pool.at.since(since))) ")" }
                    }
                } @else {
                    (number(free)) " free"
                }
                @if pool.waiting > 0 { " · " (number(pool.waiting)) " waiting" }
                @if let Some(idle) = pool.policy.idle.filter(|_| pool.idle > 0) {
                    " · " a href=(format!("{}?idle_ms={}&sort=active_at", Tab::Agents.of(&pool.name), idle.after_ms)) { (number(pool.idle)) " idle" }
                }
                @if pool.overdrawn > 0 { " · " (number(pool.overdrawn)) " on the overdraft" }
                @if let Some(named) = &pool.policy.named { " · " (number(pool.named_taken)) " of " (number(u64::from(named.seats))) " named seats taken" }
                @if pool.policy.maintenance.is_some() { " · " strong.bad { "Maintenance" } }
            }
            (sparkline(pool, last_day))
            dl.figures {
                div { dt { "Peak today" } dd { (number(last_day.peak_today)) } }
                div {
                    dt { "Denials today" }
                    dd {
                        @if last_day.denials_today == 0 { "none" }
                        @else if !sees_people { (number(last_day.denials_today)) }
                        @else { a href=(Tab::Denials.of(&pool.name)) { (number(last_day.denials_today)) } }
                    }
                }
            }
            @if let Some((at, seats)) = pool.next_change {
                p.quiet { (number(seats)) " seats from " (time(at)) " on" }
            }
            p.links {
                @for (tab, title) in [(Tab::History, "History"), (Tab::Sizing, "Sizing"), (Tab::Settings, "Settings")] {
                    @if sees_people || tab != Tab::Settings { a href=(tab.of(&pool.name)) { (title) span.hidden { " of " (pool.name) } } }
                }
            }
        }
    }
}

/// The most seats in use in each of the last hours, as steps under the line of the capacity.
fn sparkline(pool: &Pool, last_day: &LastDay) -> Markup {
    const HEIGHT: f64 = 30.0;
    let highs: Vec<u64> = last_day
        .hours
        .iter()
        .map(|hour| hour.slot.high_water_mark)
        .collect();
    let peak = highs.iter().copied().max().unwrap_or(0);
    let most = peak.max(pool.capacity).max(1) as f64;
    let y = |seats: u64| HEIGHT - 1.0 - seats as f64 / most * (HEIGHT - 2.0);
    let first = crate::history::last_day::HOURS as usize - highs.len();
    let mut points = format!("{first},{HEIGHT}");
    for (at, high) in highs.iter().enumerate() {
        let (from, until) = (first + at, first + at + 1);
        points += &format!(" {from},{:.2} {until},{0:.2}", y(*high));
    }
    points += &format!(" 24,{HEIGHT}");
    let capacity = y(pool.capacity);
    html! {
        svg.spark viewBox="0 0 24 30" preserveAspectRatio="none" role="img"
            aria-label=(format!("The last 24 hours: at most {peak} seats in use at once, of {} now", pool.capacity)) {
            polygon points=(points) {}
            line.capacity x1="0" x2="24" y1=(format!("{capacity:.2}")) y2=(format!("{capacity:.2}")) {}
        }
        p.axis aria-hidden="true" { span { "24 h ago" } span { "now" } }
    }
}

fn first_steps(headers: &HeaderMap, caller: &Caller) -> Markup {
    let host = headers
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1:7070");
    // Pages come over plain HTTP from this machine only; everywhere else there is TLS in front.
    let scheme = if host.starts_with("127.0.0.1")
        || host.starts_with("localhost")
        || host.starts_with("[::1]")
    {
        "http"
    } else {
        "https"
    };
    let key = if caller.is_open() {
        ""
    } else {
        " -H \"authorization: Bearer $LEASEHOLD_KEY\""
    };
    let base = format!("{scheme}://{host}/v1");
    html! {
        section.empty {
            h2 { "There are no pools yet" }
            p {
                "Three commands make it live: a pool of five seats, a seat for an agent, and its heartbeat. Then this page \
                 shows them."
            }
            @if !key.is_empty() {
                p.quiet { "They take the key of an admin from " code { "LEASEHOLD_KEY" } ": " code { "read -rs LEASEHOLD_KEY" } " asks for it and shows nothing." }
            }
            (commands(&format!(
                "curl -X PUT {base}/pools/crm{key} -H 'content-type: application/json' -d '{{\"capacity\": 5}}'"
            )))
            (commands(&format!(
                "TOKEN=$(curl -s {base}/pools/crm/leases{key} -H 'content-type: application/json' -d '{{\"holder\": \"agent-7\"}}' | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')"
            )))
            (commands(&format!("curl {base}/leases/renew -d \"{{\\\"token\\\": \\\"$TOKEN\\\"}}\"")))
        }
    }
}
