//! What a pool may know of a holder: requests reach the store with no more than its privacy allows.

use std::time::Duration;

use super::App;
use super::leases::AcquireBody;
use super::problem::{Code, Problem};
use crate::names::{Activities, Holder, LeaseId, PoolName};
use crate::pool::{HolderMatch, Privacy};
use crate::store::{self, AcquireRequest, PolicySnapshot, Wait};
use crate::token::Claims;

impl App {
    /// The request for the store, with no more of the client than the pool's privacy allows.
    pub(super) async fn acquire_request(
        &self,
        pool: &PoolName,
        body: &AcquireBody,
        key: Option<LeaseId>,
        wait: Wait,
    ) -> Result<AcquireRequest, store::Error> {
        let mut snapshot = self.0.store.policy_snapshot(pool).await?;
        let mut asked = AcquireRequest {
            holder: body.holder.clone(),
            tenant: body.tenant.clone(),
            is_of_one_tenant: body.is_of_one_tenant,
            label: body.label.clone(),
            activities: body.activities.clone(),
            idle: idle_time(body.idle_ms.map(Duration::from_millis), &body.activities),
            platform: body.platform.clone(),
            key,
            wait,
            snapshot: PolicySnapshot::default(),
        };
        if let Some(policy) = snapshot.policy()
            && policy.changes_holders()
        {
            let kept = self.0.tokens.pseudonyms().kept(
                policy,
                pool,
                self.0.store.now(),
                asked.holder,
                asked.tenant,
            );
            (asked.holder, asked.tenant) = (kept.holder, kept.tenant);
            if policy.privacy != Privacy::Named {
                (asked.label, asked.activities) = (None, Activities::default());
            }
            (snapshot.from, snapshot.until) = (kept.from, kept.until);
        }
        asked.snapshot = snapshot;
        Ok(asked)
    }

    /// A holder as a pool distinguishes it from others, however much it may know of it.
    pub(super) async fn compared_holder(
        &self,
        pool: &PoolName,
        holder: Option<&Holder>,
    ) -> Result<Option<Holder>, Problem> {
        let snapshot = self.0.store.policy_snapshot(pool).await?;
        let holder = holder.cloned();
        Ok(match snapshot.policy().map(|policy| policy.holder_match) {
            Some(HolderMatch::Folded) => holder.map(Holder::folded),
            Some(HolderMatch::Exact) | None => holder,
        })
    }

    /// The name under which a pool knows a holder; none in an anonymous pool.
    pub(super) async fn recorded_name(
        &self,
        pool: &PoolName,
        holder: Holder,
    ) -> Result<Option<Holder>, store::Error> {
        let snapshot = self.0.store.policy_snapshot(pool).await?;
        let Some(policy) = snapshot.policy() else {
            return Ok(Some(holder));
        };
        let pseudonyms = self.0.tokens.pseudonyms();
        let now = self.0.store.now();
        Ok(pseudonyms
            .kept(policy, pool, now, Some(holder), None)
            .holder)
    }

    /// The same, for a request that names a holder of a pool.
    pub(super) async fn recorded_holder(
        &self,
        pool: &PoolName,
        holder: Holder,
    ) -> Result<Holder, Problem> {
        let name = self.recorded_name(pool, holder).await?;
        name.ok_or_else(|| {
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
    pub(super) async fn as_recorded(
        &self,
        mut claims: Claims,
    ) -> Result<(Claims, bool), store::Error> {
        let snapshot = match self.0.store.policy_snapshot(&claims.pool).await {
            // What was granted goes on. What its policy allows to be kept now only a later version knows.
            Err(store::Error::Newer(_)) => {
                claims.label = None;
                return Ok((claims, false));
            }
            snapshot => snapshot?,
        };
        if let Some(policy) = snapshot.policy()
            && policy.changes_holders()
        {
            let kept = self.0.tokens.pseudonyms().kept(
                policy,
                &claims.pool,
                self.0.store.now(),
                claims.holder,
                claims.tenant,
            );
            (claims.holder, claims.tenant) = (kept.holder, kept.tenant);
            let keeps_details = policy.privacy == Privacy::Named;
            if !keeps_details {
                claims.label = None;
            }
            return Ok((claims, keeps_details));
        }
        Ok((claims, true))
    }
}

/// For how long somebody has done nothing: nobody is idle who says what it is working on.
pub(super) fn idle_time(reported: Option<Duration>, activities: &Activities) -> Option<Duration> {
    if activities.is_empty() {
        reported
    } else {
        Some(Duration::ZERO)
    }
}
