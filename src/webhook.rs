//! Webhooks: where alerts go, and how what goes there is signed. No HTTP, no Redis.
//!
//! The form is that of Standard Webhooks (<https://www.standardwebhooks.com>): each message has an id that stays the
//! same over all attempts, the time of the attempt, and the HMAC-SHA256 of id, time and body under a secret that only
//! the receiver has. While a secret is rolled both sign, so that a receiver can change over when it likes. Services that
//! have a form of their own get that ([`WebhookFormat`]).

mod format;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use utoipa::ToSchema;

pub use self::format::{Group, RoutingKey, WebhookFormat};
use crate::names::{Invalid, Label, PoolName, recorded_if_any};
use crate::time::Timestamp;

const ID: usize = 12;
/// Bytes of a new secret.
const SECRET: usize = 32;
/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";

/// Alerts, by the `type` of their messages.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum AlertType {
    /// The use of a pool reached a level of its `alert_at_percent`.
    #[serde(rename = "pool.level")]
    Level,
    /// All seats of a pool are in use.
    #[serde(rename = "pool.full")]
    Full,
    /// Holders got no seat within two minutes.
    #[serde(rename = "pool.denials")]
    Denials,
    /// Somebody was denied while seats were idle.
    #[serde(rename = "pool.idle_while_denied")]
    IdleWhileDenied,
    /// Far more leases than usual expire because their heartbeats stop.
    #[serde(rename = "pool.expiry_spike")]
    ExpirySpike,
    /// The queue is nearly full.
    #[serde(rename = "pool.queue")]
    Queue,
    /// What may be lent on a day is spent.
    #[serde(rename = "pool.overdraft")]
    Overdraft,
    /// Redis or all nodes were away, and are back.
    #[serde(rename = "store.outage")]
    Outage,
    /// Redis lost its data.
    #[serde(rename = "store.data_lost")]
    DataLost,
}

impl AlertType {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Level,
        Self::Full,
        Self::Denials,
        Self::IdleWhileDenied,
        Self::ExpirySpike,
        Self::Queue,
        Self::Overdraft,
        Self::Outage,
        Self::DataLost,
    ];

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Level => "pool.level",
            Self::Full => "pool.full",
            Self::Denials => "pool.denials",
            Self::IdleWhileDenied => "pool.idle_while_denied",
            Self::ExpirySpike => "pool.expiry_spike",
            Self::Queue => "pool.queue",
            Self::Overdraft => "pool.overdraft",
            Self::Outage => "store.outage",
            Self::DataLost => "store.data_lost",
        }
    }

    /// What to read when it is raised, in `docs/runbooks`.
    pub const fn runbook(self) -> &'static str {
        match self {
            Self::Level => "pool-nearly-full",
            Self::Full | Self::Denials | Self::Queue | Self::Overdraft | Self::IdleWhileDenied => {
                "pool-full"
            }
            Self::ExpirySpike => "expiry-spike",
            Self::Outage => "store-down",
            Self::DataLost => "data-loss",
        }
    }

    /// Whether somebody has to act at once.
    pub const fn is_critical(self) -> bool {
        matches!(self, Self::Outage | Self::DataLost)
    }

    /// What it means, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Level => "The use of a pool reached a level of its alert_at_percent.",
            Self::Full => "All seats of a pool are in use.",
            Self::Denials => "Holders got no seat within two minutes.",
            Self::IdleWhileDenied => "Somebody was denied while seats were idle.",
            Self::ExpirySpike => "Far more leases than usual expire because their heartbeats stop.",
            Self::Queue => "The queue is nearly full.",
            Self::Overdraft => "What may be lent on a day is spent.",
            Self::Outage => "Redis or all nodes were away, and are back.",
            Self::DataLost => "Redis lost its data.",
        }
    }
}

impl std::str::FromStr for AlertType {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| {
                let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
                Invalid(format!("events are {} or *", known.join(", ")))
            })
    }
}

/// An alert type, or `*` for all that there are and will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AlertPattern {
    /// All.
    All,
    /// One.
    One(AlertType),
}

impl TryFrom<String> for AlertPattern {
    type Error = Invalid;

    fn try_from(word: String) -> Result<Self, Invalid> {
        word.parse()
    }
}

impl std::str::FromStr for AlertPattern {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        if word == "*" {
            Ok(Self::All)
        } else {
            word.parse().map(Self::One)
        }
    }
}

impl AlertPattern {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "*",
            Self::One(kind) => kind.as_str(),
        }
    }
}

impl From<AlertPattern> for String {
    fn from(subject: AlertPattern) -> Self {
        subject.as_str().to_owned()
    }
}

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

/// What signs the messages of one webhook. Shows itself to nobody but by [`SigningSecret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret([u8; SECRET]);

impl SigningSecret {
    /// A new one, from the generator of the operating system.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Its text, for the receiver, once: `whsec_` and base64.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    /// `v1,` and the signature of a message, as it stands in `webhook-signature`.
    pub fn sign(&self, id: &str, at_seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(format!("{id}.{at_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

// For the store, which has to keep it, and for nothing else.
impl Serialize for SigningSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix(PREFIX)
            .and_then(|text| STANDARD.decode(text).ok()?.try_into().ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("not a signing secret"))
    }
}

/// A former secret that still signs next to the present one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// The secret.
    pub secret: SigningSecret,
    /// Until when, ms.
    pub until_ms: i64,
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
        }
    }

    #[test]
    fn every_alert_has_a_runbook() {
        for kind in AlertType::ALL {
            let file = format!("docs/runbooks/{}.md", kind.runbook());
            assert!(std::path::Path::new(&file).exists(), "{file}");
        }
    }

    #[test]
    fn the_signature_is_that_of_the_example_of_the_specification() {
        // Computed with the published libraries for this secret; it is shorter than ours, and padded here by the HMAC.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
        assert_eq!(
            STANDARD.encode(mac.finalize().into_bytes()),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        // A key of 24 bytes with zeros behind it is the same key to an HMAC.
        let mut padded = [0; SECRET];
        padded[..key.len()].copy_from_slice(&key);
        let secret = SigningSecret(padded);
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                b"{\"test\": 2432232314}"
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
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
