//! `GET /v1/reports/workbook`: all sheets in one Excel file.
//!
//! A workbook is put together in memory, about 1.3 KiB a row, so one is made at a time, with a maximum of rows. A longer one is refused, and the
//! answer names the way to get it: the sheets one by one have no limit.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use chrono::{NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use futures_util::StreamExt as _;
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};
use tokio::sync::Semaphore;

use super::super::App;
use super::super::access::Operator;
use super::super::csv::{Cell, local};
use super::super::extract::Query;
use super::super::problem::{Code, Problem};
use super::denials::DenialRow;
use super::people::PersonRow;
use super::summary::SummaryRow;
use super::tenants::TenantRow;
use super::{Report, ReportQuery, Sheet, attached, invalid};
use crate::access_key::Role;
use crate::blocking;
use crate::names::PoolName;

/// The media type of a workbook.
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
/// Maximum number of rows, all sheets together.
const MAX_ROWS: usize = 100_000;
/// Widest column, in letters.
const WIDEST: usize = 48;
/// Workbooks that are made at the same time; others wait for them.
static AT_ONCE: Semaphore = Semaphore::const_new(1);

/// Puts all sheets into an Excel file: Summary, Tenants, People, Denials, and About, with the time and the pools.
///
/// A key of the role `reports` gets no People and no Denials. More than 100,000 rows are refused: the sheets one by one have no limit.
#[utoipa::path(
    get, path = "/v1/reports/workbook", operation_id = "report_workbook", tag = "history",
    params(ReportQuery),
    responses(
        (status = 200, description = "The file.", content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        (status = 404, description = "`pool_not_found`"),
    ),
)]
pub(in crate::http) async fn report(
    State(app): State<App>,
    operator: Operator,
    Query(wanted): Query<ReportQuery>,
) -> Result<Response, Problem> {
    workbook(&app, &operator, &wanted).await
}

/// All sheets in one file.
pub(crate) async fn workbook(
    app: &App,
    operator: &Operator,
    wanted: &ReportQuery,
) -> Result<Response, Problem> {
    let (report, pools) = Report::of(app, operator, wanted).await?;
    let _turn = AT_ONCE.acquire().await;
    let mut book = Book::new(report.days.zone);
    book = book.with::<SummaryRow>(&report, &pools).await?;
    book = book.with::<TenantRow>(&report, &pools).await?;
    if operator.caller.role() >= Role::Viewer {
        book = book.with::<PersonRow>(&report, &pools).await?;
        book = book.with::<DenialRow>(&report, &pools).await?;
    }
    let name = format!("leasehold-{}.xlsx", report.name());
    let pools = pools.len();
    let file = blocking::run(move || book.finished(&report, pools)).await;
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(XLSX))];
    let mut response = (headers, file.map_err(|error| broken(&error))?).into_response();
    attached(&mut response, &name);
    Ok(response)
}

fn broken(error: &XlsxError) -> Problem {
    Problem::new(
        Code::Internal,
        "The workbook could not be written. It was logged.",
    )
    .cause(error)
}

/// A workbook in the making.
struct Book {
    book: Workbook,
    zone: Tz,
    /// Rows so far, in all sheets.
    rows: usize,
}

impl Book {
    fn new(zone: Tz) -> Self {
        Self {
            book: Workbook::new(),
            zone,
            rows: 0,
        }
    }

    /// The same with one sheet more.
    async fn with<T: Sheet>(
        mut self,
        report: &Report,
        pools: &[PoolName],
    ) -> Result<Self, Problem> {
        let mut rows = T::rows(report, pools.to_vec());
        let zone = self.zone;
        let mut page = Page::new::<T>().map_err(|error| broken(&error))?;
        while let Some(some) = rows.next().await {
            let some = some?;
            self.rows += some.len();
            if MAX_ROWS < self.rows {
                return Err(invalid(format!(
                    "These are more than {MAX_ROWS} rows, which is too much for one workbook here. Name fewer pools or days, \
                     or take the sheets one by one as CSV, which has no limit."
                )));
            }
            let written = blocking::run(move || {
                for row in &some {
                    let cells = T::COLUMNS.iter().map(|(_, cell)| cell(row, Some(zone)));
                    page.write(cells)?;
                }
                Ok(page)
            });
            page = written.await.map_err(|error| broken(&error))?;
        }
        let sheet = page.finished(T::COLUMNS.len());
        self.book
            .push_worksheet(sheet.map_err(|error| broken(&error))?);
        Ok(self)
    }

    /// The file, with a sheet about the time, the pools and what is not known.
    fn finished(mut self, report: &Report, pools: usize) -> Result<Vec<u8>, XlsxError> {
        let period = &report.period;
        let mut lines = vec![
            ("Begin", Cell::at(period.from, Some(self.zone))),
            ("End", Cell::at(period.until, Some(self.zone))),
            ("Time zone", Cell::plain(&period.tz)),
            ("Made at", Cell::at(report.now, Some(self.zone))),
            ("Pools", Cell::Number(pools as f64)),
        ];
        if !period.is_over {
            lines.push(("So far", Cell::plain("These days are not over.")));
        }
        if period.events_from > period.from {
            lines.push((
                "Tenants, people and denials",
                Cell::plain(&format!(
                    "known from {} on: events are kept for 35 days.",
                    local(period.events_from, self.zone).format("%Y-%m-%d %H:%M")
                )),
            ));
        }
        if period.days_of != period.tz {
            lines.push((
                "Summary",
                Cell::plain("made of days of UTC: hours are kept for 35 days."),
            ));
        }
        let mut page = Page::named("About")?;
        for (name, value) in lines {
            page.write([Cell::plain(name), value].into_iter())?;
        }
        self.book.push_worksheet(page.sheet_with_widths()?);
        self.book.save_to_buffer()
    }
}

/// A sheet in the making.
struct Page {
    sheet: Worksheet,
    /// The row that is written next.
    row: u32,
    /// By column, in letters.
    widths: Vec<usize>,
    day: Format,
    instant: Format,
}

impl Page {
    fn named(name: &str) -> Result<Self, XlsxError> {
        let mut sheet = Worksheet::new();
        sheet.set_name(name)?;
        Ok(Self {
            sheet,
            row: 0,
            widths: Vec::new(),
            day: Format::new().set_num_format("yyyy-mm-dd"),
            instant: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
        })
    }

    /// An empty one with its columns.
    fn new<T: Sheet>() -> Result<Self, XlsxError> {
        let mut page = Self::named(T::NAME)?;
        let bold = Format::new().set_bold();
        for (column, (name, _)) in (0_u16..).zip(T::COLUMNS) {
            let title = title(name);
            page.widen(column, title.chars().count());
            page.sheet
                .write_string_with_format(0, column, title, &bold)?;
        }
        page.row = 1;
        page.sheet.set_freeze_panes(1, 0)?;
        Ok(page)
    }

    fn widen(&mut self, column: u16, letters: usize) {
        let column = usize::from(column);
        if self.widths.len() <= column {
            self.widths.resize(column + 1, 0);
        }
        self.widths[column] = self.widths[column].max(letters.min(WIDEST));
    }

    fn write(&mut self, cells: impl Iterator<Item = Cell>) -> Result<(), XlsxError> {
        for (column, cell) in (0_u16..).zip(cells) {
            let row = self.row;
            let letters = match cell {
                Cell::Text(text) | Cell::Plain(text) if text.is_empty() => 0,
                Cell::Text(text) | Cell::Plain(text) => {
                    let letters = text.chars().count();
                    self.sheet.write_string(row, column, text)?;
                    letters
                }
                Cell::Number(number) => {
                    self.sheet.write_number(row, column, number)?;
                    10
                }
                Cell::Day(day) => {
                    let day = serial(day.and_time(chrono::NaiveTime::MIN));
                    self.sheet
                        .write_number_with_format(row, column, day, &self.day)?;
                    11
                }
                Cell::At(at, zone) => {
                    let at = serial(local(at, zone.unwrap_or(Tz::UTC)));
                    self.sheet
                        .write_number_with_format(row, column, at, &self.instant)?;
                    19
                }
            };
            self.widen(column, letters);
        }
        self.row += 1;
        Ok(())
    }

    fn sheet_with_widths(mut self) -> Result<Worksheet, XlsxError> {
        for (column, letters) in (0_u16..).zip(&self.widths) {
            self.sheet.set_column_width(column, *letters as f64 + 2.0)?;
        }
        Ok(self.sheet)
    }

    fn finished(mut self, columns: usize) -> Result<Worksheet, XlsxError> {
        let last = u16::try_from(columns - 1).unwrap_or(u16::MAX);
        if 1 < self.row {
            self.sheet.autofilter(0, 0, self.row - 1, last)?;
        }
        self.sheet_with_widths()
    }
}

/// The name of a column for people.
pub(crate) fn title(column: &str) -> String {
    let mut letters = column.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect::<String>().replace('_', " ")
}

/// A time as Excel counts it: days since the last day but one of 1899.
fn serial(at: NaiveDateTime) -> f64 {
    let epoch = NaiveDate::from_ymd_opt(1899, 12, 30).expect("a day");
    let since = at - epoch.and_time(chrono::NaiveTime::MIN);
    since.num_milliseconds() as f64 / 86_400_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_excel_counts() {
        let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap();
        let at = day(2026, 11, 30).and_hms_opt(18, 0, 0).unwrap();
        assert!((serial(at) - 46_356.75).abs() < 1e-9);
        assert_eq!(title("first_seen_at"), "First seen at");
    }
}
