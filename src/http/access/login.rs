//! The login of the admin pages: a cookie that names a login in the store.
//!
//! The cookie is 32 random bytes and a seal, so a forged one is refused without asking the store; the store knows
//! only its hash. Ending a login, or revoking its key, ends it on every node.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::access_key::Fingerprint;
use crate::store::{self, Store};
use crate::token::Tokens;

/// `__Host-` makes browsers refuse it from anywhere but this very host, over TLS or on this machine.
const NAME: &str = "__Host-leasehold";

/// The cookie of a new login, and what the store is to keep of it.
fn bake(tokens: &Tokens) -> (String, String) {
    let random: [u8; 32] = rand::random();
    let id = URL_SAFE_NO_PAD.encode(random);
    let seal = tokens.seal(&id);
    (format!("{id}.{seal}"), Fingerprint::of(&id).into())
}

/// The hash of the login in the request's cookie, if it was made here.
fn shown(headers: &HeaderMap, tokens: &Tokens) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'));
    let value = pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == NAME).then_some(value)
    })?;
    let (id, seal) = value.split_once('.')?;
    tokens
        .is_sealed(id, seal)
        .then(|| Fingerprint::of(id).into())
}

/// Who is logged in, as the id of a key.
pub(super) async fn caller(
    headers: &HeaderMap,
    tokens: &Tokens,
    store: &Store,
) -> Result<Option<String>, store::Error> {
    match shown(headers, tokens) {
        Some(fingerprint) => store.login(&fingerprint).await,
        None => Ok(None),
    }
}

/// Logs in; the header to send.
pub(crate) async fn begin(
    tokens: &Tokens,
    store: &Store,
    caller: &str,
) -> Result<HeaderValue, store::Error> {
    let (cookie, fingerprint) = bake(tokens);
    store.begin_login(&fingerprint, caller).await?;
    Ok(header(&cookie, store::LOGIN.as_secs() * 16))
}

/// Logs out; the header to send.
pub(crate) async fn end(
    headers: &HeaderMap,
    tokens: &Tokens,
    store: &Store,
) -> Result<HeaderValue, store::Error> {
    if let Some(fingerprint) = shown(headers, tokens) {
        store.end_login(&fingerprint).await?;
    }
    Ok(header("", 0))
}

fn header(value: &str, max_age_seconds: u64) -> HeaderValue {
    HeaderValue::try_from(format!(
        "{NAME}={value}; Path=/; Max-Age={max_age_seconds}; Secure; HttpOnly; SameSite=Strict"
    ))
    .expect("base64url is visible ASCII")
}
