//! What seats cost, and which way of buying them is cheaper.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::attempt::peak;
use super::sizing::{Demand, POINTS};

/// What a seat costs, by quantity: from the first seat of a tier on each costs its price.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices(Vec<(u64, f64)>);

impl Prices {
    /// The price of this many seats.
    pub fn of(&self, seats: u64) -> f64 {
        let ends = self
            .0
            .iter()
            .skip(1)
            .map(|(first, _)| *first)
            .chain([u64::MAX]);
        self.0
            .iter()
            .zip(ends)
            .map(|((first, price), end)| {
                let in_tier = (seats + 1).min(end).saturating_sub(*first);
                in_tier as f64 * price
            })
            .sum()
    }
}

impl std::str::FromStr for Prices {
    type Err = crate::names::Invalid;

    /// `35`, or `1:35,11:30`: the first ten seats at 35 each, each further one at 30.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            crate::names::Invalid(
                "a price is a number, or tiers like 1:35,11:30: from the 1st seat 35 each, from the 11th 30".into(),
            )
        };
        let mut tiers = Vec::new();
        for tier in text.split(',') {
            let (first, price) = tier.split_once(':').unwrap_or(("1", tier));
            let first: u64 = first.trim().parse().map_err(|_| wrong())?;
            let price: f64 = price.trim().parse().map_err(|_| wrong())?;
            let follows = tiers.last().map_or(first == 1, |(last, _)| *last < first);
            if !follows || !price.is_finite() || price < 0.0 {
                return Err(wrong());
            }
            tiers.push((first, price));
        }
        Ok(Self(tiers))
    }
}

/// Which way of buying is cheaper, for demand without a single refusal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// A named seat for each holder.
    pub named_seats: u64,
    /// What these cost.
    pub named: f64,
    /// A concurrent seat for each request at the peak.
    pub concurrent_seats: u64,
    /// What these cost.
    pub concurrent: f64,
    /// The cheapest mix: named seats for those who hold longest, the rest shares.
    pub mix: (u64, u64, f64),
}

impl Comparison {
    /// Of a demand in which everybody has a name.
    pub fn of(demand: &Demand, named: &Prices, concurrent: &Prices) -> Self {
        let mut held: HashMap<&Arc<str>, i64> = HashMap::new();
        for attempt in &demand.attempts {
            if let Some(holder) = &attempt.holder {
                *held.entry(holder).or_default() += attempt.until_ms - attempt.from_ms;
            }
        }
        let mut holders: Vec<(&Arc<str>, i64)> = held.into_iter().collect();
        holders.sort_unstable_by_key(|(holder, ms)| (Reverse(*ms), *holder));

        // Each of the anonymous counts as one, so naming everybody is more than naming all who have a name.
        let everybody = (demand.holders(), 0, named.of(demand.holders()));
        let step = (holders.len() as u64).div_ceil(POINTS).max(1);
        let mix = (0..=holders.len())
            .step_by(usize::try_from(step).unwrap_or(1))
            .chain([holders.len()])
            .map(|count| {
                let own: HashSet<&Arc<str>> =
                    holders[..count].iter().map(|(holder, _)| *holder).collect();
                let shared = peak(&demand.attempts, |attempt| {
                    attempt
                        .holder
                        .as_ref()
                        .is_none_or(|holder| !own.contains(holder))
                });
                let count = count as u64;
                (count, shared, named.of(count) + concurrent.of(shared))
            })
            .chain([everybody])
            .min_by(|(_, _, a), (_, _, b)| a.total_cmp(b))
            .unwrap_or((0, 0, 0.0));
        let (named_seats, concurrent_seats) = (demand.holders(), demand.peak());
        Self {
            named_seats,
            named: named.of(named_seats),
            concurrent_seats,
            concurrent: concurrent.of(concurrent_seats),
            mix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempt::Attempt;
    use super::*;
    use crate::time::Timestamp;

    const HOUR: i64 = 3_600_000;

    fn attempt(holder: &str, from_ms: i64, until_ms: i64) -> Attempt {
        Attempt {
            from_ms,
            until_ms,
            holder: Some(holder.into()),
            denied: false,
        }
    }

    fn day(attempts: Vec<Attempt>) -> Demand {
        Demand::new(Timestamp(0), Timestamp(24 * HOUR), attempts)
    }

    #[test]
    fn ten_who_work_all_day_buy_named_seats() {
        let demand = day((0..10)
            .map(|n| attempt(&format!("user-{n}"), 8 * HOUR, 17 * HOUR))
            .collect());
        let compared = Comparison::of(&demand, &"10".parse().unwrap(), &"35".parse().unwrap());
        assert_eq!((compared.named, compared.concurrent), (100.0, 350.0));
        assert_eq!(compared.mix, (10, 0, 100.0));
    }

    #[test]
    fn twenty_of_whom_five_work_at_a_time_share_seats() {
        let attempts = (0..20).map(|n| {
            let from = 8 * HOUR + i64::from(n / 5) * 2 * HOUR;
            attempt(&format!("user-{n}"), from, from + 2 * HOUR)
        });
        let compared = Comparison::of(
            &day(attempts.collect()),
            &"10".parse().unwrap(),
            &"35".parse().unwrap(),
        );
        assert_eq!((compared.named, compared.concurrent), (200.0, 175.0));
    }

    #[test]
    fn no_mix_is_dearer_than_a_name_for_everybody() {
        let mut attempts: Vec<Attempt> = (0..4)
            .map(|n| attempt(&format!("user-{n}"), 8 * HOUR, 17 * HOUR))
            .collect();
        attempts.push(Attempt {
            holder: None,
            ..attempts[0].clone()
        });
        let compared = Comparison::of(
            &day(attempts),
            &"10".parse().unwrap(),
            &"35".parse().unwrap(),
        );
        assert_eq!((compared.named, compared.concurrent), (50.0, 175.0));
        assert_eq!(compared.mix, (5, 0, 50.0));
    }

    #[test]
    fn tiers_change_the_price_of_further_seats() {
        let prices: Prices = "1:35,11:30".parse().unwrap();
        assert_eq!(prices.of(0), 0.0);
        assert_eq!(prices.of(10), 350.0);
        assert_eq!(prices.of(12), 410.0);
        for wrong in ["", "x", "2:35", "1:35,1:30", "-1", "1:35,11:nan"] {
            assert!(wrong.parse::<Prices>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_cheapest_is_a_mix_when_few_work_all_day_and_many_now_and_then() {
        let all_day = (0..5).map(|n| attempt(&format!("desk-{n}"), 8 * HOUR, 17 * HOUR));
        let now_and_then = (0..20).map(|n| {
            let from = 8 * HOUR + i64::from(n) * HOUR / 4;
            attempt(&format!("field-{n}"), from, from + HOUR / 4)
        });
        let demand = day(all_day.chain(now_and_then).collect());
        let compared = Comparison::of(&demand, &"10".parse().unwrap(), &"35".parse().unwrap());
        assert_eq!((compared.named, compared.concurrent), (250.0, 210.0));
        assert_eq!(compared.mix, (5, 1, 85.0));
    }
}
