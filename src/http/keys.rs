//! `/v1/keys`: who may do what. A secret is shown once, when it is made.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono_tz::Tz;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::access::Operator;
use super::extract::{Body, Path, Query};
use super::problem::{Code, Problem};
use super::records::{self, DAY_MS, Record};
use super::when::When;
use crate::access_key::{AccessKey, Fingerprint, KeyId, Limits, Origin, Role, usual_burst};
use crate::names::{Label, PoolName, Tenant};
use crate::store::{self, PutKey};
use crate::time::Timestamp;

/// The longest life of a key: ten years, in milliseconds.
const MAX_LIFE_MS: u64 = 3_660 * DAY_MS;
/// Maximum keys of a page.
const MAX_LIMIT: usize = 1_000;
/// Most keys: each node has them all.
const MAX_KEYS: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, change, revoke))
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
    /// The tenants that an operator's key sees and touches; none means all.
    #[schema(value_type = Vec<String>)]
    pub(crate) tenants: Vec<Tenant>,
    /// The tenant of everybody who acquires with a client key; null leaves it to them.
    #[schema(value_type = Option<String>)]
    pub(crate) tenant: Option<Tenant>,
    /// The pages that may use it.
    #[schema(value_type = Vec<String>)]
    pub(crate) origins: Vec<Origin>,
    /// How often a client key may be used.
    pub(crate) limits: LimitsBody,
    /// When it was used last, on any node, to a few seconds; null if it never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_used_at: Option<Timestamp>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    /// When it ends by itself; null is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) expires_at: Option<Timestamp>,
    /// End of the time in which the former secret is accepted, too; null without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) former_secret_until: Option<Timestamp>,
}

impl KeyBody {
    pub(crate) fn of(key: &AccessKey, last_used_at: Option<Timestamp>, now: Timestamp) -> Self {
        let former = key.former.as_ref().map(|former| Timestamp(former.until_ms));
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            role: key.role,
            pools: key.pools.clone(),
            tenants: key.tenants.clone(),
            tenant: key.tenant.clone(),
            origins: key.origins.clone(),
            limits: LimitsBody::of(key),
            last_used_at,
            created_at: Timestamp(key.created_at_ms),
            expires_at: key.expires_at_ms.map(Timestamp),
            former_secret_until: former.filter(|until| now < *until),
        }
    }
}

/// How often a client key may be used, on each node. Heartbeats are not counted.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Limits)]
pub(crate) struct LimitsBody {
    /// Requests per minute with this key, from everywhere together.
    #[schema(value_type = u32, minimum = 1, example = 6_000)]
    pub(crate) per_minute: NonZeroU32,
    /// How many may come at once. Where it was not set it is a sixth of `per_minute`, and from one address a sixth of
    /// `per_address_per_minute`.
    #[schema(value_type = u32, minimum = 1, example = 1_000)]
    pub(crate) burst: NonZeroU32,
    /// The same as `per_minute` from one network address: an IPv4 address, or the first 64 bits of an IPv6 address.
    #[schema(value_type = u32, minimum = 1, example = 1_200)]
    pub(crate) per_address_per_minute: NonZeroU32,
}

impl LimitsBody {
    fn of(key: &AccessKey) -> Self {
        let per_minute = key.limits.per_minute;
        Self {
            per_minute,
            burst: key.burst.unwrap_or_else(|| usual_burst(per_minute)),
            per_address_per_minute: key.limits.per_address_per_minute,
        }
    }
}

/// Limits to set; what is left out is as it was, or as usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = LimitsChange)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsWanted {
    /// Requests per minute with this key, from everywhere together; 6 000 if nothing else is said.
    #[schema(value_type = Option<u32>, minimum = 1, example = 6_000)]
    per_minute: Option<NonZeroU32>,
    /// How many may come at once, from everywhere together and from one address; a sixth of each limit if nothing else is said.
    #[schema(value_type = Option<u32>, minimum = 1, example = 1_000)]
    burst: Option<NonZeroU32>,
    /// Requests per minute from one network address. If nothing else is said, 1 200 for a key that pages use, and as many as
    /// `per_minute` for one without origins: a backend asks for everybody from one address.
    #[schema(value_type = Option<u32>, minimum = 1, example = 1_200)]
    per_address_per_minute: Option<NonZeroU32>,
}

impl LimitsWanted {
    /// Puts these limits in the place of those of a key.
    fn put_into(self, key: &mut AccessKey) {
        // Whoever sends back what was read means no change.
        let is_as_read = self.burst == Some(LimitsBody::of(key).burst)
            && self
                .per_minute
                .is_none_or(|per_minute| per_minute == key.limits.per_minute);
        if self.burst.is_some() && !is_as_read {
            key.burst = self.burst;
        }
        if let Some(per_minute) = self.per_minute {
            key.limits.per_minute = per_minute;
        }
        if let Some(per_minute) = self.per_address_per_minute {
            key.limits.per_address_per_minute = per_minute;
        }
    }

    /// The limits of a new key.
    fn of_a_new_key(self, origins: &[Origin]) -> Limits {
        let usual = if origins.is_empty() {
            Limits::of_a_backend()
        } else {
            Limits::default()
        };
        let per_minute = self.per_minute.unwrap_or(usual.per_minute);
        let of_an_address = usual.per_address_per_minute.min(per_minute);
        Limits {
            per_minute,
            per_address_per_minute: self
                .per_address_per_minute
                .unwrap_or(if origins.is_empty() {
                    per_minute
                } else {
                    of_an_address
                }),
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

/// Keys, by name.
#[derive(Debug, Serialize, ToSchema)]
struct Keys {
    items: Vec<KeyBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// Which keys to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeysQuery {
    /// Maximum keys per page, 1 to 1000; without it all keys are on one page.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The place of a key in the list: its name and id, so that it stands also for one that was revoked meanwhile.
fn cursor_of(key: &KeyBody) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}\0{}", key.name.as_str(), key.id.as_str()))
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
    /// For operators' keys: the tenants that it sees and touches. None means all.
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["acme"]))]
    #[serde(default)]
    pub(crate) tenants: Vec<Tenant>,
    /// For client keys: the tenant of everybody who acquires with it. Without it each request may name one.
    #[schema(value_type = Option<String>, max_length = 64, example = "acme")]
    #[serde(default)]
    pub(crate) tenant: Option<Tenant>,
    /// For client keys: the pages that may use it, such as `https://crm.example`. Without any, no page may.
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["https://crm.example"]))]
    #[serde(default)]
    pub(crate) origins: Vec<Origin>,
    /// For client keys: how often it may be used.
    #[serde(default)]
    pub(crate) limits: LimitsWanted,
    /// When it ends by itself, in milliseconds from now, at most ten years.
    #[serde(default)]
    #[schema(maximum = 316_224_000_000_u64)]
    pub(crate) expires_in_ms: Option<u64>,
    /// When it ends by itself, as an instant in RFC 3339, in place of `expires_in_ms`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub(crate) expires_at: Option<When>,
}

/// What to change of a key; what is left out stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeKey {
    /// For people, at most 128 bytes.
    #[schema(value_type = Option<String>, max_length = 128, example = "crm widget")]
    #[serde(default)]
    name: Option<Label>,
    /// The pools that it is for. A client key names at least one; of an operator's key none means all.
    #[schema(value_type = Option<Vec<String>>, max_items = 100, example = json!(["crm"]))]
    #[serde(default)]
    pools: Option<Vec<PoolName>>,
    /// For operators' keys: the tenants that it sees and touches. None means all.
    #[schema(value_type = Option<Vec<String>>, max_items = 100, example = json!(["acme"]))]
    #[serde(default)]
    tenants: Option<Vec<Tenant>>,
    /// For client keys: the tenant of everybody who acquires with it; null leaves it to them.
    #[schema(value_type = Option<String>, max_length = 64, example = "acme")]
    #[serde(default, deserialize_with = "given")]
    tenant: Option<Option<Tenant>>,
    /// For client keys: the pages that may use it.
    #[schema(value_type = Option<Vec<String>>, max_items = 100, example = json!(["https://crm.example"]))]
    #[serde(default)]
    origins: Option<Vec<Origin>>,
    /// For client keys: how often it may be used.
    #[serde(default)]
    limits: Option<LimitsWanted>,
    /// When it ends by itself, as an instant in RFC 3339; null is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "given")]
    expires_at: Option<Option<When>>,
}

/// Tells null from a field that is left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// How to replace a secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct RollKey {
    /// How long the former secret stays good, in milliseconds, at most 90 days; a day without it.
    #[schema(maximum = 7_776_000_000_u64)]
    overlap_ms: Option<u64>,
}

/// Lists the keys, by name. Secrets are not among what is kept. Who is for some pools or tenants lists keys for no more than these.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "list_keys", tag = "keys",
    params(KeysQuery),
    responses((status = 200, body = Keys)),
)]
async fn list(
    State(app): State<App>,
    operator: Operator,
    Query(wanted): Query<KeysQuery>,
) -> Result<Json<Keys>, Problem> {
    let mut items = all(&app, &operator).await?;
    if let Some(cursor) = wanted.cursor {
        let text = URL_SAFE_NO_PAD.decode(cursor).ok();
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        let after = text.as_deref().and_then(|text| text.split_once('\0'));
        let after = after.ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                "`cursor` is not one of this list. Begin again without it.",
            )
        })?;
        items.retain(|key| after < (key.name.as_str(), key.id.as_str()));
    }
    let mut next_cursor = None;
    if let Some(limit) = wanted.limit {
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!("`limit` is 1 to {MAX_LIMIT}."),
            ));
        }
        if limit < items.len() {
            items.truncate(limit);
            next_cursor = items.last().map(cursor_of);
        }
    }
    Ok(Json(Keys { items, next_cursor }))
}

/// All keys that the caller may know of, by name.
pub(crate) async fn all(app: &App, operator: &Operator) -> Result<Vec<KeyBody>, Problem> {
    app.0.store.refresh_keys().await?;
    let uses = app.0.store.key_uses().await?;
    let now = app.0.store.now();
    let keyring = app.0.store.keyring();
    let mut items: Vec<KeyBody> = keyring
        .keys
        .values()
        .filter(|key| is_within(operator, key))
        .map(|key| KeyBody::of(key, uses.get(&key.id).copied(), now))
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
    if app.0.store.keyring().keys.len() >= MAX_KEYS {
        return Err(invalid(
            "There are 10000 keys already. Revoke those that nobody uses.",
        ));
    }
    let now = app.0.store.now();
    let expires_at_ms = match (body.expires_in_ms, body.expires_at) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "`expires_in_ms` and `expires_at` say the same. Send one of them.",
            ));
        }
        (Some(ms), None) if !(1..=MAX_LIFE_MS).contains(&ms) => {
            return Err(invalid_at(
                "expires_in_ms",
                "`expires_in_ms` is 1 millisecond to ten years.",
            ));
        }
        (Some(ms), None) => Some(after(now, ms).0),
        (None, Some(when)) => Some(end(&when, now)?.0),
        (None, None) => None,
    };
    let id = KeyId::random();
    let secret = AccessKey::text(body.role, &id);
    let key = AccessKey {
        id,
        name: body.name,
        role: body.role,
        limits: body.limits.of_a_new_key(&body.origins),
        burst: body.limits.burst,
        pools: body.pools,
        tenants: body.tenants,
        tenant: body.tenant,
        origins: body.origins,
        created_at_ms: now.0,
        expires_at_ms,
        fingerprint: Fingerprint::of(secret.expose_secret()),
        former: None,
    };
    check(&key)?;
    operator.notes.target(&key.id);
    operator.notes.after(&KeyBody::of(&key, None, now));
    check_given(operator, &key)?;
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
