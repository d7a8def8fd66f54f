//! Heartbeats of a pool whose policy has `idle` or `max_hold`, of users who are active, or idle as they were. Nearly all are like that, so they
//! have a small script; what has to be decided goes on in `renew_by_rules.rs`.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::renew::active_at;
use super::renewals::{Heartbeat, RECORD_MARGIN, RenewOutcome};
use super::script::Change;
use super::scripts;
use super::scripts::renew_by_rules::LooksAt;
use super::scripts::renew_unchanged as script;
use crate::lease::{Ends, EndsBy, Eviction};
use crate::names::{Activities, Label};

impl Store {
    /// Renews heartbeats of one pool. The answers are in the same order. `sample`: one is also looked at, how late it is.
    pub(super) async fn renew_watched(
        &self,
        beats: &[Heartbeat],
        sample: bool,
    ) -> Result<Vec<RenewOutcome>, Error> {
        let is_held_long = |beat: &Heartbeat| {
            let report = beat.report.as_ref();
            report.is_some_and(|report| report.looks_at != LooksAt::Use)
        };
        let (mut left, unchanged): (Vec<usize>, Vec<usize>) =
            (0..beats.len()).partition(|at| is_held_long(&beats[*at]));
        let some = |places: &[usize]| -> Vec<&Heartbeat> {
            places.iter().map(|place| &beats[*place]).collect()
        };
        let mut outcomes: Vec<Option<RenewOutcome>> = vec![None; beats.len()];
        if !unchanged.is_empty() {
            let renewed = self.renew_unchanged(&some(&unchanged), sample).await?;
            for (place, outcome) in unchanged.iter().zip(renewed) {
                match outcome {
                    Some(outcome) => outcomes[*place] = Some(outcome),
                    None => left.push(*place),
                }
            }
        }
        if !left.is_empty() {
            left.sort_unstable();
            let decided = self.renew_by_rules(&some(&left)).await;
            let decided = decided.map_err(|error| match unchanged.is_empty() {
                true => error,
                // The others have been renewed, so it is not said that nothing was done.
                false => error.may_have_run(),
            })?;
            for (place, outcome) in left.into_iter().zip(decided) {
                outcomes[place] = Some(outcome);
            }
        }
        let outcomes = outcomes.into_iter();
        Ok(outcomes
            .map(|outcome| outcome.unwrap_or(RenewOutcome::Unclear))
            .collect())
    }

    /// Renews those by which nothing is decided; none for the others.
    async fn renew_unchanged(
        &self,
        beats: &[&Heartbeat],
        sample: bool,
    ) -> Result<Vec<Option<RenewOutcome>>, Error> {
        let keys = Keys::of(&beats[0].pool);
        let heartbeats: Vec<script::Heartbeat> = beats
            .iter()
            .map(|beat| script::Heartbeat { id: beat.id })
            .collect();
        let reports: Vec<script::Report> = (1..)
            .zip(beats)
            .filter_map(|(place, beat)| {
                let unused_for = beat.report?.unused_for;
                Some(script::Report { place, unused_for })
            })
            .collect();
        let touched = touched(beats);
        let details: Vec<script::Detail<'_>> = touched
            .iter()
            .map(|(heartbeat, beat, activities)| script::Detail {
                heartbeat: *heartbeat,
                label: Change(beat.label.as_ref().map(Label::as_str)),
                activities: Change(activities.as_deref()),
                read: beat.details,
            })
            .collect();
        let call = scripts::RenewUnchanged {
            keys: &keys,
            margin: RECORD_MARGIN,
            sample,
            heartbeats: &heartbeats,
            reports: &reports,
            details: &details,
        };
        let reply = self.call(keys.bucket, &call).await?;
        if let Some(rest) = reply.rest {
            self.0.meters.beaten(rest, reply.ttl);
        }

        let renewed = |ends| RenewOutcome::Renewed {
            at: reply.now,
            seq: reply.seq,
            ttl: reply.ttl,
            details: None,
            ends,
        };
        let at_any_instant = Ends {
            within: Duration::ZERO,
            reason: Eviction::Idle,
            then: EndsBy::Yield,
        };
        let mut outcomes: Vec<Option<RenewOutcome>> = reply
            .marks
            .bytes()
            .map(|mark| match mark {
                b'1' => Some(renewed(None)),
                b'y' => Some(renewed(Some(at_any_instant))),
                b'2' => None,
                _ => Some(RenewOutcome::Unclear),
            })
            .collect();
        if outcomes.len() != beats.len() {
            return Err(Error::Broken(format!(
                "renew_unchanged.lua answered about {} heartbeats of {}",
                outcomes.len(),
                beats.len()
            )));
        }
        for (beat, outcome) in beats.iter().zip(&outcomes) {
            match (outcome, beat.report) {
                (Some(RenewOutcome::Renewed { .. }), Some(report)) => {
                    let written = active_at(reply.now, report.unused_for, &Activities::default());
                    self.0.use_reports.note(beat.id, written);
                }
                (Some(RenewOutcome::Unclear), _) => self.0.use_reports.forget(beat.id),
                _ => {}
            }
        }
        for ((heartbeat, ..), detail) in touched.iter().zip(reply.details) {
            if let Some(outcome) = &mut outcomes[*heartbeat as usize - 1] {
                note_details(outcome, detail.known, detail.label, detail.activities);
            }
        }
        Ok(outcomes)
    }
}

/// The heartbeats whose records are touched, with their numbers from 1 and what they say of activities.
pub(super) fn touched<'a>(beats: &[&'a Heartbeat]) -> Vec<(u64, &'a Heartbeat, Option<String>)> {
    (1..)
        .zip(beats)
        .filter(|(_, beat)| beat.record)
        .map(|(number, beat)| {
            let activities = beat.activities.as_ref().map(super::json);
            (number, *beat, activities)
        })
        .collect()
}

/// Notes what the record of a lease says that was renewed, if it is there.
pub(super) fn note_details(
    outcome: &mut RenewOutcome,
    known: bool,
    label: Option<String>,
    activities: Option<String>,
) {
    match outcome {
        RenewOutcome::Renewed { details, .. } if known => *details = Some((label, activities)),
        RenewOutcome::Renewed { .. } => *outcome = RenewOutcome::Unclear,
        _ => {}
    }
}
