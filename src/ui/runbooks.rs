//! The runbooks of `docs/runbooks`, for whoever is woken by an alert: on every node, of its version, without a key.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::frame::whole;
use super::markdown;
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem};

/// Names and pages, in order of the names.
const RUNBOOKS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/runbooks.rs"));

/// All of them.
pub(super) async fn list() -> Response {
    let body = html! {
        h1 { "Runbooks" }
        p { "What an alert means, where to look, and what to do." }
        ul {
            @for (name, text) in RUNBOOKS {
                li { a href=(format!("/docs/runbooks/{name}")) { (title(text)) } }
            }
        }
    };
    whole(StatusCode::OK, "Runbooks", &html! {}, &body)
}

/// One of them. An address with `.md` is of the repository, and as good.
pub(super) async fn show(Path(name): Path<String>) -> Result<Response, Problem> {
    let name = name.strip_suffix(".md").unwrap_or(&name);
    let Some((_, text)) = RUNBOOKS.iter().find(|(known, _)| *known == name) else {
        let detail = "There is no such runbook in this version. /docs/runbooks lists them.";
        return Err(Problem::new(Code::RouteNotFound, detail));
    };
    let body = html! {
        p.crumbs { a href="/docs/runbooks" { "Runbooks" } " / " (name) }
        (to_html(text))
    };
    Ok(whole(StatusCode::OK, title(text), &html! {}, &body))
}

fn title(text: &str) -> &str {
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches(['#', ' '])
}

fn to_html(text: &str) -> Markup {
    markdown::to_html(text, |to| {
        if to.starts_with("https://") || to.starts_with('#') {
            return Some(to.to_owned());
        }
        let (name, _) = to.split_once(".md")?;
        let is_runbook = RUNBOOKS.iter().any(|(known, _)| *known == name);
        is_runbook.then(|| format!("/docs/runbooks/{name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runbook_is_a_page() {
        assert!(RUNBOOKS.len() > 20);
        for (name, text) in RUNBOOKS {
            assert!(!title(text).is_empty(), "{name} has no title");
            assert!(to_html(text).into_string().contains("<h2>"), "{name}");
        }
    }
}
