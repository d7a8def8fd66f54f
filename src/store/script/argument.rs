//! What goes into a script: each type as Redis takes it.

use std::time::Duration;

use super::Call;
use crate::names::{LeaseId, PoolName};
use crate::time::{Timestamp, millis};

/// What can be an argument of a script. An optional one that is missing is an empty text.
pub(in crate::store) trait Argument {
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
pub(in crate::store) struct Change<'a>(pub(in crate::store) Option<&'a str>);

impl Argument for Change<'_> {
    fn give_to(&self, call: &mut Call) {
        match self.0 {
            Some(text) => call.push(format!("={text}")),
            None => call.push(""),
        }
    }
}
