//! An alert in words and in JSON: the same for webhooks, for the stream, for lists and for pages.

use std::net::SocketAddr;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::config::Settings;
use crate::names::PoolName;
use crate::store::{Alert, AlertState, Delivery};
use crate::time::Timestamp;
use crate::webhook::AlertType;

/// The type of the message that the test button sends.
pub const TEST: &str = "webhook.test";
/// The type of a message that is a list of alerts.
const GROUP: &str = "alerts";

/// A short name for something long, the same each time; not a secret.
pub(super) fn digest(long: &str) -> String {
    let digest = Sha256::digest(long);
    let digest = digest.iter().take(12);
    digest.map(|byte| format!("{byte:02x}")).collect()
}

/// An alert. What does not concern its type is left out.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Alert)]
pub struct AlertBody {
    /// Its name: the same when it begins and when it ends.
    #[schema(example = "crm:pool.level:80:1795000000000")]
    pub alert: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: AlertType,
    /// Raised, over, or reported once afterwards.
    pub state: AlertState,
    /// The pool; null if it is about the store.
    #[schema(value_type = Option<String>)]
    pub pool: Option<PoolName>,
    /// When it was noticed.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// When it began: the exact instant of the event, where there is one.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ended; null while it lasts.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// It in a sentence.
    #[schema(example = "The use of crm reached 80 %: 8 of 10 seats.")]
    pub summary: String,
    /// The level of `alert_at_percent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u16>,
    /// Seats in use then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_use: Option<i64>,
    /// Capacity then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<i64>,
    /// Who wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<i64>,
    /// How many may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_waiting: Option<i64>,
    /// Holders that got no seat within two minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denials: Option<i64>,
    /// Seats that were idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<i64>,
    /// For how long nobody had used the one that was idle longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<i64>,
    /// Leases that expired within the last minutes, at most ten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<i64>,
    /// Their share of all ends, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The usual share, over about a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual_share: Option<f64>,
    /// Seat-milliseconds that were lent today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lent_ms: Option<i64>,
    /// Seat-milliseconds that may be lent a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<i64>,
    /// It went up and down so often that it now stays until it was calm for a minute.
    #[serde(skip_serializing_if = "is_false")]
    pub flapping: bool,
    /// Why it ended, if not by itself: `policy` (the level is not asked for any more) or `deleted` (the pool is gone).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(is: &bool) -> bool {
    !*is
}

/// Where the links of messages lead.
#[derive(Debug, Clone)]
pub struct Links {
    /// What stands in front of the path of a page.
    pages: String,
    /// What stands in front of the name of a runbook.
    runbooks: String,
}

impl Links {
    /// What stands in front of the path of a page.
    pub(super) fn pages(&self) -> &str {
        &self.pages
    }

    /// As the settings say, for a node that listens at this address.
    pub fn of(settings: &Settings, address: SocketAddr) -> Self {
        Self {
            pages: settings.pages(address),
            runbooks: settings.runbooks(address),
        }
    }
}

/// An alert as a message has it: with the way to its page, and to what is to be done.
#[derive(Serialize)]
struct LinkedAlert {
    #[serde(flatten)]
    alert: AlertBody,
    page_url: String,
    runbook_url: String,
    /// It was sent before, and is still active.
    #[serde(skip_serializing_if = "is_false")]
    reminder: bool,
}

impl AlertBody {
    /// The alert in lists.
    pub fn of(alert: &Alert) -> Self {
        Self {
            alert: alert.id(),
            kind: alert.kind,
            state: alert.state,
            pool: alert.pool.clone(),
            at: Timestamp(alert.at),
            since: Timestamp(alert.since),
            until: alert.until.map(Timestamp),
            summary: summary(alert),
            percent: alert.percent,
            in_use: alert.in_use,
            capacity: alert.capacity,
            waiting: alert.waiting,
            max_waiting: alert.max_waiting,
            denials: alert.denials,
            idle: alert.idle,
            idle_ms: alert.idle_ms,
            expired: alert.expired,
            share: alert.share,
            usual_share: alert.usual_share,
            lent_ms: alert.lent_ms,
            budget_ms: alert.budget_ms,
            flapping: alert.flapping,
            reason: alert.reason.clone(),
        }
    }
}

/// The envelope of Standard Webhooks.
#[derive(Serialize)]
struct Message<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    data: T,
}

/// What a webhook gets of an alert.
pub fn body(alert: &Alert, links: &Links) -> String {
    linked(alert, links, false)
}

/// What a webhook gets of an alert that it got before, and that is still raised.
pub fn reminder(alert: &Alert, links: &Links) -> String {
    linked(alert, links, true)
}

fn linked(alert: &Alert, links: &Links, reminder: bool) -> String {
    let page = match &alert.pool {
        Some(pool) => format!("/admin/pools/{pool}"),
        None => "/admin/alerts".to_owned(),
    };
    let linked = LinkedAlert {
        reminder,
        alert: AlertBody::of(alert),
        page_url: format!("{}{page}", links.pages),
        runbook_url: format!("{}/{}", links.runbooks, alert.kind.runbook()),
    };
    text(alert.kind.as_str(), alert.noticed(), linked)
}

/// What a webhook gets when somebody presses the test button.
pub fn test(at: Timestamp) -> String {
    let data =
        serde_json::json!({ "summary": "This is a test from Leasehold. Nothing has happened." });
    text(TEST, at, data)
}

/// Several messages as one, for receivers that take our own form: each with the id that it would have had alone.
pub(super) fn grouped(at: Timestamp, deliveries: &[&Delivery]) -> String {
    let alerts: Vec<Value> = deliveries
        .iter()
        .map(|delivery| {
            let mut message: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
            let mut alert = message["data"].take();
            if let Value::Object(fields) = &mut alert {
                fields.insert("id".to_owned(), delivery.id.clone().into());
            }
            alert
        })
        .collect();
    text(GROUP, at, serde_json::json!({ "alerts": alerts }))
}

fn text(kind: &str, timestamp: Timestamp, data: impl Serialize) -> String {
    let message = Message {
        kind,
        timestamp,
        data,
    };
    serde_json::to_string(&message).expect("strings and numbers have a JSON form")
}

/// An alert in a sentence.
pub fn summary(alert: &Alert) -> String {
    let pool = alert.pool.as_ref().map_or("", PoolName::as_str);
    let number = |number: Option<i64>| number.unwrap_or_default();
    let (in_use, capacity) = (number(alert.in_use), number(alert.capacity));
    let over = alert.state == AlertState::Resolved;
    if over && alert.reason.as_deref() == Some("deleted") {
        return format!("The pool {pool} was deleted.");
    }
    if over && alert.reason.as_deref() == Some("policy") {
        return format!("The policy of {pool} does not name this level any more.");
    }
    let seconds = |ms: i64| (ms + 500) / 1_000;
    let percent = |share: Option<f64>| format!("{:.0} %", share.unwrap_or_default() * 100.0);
    match (alert.kind, over) {
        (AlertType::Level, false) => format!(
            "The use of {pool} reached {} %: {in_use} of {capacity} seats.",
            alert.percent.unwrap_or_default()
        ),
        (AlertType::Level, true) => format!(
            "The use of {pool} is below {} % again: {in_use} of {capacity} seats.",
            alert.percent.unwrap_or_default()
        ),
        (AlertType::Full, false) => {
            format!("All seats of {pool} are in use: {in_use} of {capacity}.")
        }
        (AlertType::Full, true) => {
            format!("The pool {pool} has free seats again: {in_use} of {capacity} are in use.")
        }
        (AlertType::Denials, false) => format!(
            "{} got no seat of {pool} within two minutes.",
            holders(number(alert.denials))
        ),
        (AlertType::Denials, true) => format!(
            "For ten minutes everybody got a seat of {pool}; before, {} did not.",
            holders(number(alert.denials))
        ),
        (AlertType::IdleWhileDenied, false) => format!(
            "Somebody was denied a seat of {pool} while {} idle, the longest for {}.",
            match number(alert.idle) {
                1 => "1 seat was".to_owned(),
                count => format!("{count} seats were"),
            },
            match number(alert.idle_ms) {
                ms @ ..60_000 => format!("{} s", ms / 1_000),
                ms => format!("{} min", ms / 60_000),
            }
        ),
        (AlertType::IdleWhileDenied, true) => format!(
            "For ten minutes nobody was denied a seat of {pool} while seats were idle."
        ),
        (AlertType::ExpirySpike, false) => format!(
            "Of the leases of {pool} that end, {} expire; usual are {}. Clients or their network have a problem.",
            percent(alert.share),
            percent(alert.usual_share)
        ),
        (AlertType::ExpirySpike, true) => {
            format!("No more leases of {pool} expire than usual.")
        }
        (AlertType::Queue, false) => format!(
            "{} of at most {} wait for a seat of {pool}.",
            number(alert.waiting),
            number(alert.max_waiting)
        ),
        (AlertType::Queue, true) => format!(
            "The queue of {pool} is shorter again: {} wait.",
            number(alert.waiting)
        ),
        (AlertType::Overdraft, false) => format!(
            "What {pool} may lend today is spent: {} seat-minutes.",
            number(alert.budget_ms) / 60_000
        ),
        (AlertType::Overdraft, true) => format!("The pool {pool} can lend seats again."),
        (AlertType::Outage, _) => format!(
            "Redis or all nodes were away for {} s, and are back. Nobody who came back in time lost a seat.",
            seconds(alert.until.unwrap_or(alert.at) - alert.since)
        ),
        (AlertType::DataLost, _) => {
            "Redis lost its data. Pools, keys and webhooks are put back; holders come back with their next beat."
                .to_owned()
        }
    }
}

fn holders(count: i64) -> String {
    if count == 1 {
        "1 holder".to_owned()
    } else {
        format!("{count} holders")
    }
}
