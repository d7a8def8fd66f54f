//! In which form a receiver gets its messages, and what that form has room for.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::names::Invalid;

/// What a receiver is sent.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// The form of Standard Webhooks, signed.
    #[default]
    Standard,
    /// An incoming webhook of Slack; Mattermost, Rocket.Chat and Google Chat take the same.
    Slack,
    /// A workflow of Microsoft Teams that begins with a webhook request.
    Teams,
    /// A webhook of Discord.
    Discord,
    /// The Events API v2 of PagerDuty.
    Pagerduty,
    /// Mail, to the addresses of a `mailto:` URL.
    Email,
}

impl WebhookFormat {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Standard,
        Self::Slack,
        Self::Teams,
        Self::Discord,
        Self::Pagerduty,
        Self::Email,
    ];

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::Pagerduty => "pagerduty",
            Self::Email => "email",
        }
    }

    /// Its name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Standard => "A program (Standard Webhooks, signed)",
            Self::Slack => "Slack, Mattermost, Rocket.Chat or Google Chat",
            Self::Teams => "Microsoft Teams",
            Self::Discord => "Discord",
            Self::Pagerduty => "PagerDuty",
            Self::Email => "Mail",
        }
    }

    /// Maximum alerts in one message. Slack has room for 40 000 characters, Teams for 28 KB, Discord for 4 096 characters;
    /// PagerDuty takes one event at a time.
    pub const fn most_alerts(self) -> u64 {
        match self {
            Self::Standard | Self::Email => 200,
            Self::Slack => 50,
            Self::Teams => 40,
            Self::Discord => 8,
            Self::Pagerduty => 1,
        }
    }

    /// What a URL looks like it wants.
    pub fn guess(url: &str) -> Self {
        if url.to_ascii_lowercase().starts_with("mailto:") {
            return Self::Email;
        }
        let Ok(url) = url.parse::<reqwest::Url>() else {
            return Self::Standard;
        };
        let host = url.host_str().unwrap_or_default();
        let is_of = |domain: &str| {
            host == domain
                || host
                    .strip_suffix(domain)
                    .is_some_and(|before| before.ends_with('.'))
        };
        if is_of("hooks.slack.com") || is_of("hooks.slack-gov.com") || is_of("chat.googleapis.com")
        {
            Self::Slack
        } else if is_of("logic.azure.com")
            || is_of("api.powerplatform.com")
            || is_of("webhook.office.com")
        {
            Self::Teams
        } else if (is_of("discord.com") || is_of("discordapp.com"))
            && url.path().starts_with("/api/webhooks/")
        {
            Self::Discord
        } else if is_of("pagerduty.com") {
            Self::Pagerduty
        } else {
            Self::Standard
        }
    }

    /// For records: what every version understands is not written.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) const fn is_standard(&self) -> bool {
        matches!(self, Self::Standard)
    }
}

impl std::str::FromStr for WebhookFormat {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == word);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|format| format.as_str()).collect();
            Invalid(format!("format is {}", known.join(", ")))
        })
    }
}

/// The integration key of a service of PagerDuty. Shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct RoutingKey(String);

impl RoutingKey {
    /// The key itself, for the message that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoutingKey {
    type Error = Invalid;

    fn try_from(key: String) -> Result<Self, Invalid> {
        let is_one =
            (16..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        // The key is not repeated.
        is_one.then_some(Self(key)).ok_or_else(|| {
            Invalid(
                "routing_key is the integration key of a PagerDuty service: 32 letters and digits"
                    .into(),
            )
        })
    }
}

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoutingKey(…)")
    }
}

// For the store, which has to keep it, and for nothing else.
impl Serialize for RoutingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RoutingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// How alerts become one message with a list: what comes within this time after the first goes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// How long others are waited for after the first alert, in milliseconds: 1 000 to 600 000.
    #[schema(minimum = 1_000, maximum = 600_000, example = 5_000)]
    pub wait_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_tells_the_format() {
        for (url, format) in [
            (
                "https://hooks.slack.com/services/T/B/x",
                WebhookFormat::Slack,
            ),
            (
                "https://prod-1.westeurope.logic.azure.com:443/workflows/x",
                WebhookFormat::Teams,
            ),
            (
                "https://discord.com/api/webhooks/1/x",
                WebhookFormat::Discord,
            ),
            ("https://discord.com/other", WebhookFormat::Standard),
            (
                "https://events.eu.pagerduty.com/v2/enqueue",
                WebhookFormat::Pagerduty,
            ),
            ("MAILTO:a@b.example", WebhookFormat::Email),
            (
                "https://hooks.slack.com.evil.example/",
                WebhookFormat::Standard,
            ),
            ("https://evilpagerduty.com/", WebhookFormat::Standard),
            ("nothing", WebhookFormat::Standard),
        ] {
            assert_eq!(WebhookFormat::guess(url), format, "{url}");
        }
        for format in WebhookFormat::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
    }

    #[test]
    fn a_key_of_pagerduty_shows_itself_to_nobody() {
        let key = RoutingKey::try_from("0123456789abcdef0123456789abcdef".to_owned()).unwrap();
        assert!(!format!("{key:?}").contains("0123"));
        let wrong = RoutingKey::try_from("not one".to_owned()).unwrap_err();
        assert!(!wrong.to_string().contains("not one"));
    }
}
