//! Who may do what.
//!
//! Without an admin key the program is open, and serves this machine only. With one, operators show it as a bearer
//! token. Routes of tokens need nothing else: whoever has the token has the seat.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::App;
use super::problem::{Code, Problem};

/// Which credentials there are.
#[derive(Debug)]
pub(super) struct Access {
    /// SHA-256 of the admin key; none in open mode.
    admin: Option<[u8; 32]>,
}

impl Access {
    /// With this admin key, or open.
    pub(super) fn new(admin_key: Option<&SecretString>) -> Self {
        Self {
            admin: admin_key.map(|key| Sha256::digest(key.expose_secret().as_bytes()).into()),
        }
    }

    /// Who shows this credential.
    fn caller(&self, parts: &Parts) -> Result<Caller, Problem> {
        let Some(admin) = &self.admin else {
            return Ok(Caller::Open);
        };
        let shown = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim());
        let Some(shown) = shown else {
            return Err(Problem::new(
                Code::Unauthorized,
                "This route needs a key. Send it as \"Authorization: Bearer KEY\".",
            ));
        };
        // Both sides are hashes of one length, so the time tells nothing about the key.
        let shown: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        if bool::from(shown.ct_eq(admin)) {
            Ok(Caller::Admin)
        } else {
            Err(Problem::new(
                Code::Unauthorized,
                "This key is not known here. Check it, or ask who runs this server.",
            ))
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Anybody on this machine.
    Open,
    /// Who has the admin key.
    Admin,
}

/// Proof that the caller may do what operators do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        app.0.access.caller(parts).map(|_| Self)
    }
}

/// Proof that the caller may acquire, and who it is, for idempotency keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// The same for all requests with one credential, different for others.
    pub(super) identity: &'static str,
}

impl FromRequestParts<App> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let identity = match app.0.access.caller(parts)? {
            Caller::Open => "open",
            Caller::Admin => "admin",
        };
        Ok(Self { identity })
    }
}

/// Describes the credential in the OpenAPI document.
pub(super) struct Credentials;

impl utoipa::Modify for Credentials {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An operator's or a client's key. In open mode none is needed.",
            ))
            .build();
        description
            .components
            .get_or_insert_default()
            .add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}
