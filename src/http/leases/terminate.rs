//! `POST /v1/pools/{pool}/leases/terminate`: operators end leases.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::http::access::Operator;
use crate::http::blocks::blocked_tenants;
use crate::http::extract::{Body, Path};
use crate::http::problem::{Code, Problem};
use crate::http::{App, pool_not_found};
use crate::lease::Lease;
use crate::names::{Holder, LeaseId, PoolName, Tenant, check_sentence, recorded_if_any};
use crate::store::{self, LONGEST_BLOCK, Selection, Terminated, Termination, durable};

/// Maximum ids per request, so that a request stays short. For more, send several, or name the holder.
pub(crate) const MAX_IDS: usize = 1_000;
/// Leases that are asked about at the same time.
const AT_ONCE: usize = 8;
/// Longest reason, in bytes.
pub(crate) const MAX_REASON: usize = 512;
/// Longest block, in milliseconds.
pub(crate) const MAX_BLOCK_MS: u64 = LONGEST_BLOCK.as_secs() * 1_000;

/// Which leases to end, in exactly one of the first four ways, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(min_properties = 1)]
pub(super) struct TerminateBody {
    /// These, at most 1000.
    #[schema(max_items = 1_000)]
    ids: Option<Vec<String>>,
    /// All of this holder, also those that have expired and could be resumed; these are not among the results.
    #[schema(value_type = Option<String>)]
    #[serde(deserialize_with = "recorded_if_any")]
    holder: Option<Holder>,
    /// All of this tenant, in the same way.
    #[schema(value_type = Option<String>)]
    #[serde(deserialize_with = "recorded_if_any")]
    tenant: Option<Tenant>,
    /// All of the pool, in the same way.
    all: bool,
    /// What the holders read in their next renew, at most 512 bytes.
    #[schema(max_length = 512, example = "The shift is over.")]
    reason: Option<String>,
    /// How long the holders may not acquire in this pool; 0 for not at all. With a key for some tenants, for these only.
    #[schema(maximum = 31_622_400_000_u64)]
    block_ms: u64,
}

/// What became of each lease.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Results {
    results: Vec<TerminatedBody>,
    /// Whether a replica has it too; only with `durability = "replicated"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
}

/// What became of one lease.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Outcome)]
struct TerminatedBody {
    /// As it was asked for.
    id: String,
    /// `terminated`, or `ended` if it was not live, or nothing is known of it. Neither ever has a seat again.
    status: &'static str,
}

/// What became of one lease.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) id: LeaseId,
    pub(crate) status: &'static str,
}

/// Terminates leases.
#[utoipa::path(
    post, path = "/v1/pools/{pool}/leases/terminate", operation_id = "terminate_leases", tag = "leases",
    request_body = TerminateBody,
    responses((status = 200, body = Results)),
)]
pub(super) async fn terminate(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    Body(mut body): Body<TerminateBody>,
) -> Result<Json<Results>, Problem> {
    // Before the trail, which is to hold no name either.
    if let Some(holder) = body.holder.take() {
        body.holder = Some(app.recorded_holder(&pool, holder).await?);
    }
    operator.notes.after(&json!({
        "holder": body.holder, "tenant": body.tenant, "all": body.all, "reason": body.reason, "block_ms": body.block_ms,
    }));
    body.check()?;
    if app.0.store.status(&pool).await?.is_none() {
        return Err(pool_not_found(&pool));
    }
    let why = Termination {
        reason: body.reason.filter(|reason| !reason.is_empty()),
        block: Duration::from_millis(body.block_ms),
        holder: body.holder.clone(),
        blocked_tenants: blocked_tenants(&app, &operator, &pool, body.block_ms).await?,
        by: operator.caller.name().to_owned(),
        unused: false,
    };
    let results = match body.ids {
        Some(ids) => {
            // What is no id is unknown like any other that nobody has.
            let known: Vec<Option<LeaseId>> = ids.iter().map(|id| id.parse().ok()).collect();
            let valid: Vec<LeaseId> = known.iter().flatten().copied().collect();
            let ended = terminate_ids(&app, &operator, &pool, &valid, &why).await?;
            let mut ended = ended.into_iter();
            let known = known.into_iter().zip(ids);
            known
                .map(|(known, id)| {
                    let ended = known.and_then(|_| ended.next());
                    TerminatedBody {
                        id,
                        status: ended.map_or("ended", |ended| ended.status),
                    }
                })
                .collect::<Vec<_>>()
        }
        None => {
            let selection = Selection::of(body.holder, body.tenant);
            let selection = selection.within(operator.tenants_in(&pool));
            let ended = terminate_matching(&app, &pool, &selection, &why).await?;
            let ended = ended.into_iter();
            ended
                .map(|ended| TerminatedBody {
                    id: ended.id.to_string(),
                    status: ended.status,
                })
                .collect()
        }
    };
    let ended = results
        .iter()
        .filter(|result| result.status == "terminated");
    let ended: Vec<&str> = ended.map(|result| result.id.as_str()).collect();
    operator.notes.target(&match ended.len() {
        1 => "1 lease".to_owned(),
        count => format!("{count} leases"),
    });
    operator
        .notes
        .before(&json!({ "leases": &ended[..ended.len().min(MAX_IDS)] }));
    tracing::info!(pool.name = %pool, leases = results.len(), "an operator terminated leases of pool {pool}");
    Ok(Json(Results {
        results,
        durable: durable(),
    }))
}

impl TerminateBody {
    fn check(&self) -> Result<(), Problem> {
        let ways = [
            self.ids.is_some(),
            self.holder.is_some(),
            self.tenant.is_some(),
            self.all,
        ];
        let wrong = if ways.into_iter().filter(|way| *way).count() != 1 {
            "Say which leases to terminate in exactly one way: `ids`, `holder`, `tenant` or `\"all\": true`.".to_owned()
        } else if self.ids.as_ref().is_some_and(|ids| ids.len() > MAX_IDS) {
            format!("`ids` has at most {MAX_IDS} entries. Send several requests.")
        } else {
            check_text("reason", self.reason.as_deref())?;
            return check_block_ms(self.block_ms);
        };
        Err(Problem::new(Code::InvalidRequest, wrong))
    }
}

/// Refuses a message for holders that is too long, or has invisible characters.
pub(in crate::http) fn check_text(name: &'static str, text: Option<&str>) -> Result<(), Problem> {
    let Some(text) = text else { return Ok(()) };
    let wrong = if text.len() > MAX_REASON {
        format!("`{name}` has at most {MAX_REASON} bytes.")
    } else if let Err(invalid) = check_sentence(name, text) {
        format!("`{name}` is not valid: {invalid}.")
    } else {
        return Ok(());
    };
    Err(Problem::new(Code::InvalidRequest, wrong))
}

/// Refuses a block that is too long.
pub(in crate::http) fn check_block_ms(block_ms: u64) -> Result<(), Problem> {
    if block_ms <= MAX_BLOCK_MS {
        return Ok(());
    }
    Err(Problem::new(
        Code::InvalidRequest,
        format!("`block_ms` is 0 to {MAX_BLOCK_MS}."),
    ))
}

/// Terminates these. One of a tenant that the caller sees nothing of is as unknown as one that was never there.
pub(crate) async fn terminate_ids(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    ids: &[LeaseId],
    why: &Termination,
) -> Result<Vec<Outcome>, Problem> {
    let Some(own) = operator.tenants_in(pool) else {
        return Ok(outcomes(ids, app.0.store.terminate(pool, ids, why).await?));
    };
    let found = stream::iter(ids.iter().copied())
        .map(|id| async move {
            let grant = app.0.store.granted_lease(pool, id).await?;
            let tenant = grant.and_then(|grant| grant.lease.tenant);
            Ok::<_, store::Error>((id, tenant))
        })
        .buffered(AT_ONCE)
        .try_filter_map(|(id, tenant)| {
            let is_own = tenant.is_some_and(|tenant| own.contains(&tenant));
            std::future::ready(Ok(is_own.then_some(id)))
        });
    let found: Vec<LeaseId> = found.try_collect().await?;
    let ended = app.0.store.terminate(pool, &found, why).await?;
    let ended = outcomes(&found, ended);
    let word = |id: &LeaseId| {
        let ended = ended.iter().find(|outcome| outcome.id == *id);
        ended.map_or("ended", |outcome| outcome.status)
    };
    let results = ids.iter().map(|id| Outcome {
        id: *id,
        status: word(id),
    });
    Ok(results.collect())
}

fn outcomes(ids: &[LeaseId], words: Vec<Terminated>) -> Vec<Outcome> {
    ids.iter()
        .zip(words)
        .map(|(id, word)| Outcome {
            id: *id,
            status: match word {
                Terminated::Terminated => "terminated",
                Terminated::Ended => "ended",
                Terminated::Used => "used",
            },
        })
        .collect()
}

/// Terminates until nothing matches any more. What comes first: a mark, so that nothing of it comes back that has expired, and
/// the block of the holder, so that nobody slips in.
pub(crate) async fn terminate_matching(
    app: &App,
    pool: &PoolName,
    selection: &Selection,
    why: &Termination,
) -> Result<Vec<Outcome>, store::Error> {
    let store = &app.0.store;
    let (holder, tenant) = (selection.holder.as_ref(), selection.tenant.as_ref());
    // What is marked ends whoever it is of, so a holder is marked only by whoever sees all tenants.
    let is_foreign = |own: &BTreeSet<Tenant>| tenant.is_none_or(|tenant| !own.contains(tenant));
    let by_more = selection.text.is_some()
        || selection.idle_ms.is_some()
        || (holder.is_some() && tenant.is_some())
        || selection.within.as_ref().is_some_and(is_foreign);
    if !by_more {
        store.mark_ended(pool, holder, tenant, why).await?;
    }
    let idle = store.cached_policy(pool).and_then(|policy| policy.idle);
    let why = &Termination {
        unused: selection.idle_ms.is_some(),
        ..why.clone()
    };
    let mut begun = !by_more;
    let mut results = Vec::new();
    let mut rest = selection.clone();
    loop {
        let part = async {
            let Some(mut listing) = store.select(pool, &rest).await? else {
                return Ok(None);
            };
            if let (Some(least), Some(rule)) = (rest.idle_ms, idle) {
                // Nobody loses a seat who may have been active since.
                let unused_ms = |lease: &Lease| rule.surely_unused_ms(lease.unused_ms());
                listing.leases.retain(|lease| least <= unused_ms(lease));
            }
            let ids: Vec<LeaseId> = listing.leases.iter().map(|lease| lease.id).collect();
            let words = store.terminate(pool, &ids, why).await?;
            Ok(Some((outcomes(&ids, words), listing)))
        };
        // After the first call, a failure must not be reported as "nothing was done".
        let part = part.await;
        let part = part.map_err(|error: store::Error| error.after_a_part(begun))?;
        begun = true;
        let Some((ended, listing)) = part else {
            return Ok(results);
        };
        results.extend(ended);
        match listing.next {
            Some(next) => rest.after = Some(next),
            None => return Ok(results),
        }
    }
}
