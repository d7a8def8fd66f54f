//! `POST /v1/leases/renew`: the heartbeat.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LeaseBody, checked_idle, millis};
use crate::http::extract::Beacon;
use crate::http::json::Json;
use crate::http::privacy::idle_time;
use crate::http::problem::{Code, Problem};
use crate::http::{App, pool_not_found};
use crate::lease::{EndReason, EndsBy, Eviction, Lease};
use crate::names::{Activities, Label};
use crate::pool::OutageGrace;
use crate::store::{Notice, Renewal, Renewed};
use crate::telemetry::GRACE_USED;
use crate::time::Timestamp;

/// A heartbeat.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewBody {
    /// The latest token of the lease.
    token: String,
    /// What the holder is working on now; left out, it stays as it was.
    #[schema(value_type = Option<Vec<String>>, max_items = 32)]
    #[serde(default)]
    activities: Option<Activities>,
    /// What operators read next to the holder; left out, it stays as it was.
    #[schema(value_type = Option<String>, max_length = 128)]
    #[serde(default)]
    label: Option<Label>,
    /// For how long the holder went on after the end of what it was promised, because it heard nothing; for the history.
    #[serde(default)]
    grace_used_ms: Option<u64>,
    /// For how long the program has seen no activity of its user, by its own measure; left out where it does not know, which counts as
    /// active.
    #[schema(maximum = 2_678_400_000_u64)]
    #[serde(default)]
    idle_ms: Option<u64>,
}

/// A lease that goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RenewedBody {
    lease: LeaseBody,
    /// Whether it had ended by time, and has its seat again.
    resumed: bool,
    /// A new token, if there is one; keep it instead of the old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// A signed proof of the lease as it is now, in a pool whose policy has `proofs`; keep it instead of the old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    /// What an operator has to say, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<NoticeBody>,
    /// When a policy of the pool can end the lease, if that is soon.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<EndsBody>,
    /// That somebody who waits asks for a seat; whoever can do without theirs may yield it.
    #[serde(skip_serializing_if = "Option::is_none")]
    seat_requested: Option<SeatRequestedBody>,
}

/// That seats are asked for by some who wait.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeatRequested)]
pub(super) struct SeatRequestedBody {
    /// How many ask.
    #[schema(example = 1)]
    requests: u64,
    /// For how long the last of them does.
    #[schema(example = 41_000)]
    answer_in_ms: u64,
}

impl SeatRequestedBody {
    pub(super) fn of(lease: &Lease) -> Option<Self> {
        lease.seat_requested.map(|requested| Self {
            requests: requested.requests,
            answer_in_ms: millis(requested.within),
        })
    }
}

/// That a policy of the pool can end a lease soon.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ends)]
pub(super) struct EndsBody {
    /// The time until then; 0 once it can end at any instant.
    #[schema(example = 90_000)]
    in_ms: u64,
    /// `idle`, which any activity of the user puts off, or `max_hold`.
    #[schema(value_type = String, example = "idle")]
    reason: Eviction,
    /// `yield`: the seat is given to somebody who needs it; `end`: it ends.
    #[schema(value_type = String, example = "yield")]
    then: EndsBy,
}

impl EndsBody {
    pub(super) fn of(lease: &Lease) -> Option<Self> {
        lease.ends.map(|ends| Self {
            in_ms: millis(ends.within),
            reason: ends.reason,
            then: ends.then,
        })
    }
}

/// A message of an operator to a holder.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notice)]
pub(super) struct NoticeBody {
    /// What it says.
    #[schema(example = "The shift ends in ten minutes.")]
    message: String,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// What became of a heartbeat, and what an operator left for its holder.
pub(super) fn with_notice(renewed: Renewed) -> (Renewed, Option<NoticeBody>) {
    match renewed {
        Renewed::Noticed(renewed, notice) => {
            let Notice { message, at } = notice;
            (*renewed, Some(NoticeBody { message, at }))
        }
        renewed => (renewed, None),
    }
}

/// Renews a lease: the heartbeat.
///
/// One that comes too late resumes the lease if a seat is free and it ended by time not too long ago.
#[utoipa::path(
    post, path = "/v1/leases/renew", tag = "leases",
    request_body = RenewBody,
    responses(
        (status = 200, body = RenewedBody),
        (status = 404, description = "`pool_not_found`: the lease went with its pool"),
        (status = 410, description = "Lost: `lease_expired`, `lease_released`, `lease_terminated` (with `reason` and `blocked_until`) or `lease_evicted` (with `reason` `idle`, `max_hold` or `handed_over` where such a policy ended it)"),
    ),
)]
pub(super) async fn renew(
    State(app): State<App>,
    Beacon(body): Beacon<RenewBody>,
) -> Result<Json<RenewedBody>, Problem> {
    let claims = app.verify(&body.token)?;
    let idle = checked_idle(body.idle_ms)?;
    let (claims, keeps_details) = app.as_recorded(claims).await?;
    let renewal = Renewal {
        claims,
        idle: match &body.activities {
            Some(activities) => idle_time(idle, activities),
            None => idle,
        },
        label: body.label.filter(|_| keeps_details),
        activities: body.activities.filter(|_| keeps_details),
        grace_used_ms: body.grace_used_ms,
    };
    if let Some(ms) = renewal.grace_used_ms {
        // Nobody can have used more, whatever a client says.
        metrics::counter!(GRACE_USED).increment(ms.min(OutageGrace::MAX_MS).div_ceil(1_000));
    }
    let (renewed, notice) = with_notice(app.0.store.renew(&renewal).await?);
    let answer = |lease, generation, resumed| {
        let renewed = app.renewed(&renewal, lease, generation, resumed);
        Json(RenewedBody { notice, ..renewed })
    };
    match renewed {
        Renewed::Renewed(lease) => Ok(answer(lease, renewal.claims.generation, false)),
        Renewed::Resumed { lease, generation } => Ok(answer(lease, generation, true)),
        Renewed::Recovering | Renewed::Noticed(..) => Err(recovering()),
        Renewed::Lost(end) => Err(lost(&end).with("id", renewal.claims.id)),
        Renewed::NoPool => Err(pool_not_found(&renewal.claims.pool)),
    }
}

impl App {
    fn renewed(
        &self,
        renewal: &Renewal,
        lease: Lease,
        generation: u64,
        resumed: bool,
    ) -> RenewedBody {
        RenewedBody {
            token: self.new_token(renewal, generation, &lease),
            proof: self.proof(&lease, generation),
            ends: EndsBody::of(&lease),
            seat_requested: SeatRequestedBody::of(&lease),
            lease: self.lease_body(lease),
            resumed,
            notice: None,
        }
    }
}

/// Its pool may come back, and the seat with it.
pub(super) fn recovering() -> Problem {
    let detail = "The store has lost its data, and this pool was not put back yet. Send the same request again.";
    Problem::new(Code::Recovering, detail).with("outcome", "none")
}

/// Why a lease is lost, for its holder.
fn lost(end: &EndReason) -> Problem {
    match end {
        EndReason::Expired => Problem::new(
            Code::LeaseExpired,
            "No beat came in time, and the seat was given back. Acquire again.",
        ),
        EndReason::Released => Problem::new(
            Code::LeaseReleased,
            "The holder gave this seat back. Acquire again.",
        ),
        EndReason::Evicted(why) => {
            let detail = match why {
                Eviction::NewerLease => "A newer lease of the same holder took this one's place.",
                Eviction::Idle => {
                    "Nobody used this seat for so long that the pool's policy gave it away. Acquire again when somebody is there."
                }
                Eviction::MaxHold => {
                    "This seat was held for as long as the pool's policy allows. Acquire again."
                }
                Eviction::HandedOver => {
                    "Its holder gave this seat to somebody who asked for one. Acquire again."
                }
            };
            let problem = Problem::new(Code::LeaseEvicted, detail);
            match why.reason() {
                Some(reason) => problem.with("reason", reason),
                None => problem,
            }
        }
        EndReason::Terminated {
            reason,
            blocked_until,
        } => {
            let detail = match reason {
                Some(reason) => format!("An operator ended this lease: {reason}"),
                None => "An operator ended this lease.".to_owned(),
            };
            Problem::new(Code::LeaseTerminated, detail)
                .with("reason", reason)
                .with("blocked_until", blocked_until)
        }
    }
}

/// The code of an end.
pub(super) fn code_of(end: &EndReason) -> &'static str {
    match end {
        EndReason::Expired => Code::LeaseExpired,
        EndReason::Released => Code::LeaseReleased,
        EndReason::Evicted(_) => Code::LeaseEvicted,
        EndReason::Terminated { .. } => Code::LeaseTerminated,
    }
    .as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_waits_for_a_heartbeat_is_small() {
        let renew = size_of_future(renew);
        assert!(renew <= 1_024, "{renew}");
    }
}
