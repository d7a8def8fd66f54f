//! The policy of a pool, field by field as the interface describes it, and what a change would mean now.

pub(super) mod maintenance;
mod meaning;
pub(super) mod schedule;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;

use self::meaning::meaning;
use super::frame::{Tab, downloads, may, number, pool_page};
use super::{Fields, Format, redirect};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::extract::Path;
use crate::http::pool_not_found;
use crate::http::pools::{checked, in_use, patched};
use crate::http::problem::{Code, Problem};
use crate::names::PoolName;
use crate::pool::{Policy, Pool};
use crate::store::{Expect, Put};

/// A field of the policy: its name, what the interface says about it, and what it is now.
struct Field {
    name: String,
    about: String,
    /// Whether it is a whole number, if it is there.
    is_number: bool,
    value: Value,
}

/// Fields that are one of a few words.
const WORDS: [(&str, &[&str]); 4] = [
    ("seat_per", &["lease", "holder"]),
    ("holder_match", &["exact", "folded"]),
    ("when_full", &["deny", "evict_oldest_of_holder"]),
    ("privacy", &["named", "pseudonymous", "anonymous"]),
];

/// Fields that are JSON, each with what it can look like.
const EXAMPLES: [(&str, &str); 5] = [
    (
        "named",
        r#"{"seats": 10, "anchor_day": 5, "time_zone": "Europe/Zurich", "spill_to_concurrent": true}"#,
    ),
    ("overdraft", r#"{"seats": 2, "seat_minutes_per_day": 60}"#),
    ("queue", r#"{"max_waiting": 100}"#),
    ("platforms", r#"["web", "desktop"]"#),
    ("alert_at_percent", "[80, 95, 100]"),
];

/// What most people come for comes first, and what belongs together stands together.
const ORDER: [&str; 13] = [
    "capacity",
    "ttl_ms",
    "linger_ms",
    "resume_window_ms",
    "seat_per",
    "holder_match",
    "when_full",
    "queue",
    "overdraft",
    "named",
    "tenant_max",
    "platforms",
    "privacy",
];

/// All fields, from the description of the interface: one that is new there is on the page.
fn fields_of(policy: &Policy) -> Vec<Field> {
    let values = serde_json::to_value(policy).unwrap_or_default();
    let schema = serde_json::to_value(Policy::schema()).unwrap_or_default();
    let described = schema["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let mut fields: Vec<Field> = described
        .into_iter()
        .map(|(name, about)| Field {
            value: value_of(&values, &name),
            about: description(&about).replace('`', ""),
            is_number: about["type"].to_string().contains("integer"),
            name,
        })
        .collect();
    // What is not in the order comes last.
    let place = |field: &Field| ORDER.iter().position(|name| *name == field.name);
    fields.sort_by_key(|field| (place(field).unwrap_or(ORDER.len()), field.name.clone()));
    fields
}

/// What a field is now. Of a few words the first is the default, which may be left out.
fn value_of(values: &Value, name: &str) -> Value {
    let word = WORDS.iter().find(|(known, _)| *known == name);
    match (&values[name], word) {
        (Value::Null, Some((_, words))) => json!(words[0]),
        (value, _) => value.clone(),
    }
}

/// What a schema says about a field; one that may be left out says it further in.
fn description(schema: &Value) -> &str {
    let inner = schema["oneOf"].as_array().into_iter().flatten();
    std::iter::once(schema)
        .chain(inner)
        .find_map(|schema| schema["description"].as_str())
        .unwrap_or_default()
}

/// What the form says, as changes: a field that is empty goes back to its default.
fn changes(fields: &Fields, policy: &Policy) -> Result<Map<String, Value>, Problem> {
    let mut changes = Map::new();
    for field in fields_of(policy) {
        let Some((_, text)) = fields
            .0
            .iter()
            .find(|(name, _)| *name == format!("f.{}", field.name))
        else {
            continue;
        };
        let text = text.trim();
        let value = if text.is_empty() {
            Value::Null
        } else if field.value.is_string() {
            Value::String(text.to_owned())
        } else {
            serde_json::from_str(text).map_err(|_| {
                Problem::new(
                    Code::InvalidRequest,
                    format!(
                        "{} is not valid: write a number, or JSON. Nothing was changed.",
                        field.name
                    ),
                )
            })?
        };
        if value != field.value {
            changes.insert(field.name, value);
        }
    }
    Ok(changes)
}

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app
        .store()
        .status(&name)
        .await?
        .ok_or_else(|| pool_not_found(&name))?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(&pool.policy).into_response()),
        Format::Csv => {
            let rows = fields_of(&pool.policy)
                .into_iter()
                .map(|field| vec![Cell::Text(field.name), Cell::plain(&field.value)]);
            return Ok(csv::file(
                &format!("leasehold-{name}-settings"),
                &["field", "value"],
                rows,
            ));
        }
        Format::Html => {}
    }
    let body = if fields.get("review").is_some() {
        review(&pool, &changes(&fields, &pool.policy)?)?
    } else {
        form(&pool, &operator, fields.get("saved").is_some())
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Settings, &body))
}

/// Fields that have an editor of their own, here or on the page of tenants.
const APART: [&str; 3] = ["schedule", "tenants", "maintenance"];

fn form(pool: &Pool, operator: &Operator, saved: bool) -> Markup {
    let may_change = may(&operator.caller, Role::Admin);
    let here = Tab::Settings.of(&pool.name);
    html! {
        @if saved { p.good role="status" { "The settings are saved, on all nodes." } }
        p { (number(pool.in_use)) " of " (number(pool.capacity)) " seats are in use now." }
        (maintenance::switch(pool, may_change))
        (schedule::editor(pool, may(&operator.caller, Role::Operator)))
        section {
            h2 { "Policy" }
            form.fields.policy method="get" {
                input type="hidden" name="review" value="1";
                @for field in fields_of(&pool.policy).iter().filter(|field| !APART.contains(&field.name.as_str())) {
                    (input(field, may_change))
                }
                p.quiet { "Limits and reserves of tenants: " a href=(Tab::Tenants.of(&pool.name)) { "Tenants" } "." }
                @if may_change {
                    p.row { button.main type="submit" { "Review the change" } }
                } @else {
                    p.quiet { "You may read the settings. An admin changes them." }
                }
            }
        }
        p.row { (downloads(&format!("{here}?format=csv"), &format!("{here}?format=json"))) }
    }
}

fn input(field: &Field, may_change: bool) -> Markup {
    let id = format!("f-{}", field.name);
    let name = format!("f.{}", field.name);
    let hint = format!("{id}-hint");
    html! {
        div.field {
            label for=(id) { (field.name) }
            @if let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == field.name) {
                select id=(id) name=(name) disabled[!may_change] aria-describedby=(hint) {
                    @for word in *words { option value=(word) selected[field.value == **word] { (word) } }
                }
            } @else if field.is_number {
                input id=(id) name=(name) type="number" min="0" value=(text_of(&field.value)) readonly[!may_change] aria-describedby=(hint);
            } @else {
                @let example = EXAMPLES.iter().find(|(known, _)| *known == field.name).map(|(_, example)| *example);
                textarea id=(id) name=(name) rows="2" spellcheck="false" readonly[!may_change] placeholder=[example] aria-describedby=(hint) {
                    (text_of(&field.value))
                }
            }
            p.quiet id=(hint) { (field.about) }
        }
    }
}

fn review(pool: &Pool, changes: &Map<String, Value>) -> Result<Markup, Problem> {
    let after = checked(patched(&pool.policy, changes)?)?;
    let values = serde_json::to_value(&after).unwrap_or_default();
    let before = serde_json::to_value(&pool.policy).unwrap_or_default();
    let here = format!("/admin/pools/{}/settings", pool.name);
    Ok(html! {
        @if changes.is_empty() {
            p { "Nothing is changed." }
            p.row { a.button href=(here) { "Back" } }
        } @else {
            h2 { "What changes" }
            table {
                caption.hidden { "Before and after" }
                thead { tr { th scope="col" { "Field" } th scope="col" { "Now" } th scope="col" { "New" } } }
                tbody {
                    @for name in changes.keys() {
                        tr { th scope="row" { (name) } td { code { (before[name]) } } td { code { (values[name]) } } }
                    }
                }
            }
            @let meaning = meaning(pool, &after);
            @if !meaning.is_empty() {
                h2 { "What it means now" }
                ul { @for sentence in meaning { li { (sentence) } } }
            }
            form method="post" action=(here) {
                input type="hidden" name="version" value=(pool.version);
                @for (name, value) in changes {
                    input type="hidden" name=(format!("f.{name}")) value=(text_of(value));
                }
                p.row { a.button href=(here) { "Cancel" } button.main type="submit" { "Save" } }
            }
        }
    })
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

pub(super) async fn save(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app
        .store()
        .status(&name)
        .await?
        .ok_or_else(|| pool_not_found(&name))?;
    let changes = changes(&fields, &pool.policy)?;
    let back = format!("/admin/pools/{name}/settings?saved=1");
    change(&app, &operator, &name, &fields, &changes, &back).await
}

/// Changes a policy as the form saw it, and goes back to where the form was.
pub(super) async fn change(
    app: &App,
    operator: &Operator,
    name: &PoolName,
    fields: &Fields,
    changes: &Map<String, Value>,
    back: &str,
) -> Result<Response, Problem> {
    let pool = app
        .store()
        .status(name)
        .await?
        .ok_or_else(|| pool_not_found(name))?;
    operator.may_change(changes)?;
    let after = checked(patched(&pool.policy, changes)?)?;
    operator.notes.before(&pool.policy);
    operator.notes.after(&after);
    let seen: u64 = fields
        .get("version")
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    match app
        .store()
        .put_pool(name, &after, Expect::Version(seen))
        .await?
    {
        Put::Created(_) | Put::Replaced(_) => Ok(redirect(back)),
        Put::InUse => Err(in_use()),
        Put::Conflict(_) => Err(Problem::new(
            Code::PreconditionFailed,
            "Somebody else changed the pool meanwhile. Nothing of yours was saved. Go back, reload and try again.",
        )),
    }
}

pub(super) async fn create(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, Problem> {
    let invalid = |invalid: crate::names::Invalid| {
        Problem::new(
            Code::InvalidRequest,
            format!("It is not created: {invalid}."),
        )
    };
    let name: PoolName = fields
        .get("name")
        .unwrap_or_default()
        .parse()
        .map_err(invalid)?;
    name.check().map_err(invalid)?;
    let capacity = fields
        .get("capacity")
        .and_then(|capacity| capacity.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                "The pool was not created: give the number of seats as a whole number.",
            )
        })?;
    let policy = checked(Policy::with_capacity(capacity))?;
    operator.notes.pool(&name);
    operator.notes.after(&policy);
    match app.store().put_pool(&name, &policy, Expect::None).await? {
        Put::Created(_) | Put::Replaced(_) => Ok(redirect(&format!("/admin/pools/{name}"))),
        Put::InUse => Err(in_use()),
        Put::Conflict(_) => Err(Problem::new(
            Code::PreconditionFailed,
            "There is a pool of this name already. Choose another, or change that one in its settings.",
        )
        .with("pool", json!(name))),
    }
}
