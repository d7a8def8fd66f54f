//! Records in Redis that this version cannot read: mostly, a newer one wrote them.
//!
//! Such a record admits nobody and does nothing here, and no other record suffers for it. Each is named once in the log, and
//! counted for as long as it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::telemetry;

/// Names that are remembered of one kind. More are counted as these.
const MOST: usize = 1_000;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    AccessKey,
    Webhook,
    Pool,
    Delivery,
    Node,
    AuditEntry,
    Alert,
    Event,
    History,
    Session,
}

impl Kind {
    pub(super) const ALL: [Self; 10] = [
        Self::AccessKey,
        Self::Webhook,
        Self::Pool,
        Self::Delivery,
        Self::Node,
        Self::AuditEntry,
        Self::Alert,
        Self::Event,
        Self::History,
        Self::Session,
    ];

    /// The label of the metric.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AccessKey => "access_key",
            Self::Webhook => "webhook",
            Self::Pool => "pool",
            Self::Delivery => "delivery",
            Self::Node => "node",
            Self::AuditEntry => "audit_entry",
            Self::Alert => "alert",
            Self::Event => "event",
            Self::History => "history",
            Self::Session => "session",
        }
    }

    /// What one is called, and what follows for it.
    pub(super) const fn consequence(self) -> (&'static str, &'static str) {
        match self {
            Self::AccessKey => ("the access key", "it admits nobody at this node"),
            Self::Webhook => ("the webhook", "this node makes no messages for it"),
            Self::Pool => (
                "the policy of the pool",
                "this node gives no seats in it; heartbeats and ends go on",
            ),
            Self::Delivery => ("the delivery", "it was given up"),
            Self::Node => ("the sign of the node", "it is not listed"),
            Self::AuditEntry => ("the audit entry", "it is not listed"),
            Self::Alert => ("the alert", "it is not told by this node"),
            Self::Event => ("the event", "it is not counted"),
            Self::History => (
                "the history of the pool",
                "what cannot be read is not in reports of this node",
            ),
            Self::Session => ("the session", "nobody is logged in with it at this node"),
        }
    }
}

/// Those that were met.
#[derive(Debug)]
pub(super) struct Unreadable(Mutex<BTreeMap<Kind, BTreeSet<String>>>);

impl Unreadable {
    /// None yet.
    pub(super) fn new() -> Self {
        for kind in Kind::ALL {
            gauge(kind, 0);
        }
        Self(Mutex::default())
    }

    /// Notes one, and names it in the log if it is new. `name` is no secret and not the record.
    pub(super) fn note(&self, kind: Kind, name: &str) {
        let mut known = self.0.lock().expect("no panic while held");
        let names = known.entry(kind).or_default();
        if names.len() >= MOST || !names.insert(name.to_owned()) {
            return;
        }
        gauge(kind, names.len());
        drop(known);
        let (what, so) = kind.consequence();
        tracing::warn!(
            kind = kind.as_str(),
            name,
            "{what} {name} cannot be read by this version: {so}; a newer node can"
        );
    }

    /// Forgets those of a kind that are not meant by `stays`: they can be read, or are gone.
    pub(super) fn keep(&self, kind: Kind, stays: impl Fn(&str) -> bool) {
        let mut known = self.0.lock().expect("no panic while held");
        let Some(names) = known.get_mut(&kind) else {
            return;
        };
        names.retain(|name| stays(name));
        gauge(kind, names.len());
    }

    /// Those of a kind.
    pub(super) fn names(&self, kind: Kind) -> Vec<String> {
        let known = self.0.lock().expect("no panic while held");
        known.get(&kind).into_iter().flatten().cloned().collect()
    }
}

fn gauge(kind: Kind, count: usize) {
    metrics::gauge!(telemetry::UNREADABLE, "kind" => kind.as_str()).set(count as f64);
}
