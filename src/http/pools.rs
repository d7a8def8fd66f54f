//! `/v1/pools`: sets of seats, and their policy.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Operator;
use super::extract::{Body, Path, Query, ReadOnly, Replacement, of_value};
use super::leases::availability::{NamedUse, OverdraftUse, is_none, told_tenants};
use super::problem::{Code, Problem};
use super::{App, pool_not_found};
use crate::history::rollup;
use crate::lease::{Lease, Seat};
use crate::names::PoolName;
use crate::pool::{Policy, Pool, SeatPer, seats};
use crate::store::{self, Deleted, Expect, Put, Selection};
use crate::time::Timestamp;

/// Pools of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read, put, patch, delete))
}

/// A pool: its policy, and how full it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pool)]
struct PoolBody {
    #[schema(value_type = String, example = "crm")]
    name: PoolName,
    #[serde(flatten)]
    policy: Policy,
    /// Grows with every change; the ETag.
    version: u64,
    /// Seats in use.
    in_use: u64,
    /// Seats that the next acquire could get.
    free: u64,
    /// Seats at this instant: `capacity`, or those of the schedule.
    capacity_now: u64,
    /// The highest of the levels in `alert_at_percent` that the use has reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_level: Option<u16>,
    /// The next change by the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_change: Option<NextChange>,
    /// How many wait in the queue.
    waiting: u64,
    /// Live leases of all kinds; more than `in_use` where holders share seats or have named ones.
    leases: u64,
    /// Seats in use by tenant, of those that the policy names and the 100 others that use most, in a pool whose rules count tenants.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tenants_in_use: BTreeMap<String, u64>,
    /// How many more tenants use seats; left out if there are none. `GET /v1/pools/{pool}/tenants` has all.
    #[serde(skip_serializing_if = "is_none")]
    #[schema(nullable = false)]
    tenants_left_out: usize,
    /// The named seats of this billing period.
    #[serde(skip_serializing_if = "Option::is_none")]
    named_in_use: Option<NamedUse>,
    /// Seats in use that are idle by the last report of their holders, in a pool whose policy has `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_now: Option<u64>,
    /// What is lent beyond the capacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    overdraft_in_use: Option<OverdraftUse>,
}

/// What [`PoolBody`] says besides the policy.
impl ReadOnly for Policy {
    const FIELDS: &'static [&'static str] = &[
        "name",
        "version",
        "in_use",
        "free",
        "capacity_now",
        "alert_level",
        "next_change",
        "waiting",
        "leases",
        "tenants_in_use",
        "tenants_left_out",
        "named_in_use",
        "idle_now",
        "overdraft_in_use",
    ];
}

/// A change of capacity to come.
#[derive(Debug, Serialize, ToSchema)]
struct NextChange {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Seats from then on.
    capacity: u64,
}

impl From<Pool> for PoolBody {
    fn from(pool: Pool) -> Self {
        let (tenants_in_use, tenants_left_out) = told_tenants(&pool);
        Self {
            free: pool.free(),
            alert_level: pool.alert_level(),
            capacity_now: pool.capacity,
            next_change: pool
                .next_change
                .map(|(at, capacity)| NextChange { at, capacity }),
            waiting: pool.waiting,
            leases: pool.leases,
            named_in_use: NamedUse::of(&pool),
            overdraft_in_use: OverdraftUse::of(&pool),
            idle_now: pool.policy.idle.map(|_| pool.idle),
            tenants_in_use,
            tenants_left_out,
            name: pool.name,
            policy: pool.policy,
            version: pool.version,
            in_use: pool.in_use,
        }
    }
}

type Tagged<T> = ([(HeaderName, HeaderValue); 1], T);

fn tagged(pool: Pool) -> Tagged<Json<PoolBody>> {
    let tag = HeaderValue::try_from(format!("\"{}\"", pool.version)).expect("digits in quotes");
    ([(ETAG, tag)], Json(pool.into()))
}

/// What `If-Match` and `If-None-Match` ask for (RFC 9110, 13.1). A weak ETag matches nothing.
async fn expectation(app: &App, pool: &PoolName, headers: &HeaderMap) -> Result<Expect, Problem> {
    // A field that is sent several times is one list.
    let list = |name| {
        let values = headers.get_all(name).iter();
        let values: Vec<&str> = values
            .flat_map(|value| value.to_str().unwrap_or("").split(','))
            .map(str::trim)
            .collect();
        (!values.is_empty()).then_some(values)
    };
    match (list(IF_MATCH).as_deref(), list(IF_NONE_MATCH).as_deref()) {
        (None, None) => Ok(Expect::Any),
        (Some(["*"]), None) => Ok(Expect::Some),
        (None, Some(["*"])) => Ok(Expect::None),
        (Some(tags), None) if tags.len() <= MAX_ETAGS => {
            let version = |tag: &&str| {
                let digits = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                digits.and_then(|digits| digits.parse().ok())
            };
            let versions: Vec<u64> = tags.iter().filter_map(version).collect();
            // An ETag that was never given out matches nothing.
            let [version] = versions[..] else {
                let present = match versions.is_empty() {
                    true => None,
                    false => app.0.store.status(pool).await?,
                };
                let present = present.map(|pool| pool.version);
                let present = present.filter(|present| versions.contains(present));
                return Ok(Expect::Version(present.unwrap_or(u64::MAX)));
            };
            Ok(Expect::Version(version))
        }
        _ => Err(Problem::new(
            Code::InvalidRequest,
            format!(
                "Send If-Match with at most {MAX_ETAGS} ETags or *, or If-None-Match with *, and not both."
            ),
        )),
    }
}

/// ETags of a request; nobody has seen more versions of a pool.
const MAX_ETAGS: usize = 100;

fn changed_meanwhile(version: u64) -> Problem {
    let detail = if version == 0 {
        "There is no such pool. Send the request without If-Match to create it."
    } else {
        "The pool is not as you saw it. Read it again, and send the request with its present ETag."
    };
    Problem::new(Code::PreconditionFailed, detail)
        .with("version", (version != 0).then_some(version))
}

/// What cannot change while seats are held.
pub(crate) fn in_use() -> Problem {
    Problem::new(
        Code::PoolInUse,
        "`seat_per` and `holder_match` can change only while nobody has a seat, because they change what was counted; `holder_match` also only while nobody waits, no block is set and no named seat of this period is taken. End these first, or make another pool.",
    )
}

/// Refuses a name that no new pool can have.
fn may_be_called(name: &PoolName) -> Result<(), Problem> {
    name.check().map_err(|invalid| {
        Problem::new(
            Code::InvalidRequest,
            format!("It is not created: {invalid}."),
        )
    })
}

/// The policy, if it can be.
pub(crate) fn checked(policy: Policy) -> Result<Policy, Problem> {
    match policy.check() {
        Ok(()) => Ok(policy),
        Err(invalid) => {
            let problem = Problem::new(
                Code::InvalidRequest,
                format!("The policy is not valid: {invalid}."),
            );
            Err(match invalid.field() {
                Some(field) => problem.at_field(field, format!("{invalid}.")),
                None => problem,
            })
        }
    }
}

/// What is wanted of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PoolsQuery {
    /// Maximum pools per page, 1 to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<PoolName>,
}

/// Part of the list.
#[derive(Debug, Serialize, ToSchema)]
struct Pools {
    items: Vec<PoolBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<PoolName>,
    /// Names of pools that are not in `items`, because a later version wrote their policy and this node cannot read it.
    #[schema(value_type = Vec<String>)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<PoolName>,
}

/// Lists the pools, by name.
#[utoipa::path(
    get, path = "/v1/pools", operation_id = "list_pools", tag = "pools",
    params(PoolsQuery),
    responses((status = 200, body = Pools)),
)]
async fn list(
    State(app): State<App>,
    operator: Operator,
    Query(wanted): Query<PoolsQuery>,
) -> Result<Json<Pools>, Problem> {
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`limit` is 1 to {MAX_LIMIT}."),
        ));
    }
    let mut pools = app.0.store.pools(wanted.cursor.as_ref(), limit + 1).await?;
    let more = pools.len() > limit;
    pools.truncate(limit);
    let next_cursor = pools.last().filter(|_| more).map(|pool| pool.name.clone());
    let mut items = Vec::with_capacity(pools.len());
    for pool in pools {
        if operator.caller.is_for(&pool.name) {
            items.push(PoolBody::from(own_view(&app, &operator, pool).await?));
        }
    }
    Ok(Json(Pools {
        items,
        next_cursor,
        unreadable: app
            .0
            .store
            .unreadable_pools()
            .into_iter()
            .filter(|pool| operator.caller.is_for(pool))
            .collect(),
    }))
}

/// A pool as the caller may see it. Who is for some tenants only gets their numbers in place of all: what they use, and what their own
/// limits leave of the capacity, which tells nothing of how much others use.
pub(crate) async fn own_view(
    app: &App,
    operator: &Operator,
    mut pool: Pool,
) -> Result<Pool, Problem> {
    let Some(own) = operator.tenants_in(&pool.name) else {
        return Ok(pool);
    };
    let (mut by_tenant, mut leases) = (BTreeMap::new(), 0);
    let per_holder = pool.policy.seat_per == SeatPer::Holder;
    let (mut counted, mut idle) = (HashSet::new(), HashMap::new());
    let rest = Selection::of(None, None).within(Some(own.clone()));
    let count = |some: Vec<Lease>| {
        for lease in some {
            leases += 1;
            let holder = lease.holder.as_ref().map(|holder| holder.key().to_owned());
            if let Some(rule) = pool.policy.idle.filter(|_| lease.seat != Seat::Named) {
                // A holder is as active as its most active lease.
                let seat = holder.clone().filter(|_| per_holder);
                let seat = seat.unwrap_or_else(|| lease.id.to_string());
                *idle.entry(seat).or_insert(true) &= rule.after_ms <= lease.unused_ms();
            }
            let Some(tenant) = lease.tenant else { continue };
            let shares = holder.is_some_and(|holder| !counted.insert((tenant.clone(), holder)));
            if lease.seat != Seat::Named && !(per_holder && shares) {
                *by_tenant.entry(String::from(tenant)).or_default() += 1;
            }
        }
        Ok::<_, Problem>(())
    };
    app.0.store.each_page(&pool.name, rest, count).await?;
    let policy = &mut pool.policy;
    policy.tenants.retain(|tenant, _| own.contains(tenant));
    let most = policy.max_of_all(&own).unwrap_or(u64::MAX);
    // What is lent or named counts everybody.
    (policy.overdraft, policy.named) = (None, None);
    policy.alert_at_percent.clear();
    policy.capacity = policy.capacity.min(u32::try_from(most).unwrap_or(u32::MAX));
    pool.capacity = pool.capacity.min(most);
    pool.in_use = by_tenant.values().sum();
    pool.waiting = super::queue::own_waiting(app, &pool.name, &own).await?;
    (pool.tenants, pool.leases) = (by_tenant, leases);
    (pool.waited, pool.period) = (None, None);
    (pool.overdrawn, pool.lent_ms, pool.named_taken) = (0, 0, 0);
    pool.idle = idle.into_values().filter(|is_idle| *is_idle).count() as u64;
    Ok(pool)
}

/// Reads a pool. A key for some tenants reads their own numbers in it.
#[utoipa::path(
    get, path = "/v1/pools/{pool}", operation_id = "read_pool", tag = "pools",
    responses((status = 200, body = PoolBody)),
)]
async fn read(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
) -> Result<Tagged<Json<PoolBody>>, Problem> {
    let pool = app
        .0
        .store
        .status(&pool)
        .await?
        .ok_or_else(|| pool_not_found(&pool))?;
    Ok(tagged(own_view(&app, &operator, pool).await?))
}

/// Creates a pool, or replaces its policy. What is left out has its default; fields that only the server knows are ignored, so what was
/// read can be put back.
///
/// A lower capacity ends nobody: nothing is granted until it fits.
#[utoipa::path(
    put, path = "/v1/pools/{pool}", operation_id = "put_pool", tag = "pools",
    params(
        ("If-Match" = Option<String>, Header, description = "The ETag that the pool must have, or *"),
        ("If-None-Match" = Option<String>, Header, description = "* if there must be no such pool"),
    ),
    request_body = Policy,
    responses(
        (status = 201, description = "Created", body = PoolBody),
        (status = 200, description = "Replaced", body = PoolBody),
        (status = 409, description = "`pool_in_use`"),
        (status = 412, description = "`precondition_failed`"),
    ),
)]
async fn put(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Body(Replacement(policy)): Body<Replacement<Policy>>,
) -> Result<(StatusCode, Tagged<Json<PoolBody>>), Problem> {
    let policy = checked(policy)?;
    match app.0.store.status(&pool).await {
        Ok(Some(before)) => operator.notes.before(&before.policy),
        // Whoever makes a pool need not wait until others have put it back.
        Ok(None) | Err(store::Error::Recovering) => may_be_called(&pool)?,
        Err(error) => return Err(error.into()),
    }
    operator.notes.after(&policy);
    let (status, version) = match app
        .0
        .store
        .put_pool(&pool, &policy, expectation(&app, &pool, &headers).await?)
        .await?
    {
        Put::Created(version) => (StatusCode::CREATED, version),
        Put::Replaced(version) => (StatusCode::OK, version),
        Put::Conflict(version) => return Err(changed_meanwhile(version)),
        Put::InUse => return Err(in_use()),
    };
    tracing::info!(pool.name = %pool, capacity = policy.capacity, "pool {pool} has {}", seats(policy.capacity.into()));
    Ok((status, tagged(changed(&app, pool, policy, version).await?)))
}

/// Changes some fields of a policy: a JSON merge patch (RFC 7396). A null puts a field back to its default, but for
/// `outage_grace_ms`, of which null is a value.
#[utoipa::path(
    patch, path = "/v1/pools/{pool}", operation_id = "patch_pool", tag = "pools",
    params(("If-Match" = Option<String>, Header, description = "The ETag that the pool must have")),
    request_body(content = Object, description = "Fields of the policy"),
    responses(
        (status = 200, body = PoolBody),
        (status = 409, description = "`pool_in_use`"),
        (status = 412, description = "`precondition_failed`"),
    ),
)]
async fn patch(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Body(changes): Body<Map<String, Value>>,
) -> Result<Tagged<Json<PoolBody>>, Problem> {
    operator.notes.after(&changes);
    operator.may_change(&changes)?;
    let expected = expectation(&app, &pool, &headers).await?;
    loop {
        let before = app
            .0
            .store
            .status(&pool)
            .await?
            .ok_or_else(|| pool_not_found(&pool))?;
        if expected == Expect::None
            || matches!(expected, Expect::Version(version) if version != before.version)
        {
            return Err(changed_meanwhile(before.version));
        }
        let policy = checked(patched(&before.policy, &changes)?)?;
        operator.notes.before(&before.policy);
        operator.notes.after(&policy);
        let version = match app
            .0
            .store
            .put_pool(&pool, &policy, Expect::Version(before.version))
            .await?
        {
            // Somebody was faster, and the caller set no precondition.
            Put::Conflict(_) => continue,
            Put::InUse => return Err(in_use()),
            Put::Created(version) | Put::Replaced(version) => version,
        };
        tracing::info!(pool.name = %pool, capacity = policy.capacity, "pool {pool} has {}", seats(policy.capacity.into()));
        return Ok(tagged(changed(&app, pool, policy, version).await?));
    }
}

/// A pool that was just changed, also if it cannot be read now. Where somebody has deleted it since, the answer is the pool as it was when
/// it was deleted.
async fn changed(app: &App, name: PoolName, policy: Policy, version: u64) -> Result<Pool, Problem> {
    let read = app.0.store.status(&name).await;
    let read = read.map_err(store::Error::may_have_run)?;
    Ok(read.unwrap_or_else(|| Pool::emptied(name, policy, version, app.0.store.now())))
}

/// The policy with these changes.
pub(crate) fn patched(policy: &Policy, changes: &Map<String, Value>) -> Result<Policy, Problem> {
    let mut whole = serde_json::to_value(policy).expect("a policy has a JSON form");
    merge(&mut whole, &Value::Object(changes.clone()));
    // A value of this field, and not its default.
    if changes.get("outage_grace_ms").is_some_and(Value::is_null) {
        whole["outage_grace_ms"] = Value::Null;
    }
    of_value(whole, "policy")
}

/// Merges as RFC 7396, section 2, says.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Removes a pool. Its leases are terminated.
#[utoipa::path(
    delete, path = "/v1/pools/{pool}", operation_id = "delete_pool", tag = "pools",
    params(("If-Match" = Option<String>, Header, description = "The ETag that the pool must have")),
    responses(
        (status = 204, description = "Removed"),
        (status = 412, description = "`precondition_failed`"),
    ),
)]
async fn delete(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let expect = match expectation(&app, &pool, &headers).await? {
        Expect::None => return Err(changed_meanwhile(0)),
        Expect::Some => Expect::Any,
        expect => expect,
    };
    if let Some(before) = app.0.store.status(&pool).await? {
        operator.notes.before(&before.policy);
    }
    let slots = rollup::stretches(app.0.store.now());
    match app.0.store.delete_pool(&pool, expect, &slots).await? {
        Deleted::Deleted => {
            tracing::info!(pool.name = %pool, "pool {pool} was deleted");
            Ok(StatusCode::NO_CONTENT)
        }
        Deleted::Conflict(version) => Err(changed_meanwhile(version)),
        Deleted::NoPool => Err(pool_not_found(&pool)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_null_is_the_default() {
        let policy = Policy {
            ttl_ms: 5_000,
            ..Policy::with_capacity(3)
        };
        let changes = json!({"capacity": 7, "ttl_ms": null});
        let after = patched(&policy, changes.as_object().unwrap()).unwrap();
        assert_eq!(after, Policy::with_capacity(7));
    }

    #[test]
    fn null_is_a_value_of_the_grace() {
        let policy = Policy::with_capacity(3);
        let patch = |changes: Value| patched(&policy, changes.as_object().unwrap()).unwrap();
        let unlimited = patch(json!({"outage_grace_ms": null}));
        assert_eq!(unlimited.outage_limit_ms(), None);
        assert_eq!(
            patch(json!({"capacity": 7})).outage_limit_ms(),
            Some(600_000)
        );
        assert_eq!(
            patch(json!({"outage_grace_ms": 0})).outage_limit_ms(),
            Some(0)
        );
    }

    #[test]
    fn a_patch_with_a_typing_error_is_refused() {
        let changes = json!({"capcity": 7});
        assert!(patched(&Policy::with_capacity(3), changes.as_object().unwrap()).is_err());
    }
}
