//! Scripts: joined at compile time, called by their hash, decoded by position.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use metrics::{Histogram, histogram};
use redis::{Cmd, RedisResult, ToRedisArgs, Value};

use super::connection::Connection;
use super::error::{Error, Outcome};
use super::keys::Bucket;
use super::script_trace::ScriptStep;
use crate::telemetry;
use crate::time::Timestamp;

/// One file of `lua/`.
pub(super) struct Script {
    name: &'static str,
    source: &'static str,
    sha: String,
    /// How long its calls took, by outcome; each made with the first such call, so that there are no empty series.
    durations: [OnceLock<Histogram>; 3],
}

/// A script of `lua/`, as a transaction, behind the files of `lua/` that it needs.
macro_rules! joined {
    ($name:literal $(, $file:expr)*) => {
        LazyLock::new(|| {
            Script::new(
                $name,
                concat!(
                    include_str!("../../lua/parts/transaction.lua"),
                    $(include_str!(concat!("../../lua/", $file, ".lua")),)*
                    "return transaction(function()\n",
                    include_str!(concat!("../../lua/", $name, ".lua")),
                    "end)\n"
                ),
            )
        })
    };
}

/// A script that belongs to a bucket, with the prelude in front, and behind that the parts that it needs.
macro_rules! script {
    ($name:literal $(, $part:literal)*) => {
        joined!($name, "prelude" $(, concat!("parts/", $part))*)
    };
}

/// A script that belongs to no bucket and needs the time.
macro_rules! timed_script {
    ($name:literal) => {
        joined!($name, "parts/instant")
    };
}

pub(super) static OPEN: LazyLock<Script> = joined!("open");
pub(super) static PUT_KEY: LazyLock<Script> = joined!("put_key");
pub(super) static PUT_WEBHOOK: LazyLock<Script> = joined!("put_webhook");
pub(super) static PUT_BACK_RECORDS: LazyLock<Script> = joined!("put_back_records");
pub(super) static RELAY_ALERTS: LazyLock<Script> = script!("relay_alerts");
pub(super) static CLAIM_DELIVERIES: LazyLock<Script> = script!("claim_deliveries");
pub(super) static FINISH_DELIVERY: LazyLock<Script> = script!("finish_delivery");
pub(super) static ENQUEUE_DELIVERY: LazyLock<Script> = script!("enqueue_delivery");
pub(super) static PROBE: LazyLock<Script> = timed_script!("probe");
pub(super) static SCAN_ALERTS: LazyLock<Script> = script!("scan_alerts", "alerts");
pub(super) static EVALUATE_ALERTS: LazyLock<Script> =
    script!("evaluate_alerts", "schedule", "seats", "alerts");
pub(super) static ACQUIRE: LazyLock<Script> = script!("acquire", "record", "blocks", "newcomer");
pub(super) static ACQUIRE_MANY: LazyLock<Script> =
    script!("acquire_many", "record", "blocks", "newcomer");
pub(super) static ACQUIRE_BY_RULES: LazyLock<Script> = script!(
    "acquire_by_rules",
    "record",
    "schedule",
    "seats",
    "rules",
    "blocks"
);
pub(super) static REINDEX: LazyLock<Script> = script!("reindex", "record", "schedule", "seats");
pub(super) static NAMED: LazyLock<Script> = script!("named", "schedule", "seats", "rules");
pub(super) static BLOCK: LazyLock<Script> = script!("block", "blocks");
pub(super) static BLOCKS: LazyLock<Script> = script!("blocks");
pub(super) static RENEW: LazyLock<Script> = script!("renew", "record");
pub(super) static RESUME: LazyLock<Script> = script!(
    "resume",
    "record",
    "tombstone",
    "schedule",
    "seats",
    "rules",
    "blocks"
);
pub(super) static RELEASE: LazyLock<Script> = script!("release", "tombstone", "schedule", "seats");
pub(super) static LEAVE: LazyLock<Script> = script!("leave", "record");
pub(super) static TERMINATE: LazyLock<Script> = script!(
    "terminate",
    "record",
    "tombstone",
    "schedule",
    "seats",
    "blocks",
    "ends"
);
pub(super) static LEAVE_QUEUE: LazyLock<Script> =
    script!("leave_queue", "schedule", "seats", "rules");
pub(super) static LIST_QUEUE: LazyLock<Script> =
    script!("list_queue", "schedule", "seats", "rules");
pub(super) static LIST: LazyLock<Script> = script!("list");
pub(super) static LEASE: LazyLock<Script> = script!("lease", "schedule");
pub(super) static STATUS: LazyLock<Script> = script!("status", "schedule", "seats", "rules");
pub(super) static PUT_POOL: LazyLock<Script> = script!("put_pool", "schedule", "seats", "ends");
pub(super) static DELETE_POOL: LazyLock<Script> = script!("delete_pool", "alerts", "ends");
pub(super) static TICK: LazyLock<Script> = script!("tick");
pub(super) static POSTPONE: LazyLock<Script> = script!("postpone", "due");
pub(super) static SWEEP: LazyLock<Script> = script!("sweep", "due", "schedule", "seats", "rules");
pub(super) static ROLL_UP: LazyLock<Script> = script!("roll_up");
pub(super) static ROLLUP_STATE: LazyLock<Script> = script!("rollup_state");
pub(super) static CHANGED_POOLS: LazyLock<Script> = script!("changed_pools");
pub(super) static FINALIZE_ENDS: LazyLock<Script> = script!("finalize_ends", "record");

fn all() -> [&'static Script; 37] {
    [
        &OPEN,
        &PUT_KEY,
        &ACQUIRE,
        &ACQUIRE_MANY,
        &ACQUIRE_BY_RULES,
        &REINDEX,
        &NAMED,
        &BLOCK,
        &BLOCKS,
        &RENEW,
        &RESUME,
        &RELEASE,
        &LEAVE,
        &LEAVE_QUEUE,
        &LIST_QUEUE,
        &TERMINATE,
        &LIST,
        &LEASE,
        &STATUS,
        &PUT_POOL,
        &DELETE_POOL,
        &TICK,
        &POSTPONE,
        &SWEEP,
        &FINALIZE_ENDS,
        &ROLL_UP,
        &ROLLUP_STATE,
        &CHANGED_POOLS,
        &SCAN_ALERTS,
        &EVALUATE_ALERTS,
        &PUT_WEBHOOK,
        &PUT_BACK_RECORDS,
        &RELAY_ALERTS,
        &CLAIM_DELIVERIES,
        &FINISH_DELIVERY,
        &ENQUEUE_DELIVERY,
        &PROBE,
    ]
}

/// Compiles all scripts in Redis, so that a broken one stops the start and no call has to send one.
/// In one go, except in a cluster, where a pipeline goes to one server and each of these has to go to all.
pub(super) async fn load_all(connection: &mut Connection, is_cluster: bool) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    for script in all() {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script.source);
        if is_cluster {
            load.exec_async(connection).await?;
        } else {
            pipe.add_command(load).ignore();
        }
    }
    if is_cluster {
        return Ok(());
    }
    pipe.exec_async(connection).await
}

/// Tries whether an acquire could be decided over this connection.
pub(super) async fn try_to_write(bucket: Bucket, connection: &mut Connection) -> RedisResult<()> {
    PROBE
        .call(1)
        .arg(bucket.probe())
        .run(connection)
        .await
        .map(drop)
}

impl Script {
    fn new(name: &'static str, source: &'static str) -> Self {
        Self {
            name,
            source,
            sha: redis::Script::new(source).get_hash().to_owned(),
            durations: Default::default(),
        }
    }

    /// Begins a call with so many keys; first they follow, then the arguments.
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
    pub(super) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.command.arg(arg);
        self
    }

    /// Appends a key or an argument in place.
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

    /// Its first key, which in a cluster says where it runs.
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

/// What a script answered: a word, the number of the call, the instant, then fields.
#[derive(Debug)]
pub(super) struct Reply {
    script: &'static str,
    values: Vec<Value>,
    /// Whether a replica has what was written; none if nobody waited for that.
    pub(super) durable: Option<bool>,
}

impl Reply {
    /// The word that says what happened.
    pub(super) fn status(&self) -> &str {
        self.text(0).unwrap_or("")
    }

    /// What the trail of a request keeps of it.
    pub(super) fn step(&self) -> Result<ScriptStep, Error> {
        Ok(ScriptStep {
            script: self.script,
            seq: self.count(1)?,
            at: self.int(2)?,
            durable: self.durable,
        })
    }

    /// Redis's clock when the script ran.
    pub(super) fn now(&self) -> Result<Timestamp, Error> {
        Ok(Timestamp(self.int(2)?))
    }

    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The fields from a place on, as texts.
    pub(super) fn texts(&self, from: usize) -> Result<Vec<&str>, Error> {
        (from..self.len()).map(|at| self.text(at)).collect()
    }

    /// A field that is a text.
    pub(super) fn text(&self, at: usize) -> Result<&str, Error> {
        match self.values.get(at) {
            Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
            Some(Value::SimpleString(text)) => Some(text.as_str()),
            _ => None,
        }
        .ok_or_else(|| self.unexpected(at))
    }

    /// A field that is a number.
    pub(super) fn int(&self, at: usize) -> Result<i64, Error> {
        if let Some(Value::Int(number)) = self.values.get(at) {
            return Ok(*number);
        }
        self.text(at)?.parse().map_err(|_| self.unexpected(at))
    }

    /// A field that is a number without sign.
    pub(super) fn count(&self, at: usize) -> Result<u64, Error> {
        u64::try_from(self.int(at)?).map_err(|_| self.unexpected(at))
    }

    /// A field that is an instant.
    pub(super) fn instant(&self, at: usize) -> Result<Timestamp, Error> {
        Ok(Timestamp(self.int(at)?))
    }

    /// A field that is a value of a checked type.
    pub(super) fn parse<T: std::str::FromStr>(&self, at: usize) -> Result<T, Error> {
        self.text(at)?.parse().map_err(|_| self.unexpected(at))
    }

    /// A field that is a list of names and values.
    pub(super) fn fields(
        &self,
        at: usize,
    ) -> Result<std::collections::HashMap<String, String>, Error> {
        self.values
            .get(at)
            .and_then(|value| redis::from_redis_value(value.clone()).ok())
            .ok_or_else(|| self.unexpected(at))
    }

    /// A reply that its script's header does not know: a bug, or another program's data.
    pub(super) fn unexpected(&self, at: usize) -> Error {
        Error::Broken(format!(
            "{}.lua answered {:?}, field {at} of {}",
            self.script,
            self.status(),
            self.len()
        ))
    }
}
