//! What an alert can be about, and which of it a webhook wants.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::Invalid;

/// Declares the types once, so that word, runbook and meaning cannot get out of step.
macro_rules! alert_types {
    ($($kind:ident $word:tt $runbook:literal $meaning:literal;)*) => {
        /// Alerts, by the `type` of their messages.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        pub enum AlertType {
            $(
                #[doc = $meaning]
                #[serde(rename = $word)]
                $kind,
            )*
        }

        impl AlertType {
            /// All of them.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$kind),*];

            /// The word in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }

            /// What to read when it is raised, in `docs/runbooks`.
            pub const fn runbook(self) -> &'static str {
                match self {
                    $(Self::$kind => $runbook,)*
                }
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$kind => $meaning,)*
                }
            }
        }
    };
}

alert_types! {
    Level "pool.level" "pool-nearly-full" "The use of a pool reached a level of its alert_at_percent.";
    Full "pool.full" "pool-full" "All seats of a pool are in use.";
    Denials "pool.denials" "pool-full" "Holders got no seat within two minutes.";
    IdleWhileDenied "pool.idle_while_denied" "pool-full" "Somebody was denied while seats were idle.";
    ExpirySpike "pool.expiry_spike" "expiry-spike" "Far more leases than usual expire because their heartbeats stop.";
    Queue "pool.queue" "pool-full" "The queue is nearly full.";
    Overdraft "pool.overdraft" "pool-full" "What may be lent on a day is spent.";
    Outage "store.outage" "store-down" "Redis or all nodes were away, and are back.";
    DataLost "store.data_lost" "data-loss" "Redis lost its data.";
}

impl AlertType {
    /// Whether somebody has to act at once.
    pub const fn is_critical(self) -> bool {
        matches!(self, Self::Outage | Self::DataLost)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_has_a_runbook() {
        for kind in AlertType::ALL {
            let file = format!("docs/runbooks/{}.md", kind.runbook());
            assert!(std::path::Path::new(&file).exists(), "{file}");
        }
    }
}
