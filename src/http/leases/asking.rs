//! How a question reaches the store: with no more of who asks than the pool may know, and for as long as who asks
//! is there to hear the answer.

use std::time::Duration;

use tokio::sync::oneshot;

use super::AcquireBody;
use crate::http::App;
use crate::http::problem::{Code, Problem};
use crate::lease::{Activities, Holder, LeaseId};
use crate::pool::{PoolName, Privacy};
use crate::store::{self, Acquired, Asked, Known, Wait, carry};
use crate::token::Claims;

/// Asks in a task of its own, because the request is dropped when its client goes away. A seat that nobody will
/// hear of goes back at once, unless the client can ask for it again by its key or its ticket.
pub(super) async fn ask(
    app: &App,
    pool: &PoolName,
    body: AcquireBody,
    key: Option<LeaseId>,
    wait: Wait,
) -> Result<Acquired, Problem> {
    let (answer, answered) = oneshot::channel();
    let (app, pool) = (app.clone(), pool.clone());
    tokio::spawn(carry(async move {
        let acquired = seek(&app, &pool, &body, key, wait, || answer.is_closed()).await;
        app.0.store.count_acquire(&pool, &acquired);
        let can_ask_again = key.is_some() || matches!(wait, Wait::Ticket(_));
        if let Err(Ok(Acquired::Granted(grant))) = answer.send(acquired)
            && !can_ask_again
        {
            let released = app.0.store.release(&app.claims(&grant)).await;
            tracing::debug!(lease.id = %grant.lease.id, ok = released.is_ok(), "released the lease of a client that is gone");
        }
    }));
    match answered.await {
        Ok(acquired) => Ok(acquired?),
        Err(_) => Err(Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )),
    }
}

/// Asks until there is an answer, or, while there is none but a place in the queue, until the time to wait is over or
/// the client is gone.
async fn seek(
    app: &App,
    pool: &PoolName,
    body: &AcquireBody,
    key: Option<LeaseId>,
    mut wait: Wait,
    is_gone: impl Fn() -> bool,
) -> Result<Acquired, store::Error> {
    let until = tokio::time::Instant::now() + Duration::from_millis(body.wait_ms);
    let mut freed = (body.wait_ms > 0 && wait != Wait::No).then(|| app.0.store.freed(pool));
    let mut changes = 0;
    loop {
        let asked = app.asked(pool, body, key, wait).await?;
        let acquired = app.0.store.acquire(pool, &asked).await?;
        let rest = until.saturating_duration_since(tokio::time::Instant::now());
        match (&acquired, &mut freed) {
            // The policy is made anew while we ask; that comes to an end.
            (Acquired::Changed, _) if changes < 10 => changes += 1,
            (
                Acquired::Queued {
                    ticket,
                    retry_after,
                    ..
                },
                Some(freed),
            ) if !rest.is_zero() && !is_gone() => {
                wait = Wait::Ticket(*ticket);
                tokio::select! {
                    () = freed.wait(rest.min(*retry_after)) => {}
                    // The place is kept; another node answers the next question.
                    () = app.0.drain.begun() => return Ok(acquired),
                }
            }
            _ => return Ok(acquired),
        }
    }
}

impl App {
    /// What is asked of the store: of who asks, no more than the pool's privacy allows.
    async fn asked(
        &self,
        pool: &PoolName,
        body: &AcquireBody,
        key: Option<LeaseId>,
        wait: Wait,
    ) -> Result<Asked, store::Error> {
        let mut known = self.0.store.known(pool).await?;
        let mut asked = Asked {
            holder: body.holder.clone(),
            tenant: body.tenant.clone(),
            label: body.label.clone(),
            activities: body.activities.clone(),
            platform: body.platform.clone(),
            key,
            wait,
            known: Known::default(),
        };
        if let Some(policy) = known.policy()
            && policy.privacy != Privacy::Named
        {
            let kept = self.0.tokens.pseudonyms().kept(
                policy,
                pool,
                self.0.store.now(),
                asked.holder,
                asked.tenant,
            );
            (asked.holder, asked.tenant) = (kept.holder, kept.tenant);
            (asked.label, asked.activities) = (None, Activities::default());
            (known.from, known.until) = (kept.from, kept.until);
        }
        asked.known = known;
        Ok(asked)
    }

    /// The name under which a pool knows a holder.
    pub(in crate::http) async fn holder_as_kept(
        &self,
        pool: &PoolName,
        holder: Holder,
    ) -> Result<Holder, Problem> {
        let known = self.0.store.known(pool).await?;
        let Some(policy) = known.policy() else {
            return Ok(holder);
        };
        let kept =
            self.0
                .tokens
                .pseudonyms()
                .kept(policy, pool, self.0.store.now(), Some(holder), None);
        kept.holder.ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                format!(
                    "The pool {pool} is anonymous: it knows no holders. Name leases by their ids."
                ),
            )
        })
    }

    /// What a token says, of its holder no more than the pool's privacy allows now: it may be older than that.
    /// And whether labels and activities may be kept.
    pub(in crate::http) async fn as_kept(
        &self,
        mut claims: Claims,
    ) -> Result<(Claims, bool), store::Error> {
        let known = self.0.store.known(&claims.pool).await?;
        if let Some(policy) = known.policy()
            && policy.privacy != Privacy::Named
        {
            let kept = self.0.tokens.pseudonyms().kept(
                policy,
                &claims.pool,
                self.0.store.now(),
                claims.holder,
                claims.tenant,
            );
            (claims.holder, claims.tenant, claims.label) = (kept.holder, kept.tenant, None);
            return Ok((claims, false));
        }
        Ok((claims, true))
    }
}
