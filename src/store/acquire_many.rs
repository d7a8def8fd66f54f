//! Many seats of one pool at once, for a backend that starts with all its people.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::acquire::{AcquireRequest, Acquired, Grant};
use super::error::Error;
use super::scripts::acquire::Status;
use super::seats::{SeatOutcome, SeatRequest};
use super::{Store, script_trace};
use crate::names::{LeaseId, PoolName};

/// Maximum of requests per call, which takes about two milliseconds of Redis's time where they are decided one by one.
pub const ACQUIRE_AT_ONCE: usize = 32;

impl Store {
    /// Answers the first of these requests, at least one of them, in their order. Each is decided alone.
    ///
    /// A pool without rules answers as many as fit into one call, one with rules a single one.
    pub async fn acquire_first(
        &self,
        pool: &PoolName,
        asked: &[AcquireRequest],
    ) -> Result<Vec<Acquired>, Error> {
        super::within_deadline(async {
            let bite = &asked[..asked.len().min(ACQUIRE_AT_ONCE)];
            if bite.iter().any(|asked| asked.snapshot.has_rules()) {
                return Ok(vec![self.acquire(pool, &asked[0]).boxed().await?]);
            }
            // The ids stay the same if the call has to be sent again.
            let requests: Vec<SeatRequest> = bite
                .iter()
                .map(|asked| SeatRequest::acquire(pool, asked, LeaseId::random()))
                .collect();
            let mut restored = false;
            loop {
                let answers = self.ask_for_seats(requests.iter()).await?;
                let undecided = answers.iter().find_map(|answer| match answer.outcome {
                    SeatOutcome::Undecided(why) => Some(why),
                    _ => None,
                });
                if let Some(answer) = answers.last() {
                    script_trace::note(answer.step);
                }
                return match undecided {
                    None => Ok(bite
                        .iter()
                        .zip(answers)
                        .filter_map(|(asked, answer)| match answer.outcome {
                            SeatOutcome::Granted(given) => {
                                Some(Acquired::Granted(Grant::new(pool, asked, &given)))
                            }
                            SeatOutcome::Decided(acquired) => Some(*acquired),
                            SeatOutcome::Freed | SeatOutcome::Undecided(_) => None,
                        })
                        .collect()),
                    Some(Status::Changed) => {
                        self.status(pool).boxed().await?;
                        Ok(vec![Acquired::Changed])
                    }
                    Some(Status::Rules) => {
                        self.status(pool).boxed().await?;
                        Ok(vec![self.acquire(pool, &asked[0]).boxed().await?])
                    }
                    Some(Status::NoPool | Status::Recovering)
                        if !restored && self.restore(pool).await? =>
                    {
                        restored = true;
                        continue;
                    }
                    Some(Status::Recovering) => Ok(vec![Acquired::Recovering {
                        retry_after: Duration::from_secs(1),
                    }]),
                    Some(Status::NoPool | Status::Done) => Ok(vec![Acquired::NoPool]),
                };
            }
        })
        .await
    }
}
