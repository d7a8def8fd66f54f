//! Seats that nobody uses, and seats that are held for too long: what a policy does about them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Policy, Privacy};
use crate::names::Invalid;

/// Longest time without activity that a program can report, ms; 31 days.
pub const MAX_IDLE_MS: u64 = 2_678_400_000;

/// What becomes of a seat that is idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenIdle {
    /// It is counted, and nobody loses it.
    #[default]
    Count,
    /// It is given to somebody who would be denied or have to wait.
    Yield,
    /// It ends with the heartbeat that reports it.
    End,
}

/// What becomes of a seat that is held for too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenHeld {
    /// It is given to somebody who would be denied or have to wait.
    #[default]
    Yield,
    /// It ends with the next heartbeat.
    End,
}

/// When a seat is idle, and what happens then. Judged by the last report of its holder; one that reports nothing is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "IdleGiven")]
pub struct Idle {
    /// For how long its user has done nothing, 1 000 to 86 400 000 ms; 900 000 if it is left out.
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    pub after_ms: u64,
    /// What happens then; `count` if it is left out.
    pub then: WhenIdle,
    /// For how long before that the answers to heartbeats warn that the seat can be lost, 0 to 86 400 000 ms; 120 000 if it is left out, and at most
    /// half of `after_ms`.
    #[schema(maximum = 86_400_000)]
    pub notice_ms: u64,
    /// Whether reports tell the idle time of each person; only in a pool whose privacy is `named`.
    pub people: bool,
}

/// The same as operators may give it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IdleGiven {
    after_ms: u64,
    then: WhenIdle,
    notice_ms: Option<u64>,
    people: bool,
}

impl Default for IdleGiven {
    fn default() -> Self {
        Self {
            after_ms: 900_000,
            then: WhenIdle::Count,
            notice_ms: None,
            people: false,
        }
    }
}

impl From<IdleGiven> for Idle {
    fn from(given: IdleGiven) -> Self {
        let usual = 120_000.min(given.after_ms / 2);
        Self {
            after_ms: given.after_ms,
            then: given.then,
            notice_ms: given.notice_ms.unwrap_or(usual),
            people: given.people,
        }
    }
}

/// How long a lease may be held, from `started_at`, and what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "MaxHoldGiven")]
pub struct MaxHold {
    /// The longest time, 1 000 to 86 400 000 ms; 28 800 000 if it is left out.
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    pub after_ms: u64,
    /// What happens then; `yield` if it is left out.
    pub then: WhenHeld,
    /// For how long before that the answers to heartbeats warn that the seat can be lost, 0 to 86 400 000 ms; 300 000 if it is left out, and at most
    /// half of `after_ms`.
    #[schema(maximum = 86_400_000)]
    pub notice_ms: u64,
}

/// The same as operators may give it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MaxHoldGiven {
    after_ms: u64,
    then: WhenHeld,
    notice_ms: Option<u64>,
}

impl Default for MaxHoldGiven {
    fn default() -> Self {
        Self {
            after_ms: 28_800_000,
            then: WhenHeld::Yield,
            notice_ms: None,
        }
    }
}

impl From<MaxHoldGiven> for MaxHold {
    fn from(given: MaxHoldGiven) -> Self {
        let usual = 300_000.min(given.after_ms / 2);
        Self {
            after_ms: given.after_ms,
            then: given.then,
            notice_ms: given.notice_ms.unwrap_or(usual),
        }
    }
}

impl Idle {
    /// For how long nobody has used a seat for sure, of which the record says `unused_ms`: up to half of `after_ms` a record may know
    /// somebody's last activity a quarter of that too early.
    pub(crate) fn surely_unused_ms(&self, unused_ms: u64) -> u64 {
        if unused_ms <= self.after_ms / 2 {
            unused_ms.saturating_sub(self.lag_ms())
        } else {
            unused_ms
        }
    }

    /// By how much the last activity of somebody who is active may lag, ms.
    pub(crate) fn lag_ms(&self) -> u64 {
        self.after_ms / 4
    }
}

impl Policy {
    /// Whether heartbeats go apart from those of plain pools: they are looked at one by one, or tell that seats are asked for.
    pub fn watches_heartbeats(&self) -> bool {
        self.watches_use() || self.hand_over.is_some()
    }

    /// Whether heartbeats have to be looked at one by one: how active a holder is decides, or how long it has its seat.
    pub fn watches_use(&self) -> bool {
        self.idle.is_some() || self.max_hold.is_some()
    }

    /// Whether reports tell the idle time of each person.
    pub fn tells_idle_people(&self) -> bool {
        self.privacy == Privacy::Named && self.idle.is_some_and(|idle| idle.people)
    }

    pub(super) fn check_idle(&self) -> Result<(), Invalid> {
        let times = self
            .idle
            .map(|idle| ("idle", idle.after_ms, idle.notice_ms))
            .into_iter()
            .chain(
                self.max_hold
                    .map(|hold| ("max_hold", hold.after_ms, hold.notice_ms)),
            );
        for (field, after_ms, notice_ms) in times {
            if !(1_000..=Self::MAX_MS).contains(&after_ms) {
                return Err(Invalid(format!(
                    "{field}.after_ms is 1000 to {} milliseconds",
                    Self::MAX_MS
                )));
            }
            if notice_ms > Self::MAX_MS {
                return Err(Invalid(format!(
                    "{field}.notice_ms is 0 to {} milliseconds",
                    Self::MAX_MS
                )));
            }
        }
        Ok(())
    }

    /// As scripts read it from the pool's config.
    pub(super) fn set_idle(&self, mut set: impl FnMut(&str, String)) {
        if let Some(idle) = &self.idle {
            set("idle_ms", idle.after_ms.to_string());
            set("idle_notice_ms", idle.notice_ms.to_string());
            let then = match idle.then {
                WhenIdle::Count => "count",
                WhenIdle::Yield => "yield",
                WhenIdle::End => "end",
            };
            set("idle_then", then.into());
            if self.tells_idle_people() {
                set("idle_people", "1".into());
            }
        }
        if let Some(hold) = &self.max_hold {
            set("hold_ms", hold.after_ms.to_string());
            set("hold_notice_ms", hold.notice_ms.to_string());
            let then = match hold.then {
                WhenHeld::Yield => "yield",
                WhenHeld::End => "end",
            };
            set("hold_then", then.into());
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "a call reads better with what it makes"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(more: serde_json::Value) -> Result<Policy, String> {
        let mut policy = json!({"capacity": 3});
        for (name, value) in more.as_object().unwrap() {
            policy[name] = value.clone();
        }
        let policy: Policy = serde_json::from_value(policy).map_err(|error| error.to_string())?;
        policy.check().map_err(|error| error.to_string())?;
        Ok(policy)
    }

    #[test]
    fn what_is_left_out_has_a_default_that_ends_nobody() {
        let idle = policy(json!({"idle": {}})).unwrap().idle.unwrap();
        let expected = Idle {
            after_ms: 900_000,
            then: WhenIdle::Count,
            notice_ms: 120_000,
            people: false,
        };
        assert_eq!(idle, expected);
        let short = policy(json!({"idle": {"after_ms": 3_000, "then": "yield"}})).unwrap();
        assert_eq!(short.idle.unwrap().notice_ms, 1_500);
        assert_eq!(policy(json!({"idle": null})).unwrap().idle, None);
    }

    #[test]
    fn times_out_of_range_are_refused_and_the_field_named() {
        for (field, more) in [
            ("idle.after_ms", json!({"idle": {"after_ms": 999}})),
            ("idle.after_ms", json!({"idle": {"after_ms": 86_400_001}})),
            ("idle.notice_ms", json!({"idle": {"notice_ms": 86_400_001}})),
            ("max_hold.after_ms", json!({"max_hold": {"after_ms": 0}})),
            ("kill", json!({"idle": {"then": "kill"}})),
            ("count", json!({"max_hold": {"then": "count"}})),
            ("afer_ms", json!({"idle": {"afer_ms": 5_000}})),
        ] {
            let refused = policy(more).unwrap_err();
            assert!(refused.contains(field), "{field}: {refused}");
        }
    }

    #[test]
    fn a_policy_survives_the_way_through_json() {
        let both = policy(json!({
            "idle": {"after_ms": 5_000, "then": "end", "notice_ms": 0, "people": true},
            "max_hold": {"after_ms": 9_000, "then": "end"},
        }))
        .unwrap();
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), both);
    }
}
