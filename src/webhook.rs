//! Webhooks: where alerts go, and how what goes there is signed. No HTTP, no Redis.
//!
//! The form is that of Standard Webhooks (<https://www.standardwebhooks.com>): each message has an id that stays the
//! same over all attempts, the time of the attempt, and the HMAC-SHA256 of id, time and body under a secret that only
//! the receiver has. While a secret is rolled both sign, so that a receiver can change over when it likes. Services that
//! have a form of their own get that ([`WebhookFormat`]).

mod alert_type;
mod format;
mod secret;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString as _};
use serde::{Deserialize, Serialize};

pub use self::alert_type::{AlertPattern, AlertType};
pub use self::format::{Group, RoutingKey, WebhookFormat};
pub use self::secret::{PreviousSecret, SigningSecret};
use crate::names::{Invalid, Label, PoolName, recorded_if_any};
use crate::time::Timestamp;

const ID: usize = 12;

/// Names a webhook: 12 characters of `0-9A-Za-z`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookId(String);

impl WebhookId {
    /// A new id.
    pub fn random() -> Self {
        Self(Alphanumeric.sample_string(&mut rand::rng(), ID))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for WebhookId {
    type Error = Invalid;

    fn try_from(id: String) -> Result<Self, Invalid> {
        if id.len() == ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self(id))
        } else {
            Err(Invalid(
                "the id of a webhook has 12 letters and digits".into(),
            ))
        }
    }
}

impl std::str::FromStr for WebhookId {
    type Err = Invalid;

    fn from_str(id: &str) -> Result<Self, Invalid> {
        Self::try_from(id.to_owned())
    }
}

impl From<WebhookId> for String {
    fn from(id: WebhookId) -> Self {
        id.0
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where alerts go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its name for machines.
    pub id: WebhookId,
    /// Where it leads.
    pub url: String,
    /// For people.
    #[serde(default, deserialize_with = "recorded_if_any")]
    pub name: Option<Label>,
    /// Which alerts.
    pub events: Vec<AlertPattern>,
    /// Only alerts of these pools, and those of the store; all if it is empty.
    pub pools: Vec<PoolName>,
    /// Why nothing is sent; none while it is.
    pub disabled: Option<String>,
    /// When it was created, ms.
    pub created_at_ms: i64,
    /// What signs.
    pub secret: SigningSecret,
    /// What signs as well, for a time.
    pub former: Option<PreviousSecret>,
    /// In which form it gets its messages.
    #[serde(default, skip_serializing_if = "WebhookFormat::is_standard")]
    pub format: WebhookFormat,
    /// The key that a message to PagerDuty begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<RoutingKey>,
    /// Which alerts go together; none sends each alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// How long after the last message it is reminded of what nobody has acknowledged; none is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_after_ms: Option<u64>,
}

impl Webhook {
    /// Maximum webhooks per installation.
    pub const MOST: usize = 100;
    /// Longest URL, in bytes.
    pub const MAX_URL: usize = 2_048;
    /// Maximum pools per webhook.
    pub const MAX_POOLS: usize = 100;

    /// Whether it wants an alert of this type, of this pool if it is of one.
    pub fn wants(&self, kind: AlertType, pool: Option<&PoolName>) -> bool {
        self.disabled.is_none()
            && self.events.iter().any(|subject| {
                matches!(subject, AlertPattern::All) || *subject == AlertPattern::One(kind)
            })
            && pool.is_none_or(|pool| self.pools.is_empty() || self.pools.contains(pool))
    }

    /// How long the first alert of a group waits for others; none if each goes alone.
    pub fn group_wait(&self) -> Option<Duration> {
        let group = self.group.filter(|_| self.format.most_alerts() > 1)?;
        Some(Duration::from_millis(group.wait_ms))
    }

    /// The value of `webhook-signature`: one signature, or two while the secret is rolled.
    pub fn signatures(&self, id: &str, now: Timestamp, body: &[u8]) -> String {
        let seconds = now.0.div_euclid(1_000);
        let mut signatures = self.secret.sign(id, seconds, body);
        if let Some(former) = &self.former
            && now.0 < former.until_ms
        {
            signatures.push(' ');
            signatures.push_str(&former.secret.sign(id, seconds, body));
        }
        signatures
    }

    /// Gives it a new secret; the present one signs as well until an instant.
    pub fn roll(&mut self, until: Timestamp) {
        let former = std::mem::replace(&mut self.secret, SigningSecret::random());
        self.former = Some(PreviousSecret {
            secret: former,
            until_ms: until.0,
        });
    }
}

/// All webhooks, as a node knows them.
#[derive(Debug, Default)]
pub struct Webhooks {
    /// Grows with every change.
    pub revision: u64,
    /// By id.
    pub webhooks: HashMap<WebhookId, Arc<Webhook>>,
}

#[cfg(test)]
mod tests {
    use super::secret::PREFIX;
    use super::*;

    fn webhook() -> Webhook {
        Webhook {
            id: WebhookId::random(),
            url: "https://example.com/".into(),
            name: None,
            events: vec![AlertPattern::One(AlertType::Full)],
            pools: vec!["crm".parse().unwrap()],
            disabled: None,
            created_at_ms: 0,
            secret: SigningSecret::random(),
            former: None,
            format: WebhookFormat::Standard,
            routing_key: None,
            group: None,
            remind_after_ms: None,
        }
    }

    #[test]
    fn a_secret_survives_the_store_and_shows_itself_nowhere_else() {
        let mut webhook = webhook();
        webhook.roll(Timestamp(2_000));
        let json = serde_json::to_string(&webhook).unwrap();
        let again: Webhook = serde_json::from_str(&json).unwrap();
        assert_eq!(again, webhook);
        let secret = webhook.secret.reveal();
        assert!(secret.starts_with(PREFIX) && secret.len() == PREFIX.len() + 44);
        assert!(!format!("{webhook:?}").contains(&secret[PREFIX.len()..]));
        assert_eq!(
            webhook
                .signatures("m", Timestamp(1_999), b"")
                .split(' ')
                .count(),
            2
        );
        assert_eq!(
            webhook
                .signatures("m", Timestamp(2_000), b"")
                .split(' ')
                .count(),
            1
        );
    }

    #[test]
    fn a_webhook_wants_what_it_names_and_what_concerns_all_pools() {
        let crm = "crm".parse().unwrap();
        let other = "other".parse().unwrap();
        let mut webhook = webhook();
        assert!(webhook.wants(AlertType::Full, Some(&crm)));
        assert!(!webhook.wants(AlertType::Full, Some(&other)));
        assert!(!webhook.wants(AlertType::Level, Some(&crm)));
        assert!(!webhook.wants(AlertType::Outage, None));
        webhook.events = vec!["*".parse().unwrap()];
        assert!(webhook.wants(AlertType::Outage, None));
        webhook.disabled = Some("by an operator".into());
        assert!(!webhook.wants(AlertType::Outage, None));
        assert!("pool.fool".parse::<AlertPattern>().is_err());
    }
}
