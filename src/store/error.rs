//! What can go wrong between a node and Redis. A denial is not among it: that is an answer.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What is known about an operation that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It surely did not run.
    None,
    /// It may have run; repeating it with the same identity is safe.
    Unknown,
}

impl Outcome {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// We do not know. Every one of these is a 503, never an answer about a lease.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Redis is away, or refuses to work.
    #[error("{cause}")]
    Unavailable {
        /// What is known about the operation.
        outcome: Outcome,
        /// For the log, with the next step for an operator where there is one.
        cause: String,
    },
    /// Redis has no memory left for a new lease.
    #[error("Redis is out of memory: raise maxmemory or lower what else is stored there")]
    Full,
    /// A reply that no script gives.
    #[error("unexpected data in Redis: {0}")]
    Broken(String),
}

impl Error {
    /// Nothing was sent.
    pub(super) fn not_sent(cause: impl Into<String>) -> Self {
        Self::Unavailable {
            outcome: Outcome::None,
            cause: cause.into(),
        }
    }

    /// Something was sent, and no answer came.
    pub(super) fn unanswered(cause: impl Into<String>) -> Self {
        Self::Unavailable {
            outcome: Outcome::Unknown,
            cause: cause.into(),
        }
    }
}

impl From<RedisError> for Error {
    /// Error replies mean that nothing was decided: Redis refuses before the first write, or the script was wrong.
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        match error.kind() {
            _ if error.code() == Some("OOM") || text.contains("OOM command not allowed") => {
                Self::Full
            }
            ErrorKind::Server(ServerErrorKind::ReadOnly) => {
                Self::not_sent(format!("this Redis is a replica, not the master: {text}"))
            }
            ErrorKind::Server(ServerErrorKind::BusyLoading) => {
                Self::not_sent("Redis is loading its data; it answers when it is done")
            }
            ErrorKind::AuthenticationFailed => Self::not_sent(format!(
                "Redis refuses the user or password in redis_url: {text}"
            )),
            ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::not_sent(format!("Redis allows this user too little: {text}"))
            }
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Self::not_sent(format!("Redis refuses: {text}"))
            }
            _ => Self::unanswered(text),
        }
    }
}
