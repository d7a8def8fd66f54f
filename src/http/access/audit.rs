//! What is written down about an action: the guard knows who and whether, the handler knows what.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::Caller;
use crate::http::App;
use crate::http::problem::{Code, Logged};
use crate::http::request_id;
use crate::names::PoolName;
use crate::store::{Action, Store};

/// What a handler knows about an action, for the trail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<AuditDetails>>);

#[derive(Debug, Default)]
struct AuditDetails {
    caller: Option<Caller>,
    pool: Option<PoolName>,
    target: Option<String>,
    before: Option<Value>,
    after: Option<Value>,
}

impl Notes {
    /// Who did it.
    pub(super) fn by(&self, caller: Caller) {
        self.noted(|noted| noted.caller = Some(caller));
    }

    /// The pool that it was about, where the path does not name it.
    pub(crate) fn pool(&self, pool: &PoolName) {
        self.noted(|noted| noted.pool = Some(pool.clone()));
    }

    /// What it was about, besides the pool.
    pub(crate) fn target(&self, target: &(impl ToString + ?Sized)) {
        self.noted(|noted| noted.target = Some(target.to_string()));
    }

    /// How it was before. Must not hold a secret.
    pub(crate) fn before(&self, before: &impl Serialize) {
        self.noted(|noted| noted.before = serde_json::to_value(before).ok());
    }

    /// How it is after, or what was asked. Must not hold a secret.
    pub(crate) fn after(&self, after: &impl Serialize) {
        self.noted(|noted| noted.after = serde_json::to_value(after).ok());
    }

    fn noted(&self, note: impl FnOnce(&mut AuditDetails)) {
        note(&mut self.0.lock().expect("no panic while held"));
    }
}

/// Size of what was before and after together from which an entry keeps only what differs, in bytes of JSON.
const KEPT_WHOLE: usize = 8_192;

/// Leaves out what is the same before and after, where the two are large: a policy may name a thousand tenants, of which one has changed.
fn keep_differences(before: &mut Option<Value>, after: &mut Option<Value>) {
    let (Some(before), Some(after)) = (before, after) else {
        return;
    };
    if before.to_string().len() + after.to_string().len() > KEPT_WHOLE {
        drop_equal(before, after);
    }
}

fn drop_equal(before: &mut Value, after: &mut Value) {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return;
    };
    before.retain(|name, value| match after.get_mut(name) {
        Some(other) if value == other => {
            after.remove(name);
            false
        }
        Some(other) => {
            drop_equal(value, other);
            true
        }
        None => true,
    });
}

/// How a request ended.
pub(super) struct RequestOutcome {
    status: StatusCode,
    code: Option<Code>,
}

impl RequestOutcome {
    pub(super) fn of(response: &Response) -> Self {
        Self {
            status: response.status(),
            code: response
                .extensions()
                .get::<Logged>()
                .map(|logged| logged.code),
        }
    }
}

/// An entry of the trail that is about to be written.
pub(super) struct Entry {
    pub(super) action: &'static str,
    pub(super) pool: Option<PoolName>,
    pub(super) address: Option<IpAddr>,
    pub(super) notes: Notes,
}

impl Entry {
    /// Writes it. The answer stands whatever becomes of the entry: the action has happened.
    pub(super) async fn write(self, app: &App, ended: RequestOutcome, otherwise: &str) {
        write(&app.0.store, &self.action(&ended, otherwise)).await;
    }

    /// What there is to write.
    pub(super) fn action(self, ended: &RequestOutcome, otherwise: &str) -> Action {
        let mut noted = std::mem::take(&mut *self.notes.0.lock().expect("no panic while held"));
        keep_differences(&mut noted.before, &mut noted.after);
        let &RequestOutcome { status, code } = ended;
        let outcome = if status.is_success() || status.is_redirection() {
            "done"
        } else if matches!(code, Some(Code::Forbidden | Code::Unauthorized)) {
            "refused"
        } else {
            otherwise
        };
        let caller = noted.caller.as_ref();
        Action {
            actor: caller.map_or(super::UNKNOWN, Caller::id).to_owned(),
            actor_name: caller.map_or(super::UNKNOWN, Caller::name).to_owned(),
            action: self.action.to_owned(),
            pool: self.pool.or(noted.pool),
            target: noted.target,
            outcome: outcome.to_owned(),
            status: status.as_u16(),
            code: code.map(|code| code.as_str().to_owned()),
            before: noted.before,
            after: noted.after,
            request_id: request_id::current().map(|id| id.to_string()),
            address: self.address.map(|address| address.to_string()),
            times: 1,
        }
    }
}

/// Writes an entry into the log and into the trail. Returns whether the store took it.
pub(super) async fn write(store: &Store, action: &Action) -> bool {
    let often = match action.times {
        1 => String::new(),
        times => format!(", {times} times"),
    };
    tracing::info!(
        actor = action.actor,
        action = action.action,
        outcome = action.outcome,
        pool.name = action.pool.as_ref().map(PoolName::as_str),
        times = action.times,
        "{} by {}: {}{often}",
        action.action,
        action.actor,
        action.outcome,
    );
    let recorded = store.record_action(action).await;
    if let Err(error) = &recorded {
        tracing::error!(error = %error, "an action is in this log and not in the audit trail: {error}");
    }
    recorded.is_ok()
}
