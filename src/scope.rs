//! The part of an installation that somebody may see and touch: pools, and tenants in them. No HTTP, no Redis.
//!
//! A scope is a list of grants, because two rules that apply to one person do not multiply: who leads `acme` in `crm` and `globex` in
//! `phone` sees nothing of `globex` in `crm`.

use std::collections::BTreeSet;
use std::fmt;

use crate::names::{PoolName, Tenant};

/// Pools and tenants that go together. An empty list is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The pools.
    pub pools: Vec<PoolName>,
    /// The tenants in each of these pools.
    pub tenants: Vec<Tenant>,
}

impl Grant {
    fn has(&self, pool: &PoolName) -> bool {
        self.pools.is_empty() || self.pools.contains(pool)
    }
}

/// What somebody may see and touch. Without a grant it is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope(Vec<Grant>);

impl Scope {
    /// Everything.
    pub fn everything() -> Self {
        Self(vec![Grant::default()])
    }

    /// These pools and tenants.
    pub fn of(pools: &[PoolName], tenants: &[Tenant]) -> Self {
        Self(vec![Grant {
            pools: pools.to_vec(),
            tenants: tenants.to_vec(),
        }])
    }

    /// Adds a grant.
    pub fn add(&mut self, grant: &Grant) {
        if !self.0.contains(grant) {
            self.0.push(grant.clone());
        }
    }

    /// Whether something of this pool is in it.
    pub fn is_for(&self, pool: &PoolName) -> bool {
        self.0.iter().any(|grant| grant.has(pool))
    }

    /// Whether it is limited to some pools.
    pub fn names_pools(&self) -> bool {
        self.0.iter().all(|grant| !grant.pools.is_empty())
    }

    /// Whether it is limited to some tenants, in all pools or in some.
    pub fn names_tenants(&self) -> bool {
        self.0
            .iter()
            .any(|grant| !grant.tenants.is_empty() && !self.covers(&grant.pools, &[]))
    }

    /// The tenants that it has in this pool; none is all of them.
    pub fn tenants_in(&self, pool: &PoolName) -> Option<BTreeSet<Tenant>> {
        let grants = || self.0.iter().filter(|grant| grant.has(pool));
        if grants().any(|grant| grant.tenants.is_empty()) {
            return None;
        }
        Some(
            grants()
                .flat_map(|grant| grant.tenants.iter().cloned())
                .collect(),
        )
    }

    /// Whether all of these tenants in all of these pools are in it; an empty list is all.
    pub fn covers(&self, pools: &[PoolName], tenants: &[Tenant]) -> bool {
        let in_grants = |grants: &mut dyn Iterator<Item = &Grant>| {
            let mut own = BTreeSet::new();
            for grant in grants {
                if grant.tenants.is_empty() {
                    return true;
                }
                own.extend(&grant.tenants);
            }
            !tenants.is_empty() && tenants.iter().all(|tenant| own.contains(tenant))
        };
        if pools.is_empty() {
            return in_grants(&mut self.0.iter().filter(|grant| grant.pools.is_empty()));
        }
        pools
            .iter()
            .all(|pool| in_grants(&mut self.0.iter().filter(|grant| grant.has(pool))))
    }
}

/// For people.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, kind: &str, names: &[&str]| match names {
            [] => write!(f, "all {kind}"),
            names => write!(f, "{kind} {}", names.join(", ")),
        };
        for (at, grant) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            let pools: Vec<&str> = grant.pools.iter().map(PoolName::as_str).collect();
            let tenants: Vec<&str> = grant.tenants.iter().map(Tenant::as_str).collect();
            list(f, "pools", &pools)?;
            f.write_str(" with ")?;
            list(f, "tenants", &tenants)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(names: &[&str]) -> Vec<PoolName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn tenants(names: &[&str]) -> Vec<Tenant> {
        names
            .iter()
            .map(|name| Tenant::try_from((*name).to_owned()).unwrap())
            .collect()
    }

    fn scope(grants: &[(&[&str], &[&str])]) -> Scope {
        let mut scope = Scope::default();
        for (of_pools, of_tenants) in grants {
            scope.add(&Grant {
                pools: pools(of_pools),
                tenants: tenants(of_tenants),
            });
        }
        scope
    }

    #[test]
    fn two_grants_do_not_multiply() {
        let both = scope(&[(&["crm"], &["acme"]), (&["phone"], &["globex"])]);
        let crm: PoolName = "crm".parse().unwrap();
        assert_eq!(
            both.tenants_in(&crm),
            Some(tenants(&["acme"]).into_iter().collect())
        );
        assert!(both.covers(&pools(&["crm"]), &tenants(&["acme"])));
        assert!(!both.covers(&pools(&["crm"]), &tenants(&["globex"])));
        assert!(!both.covers(&pools(&["crm", "phone"]), &tenants(&["acme"])));
        assert!(!both.is_for(&"other".parse().unwrap()));
        assert!(both.names_pools() && both.names_tenants());
    }

    #[test]
    fn an_empty_list_is_all_and_no_grant_is_nothing() {
        let all = Scope::everything();
        assert!(all.covers(&[], &[]) && all.covers(&pools(&["crm"]), &tenants(&["acme"])));
        assert!(!all.names_pools() && !all.names_tenants());
        let acme = Scope::of(&[], &tenants(&["acme"]));
        assert!(acme.names_tenants() && !acme.names_pools());
        assert!(acme.covers(&[], &tenants(&["acme"])) && !acme.covers(&[], &[]));
        assert!(!acme.covers(&pools(&["crm"]), &[]));
        let crm = Scope::of(&pools(&["crm"]), &[]);
        assert!(crm.covers(&pools(&["crm"]), &tenants(&["any"])) && !crm.covers(&[], &[]));
        // What one grant gives whole, another one does not limit.
        let more = scope(&[(&["crm"], &["acme"]), (&["crm"], &[])]);
        assert!(!more.names_tenants());
        assert!(!Scope::default().covers(&[], &[]) && Scope::default().names_pools());
    }
}
