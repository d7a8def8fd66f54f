//! Tables as CSV (RFC 4180), safe to open in a spreadsheet.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, LINK};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use futures_util::StreamExt as _;

use crate::time::Timestamp;

/// One cell: a string that a person wrote is made safe, a number is left as it is.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// Free text.
    Text(String),
    /// What is written as it is, and is never a formula: a word of ours, an id.
    Plain(String),
    /// A number.
    Number(f64),
    /// A day.
    Day(NaiveDate),
    /// A timestamp: in UTC as programs write it, or by the clocks of a zone as spreadsheets read it.
    At(Timestamp, Option<Tz>),
}

impl Cell {
    /// A text, or an empty cell.
    pub(crate) fn text(text: Option<&str>) -> Self {
        Self::Text(text.unwrap_or_default().to_owned())
    }

    /// What is written as it is.
    pub(crate) fn plain(value: &(impl ToString + ?Sized)) -> Self {
        Self::Plain(value.to_string())
    }

    /// A timestamp.
    pub(crate) const fn at(at: Timestamp, zone: Option<Tz>) -> Self {
        Self::At(at, zone)
    }

    /// The same, or an empty cell.
    pub(crate) fn at_if_any(at: Option<Timestamp>, zone: Option<Tz>) -> Self {
        at.map_or(Self::text(None), |at| Self::at(at, zone))
    }

    /// A value as it is written, or an empty cell for what is not known.
    pub(crate) fn known(value: Option<impl ToString>) -> Self {
        Self::Plain(value.map_or_else(String::new, |value| value.to_string()))
    }

    /// A count, or an empty cell for what is not known.
    pub(crate) fn count(value: Option<u64>) -> Self {
        Self::decimal(value.map(|value| value as f64))
    }

    /// A number with decimals, or an empty cell for what is not known.
    pub(crate) fn decimal(value: Option<f64>) -> Self {
        value.map_or(Self::text(None), Self::Number)
    }

    /// What stands in the file.
    fn written(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => unformulated(text),
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Day(day) => Cow::Owned(day.to_string()),
            Self::At(at, None) => Cow::Owned(at.to_string()),
            Self::At(at, Some(zone)) => {
                Cow::Owned(local(*at, *zone).format("%Y-%m-%d %H:%M:%S").to_string())
            }
        }
    }
}

/// A timestamp as the clocks of a zone show it.
pub(crate) fn local(at: Timestamp, zone: Tz) -> NaiveDateTime {
    let utc: DateTime<Utc> = Utc.timestamp_millis_opt(at.0).single().unwrap_or_default();
    utc.with_timezone(&zone).naive_local()
}

/// Writing to a vector fails only where a row has another number of cells than the file has columns.
const FITS: &str = "a row has a cell for each column";

/// A file of this name with these columns and rows.
pub(crate) fn file(
    name: &str,
    columns: &[&str],
    more: impl IntoIterator<Item = Vec<Cell>>,
) -> Response {
    let head = columns.iter().map(|column| Cell::plain(*column)).collect();
    response(name, rows(std::iter::once(head).chain(more)).into())
}

/// The text of some rows.
pub(crate) fn rows(rows: impl IntoIterator<Item = Vec<Cell>>) -> Vec<u8> {
    let mut file = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        for cell in &row {
            file.write_field(&*cell.written()).expect(FITS);
        }
        file.write_record(None::<&[u8]>).expect(FITS);
    }
    file.into_inner().expect(FITS)
}

/// A file of this name with this content.
pub(crate) fn response(name: &str, content: Body) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
    );
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"{name}.csv\"")) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    response
}

/// Says in a header where the next page of a file is, if there is one (RFC 8288): what was asked, with another cursor.
pub(crate) fn with_next(mut file: Response, asked: Option<&str>, cursor: Option<&str>) -> Response {
    let Some(cursor) = cursor else {
        return file;
    };
    let asked = form_urlencoded::parse(asked.unwrap_or_default().as_bytes());
    let next = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(asked.filter(|(name, _)| name != "cursor"))
        .append_pair("cursor", cursor)
        .finish();
    if let Ok(link) = HeaderValue::try_from(format!("<?{next}>; rel=\"next\"")) {
        file.headers_mut().insert(LINK, link);
    }
    file
}

/// What tells a spreadsheet that the file is UTF-8. Programs may not expect it.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A file for a person, who opens it in a spreadsheet. Anything else stays as it is.
pub(crate) fn for_spreadsheets(response: Response) -> Response {
    let is_csv = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/csv"));
    if !is_csv || !response.status().is_success() {
        return response;
    }
    let mut response = response;
    // The router has written the length of the file without the mark.
    response.headers_mut().remove(CONTENT_LENGTH);
    response.map(|body| {
        let mark = Bytes::from_static(BYTE_ORDER_MARK.as_bytes());
        let mark = futures_util::stream::iter([Ok(mark)]);
        Body::from_stream(mark.chain(body.into_data_stream()))
    })
}

/// A spreadsheet runs a string that begins like a formula, so such a string gets an apostrophe in front (OWASP, CSV
/// injection). The signs of East Asian keyboards, which are twice as wide, are the same to some.
fn unformulated(text: &str) -> Cow<'_, str> {
    const SIGNS: [char; 12] = [
        '=', '+', '-', '@', '\t', '\r', '\n', '\0', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ];
    if text.starts_with(SIGNS) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_text_is_never_a_formula_and_never_a_second_cell() {
        let rows = [
            vec![Cell::Text("=1+1".into()), Cell::Plain("-5".into())],
            vec![Cell::Text("a,\"b\"".into()), Cell::text(None)],
            vec![
                Cell::Text("＝1＋1".into()),
                Cell::at(Timestamp(1_795_000_000_000), None),
            ],
            vec![
                Cell::Text("＠sum".into()),
                Cell::at(Timestamp(1_795_000_000_000), Some(Tz::Asia__Kathmandu)),
            ],
        ];
        let response = file("x", &["text", "number"], rows);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "text,number\r\n'=1+1,-5\r\n\"a,\"\"b\"\"\",\r\n'＝1＋1,2026-11-18T11:06:40.000Z\r\n'＠sum,2026-11-18 16:51:40\r\n"
        );
    }
}
