//! `GET /v1/reports/denials`: who got no seat of which pool.

use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::App;
use super::super::access::Operator;
use super::super::csv::Cell;
use super::super::extract::Query;
use super::super::history::denials::DenialBody;
use super::super::problem::Problem;
use super::super::table::{Asked, Column, Row};
use super::{Period, Report, ReportQuery, Rows, Sheet, answer};
use crate::history::denials::{PATIENCE_MS, denials};
use crate::names::PoolName;
use crate::store::EventId;

/// Denials that are read at once. For the last of them an hour more is read, to see when a seat came.
const CHUNK: usize = 5_000;

/// Who was denied.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DenialsReport {
    #[serde(flatten)]
    period: Period,
    items: Vec<DenialRow>,
}

/// A denial of one pool; further ones of the same holder within two minutes belong to it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DenialRow {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    #[serde(flatten)]
    pub(crate) denial: DenialBody,
}

/// Lists who was denied, by pool, oldest first, and whether that holder got a seat soon after.
///
/// All of it is one answer, which is written while it is read: one that breaks off is not complete.
#[utoipa::path(
    get, path = "/v1/reports/denials", operation_id = "report_denials", tag = "history",
    params(ReportQuery),
    responses(
        (status = 200, body = DenialsReport),
        (status = 404, description = "`pool_not_found`"),
    ),
)]
pub(in crate::http) async fn report(
    State(app): State<App>,
    operator: Operator,
    asked: Asked,
    Query(wanted): Query<ReportQuery>,
) -> Result<Response, Problem> {
    answer::<DenialRow>(&app, &operator, &asked, &wanted).await
}

impl Sheet for DenialRow {
    const WORD: &'static str = "denials";
    const NAME: &'static str = "Denials";

    fn rows(report: &Report, pools: Vec<PoolName>) -> Rows<Self> {
        let report = report.clone();
        stream::iter(pools)
            .flat_map(move |pool| of_pool(report.clone(), pool))
            .boxed()
    }
}

/// The denials of one pool, some at a time.
fn of_pool(report: Report, pool: PoolName) -> Rows<DenialRow> {
    let begin = EventId::before_ms(report.period.from.0);
    stream::unfold(Some(begin), move |after| {
        let (report, pool) = (report.clone(), pool.clone());
        async move {
            let after = after?;
            let (store, until) = (report.app.store(), report.period.until);
            let own = report.operator.tenants_in(&pool);
            let found = denials(
                store,
                &pool,
                after,
                until,
                CHUNK,
                PATIENCE_MS,
                report.now,
                own.as_ref(),
            );
            let found = found.await;
            let (found, next) = match found {
                Ok(found) => found,
                Err(error) => return Some((Err(error.into()), None)),
            };
            let rows = found
                .into_iter()
                .map(|denial| DenialRow {
                    pool: pool.clone(),
                    denial: denial.into(),
                })
                .collect();
            Some((Ok(rows), next))
        }
    })
    .boxed()
}

impl Row for DenialRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("pool", |row, _| Cell::plain(&row.pool)),
        ("at", |row, zone| Cell::at(row.denial.at, zone)),
        ("code", |row, _| Cell::plain(&row.denial.code)),
        ("holder", |row, _| Cell::text(row.denial.holder.as_deref())),
        ("tenant", |row, _| Cell::text(row.denial.tenant.as_deref())),
        ("true_denial", |row, _| Cell::known(row.denial.true_denial)),
        ("granted_at", |row, zone| {
            Cell::at_if_any(row.denial.granted_at, zone)
        }),
        ("waited_ms", |row, _| Cell::count(row.denial.waited_ms)),
    ];
}
