//! `GET /v1/pools/{pool}/tenants`: what each sub-account used of a pool.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::App;
use super::super::csv::{self, Cell};
use super::super::extract::{Path, Query};
use super::super::problem::{Problem, ProblemDocument};
use super::{Wanted, after, cursor, must_exist};
use crate::history::{reading, tenants};
use crate::lease::Instant;
use crate::pool::PoolName;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(tenants_of))
}

/// Part of the tenants.
#[derive(Debug, Serialize, ToSchema)]
struct TenantsBody {
    items: Vec<TenantBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
    /// From when on events are kept that this is made of; null if there are none.
    #[schema(value_type = Option<String>, format = DateTime)]
    covered_from: Option<Instant>,
}

/// What one tenant did.
#[derive(Debug, Serialize, ToSchema)]
struct TenantBody {
    /// Null for those who belong to none.
    tenant: Option<String>,
    /// Leases that were live at some instant of the range.
    leases: u64,
    /// Time for which they were, together.
    held_ms: u64,
    /// The most of them at once.
    peak: u64,
    /// Denials; those of one holder within two minutes count once.
    denials: u64,
    /// Those of them after which the holder got no seat within two minutes.
    true_denials: u64,
}

/// Lists what each sub-account used of a pool, by name.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/tenants",
    tag = "history",
    operation_id = "tenants",
    params(("pool" = String, Path, description = "Name of the pool"), Wanted),
    responses(
        (status = 200, description = "Also as `text/csv`, if `Accept` says so", body = TenantsBody),
        (status = 400, description = "`invalid_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "`unauthorized`, `forbidden`, `pool_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
async fn tenants_of(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let limit = wanted.limit()?;
    let (from, to) = wanted.range(must_exist(&app, &pool).await?)?;
    let found = tenants::tenants(&app.0.store, &pool, from, to).await?;
    let after = after(wanted.cursor.as_deref())?;
    let mut rest = found
        .into_iter()
        .filter(|(tenant, _)| after.as_ref().is_none_or(|after| after < tenant));
    let items: Vec<TenantBody> = rest
        .by_ref()
        .take(limit)
        .map(|(tenant, used)| TenantBody {
            tenant,
            leases: used.leases,
            held_ms: used.held_ms,
            peak: used.peak,
            denials: used.denials,
            true_denials: used.true_denials,
        })
        .collect();
    let more = rest.next().is_some();
    if csv::is_wanted(&headers, wanted.format.as_deref()) {
        let columns = [
            "tenant",
            "leases",
            "held_ms",
            "peak",
            "denials",
            "true_denials",
        ];
        let rows = items.into_iter().map(|row| {
            vec![
                Cell::text(row.tenant.as_deref()),
                Cell::plain(&row.leases),
                Cell::plain(&row.held_ms),
                Cell::plain(&row.peak),
                Cell::plain(&row.denials),
                Cell::plain(&row.true_denials),
            ]
        });
        return Ok(csv::file(&format!("{pool}-tenants"), &columns, rows));
    }
    let next_cursor = items
        .last()
        .filter(|_| more)
        .map(|row| cursor(row.tenant.as_deref()));
    let covered_from = reading::covered_from(&app.0.store, &pool, from).await?;
    Ok(Json(TenantsBody {
        items,
        next_cursor,
        covered_from,
    })
    .into_response())
}
