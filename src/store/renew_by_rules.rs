//! Heartbeats of a pool whose policy has `idle`, `max_hold` or `hand_over`: how active users are is noted with them, some read the end in
//! them, and all read that somebody asks for a seat.

use super::Store;
use super::error::Error;
use super::heartbeat::{Heartbeat, RECORD_MARGIN, RenewOutcome};
use super::keys::Keys;
use super::renew::active_at;
use super::script::Change;
use super::scripts;
use super::scripts::renew_by_rules as script;
use super::scripts::renew_by_rules::LooksAt;
use crate::lease::{Ends, EndsBy, Eviction, SeatRequested};
use crate::names::{Activities, Label};

impl Store {
    /// Renews heartbeats of one pool in one call. The answers are in the same order. `sample`: the first one is also looked at, how late
    /// it is.
    pub(super) async fn renew_by_rules(
        &self,
        beats: &[Heartbeat],
        sample: bool,
    ) -> Result<Vec<RenewOutcome>, Error> {
        let pool = &beats[0].pool;
        let keys = Keys::of(pool);
        let heartbeats: Vec<script::Heartbeat> = beats
            .iter()
            .map(|beat| script::Heartbeat { id: beat.id })
            .collect();
        let said = || {
            let numbered = (1_u64..).zip(beats);
            numbered.filter_map(|(place, beat)| Some((place, beat, beat.report?)))
        };
        let reports: Vec<script::Report> = said()
            .map(|(place, _, report)| script::Report {
                place,
                unused_for: report.unused_for,
                looks_at: report.looks_at,
            })
            .collect();
        let touched: Vec<(u64, &Heartbeat)> =
            (1..).zip(beats).filter(|(_, beat)| beat.record).collect();
        let activities: Vec<Option<String>> = touched
            .iter()
            .map(|(_, beat)| beat.activities.as_ref().map(super::json))
            .collect();
        let details: Vec<script::Detail<'_>> = touched
            .iter()
            .zip(&activities)
            .map(|((heartbeat, beat), activities)| script::Detail {
                heartbeat: *heartbeat,
                label: Change(beat.label.as_ref().map(Label::as_str)),
                activities: Change(activities.as_deref()),
                read: beat.details,
            })
            .collect();
        let call = scripts::RenewByRules {
            keys: &keys,
            name: pool,
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

        self.note_unread(pool, &reply.marks);
        let requested = (reply.requests > 0).then_some(SeatRequested {
            requests: reply.requests,
            within: reply.requests_rest,
        });
        let evicted = |why| RenewOutcome::Evicted {
            why,
            at: reply.now,
            seq: reply.seq,
        };
        let mut outcomes: Vec<RenewOutcome> = reply
            .marks
            .bytes()
            .map(|mark| match mark {
                b'1' | b'2' => RenewOutcome::Renewed {
                    at: reply.now,
                    seq: reply.seq,
                    ttl: reply.ttl,
                    details: None,
                    unread: mark == b'2',
                    ends: None,
                    requested,
                },
                b'i' => evicted(Eviction::Idle),
                b'h' => evicted(Eviction::MaxHold),
                _ => RenewOutcome::Unclear,
            })
            .collect();
        for (place, beat, report) in said() {
            let is_renewed = matches!(of(&mut outcomes, place), Some(RenewOutcome::Renewed { .. }));
            if is_renewed && report.looks_at != LooksAt::Hold {
                let written = active_at(reply.now, report.unused_for, &Activities::default());
                self.0.use_reports.note(beat.id, written);
            } else if !is_renewed {
                self.0.use_reports.forget(beat.id);
            }
        }
        for warning in reply.warnings {
            if let Some(RenewOutcome::Renewed { ends, .. }) = of(&mut outcomes, warning.heartbeat) {
                *ends = Some(Ends::from(warning));
            }
        }
        for ((heartbeat, beat), detail) in touched.iter().zip(reply.details) {
            if let Some(outcome) = of(&mut outcomes, *heartbeat) {
                outcome.note_details(beat, detail.known, (detail.label, detail.activities));
            }
        }
        if outcomes.len() == beats.len() {
            Ok(outcomes)
        } else {
            Err(Error::Broken(format!(
                "renew_by_rules.lua answered about {} heartbeats of {}",
                outcomes.len(),
                beats.len()
            )))
        }
    }
}

/// What became of the heartbeat with this number, from 1.
fn of(outcomes: &mut [RenewOutcome], heartbeat: u64) -> Option<&mut RenewOutcome> {
    outcomes.get_mut((heartbeat as usize).wrapping_sub(1))
}

impl From<script::WarningReply> for Ends {
    fn from(warning: script::WarningReply) -> Self {
        Self {
            within: warning.within,
            reason: match warning.reason {
                script::Reason::Idle => Eviction::Idle,
                script::Reason::MaxHold => Eviction::MaxHold,
            },
            then: match warning.how {
                script::How::Yield => EndsBy::Yield,
                script::How::End => EndsBy::End,
            },
        }
    }
}
