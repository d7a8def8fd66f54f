//! `GET /v1/pools/{pool}/holders`: who used a pool.

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
use crate::history::{holders as held, reading};
use crate::names::PoolName;
use crate::time::Timestamp;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(holders_of))
}

/// Part of the holders.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldersBody {
    pub(crate) items: Vec<HolderBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
    /// Earliest event that this report is based on; null without events.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) covered_from: Option<Timestamp>,
}

/// What one holder did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HolderBody {
    /// Null for all who are anonymous, together.
    pub(crate) holder: Option<String>,
    /// Leases that were live at some instant of the range.
    pub(crate) leases: u64,
    /// Time for which they were, together.
    pub(crate) held_ms: u64,
    /// Time of that in which they were idle beyond what the policy says; only of a pool whose policy has `idle` with `people`, and whose
    /// privacy is `named`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) idle_ms: Option<u64>,
    /// The last instant of the range at which one was.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) last_seen_at: Option<Timestamp>,
}

/// Lists who used a pool, by name, how often and how long. With a key for some tenants, for theirs.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/holders", operation_id = "holders", tag = "history",
    params(ListQuery),
    responses((status = 200, body = HoldersBody)),
)]
async fn holders_of(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    asked: Asked,
    Query(wanted): Query<ListQuery>,
) -> Result<Response, Problem> {
    let found = holders(&app, &operator, &pool, &wanted).await?;
    let name = format!("{pool}-holders");
    Ok(asked.answer(wanted.format, &name, &found, wanted.zone_of_files()?))
}

/// Who used a pool.
pub(crate) async fn holders(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    wanted: &ListQuery,
) -> Result<HoldersBody, Problem> {
    let limit = wanted.limit()?;
    let now = must_exist(app, pool).await?;
    let (from, to) = wanted.range(now)?;
    let own = operator.tenants_in(pool);
    let found = held::holders(&app.0.store, pool, from, to, now, own.as_ref()).await?;
    let policy = app.0.store.cached_policy(pool);
    let tells_idle = policy.is_some_and(|policy| policy.tells_idle_people());
    let after = after(wanted.cursor.as_deref())?;
    let mut rest = found
        .into_iter()
        .filter(|(holder, _)| after.as_ref().is_none_or(|after| after < holder));
    let items: Vec<HolderBody> = rest
        .by_ref()
        .take(limit)
        .map(|(holder, held)| HolderBody {
            holder,
            leases: held.leases,
            held_ms: held.held_ms,
            idle_ms: tells_idle.then_some(held.idle_ms),
            last_seen_at: held.last_seen_at,
        })
        .collect();
    let more = rest.next().is_some();
    let next_cursor = items
        .last()
        .filter(|_| more)
        .map(|row| cursor(row.holder.as_deref()));
    Ok(HoldersBody {
        items,
        next_cursor,
        covered_from: reading::covered_from(&app.0.store, pool, from).await?,
    })
}

impl Page for HoldersBody {
    type Row = HolderBody;

    fn items(&self) -> &[HolderBody] {
        &self.items
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl Row for HolderBody {
    const COLUMNS: &'static [Column<Self>] = &[
        ("holder", |row, _| Cell::text(row.holder.as_deref())),
        ("leases", |row, _| Cell::plain(&row.leases)),
        ("held_ms", |row, _| Cell::plain(&row.held_ms)),
        ("last_seen_at", |row, zone| {
            Cell::at_if_any(row.last_seen_at, zone)
        }),
    ];
}
