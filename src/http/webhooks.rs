//! `/v1/webhooks`: where alerts go. A secret is shown once, when it is made.

mod body;
mod deliveries;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{RollWebhook, WebhookWithSecret, Webhooks, noted};
pub(crate) use self::body::{WebhookBody, WebhookPatch, WebhookRequest};
pub(crate) use self::deliveries::{
    AttemptBody, DeliveryBody, TestQuery, by_stage, send_test, tested, to_csv, try_again,
};
use super::App;
use super::access::Operator;
use super::extract::{Body, Path, Replacement};
use super::problem::{Code, Problem};
use super::records::{self, DAY_MS, Record};
use crate::alerts::address::Target;
use crate::store::{self, PutWebhook};
use crate::webhook::{AlertPattern, SigningSecret, Webhook, WebhookFormat, WebhookId};

/// What `disabled` says of a webhook that an operator put to rest.
const BY_OPERATOR: &str = "an operator disabled it";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, replace, change, remove))
        .routes(routes!(roll))
        .merge(deliveries::routes())
}

/// Lists the webhooks, the oldest first.
#[utoipa::path(
    get, path = "/v1/webhooks", operation_id = "list_webhooks", tag = "alerts",
    responses((status = 200, body = Webhooks)),
)]
async fn list(State(app): State<App>, operator: Operator) -> Result<Json<Webhooks>, Problem> {
    Ok(Json(Webhooks {
        items: all(&app, &operator).await?,
        next_cursor: None,
    }))
}

/// All webhooks, the oldest first.
pub(crate) async fn all(app: &App, operator: &Operator) -> Result<Vec<WebhookBody>, Problem> {
    let store = &app.0.store;
    store.refresh_webhooks().await?;
    let known = store.webhooks();
    let mut webhooks: Vec<&Arc<Webhook>> = known.webhooks.values().collect();
    webhooks.sort_by_key(|webhook| (webhook.created_at_ms, &webhook.id));
    let ids: Vec<&WebhookId> = webhooks.iter().map(|webhook| &webhook.id).collect();
    let counts = store.count_deliveries(&ids).await?;
    let now = store.now();
    Ok(webhooks
        .iter()
        .zip(counts)
        .map(|(webhook, counts)| WebhookBody::of(operator, webhook, now, counts))
        .collect())
}

/// Creates a webhook. Its secret is in the answer, this once.
#[utoipa::path(
    post, path = "/v1/webhooks", operation_id = "create_webhook", tag = "alerts",
    request_body = WebhookRequest,
    responses((status = 201, body = WebhookWithSecret)),
)]
async fn create(
    State(app): State<App>,
    operator: Operator,
    Body(body): Body<WebhookRequest>,
) -> Result<(StatusCode, Json<WebhookWithSecret>), Problem> {
    let webhook = make(&app, &operator, body).await?;
    Ok((
        StatusCode::CREATED,
        Json(WebhookWithSecret::of(&app, &operator, &webhook)),
    ))
}

/// Makes a webhook, and its secret.
pub(crate) async fn make(
    app: &App,
    operator: &Operator,
    body: WebhookRequest,
) -> Result<Webhook, Problem> {
    let webhook = Webhook {
        id: WebhookId::random(),
        url: body.url,
        name: body.name,
        events: sorted(body.events),
        pools: body.pools,
        disabled: (body.enabled == Some(false)).then(|| BY_OPERATOR.to_owned()),
        created_at_ms: app.0.store.now().0,
        secret: SigningSecret::random(),
        former: None,
        format: body.format.unwrap_or_default(),
        routing_key: body.routing_key,
        group: body.group,
        remind_after_ms: body.remind_after_ms,
    };
    let webhook = with_form_of_mail(webhook, body.format);
    check(app, &webhook)?;
    operator.notes.target(&webhook.id);
    operator.notes.after(&noted(&webhook));
    match app.0.store.put_webhook(&webhook, None).await? {
        PutWebhook::Put => Ok(webhook),
        PutWebhook::Full => Err(Problem::new(
            Code::InvalidRequest,
            format!(
                "There are {} webhooks already. Delete those that nobody uses.",
                Webhook::MOST
            ),
        )),
        PutWebhook::Conflict => Err(Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )
        .cause("an id of 70 random bits came twice")),
    }
}

/// Mail has a form of its own, which need not be said; and a webhook that no longer leads to mail has another one.
fn with_form_of_mail(mut webhook: Webhook, said: Option<WebhookFormat>) -> Webhook {
    let is_mail = WebhookFormat::guess(&webhook.url) == WebhookFormat::Email;
    if is_mail && said.is_none_or(|format| format == WebhookFormat::Standard) {
        webhook.format = WebhookFormat::Email;
    }
    if !is_mail && said.is_none() && webhook.format == WebhookFormat::Email {
        webhook.format = WebhookFormat::Standard;
    }
    webhook
}

fn sorted(mut events: Vec<AlertPattern>) -> Vec<AlertPattern> {
    events.sort_unstable();
    events.dedup();
    events
}

fn check(app: &App, webhook: &Webhook) -> Result<(), Problem> {
    let invalid = |field: &str, detail: String| {
        Err(Problem::new(Code::InvalidRequest, detail.clone()).at_field(field, detail))
    };
    if webhook.events.is_empty() {
        return invalid(
            "events",
            "`events` names at least one type of alert, such as pool.full, or * for all."
                .to_owned(),
        );
    }
    if webhook.pools.len() > Webhook::MAX_POOLS {
        return invalid(
            "pools",
            format!("`pools` names at most {}.", Webhook::MAX_POOLS),
        );
    }
    let target = match app.0.webhooks_allowed.target(&webhook.url) {
        Ok(target) => target,
        Err(error) => return invalid("url", format!("{error}.")),
    };
    let is_mail = matches!(target, Target::Mail(_));
    if is_mail != (webhook.format == WebhookFormat::Email) {
        let sentence = if is_mail {
            "`format` of a mailto: address is email."
        } else {
            "`format` email is for mailto: addresses."
        };
        return invalid("format", sentence.to_owned());
    }
    if webhook.format == WebhookFormat::Pagerduty && webhook.routing_key.is_none() {
        return invalid(
            "routing_key",
            "`routing_key` is needed for PagerDuty: the integration key of a service with Events API v2.".to_owned(),
        );
    }
    if webhook
        .remind_after_ms
        .is_some_and(|after| !(600_000..=604_800_000).contains(&after))
    {
        return invalid(
            "remind_after_ms",
            "`remind_after_ms` is 600000 to 604800000: from ten minutes to seven days.".to_owned(),
        );
    }
    if let Some(group) = webhook.group {
        if !(1_000..=600_000).contains(&group.wait_ms) {
            return invalid(
                "group",
                "`group.wait_ms` is 1000 to 600000: from a second to ten minutes.".to_owned(),
            );
        }
        if webhook.format.most_alerts() == 1 {
            return invalid(
                "group",
                "`group` is not for PagerDuty, which takes one alert at a time and puts them together itself.".to_owned(),
            );
        }
    }
    Ok(())
}

/// Reads a webhook.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", operation_id = "read_webhook", tag = "alerts",
    responses((status = 200, body = WebhookBody)),
)]
async fn read(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<WebhookBody>, Problem> {
    app.0.store.refresh_webhooks().await?;
    Ok(Json(shown(&app, &operator, &*find(&app, &id)?).await?))
}

/// A webhook with its counts.
pub(crate) async fn shown(
    app: &App,
    operator: &Operator,
    webhook: &Webhook,
) -> Result<WebhookBody, Problem> {
    let counts = app.0.store.count_deliveries(&[&webhook.id]).await?;
    Ok(with_counts(app, operator, webhook, &counts))
}

/// A webhook that was just changed, with its counts. If they cannot be read, the answer is not an error: the change was made.
async fn changed(
    app: &App,
    operator: &Operator,
    webhook: &Webhook,
) -> Result<WebhookBody, Problem> {
    let counts = app.0.store.count_deliveries(&[&webhook.id]).await;
    let counts = counts.map_err(store::Error::may_have_run)?;
    Ok(with_counts(app, operator, webhook, &counts))
}

fn with_counts(
    app: &App,
    operator: &Operator,
    webhook: &Webhook,
    counts: &[(u64, u64)],
) -> WebhookBody {
    let counts = counts.first().copied().unwrap_or_default();
    WebhookBody::of(operator, webhook, app.0.store.now(), counts)
}

/// Replaces a webhook; its secret and its deliveries stay. Fields that only the server knows are ignored.
#[utoipa::path(
    put, path = "/v1/webhooks/{id}", operation_id = "put_webhook", tag = "alerts",
    request_body = WebhookRequest,
    responses((status = 200, body = WebhookBody)),
)]
async fn replace(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    Body(Replacement(body)): Body<Replacement<WebhookRequest>>,
) -> Result<Json<WebhookBody>, Problem> {
    let patch = WebhookPatch {
        url: Some(body.url),
        events: Some(body.events),
        pools: Some(body.pools),
        name: Some(body.name),
        enabled: Some(body.enabled.unwrap_or(true)),
        format: Some(body.format.unwrap_or_default()),
        group: Some(body.group),
        remind_after_ms: Some(body.remind_after_ms),
        routing_key: body.routing_key,
    };
    let webhook = alter(&app, &operator, &id, &patch).await?;
    Ok(Json(changed(&app, &operator, &webhook).await?))
}

/// Changes a webhook; what is left out stays.
///
/// One that its receiver disabled with 410 goes on with `{"enabled": true}`.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", operation_id = "patch_webhook", tag = "alerts",
    request_body = WebhookPatch,
    responses((status = 200, body = WebhookBody)),
)]
async fn change(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    Body(patch): Body<WebhookPatch>,
) -> Result<Json<WebhookBody>, Problem> {
    let webhook = alter(&app, &operator, &id, &patch).await?;
    Ok(Json(changed(&app, &operator, &webhook).await?))
}

/// Changes a webhook.
pub(crate) async fn alter(
    app: &App,
    operator: &Operator,
    id: &str,
    patch: &WebhookPatch,
) -> Result<Webhook, Problem> {
    let edit = |webhook: &mut Webhook| {
        if let Some(url) = &patch.url {
            webhook.url.clone_from(url);
        }
        if let Some(events) = &patch.events {
            webhook.events = sorted(events.clone());
        }
        if let Some(pools) = &patch.pools {
            webhook.pools.clone_from(pools);
        }
        if let Some(name) = &patch.name {
            webhook.name.clone_from(name);
        }
        if let Some(format) = patch.format {
            webhook.format = format;
        }
        *webhook = with_form_of_mail(webhook.clone(), patch.format);
        if let Some(group) = patch.group {
            webhook.group = group;
        }
        if let Some(after) = patch.remind_after_ms {
            webhook.remind_after_ms = after;
        }
        if let Some(key) = &patch.routing_key {
            webhook.routing_key = Some(key.clone());
        }
        match patch.enabled {
            Some(true) => webhook.disabled = None,
            Some(false) => webhook.disabled = Some(BY_OPERATOR.to_owned()),
            None => {}
        }
        Ok(())
    };
    let (webhook, ()) = records::change(app, operator, id, edit).await?;
    Ok(webhook)
}

/// Deletes a webhook, and what was still to be delivered to it.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", operation_id = "delete_webhook", tag = "alerts",
    responses((status = 204, description = "Deleted")),
)]
async fn remove(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    withdraw(&app, &operator, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a webhook.
pub(crate) async fn withdraw(app: &App, operator: &Operator, id: &str) -> Result<(), Problem> {
    records::delete::<Webhook>(app, operator, id).await
}

impl Record for Webhook {
    async fn refresh(app: &App) -> Result<(), store::Error> {
        app.0.store.refresh_webhooks().await
    }

    fn find(app: &App, _: &Operator, id: &str) -> Result<Self, Problem> {
        find(app, id).map(Arc::unwrap_or_clone)
    }

    fn noted(&self, _: &App) -> impl Serialize {
        noted(self)
    }

    fn check(&self, app: &App) -> Result<(), Problem> {
        check(app, self)
    }

    fn check_given(&self, _: &Operator) -> Result<(), Problem> {
        Ok(())
    }

    async fn write(&self, app: &App, before: &Self) -> Result<bool, store::Error> {
        Ok(app.0.store.put_webhook(self, Some(before)).await? == PutWebhook::Put)
    }

    async fn delete(&self, app: &App) -> Result<bool, store::Error> {
        Ok(app.0.store.delete_webhook(self).await? == PutWebhook::Put)
    }

    fn is_newer(app: &App, _: &Operator, id: &str) -> bool {
        let id = id.parse::<WebhookId>();
        id.is_ok_and(|id| app.0.store.is_newer_webhook(&id))
    }

    async fn delete_newer(app: &App, id: &str) -> Result<bool, store::Error> {
        match id.parse::<WebhookId>() {
            Ok(id) => Ok(app.0.store.delete_newer_webhook(&id).await? == PutWebhook::Put),
            Err(_) => Ok(false),
        }
    }
}

/// Gives a webhook a new secret. For a while both sign, so that the receiver can change over.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/roll", operation_id = "roll_webhook", tag = "alerts",
    request_body = RollWebhook,
    responses((status = 200, body = WebhookWithSecret)),
)]
async fn roll(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<RollWebhook>,
) -> Result<Json<WebhookWithSecret>, Problem> {
    let overlap_ms = body.overlap_ms.unwrap_or(DAY_MS);
    let webhook = replace_secret(&app, &operator, &id, overlap_ms).await?;
    Ok(Json(WebhookWithSecret::of(&app, &operator, &webhook)))
}

/// Gives a webhook a new secret.
pub(crate) async fn replace_secret(
    app: &App,
    operator: &Operator,
    id: &str,
    overlap_ms: u64,
) -> Result<Webhook, Problem> {
    let (webhook, ()) = records::roll(app, operator, id, overlap_ms, Webhook::roll).await?;
    Ok(webhook)
}

/// The webhook of this id, as this node knows it.
pub(crate) fn find(app: &App, id: &str) -> Result<Arc<Webhook>, Problem> {
    let newer = id.parse::<WebhookId>();
    if newer.is_ok_and(|id| app.0.store.is_newer_webhook(&id)) {
        return Err(store::Error::Newer(format!("the webhook {id}")).into());
    }
    let webhooks = app.0.store.webhooks();
    id.parse::<WebhookId>()
        .ok()
        .and_then(|id| webhooks.webhooks.get(&id).cloned())
        .ok_or_else(|| {
            Problem::new(
                Code::WebhookNotFound,
                "There is no webhook with this id. GET /v1/webhooks lists those that there are.",
            )
        })
}
