//! One pool at a glance.

use maud::{Markup, html};

use super::pools::PoolSummary;
use crate::history::last_day::LastDay;
use crate::pool::Pool;
use crate::ui::frame::{Tab, gauge, number, span, time, time_of_day};

pub(super) fn card(PoolSummary { pool, last_day }: &PoolSummary, sees_people: bool) -> Markup {
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
    let values: Vec<String> = highs.iter().map(u64::to_string).collect();
    let begin = last_day.hours.first().map(|hour| hour.from.to_string());
    html! {
        svg.spark viewBox="0 0 24 30" preserveAspectRatio="none" role="img"
            data-values=[begin.as_ref().map(|_| values.join(" "))] data-from=[begin.as_ref()]
            aria-label=(format!("The last 24 hours: at most {peak} seats in use at once, of {} now", pool.capacity)) {
            polygon points=(points) {}
            rect.at x="0" y="0" width="0" height="30" {}
            line.capacity x1="0" x2="24" y1=(format!("{capacity:.2}")) y2=(format!("{capacity:.2}")) {}
        }
        p.axis { span aria-hidden="true" { "24 h ago" } output {} span aria-hidden="true" { "now" } }
    }
}
