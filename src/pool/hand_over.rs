//! Whether somebody who waits may ask the holders of a pool for a seat.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Policy;
use crate::names::Invalid;

/// Lets those who wait ask for a seat: holders read it in their heartbeats, and one may yield.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HandOver {
    /// For how long holders are told, 1 000 to 86 400 000 ms; 60 000 if it is left out. Shorter than the time between two heartbeats, and some
    /// of them never hear of it.
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    pub answer_ms: u64,
}

impl Default for HandOver {
    fn default() -> Self {
        Self { answer_ms: 60_000 }
    }
}

impl Policy {
    pub(super) fn check_hand_over(&self) -> Result<(), Invalid> {
        let Some(hand_over) = &self.hand_over else {
            return Ok(());
        };
        if !(1_000..=Self::MAX_MS).contains(&hand_over.answer_ms) {
            return Err(Invalid(format!(
                "hand_over.answer_ms is 1000 to {} milliseconds",
                Self::MAX_MS
            )));
        }
        if self.queue.is_none() {
            return Err(Invalid(
                "hand_over is for those who wait, so the pool needs a queue; give queue too, or leave hand_over out".into(),
            ));
        }
        Ok(())
    }
}
