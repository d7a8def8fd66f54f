//! `leasehold config`: every setting and where it came from.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Exit, Failure};
use crate::config::{Flags, Row};

#[derive(Debug, clap::Args)]
pub(super) struct Config {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Prints first and checks afterwards: what was refused can be seen together with the reason.
pub(super) fn run(config: &Config) -> Result<Exit, Failure> {
    let loaded = super::load(&config.flags)?;
    let rows = loaded.rows();
    super::print(&if config.json {
        json(&rows)
    } else {
        table(&rows)
    })?;
    loaded.check()?;
    Ok(Exit::Ok)
}

fn json(rows: &[Row]) -> String {
    let json = serde_json::to_string_pretty(rows).expect("rows of strings and numbers");
    format!("{json}\n")
}

fn table(rows: &[Row]) -> String {
    let values: Vec<String> = rows.iter().map(|row| text(&row.value)).collect();
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let setting = width(&mut rows.iter().map(|row| row.setting.chars().count()));
    let value = width(
        &mut values
            .iter()
            .map(|value| value.chars().count())
            .filter(|length| *length <= 40),
    );
    let mut table = String::new();
    for (row, text) in rows.iter().zip(&values) {
        writeln!(
            table,
            "{:setting$}  {text:value$}  {}",
            row.setting, row.origin
        )
        .expect("a String takes everything");
    }
    table
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "(not set)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name}={}", text(value)))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}
