//! The strings of a lease: its holder, tenant, label, platform and activities.
//!
//! What comes from outside is checked. What Redis and tokens keep was checked when it came in, perhaps by an earlier
//! version that took more, so it is read as [`Recorded`]: a new check must end no lease that runs.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Invalid;
use super::spelling::{check_name, folded};

/// A text that was taken before, perhaps by the rules of an earlier version. Also for finding what is there already.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recorded<T>(pub T);

/// For a field of a record: `#[serde(deserialize_with = "recorded")]`.
pub fn recorded<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    Recorded<T>: Deserialize<'de>,
{
    Ok(Recorded::deserialize(deserializer)?.0)
}

/// The same for a field that may be left out.
pub fn recorded_if_any<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    Recorded<T>: Deserialize<'de>,
{
    let text = Option::<Recorded<T>>::deserialize(deserializer)?;
    Ok(text.map(|Recorded(text)| text))
}

/// Refuses what no version ever took.
fn check_recorded(noun: &str, text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Invalid(format!(
            "a {noun} is not empty and has no control characters"
        )));
    }
    Ok(())
}

/// Refuses what is too long, or not to be read as it is.
fn check_new(noun: &str, maximum: usize, text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > maximum {
        return Err(Invalid(format!(
            "a {noun} has 1 to {maximum} bytes; leave the field out if you have none"
        )));
    }
    check_name(noun, text)
}

/// Declares how a checked text is read and written. It has a constructor `of`, which checks nothing.
macro_rules! text {
    ($name:ident, $noun:literal, $maximum:literal) => {
        impl $name {
            /// Longest text, in bytes of UTF-8.
            pub const MAX: usize = $maximum;

            /// A text that was taken before.
            pub fn recorded(text: String) -> Result<Self, Invalid> {
                check_recorded($noun, &text)?;
                Ok(Self::of(text))
            }

            /// Refuses a string that earlier versions took and this one does not.
            pub fn check(&self) -> Result<(), Invalid> {
                check_new($noun, Self::MAX, self.as_str())
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                check_new($noun, Self::MAX, &text)?;
                Ok(Self::of(text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::try_from(text).map_err(serde::de::Error::custom)
            }
        }

        impl<'de> Deserialize<'de> for Recorded<$name> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $name::recorded(text)
                    .map(Self)
                    .map_err(serde::de::Error::custom)
            }
        }

        // Not by way of an owned String, which would be a copy with each answer.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.into_text()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Declares a checked text that is nothing but that.
macro_rules! plain_text {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $maximum:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            const fn of(text: String) -> Self {
                Self(text)
            }

            fn into_text(self) -> String {
                self.0
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        text!($name, $noun, $maximum);
    };
}

plain_text!(
    /// A sub-account that shares a pool with others.
    Tenant,
    "tenant",
    64
);
plain_text!(
    /// What operators read next to the holder.
    Label,
    "label",
    128
);
plain_text!(
    /// One thing that the holder is working on.
    Activity,
    "activity",
    128
);
plain_text!(
    /// What the holder runs on, for pools that are licensed for some platforms only.
    Platform,
    "platform",
    32
);

/// Who occupies a seat: an agent, a device, an instance. Opaque; the product chooses it.
///
/// It is shown as it was given. A pool that does not tell spellings apart knows it by another form, its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    given: String,
    /// Only if it is not what was given.
    key: Option<Box<str>>,
}

text!(Holder, "holder", 512);

/// A holder as a segment of an address. `.` and `..` have a blank behind them, which no holder has: clients and browsers take them for
/// steps, however they are encoded, and fold them before they ask.
pub(crate) fn holder_segment(holder: &str) -> String {
    let encoded = utf8_percent_encode(holder, NON_ALPHANUMERIC).to_string();
    match holder {
        "." | ".." => encoded + "%20",
        _ => encoded,
    }
}

impl Holder {
    const fn of(given: String) -> Self {
        Self { given, key: None }
    }

    fn into_text(self) -> String {
        self.given
    }

    /// The holder that was given as `given` and that its pool knows by `key`, both taken before. Either may be empty.
    pub(crate) fn with_key(key: &str, given: &str) -> Option<Self> {
        if given.is_empty() {
            return Self::recorded(key.to_owned()).ok();
        }
        let mut holder = Self::recorded(given.to_owned()).ok()?;
        holder.key = (key != given).then(|| key.into());
        Some(holder)
    }

    /// The same holder in a pool that does not tell spellings apart.
    pub fn folded(mut self) -> Self {
        let key = folded(&self.given);
        // Of nothing but what is not seen, as earlier versions took it, nothing would be left.
        self.key = (!key.is_empty() && key != self.given).then(|| key.into());
        self
    }

    /// As it was given, for people.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// As its pool knows it: what decides whether two are the same.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.given)
    }

    /// As it was given, if its pool knows it by another form; else empty.
    pub(crate) fn given_beside_key(&self) -> &str {
        if self.key.is_some() { &self.given } else { "" }
    }
}

/// What the holder is working on, at most [`Activities::MAX`] entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Activity>")]
pub struct Activities(Vec<Activity>);

impl Activities {
    /// Maximum entries per lease.
    pub const MAX: usize = 32;

    /// Those of a record, which were taken before.
    pub(crate) fn recorded(list: Vec<Recorded<Activity>>) -> Self {
        Self(
            list.into_iter()
                .map(|Recorded(activity)| activity)
                .collect(),
        )
    }

    /// `true` without any entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Activity> {
        self.0.iter()
    }
}

impl Serialize for Activities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl TryFrom<Vec<Activity>> for Activities {
    type Error = Invalid;

    fn try_from(list: Vec<Activity>) -> Result<Self, Invalid> {
        if list.len() > Self::MAX {
            return Err(Invalid(format!(
                "a lease has at most {} activities",
                Self::MAX
            )));
        }
        Ok(Self(list))
    }
}

impl From<Activities> for Vec<Activity> {
    fn from(activities: Activities) -> Self {
        activities.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_could_break_a_log_line_is_refused() {
        assert!(Holder::try_from("a\nb".to_owned()).is_err());
        assert!(Holder::recorded("a\nb".to_owned()).is_err());
        assert!(Holder::try_from(String::new()).is_err());
        assert!(Holder::try_from("x".repeat(513)).is_err());
        assert!(Holder::try_from("agent-7 {ok}".to_owned()).is_ok());
    }

    #[test]
    fn what_was_taken_before_is_read_and_not_taken_anew() {
        let padded = "ann\u{200B} ".to_owned();
        let holder = Holder::recorded(padded.clone()).expect("it was taken");
        assert!(holder.check().is_err());
        assert!(Holder::try_from(padded.clone()).is_err());
        let json = serde_json::to_string(&padded).unwrap();
        assert!(serde_json::from_str::<Holder>(&json).is_err());
        assert_eq!(
            serde_json::from_str::<Recorded<Holder>>(&json).unwrap().0,
            holder
        );
    }

    #[test]
    fn a_folded_holder_is_shown_as_it_was_given() {
        let holder = Holder::try_from("Ann".to_owned()).unwrap().folded();
        assert_eq!((holder.as_str(), holder.key()), ("Ann", "ann"));
        assert_eq!(holder.given_beside_key(), "Ann");
        assert_eq!(Holder::with_key("ann", "Ann"), Some(holder));
        let same = Holder::try_from("ann".to_owned()).unwrap().folded();
        assert_eq!((same.key(), same.given_beside_key()), ("ann", ""));
        assert_eq!(Holder::with_key("ann", ""), Some(same));
        let hidden = Holder::recorded("\u{200B}".to_owned()).unwrap().folded();
        assert_eq!(hidden.key(), "\u{200B}");
    }
}
