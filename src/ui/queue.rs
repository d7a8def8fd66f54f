//! The queue of a pool: those who wait for a seat.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{Tab, count, downloads, pool_page, span, time_of_day};
use super::people::linked;
use super::{Fields, Format, link};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::problem::Problem;
use crate::http::queue::{Queue, QueueQuery, export, page};
use crate::names::{Holder, PoolName, Tenant};

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let cursor = fields.get("cursor").map(str::to_owned);
    let wanted = QueueQuery {
        cursor,
        ..QueueQuery::default()
    };
    let queue = match Format::wanted(&headers, fields.get("format")) {
        Format::Csv => return export(&app, &operator, &name, QueueQuery::default()).await,
        Format::Json => {
            return Ok(Json(page(&app, &operator, &name, wanted).await?).into_response());
        }
        Format::Html => page(&app, &operator, &name, wanted).await?,
    };
    let pool = app.pool(&name).await?;
    let body = html! {
        div #live data-every="5" {
            @if operator.tenants_in(&name).is_none() { p.summary {
                strong { (count(pool.waiting, "holder waits", "holders wait")) } " for a seat. The first is served first."
                @if let Some(waited) = pool.waited {
                    " Of those who were served lately half had waited at most " (span(waited.p50_ms)) ", and nineteen of twenty at most " (span(waited.p95_ms)) "."
                }
            } }
            @if queue.items.is_empty() {
                p.empty {
                    @if pool.policy.queue.is_some() { "Nobody waits for a seat." }
                    @else { "This pool has no queue: whoever finds no seat is denied, and asks again." }
                }
            } @else { (table(&name, &queue, &fields)) }
        }
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Queue, &body))
}

fn table(name: &PoolName, queue: &Queue, fields: &Fields) -> Markup {
    let of = |replaced: &[(&str, &str)]| link(&Tab::Queue.of(name), fields, &[], replaced);
    html! {
        p.row { span.grow {} (downloads("?format=csv", "?format=json")) }
        div.scroll tabindex="0" role="region" aria-labelledby="caption" {
            table {
                caption #caption.hidden { "Those who wait for a seat" }
                thead {
                    tr {
                        th.number scope="col" { "Place" }
                        @for title in ["Holder", "Tenant", "Waits since", "Asks again by"] { th scope="col" { (title) } }
                        th.number scope="col" { "About" }
                    }
                }
                tbody {
                    @for waiter in &queue.items {
                        tr data-key=(waiter.position) {
                            td.number { (waiter.position) }
                            th scope="row" { (linked(waiter.holder.as_ref().map(Holder::as_str))) }
                            td { bdi { (waiter.tenant.as_ref().map_or("", Tenant::as_str)) } }
                            td { @if let Some(since) = waiter.since { (time_of_day(since)) } }
                            td { (time_of_day(waiter.asks_again_by)) }
                            td.number { @if let Some(eta_ms) = waiter.eta_ms { (span(eta_ms)) } }
                        }
                    }
                }
            }
        }
        p.row {
            @if fields.get("cursor").is_some() { a href=(of(&[])) { "First page" } }
            @if let Some(next) = &queue.next_cursor {
                a href=(of(&[("cursor", next.as_str())])) rel="next" { "Next page" }
            }
        }
    }
}
