//! `/v1/blocks` and `/v1/pools/{pool}/blocks`: who gets no seat for a time.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono_tz::Tz;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accept::Format;
use super::access::Operator;
use super::csv::Cell;
use super::extract::{Body, HolderSegment, Path, Query, ReadOnly, Replacement};
use super::leases::terminate::check_text;
use super::problem::{Code, Problem};
use super::table::{Asked, Column, Page, Row};
use super::when::When;
use super::{App, holders, pool_not_found};
use crate::names::{Holder, PoolName, Tenant};
use crate::store::{self, Block, BlockEnd, Blocked};
use crate::time::Timestamp;

/// Blocks of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Tenants that a block can name.
const MAX_TENANTS: usize = 100;
/// Most blocks of one holder that are lifted at once.
const MAX_LIFTED: usize = 999;
/// Pools that are asked at the same time.
const AT_ONCE: usize = 8;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(list_of_pool))
        .routes(routes!(put, lift))
}

/// A holder that gets no seat in a pool for a time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Block)]
pub(crate) struct BlockBody {
    /// The pool that it is about, and no other.
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// Who it is; in a pseudonymous pool its pseudonym, which is what the pool keeps.
    #[schema(example = "agent-7")]
    pub(crate) holder: String,
    /// The tenants for which alone it gets none; null for all of them. A list has an entry for each.
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) tenants: Option<Vec<Tenant>>,
    /// The end of it.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Timestamp,
    /// What the holder reads; null if nobody gave one.
    pub(crate) reason: Option<String>,
    /// Name of the key of who did it; null if that is not known.
    pub(crate) by: Option<String>,
    /// Since when; null if that is not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) since: Option<Timestamp>,
}

impl BlockBody {
    pub(super) fn of(pool: &PoolName, block: Block) -> Self {
        Self {
            pool: pool.clone(),
            tenants: block.tenant.map(|tenant| vec![tenant]),
            holder: block.holder,
            until: block.until,
            reason: block.reason,
            by: block.by,
            since: block.since,
        }
    }
}

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
async fn list(
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
async fn list_of_pool(
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

/// Whether a block is for a tenant of these, or for all; the person has to be looked at then.
pub(super) fn may_concern(block: &Block, own: Option<&BTreeSet<Tenant>>) -> bool {
    match (&block.tenant, own) {
        (Some(tenant), Some(own)) => own.contains(tenant),
        _ => true,
    }
}

/// The tenants for which alone a block of this caller counts; none for all of them.
pub(crate) async fn blocked_tenants(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    block_ms: u64,
) -> Result<Vec<Tenant>, store::Error> {
    let tenants: Vec<Tenant> = match operator.tenants_in(pool) {
        Some(own) if block_ms > 0 => own.into_iter().collect(),
        _ => Vec::new(),
    };
    app.0.store.check_blocks_of_tenants(&tenants).await?;
    Ok(tenants)
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

/// Refuses to touch somebody who holds nothing for the tenants of the caller: as unknown as nobody at all.
async fn check_person(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    holder: &Holder,
) -> Result<(), Problem> {
    if let Some(own) = operator.tenants_in(pool)
        && !holders::is_own_person(app, pool, &own, holder).await?
    {
        return Err(Problem::new(
            Code::LeaseNotFound,
            "Nobody of this name holds a seat for the tenants of this key, or did in the last days.",
        ));
    }
    Ok(())
}

/// How long a holder is blocked, in one of the first two ways, and why.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub(crate) struct PutBlock {
    /// For so long from now on, at most a year.
    #[schema(minimum = 1, maximum = 31_622_400_000_u64, example = 600_000)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) for_ms: Option<u64>,
    /// Until this timestamp, at most a year from now; a day is its start in UTC.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<When>,
    /// What the holder reads when it asks for a seat, at most 512 bytes.
    #[schema(max_length = 512, example = "Call the service desk.")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// For these tenants only, at most 100; left out or null for all that the key may see.
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 100)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenants: Option<Vec<Tenant>>,
}

/// What [`BlockBody`] says besides.
impl ReadOnly for PutBlock {
    const FIELDS: &'static [&'static str] = &["pool", "holder", "by", "since"];
}

impl PutBlock {
    /// The tenants that it is about, of those of the caller; none for all of them.
    fn tenants(&self, own: Option<BTreeSet<Tenant>>) -> Result<Vec<Tenant>, Problem> {
        let Some(named) = &self.tenants else {
            return Ok(own.into_iter().flatten().collect());
        };
        if !(1..=MAX_TENANTS).contains(&named.len()) {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!("`tenants` has 1 to {MAX_TENANTS} entries, or is left out for all."),
            ));
        }
        let foreign = |own: BTreeSet<Tenant>| named.iter().any(|tenant| !own.contains(tenant));
        if own.is_some_and(foreign) {
            return Err(Problem::new(
                Code::Forbidden,
                "This key is for other tenants. Name some of its own, or leave `tenants` out.",
            ));
        }
        let named: BTreeSet<Tenant> = named.iter().cloned().collect();
        Ok(named.into_iter().collect())
    }

    fn end(&self) -> Result<BlockEnd, Problem> {
        let wrong = match (self.for_ms, &self.until) {
            (Some(0), None) => return Err(out_of_range()),
            (Some(for_ms), None) => return Ok(BlockEnd::After(Duration::from_millis(for_ms))),
            (None, Some(until)) => return Ok(BlockEnd::At(until.at("until", Tz::UTC)?)),
            _ => "Say how long in exactly one way: `for_ms` or `until`.",
        };
        Err(Problem::new(Code::InvalidRequest, wrong))
    }
}

fn out_of_range() -> Problem {
    Problem::new(
        Code::InvalidRequest,
        "A block ends later than now, and at most a year from now. To lift one, delete it.",
    )
}

/// Blocks a holder: it gets no seat in the pool for a time, and keeps what it has. Blocking it again changes the block. Fields that only the
/// server knows are ignored. A key for some tenants blocks it for these, and others are not touched.
#[utoipa::path(
    put, path = "/v1/pools/{pool}/blocks/{holder}", operation_id = "put_block", tag = "pools",
    request_body = PutBlock,
    responses(
        (status = 200, description = "The block", body = BlockBody),
        (status = 400, description = "`invalid_request`; also in an anonymous pool, which knows no holders"),
        (status = 409, description = "`older_node`: for some tenants only while every node knows such blocks"),
    ),
)]
async fn put(
    State(app): State<App>,
    operator: Operator,
    Path((pool, HolderSegment(holder))): Path<(PoolName, HolderSegment)>,
    Body(Replacement(body)): Body<Replacement<PutBlock>>,
) -> Result<Json<BlockBody>, Problem> {
    Ok(Json(block(&app, &operator, &pool, holder, body).await?))
}

/// Blocks a holder in a pool.
pub(crate) async fn block(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    holder: Holder,
    body: PutBlock,
) -> Result<BlockBody, Problem> {
    // Before the trail, which is to hold no name that the pool does not keep.
    let holder = app.recorded_holder(pool, holder).await?;
    operator.notes.target(&holder);
    operator.notes.after(&body);
    check_person(app, operator, pool, &holder).await?;
    let end = body.end()?;
    let reason = body.reason.clone().filter(|reason| !reason.is_empty());
    check_text("reason", reason.as_deref())?;
    let tenants = body.tenants(operator.tenants_in(pool))?;
    let by = operator.caller.name();
    let store = &app.0.store;
    let blocked = store
        .block(pool, &holder, &tenants, end, by, reason.as_deref())
        .await?;
    let block = changed(operator, pool, blocked, &tenants)?.ok_or_else(out_of_range)?;
    operator.notes.after(&block);
    Ok(block)
}

/// Lifts the blocks of a holder, with a key for some tenants those for these. Succeeds without a block, too.
#[utoipa::path(
    delete, path = "/v1/pools/{pool}/blocks/{holder}", operation_id = "delete_block", tag = "pools",
    responses(
        (status = 204, description = "The holder is not blocked, or not any more"),
        (status = 400, description = "`invalid_request`: an anonymous pool knows no holders"),
    ),
)]
async fn lift(
    State(app): State<App>,
    operator: Operator,
    Path((pool, HolderSegment(holder))): Path<(PoolName, HolderSegment)>,
) -> Result<StatusCode, Problem> {
    unblock(&app, &operator, &pool, holder).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lifts the block of a holder in a pool: for the tenants of the caller, and for whoever sees all of them, all of its blocks.
pub(crate) async fn unblock(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    holder: Holder,
) -> Result<(), Problem> {
    let holder = app.recorded_holder(pool, holder).await?;
    operator.notes.target(&holder);
    check_person(app, operator, pool, &holder).await?;
    let blocks = holders::blocks_of(app, pool).await?.into_iter();
    let blocks: Vec<Block> = blocks
        .filter(|block| block.holder == holder.key())
        .collect();
    let (own, also) = match operator.tenants_in(pool) {
        Some(own) => {
            let is_own = |block: &Block| {
                block
                    .tenant
                    .as_ref()
                    .is_some_and(|tenant| own.contains(tenant))
            };
            if blocks.iter().any(|block| block.tenant.is_none()) && !blocks.iter().any(is_own) {
                return Err(Problem::new(
                    Code::Forbidden,
                    "This block is for all tenants, and this key is for some. Ask somebody with a key for all of them to lift it.",
                ));
            }
            (own.into_iter().collect(), Vec::new())
        }
        None => {
            let tenants = blocks.into_iter().filter_map(|block| block.tenant);
            (Vec::new(), tenants.take(MAX_LIFTED).collect())
        }
    };
    let lifted = app.0.store.unblock(pool, &holder, &own, &also).await?;
    let tenants = if own.is_empty() { &also } else { &own };
    changed(operator, pool, lifted, tenants)?;
    Ok(())
}

/// The block as it is now, and a note of the one before for the trail.
fn changed(
    operator: &Operator,
    pool: &PoolName,
    blocked: Blocked,
    tenants: &[Tenant],
) -> Result<Option<BlockBody>, Problem> {
    let of = |block| BlockBody {
        tenants: (!tenants.is_empty()).then(|| tenants.to_vec()),
        ..BlockBody::of(pool, block)
    };
    match blocked {
        Blocked::Done { now, before } => {
            if let Some(before) = before {
                operator.notes.before(&of(*before));
            }
            Ok(now.map(of))
        }
        Blocked::OutOfRange => Err(out_of_range()),
        Blocked::NoPool => Err(pool_not_found(pool)),
    }
}
