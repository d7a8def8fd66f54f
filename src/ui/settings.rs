//! The policy of a pool, field by field as the interface describes it, and what a change would mean now.

pub(super) mod maintenance;
mod meaning;
mod policy;
pub(super) mod schedule;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;

use self::meaning::meaning;
use super::form::Form;
use super::frame::{Tab, downloads, may, number, pool_page};
use super::here::Here;
use super::quantity::whole;
use super::{Fields, Format, overview, redirect};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::extract::Path;
use crate::http::pools::{checked, in_use, patched};
use crate::http::problem::{Code, Problem};
use crate::names::PoolName;
use crate::pool::{Policy, Pool};
use crate::store::{Expect, Put};

/// A field of the policy: its name, what the interface says about it, and what it is now.
struct Field {
    name: String,
    about: String,
    value: Value,
}

/// Fields that are one of a few words.
const WORDS: [(&str, &[&str]); 4] = [
    ("seat_per", &["lease", "holder"]),
    ("holder_match", &["exact", "folded"]),
    ("when_full", &["deny", "evict_oldest_of_holder"]),
    ("privacy", &["named", "pseudonymous", "anonymous"]),
];

/// What most people come for comes first, and what belongs together stands together.
const ORDER: [&str; 18] = [
    "capacity",
    "ttl_ms",
    "linger_ms",
    "resume_window_ms",
    "outage_grace_ms",
    "seat_per",
    "holder_match",
    "when_full",
    "tenant_max",
    "platforms",
    "privacy",
    "alert_at_percent",
    "queue",
    "overdraft",
    "named",
    "idle",
    "max_hold",
    "hand_over",
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

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app.pool(&name).await?;
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
    let mut form = Form::new(PREFIX);
    if fields.get("edit").is_some() {
        form = Form::again(PREFIX, &fields);
    }
    if fields.get("review").is_some() {
        match reviewed(&pool, &fields) {
            Ok(body) => return Ok(pool_page(&operator.caller, &pool, Tab::Settings, &body)),
            Err(problem) => {
                form = Form::refused(PREFIX, &fields, policy::in_own_words(problem))?;
            }
        }
    }
    let forms = Forms {
        policy: form,
        ..Forms::new()
    };
    Ok(draw(&pool, &operator, &fields, &forms))
}

/// Begins the ids of the fields of the policy.
const PREFIX: &str = "f";

/// The forms of the page, one of which may not have been taken.
pub(super) struct Forms<'a> {
    policy: Form<'a>,
    schedule: Form<'a>,
}

impl Forms<'_> {
    const fn new() -> Self {
        Self {
            policy: Form::new(PREFIX),
            schedule: Form::new("schedule"),
        }
    }
}

/// The page with its forms.
fn draw(pool: &Pool, operator: &Operator, fields: &Fields, forms: &Forms<'_>) -> Response {
    let body = form(pool, operator, fields.get("saved").is_some(), forms);
    let page = pool_page(&operator.caller, pool, Tab::Settings, &body);
    forms.schedule.answer(forms.policy.answer(page))
}

fn reviewed(pool: &Pool, fields: &Fields) -> Result<Markup, Problem> {
    let changes = policy::changes(fields, fields_of(&pool.policy), &pool.policy)?;
    review(pool, fields, &changes)
}

/// Fields that have an editor of their own, here or on the page of tenants.
const APART: [&str; 3] = ["schedule", "tenants", "maintenance"];

fn form(pool: &Pool, operator: &Operator, saved: bool, forms: &Forms<'_>) -> Markup {
    let may_change = may(&operator.caller, Role::Admin);
    let here = Tab::Settings.of(&pool.name);
    html! {
        (forms.policy.summary())
        (forms.schedule.summary())
        @if saved { p.good role="status" { "The settings are saved, on all nodes." } }
        p { (number(pool.in_use)) " of " (number(pool.capacity)) " seats are in use now." }
        (maintenance::switch(pool, may_change))
        (schedule::editor(pool, may(&operator.caller, Role::Operator), &forms.schedule))
        section {
            h2 { "Policy" }
            form.fields.policy method="get" action=(Tab::Settings.of(&pool.name)) {
                input type="hidden" name="review" value="1";
                fieldset.all disabled[!may_change] {
                    @for field in fields_of(&pool.policy).iter().filter(|field| !APART.contains(&field.name.as_str())) {
                        (policy::input(&forms.policy, field, &pool.policy))
                    }
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

fn review(pool: &Pool, fields: &Fields, changes: &Map<String, Value>) -> Result<Markup, Problem> {
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
                        tr {
                            th scope="row" { (policy::label(name)) }
                            td { (policy::in_words(name, &pool.policy, &before)) }
                            td { (policy::in_words(name, &after, &values)) }
                        }
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
                @for (name, value) in fields.0.iter().filter(|(name, _)| name.starts_with("f.") || name == "g") {
                    input type="hidden" name=(name) value=(value);
                }
                p.row {
                    a.button href=(here) { "Cancel" }
                    button type="submit" formmethod="get" name="edit" value="1" { "Back to the form" }
                    button.main type="submit" { "Save" }
                }
            }
        }
    })
}

pub(super) async fn save(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app.pool(&name).await?;
    let back = format!("/admin/pools/{name}/settings?saved=1");
    let saved = match policy::changes(&fields, fields_of(&pool.policy), &pool.policy) {
        Ok(changes) => change(&app, &operator, &name, &fields, &changes, &back).await,
        Err(problem) => Err(problem),
    };
    match saved {
        Ok(saved) => Ok(saved),
        Err(problem) => {
            let forms = Forms {
                policy: Form::refused(PREFIX, &fields, policy::in_own_words(problem))?,
                ..Forms::new()
            };
            Ok(draw(&pool, &operator, &fields, &forms))
        }
    }
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
    let pool = app.pool(name).await?;
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
            "Somebody else changed the pool meanwhile. Nothing of yours was saved: look at the settings as they are now, and send yours again.",
        )),
    }
}

/// The form for a new pool, on the overview.
pub(super) fn new_pool(form: &Form<'_>) -> Markup {
    html! {
        section {
            h2 { "New pool" }
            form.row method="post" action="/admin/pools" {
                (form.text("name", "Name", "", ""))
                (form.text("capacity", "Seats", "", ""))
                (form.text("like", "Rules like those of the pool (optional)", "", ""))
                button.main type="submit" { "Create" }
            }
        }
    }
}

pub(super) async fn create(
    State(app): State<App>,
    operator: Operator,
    here: Here,
    fields: Fields,
) -> Result<Response, Problem> {
    match made(&app, &operator, &fields).await {
        Ok(name) => Ok(redirect(&format!("/admin/pools/{name}"))),
        Err(problem) => {
            let form = Form::refused("pool", &fields, problem)?;
            overview::draw(&app, &operator, &here, &Fields(Vec::new()), &form).await
        }
    }
}

/// The policy of a pool that a form names.
async fn policy_of(app: &App, name: &str) -> Result<Policy, Problem> {
    let pool = match name.parse() {
        Ok(name) => app.store().status(&name).await?,
        Err(_) => None,
    };
    pool.map(|pool| pool.policy).ok_or_else(|| {
        let sentence = "There is no pool of this name.";
        Problem::new(Code::InvalidRequest, sentence).at_field("like", sentence)
    })
}

async fn made(app: &App, operator: &Operator, fields: &Fields) -> Result<PoolName, Problem> {
    let invalid = |invalid: crate::names::Invalid| {
        let sentence = format!("It is not created: {invalid}.");
        Problem::new(Code::InvalidRequest, sentence.clone()).at_field("name", sentence)
    };
    let name: PoolName = fields
        .get("name")
        .unwrap_or_default()
        .parse()
        .map_err(invalid)?;
    name.check().map_err(invalid)?;
    let capacity = whole("capacity", fields.get("capacity").unwrap_or_default())?;
    let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
    let policy = match fields.get("like") {
        None => Policy::with_capacity(capacity),
        // What is only for a time, or for somebody, is not taken over.
        Some(like) => Policy {
            capacity,
            maintenance: None,
            schedule: Vec::new(),
            ..policy_of(app, like).await?
        },
    };
    let policy = checked(policy)?;
    operator.notes.pool(&name);
    operator.notes.after(&policy);
    match app.store().put_pool(&name, &policy, Expect::None).await? {
        Put::Created(_) | Put::Replaced(_) => Ok(name),
        Put::InUse => Err(in_use()),
        Put::Conflict(_) => {
            let detail = "There is a pool of this name already. Choose another, or change that one in its settings.";
            let problem = Problem::new(Code::PreconditionFailed, detail).at_field("name", detail);
            Err(problem.with("pool", json!(name)))
        }
    }
}
