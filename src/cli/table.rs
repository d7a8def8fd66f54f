//! Data for people: tables, and one thing as lines. Programs get JSON.
//!
//! Units are in the names of fields, so the names decide how a value is written: `at` and what ends in `_at` is an instant, in `_ms` a
//! length of time. The unit goes into the value and out of the head.

use std::io::IsTerminal as _;

use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::names::shown;

/// Widest cell on a terminal, in columns. Where the output goes to a file nothing is cut.
const WIDEST: usize = 40;

/// A table with a head, for a terminal or a file. Columns in which nobody has anything are left out.
pub(super) fn table(items: &[Value], columns: &[&str]) -> String {
    let widest = if std::io::stdout().is_terminal() {
        WIDEST
    } else {
        usize::MAX
    };
    table_within(items, columns, widest)
}

fn table_within(items: &[Value], columns: &[&str], widest: usize) -> String {
    let columns: Vec<Column> = columns
        .iter()
        .map(|name| Column::new(name, items, widest))
        .filter(|column| items.is_empty() || !column.is_empty())
        .collect();
    let mut text = String::new();
    for row in 0..=items.len() {
        let mut line = String::new();
        for column in &columns {
            let cell = &column.cells[row];
            let room = " ".repeat(column.width - cell.width());
            if column.is_number {
                line.extend([room.as_str(), cell, "  "]);
            } else {
                line.extend([cell.as_str(), &room, "  "]);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A column with its head.
struct Column {
    cells: Vec<String>,
    width: usize,
    is_number: bool,
}

impl Column {
    fn new(name: &str, items: &[Value], widest: usize) -> Self {
        let head = heading(name).to_uppercase();
        let mut cells = vec![head];
        cells.extend(
            items
                .iter()
                .map(|item| cut(&words(name, &item[name]), widest)),
        );
        Self {
            width: cells.iter().map(|cell| cell.width()).max().unwrap_or(0),
            is_number: items
                .iter()
                .all(|item| item[name].is_number() || item[name].is_null()),
            cells,
        }
    }

    fn is_empty(&self) -> bool {
        self.cells[1..].iter().all(String::is_empty)
    }
}

/// One thing, a field in a line; what is in it is indented.
pub(super) fn lines(thing: &Value) -> String {
    let mut text = String::new();
    write_lines(&mut text, thing, 0);
    text
}

fn write_lines(text: &mut String, thing: &Value, depth: usize) {
    let Some(fields) = thing.as_object() else {
        return;
    };
    let width = fields
        .keys()
        .map(|name| heading(name).width())
        .max()
        .unwrap_or(0);
    for (name, value) in fields {
        let head = heading(name);
        text.extend(std::iter::repeat_n("  ", depth));
        let is_list_of_things = |list: &Vec<Value>| list.iter().any(Value::is_object);
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push_str(&format!("{head}\n"));
                write_lines(text, value, depth + 1);
            }
            Value::Array(list) if is_list_of_things(list) => {
                for (at, item) in list.iter().enumerate() {
                    text.extend(std::iter::repeat_n("  ", if at == 0 { 0 } else { depth }));
                    text.push_str(&format!("{head} {}\n", at + 1));
                    write_lines(text, item, depth + 1);
                }
            }
            value => {
                let value = words(name, value);
                let value = if value.is_empty() { "-" } else { &value };
                let room = " ".repeat(width - head.width());
                text.push_str(&format!("{head}{room}  {value}\n"));
            }
        }
    }
}

/// The name of a field for people: without its unit.
fn heading(name: &str) -> String {
    let name = name
        .strip_suffix("_at")
        .or(name.strip_suffix("_ms"))
        .unwrap_or(name);
    name.replace('_', " ")
}

/// A value for people. What others wrote does not steer the terminal.
fn words(name: &str, value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(instant) if name == "at" || name.ends_with("_at") => readable(instant),
        Value::String(text) => text.clone(),
        Value::Number(ms) if name.ends_with("_ms") => {
            ms.as_u64().map_or_else(|| ms.to_string(), length)
        }
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Array(list) => list
            .iter()
            .map(|item| words("", item))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Object(fields) if fields.is_empty() => String::new(),
        value => value.to_string(),
    };
    shown(&text).into_owned()
}

/// An instant to the second, in UTC.
fn readable(instant: &str) -> String {
    let Ok(at) = chrono::DateTime::parse_from_rfc3339(instant) else {
        return instant.to_owned();
    };
    at.to_utc().format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A length of time in the two largest units that say something.
pub(super) fn length(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    if ms < 1_000 {
        return format!("{ms} ms");
    }
    let mut rest = ms;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        if rest >= unit {
            parts.push(format!("{} {name}", rest / unit));
            rest %= unit;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// At most `width` columns of a terminal.
pub(super) fn cut(text: &str, widest: usize) -> String {
    if text.width() <= widest {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut width = 1;
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width > widest {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_aligned_and_sends_nothing_to_the_terminal() {
        let items = [
            json!({"name": "crm", "seats": 5, "label": null}),
            json!({"name": "a\u{1b}[31mb", "seats": 12, "label": null}),
        ];
        assert_eq!(
            table_within(&items, &["name", "seats", "label"], usize::MAX),
            "NAME          SEATS\ncrm               5\na\\u{1b}[31mb     12\n"
        );
    }

    #[test]
    fn names_say_how_a_value_is_written() {
        let items = [json!({"started_at": "2026-11-21T20:00:25.106Z", "expires_in_ms": 54_321})];
        assert_eq!(
            table_within(&items, &["started_at", "expires_in_ms"], usize::MAX),
            "STARTED               EXPIRES IN\n2026-11-21 20:00:25Z        54 s\n"
        );
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (60_000, "1 min"),
            (3_661_000, "1 h 1 min"),
            (86_400_000, "1 d"),
        ] {
            assert_eq!(length(ms), text);
        }
    }

    #[test]
    fn wide_characters_take_their_room_and_long_cells_are_cut() {
        let items = [
            json!({"holder": "山田太郎", "id": "x"}),
            json!({"holder": "abcdefghij", "id": "y"}),
        ];
        assert_eq!(
            table_within(&items, &["holder", "id"], 9),
            "HOLDER     ID\n山田太郎   x\nabcdefgh…  y\n"
        );
    }

    #[test]
    fn one_thing_is_shown_with_what_is_in_it() {
        let pool = json!({"name": "crm", "ttl_ms": 60_000, "tenants": {"acme": {"max": 3}}, "queue": null});
        let text = lines(&pool);
        assert!(text.contains("ttl      1 min\n"), "{text}");
        assert!(text.contains("tenants\n  acme\n    max  3\n"), "{text}");
        assert!(text.contains("queue    -\n"), "{text}");
    }
}
