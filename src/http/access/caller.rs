//! The sender of a request: anybody, the admin key, a key of the store, or a person.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::person::{Person, Source};
use crate::access_key::{AccessKey, Role};
use crate::names::{PoolName, Tenant};
use crate::scope::Scope;
use crate::time::Timestamp;

/// The caller's name where no key is asked for.
const OPEN: &str = "open";
/// The caller's name with the key of the settings.
pub(crate) const ADMIN_KEY: &str = "admin_key";

/// The sender of a request, as its credential names it.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(super) identity: Identity,
    /// What whoever logged in with a key says to be called, and by which key.
    pub(super) name: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// Anybody on this machine.
    Open,
    /// Holds the key of the settings.
    AdminKey,
    /// Holds a key of the store.
    Key(Arc<AccessKey>),
    /// Was logged in by a provider or a proxy.
    Person(Arc<Person>),
}

impl Caller {
    /// Anybody, where no key is asked for.
    pub(super) const OPEN: Self = Self {
        identity: Identity::Open,
        name: None,
    };

    pub(super) const fn new(identity: Identity) -> Self {
        Self {
            identity,
            name: None,
        }
    }

    pub(super) fn person(person: Person) -> Self {
        Self::new(Identity::Person(Arc::new(person)))
    }

    /// The same with the name that somebody gave at the login.
    pub(super) fn called(mut self, name: Option<&str>) -> Self {
        self.name = name.map(|name| format!("{name} ({})", self.name()).into());
        self
    }

    /// What the caller may do.
    pub(crate) fn role(&self) -> Role {
        match &self.identity {
            Identity::Open | Identity::AdminKey => Role::Admin,
            Identity::Key(key) => key.role,
            Identity::Person(person) => person.role,
        }
    }

    /// The same for all requests with one credential, different for others.
    pub(crate) fn id(&self) -> &str {
        match &self.identity {
            Identity::Open => OPEN,
            Identity::AdminKey => ADMIN_KEY,
            Identity::Key(key) => key.id.as_str(),
            Identity::Person(person) => &person.id,
        }
    }

    /// For people.
    pub(crate) fn name(&self) -> &str {
        if let Some(name) = &self.name {
            return name;
        }
        match &self.identity {
            Identity::Open => "no key",
            Identity::AdminKey => "admin key of the settings",
            Identity::Key(key) => key.name.as_str(),
            Identity::Person(person) => &person.name,
        }
    }

    /// The key of the store that was shown.
    pub(crate) fn key(&self) -> Option<&AccessKey> {
        match &self.identity {
            Identity::Key(key) => Some(key),
            _ => None,
        }
    }

    /// Whether nobody is asked who it is.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.identity, Identity::Open)
    }

    /// Whether the right of the caller is less than that of the admin key.
    pub(crate) const fn is_limited(&self) -> bool {
        matches!(self.identity, Identity::Key(_) | Identity::Person(_))
    }

    /// Whether a proxy says with each request who it is, so that there is nothing to log out of here.
    pub(crate) fn is_of_a_proxy(&self) -> bool {
        matches!(&self.identity, Identity::Person(person) if person.source == Source::Proxy)
    }

    /// The pools and tenants that the caller may see and touch.
    pub(crate) fn scope(&self) -> Cow<'_, Scope> {
        match &self.identity {
            Identity::Open | Identity::AdminKey => Cow::Owned(Scope::everything()),
            Identity::Key(key) => Cow::Owned(key.scope()),
            Identity::Person(person) => Cow::Borrowed(&person.scope),
        }
    }

    /// The tenants that the caller may see and touch in this pool; none is all of them.
    pub(crate) fn tenants_in(&self, pool: &PoolName) -> Option<BTreeSet<Tenant>> {
        match &self.identity {
            Identity::Open | Identity::AdminKey => None,
            Identity::Key(key) => key.own_tenants(),
            Identity::Person(person) => person.scope.tenants_in(pool),
        }
    }

    /// Whether the caller sees only some tenants, in some pool at least.
    pub(crate) fn names_tenants(&self) -> bool {
        match &self.identity {
            Identity::Open | Identity::AdminKey => false,
            Identity::Key(key) => !key.tenants.is_empty(),
            Identity::Person(person) => person.scope.names_tenants(),
        }
    }

    /// Whether the caller sees everything that its role may see.
    pub(crate) fn sees_everything(&self) -> bool {
        !self.names_pools() && !self.names_tenants()
    }

    /// Whether the caller may see and do things in this pool.
    pub(crate) fn is_for(&self, pool: &PoolName) -> bool {
        match &self.identity {
            Identity::Open | Identity::AdminKey => true,
            Identity::Key(key) => key.is_for(pool),
            Identity::Person(person) => person.scope.is_for(pool),
        }
    }

    /// Whether the key is one that pages show, and so no secret.
    pub(crate) fn is_of_pages(&self) -> bool {
        self.key().is_some_and(|key| !key.origins.is_empty())
    }

    /// When the caller may stop being one, without any change of a key.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.key().and_then(|key| key.next_end(now))
    }

    pub(crate) fn names_pools(&self) -> bool {
        match &self.identity {
            Identity::Open | Identity::AdminKey => false,
            Identity::Key(key) => !key.pools.is_empty(),
            Identity::Person(person) => person.scope.names_pools(),
        }
    }
}
