//! A blocked holder gets no seat until the block is over or lifted, and nobody else gets that denial.

use std::collections::HashMap;

use super::{CLOCK_SLACK, History, Kind, Operation, Outcome};

/// Checks what each holder heard.
pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    let mut holders: HashMap<&str, Vec<&Operation>> = HashMap::new();
    for operation in &history.operations {
        let is_about_one = matches!(operation.kind, Kind::Block | Kind::Unblock | Kind::Acquire);
        if is_about_one && operation.outcome != Outcome::NotRun {
            holders
                .entry(&operation.holder)
                .or_default()
                .push(operation);
        }
    }
    for mut operations in holders.into_values() {
        operations.sort_by(|a, b| a.sent.total_cmp(&b.sent));
        check_one(history, &operations, wrong);
    }
}

/// In the order in which a holder asked.
fn check_one(history: &History, operations: &[&Operation], wrong: &mut Vec<String>) {
    let (mut surely, mut perhaps): (Option<&Operation>, Option<&Operation>) = (None, None);
    for operation in operations.iter().copied() {
        match (operation.kind, operation.outcome) {
            (Kind::Block, Outcome::Done) => (surely, perhaps) = (Some(operation), Some(operation)),
            // It may run later than the client gave up.
            (Kind::Block, _) => (surely, perhaps) = (None, Some(operation)),
            (Kind::Unblock, Outcome::Done) => {
                surely = None;
                // A copy of the block may have come later.
                perhaps = perhaps.filter(|block| history.may_repeat(block));
            }
            (Kind::Unblock, _) => surely = None,
            (_, Outcome::Granted) => {
                let at = operation.expires_at - history.ttl;
                if let Some(block) = surely
                    && at < block.expires_at
                    && !history.may_be_lost(block)
                    && !history.lossy_after(block.at())
                    && history.segment_of(block.at()) == history.segment_of(at)
                {
                    wrong.push(format!("block: {block:?} did not hold: {operation:?}"));
                }
            }
            (_, Outcome::Blocked) => {
                let longest = |block: &Operation| match block.outcome {
                    Outcome::Done if !history.may_repeat(block) => {
                        block.expires_at as f64 + CLOCK_SLACK
                    }
                    _ => f64::INFINITY,
                };
                if !perhaps.is_some_and(|block| (operation.at() as f64) < longest(block))
                    && !history.lossy_after(operation.at())
                    && !history.may_be_lost(operation)
                {
                    wrong.push(format!("block: nobody blocked {operation:?}"));
                }
            }
            _ => {}
        }
    }
}
