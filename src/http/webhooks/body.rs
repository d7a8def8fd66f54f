//! What is said about a webhook: to whom, and what is not.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::super::App;
use super::super::access::Operator;
use super::super::extract::ReadOnly;
use crate::access_key::Role;
use crate::names::{Label, PoolName};
use crate::time::Timestamp;
use crate::webhook::{AlertPattern, Group, RoutingKey, Webhook, WebhookFormat, WebhookId};

/// A webhook, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookBody {
    /// Its name for machines.
    #[schema(value_type = String, example = "V1StGXR8Z5jd")]
    pub(crate) id: WebhookId,
    /// Where messages are sent. Only admins are shown what follows the host: to some receivers that is a password.
    #[schema(max_length = 2_048, example = "https://hooks.example.com/leasehold")]
    pub(crate) url: String,
    /// Its name for people.
    #[schema(value_type = Option<String>)]
    pub(crate) name: Option<Label>,
    /// Which alerts; `*` is all.
    #[schema(value_type = Vec<String>, example = json!(["pool.full", "pool.level"]))]
    pub(crate) events: Vec<AlertPattern>,
    /// Only alerts of these pools, and those of the store; all if it is empty.
    #[schema(value_type = Vec<String>)]
    pub(crate) pools: Vec<PoolName>,
    /// Whether messages are sent.
    pub(crate) enabled: bool,
    /// Why not; null while they are.
    pub(crate) disabled_reason: Option<String>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    /// In which form it gets its messages.
    pub(crate) format: WebhookFormat,
    /// Which alerts go together as one message; null if each goes alone.
    pub(crate) group: Option<Group>,
    /// Milliseconds after which an alert that nobody has acknowledged is sent again, repeatedly; null if never.
    pub(crate) remind_after_ms: Option<u64>,
    /// End of the time in which the former secret signs as well; null without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) former_secret_until: Option<Timestamp>,
    /// Messages that wait for an attempt.
    pub(crate) pending: u64,
    /// Messages that were given up; they can be sent again.
    pub(crate) dead: u64,
}

impl WebhookBody {
    pub(super) fn of(
        operator: &Operator,
        webhook: &Webhook,
        now: Timestamp,
        (pending, dead): (u64, u64),
    ) -> Self {
        let url = if operator.caller.role() == Role::Admin {
            webhook.url.clone()
        } else {
            without_path(&webhook.url)
        };
        let former = webhook.former.as_ref();
        Self {
            id: webhook.id.clone(),
            url,
            name: webhook.name.clone(),
            events: webhook.events.clone(),
            pools: webhook.pools.clone(),
            enabled: webhook.disabled.is_none(),
            disabled_reason: webhook.disabled.clone(),
            created_at: Timestamp(webhook.created_at_ms),
            format: webhook.format,
            group: webhook.group,
            remind_after_ms: webhook.remind_after_ms,
            former_secret_until: former
                .map(|former| Timestamp(former.until_ms))
                .filter(|until| now < *until),
            pending,
            dead,
        }
    }
}

/// What the trail keeps of a webhook: not the whole URL, which is a password to some receivers.
#[derive(Serialize)]
pub(super) struct AuditedWebhook<'a> {
    url: String,
    name: Option<&'a Label>,
    events: &'a [AlertPattern],
    pools: &'a [PoolName],
    disabled: Option<&'a str>,
    format: WebhookFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Group>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remind_after_ms: Option<u64>,
}

/// A URL without what may be a password, and without the names of people.
fn without_path(url: &str) -> String {
    if WebhookFormat::guess(url) == WebhookFormat::Email {
        let domains: Vec<String> = url
            .split(',')
            .map(|address| format!("…@{}", address.rsplit('@').next().unwrap_or_default()))
            .collect();
        return format!("mailto:{}", domains.join(","));
    }
    let origin = reqwest::Url::parse(url).map(|url| url.origin().ascii_serialization());
    format!("{}/…", origin.unwrap_or_default())
}

pub(super) fn noted(webhook: &Webhook) -> AuditedWebhook<'_> {
    AuditedWebhook {
        url: without_path(&webhook.url),
        name: webhook.name.as_ref(),
        events: &webhook.events,
        pools: &webhook.pools,
        disabled: webhook.disabled.as_deref(),
        format: webhook.format,
        group: webhook.group,
        remind_after_ms: webhook.remind_after_ms,
    }
}

/// A webhook with its secret, this once.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: WebhookBody,
    /// What signs its messages: `whsec_` and base64. It cannot be shown again.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw…")]
    secret: String,
}

/// All webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Webhooks {
    pub(super) items: Vec<WebhookBody>,
    /// Always null: all webhooks are on one page.
    pub(super) next_cursor: Option<String>,
}

/// A webhook to create, or what one becomes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookRequest {
    /// `https://…`, or `mailto:` with up to 20 addresses; at most 2048 bytes. Where it may lead: `docs/alerts.md`.
    #[schema(example = "https://hooks.example.com/leasehold")]
    pub(crate) url: String,
    /// Which alerts, at least one; `*` is all.
    #[schema(value_type = Vec<String>, min_items = 1, example = json!(["pool.full", "pool.level"]))]
    pub(crate) events: Vec<AlertPattern>,
    /// Only alerts of these pools, and those of the store; all if it is empty.
    #[schema(value_type = Vec<String>, max_items = 100)]
    #[serde(default)]
    pub(crate) pools: Vec<PoolName>,
    /// For people, at most 128 bytes.
    #[schema(value_type = Option<String>, max_length = 128)]
    #[serde(default)]
    pub(crate) name: Option<Label>,
    /// Whether messages are sent; they are, if it is left out.
    #[serde(default)]
    pub(crate) enabled: Option<bool>,
    /// In which form it gets its messages: `standard` if it is left out, and `email` for a `mailto:` URL.
    #[serde(default)]
    pub(crate) format: Option<WebhookFormat>,
    /// Which alerts go together as one message; without it each goes alone. PagerDuty takes one at a time.
    #[serde(default)]
    pub(crate) group: Option<Group>,
    /// Milliseconds after which an alert that nobody has acknowledged is sent again, repeatedly: ten minutes to seven days. Without it never.
    #[schema(minimum = 600_000, maximum = 604_800_000, example = 14_400_000)]
    #[serde(default)]
    pub(crate) remind_after_ms: Option<u64>,
    /// The integration key of a PagerDuty service. It is never shown; when the webhook is replaced without one, the present one stays.
    #[schema(value_type = Option<String>, write_only, min_length = 16, max_length = 64)]
    #[serde(default)]
    pub(crate) routing_key: Option<RoutingKey>,
}

/// What [`WebhookBody`] says besides.
impl ReadOnly for WebhookRequest {
    const FIELDS: &'static [&'static str] = &[
        "id",
        "disabled_reason",
        "created_at",
        "former_secret_until",
        "pending",
        "dead",
    ];
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebhookPatch {
    /// Another address.
    #[schema(max_length = 2_048)]
    pub(crate) url: Option<String>,
    /// Other alerts.
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) events: Option<Vec<AlertPattern>>,
    /// Other pools.
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) pools: Option<Vec<PoolName>>,
    /// Another name; null for none.
    #[schema(value_type = Option<String>, max_length = 128)]
    #[serde(deserialize_with = "given")]
    pub(crate) name: Option<Option<Label>>,
    /// Whether messages are sent.
    pub(crate) enabled: Option<bool>,
    /// Another form.
    pub(crate) format: Option<WebhookFormat>,
    /// Which alerts go together; null for each alone.
    #[schema(value_type = Option<Group>)]
    #[serde(deserialize_with = "given")]
    pub(crate) group: Option<Option<Group>>,
    /// Reminders; null for none.
    #[schema(value_type = Option<u64>, minimum = 600_000, maximum = 604_800_000)]
    #[serde(deserialize_with = "given")]
    pub(crate) remind_after_ms: Option<Option<u64>>,
    /// Another integration key of PagerDuty.
    #[schema(value_type = Option<String>, write_only, min_length = 16, max_length = 64)]
    pub(crate) routing_key: Option<RoutingKey>,
}

/// Tells `null` from what is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// How to replace a secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RollWebhook {
    /// How long the former secret signs as well, in milliseconds, at most 90 days; a day without it.
    #[schema(maximum = 7_776_000_000_u64)]
    pub(super) overlap_ms: Option<u64>,
}

impl WebhookWithSecret {
    pub(super) fn of(app: &App, operator: &Operator, webhook: &Webhook) -> Self {
        Self {
            webhook: WebhookBody::of(operator, webhook, app.0.store.now(), (0, 0)),
            secret: webhook.secret.reveal(),
        }
    }
}
