//! `leasehold apply`: pools, keys and webhooks as files declare them.
//!
//! Nothing is deleted, and nobody's seat is ended. What is the same is not written, so applying twice is applying once; after a
//! failure the next run goes on.

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::declared::{Declared, DeclaredKey, DeclaredWebhook, WrittenStates};
use super::export::{declared_key, declared_webhook, policy, text};
use super::remote::Remote;
use super::{Exit, Failure};
use crate::names::{PoolName, shown_lines};
use crate::pool::Policy;
use crate::stderr;
use crate::webhook::WebhookFormat;

#[derive(Debug, clap::Args)]
pub(super) struct Apply {
    /// File or directory to read, - for stdin; may be given more than once
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print what would be done, and do nothing; ends with 10 if there is something to do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: Remote,
}

/// What is to be done with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Create,
    Change,
    Same,
}

/// A field that becomes another. One that is not said has its default: null is a value of some fields.
#[derive(Debug, Serialize)]
struct FieldChange {
    field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

/// One thing of the files, held against what is there.
#[derive(Debug, Serialize)]
struct Planned {
    kind: &'static str,
    name: String,
    action: Action,
    changes: Vec<FieldChange>,
    /// What it means for people, if they feel it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Shown once, after it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip)]
    write: Option<Write>,
    /// Whether a pool gets fewer seats. Those come last, so that seats that move from one pool to another are never missing.
    #[serde(skip)]
    shrinks: bool,
}

/// The call that makes it so.
#[derive(Debug)]
struct Write {
    method: Method,
    path: String,
    condition: Option<(&'static str, String)>,
    body: Value,
}

pub(super) fn run(apply: &Apply) -> Result<Exit, Failure> {
    let remote = &apply.remote;
    let declared = Declared::read(&apply.files)?;
    let mut plan = plan(remote, &declared)?;
    if !remote.json {
        let lines: String = plan.iter().map(Planned::line).collect();
        // Names and messages are strings of others.
        super::print(&shown_lines(&lines))?;
    }
    let has_work = plan.iter().any(|planned| planned.action != Action::Same);
    if apply.dry_run {
        let end = if has_work { Exit::Changes } else { Exit::Ok };
        report(remote, &plan, "would be")?;
        return Ok(end);
    }
    let mut done = 0;
    for planned in &mut plan {
        match planned.write(remote) {
            Ok(wrote) => done += usize::from(wrote),
            Err(mut failure) => {
                failure.sentence = format!(
                    "the {} {}: {} ({done} were written before; apply again to go on)",
                    planned.kind, planned.name, failure.sentence
                );
                return Err(failure);
            }
        }
        if let (Some(secret), false) = (&planned.secret, remote.json) {
            super::print(&format!(
                "secret of the {} {}: {secret}\n",
                planned.kind, planned.name
            ))?;
        }
    }
    report(remote, &plan, "")
}

/// How many there were of each kind.
fn report(remote: &Remote, plan: &[Planned], mood: &str) -> Result<Exit, Failure> {
    if remote.json {
        return remote.show_json(&json!({ "plan": plan }));
    }
    let count = |action: Action| {
        plan.iter()
            .filter(|planned| planned.action == action)
            .count()
    };
    let mood = if mood.is_empty() {
        String::new()
    } else {
        format!("{mood} ")
    };
    stderr::say_line(format_args!(
        "{} {mood}created, {} {mood}changed, {} the same",
        count(Action::Create),
        count(Action::Change),
        count(Action::Same)
    ));
    Ok(Exit::Ok)
}

/// All that the files declare, in the order in which it is written: webhooks, of which only the server knows whether it lets them be,
/// so that nothing was written when it does not; keys, pools that get more seats, pools that get fewer.
fn plan(remote: &Remote, declared: &Declared) -> Result<Vec<Planned>, Failure> {
    let mut plan = Vec::new();
    if !declared.webhooks.is_empty() {
        let present = remote.list("/v1/webhooks", usize::MAX)?;
        for (name, webhook) in &declared.webhooks {
            let present = only_one(&present, "webhook", name)?;
            plan.push(plan_webhook(name, webhook, present)?);
        }
    }
    if !declared.keys.is_empty() {
        let present = remote.list("/v1/keys", usize::MAX)?;
        for (name, key) in &declared.keys {
            plan.push(plan_key(name, key, only_one(&present, "key", name)?)?);
        }
    }
    let mut pools = Vec::new();
    for (name, policy) in &declared.pools {
        let written = declared.written.get(name).copied().unwrap_or_default();
        pools.push(plan_pool(remote, name, policy, written)?);
    }
    pools.sort_by_key(|pool| pool.shrinks);
    plan.extend(pools);
    Ok(plan)
}

/// The thing of this name. Names of keys and webhooks are for people, so two may have the same.
fn only_one<'a>(
    present: &'a [Value],
    kind: &str,
    name: &str,
) -> Result<Option<&'a Value>, Failure> {
    let mut named = present.iter().filter(|thing| thing["name"] == name);
    let first = named.next();
    if named.next().is_some() {
        return Err(Failure::new(
            Exit::Usage,
            format!("two {kind}s are called {name}; give one another name, or remove it"),
        ));
    }
    Ok(first)
}

/// The fields that differ.
fn changes(from: &Value, to: &Value) -> Vec<FieldChange> {
    let nothing = Map::new();
    let (from, to) = (
        from.as_object().unwrap_or(&nothing),
        to.as_object().unwrap_or(&nothing),
    );
    let mut fields: Vec<&String> = from.keys().chain(to.keys()).collect();
    fields.sort();
    fields.dedup();
    let change = |field: &String| {
        let (from, to) = (from.get(field), to.get(field));
        (from != to).then(|| FieldChange {
            field: field.clone(),
            from: from.cloned(),
            to: to.cloned(),
        })
    };
    fields.into_iter().filter_map(change).collect()
}

fn json_of(thing: &impl Serialize) -> Value {
    serde_json::to_value(thing).expect("strings and numbers have a JSON form")
}

fn plan_pool(
    remote: &Remote,
    name: &PoolName,
    wanted: &Policy,
    written: WrittenStates,
) -> Result<Planned, Failure> {
    let path = format!("/v1/pools/{name}");
    let present = match remote.call(Method::GET, &path, None, "capacity") {
        Ok(pool) => Some(pool),
        Err(failure) if failure.code == "pool_not_found" => None,
        Err(failure) => return Err(failure),
    };
    let mut wanted = wanted.clone();
    let (mut planned, condition) = match present {
        None => {
            let created = Planned::new("pool", name.as_str(), Action::Create);
            (created, ("if-none-match", "*".to_owned()))
        }
        Some(pool) => {
            let version = pool["version"].as_u64().unwrap_or_default();
            let in_use = pool["in_use"].as_u64().unwrap_or_default();
            let before = policy(pool)?;
            if !written.maintenance {
                wanted.maintenance.clone_from(&before.maintenance);
            }
            if !written.schedule {
                wanted.schedule.clone_from(&before.schedule);
            }
            let mut planned = Planned::new("pool", name.as_str(), Action::Same);
            planned.changes = changes(&json_of(&before), &json_of(&wanted));
            planned.shrinks = wanted.capacity < before.capacity;
            let over = in_use.saturating_sub(wanted.capacity.into());
            if planned.shrinks && over > 0 {
                planned.note = Some(format!(
                    "{in_use} seats are in use; nothing is granted until {over} of them are free, and nobody is ended"
                ));
            }
            (planned, ("if-match", format!("\"{version}\"")))
        }
    };
    if planned.action == Action::Create {
        planned.changes = changes(&Value::Null, &json_of(&wanted));
    }
    planned.writes(Write {
        method: Method::PUT,
        path,
        condition: Some(condition),
        body: json_of(&wanted),
    });
    Ok(planned)
}

fn plan_key(name: &str, wanted: &DeclaredKey, present: Option<&Value>) -> Result<Planned, Failure> {
    let Some(present) = present else {
        let mut planned = Planned::new("key", name, Action::Create);
        let mut body = json_of(wanted);
        planned.changes = changes(&Value::Null, &body);
        body["name"] = name.into();
        planned.writes(Write {
            method: Method::POST,
            path: "/v1/keys".to_owned(),
            condition: None,
            body,
        });
        return Ok(planned);
    };
    let before = declared_key(present)?;
    if before.role != wanted.role {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "the key {name} has the role {}, and the role of a key cannot change; revoke it, or declare one of another name",
                before.role.as_str()
            ),
        ));
    }
    let (mut from, to) = (json_of(&before), json_of(wanted));
    // Limits that are left out stay.
    let limits = to["limits"].as_object().cloned().unwrap_or_default();
    match from["limits"].as_object_mut() {
        Some(known) if !limits.is_empty() => known.retain(|limit, _| limits.contains_key(limit)),
        _ => {
            if let Some(from) = from.as_object_mut() {
                from.remove("limits");
            }
        }
    }
    let mut planned = Planned::new("key", name, Action::Same);
    planned.changes = changes(&from, &to);
    let body = planned.changes.iter().map(|change| {
        // What is left out of a list means an empty one.
        let is_list = ["pools", "tenants", "origins"].contains(&&*change.field);
        let default = if is_list { json!([]) } else { Value::Null };
        (change.field.clone(), change.to.clone().unwrap_or(default))
    });
    let body = Value::Object(body.collect());
    planned.writes(Write {
        method: Method::PATCH,
        path: format!("/v1/keys/{}", text(present, "id")),
        condition: None,
        body,
    });
    Ok(planned)
}

fn plan_webhook(
    name: &str,
    wanted: &DeclaredWebhook,
    present: Option<&Value>,
) -> Result<Planned, Failure> {
    let mut wanted = wanted.clone();
    wanted.events.sort_unstable();
    wanted.events.dedup();
    if WebhookFormat::guess(&wanted.url) == WebhookFormat::Email {
        wanted.format = WebhookFormat::Email;
    }
    let mut body = json_of(&wanted);
    let (mut planned, method, path) = match present {
        None => {
            let mut planned = Planned::new("webhook", name, Action::Create);
            planned.changes = changes(&Value::Null, &body);
            (planned, Method::POST, "/v1/webhooks".to_owned())
        }
        Some(present) => {
            let mut before = declared_webhook(present)?;
            before.events.sort_unstable();
            let mut planned = Planned::new("webhook", name, Action::Same);
            planned.changes = changes(&json_of(&before), &body);
            let id = text(present, "id");
            let id = utf8_percent_encode(&id, NON_ALPHANUMERIC);
            (planned, Method::PUT, format!("/v1/webhooks/{id}"))
        }
    };
    body["name"] = name.into();
    body["enabled"] = wanted.enabled.into();
    planned.writes(Write {
        method,
        path,
        condition: None,
        body,
    });
    Ok(planned)
}

impl Planned {
    fn new(kind: &'static str, name: &str, action: Action) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            action,
            changes: Vec::new(),
            note: None,
            secret: None,
            write: None,
            shrinks: false,
        }
    }

    /// Notes how it is written, if there is something to write.
    fn writes(&mut self, write: Write) {
        if self.action == Action::Same && !self.changes.is_empty() {
            self.action = Action::Change;
        }
        self.write = (self.action != Action::Same).then_some(write);
    }

    /// For people: what is to be done, and what changes.
    fn line(&self) -> String {
        let sign = match self.action {
            Action::Create => '+',
            Action::Change => '~',
            Action::Same => '=',
        };
        let mut lines = format!("{sign} {} {}\n", self.kind, self.name);
        for FieldChange { field, from, to } in &self.changes {
            lines += &match (from, to) {
                (Some(from), Some(to)) => format!("    {field}: {from} → {to}\n"),
                (Some(from), None) => format!("    {field}: {from} → default\n"),
                (None, to) => format!("    {field}: {}\n", to.clone().unwrap_or_default()),
            };
        }
        if let Some(note) = &self.note {
            lines += &format!("    {note}\n");
        }
        lines
    }

    /// Writes it, if there is something to write.
    fn write(&mut self, remote: &Remote) -> Result<bool, Failure> {
        let Some(write) = self.write.take() else {
            return Ok(false);
        };
        let client = remote.client()?;
        let condition: Vec<(&str, &str)> = write
            .condition
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = remote.run(async {
            let answer = client
                .call(write.method, &write.path, &condition, Some(&write.body))
                .await?;
            Ok(answer)
        })?;
        self.secret = answer["secret"].as_str().map(str::to_owned);
        Ok(true)
    }
}
