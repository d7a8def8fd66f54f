//! Webhooks: a table of them, a form for a new one, what was sent, and the one page that shows a secret.

mod detail;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::json;

pub(super) use self::detail::{
    confirm_delete, confirm_roll, delete, detail, enable, resend, roll, save, test,
};
use super::form::{Form, is_first};
use super::frame::{commands, may, page, time};
use super::quantity::{duration, duration_ms};
use super::{Fields, Format, redirect};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::problem::{Code, Problem};
use crate::http::webhooks::{WebhookBody, WebhookRequest, all, make};
use crate::webhook::{AlertPattern, AlertType, Group, Webhook, WebhookFormat};

/// Where all of this is.
const HERE: &str = "/admin/webhooks";
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
    let again = fields.get("again").is_some();
    draw(&app, &operator, again, &Form::new("webhook")).await
}

/// The page with the form for a new webhook.
async fn draw(
    app: &App,
    operator: &Operator,
    again: bool,
    form: &Form<'_>,
) -> Result<Response, Problem> {
    let webhooks = all(app, operator).await?;
    let changes = may(&operator.caller, Role::Admin);
    let body = html! {
        h1 { "Webhooks" }
        (form.summary())
        @if again { p.notice role="status" { "This was done before, if the webhook is in the list: the form came twice. A secret is shown once; if it is lost, make a new one. If the webhook is not in the list, nothing was made." } }
        p { "Where " a href="/admin/alerts" { "alerts" } " go: a program, a chat, PagerDuty or mail. Each message comes again until the receiver has it." }
        @if webhooks.is_empty() {
            p.empty { "There are no webhooks yet." }
        } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                table {
                    caption #caption { "Webhooks, the oldest first" }
                    thead { tr { @for title in ["Where", "Form", "Alerts", "Pools", "State", "Waiting", "Given up", "Created"] { th scope="col" { (title) } } } }
                    tbody { @for webhook in &webhooks { (row(webhook)) } }
                }
            }
        }
        p.row { a href="?format=csv" download { "CSV" } a href="?format=json" { "JSON" } }
        @if changes { (new_webhook(form)) }
    };
    Ok(form.answer(page(&operator.caller, "Webhooks", HERE, &body)))
}

fn list_csv(webhooks: &[WebhookBody]) -> Response {
    let columns = [
        "id",
        "url",
        "format",
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
            Cell::plain(&webhook.format.as_str()),
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
            td { code { (webhook.format.as_str()) } }
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

fn event_fields(form: &Form<'_>, chosen: &[AlertPattern]) -> Markup {
    let is_chosen = |word: &str, now: bool| form.has("events", word, now);
    let wrong = form.error("events");
    html! {
        fieldset.field.wrong[wrong.is_some()] data-all="*" id=(form.id("events")) tabindex=[wrong.map(|_| "-1")] {
            legend { "Alerts" }
            @if let Some(wrong) = wrong { p.bad { span.hidden { "Error: " } (wrong) } }
            label { input type="checkbox" name="events" value="*" checked[is_chosen("*", chosen.contains(&AlertPattern::All))]; " All, also those to come" }
            @for kind in AlertType::ALL {
                label {
                    input type="checkbox" name="events" value=(kind.as_str()) checked[is_chosen(kind.as_str(), chosen.contains(&AlertPattern::One(kind)))];
                    " " code { (kind.as_str()) } " " span.quiet { (kind.meaning()) }
                }
            }
        }
    }
}

fn new_webhook(form: &Form<'_>) -> Markup {
    html! {
        section {
            h2 { "New webhook" }
            form.fields method="post" action=(HERE) {
                (form.once())
                (address_field(form, ""))
                (format_fields(form, None))
                (event_fields(form, &[]))
                (common_fields(form, "", ""))
                p.row { button.main type="submit" { "Create" } }
            }
        }
    }
}

fn address_field(form: &Form<'_>, now: &str) -> Markup {
    form.text(
        "url",
        "Address",
        "Such as https://hooks.example.com/leasehold, or mailto:on-call@example.com,desk@example.com.",
        now,
    )
}

/// In which form messages go, and whether together.
fn format_fields(form: &Form<'_>, webhook: Option<&WebhookBody>) -> Markup {
    let mut options = vec![("", "As the address looks like")];
    options.extend(
        WebhookFormat::ALL
            .iter()
            .map(|format| (format.as_str(), format.title())),
    );
    let format = webhook.map_or("", |webhook| webhook.format.as_str());
    let group = webhook
        .and_then(|webhook| webhook.group)
        .map(|group| duration(group.wait_ms))
        .unwrap_or_default();
    let remind = webhook
        .and_then(|webhook| webhook.remind_after_ms)
        .map(duration)
        .unwrap_or_default();
    let key_hint = match webhook {
        Some(webhook) if webhook.format == WebhookFormat::Pagerduty => "Empty leaves it as it is.",
        _ => "Only for PagerDuty: the integration key of a service with Events API v2.",
    };
    html! {
        (form.choice("format", "Form", "", format, &options))
        (form.field("routing_key", "Integration key", key_hint, "", |control| html! {
            input id=(control.id) name="routing_key" type="password" autocomplete="off"
                aria-invalid=[control.invalid] aria-describedby=[&control.described];
        }))
        (form.text("group", "Together what comes within",
            "Such as 5 s: alerts that come together go as one message with a list. Empty sends each alone.", &group))
        (form.text("remind_after_ms", "Remind after",
            "Such as 4 h: an alert that is still active and that nobody has acknowledged is sent again. Empty for never.", &remind))
    }
}

fn common_fields(form: &Form<'_>, name: &str, pools: &str) -> Markup {
    html! {
        (form.text("pools", "Pools", "Names with spaces between; none means all. Alerts about the store come in any case.", pools))
        (form.text("name", "Name", "", name))
    }
}

/// What a form says of a webhook.
fn webhook_request(fields: &Fields) -> Result<WebhookRequest, Problem> {
    let wrong = |field: &'static str| {
        move |error: &dyn std::fmt::Display| {
            let sentence = format!("Nothing was saved: {error}.");
            Problem::new(Code::InvalidRequest, sentence.clone()).at_field(field, sentence)
        }
    };
    let events: Vec<AlertPattern> = fields
        .all("events")
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong("events")(&error))?;
    if events.contains(&AlertPattern::All) && events.len() > 1 {
        return Err(wrong("events")(
            &"tick all of them, or single ones, and not both",
        ));
    }
    let url = fields.get("url").unwrap_or_default();
    Ok(WebhookRequest {
        url: url.to_owned(),
        events,
        pools: fields
            .words("pools")
            .iter()
            .map(|pool| pool.parse())
            .collect::<Result<_, _>>()
            .map_err(|error| wrong("pools")(&error))?,
        name: fields
            .get("name")
            .map(|name| name.to_owned().try_into())
            .transpose()
            .map_err(|error| wrong("name")(&error))?,
        enabled: None,
        format: Some(match fields.get("format") {
            Some(word) => word.parse().map_err(|error| wrong("format")(&error))?,
            None => WebhookFormat::guess(url),
        }),
        group: fields
            .get("group")
            .map(|text| duration_ms("group", text).map(|wait_ms| Group { wait_ms }))
            .transpose()?,
        remind_after_ms: fields
            .get("remind_after_ms")
            .map(|text| duration_ms("remind_after_ms", text))
            .transpose()?,
        routing_key: fields
            .get("routing_key")
            .map(|key| key.to_owned().try_into())
            .transpose()
            .map_err(|error| wrong("routing_key")(&error))?,
    })
}

pub(super) async fn create(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, Problem> {
    let made = match webhook_request(&fields) {
        Ok(body) if is_first(&app, &fields).await? => make(&app, &operator, body).await,
        Ok(_) => return Ok(redirect(&format!("{HERE}?again=1"))),
        Err(problem) => Err(problem),
    };
    match made {
        Ok(webhook) if webhook.format != WebhookFormat::Standard => {
            Ok(redirect(&format!("{HERE}/{}", webhook.id)))
        }
        Ok(webhook) => Ok(reveal(&operator, &webhook)),
        Err(problem) => {
            let form = Form::refused("webhook", &fields, problem)?;
            draw(&app, &operator, false, &form).await
        }
    }
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
