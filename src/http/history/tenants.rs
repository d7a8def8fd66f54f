//! `GET /v1/pools/{pool}/tenants`: what each sub-account used of a pool.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::App;
use super::super::access::Operator;
use super::super::csv::Cell;
use super::super::extract::{Path, Query};
use super::super::problem::Problem;
use super::super::table::{Asked, Column, Page, Row};
use super::{ListQuery, after, cursor, must_exist};
use crate::history::holders::is_of;
use crate::history::{reading, tenants};
use crate::names::PoolName;
use crate::time::Timestamp;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(tenants_of))
}

/// Part of the tenants.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantsBody {
    pub(crate) items: Vec<TenantBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
    /// Earliest event that this report is based on; null without events.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) covered_from: Option<Timestamp>,
}

/// What one tenant did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantBody {
    /// Null for those who belong to none.
    pub(crate) tenant: Option<String>,
    /// Leases that were live at some instant of the range.
    pub(crate) leases: u64,
    /// Time for which they were, together.
    pub(crate) held_ms: u64,
    /// The most of them at once.
    pub(crate) peak: u64,
    /// Denials; those of one holder within two minutes count once.
    pub(crate) denials: u64,
    /// Those of them after which the holder got no seat within two minutes.
    pub(crate) true_denials: u64,
}

/// Lists what each sub-account used of a pool, by name.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/tenants", operation_id = "tenants", tag = "history",
    params(ListQuery),
    responses((status = 200, body = TenantsBody)),
)]
async fn tenants_of(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    asked: Asked,
    Query(wanted): Query<ListQuery>,
) -> Result<Response, Problem> {
    let found = used(&app, &operator, &pool, &wanted).await?;
    let name = format!("{pool}-tenants");
    Ok(asked.answer(wanted.format, &name, &found, None))
}

/// What each tenant used.
pub(crate) async fn used(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    wanted: &ListQuery,
) -> Result<TenantsBody, Problem> {
    let limit = wanted.limit()?;
    let now = must_exist(app, pool).await?;
    let (from, to) = wanted.range(now)?;
    let found = tenants::tenants(&app.0.store, pool, from, to, now).await?;
    let after = after(wanted.cursor.as_deref())?;
    let own = operator.tenants_in(pool);
    let is_own = |tenant: &Option<String>| is_of(own.as_ref(), tenant.as_deref());
    let mut rest = found
        .into_iter()
        .filter(|(tenant, _)| is_own(tenant))
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
    let next_cursor = items
        .last()
        .filter(|_| more)
        .map(|row| cursor(row.tenant.as_deref()));
    Ok(TenantsBody {
        items,
        next_cursor,
        covered_from: reading::covered_from(&app.0.store, pool, from).await?,
    })
}

impl Page for TenantsBody {
    type Row = TenantBody;

    fn items(&self) -> &[TenantBody] {
        &self.items
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl Row for TenantBody {
    const COLUMNS: &'static [Column<Self>] = &[
        ("tenant", |row, _| Cell::text(row.tenant.as_deref())),
        ("leases", |row, _| Cell::plain(&row.leases)),
        ("held_ms", |row, _| Cell::plain(&row.held_ms)),
        ("peak", |row, _| Cell::plain(&row.peak)),
        ("denials", |row, _| Cell::plain(&row.denials)),
        ("true_denials", |row, _| Cell::plain(&row.true_denials)),
    ];
}
