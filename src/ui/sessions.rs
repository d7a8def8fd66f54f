//! The list of sessions, and how to end them.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use maud::html;

use super::frame::{page, time};
use super::redirect;
use crate::http::App;
use crate::http::access::{Operator, login};
use crate::http::extract::Path;
use crate::http::problem::Problem;
use crate::http::sessions::{all, end_others_than, end_session};

const HERE: &str = "/admin/sessions";

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sessions = all(&app).await?;
    let own = login::fingerprint(&app, &headers).unwrap_or_default();
    let body = html! {
        h1 { "Sessions" }
        @if sessions.is_empty() {
            p.empty { "Nobody is logged in. Calls with a key, and people whom a proxy names, make no session." }
        } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                table {
                    caption #caption { "People who are logged in to these pages" }
                    thead {
                        tr {
                            @for title in ["Who", "By", "From", "Since", "Last page"] { th scope="col" { (title) } }
                            th scope="col" { span.hidden { "Actions" } }
                        }
                    }
                    tbody {
                        @for session in &sessions {
                            tr {
                                th scope="row" {
                                    bdi { (session.who) }
                                    @if own.starts_with(&session.id) { " " span.quiet { "(you)" } }
                                }
                                td { code { (session.actor) } }
                                td { (session.address.as_deref().unwrap_or_default()) }
                                td { (time(session.since)) }
                                td { (time(session.last_seen_at)) }
                                td.actions {
                                    form method="post" action=(format!("{HERE}/{}/end", session.id)) {
                                        button type="submit" { "End" span.hidden { " the session of " bdi { (session.who) } } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            form method="post" action=(HERE) {
                p.row { button.danger type="submit" { "End all sessions but mine" } }
            }
        }
        p.quiet { "Calls with a key make no session. A revoked key ends its sessions by itself." }
    };
    Ok(page(&operator.caller, "Sessions", HERE, &body))
}

pub(super) async fn end(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    end_session(&app, &operator, &id).await?;
    Ok(redirect(HERE))
}

pub(super) async fn end_others(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    end_others_than(&app, &operator, &headers).await?;
    Ok(redirect(HERE))
}
