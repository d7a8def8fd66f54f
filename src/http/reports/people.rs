//! `GET /v1/reports/people`: who used each pool, how often and how long.

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
use crate::history::holders::holders;
use crate::names::PoolName;
use crate::time::Timestamp;

/// Who used the pools.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PeopleReport {
    #[serde(flatten)]
    period: Period,
    items: Vec<PersonRow>,
}

/// What one person used of one pool.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PersonRow {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// As the pool keeps it: the name, or a pseudonym. Null for all who are anonymous, together.
    pub(crate) holder: Option<String>,
    /// Leases that were live at some instant.
    pub(crate) leases: u64,
    /// Hours for which they were, together.
    pub(crate) hours: f64,
    /// The first instant at which one was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) first_seen_at: Option<Timestamp>,
    /// The last one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_seen_at: Option<Timestamp>,
}

/// Lists who used the pools, by pool and name.
///
/// All of it is one answer, which is written while it is read: one that breaks off is not complete.
#[utoipa::path(
    get, path = "/v1/reports/people", operation_id = "report_people", tag = "history",
    params(ReportQuery),
    responses(
        (status = 200, body = PeopleReport),
        (status = 404, description = "`pool_not_found`"),
    ),
)]
pub(in crate::http) async fn report(
    State(app): State<App>,
    operator: Operator,
    asked: Asked,
    Query(wanted): Query<ReportQuery>,
) -> Result<Response, Problem> {
    answer::<PersonRow>(&app, &operator, &asked, &wanted).await
}

impl Sheet for PersonRow {
    const WORD: &'static str = "people";
    const NAME: &'static str = "People";

    fn rows(report: &Report, pools: Vec<PoolName>) -> Rows<Self> {
        report.by_pool(pools, EVENTS_AT_ONCE, |report, pool| async move {
            let own = report.operator.tenants_in(&pool);
            let (from, until) = (report.period.from, report.period.until);
            let store = report.app.store();
            let found = holders(store, &pool, from, until, report.now, own.as_ref()).await?;
            Ok(found
                .into_iter()
                .map(|(holder, used)| Self {
                    pool: pool.clone(),
                    holder,
                    leases: used.leases,
                    hours: hours(used.held_ms),
                    first_seen_at: used.first_seen_at,
                    last_seen_at: used.last_seen_at,
                })
                .collect())
        })
    }
}

impl Row for PersonRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("pool", |row, _| Cell::plain(&row.pool)),
        ("holder", |row, _| Cell::text(row.holder.as_deref())),
        ("leases", |row, _| Cell::count(Some(row.leases))),
        ("hours", |row, _| Cell::Number(row.hours)),
        ("first_seen_at", |row, zone| {
            Cell::at_if_any(row.first_seen_at, zone)
        }),
        ("last_seen_at", |row, zone| {
            Cell::at_if_any(row.last_seen_at, zone)
        }),
    ];
}
