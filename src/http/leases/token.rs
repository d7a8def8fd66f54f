//! Tokens of leases in requests.
//!
//! The token in the body is the only credential, and any content type will do, so that a page that goes away can send
//! a beacon without a preflight. A token never stands in a URL, because URLs are written into logs.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::problem::{Code, Problem};
use crate::lease::Lease;
use crate::store::Renewal;
use crate::token::{self, Claims, Rejected};

/// A token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    /// The latest token of the lease.
    pub(super) token: String,
}

impl App {
    pub(super) fn verify(&self, token: &str) -> Result<Claims, Problem> {
        self.0.tokens.verify(token, self.0.store.now()).map_err(|rejected| {
            let detail = match rejected {
                Rejected::Forged => "This is not a token of a lease here. Send the latest one, whole, or acquire again.",
                Rejected::Stale => "The token is too old, because newer ones were not kept. Acquire again.",
            };
            Problem::new(Code::InvalidToken, detail)
        })
    }

    /// A new token, when the old one is past half of its life or no longer describes the lease.
    pub(super) fn new_token(
        &self,
        renewal: &Renewal,
        generation: u64,
        lease: &Lease,
    ) -> Option<String> {
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
