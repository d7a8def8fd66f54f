//! `POST /v1/holders/{holder}/terminate`: operators end the leases of a person.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{known_in, leave};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::blocks::blocked_tenants;
use crate::http::extract::{Body, HolderSegment, Path};
use crate::http::leases::terminate::{self, check_block_ms, check_text};
use crate::http::problem::Problem;
use crate::names::{Holder, LeaseId, PoolName};
use crate::store::{Left, Selection, Termination};

/// When leases end that an operator terminates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EndWhen)]
pub(crate) enum When {
    /// At once.
    #[default]
    Now,
    /// With the first heartbeat without activities.
    Idle,
}

/// Why and where the leases of a person end.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EndHolder {
    /// Only in these pools; in all that the caller may see without it.
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) pools: Option<Vec<PoolName>>,
    /// What the person reads in the next renew, at most 512 bytes.
    #[schema(max_length = 512, example = "The shift is over.")]
    pub(crate) reason: Option<String>,
    /// For how long the person may not acquire in these pools; 0 for not at all. With `idle` from the end of a lease on. With a key for
    /// some tenants, for these only.
    #[schema(maximum = 31_622_400_000_u64)]
    pub(crate) block_ms: u64,
    /// When they end.
    pub(crate) when: When,
}

/// What became of each lease.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndHolderResults {
    pub(crate) results: Vec<EndHolderResult>,
}

/// What became of one lease.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndHolderResult {
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    #[schema(value_type = String)]
    pub(crate) id: LeaseId,
    /// `terminated`; `ended` if it was not live any more; `pending` if it ends with the first heartbeat without activities.
    pub(crate) status: &'static str,
}

/// Ends the leases of a person, at once or when it is idle.
#[utoipa::path(
    post,
    path = "/v1/holders/{holder}/terminate",
    tag = "holders",
    operation_id = "terminate_holder",
    request_body = EndHolder,
    responses(
        (status = 200, body = EndHolderResults),
        (status = 404, description = "`pool_not_found`"),
    ),
)]
pub(in crate::http) async fn end(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
    Body(body): Body<EndHolder>,
) -> Result<Json<EndHolderResults>, Problem> {
    Ok(Json(end_leases(&app, &operator, &holder, body).await?))
}

/// Ends the leases of a person, and tells what became of each.
pub(crate) async fn end_leases(
    app: &App,
    operator: &Operator,
    holder: &Holder,
    body: EndHolder,
) -> Result<EndHolderResults, Problem> {
    operator.notes.after(&body);
    check_text("reason", body.reason.as_deref())?;
    check_block_ms(body.block_ms)?;
    let reason = body.reason.filter(|reason| !reason.is_empty());
    let mut results = Vec::new();
    let known = known_in(app, operator, body.pools, holder).await?;
    for (number, (pool, name)) in known.into_iter().enumerate() {
        let why = Termination {
            reason: reason.clone(),
            block: Duration::from_millis(body.block_ms),
            holder: Some(name.clone()),
            blocked_tenants: blocked_tenants(app, operator, &pool, body.block_ms).await?,
            by: operator.caller.name().to_owned(),
            unused: false,
        };
        let ended = match body.when {
            When::Now => {
                let own = operator.tenants_in(&pool);
                let selection = Selection::of(Some(name), None).within(own);
                let ended = terminate::terminate_matching(app, &pool, &selection, &why).await;
                let ended = ended.map_err(|error| error.after_a_part(number > 0))?;
                ended
                    .into_iter()
                    .map(|ended| (ended.id, ended.status))
                    .collect()
            }
            When::Idle => leave(
                app,
                operator,
                (number, &pool),
                &name,
                Left::EndWhenIdle(&why),
            )
            .await?
            .into_iter()
            .map(|(id, lives)| (id, if lives { "pending" } else { "ended" }))
            .collect::<Vec<_>>(),
        };
        results.extend(ended.into_iter().map(|(id, status)| EndHolderResult {
            pool: pool.clone(),
            id,
            status,
        }));
    }
    tracing::info!(
        leases = results.len(),
        "an operator ended the leases of a holder"
    );
    Ok(EndHolderResults { results })
}
