//! `POST /v1/leases/renew-many`: heartbeats of a gateway that holds seats for others.

use std::time::Duration;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::renew::{EndsBody, NoticeBody, SeatRequestedBody, code_of, recovering, with_notice};
use crate::http::App;
use crate::http::extract::{Beacon, RENEW_MANY_LIMIT};
use crate::http::json::Json;
use crate::http::problem::{Code, Problem};
use crate::lease::{EndReason, Lease};
use crate::names::LeaseId;
use crate::pool::MAX_IDLE_MS;
use crate::store::{Renewal, Renewed};
use crate::time::{Timestamp, millis};

/// Maximum tokens per renew-many.
const MAX_TOKENS: usize = 1_000;

/// Many heartbeats.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewManyBody {
    /// The latest tokens of the leases, at most 1000.
    #[schema(max_items = 1_000)]
    #[serde(default)]
    tokens: Option<Vec<String>>,
    /// The same, where something is known of their users; in place of `tokens`.
    #[schema(max_items = 1_000)]
    #[serde(default)]
    leases: Option<Vec<RenewOne>>,
}

/// One of many heartbeats.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenewOne {
    /// The latest token of the lease.
    token: String,
    /// For how long the program has seen no activity of its user; left out where it does not know, which counts as active.
    /// More than 31 days count as 31 days: it stops the heartbeats of nobody else.
    #[serde(default)]
    idle_ms: Option<u64>,
}

/// What became of each, in the order of the tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RenewManyResults {
    results: Vec<RenewManyResult>,
}

/// What became of one.
#[derive(Debug, Default, Serialize, ToSchema)]
struct RenewManyResult {
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<LeaseId>,
    /// `renewed`, `resumed`, `lost`, or `invalid` for a string that is no token.
    status: &'static str,
    /// Why it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// What the operator who ended it wants the holder to read, or the policy that ended it: `idle`, `max_hold` or `handed_over`.
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
    /// When its user was last active, by Redis's clock; null where nothing is known. Only in a pool whose policy has `idle`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    active_at: Option<Option<Timestamp>>,
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
    /// When a policy of the pool can end the lease, if that is soon.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<EndsBody>,
    /// That somebody who waits asks for a seat.
    #[serde(skip_serializing_if = "Option::is_none")]
    seat_requested: Option<SeatRequestedBody>,
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
pub(super) async fn renew_many(
    State(app): State<App>,
    Beacon(body): Beacon<RenewManyBody, RENEW_MANY_LIMIT>,
) -> Result<Json<RenewManyResults>, Problem> {
    let heartbeats = body.heartbeats()?;
    let mut verified: Vec<Option<Renewal>> = Vec::with_capacity(heartbeats.len());
    for (token, idle) in &heartbeats {
        verified.push(match app.verify(token) {
            Ok(claims) => Some(Renewal {
                claims: app.as_recorded(claims).await?.0,
                idle: *idle,
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

impl RenewManyBody {
    /// The tokens, and for how long each user has done nothing.
    fn heartbeats(self) -> Result<Vec<(String, Option<Duration>)>, Problem> {
        let refused = |detail: String| Err(Problem::new(Code::InvalidRequest, detail));
        let (name, given) = match (self.tokens, self.leases) {
            (Some(tokens), None) => {
                let tokens = tokens.into_iter().map(|token| (token, None));
                ("tokens", tokens.collect::<Vec<_>>())
            }
            (None, Some(leases)) => {
                let leases = leases.into_iter().map(|lease| (lease.token, lease.idle_ms));
                ("leases", leases.collect())
            }
            _ => {
                return refused(
                    "Say which leases to renew in one way: `tokens` or `leases`.".into(),
                );
            }
        };
        if given.len() > MAX_TOKENS {
            return refused(format!(
                "`{name}` has at most {MAX_TOKENS} entries. Send several requests."
            ));
        }
        // One who says too much must not stop the heartbeats of all.
        let cut = |idle_ms: u64| Duration::from_millis(idle_ms.min(MAX_IDLE_MS));
        let given = given.into_iter();
        Ok(given
            .map(|(token, idle_ms)| (token, idle_ms.map(cut)))
            .collect())
    }
}

impl App {
    fn result(&self, renewal: &Renewal, renewed: Renewed) -> Result<RenewManyResult, Problem> {
        let id = Some(renewal.claims.id);
        let live = |status, generation, lease: &Lease| RenewManyResult {
            id,
            status,
            expires_in_ms: Some(millis(lease.expires_in)),
            renew_after_ms: Some(millis(lease.renew_after())),
            active_at: self.told_active_at(lease),
            outage_grace_ms: Some(self.outage_limit_ms(&lease.pool)),
            token: self.new_token(renewal, generation, lease),
            proof: self.proof(lease, generation),
            ends: EndsBody::of(lease),
            seat_requested: SeatRequestedBody::of(lease),
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
                    EndReason::Evicted(why) => (why.reason().map(str::to_owned), None),
                    EndReason::Expired | EndReason::Released => (None, None),
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
