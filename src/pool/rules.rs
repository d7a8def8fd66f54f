//! The rules of a policy that need no calendar: what they are, what is refused, and what scripts get of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::grace::OutageGrace;
use super::{Policy, Privacy};
use crate::names::{Invalid, Platform, Recorded, Tenant, check_sentence};
use crate::time::Timestamp;

/// Maximum tenants per policy.
const MAX_TENANTS: usize = 1_000;
/// Maximum platforms per policy.
const MAX_PLATFORMS: usize = 32;
/// Maximum length of a maintenance message, in bytes.
const MAX_MESSAGE: usize = 512;

/// What takes a seat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeatPer {
    /// Each lease.
    #[default]
    Lease,
    /// Each holder, with any number of leases. A lease without a holder takes a seat of its own.
    Holder,
}

/// When two spellings are one holder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderMatch {
    /// When they are the same, byte by byte.
    #[default]
    Exact,
    /// When they differ at most in case, composition (NFC) and blanks.
    Folded,
}

impl HolderMatch {
    /// Whether it is the default, which is not written down: nodes of the last version do not know the field.
    pub(super) fn is_exact(&self) -> bool {
        *self == Self::Exact
    }
}

/// How a request is answered while the pool is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It is denied.
    #[default]
    Deny,
    /// It gets the seat of the same holder's oldest lease, if there is one. That lease ends as evicted.
    EvictOldestOfHolder,
}

/// What a tenant may have, and what is kept for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantRule {
    /// Most seats at once; `tenant_max` counts if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Seats that no other tenant gets, also while this one does not use them.
    pub reserved: u32,
}

/// Seats beyond the capacity, on a daily budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Overdraft {
    /// Most seats beyond the capacity at once, at least 1.
    #[schema(minimum = 1)]
    pub seats: u32,
    /// Budget of a UTC day. When it is spent nothing more is granted, and nobody is thrown out.
    pub seat_minutes_per_day: u32,
}

/// Lets those wait who ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Most who wait at once, 1 to 10 000.
    #[schema(minimum = 1, maximum = 10_000)]
    pub max_waiting: u32,
}

/// A time in which nobody new gets a seat. Renew and release go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// What those read who ask, 1 to 512 bytes.
    #[schema(min_length = 1, max_length = 512)]
    pub message: String,
    /// When they are to ask again, 1 000 to 86 400 000 ms.
    #[serde(default = "default_retry")]
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    pub retry_after_ms: u64,
}

const fn default_retry() -> u64 {
    30_000
}

/// The tenants of a policy that was taken before; [`Policy::check`] looks at those of a new one.
pub(super) fn recorded_tenants<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Tenant, TenantRule>, D::Error> {
    let tenants = BTreeMap::<Recorded<Tenant>, TenantRule>::deserialize(deserializer)?;
    let tenants = tenants.into_iter();
    Ok(tenants
        .map(|(Recorded(tenant), rule)| (tenant, rule))
        .collect())
}

/// The platforms of a policy that was taken before.
pub(super) fn recorded_platforms<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Platform>>, D::Error> {
    let platforms = Option::<Vec<Recorded<Platform>>>::deserialize(deserializer)?;
    Ok(platforms.map(|list| {
        let list = list.into_iter();
        list.map(|Recorded(platform)| platform).collect()
    }))
}

fn refuse<T>(sentence: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(sentence.into()))
}

impl Policy {
    /// Refuses rules that are out of range or contradict each other, naming the field.
    pub(super) fn check_rules(&self) -> Result<(), Invalid> {
        self.check_tenants()?;
        super::schedule::check(&self.schedule)?;
        if let Some(named) = &self.named {
            named.check()?;
        }
        if let Some(overdraft) = &self.overdraft {
            if !(1..=Self::MAX_CAPACITY).contains(&overdraft.seats) {
                return refuse(format!("overdraft.seats is 1 to {}", Self::MAX_CAPACITY));
            }
            if overdraft.seat_minutes_per_day == 0 {
                return refuse("overdraft.seat_minutes_per_day is at least 1");
            }
        }
        if let Some(queue) = &self.queue
            && !(1..=10_000).contains(&queue.max_waiting)
        {
            return refuse("queue.max_waiting is 1 to 10000");
        }
        if let Some(platforms) = &self.platforms {
            if platforms.is_empty() {
                return refuse("platforms names at least one; leave it out if all may have a seat");
            }
            platforms.iter().try_for_each(Platform::check)?;
            let different: BTreeSet<_> = platforms.iter().collect();
            if platforms.len() > MAX_PLATFORMS || different.len() < platforms.len() {
                return refuse(format!(
                    "platforms names at most {MAX_PLATFORMS}, each once"
                ));
            }
        }
        if let Some(maintenance) = &self.maintenance {
            let message = &maintenance.message;
            if message.is_empty() || message.len() > MAX_MESSAGE {
                return refuse(format!("maintenance.message has 1 to {MAX_MESSAGE} bytes"));
            }
            check_sentence("maintenance.message", message)?;
            if !(1_000..=Self::MAX_MS).contains(&maintenance.retry_after_ms) {
                return refuse(format!(
                    "maintenance.retry_after_ms is 1000 to {} milliseconds",
                    Self::MAX_MS
                ));
            }
        }
        self.check_hand_over()?;
        self.check_privacy()
    }

    fn check_tenants(&self) -> Result<(), Invalid> {
        if self.tenants.len() > MAX_TENANTS {
            return refuse(format!("tenants names at most {MAX_TENANTS}"));
        }
        let mut reserved = 0;
        for (tenant, rule) in &self.tenants {
            tenant.check()?;
            if rule.max.is_some_and(|max| max < rule.reserved) {
                return refuse(format!("tenants.{tenant}.reserved is more than its max"));
            }
            if rule.max.is_none() && self.tenant_max.is_some_and(|max| max < rule.reserved) {
                return refuse(format!("tenants.{tenant}.reserved is more than tenant_max"));
            }
            reserved += u64::from(rule.reserved);
        }
        if reserved > u64::from(self.capacity) {
            return refuse(format!(
                "tenants reserve {reserved} seats in all (tenants.*.reserved), more than the capacity of {}",
                self.capacity
            ));
        }
        for entry in &self.schedule {
            if reserved > u64::from(entry.capacity) {
                return refuse(format!(
                    "tenants reserve {reserved} seats in all (tenants.*.reserved), more than the capacity of {} in the schedule",
                    entry.capacity
                ));
            }
        }
        Ok(())
    }

    /// Without names there is nobody to count by.
    fn check_privacy(&self) -> Result<(), Invalid> {
        if self.privacy != Privacy::Anonymous {
            return Ok(());
        }
        let field = if self.seat_per == SeatPer::Holder {
            "seat_per"
        } else if self.when_full != WhenFull::Deny {
            "when_full"
        } else if self.holder_match != HolderMatch::Exact {
            "holder_match"
        } else if self.named.is_some() {
            "named"
        } else {
            return Ok(());
        };
        refuse(format!(
            "privacy is anonymous, so nothing is known of holders, but {field} needs to tell them apart"
        ))
    }

    /// Whether the scripts have to count by holder, tenant or kind of seat.
    fn is_indexed(&self) -> bool {
        self.seat_per == SeatPer::Holder
            || self.when_full != WhenFull::Deny
            || self.counts_tenants()
            || self.overdraft.is_some()
            || self.named.is_some()
            || self.queue.is_some()
            || self.watches_use()
    }

    /// Maximum seats of a tenant, by its own rule or by that of all; none for as many as there are.
    pub fn max_of(&self, tenant: &Tenant) -> Option<u32> {
        let rule = self.tenants.get(tenant);
        rule.and_then(|rule| rule.max).or(self.tenant_max)
    }

    /// Maximum seats of some tenants together; none for as many as there are.
    pub fn max_of_all<'a>(&self, tenants: impl IntoIterator<Item = &'a Tenant>) -> Option<u64> {
        let most = tenants.into_iter().map(|tenant| self.max_of(tenant));
        most.map(|most| most.map(u64::from)).sum()
    }

    /// Whether it matters of which tenant a lease is.
    pub fn counts_tenants(&self) -> bool {
        !self.tenants.is_empty() || self.tenant_max.is_some()
    }

    /// Whether the pool knows holders otherwise than they are given, so that a node has to know the policy to name one.
    pub fn changes_holders(&self) -> bool {
        self.privacy != Privacy::Named || self.holder_match != HolderMatch::Exact
    }

    /// Whether the pool has any rule, so that acquires go the longer way.
    pub fn has_rules(&self) -> bool {
        self.is_indexed()
            || self.changes_holders()
            || !self.schedule.is_empty()
            || self.platforms.is_some()
            || self.maintenance.is_some()
    }

    /// The rules as scripts read them from the pool's config, name and value; see `lua/README.md`. `now` is only
    /// about right: billing periods are written down from some months before it.
    pub fn for_scripts(&self, now: Timestamp) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        match self.outage_grace_ms {
            OutageGrace::ResumeWindow => {}
            OutageGrace::Limited(ms) => fields.push(("outage_grace_ms".to_owned(), ms.to_string())),
            OutageGrace::Unlimited => fields.push(("outage_grace_ms".to_owned(), "none".into())),
        }
        if !self.has_rules() {
            return fields;
        }
        let mut set = |name: &str, value: String| fields.push((name.to_owned(), value));
        set("rules", "1".into());
        if self.is_indexed() {
            set("indexed", "1".into());
        }
        if self.seat_per == SeatPer::Holder {
            set("seat_per", "holder".into());
        }
        if self.holder_match == HolderMatch::Folded {
            set("holder_match", "folded".into());
        }
        if self.when_full == WhenFull::EvictOldestOfHolder {
            set("when_full", "evict_oldest_of_holder".into());
        }
        match self.privacy {
            Privacy::Named => {}
            Privacy::Pseudonymous => set("privacy", "pseudonymous".into()),
            Privacy::Anonymous => set("privacy", "anonymous".into()),
        }
        let mut reserves = Vec::new();
        for (tenant, rule) in &self.tenants {
            if let Some(max) = rule.max {
                set(&format!("max:{tenant}"), max.to_string());
            }
            if rule.reserved > 0 {
                reserves.push((tenant.as_str(), rule.reserved));
            }
        }
        if !reserves.is_empty() {
            set(
                "reserves",
                serde_json::to_string(&reserves).expect("strings and numbers have a JSON form"),
            );
        }
        if let Some(max) = self.tenant_max {
            set("tenant_max", max.to_string());
        }
        if !self.schedule.is_empty() {
            set(
                "schedule",
                super::schedule::changes(self.capacity, &self.schedule),
            );
        }
        if let Some(overdraft) = &self.overdraft {
            set("lent_seats", overdraft.seats.to_string());
            let ms = u64::from(overdraft.seat_minutes_per_day) * 60_000;
            set("lent_ms", ms.to_string());
        }
        if let Some(named) = &self.named {
            set("named_seats", named.seats.to_string());
            if named.spill_to_concurrent {
                set("named_spill", "1".into());
            }
            set("periods", named.periods(now));
        }
        if let Some(queue) = &self.queue {
            set("max_waiting", queue.max_waiting.to_string());
        }
        if let Some(hand_over) = &self.hand_over {
            set("hand_over_ms", hand_over.answer_ms.to_string());
        }
        if let Some(platforms) = &self.platforms {
            let list: String = platforms
                .iter()
                .map(|platform| format!("{platform}\u{1}"))
                .collect();
            set("platforms", format!("\u{1}{list}"));
        }
        if let Some(maintenance) = &self.maintenance {
            set("maintenance", maintenance.message.clone());
            set("maintenance_ms", maintenance.retry_after_ms.to_string());
        }
        self.set_idle(set);
        fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(policy: Value) -> String {
        match serde_json::from_value::<Policy>(policy) {
            Ok(policy) => policy.check().expect_err("it is wrong").to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_refused_and_the_field_named() {
        for (field, policy) in [
            (
                "reserved",
                json!({"capacity": 3, "tenants": {"a": {"reserved": 2}, "b": {"reserved": 2}}}),
            ),
            (
                "tenants.a.reserved",
                json!({"capacity": 3, "tenants": {"a": {"reserved": 2, "max": 1}}}),
            ),
            (
                "tenants.a.reserved",
                json!({"capacity": 3, "tenant_max": 1, "tenants": {"a": {"reserved": 2}}}),
            ),
            (
                "reserved",
                json!({"capacity": 3, "tenants": {"a": {"reserved": 3}}, "schedule": [{"name": "less",
                "from": "2026-12-01T08:00:00Z", "until": "2026-12-01T18:00:00Z", "capacity": 2}]}),
            ),
            (
                "maximum",
                json!({"capacity": 3, "tenants": {"a": {"maximum": 2}}}),
            ),
            (
                "seat_per",
                json!({"capacity": 3, "seat_per": "holder", "privacy": "anonymous"}),
            ),
            (
                "when_full",
                json!({"capacity": 3, "when_full": "evict_oldest_of_holder", "privacy": "anonymous"}),
            ),
            (
                "holder_match",
                json!({"capacity": 3, "holder_match": "folded", "privacy": "anonymous"}),
            ),
            ("platforms", json!({"capacity": 3, "platforms": []})),
            (
                "platforms",
                json!({"capacity": 3, "platforms": ["web", "web"]}),
            ),
            (
                "maintenance.message",
                json!({"capacity": 3, "maintenance": {"message": ""}}),
            ),
            (
                "overdraft.seats",
                json!({"capacity": 3, "overdraft": {"seats": 0, "seat_minutes_per_day": 1}}),
            ),
            (
                "overdraft.seat_minutes_per_day",
                json!({"capacity": 3, "overdraft": {"seats": 1, "seat_minutes_per_day": 0}}),
            ),
            (
                "queue.max_waiting",
                json!({"capacity": 3, "queue": {"max_waiting": 0}}),
            ),
            (
                "named.seats",
                json!({"capacity": 3, "named": {"seats": 0, "anchor_day": 1, "time_zone": "UTC"}}),
            ),
            (
                "named.anchor_day",
                json!({"capacity": 3, "named": {"seats": 1, "anchor_day": 0, "time_zone": "UTC"}}),
            ),
            (
                "named.anchor_day",
                json!({"capacity": 3, "named": {"seats": 1, "anchor_day": 32, "time_zone": "UTC"}}),
            ),
            (
                "named.time_zone",
                json!({"capacity": 3, "named": {"seats": 1, "anchor_day": 1, "time_zone": "Europe/Zurick"}}),
            ),
        ] {
            let sentence = refused(policy.clone());
            assert!(sentence.contains(field), "{policy}: {sentence}");
        }
    }

    #[test]
    fn a_pool_without_rules_gives_scripts_nothing_to_read() {
        assert_eq!(Policy::with_capacity(5).for_scripts(Timestamp(0)), []);
    }
}
