//! `GET /v1/pools/{pool}/denials`: who got no seat.

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
use super::{ListQuery, must_exist, not_a_cursor};
use crate::history::{denials as refused, reading};
use crate::names::PoolName;
use crate::store::EventId;
use crate::time::Timestamp;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(denials_of))
}

/// Part of the denials.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DenialsBody {
    pub(crate) items: Vec<DenialBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
    /// Earliest event that this report is based on; null without events.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) covered_from: Option<Timestamp>,
}

/// A denial; further ones of the same holder within two minutes belong to it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DenialBody {
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// Why.
    #[schema(example = "pool_full")]
    pub(crate) code: String,
    pub(crate) holder: Option<String>,
    pub(crate) tenant: Option<String>,
    /// Whether the holder got no seat within two minutes; null as long as that can still happen.
    pub(crate) true_denial: Option<bool>,
    /// When the holder got a seat after all; null if not within an hour, or not yet.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) granted_at: Option<Timestamp>,
    /// How long that took.
    pub(crate) waited_ms: Option<u64>,
}

/// Lists who was denied, oldest first, and whether that holder got a seat soon after. With a key for some tenants, in theirs.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/denials", operation_id = "denials", tag = "history",
    params(ListQuery),
    responses((status = 200, body = DenialsBody)),
)]
async fn denials_of(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    asked: Asked,
    Query(wanted): Query<ListQuery>,
) -> Result<Response, Problem> {
    let found = denials(&app, &operator, &pool, &wanted).await?;
    let name = format!("{pool}-denials");
    Ok(asked.answer(wanted.format, &name, &found, wanted.zone_of_files()?))
}

/// Denials of a pool.
pub(crate) async fn denials(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    wanted: &ListQuery,
) -> Result<DenialsBody, Problem> {
    let limit = wanted.limit()?;
    let now = must_exist(app, pool).await?;
    let (from, to) = wanted.range(now)?;
    let after = match &wanted.cursor {
        Some(cursor) => cursor.parse().map_err(|_| not_a_cursor())?,
        None => EventId::before_ms(from.0),
    };
    let (found, next) = refused::denials(
        &app.0.store,
        pool,
        after,
        to,
        limit,
        refused::PATIENCE_MS,
        now,
        operator.tenants_in(pool).as_ref(),
    )
    .await?;
    let items = found.into_iter().map(DenialBody::from).collect();
    Ok(DenialsBody {
        items,
        next_cursor: next.map(|id| id.to_string()),
        covered_from: reading::covered_from(&app.0.store, pool, from).await?,
    })
}

impl From<refused::Denial> for DenialBody {
    fn from(denial: refused::Denial) -> Self {
        Self {
            at: denial.at,
            code: denial.code,
            holder: denial.holder,
            tenant: denial.tenant,
            true_denial: denial.true_denial,
            granted_at: denial.granted_at,
            waited_ms: denial.granted_at.map(|at| at.since(denial.at)),
        }
    }
}

impl Page for DenialsBody {
    type Row = DenialBody;

    fn items(&self) -> &[DenialBody] {
        &self.items
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl Row for DenialBody {
    const COLUMNS: &'static [Column<Self>] = &[
        ("at", |denial, zone| Cell::at(denial.at, zone)),
        ("code", |denial, _| Cell::plain(&denial.code)),
        ("holder", |denial, _| Cell::text(denial.holder.as_deref())),
        ("tenant", |denial, _| Cell::text(denial.tenant.as_deref())),
        ("true_denial", |denial, _| Cell::known(denial.true_denial)),
        ("granted_at", |denial, zone| {
            Cell::at_if_any(denial.granted_at, zone)
        }),
        ("waited_ms", |denial, _| Cell::known(denial.waited_ms)),
    ];
}
