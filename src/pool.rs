//! The pool and its policy. No HTTP, no Redis.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lease::{Instant, Invalid};

/// Name of a pool: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`.
///
/// It becomes part of a Redis key, so it is checked where it enters and never again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolName(String);

impl PoolName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PoolName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        let fits = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !fits {
            return Err(Invalid(
                "a pool name has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'".into(),
            ));
        }
        Ok(Self(name))
    }
}

impl std::str::FromStr for PoolName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::try_from(name.to_owned())
    }
}

impl From<PoolName> for String {
    fn from(name: PoolName) -> Self {
        name.0
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an operator decides about a pool. A field that is left out has its default; an unknown one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Seats in the pool, 0 to 10 000 000.
    pub capacity: u32,
    /// How long a lease lives without a renew, 1 000 to 86 400 000 ms.
    #[serde(default = "defaults::ttl_ms")]
    pub ttl_ms: u64,
    /// How long a lease lives after its holder left, 0 to 86 400 000 ms; never longer than the TTL.
    #[serde(default = "defaults::linger_ms")]
    pub linger_ms: u64,
    /// How long after its expiry a lease can be resumed by a late renew, 0 to 86 400 000 ms.
    #[serde(default = "defaults::resume_window_ms")]
    pub resume_window_ms: u64,
}

/// The defaults of [`Policy`], each named like its field.
mod defaults {
    pub(super) const fn ttl_ms() -> u64 {
        60_000
    }
    pub(super) const fn linger_ms() -> u64 {
        10_000
    }
    pub(super) const fn resume_window_ms() -> u64 {
        600_000
    }
}

impl Policy {
    /// Most seats of one pool.
    pub const MAX_CAPACITY: u32 = 10_000_000;
    /// One day, the longest TTL, linger and resume window, in milliseconds.
    pub const MAX_MS: u64 = 86_400_000;

    /// A pool of `capacity` seats with the default times.
    pub const fn with_capacity(capacity: u32) -> Self {
        Self {
            capacity,
            ttl_ms: defaults::ttl_ms(),
            linger_ms: defaults::linger_ms(),
            resume_window_ms: defaults::resume_window_ms(),
        }
    }

    /// Refuses values out of range, naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.capacity > Self::MAX_CAPACITY {
            return Err(Invalid(format!(
                "capacity is 0 to {} seats",
                Self::MAX_CAPACITY
            )));
        }
        if !(1_000..=Self::MAX_MS).contains(&self.ttl_ms) {
            return Err(Invalid(format!(
                "ttl_ms is 1000 to {} milliseconds",
                Self::MAX_MS
            )));
        }
        for (field, value) in [
            ("linger_ms", self.linger_ms),
            ("resume_window_ms", self.resume_window_ms),
        ] {
            if value > Self::MAX_MS {
                return Err(Invalid(format!(
                    "{field} is 0 to {} milliseconds",
                    Self::MAX_MS
                )));
            }
        }
        Ok(())
    }
}

/// A pool as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Its policy.
    pub policy: Policy,
    /// Grows with every change; the ETag.
    pub version: u64,
    /// Live leases.
    pub in_use: u64,
    /// When this was read.
    pub at: Instant,
}
