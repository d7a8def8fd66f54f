//! One webhook: what was sent, and how it is changed, tried and deleted.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::json;

use super::{
    HERE, address_field, common_fields, event_fields, format_fields, place, pools, reveal, state,
    title, webhook_request,
};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::problem::Problem;
use crate::http::webhooks::{
    AttemptBody, DeliveryBody, TestQuery, WebhookBody, WebhookPatch, alter, by_stage, find,
    replace_secret, send_test, shown, tested, to_csv, try_again, withdraw,
};
use crate::ui::form::{Form, is_first};
use crate::ui::frame::{may, page, time};
use crate::ui::quantity::duration;
use crate::ui::{Fields, Format, new_secret, redirect};
use crate::webhook::WebhookFormat;

/// Deliveries of each state on the page.
const SHOWN: usize = 100;
/// How long the page waits for the answer to a test.
const TEST_MS: u64 = 10_000;

pub(in crate::ui) async fn detail(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let format = Format::wanted(&headers, fields.get("format"));
    if format == Format::Html {
        return draw(&app, &operator, &id, &fields, &Form::new("webhook")).await;
    }
    app.store().refresh_webhooks().await?;
    let webhook = find(&app, &id)?;
    let items = by_stage(&app, &operator, &webhook.id, fields.get("state"), SHOWN).await?;
    Ok(match format {
        Format::Csv => to_csv(&items),
        _ => Json(json!({ "items": items })).into_response(),
    })
}

/// The page with the form that changes the webhook.
async fn draw(
    app: &App,
    operator: &Operator,
    id: &str,
    fields: &Fields,
    form: &Form<'_>,
) -> Result<Response, Problem> {
    app.store().refresh_webhooks().await?;
    let webhook = find(app, id)?;
    let state = fields.get("state");
    let items = by_stage(app, operator, &webhook.id, state, SHOWN).await?;
    let test = match fields.get("test") {
        Some(delivery) => Some(tested(app, operator, &webhook.id, delivery).await?),
        None => None,
    };
    let webhook = shown(app, operator, &webhook).await?;
    let changes = may(&operator.caller, Role::Admin);
    let asked = state
        .map(|state| format!("&state={state}"))
        .unwrap_or_default();
    let body = html! {
        p.crumbs { a href=(HERE) { "Webhooks" } }
        h1 { (title(&webhook)) }
        (form.summary())
        @if let Some(attempt) = &test { (test_result(attempt.as_ref(), webhook.format)) }
        @if webhook.name.is_some() { p { code { (webhook.url) } } }
        p { (webhook.format.title()) @if let Some(group) = webhook.group { ", together what comes within " (duration(group.wait_ms)) } }
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
        @if changes { (edit(&webhook, form)) }
    };
    Ok(form.answer(page(&operator.caller, "Webhook", HERE, &body)))
}

/// What the receiver said to a test.
fn test_result(attempt: Option<&AttemptBody>, format: WebhookFormat) -> Markup {
    let Some(attempt) = attempt else {
        return html! { p.notice role="status" { "The test is on its way; the receiver has not answered yet. The list below says how it ends." } };
    };
    let status = attempt.status.map(|status| status.to_string());
    let status = status.unwrap_or_default();
    html! {
        div.notice role="status" {
            @if let Some(error) = &attempt.error {
                p { strong { "The test did not arrive: " } (error) @if !status.is_empty() { " (" (status) ")" } ". It comes again by itself." }
            } @else {
                p { strong { "The test was accepted: " } (status) "." }
                @if format == WebhookFormat::Teams { p { "Teams accepts a message before its workflow runs: look into the channel." } }
                @if format == WebhookFormat::Pagerduty { p { "It opened an incident of low urgency: resolve it in PagerDuty." } }
            }
            @if let Some(reply) = &attempt.reply { p { "It said: " code { (reply) } } }
        }
    }
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
            @if webhook.format == WebhookFormat::Standard { a.button href=(format!("{here}/roll")) { "New secret" } }
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

fn edit(webhook: &WebhookBody, form: &Form<'_>) -> Markup {
    html! {
        section {
            h2 { "Change" }
            form.fields method="post" action=(place(webhook)) {
                (address_field(form, &webhook.url))
                (format_fields(form, Some(webhook)))
                (event_fields(form, &webhook.events))
                (common_fields(form, webhook.name.as_ref().map_or("", |name| name.as_str()), &pools(webhook)))
                p.row { button.main type="submit" { "Save" } }
            }
        }
    }
}

pub(in crate::ui) async fn save(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let saved = match webhook_request(&fields) {
        Ok(body) => {
            let patch = WebhookPatch {
                url: Some(body.url),
                events: Some(body.events),
                pools: Some(body.pools),
                name: Some(body.name),
                enabled: None,
                format: body.format,
                group: Some(body.group),
                remind_after_ms: Some(body.remind_after_ms),
                routing_key: body.routing_key,
            };
            alter(&app, &operator, &id, &patch).await
        }
        Err(problem) => Err(problem),
    };
    match saved {
        Ok(webhook) => Ok(redirect(&format!("{HERE}/{}", webhook.id))),
        Err(problem) => {
            let form = Form::refused("webhook", &fields, problem)?;
            draw(&app, &operator, &id, &Fields(Vec::new()), &form).await
        }
    }
}

pub(in crate::ui) async fn enable(
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

pub(in crate::ui) async fn test(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let query = TestQuery { wait_ms: TEST_MS };
    let tested = send_test(&app, &operator, &id, query).await?;
    Ok(redirect(&format!("{HERE}/{id}?test={}", tested.delivery)))
}

pub(in crate::ui) async fn resend(
    State(app): State<App>,
    operator: Operator,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Response, Problem> {
    try_again(&app, &operator, &id, delivery).await?;
    Ok(redirect(&format!("{HERE}/{id}")))
}

pub(in crate::ui) async fn confirm_roll(
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
        (new_secret::form("The present secret signs as well for", &back))
    };
    Ok(page(&operator.caller, "A new secret", HERE, &body))
}

pub(in crate::ui) async fn roll(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    // A second one would end the overlap of the secret that is in use.
    if !is_first(&app, &fields).await? {
        return Ok(redirect(&format!("{HERE}?again=1")));
    }
    let overlap_ms = new_secret::overlap_ms(&fields);
    let webhook = replace_secret(&app, &operator, &id, overlap_ms).await?;
    Ok(reveal(&operator, &webhook))
}

pub(in crate::ui) async fn confirm_delete(
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

pub(in crate::ui) async fn delete(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    withdraw(&app, &operator, &id).await?;
    Ok(redirect(HERE))
}
