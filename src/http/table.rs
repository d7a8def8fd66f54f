//! Tables: what a list route answers, as JSON or as a file of its rows.

use std::convert::Infallible;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use chrono_tz::Tz;
use serde::Serialize;

use super::accept::{self, Format};
use super::csv::{self, Cell};

/// A column of a file: its name, and its cell of a row by the clocks of a zone.
pub(crate) type Column<T> = (&'static str, fn(&T, Option<Tz>) -> Cell);

/// What is in a row of a table.
pub(crate) trait Row: Sized + 'static {
    /// In the order of the file.
    const COLUMNS: &'static [Column<Self>];
}

/// A page of a list.
pub(crate) trait Page: Serialize {
    /// What is in a row.
    type Row: Row;

    /// The rows.
    fn items(&self) -> &[Self::Row];

    /// The cursor of the next page; none at the end.
    fn next_cursor(&self) -> Option<&str>;
}

/// Rows as a file.
pub(crate) fn file<T: Row>(name: &str, items: &[T], zone: Option<Tz>) -> Response {
    let columns: Vec<&str> = T::COLUMNS.iter().map(|(name, _)| *name).collect();
    let rows = items.iter().map(|item| {
        T::COLUMNS
            .iter()
            .map(|(_, cell)| cell(item, zone))
            .collect()
    });
    csv::file(name, &columns, rows)
}

/// How a list was asked for.
pub(crate) struct Asked {
    headers: HeaderMap,
    query: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            headers: parts.headers.clone(),
            query: parts.uri.query().map(str::to_owned),
        })
    }
}

impl Asked {
    /// Whether the caller wants a file. `format` is the parameter of that name.
    pub(crate) fn wants_file(&self, format: Option<Format>) -> bool {
        accept::is_csv(&self.headers, format)
    }

    /// A page as the caller wants it: JSON, or a file with a link to the next page.
    pub(crate) fn answer<L: Page>(
        &self,
        format: Option<Format>,
        name: &str,
        page: &L,
        zone: Option<Tz>,
    ) -> Response {
        if self.wants_file(format) {
            let file = file(name, page.items(), zone);
            return csv::with_next(file, self.query.as_deref(), page.next_cursor());
        }
        Json(page).into_response()
    }
}
