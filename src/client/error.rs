//! Why there is no answer, or not the one that was hoped for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The codes of problems, as all clients know them.
static CODES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct Specified {
        codes: BTreeMap<String, Value>,
    }
    let specified = include_str!("../../clients/spec/errors.json");
    let specified: Specified = serde_json::from_str(specified).expect("a test reads it");
    specified.codes.into_keys().collect()
});

/// The codes that end a lease; nothing else does.
const ENDS: [&str; 6] = [
    "lease_expired",
    "lease_released",
    "lease_terminated",
    "lease_evicted",
    "invalid_token",
    "pool_not_found",
];

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server said no, in a problem document.
    #[error("{detail}")]
    Problem {
        /// The HTTP status.
        status: u16,
        /// The stable word.
        code: String,
        /// The sentence for people.
        detail: String,
        /// When to ask again, ms; 0 if it does not say.
        retry_after_ms: u64,
    },
    /// The server could not be reached, or did not answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// Something answered that is not Leasehold.
    #[error("{detail}")]
    NotLeasehold {
        /// The HTTP status.
        status: u16,
        /// The sentence for people.
        detail: String,
    },
}

impl Error {
    /// When the server wants to be asked again; zero if it does not say.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Problem { retry_after_ms, .. } => Duration::from_millis(*retry_after_ms),
            Self::Unreachable(_) | Self::NotLeasehold { .. } => Duration::ZERO,
        }
    }

    /// The code of an answer to a heartbeat that ends the lease; none for any other.
    pub(super) fn end(&self) -> Option<&str> {
        match self {
            Self::Problem { code, .. } if ENDS.contains(&code.as_str()) => Some(code),
            _ => None,
        }
    }

    /// Whether the same request may do better later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Problem { status, .. } => matches!(status, 429 | 500..),
            Self::NotLeasehold { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Unreachable(_) => true,
        }
    }
}

/// Whether this is a code of Leasehold.
pub(super) fn is_known(code: &str) -> bool {
    CODES.contains(code)
}
