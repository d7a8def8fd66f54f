//! A history that nobody lived, for demonstrations: in a pool that was just made, and nobody knows yet.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use crate::names::PoolName;
use crate::time::Timestamp;

/// Events that are written with one call.
const CHUNK: usize = 500;

/// Something that is said to have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastEvent {
    /// When.
    pub at: Timestamp,
    /// What, as in `lua/README.md`.
    pub kind: &'static str,
    /// The lease, if it is about one.
    pub lease: String,
    /// Who.
    pub holder: String,
    /// The sub-account.
    pub tenant: String,
    /// Why, or of `configured` the capacity.
    pub reason: String,
    /// How many seats more are idle than before.
    pub idle: i64,
}

impl Store {
    /// Replaces the history of a pool by these events, which are in order, and by the capacity that it has now.
    pub async fn replace_history(
        &self,
        pool: &PoolName,
        past: &[PastEvent],
        capacity: u32,
    ) -> Result<(), Error> {
        let keys = Keys::of(pool);
        let events = keys.events();
        let mut connection = self.0.connections.get().await?;
        let () = redis::cmd("DEL")
            .arg(&events)
            .arg(keys.rolled())
            .query_async(&mut *connection)
            .await?;
        for (at, chunk) in past.chunks(CHUNK).enumerate() {
            let mut pipe = redis::pipe();
            for (number, event) in chunk.iter().enumerate() {
                let place = format!("{}-{}", event.at.0, at * CHUNK + number + 1);
                add(&mut pipe, &events, &place, event);
            }
            let () = pipe.query_async(&mut *connection).await?;
        }
        let mut pipe = redis::pipe();
        let now = PastEvent {
            at: self.now(),
            kind: "configured",
            lease: String::new(),
            holder: String::new(),
            tenant: String::new(),
            reason: capacity.to_string(),
            idle: 0,
        };
        add(&mut pipe, &events, "*", &now);
        let () = pipe.query_async(&mut *connection).await?;
        Ok(())
    }
}

/// As scripts write events.
fn add(pipe: &mut redis::Pipeline, events: &str, place: &str, event: &PastEvent) {
    let at = event.at.0.to_string();
    let fields = [
        ("type", event.kind),
        ("id", &event.lease),
        ("at", &at),
        ("holder", &event.holder),
        ("tenant", &event.tenant),
        ("reason", &event.reason),
    ];
    let command = pipe.cmd("XADD").arg(events).arg(place);
    for (name, value) in fields {
        command.arg(name).arg(value);
    }
    if event.idle != 0 {
        command.arg("idle").arg(event.idle);
    }
    command.ignore();
}
