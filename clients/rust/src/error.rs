use std::fmt;
use std::time::Duration;

use crate::machine::Json;

/// Why there is no seat. `code` is the stable word for programs, `detail` a sentence for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SeatError {
    pub code: String,
    pub detail: String,
    /// Of the answer, if there was one.
    pub status: Option<u16>,
    /// What an operator wrote.
    pub reason: Option<String>,
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
    /// Whether a seat was lost, and not merely denied: work has to stop.
    pub is_lost: bool,
}

impl SeatError {
    pub(crate) fn new(code: &str, details: &Json, is_lost: bool) -> Self {
        let text = |name: &str| Some(details.get(name)?.as_str()?.to_owned());
        let number = |name: &str| details.get(name)?.as_u64();
        let reason = details.get("reason").and_then(|reason| reason.as_str());
        let reason = reason.unwrap_or("");
        Self {
            code: code.to_owned(),
            detail: text("detail")
                .or(sentence(if code == "lease_evicted" {
                    reason
                } else {
                    code
                }))
                .or(text("title"))
                .unwrap_or(code.to_owned()),
            status: number("status").and_then(|status| status.try_into().ok()),
            reason: text("reason"),
            retry_after: number("retry_after_ms").map(Duration::from_millis),
            request_id: text("request_id"),
            is_lost,
        }
    }

    /// Whether the same request may do better later.
    pub fn is_temporary(&self) -> bool {
        matches!(&*self.code, "unreachable" | "timeout")
            || self
                .status
                .is_some_and(|status| status == 429 || status >= 500)
    }
}

fn sentence(code: &str) -> Option<String> {
    let sentence = match code {
        "unreachable" => "The server did not answer.",
        "timeout" => "No seat was granted in time.",
        "not_leasehold" => {
            "What answered is not a Leasehold server. Check the address, and what stands in front of it."
        }
        "outage_grace_over" => {
            "The server has not been heard for longer than work may go on without it."
        }
        "cancelled" => "The request for a seat was withdrawn.",
        "closed" => "The client was closed.",
        "lease_released" => "The seat was given back.",
        "idle" => "Nobody used the seat for a while, and it was given back.",
        "max_hold" => "The seat was held for as long as its pool allows, and was given back.",
        _ => return None,
    };
    Some(sentence.to_owned())
}

impl fmt::Display for SeatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

impl std::error::Error for SeatError {}
