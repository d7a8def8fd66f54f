//! `GET /v1/pools/{pool}/availability`: how full a pool is, for those who ask for its seats.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::access::Client;
use crate::http::extract::Path;
use crate::http::problem::Problem;
use crate::names::{PoolName, Tenant};
use crate::pool::Pool;
use crate::time::Timestamp;

/// How many seats of a pool are free.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Availability {
    /// Seats in use.
    #[schema(example = 3)]
    in_use: u64,
    /// Seats in all.
    #[schema(example = 5)]
    capacity: u64,
    /// Seats that the next acquire could get.
    #[schema(example = 2)]
    free: u64,
    /// How many wait in the queue; not for a key that is for some tenants only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0)]
    waiting: Option<u64>,
    /// Use of each tenant that the policy names, and of the 100 others that use most, in a pool whose rules count tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<BTreeMap<String, TenantUse>>,
    /// How many more tenants use seats; left out if there are none.
    #[serde(skip_serializing_if = "is_none")]
    #[schema(nullable = false)]
    tenants_left_out: usize,
    /// The named seats of this billing period, in a pool that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<NamedUse>,
    /// The seats lent beyond the capacity, in a pool that lends them.
    #[serde(skip_serializing_if = "Option::is_none")]
    overdraft: Option<OverdraftUse>,
}

/// What a tenant uses, and what it may.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantUse {
    /// Seats in use.
    in_use: u64,
    /// Most seats at once; null for as many as there are.
    max: Option<u32>,
    /// Seats that others do not get.
    reserved: u32,
}

/// How many named seats are taken.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct NamedUse {
    /// How many there are.
    seats: u32,
    /// How many holders have one in this period.
    taken: u64,
    /// How many are left.
    left: u64,
    /// When the next period begins, and all are clear.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// What is lent beyond the capacity.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OverdraftUse {
    /// Seats in use that were granted on the overdraft.
    in_use: u64,
    /// What was lent since midnight UTC.
    seat_ms_today: u64,
    /// What may be lent on a day.
    seat_ms_per_day: u64,
}

impl Availability {
    /// What some tenants use of a pool that counts them, and what their own limits leave.
    fn of(own: &BTreeSet<Tenant>, status: &Pool) -> Self {
        let mut tenants = tenant_use(status, &status.tenants);
        tenants.retain(|name, _| own.iter().any(|tenant| tenant.as_str() == name));
        let in_use = tenants.values().map(|tenant| tenant.in_use).sum();
        let most = status.policy.max_of_all(own).unwrap_or(u64::MAX);
        let capacity = status.capacity.min(most);
        Self {
            in_use,
            capacity,
            free: capacity.saturating_sub(in_use).min(status.free()),
            waiting: None,
            tenants: Some(tenants),
            tenants_left_out: 0,
            named: None,
            overdraft: None,
        }
    }
}

impl NamedUse {
    pub(in crate::http) fn of(pool: &Pool) -> Option<Self> {
        let named = pool.policy.named.as_ref()?;
        Some(Self {
            seats: named.seats,
            taken: pool.named_taken,
            left: pool.named_left().unwrap_or(0),
            until: pool.period.map(|(_, until)| until),
        })
    }
}

impl OverdraftUse {
    pub(in crate::http) fn of(pool: &Pool) -> Option<Self> {
        let overdraft = pool.policy.overdraft.as_ref()?;
        Some(Self {
            in_use: pool.overdrawn,
            seat_ms_today: pool.lent_ms,
            seat_ms_per_day: u64::from(overdraft.seat_minutes_per_day) * 60_000,
        })
    }
}

/// Tenants that a policy does not name and an answer tells.
const MAX_TOLD: usize = 100;

/// Seats by tenant, of those that the policy names and the others that use most, and how many are left out: clients choose the names, and
/// a pool may have tens of thousands. `GET /v1/pools/{pool}/tenants` has all, page by page.
pub(in crate::http) fn told_tenants(pool: &Pool) -> (BTreeMap<String, u64>, usize) {
    let named: HashSet<&str> = pool.policy.tenants.keys().map(Tenant::as_str).collect();
    let (mut told, mut others): (Vec<_>, Vec<_>) = pool
        .tenants
        .iter()
        .partition(|(name, _)| named.contains(name.as_str()));
    others.sort_by_key(|(_, seats)| Reverse(**seats));
    let left_out = others.len().saturating_sub(MAX_TOLD);
    told.extend(others.into_iter().take(MAX_TOLD));
    let told = told.into_iter();
    (
        told.map(|(name, seats)| (name.clone(), *seats)).collect(),
        left_out,
    )
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives it so")]
pub(in crate::http) fn is_none(left_out: &usize) -> bool {
    *left_out == 0
}

/// Those that the policy names, and these that use seats.
fn tenant_use(pool: &Pool, using: &BTreeMap<String, u64>) -> BTreeMap<String, TenantUse> {
    let policy = &pool.policy;
    let named = policy
        .tenants
        .keys()
        .map(|tenant| tenant.as_str().to_owned());
    let names = named.chain(using.keys().cloned());
    names
        .map(|name| {
            let rule = Tenant::recorded(name.clone())
                .ok()
                .and_then(|tenant| policy.tenants.get(&tenant).copied())
                .unwrap_or_default();
            let tenant = TenantUse {
                in_use: pool.tenants.get(&name).copied().unwrap_or(0),
                max: rule.max.or(policy.tenant_max),
                reserved: rule.reserved,
            };
            (name, tenant)
        })
        .collect()
}

/// Says how many seats of a pool are free.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/availability", tag = "leases",
    responses((status = 200, body = Availability)),
)]
pub(super) async fn availability(
    State(app): State<App>,
    client: Client,
    Path(pool): Path<PoolName>,
) -> Result<Json<Availability>, Problem> {
    let status = app.pool(&pool).await?;
    let is_counted = status.policy.counts_tenants();
    if let Some(own) = client.caller.tenants_in(&pool).filter(|_| is_counted) {
        return Ok(Json(Availability::of(&own, &status)));
    }
    let (using, left_out) = told_tenants(&status);
    Ok(Json(Availability {
        in_use: status.in_use,
        capacity: status.capacity,
        free: status.free(),
        waiting: Some(status.waiting),
        tenants: is_counted.then(|| tenant_use(&status, &using)),
        tenants_left_out: if is_counted { left_out } else { 0 },
        named: NamedUse::of(&status),
        overdraft: OverdraftUse::of(&status),
    }))
}
