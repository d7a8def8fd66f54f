//! What was measured, as a table and as the measured part of `docs/performance.md`.

use std::fmt::Write as _;
use std::path::Path;

/// The measured part stands between these lines; what is around it is written by people and kept.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// One line of the table.
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// The figure, with its unit.
    pub(crate) figure: String,
    /// What must be reached; empty for a figure that others are compared with.
    pub(crate) goal: String,
    /// Whether it was; nothing where there is no goal.
    pub(crate) reached: Option<bool>,
    /// How it was measured.
    pub(crate) command: String,
}

/// The middle of what several rounds gave.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The median of what each round says about two figures; rounds drift, ratios less.
pub(crate) fn ratio(over: &[f64], under: &[f64]) -> f64 {
    let ratios: Vec<f64> = over.iter().zip(under).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// A number with its thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The table in Markdown.
pub(crate) fn render(machine: &str, rows: &[Row]) -> String {
    let mut text =
        format!("{machine}\n\n| row | measured | must reach | |\n| --- | --- | --- | --- |\n");
    for row in rows {
        let reached = match row.reached {
            None => "",
            Some(true) => "reached",
            Some(false) => "**not reached**",
        };
        writeln!(
            text,
            "| {} | {} | {} | {reached} |",
            row.what, row.figure, row.goal
        )
        .expect("a String takes everything");
    }
    text.push_str("\nCommands, in the order of the rows:\n\n");
    for row in rows.iter().filter(|row| !row.command.is_empty()) {
        writeln!(text, "- {}: `{}`", row.what, row.command).expect("a String takes everything");
    }
    text
}

/// Puts the table into `docs/performance.md`, between its two marks.
pub(crate) fn write(table: &str) -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let page = std::fs::read_to_string(&path)?;
    let (Some((before, _)), Some((_, after))) = (page.split_once(BEGIN), page.split_once(END))
    else {
        return Err(std::io::Error::other(
            "docs/performance.md has lost its marks",
        ));
    };
    std::fs::write(path, format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}
