//! The fields of a policy as people read and write them: words and units in place of the names and numbers of the interface.

mod fields;
mod input;
mod value;

use serde_json::{Map, Value, json};

pub(super) use self::fields::label;
use self::fields::{Kind, spec_of};
pub(super) use self::input::input;
use self::value::{in_a_word, invalid, read, text_of};
use super::super::Fields;
use super::super::quantity::duration;
use super::Field;
use crate::http::problem::{Code, FieldError, Problem};
use crate::pool::Policy;

/// What is wrong, with the words of the page in place of the names of the interface.
pub(super) fn in_own_words(problem: Problem) -> Problem {
    let errors = problem.errors().iter();
    let errors = errors.map(|error| {
        let (group, part) = error
            .field
            .split_once('.')
            .unwrap_or((error.field.as_str(), ""));
        let spec = spec_of(group);
        let part = spec.and_then(|spec| match &spec.kind {
            Kind::Group(parts) => parts.iter().find(|known| known.name == part),
            _ => None,
        });
        let title = part.map_or_else(|| label(group), |part| part.label);
        FieldError::new(
            error.field.as_str(),
            error.message.replacen(error.field.as_str(), title, 1),
        )
    });
    let errors: Vec<FieldError> = errors.collect();
    problem.with_errors(errors)
}

/// A field of a policy in a few words, for the table of what changes.
pub(super) fn in_words(name: &str, policy: &Policy, values: &Value) -> String {
    if name == GRACE {
        return grace(policy);
    }
    let value = &values[name];
    let Some(spec) = spec_of(name) else {
        return text_of(value);
    };
    match (&spec.kind, value) {
        (_, Value::Null) => "none".to_owned(),
        (Kind::Group(parts), Value::Object(values)) => {
            let parts = parts.iter().filter_map(|part| {
                let value = values.get(part.name).filter(|value| !value.is_null())?;
                Some(format!("{}: {}", part.label, in_a_word(&part.kind, value)))
            });
            parts.collect::<Vec<_>>().join(", ")
        }
        (kind, value) => in_a_word(kind, value),
    }
}

/// What the form says, as changes. All that is wrong is told at once.
pub(super) fn changes(
    fields: &Fields,
    known: Vec<Field>,
    policy: &Policy,
) -> Result<Map<String, Value>, Problem> {
    let (mut changes, mut errors) = (Map::new(), Vec::new());
    for field in known {
        match typed(fields, &field, policy) {
            // No limit and the default look alike, and only a change is told of the first.
            Ok(Some(value))
                if field.name == GRACE || without_nulls(&value) != without_nulls(&field.value) =>
            {
                changes.insert(field.name, value);
            }
            Ok(_) => {}
            Err(problem) => errors.extend_from_slice(problem.errors()),
        }
    }
    let Some(FieldError { message, .. }) = errors.first() else {
        return Ok(changes);
    };
    let problem = Problem::new(Code::InvalidRequest, message.clone());
    Err(errors.into_iter().fold(problem, |problem, error| {
        problem.at_field(error.field, error.message)
    }))
}

/// What the form says of one field; none if it says nothing of it, or what is there already.
fn typed(fields: &Fields, field: &Field, policy: &Policy) -> Result<Option<Value>, Problem> {
    let name = field.name.as_str();
    let text = fields.raw(&format!("f.{name}")).map(str::trim);
    match spec_of(name).map(|spec| &spec.kind) {
        Some(Kind::Group(parts)) => {
            // A rule that is off sends nothing, so the form says which rules it has.
            if !fields.all("g").any(|group| group == name) {
                return Ok(None);
            }
            if text != Some("on") {
                return Ok(Some(Value::Null));
            }
            let mut values = Map::new();
            for part in *parts {
                let path = format!("{name}.{}", part.name);
                let text = fields.raw(&format!("f.{path}")).unwrap_or_default().trim();
                values.insert(part.name.to_owned(), read(&part.kind, &path, text)?);
            }
            Ok(Some(Value::Object(values)))
        }
        Some(Kind::Grace) => {
            let Some(text) = text else { return Ok(None) };
            if text == grace(policy) || (text.is_empty() && field.value.is_null()) {
                return Ok(None);
            }
            if text.is_empty() {
                return Err(invalid(
                    name,
                    "Write a duration, such as 10 min, or: no limit.",
                ));
            }
            read(&Kind::Grace, name, text).map(Some)
        }
        Some(kind) => text.map(|text| read(kind, name, text)).transpose(),
        None => {
            let Some(text) = text else { return Ok(None) };
            if text.is_empty() {
                return Ok(Some(Value::Null));
            }
            if field.value.is_string() {
                return Ok(Some(json!(text)));
            }
            let value = serde_json::from_str(text);
            let value = value.map_err(|_| invalid(name, "Write a number, or JSON."))?;
            Ok(Some(value))
        }
    }
}

/// The field whose null is no default.
const GRACE: &str = "outage_grace_ms";

/// A holder that hears nothing may go on for so long.
fn grace(policy: &Policy) -> String {
    policy
        .outage_limit_ms()
        .map_or_else(|| "no limit".to_owned(), duration)
}

/// A value without members that are null: they say what is so anyway.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            let members = members.map(|(name, value)| (name.clone(), value.clone()));
            Value::Object(members.collect())
        }
        value => value.clone(),
    }
}
