//! For how long a holder may go on that hears nothing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// For how long a holder may go on working after the end of what it was promised, while it cannot reach the server.
///
/// The server decides nothing by it: every lease has it, and clients keep to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutageGrace {
    /// As long as the seat could be resumed. It is not written down, so that older nodes can read the policy.
    #[default]
    ResumeWindow,
    /// So long, in ms; 0 is strict.
    Limited(u64),
    /// Without limit.
    Unlimited,
}

impl OutageGrace {
    /// Longest limit: 31 days, in ms.
    pub const MAX_MS: u64 = 31 * 86_400_000;

    pub(super) fn is_default(&self) -> bool {
        *self == Self::ResumeWindow
    }

    /// In ms; none is without limit.
    pub fn limit_ms(self, resume_window_ms: u64) -> Option<u64> {
        match self {
            Self::ResumeWindow => Some(resume_window_ms),
            Self::Limited(ms) => Some(ms),
            Self::Unlimited => None,
        }
    }
}

impl Serialize for OutageGrace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Limited(ms) => serializer.serialize_u64(*ms),
            Self::ResumeWindow | Self::Unlimited => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for OutageGrace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = Option::<u64>::deserialize(deserializer)?;
        Ok(limit.map_or(Self::Unlimited, Self::Limited))
    }
}
