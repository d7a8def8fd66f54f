//! Scripts: called by their hash. What goes in and what comes back is typed by `build.rs`, from the headers of `lua/`.

mod argument;
mod reply;

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::FutureExt as _;
use metrics::{Histogram, histogram};
use redis::{Cmd, RedisResult, ToRedisArgs};

pub(super) use self::argument::{Argument, Change};
pub(super) use self::reply::{Field, Reply, text};
use super::connection::Connection;
use super::error::{Error, Outcome, Trouble};
use super::keys::Bucket;
use super::scripts;
use crate::telemetry;

/// One file of `lua/`.
pub(super) struct Script {
    name: &'static str,
    source: &'static str,
    sha: String,
    /// How long its calls took, by outcome; each made with the first such call, so that there are no empty series.
    durations: [OnceLock<Histogram>; 3],
}

/// Compiles in Redis those scripts that it does not have, so that a broken one stops the start and no call has to send one. They
/// are loaded once for a server, by whichever node comes first.
/// In one go, except in a cluster, where a pipeline goes to one server and each of these has to go to all.
pub(super) async fn load_missing(connection: &mut Connection, is_cluster: bool) -> RedisResult<()> {
    let scripts = scripts::all();
    let mut exist = redis::cmd("SCRIPT");
    exist.arg("EXISTS");
    for script in &scripts {
        exist.arg(&script.sha);
    }
    let there: Vec<bool> = match exist.query_async(connection).await {
        Ok(there) => there,
        // A user that was made for an earlier version may not ask.
        Err(error) if Trouble::of(&error) == Trouble::NotAllowed => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut pipe = redis::pipe();
    let mut is_empty = true;
    for (place, script) in scripts.into_iter().enumerate() {
        if there.get(place) == Some(&true) {
            continue;
        }
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script.source);
        if is_cluster {
            load.exec_async(connection).await?;
        } else {
            pipe.add_command(load).ignore();
            is_empty = false;
        }
    }
    if is_empty {
        return Ok(());
    }
    pipe.exec_async(connection).await
}

/// The text of a script as Redis gets it, for whoever measures one by itself.
pub fn text_of(name: &str) -> Option<&'static str> {
    scripts::all()
        .into_iter()
        .find(|script| script.name == name)
        .map(|script| script.source)
}

/// Tries whether an acquire could be decided over this connection.
pub(super) async fn try_to_write(bucket: Bucket, connection: &mut Connection) -> RedisResult<()> {
    scripts::Probe { keys: bucket }
        .call()
        .run(connection)
        .await
        .map(drop)
}

impl Script {
    pub(super) fn new(name: &'static str, source: &'static str) -> Self {
        Self {
            name,
            source,
            sha: redis::Script::new(source).get_hash().to_owned(),
            durations: Default::default(),
        }
    }

    /// Begins a call with a number of keys; first they follow, then the arguments.
    pub(super) fn call(&'static self, keys: usize) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha).arg(keys);
        Call {
            script: self,
            command,
        }
    }
}

/// The first key of a command that runs a script; none of any other command.
pub(super) fn first_key(command: &Cmd) -> Option<&[u8]> {
    let mut args = command.args_iter();
    match (args.next(), args.nth(2)) {
        (Some(redis::Arg::Simple(b"EVALSHA" | b"EVAL")), Some(redis::Arg::Simple(key))) => {
            Some(key)
        }
        _ => None,
    }
}

/// A script with its keys and arguments. Sending it twice is harmless: every script is idempotent.
pub(super) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Call {
    /// Appends a key or an argument.
    pub(super) fn push(&mut self, arg: impl ToRedisArgs) {
        self.command.arg(arg);
    }

    /// Runs the script. When Redis has forgotten it, it is sent whole, to the same keys.
    pub(super) async fn run(&self, connection: &mut Connection) -> RedisResult<Reply> {
        let result = self.command.query_async(connection).await;
        let values = match result {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                async { self.whole().query_async(connection).await }
                    .boxed()
                    .await?
            }
            result => result?,
        };
        Ok(Reply {
            script: self.script.name,
            values,
            durable: None,
        })
    }

    /// Notes how long it took, with the wait for a connection, and how it went.
    pub(super) fn took(&self, elapsed: Duration, error: Option<&Error>) {
        let (place, outcome) = match error {
            None => (0, "ok"),
            Some(Error::Unavailable {
                outcome: outcome @ Outcome::Unknown,
                ..
            }) => (1, outcome.as_str()),
            Some(_) => (2, Outcome::None.as_str()),
        };
        let duration = self.script.durations[place].get_or_init(
            || histogram!(telemetry::STORE_DURATION, "script" => self.script.name, "outcome" => outcome),
        );
        duration.record(elapsed.as_secs_f64());
    }

    /// Its first key, which in a cluster decides where it runs.
    pub(super) fn first_key(&self) -> Option<&[u8]> {
        first_key(&self.command)
    }

    /// Whether what it writes is worth a wait for a replica, where that is asked for: a seat that somebody was given, and
    /// an end that must stay one. A lost renewal is made good by the token.
    pub(super) fn is_worth_a_wait(&self) -> bool {
        ["acquire", "release", "terminate", "delete_pool"]
            .iter()
            .any(|word| self.script.name.starts_with(word))
    }

    /// `EVAL` in place of `EVALSHA`, because a cluster routes it by its keys; `SCRIPT LOAD` would go to all.
    fn whole(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.script.source);
        for arg in self.command.args_iter().skip(2) {
            if let redis::Arg::Simple(arg) = arg {
                command.arg(arg);
            }
        }
        command
    }
}

/// What a script is given, and what it answers. Made of the header of the script by `build.rs`.
pub(super) trait Request {
    /// What comes back.
    type Reply;

    /// The call, with keys and arguments in their places.
    fn call(&self) -> Call;

    /// What the script answered.
    fn read(&self, reply: &Reply) -> Result<Self::Reply, Error>;
}
