//! The first page: each pool at a glance, and the three commands that make an empty installation live.

use std::time::Instant as Clock;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::frame::{commands, gauge, may, number, page, time};
use super::{Fields, Format};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::{Caller, Operator};
use crate::http::csv::{self, Cell};
use crate::http::problem::Problem;
use crate::pool::Pool;

/// Pools that the page shows; whoever has more finds them by name.
const SHOWN: usize = 1_000;

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let caller = &operator.caller;
    let asked = Clock::now();
    app.store().ping().await?;
    let redis_ms = asked.elapsed().as_secs_f64() * 1_000.0;
    let mut pools = app.store().pools(None, SHOWN).await?;
    let wanted = fields.get("q").unwrap_or_default().to_lowercase();
    pools.retain(|pool| {
        caller.is_for(&pool.name) && pool.name.as_str().to_lowercase().contains(&wanted)
    });

    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => {
            let pools: Vec<Value> = pools
                .iter()
                .map(|pool| json!({"name": pool.name, "in_use": pool.in_use, "capacity": pool.capacity, "free": pool.free(), "waiting": pool.waiting}))
                .collect();
            return Ok(Json(json!({"pools": pools, "redis_ms": redis_ms})).into_response());
        }
        Format::Csv => {
            let rows = pools.iter().map(|pool| {
                vec![
                    Cell::text(Some(pool.name.as_str())),
                    Cell::plain(&pool.in_use),
                    Cell::plain(&pool.capacity),
                ]
            });
            return Ok(csv::file(
                "leasehold-pools",
                &["pool", "in_use", "capacity"],
                rows,
            ));
        }
        Format::Html => {}
    }

    let host = headers
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1:7070");
    let body = html! {
        h1 { "Overview" }
        div #live data-every="5" {
            p.health {
                span.ok { "● " } "Node " (env!("CARGO_PKG_VERSION")) " answers · Redis answers in "
                (format!("{redis_ms:.1}")) " ms"
            }
            @if pools.is_empty() && wanted.is_empty() {
                (first_steps(host, caller))
            } @else {
                ul.cards {
                    @for pool in &pools { li { (card(pool)) } }
                }
                @if pools.is_empty() { p { "No pool has this in its name. " a href="/admin" { "Show all" } } }
            }
        }
        @if may(caller, Role::Admin) { (new_pool()) }
    };
    Ok(page(caller, "Overview", "/admin", &body))
}

fn card(pool: &Pool) -> Markup {
    let (capacity, free) = (pool.capacity, pool.free());
    html! {
        article data-key=(pool.name) {
            h2 { a href=(format!("/admin/pools/{}", pool.name)) { (pool.name) } }
            p.big { (number(pool.in_use)) span.quiet { " of " (number(capacity)) " in use" } }
            (gauge(pool.in_use, capacity))
            p.state {
                @if pool.in_use > capacity {
                    strong.bad { "Over by " (number(pool.in_use - capacity)) } ": no new seats until it fits"
                } @else if capacity == 0 {
                    "No seats: nobody gets in"
                } @else if free == 0 {
                    strong.bad { "Full" }
                } @else {
                    (number(free)) " free"
                }
                @if pool.waiting > 0 { " · " (number(pool.waiting)) " waiting" }
                @if pool.overdrawn > 0 { " · " (number(pool.overdrawn)) " on the overdraft" }
                @if let Some(named) = &pool.policy.named { " · " (number(pool.named_taken)) " of " (named.seats) " named seats taken" }
                @if pool.policy.maintenance.is_some() { " · " strong.bad { "Maintenance" } }
            }
            @if let Some((at, seats)) = pool.next_change {
                p.quiet { (number(seats)) " seats from " (time(at)) " on" }
            }
            p { a href=(format!("/admin/pools/{}/settings", pool.name)) { "Settings" span.hidden { " of " (pool.name) } } }
        }
    }
}

fn first_steps(host: &str, caller: &Caller) -> Markup {
    let key = if matches!(caller, Caller::Open) {
        ""
    } else {
        " -H \"authorization: Bearer $LEASEHOLD_KEY\""
    };
    let base = format!("http://{host}/v1");
    html! {
        section.empty {
            h2 { "There are no pools yet" }
            p { "Three commands make it live: a pool of five seats, a seat for an agent, and its heartbeat." }
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

fn new_pool() -> Markup {
    html! {
        section {
            h2 { "New pool" }
            form.row method="post" action="/admin/pools" {
                label { "Name" input name="name" required maxlength="64" pattern="[A-Za-z0-9._\\-]+" autocomplete="off"; }
                label { "Seats" input name="capacity" type="number" min="0" max="10000000" required; }
                button.main type="submit" { "Create" }
            }
        }
    }
}
