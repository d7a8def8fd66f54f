//! One person: what it holds and waits for now, what it did in the last 30 days, and what an operator can do about it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use maud::{Markup, html};

use super::{HERE, actions, address, nameless};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::{Caller, Operator};
use crate::http::csv::{self, Cell};
use crate::http::extract::{HolderSegment, Path};
use crate::http::history::zone;
use crate::http::holders::read::{HistoryInPool, HolderDetails, HolderQuery, details};
use crate::http::leases::LeaseBody;
use crate::http::problem::Problem;
use crate::names::Holder;
use crate::time::Timestamp;
use crate::ui::blocks::{may_lift, tenants};
use crate::ui::form::Form;
use crate::ui::frame::{
    Tab, count, downloads, kind_of_seat, may, number, page, span, time, time_of_day, why_denied,
    why_ended,
};
use crate::ui::leases::idle_for;
use crate::ui::range::utc;
use crate::ui::{Fields, Format, link};

/// Days of the history.
const DAYS: u32 = 30;
/// Rows of a list of what happened.
const SHOWN: usize = 20;

pub(in crate::ui) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let forms = Forms::new();
    match Format::wanted(&headers, fields.get("format")) {
        Format::Html => draw(&app, &operator, &holder, &fields, &forms).await,
        format => {
            let wanted = wanted(&fields, true);
            let found = details(&app, &operator, &holder, &wanted).await?;
            if format == Format::Json {
                return Ok(Json(found).into_response());
            }
            let zone = fields.get("tz").map(|tz| zone(Some(tz))).transpose()?;
            Ok(to_csv(&found, zone))
        }
    }
}

fn wanted(fields: &Fields, with_history: bool) -> HolderQuery {
    HolderQuery {
        days: with_history.then_some(DAYS),
        tz: fields.get("tz").map(str::to_owned),
    }
}

/// The forms of the page, one of which may not have been taken.
pub(super) struct Forms<'a> {
    pub(super) notice: Form<'a>,
    pub(super) block: Form<'a>,
}

impl Forms<'_> {
    pub(super) const fn new() -> Self {
        Self {
            notice: Form::new("notice"),
            block: Form::new("block"),
        }
    }
}

/// The page. A live page asks for what is now, without the history.
pub(super) async fn draw(
    app: &App,
    operator: &Operator,
    holder: &Holder,
    fields: &Fields,
    forms: &Forms<'_>,
) -> Result<Response, Problem> {
    let only_now = fields.get("part") == Some("now");
    let found = details(app, operator, holder, &wanted(fields, !only_now)).await?;
    let zone = zone(fields.get("tz"))?;
    let acts = may(&operator.caller, Role::Operator);
    let here = address(holder.as_str());
    let body = html! {
        p.crumbs { a href=(HERE) { "People" } " / " bdi { (holder.as_str()) } }
        h1 { bdi { (holder.as_str()) } }
        (forms.notice.summary())
        (forms.block.summary())
        @if let Some(said) = actions::said(fields) { p.good role="status" { (said) } }
        div #live data-every="5" data-source="?part=now" data-at=(here) {
            (now(app, &found, holder, &operator.caller))
        }
        @if !only_now {
            @if acts { (actions::section(app, operator, holder, &found, forms)) }
            (past(&found, app.store().now(), zone, &here))
            p.row { (downloads(&link(&here, fields, &["tz"], &[("format", "csv")]), &link(&here, fields, &["tz"], &[("format", "json")]))) }
            (nameless(app, operator))
        }
    };
    Ok(page(&operator.caller, holder.as_str(), "", &body))
}

fn now(app: &App, found: &HolderDetails, holder: &Holder, caller: &Caller) -> Markup {
    let acts = may(caller, Role::Operator);
    let since = found.leases.iter().map(|lease| lease.started_at).min();
    let mut pools: Vec<&str> = found
        .leases
        .iter()
        .map(|lease| lease.pool.as_str())
        .collect();
    pools.dedup();
    let knows_idle = found.leases.iter().any(|lease| lease.active_at.is_some());
    html! {
        p.summary {
            @match since {
                Some(since) => {
                    strong { (count(found.leases.len() as u64, "lease", "leases")) " in " (count(pools.len() as u64, "pool", "pools")) }
                    ", since " (time_of_day(since))
                }
                None => "Holds no seat now.",
            }
            @for block in &found.blocks {
                " · " strong.bad { "Blocked in " (block.pool) } " until " (time(block.until))
            }
        }
        @if !found.leases.is_empty() {
            @if acts {
                p.row {
                    a.button href=(format!("{}/end", address(holder.as_str()))) { "End " @if found.leases.len() > 1 { "all " (found.leases.len()) " leases" } @else { "the lease" } "…" }
                }
            }
            div.scroll tabindex="0" role="region" aria-labelledby="held" {
                table {
                    caption #held { "What it holds now" }
                    thead {
                        tr {
                            @for title in ["Pool", "Since", "Last heartbeat", "Tenant", "Label", "Activities", "Platform", "Seat"] { th scope="col" { (title) } }
                            @if knows_idle { th scope="col" { "Idle for" } }
                            @if acts { th scope="col" { span.hidden { "Actions" } } }
                        }
                    }
                    tbody { @for lease in &found.leases { (held(app, lease, holder, knows_idle, acts)) } }
                }
            }
        }
        @if !found.waiting.is_empty() {
            h2 { "Waits for a seat" }
            ul {
                @for place in &found.waiting {
                    li {
                        a href=(Tab::Queue.of(&place.pool)) { (place.pool) } ": place " (place.position)
                        @if let Some(since) = place.since { ", since " (time_of_day(since)) }
                        @if let Some(eta_ms) = place.eta_ms { ", about " (span(eta_ms)) " to go" }
                    }
                }
            }
        }
        @if !found.named.is_empty() {
            h2 { "Named seats" }
            ul {
                @for seat in &found.named {
                    li {
                        a href=(Tab::Named.of(&seat.pool)) { (seat.pool) } " since " (time(seat.since)) " (" (seat.how) ")"
                        @if acts {
                            @for (path, title) in [("transfer", "Transfer"), ("free", "Free")] {
                                @let path = format!("{}/{path}", Tab::Named.of(&seat.pool));
                                " · " a href=(link(&path, &Fields(Vec::new()), &[], &[("holder", holder.as_str())])) {
                                    (title) span.hidden { " the named seat in " (seat.pool) }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if !found.blocks.is_empty() {
            h2 { "Blocks" }
            ul.blocks {
                @for block in &found.blocks {
                    li {
                        (block.pool) ": no seat " @if block.tenants.is_some() { "for " (tenants(block)) " " } "until " (time(block.until))
                        @if let Some(by) = &block.by { ", by " bdi { (by) } }
                        @if let Some(since) = block.since { " at " (time(since)) }
                        @if let Some(reason) = &block.reason { ": " q { (reason) } }
                        @if may_lift(caller, block) {
                            form.inline method="post" action=(format!("{}/unblock", address(holder.as_str()))) {
                                input type="hidden" name="pool" value=(block.pool);
                                button type="submit" { "Unblock" span.hidden { " in " (block.pool) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn held(app: &App, lease: &LeaseBody, holder: &Holder, knows_idle: bool, acts: bool) -> Markup {
    let at = app.store().now();
    let policy = app.store().cached_policy(&lease.pool);
    let idle = policy.and_then(|policy| policy.idle);
    let id = lease.id.to_string();
    html! {
        tr data-key=(id) {
            th scope="row" { a href=(Tab::Agents.of(&lease.pool)) { (lease.pool) } }
            td { (time_of_day(lease.started_at)) }
            td.num title=(lease.renewed_at) { (span(at.since(lease.renewed_at))) " ago" }
            td { bdi { (lease.tenant.as_ref().map(|tenant| tenant.as_str()).unwrap_or_default()) } }
            td { bdi { (lease.label.as_ref().map(|label| label.as_str()).unwrap_or_default()) } }
            td {
                @for (place, activity) in lease.activities.iter().enumerate() {
                    @if place > 0 { ", " }
                    bdi { (activity.as_str()) }
                }
            }
            td { (lease.platform.as_ref().map(|platform| platform.as_str()).unwrap_or_default()) }
            td { (kind_of_seat(lease.seat)) }
            @match (lease.active_at, idle) {
                (Some(active_at), Some(rule)) => (idle_for(lease, active_at, rule, at)),
                _ => @if knows_idle { td {} },
            }
            @if acts {
                td.actions {
                    @let path = format!("/admin/pools/{}/terminate", lease.pool);
                    a href=(link(&path, &Fields(Vec::new()), &[], &[("ids", &id), ("person", holder.as_str())])) {
                        "End" span.hidden { " the lease in " (lease.pool) " since " (time(lease.started_at)) }
                    }
                }
            }
        }
    }
}

/// The last 30 days: hours by day, denials and ends.
fn past(found: &HolderDetails, at: Timestamp, zone: Tz, here: &str) -> Markup {
    let Some(history) = &found.history else {
        return html! {};
    };
    let leases: u64 = history.iter().map(|part| part.leases).sum();
    let hours: f64 = history.iter().map(|part| part.hours).sum();
    let denials: u64 = history.iter().flat_map(|part| part.denials.values()).sum();
    let seen = history.iter().filter_map(|part| part.last_seen_at).max();
    html! {
        section data-tz=(zone.name()) {
            h2 { "The last " (DAYS) " days" }
            @if leases == 0 && denials == 0 {
                p.empty { "Nothing is known of this name in the last " (DAYS) " days." }
            } @else {
                p {
                    strong { (format!("{hours:.1} h")) } " with " (count(leases, "lease", "leases")) " in "
                    (count(history.len() as u64, "pool", "pools")) ", "
                    @if denials == 0 { "never denied" } @else { (count(denials, "denial", "denials")) }
                    @if let Some(seen) = seen { ", last seen " (time(seen)) }
                    "."
                }
                (hours_by_day(history, at, zone))
                (denied(history))
                (ended(history))
            }
            p.quiet { "Days are those of " (zone.name()) ". " @if zone != Tz::UTC { a href=(format!("{here}?tz=UTC")) { "In UTC" } } }
        }
    }
}

fn hours_by_day(history: &[HistoryInPool], at: Timestamp, zone: Tz) -> Markup {
    let mut hours: BTreeMap<NaiveDate, f64> = BTreeMap::new();
    for day in history.iter().flat_map(|part| &part.days) {
        *hours.entry(day.date).or_default() += day.hours;
    }
    let last = utc(at).with_timezone(&zone).date_naive();
    let days: Vec<(NaiveDate, f64)> = (0..u64::from(DAYS))
        .rev()
        .filter_map(|ago| last.checked_sub_days(Days::new(ago)))
        .map(|day| (day, hours.get(&day).copied().unwrap_or(0.0)))
        .collect();
    let most = hours.values().copied().fold(8.0, f64::max);
    let worked = hours.len();
    html! {
        figure.chart {
            figcaption { "Hours a day: " (count(worked as u64, "day", "days")) " with a seat, at most " (format!("{:.1} h", hours.values().copied().fold(0.0, f64::max))) " on one." }
            svg.days viewBox="0 0 300 60" preserveAspectRatio="none" role="img" aria-label=(format!("Hours of each of the last {DAYS} days, from {} to {last}", days.first().map_or(last, |day| day.0))) {
                @for (place, (day, hours)) in days.iter().enumerate() {
                    @let height = hours / most * 58.0;
                    g {
                        title { (day.format("%a %-d %b")) ": " (format!("{hours:.1} h")) }
                        rect.room x=(place * 10) y="0" width="10" height="60" {}
                        rect.bar x=(place * 10 + 1) y=(format!("{:.1}", 60.0 - height)) width="8" height=(format!("{height:.1}")) {}
                    }
                }
            }
            p.axis aria-hidden="true" { @if let Some((first, _)) = days.first() { span { (first.format("%-d %b")) } } span { (last.format("%-d %b")) } }
        }
        details.data {
            summary { "Hours as a table" }
            table.short {
                caption.hidden { "Hours by day" }
                thead { tr { th scope="col" { "Day" } th.number scope="col" { "Hours" } } }
                tbody { @for (day, hours) in hours.iter().rev() { tr { th scope="row" { (day.format("%a %Y-%m-%d")) } td.number { (format!("{hours:.2}")) } } } }
            }
        }
    }
}

fn denied(history: &[HistoryInPool]) -> Markup {
    let all = history
        .iter()
        .flat_map(|part| part.denied.iter().map(|denial| (&part.pool, denial)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, denial)| std::cmp::Reverse(denial.at));
    html! {
        @if !all.is_empty() {
            h2 { "Denials" }
            div.scroll tabindex="0" role="region" aria-labelledby="denied" {
                table {
                    caption #denied { "Newest first" @if SHOWN < all.len() { ", the last " (SHOWN) " of " (number(all.len() as u64)) } }
                    thead { tr { @for title in ["When", "Pool", "Why", "A seat came after"] { th scope="col" { (title) } } } }
                    tbody {
                        @for (pool, denial) in all.iter().take(SHOWN) {
                            tr {
                                th scope="row" { (time(denial.at)) }
                                td { a href=(Tab::Denials.of(pool)) { (pool) } }
                                td { (why_denied(&denial.code)) }
                                td { (waited(denial.waited_ms, denial.true_denial)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How long it took until somebody who was denied had a seat.
pub(in crate::ui) fn waited(waited_ms: Option<u64>, true_denial: Option<bool>) -> Markup {
    html! {
        @match (waited_ms, true_denial) {
            (Some(ms), Some(true)) => strong.bad { (span(ms)) },
            (Some(ms), _) => (span(ms)),
            (None, Some(true)) => strong.bad { "none within an hour" },
            (None, _) => span.quiet { "not yet" },
        }
    }
}

fn ended(history: &[HistoryInPool]) -> Markup {
    let all = history
        .iter()
        .flat_map(|part| part.ended.iter().map(|ended| (&part.pool, ended)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, ended)| std::cmp::Reverse(ended.ended_at));
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, times) in history.iter().flat_map(|part| &part.ends) {
        *reasons.entry(reason).or_default() += times;
    }
    html! {
        @if !all.is_empty() {
            h2 { "Ends" }
            p { @for (place, (reason, times)) in reasons.iter().enumerate() { @if place > 0 { ", " } (number(*times)) " " (why_ended(reason)) } "." }
            div.scroll tabindex="0" role="region" aria-labelledby="ended" {
                table {
                    caption #ended { "Newest first" @if SHOWN < all.len() { ", the last " (SHOWN) } }
                    thead { tr { @for title in ["Began", "Ended", "Pool", "Held", "Why"] { th scope="col" { (title) } } } }
                    tbody {
                        @for (pool, ended) in all.iter().take(SHOWN) {
                            tr {
                                th scope="row" { (time(ended.started_at)) }
                                td { (time(ended.ended_at)) }
                                td { a href=(Tab::Agents.of(pool)) { (pool) } }
                                td.num { (span(ended.ended_at.since(ended.started_at))) }
                                td { (why_ended(&ended.reason)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What somebody held, and how it ended, as a file.
fn to_csv(found: &HolderDetails, zone: Option<Tz>) -> Response {
    let columns = [
        "pool",
        "lease",
        "started_at",
        "ended_at",
        "held_ms",
        "reason",
    ];
    let ended = found.history.iter().flatten().flat_map(|part| {
        part.ended.iter().map(|ended| {
            vec![
                Cell::plain(&part.pool),
                Cell::text(Some(&ended.id)),
                Cell::at(ended.started_at, zone),
                Cell::at(ended.ended_at, zone),
                Cell::plain(&ended.ended_at.since(ended.started_at)),
                Cell::plain(&ended.reason),
            ]
        })
    });
    let live = found.leases.iter().map(|lease| {
        vec![
            Cell::plain(&lease.pool),
            Cell::plain(&lease.id),
            Cell::at(lease.started_at, zone),
            Cell::text(None),
            Cell::plain(&lease.renewed_at.since(lease.started_at)),
            Cell::text(None),
        ]
    });
    csv::file("leasehold-person", &columns, ended.chain(live))
}
