//! `GET /v1/jwks`: the public keys that verify proofs of leases. No credential: they are no secret.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::json::Json;
use crate::lease::Lease;
use crate::proof::{MAX_AGE_S, PublicKey};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(jwks))
}

/// A set of public keys (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// A public key (RFC 8037).
#[derive(Debug, Serialize, ToSchema)]
struct Jwk {
    /// Always `OKP`.
    #[schema(example = "OKP")]
    kty: &'static str,
    /// Always `Ed25519`.
    #[schema(example = "Ed25519")]
    crv: &'static str,
    /// The key, 43 characters of base64url.
    x: String,
    /// Its thumbprint (RFC 7638), which proofs name.
    kid: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    usage: &'static str,
}

impl From<PublicKey> for Jwk {
    fn from(key: PublicKey) -> Self {
        Self {
            kty: "OKP",
            crv: "Ed25519",
            x: key.x,
            kid: key.kid,
            usage: "sig",
        }
    }
}

/// The public keys that verify proofs of leases: of all nodes, also those that will sign, and those that signed before.
#[utoipa::path(
    get,
    path = "/v1/jwks",
    operation_id = "read_jwks",
    tag = "leases",
    responses(
        (status = 200, description = "May be kept for five minutes", body = Jwks, headers(("Cache-Control" = String, description = "For how long"))),
    ),
)]
async fn jwks(State(app): State<App>) -> Response {
    let keys = app.public_keys().into_iter().map(Jwk::from).collect();
    let mut response = Json(Jwks { keys }).into_response();
    let headers = response.headers_mut();
    let kept = HeaderValue::try_from(format!("public, max-age={MAX_AGE_S}"));
    headers.insert(CACHE_CONTROL, kept.expect("digits"));
    // A page may verify, too.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

impl App {
    /// The public keys of all nodes that this one has heard of.
    pub(super) fn public_keys(&self) -> Vec<PublicKey> {
        let published = self.0.store.published_proof_keys();
        self.0.proofs.known(&published, &self.0.tokens)
    }

    /// A proof of a lease as it is now, if its pool wants proofs.
    pub(super) fn proof(&self, lease: &Lease, generation: u64) -> Option<String> {
        let policy = self.0.store.cached_policy(&lease.pool)?;
        self.0.proofs.prove(lease, generation, &policy)
    }
}
