//! The three choices, each with what it would have meant.

use maud::{Markup, html};

use super::percent;
use crate::http::sizing::SizingBody;
use crate::ui::frame::{number, span};

pub(super) fn choices(sizing: &SizingBody) -> Markup {
    let SizingBody {
        choices,
        inputs,
        reserve,
        ..
    } = sizing;
    let lean = format!(
        "refuses at most {} of the requests",
        percent(inputs.target_lean)
    );
    let balanced = format!(
        "refuses at most {}, and covers the sustained peak",
        percent(inputs.target_balanced)
    );
    let rows = [
        (
            "Now",
            "what there is",
            inputs.capacity,
            None,
            Some(&sizing.present),
        ),
        (
            "Lean",
            lean.as_str(),
            choices.lean.seats,
            Some(reserve.lean),
            Some(&choices.lean),
        ),
        (
            "Balanced",
            balanced.as_str(),
            choices.balanced.seats,
            Some(reserve.balanced),
            Some(&choices.balanced),
        ),
        (
            "Never refuse",
            "refuses none",
            choices.never_refuse.seats,
            Some(reserve.never_refuse),
            Some(&choices.never_refuse),
        ),
        (
            "Never refuse, and 10 %",
            "for what has not been seen",
            choices.never_refuse_and_10_percent,
            None,
            None,
        ),
        (
            "Never refuse, and 20 %",
            "for what has not been seen",
            choices.never_refuse_and_20_percent,
            None,
            None,
        ),
    ];
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="choices" {
            table {
                caption #choices { "What would have happened with each number of seats" }
                thead {
                    tr {
                        @for title in ["Choice", "Seats", "Than now"] { th scope="col" { (title) } }
                        th scope="col" { "With " (number(reserve.percent)) " % reserve" }
                        @for title in ["Refused", "Holders concerned", "Longest wait"] { th scope="col" { (title) } }
                    }
                }
                tbody {
                    @for (name, about, seats, with_reserve, point) in rows {
                        tr {
                            th scope="row" { (name) br; span.quiet.plain { (about) } }
                            td.num { strong { (number(seats)) } }
                            td.num { (difference(seats, inputs.capacity)) }
                            td.num { @match with_reserve { Some(seats) => { (number(seats)) } None => { "–" } } }
                            @match point {
                                Some(point) => {
                                    td.num { (number(point.denials)) span.quiet { " of " (number(inputs.wishes)) } }
                                    td.num { (number(point.holders_denied)) }
                                    td.num { @if point.denials == 0 { "–" } @else { (span(point.longest_wait_ms)) } }
                                },
                                None => { td.num { "0" } td.num { "0" } td.num { "–" } },
                            }
                        }
                    }
                }
            }
        }
    }
}

fn difference(seats: u64, now: u64) -> Markup {
    html! {
        @if seats > now { "+" (number(seats - now)) }
        @else if seats < now { "−" (number(now - seats)) }
        @else { "the same" }
    }
}

/// What formulas say to it.
pub(super) fn cross_check(sizing: &SizingBody) -> Markup {
    let check = &sizing.cross_check;
    html! {
        p.quiet {
            "The reserve is added to " (sizing.reserve.applied_to) ". For comparison: for at most " (percent(check.target))
            " refused in the busiest hour Erlang's formula wants " (number(check.erlang_b_seats)) " seats, and Engset's, for as many holders, "
            (number(check.engset_seats)) ". Both assume that people come at random, which shifts do not; where the replay wants more, believe it."
        }
    }
}
