//! `GET /v1/pools/{pool}/leases`: who holds what.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::LeaseBody;
use crate::blocking;
use crate::http::accept::{self, Format};
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::extract::{Path, Query};
use crate::http::problem::{Code, Problem};
use crate::http::{App, pool_not_found};
use crate::names::{Holder, LeaseId, PoolName, Tenant, recorded_if_any};
use crate::store::{Cursor, Selection, Sort};

/// Leases of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Leases of a file that is not asked for by the page, at most.
const EXPORTED: usize = 100_000;

/// What is wanted of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LeasesQuery {
    /// Only leases of this holder.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "recorded_if_any")]
    pub(crate) holder: Option<Holder>,
    /// Only leases of this tenant.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "recorded_if_any")]
    pub(crate) tenant: Option<Tenant>,
    /// Only leases with this text in holder, tenant, label, activities or platform.
    pub(crate) q: Option<String>,
    /// `expires_at`, `started_at`, `renewed_at`, `active_at`, `holder`, `tenant`, `label`, `platform` or `activities`; with `-` in
    /// front from the last to the first. Without it by `expires_at`.
    pub(crate) sort: Option<String>,
    /// Only leases whose users had done nothing for at least so long by their last report, in a pool whose policy has `idle`.
    #[param(maximum = 2_678_400_000_u64)]
    pub(crate) idle_ms: Option<u64>,
    /// Maximum leases per page, 1 to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1_000)]
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before, with everything else as it was.
    pub(crate) cursor: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`. As CSV all leases come at once, at most 100 000, unless there is a
    /// `limit`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Leases {
    pub(crate) items: Vec<LeaseBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// Lists the live leases of a pool.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/leases", operation_id = "list_leases", tag = "leases",
    params(LeasesQuery),
    responses((status = 200, body = Leases)),
)]
pub(super) async fn list(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<LeasesQuery>,
) -> Result<Response, Problem> {
    if accept::is_csv(&headers, wanted.format) {
        return export(&app, &operator, &pool, wanted).await;
    }
    Ok(Json(page(&app, &operator, &pool, wanted).await?).into_response())
}

/// One page of the list.
pub(crate) async fn page(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    wanted: LeasesQuery,
) -> Result<Leases, Problem> {
    let selection = wanted.selection()?.within(operator.tenants_in(pool));
    listed(app, pool, selection).await
}

/// The list as a file: a page if its size is named, else all.
pub(crate) async fn export(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    wanted: LeasesQuery,
) -> Result<Response, Problem> {
    let all = wanted.limit.is_none();
    let mut selection = wanted.selection()?.within(operator.tenants_in(pool));
    if all {
        selection.limit = EXPORTED;
    }
    let (leases, pool) = (listed(app, pool, selection).await?, pool.clone());
    // 100 000 rows are 15 MB of text.
    Ok(blocking::run(move || to_csv(&pool, leases)).await)
}

async fn listed(app: &App, pool: &PoolName, mut selection: Selection) -> Result<Leases, Problem> {
    if let Some(holder) = selection.holder.take() {
        selection.holder = Some(app.recorded_holder(pool, holder).await?);
    }
    let listing = app
        .0
        .store
        .select(pool, &selection)
        .await?
        .ok_or_else(|| pool_not_found(pool))?;
    let policy = app.0.store.cached_policy(pool);
    let leases = listing.leases.into_iter();
    Ok(Leases {
        items: leases
            .map(|lease| LeaseBody::of(lease, policy.as_deref()))
            .collect(),
        next_cursor: listing.next.map(|place| to_cursor(&place)),
    })
}

fn to_csv(pool: &PoolName, leases: Leases) -> Response {
    let keeps_use = leases.items.iter().any(|lease| lease.active_at.is_some());
    let mut columns = vec![
        "id",
        "holder",
        "tenant",
        "label",
        "activities",
        "platform",
        "seat",
        "started_at",
        "renewed_at",
        "expires_at",
        "fence",
    ];
    if keeps_use {
        columns.push("active_at");
    }
    let rows = leases.items.into_iter().map(|lease| {
        let activities: Vec<&str> = lease.activities.iter().map(|text| text.as_str()).collect();
        let seat = serde_json::to_value(lease.seat).unwrap_or_default();
        let mut row = vec![
            Cell::plain(&lease.id),
            Cell::text(lease.holder.as_ref().map(Holder::as_str)),
            Cell::text(lease.tenant.as_ref().map(Tenant::as_str)),
            Cell::text(lease.label.as_ref().map(|label| label.as_str())),
            Cell::Text(activities.join("; ")),
            Cell::text(lease.platform.as_ref().map(|platform| platform.as_str())),
            Cell::text(seat.as_str()),
            Cell::plain(&lease.started_at),
            Cell::plain(&lease.renewed_at),
            Cell::plain(&lease.expires_at),
            Cell::plain(&lease.fence),
        ];
        if keeps_use {
            let active_at = lease.active_at.flatten();
            row.push(active_at.map_or(Cell::text(None), |at| Cell::plain(&at)));
        }
        row
    });
    csv::file(&format!("leasehold-{pool}-leases"), &columns, rows)
}

impl LeasesQuery {
    pub(crate) fn selection(self) -> Result<Selection, Problem> {
        let (descending, word) = match self.sort.as_deref() {
            Some(sort) => sort
                .strip_prefix('-')
                .map_or((false, sort), |word| (true, word)),
            None => (false, "expires_at"),
        };
        let sort = match word {
            "expires_at" => Sort::ExpiresAt,
            "started_at" => Sort::StartedAt,
            "renewed_at" => Sort::RenewedAt,
            "active_at" => Sort::ActiveAt,
            "holder" => Sort::Holder,
            "tenant" => Sort::Tenant,
            "label" => Sort::Label,
            "platform" => Sort::Platform,
            "activities" => Sort::Activities,
            _ => {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    "`sort` is expires_at, started_at, renewed_at, active_at, holder, tenant, label, platform or \
                     activities, with or without - in front.",
                ));
            }
        };
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!("`limit` is 1 to {MAX_LIMIT}."),
            ));
        }
        let after = match self.cursor {
            Some(cursor) => Some(from_cursor(&cursor).ok_or_else(|| {
                Problem::new(
                    Code::InvalidRequest,
                    "`cursor` is not one of this list. Begin again without it.",
                )
            })?),
            None => None,
        };
        Ok(Selection {
            holder: self.holder,
            tenant: self.tenant,
            within: None,
            text: self
                .q
                .filter(|text| !text.is_empty())
                .map(|text| text.to_lowercase()),
            idle_ms: self.idle_ms,
            sort,
            descending,
            after,
            limit,
        })
    }
}

/// A place as a word that clients need not understand.
fn to_cursor(place: &Cursor) -> String {
    let json = match place {
        Cursor::Number(number, id) => serde_json::json!([number, id]),
        Cursor::Text(text, id) => serde_json::json!([text, id]),
    };
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn from_cursor(cursor: &str) -> Option<Cursor> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Key {
        Number(i64),
        Text(String),
    }
    let json = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (key, id): (Key, LeaseId) = serde_json::from_slice(&json).ok()?;
    Some(match key {
        Key::Number(number) => Cursor::Number(number, id),
        Key::Text(text) => Cursor::Text(text, id),
    })
}
