//! `GET /v1/keys`: the keys that the caller may know of.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{KeyBody, is_within};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Query;
use crate::http::problem::{Code, Problem};

/// Maximum keys of a page.
const MAX_LIMIT: usize = 1_000;

/// Keys, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Keys {
    items: Vec<KeyBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// Which keys to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KeysQuery {
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

/// Lists the keys, by name. Secrets are not among what is kept. Who is for some pools or tenants lists keys for no more than these.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "list_keys", tag = "keys",
    params(KeysQuery),
    responses((status = 200, body = Keys)),
)]
pub(super) async fn list(
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
