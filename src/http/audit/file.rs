//! The trail as a file, which is written while it is read: an entry may have two policies of a hundred kilobytes, so all of them
//! together would be more than the node has memory for.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::AuditQuery;
use crate::http::App;
use crate::http::accept;
use crate::http::access::Caller;
use crate::http::csv::{self, Cell};
use crate::http::problem::Problem;
use crate::names::PoolName;
use crate::store::{AuditEntry, AuditFilter, Error, Store};

/// Entries of a file that is not asked for by the page, at most.
const MAX_ENTRIES: usize = 100_000;
/// Entries that are in memory at once.
const CHUNK: usize = 50;

const COLUMNS: [&str; 14] = [
    "at",
    "actor",
    "actor_name",
    "action",
    "pool",
    "target",
    "outcome",
    "status",
    "code",
    "before",
    "after",
    "request_id",
    "address",
    "times",
];

/// The entries as a file with one on each line.
pub(crate) async fn lines(
    app: &App,
    caller: &Caller,
    wanted: AuditQuery,
) -> Result<Response, Problem> {
    let entries = body(
        app,
        wanted.limit,
        wanted.filter(caller)?,
        Vec::new(),
        |entries| {
            let mut text = Vec::new();
            for entry in entries {
                serde_json::to_writer(&mut text, &entry).expect("an entry has a JSON form");
                text.push(b'\n');
            }
            text
        },
    );
    let headers = [
        (CONTENT_TYPE, accept::JSON_LINES),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"leasehold-audit.jsonl\"",
        ),
    ];
    Ok((headers, entries.await?).into_response())
}

/// The entries as a table.
pub(crate) async fn csv(
    app: &App,
    caller: &Caller,
    wanted: AuditQuery,
) -> Result<Response, Problem> {
    let head = csv::rows([COLUMNS.map(Cell::plain).to_vec()]);
    let table = body(app, wanted.limit, wanted.filter(caller)?, head, |entries| {
        csv::rows(entries.into_iter().map(row))
    });
    Ok(csv::response("leasehold-audit", table.await?))
}

fn row(AuditEntry { at, action, .. }: AuditEntry) -> Vec<Cell> {
    let json = |value: Option<serde_json::Value>| {
        Cell::Text(value.map(|value| value.to_string()).unwrap_or_default())
    };
    vec![
        Cell::plain(&at),
        Cell::Text(action.actor),
        Cell::Text(action.actor_name),
        Cell::Text(action.action),
        Cell::text(action.pool.as_ref().map(PoolName::as_str)),
        Cell::text(action.target.as_deref()),
        Cell::Text(action.outcome),
        Cell::plain(&action.status),
        Cell::text(action.code.as_deref()),
        json(action.before),
        json(action.after),
        Cell::text(action.request_id.as_deref()),
        Cell::text(action.address.as_deref()),
        Cell::plain(&action.times),
    ]
}

/// What is still to be read of the trail.
struct Rest {
    store: Store,
    filter: AuditFilter,
    entries: usize,
}

impl Rest {
    /// The next entries, and what comes behind them.
    async fn read(mut self) -> Result<(Vec<AuditEntry>, Option<Self>), Error> {
        self.filter.limit = CHUNK.min(self.entries);
        let (entries, next) = self.store.audit_entries(&self.filter).await?;
        self.entries -= entries.len();
        self.filter.before = next;
        let is_over = self.filter.before.is_none() || self.entries == 0;
        Ok((entries, (!is_over).then_some(self)))
    }
}

/// The entries behind `head`: a page if its size is named, else all. The first are read before the answer begins, so whatever is wrong
/// is a problem like any other; later an answer can only break off.
async fn body(
    app: &App,
    page: Option<usize>,
    filter: AuditFilter,
    head: Vec<u8>,
    text: impl Fn(Vec<AuditEntry>) -> Vec<u8> + Send + 'static,
) -> Result<Body, Problem> {
    let rest = Rest {
        store: app.store().clone(),
        entries: page.unwrap_or(MAX_ENTRIES),
        filter,
    };
    let (first, rest) = rest.read().await?;
    let others = stream::try_unfold(rest, async |rest| match rest {
        Some(rest) => rest.read().await.map(Some),
        None => Ok(None),
    });
    let entries = stream::iter([Ok(first)]).chain(others);
    let texts = entries.map_ok(move |entries| Bytes::from(text(entries)));
    let texts = stream::iter([Ok(Bytes::from(head))]).chain(texts);
    Ok(Body::from_stream(texts))
}
