//! Words that not every version knows, and whether all nodes that are up know them.
//!
//! A node leaves alone what it cannot read ([`super::unreadable`]). Nodes of the first builds could not do that: one record
//! with a new word spoiled a list for them. So each node says in its sign what it knows, as a number that grows with the
//! words, and a record with a new word is written only when every node that is up knows it.

use serde_json::Value;

use super::Store;
use super::error::Error;
use super::unreadable::Kind;
use crate::names::Tenant;

/// What this version knows: the highest number of [`WORDS`], and of what is not in records.
pub(super) const FORMAT: u32 = 6;

/// A word in records of one kind.
struct Word {
    kind: Kind,
    /// The field in which it stands, or which is new itself.
    field: &'static str,
    /// The new value; none if the field is new, whatever is in it.
    value: Option<&'static str>,
    /// The first format that knows it.
    since: u32,
}

/// The first format in which a holder can be blocked for one tenant. Nodes of earlier ones would grant it the seat.
const BLOCKS_OF_TENANTS: u32 = 5;

/// The words that came after format 0. A new role, field of a policy or type of alert gets a line here.
const WORDS: &[Word] = &[
    Word {
        kind: Kind::Pool,
        field: "holder_match",
        value: Some("folded"),
        since: 1,
    },
    // The origin of a page in a program, which has a scheme of its own or is null.
    Word {
        kind: Kind::AccessKey,
        field: "origins_of_programs",
        value: None,
        since: 2,
    },
    Word {
        kind: Kind::Pool,
        field: "outage_grace_ms",
        value: None,
        since: 2,
    },
    Word {
        kind: Kind::Pool,
        field: "proofs",
        value: None,
        since: 2,
    },
    Word {
        kind: Kind::AccessKey,
        field: "role",
        value: Some("verifier"),
        since: 2,
    },
    Word {
        kind: Kind::Pool,
        field: "idle",
        value: None,
        since: 3,
    },
    Word {
        kind: Kind::Pool,
        field: "max_hold",
        value: None,
        since: 3,
    },
    // A node that does not know it cannot read how its leases end.
    Word {
        kind: Kind::Pool,
        field: "hand_over",
        value: None,
        since: 6,
    },
    Word {
        kind: Kind::AccessKey,
        field: "role",
        value: Some("reports"),
        since: 3,
    },
    // A node that does not know these would let such a key see and acquire for everybody.
    Word {
        kind: Kind::AccessKey,
        field: "tenants",
        value: None,
        since: 3,
    },
    Word {
        kind: Kind::AccessKey,
        field: "tenant",
        value: None,
        since: 3,
    },
    // A node that does not know these would send what the receiver does not understand.
    Word {
        kind: Kind::Webhook,
        field: "format",
        value: None,
        since: 4,
    },
    Word {
        kind: Kind::Webhook,
        field: "group",
        value: None,
        since: 4,
    },
    Word {
        kind: Kind::Webhook,
        field: "remind_after_ms",
        value: None,
        since: 5,
    },
    Word {
        kind: Kind::Webhook,
        field: "events",
        value: Some("pool.idle_while_denied"),
        since: 3,
    },
];

impl Word {
    fn is_in(&self, record: &Value) -> bool {
        let Some(found) = record.get(self.field) else {
            return false;
        };
        match (self.value, found) {
            (None, _) => true,
            (Some(value), Value::Array(list)) => list.iter().any(|item| item == value),
            (Some(value), found) => found == value,
        }
    }
}

/// The newest word of a record, and the format that knows it; none if every version does.
fn newest(kind: Kind, record: &Value) -> Option<(&'static str, u32)> {
    let words = WORDS.iter().filter(|word| word.kind == kind);
    words
        .filter(|word| word.is_in(record))
        .map(|word| (word.value.unwrap_or(word.field), word.since))
        .max_by_key(|(_, since)| *since)
}

impl Store {
    /// Refuses a record with a word that a node which is up does not know.
    pub(super) async fn check_words(
        &self,
        kind: Kind,
        record: &impl serde::Serialize,
    ) -> Result<(), Error> {
        let record = serde_json::to_value(record).unwrap_or_default();
        let Some((word, since)) = newest(kind, &record) else {
            return Ok(());
        };
        self.check_format(word, since).await
    }

    /// Refuses a block for some tenants while a node is up that would not keep to it.
    pub async fn check_blocks_of_tenants(&self, tenants: &[Tenant]) -> Result<(), Error> {
        if tenants.is_empty() {
            return Ok(());
        }
        self.check_format("blocks for some tenants", BLOCKS_OF_TENANTS)
            .await
    }

    async fn check_format(&self, word: &str, since: u32) -> Result<(), Error> {
        let nodes = self.nodes().await?;
        let old = nodes
            .iter()
            .find(|node| node.is_up() && node.sign.format < since);
        match old {
            None => Ok(()),
            Some(node) => Err(Error::OlderNode(format!(
                "The node {} at {} (version {}) does not know {word} yet. Replace it by the present version, then send \
                 the request again.",
                node.sign.host, node.sign.address, node.sign.version
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::access_key::Role;
    use crate::pool::Policy;
    use crate::webhook::AlertType;

    /// What the builds of format 0 know.
    const ROLES: [&str; 4] = ["client", "viewer", "operator", "admin"];
    const EVENTS: [&str; 8] = [
        "pool.level",
        "pool.full",
        "pool.denials",
        "pool.expiry_spike",
        "pool.queue",
        "pool.overdraft",
        "store.outage",
        "store.data_lost",
    ];
    const POLICY: [&str; 17] = [
        "capacity",
        "ttl_ms",
        "linger_ms",
        "resume_window_ms",
        "seat_per",
        "when_full",
        "privacy",
        "tenants",
        "tenant_max",
        "schedule",
        "overdraft",
        "named",
        "queue",
        "platforms",
        "maintenance",
        "alert_at_percent",
        "name",
    ];

    fn is_listed(kind: Kind, field: &str, value: Option<&str>) -> bool {
        WORDS.iter().any(|word| {
            word.kind == kind && word.field == field && (value.is_none() || word.value == value)
        })
    }

    #[test]
    fn a_word_counts_where_it_stands() {
        let newest =
            |word: &str| newest(Kind::Pool, &json!({"holder_match": word, "name": "folded"}));
        assert_eq!(newest("exact"), None);
        assert_eq!(newest("folded"), Some(("folded", 1)));
        let elsewhere = json!({"holder_match": "folded"});
        assert_eq!(super::newest(Kind::Webhook, &elsewhere), None);
    }

    #[test]
    fn every_new_word_has_a_line_and_the_format_covers_it() {
        let highest = WORDS.iter().map(|word| word.since).max();
        assert_eq!(highest.max(Some(BLOCKS_OF_TENANTS)), Some(FORMAT));
        for role in Role::ALL {
            let word = role.as_str();
            assert!(
                ROLES.contains(&word) || is_listed(Kind::AccessKey, "role", Some(word)),
                "{word}"
            );
        }
        for event in AlertType::ALL {
            let word = event.as_str();
            assert!(
                EVENTS.contains(&word) || is_listed(Kind::Webhook, "events", Some(word)),
                "{word}"
            );
        }
        // The schema knows all fields, also those that are left out when they say nothing.
        let schema = serde_json::to_value(<Policy as utoipa::PartialSchema>::schema());
        let schema = schema.expect("a schema has a JSON form");
        let fields = schema["properties"].as_object().expect("fields");
        for field in fields.keys() {
            assert!(
                POLICY.contains(&field.as_str()) || is_listed(Kind::Pool, field, None),
                "{field} is new: give it a line in WORDS"
            );
        }
        // A new field that says nothing must not be written: nodes of format 0 would refuse every pool.
        let plain = super::super::json(&Policy::with_capacity(1));
        let plain: Value = serde_json::from_str(&plain).expect("JSON");
        let plain: BTreeSet<&str> = plain
            .as_object()
            .expect("fields")
            .keys()
            .map(String::as_str)
            .collect();
        assert!(
            plain.iter().all(|field| POLICY.contains(field)),
            "{plain:?}"
        );
    }
}
