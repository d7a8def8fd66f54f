//! Quantities as people write them: durations with a unit, whole numbers with marks between thousands, prices with a point or a comma.

use crate::http::problem::{Code, Problem};

fn invalid(field: &str, message: String) -> Problem {
    Problem::new(Code::InvalidRequest, message.clone()).at_field(field, message)
}

/// A duration with its unit, in milliseconds.
pub(super) fn duration_ms(field: &str, text: &str) -> Result<u64, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid(
            field,
            "Write how long, such as 45 s, 10 min or 2 h.".to_owned(),
        ));
    }
    if text == "0" {
        return Ok(0);
    }
    if text.bytes().all(|letter| letter.is_ascii_digit()) {
        return Err(invalid(
            field,
            format!("{text} what? Write {text} s or {text} min."),
        ));
    }
    let duration = humantime::parse_duration(text).ok();
    let ms = duration.and_then(|duration| u64::try_from(duration.as_millis()).ok());
    ms.ok_or_else(|| {
        invalid(
            field,
            "This is not a duration. Write a whole number and a unit, such as 45 s, 10 min or 1 h 30 min.".to_owned(),
        )
    })
}

/// A duration in one unit if that is easy to read, as in 60 s or 10 min; else in several. [`duration_ms`] reads it.
pub(super) fn duration(ms: u64) -> String {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("min", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    if ms == 0 {
        return "0 s".to_owned();
    }
    let easy = UNITS.iter().rev().find(|(unit, length)| {
        let is_last = *unit == "d";
        ms.is_multiple_of(*length) && (ms / length <= 90 || is_last)
    });
    if let Some((unit, length)) = easy {
        return format!("{} {unit}", ms / length);
    }
    let (mut left, mut parts) = (ms, Vec::new());
    for (unit, length) in UNITS {
        if left >= length {
            parts.push(format!("{} {unit}", left / length));
            left %= length;
        }
    }
    parts.join(" ")
}

/// What may stand between thousands.
const MARKS: [char; 6] = [' ', '\u{a0}', '\u{202f}', '\u{2009}', '\'', '’'];

/// A whole number.
pub(super) fn whole(field: &str, text: &str) -> Result<u64, Problem> {
    let plain: String = text.trim().replace(MARKS, "");
    let grouped = |mark: char| {
        let mut groups = plain.split(mark);
        let first = groups.next().unwrap_or_default();
        let is_grouped = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
        is_grouped.then(|| plain.replace(mark, ""))
    };
    let digits = [',', '.']
        .into_iter()
        .find(|mark| plain.contains(*mark))
        .map_or_else(|| Some(plain.clone()), grouped);
    digits
        .filter(|digits| digits.bytes().all(|letter| letter.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| {
            invalid(
                field,
                "This is not a whole number. Write digits, such as 40 or 1 000.".to_owned(),
            )
        })
}

/// A price: the last point or comma is the decimal mark if one or two digits follow.
pub(super) fn price(field: &str, text: &str) -> Result<f64, Problem> {
    let plain: String = text.trim().replace(MARKS, "");
    let (units, cents) = match plain.rsplit_once([',', '.']) {
        Some((units, cents)) if (1..=2).contains(&cents.len()) => (units, cents),
        Some((_, cents)) if cents.len() == 3 && plain.matches([',', '.']).count() == 1 => {
            return Err(invalid(
                field,
                format!(
                    "Is this {} or {}? Write it without a mark between thousands, or with two decimals.",
                    plain.replace([',', '.'], ""),
                    plain.replace(',', ".")
                ),
            ));
        }
        _ => (plain.as_str(), ""),
    };
    let units = units.replace([',', '.'], "");
    let is_number = |text: &str| text.bytes().all(|letter| letter.is_ascii_digit());
    let is_price =
        !units.is_empty() && is_number(&units) && is_number(cents) && !plain.ends_with([',', '.']);
    format!("{units}.{cents}0")
        .parse()
        .ok()
        .filter(|_| is_price)
        .ok_or_else(|| invalid(field, "This is not a price. Write it as 18.50.".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_shown() {
        for (text, ms) in [
            ("60 s", 60_000),
            ("10 min", 600_000),
            ("1 h", 3_600_000),
            ("90 s", 90_000),
            ("1 d", 86_400_000),
            ("1500 ms", 1_500),
            ("0 s", 0),
        ] {
            assert_eq!(duration_ms("x", text).unwrap(), ms, "{text}");
            assert_eq!(duration_ms("x", &duration(ms)).unwrap(), ms, "{text}");
        }
        assert_eq!(
            [60_000, 600_000, 90_000, 0, 5_400_000, 7_200_000, 1_500].map(duration),
            [
                "60 s",
                "10 min",
                "90 s",
                "0 s",
                "90 min",
                "2 h",
                "1 s 500 ms"
            ]
        );
        assert_eq!(duration_ms("x", "1h 30min").unwrap(), 5_400_000);
        for wrong in ["", "90", "soon", "1,5 min", "-5 s"] {
            let problem = duration_ms("ttl_ms", wrong).unwrap_err();
            assert_eq!(problem.errors()[0].field, "ttl_ms", "{wrong}");
        }
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, number) in [
            ("40", 40),
            (" 1 000 ", 1_000),
            ("1\u{202f}000\u{202f}000", 1_000_000),
            ("1'000", 1_000),
            ("1,000", 1_000),
            ("1.000.000", 1_000_000),
        ] {
            assert_eq!(whole("x", text).unwrap(), number, "{text}");
        }
        for wrong in ["", "1,5", "1.00", "-1", "ten", "1,0000", "1e3"] {
            assert!(whole("x", wrong).is_err(), "{wrong}");
        }
        for (text, number) in [
            ("18,50", 18.5),
            ("18.5", 18.5),
            ("1'234.50", 1_234.5),
            ("1.234,50", 1_234.5),
            ("35", 35.0),
            ("0", 0.0),
        ] {
            let read = price("x", text).unwrap();
            assert!((read - number).abs() < 1e-9, "{text}: {read}");
        }
        for wrong in ["", "1.234", "free", "-1", ".", "1,2,"] {
            assert!(price("x", wrong).is_err(), "{wrong}");
        }
    }
}
