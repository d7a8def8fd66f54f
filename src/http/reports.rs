//! `GET /v1/reports/…`: what happened in all pools that the caller may see, or in some of them, in whole days of a time zone.
//!
//! A sheet is written while it is read, pool after pool, so it costs the node what one pool costs, however long it is. Nothing is cut:
//! an answer that cannot be completed breaks off, which HTTP tells from one that ends.

pub(crate) mod denials;
pub(crate) mod people;
pub(crate) mod summary;
pub(crate) mod tenants;
pub(crate) mod workbook;

use std::io;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use chrono::{Datelike as _, Months, NaiveDate};
use chrono_tz::Tz;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, Stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::access::{EndsWithRight, Operator};
use super::csv::{self, BYTE_ORDER_MARK, Cell};
use super::history::zone;
use super::holders::pools_of;
use super::problem::{Code, Problem};
use super::table::{Asked, Row};
use super::when::When;
use crate::history::slot::Step;
use crate::history::summary::Days;
use crate::history::usage::date;
use crate::names::PoolName;
use crate::time::Timestamp;

use super::accept::Format;

/// Most days of a report: as long as days are kept.
const MAX_DAYS: i64 = 800;
/// Pools that are read at the same time where little is read of each.
const AT_ONCE: usize = 8;
/// Pools whose events are read at the same time: as many as a node reads at once for all reports.
const EVENTS_AT_ONCE: usize = 2;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(summary::report))
        .routes(routes!(tenants::report))
        .routes(routes!(people::report))
        .routes(routes!(denials::report))
        .routes(routes!(workbook::report))
}

/// What is wanted of a report.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportQuery {
    /// A month such as `2026-11`, or `this`, or `last`. This month, without `from` and `to`.
    #[param(example = "2026-11")]
    pub(crate) month: Option<String>,
    /// The first day, in place of a month.
    #[param(value_type = Option<String>, example = "2026-09-01")]
    pub(crate) from: Option<When>,
    /// The day behind the last one; without it today is the last one.
    #[param(value_type = Option<String>, example = "2026-12-01")]
    pub(crate) to: Option<When>,
    /// Time zone of the days, and of the times in a file, by its IANA name; UTC without it.
    pub(crate) tz: Option<String>,
    /// Names of pools, with commas between them; all that the key may see without it.
    #[param(example = "crm,phone")]
    pub(crate) pools: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`. A workbook is always one.
    #[param(inline)]
    pub(crate) format: Option<Format>,
    /// Whether a CSV file begins with a byte order mark, by which spreadsheets know UTF-8.
    pub(crate) bom: Option<bool>,
}

/// The time that a report is about.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Period {
    /// Its begin: a midnight in `tz`.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// Its end: another midnight.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Timestamp,
    /// The time zone.
    #[schema(example = "Europe/Zurich")]
    pub(crate) tz: String,
    /// Whether it is over. Otherwise this is what happened so far.
    pub(crate) is_over: bool,
    /// From when on tenants, people and denials are known: events are kept for 35 days.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) events_from: Timestamp,
    /// Whose days the summary is made of: those of UTC where the period began more than 35 days ago, because hours are not kept for longer.
    #[schema(example = "Europe/Zurich")]
    pub(crate) days_of: String,
}

/// What a report is about, and for whom it is made.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) app: App,
    pub(crate) operator: Operator,
    pub(crate) period: Period,
    pub(crate) days: Days,
    /// When it is made.
    pub(crate) now: Timestamp,
}

/// Rows of a sheet, some at a time.
pub(crate) type Rows<T> = BoxStream<'static, Result<Vec<T>, Problem>>;

/// A kind of row of which reports have a sheet.
pub(crate) trait Sheet: Row + Serialize + Send + Sync {
    /// Its word in the address.
    const WORD: &'static str;
    /// Its name.
    const NAME: &'static str;

    /// The rows of some pools.
    fn rows(report: &Report, pools: Vec<PoolName>) -> Rows<Self>;
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail.into())
}

impl ReportQuery {
    pub(crate) fn zone(&self) -> Result<Tz, Problem> {
        zone(self.tz.as_deref())
    }

    /// The days that are asked for.
    fn days(&self, now: Timestamp) -> Result<Days, Problem> {
        let zone = self.zone()?;
        let today = date(now, zone);
        let at = |name, when: Option<&When>| when.map(|when| when.at(name, zone)).transpose();
        let (from, to) = (at("from", self.from.as_ref())?, at("to", self.to.as_ref())?);
        let (first, last) = match (from, to) {
            (None, None) => month(self.month.as_deref().unwrap_or("this"), today)?,
            _ if self.month.is_some() => {
                return Err(invalid("Name a `month`, or `from` and `to`."));
            }
            (None, Some(_)) => {
                return Err(invalid(
                    "`to` needs `from`: name the first day, or a `month`.",
                ));
            }
            (Some(from), to) => {
                let last = to.map_or(today, |to| date(Timestamp(to.0 - 1), zone));
                (date(from, zone), last)
            }
        };
        if last < first {
            return Err(invalid("`from` comes before `to`."));
        }
        if MAX_DAYS < (last - first).num_days() + 1 {
            return Err(invalid(format!(
                "That is more than {MAX_DAYS} days, which is as long as days are kept."
            )));
        }
        Ok(Days { first, last, zone })
    }

    /// The pools that are asked for.
    fn pools(&self) -> Result<Option<Vec<PoolName>>, Problem> {
        let Some(names) = &self.pools else {
            return Ok(None);
        };
        let names = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let names: Result<Vec<PoolName>, _> = names.map(str::parse).collect();
        let names =
            names.map_err(|wrong| invalid(format!("`pools` has no such name: {wrong}.")))?;
        Ok(Some(names).filter(|names| !names.is_empty()))
    }
}

/// The first and the last day of a month.
fn month(word: &str, today: NaiveDate) -> Result<(NaiveDate, NaiveDate), Problem> {
    let this = first_of(today);
    let first = match word {
        "this" => Some(this),
        "last" => this.checked_sub_months(Months::new(1)),
        word => NaiveDate::parse_from_str(&format!("{word}-01"), "%Y-%m-%d").ok(),
    };
    let first = first.filter(|first| (1970..9_998).contains(&first.year()));
    let first = first.ok_or_else(|| {
        invalid("`month` is a month such as 2026-11, or `this`, or `last`.").with("field", "month")
    })?;
    Ok((first, first + Months::new(1) - chrono::Days::new(1)))
}

/// The first day of the month of a day.
pub(crate) fn first_of(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

impl Report {
    /// What is asked for, and the pools that it is about.
    pub(crate) async fn of(
        app: &App,
        operator: &Operator,
        wanted: &ReportQuery,
    ) -> Result<(Self, Vec<PoolName>), Problem> {
        let pools = pools_of(app, operator, wanted.pools()?).await?;
        let now = app.0.store.now();
        let days = wanted.days(now)?;
        let events_from = now.0 - Step::Hour.kept_ms();
        let report = Self {
            app: app.clone(),
            operator: operator.clone(),
            period: Period {
                from: days.from(),
                until: days.until(),
                tz: days.zone.name().to_owned(),
                is_over: days.until() <= now,
                events_from: days.from().max(Timestamp(events_from)),
                days_of: days.kept(now).zone.name().to_owned(),
            },
            days,
            now,
        };
        Ok((report, pools))
    }

    /// Its time in the name of a file: a month, or the first and the last day.
    pub(crate) fn name(&self) -> String {
        let Days { first, last, .. } = self.days;
        let is_month = month(&first.format("%Y-%m").to_string(), first)
            .is_ok_and(|whole| whole == (first, last));
        if is_month {
            return first.format("%Y-%m").to_string();
        }
        format!("{first}-to-{last}")
    }

    /// Rows that are read pool by pool, of some pools at a time.
    fn by_pool<T, F>(
        &self,
        pools: Vec<PoolName>,
        at_once: usize,
        of_pool: impl Fn(Self, PoolName) -> F + Send + 'static,
    ) -> Rows<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<Vec<T>, Problem>> + Send + 'static,
    {
        let report = self.clone();
        stream::iter(pools)
            .map(move |pool| of_pool(report.clone(), pool))
            .buffered(at_once)
            .boxed()
    }
}

/// A sheet as the caller wants it.
async fn answer<T: Sheet>(
    app: &App,
    operator: &Operator,
    asked: &Asked,
    wanted: &ReportQuery,
) -> Result<Response, Problem> {
    let is_file = asked.wants_file(wanted.format);
    sheet::<T>(app, operator, wanted, is_file).await
}

/// A sheet: a file, or JSON.
pub(crate) async fn sheet<T: Sheet>(
    app: &App,
    operator: &Operator,
    wanted: &ReportQuery,
    is_file: bool,
) -> Result<Response, Problem> {
    let (report, pools) = Report::of(app, operator, wanted).await?;
    let room = app.0.connections.long_lived()?;
    let mut rows = T::rows(&report, pools);
    // What cannot be read at all is a problem, and no answer that breaks off.
    let first = rows.next().await.transpose()?;
    let rows = stream::iter(first.map(Ok)).chain(rows);
    let zone = wanted.tz.as_ref().map(|_| report.days.zone);
    let mut response = if is_file {
        let mark = if wanted.bom == Some(true) {
            BYTE_ORDER_MARK
        } else {
            ""
        };
        let name = format!("leasehold-{}-{}", report.name(), T::WORD);
        csv::response(&name, body(as_csv(rows, mark, zone), room))
    } else {
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (headers, body(as_json(rows, &report.period), room)).into_response()
    };
    response.extensions_mut().insert(EndsWithRight);
    Ok(response)
}

/// A body that keeps its room for as long as it is sent.
fn body<R: Send + 'static>(
    parts: impl Stream<Item = Result<Bytes, Problem>> + Send + 'static,
    room: R,
) -> Body {
    Body::from_stream(parts.map(move |part| {
        let _room = &room;
        part.map_err(|problem| {
            tracing::warn!("a report breaks off: {problem:?}");
            io::Error::other("the report cannot be completed")
        })
    }))
}

fn as_csv<T: Sheet>(
    rows: impl Stream<Item = Result<Vec<T>, Problem>> + Send + 'static,
    mark: &'static str,
    zone: Option<Tz>,
) -> impl Stream<Item = Result<Bytes, Problem>> + Send + 'static {
    let columns = T::COLUMNS.iter().map(|(name, _)| Cell::plain(*name));
    let mut head = mark.as_bytes().to_vec();
    head.extend(csv::rows([columns.collect()]));
    let cells = move |row: &T| T::COLUMNS.iter().map(|(_, cell)| cell(row, zone)).collect();
    let rows = rows.map(move |some| Ok(Bytes::from(csv::rows(some?.iter().map(cells)))));
    stream::iter([Ok(Bytes::from(head))]).chain(rows)
}

fn as_json<T: Sheet>(
    rows: impl Stream<Item = Result<Vec<T>, Problem>> + Send + 'static,
    period: &Period,
) -> impl Stream<Item = Result<Bytes, Problem>> + Send + 'static {
    let mut head = json(period);
    head.pop();
    head.extend(b",\"items\":[");
    let mut is_first = true;
    let rows = rows.map(move |some| {
        let mut text = Vec::new();
        for row in some? {
            if !std::mem::take(&mut is_first) {
                text.push(b',');
            }
            text.extend(json(&row));
        }
        Ok(Bytes::from(text))
    });
    let (head, end) = (Bytes::from(head), Bytes::from_static(b"]}"));
    stream::iter([Ok(head)])
        .chain(rows)
        .chain(stream::iter([Ok(end)]))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers have a JSON form")
}

/// Names the file that an answer is.
fn attached(response: &mut Response, name: &str) {
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
}

/// Milliseconds as hours, to the second or so.
fn hours(ms: u64) -> f64 {
    (ms as f64 / 3_600.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_named_or_follows_from_today() {
        let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap();
        let today = day(2027, 1, 31);
        let whole = |word| month(word, today).ok();
        assert_eq!(whole("this"), Some((day(2027, 1, 1), day(2027, 1, 31))));
        assert_eq!(whole("last"), Some((day(2026, 12, 1), day(2026, 12, 31))));
        assert_eq!(whole("2028-02"), Some((day(2028, 2, 1), day(2028, 2, 29))));
        for wrong in [
            "",
            "2026",
            "2026-13",
            "next",
            "2026-11-01",
            "-1-01",
            "99999-01",
        ] {
            assert_eq!(whole(wrong), None, "{wrong}");
        }
    }
}
