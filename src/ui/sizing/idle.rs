//! What it would have meant to give idle seats away.

use chrono_tz::Tz;
use maud::{Markup, html};

use crate::http::sizing::{BusiestDayBody, HarvestBody};
use crate::time::Timestamp;
use crate::ui::charts;
use crate::ui::frame::{count, number};
use crate::ui::quantity::duration;
use crate::ui::range::{HOUR_MS, utc};

pub(super) fn harvested(harvest: &HarvestBody, zone: Tz) -> Markup {
    let fewer = harvest.seats_now.saturating_sub(harvest.seats_needed);
    html! {
        h2 { "Idle seats" }
        p {
            strong { (format!("{:.1}", harvest.idle_mean)) " of " (count(harvest.seats_now, "seat", "seats")) }
            " were idle on average, for more than " (duration(harvest.after_ms)) ". "
            @if fewer > 0 {
                "Given away when somebody needs them, " strong { (number(harvest.seats_needed)) " would have been enough" }
                @if let Some(saving) = harvest.saving { ", which saves " strong { (format!("{saving:.2}")) } } "."
            } @else {
                "Given away when somebody needs them, nobody would have been refused with " (count(harvest.seats_needed, "seat", "seats")) "."
            }
            " With the seats that there are, " (count(harvest.denials_avoided, "denial", "denials")) " would have been avoided."
        }
        @if let Some(day) = harvest.busiest_day.as_ref().filter(|day| day.wanted != day.used) {
            (busiest_day(day, harvest.seats_now, zone))
        }
        p.quiet { "Whoever comes back to an idle seat is taken for somebody who asks anew." @if harvest.saving.is_none() { " With the price of a concurrent seat below, this says what it saves." } }
    }
}

/// The busiest day as it was, and as it would have been.
fn busiest_day(day: &BusiestDayBody, seats: u64, zone: Tz) -> Markup {
    let most = |levels: &[u64]| levels.iter().copied().max().unwrap_or(0);
    let date = utc(day.from).with_timezone(&zone).format("%a %-d %b %Y");
    let summary = format!(
        "{date}, the busiest day: at most {} seats were wanted at once, and without those that were idle {}. There are {seats} now.",
        most(&day.wanted),
        most(&day.used),
    );
    let hour = usize::try_from(HOUR_MS / day.step_ms).unwrap_or(1);
    let hours = day.wanted.chunks(hour).zip(day.used.chunks(hour));
    html! {
        (charts::day(&summary, day, seats, zone))
        details.data {
            summary { "The day as a table" }
            table.short {
                caption.hidden { "The most seats at once in each hour" }
                thead { tr { th scope="col" { "From" } th.num scope="col" { "Wanted" } th.num scope="col" { "Used" } } }
                tbody {
                    @for (place, (wanted, used)) in (0..).zip(hours) {
                        tr {
                            th scope="row" { (utc(Timestamp(day.from.0 + place * HOUR_MS)).with_timezone(&zone).format("%H:%M")) }
                            td.num { (number(most(wanted))) }
                            td.num { (number(most(used))) }
                        }
                    }
                }
            }
        }
    }
}
