//! A wait for a seat, in the queue of a pool that has one.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::promise::Clocks;
use super::{Client, Error, Held, RETRY, jittered};
use crate::names::PoolName;
use crate::time::millis;

/// Longest pause between two requests with a ticket: the place is lost after 6 s without one.
const KEEPS_PLACE: Duration = Duration::from_secs(2);
/// How long the server may hold a waiting request open; well within the time that one request may take.
const HELD_BACK: Duration = Duration::from_secs(5);

/// A place among those who wait for a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueTicket {
    /// How many are served first, and this one; nothing in a pool without a queue, where who asks at the right moment
    /// is served.
    pub position: Option<u64>,
    /// When a seat may come free, worked out by the server.
    pub eta: Option<Duration>,
    /// What the server said, if it said no.
    pub detail: Option<String>,
}

/// A wait for a seat. Dropping it leaves the queue in the background; [`WaitingForSeat::leave`] waits for that.
#[derive(Debug)]
pub struct WaitingForSeat {
    pub(super) client: Client,
    pub(super) pool: PoolName,
    pub(super) ask: Value,
    pub(super) ticket: Option<SecretString>,
}

impl WaitingForSeat {
    /// Waits for a seat; `told` hears of the place while it does. It can be dropped and called again: the place is kept for
    /// some seconds.
    ///
    /// In a pool with a queue nobody overtakes. In one without it asks again when a seat can come free.
    pub async fn seat(&mut self, mut told: impl FnMut(&QueueTicket)) -> Result<Held, Error> {
        let mut body = match &self.ticket {
            Some(ticket) => json!({ "ticket": ticket.expose_secret() }),
            None => self.ask.clone(),
        };
        let mut waits = false;
        loop {
            let sent = Clocks::now();
            let answer = self.client.ask(&self.pool, &body).await;
            // A client that waits already also waits through an outage. A first request without an answer may have the wrong address.
            if let Err(error) = &answer
                && error.is_temporary()
                && waits
            {
                told(&QueueTicket {
                    position: None,
                    eta: None,
                    detail: Some(error.to_string()),
                });
                tokio::time::sleep(jittered(KEEPS_PLACE)).await;
                continue;
            }
            waits = true;
            match answer {
                Ok(answer) => {
                    let Some(ticket) = answer["ticket"].as_str() else {
                        self.ticket = None;
                        return Held::begin(&self.client, &answer, sent);
                    };
                    told(&QueueTicket {
                        position: answer["position"].as_u64(),
                        eta: answer["eta_ms"].as_u64().map(Duration::from_millis),
                        detail: None,
                    });
                    // The server holds the answer back until there is a seat, so there is nothing to wait for here.
                    body = json!({ "ticket": ticket, "wait_ms": millis(HELD_BACK) });
                    self.ticket = Some(SecretString::from(ticket));
                }
                Err(Error::Problem { code, .. }) if code == "ticket_expired" => {
                    self.ticket = None;
                    body = self.ask.clone();
                }
                Err(Error::Problem {
                    status: 409,
                    retry_after_ms,
                    detail,
                    ..
                }) => {
                    self.ticket = None;
                    body = self.ask.clone();
                    told(&QueueTicket {
                        position: None,
                        eta: Some(Duration::from_millis(retry_after_ms)),
                        detail: Some(detail),
                    });
                    let wait = Duration::from_millis(retry_after_ms).clamp(RETRY.0, RETRY.1);
                    tokio::time::sleep(jittered(wait)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves the queue, and waits until the server knows. A seat that came in the same moment is given back.
    pub async fn leave(mut self) -> Result<(), Error> {
        match self.ticket.take() {
            Some(ticket) => self.client.leave_queue(&self.pool, &ticket).await,
            None => Ok(()),
        }
    }
}

impl Drop for WaitingForSeat {
    fn drop(&mut self) {
        let (Some(ticket), Ok(runtime)) =
            (self.ticket.take(), tokio::runtime::Handle::try_current())
        else {
            // The server gives up a place that nobody asks about.
            return;
        };
        let (client, pool) = (self.client.clone(), self.pool.clone());
        runtime.spawn(async move { client.leave_queue(&pool, &ticket).await });
    }
}
