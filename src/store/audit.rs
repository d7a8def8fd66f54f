//! The audit trail: who did what, when. Entries are added and never changed.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::error::Error;
use super::keys::AUDIT;
use super::unreadable::Kind;
use super::{EventId, Store, json};
use crate::names::{Invalid, PoolName};
use crate::scope::Scope;
use crate::time::Timestamp;

/// About how many entries are kept; the oldest go first. At ten actions a minute that is ten weeks.
const KEPT: u32 = 1_000_000;
/// Entries that one read fetches at a time, unless fewer are wanted, and at most in all: a filter that matches little must not
/// hold Redis.
const CHUNK: usize = 500;
const SMALL_CHUNK: usize = 51;
const SCANNED: usize = 20_000;

/// What an operator did, or was not allowed to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// Who: the id of a key, `admin_key` for the one in the settings, `open` where no key is asked for, or
    /// `unknown` for a credential that is none.
    #[schema(example = "V1StGXR8Z5jd")]
    pub actor: String,
    /// The name of the key, for people.
    #[schema(example = "Anna, shift lead")]
    pub actor_name: String,
    /// What, such as `pool.put`, `leases.terminate` or `key.revoke`.
    #[schema(example = "leases.terminate")]
    pub action: String,
    /// The pool that it was about.
    #[schema(value_type = Option<String>, example = "crm")]
    pub pool: Option<PoolName>,
    /// What else it was about: the id of a key, a holder.
    pub target: Option<String>,
    /// `done`, `refused` (not allowed), or `failed` (allowed, and something else was wrong).
    #[schema(example = "done")]
    pub outcome: String,
    /// The HTTP status that the caller got.
    #[schema(example = 200)]
    pub status: u16,
    /// The code of the problem, if it was one.
    pub code: Option<String>,
    /// How it was before.
    pub before: Option<Value>,
    /// How it is after, or what was asked.
    pub after: Option<Value>,
    /// The request, as in the node's log and in the answer's `x-request-id`.
    pub request_id: Option<String>,
    /// The network address that it came from.
    pub address: Option<String>,
    /// How often. More than once only where refused requests were repeated: the entry is about the last of them.
    #[serde(default = "once")]
    #[schema(example = 1)]
    pub times: u64,
}

/// Entries of earlier versions have no count.
const fn once() -> u64 {
    1
}

/// An action in the trail.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Its place in the trail; grows.
    #[schema(example = "1795000000000-0")]
    pub id: String,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was done.
    #[serde(flatten)]
    pub action: Action,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionOutcome {
    /// It was done.
    Done,
    /// It was not allowed.
    Refused,
    /// It was allowed, and something else was wrong.
    Failed,
}

impl ActionOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Failed];

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for ActionOutcome {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        let outcome = Self::ALL.into_iter().find(|one| one.as_str() == word);
        outcome.ok_or_else(|| {
            Invalid("an outcome is one of `done`, `refused` and `failed`".to_owned())
        })
    }
}

/// Entries about some pools, and those of one actor.
#[derive(Debug, Clone)]
pub struct OwnEntries {
    /// The pools.
    pub scope: Scope,
    /// The actor.
    pub actor: String,
}

/// Which entries are wanted; newest first.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only by this actor.
    pub actor: Option<String>,
    /// Only actions that begin with this: `key` for all about keys.
    pub action: Option<String>,
    /// Only about this pool.
    pub pool: Option<PoolName>,
    /// Only with this outcome.
    pub outcome: Option<ActionOutcome>,
    /// Only these, of a caller who sees no others.
    pub own: Option<OwnEntries>,
    /// From this instant on, ms.
    pub from_ms: Option<i64>,
    /// Before this instant, ms.
    pub to_ms: Option<i64>,
    /// Only before this place.
    pub before: Option<String>,
    /// Most entries.
    pub limit: usize,
}

impl AuditFilter {
    fn matches(&self, action: &Action) -> bool {
        self.actor
            .as_ref()
            .is_none_or(|actor| action.actor == *actor)
            && self
                .action
                .as_ref()
                .is_none_or(|prefix| action.action.starts_with(prefix.as_str()))
            && self
                .pool
                .as_ref()
                .is_none_or(|pool| action.pool.as_ref() == Some(pool))
            && self
                .outcome
                .is_none_or(|outcome| action.outcome == outcome.as_str())
            && self.own.as_ref().is_none_or(|own| {
                let pool = action.pool.as_ref();
                action.actor == own.actor || pool.is_some_and(|pool| own.scope.is_for(pool))
            })
    }

    /// Whether a string is a place in the trail.
    pub fn is_place(text: &str) -> bool {
        text.contains('-') && text.parse::<EventId>().is_ok()
    }
}

impl Store {
    /// Adds an action to the trail.
    pub async fn record_action(&self, action: &Action) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("XADD")
            .arg(AUDIT)
            .arg("MAXLEN")
            .arg("~")
            .arg(KEPT)
            .arg("*")
            .arg("action")
            .arg(json(action))
            .exec_async(&mut *connection)
            .await?)
    }

    /// A page of the trail, and the place where the next one begins.
    pub async fn audit_entries(
        &self,
        wanted: &AuditFilter,
    ) -> Result<(Vec<AuditEntry>, Option<String>), Error> {
        let mut found = Vec::new();
        let before = wanted.before.as_deref();
        let before: Option<EventId> = before.and_then(|before| before.parse().ok());
        // Redis knows no place before the first.
        if wanted.to_ms.is_some_and(|to_ms| to_ms <= 0) || before == Some(EventId::default()) {
            return Ok((found, None));
        }
        let mut end = match (&wanted.before, wanted.to_ms) {
            (Some(before), _) => format!("({before}"),
            (None, Some(to_ms)) => format!("({to_ms}-0"),
            (None, None) => "+".to_owned(),
        };
        let begin = wanted
            .from_ms
            .map_or_else(|| "-".to_owned(), |from_ms| format!("{}-0", from_ms.max(0)));
        let chunk = (wanted.limit + 1).clamp(SMALL_CHUNK, CHUNK);
        let mut scanned = 0;
        loop {
            let mut connection = self.0.connections.get().await?;
            let entries: Vec<(String, Vec<String>)> = redis::cmd("XREVRANGE")
                .arg(AUDIT)
                .arg(&end)
                .arg(&begin)
                .arg("COUNT")
                .arg(chunk)
                .query_async(&mut *connection)
                .await?;
            drop(connection);
            let last = entries.len() < chunk;
            scanned += entries.len();
            for (id, fields) in entries {
                end = format!("({id}");
                let action = fields
                    .get(1)
                    .map(|text| serde_json::from_str::<Action>(text));
                let Some(Ok(action)) = action else {
                    self.0.unreadable.note(Kind::AuditEntry, &id);
                    continue;
                };
                if !wanted.matches(&action) {
                    continue;
                }
                if found.len() == wanted.limit {
                    let next = found
                        .last()
                        .map(|recorded: &AuditEntry| recorded.id.clone());
                    return Ok((found, next));
                }
                let ms = id.split('-').next().and_then(|ms| ms.parse().ok());
                let at = Timestamp(ms.unwrap_or_default());
                found.push(AuditEntry { id, at, action });
            }
            if last {
                return Ok((found, None));
            }
            if scanned >= SCANNED {
                return Ok((found, Some(end.trim_start_matches('(').to_owned())));
            }
        }
    }
}
