//! What comes back from a script: a status and fields, read by type.

use std::time::Duration;

use redis::Value;

use crate::names::{LeaseId, PoolName};
use crate::store::error::Error;
use crate::store::script_trace::ScriptStep;
use crate::time::Timestamp;

/// What can be a field of a reply.
pub(in crate::store) trait Field: Sized {
    /// The field that this value is, if it is one.
    fn read(value: &Value) -> Option<Self>;
}

/// A value that is a string.
pub(in crate::store) fn text(value: &Value) -> Option<&str> {
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
pub(in crate::store) struct Rows<'a> {
    reply: &'a Reply,
    at: usize,
}

impl Rows<'_> {
    /// The next `count` rows, or all that are left, each of `columns` values. None where the reply ends before them.
    pub(in crate::store) fn take<T>(
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
pub(in crate::store) struct Reply {
    pub(super) script: &'static str,
    pub(super) values: Vec<Value>,
    /// Whether a replica has what was written; none if nobody waited for that.
    pub(in crate::store) durable: Option<bool>,
}

impl Reply {
    /// The first field: what happened.
    pub(in crate::store) fn status(&self) -> &str {
        self.text(0).unwrap_or("")
    }

    /// What the trail of a request keeps of it.
    pub(in crate::store) fn step(&self) -> Result<ScriptStep, Error> {
        Ok(ScriptStep {
            script: self.script,
            seq: self.count(1)?,
            at: self.int(2)?,
            durable: self.durable,
        })
    }

    /// Redis's clock when the script ran.
    pub(in crate::store) fn now(&self) -> Result<Timestamp, Error> {
        Ok(Timestamp(self.int(2)?))
    }

    /// A field, as what it is to be.
    pub(in crate::store) fn value<T: Field>(&self, at: usize) -> Result<T, Error> {
        let value = self.values.get(at).and_then(T::read);
        value.ok_or_else(|| self.unexpected(at))
    }

    /// What is behind the fields before `at`.
    pub(in crate::store) fn rows(&self, at: usize) -> Rows<'_> {
        Rows { reply: self, at }
    }

    /// How many fields there are.
    pub(in crate::store) fn len(&self) -> usize {
        self.values.len()
    }

    /// A field that is a string.
    pub(in crate::store) fn text(&self, at: usize) -> Result<&str, Error> {
        match self.values.get(at) {
            Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
            Some(Value::SimpleString(text)) => Some(text.as_str()),
            _ => None,
        }
        .ok_or_else(|| self.unexpected(at))
    }

    /// A field that is a number.
    pub(in crate::store) fn int(&self, at: usize) -> Result<i64, Error> {
        if let Some(Value::Int(number)) = self.values.get(at) {
            return Ok(*number);
        }
        self.text(at)?.parse().map_err(|_| self.unexpected(at))
    }

    /// A field that is a number without sign.
    pub(in crate::store) fn count(&self, at: usize) -> Result<u64, Error> {
        u64::try_from(self.int(at)?).map_err(|_| self.unexpected(at))
    }

    /// A reply that its script's header does not know: a bug, or another program's data.
    pub(in crate::store) fn unexpected(&self, at: usize) -> Error {
        Error::Broken(format!(
            "{}.lua answered {:?}, field {at} of {}",
            self.script,
            self.status(),
            self.len()
        ))
    }
}
