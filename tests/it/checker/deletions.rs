//! What was granted in a pool that was deleted never has a seat in another one of its name.

use std::collections::HashMap;

use super::{History, Kind, Operation, Outcome};

/// Checks what clients heard in the pool that is created again all the time. Its clients ask one after the other.
pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    let deletions: Vec<&Operation> = history
        .remade
        .iter()
        .filter(|operation| operation.kind == Kind::Delete && operation.outcome == Outcome::Done)
        .collect();
    let mut granted: HashMap<&str, f64> = HashMap::new();
    for operation in &history.remade {
        if matches!(operation.outcome, Outcome::Granted | Outcome::Existing) {
            granted.entry(&operation.id).or_insert(operation.received);
        }
    }
    for operation in &history.remade {
        let lives = matches!(
            operation.outcome,
            Outcome::Renewed | Outcome::Resumed | Outcome::Existing
        );
        let Some(since) = granted.get(&*operation.id).filter(|_| lives) else {
            continue;
        };
        // A deletion whose data was lost is none.
        let deleted = deletions.iter().find(|deletion| {
            *since < deletion.sent
                && deletion.received < operation.sent
                && !history.may_be_lost(deletion)
                && !history.lossy_after(deletion.at())
                && history.segment_of(deletion.at()) == history.segment_of(operation.at())
        });
        if let Some(deletion) = deleted {
            wrong.push(format!("deleted: after {deletion:?} lives {operation:?}"));
        }
    }
}
