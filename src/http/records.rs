//! Access keys and webhooks: how one is changed, gets a new secret, and is deleted.
//!
//! A change is written over the record that it was made of, and over no other. Where somebody else was faster it is made once more,
//! of theirs.

use serde::Serialize;

use super::App;
use super::access::Operator;
use super::problem::{Code, Problem};
use crate::store;
use crate::time::Timestamp;

/// How long the former secret stays good unless the caller says otherwise: a day, in milliseconds.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The longest overlap: 90 days, in milliseconds.
const MAX_OVERLAP_MS: u64 = 90 * DAY_MS;

/// A record of which every node has a copy.
pub(super) trait Record: Clone {
    /// Reads again what was changed elsewhere.
    async fn refresh(app: &App) -> Result<(), store::Error>;
    /// The record of this id, as this node knows it.
    fn find(app: &App, operator: &Operator, id: &str) -> Result<Self, Problem>;
    /// What the trail has of it.
    fn noted(&self, app: &App) -> impl Serialize;
    /// Refuses what does not fit together.
    fn check(&self, app: &App) -> Result<(), Problem>;
    /// Refuses what the caller may not make.
    fn check_given(&self, operator: &Operator) -> Result<(), Problem>;
    /// Writes it over the record `before`; `false` if that is another one by now. The copy was read again then.
    async fn write(&self, app: &App, before: &Self) -> Result<bool, store::Error>;
    /// Deletes it; `false` if it is another one by now. The copy was read again then.
    async fn delete(&self, app: &App) -> Result<bool, store::Error>;
    /// Whether the caller may know of a record of this id that only a later version can read.
    fn is_newer(app: &App, operator: &Operator, id: &str) -> bool;
    /// Deletes a record that only a later version can read; `false` if it is another one by now. The copy was read again then.
    async fn delete_newer(app: &App, id: &str) -> Result<bool, store::Error>;
}

/// How often a change is made again because somebody else was faster.
const TRIES: u32 = 8;

/// Somebody else was faster each time.
fn contested() -> Problem {
    Problem::new(
        Code::StoreUnavailable,
        "This was changed by others again and again, so nothing was written. Send the request again.",
    )
    .with("outcome", store::Outcome::None.as_str())
}

/// Changes a record, and returns it with what `edit` made.
pub(super) async fn change<R: Record, T>(
    app: &App,
    operator: &Operator,
    id: &str,
    edit: impl Fn(&mut R) -> Result<T, Problem>,
) -> Result<(R, T), Problem> {
    operator.notes.target(id);
    R::refresh(app).await?;
    for _ in 0..TRIES {
        // It may be gone by now.
        let before = R::find(app, operator, id)?;
        let mut after = before.clone();
        let made = edit(&mut after)?;
        after.check(app)?;
        operator.notes.before(&before.noted(app));
        operator.notes.after(&after.noted(app));
        after.check_given(operator)?;
        if after.write(app, &before).await? {
            return Ok((after, made));
        }
    }
    Err(contested())
}

/// Gives a record a new secret with `roll`, which gets the end of the former one, and returns both.
pub(super) async fn roll<R: Record, T>(
    app: &App,
    operator: &Operator,
    id: &str,
    overlap_ms: u64,
    roll: impl Fn(&mut R, Timestamp) -> T,
) -> Result<(R, T), Problem> {
    if overlap_ms > MAX_OVERLAP_MS {
        return Err(Problem::new(
            Code::InvalidRequest,
            "`overlap_ms` is at most 90 days.",
        ));
    }
    change(app, operator, id, |record| {
        let until = app.0.store.now().0.saturating_add_unsigned(overlap_ms);
        Ok(roll(record, Timestamp(until)))
    })
    .await
}

/// Deletes a record.
pub(super) async fn delete<R: Record>(
    app: &App,
    operator: &Operator,
    id: &str,
) -> Result<(), Problem> {
    operator.notes.target(id);
    R::refresh(app).await?;
    for _ in 0..TRIES {
        let is_deleted = if R::is_newer(app, operator, id) {
            R::delete_newer(app, id).await?
        } else {
            let before = R::find(app, operator, id)?;
            operator.notes.before(&before.noted(app));
            before.delete(app).await?
        };
        if is_deleted {
            return Ok(());
        }
    }
    Err(contested())
}
