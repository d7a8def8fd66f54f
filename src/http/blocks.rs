//! `/v1/blocks` and `/v1/pools/{pool}/blocks`: who gets no seat for a time.

mod list;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::list::{Blocks, BlocksQuery, of_all_pools};
use super::access::Operator;
use super::extract::{Body, HolderSegment, Path, ReadOnly, Replacement};
use super::leases::terminate::check_text;
use super::problem::{Code, Problem};
use super::when::When;
use super::{App, holders, pool_not_found};
use crate::names::{Holder, PoolName, Tenant};
use crate::store::{self, Block, BlockEnd, Blocked};
use crate::time::Timestamp;

/// Tenants that a block can name.
const MAX_TENANTS: usize = 100;
/// Most blocks of one holder that are lifted at once.
const MAX_LIFTED: usize = 999;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(list::list_of_pool))
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
