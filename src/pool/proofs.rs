//! Whether holders get proofs of their leases, and for whom.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{Invalid, check_characters};

/// Lets acquire and renew answer a signed proof of the lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proofs {
    /// For whom they are (`aud`), at most 256 bytes; the name of the pool if it is left out.
    #[schema(max_length = 256, example = "https://api.example")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

impl Proofs {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let Some(audience) = &self.audience else {
            return Ok(());
        };
        if audience.trim().is_empty() || audience.len() > 256 {
            return Err(Invalid("proofs.audience has 1 to 256 bytes".into()));
        }
        check_characters("proofs.audience", audience)
    }
}
