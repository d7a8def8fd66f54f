//! `leasehold report`: what happened in one pool or in all.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use super::remote::Remote;
use super::{Exit, Failure};
use crate::names::PoolName;
use crate::stderr;

/// Default number of rows in a table, and the maximum per page.
const MOST: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Report {
    /// Kind of report
    #[arg(value_enum)]
    what: ReportKind,
    /// Name of the pool; several for summary, tenants, holders and denials, which are about all pools without any
    pool: Vec<PoolName>,
    /// A month such as 2026-11, or this, or last; for summary, tenants, holders and denials
    #[arg(long, conflicts_with_all = ["from", "to"])]
    month: Option<String>,
    /// Start: a day such as 2026-11-28, which starts at midnight in --tz, or a timestamp. Not for usage
    #[arg(long)]
    from: Option<String>,
    /// End: a day or a timestamp. Default: now. Not for usage
    #[arg(long)]
    to: Option<String>,
    /// Write all sheets into an Excel file, which must not be there yet; for summary
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "json", "limit"])]
    xlsx: Option<PathBuf>,
    /// Time zone of days and hours, and of times in --csv, by its IANA name
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// minute, hour or day; for history
    #[arg(long)]
    step: Option<String>,
    /// How many days, today included; for usage
    #[arg(long)]
    days: Option<u32>,
    /// Maximum number of rows, for denials, holders and tenants; by default all with --csv, else 1000
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print CSV, for spreadsheets: UTF-8 with a byte order mark, times as --tz has them
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    remote: Remote,
}

/// The reports. Each is a route of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ReportKind {
    /// What each pool came to in a month or other days: peaks, hours, denials
    Summary,
    /// How full it is and was, by day, with sustained peak and utilisation
    Usage,
    /// What happened, by minute, hour or day
    History,
    /// Denied holders, and how soon each got a seat
    Denials,
    /// Holders, how often and how long each had a seat
    Holders,
    /// What each sub-account used
    Tenants,
    /// The busy hours of the week
    Patterns,
}

impl ReportKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Usage => "usage",
            Self::History => "history",
            Self::Denials => "denials",
            Self::Holders => "holders",
            Self::Tenants => "tenants",
            Self::Patterns => "patterns",
        }
    }

    /// The rows of the table, and its columns.
    const fn table(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Summary => (
                "items",
                &[
                    "pool",
                    "capacity",
                    "peak",
                    "peak_on",
                    "sustained_peak",
                    "mean",
                    "grants",
                    "seat_hours",
                    "full_hours",
                    "denials",
                ],
            ),
            Self::Usage => (
                "daily",
                &[
                    "date",
                    "high_water_mark",
                    "mean",
                    "capacity",
                    "utilisation",
                    "full_ms",
                    "grants",
                    "denials",
                    "raw_denials",
                ],
            ),
            Self::History => (
                "items",
                &[
                    "from",
                    "until",
                    "capacity",
                    "high_water_mark",
                    "mean",
                    "grants",
                    "denials",
                    "raw_denials",
                    "ends",
                    "full_ms",
                    "gap_ms",
                ],
            ),
            Self::Denials => (
                "items",
                &["at", "code", "holder", "tenant", "true_denial", "waited_ms"],
            ),
            Self::Holders => ("items", &["holder", "leases", "held_ms", "last_seen_at"]),
            Self::Tenants => (
                "items",
                &[
                    "tenant",
                    "leases",
                    "held_ms",
                    "peak",
                    "denials",
                    "true_denials",
                ],
            ),
            Self::Patterns => (
                "cells",
                &[
                    "weekday",
                    "hour",
                    "mean",
                    "peak",
                    "utilisation",
                    "full",
                    "denials",
                    "raw_denials",
                ],
            ),
        }
    }

    /// Whether it comes in pages.
    const fn has_pages(self) -> bool {
        matches!(self, Self::Denials | Self::Holders | Self::Tenants)
    }

    /// Its sheet in the reports over many pools, and the columns of that.
    const fn sheet(self) -> Option<(&'static str, &'static [&'static str])> {
        Some(match self {
            Self::Summary => ("summary", self.table().1),
            Self::Tenants => (
                "tenants",
                &[
                    "pool",
                    "tenant",
                    "leases",
                    "hours",
                    "peak",
                    "denials",
                    "true_denials",
                ],
            ),
            Self::Holders => (
                "people",
                &["pool", "holder", "leases", "hours", "last_seen_at"],
            ),
            Self::Denials => (
                "denials",
                &[
                    "pool",
                    "at",
                    "code",
                    "holder",
                    "tenant",
                    "true_denial",
                    "waited_ms",
                ],
            ),
            Self::Usage | Self::History | Self::Patterns => return None,
        })
    }
}

pub(super) fn report(report: &Report) -> Result<Exit, Failure> {
    let Report { what, remote, .. } = report;
    let pool = match (&report.pool[..], what.sheet()) {
        ([pool], _) if *what != ReportKind::Summary && report.month.is_none() => pool,
        (_, Some(sheet)) => return over_pools(report, sheet),
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "the report {} is about one pool, and knows no month: name the pool behind it",
                    what.word()
                ),
            ));
        }
    };
    if report.xlsx.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "--xlsx writes all sheets: say `leasehold report summary --xlsx FILE`",
        ));
    }
    let days = report.days.map(|days| days.to_string());
    let mut wanted = ReportRequest::new(&format!("/v1/pools/{pool}/{}", what.word()));
    wanted
        .add("from", report.from.as_deref())
        .add("to", report.to.as_deref())
        .add("tz", report.tz.as_deref())
        .add("step", report.step.as_deref())
        .add("days", days.as_deref());
    let limit = report
        .limit
        .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if report.csv {
        wanted.add("format", Some("csv"));
        let page = |rows: usize, cursor: Option<&str>| {
            let mut page = wanted.clone();
            if what.has_pages() {
                page.add("limit", Some(&rows.to_string()));
            }
            page.add("cursor", cursor).path()
        };
        return super::print_for_spreadsheets(&remote.file(page, limit)?);
    }
    let (rows, columns) = what.table();
    if what.has_pages() {
        let most = limit.unwrap_or(MOST);
        wanted.add("limit", Some(&most.min(MOST).to_string()));
        let items = remote.list(&wanted.path(), most)?;
        return remote.show(&items, columns, "nothing of that happened");
    }
    let answer = remote.call(Method::GET, &wanted.path(), None, rows)?;
    if remote.json {
        return remote.show_json(&answer);
    }
    let mut rows: Vec<Value> = answer[rows].as_array().cloned().unwrap_or_default();
    for row in &mut rows {
        for name in ["denials", "raw_denials", "ends"] {
            // By reason; a table has room for one word a column.
            if let Some(counts) = row[name].as_object() {
                row[name] = counts
                    .values()
                    .filter_map(Value::as_u64)
                    .sum::<u64>()
                    .into();
            }
        }
    }
    if *what == ReportKind::Patterns {
        rows.retain(|cell| cell["peak"].as_u64().is_some_and(|peak| peak > 0));
    }
    if *what == ReportKind::Usage {
        stderr::say_line(format_args!(
            "{} of {} seats are in use; daily average {}, daily maximum {}, sustained peak {} ({} minutes), {} % used",
            answer["current"],
            answer["capacity"],
            answer["daily_average"],
            answer["daily_max"],
            answer["sustained_peak"]["seats"],
            answer["sustained_peak"]["minutes"],
            percent(&answer["utilisation"]["share"]),
        ));
    }
    let mut columns = columns.to_vec();
    // Only pools whose policy has `idle` tell it.
    if rows.iter().any(|row| row.get("idle_mean").is_some()) {
        columns.push("idle_mean");
    }
    remote.show(&rows, &columns, "nothing happened in this time")
}

/// A sheet about many pools, or a workbook with all sheets.
fn over_pools(report: &Report, (sheet, columns): (&str, &[&str])) -> Result<Exit, Failure> {
    let remote = &report.remote;
    let word = if report.xlsx.is_some() {
        "workbook"
    } else {
        sheet
    };
    let names: Vec<&str> = report.pool.iter().map(PoolName::as_str).collect();
    let names = names.join(",");
    let mut wanted = ReportRequest::new(&format!("/v1/reports/{word}"));
    wanted
        .add("month", report.month.as_deref())
        .add("from", report.from.as_deref())
        .add("to", report.to.as_deref())
        .add("tz", report.tz.as_deref())
        .add("pools", Some(&names[..]).filter(|names| !names.is_empty()));
    if let Some(path) = &report.xlsx {
        return save(path, &remote.long_file(&wanted.path(), XLSX)?);
    }
    if report.csv {
        wanted.add("format", Some("csv"));
        let file = remote.long_file(&wanted.path(), CSV)?;
        return super::print_for_spreadsheets(&String::from_utf8_lossy(&file));
    }
    let file = remote.long_file(&wanted.path(), JSON)?;
    let answer: Value = serde_json::from_slice(&file).map_err(|error| {
        Failure::new(Exit::Error, format!("the report cannot be read: {error}"))
    })?;
    let mut rows: Vec<Value> = answer["items"].as_array().cloned().unwrap_or_default();
    if remote.json {
        return remote.show(&rows, columns, "");
    }
    let over = answer["is_over"] == true;
    stderr::say_line(format_args!(
        "{} to {}, days of {}{}",
        answer["from"].as_str().unwrap_or_default(),
        answer["until"].as_str().unwrap_or_default(),
        answer["tz"].as_str().unwrap_or_default(),
        if over { "" } else { ", so far" },
    ));
    let most = report
        .limit
        .map_or(MOST, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if most < rows.len() {
        stderr::say_line(format_args!(
            "these are {most} of {} rows: say --limit N, or --csv for all",
            rows.len()
        ));
        rows.truncate(most);
    }
    remote.show(&rows, columns, "nothing of that happened")
}

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const CSV: &str = "text/csv";
const JSON: &str = "application/json";

/// Writes a new file. What is there already may be the only one of its kind.
fn save(path: &Path, file: &[u8]) -> Result<Exit, Failure> {
    use std::io::Write as _;
    let written = std::fs::File::create_new(path).and_then(|mut new| new.write_all(file));
    written.map_err(|error| {
        Failure::new(
            Exit::Error,
            format!("{} cannot be written: {error}", path.display()),
        )
    })?;
    stderr::say_line(format_args!("{} is written", path.display()));
    Ok(Exit::Ok)
}

fn percent(share: &Value) -> f64 {
    (share.as_f64().unwrap_or(0.0) * 1_000.0).round() / 10.0
}

/// A path with what is wanted of it.
#[derive(Clone)]
pub(super) struct ReportRequest {
    path: String,
    fields: Vec<(String, String)>,
}

impl ReportRequest {
    pub(super) fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            fields: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.fields.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(super) fn path(&self) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.fields)
            .finish();
        format!("{}?{query}", self.path)
    }
}
