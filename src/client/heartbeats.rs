//! The heartbeats of one lease, in the background.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::sync::watch;

use super::held::{EndsSoon, Loss, State, locked};
use super::promise::{Clocks, Promise};
use super::{Client, Error, RETRY, jittered, text};
use crate::time::millis;

/// Minimum time from one heartbeat to the next.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Time without activity after which the next activity is reported at once.
const LONG_IDLE: Duration = Duration::from_secs(10);
/// How often to check if somebody is back.
const ACTIVITY_CHECK: Duration = Duration::from_secs(1);
/// Longest idle time that a server takes.
const LONGEST_IDLE: Duration = Duration::from_secs(31 * 86_400);

/// The heartbeats of one lease.
pub(super) struct Heartbeats {
    pub(super) client: Client,
    pub(super) id: String,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) loss: watch::Sender<Option<Loss>>,
}

impl Heartbeats {
    pub(super) async fn run(self, first: Duration) {
        let (mut after, mut retry) = (first, RETRY.0);
        let mut reported = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(jittered(after)) => {}
                () = self.comes_back(reported), if reported.is_some_and(|idle| LONG_IDLE <= idle) => {}
            }
            reported = self.idle();
            let error = match self.send(reported).await {
                Ok(promise) => {
                    after = promise.renew_after.max(SHORTEST_PAUSE);
                    retry = RETRY.0;
                    continue;
                }
                Err(error) => error,
            };
            if let Some(code) = error.end() {
                let loss = Loss {
                    code: code.to_owned(),
                    reason: Some(error.to_string()),
                };
                self.loss.send_replace(Some(loss));
                return;
            }
            tracing::debug!(error = %error, "a heartbeat got no answer: {error}");
            after = retry.max(error.retry_after()).min(self.longest_pause());
            retry = (retry * 2).min(RETRY.1);
        }
    }

    /// For how long nobody has done anything, if somebody says so.
    fn idle(&self) -> Option<Duration> {
        let idle = locked(&self.state).idle.clone();
        idle.and_then(|idle| idle())
    }

    /// Waits for the first activity after that time without any.
    async fn comes_back(&self, reported: Option<Duration>) {
        loop {
            tokio::time::sleep(ACTIVITY_CHECK).await;
            if self.idle() < reported {
                return;
            }
        }
    }

    /// Sends one heartbeat, and keeps what its answer promises.
    async fn send(&self, idle: Option<Duration>) -> Result<Promise, Error> {
        let (token, left) = {
            let state = locked(&self.state);
            (state.token.clone(), state.promise.left())
        };
        let mut body = json!({ "token": token.expose_secret() });
        if let Some(idle) = idle {
            body["idle_ms"] = json!(millis(idle.min(LONGEST_IDLE)));
        }
        if left.certain.is_zero() {
            let used = left.used.min(left.grace.unwrap_or(left.used));
            body["grace_used_ms"] = json!(millis(used));
        }
        let sent = Clocks::now();
        let answer = self
            .client
            .call(Method::POST, "/v1/leases/renew", &[], Some(&body))
            .await?;
        let lease = &answer["lease"];
        let promise = Promise::of(lease, sent).filter(|_| lease["id"] == self.id.as_str());
        let promise = promise.ok_or_else(|| self.client.not_leasehold(StatusCode::OK))?;
        let mut state = locked(&self.state);
        state.promise = promise;
        state.ends = EndsSoon::of(&answer["ends"]);
        if let Some(token) = text(&answer["token"]) {
            state.token = SecretString::from(token);
        }
        Ok(promise)
    }

    /// However long the server wants to be left alone, the lease is not to run out for it; and whoever comes back within one length of
    /// the server's return keeps the seat.
    fn longest_pause(&self) -> Duration {
        let promise = locked(&self.state).promise;
        let rest = promise.left().certain;
        let longest = match rest.is_zero() {
            true => promise.expires_in / 2,
            false => rest / 2,
        };
        longest.max(SHORTEST_PAUSE)
    }
}
