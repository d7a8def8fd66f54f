//! The header `Accept`: in which form an answer is wanted (RFC 9110, section 12.5.1).
//!
//! Parameters of a range other than `q` only make it more specific: who writes `application/json; charset=utf-8` means
//! JSON. A caller who accepts nothing of what there is gets the first form, as the RFC allows: JSON that can be read beats a
//! refusal.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use mediatype::names::{_STAR, Q};
use mediatype::{MediaType, MediaTypeList, ReadParams as _};
use serde::Deserialize;
use utoipa::ToSchema;

/// JSON.
pub(crate) const JSON: &str = "application/json";
/// Tables as text (RFC 4180).
pub(crate) const CSV: &str = "text/csv";
/// An object on each line (<https://jsonlines.org>), for log shippers.
pub(crate) const JSON_LINES: &str = "application/jsonl";
/// Pages for people.
pub(crate) const HTML: &str = "text/html";

/// The form of a list or a report, named in the address, where a link can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Everything.
    Json,
    /// The rows, for spreadsheets.
    Csv,
}

/// Whether the caller asks for CSV: in the address, or else by `Accept`, where JSON wins if it is as good.
pub(crate) fn is_csv(headers: &HeaderMap, format: Option<Format>) -> bool {
    match format {
        Some(format) => format == Format::Csv,
        None => best(headers, &[JSON, CSV]) == CSV,
    }
}

/// The media type that the caller accepts best; the first of those that are as good, or if none is acceptable.
pub(crate) fn best<'a>(headers: &HeaderMap, offered: &[&'a str]) -> &'a str {
    let ranges: Vec<Range<'_>> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(MediaTypeList::new)
        .filter_map(|range| Range::of(&range.ok()?))
        .collect();
    let (mut best, mut highest) = (offered[0], 0);
    for media_type in offered {
        let quality = quality(&ranges, media_type);
        if highest < quality {
            (best, highest) = (media_type, quality);
        }
    }
    best
}

/// The quality of a media type in thousandths: that of the most specific range that matches it.
fn quality(ranges: &[Range<'_>], media_type: &str) -> u16 {
    let media_type = MediaType::parse(media_type).expect("one of our own media types");
    let matching = ranges.iter().filter(|range| range.matches(&media_type));
    matching
        .max_by_key(|range| (range.specificity, range.quality))
        .map_or(0, |range| range.quality)
}

/// One element of the header.
struct Range<'a> {
    media_type: MediaType<'a>,
    /// 0 for `*/*`, 1 for `text/*`, 2 for a whole media type, and more for each parameter.
    specificity: usize,
    /// In thousandths; no more digits are possible.
    quality: u16,
}

impl<'a> Range<'a> {
    /// None for an element that is no range: it accepts nothing, and spoils no other.
    fn of(media_type: &MediaType<'a>) -> Option<Self> {
        let quality = match media_type.get_param(Q) {
            Some(quality) => thousandths(quality.as_str())?,
            None => 1_000,
        };
        let parameters = media_type.params().filter(|(name, _)| *name != Q).count();
        let specificity = match (media_type.ty == _STAR, media_type.subty == _STAR) {
            (true, true) => 0,
            (true, false) => return None,
            (false, true) => 1,
            (false, false) => 2 + parameters,
        };
        Some(Self {
            media_type: media_type.clone(),
            specificity,
            quality,
        })
    }

    fn matches(&self, media_type: &MediaType<'_>) -> bool {
        let range = &self.media_type;
        let is_whole = range.subty == media_type.subty && range.suffix == media_type.suffix;
        range.ty == _STAR || range.ty == media_type.ty && (range.subty == _STAR || is_whole)
    }
}

/// A weight: 0 to 1 with at most three digits.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, digits) = weight.split_once('.').unwrap_or((weight, ""));
    if digits.len() > 3 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{digits:0<3}").parse().ok()?;
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn chosen(accept: &[&'static str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        best(&headers, &[JSON, CSV])
    }

    #[test]
    fn json_wins_where_it_is_as_good() {
        for accept in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/csv, */*"],
            &["text/csv, application/json"],
            &["application/json, application/problem+json, text/csv"],
            &["application/*;q=0.5, text/*;q=0.5"],
            &["text/csv", "application/json"],
        ] {
            assert_eq!(chosen(accept), JSON, "{accept:?}");
        }
    }

    #[test]
    fn the_higher_weight_wins_in_whatever_order() {
        for accept in [
            "text/csv",
            "TEXT/CSV",
            "text/*",
            "text/csv; q=1, application/json; q=0.999",
            "application/json;q=0.1,text/csv;q=0.2",
            "*/*;q=0.1, text/csv",
            "application/json;q=0, */*",
            "text/csv; header=present, application/json;q=0.9",
        ] {
            assert_eq!(chosen(&[accept]), CSV, "{accept}");
        }
        for accept in [
            "text/csv;q=0.1, application/json",
            "text/csv;q=0.5, */*",
            "text/csv;Q=0.5, application/json;Q=0.6",
        ] {
            assert_eq!(chosen(&[accept]), JSON, "{accept}");
        }
    }

    #[test]
    fn the_most_specific_range_counts_and_not_the_kindest() {
        assert_eq!(
            chosen(&["text/*, text/csv;q=0, application/json;q=0.1"]),
            JSON
        );
        assert_eq!(chosen(&["*/*, application/json;q=0.5"]), CSV);
        assert_eq!(
            chosen(&["text/csv;q=0.9, text/csv;header=absent;q=0.1, */*;q=0.5"]),
            JSON
        );
    }

    #[test]
    fn who_accepts_nothing_that_there_is_gets_json_and_nonsense_spoils_nothing() {
        for accept in [
            "image/png",
            "text/csv;q=0",
            "text/csv;q=2",
            "text/csv;q=0.0001",
            "csv",
        ] {
            assert_eq!(chosen(&[accept]), JSON, "{accept}");
        }
        assert_eq!(chosen(&[", csv, */json, text/csv"]), CSV);
        assert_eq!(
            chosen(&["image/x;a=\"b, application/json\", text/csv"]),
            CSV
        );
    }

    #[test]
    fn a_suffix_is_another_type() {
        assert_eq!(chosen(&["application/vnd.api+json, text/csv"]), CSV);
    }
}
