//! Many pools, a line each.

use maud::{Markup, html};

use super::pools::PoolSummary;
use crate::ui::frame::{Tab, number, time_of_day};

pub(super) fn table(seen: &[PoolSummary], sees_people: bool) -> Markup {
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
