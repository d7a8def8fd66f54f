//! `GET /v1/reports/tenants`: what each sub-account used of each pool.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::App;
use super::super::access::Operator;
use super::super::csv::Cell;
use super::super::extract::Query;
use super::super::problem::Problem;
use super::super::table::{Asked, Column, Row};
use super::{EVENTS_AT_ONCE, Period, Report, ReportQuery, Rows, Sheet, answer, hours};
use crate::history::holders::is_of;
use crate::history::tenants::{self, TenantUsage};
use crate::names::PoolName;

/// What tenants used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantsReport {
    #[serde(flatten)]
    period: Period,
    items: Vec<TenantRow>,
}

/// What one tenant used of one pool.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TenantRow {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// Null for those who belong to none.
    pub(crate) tenant: Option<String>,
    /// Leases that were live at some instant.
    pub(crate) leases: u64,
    /// Hours for which they were, together.
    pub(crate) hours: f64,
    /// The most of them at once.
    pub(crate) peak: u64,
    /// Denials; those of one holder within two minutes count once.
    pub(crate) denials: u64,
    /// Those of them after which the holder got no seat within two minutes.
    pub(crate) true_denials: u64,
}

/// Lists what each sub-account used, by pool and name.
///
/// All of it is one answer, which is written while it is read: one that breaks off is not complete.
#[utoipa::path(
    get, path = "/v1/reports/tenants", operation_id = "report_tenants", tag = "history",
    params(ReportQuery),
    responses(
        (status = 200, body = TenantsReport),
        (status = 404, description = "`pool_not_found`"),
    ),
)]
pub(in crate::http) async fn report(
    State(app): State<App>,
    operator: Operator,
    asked: Asked,
    Query(wanted): Query<ReportQuery>,
) -> Result<Response, Problem> {
    answer::<TenantRow>(&app, &operator, &asked, &wanted).await
}

impl Report {
    /// What each tenant used of a pool, of those that the caller may see.
    pub(super) async fn tenants_of(
        &self,
        pool: &PoolName,
    ) -> Result<BTreeMap<Option<String>, TenantUsage>, Problem> {
        let own = self.operator.tenants_in(pool);
        let (from, until) = (self.period.from, self.period.until);
        let mut found = tenants::tenants(self.app.store(), pool, from, until, self.now).await?;
        found.retain(|tenant, _| is_of(own.as_ref(), tenant.as_deref()));
        Ok(found)
    }
}

impl Sheet for TenantRow {
    const WORD: &'static str = "tenants";
    const NAME: &'static str = "Tenants";

    fn rows(report: &Report, pools: Vec<PoolName>) -> Rows<Self> {
        report.by_pool(pools, EVENTS_AT_ONCE, |report, pool| async move {
            let found = report.tenants_of(&pool).await?;
            Ok(found
                .into_iter()
                .map(|(tenant, used)| Self {
                    pool: pool.clone(),
                    tenant,
                    leases: used.leases,
                    hours: hours(used.held_ms),
                    peak: used.peak,
                    denials: used.denials,
                    true_denials: used.true_denials,
                })
                .collect())
        })
    }
}

impl Row for TenantRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("pool", |row, _| Cell::plain(&row.pool)),
        ("tenant", |row, _| Cell::text(row.tenant.as_deref())),
        ("leases", |row, _| Cell::count(Some(row.leases))),
        ("hours", |row, _| Cell::Number(row.hours)),
        ("peak", |row, _| Cell::count(Some(row.peak))),
        ("denials", |row, _| Cell::count(Some(row.denials))),
        ("true_denials", |row, _| Cell::count(Some(row.true_denials))),
    ];
}
