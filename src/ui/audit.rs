//! The audit trail, newest first.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::json;

use super::frame::{page, time};
use super::{Fields, Format, query};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::audit::{AuditQuery, file};
use crate::http::problem::Problem;
use crate::names::PoolName;
use crate::store::{ActionOutcome, AuditEntry};

/// What can be filtered by, and how it is called.
const FILTERS: [(&str, &str); 4] = [
    ("actor", "Actor"),
    ("action", "Action begins with"),
    ("pool", "Pool"),
    ("outcome", "Outcome"),
];

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let word = |name: &str| fields.get(name).map(str::to_owned);
    let wanted = AuditQuery {
        actor: word("actor"),
        action: word("action"),
        pool: fields.chosen("pool")?,
        outcome: fields.chosen("outcome")?,
        from: word("from"),
        to: word("to"),
        tz: word("tz"),
        limit: None,
        cursor: word("cursor"),
        format: None,
    };
    if fields.get("format") == Some("jsonl") {
        return file::lines(&app, &operator.caller, wanted).await;
    }
    let format = Format::wanted(&headers, fields.get("format"));
    if format == Format::Csv {
        return file::csv(&app, &operator.caller, wanted).await;
    }
    let filter = wanted.filter(&operator.caller)?;
    let (items, next_cursor) = app.store().audit_entries(&filter).await?;
    match format {
        Format::Json => {
            return Ok(Json(json!({"items": items, "next_cursor": next_cursor})).into_response());
        }
        Format::Csv | Format::Html => {}
    }
    let same = |more: &[(&'static str, &str)]| {
        let kept = FILTERS.iter().map(|(name, _)| (*name, fields.get(name)));
        let query = query(kept.chain(more.iter().map(|(name, value)| (*name, Some(*value)))));
        if query.is_empty() {
            "?".to_owned()
        } else {
            query
        }
    };
    let filtered = FILTERS.iter().any(|(name, _)| fields.get(name).is_some());
    let body = html! {
        h1 { "Audit trail" }
        form.row.filter role="search" method="get" {
            @for (name, title) in FILTERS {
                label {
                    (title)
                    @if name == "outcome" {
                        select name=(name) {
                            option value="" { "all" }
                            @for outcome in ActionOutcome::ALL {
                                @let word = outcome.as_str();
                                option value=(word) selected[fields.get(name) == Some(word)] { (word) }
                            }
                        }
                    } @else {
                        input name=(name) value=[fields.get(name)];
                    }
                }
            }
            button type="submit" { "Filter" }
            @if filtered { a href="/admin/audit" { "Clear filters" } }
            span.grow {}
            a href=(same(&[("format", "csv")])) download { "CSV" }
            a href=(same(&[("format", "jsonl")])) download { "JSON lines" }
        }
        @if items.is_empty() {
            p.empty { @if filtered { "No action matches the filters." } @else { "Nobody has changed anything yet." } }
        } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                table {
                    caption #caption { "What operators did and were refused, newest first" }
                    thead {
                        tr { @for title in ["When", "Who", "What", "Pool", "About", "Outcome", "Details"] { th scope="col" { (title) } } }
                    }
                    tbody { @for recorded in &items { (row(recorded)) } }
                }
            }
            p.row {
                @if fields.get("cursor").is_some() { a href=(same(&[])) { "Newest" } }
                @if let Some(next) = &next_cursor { a href=(same(&[("cursor", next.as_str())])) rel="next" { "Older" } }
            }
        }
    };
    Ok(page(&operator.caller, "Audit trail", "/admin/audit", &body))
}

fn row(AuditEntry { at, action, .. }: &AuditEntry) -> Markup {
    html! {
        tr {
            td { (time(*at)) }
            th scope="row" { bdi { (action.actor_name) } br; code { (action.actor) } }
            td { (action.action) }
            td { (action.pool.as_ref().map(PoolName::as_str).unwrap_or_default()) }
            td { bdi { (action.target.as_deref().unwrap_or_default()) } }
            td { span class=(action.outcome) { (action.outcome) } @if action.times > 1 { " " (action.times) " times" } @if let Some(code) = &action.code { br; code { (code) } } }
            td {
                details {
                    summary { "Show" span.hidden { " the details" } }
                    dl {
                        @for (name, value) in [("before", &action.before), ("after", &action.after)] {
                            @if let Some(value) = value { dt { (name) } dd { code { bdi { (value) } } } }
                        }
                        @for (name, value) in [("request", &action.request_id), ("address", &action.address)] {
                            @if let Some(value) = value { dt { (name) } dd { code { bdi { (value) } } } }
                        }
                    }
                }
            }
        }
    }
}
