//! How much of a holder's identity is kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Months, NaiveTime};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::ToSchema;

use super::{HolderMatch, Policy, PoolName};
use crate::names::{Holder, Tenant};
use crate::time::Timestamp;

/// How much of a holder's identity is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// Holder, label and activities.
    #[default]
    Named,
    /// A keyed hash of the holder, which is another one in the next period. No label, no activities.
    Pseudonymous,
    /// Nothing but the id of the lease, and the tenant where the pool's rules count by it.
    Anonymous,
}

/// Makes pseudonyms: the same for one holder, in one pool and period, on every node with the same secret.
#[derive(Clone)]
pub struct Pseudonyms(Hmac<Sha256>);

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

/// What a pseudonym begins with. A holder that came in by an older token shows by it that it is one already.
const SIGN: char = '~';

impl Pseudonyms {
    /// With a key of its own, derived from the secret that signs tokens.
    pub fn new(secret: &SecretString) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(b"leasehold pseudonym key 1");
        let key = mac.finalize().into_bytes();
        Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"))
    }

    /// The pseudonym of a holder in the period that begins at `period`; what is a pseudonym stays as it is.
    pub fn of(&self, pool: &PoolName, period: Timestamp, holder: &Holder) -> Holder {
        let text = holder.as_str();
        if text.len() == 23 && text.starts_with(SIGN) {
            return Holder::with_key(text, "").expect("it was a holder before");
        }
        let mut mac = self.0.clone();
        mac.update(pool.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(&period.0.to_be_bytes());
        mac.update(holder.key().as_bytes());
        let hash = mac.finalize().into_bytes();
        let name = format!("{SIGN}{}", URL_SAFE_NO_PAD.encode(&hash[..16]));
        Holder::try_from(name).expect("23 printable characters")
    }
}

/// The part of a caller's identity that the pool's policy allows to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The holder, or its pseudonym.
    pub holder: Option<Holder>,
    /// The sub-account.
    pub tenant: Option<Tenant>,
    /// From when the pseudonym is good; zero for always.
    pub from: Timestamp,
    /// Until when it is good; zero for ever.
    pub until: Timestamp,
}

impl Pseudonyms {
    /// What the policy of `pool` lets anybody know of a holder and its tenant at `now`.
    pub fn kept(
        &self,
        policy: &Policy,
        pool: &PoolName,
        now: Timestamp,
        holder: Option<Holder>,
        tenant: Option<Tenant>,
    ) -> Kept {
        let (mut from, mut until) = (Timestamp(0), Timestamp(0));
        let holder = match policy.holder_match {
            HolderMatch::Exact => holder,
            HolderMatch::Folded => holder.map(Holder::folded),
        };
        let (holder, tenant) = match policy.privacy {
            Privacy::Named => (holder, tenant),
            Privacy::Pseudonymous => {
                (from, until) = policy.pseudonym_period(now);
                (holder.map(|holder| self.of(pool, from, &holder)), tenant)
            }
            Privacy::Anonymous => (None, tenant.filter(|_| policy.counts_tenants())),
        };
        Kept {
            holder,
            tenant,
            from,
            until,
        }
    }
}

impl Policy {
    /// For how long a pseudonym that is made at `now` is good: the billing period of the named seats, or the month
    /// in UTC.
    pub fn pseudonym_period(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        if let Some(named) = &self.named {
            return named.period(now);
        }
        let first = DateTime::from_timestamp_millis(now.0)
            .unwrap_or_default()
            .date_naive()
            .with_day(1)
            .expect("every month has a first day");
        let instant = |day: chrono::NaiveDate| {
            Timestamp(day.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
        };
        (instant(first), instant(first + Months::new(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_stable_in_its_period_and_pool_and_tells_nothing() {
        let pseudonyms = Pseudonyms::new(&SecretString::from("a secret of some length"));
        let (crm, erp) = ("crm".parse().unwrap(), "erp".parse().unwrap());
        let holder = Holder::try_from("agent-7".to_owned()).unwrap();
        let one = pseudonyms.of(&crm, Timestamp(1), &holder);
        assert_eq!(one, pseudonyms.of(&crm, Timestamp(1), &holder));
        assert_eq!(one, pseudonyms.of(&crm, Timestamp(2), &one));
        assert_ne!(one, pseudonyms.of(&crm, Timestamp(2), &holder));
        assert_ne!(one, pseudonyms.of(&erp, Timestamp(1), &holder));
        assert!(!one.as_str().contains("agent"));
        let other = Holder::try_from("Agent-7".to_owned()).unwrap();
        assert_ne!(one, pseudonyms.of(&crm, Timestamp(1), &other));
        assert_eq!(one, pseudonyms.of(&crm, Timestamp(1), &other.folded()));
        assert_eq!(
            one,
            pseudonyms.of(&crm, Timestamp(2), &one.clone().folded())
        );
    }
}
