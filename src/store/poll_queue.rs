//! Report of those who wait at this node with their requests held open: one call for many of a pool.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::scripts;
use super::scripts::poll_queue::{Gone, Status, Waiter};
use crate::names::{LeaseId, PoolName};
use crate::time::Timestamp;

/// What is known of those who were reported.
#[derive(Debug)]
pub(super) struct PolledQueue {
    /// By when they have to be reported again.
    pub(super) deadline: Timestamp,
    /// When to report again at the latest, because a seat may come free.
    pub(super) next: Duration,
    /// Mean time in which a seat comes free, microseconds.
    pub(super) each_us: u64,
    /// Seats that are free.
    pub(super) free: i64,
    /// Of each that was reported; none if it has to ask.
    pub(super) positions: Vec<Option<u64>>,
}

/// Reads positions. Between two that are known the others are about where they would be if all who wait were spread evenly.
fn positions(words: &str) -> Option<Vec<Option<u64>>> {
    let mut positions: Vec<Option<u64>> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut before: Option<u64> = None;
    for (at, word) in words.split_ascii_whitespace().enumerate() {
        match word {
            "?" => positions.push(None),
            "-" => {
                open.push(at);
                positions.push(Some(0));
            }
            number => {
                let position: u64 = number.parse().ok()?;
                positions.push(Some(position));
                let first = before.unwrap_or(position);
                let steps = open.len() as u64 + 1;
                for (step, place) in (1..).zip(open.drain(..)) {
                    let part = position.saturating_sub(first) * step / steps;
                    positions[place] = Some(first + part);
                }
                before = Some(position);
            }
        }
    }
    for place in open {
        positions[place] = before.map(|position| position + 1);
    }
    Some(positions)
}

impl Store {
    /// Reports `gone`, each with when it was to ask again, and `tickets`, of which the first `new` were not known here.
    pub(super) async fn poll_queue(
        &self,
        pool: &PoolName,
        gone: &[(LeaseId, Timestamp)],
        tickets: Vec<LeaseId>,
        new: usize,
    ) -> Result<PolledQueue, Error> {
        let keys = Keys::of(pool);
        let gone: Vec<Gone> = gone
            .iter()
            .map(|&(gone, deadline)| Gone { gone, deadline })
            .collect();
        let waiters: Vec<Waiter> = tickets
            .into_iter()
            .map(|ticket| Waiter { ticket })
            .collect();
        let call = scripts::PollQueue {
            keys: &keys,
            new: new as u64,
            gones: &gone,
            waiters: &waiters,
        };
        let reply = self.call_whole(pool, &call).await?;
        let positions = match reply.status {
            Status::NoPool => vec![None; waiters.len()],
            Status::Polled => {
                let words = reply.positions.unwrap_or_default();
                positions(&words)
                    .ok_or_else(|| Error::Broken(format!("poll_queue.lua answered {words:?}")))?
            }
        };
        Ok(PolledQueue {
            deadline: reply.deadline,
            next: reply.next,
            each_us: reply.each_us,
            free: reply.free,
            positions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_between_two_that_are_known_are_spread_evenly() {
        let read = positions("1 2 ? - - - 10 - ? 12 - -").unwrap();
        let some = |numbers: &[u64]| numbers.iter().map(|number| Some(*number)).collect();
        let mut right: Vec<Option<u64>> = some(&[1, 2, 0, 4, 6, 8, 10, 11, 0, 12, 13, 13]);
        right[2] = None;
        right[8] = None;
        assert_eq!(read, right);
        assert_eq!(positions("").unwrap(), Vec::new());
        assert_eq!(positions("one"), None);
    }
}
