//! `/v1/leases/…`: what the holder of a token does with its lease.
//!
//! The token in the body is the only credential, and any content type will do, so that a page that goes away can send
//! a beacon without a preflight. A token never stands in a URL, because URLs are written into logs.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Beacon, RENEW_MANY_LIMIT};
use super::json::Json;
use super::leases::{LeaseBody, millis};
use super::problem::{Code, Problem};
use super::{App, pool_not_found};
use crate::lease::{EndReason, Lease};
use crate::names::{Activities, Label, LeaseId};
use crate::pool::OutageGrace;
use crate::store::{Notice, Renewal, Renewed, carry};
use crate::tasks;
use crate::telemetry::GRACE_USED;
use crate::time::Timestamp;
use crate::token::{self, Claims, Rejected};

/// Most tokens of one renew-many.
const MAX_TOKENS: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(renew))
        .routes(routes!(renew_many))
        .routes(routes!(release))
        .routes(routes!(leave))
}

/// A heartbeat.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenewBody {
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
}

/// A lease that goes on.
#[derive(Debug, Serialize, ToSchema)]
struct RenewedBody {
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
}

/// A message of an operator to a holder.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notice)]
struct NoticeBody {
    /// What it says.
    #[schema(example = "The shift ends in ten minutes.")]
    message: String,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// What became of a heartbeat, and what an operator left for its holder.
fn with_notice(renewed: Renewed) -> (Renewed, Option<NoticeBody>) {
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
        (status = 410, description = "Lost: `lease_expired`, `lease_released`, `lease_terminated` (with `reason` and `blocked_until`) or `lease_evicted`"),
    ),
)]
async fn renew(
    State(app): State<App>,
    Beacon(body): Beacon<RenewBody>,
) -> Result<Json<RenewedBody>, Problem> {
    let (claims, keeps_details) = app.as_recorded(app.verify(&body.token)?).await?;
    let renewal = Renewal {
        claims,
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

/// Its pool may come back, and the seat with it.
fn recovering() -> Problem {
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
        EndReason::Evicted => Problem::new(
            Code::LeaseEvicted,
            "A newer lease of the same holder took this one's place.",
        ),
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
        EndReason::Evicted => Code::LeaseEvicted,
        EndReason::Terminated { .. } => Code::LeaseTerminated,
    }
    .as_str()
}

impl App {
    fn verify(&self, token: &str) -> Result<Claims, Problem> {
        self.0.tokens.verify(token, self.0.store.now()).map_err(|rejected| {
            let detail = match rejected {
                Rejected::Forged => "This is not a token of a lease here. Send the latest one, whole, or acquire again.",
                Rejected::Stale => "The token is too old, because newer ones were not kept. Acquire again.",
            };
            Problem::new(Code::InvalidToken, detail)
        })
    }

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
            lease: self.lease_body(lease),
            resumed,
            notice: None,
        }
    }

    /// A new token, when the old one is past half of its life or does not say what the lease is now.
    fn new_token(&self, renewal: &Renewal, generation: u64, lease: &Lease) -> Option<String> {
        let claims = &renewal.claims;
        let details = claims.details || !lease.activities.is_empty();
        // When this was decided; what else the node has heard from Redis may be of another master.
        let now = lease.renewed_at;
        let as_it_was = claims.generation == generation
            && claims.label == lease.label
            && claims.seat == lease.seat
            && claims.details == details;
        if as_it_was && claims.rest(now) > token::LIFE / 2 {
            return None;
        }
        Some(self.0.tokens.sign(&Claims {
            generation,
            label: lease.label.clone(),
            seat: lease.seat,
            issued_at: now,
            details,
            ..claims.clone()
        }))
    }
}

/// Many heartbeats.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenewManyBody {
    /// The latest tokens of the leases, at most 1000.
    #[schema(max_items = 1_000)]
    tokens: Vec<String>,
}

/// What became of each, in the order of the tokens.
#[derive(Debug, Serialize, ToSchema)]
struct RenewManyResults {
    results: Vec<RenewManyResult>,
}

/// What became of one.
#[derive(Debug, Default, Serialize, ToSchema)]
struct RenewManyResult {
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<LeaseId>,
    /// `renewed`, `resumed`, `lost`, or `invalid` for a text that is no token.
    status: &'static str,
    /// Why it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// What the operator who ended it wants the holder to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Until when the holder may not acquire in this pool.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_until: Option<Timestamp>,
    /// How much longer it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
    /// When to renew again.
    #[serde(skip_serializing_if = "Option::is_none")]
    renew_after_ms: Option<u64>,
    /// For how long the holder may go on after the end while it cannot reach the server; null is without limit.
    #[schema(value_type = Option<u64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    outage_grace_ms: Option<Option<u64>>,
    /// A new token, if there is one; keep it instead of the old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// A signed proof of the lease as it is now, in a pool whose policy has `proofs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    /// What an operator has to say, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<NoticeBody>,
}

/// Renews many leases in one request, for gateways that hold seats for others.
#[utoipa::path(
    post, path = "/v1/leases/renew-many", tag = "leases",
    request_body = RenewManyBody,
    responses(
        (status = 200, body = RenewManyResults),
        (status = 503, description = "`store_unavailable`; some may have been renewed, sending all again is safe"),
    ),
)]
async fn renew_many(
    State(app): State<App>,
    Beacon(body): Beacon<RenewManyBody, RENEW_MANY_LIMIT>,
) -> Result<Json<RenewManyResults>, Problem> {
    if body.tokens.len() > MAX_TOKENS {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`tokens` has at most {MAX_TOKENS} entries. Send several requests."),
        ));
    }
    let mut verified: Vec<Option<Renewal>> = Vec::with_capacity(body.tokens.len());
    for text in &body.tokens {
        verified.push(match app.verify(text) {
            Ok(claims) => Some(Renewal {
                claims: app.as_recorded(claims).await?.0,
                label: None,
                activities: None,
                grace_used_ms: None,
            }),
            Err(_) => None,
        });
    }
    let renewals: Vec<Renewal> = verified.iter().flatten().cloned().collect();
    let mut renewed = renewals.iter().zip(app.0.store.renew_many(&renewals).await);
    let results = verified
        .iter()
        .map(
            |renewal| match renewal.as_ref().and_then(|_| renewed.next()) {
                None => Ok(RenewManyResult {
                    status: "invalid",
                    ..RenewManyResult::default()
                }),
                Some((renewal, renewed)) => app.result(renewal, renewed?),
            },
        )
        .collect::<Result<_, Problem>>()?;
    Ok(Json(RenewManyResults { results }))
}

impl App {
    fn result(&self, renewal: &Renewal, renewed: Renewed) -> Result<RenewManyResult, Problem> {
        let id = Some(renewal.claims.id);
        let live = |status, generation, lease: &Lease| RenewManyResult {
            id,
            status,
            expires_in_ms: Some(millis(lease.expires_in)),
            renew_after_ms: Some(millis(lease.renew_after())),
            outage_grace_ms: Some(self.outage_limit_ms(&lease.pool)),
            token: self.new_token(renewal, generation, lease),
            proof: self.proof(lease, generation),
            ..RenewManyResult::default()
        };
        let lost = |code| RenewManyResult {
            id,
            status: "lost",
            code: Some(code),
            ..RenewManyResult::default()
        };
        let (renewed, notice) = with_notice(renewed);
        let told = match renewed {
            Renewed::Renewed(lease) => live("renewed", renewal.claims.generation, &lease),
            Renewed::Resumed { lease, generation } => live("resumed", generation, &lease),
            Renewed::Lost(end) => {
                let code = code_of(&end);
                let (reason, blocked_until) = match end {
                    EndReason::Terminated {
                        reason,
                        blocked_until,
                    } => (reason, blocked_until),
                    EndReason::Expired | EndReason::Released | EndReason::Evicted => (None, None),
                };
                RenewManyResult {
                    reason,
                    blocked_until,
                    ..lost(code)
                }
            }
            Renewed::NoPool => lost(Code::PoolNotFound.as_str()),
            Renewed::Recovering | Renewed::Noticed(..) => return Err(recovering()),
        };
        Ok(RenewManyResult { notice, ..told })
    }
}

/// A token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    /// The latest token of the lease.
    token: String,
}

/// Releases a lease: the seat is free at once. Releasing it again is a success.
#[utoipa::path(
    post, path = "/v1/leases/release", tag = "leases",
    request_body = TokenBody,
    responses((status = 204, description = "Released")),
)]
async fn release(
    State(app): State<App>,
    Beacon(body): Beacon<TokenBody>,
) -> Result<StatusCode, Problem> {
    let (claims, _) = app.as_recorded(app.verify(&body.token)?).await?;
    finish(async move { app.0.store.release(&claims).await }).await
}

/// Leaves: the lease runs out soon, unless a renew follows. For pages that go away, because a reload looks like a close.
#[utoipa::path(
    post, path = "/v1/leases/leave", tag = "leases",
    request_body = TokenBody,
    responses((status = 204, description = "Left")),
)]
async fn leave(
    State(app): State<App>,
    Beacon(body): Beacon<TokenBody>,
) -> Result<StatusCode, Problem> {
    let claims = app.verify(&body.token)?;
    finish(async move { app.0.store.leave(&claims).await }).await
}

/// Runs to its end even if the page that asked is gone, as it is meant to be.
pub(super) async fn finish(
    operation: impl Future<Output = Result<(), crate::store::Error>> + Send + 'static,
) -> Result<StatusCode, Problem> {
    match tokio::time::timeout(Duration::from_secs(2), tasks::finish(carry(operation))).await {
        Ok(Ok(result)) => Ok(result.map(|()| StatusCode::NO_CONTENT)?),
        _ => Err(Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )),
    }
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
