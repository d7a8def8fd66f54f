//! The lease and the words it is made of. No HTTP, no Redis.
//!
//! Everything that becomes part of a key or of a script argument is a type here whose only way in is
//! checked, so no later code has to think about braces, control characters or lengths.

mod spelling;
mod text;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize, Serializer};

pub(crate) use self::spelling::check_characters;
pub use self::text::{
    Activities, Activity, Holder, Label, Platform, Recorded, Tenant, recorded, recorded_if_any,
};
use crate::pool::PoolName;

/// What a word of the domain may not be, as a sentence for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// An instant by Redis's clock, in milliseconds since the Unix epoch.
///
/// On the wire it is RFC 3339 in UTC with milliseconds: `2026-11-21T20:00:00.000Z`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds from `earlier` to this instant; zero when it is not later.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0 - earlier.0).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_text() {
            Some(text) => f.write_str(std::str::from_utf8(&text).expect("digits are ASCII")),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl Timestamp {
    /// The text on the wire; `None` before March of the year 0 and after 9999.
    ///
    /// Written by hand because every answer has three of them: chrono's own is slower by a factor of ten. The days are
    /// counted as in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    fn to_text(self) -> Option<[u8; 24]> {
        const DAY_MS: i64 = 86_400_000;
        // Days since 0000-03-01, so that the leap day is the last one of its year.
        let days = u64::try_from(self.0.div_euclid(DAY_MS) + 719_468).ok()?;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        if year > 9_999 {
            return None;
        }
        let ms = self.0.rem_euclid(DAY_MS).cast_unsigned();

        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |end: usize, mut number: u64| {
            for digit in text[..end].iter_mut().rev() {
                if !digit.is_ascii_digit() {
                    break;
                }
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(4, year);
        put(7, month);
        put(10, day);
        put(13, ms / 3_600_000);
        put(16, ms / 60_000 % 60);
        put(19, ms / 1_000 % 60);
        put(23, ms % 1_000);
        Some(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_text() {
            Some(text) => {
                serializer.serialize_str(std::str::from_utf8(&text).expect("digits are ASCII"))
            }
            None => serializer.collect_str(self),
        }
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

/// What kind of seat a lease occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seat {
    /// One of the pool's `capacity`.
    #[default]
    Concurrent,
    /// One that its holder has for the billing period, beside the capacity.
    Named,
    /// One beyond the capacity, lent against the daily budget.
    Overdraft,
}

impl Seat {
    /// The kind that a letter of the scripts stands for.
    pub(crate) fn from_letter(letter: &str) -> Self {
        match letter {
            "n" => Self::Named,
            "o" => Self::Overdraft,
            _ => Self::Concurrent,
        }
    }
}

/// A seat given to a holder until an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Names the lease.
    pub id: LeaseId,
    /// The pool whose seat it is.
    pub pool: PoolName,
    /// Who holds it; none is anonymous.
    pub holder: Option<Holder>,
    /// The sub-account it belongs to.
    pub tenant: Option<Tenant>,
    /// What operators read next to the holder.
    pub label: Option<Label>,
    /// What the holder is working on.
    pub activities: Activities,
    /// What the holder runs on.
    pub platform: Option<Platform>,
    /// The kind of seat.
    pub seat: Seat,
    /// Grows with every grant in the pool, so that a resource can refuse older holders.
    pub fence: u64,
    /// When the seat was granted.
    pub started_at: Timestamp,
    /// When it was last acquired, renewed or resumed.
    pub renewed_at: Timestamp,
    /// When the seat goes back to the pool unless a renew comes first.
    pub expires_at: Timestamp,
    /// Time from the decision to `expires_at`.
    pub expires_in: Duration,
    /// The pool's TTL when this was decided.
    pub ttl: Duration,
}

impl Lease {
    /// When the holder should beat next: a third of what is left, so that two lost beats do not cost the seat.
    pub fn renew_after(&self) -> Duration {
        self.ttl.min(self.expires_in) / 3
    }
}

/// Why a lease ended. Every lease ends exactly once, with one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// Time ended it.
    Expired,
    /// The holder gave the seat back.
    Released,
    /// An operator ended it.
    Terminated {
        /// What the operator wants the holder to read.
        reason: Option<String>,
        /// Until when the holder may not acquire in this pool.
        blocked_until: Option<Timestamp>,
    },
    /// A policy of the pool ended it.
    Evicted,
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeZone as _, Utc};

    use super::*;

    #[test]
    fn an_id_survives_the_way_through_text() {
        let id = LeaseId::random();
        assert_eq!(id.to_string().parse::<LeaseId>(), Ok(id));
        assert_eq!(id.to_string().len(), LeaseId::LEN);
    }

    #[test]
    fn an_instant_reads_as_rfc_3339() {
        assert_eq!(
            Timestamp(1_795_000_000_123).to_string(),
            "2026-11-18T11:06:40.123Z"
        );
        assert_eq!(
            serde_json::to_string(&Timestamp(-1)).unwrap(),
            "\"1969-12-31T23:59:59.999Z\""
        );
        assert_eq!(Timestamp(i64::MAX).to_string(), format!("{}ms", i64::MAX));
    }

    #[test]
    fn every_day_reads_as_chrono_writes_it() {
        // From the first of March of the year 0 to the end of 9999, at an instant of the day that moves.
        for day in -719_468..=2_932_896_i64 {
            let at = Timestamp(day * 86_400_000 + (day * 7_919_333).rem_euclid(86_400_000));
            let chrono: DateTime<Utc> = Utc.timestamp_millis_opt(at.0).unwrap();
            assert_eq!(
                at.to_string(),
                chrono.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
            );
        }
    }
}
