//! The fields of a policy as people read and write them: words and units in place of the names and numbers of the interface.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::super::Fields;
use super::super::form::Form;
use super::super::quantity::{duration, duration_ms, whole};
use super::Field;
use crate::http::problem::{Code, FieldError, Problem};
use crate::pool::Policy;

/// How a field is written.
enum Kind {
    Whole,
    Duration,
    /// A duration, or no limit.
    Grace,
    Text,
    /// Words with commas between.
    List,
    /// Percentages with commas between.
    Levels,
    /// One of a few words of the interface, each with what it means.
    Words(&'static [(&'static str, &'static str)]),
    Tick,
    /// A rule that a pool has or has not, with fields of its own.
    Group(&'static [Part]),
}

/// A field, as the page calls it.
struct Spec {
    name: &'static str,
    label: &'static str,
    /// None where the description of the interface says it well.
    hint: &'static str,
    kind: Kind,
}

/// A field of a group.
struct Part {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: Kind,
    /// What stands in it before the rule is there.
    usual: &'static str,
}

const fn spec(name: &'static str, label: &'static str, hint: &'static str, kind: Kind) -> Spec {
    Spec {
        name,
        label,
        hint,
        kind,
    }
}

const fn part(
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: Kind,
    usual: &'static str,
) -> Part {
    Part {
        name,
        label,
        hint,
        kind,
        usual,
    }
}

/// A field that is not here is shown by its name in the interface, and written as JSON.
const SPECS: [Spec; 17] = [
    spec(
        "capacity",
        "Seats",
        "How many may be in use at once.",
        Kind::Whole,
    ),
    spec(
        "ttl_ms",
        "Heartbeat timeout",
        "How long a seat lives without a heartbeat, such as 60 s; 1 s to 1 d.",
        Kind::Duration,
    ),
    spec(
        "linger_ms",
        "Kept after leaving",
        "How long a seat is kept for a page that was closed and may reload, such as 10 s.",
        Kind::Duration,
    ),
    spec(
        "resume_window_ms",
        "Can be resumed for",
        "How long after its end a late heartbeat brings a seat back, if one is free.",
        Kind::Duration,
    ),
    spec(
        "outage_grace_ms",
        "May go on in an outage for",
        "For how long who hears nothing may go on, such as 10 min, or: no limit.",
        Kind::Grace,
    ),
    spec(
        "seat_per",
        "A seat is taken by",
        "Can change only while nobody has a seat.",
        Kind::Words(&[
            ("lease", "each lease"),
            ("holder", "each holder, with all its leases"),
        ]),
    ),
    spec(
        "holder_match",
        "Spellings of a name",
        "Can change only while the pool is empty, and nobody waits or is blocked.",
        Kind::Words(&[
            ("exact", "are different holders"),
            ("folded", "in capitals and small letters are one holder"),
        ]),
    ),
    spec(
        "when_full",
        "When the pool is full",
        "",
        Kind::Words(&[
            ("deny", "newcomers are denied"),
            (
                "evict_oldest_of_holder",
                "the oldest lease of the same holder ends",
            ),
        ]),
    ),
    spec(
        "queue",
        "Queue",
        "Lets those wait who ask for it while the pool is full.",
        Kind::Group(&[part(
            "max_waiting",
            "At most",
            "People who wait, 1 to 10 000.",
            Kind::Whole,
            "100",
        )]),
    ),
    spec(
        "overdraft",
        "Overdraft",
        "Lends seats beyond the capacity, on a daily budget.",
        Kind::Group(&[
            part("seats", "Seats", "", Kind::Whole, "2"),
            part(
                "seat_minutes_per_day",
                "Seat-minutes a day",
                "",
                Kind::Whole,
                "60",
            ),
        ]),
    ),
    spec(
        "named",
        "Named seats",
        "Seats that belong to somebody for a billing period, in addition to the capacity.",
        Kind::Group(&[
            part("seats", "Seats", "", Kind::Whole, "10"),
            part(
                "anchor_day",
                "The period begins on day",
                "Of the month, 1 to 31.",
                Kind::Whole,
                "1",
            ),
            part(
                "time_zone",
                "Time zone",
                "Such as Europe/Zurich.",
                Kind::Text,
                "UTC",
            ),
            part(
                "spill_to_concurrent",
                "Who finds none gets a seat of the pool",
                "",
                Kind::Tick,
                "",
            ),
        ]),
    ),
    spec(
        "tenant_max",
        "Seats of each tenant",
        "At most, for tenants without a limit of their own; empty for no limit.",
        Kind::Whole,
    ),
    spec(
        "platforms",
        "Platforms",
        "The only ones that get a seat, with commas between; empty for all.",
        Kind::List,
    ),
    spec(
        "privacy",
        "Names of people",
        "",
        Kind::Words(&[
            ("named", "are kept"),
            ("pseudonymous", "are kept as pseudonyms"),
            ("anonymous", "are not kept"),
        ]),
    ),
    spec(
        "idle",
        "Idle seats",
        "Judged by what clients report of their users.",
        Kind::Group(&[
            part(
                "after_ms",
                "Idle after",
                "Such as 15 min.",
                Kind::Duration,
                "15 min",
            ),
            part(
                "then",
                "Then",
                "",
                Kind::Words(&[
                    ("count", "it is only counted"),
                    ("yield", "it goes to whoever needs one"),
                    ("end", "it ends"),
                ]),
                "count",
            ),
            part(
                "notice_ms",
                "Told before",
                "Such as 2 min, at most half of the time above.",
                Kind::Duration,
                "2 min",
            ),
            part(
                "people",
                "Reports tell it of each person",
                "",
                Kind::Tick,
                "",
            ),
        ]),
    ),
    spec(
        "max_hold",
        "Longest hold",
        "How long one lease may be held.",
        Kind::Group(&[
            part("after_ms", "At most", "Such as 8 h.", Kind::Duration, "8 h"),
            part(
                "then",
                "Then",
                "",
                Kind::Words(&[
                    ("yield", "it goes to whoever needs one"),
                    ("end", "it ends"),
                ]),
                "yield",
            ),
            part(
                "notice_ms",
                "Told before",
                "Such as 5 min.",
                Kind::Duration,
                "5 min",
            ),
        ]),
    ),
    spec(
        "alert_at_percent",
        "Alert at",
        "Percent of the seats in use, rising, with commas between, such as 80, 95.",
        Kind::Levels,
    ),
];

fn spec_of(name: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.name == name)
}

fn invalid(field: &str, message: &str) -> Problem {
    Problem::new(Code::InvalidRequest, message.to_owned()).at_field(field, message)
}

/// What somebody wrote, as the interface has it; null for nothing.
fn read(kind: &Kind, field: &str, text: &str) -> Result<Value, Problem> {
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
fn shown(kind: &Kind, value: &Value) -> String {
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

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

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

/// How a field of the policy is called on the page.
pub(super) fn label(name: &str) -> &str {
    spec_of(name).map_or(name, |spec| spec.label)
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

fn in_a_word(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Words(words), Value::String(word)) => {
            let known = words.iter().find(|(known, _)| known == word);
            known.map_or(word.clone(), |(_, meaning)| (*meaning).to_owned())
        }
        (Kind::Tick, value) => if *value == json!(true) { "yes" } else { "no" }.to_owned(),
        (kind, value) => shown(kind, value),
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

/// A field of the form.
pub(super) fn input(form: &Form<'_>, field: &Field, policy: &Policy) -> Markup {
    let name = format!("f.{}", field.name);
    let Some(spec) = spec_of(&field.name) else {
        return form.named(&name, &field.name, "", &field.about, &text_of(&field.value), |control| {
            html! {
                textarea id=(control.id) name=(name) rows="2" spellcheck="false"
                    aria-invalid=[control.invalid] aria-describedby=[&control.described] { (control.value) }
            }
        });
    };
    let hint = if spec.hint.is_empty() {
        field.about.as_str()
    } else {
        spec.hint
    };
    match &spec.kind {
        Kind::Group(parts) => {
            let values = field.value.as_object();
            html! {
                fieldset.field.group {
                    legend { (spec.label) " " code.api { (spec.name) } }
                    p.quiet { (hint) }
                    input type="hidden" name="g" value=(spec.name);
                    label { input type="checkbox" name=(name) value="on" checked[form.has(&name, "on", values.is_some())]; "On" }
                    @for part in *parts {
                        @let now = match values { Some(values) => shown(&part.kind, &values[part.name]), None => part.usual.to_owned() };
                        (one(form, &format!("{name}.{}", part.name), part.label, "", part.hint, &now, &part.kind))
                    }
                }
            }
        }
        Kind::Grace => one(
            form,
            &name,
            spec.label,
            spec.name,
            hint,
            &grace(policy),
            &spec.kind,
        ),
        kind => one(
            form,
            &name,
            spec.label,
            spec.name,
            hint,
            &shown(kind, &field.value),
            kind,
        ),
    }
}

fn one(
    form: &Form<'_>,
    name: &str,
    label: &str,
    api: &str,
    hint: &str,
    now: &str,
    kind: &Kind,
) -> Markup {
    match kind {
        Kind::Tick => html! {
            label.tick { input type="checkbox" name=(name) value="on" checked[form.has(name, "on", now == "true")]; (label) }
        },
        Kind::Words(words) => form.named(name, label, api, hint, now, |control| {
            html! {
                select id=(control.id) name=(name) aria-invalid=[control.invalid] aria-describedby=[&control.described] {
                    @for (word, meaning) in *words { option value=(word) selected[control.value == *word] { (meaning) } }
                }
            }
        }),
        kind => form.named(name, label, api, hint, now, |control| {
            html! {
                input id=(control.id) name=(name) value=(control.value) autocomplete="off"
                    inputmode=[matches!(kind, Kind::Whole).then_some("numeric")]
                    aria-invalid=[control.invalid] aria-describedby=[&control.described];
            }
        }),
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
