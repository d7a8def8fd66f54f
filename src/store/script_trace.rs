//! Which scripts ran for one request, in which order of their bucket, and whether a replica has what they wrote.
//!
//! Carried alongside the calls and not in their results: what a lease is does not depend on it. Without somebody who follows
//! a request it costs one look at a thread-local.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use crate::time::Timestamp;

tokio::task_local! {
    static SCRIPT_TRACE: ScriptTrace;
}

/// The scripts of one request. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ScriptTrace(Arc<Mutex<Vec<ScriptStep>>>);

/// One script that ran.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScriptStep {
    pub(super) script: &'static str,
    /// Its number in the order of the bucket.
    pub(super) seq: u64,
    /// Redis's clock when it ran, ms.
    pub(super) at: i64,
    /// Whether a replica has what it wrote; none if nobody waited for that.
    pub(super) durable: Option<bool>,
}

impl ScriptTrace {
    /// Runs a request whose scripts are to be known.
    pub async fn follow<T>(&self, request: impl Future<Output = T>) -> T {
        SCRIPT_TRACE.scope(self.clone(), request).await
    }

    /// Whether replicas have all that was written; none if nobody waited for that.
    pub fn durable(&self) -> Option<bool> {
        let steps = self.0.lock().expect("no panic while held");
        steps
            .iter()
            .filter_map(|step| step.durable)
            .reduce(|all, one| all && one)
    }

    /// `acquire 17 1795000000000, …`: script, number, instant.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for step in self.0.lock().expect("no panic while held").iter() {
            let comma = if text.is_empty() { "" } else { ", " };
            write!(text, "{comma}{} {} {}", step.script, step.seq, step.at)
                .expect("a string takes any text");
        }
        text
    }
}

/// Whether replicas have all that the present request wrote; none if nobody waited for that.
pub fn durable() -> Option<bool> {
    SCRIPT_TRACE.try_with(ScriptTrace::durable).ok().flatten()
}

/// Takes the trail of the present request into a task of its own.
pub fn carry<T>(task: impl Future<Output = T>) -> impl Future<Output = T> {
    let trace = SCRIPT_TRACE.try_with(ScriptTrace::clone).ok();
    async move {
        match trace {
            Some(trace) => trace.follow(task).await,
            None => task.await,
        }
    }
}

/// Notes a renewal, whose script ran in the task that collects them.
pub(super) fn note_renewal(seq: u64, at: Timestamp) {
    note(ScriptStep {
        script: "renew",
        seq,
        at: at.0,
        durable: None,
    });
}

/// Notes a script that ran for the present request.
pub(super) fn note(step: ScriptStep) {
    // Nobody follows: the usual case.
    let _ = SCRIPT_TRACE.try_with(|trace| trace.0.lock().expect("no panic while held").push(step));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_followed_into_its_tasks() {
        let step = |durable| ScriptStep {
            script: "acquire",
            seq: 7,
            at: 9,
            durable,
        };
        let trace = ScriptTrace::default();
        trace
            .follow(async {
                note(step(Some(true)));
                let task = tokio::spawn(carry(async move { note(step(None)) }));
                task.await.unwrap();
                assert_eq!(durable(), Some(true));
                note(step(Some(false)));
            })
            .await;
        assert_eq!(trace.to_text(), "acquire 7 9, acquire 7 9, acquire 7 9");
        assert_eq!(trace.durable(), Some(false));
        assert_eq!(durable(), None);
        note(step(None));
    }
}
