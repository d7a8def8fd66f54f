//! Timestamps by Redis's clock, and durations in milliseconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Milliseconds of a duration, as scripts and JSON count them; a longer time than 64 bits hold is cut.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

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

/// Stays at the last timestamp that 64 bits hold.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(millis(duration)))
    }
}

/// Stays at the first timestamp that 64 bits hold.
impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(millis(duration)))
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

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeZone as _, Utc};

    use super::*;

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
