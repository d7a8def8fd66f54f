//! `GET /v1/reports/summary`: what each pool came to, in a row.

use axum::extract::State;
use axum::response::Response;
use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::App;
use super::super::access::Operator;
use super::super::csv::Cell;
use super::super::extract::Query;
use super::super::problem::Problem;
use super::super::table::{Asked, Column, Row};
use super::{AT_ONCE, Period, Report, ReportQuery, Rows, Sheet, answer, hours};
use crate::history::summary::{Summary, summary};
use crate::history::tenants::TenantUsage;
use crate::names::PoolName;
use crate::time::Timestamp;

/// For how long in total a level has to be reached for the sustained peak, ms.
const SUSTAINED_MS: u64 = 30 * 60_000;

/// What the pools came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SummaryReport {
    #[serde(flatten)]
    period: Period,
    items: Vec<SummaryRow>,
}

/// What one pool came to. What is not known is null: of a time without history, or because the key is for some tenants only, whose own hours and
/// denials are told.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SummaryRow {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// Seats in all, on average over the time.
    pub(crate) capacity: Option<f64>,
    /// The most seats in use at once.
    pub(crate) peak: Option<u64>,
    /// The last day on which that was.
    #[schema(value_type = Option<String>, format = Date)]
    pub(crate) peak_on: Option<NaiveDate>,
    /// The highest number of seats that was in use for 30 minutes in total.
    pub(crate) sustained_peak: Option<u64>,
    /// Mean of the days' maxima.
    pub(crate) daily_average: Option<f64>,
    /// Seats in use on average.
    pub(crate) mean: Option<f64>,
    /// Share of the seats' time in which they were in use, 1 for all.
    pub(crate) utilisation: Option<f64>,
    /// Leases that got a seat.
    pub(crate) grants: Option<u64>,
    /// Hours for which seats were in use, together.
    pub(crate) seat_hours: Option<f64>,
    /// Hours in which no seat was free.
    pub(crate) full_hours: Option<f64>,
    /// Denials; those of one holder within two minutes count once.
    pub(crate) denials: Option<u64>,
    /// Acquires that were denied, also of the same holder.
    pub(crate) raw_denials: Option<u64>,
    /// Hours in which nobody could ask for a seat, or of which nothing is known.
    pub(crate) gap_hours: Option<f64>,
    /// From when on this is known; later than the period's begin for a younger pool, or where the history does not reach back that far.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) covered_from: Option<Timestamp>,
}

/// Sums up what happened in the pools, by name.
///
/// All of it is one answer, which is written while it is read: one that breaks off is not complete.
#[utoipa::path(
    get, path = "/v1/reports/summary", operation_id = "report_summary", tag = "history",
    params(ReportQuery),
    responses(
        (status = 200, body = SummaryReport),
        (status = 404, description = "`pool_not_found`"),
    ),
)]
pub(in crate::http) async fn report(
    State(app): State<App>,
    operator: Operator,
    asked: Asked,
    Query(wanted): Query<ReportQuery>,
) -> Result<Response, Problem> {
    answer::<SummaryRow>(&app, &operator, &asked, &wanted).await
}

impl Sheet for SummaryRow {
    const WORD: &'static str = "summary";
    const NAME: &'static str = "Summary";

    fn rows(report: &Report, pools: Vec<PoolName>) -> Rows<Self> {
        report.by_pool(pools, AT_ONCE, |report, pool| async move {
            Ok(vec![of_pool(&report, pool).await?])
        })
    }
}

async fn of_pool(report: &Report, pool: PoolName) -> Result<SummaryRow, Problem> {
    if report.operator.tenants_in(&pool).is_some() {
        return of_own_tenants(report, pool).await;
    }
    let days = report.days.kept(report.now);
    let found = summary(report.app.store(), &pool, days).await?;
    Ok(SummaryRow::of(pool, found.as_ref()))
}

/// What a caller learns who sees some tenants only: nothing that tells of others.
async fn of_own_tenants(report: &Report, pool: PoolName) -> Result<SummaryRow, Problem> {
    let used = report.tenants_of(&pool).await?;
    let sum = |of: fn(&TenantUsage) -> u64| used.values().map(of).sum();
    let mut row = SummaryRow::of(pool, None);
    row.seat_hours = Some(hours(sum(|used| used.held_ms)));
    row.denials = Some(sum(|used| used.denials));
    Ok(row)
}

impl SummaryRow {
    fn of(pool: PoolName, found: Option<&Summary>) -> Self {
        let rounded = |number: f64| (number * 1_000.0).round() / 1_000.0;
        let slot = found.map(|found| &found.whole);
        // Nothing is divided by nothing.
        let share = |part: u64, whole: u64| rounded(part as f64 / (whole as f64).max(1.0));
        Self {
            pool,
            capacity: slot.map(|slot| share(slot.levels.capacity_ms(), slot.levels.ms())),
            peak: found.map(|found| found.peak.0),
            peak_on: found.map(|found| found.peak.1),
            sustained_peak: slot.map(|slot| slot.levels.sustained(SUSTAINED_MS)),
            daily_average: found.map(|found| rounded(found.daily_average)),
            mean: found.map(|found| share(found.whole.seat_ms, found.until.since(found.from))),
            utilisation: slot.map(|slot| share(slot.seat_ms, slot.levels.capacity_ms())),
            grants: slot.map(|slot| slot.grants),
            seat_hours: slot.map(|slot| hours(slot.seat_ms)),
            full_hours: slot.map(|slot| hours(slot.levels.at_least_ms(100))),
            denials: slot.map(|slot| slot.denials.values().sum()),
            raw_denials: slot.map(|slot| slot.raw_denials.values().sum()),
            gap_hours: slot.map(|slot| hours(slot.gap_ms)),
            covered_from: found.map(|found| found.from),
        }
    }
}

impl Row for SummaryRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("pool", |row, _| Cell::plain(&row.pool)),
        ("capacity", |row, _| Cell::decimal(row.capacity)),
        ("peak", |row, _| Cell::count(row.peak)),
        ("peak_on", |row, _| {
            row.peak_on.map_or(Cell::text(None), Cell::Day)
        }),
        ("sustained_peak", |row, _| Cell::count(row.sustained_peak)),
        ("daily_average", |row, _| Cell::decimal(row.daily_average)),
        ("mean", |row, _| Cell::decimal(row.mean)),
        ("utilisation", |row, _| Cell::decimal(row.utilisation)),
        ("grants", |row, _| Cell::count(row.grants)),
        ("seat_hours", |row, _| Cell::decimal(row.seat_hours)),
        ("full_hours", |row, _| Cell::decimal(row.full_hours)),
        ("denials", |row, _| Cell::count(row.denials)),
        ("raw_denials", |row, _| Cell::count(row.raw_denials)),
        ("gap_hours", |row, _| Cell::decimal(row.gap_hours)),
        ("covered_from", |row, zone| {
            Cell::at_if_any(row.covered_from, zone)
        }),
    ];
}
