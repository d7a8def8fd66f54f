//! Alerts: those that are raised now, and the log, newest first.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::form::{Form, is_first};
use super::frame::{may, page, span, time};
use super::quantity::duration_ms;
use super::{Fields, Format, query, redirect};
use crate::access_key::Role;
use crate::alerts::message::AlertBody;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::alerts::{
    self as interface, Acknowledge, AlertEntry, Alerts, AlertsQuery, CurrentAlert, SnoozeBody,
    SnoozeRequest, acknowledge_alert, read, snooze_alerts, to_csv, withdraw_acknowledgement,
};
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem};
use crate::names::PoolName;
use crate::store::AlertState;
use crate::time::Timestamp;
use crate::webhook::AlertType;

/// Where all of this is.
const HERE: &str = "/admin/alerts";

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let word = |name: &str| fields.get(name).map(str::to_owned);
    let wanted = AlertsQuery {
        pool: fields.chosen("pool")?,
        kind: word("type"),
        limit: None,
        cursor: word("cursor"),
        format: None,
    };
    let alerts = read(&app, &wanted.checked(&operator)?).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => Ok(Json(alerts).into_response()),
        Format::Csv => Ok(to_csv(&alerts.items)),
        Format::Html => Ok(draw(
            &app,
            &operator,
            &alerts,
            &fields,
            &Form::new("snooze"),
        )),
    }
}

/// The page with the form that snoozes alerts.
fn draw(
    app: &App,
    operator: &Operator,
    alerts: &Alerts,
    fields: &Fields,
    form: &Form<'_>,
) -> Response {
    let own_pools = operator.caller.names_pools();
    let changes = may(&operator.caller, Role::Operator);
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
        (form.summary())
        p { "Each is sent once, by all nodes together: here, to " @if own_pools { "webhooks" } @else { a href="/admin/webhooks" { "webhooks" } } ", and to whoever follows "
            code { "/v1/alerts/events" } "." @if own_pools { " These are the alerts of your pools." } }
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
            @if filtered { a href=(HERE) { "Clear filters" } }
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
                            thead {
                                tr {
                                    @for title in ["Since", "For", "Type", "Pool", "What", "Acknowledged by"] { th scope="col" { (title) } }
                                    @if changes { th scope="col" { span.hidden { "Actions" } } }
                                }
                            }
                            tbody { @for alert in &alerts.current { (raised(alert, now, changes)) } }
                        }
                    }
                }
            }
            @if !alerts.snoozes.is_empty() {
                section {
                    h2 { "Snoozed" }
                    p { "No message says that one of these begins. An alert that is still active when the snooze ends is sent then." }
                    div.scroll tabindex="0" role="region" aria-labelledby="caption-snoozes" {
                        table {
                            caption #caption-snoozes { "Snoozes that are not over, by their end" }
                            thead {
                                tr {
                                    @for title in ["Until", "Type", "Pool", "By", "Reason"] { th scope="col" { (title) } }
                                    @if changes { th scope="col" { span.hidden { "Actions" } } }
                                }
                            }
                            tbody { @for snooze in &alerts.snoozes { (snoozed(snooze, changes && (!own_pools || snooze.pool.is_some()))) } }
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
        @if changes { (snooze_form(form, fields, own_pools)) }
    };
    form.answer(page(&operator.caller, "Alerts", HERE, &body))
}

/// An alert that is raised, and what can be done about it.
fn raised(current: &CurrentAlert, now: Timestamp, changes: bool) -> Markup {
    let alert = &current.alert;
    let mut known = vec![("snooze_type", alert.kind.as_str())];
    known.extend(
        alert
            .pool
            .as_ref()
            .map(|pool| ("snooze_pool", pool.as_str())),
    );
    let known = query(known.into_iter().map(|(name, value)| (name, Some(value))));
    html! {
        tr data-key=(alert.alert) {
            td { (time(alert.since)) }
            td { (span(now.since(alert.since))) }
            th scope="row" { (kind(alert)) }
            td { (pool(alert)) }
            td { (alert.summary) @if alert.flapping { " " span.quiet { "Up and down again and again." } }
                " " a href=(format!("/docs/runbooks/{}", alert.kind.runbook())) { "What to do" }
            }
            td {
                @match &current.acknowledged {
                    Some(by) => {
                        bdi { (by.by) } ", " (time(by.at))
                        @if let Some(comment) = &by.comment { br; span.quiet { bdi { (comment) } } }
                    }
                    None => { span.quiet { "nobody" } }
                }
                @if let Some(until) = current.snoozed_until { br; span.quiet { "Snoozed until " (time(until)) } }
            }
            @if changes {
                td.actions {
                    @let to = if current.acknowledged.is_some() { "withdraw" } else { "acknowledge" };
                    form method="post" action=(format!("{HERE}/{to}")) {
                        input type="hidden" name="alert" value=(alert.alert);
                        button type="submit" {
                            @if current.acknowledged.is_some() { "Withdraw" } @else { "Acknowledge" }
                            span.hidden { " " (alert.alert) }
                        }
                    }
                    a href=(format!("{known}#snooze")) { "Snooze" span.hidden { " " (alert.alert) } }
                }
            }
        }
    }
}

fn snoozed(snooze: &SnoozeBody, changes: bool) -> Markup {
    html! {
        tr data-key=(snooze.id) {
            td { (time(snooze.until)) }
            th scope="row" { @match snooze.kind { Some(kind) => { code { (kind.as_str()) } } None => { "all" } } }
            td { @match &snooze.pool { Some(pool) => { (pool) } None => { "all" } } }
            td { bdi { (snooze.by) } }
            td { bdi { (snooze.comment.as_deref().unwrap_or_default()) } }
            @if changes {
                td.actions {
                    form method="post" action=(format!("{HERE}/snoozes/{}/end", snooze.id)) {
                        button type="submit" { "End now" span.hidden { " " (snooze.id) } }
                    }
                }
            }
        }
    }
}

/// The form that snoozes, with what the link to it says.
fn snooze_form(form: &Form<'_>, fields: &Fields, own_pools: bool) -> Markup {
    let which = if own_pools {
        "One of yours."
    } else {
        "Empty for all of them, and for the store."
    };
    let mut types = vec![("", "all")];
    types.extend(
        AlertType::ALL
            .iter()
            .map(|kind| (kind.as_str(), kind.as_str())),
    );
    let known = |name: &str| fields.get(name).unwrap_or_default().to_owned();
    html! {
        section #snooze {
            h2 { "Snooze" }
            p { "Send no messages for a time. Alerts are listed here all the same." }
            form.fields method="post" action=(format!("{HERE}/snoozes")) {
                (form.once())
                (form.choice("type", "Type", "", &known("snooze_type"), &types))
                (form.text("pool", "Pool", which, &known("snooze_pool")))
                (form.text("for_ms", "For", "Such as 30 min, 2 h or 3 d; at most 30 d.", "1 h"))
                (form.text("comment", "Reason", "For others who look here.", ""))
                p.row { button.main type="submit" { "Snooze" } }
            }
        }
    }
}

/// What the form says.
fn snooze_request(fields: &Fields) -> Result<SnoozeRequest, Problem> {
    let wrong = |field: &'static str, error: &dyn std::fmt::Display| {
        let sentence = format!("{error}.");
        Problem::new(Code::InvalidRequest, sentence.clone()).at_field(field, sentence)
    };
    Ok(SnoozeRequest {
        pool: fields
            .get("pool")
            .map(str::parse)
            .transpose()
            .map_err(|error| wrong("pool", &error))?,
        kind: fields
            .get("type")
            .map(str::parse)
            .transpose()
            .map_err(|error| wrong("type", &error))?,
        for_ms: Some(duration_ms(
            "for_ms",
            fields.get("for_ms").unwrap_or_default(),
        )?),
        until: None,
        comment: fields.get("comment").map(str::to_owned),
    })
}

pub(super) async fn snooze(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, Problem> {
    let made = match snooze_request(&fields) {
        Ok(body) if is_first(&app, &fields).await? => {
            snooze_alerts(&app, &operator, body).await.map(drop)
        }
        Ok(_) => Ok(()),
        Err(problem) => Err(problem),
    };
    match made {
        Ok(()) => Ok(redirect(HERE)),
        Err(problem) => {
            let form = Form::refused("snooze", &fields, problem)?;
            let alerts = read(&app, &AlertsQuery::default().checked(&operator)?).await?;
            Ok(draw(&app, &operator, &alerts, &Fields(Vec::new()), &form))
        }
    }
}

pub(super) async fn end_snooze(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    interface::end_snooze(&app, &operator, &id).await?;
    Ok(redirect(HERE))
}

pub(super) async fn acknowledge(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, Problem> {
    let alert = fields.get("alert").unwrap_or_default();
    acknowledge_alert(&app, &operator, alert, Acknowledge::default()).await?;
    Ok(redirect(HERE))
}

pub(super) async fn withdraw(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, Problem> {
    let alert = fields.get("alert").unwrap_or_default();
    withdraw_acknowledgement(&app, &operator, alert).await?;
    Ok(redirect(HERE))
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
