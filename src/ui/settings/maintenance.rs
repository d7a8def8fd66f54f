//! The switch for maintenance: on with a message, off without a question.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::super::Fields;
use super::change;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::problem::Problem;
use crate::names::PoolName;
use crate::pool::Pool;

/// What is said if nobody writes anything else.
const MESSAGE: &str = "Maintenance. Please try again later.";

pub(super) fn switch(pool: &Pool, may_change: bool) -> Markup {
    let on = pool.policy.maintenance.as_ref();
    html! {
        section.switch aria-labelledby="maintenance" {
            h2 #maintenance { "Maintenance" }
            p.quiet #maintenance-hint {
                "While it is on nobody new gets a seat and reads the message instead. Who has a seat keeps it, and clients come \
                 back by themselves when it is off."
            }
            form method="post" action=(format!("/admin/pools/{}/maintenance", pool.name)) {
                input type="hidden" name="version" value=(pool.version);
                @if let Some(maintenance) = on {
                    p { "They read: " q { (maintenance.message) } }
                } @else {
                    input type="hidden" name="on" value="1";
                    label for="message" { "Message" }
                    input #message name="message" maxlength="512" value=(MESSAGE) readonly[!may_change] autocomplete="off";
                }
                p.row {
                    button.toggle type="submit" role="switch" aria-checked=(if on.is_some() { "true" } else { "false" })
                        aria-labelledby="maintenance" aria-describedby="maintenance-hint" disabled[!may_change] {
                        span.knob aria-hidden="true" {}
                        @if on.is_some() { "On" } @else { "Off" }
                    }
                }
            }
        }
    }
}

/// Turns it on or off.
pub(in super::super) async fn turn(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let wanted = if fields.get("on").is_some() {
        json!({ "message": fields.get("message").unwrap_or(MESSAGE) })
    } else {
        Value::Null
    };
    let changes = Map::from_iter([("maintenance".to_owned(), wanted)]);
    let back = format!("/admin/pools/{name}/settings?saved=1");
    change(&app, &operator, &name, &fields, &changes, &back).await
}
