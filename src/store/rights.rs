//! What a node may have to do in Redis: the one list that the check at the start, `leasehold doctor`, the shipped users and
//! the documentation are made of.
//!
//! A right is found by trying. `ACL DRYRUN` is not there before Redis 7, and a user who may ask for its own rights has one too
//! many. Redis looks at rights before it looks at anything else, so a try that cannot work tells as much as one that does.

use std::fmt::Write as _;
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Cmd, IntoConnectionInfo as _, RedisError, RedisResult};
use secrecy::ExposeSecret as _;

use super::connection::Source;
use super::error::{Error, Outcome, Trouble};
use super::{Options, keys};
use crate::config::Durability;
use crate::config::{RedisUrl, Topology};

/// How long the tries, and a subscription, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// When a node needs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    Always,
    /// With `durability = "replicated"`.
    ToWait,
    WithSentinels,
    InCluster,
    /// `leasehold doctor`, the library and nodes of the version before use it where they may.
    Never,
}

/// A command and a harmless call of it; `hash`, `zset`, `stream` and `text` stand for keys that only this uses.
type Right = (Needed, &'static str, &'static [&'static str]);

/// The commands of nodes, by the name that `ACL SETUSER` takes behind a plus. Those of scripts come first.
const COMMANDS: &[Right] = {
    use Needed::{Always, InCluster, Never, ToWait, WithSentinels};
    &[
        (Always, "time", &[]),
        (Always, "hset", &["hash", "a", "1"]),
        (Always, "hsetnx", &["hash", "a", "1"]),
        (Always, "hget", &["hash", "a"]),
        (Always, "hmget", &["hash", "a"]),
        (Always, "hgetall", &["hash"]),
        (Always, "hexists", &["hash", "a"]),
        (Always, "hincrby", &["hash", "a", "1"]),
        (Always, "hlen", &["hash"]),
        (Always, "hdel", &["hash", "b"]),
        (Always, "persist", &["hash"]),
        (Always, "pexpire", &["hash", "1000"]),
        (Always, "pttl", &["hash"]),
        (Always, "exists", &["hash"]),
        (Always, "zadd", &["zset", "1", "a"]),
        (Always, "zrem", &["zset", "b"]),
        (Always, "zscore", &["zset", "a"]),
        (Always, "zmscore", &["zset", "a"]),
        (Always, "zcard", &["zset"]),
        (Always, "zcount", &["zset", "0", "1"]),
        (Always, "zlexcount", &["zset", "-", "+"]),
        (Always, "zrank", &["zset", "a"]),
        (Always, "zrange", &["zset", "0", "0"]),
        (Always, "zrevrange", &["zset", "0", "0"]),
        (Always, "zscan", &["zset", "0"]),
        (Always, "zrangebylex", &["zset", "-", "+"]),
        (Always, "zremrangebylex", &["zset", "[x", "[x"]),
        (Always, "zremrangebyscore", &["zset", "9", "9"]),
        (Always, "zremrangebyrank", &["zset", "9", "9"]),
        (Always, "xadd", &["stream", "*", "a", "1"]),
        (Always, "xdel", &["stream", "1-1"]),
        (Always, "xrange", &["stream", "-", "+"]),
        (Always, "xrevrange", &["stream", "+", "-"]),
        (Always, "xtrim", &["stream", "MAXLEN", "1"]),
        (Always, "set", &["text", "1", "PX", "1000"]),
        (Always, "get", &["text"]),
        (Never, "getex", &["text", "PX", "1000"]),
        (Always, "getdel", &["text"]),
        (Always, "incr", &["text"]),
        (Always, "publish", &["zset", ""]),
        (Always, "unlink", &["hash", "zset", "stream"]),
        (Always, "del", &["text"]),
        (Always, "eval", &["return 1", "0"]),
        (
            Always,
            "evalsha",
            &["0000000000000000000000000000000000000000", "0"],
        ),
        (Always, "script|load", &["return 1"]),
        (Always, "multi", &[]),
        (Always, "exec", &[]),
        (Always, "info", &[]),
        (Always, "ping", &[]),
        (Always, "psubscribe", &[]),
        (ToWait, "wait", &["0", "1"]),
        (WithSentinels, "role", &[]),
        (InCluster, "asking", &[]),
        (InCluster, "cluster|slots", &[]),
        // Without it a node loads all scripts over each new connection.
        (Never, "script|exists", &[]),
        // Without them a new pool takes 4 KB more.
        (Never, "copy", &[]),
        (Never, "rename", &[]),
        // Without it a node hears of all queues.
        (Never, "subscribe", &[]),
        (Never, "unsubscribe", &[]),
        (Never, "cluster|info", &[]),
        (Never, "select", &[]),
        (Never, "auth", &[]),
        (Never, "hello", &[]),
    ]
};

/// What a user lacks.
#[derive(Debug, Default)]
pub(super) struct MissingRights {
    /// It may not run them.
    commands: Vec<&'static str>,
    /// Nobody may: they were renamed, or this server has never had them.
    unknown: Vec<&'static str>,
    keys: bool,
    channels: bool,
    /// What else keeps it from writing.
    pub(super) trouble: Option<RedisError>,
}

impl MissingRights {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.unknown.is_empty() && !self.keys && !self.channels
    }

    /// Whether it may run no scripts, as who only looks.
    pub(super) fn may_run_nothing(&self) -> bool {
        self.commands.contains(&"eval") && self.commands.contains(&"evalsha")
    }

    /// What it lacks, as one sentence has it.
    pub(super) fn named(&self) -> String {
        let commands = self.commands.iter().chain(&self.unknown);
        let mut named: Vec<String> = commands
            .map(|command| command.replace('|', " ").to_uppercase())
            .collect();
        if self.keys {
            named.push(format!("the keys {}", keys::ALL));
        }
        if self.channels {
            named.push(format!("the channels {}", keys::QUEUES));
        }
        named.join(", ")
    }

    /// What to do about it.
    pub(super) fn advice(&self, user: &str) -> String {
        let mut advice = String::new();
        if !(self.commands.is_empty() && !self.keys && !self.channels) {
            write!(advice, "run there: ACL SETUSER {user}").expect("a string takes any text");
            for command in &self.commands {
                write!(advice, " +{command}").expect("a string takes any text");
            }
            if self.keys {
                write!(advice, " ~{}", keys::ALL).expect("a string takes any text");
            }
            if self.channels {
                write!(advice, " &{}", keys::QUEUES).expect("a string takes any text");
            }
            advice.push_str(
                ", and add the same to the ACL file; deploy/redis/leasehold.acl has all that a node needs",
            );
        }
        if !self.unknown.is_empty() {
            if !advice.is_empty() {
                advice.push_str("; ");
            }
            advice.push_str("undo the rename-command of what it does not know");
        }
        advice
    }

    pub(super) fn note_listening(&mut self, refused: Option<RedisError>) {
        if let Some(error) = refused {
            self.note("psubscribe", error);
        }
    }

    fn note(&mut self, command: &'static str, error: RedisError) {
        let text = error.to_string();
        match Trouble::of(&error) {
            Trouble::NotAllowed if self.commands.contains(&command) => {}
            Trouble::NotAllowed if text.contains("permissions to run") => {
                self.commands.push(command);
            }
            Trouble::NotAllowed if text.contains("channel") => self.channels = true,
            Trouble::NotAllowed => self.keys = true,
            _ if text.contains("unknown command") => self.unknown.push(command),
            Trouble::Full | Trouble::Replica | Trouble::Unsaved | Trouble::NoReplicas => {
                self.trouble.get_or_insert(error);
            }
            // What was tried could not work, and was allowed.
            _ => {}
        }
    }
}

/// Refuses to start where a right is missing, and names the rule that grants it. `master` is what an operator calls the server.
pub(super) async fn check(
    source: &Source,
    server: &mut MultiplexedConnection,
    options: &Options,
    master: &str,
) -> Result<(), Error> {
    let mut lacking = of_commands(server, options)
        .await
        .map_err(|error| Error::not_connected(&error))?;
    lacking.note_listening(refused_to_listen(source).await);
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Error::of(
        Trouble::NotAllowed,
        Outcome::None,
        format!(
            "the user {user} may not do all that a node does in Redis ({master}): {}. {}",
            lacking.named(),
            lacking.advice(&user(options)),
            user = user(options),
        ),
    ))
}

/// Tries the commands and the keys. Fails only where the connection does.
pub(super) async fn of_commands(
    server: &mut MultiplexedConnection,
    options: &Options,
) -> RedisResult<MissingRights> {
    let mut names = Vec::new();
    let mut tries = redis::pipe();
    for (needed, name, arguments) in COMMANDS {
        if is_needed(*needed, options) && *name != "psubscribe" {
            names.push(*name);
            tries.add_command(called(name, arguments));
        }
    }
    for key in keys::of_each_kind() {
        names.push("exists");
        tries.cmd("EXISTS").arg(key);
    }
    // It is that of a call, and this is the first of a new connection to a server that may be busy.
    server.set_response_timeout(PATIENCE);
    let answers = server.req_packed_commands(&tries, 0, names.len()).await?;
    let mut lacking = MissingRights::default();
    for (name, answer) in names.iter().zip(answers) {
        if let Err(error) = answer.extract_error() {
            lacking.note(name, error);
        }
    }
    Ok(lacking)
}

/// Why this user may not hear of seats that come free. Any other failure says nothing: hints are tried again for as long as a
/// node runs.
pub(super) async fn refused_to_listen(source: &Source) -> Option<RedisError> {
    let listening = async {
        let mut subscription = source.subscribe().await?;
        subscription.psubscribe(keys::QUEUES).await
    };
    let answer = tokio::time::timeout(PATIENCE, listening).await.ok()?;
    let refused = |error: &RedisError| Trouble::of(error) == Trouble::NotAllowed;
    answer.err().filter(refused)
}

/// Who the nodes are in Redis.
pub(super) fn user(options: &Options) -> String {
    let name = || {
        let url: RedisUrl = options.url.expose_secret().parse().ok()?;
        let url = match url.hosts.first() {
            Some((host, port)) if url.topology != Topology::Single => url.node_url(host, *port),
            _ => url.as_single().clone(),
        };
        let info = url.expose_secret().into_connection_info().ok()?;
        Some(info.redis_settings().username()?.to_owned())
    };
    name().unwrap_or_else(|| "default".to_owned())
}

fn is_needed(needed: Needed, options: &Options) -> bool {
    let url = options.url.expose_secret().parse::<RedisUrl>();
    let topology = url.map_or(Topology::Single, |url| url.topology);
    match needed {
        Needed::Always => true,
        Needed::ToWait => options.durability == Durability::Replicated,
        Needed::WithSentinels => matches!(topology, Topology::Sentinel { .. }),
        Needed::InCluster => topology == Topology::Cluster,
        Needed::Never => false,
    }
}

fn called(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in name.split('|') {
        command.arg(word.to_uppercase());
    }
    for argument in arguments {
        match keys::probe(argument) {
            Some(key) => command.arg(key),
            None => command.arg(argument),
        };
    }
    command
}

#[cfg(test)]
mod tests;
