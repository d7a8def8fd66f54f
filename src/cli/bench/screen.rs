//! How a load is shown: a frame that is drawn over the one before, a line for logs, and the summary.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::super::table::table;
use super::tally::{Moment, Report, Row};
use crate::stderr;

/// A frame: home, the text, and away with what is left of the one before.
pub(super) fn frame(what: &str, length: Duration, moment: &Moment) -> String {
    let mut text = format!(
        "leasehold bench: pool {what}, {} of {}\n\n",
        clock(moment.elapsed),
        clock(length)
    );
    text.push_str(&format!(
        "seats     {} of {} in use\nholders   {} hold one, {} wait for one, {} are away\n\
         requests  {}, {:.1} a second, {} failed\n\n",
        moment.in_use,
        moment.capacity,
        moment.holding,
        moment.waiting,
        moment.away,
        moment.requests,
        moment.per_second,
        moment.failed
    ));
    text.push_str(&rows(&moment.operations));
    text.push_str(&words("answers", &moment.answers));
    text.push_str(&words("failures", &moment.failures));
    text.push_str("\nCtrl-C ends it and gives the seats back.\n");
    let lines: String = text
        .lines()
        .map(|line| format!("{line}\u{1b}[K\n"))
        .collect();
    format!("\u{1b}[H{lines}\u{1b}[J")
}

/// Leaves an empty screen for the summary.
pub(super) fn clear() {
    stderr::say("\u{1b}[H\u{1b}[J");
}

/// One line, for a log.
pub(super) fn line(moment: &Moment) -> String {
    let mut text = format!(
        "{}  {} of {} in use  {} hold, {} wait, {} away  {} requests, {:.1}/s, {} failed",
        clock(moment.elapsed),
        moment.in_use,
        moment.capacity,
        moment.holding,
        moment.waiting,
        moment.away,
        moment.requests,
        moment.per_second,
        moment.failed
    );
    for row in moment.operations.iter().filter(|row| row.per_second > 0.0) {
        write!(
            text,
            "  {} p50 {:.1} p99 {:.1} ms",
            row.operation, row.p50_ms, row.p99_ms
        )
        .expect("a string takes any text");
    }
    text.push('\n');
    text
}

/// The result, for people.
pub(super) fn summary(report: &Report) -> String {
    let mut text = format!(
        "{} holders, {:.1} s on {}: {} requests, {:.1} a second, {} failed\n\
         pool {}: at most {} of {} seats in use\n\n",
        report.holders,
        report.seconds,
        report.server,
        report.requests,
        report.per_second,
        report.failed,
        report.pool,
        report.most_in_use,
        report.capacity
    );
    text.push_str(&rows(&report.operations));
    text.push_str(&words("answers", &report.answers));
    text.push_str(&words("failures", &report.failures));
    text
}

fn rows(rows: &[Row]) -> String {
    let ms = |value: f64| format!("{value:.1} ms");
    let items: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "operation": row.operation,
                "count": row.count,
                "a second": format!("{:.1}", row.per_second),
                "p50": ms(row.p50_ms),
                "p95": ms(row.p95_ms),
                "p99": ms(row.p99_ms),
                "max": ms(row.max_ms),
            })
        })
        .collect();
    table(
        &items,
        &["operation", "count", "a second", "p50", "p95", "p99", "max"],
    )
}

fn words(title: &str, counts: &std::collections::BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let counts: String = counts
        .iter()
        .map(|(word, count)| format!("  {count:>8}  {word}\n"))
        .collect();
    format!("\n{title}\n{counts}")
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_has_hours_only_when_there_are_some() {
        assert_eq!(clock(Duration::from_secs(61)), "01:01");
        assert_eq!(clock(Duration::from_secs(86_400)), "24:00:00");
    }
}
