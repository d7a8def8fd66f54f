//! The callers that the guard let through, as handlers take them.

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::authorize::{for_some_pools, forbidden, not_for};
use super::{Caller, Notes};
use crate::access_key::Role;
use crate::http::App;
use crate::http::problem::{Code, Problem};
use crate::names::{PoolName, Tenant};
use crate::scope::Scope;

/// Proof that the caller may do what operators do on this route.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// Who it is.
    pub(crate) caller: Caller,
    /// What to write down about it.
    pub(crate) notes: Notes,
}

impl Operator {
    /// Whether the caller may make these changes of a policy: an operator schedules, and an admin does everything.
    pub(crate) fn may_change(&self, changes: &Map<String, Value>) -> Result<(), Problem> {
        if self.caller.role() >= Role::Admin || changes.keys().all(|field| field == "schedule") {
            return Ok(());
        }
        Err(forbidden(
            "A key with the role operator may change the schedule of a pool and nothing else of it.",
        ))
    }

    /// The tenants that the caller may see and touch in this pool; none is all of them.
    pub(crate) fn tenants_in(&self, pool: &PoolName) -> Option<BTreeSet<Tenant>> {
        self.caller.tenants_in(pool)
    }

    /// What lists show to a caller who is for some pools only; none for whoever sees all.
    pub(crate) fn own_pools(&self) -> Option<Scope> {
        let caller = &self.caller;
        caller.names_pools().then(|| caller.scope().into_owned())
    }

    /// Refuses what is about another pool than the caller's; none is about all of them, and the store.
    pub(crate) fn only_for(&self, pool: Option<&PoolName>) -> Result<(), Problem> {
        match pool {
            Some(pool) if !self.caller.is_for(pool) => Err(not_for(pool)),
            None if self.caller.names_pools() => Err(for_some_pools()),
            _ => Ok(()),
        }
    }

    /// Refuses what only an admin may do on a route that operators use as well.
    pub(crate) fn only_as_admin(&self, what: &str) -> Result<(), Problem> {
        if self.caller.role() >= Role::Admin {
            return Ok(());
        }
        Err(forbidden(&format!(
            "Only a key with the role admin may {what}."
        )))
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self {
            caller: caller(parts)?,
            notes: parts.extensions.get().cloned().unwrap_or_default(),
        })
    }
}

/// Proof that the caller may acquire, and who it is, for idempotency keys.
#[derive(Debug, Clone)]
pub(in crate::http) struct Client {
    /// Who it is.
    pub(in crate::http) caller: Caller,
}

impl Client {
    /// The tenant of a lease that this caller asks for: the one that its key fixes, or one that it may name.
    pub(in crate::http) fn tenant(
        &self,
        pool: &PoolName,
        named: Option<Tenant>,
    ) -> Result<Option<Tenant>, Problem> {
        let fixed = self.caller.key().and_then(|key| key.tenant.clone());
        match (fixed, named) {
            (Some(fixed), Some(named)) if fixed != named => Err(forbidden(&format!(
                "This key acquires for the tenant {fixed} only."
            ))),
            (Some(fixed), _) => Ok(Some(fixed)),
            (None, named) => match self.caller.tenants_in(pool) {
                Some(own) if named.as_ref().is_none_or(|named| !own.contains(named)) => Err(
                    forbidden("This key is for some tenants only. Name one of them in `tenant`."),
                ),
                _ => Ok(named),
            },
        }
    }
}

impl FromRequestParts<App> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self {
            caller: caller(parts)?,
        })
    }
}

/// Whom the guard let through. A route that the guard does not watch has none, and so nobody.
fn caller(parts: &Parts) -> Result<Caller, Problem> {
    parts.extensions.get().cloned().ok_or_else(|| {
        Problem::new(Code::Forbidden, "Nobody may do this.")
            .cause("the route has no rule that asks for a caller")
    })
}
