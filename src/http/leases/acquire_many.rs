//! `POST /v1/pools/{pool}/leases/acquire-many`: the seats of a backend that holds them for its people.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::acquire::{AcquireBody, MAX_KEY, request_name};
use super::attempt::{MAX_CHANGES, Undelivered};
use super::denied;
use crate::http::access::Client;
use crate::http::extract::{ACQUIRE_MANY_LIMIT, Body, Path};
use crate::http::json::Json;
use crate::http::leases::{LeaseBody, checked_idle};
use crate::http::problem::{Code, Problem};
use crate::http::{App, pool_not_found};
use crate::names::{Activities, Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::store::{self, Acquired, Grant, Wait, carry, durable};
use crate::tasks;

/// Maximum leases per request.
const MAX_LEASES: usize = 500;

/// Seats to take, at most 500.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcquireManyBody {
    /// Who gets a seat, in this order.
    #[schema(max_items = 500)]
    leases: Vec<AcquireOne>,
}

/// A request for one of them. All fields may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct AcquireOne {
    /// An agent, a device, an instance: opaque, at most 512 bytes.
    #[schema(value_type = Option<String>, max_length = 512, example = "agent-7")]
    holder: Option<Holder>,
    /// The sub-account it belongs to, at most 64 bytes.
    #[schema(value_type = Option<String>, max_length = 64, example = "acme")]
    tenant: Option<Tenant>,
    /// What operators read next to the holder, at most 128 bytes.
    #[schema(value_type = Option<String>, max_length = 128, example = "Front desk")]
    label: Option<Label>,
    /// What the holder is working on: at most 32 strings of at most 128 bytes.
    #[schema(value_type = Vec<String>, max_items = 32)]
    activities: Activities,
    /// What the holder runs on, at most 32 bytes.
    #[schema(value_type = Option<String>, max_length = 32, example = "web")]
    platform: Option<Platform>,
    /// Names this one request, as the header `Idempotency-Key` does that of a single acquire; at most 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    key: Option<String>,
    /// For how long the program has seen no activity of its user; left out where it does not know, which counts as active.
    #[schema(maximum = 2_678_400_000_u64)]
    idle_ms: Option<u64>,
}

/// What became of each, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AcquireManyResults {
    results: Vec<AcquireManyResult>,
    /// Whether a replica acknowledged the writes; only with `durability = "replicated"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    durable: Option<bool>,
}

/// What became of one.
#[derive(Debug, Default, Serialize, ToSchema)]
struct AcquireManyResult {
    /// `granted`, `existing` for the lease that this key already has, `denied`, or `failed` where the store was lost on the way: send
    /// that one again.
    status: &'static str,
    /// The seat, of `granted` and `existing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lease: Option<LeaseBody>,
    /// Renews and releases the lease. A secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// A signed proof of the lease, in a pool whose policy has `proofs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    proof: Option<String>,
    /// For `denied` and `failed`, the code that a single acquire would get.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, example = "pool_full")]
    code: Option<Code>,
    /// A sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// When to ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
    /// What else the problem document of a single acquire would say. The OpenAPI document names the members as it names those of a
    /// problem.
    #[serde(flatten)]
    #[schema(ignore)]
    more: Map<String, Value>,
}

impl AcquireManyResult {
    fn refused(status: &'static str, problem: &Problem) -> Self {
        Self {
            status,
            code: Some(problem.code()),
            detail: Some(problem.detail().to_owned()),
            retry_after_ms: problem.when_to_come_back(),
            more: problem.members(),
            ..Self::default()
        }
    }
}

/// Takes many seats in one request: each is decided alone, in this order, and what one gets is its own whatever becomes of the
/// others.
///
/// For backends that hold seats for others, at the start of a shift or after a restart. Keys of pages, which name origins, may not.
#[utoipa::path(
    post, path = "/v1/pools/{pool}/leases/acquire-many", operation_id = "acquire_many", tag = "leases",
    request_body = AcquireManyBody,
    responses(
        (status = 200, description = "A result for each, in order", body = AcquireManyResults),
        (status = 403, description = "`forbidden`; also for a key that names origins"),
        (status = 503, description = "`recovering` or `store_unavailable`: none was decided, or it is not known whether; with a `key` for each, sending all again is safe"),
    ),
)]
pub(super) async fn acquire_many(
    State(app): State<App>,
    client: Client,
    Path(pool): Path<PoolName>,
    Body(body): Body<AcquireManyBody, ACQUIRE_MANY_LIMIT>,
) -> Result<Json<AcquireManyResults>, Problem> {
    if client.caller.is_of_pages() {
        return Err(Problem::new(
            Code::Forbidden,
            "A key that names origins is for pages, which take one seat. Use a client key without origins, and keep it secret.",
        ));
    }
    if body.leases.len() > MAX_LEASES {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`leases` has at most {MAX_LEASES} entries. Send several requests."),
        ));
    }
    // Nothing is kept of a pool that is not there: each of the list would ask Redis again.
    let snapshot = app.0.store.policy_snapshot(&pool).await?;
    if snapshot.policy().is_none() {
        return Err(pool_not_found(&pool));
    }
    let mut requests = Vec::with_capacity(body.leases.len());
    for (at, one) in body.leases.into_iter().enumerate() {
        requests.push(one.checked(&app, &client, &pool, at).await?);
    }
    let tenants: Vec<Option<Tenant>> = requests
        .iter()
        .map(|requests| requests.body.tenant.clone())
        .collect();
    let (answer, answered) = oneshot::channel();
    // In a task of its own, as a single acquire: seats that nobody hears of go back at once.
    tasks::finish(carry({
        let (app, pool) = (app.clone(), pool.clone());
        async move {
            let done = acquire_all(&app, &pool, &requests).await;
            let unheard: Vec<Undelivered> = done
                .iter()
                .zip(&requests)
                .filter_map(|(acquired, requests)| {
                    let can_ask_again = requests.key.is_some();
                    Undelivered::of(&app, acquired.as_ref().ok()?, can_ask_again)
                })
                .collect();
            let (hear, heard) = oneshot::channel();
            let sent = answer.send((done, durable(), hear));
            if sent.is_err() || heard.await.is_err() {
                for unheard in unheard {
                    unheard.give_back(&app, &pool).await;
                }
            }
        }
    }));
    let Ok((done, durable, hear)) = answered.await else {
        return Err(Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        ));
    };
    // The task may have ended with the runtime.
    let _ = hear.send(());
    results(&app, &client, &pool, &tenants, done, durable).map(Json)
}

/// One request of many, checked.
struct CheckedRequest {
    body: AcquireBody,
    key: Option<LeaseId>,
}

impl AcquireOne {
    async fn checked(
        self,
        app: &App,
        client: &Client,
        pool: &PoolName,
        at: usize,
    ) -> Result<CheckedRequest, Problem> {
        checked_idle(self.idle_ms)?;
        let body = AcquireBody {
            idle_ms: self.idle_ms,
            holder: self.holder,
            tenant: client.tenant(pool, self.tenant)?,
            label: self.label,
            activities: self.activities,
            platform: self.platform,
            ..AcquireBody::default()
        };
        let key = match self.key {
            Some(key) if key.is_empty() || key.len() > MAX_KEY => {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    format!("`leases[{at}].key` has 1 to {MAX_KEY} bytes."),
                ));
            }
            Some(key) => {
                let compared = app.compared_holder(pool, body.holder.as_ref()).await?;
                let name = request_name(key.as_bytes(), client, pool, compared.as_ref(), &body);
                Some(name)
            }
            None => None,
        };
        Ok(CheckedRequest { body, key })
    }
}

/// Asks for all of them, bite after bite. After a failure nothing more is asked for: the rest surely has nothing.
async fn acquire_all(
    app: &App,
    pool: &PoolName,
    requests: &[CheckedRequest],
) -> Vec<Result<Acquired, store::Error>> {
    let mut done: Vec<Result<Acquired, store::Error>> = Vec::with_capacity(requests.len());
    let mut changes = 0;
    while done.len() < requests.len() {
        let some = async {
            let mut asked = Vec::new();
            for CheckedRequest { body, key } in
                requests[done.len()..].iter().take(store::ACQUIRE_AT_ONCE)
            {
                asked.push(app.acquire_request(pool, body, *key, Wait::No).await?);
                // Those of a pool with rules go one by one.
                if asked[0].snapshot.has_rules() {
                    break;
                }
            }
            app.0.store.acquire_first(pool, &asked).await
        };
        let acquired = match some.await {
            // The policy is made anew while we ask; that comes to an end.
            Ok(acquired) if acquired[0] == Acquired::Changed && changes < MAX_CHANGES => {
                changes += 1;
                continue;
            }
            Ok(acquired) => acquired,
            Err(error) => {
                done.push(Err(error));
                break;
            }
        };
        changes = 0;
        for acquired in acquired {
            let acquired = Ok(acquired);
            app.0.store.count_acquire(pool, &acquired);
            done.push(acquired);
        }
    }
    done
}

/// The answer, or the problem of all of them where none was decided.
fn results(
    app: &App,
    client: &Client,
    pool: &PoolName,
    tenants: &[Option<Tenant>],
    done: Vec<Result<Acquired, store::Error>>,
    durable: Option<bool>,
) -> Result<AcquireManyResults, Problem> {
    let mut results = Vec::with_capacity(tenants.len());
    for (acquired, tenant) in done.into_iter().zip(tenants) {
        let granted = |status, grant: Grant| {
            let answer = app.answer(grant);
            AcquireManyResult {
                status,
                lease: answer.lease,
                token: answer.token,
                proof: answer.proof,
                ..AcquireManyResult::default()
            }
        };
        results.push(match acquired {
            Ok(Acquired::Granted(grant)) => granted("granted", grant),
            Ok(Acquired::Existing(grant)) => granted("existing", grant),
            Ok(Acquired::NoPool) if results.is_empty() => return Err(pool_not_found(pool)),
            Ok(refused) => {
                let problem = denied::problem_for(client, pool, tenant.as_ref(), refused);
                AcquireManyResult::refused("denied", &problem)
            }
            Err(error) if results.is_empty() => return Err(error.into()),
            Err(error) => AcquireManyResult::refused("failed", &error.into()),
        });
    }
    let not_asked = Problem::new(
        Code::StoreUnavailable,
        "The store failed before this one was asked for, so nothing has changed. Send it again.",
    )
    .with("outcome", store::Outcome::None.as_str());
    results.resize_with(tenants.len(), || {
        AcquireManyResult::refused("failed", &not_asked)
    });
    Ok(AcquireManyResults { results, durable })
}
