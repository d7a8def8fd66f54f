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

/// Why Redis does not work for us: the label of the metric, and a sentence for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No connection can be made, or it was cut.
    Away,
    /// It is connected and does not answer in time.
    Silent,
    /// TLS fails: another certificate, or no TLS at the other end.
    Tls,
    /// NOAUTH, WRONGPASS.
    Auth,
    /// NOPERM.
    NotAllowed,
    /// `max number of clients reached`.
    TooManyClients,
    /// READONLY: a replica.
    Replica,
    /// LOADING.
    Loading,
    /// MASTERDOWN: a replica that has lost its master.
    MasterDown,
    /// CLUSTERDOWN, TRYAGAIN, and redirections that did not end.
    ClusterDown,
    /// CROSSSLOT: keys of several slots in one call.
    CrossSlot,
    /// NOREPLICAS: `min-replicas-to-write` is not met.
    NoReplicas,
    /// MISCONF: the last save failed.
    Unsaved,
    /// BUSY: somebody's script does not end.
    Busy,
    /// OOM.
    Full,
    /// Any other refusal.
    Refused,
}

impl Trouble {
    /// The word in metrics and in `readyz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Silent => "silent",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::NotAllowed => "not_allowed",
            Self::TooManyClients => "too_many_clients",
            Self::Replica => "replica",
            Self::Loading => "loading",
            Self::MasterDown => "master_down",
            Self::ClusterDown => "cluster_down",
            Self::CrossSlot => "cross_slot",
            Self::NoReplicas => "no_replicas",
            Self::Unsaved => "unsaved",
            Self::Busy => "busy",
            Self::Full => "full",
            Self::Refused => "refused",
        }
    }

    /// What it means and what to do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Away => {
                "Redis cannot be reached; see whether it runs and whether redis_url is right"
            }
            Self::Silent => {
                "Redis is connected and does not answer in time; see its load, and SLOWLOG and LATENCY there"
            }
            Self::Tls => {
                "TLS to Redis fails; see rediss:// in redis_url, the certificate there and redis_ca_file; if it wants a certificate of its \
                 clients (CertificateRequired), set redis_cert_file and redis_key_file"
            }
            Self::Auth => "Redis refuses the user or the password; set the right ones in redis_url",
            Self::NotAllowed => {
                "Redis allows this user too little; give it what deploy/redis/leasehold.acl lists"
            }
            Self::TooManyClients => {
                "Redis has reached its limit of clients; raise maxclients, or lower redis_connections"
            }
            Self::Replica => {
                "this Redis is a replica and takes no writes; redis_url must lead to the master"
            }
            Self::Loading => "Redis is loading its data and answers when it is done",
            Self::MasterDown => "this Redis is a replica without its master; a failover is due",
            Self::ClusterDown => "the Redis cluster does not serve these slots; see CLUSTER INFO",
            Self::CrossSlot => {
                "this Redis is a cluster behind one address; write redis+cluster:// in redis_url"
            }
            Self::NoReplicas => {
                "Redis has too few replicas to take writes; bring one back, or lower min-replicas-to-write"
            }
            Self::Unsaved => {
                "Redis cannot write its file and takes no writes; see its log and the disk"
            }
            Self::Busy => "a script of somebody else blocks Redis; end it there with SCRIPT KILL",
            Self::Full => {
                "Redis is out of memory: raise maxmemory or lower what else is stored there"
            }
            Self::Refused => "Redis refuses",
        }
    }

    /// What an error of the client library means.
    pub(super) fn of(error: &RedisError) -> Self {
        let text = error.to_string();
        // Redis 6.2 gives errors from within a script as ERR, with the code somewhere in the text.
        let says = |code: &str| error.code() == Some(code) || text.contains(code);
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Auth,
            ErrorKind::Io if is_tls(&text) => Self::Tls,
            _ if error.is_timeout() => Self::Silent,
            ErrorKind::Io | ErrorKind::Client => Self::Away,
            ErrorKind::ClusterConnectionNotFound => Self::Away,
            ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::EmptySentinelList => Self::Away,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::Replica,
            ErrorKind::Server(ServerErrorKind::BusyLoading) => Self::Loading,
            ErrorKind::Server(ServerErrorKind::MasterDown) => Self::MasterDown,
            ErrorKind::Server(
                ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ) => Self::ClusterDown,
            ErrorKind::Server(ServerErrorKind::CrossSlot) => Self::CrossSlot,
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::NotAllowed,
            ErrorKind::Server(_) | ErrorKind::Extension => match () {
                () if says("OOM") => Self::Full,
                () if says("NOREPLICAS") => Self::NoReplicas,
                () if says("MISCONF") => Self::Unsaved,
                () if says("BUSY") || says("UNKILLABLE") => Self::Busy,
                () if says("READONLY") => Self::Replica,
                () if says("NOAUTH") || says("WRONGPASS") => Self::Auth,
                () if says("NOPERM") || text.contains("ACL failure") => Self::NotAllowed,
                // As Redis says it within a script before 7.2.
                () if text.contains("The user executing the script can't") => Self::NotAllowed,
                () if text.contains("max number of clients") => Self::TooManyClients,
                () => Self::Refused,
            },
            _ => Self::Silent,
        }
    }

    /// Whether it is the connection that fails, for every call alike. The others are answers to one call, and
    /// the next one, which may write nothing, can do better.
    pub(super) const fn is_of_connection(self) -> bool {
        match self {
            Self::Away
            | Self::Silent
            | Self::Tls
            | Self::Auth
            | Self::TooManyClients
            | Self::Replica
            | Self::Loading
            | Self::MasterDown
            | Self::ClusterDown
            | Self::Busy => true,
            Self::NotAllowed
            | Self::CrossSlot
            | Self::NoReplicas
            | Self::Unsaved
            | Self::Full
            | Self::Refused => false,
        }
    }

    /// Whether another server, to which the same address leads by now, might not have it. Those after which a connection is dropped
    /// in any case are not among them.
    pub(super) const fn may_be_of_this_server(self) -> bool {
        matches!(
            self,
            Self::NoReplicas | Self::Unsaved | Self::NotAllowed | Self::Busy | Self::Refused
        )
    }

    /// What such an answer says about the script that was to run.
    ///
    /// Redis refuses a script as a whole, or at its first write: after that it lets it go on
    /// (`scriptVerifyWriteCommandAllow` in its `script.c`). Only rights are checked with every command, and other errors
    /// may come from anywhere.
    const fn outcome(self) -> Outcome {
        match self {
            Self::Silent | Self::Away | Self::Tls | Self::NotAllowed | Self::Refused => {
                Outcome::Unknown
            }
            Self::Auth
            | Self::TooManyClients
            | Self::Replica
            | Self::Loading
            | Self::MasterDown
            | Self::ClusterDown
            | Self::CrossSlot
            | Self::NoReplicas
            | Self::Unsaved
            | Self::Busy
            | Self::Full => Outcome::None,
        }
    }
}

fn is_tls(text: &str) -> bool {
    [
        "certificate",
        "Certificate",
        "corrupt message",
        "HandshakeFailure",
        "tls",
        "TLS",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// We do not know. Every one of these is a 503, never an answer about a lease.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Redis is away, or refuses to work.
    #[error("{cause}")]
    Unavailable {
        /// What is known about the operation.
        outcome: Outcome,
        /// What kind of failure it is.
        trouble: Trouble,
        /// For the log, with the next step for an operator where there is one.
        cause: String,
    },
    /// Redis has no memory left for a new lease.
    #[error("{}", Trouble::Full.advice())]
    Full,
    /// Something that only a later version can read. Other nodes may be of one.
    #[error("{0} cannot be read by this version")]
    Newer(String),
    /// Redis lost its data a moment ago, and what was asked about is not there, or was not put back yet.
    #[error("Redis has lost its data, and the pool was not put back yet")]
    Recovering,
    /// A node that is up does not know what was to be written; the text says which, and what to do.
    #[error("{0}")]
    OlderNode(String),
    /// A reply that no script gives.
    #[error("unexpected data in Redis: {0}")]
    Broken(String),
}

impl Error {
    /// Nothing was sent.
    pub(super) fn not_sent(cause: impl Into<String>) -> Self {
        Self::of(Trouble::Away, Outcome::None, cause)
    }

    /// Something was sent, and no answer came.
    pub(super) fn unanswered(cause: impl Into<String>) -> Self {
        Self::of(Trouble::Silent, Outcome::Unknown, cause)
    }

    /// A failure of a kind.
    pub(super) fn of(trouble: Trouble, outcome: Outcome, cause: impl Into<String>) -> Self {
        Self::Unavailable {
            outcome,
            trouble,
            cause: cause.into(),
        }
    }

    /// No connection was made, so nothing was sent.
    pub(super) fn not_connected(error: &RedisError) -> Self {
        let trouble = Trouble::of(error);
        Self::of(
            trouble,
            Outcome::None,
            format!("{} ({error})", trouble.advice()),
        )
    }

    /// The same, where an earlier try, or an earlier part of what was asked, may have run.
    pub fn may_have_run(self) -> Self {
        match self {
            Self::Unavailable { trouble, cause, .. } => Self::of(trouble, Outcome::Unknown, cause),
            error => error,
        }
    }

    /// The same, if a part of what was asked was done before this failed.
    pub fn after_a_part(self, done: bool) -> Self {
        if done { self.may_have_run() } else { self }
    }

    /// What kind of failure it is; nothing for data that cannot be read.
    pub const fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Unavailable { trouble, .. } => Some(*trouble),
            Self::Full => Some(Trouble::Full),
            Self::Newer(_) | Self::Recovering | Self::OlderNode(_) | Self::Broken(_) => None,
        }
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        match Trouble::of(&error) {
            Trouble::Full => Self::Full,
            trouble => Self::of(
                trouble,
                trouble.outcome(),
                format!("{} ({error})", trouble.advice()),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> Error {
        let error = redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
            .and_then(redis::Value::extract_error)
            .expect_err("an error reply");
        error.into()
    }

    #[test]
    fn every_refusal_is_told_apart_and_says_whether_the_script_may_have_run() {
        use Outcome::{None, Unknown};
        for (line, trouble, outcome) in [
            (
                "READONLY You can't write against a read only replica. script: ab, on @user_script:1.",
                Trouble::Replica,
                None,
            ),
            (
                "ERR Error running script (call to f_ab): @user_script:9: -READONLY You can't write",
                Trouble::Replica,
                None,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Trouble::Loading,
                None,
            ),
            (
                "MASTERDOWN Link with MASTER is down",
                Trouble::MasterDown,
                None,
            ),
            (
                "CLUSTERDOWN Hash slot not served",
                Trouble::ClusterDown,
                None,
            ),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                Trouble::ClusterDown,
                None,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                Trouble::NoReplicas,
                None,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                Trouble::Unsaved,
                None,
            ),
            ("BUSY Redis is busy running a script.", Trouble::Busy, None),
            (
                "ERR max number of clients reached",
                Trouble::TooManyClients,
                None,
            ),
            ("NOAUTH Authentication required.", Trouble::Auth, None),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Trouble::Auth,
                None,
            ),
            (
                "NOPERM this user has no permissions to run the 'evalsha' command",
                Trouble::NotAllowed,
                Unknown,
            ),
            (
                "ERR ACL failure in script: this user has no permissions to run the 'xadd' command",
                Trouble::NotAllowed,
                Unknown,
            ),
            (
                "ERR Error running script: @user_script: 1: The user executing the script can't run this command or subcommand",
                Trouble::NotAllowed,
                Unknown,
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Trouble::Refused,
                Unknown,
            ),
        ] {
            match answered(line) {
                Error::Unavailable {
                    outcome: told,
                    trouble: kind,
                    ..
                } => {
                    assert_eq!((kind, told), (trouble, outcome), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(matches!(
            answered("OOM command not allowed when used memory > 'maxmemory'."),
            Error::Full
        ));
    }
}
