//! `leasehold webhook`: where alerts go.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{Remote, confirm};
use super::{Exit, Failure};
use crate::names::PoolName;
use crate::stderr;
use crate::webhook::{AlertPattern, WebhookFormat, WebhookId};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Webhook {
    /// Create a webhook and print its secret, this once
    Create {
        /// Where messages are sent, such as `https://hooks.example.com/leasehold` or `mailto:on-call@example.com`
        url: String,
        /// In which form: `standard`, `slack`, `teams`, `discord` or `pagerduty` [default: as the address looks like]
        #[arg(long)]
        format: Option<WebhookFormat>,
        /// Send together, as one message with a list, what comes within this time, in ms, after the first alert
        #[arg(long, value_name = "MS")]
        group_ms: Option<u64>,
        /// File that holds the integration key of a PagerDuty service
        #[arg(long, value_name = "FILE")]
        routing_key_file: Option<PathBuf>,
        /// Type of alert, such as pool.full, or * for all; may be given more than once
        #[arg(long = "event", value_name = "TYPE", required = true)]
        events: Vec<AlertPattern>,
        /// Only alerts of this pool, and those of the store; may be given more than once
        #[arg(long = "pool", value_name = "POOL")]
        pools: Vec<PoolName>,
        /// For people
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List the webhooks
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Send messages to a webhook again, after it was disabled
    Enable {
        /// Id of the webhook
        id: WebhookId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Send nothing more to a webhook, but keep it
    Disable {
        /// Id of the webhook
        id: WebhookId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Send a test message, and say what the receiver answered
    Test {
        /// Id of the webhook
        id: WebhookId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Give a webhook a new secret and print it, this once
    Roll {
        /// Id of the webhook
        id: WebhookId,
        /// How long the former secret signs as well, in ms [default: a day]
        #[arg(long, value_name = "MS")]
        overlap_ms: Option<u64>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List what was sent, what waits, and what was given up
    Deliveries {
        /// Id of the webhook
        id: WebhookId,
        /// Only pending, delivered or dead ones
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Send a delivery again, now
    Resend {
        /// Id of the webhook
        id: WebhookId,
        /// Id of the delivery
        delivery: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Delete a webhook, and what was still to be delivered to it
    Delete {
        /// Id of the webhook
        id: WebhookId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: &Webhook) -> Result<Exit, Failure> {
    match command {
        Webhook::Create {
            url,
            format,
            group_ms,
            routing_key_file,
            events,
            pools,
            name,
            remote,
        } => {
            let format = format.unwrap_or_else(|| WebhookFormat::guess(url));
            let mut body = json!({"url": url, "events": events, "pools": pools, "name": name});
            if format != WebhookFormat::Standard {
                body["format"] = json!(format);
            }
            if let Some(wait_ms) = group_ms {
                body["group"] = json!({ "wait_ms": wait_ms });
            }
            if let Some(file) = routing_key_file {
                let key = std::fs::read_to_string(file).map_err(|error| {
                    let sentence = format!("{} cannot be read: {error}", file.display());
                    Failure::new(Exit::Usage, sentence)
                })?;
                body["routing_key"] = json!(key.trim());
            }
            let webhook = remote.call(Method::POST, "/v1/webhooks", Some(&body), "secret")?;
            reveal(remote, &webhook)
        }
        Webhook::List { remote } => {
            let webhooks = remote.list("/v1/webhooks", usize::MAX)?;
            let columns = [
                "id", "url", "format", "events", "pools", "enabled", "pending", "dead",
            ];
            remote.show(&webhooks, &columns, "there are no webhooks")
        }
        Webhook::Enable { id, remote } => enable(remote, id, true),
        Webhook::Disable { id, remote } => enable(remote, id, false),
        Webhook::Test { id, remote } => test(remote, id),
        Webhook::Roll {
            id,
            overlap_ms,
            remote,
        } => {
            let body = overlap_ms.map_or_else(|| json!({}), |ms| json!({ "overlap_ms": ms }));
            let path = format!("/v1/webhooks/{id}/roll");
            reveal(
                remote,
                &remote.call(Method::POST, &path, Some(&body), "secret")?,
            )
        }
        Webhook::Deliveries { id, state, remote } => {
            let mut wanted = form_urlencoded::Serializer::new(String::new());
            wanted.append_pair("limit", "500");
            if let Some(state) = state {
                wanted.append_pair("state", state);
            }
            let path = format!("/v1/webhooks/{id}/deliveries?{}", wanted.finish());
            let mut items = remote.list(&path, usize::MAX)?;
            if !remote.json {
                for item in &mut items {
                    let last = item["attempts"].as_array().and_then(|list| list.last());
                    item["last"] = last.map_or(Value::Null, |last| match last["error"].as_str() {
                        Some(error) => match last["status"].as_u64() {
                            Some(status) => json!(format!("{status}: {error}")),
                            None => json!(error),
                        },
                        None => last["status"].clone(),
                    });
                }
            }
            let columns = [
                "id",
                "state",
                "type",
                "pool",
                "created_at",
                "tries",
                "next_attempt_at",
                "last",
            ];
            remote.show(&items, &columns, "nothing was sent yet")
        }
        Webhook::Resend {
            id,
            delivery,
            remote,
        } => {
            let delivery: String = form_urlencoded::byte_serialize(delivery.as_bytes()).collect();
            on_its_way(
                remote,
                &format!("/v1/webhooks/{id}/deliveries/{delivery}/resend"),
            )
        }
        Webhook::Delete { id, yes, remote } => {
            let path = format!("/v1/webhooks/{id}");
            let webhook = remote.call(Method::GET, &path, None, "id")?;
            confirm(
                &format!(
                    "Delete the webhook {id} ({}), with what was still to be delivered?",
                    webhook["url"].as_str().unwrap_or_default()
                ),
                *yes,
            )?;
            remote.delete(&path)?;
            stderr::say_line(format_args!("{id} is deleted"));
            Ok(Exit::Ok)
        }
    }
}

fn enable(remote: &Remote, id: &WebhookId, enabled: bool) -> Result<Exit, Failure> {
    let body = json!({ "enabled": enabled });
    let webhook = remote.call(
        Method::PATCH,
        &format!("/v1/webhooks/{id}"),
        Some(&body),
        "id",
    )?;
    if remote.json {
        return remote.show_json(&webhook);
    }
    stderr::say_line(format_args!(
        "{id} is {}",
        if enabled { "enabled" } else { "disabled" }
    ));
    Ok(Exit::Ok)
}

/// How long a test waits for what the receiver says: less than any command waits for a server.
const TEST_MS: u64 = 5_000;

fn test(remote: &Remote, id: &WebhookId) -> Result<Exit, Failure> {
    let path = format!("/v1/webhooks/{id}/test?wait_ms={TEST_MS}");
    let answer = remote.call(Method::POST, &path, Some(&json!({})), "delivery")?;
    if remote.json {
        return remote.show_json(&answer);
    }
    let delivery = answer["delivery"].as_str().unwrap_or_default();
    let attempt = &answer["attempt"];
    let status = attempt["status"].as_u64().map(|status| format!("{status}"));
    let status = status.unwrap_or_default();
    let reply = attempt["reply"]
        .as_str()
        .map(|reply| format!("; it said: {reply}"));
    let reply = reply.unwrap_or_default();
    match attempt["error"].as_str() {
        _ if attempt.is_null() => stderr::say_line(format_args!(
            "on its way, and not answered yet; `leasehold webhook deliveries` shows how it ends:"
        )),
        Some(error) => {
            stderr::say_line(format_args!(
                "not accepted, and comes again by itself: {error} {status}{reply}"
            ));
            super::print(&format!("{delivery}\n"))?;
            return Ok(Exit::Error);
        }
        None => stderr::say_line(format_args!("accepted: {status}{reply}")),
    }
    super::print(&format!("{delivery}\n"))
}

fn on_its_way(remote: &Remote, path: &str) -> Result<Exit, Failure> {
    let answer = remote.call(Method::POST, path, Some(&json!({})), "delivery")?;
    if remote.json {
        return remote.show_json(&answer);
    }
    stderr::say_line(format_args!(
        "on its way; `leasehold webhook deliveries` shows how it ends:"
    ));
    super::print(&format!(
        "{}\n",
        answer["delivery"].as_str().unwrap_or_default()
    ))
}

/// The secret alone on stdout, so that it can go straight into a file.
fn reveal(remote: &Remote, webhook: &Value) -> Result<Exit, Failure> {
    if remote.json {
        return remote.show_json(webhook);
    }
    // Only our own form is signed.
    if webhook["format"].as_str() != Some("standard") {
        let id = webhook["id"].as_str().unwrap_or_default();
        stderr::say_line(format_args!(
            "the webhook is made; try it with: leasehold webhook test {id}"
        ));
        return super::print(&format!("{id}\n"));
    }
    stderr::say_line(format_args!(
        "webhook {}; its secret cannot be shown again:",
        webhook["id"].as_str().unwrap_or_default()
    ));
    super::print(&format!(
        "{}\n",
        webhook["secret"].as_str().unwrap_or_default()
    ))
}
