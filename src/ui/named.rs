//! The named seats of the billing period, and how to give or take one.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{Tab, downloads, may, number, pool_page, time};
use super::people::linked;
use super::{Fields, Format, link, query, redirect};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::{Body, HolderSegment, Path, Query};
use crate::http::named::{
    Freeing, NamedSeatsQuery, SeatBody, TransferBody, assign, export, free, page, transfer,
};
use crate::http::problem::{Code, Problem};
use crate::names::{Holder, Invalid, PoolName, Recorded};

/// Rows of the page.
const SHOWN: usize = 500;

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app.pool(&name).await?;
    let word = |name: &str| fields.get(name).map(str::to_owned);
    let wanted = NamedSeatsQuery {
        q: word("q"),
        cursor: word("cursor"),
        ..NamedSeatsQuery::default()
    };
    let seats = match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(page(&app, &name, wanted).await?).into_response()),
        Format::Csv => {
            let all = NamedSeatsQuery {
                cursor: None,
                ..wanted
            };
            return export(&app, &name, all).await;
        }
        Format::Html => {
            let shown = NamedSeatsQuery {
                limit: Some(SHOWN),
                ..wanted
            };
            page(&app, &name, shown).await?
        }
    };
    let changes = may(&operator.caller, Role::Operator);
    let taken = seats.seats.saturating_sub(seats.left);
    let of = |replaced: &[(&str, &str)]| link("", &fields, &["q"], replaced);
    let body = html! {
        @if let Some(done) = fields.get("done") { p.good role="status" { (said(done)) } }
        p.summary {
            strong { (number(taken)) " of " (number(seats.seats)) } " named seats are taken, "
            (number(seats.left)) " left. The period began " (time(seats.from)) " and ends " (time(seats.until)) "; then all are clear."
        }
        @if taken == 0 {
            p.empty { "Nobody has a named seat in this period yet. A holder gets one with its first lease." }
        } @else {
            form.row.filter role="search" method="get" {
                label { "Holder" input name="q" type="search" value=[fields.get("q")] #search; }
                button type="submit" { "Filter" }
                @if fields.get("q").is_some() { a href=(Tab::Named.of(&name)) { "Clear filters" } }
                span.grow {}
                (downloads(&of(&[("format", "csv")]), &of(&[("format", "json")])))
            }
            @if seats.items.is_empty() { p.empty { "No holder of a named seat matches." } }
            @else { (table(&name, &seats.items, changes)) }
            p.row {
                @if fields.get("cursor").is_some() { a href=(Tab::Named.of(&name)) { "First page" } }
                @if let Some(next) = &seats.next_cursor {
                    a href=(of(&[("cursor", next.as_str())])) rel="next" { "Next page" }
                }
            }
        }
        @if changes { (assignment(&name)) }
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Named, &body))
}

fn said(done: &str) -> &'static str {
    match done {
        "assigned" => "The seat is assigned.",
        "freed" => "The seat is free.",
        "transferred" => "The seat is transferred.",
        _ => "Done.",
    }
}

fn table(name: &PoolName, found: &[SeatBody], changes: bool) -> Markup {
    let of = |what: &str, holder: &str| {
        let path = format!("{}/{what}", Tab::Named.of(name));
        link(&path, &Fields(Vec::new()), &[], &[("holder", holder)])
    };
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="caption" {
            table {
                caption #caption { "Holders of named seats" }
                thead {
                    tr {
                        @for title in ["Holder", "Since", "How"] { th scope="col" { (title) } }
                        @if changes { th scope="col" { span.hidden { "Actions" } } }
                    }
                }
                tbody {
                    @for seat in found {
                        @let holder = seat.holder.as_str();
                        tr {
                            th scope="row" { (linked(Some(holder))) }
                            td { (time(seat.occupied_at)) }
                            td { (seat.how) }
                            @if changes {
                                td.actions {
                                    a href=(of("transfer", holder)) { "Transfer" span.hidden { " the seat of " bdi { (holder) } } }
                                    a href=(of("free", holder)) { "Free" span.hidden { " the seat of " bdi { (holder) } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn assignment(name: &PoolName) -> Markup {
    html! {
        section {
            h2 { "Assign a seat" }
            form.row method="post" action=(Tab::Named.of(name)) {
                label { "Holder" input name="holder" required maxlength="512" autocomplete="off"; }
                button type="submit" { "Assign" }
            }
        }
    }
}

/// The holder that is to have a seat.
fn new_holder(fields: &Fields, name: &str) -> Result<Holder, Problem> {
    let text = fields.get(name).unwrap_or_default().to_owned();
    Holder::try_from(text).map_err(|invalid| wrong(&invalid))
}

/// The holder that has a seat.
fn holder(fields: &Fields, name: &str) -> Result<Holder, Problem> {
    let text = fields.get(name).unwrap_or_default().to_owned();
    Holder::recorded(text).map_err(|invalid| wrong(&invalid))
}

fn wrong(invalid: &Invalid) -> Problem {
    Problem::new(
        Code::InvalidRequest,
        format!("Nothing was changed: {invalid}."),
    )
}

fn back(name: &PoolName, done: &str) -> Response {
    let query = query([("done", Some(done))]);
    redirect(&format!("{}{query}", Tab::Named.of(name)))
}

/// Gives a holder a seat before its first lease.
pub(super) async fn give(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let holder = new_holder(&fields, "holder")?;
    let _ = assign(
        State(app),
        operator,
        Path((name.clone(), HolderSegment(holder))),
    )
    .await?;
    Ok(back(&name, "assigned"))
}

/// For admins, the way around the rule of one change in a period.
fn set_aside(operator: &Operator, words: &str) -> Markup {
    html! {
        @if may(&operator.caller, Role::Admin) {
            p { label { input type="checkbox" name="force" value="1"; " " (words) } }
        }
    }
}

fn is_set_aside(fields: &Fields) -> bool {
    fields.get("force").is_some()
}

pub(super) async fn confirm_free(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let (pool, holder) = (app.pool(&name).await?, holder(&fields, "holder")?);
    let body = html! {
        h2 { "Free the named seat of " bdi { (holder.as_str()) } "?" }
        p { "Somebody else can have it at once, and keeps it for the rest of the period. Live leases of this holder are terminated." }
        form method="post" {
            input type="hidden" name="holder" value=(holder.as_str());
            (set_aside(&operator, "The seat may change hands again in this period."))
            p.row { a.button href=(Tab::Named.of(&name)) autofocus { "Cancel" } button.danger type="submit" { "Free the seat" } }
        }
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Named, &body))
}

pub(super) async fn take(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let holder = holder(&fields, "holder")?;
    let freeing = Query(Freeing {
        force: is_set_aside(&fields),
    });
    let holder = Path((name.clone(), Recorded(holder)));
    free(State(app), operator, holder, freeing).await?;
    Ok(back(&name, "freed"))
}

pub(super) async fn confirm_transfer(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let (pool, holder) = (app.pool(&name).await?, holder(&fields, "holder")?);
    let body = html! {
        h2 { "Transfer the named seat of " bdi { (holder.as_str()) } }
        p { "A seat can be transferred once in a period. Live leases of this holder are terminated." }
        form method="post" {
            input type="hidden" name="holder" value=(holder.as_str());
            label for="to" { "To" }
            input #to name="to" required maxlength="512" autocomplete="off" autofocus;
            (set_aside(&operator, "Also if it changed hands before in this period."))
            p.row { a.button href=(Tab::Named.of(&name)) { "Cancel" } button.danger type="submit" { "Transfer the seat" } }
        }
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Named, &body))
}

pub(super) async fn transfer_seat(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let (from, to) = (holder(&fields, "holder")?, new_holder(&fields, "to")?);
    let body = Body(TransferBody {
        to,
        force: is_set_aside(&fields),
    });
    let _ = transfer(
        State(app),
        operator,
        Path((name.clone(), Recorded(from))),
        body,
    )
    .await?;
    Ok(back(&name, "transferred"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_address_says_is_no_text_of_the_page() {
        assert_eq!(said("<script>"), "Done.");
    }
}
