//! What a request shows, and who that is: a key, the cookie of a login, or nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use secrecy::{ExposeSecret as _, SecretString};

use super::caller::{ADMIN_KEY, Caller, Identity};
use super::person::Person;
use super::{login, origin};
use crate::access_key::{self, Fingerprint, KeyId};
use crate::http::App;
use crate::http::problem::{Code, Problem};
use crate::store;
use crate::time::millis;
use crate::token::Tokens;

/// What a caller showed, and who it is by that. It may stop being good while an answer goes on.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    /// Who it is.
    pub(crate) caller: Caller,
    /// Fingerprint of the secret that was shown, or with which the login was made; none where none is asked for.
    secret: Option<Fingerprint>,
    /// Hash of the login that was shown in place of a key.
    login: Option<String>,
}

impl Credential {
    /// Of anybody, where no key is asked for.
    const OPEN: Self = Self {
        caller: Caller::OPEN,
        secret: None,
        login: None,
    };

    const fn by_key(caller: Caller, secret: Fingerprint) -> Self {
        Self {
            caller,
            secret: Some(secret),
            login: None,
        }
    }

    /// Of somebody whom a provider or a proxy has logged in.
    pub(crate) fn by_person(person: Person) -> Self {
        Self {
            caller: Caller::person(person),
            secret: None,
            login: None,
        }
    }

    /// Seal of the secret, for what is kept of a login.
    pub(crate) fn seal(&self, app: &App) -> Option<String> {
        let secret = self.secret.clone()?;
        Some(app.0.tokens.seal(&sealed(secret)))
    }

    /// The caller as it is now; none if the credential is not good any more. Looks at this node's copy of the keys only.
    pub(super) fn renewed(&self, app: &App) -> Option<Caller> {
        match (&self.caller.identity, &self.secret) {
            (Identity::Key(key), Some(secret)) => {
                let keyring = app.0.store.keyring();
                let key = keyring.keys.get(&key.id)?;
                let good = key.is_good_with(secret, app.0.store.now());
                good.then(|| Caller {
                    identity: Identity::Key(Arc::clone(key)),
                    name: self.caller.name.clone(),
                })
            }
            // The settings are those of the start.
            _ => Some(self.caller.clone()),
        }
    }

    /// Whether the login goes on; true without one, and while the store does not say.
    pub(super) async fn is_logged_in(&self, app: &App) -> bool {
        match &self.login {
            Some(login) => app.0.store.has_login(login).await.unwrap_or(true),
            None => true,
        }
    }

    /// Whether it is a login, which may end without any change of a key.
    pub(super) const fn is_login(&self) -> bool {
        self.login.is_some()
    }
}

/// What is sealed of a secret.
fn sealed(secret: Fingerprint) -> String {
    format!("login\0{}", String::from(secret))
}

/// Who shows this credential.
pub(super) async fn identify(
    app: &App,
    parts: &Parts,
    address: Option<IpAddr>,
) -> Result<Credential, Problem> {
    let access = &app.0.access;
    let shown = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    let (mut refused, mut guessed) = (None, None);
    let by_proxy = access.proxy_users.named(app, parts)?;
    if let Some(shown) = shown {
        match verify(app, shown, address).await {
            Ok(Verified::Good(credential)) => return Ok(credential),
            Ok(Verified::Unknown) => refused = Some(unknown_key()),
            Ok(Verified::Guess(guess)) => {
                refused = Some(unknown_key());
                guessed = Some(guess);
            }
            Err(problem) => refused = Some(problem),
        }
        // A key of ours is judged also in open mode, so that one can be tried before a server asks for it.
        if shown.starts_with(access_key::PREFIX)
            && let Some(refused) = refused
        {
            return Err(refused);
        }
    }
    if access.is_open() {
        return Ok(Credential::OPEN);
    }
    // Proxies add tokens of their own, which hide no login.
    let credential = match by_proxy {
        Some(person) => Some(Credential::by_person(person?)),
        None => logged_in(app, &parts.headers).await?,
    };
    if let Some(credential) = credential {
        // The browser adds the cookie by itself, and the proxy the name, so the page that asks must be one of ours.
        if parts.method.is_safe() || origin::is_from_here(&parts.headers, &parts.uri) {
            return Ok(credential);
        }
        return Err(Problem::new(
            Code::Forbidden,
            "This was sent by a page of another origin. Use the admin pages of this server, or a key.",
        ));
    }
    if let Some(guess) = guessed {
        access.attempts.note_wrong_key(address, guess);
    }
    Err(refused.unwrap_or_else(|| {
        Problem::new(
            Code::Unauthorized,
            "This route needs a key. Send it as \"Authorization: Bearer KEY\".",
        )
    }))
}

fn unknown_key() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "This key is not known here, or not any more. Check it, or ask who runs this server.",
    )
}

/// The kind of a string that should be a key.
pub(crate) enum Verified {
    /// A good key, and whose.
    Good(Credential),
    /// No good key, and nobody could hope that it is one.
    Unknown,
    /// No good key, but it could have been the admin key.
    Guess(Fingerprint),
}

/// Whose key this text is. Whoever guesses has to wait; who has a good key of ours does not, whatever others at the same address try.
pub(crate) async fn verify(
    app: &App,
    text: &str,
    address: Option<IpAddr>,
) -> Result<Verified, Problem> {
    let secret = Fingerprint::of(text);
    let by_admin_key = || {
        let is_right = app.0.access.admin.as_ref() == Some(&secret);
        is_right.then(|| Credential::by_key(Caller::new(Identity::AdminKey), secret.clone()))
    };
    let Some(id) = access_key::id_in(text) else {
        if text.starts_with(access_key::PREFIX) && app.0.access.is_foreign(text) {
            return wrong_key(app, secret, address);
        }
        if app.0.access.is_open() || app.0.access.is_foreign(text) {
            return Ok(Verified::Unknown);
        }
        let attempts = &app.0.access.attempts;
        attempts.may_try(address).map_err(wait_to_guess)?;
        return Ok(match by_admin_key() {
            Some(credential) => Verified::Good(credential),
            None => Verified::Guess(secret),
        });
    };
    if let Some(credential) = by_admin_key() {
        return Ok(Verified::Good(credential));
    }
    let store = &app.0.store;
    look_for(app, &id).await?;
    let keyring = store.keyring();
    app.0
        .access
        .limiters
        .retain(|id| keyring.keys.contains_key(id));
    match keyring.verify(&id, &secret, store.now()) {
        Some(key) => {
            let caller = Caller::new(Identity::Key(Arc::clone(key)));
            Ok(Verified::Good(Credential::by_key(caller, secret)))
        }
        None => wrong_key(app, secret, address),
    }
}

/// Counts what looks like a key of ours and is none.
fn wrong_key(app: &App, shown: Fingerprint, address: Option<IpAddr>) -> Result<Verified, Problem> {
    let wrong = &app.0.access.wrong_keys;
    wrong.may_try(address).map_err(wait_to_guess)?;
    wrong.note_wrong_key(address, shown);
    Ok(Verified::Unknown)
}

/// What somebody reads who guesses.
pub(crate) fn wait_to_guess(wait: Duration) -> Problem {
    Problem::new(
        Code::TooManyRequests,
        "Too many wrong keys came from this address. Wait, and try again with the right one.",
    )
    .retry_after_ms(millis(wait).max(1))
}

/// Looks for a key in the store that this node does not know: it may have been made on another one a moment ago.
async fn look_for(app: &App, id: &KeyId) -> Result<(), store::Error> {
    let store = &app.0.store;
    if !store.keyring().keys.contains_key(id) && app.0.access.strangers.check().is_ok() {
        store.refresh_keys().await?;
    }
    Ok(())
}

/// The login of a request's cookie, if the secret of the login is still good.
async fn logged_in(app: &App, headers: &HeaderMap) -> Result<Option<Credential>, store::Error> {
    let store = &app.0.store;
    let Some(login) = login::shown(headers, &app.0.tokens, store.now()) else {
        return Ok(None);
    };
    let Some(kept) = store.login(&login).await? else {
        return Ok(None);
    };
    if let Some(person) = &kept.person {
        let person = Person::of_session(app, person);
        return Ok(person.map(|person| Credential {
            login: Some(login),
            ..Credential::by_person(person)
        }));
    }
    let Some((caller, secret)) = secret_of(app, &kept.caller, kept.secret.as_deref()).await? else {
        return Ok(None);
    };
    if kept.secret.is_none() {
        // From now on it ends with the secret that is good now.
        let session = store::Session {
            caller: kept.caller,
            secret: app.0.tokens.seal(&sealed(secret.clone())),
            address: None,
            since_ms: store.now().0,
            name: None,
            person: None,
        };
        store.describe_login(&login, &session).await?;
    }
    Ok(Some(Credential {
        caller: caller.called(kept.name.as_deref()),
        secret: Some(secret),
        login: Some(login),
    }))
}

/// The caller of this id, with the good secret of which this is the seal; with any good one where there is no seal.
async fn secret_of(
    app: &App,
    id: &str,
    seal: Option<&str>,
) -> Result<Option<(Caller, Fingerprint)>, store::Error> {
    if let Ok(id) = id.parse::<KeyId>() {
        look_for(app, &id).await?;
    }
    Ok(known_secret_of(app, id, seal))
}

/// The same, by what this node knows of keys.
fn known_secret_of(app: &App, id: &str, seal: Option<&str>) -> Option<(Caller, Fingerprint)> {
    let is_meant = |secret: &Fingerprint| {
        seal.is_none_or(|seal| app.0.tokens.is_sealed(&sealed(secret.clone()), seal))
    };
    if id == ADMIN_KEY {
        let admin = app.0.access.admin.clone().filter(is_meant);
        return admin.map(|secret| (Caller::new(Identity::AdminKey), secret));
    }
    let (keyring, now) = (app.0.store.keyring(), app.0.store.now());
    let key = keyring.keys.get(&id.parse::<KeyId>().ok()?)?;
    let former = key.former.as_ref().map(|former| &former.fingerprint);
    let secrets = std::iter::once(&key.fingerprint).chain(former);
    let secret = secrets
        .filter(|secret| key.is_good_with(secret, now))
        .find(|secret| is_meant(secret));
    secret.map(|secret| (Caller::new(Identity::Key(Arc::clone(key))), secret.clone()))
}

/// Who logged in with a key, if the secret of that login is still good.
pub(crate) fn caller_of_login(app: &App, session: &store::Session) -> Option<Caller> {
    let seal = Some(session.secret.as_str());
    known_secret_of(app, &session.caller, seal).map(|(caller, _)| caller)
}

/// What is kept of a login that can be used once: the id of a caller, and the seal of its secret.
pub(crate) fn offer(tokens: &Tokens, admin_key: &SecretString) -> String {
    let secret = Fingerprint::of(admin_key.expose_secret());
    format!("{ADMIN_KEY}:{}", tokens.seal(&sealed(secret)))
}

/// The login behind a link that can be used once.
pub(crate) async fn by_offer(app: &App, offer: &str) -> Result<Option<Credential>, store::Error> {
    // A node of an earlier version kept the id alone.
    let (id, seal) = match offer.split_once(':') {
        Some((id, seal)) => (id, Some(seal)),
        None => (offer, None),
    };
    let found = secret_of(app, id, seal).await?;
    Ok(found.map(|(caller, secret)| Credential::by_key(caller, secret)))
}
