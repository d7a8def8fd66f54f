//! `GET /v1/blocks` and `GET /v1/pools/{pool}/blocks`.

use std::collections::{BTreeSet, HashSet};

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{BlockBody, may_concern};
use crate::http::accept::Format;
use crate::http::access::Operator;
use crate::http::csv::Cell;
use crate::http::extract::{Path, Query};
use crate::http::problem::{Code, Problem};
use crate::http::table::{Asked, Column, Page, Row};
use crate::http::{App, holders, pool_not_found};
use crate::names::{PoolName, Tenant};
use crate::store::{self, Block};
use crate::time::Timestamp;

/// Blocks of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Pools that are asked at the same time.
const AT_ONCE: usize = 8;

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Blocks {
    pub(crate) items: Vec<BlockBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
}

impl Page for Blocks {
    type Row = BlockBody;

    fn items(&self) -> &[BlockBody] {
        &self.items
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl Row for BlockBody {
    const COLUMNS: &'static [Column<Self>] = &[
        ("pool", |block, _| Cell::plain(&block.pool)),
        ("holder", |block, _| Cell::text(Some(&block.holder))),
        ("until", |block, _| Cell::plain(&block.until)),
        ("reason", |block, _| Cell::text(block.reason.as_deref())),
        ("by", |block, _| Cell::text(block.by.as_deref())),
        ("since", |block, _| Cell::known(block.since)),
        ("tenants", |block, _| {
            let tenants = block.tenants.iter().flatten();
            let tenants: Vec<&str> = tenants.map(Tenant::as_str).collect();
            Cell::text((!tenants.is_empty()).then(|| tenants.join(" ")).as_deref())
        }),
    ];
}

/// What is wanted of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BlocksQuery {
    /// Maximum blocks per page, 1 to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1_000)]
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// The pool of the last block of a page, and its place in that pool.
type Last = (PoolName, (Timestamp, String));

/// The last block of a page, from which the next one goes on.
#[derive(Serialize, Deserialize)]
struct Cursor(PoolName, i64, String);

impl BlocksQuery {
    fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::new(
            Code::InvalidRequest,
            format!("`limit` is 1 to {MAX_LIMIT}."),
        ))
    }

    fn after(&self) -> Result<Option<Last>, Problem> {
        let Some(text) = &self.cursor else {
            return Ok(None);
        };
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor = json.and_then(|json| serde_json::from_slice(&json).ok());
        let Some(Cursor(pool, until, holder)) = cursor else {
            return Err(Problem::new(
                Code::InvalidRequest,
                "`cursor` is not one of this list. Begin again without it.",
            ));
        };
        Ok(Some((pool, (Timestamp(until), holder))))
    }
}

/// Lists the blocks of all pools that the caller may see, pool by pool in the order in which they end.
#[utoipa::path(
    get, path = "/v1/blocks", operation_id = "list_blocks", tag = "pools",
    params(BlocksQuery),
    responses((status = 200, body = Blocks)),
)]
pub(super) async fn list(
    State(app): State<App>,
    operator: Operator,
    asked: Asked,
    Query(wanted): Query<BlocksQuery>,
) -> Result<Response, Problem> {
    let found = of_all_pools(&app, &operator, &wanted).await?;
    Ok(asked.answer(wanted.format, "leasehold-blocks", &found, None))
}

/// A page of the blocks of all pools that the caller may see.
pub(crate) async fn of_all_pools(
    app: &App,
    operator: &Operator,
    wanted: &BlocksQuery,
) -> Result<Blocks, Problem> {
    let mut pools = app.0.store.names().await?;
    pools.retain(|pool| operator.caller.is_for(pool));
    page(app, operator, pools, wanted).await
}

/// Lists the blocks of a pool in the order in which they end.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/blocks", operation_id = "list_blocks_of_pool", tag = "pools",
    params(BlocksQuery),
    responses((status = 200, body = Blocks)),
)]
pub(super) async fn list_of_pool(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    asked: Asked,
    Query(wanted): Query<BlocksQuery>,
) -> Result<Response, Problem> {
    if app.0.store.blocks(&pool, None, 1).await?.is_none() {
        return Err(pool_not_found(&pool));
    }
    let name = format!("leasehold-{pool}-blocks");
    let found = page(&app, &operator, vec![pool], &wanted).await?;
    Ok(asked.answer(wanted.format, &name, &found, None))
}

/// A page of the blocks of these pools. A pool that is deleted meanwhile has none.
async fn page(
    app: &App,
    operator: &Operator,
    pools: Vec<PoolName>,
    wanted: &BlocksQuery,
) -> Result<Blocks, Problem> {
    let limit = wanted.limit()?;
    let after = wanted.after()?;
    let rest = pools.into_iter().filter(|pool| match &after {
        Some((last, _)) => last <= pool,
        None => true,
    });
    let after = &after;
    let mut read = stream::iter(rest)
        .map(|pool| async move {
            let place = after.as_ref().filter(|(last, _)| *last == pool);
            let place = place.map(|(_, place)| place);
            if let Some(own) = operator.tenants_in(&pool) {
                let mut blocks = own_blocks(app, &pool, &own, place).await?;
                blocks.truncate(limit + 1);
                return Ok((pool, blocks));
            }
            // One more than the page has shows if there is another page.
            let blocks = app.0.store.blocks(&pool, place, limit + 1).await?;
            Ok::<_, Problem>((pool, blocks.unwrap_or_default()))
        })
        .buffered(AT_ONCE);
    let mut found = Vec::new();
    while let Some((pool, blocks)) = read.try_next().await? {
        found.extend(blocks.into_iter().map(|block| (pool.clone(), block)));
        if found.len() > limit {
            break;
        }
    }
    drop(read);
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|(pool, last)| {
        let cursor = Cursor(pool.clone(), last.until.0, last.entry());
        let json = serde_json::to_string(&cursor).expect("strings and numbers have a JSON form");
        URL_SAFE_NO_PAD.encode(json)
    });
    let found = found.into_iter();
    let items = found.map(|(pool, block)| BlockBody::of(&pool, block));
    Ok(Blocks {
        items: items.collect(),
        next_cursor,
    })
}

/// The blocks of these tenants, and those of their people, behind a place.
async fn own_blocks(
    app: &App,
    pool: &PoolName,
    own: &BTreeSet<Tenant>,
    after: Option<&(Timestamp, String)>,
) -> Result<Vec<Block>, store::Error> {
    let mut blocks = holders::blocks_of(app, pool).await?;
    blocks.retain(|block| may_concern(block, Some(own)));
    let people = match blocks.iter().any(|block| block.tenant.is_none()) {
        true => holders::own_people(app, pool, own).await?,
        false => HashSet::new(),
    };
    blocks.retain(|block| {
        let is_behind = after.is_none_or(|(until, entry)| {
            (*until, entry.as_str()) < (block.until, block.entry().as_str())
        });
        is_behind && (block.tenant.is_some() || people.contains(&block.holder))
    });
    Ok(blocks)
}
