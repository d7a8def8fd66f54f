//! Checked names, ids and strings. No HTTP, no Redis.
//!
//! Everything that becomes part of a key or of a script argument is a type here whose only way in is
//! checked, so no later code has to think about braces, control characters or lengths.

mod spelling;
mod text;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize, Serializer};

pub(crate) use self::spelling::{check_characters, check_sentence, shown, shown_lines};
pub(crate) use self::text::holder_segment;
pub use self::text::{
    Activities, Activity, Holder, Label, Platform, Recorded, Tenant, recorded, recorded_if_any,
};

/// What a word of the domain may not be, as a sentence for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    /// The field that it is about: sentences about a policy begin with it.
    pub fn field(&self) -> Option<&str> {
        let word = self.0.split(' ').next()?;
        let is_field = word.bytes().all(|letter| {
            letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"_.[]".contains(&letter)
        });
        is_field.then_some(word)
    }
}

/// Name of a pool: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`.
///
/// It becomes part of a Redis key, so it is checked where it enters and never again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct PoolName(String);

impl PoolName {
    /// Maximum length, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses what a new pool cannot be called: in an address `.` and `..` are steps, and most clients take them before
    /// they ask. A pool that an earlier version took by such a name can still be read and deleted.
    pub fn check(&self) -> Result<(), Invalid> {
        if matches!(self.as_str(), "." | "..") {
            return Err(Invalid(
                "a pool is not called . or .., because addresses take these for steps".into(),
            ));
        }
        Ok(())
    }
}

impl TryFrom<String> for PoolName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        let fits = (1..=Self::MAX_LEN).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !fits {
            return Err(Invalid(
                "a pool name has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'".into(),
            ));
        }
        Ok(Self(name))
    }
}

impl std::str::FromStr for PoolName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::try_from(name.to_owned())
    }
}

// Not by way of an owned String, which would be a copy with each answer.
impl Serialize for PoolName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl From<PoolName> for String {
    fn from(name: PoolName) -> Self {
        name.0
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells the keys of one installation from those of others in the same Redis. Empty is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// Most characters: it is in every key, and a lease has several.
    const MAX: usize = 32;

    /// The prefix itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `true` for the empty prefix.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for KeyPrefix {
    type Err = Invalid;

    /// Neither braces, which choose the slot, nor a colon or the name of a version, with which the keys and patterns of one prefix could be
    /// among those of another one.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_known = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if !text.chars().all(is_known) {
            return Err(Invalid(
                "has other characters than letters, digits, - _ and .".into(),
            ));
        }
        if text.len() > Self::MAX {
            return Err(Invalid(format!("is longer than {} characters", Self::MAX)));
        }
        let version = text.strip_prefix("lh");
        if version.is_some_and(|version| version.chars().all(|letter| letter.is_ascii_digit())) {
            return Err(Invalid("is the name of a version of the format".into()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Names one lease: 128 random bits, 22 characters of base64url. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId([u8; 16]);

impl LeaseId {
    /// Characters of an id in text.
    pub const LEN: usize = 22;

    /// A new id from the operating system's randomness.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The id with these bits.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bits of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl LeaseId {
    /// The id in text, without an allocation.
    pub(crate) fn to_text(self) -> [u8; Self::LEN] {
        let mut text = [0; Self::LEN];
        URL_SAFE_NO_PAD
            .encode_slice(self.0, &mut text)
            .expect("16 bytes are 22 characters");
        text
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for LeaseId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut bytes = [0; 16];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(16) if text.len() == Self::LEN => Ok(Self(bytes)),
            _ => Err(Invalid(
                "a lease id has 22 characters of A-Z, a-z, 0-9, - and _".into(),
            )),
        }
    }
}

impl Serialize for LeaseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.to_text()).expect("base64 is ASCII"))
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_way_through_text() {
        let id = LeaseId::random();
        assert_eq!(id.to_string().parse::<LeaseId>(), Ok(id));
        assert_eq!(id.to_string().len(), LeaseId::LEN);
    }
}
