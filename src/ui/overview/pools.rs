//! The pools of the page, each with its last day, and the same as a file.

use axum::response::Response;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use crate::history::last_day::{LastDay, last_day};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::pools::own_view;
use crate::http::problem::{Code, Problem};
use crate::names::PoolName;
use crate::pool::Pool;
use crate::time::Timestamp;
use crate::ui::Fields;

/// Pools of a page unless the address says otherwise, and at most.
const LIMIT: usize = 60;
const MAX_LIMIT: usize = 1_000;
/// Pools that are looked at to find the fullest; whoever has more finds them by name.
const ORDERED: usize = 2_000;
/// Pools whose last day is looked at together.
const AT_ONCE: usize = 8;

/// A pool and its last day.
pub(super) struct PoolSummary {
    pub(super) pool: Pool,
    /// None for somebody who is for some tenants only: it is of all.
    pub(super) last_day: Option<LastDay>,
}

/// The same for programs.
#[derive(Serialize)]
pub(super) struct PoolSummaryBody<'a> {
    name: &'a PoolName,
    in_use: u64,
    capacity: u64,
    free: u64,
    waiting: u64,
    peak_today: Option<u64>,
    denials_today: Option<u64>,
    full_since: Option<Timestamp>,
    /// Most seats in use in each of the last hours.
    hours: Vec<u64>,
}

impl PoolSummary {
    pub(super) fn body(&self) -> PoolSummaryBody<'_> {
        let pool = &self.pool;
        let last_day = self.last_day.as_ref();
        PoolSummaryBody {
            name: &pool.name,
            in_use: pool.in_use,
            capacity: pool.capacity,
            free: pool.free(),
            waiting: pool.waiting,
            peak_today: last_day.map(|day| day.peak_today),
            denials_today: last_day.map(|day| day.denials_today),
            full_since: last_day.and_then(|day| day.full_since),
            hours: last_day
                .iter()
                .flat_map(|day| &day.hours)
                .map(|hour| hour.slot.high_water_mark)
                .collect(),
        }
    }
}

/// A page of pools, and where the next one begins.
pub(super) struct Page {
    pub(super) seen: Vec<PoolSummary>,
    /// Pools that match, on all pages.
    pub(super) all: usize,
    pub(super) next: Option<String>,
}

/// The page that the address names. `cursor` is where it begins.
pub(super) async fn pools(
    app: &App,
    operator: &Operator,
    fields: &Fields,
    cursor: Option<&str>,
) -> Result<Page, Problem> {
    let caller = &operator.caller;
    let limit = match fields.get("limit").map(str::parse) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
        Some(_) => {
            let detail = format!("`limit` is 1 to {MAX_LIMIT}.");
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
    };
    let wanted = fields.get("q").unwrap_or_default().to_lowercase();
    let store = app.store();
    let mut names = store.names().await?;
    names.retain(|name| caller.is_for(name) && name.as_str().to_lowercase().contains(&wanted));
    let mut all = names.len();
    // How full pools are tells of others.
    let only_full = is_only_full(fields);
    let by_use = (fields.get("sort") == Some("use") || only_full) && !caller.names_tenants();
    let (pools, next) = if by_use {
        names.truncate(ORDERED);
        let mut pools = store.statuses(names).await?;
        if only_full {
            pools.retain(|pool| pool.free() == 0 && pool.in_use > 0);
            all = pools.len();
        }
        pools.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.name.cmp(&b.name)));
        let first = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let more = first + limit < pools.len();
        let page = pools.into_iter().skip(first).take(limit).collect();
        (page, more.then(|| (first + limit).to_string()))
    } else {
        if let Some(after) = cursor {
            names.retain(|name| after < name.as_str());
        }
        let next = (limit < names.len()).then(|| names[limit - 1].to_string());
        names.truncate(limit);
        (store.statuses(names).await?, next)
    };
    let seen: Vec<PoolSummary> = stream::iter(pools)
        .map(|pool| async {
            let whole = caller.tenants_in(&pool.name).is_none();
            let last_day = match whole {
                true => Some(last_day(store, &pool).await?),
                false => None,
            };
            let pool = own_view(app, operator, pool).await?;
            Ok::<_, Problem>(PoolSummary { pool, last_day })
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(Page { seen, all, next })
}

/// Whether only pools are wanted in which nobody finds a seat.
pub(super) fn is_only_full(fields: &Fields) -> bool {
    fields.get("only") == Some("full")
}

/// How full a pool is. One without seats is full if somebody has one, and empty if not.
fn share(pool: &Pool) -> f64 {
    pool.in_use as f64 / pool.capacity.max(1) as f64
}

pub(super) fn to_csv(seen: &[PoolSummary]) -> Response {
    let columns = [
        "pool",
        "in_use",
        "capacity",
        "waiting",
        "peak_today",
        "denials_today",
        "full_since",
    ];
    let rows = seen.iter().map(|PoolSummary { pool, last_day }| {
        let last_day = last_day.as_ref();
        vec![
            Cell::text(Some(pool.name.as_str())),
            Cell::plain(&pool.in_use),
            Cell::plain(&pool.capacity),
            Cell::plain(&pool.waiting),
            Cell::known(last_day.map(|day| day.peak_today)),
            Cell::known(last_day.map(|day| day.denials_today)),
            Cell::known(last_day.and_then(|day| day.full_since)),
        ]
    });
    csv::file("leasehold-pools", &columns, rows)
}
