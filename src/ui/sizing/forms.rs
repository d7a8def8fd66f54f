//! What the answer is made with: other terms, and prices.

use maud::{Markup, html};

use crate::http::problem::{Code, Problem};
use crate::http::sizing::{ComparisonBody, SizingBody};
use crate::ui::Fields;
use crate::ui::frame::number;
use crate::ui::quantity::price;
use crate::ui::range::Range;

/// What of it the forms set.
pub(super) const TERMS: [&str; 4] = [
    "target_lean",
    "target_balanced",
    "reserve",
    "sustained_minutes",
];
pub(super) const PRICES: [&str; 2] = ["price_named", "price_concurrent"];

/// A price of the address, as people write it, or tiers of prices.
pub(super) fn price_of(fields: &Fields, name: &str) -> Result<Option<String>, Problem> {
    let Some(text) = fields.get(name) else {
        return Ok(None);
    };
    if text.contains(':') {
        return Ok(Some(text.to_owned()));
    }
    Ok(Some(price(name, text)?.to_string()))
}

/// A number of the address; none if it is not there.
pub(super) fn of<T: std::str::FromStr>(fields: &Fields, name: &str) -> Result<Option<T>, Problem> {
    let text = fields.get(name).filter(|text| !text.is_empty());
    text.map(|text| {
        text.parse().map_err(|_| {
            Problem::new(
                Code::InvalidRequest,
                format!("`{name}` is not such a number."),
            )
        })
    })
    .transpose()
}

/// A form for what the choices are made with.
pub(super) fn terms(path: &str, fields: &Fields, range: &Range, sizing: &SizingBody) -> Markup {
    let inputs = &sizing.inputs;
    html! {
        details.other open[TERMS.iter().any(|name| fields.get(name).is_some())] {
            summary { "Other terms" }
            form.row method="get" action=(path) {
                (kept(fields, range, &PRICES))
                label { "Lean refuses at most (share)" input name="target_lean" type="number" min="0" max="1" step="any" value=(inputs.target_lean); }
                label { "Balanced refuses at most (share)" input name="target_balanced" type="number" min="0" max="1" step="any" value=(inputs.target_balanced); }
                label { "Reserve, percent" input name="reserve" type="number" min="0" max="100" value=(sizing.reserve.percent); }
                label { "Sustained for, minutes" input name="sustained_minutes" type="number" min="1" max="50400" value=(inputs.sustained_minutes); }
                button type="submit" { "Replay" }
            }
        }
    }
}

/// What a form keeps of the address besides its own fields.
fn kept(fields: &Fields, range: &Range, others: &[&str]) -> Markup {
    html! {
        @for name in ["range", "from", "to"].iter().chain(others) {
            @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); }
        }
        input type="hidden" name="tz" value=(range.zone.name());
    }
}

/// Which way of buying is cheaper: a form, and the answer.
pub(super) fn prices(path: &str, fields: &Fields, range: &Range, sizing: &SizingBody) -> Markup {
    html! {
        section #prices {
            h2 { "Named or concurrent seats" }
            form.row method="get" action=(format!("{path}#prices")) {
                (kept(fields, range, &TERMS))
                label { "Price of a named seat" input name="price_named" value=[fields.get("price_named")] required placeholder="10" autocomplete="off" aria-describedby="price-hint"; }
                label { "Price of a concurrent seat" input name="price_concurrent" value=[fields.get("price_concurrent")] required placeholder="35" autocomplete="off" aria-describedby="price-hint"; }
                button type="submit" { "Compare" }
            }
            p.quiet #price-hint { "A number, or tiers: 1:35,11:30 is 35 each for the first ten seats, and 30 for each further one." }
            @if let Some(compared) = &sizing.named_vs_concurrent { (comparison(compared)) }
        }
    }
}

fn comparison(compared: &ComparisonBody) -> Markup {
    let cost = |cost: f64| format!("{cost:.2}");
    let is = |word: &str| compared.cheaper == word;
    let mix = &compared.cheapest_mix;
    html! {
        p role="status" {
            strong {
                @if is("named") { "Named seats are cheaper" } @else { "Concurrent seats are cheaper" }
            }
            ", if nobody is to be refused: " (cost(compared.named.cost)) " against " (cost(compared.concurrent.cost)) "."
        }
        div.scroll tabindex="0" role="region" aria-labelledby="compared" {
            table.short {
                caption #compared { "What this demand would have cost" }
                thead { tr { @for title in ["Way of buying", "Seats", "Cost"] { th scope="col" { (title) } } } }
                tbody {
                    tr { th scope="row" { "A named seat for each holder" } td.num { (number(compared.named.seats)) } td.num { (cost(compared.named.cost)) } }
                    tr { th scope="row" { "Concurrent seats for the peak" } td.num { (number(compared.concurrent.seats)) } td.num { (cost(compared.concurrent.cost)) } }
                    tr {
                        th scope="row" { "The cheapest mix" br; span.quiet.plain { "named seats for those who hold longest" } }
                        td.num { (number(mix.named_seats)) " named, " (number(mix.concurrent_seats)) " concurrent" }
                        td.num { (cost(mix.cost)) }
                    }
                }
            }
        }
    }
}
