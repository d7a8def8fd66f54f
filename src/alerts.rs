//! Alerts, and how they get to webhooks.
//!
//! The scripts of [`crate::store`] decide, once for all nodes; every node runs this, and none is needed for it. [`watch`]
//! has pools judged and alerts made into deliveries, [`deliver`] sends those that this node got, over HTTP ([`post`]) or as
//! mail ([`mail`]), [`message`] says it in words, [`mod@format`] in the form of each service, [`address`] decides which
//! addresses a webhook may have. Deliberately absent: a state of a node that an alert depends on.

pub mod address;
pub mod deliver;
pub mod format;
pub mod mail;
pub mod message;
pub mod post;
pub mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::{describe_counter, describe_gauge};
use tokio::sync::Notify;

use self::address::Allowed;
use self::mail::MailServer;
use self::message::Links;
use crate::config::{Settings, Switch};
use crate::store::Store;
use crate::tasks;

/// Attempts to send a message, by how they ended: delivered, failed or dead.
pub const ATTEMPTS: &str = "leasehold_webhook_attempts_total";
/// Deliveries that wait for an attempt. The same on all nodes.
pub const PENDING: &str = "leasehold_webhook_deliveries_pending";
/// Deliveries that were given up and are kept. The same on all nodes.
pub const DEAD: &str = "leasehold_webhook_deliveries_dead";
/// Alerts that this node took into the log.
pub const TOLD: &str = "leasehold_alerts_told_total";

/// How webhooks are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where they may lead.
    pub allowed: Allowed,
    /// The pause after the first failed attempt.
    pub first_pause: Duration,
    /// Attempts before a delivery is given up.
    pub attempts: u32,
    /// The proxy that all messages go through, if there is one.
    pub proxy: Option<reqwest::Url>,
    /// The server that takes mail, if there is one.
    pub mail: Option<MailServer>,
    /// Where the links of messages lead.
    pub links: Links,
}

impl Options {
    /// As the settings say, for a node that listens at this address.
    pub fn of(settings: &Settings, address: SocketAddr) -> Self {
        Self {
            allowed: Allowed::of(settings),
            mail: MailServer::of(settings),
            links: Links::of(settings, address),
            first_pause: Duration::from_millis(settings.webhook_retry_ms),
            attempts: settings.webhook_attempts,
            proxy: settings.webhook_proxy(),
        }
    }
}

impl Allowed {
    /// As the settings say.
    pub fn of(settings: &Settings) -> Self {
        Self {
            http: settings.webhook_http == Switch::On,
            private: settings.webhook_private_networks == Switch::On,
            mail: settings.smtp_url.is_some(),
        }
    }
}

/// Watches and delivers for as long as the program runs.
pub fn start(store: &Store, options: Options) {
    describe_counter!(
        ATTEMPTS,
        "Attempts of this node to send a message to a webhook, by how they ended"
    );
    describe_counter!(TOLD, "Alerts that this node wrote into its log");
    describe_gauge!(
        PENDING,
        "Messages that wait for an attempt. All nodes tell the same: use max"
    );
    describe_gauge!(
        DEAD,
        "Messages that were given up and are kept. All nodes tell the same: use max"
    );
    let told = Arc::new(Notify::new());
    let links = options.links.clone();
    let node = Arc::new(deliver::Node::new(
        store.clone(),
        options,
        Arc::clone(&told),
    ));
    let store = store.clone();
    tasks::spawn("alerts", move || {
        watch::run(store.clone(), links.clone(), Arc::clone(&told))
    });
    tasks::spawn("deliveries", move || deliver::run(Arc::clone(&node)));
}
