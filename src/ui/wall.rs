//! The wallboard: a page for a screen on a wall, which shows how full a few pools are.
//!
//! The page itself says nothing of any pool, so anybody gets it. Its script asks the interface with a key of its own, of the role `reports`,
//! which it keeps in that browser: there is no login that could end, and revoking the key ends the wall. Without a script there is no wall.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use maud::{DOCTYPE, html};

/// Its address.
pub(super) const HERE: &str = "/admin/wall";

pub(super) async fn show() -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Wallboard · Leasehold" }
                link rel="stylesheet" href="/admin/assets/style.css";
                link rel="icon" href="/favicon.ico";
                script src="/admin/assets/wall.js" type="module" {}
            }
            body.wall {
                main {
                    h1.hidden { "Seats in use" }
                    p #state role="status" {}
                    noscript { p.problem { "A wallboard needs JavaScript. The overview works without it: " a href="/admin" { "overview" } "." } }
                    form #start hidden {
                        h2 { "Wallboard" }
                        p.problem #wrong role="alert" {}
                        label for="key" { "Key of the role reports" }
                        input #key name="key" type="password" required autocomplete="off" spellcheck="false" aria-describedby="key-hint";
                        p.quiet #key-hint {
                            "This browser keeps it, and shows how full the pools of the key are until the key is revoked or ends. An admin makes one under Keys."
                        }
                        button.main type="submit" { "Show" }
                    }
                    ul #board hidden {}
                }
            }
        }
    };
    let mut response = page.into_string().into_response();
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}
