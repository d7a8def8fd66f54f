//! One value of a policy, as people read and write it.

use serde_json::{Value, json};

use super::fields::Kind;
use crate::http::problem::{Code, Problem};
use crate::ui::quantity::{duration, duration_ms, whole};

pub(super) fn invalid(field: &str, message: &str) -> Problem {
    Problem::new(Code::InvalidRequest, message.to_owned()).at_field(field, message)
}

/// What somebody wrote, as the interface has it; null for nothing.
pub(super) fn read(kind: &Kind, field: &str, text: &str) -> Result<Value, Problem> {
    let words = || text.split([',', '\n', ';']).map(str::trim);
    Ok(match kind {
        Kind::Tick => json!(text == "on"),
        _ if text.is_empty() => Value::Null,
        Kind::Whole => json!(whole(field, text)?),
        Kind::Duration => json!(duration_ms(field, text)?),
        Kind::Grace if is_no_limit(text) => Value::Null,
        Kind::Grace => json!(duration_ms(field, text)?),
        Kind::Text | Kind::Words(_) => json!(text),
        Kind::List => json!(words().filter(|word| !word.is_empty()).collect::<Vec<_>>()),
        Kind::Levels => {
            let levels = text
                .split([',', ' ', ';', '%'])
                .filter(|word| !word.is_empty());
            let levels: Result<Vec<u64>, Problem> =
                levels.map(|level| whole(field, level)).collect();
            json!(levels.map_err(|_| invalid(
                field,
                "Write percentages with commas between, such as 80, 95."
            ))?)
        }
        Kind::Group(_) => Value::Null,
    })
}

fn is_no_limit(text: &str) -> bool {
    text.eq_ignore_ascii_case("no limit")
}

/// A value as people write it.
pub(super) fn shown(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (_, Value::Null) => String::new(),
        (Kind::Duration | Kind::Grace, Value::Number(ms)) => {
            duration(ms.as_u64().unwrap_or_default())
        }
        (Kind::List | Kind::Levels, Value::Array(values)) => {
            let values: Vec<String> = values.iter().map(text_of).collect();
            values.join(", ")
        }
        (_, value) => text_of(value),
    }
}

pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

pub(super) fn in_a_word(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Words(words), Value::String(word)) => {
            let known = words.iter().find(|(known, _)| known == word);
            known.map_or(word.clone(), |(_, meaning)| (*meaning).to_owned())
        }
        (Kind::Tick, value) => if *value == json!(true) { "yes" } else { "no" }.to_owned(),
        (kind, value) => shown(kind, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read_as_it_is_shown() {
        for (kind, value, text) in [
            (Kind::Whole, json!(12), "12"),
            (Kind::Duration, json!(90_000), "90 s"),
            (Kind::Levels, json!([80, 95]), "80, 95"),
            (Kind::List, json!(["web", "desktop"]), "web, desktop"),
            (Kind::Text, json!("Europe/Zurich"), "Europe/Zurich"),
            (Kind::Whole, Value::Null, ""),
        ] {
            assert_eq!(shown(&kind, &value), text);
            assert_eq!(read(&kind, "x", text).unwrap(), value);
        }
        assert_eq!(
            read(&Kind::Levels, "x", "80 % 95%").unwrap(),
            json!([80, 95])
        );
        assert_eq!(read(&Kind::Grace, "x", "No limit").unwrap(), Value::Null);
    }
}
