//! How often a client key may be used: one bucket for the key, one for each address that uses it.
//!
//! Each node counts for itself, so behind a balancer a key gets as many times its limit as there are nodes.
//! Renewals, releases and leaves are not counted: a token is the proof of a seat, so there are never more of those
//! than seats, and no crowd of acquires can starve a heartbeat. Operators are not counted either.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::access_key::{AccessKey, KeyId, Limits, usual_burst};

/// Addresses of one key that are remembered before those that have been quiet are forgotten.
const ADDRESSES: usize = 10_000;

/// The buckets of all keys.
#[derive(Default)]
pub(super) struct Limiters(Mutex<HashMap<KeyId, Arc<Limiter>>>);

impl std::fmt::Debug for Limiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limiters")
    }
}

struct Limiter {
    limits: Limits,
    burst: Option<NonZeroU32>,
    all: DefaultDirectRateLimiter,
    address: DefaultKeyedRateLimiter<IpAddr>,
    /// When addresses that are long gone were looked for.
    looked: Mutex<Option<Instant>>,
}

impl Limiter {
    fn is_time_to_look(&self) -> bool {
        let mut looked = self.looked.lock().expect("no panic while held");
        if looked.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return false;
        }
        *looked = Some(Instant::now());
        true
    }
}

fn quota(per_minute: NonZeroU32, burst: Option<NonZeroU32>) -> Quota {
    let burst = burst.unwrap_or_else(|| usual_burst(per_minute));
    Quota::per_minute(per_minute).allow_burst(burst)
}

impl Limiters {
    /// Counts one use of a key. An error carries the time until the next one is free.
    pub(super) fn check(&self, key: &AccessKey, address: Option<IpAddr>) -> Result<(), Duration> {
        let limiter = self.of(key);
        let now = DefaultClock::default().now();
        if let Some(address) = address {
            // All of them are looked at, so not with each request where as many are busy.
            if limiter.address.len() > ADDRESSES && limiter.is_time_to_look() {
                limiter.address.retain_recent();
            }
            limiter
                .address
                .check_key(&network(address))
                .map_err(|wait| wait.wait_time_from(now))?;
        }
        limiter.all.check().map_err(|wait| wait.wait_time_from(now))
    }

    fn of(&self, key: &AccessKey) -> Arc<Limiter> {
        let mut limiters = self.0.lock().expect("no panic while held");
        if let Some(limiter) = limiters.get(&key.id)
            && limiter.limits == key.limits
            && limiter.burst == key.burst
        {
            return Arc::clone(limiter);
        }
        let limiter = Arc::new(Limiter {
            limits: key.limits,
            burst: key.burst,
            all: RateLimiter::direct(quota(key.limits.per_minute, key.burst)),
            address: RateLimiter::keyed(quota(key.limits.per_address_per_minute, key.burst)),
            looked: Mutex::default(),
        });
        limiters.insert(key.id.clone(), Arc::clone(&limiter));
        limiter
    }

    /// Forgets keys that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&KeyId) -> bool) {
        self.0
            .lock()
            .expect("no panic while held")
            .retain(|id, _| is_there(id));
    }
}

/// The address, or the /64 of it: that is what one customer of an IPv6 network has.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            segments[4..].fill(0);
            IpAddr::from(segments)
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_is_one_address() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
