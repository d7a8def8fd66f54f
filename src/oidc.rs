//! The provider of a single sign-on (OpenID Connect Core 1.0), as a client sees it. No Redis, and no HTTP but to the provider.
//!
//! A login is the code flow with PKCE (RFC 7636). What comes back is checked here: the issuer (also RFC 9207), the audience, the
//! authorized party, signature, times and nonce of the ID token. Who somebody is, is issuer and subject; every other claim is a
//! description.
//!
//! A node starts and runs without the provider: its documents are fetched when somebody logs in, and kept for a while. Deliberately
//! absent: redirects, which could lead a node anywhere, algorithms with a shared secret, and `none`.

mod check;
mod fetch;
mod id_token;
mod login;
mod logout;
mod signature;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

pub use self::check::{TOO_MANY, check};
use self::fetch::Fetcher;
pub use self::id_token::{Claims, Groups, groups_in};
pub use self::login::{LoggedIn, LoginAttempt};
pub use self::logout::EndedAtProvider;
use self::signature::PublicKeys;
use crate::config::{OidcLogout, Settings};

/// How long the documents of a provider are believed. Keys that come between are asked for when a token names one.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// How often keys are fetched because of one that is not known: anybody can name one.
const REFETCH: Duration = Duration::from_secs(60);
/// How far the clocks of node and provider may be apart.
const LEEWAY_S: i64 = 60;

/// Why somebody could not be logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The provider did not answer, or not with what was asked for. The text is for the log.
    #[error("the provider cannot be used: {0}")]
    Provider(String),
    /// It answered, and said no; its own code.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// What came is not to be believed.
    #[error("the answer of the provider is not to be believed: {0}")]
    Untrusted(String),
}

/// The part of a discovery document that is used here.
#[derive(Debug, Clone, Deserialize)]
struct Discovery {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    end_session_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What is known of the provider, and since when.
#[derive(Default)]
struct Known {
    discovery: Option<(Arc<Discovery>, Instant)>,
    keys: Option<(Arc<PublicKeys>, Instant)>,
}

/// The provider of the settings.
pub struct Provider {
    issuer: String,
    client_id: String,
    client_secret: Option<SecretString>,
    scopes: String,
    user_claim: String,
    groups_claim: String,
    public_url: String,
    logout: OidcLogout,
    fetcher: Fetcher,
    known: Mutex<Known>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({})", self.issuer)
    }
}

impl Provider {
    /// The one of these settings, if they name one.
    pub fn of(settings: &Settings) -> Option<Self> {
        let issuer = settings.oidc_issuer.clone()?;
        let public_url = settings.public_url.as_ref()?;
        // Read and found good when the settings were checked.
        let ca = settings.oidc_ca().ok().flatten();
        Some(Self {
            issuer,
            client_id: settings.oidc_client_id.clone()?,
            client_secret: settings.oidc_client_secret.clone(),
            scopes: settings.oidc_scopes.clone(),
            user_claim: settings.oidc_user_claim.clone(),
            groups_claim: settings.oidc_groups_claim.clone(),
            public_url: public_url.trim_end_matches('/').to_owned(),
            logout: settings.oidc_logout,
            fetcher: Fetcher::new(ca),
            known: Mutex::default(),
        })
    }

    /// Whose tokens are taken.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where the provider leads back to. Never made of what a request says.
    pub fn redirect_uri(&self) -> String {
        format!("{}/admin/login/callback", self.public_url)
    }

    /// Whether a log-out ends the session at the provider, too.
    pub fn ends_at_provider(&self) -> bool {
        self.logout == OidcLogout::Provider
    }

    /// The discovery document, at most an hour old.
    async fn discovery(&self) -> Result<Arc<Discovery>, Error> {
        if let Some((discovery, at)) = &self.known().discovery
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(discovery));
        }
        let discovery = Arc::new(self.fetch_discovery().await?.0);
        self.known().discovery = Some((Arc::clone(&discovery), Instant::now()));
        Ok(discovery)
    }

    /// The discovery document, and the clock of the provider if it told.
    async fn fetch_discovery(&self) -> Result<(Discovery, Option<i64>), Error> {
        let address = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.trim_end_matches('/')
        );
        let (document, clock) = self.fetcher.get_with_clock(&address, None).await?;
        let discovery: Discovery = serde_json::from_value(document).map_err(|error| {
            Error::Provider(format!("{address} is no discovery document: {error}"))
        })?;
        // Exactly, because it is compared with the tokens.
        if discovery.issuer != self.issuer {
            return Err(Error::Provider(format!(
                "{address} is of the issuer {:?}, and oidc_issuer is {:?}; they have to be equal to the last character",
                discovery.issuer, self.issuer
            )));
        }
        Ok((discovery, clock))
    }

    /// The keys that sign; with `anew` fetched again, at most once a minute.
    async fn keys(&self, anew: bool) -> Result<Arc<PublicKeys>, Error> {
        if let Some((keys, at)) = &self.known().keys
            && at.elapsed() < if anew { REFETCH } else { FRESH }
        {
            return Ok(Arc::clone(keys));
        }
        let discovery = self.discovery().await?;
        let set: Value = self.fetcher.get(&discovery.jwks_uri, None).await?;
        let keys = Arc::new(PublicKeys::of(&set));
        self.known().keys = Some((Arc::clone(&keys), Instant::now()));
        Ok(keys)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().expect("no panic while held")
    }

    fn secret(&self) -> Option<&str> {
        self.client_secret
            .as_ref()
            .map(|secret| secret.expose_secret())
    }
}
