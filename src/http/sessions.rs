//! `/v1/sessions`: who is logged in to the admin pages. A call with a key makes no session.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::access::{ADMIN_KEY, Operator, caller_of_login, login};
use super::extract::Path;
use super::problem::{Code, Problem};
use crate::store::OpenSession;
use crate::time::Timestamp;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, end_all))
        .routes(routes!(end))
}

/// Somebody who is logged in to the admin pages.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionBody {
    /// Its name for machines. Nobody can log in with it.
    #[schema(example = "9f86d081884c7d65")]
    pub(crate) id: String,
    /// Who: the name of a person or a key, or `admin_key` for the key of the settings; where somebody gave a name at the login, that
    /// and the key.
    #[schema(example = "Anna, shift lead")]
    pub(crate) who: String,
    /// The id of the key, `admin_key`, or `oidc:` and the subject at the provider.
    #[schema(example = "V1StGXR8Z5jd")]
    pub(crate) actor: String,
    /// The network address that the log-in came from; null if a node of an earlier version made it.
    #[schema(example = "198.51.100.7")]
    pub(crate) address: Option<String>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// When its last page was asked for. Half an hour later it ends.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) last_seen_at: Timestamp,
}

/// Everybody who is logged in.
#[derive(Debug, Serialize, ToSchema)]
struct Sessions {
    /// The last seen first.
    items: Vec<SessionBody>,
    /// Always null: all sessions are on one page, because there are at most 1,000.
    next_cursor: Option<String>,
}

/// Lists who is logged in to the admin pages.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "list_sessions", tag = "keys",
    responses((status = 200, body = Sessions)),
)]
async fn list(State(app): State<App>, _operator: Operator) -> Result<Json<Sessions>, Problem> {
    Ok(Json(Sessions {
        items: all(&app).await?,
        next_cursor: None,
    }))
}

/// Everybody who is logged in, the last seen first. A login whose key is gone or changed is over, and not among them.
pub(crate) async fn all(app: &App) -> Result<Vec<SessionBody>, Problem> {
    let body = |OpenSession {
                    id,
                    session,
                    last_seen,
                }: OpenSession| {
        let by = if let Some(person) = &session.person {
            person.name.clone()
        } else {
            let caller = caller_of_login(app, &session)?;
            match caller.key() {
                Some(key) => key.name.as_str().to_owned(),
                None => ADMIN_KEY.to_owned(),
            }
        };
        let who = match &session.name {
            Some(name) => format!("{name} ({by})"),
            None => by,
        };
        Some(SessionBody {
            id,
            who,
            actor: session.caller,
            address: session.address,
            since: Timestamp(session.since_ms),
            last_seen_at: last_seen,
        })
    };
    let open = app.0.store.sessions().await?;
    Ok(open.into_iter().filter_map(body).collect())
}

/// Ends a session on all nodes, with everything that is open by it.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", operation_id = "end_session", tag = "keys",
    responses((status = 204, description = "Ended")),
)]
async fn end(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    end_session(&app, &operator, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session.
pub(crate) async fn end_session(app: &App, operator: &Operator, id: &str) -> Result<(), Problem> {
    operator.notes.target(id);
    match app.0.store.end_session(id).await? {
        Some(session) => {
            operator.notes.before(&session.caller);
            Ok(())
        }
        None => Err(Problem::new(
            Code::SessionNotFound,
            "There is no session with this id, or not any more. GET /v1/sessions lists those that there are.",
        )),
    }
}

/// Ends all sessions but that of the caller, on all nodes, with everything that is open by them.
#[utoipa::path(
    delete, path = "/v1/sessions", operation_id = "end_all_sessions", tag = "keys",
    responses((status = 204, description = "Ended, all that there were")),
)]
async fn end_all(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    end_others_than(&app, &operator, &headers).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions but the one of a request.
pub(crate) async fn end_others_than(
    app: &App,
    operator: &Operator,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let own = login::fingerprint(app, headers);
    operator.notes.target("all");
    let ended = app.0.store.end_other_sessions(own.as_deref()).await?;
    operator
        .notes
        .after(&serde_json::json!({ "sessions": ended }));
    Ok(())
}
