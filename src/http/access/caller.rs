//! Who asks: the credential of a request, made into a caller.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::{login, origin};
use crate::access_key::{self, AccessKey, KeyId, Role};
use crate::http::App;
use crate::http::problem::{Code, Problem};
use crate::names::PoolName;
use crate::store;

/// The caller's name where no key is asked for.
const OPEN: &str = "open";
/// The caller's name with the key of the settings.
pub(crate) const ADMIN_KEY: &str = "admin_key";

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Anybody on this machine.
    Open,
    /// Who has the key of the settings.
    AdminKey,
    /// Who has a key of the store.
    Key(Arc<AccessKey>),
}

impl Caller {
    /// What the caller may do.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Open | Self::AdminKey => Role::Admin,
            Self::Key(key) => key.role,
        }
    }

    /// The same for all requests with one credential, different for others.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Open => OPEN,
            Self::AdminKey => ADMIN_KEY,
            Self::Key(key) => key.id.as_str(),
        }
    }

    /// For people.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Open => "no key",
            Self::AdminKey => "admin key of the settings",
            Self::Key(key) => key.name.as_str(),
        }
    }

    /// Whether the caller may see and do things in this pool.
    pub(crate) fn is_for(&self, pool: &PoolName) -> bool {
        match self {
            Self::Open | Self::AdminKey => true,
            Self::Key(key) => key.is_for(pool),
        }
    }

    /// Whether the key is one that pages show, and so no secret.
    pub(crate) fn is_of_pages(&self) -> bool {
        matches!(self, Self::Key(key) if !key.origins.is_empty())
    }

    pub(super) fn names_pools(&self) -> bool {
        matches!(self, Self::Key(key) if !key.pools.is_empty())
    }
}

/// Who shows this credential.
pub(super) async fn identify(app: &App, parts: &Parts) -> Result<Caller, Problem> {
    let access = &app.0.access;
    let shown = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    if let Some(shown) = shown {
        if let Some(caller) = verify(app, shown).await? {
            return Ok(caller);
        }
        // A key of ours is judged also in open mode, so that one can be tried before a server asks for it.
        if !access.is_open() || shown.starts_with(access_key::PREFIX) {
            return Err(Problem::new(
                Code::Unauthorized,
                "This key is not known here, or not any more. Check it, or ask who runs this server.",
            ));
        }
    }
    if access.is_open() {
        return Ok(Caller::Open);
    }
    if shown.is_none()
        && let Some(id) = login::caller(&parts.headers, &app.0.tokens, &app.0.store).await?
        && let Some(caller) = logged_in(app, &id).await?
    {
        // The browser adds the cookie by itself, so the page that asks must be one of ours.
        if parts.method.is_safe() || origin::is_from_here(&parts.headers, &parts.uri) {
            return Ok(caller);
        }
        return Err(Problem::new(
            Code::Forbidden,
            "This was sent by a page of another origin. Use the admin pages of this server, or a key.",
        ));
    }
    Err(Problem::new(
        Code::Unauthorized,
        "This route needs a key. Send it as \"Authorization: Bearer KEY\".",
    ))
}

/// Whose key this text is.
pub(crate) async fn verify(app: &App, text: &str) -> Result<Option<Caller>, Problem> {
    if let Some(admin) = &app.0.access.admin
        && admin.is_of(text)
    {
        return Ok(Some(Caller::AdminKey));
    }
    let Some(id) = access_key::id_in(text) else {
        return Ok(None);
    };
    let store = &app.0.store;
    look_for(app, &id).await?;
    let keyring = store.keyring();
    app.0
        .access
        .limiters
        .retain(|id| keyring.keys.contains_key(id));
    Ok(keyring
        .verify(text, store.now())
        .map(|key| Caller::Key(Arc::clone(key))))
}

/// Looks for a key in the store that this node does not know: it may have been made on another one a moment ago.
async fn look_for(app: &App, id: &KeyId) -> Result<(), store::Error> {
    let store = &app.0.store;
    if !store.keyring().keys.contains_key(id) && app.0.access.strangers.check().is_ok() {
        store.refresh_keys().await?;
    }
    Ok(())
}

/// The caller whose login this is, if its key is still good.
async fn logged_in(app: &App, id: &str) -> Result<Option<Caller>, store::Error> {
    if id == ADMIN_KEY {
        return Ok(app.0.access.admin.as_ref().map(|_| Caller::AdminKey));
    }
    let Ok(id) = id.parse::<KeyId>() else {
        return Ok(None);
    };
    look_for(app, &id).await?;
    let keyring = app.0.store.keyring();
    let key = keyring.keys.get(&id);
    let good = key.filter(|key| !key.has_expired(app.0.store.now()));
    Ok(good.map(|key| Caller::Key(Arc::clone(key))))
}
