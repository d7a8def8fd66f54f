//! Webhooks: a table of them, a form for a new one, what was sent, and the one page that shows a secret.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::json;

use super::frame::{commands, may, page, time};
use super::{Fields, Format, redirect};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem};
use crate::http::webhooks::{
    DAY_MS, DeliveryBody, WebhookBody, WebhookPatch, WebhookRequest, all, alter, by_stage, find,
    make, replace_secret, send_test, shown, to_csv, try_again, withdraw,
};
use crate::webhook::{AlertPattern, AlertType, Webhook};

/// Where all of this is.
const HERE: &str = "/admin/webhooks";
/// Deliveries of each state on the page.
const SHOWN: usize = 100;

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let webhooks = all(&app, &operator).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(json!({ "items": webhooks })).into_response()),
        Format::Csv => return Ok(list_csv(&webhooks)),
        Format::Html => {}
    }
    let changes = may(&operator.caller, Role::Admin);
    let body = html! {
        h1 { "Webhooks" }
        p { "Where " a href="/admin/alerts" { "alerts" } " go: each message is signed, and comes again until the receiver has it." }
        @if webhooks.is_empty() {
            p.empty { "There are no webhooks yet." }
        } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                table {
                    caption #caption { "Webhooks, the oldest first" }
                    thead { tr { @for title in ["Where", "Alerts", "Pools", "State", "Waiting", "Given up", "Created"] { th scope="col" { (title) } } } }
                    tbody { @for webhook in &webhooks { (row(webhook)) } }
                }
            }
        }
        p.row { a href="?format=csv" download { "CSV" } a href="?format=json" { "JSON" } }
        @if changes { (new_webhook()) }
    };
    Ok(page(&operator.caller, "Webhooks", HERE, &body))
}

fn list_csv(webhooks: &[WebhookBody]) -> Response {
    let columns = [
        "id",
        "url",
        "name",
        "events",
        "pools",
        "enabled",
        "pending",
        "dead",
        "created_at",
    ];
    let rows = webhooks.iter().map(|webhook| {
        vec![
            Cell::plain(&webhook.id),
            Cell::Text(webhook.url.clone()),
            Cell::text(webhook.name.as_ref().map(|name| name.as_str())),
            Cell::Text(events(&webhook.events)),
            Cell::Text(pools(webhook)),
            Cell::plain(&webhook.enabled),
            Cell::plain(&webhook.pending),
            Cell::plain(&webhook.dead),
            Cell::plain(&webhook.created_at),
        ]
    });
    csv::file("leasehold-webhooks", &columns, rows)
}

fn events(events: &[AlertPattern]) -> String {
    let words: Vec<&str> = events.iter().map(|event| event.as_str()).collect();
    words.join(" ")
}

fn pools(webhook: &WebhookBody) -> String {
    let words: Vec<&str> = webhook.pools.iter().map(|pool| pool.as_str()).collect();
    words.join(" ")
}

fn place(webhook: &WebhookBody) -> String {
    format!("{HERE}/{}", webhook.id)
}

fn title(webhook: &WebhookBody) -> &str {
    webhook
        .name
        .as_ref()
        .map_or(&webhook.url, |name| name.as_str())
}

fn row(webhook: &WebhookBody) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href=(place(webhook)) { (title(webhook)) }
                @if webhook.name.is_some() { br; code { (webhook.url) } }
            }
            td { (events(&webhook.events)) }
            td { @if webhook.pools.is_empty() { "all" } @else { (pools(webhook)) } }
            td { (state(webhook)) }
            td.num { (webhook.pending) }
            td.num { (webhook.dead) }
            td { (time(webhook.created_at)) }
        }
    }
}

fn state(webhook: &WebhookBody) -> Markup {
    html! {
        @match &webhook.disabled_reason {
            None => { span.good { "enabled" } }
            Some(reason) => { span.bad { "disabled" } br; span.quiet { (reason) } }
        }
    }
}

fn event_fields(chosen: &[AlertPattern]) -> Markup {
    html! {
        fieldset.field {
            legend { "Alerts" }
            @let all = chosen.contains(&AlertPattern::All);
            label { input type="checkbox" name="events" value="*" checked[all]; " All, also those to come" }
            @for kind in AlertType::ALL {
                label {
                    input type="checkbox" name="events" value=(kind.as_str()) checked[chosen.contains(&AlertPattern::One(kind))];
                    " " code { (kind.as_str()) } " " span.quiet { (kind.meaning()) }
                }
            }
        }
    }
}

fn new_webhook() -> Markup {
    html! {
        section {
            h2 { "New webhook" }
            form.fields method="post" action=(HERE) {
                div.field {
                    label for="url" { "Address" }
                    input #url name="url" type="url" required maxlength="2048" autocomplete="off"
                        placeholder="https://hooks.example.com/leasehold";
                }
                (event_fields(&[AlertPattern::All]))
                (common_fields(None, ""))
                p.row { button.main type="submit" { "Create" } }
            }
        }
    }
}

fn common_fields(name: Option<&str>, pools: &str) -> Markup {
    html! {
        div.field {
            label for="pools" { "Pools" }
            input #pools name="pools" value=(pools) autocomplete="off" aria-describedby="pools-hint";
            p.quiet #pools-hint { "Names with spaces between; none means all. Alerts about the store come in any case." }
        }
        div.field {
            label for="name" { "Name" }
            input #name name="name" value=[name] maxlength="128" autocomplete="off";
        }
    }
}

/// What a form says of a webhook.
fn asked(fields: &Fields) -> Result<WebhookRequest, Problem> {
    let wrong = |error: &dyn std::fmt::Display| {
        Problem::new(Code::InvalidRequest, format!("Nothing was saved: {error}."))
    };
    Ok(WebhookRequest {
        url: fields.get("url").unwrap_or_default().to_owned(),
        events: fields
            .all("events")
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(&error))?,
        pools: fields
            .words("pools")
            .iter()
            .map(|pool| pool.parse())
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(&error))?,
        name: fields
            .get("name")
            .map(|name| name.to_owned().try_into())
            .transpose()
            .map_err(|error| wrong(&error))?,
        enabled: None,
    })
}

pub(super) async fn create(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, Problem> {
    let webhook = make(&app, &operator, asked(&fields)?).await?;
    Ok(reveal(&operator, &webhook))
}

/// The only page that shows a secret, once.
fn reveal(operator: &Operator, webhook: &Webhook) -> Response {
    let body = html! {
        h1 { "The secret of the webhook" }
        p role="status" { "Copy it now: it cannot be shown again." }
        (commands(&webhook.secret.reveal()))
        p.quiet { "Its receiver verifies with it that a message is from here, as in Standard Webhooks." }
        p.row { a.button href=(format!("{HERE}/{}", webhook.id)) { "I have copied it" } }
    };
    page(&operator.caller, "The secret", HERE, &body)
}

pub(super) async fn detail(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    app.store().refresh_webhooks().await?;
    let webhook = find(&app, &id)?;
    let state = fields.get("state");
    let items = by_stage(&app, &operator, &webhook.id, state, SHOWN).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(json!({ "items": items })).into_response()),
        Format::Csv => return Ok(to_csv(&items)),
        Format::Html => {}
    }
    let webhook = shown(&app, &operator, &webhook).await?;
    let changes = may(&operator.caller, Role::Admin);
    let asked = state
        .map(|state| format!("&state={state}"))
        .unwrap_or_default();
    let body = html! {
        p.crumbs { a href=(HERE) { "Webhooks" } }
        h1 { (title(&webhook)) }
        @if webhook.name.is_some() { p { code { (webhook.url) } } }
        p { (self::state(&webhook))
            @if let Some(until) = webhook.former_secret_until { br; span.quiet { "The former secret signs as well until " (time(until)) } }
        }
        @if changes { (actions(&webhook)) }
        section {
            h2 { "Messages" }
            form.row.filter method="get" {
                label { "State"
                    select name="state" {
                        option value="" { "all" }
                        @for (value, name) in [("pending", "waiting"), ("delivered", "delivered"), ("dead", "given up")] {
                            option value=(value) selected[state == Some(value)] { (name) }
                        }
                    }
                }
                button type="submit" { "Filter" }
                span.grow {}
                a href=(format!("?format=csv{asked}")) download { "CSV" }
                a href=(format!("?format=json{asked}")) { "JSON" }
            }
            div #live data-every="5" {
                @if items.is_empty() {
                    p.empty { @if state.is_some() { "No message is in this state." } @else { "Nothing was sent yet." } }
                } @else {
                    div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                        table {
                            caption #caption { "Messages to this webhook, newest first" }
                            thead {
                                tr {
                                    @for title in ["Made", "State", "Type", "Pool", "Tries", "Last attempt", "Next attempt"] { th scope="col" { (title) } }
                                    @if changes { th scope="col" { span.hidden { "Actions" } } }
                                }
                            }
                            tbody { @for item in &items { (delivery(&webhook, item, changes)) } }
                        }
                    }
                }
            }
        }
        @if changes { (edit(&webhook)) }
    };
    Ok(page(&operator.caller, "Webhook", HERE, &body))
}

fn actions(webhook: &WebhookBody) -> Markup {
    let here = place(webhook);
    html! {
        div.row {
            @if webhook.enabled {
                form method="post" action=(format!("{here}/test")) { button type="submit" { "Send a test" } }
                form method="post" action=(format!("{here}/enabled")) {
                    input type="hidden" name="enabled" value="false"; button type="submit" { "Disable" }
                }
            } @else {
                form method="post" action=(format!("{here}/enabled")) {
                    input type="hidden" name="enabled" value="true"; button.main type="submit" { "Enable" }
                }
            }
            a.button href=(format!("{here}/roll")) { "New secret" }
            a.button href=(format!("{here}/delete")) { "Delete" }
        }
    }
}

fn delivery(webhook: &WebhookBody, item: &DeliveryBody, changes: bool) -> Markup {
    let class = match item.state {
        "delivered" => "good",
        "dead" => "bad",
        _ => "quiet",
    };
    html! {
        tr data-key=(item.id) {
            td { (time(item.created_at)) }
            td { span class=(class) { (item.state) } }
            th scope="row" { code { (item.kind) } }
            td { (item.pool.as_deref().unwrap_or_default()) }
            td.num { (item.tries) }
            td {
                @if let Some(last) = item.attempts.last() {
                    @match (last.status, &last.error) {
                        (Some(status), Some(error)) => { (status) ": " (error) }
                        (Some(status), None) => { (status) }
                        (None, error) => { (error.as_deref().unwrap_or_default()) }
                    }
                    details {
                        summary { "Show" span.hidden { " the attempts and the message" } }
                        dl {
                            @for attempt in &item.attempts {
                                dt { (time(attempt.at)) ", " (attempt.took_ms) " ms" }
                                dd {
                                    (attempt.status.map(|status| status.to_string()).unwrap_or_default()) " "
                                    (attempt.error.as_deref().unwrap_or_default())
                                    @if let Some(reply) = &attempt.reply { br; code { (reply) } }
                                }
                            }
                            dt { "webhook-id" } dd { code { (item.id) } }
                            dt { "message" } dd { code { (item.message) } }
                        }
                    }
                }
            }
            td { @if let Some(at) = item.next_attempt_at { (time(at)) } }
            @if changes {
                td.actions {
                    form method="post" action=(format!("{}/deliveries/{}/resend", place(webhook), item.id)) {
                        button type="submit" { "Send again" span.hidden { " " (item.id) } }
                    }
                }
            }
        }
    }
}

fn edit(webhook: &WebhookBody) -> Markup {
    html! {
        section {
            h2 { "Change" }
            form.fields method="post" action=(place(webhook)) {
                div.field {
                    label for="url" { "Address" }
                    input #url name="url" type="url" required maxlength="2048" autocomplete="off" value=(webhook.url);
                }
                (event_fields(&webhook.events))
                (common_fields(webhook.name.as_ref().map(|name| name.as_str()), &pools(webhook)))
                p.row { button.main type="submit" { "Save" } }
            }
        }
    }
}

pub(super) async fn save(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let body = asked(&fields)?;
    let patch = WebhookPatch {
        url: Some(body.url),
        events: Some(body.events),
        pools: Some(body.pools),
        name: Some(body.name),
        enabled: None,
    };
    let webhook = alter(&app, &operator, &id, &patch).await?;
    Ok(redirect(&format!("{HERE}/{}", webhook.id)))
}

pub(super) async fn enable(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let patch = WebhookPatch {
        enabled: Some(fields.get("enabled") == Some("true")),
        ..WebhookPatch::default()
    };
    let webhook = alter(&app, &operator, &id, &patch).await?;
    Ok(redirect(&format!("{HERE}/{}", webhook.id)))
}

pub(super) async fn test(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    send_test(&app, &operator, &id).await?;
    Ok(redirect(&format!("{HERE}/{id}")))
}

pub(super) async fn resend(
    State(app): State<App>,
    operator: Operator,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Response, Problem> {
    try_again(&app, &operator, &id, delivery).await?;
    Ok(redirect(&format!("{HERE}/{id}")))
}

pub(super) async fn confirm_roll(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let webhook = find(&app, &id)?;
    let back = format!("{HERE}/{}", webhook.id);
    let body = html! {
        h1 { "A new secret for this webhook?" }
        p { code { (webhook.url) } }
        p { "Both sign while you change over." }
        form method="post" {
            label for="overlap" { "The present secret signs as well for" }
            select #overlap name="overlap_ms" {
                option value="3600000" { "1 hour" }
                option value=(DAY_MS) selected { "1 day" }
                option value="604800000" { "1 week" }
                option value="0" { "no time" }
            }
            p.row { a.button href=(back) { "Cancel" } button.main type="submit" { "Make a new secret" } }
        }
    };
    Ok(page(&operator.caller, "A new secret", HERE, &body))
}

pub(super) async fn roll(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let overlap_ms = fields
        .get("overlap_ms")
        .and_then(|ms| ms.parse().ok())
        .unwrap_or(DAY_MS);
    let webhook = replace_secret(&app, &operator, &id, overlap_ms).await?;
    Ok(reveal(&operator, &webhook))
}

pub(super) async fn confirm_delete(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let webhook = find(&app, &id)?;
    let back = format!("{HERE}/{}", webhook.id);
    let body = html! {
        h1 { "Delete this webhook?" }
        p { code { (webhook.url) } }
        p { "What was still to be delivered goes with it. This cannot be undone; to stop it for a time, disable it." }
        form method="post" {
            p.row { a.button href=(back) autofocus { "Cancel" } button.danger type="submit" { "Delete" } }
        }
    };
    Ok(page(&operator.caller, "Delete a webhook", HERE, &body))
}

pub(super) async fn delete(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    withdraw(&app, &operator, &id).await?;
    Ok(redirect(HERE))
}
