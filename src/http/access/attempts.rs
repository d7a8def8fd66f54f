//! Guesses of keys: after a few wrong ones each network has to wait, and the pauses grow.
//!
//! Counted by network, so that nobody locks out others. Those of the admin key, which a person chose, are held back before they are
//! looked at. Keys that this program made have 190 random bits, so there is nothing to guess: they are counted apart, only the
//! wrong ones have to wait, and whoever shows a good one gets in also while others guess from the same office.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::limits::network;
use crate::access_key::Fingerprint;

/// Wrong ones that cost no pause: a person who mistypes, a program with a former key.
const FREE: u32 = 10;
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After so long without a wrong one a network begins anew.
const FORGIVEN: Duration = Duration::from_secs(15 * 60);
/// Networks that are remembered; the one that was wrong the longest ago goes first.
const NETWORKS: usize = 10_000;
/// Last guesses of a network that are known again.
const REPEATS: usize = 4;

/// The wrong guesses of all networks.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<IpAddr, Wrong>>);

#[derive(Debug)]
struct Wrong {
    count: u32,
    last: Instant,
    may_try_at: Instant,
    /// A program that shows one wrong key for ever is not guessing.
    guesses: Vec<Fingerprint>,
}

/// By what an attempt is counted; those without an address are one.
fn counted(address: Option<IpAddr>) -> IpAddr {
    network(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

impl Attempts {
    /// Whether a guess from here is looked at now; if not, when one is.
    pub(crate) fn may_try(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        let wrong = self.0.lock().expect("no panic while held");
        let Some(wrong) = wrong.get(&counted(address)) else {
            return Ok(());
        };
        let wait = wrong.may_try_at.saturating_duration_since(Instant::now());
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Notes a wrong guess by a key. The same one again does not count.
    pub(super) fn note_wrong_key(&self, address: Option<IpAddr>, guess: Fingerprint) {
        self.note(address, Some(guess));
    }

    /// Notes a form that was sent with something wrong in it.
    pub(crate) fn note_wrong_form(&self, address: Option<IpAddr>) {
        self.note(address, None);
    }

    fn note(&self, address: Option<IpAddr>, guess: Option<Fingerprint>) {
        let (network, now) = (counted(address), Instant::now());
        let mut all = self.0.lock().expect("no panic while held");
        if all.len() >= NETWORKS && !all.contains_key(&network) {
            all.retain(|_, wrong| now.duration_since(wrong.last) < FORGIVEN);
            let oldest = all.iter().min_by_key(|(_, wrong)| wrong.last);
            if all.len() >= NETWORKS
                && let Some(oldest) = oldest.map(|(network, _)| *network)
            {
                all.remove(&oldest);
            }
        }
        let fresh = || Wrong {
            count: 0,
            last: now,
            may_try_at: now,
            guesses: Vec::new(),
        };
        let wrong = all.entry(network).or_insert_with(fresh);
        if now.duration_since(wrong.last) >= FORGIVEN {
            *wrong = fresh();
        }
        if let Some(guess) = guess {
            if wrong.guesses.contains(&guess) {
                return;
            }
            wrong.guesses.insert(0, guess);
            wrong.guesses.truncate(REPEATS);
        }
        wrong.count = wrong.count.saturating_add(1);
        wrong.last = now;
        wrong.may_try_at = now + pause(wrong.count);
    }
}

fn pause(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(over) => FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(over))
            .min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    fn guess(attempts: &Attempts, address: &str, text: &str) {
        attempts.note_wrong_key(from(address), Fingerprint::of(text));
    }

    #[test]
    fn the_pauses_grow() {
        let seconds: Vec<u64> = (8..20).map(|wrong| pause(wrong).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn who_guesses_waits_and_nobody_else() {
        let attempts = Attempts::default();
        for number in 0..20 {
            guess(&attempts, "2001:db8::1", &number.to_string());
        }
        assert!(attempts.may_try(from("2001:db8::1")).is_err());
        // The same customer with another of its addresses.
        assert!(attempts.may_try(from("2001:db8::ffff")).is_err());
        assert!(attempts.may_try(from("2001:db8:0:1::1")).is_ok());
        assert!(attempts.may_try(from("192.0.2.1")).is_ok());
    }

    #[test]
    fn the_same_wrong_key_again_is_no_guess_and_a_form_is() {
        let attempts = Attempts::default();
        for _ in 0..1_000 {
            guess(&attempts, "192.0.2.1", "former");
            guess(&attempts, "192.0.2.1", "of another server");
        }
        assert!(attempts.may_try(from("192.0.2.1")).is_ok());
        for _ in 0..10 {
            attempts.note_wrong_form(from("192.0.2.1"));
        }
        assert!(attempts.may_try(from("192.0.2.1")).is_err());
    }

    #[test]
    fn a_crowd_of_networks_costs_no_memory() {
        let attempts = Attempts::default();
        for number in 0..(NETWORKS as u32 + 100) {
            attempts.note_wrong_form(Some(IpAddr::V4(Ipv4Addr::from(number))));
        }
        assert_eq!(attempts.0.lock().unwrap().len(), NETWORKS);
    }
}
