//! Scripts: called by their hash. What goes in and what comes back is typed by `build.rs`, from the headers of `lua/`.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::FutureExt as _;
use metrics::{Histogram, histogram};
use redis::{Cmd, RedisResult, ToRedisArgs, Value};

use super::connection::Connection;
use super::error::{Error, Outcome, Trouble};
use super::keys::Bucket;
use super::script_trace::ScriptStep;
use super::scripts;
use crate::names::{LeaseId, PoolName};
use crate::telemetry;
use crate::time::{Timestamp, millis};

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
        Err(error) if Trouble::of(&error) == Trouble::AddressRefused => Vec::new(),
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

/// What can be an argument of a script. An optional one that is missing is an empty text.
pub(super) trait Argument {
    /// Appends it to a call.
    fn give_to(&self, call: &mut Call);
}

impl Argument for &str {
    fn give_to(&self, call: &mut Call) {
        call.push(*self);
    }
}

impl Argument for i64 {
    fn give_to(&self, call: &mut Call) {
        call.push(*self);
    }
}

impl Argument for u64 {
    fn give_to(&self, call: &mut Call) {
        call.push(*self);
    }
}

impl Argument for bool {
    fn give_to(&self, call: &mut Call) {
        call.push(u8::from(*self));
    }
}

/// In milliseconds.
impl Argument for Duration {
    fn give_to(&self, call: &mut Call) {
        call.push(millis(*self));
    }
}

impl Argument for Timestamp {
    fn give_to(&self, call: &mut Call) {
        call.push(self.0);
    }
}

impl Argument for LeaseId {
    fn give_to(&self, call: &mut Call) {
        call.push(&self.to_text()[..]);
    }
}

impl Argument for &PoolName {
    fn give_to(&self, call: &mut Call) {
        call.push(self.as_str());
    }
}

impl<T: Argument> Argument for Option<T> {
    fn give_to(&self, call: &mut Call) {
        match self {
            Some(value) => value.give_to(call),
            None => call.push(""),
        }
    }
}

/// A new text for something, or none to leave it as it is. Behind `=`, because the new one may be empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a>(pub(super) Option<&'a str>);

impl Argument for Change<'_> {
    fn give_to(&self, call: &mut Call) {
        match self.0 {
            Some(text) => call.push(format!("={text}")),
            None => call.push(""),
        }
    }
}

/// What can be a field of a reply.
pub(super) trait Field: Sized {
    /// The field that this value is, if it is one.
    fn read(value: &Value) -> Option<Self>;
}

/// A value that is a string.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text.as_str()),
        _ => None,
    }
}

impl Field for String {
    fn read(value: &Value) -> Option<Self> {
        text(value).map(str::to_owned)
    }
}

impl Field for i64 {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(*number),
            value => text(value)?.parse().ok(),
        }
    }
}

impl Field for u64 {
    fn read(value: &Value) -> Option<Self> {
        Self::try_from(i64::read(value)?).ok()
    }
}

impl Field for bool {
    fn read(value: &Value) -> Option<Self> {
        Some(i64::read(value)? != 0)
    }
}

/// In milliseconds.
impl Field for Duration {
    fn read(value: &Value) -> Option<Self> {
        u64::read(value).map(Self::from_millis)
    }
}

impl Field for Timestamp {
    fn read(value: &Value) -> Option<Self> {
        i64::read(value).map(Self)
    }
}

impl Field for LeaseId {
    fn read(value: &Value) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl Field for PoolName {
    fn read(value: &Value) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl<T: Field> Field for Option<T> {
    fn read(value: &Value) -> Option<Self> {
        match text(value) {
            Some("") => Some(None),
            _ => T::read(value).map(Some),
        }
    }
}

/// What a reply says of each of some things, behind its fields.
pub(super) struct Rows<'a> {
    reply: &'a Reply,
    at: usize,
}

impl Rows<'_> {
    /// The next `count` rows, or all that are left, each of `columns` values. None where the reply ends before them.
    pub(super) fn take<T>(
        &mut self,
        count: Option<usize>,
        columns: usize,
        read: impl Fn(usize) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let left = self.reply.len().saturating_sub(self.at);
        let count = match count {
            _ if left == 0 => 0,
            Some(count) => count,
            None => left / columns,
        };
        let from = self.at;
        self.at += count * columns;
        (0..count).map(|row| read(from + row * columns)).collect()
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
    /// The first field: what happened.
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

    /// A field, as what it is to be.
    pub(super) fn value<T: Field>(&self, at: usize) -> Result<T, Error> {
        let value = self.values.get(at).and_then(T::read);
        value.ok_or_else(|| self.unexpected(at))
    }

    /// What is behind the fields before `at`.
    pub(super) fn rows(&self, at: usize) -> Rows<'_> {
        Rows { reply: self, at }
    }

    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// A field that is a string.
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
