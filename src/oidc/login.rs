//! The code flow with PKCE: to the provider and back.

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::{Serializer, byte_serialize};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::fetch::check_address;
use super::id_token::{printable, same};
use super::{Claims, Discovery, Error, Provider};

/// What has to come back from the provider, and where the person wants to go. Kept by the browser, under a seal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAttempt {
    /// Comes back in the address.
    pub state: String,
    /// Comes back in the ID token.
    nonce: String,
    /// Shown to the provider when the code is used.
    verifier: String,
    /// Where to go then.
    pub next: Option<String>,
    /// When it began, ms since the epoch.
    pub since_ms: i64,
}

impl std::fmt::Debug for LoginAttempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginAttempt")
    }
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

impl LoginAttempt {
    /// A new one.
    pub fn new(next: Option<&str>, since_ms: i64) -> Self {
        Self {
            state: random(),
            nonce: random(),
            verifier: random(),
            next: next.map(str::to_owned),
            since_ms,
        }
    }

    /// Whether this is the state that came back.
    pub fn is_of(&self, state: &str) -> bool {
        same(&self.state, state)
    }
}

/// What the provider makes of a code.
#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<String>,
    access_token: Option<String>,
}

/// Somebody who has logged in, and the token for it.
pub struct LoggedIn {
    /// What the provider says of the person.
    pub claims: Claims,
    /// For the log-out at the provider.
    pub id_token: String,
}

impl std::fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoggedIn({})", self.claims.subject)
    }
}

impl Provider {
    /// The address at the provider where somebody logs in.
    pub async fn authorization_url(&self, attempt: &LoginAttempt) -> Result<String, Error> {
        let discovery = self.discovery().await?;
        check_address(&discovery.authorization_endpoint)?;
        let methods = &discovery.code_challenge_methods_supported;
        // A provider that does not mention it takes it or ignores it. One that names other methods would refuse it.
        if methods
            .as_ref()
            .is_some_and(|known| !known.iter().any(|method| method == "S256"))
        {
            return Err(Error::Provider(
                "it does not take PKCE with S256".to_owned(),
            ));
        }
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&attempt.verifier));
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("response_mode", "query")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", &self.scopes)
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        Ok(with_query(&discovery.authorization_endpoint, &query))
    }

    /// Refuses an answer that another provider may have sent the browser with (RFC 9207).
    pub async fn check_issuer(&self, iss: Option<&str>) -> Result<(), Error> {
        match iss {
            Some(iss) if iss == self.issuer => Ok(()),
            Some(_) => Err(Error::Untrusted(
                "the answer is of another issuer (iss)".to_owned(),
            )),
            None if self
                .discovery()
                .await?
                .authorization_response_iss_parameter_supported =>
            {
                Err(Error::Untrusted(
                    "the answer does not say of which issuer it is (iss)".to_owned(),
                ))
            }
            None => Ok(()),
        }
    }

    /// Exchanges the code that came back for the person who has logged in.
    pub async fn log_in(
        &self,
        attempt: &LoginAttempt,
        code: &str,
        now_s: i64,
    ) -> Result<LoggedIn, Error> {
        let discovery = self.discovery().await?;
        let tokens = self.exchange(&discovery, attempt, code).await?;
        let id_token = tokens.id_token.ok_or_else(|| {
            Error::Untrusted("no ID token came; oidc_scopes has to begin with openid".to_owned())
        })?;
        let claims = self.verify(&id_token, now_s).await?;
        let nonce = claims.get("nonce").and_then(Value::as_str);
        if !nonce.is_some_and(|nonce| same(nonce, &attempt.nonce)) {
            return Err(Error::Untrusted(
                "the token is not of this login (nonce)".to_owned(),
            ));
        }
        let mut more = Map::new();
        if self.lacks(&claims)
            && let (Some(address), Some(token)) = (&discovery.userinfo_endpoint, &tokens.access_token)
            && let Value::Object(said) = self.fetcher.get(address, Some(token)).await?
            // Of somebody else it says nothing about this person.
            && said.get("sub") == claims.get("sub")
        {
            more = said;
        }
        Ok(LoggedIn {
            claims: self.read(&claims, &more)?,
            id_token,
        })
    }

    async fn exchange(
        &self,
        discovery: &Discovery,
        attempt: &LoginAttempt,
        code: &str,
    ) -> Result<TokenAnswer, Error> {
        let methods = discovery.token_endpoint_auth_methods_supported.as_deref();
        // The default of OpenID Connect Discovery 1.0.
        let takes_basic =
            methods.is_none_or(|known| known.iter().any(|method| method == "client_secret_basic"));
        let (form, basic) = self.token_request(attempt, code, takes_basic);
        let (status, answer) = self
            .fetcher
            .post(&discovery.token_endpoint, form, basic)
            .await?;
        if !status.is_success() {
            let code = answer["error"].as_str().unwrap_or("no reason");
            return Err(Error::Refused(format!(
                "the code was not taken: {} ({status})",
                printable(code)
            )));
        }
        serde_json::from_value(answer)
            .map_err(|_| Error::Provider("what it made of the code cannot be read".to_owned()))
    }
}

impl Provider {
    /// The form for a code, and the header with the secret where it is not in the form.
    fn token_request(
        &self,
        attempt: &LoginAttempt,
        code: &str,
        takes_basic: bool,
    ) -> (String, Option<HeaderValue>) {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("code_verifier", &attempt.verifier);
        let mut basic = None;
        match self.secret() {
            Some(secret) if takes_basic => basic = Some(basic_credentials(&self.client_id, secret)),
            Some(secret) => {
                form.append_pair("client_id", &self.client_id)
                    .append_pair("client_secret", secret);
            }
            None => {
                form.append_pair("client_id", &self.client_id);
            }
        }
        (form.finish(), basic)
    }
}

/// Name and secret of a client (RFC 6749, section 2.3.1): each is encoded as in a form first.
fn basic_credentials(client_id: &str, secret: &str) -> HeaderValue {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(secret));
    HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).expect("base64 is ASCII")
}

/// An address of the provider, which may have a query of its own.
pub(super) fn with_query(address: &str, query: &str) -> String {
    let separator = if address.contains('?') { '&' } else { '?' };
    format!("{address}{separator}{query}")
}
