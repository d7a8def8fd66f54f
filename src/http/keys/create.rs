//! `POST /v1/keys`: a key, and its secret this once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};

use super::body::{CreateKey, KeyBody, KeyWithSecret};
use super::{MAX_LIFE_MS, after, check, check_given, end, invalid, invalid_at};
use crate::access_key::{AccessKey, Fingerprint, KeyId};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Body;
use crate::http::problem::{Code, Problem};
use crate::store::PutKey;

/// Most keys: each node has them all.
const MAX_KEYS: usize = 10_000;

/// Creates a key. Its secret is in the answer, this once.
#[utoipa::path(
    post, path = "/v1/keys", operation_id = "create_key", tag = "keys",
    request_body = CreateKey,
    responses((status = 201, body = KeyWithSecret)),
)]
pub(super) async fn create(
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
