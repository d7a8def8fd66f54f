//! The policy of a pool, field by field as the interface describes it, and what a change would mean now.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;

use super::frame::{Tab, may, number, pool_page};
use super::{Fields, Format, go_to};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::extract::Path;
use crate::http::pool_not_found;
use crate::http::pools::{checked, in_use, patched};
use crate::http::problem::{Code, Problem};
use crate::pool::{Policy, Pool, PoolName};
use crate::store::{Expect, Put};

/// A field of the policy: its name, what the interface says about it, and what it is now.
struct Field {
    name: String,
    about: String,
    value: Value,
}

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
            value: values[&name].clone(),
            about: about["description"]
                .as_str()
                .unwrap_or_default()
                .replace('`', ""),
            name,
        })
        .collect();
    // What most people come for comes first.
    fields.sort_by_key(|field| {
        (
            field.name != "capacity",
            !field.value.is_number(),
            field.name.clone(),
        )
    });
    fields
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
        form(
            &pool,
            may(&operator.caller, Role::Admin),
            fields.get("saved").is_some(),
        )
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Settings, &body))
}

fn form(pool: &Pool, may_change: bool, saved: bool) -> Markup {
    html! {
        @if saved { p.good role="status" { "The settings are saved, on all nodes." } }
        p { (number(pool.in_use)) " of " (number(u64::from(pool.policy.capacity))) " seats are in use now." }
        form.fields method="get" {
            input type="hidden" name="review" value="1";
            @for field in fields_of(&pool.policy) { (input(&field, may_change)) }
            @if may_change {
                p.row { button.main type="submit" { "Review the change" } }
            } @else {
                p.quiet { "You may read the settings. An admin changes them." }
            }
        }
    }
}

fn input(field: &Field, may_change: bool) -> Markup {
    let id = format!("f-{}", field.name);
    let name = format!("f.{}", field.name);
    let hint = format!("{id}-hint");
    html! {
        div.field {
            label for=(id) { (field.name) }
            @match &field.value {
                Value::Number(value) => {
                    input id=(id) name=(name) type="number" min="0" value=(value) readonly[!may_change] aria-describedby=(hint);
                }
                Value::String(value) => {
                    input id=(id) name=(name) value=(value) readonly[!may_change] aria-describedby=(hint);
                }
                value => {
                    textarea id=(id) name=(name) rows="2" spellcheck="false" readonly[!may_change] aria-describedby=(hint) {
                        @if !value.is_null() { (value) }
                    }
                }
            }
            p.quiet id=(hint) { (field.about) }
        }
    }
}

/// What would happen at once.
fn meaning(pool: &Pool, after: &Policy) -> Vec<String> {
    let mut meaning = Vec::new();
    let (before, capacity) = (u64::from(pool.policy.capacity), u64::from(after.capacity));
    let in_use = pool.in_use;
    if capacity < before && in_use > capacity {
        meaning.push(format!(
            "{in_use} in use, new capacity {capacity}: nobody is ended, no new seats until {} are in use.",
            capacity.saturating_sub(1)
        ));
    } else if capacity < before && in_use == capacity {
        meaning.push(format!(
            "{in_use} in use, new capacity {capacity}: the pool is full at once. Nobody is ended."
        ));
    } else if capacity != before {
        meaning.push(format!(
            "{in_use} in use, new capacity {capacity}: {} seats are free.",
            capacity - in_use.min(capacity)
        ));
    }
    if after.ttl_ms != pool.policy.ttl_ms {
        meaning.push("Leases get the new length with their next heartbeat; none is shorter than it was promised.".to_owned());
    }
    meaning
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
    operator.may_change(&changes)?;
    let after = checked(patched(&pool.policy, &changes)?)?;
    operator.notes.before(&pool.policy);
    operator.notes.after(&after);
    let seen: u64 = fields
        .get("version")
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    match app
        .store()
        .put_pool(&name, &after, Expect::Version(seen))
        .await?
    {
        Put::Created(_) | Put::Replaced(_) => {
            Ok(go_to(&format!("/admin/pools/{name}/settings?saved=1")))
        }
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
    let name: PoolName = fields.get("name").unwrap_or_default().parse().map_err(
        |invalid: crate::lease::Invalid| {
            Problem::new(
                Code::InvalidRequest,
                format!("It is not created: {invalid}."),
            )
        },
    )?;
    let capacity = fields
        .get("capacity")
        .and_then(|capacity| capacity.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                "It is not created: say how many seats, as a whole number.",
            )
        })?;
    let policy = checked(Policy::with_capacity(capacity))?;
    operator.notes.target(&name);
    operator.notes.after(&policy);
    match app.store().put_pool(&name, &policy, Expect::None).await? {
        Put::Created(_) | Put::Replaced(_) => Ok(go_to(&format!("/admin/pools/{name}"))),
        Put::InUse => Err(in_use()),
        Put::Conflict(_) => Err(Problem::new(
            Code::PreconditionFailed,
            "There is a pool of this name already. Choose another, or change that one in its settings.",
        )
        .with("pool", json!(name))),
    }
}
