//! `GET /v1/audit`: who did what, when.

pub(crate) mod file;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use chrono_tz::Tz;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::accept;
use super::access::{Caller, Operator};
use super::extract::Query;
use super::history::zone;
use super::problem::{Code, Problem};
use super::when;
use crate::names::PoolName;
use crate::store::{ActionOutcome, AuditEntry, AuditFilter, OwnEntries};

/// Entries of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// No actor is called so.
const NOBODY: &str = "-";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What is wanted of the trail.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Only by this key (its id), or `admin_key`, `open` or `unknown`.
    pub(crate) actor: Option<String>,
    /// Only actions that begin with this, such as `leases.terminate`, or `key` for all about keys.
    pub(crate) action: Option<String>,
    /// Only about this pool.
    #[param(value_type = Option<String>)]
    pub(crate) pool: Option<PoolName>,
    /// Only what ended so.
    #[serde(default, deserialize_with = "word")]
    #[param(value_type = Option<ActionOutcome>, inline)]
    pub(crate) outcome: Option<ActionOutcome>,
    /// From then on: a day, which is its start in `tz`, or a timestamp.
    #[param(example = "2026-11-28")]
    pub(crate) from: Option<String>,
    /// Before then.
    #[param(example = "2026-11-29T08:00:00Z")]
    pub(crate) to: Option<String>,
    /// Time zone of `from` and `to` where they name none, by its IANA name; UTC without it.
    pub(crate) tz: Option<String>,
    /// Maximum entries per page, 1 to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1_000)]
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before, with everything else as it was.
    pub(crate) cursor: Option<String>,
    /// `json`, `csv` or `jsonl`, in place of the header `Accept`. As a file all entries come at once, at most 100 000, unless
    /// there is a `limit`.
    #[param(inline)]
    pub(crate) format: Option<EntriesFormat>,
}

/// What the page of the trail sends of a choice that is not made is empty.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ActionOutcome>, D::Error> {
    let word = String::deserialize(deserializer)?;
    if word.is_empty() {
        return Ok(None);
    }
    word.parse().map(Some).map_err(D::Error::custom)
}

/// The form of the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EntriesFormat {
    /// A page.
    Json,
    /// A table.
    Csv,
    /// An entry on each line, as log shippers take it.
    Jsonl,
}

impl EntriesFormat {
    /// What the address names, or else what `Accept` likes best.
    fn of(headers: &HeaderMap, named: Option<Self>) -> Self {
        named.unwrap_or_else(|| {
            match accept::best(headers, &[accept::JSON, accept::CSV, accept::JSON_LINES]) {
                accept::CSV => Self::Csv,
                accept::JSON_LINES => Self::Jsonl,
                _ => Self::Json,
            }
        })
    }
}

/// Part of the trail, newest first.
#[derive(Debug, Serialize, ToSchema)]
struct Entries {
    items: Vec<AuditEntry>,
    /// Send it back as `cursor` for the next page; null at the end. A page may be short and not the last.
    next_cursor: Option<String>,
}

/// Lists what operators did, and what they were not allowed to do. Newest first. A key for some pools reads what was done in these, and
/// what it did itself; one for some tenants only what it did itself.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "list_audit_entries", tag = "keys",
    params(AuditQuery),
    responses((status = 200, description = "Also as `text/csv`, or as `application/jsonl` with an entry on each line", body = Entries)),
)]
async fn list(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    Query(wanted): Query<AuditQuery>,
) -> Result<Response, Problem> {
    // The page of the trail sends what stands in its fields, empty ones too. A program that sends nothing for a time made a mistake.
    for (name, text) in [("from", &wanted.from), ("to", &wanted.to)] {
        if text.as_ref().is_some_and(String::is_empty) {
            when::at(name, "", Tz::UTC)?;
        }
    }
    match EntriesFormat::of(&headers, wanted.format) {
        EntriesFormat::Json => {}
        EntriesFormat::Csv => return file::csv(&app, &operator.caller, wanted).await,
        EntriesFormat::Jsonl => return file::lines(&app, &operator.caller, wanted).await,
    }
    let filter = wanted.filter(&operator.caller)?;
    let (items, next_cursor) = app.0.store.audit_entries(&filter).await?;
    Ok(Json(Entries { items, next_cursor }).into_response())
}

impl AuditQuery {
    /// The same, checked, and no more than the caller may see.
    pub(crate) fn filter(self, caller: &Caller) -> Result<AuditFilter, Problem> {
        let zone = zone(self.tz.as_deref())?;
        let at = |name: &str, text: Option<&String>| {
            let text = text.filter(|text| !text.is_empty());
            text.map(|text| when::at(name, text, zone).map(|at| at.0))
                .transpose()
        };
        let (from_ms, to_ms) = (at("from", self.from.as_ref())?, at("to", self.to.as_ref())?);
        if let (Some(from), Some(to)) = (from_ms, to_ms)
            && to <= from
        {
            return Err(Problem::new(
                Code::InvalidRequest,
                "`from` comes before `to`.",
            ));
        }
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!("`limit` is 1 to {MAX_LIMIT}."),
            ));
        }
        if self
            .cursor
            .as_ref()
            .is_some_and(|cursor| !AuditFilter::is_place(cursor))
        {
            return Err(Problem::new(
                Code::InvalidRequest,
                "`cursor` is not one of this list. Begin again without it.",
            ));
        }
        let word = |word: Option<String>| word.filter(|word| !word.is_empty());
        let mut actor = word(self.actor);
        let mut own = None;
        if caller.names_tenants() {
            // What others did may be about people of other tenants.
            let is_asked = actor.as_deref().is_none_or(|actor| actor == caller.id());
            actor = Some(if is_asked { caller.id() } else { NOBODY }.to_owned());
        } else if caller.names_pools() {
            own = Some(OwnEntries {
                scope: caller.scope().into_owned(),
                actor: caller.id().to_owned(),
            });
        }
        Ok(AuditFilter {
            actor,
            own,
            action: word(self.action),
            pool: self.pool,
            outcome: self.outcome,
            from_ms,
            to_ms,
            before: self.cursor,
            limit,
        })
    }
}
