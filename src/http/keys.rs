//! `/v1/keys`: who may do what. A secret is shown once, when it is made.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::access::Operator;
use super::extract::{Body, Path};
use super::problem::{Code, Problem};
use crate::access_key::{AccessKey, Fingerprint, KeyId, Limits, Origin, Role};
use crate::names::{Label, PoolName};
use crate::store::PutKey;
use crate::time::Timestamp;

/// How long the former secret stays good after a roll unless the caller says otherwise: a day, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The longest overlap: 90 days, in milliseconds.
const MAX_OVERLAP_MS: u64 = 90 * DAY_MS;
/// The longest life of a key: ten years, in milliseconds.
const MAX_LIFE_MS: u64 = 3_660 * DAY_MS;
/// Most keys: each node has them all.
const MAX_KEYS: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, revoke))
        .routes(routes!(roll))
}

/// A key, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyBody {
    /// Its name for machines; the second part of the secret begins with it.
    #[schema(value_type = String, example = "V1StGXR8Z5jd")]
    pub(crate) id: KeyId,
    /// Its name for people.
    #[schema(value_type = String, example = "crm widget")]
    pub(crate) name: Label,
    /// What it allows.
    pub(crate) role: Role,
    /// The pools that it is for; of an operator's key none means all.
    #[schema(value_type = Vec<String>)]
    pub(crate) pools: Vec<PoolName>,
    /// The pages that may use it.
    #[schema(value_type = Vec<String>)]
    pub(crate) origins: Vec<Origin>,
    /// How often a client key may be used.
    pub(crate) limits: Limits,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    /// When it ends by itself; null is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) expires_at: Option<Timestamp>,
    /// Until when the secret before the present one is good; null if there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) former_secret_until: Option<Timestamp>,
}

impl KeyBody {
    pub(crate) fn of(key: &AccessKey, now: Timestamp) -> Self {
        let former = key.former.as_ref().map(|former| Timestamp(former.until_ms));
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            role: key.role,
            pools: key.pools.clone(),
            origins: key.origins.clone(),
            limits: key.limits,
            created_at: Timestamp(key.created_at_ms),
            expires_at: key.expires_at_ms.map(Timestamp),
            former_secret_until: former.filter(|until| now < *until),
        }
    }
}

/// A key with its secret, this once.
#[derive(Serialize, ToSchema)]
struct KeyWithSecret {
    #[serde(flatten)]
    key: KeyBody,
    /// Send it as `Authorization: Bearer …`. It is not kept and cannot be shown again.
    #[schema(example = "lh_client_V1StGXR8Z5jd…")]
    secret: String,
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
struct Keys {
    items: Vec<KeyBody>,
    /// Always null: all keys are on one page.
    next_cursor: Option<String>,
}

/// A key to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// For people, at most 128 bytes.
    #[schema(value_type = String, max_length = 128, example = "crm widget")]
    pub(crate) name: Label,
    /// What it allows.
    pub(crate) role: Role,
    /// The pools that it is for. A client key names at least one; of an operator's key none means all.
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["crm"]))]
    #[serde(default)]
    pub(crate) pools: Vec<PoolName>,
    /// For client keys: the pages that may use it, such as `https://crm.example`. Without any, no page may.
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["https://crm.example"]))]
    #[serde(default)]
    pub(crate) origins: Vec<Origin>,
    /// For client keys: how often it may be used.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// When it ends by itself, in milliseconds from now, at most ten years.
    #[serde(default)]
    #[schema(maximum = 316_224_000_000_u64)]
    pub(crate) expires_in_ms: Option<u64>,
}

/// How to replace a secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct RollKey {
    /// How long the former secret stays good, in milliseconds, at most 90 days; a day without it.
    #[schema(maximum = 7_776_000_000_u64)]
    overlap_ms: Option<u64>,
}

/// Lists the keys, by name. Secrets are not among what is kept.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "list_keys", tag = "keys",
    responses((status = 200, body = Keys)),
)]
async fn list(State(app): State<App>, _operator: Operator) -> Result<Json<Keys>, Problem> {
    Ok(Json(Keys {
        items: all(&app).await?,
        next_cursor: None,
    }))
}

/// All keys, by name.
pub(crate) async fn all(app: &App) -> Result<Vec<KeyBody>, Problem> {
    app.0.store.refresh_keys().await?;
    let now = app.0.store.now();
    let keyring = app.0.store.keyring();
    let mut items: Vec<KeyBody> = keyring
        .keys
        .values()
        .map(|key| KeyBody::of(key, now))
        .collect();
    items.sort_by(|a, b| (a.name.as_str(), &a.id).cmp(&(b.name.as_str(), &b.id)));
    Ok(items)
}

/// Creates a key. Its secret is in the answer, this once.
#[utoipa::path(
    post, path = "/v1/keys", operation_id = "create_key", tag = "keys",
    request_body = CreateKey,
    responses((status = 201, body = KeyWithSecret)),
)]
async fn create(
    State(app): State<App>,
    operator: Operator,
    Body(body): Body<CreateKey>,
) -> Result<(StatusCode, Json<KeyWithSecret>), Problem> {
    let (key, secret) = make(&app, &operator, body).await?;
    Ok((
        StatusCode::CREATED,
        Json(KeyWithSecret::of(&app, &key, &secret)),
    ))
}

/// Makes a key, and its secret.
pub(crate) async fn make(
    app: &App,
    operator: &Operator,
    body: CreateKey,
) -> Result<(AccessKey, SecretString), Problem> {
    let invalid = |detail: &'static str| Err(Problem::new(Code::InvalidRequest, detail));
    if body.role == Role::Client && body.pools.is_empty() {
        return invalid("A client key names the pools that it is for: \"pools\": [\"crm\"].");
    }
    if body.role != Role::Client && !body.origins.is_empty() {
        return invalid(
            "Only client keys have origins: an operator's key is never used by a page of others.",
        );
    }
    if body.pools.len() > AccessKey::MAX_LIST || body.origins.len() > AccessKey::MAX_LIST {
        return invalid("A key names at most 100 pools and 100 origins.");
    }
    if body
        .expires_in_ms
        .is_some_and(|ms| !(1..=MAX_LIFE_MS).contains(&ms))
    {
        return invalid("`expires_in_ms` is 1 millisecond to ten years.");
    }
    if app.0.store.keyring().keys.len() >= MAX_KEYS {
        return invalid("There are 10000 keys already. Revoke those that nobody uses.");
    }
    let now = app.0.store.now();
    let id = KeyId::random();
    let secret = AccessKey::text(body.role, &id);
    let key = AccessKey {
        id,
        name: body.name,
        role: body.role,
        pools: body.pools,
        origins: body.origins,
        limits: body.limits,
        created_at_ms: now.0,
        expires_at_ms: body.expires_in_ms.map(|ms| after(now, ms).0),
        fingerprint: Fingerprint::of(secret.expose_secret()),
        former: None,
    };
    operator.notes.target(&key.id);
    operator.notes.after(&KeyBody::of(&key, now));
    match app.0.store.put_key(&key, None).await? {
        PutKey::Put => Ok((key, secret)),
        PutKey::Conflict => Err(Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )
        .cause("an id of 70 random bits came twice")),
    }
}

/// Reads a key.
#[utoipa::path(
    get, path = "/v1/keys/{id}", operation_id = "read_key", tag = "keys",
    responses((status = 200, body = KeyBody)),
)]
async fn read(
    State(app): State<App>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<KeyBody>, Problem> {
    app.0.store.refresh_keys().await?;
    Ok(Json(KeyBody::of(&find(&app, &id)?, app.0.store.now())))
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
    if overlap_ms > MAX_OVERLAP_MS {
        return Err(Problem::new(
            Code::InvalidRequest,
            "`overlap_ms` is at most 90 days.",
        ));
    }
    operator.notes.target(id);
    app.0.store.refresh_keys().await?;
    loop {
        let before = find(app, id)?;
        let now = app.0.store.now();
        let mut key = before.clone();
        let secret = key.roll(after(now, overlap_ms));
        operator.notes.before(&KeyBody::of(&before, now));
        operator.notes.after(&KeyBody::of(&key, now));
        // On a conflict the copy was read again, and the key may be gone.
        if app.0.store.put_key(&key, Some(&before)).await? == PutKey::Put {
            return Ok((key, secret));
        }
    }
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
    operator.notes.target(id);
    app.0.store.refresh_keys().await?;
    loop {
        let before = find(app, id)?;
        operator
            .notes
            .before(&KeyBody::of(&before, app.0.store.now()));
        if app.0.store.delete_key(&before).await? == PutKey::Put {
            return Ok(());
        }
    }
}

/// The key of this id, as this node knows it.
pub(crate) fn find(app: &App, id: &str) -> Result<AccessKey, Problem> {
    let keyring = app.0.store.keyring();
    id.parse::<KeyId>()
        .ok()
        .and_then(|id| keyring.keys.get(&id).map(|key| AccessKey::clone(key)))
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
            key: KeyBody::of(key, app.0.store.now()),
            secret: secret.expose_secret().to_owned(),
        }
    }
}
