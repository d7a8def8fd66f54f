//! Alerts: those that are raised now, and the log, newest first.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{page, span, time};
use super::{Fields, Format, query};
use crate::alerts::message::AlertBody;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::alerts::{AlertEntry, AlertsQuery, read, to_csv};
use crate::http::problem::Problem;
use crate::names::PoolName;
use crate::store::AlertState;
use crate::webhook::AlertType;

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let word = |name: &str| fields.get(name).map(str::to_owned);
    let wanted = AlertsQuery {
        pool: fields.get("pool").and_then(|pool| pool.parse().ok()),
        kind: word("type"),
        limit: None,
        cursor: word("cursor"),
        format: None,
    };
    let alerts = read(&app, &wanted.checked()?).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(alerts).into_response()),
        Format::Csv => return Ok(to_csv(&alerts.items)),
        Format::Html => {}
    }
    let same = |more: &[(&'static str, &str)]| {
        let kept = ["pool", "type"].map(|name| (name, fields.get(name)));
        let more = more.iter().map(|(name, value)| (*name, Some(*value)));
        let query = query(kept.into_iter().chain(more));
        if query.is_empty() {
            "?".to_owned()
        } else {
            query
        }
    };
    let filtered = ["pool", "type"]
        .iter()
        .any(|name| fields.get(name).is_some());
    let now = app.store().now();
    let body = html! {
        h1 { "Alerts" }
        p { "Each is sent once, by all nodes together: here, to " a href="/admin/webhooks" { "webhooks" } ", and to whoever follows "
            code { "/v1/alerts/events" } "." }
        form.row.filter role="search" method="get" {
            label { "Pool" input name="pool" value=[fields.get("pool")]; }
            label { "Type"
                select name="type" {
                    option value="" { "all" }
                    @for kind in AlertType::ALL {
                        option value=(kind.as_str()) selected[fields.get("type") == Some(kind.as_str())] { (kind.as_str()) }
                    }
                }
            }
            button type="submit" { "Filter" }
            @if filtered { a href="/admin/alerts" { "Clear filters" } }
            span.grow {}
            a href=(same(&[("format", "csv")])) download { "CSV" }
            a href=(same(&[("format", "json")])) { "JSON" }
        }
        div #live data-every="5" {
            section {
                h2 { "Raised now" }
                @if alerts.current.is_empty() {
                    p.empty { @if filtered { "No alert that matches is raised." } @else { "No alert is raised." } }
                } @else {
                    div.scroll tabindex="0" role="region" aria-labelledby="caption-now" {
                        table {
                            caption #caption-now { "Alerts that are raised now, the oldest first" }
                            thead { tr { @for title in ["Since", "For", "Type", "Pool", "What"] { th scope="col" { (title) } } } }
                            tbody {
                                @for alert in &alerts.current {
                                    tr data-key=(alert.alert) {
                                        td { (time(alert.since)) }
                                        td { (span(now.since(alert.since))) }
                                        th scope="row" { (kind(alert)) }
                                        td { (pool(alert)) }
                                        td { (alert.summary) @if alert.flapping { " " span.quiet { "Up and down again and again." } } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            section {
                h2 { "Told" }
                @if alerts.items.is_empty() {
                    p.empty { @if filtered { "No alert matches the filters." } @else { "There were no alerts yet." } }
                } @else {
                    div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                        table {
                            caption #caption { "Alerts, newest first" }
                            thead { tr { @for title in ["When", "State", "Type", "Pool", "What", "Lasted"] { th scope="col" { (title) } } } }
                            tbody { @for entry in &alerts.items { (row(entry)) } }
                        }
                    }
                }
            }
        }
        p.row {
            @if fields.get("cursor").is_some() { a href=(same(&[])) { "Newest" } }
            @if let Some(next) = &alerts.next_cursor { a href=(same(&[("cursor", next.as_str())])) rel="next" { "Older" } }
        }
    };
    Ok(page(&operator.caller, "Alerts", "/admin/alerts", &body))
}

fn kind(alert: &AlertBody) -> Markup {
    html! {
        code { (alert.kind.as_str()) }
        @if let Some(percent) = alert.percent { " " (percent) " %" }
    }
}

fn pool(alert: &AlertBody) -> Markup {
    html! {
        @match &alert.pool {
            Some(pool) => { a href=(format!("/admin/pools/{pool}")) { (PoolName::as_str(pool)) } }
            None => { span.quiet { "all" } }
        }
    }
}

fn row(AlertEntry { id, alert }: &AlertEntry) -> Markup {
    let class = match alert.state {
        AlertState::Firing => "bad",
        AlertState::Resolved => "good",
        AlertState::Happened => "quiet",
    };
    html! {
        tr data-key=(id) {
            td { (time(alert.at)) }
            td { span class=(class) { (alert.state.as_str()) } }
            th scope="row" { (kind(alert)) }
            td { (pool(alert)) }
            td { (alert.summary) }
            td { @if let Some(until) = alert.until { (span(until.since(alert.since))) } }
        }
    }
}
