//! The login of the admin pages: a cookie that names a login in the store.
//!
//! The cookie is the instant of the login, 32 random bytes and a seal, so a forged one, or one that is too old, is refused
//! without asking the store; the store knows only its hash. Ending a login, or revoking its key, ends it on every node.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Credential;
use super::person::{Source, actor};
use crate::access_key::Fingerprint;
use crate::http::App;
use crate::store::{self, Session, SessionOfPerson, Store};
use crate::time::Timestamp;
use crate::token::Tokens;

/// `__Host-` makes browsers refuse it from anywhere but this very host, over TLS or on this machine.
pub(crate) const NAME: &str = "__Host-leasehold";

/// Under a path of a host with other applications, which are not to get it, so that it cannot be the whole host's.
pub(crate) const NAME_UNDER_A_PATH: &str = "__Secure-leasehold";

/// How long a login lives at most, also where a page asks all the time: a working day.
const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);

/// The cookie of a new login, and what the store is to keep of it.
fn bake(tokens: &Tokens, now: Timestamp) -> (String, String) {
    let mut bytes = now.0.to_be_bytes().to_vec();
    bytes.extend(rand::random::<[u8; 32]>());
    let id = URL_SAFE_NO_PAD.encode(bytes);
    let seal = tokens.seal(&id);
    (format!("{id}.{seal}"), Fingerprint::of(&id).into())
}

/// The cookies of a request, names and values.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let cookies = headers.get_all(COOKIE).iter();
    cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    cookies(headers).find_map(|(name, value)| (name == wanted).then_some(value))
}

/// The hash of the login in the request's cookie, if it was made here, and not too long ago.
pub(super) fn shown(headers: &HeaderMap, tokens: &Tokens, now: Timestamp) -> Option<String> {
    let value = cookie(headers, NAME)?;
    let (id, seal) = value.split_once('.')?;
    if !tokens.is_sealed(id, seal) {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
    let since = i64::from_be_bytes(*bytes.first_chunk()?);
    let age = Duration::from_millis(now.since(Timestamp(since)));
    (age < LONGEST).then(|| Fingerprint::of(id).into())
}

/// Logs in with a key; the header to send. `name` is what the person says to be called.
pub(crate) async fn begin(
    app: &App,
    credential: &Credential,
    name: Option<&str>,
    address: Option<IpAddr>,
) -> Result<HeaderValue, store::Error> {
    let session = Session {
        caller: credential.caller.id().to_owned(),
        secret: credential.seal(app).unwrap_or_default(),
        address: address.map(|address| address.to_string()),
        since_ms: app.0.store.now().0,
        name: name.map(str::to_owned),
        person: None,
    };
    Ok(keep(app, &session).await?.0)
}

/// Logs in somebody whom a provider vouches for; the header to send, and what the session is called in the store.
pub(crate) async fn begin_of_person(
    app: &App,
    person: SessionOfPerson,
    address: Option<IpAddr>,
) -> Result<(HeaderValue, String), store::Error> {
    let session = Session {
        caller: actor(Source::Provider, &person.subject),
        // No key was shown, so there is no seal that could be right.
        secret: String::new(),
        address: address.map(|address| address.to_string()),
        since_ms: app.0.store.now().0,
        name: None,
        person: Some(person),
    };
    keep(app, &session).await
}

async fn keep(app: &App, session: &Session) -> Result<(HeaderValue, String), store::Error> {
    let (tokens, store) = (&app.0.tokens, &app.0.store);
    let (cookie, fingerprint) = bake(tokens, store.now());
    store.begin_login(&fingerprint, session).await?;
    Ok((header(&cookie, LONGEST.as_secs()), fingerprint))
}

/// What the login of a request is called in the store, if its cookie was made here.
pub(crate) fn fingerprint(app: &App, headers: &HeaderMap) -> Option<String> {
    shown(headers, &app.0.tokens, app.0.store.now())
}

/// Whether a browser sent any login along, good or not.
pub(crate) fn is_sent(headers: &HeaderMap) -> bool {
    cookie(headers, NAME).is_some()
}

/// Logs out; the header to send.
pub(crate) async fn end(
    headers: &HeaderMap,
    tokens: &Tokens,
    store: &Store,
) -> Result<HeaderValue, store::Error> {
    if let Some(fingerprint) = shown(headers, tokens, store.now()) {
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

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_login_lives_for_a_working_day_at_most() {
        let tokens = Tokens::new(
            &SecretString::from("a secret of the tests, long enough"),
            [],
        );
        let (cookie, fingerprint) = bake(&tokens, Timestamp(1_000));
        let mut headers = HeaderMap::new();
        let cookie = format!("a=b; {NAME}={cookie}");
        headers.insert(COOKIE, HeaderValue::try_from(cookie).expect("ASCII"));
        let day = i64::try_from(LONGEST.as_millis()).expect("hours");
        assert_eq!(
            shown(&headers, &tokens, Timestamp(1_000)),
            Some(fingerprint.clone())
        );
        assert_eq!(
            shown(&headers, &tokens, Timestamp(999 + day)),
            Some(fingerprint)
        );
        assert_eq!(shown(&headers, &tokens, Timestamp(1_000 + day)), None);
        let other = Tokens::new(
            &SecretString::from("another secret of the tests, as long"),
            [],
        );
        assert_eq!(shown(&headers, &other, Timestamp(1_000)), None);
    }
}
