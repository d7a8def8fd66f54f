//! Instants as people and programs write them: a day, a time of the clocks of a zone, or RFC 3339.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use crate::time::Timestamp;

/// A date or an instant. Its meaning depends on the zone, which is a parameter of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct When(String);

impl When {
    /// One that is known to the millisecond.
    pub(crate) fn exactly(at: DateTime<Utc>) -> Self {
        Self(Timestamp(at.timestamp_millis()).to_string())
    }

    /// The instant that the parameter `name` says.
    pub(crate) fn at(&self, name: &str, zone: Tz) -> Result<Timestamp, Problem> {
        at(name, &self.0, zone)
    }
}

/// The instant of the parameter `name`.
pub(crate) fn at(name: &str, text: &str, zone: Tz) -> Result<Timestamp, Problem> {
    // In an address a plus sign that is not written %2B means a blank.
    let repaired = text.replacen(' ', "+", 1);
    let found = read(text, zone).or_else(|| read(&repaired, zone));
    let at = found.ok_or_else(|| {
        Problem::new(
            Code::InvalidRequest,
            format!(
                "`{name}` is no time. Write a day like 2026-11-28, a time like 2026-11-28T08:00, or an instant like \
                 2026-11-28T08:00:00Z or 2026-11-28T08:00:00+01:00."
            ),
        )
        .at_field(name, "This is no time. Write it like 2026-11-28T08:00.")
        .with("field", name)
    })?;
    Ok(Timestamp(at.timestamp_millis()))
}

/// Years that reports are about. Beyond them is no instant that the store could know, and arithmetic with it would overflow.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9_998;

fn read(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    use chrono::Datelike as _;
    let at = match DateTime::parse_from_rfc3339(text) {
        Ok(at) => at.with_timezone(&Utc),
        Err(_) => local(text, zone)?,
    };
    YEARS.contains(&at.year()).then_some(at)
}

/// A time by the clocks of a zone; of a day its start.
fn local(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let time = |form: &str| NaiveDateTime::parse_from_str(text, form).ok();
    let local = time("%Y-%m-%dT%H:%M")
        .or_else(|| time("%Y-%m-%dT%H:%M:%S"))
        .or_else(|| time("%Y-%m-%d %H:%M"))
        .or_else(|| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(day.and_time(NaiveTime::MIN))
        })?;
    // A time that clocks leave out is the one after the change.
    let found = zone.from_local_datetime(&local).earliest().or_else(|| {
        zone.from_local_datetime(&local.checked_add_signed(chrono::TimeDelta::hours(1))?)
            .earliest()
    })?;
    Some(found.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_and_programs_write_them() {
        let zurich: Tz = "Europe/Zurich".parse().unwrap();
        for (text, expected) in [
            ("2026-11-27T08:00:00Z", "2026-11-27T08:00:00Z"),
            ("2026-11-27T08:00:00.250Z", "2026-11-27T08:00:00.250Z"),
            ("2026-11-27T08:00:00+02:00", "2026-11-27T06:00:00Z"),
            // A plus sign that came as a blank.
            ("2026-11-27T08:00:00 02:00", "2026-11-27T06:00:00Z"),
            ("2026-11-27T08:00", "2026-11-27T07:00:00Z"),
            ("2026-11-27 08:00", "2026-11-27T07:00:00Z"),
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            // Left out by the change of clocks.
            ("2026-03-29T02:30", "2026-03-29T01:30:00Z"),
        ] {
            let expected: DateTime<Utc> = expected.parse().unwrap();
            let expected = Timestamp(expected.timestamp_millis());
            assert_eq!(at("from", text, zurich).ok(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-30",
            "+262143-12-31",
            "-262144-01-01T00:00:00Z",
            "9999-12-31",
            "0000-01-01",
            "1795000000",
        ] {
            let refused = at("from", wrong, Tz::UTC).expect_err(wrong);
            let said = format!("{refused:?}");
            assert!(
                said.contains("`from` is no time") && said.contains("2026-11-28"),
                "{said}"
            );
        }
    }
}
