//! The life of one holder: away, asking, holding, and one of the ways to go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::Bench;
use super::tally::{HolderState, Operation, Tally};
use crate::client::{Client, Error, jittered};

/// First and longest wait after no answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How often a seat is given back that nobody confirms.
const GIVE_UP_AFTER: usize = 3;
/// How often somebody is denied until he goes away for a while.
const DENIALS: u32 = 5;
/// The coming back of a page that was left: a reload.
const RELOAD: Duration = Duration::from_secs(2);

pub(super) struct Holder {
    bench: Bench,
    ask: Value,
    acquire: String,
    client: Client,
    tally: Arc<Tally>,
    doing: Option<HolderState>,
}

/// Why a holder does nothing more: the run is over.
struct Over;

/// A lease that is held.
struct Lease {
    token: String,
    renew_after: Duration,
}

impl Holder {
    pub(super) fn new(bench: &Bench, number: u32, client: Client, tally: Arc<Tally>) -> Self {
        let mut ask =
            json!({ "holder": format!("agent-{number}"), "label": format!("Agent {number}") });
        if bench.tenants > 0 {
            ask["tenant"] = format!("tenant-{}", number % bench.tenants + 1).into();
        }
        if bench.wait {
            ask["wait"] = true.into();
        }
        Self {
            ask,
            acquire: format!("/v1/pools/{}/leases", bench.pool),
            bench: bench.clone(),
            client,
            tally,
            doing: None,
        }
    }

    /// Runs until the end of the run. An error that makes going on pointless ends the whole run.
    pub(super) async fn live(
        mut self,
        mut stop: watch::Receiver<bool>,
        refuse: mpsc::Sender<Error>,
    ) {
        // Not all at once: people do not come so, and the first second would be the worst of the run.
        self.turn(HolderState::Away);
        let mut away = self.bench.away.mul_f64(rand::random());
        while pause(&mut stop, away).await.is_ok() {
            let lease = match self.come(&mut stop).await {
                Ok(Some(lease)) => lease,
                Ok(None) => {
                    away = around(self.bench.away);
                    self.turn(HolderState::Away);
                    continue;
                }
                Err(None) => return,
                Err(Some(error)) => {
                    // Another holder may have said so before.
                    let _ = refuse.try_send(error);
                    return;
                }
            };
            self.turn(HolderState::Holding);
            if self.hold(lease, &mut stop).await.is_err() {
                return;
            }
            self.turn(HolderState::Away);
            away = around(self.bench.away);
        }
    }

    fn turn(&mut self, to: HolderState) {
        self.tally.turn(self.doing.replace(to), to);
    }

    /// Asks until there is a seat, or until it has heard no often enough.
    async fn come(
        &mut self,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<Lease>, Option<Error>> {
        let random: [u8; 16] = rand::random();
        let key = URL_SAFE_NO_PAD.encode(random);
        let mut body = self.ask.clone();
        body["activities"] = json!([format!("Order {}", rand::random_range(1_000..10_000))]);
        let headers = [("idempotency-key", key.as_str())];
        let mut retry = RETRY.0;
        let mut denials = 0;
        loop {
            let asked = Instant::now();
            let answer = self
                .client
                .call(Method::POST, &self.acquire, &headers, Some(&body))
                .await;
            let took = asked.elapsed();
            let unanswered = answer.as_ref().is_err_and(Error::is_temporary);
            let wait = match answer {
                Ok(answer) if answer["ticket"].is_string() => {
                    self.tally.count(Operation::Acquire, took, Ok("queued"));
                    self.turn(HolderState::Waiting);
                    body["ticket"] = answer["ticket"].clone();
                    milliseconds(&answer["retry_after_ms"])
                }
                Ok(answer) => {
                    self.tally.count(Operation::Acquire, took, Ok("granted"));
                    self.tally.see(&answer["pool"]);
                    return Ok(Some(Lease {
                        token: answer["token"].as_str().unwrap_or_default().to_owned(),
                        renew_after: milliseconds(&answer["lease"]["renew_after_ms"]),
                    }));
                }
                Err(Error::Problem {
                    status: 409 | 410 | 503,
                    code,
                    retry_after_ms,
                    ..
                }) if is_a_no(&code) => {
                    self.tally.count(Operation::Acquire, took, Ok(&code));
                    denials += 1;
                    if denials == DENIALS {
                        return Ok(None);
                    }
                    self.turn(HolderState::Waiting);
                    // A ticket that expired is not asked for again.
                    body = self.ask.clone();
                    Duration::from_millis(retry_after_ms.clamp(200, 10_000))
                }
                Err(error) if error.is_temporary() => {
                    self.fail(Operation::Acquire, took, &error);
                    retry = (retry * 2).min(RETRY.1);
                    retry
                }
                Err(error) => {
                    self.fail(Operation::Acquire, took, &error);
                    return Err(Some(error));
                }
            };
            if pause(stop, jittered(wait)).await.is_err() {
                if unanswered {
                    self.give_back_what_may_be_ours(&headers, &body).await;
                }
                return Err(None);
            }
        }
    }

    /// At the end of a run: a request without an answer may have got a seat, and the same request repeated learns that.
    async fn give_back_what_may_be_ours(&self, headers: &[(&str, &str)], body: &Value) {
        let answer = self
            .client
            .call(Method::POST, &self.acquire, headers, Some(body))
            .await;
        if let Ok(answer) = answer
            && let Some(token) = answer["token"].as_str()
        {
            let lease = Lease {
                token: token.to_owned(),
                renew_after: Duration::ZERO,
            };
            self.give(Operation::Release, &lease).await;
        }
    }

    /// Beats until the stay is over, and goes in one of the three ways; or until the lease is lost.
    async fn hold(
        &mut self,
        mut lease: Lease,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Over> {
        let mut until = Instant::now() + around(self.bench.stay);
        let mut retry = RETRY.0;
        let mut next = Instant::now() + self.until_beat(&lease);
        loop {
            let pause_for = next.min(until).saturating_duration_since(Instant::now());
            if pause(stop, pause_for).await.is_err() {
                self.give(Operation::Release, &lease).await;
                return Err(Over);
            }
            if Instant::now() >= until {
                match rand::random_range(0..100) {
                    chance if chance < self.bench.crash => return Ok(()),
                    chance if chance < self.bench.crash + self.bench.leave => {
                        self.give(Operation::Leave, &lease).await;
                        if rand::random() {
                            return Ok(());
                        }
                        // A reload: the page is back before its seat is gone.
                        pause(stop, around(RELOAD).min(RELOAD * 2))
                            .await
                            .map_err(|_| Over)?;
                        until = Instant::now() + around(self.bench.stay);
                    }
                    _ => {
                        self.give(Operation::Release, &lease).await;
                        return Ok(());
                    }
                }
            }
            let asked = Instant::now();
            let body = json!({ "token": lease.token });
            let answer = self
                .client
                .call(Method::POST, "/v1/leases/renew", &[], Some(&body))
                .await;
            let took = asked.elapsed();
            match answer {
                Ok(answer) => {
                    let word = if answer["resumed"] == true {
                        "resumed"
                    } else {
                        "renewed"
                    };
                    self.tally.count(Operation::Renew, took, Ok(word));
                    if let Some(token) = answer["token"].as_str() {
                        token.clone_into(&mut lease.token);
                    }
                    lease.renew_after = milliseconds(&answer["lease"]["renew_after_ms"]);
                    next = Instant::now() + self.until_beat(&lease);
                    retry = RETRY.0;
                }
                Err(Error::Problem {
                    status: 410, code, ..
                }) => {
                    self.tally.count(Operation::Renew, took, Ok(&code));
                    return Ok(());
                }
                Err(error) => {
                    self.fail(Operation::Renew, took, &error);
                    if !error.is_temporary() {
                        return Ok(());
                    }
                    next = Instant::now() + jittered(retry);
                    retry = (retry * 2).min(RETRY.1);
                }
            }
        }
    }

    fn until_beat(&self, lease: &Lease) -> Duration {
        jittered(self.bench.beat.unwrap_or(lease.renew_after))
    }

    /// Releases or leaves. What gets no answer is sent again, so that a run leaves no seat behind; at last the seat comes back by
    /// itself.
    async fn give(&self, operation: Operation, lease: &Lease) {
        let body = json!({ "token": lease.token });
        let path = format!("/v1/leases/{}", operation.word());
        for attempt in 0..GIVE_UP_AFTER {
            if attempt > 0 {
                tokio::time::sleep(jittered(RETRY.0)).await;
            }
            let asked = Instant::now();
            let answer = self
                .client
                .call(Method::POST, &path, &[], Some(&body))
                .await;
            let took = asked.elapsed();
            match answer {
                Ok(_) => {
                    let left = operation == Operation::Leave;
                    let word = if left { "left" } else { "released" };
                    self.tally.count(operation, took, Ok(word));
                    return;
                }
                Err(error) => {
                    self.fail(operation, took, &error);
                    if !error.is_temporary() {
                        return;
                    }
                }
            }
        }
    }

    fn fail(&self, operation: Operation, took: Duration, error: &Error) {
        let why = match error {
            Error::Problem { status, code, .. } => format!("{status} {code}"),
            Error::Unreachable(why) => why.clone(),
            Error::NotLeasehold { status, .. } => format!("{status} not Leasehold"),
        };
        self.tally.count(operation, took, Err(&why));
    }
}

/// Whether it is an answer that a pool in order gives to somebody who gets no seat.
fn is_a_no(code: &str) -> bool {
    matches!(
        code,
        "pool_full"
            | "tenant_full"
            | "named_seats_exhausted"
            | "queue_full"
            | "holder_blocked"
            | "ticket_expired"
            | "maintenance"
            | "recovering"
    )
}

/// Waits, and says if the run is over.
async fn pause(stop: &mut watch::Receiver<bool>, time: Duration) -> Result<(), Over> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stopped| *stopped) => Err(Over),
        () = tokio::time::sleep(time) => Ok(()),
    }
}

fn milliseconds(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap_or(1_000).max(10))
}

/// A time of which the mean is known and nothing else: exponentially distributed, as are the lengths of calls; at most five
/// times the mean, so that a run has an end.
fn around(mean: Duration) -> Duration {
    let share: f64 = rand::random();
    mean.mul_f64((-(1.0 - share).ln()).min(5.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_around_their_mean() {
        let mean = Duration::from_secs(10);
        let all: Vec<_> = (0..20_000).map(|_| around(mean)).collect();
        let sum: Duration = all.iter().sum();
        let found = sum.as_secs_f64() / 20_000.0;
        assert!((9.5..10.5).contains(&found), "{found}");
        assert!(all.iter().all(|time| *time <= mean * 5));
    }
}
