//! `/v1/keys`: who may do what. A secret is shown once, when it is made.

mod body;
mod create;
mod list;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono_tz::Tz;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::body::{ChangeKey, CreateKey, KeyBody, LimitsWanted};
use self::body::{KeyWithSecret, RollKey};
pub(crate) use self::create::make;
pub(crate) use self::list::all;
use super::App;
use super::access::Operator;
use super::extract::{Body, Path};
use super::problem::{Code, Problem};
use super::records::{self, DAY_MS, Record};
use super::when::When;
use crate::access_key::{AccessKey, KeyId, Role};
use crate::store::{self, PutKey};
use crate::time::Timestamp;

/// The longest life of a key: ten years, in milliseconds.
const MAX_LIFE_MS: u64 = 3_660 * DAY_MS;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(read, change, revoke))
        .routes(routes!(roll))
}

/// Reads a key.
#[utoipa::path(
    get, path = "/v1/keys/{id}", operation_id = "read_key", tag = "keys",
    responses((status = 200, body = KeyBody)),
)]
async fn read(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<KeyBody>, Problem> {
    app.0.store.refresh_keys().await?;
    let key = find(&app, &operator, &id)?;
    Ok(Json(described(&app, &key).await?))
}

/// A key with when it was used last.
async fn described(app: &App, key: &AccessKey) -> Result<KeyBody, Problem> {
    let used = app.0.store.key_uses().await?.get(&key.id).copied();
    Ok(KeyBody::of(key, used, app.0.store.now()))
}

/// Changes a key, on all nodes within a second. Its secret and its role stay.
#[utoipa::path(
    patch, path = "/v1/keys/{id}", operation_id = "change_key", tag = "keys",
    request_body = ChangeKey,
    responses((status = 200, description = "The key as it is now", body = KeyBody)),
)]
async fn change(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<ChangeKey>,
) -> Result<Json<KeyBody>, Problem> {
    let edit = |key: &mut AccessKey| {
        if let Some(tenants) = &body.tenants {
            key.tenants.clone_from(tenants);
        }
        if let Some(tenant) = &body.tenant {
            key.tenant.clone_from(tenant);
        }
        if let Some(name) = &body.name {
            key.name = name.clone();
        }
        if let Some(pools) = &body.pools {
            key.pools.clone_from(pools);
        }
        if let Some(origins) = &body.origins {
            key.origins.clone_from(origins);
        }
        if let Some(limits) = body.limits {
            limits.put_into(key);
        }
        match &body.expires_at {
            Some(Some(when)) => key.expires_at_ms = Some(end(when, app.0.store.now())?.0),
            Some(None) => key.expires_at_ms = None,
            None => {}
        }
        Ok(())
    };
    let (key, ()) = records::change(&app, &operator, &id, edit).await?;
    // What was done is done, also if the store is silent now.
    let uses = app.0.store.key_uses().await.unwrap_or_default();
    let used = uses.get(&key.id).copied();
    Ok(Json(KeyBody::of(&key, used, app.0.store.now())))
}

/// Gives a key a new secret. The former one stays good for a while, so that nothing fails in between.
#[utoipa::path(
    post, path = "/v1/keys/{id}/roll", operation_id = "roll_key", tag = "keys",
    request_body = RollKey,
    responses((status = 200, body = KeyWithSecret)),
)]
async fn roll(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<RollKey>,
) -> Result<Json<KeyWithSecret>, Problem> {
    let overlap_ms = body.overlap_ms.unwrap_or(DAY_MS);
    let (key, secret) = replace_secret(&app, &operator, &id, overlap_ms).await?;
    Ok(Json(KeyWithSecret::of(&app, &key, &secret)))
}

/// Gives a key a new secret.
pub(crate) async fn replace_secret(
    app: &App,
    operator: &Operator,
    id: &str,
    overlap_ms: u64,
) -> Result<(AccessKey, SecretString), Problem> {
    records::roll(app, operator, id, overlap_ms, AccessKey::roll).await
}

/// Revokes a key, on all nodes within a second.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", operation_id = "revoke_key", tag = "keys",
    responses((status = 204, description = "Revoked")),
)]
async fn revoke(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    withdraw(&app, &operator, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes a key.
pub(crate) async fn withdraw(app: &App, operator: &Operator, id: &str) -> Result<(), Problem> {
    records::delete::<AccessKey>(app, operator, id).await
}

impl Record for AccessKey {
    async fn refresh(app: &App) -> Result<(), store::Error> {
        app.0.store.refresh_keys().await
    }

    fn find(app: &App, operator: &Operator, id: &str) -> Result<Self, Problem> {
        find(app, operator, id)
    }

    fn noted(&self, app: &App) -> impl Serialize {
        KeyBody::of(self, None, app.0.store.now())
    }

    fn check(&self, _: &App) -> Result<(), Problem> {
        check(self)
    }

    fn check_given(&self, operator: &Operator) -> Result<(), Problem> {
        check_given(operator, self)
    }

    async fn write(&self, app: &App, before: &Self) -> Result<bool, store::Error> {
        Ok(app.0.store.put_key(self, Some(before)).await? == PutKey::Put)
    }

    async fn delete(&self, app: &App) -> Result<bool, store::Error> {
        Ok(app.0.store.delete_key(self).await? == PutKey::Put)
    }

    fn is_newer(app: &App, operator: &Operator, id: &str) -> bool {
        let id = id.parse::<KeyId>();
        operator.caller.sees_everything() && id.is_ok_and(|id| app.0.store.is_newer_key(&id))
    }

    async fn delete_newer(app: &App, id: &str) -> Result<bool, store::Error> {
        match id.parse::<KeyId>() {
            Ok(id) => Ok(app.0.store.delete_newer_key(&id).await? == PutKey::Put),
            Err(_) => Ok(false),
        }
    }
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

fn invalid_at(field: &str, detail: &'static str) -> Problem {
    invalid(detail).at_field(field, detail)
}

/// Refuses what does not fit together.
fn check(key: &AccessKey) -> Result<(), Problem> {
    if key.role == Role::Client && key.pools.is_empty() {
        return Err(invalid_at(
            "pools",
            "A client key names the pools that it is for: \"pools\": [\"crm\"].",
        ));
    }
    if key.role != Role::Client && !key.origins.is_empty() {
        return Err(invalid_at(
            "origins",
            "Only client keys have origins: an operator's key is never used by a page of others.",
        ));
    }
    if key.role == Role::Client && !key.tenants.is_empty() {
        return Err(invalid_at(
            "tenants",
            "A client key has one tenant, for everybody who acquires with it: \"tenant\": \"acme\".",
        ));
    }
    if key.role != Role::Client && key.tenant.is_some() {
        return Err(invalid(
            "Only client keys have a `tenant`. An operator's key names those that it sees in `tenants`.",
        ));
    }
    let lists = [key.pools.len(), key.tenants.len(), key.origins.len()];
    if lists.into_iter().any(|length| length > AccessKey::MAX_LIST) {
        return Err(invalid(
            "A key names at most 100 pools, 100 tenants and 100 origins.",
        ));
    }
    Ok(())
}

/// Whether a key is for no more than the caller is.
fn is_within(operator: &Operator, key: &AccessKey) -> bool {
    let tenants = match &key.tenant {
        Some(tenant) => std::slice::from_ref(tenant),
        None => &key.tenants,
    };
    operator.caller.scope().covers(&key.pools, tenants)
}

/// Refuses a key for more than the caller has.
fn check_given(operator: &Operator, key: &AccessKey) -> Result<(), Problem> {
    let ends = operator.caller.key().and_then(|own| own.expires_at_ms);
    let ends_in_time = ends.is_none_or(|ends| key.expires_at_ms.is_some_and(|at| at <= ends));
    if key.role <= operator.caller.role() && is_within(operator, key) && ends_in_time {
        return Ok(());
    }
    let until = ends.map(|at| format!(", until {}", Timestamp(at)));
    Err(Problem::new(
        Code::Forbidden,
        format!(
            "A key gives no more than whoever makes it has: at most the role {}, for {}{}.",
            operator.caller.role().as_str(),
            operator.caller.scope(),
            until.unwrap_or_default()
        ),
    ))
}

/// When a key ends, if that can be meant.
fn end(when: &When, now: Timestamp) -> Result<Timestamp, Problem> {
    let at = when.at("expires_at", Tz::UTC)?;
    if at <= now || after(now, MAX_LIFE_MS) < at {
        return Err(invalid_at(
            "expires_at",
            "`expires_at` lies after now, and at most ten years. To end a key now, revoke it.",
        ));
    }
    Ok(at)
}

/// The key of this id, as this node knows it. One for more than the caller has is as unknown as one that was never there.
pub(crate) fn find(app: &App, operator: &Operator, id: &str) -> Result<AccessKey, Problem> {
    if AccessKey::is_newer(app, operator, id) {
        return Err(store::Error::Newer(format!("the access key {id}")).into());
    }
    let keyring = app.0.store.keyring();
    id.parse::<KeyId>()
        .ok()
        .and_then(|id| keyring.keys.get(&id).map(|key| AccessKey::clone(key)))
        .filter(|key| is_within(operator, key))
        .ok_or_else(|| {
            Problem::new(
                Code::KeyNotFound,
                "There is no key with this id. GET /v1/keys lists those that there are.",
            )
        })
}

fn after(now: Timestamp, ms: u64) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
}

impl KeyWithSecret {
    fn of(app: &App, key: &AccessKey, secret: &SecretString) -> Self {
        Self {
            key: KeyBody::of(key, None, app.0.store.now()),
            secret: secret.expose_secret().to_owned(),
        }
    }
}
