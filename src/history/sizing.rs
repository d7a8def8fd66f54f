//! How many seats a pool needs: the recorded demand, replayed with other numbers of seats.
//!
//! A replay is worth more than a formula, because arrivals are not random: shifts begin together. The formulas of
//! Erlang (B, 1917) and Engset (1918) stand beside it as a cross-check; both are in ITU-T's Teletraffic Engineering
//! Handbook, chapters 7 and 8. Deliberately absent: a single "right" number. Three are offered with what they cost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::lease::Instant;

/// Points of a curve, at most.
const POINTS: u64 = 50;

/// A wish for a seat: granted in truth, or truly denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// When it began.
    pub from_ms: i64,
    /// When it ended; for a denial the begin and the usual length.
    pub until_ms: i64,
    /// Whose it was; none is anonymous, each a holder of its own.
    pub holder: Option<String>,
    /// Whether it was truly denied, so that its length is a guess.
    pub denied: bool,
}

/// The wishes of a range of time.
#[derive(Debug, Clone)]
pub struct Demand {
    /// From when.
    pub from: Instant,
    /// Until when.
    pub to: Instant,
    /// In order of their begin.
    wishes: Vec<Wish>,
}

/// What so many seats would have meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The seats.
    pub seats: u64,
    /// Wishes that would have been refused.
    pub denials: u64,
    /// Holders to whom that would have happened.
    pub holders_denied: u64,
    /// The longest time until one of them could have had a seat, ms.
    pub longest_wait_ms: u64,
    /// Share of refused wishes by Erlang's B formula.
    pub erlang_b: f64,
    /// Share of time at which all seats are taken by Engset's formula.
    pub engset: f64,
}

impl Demand {
    /// Of wishes in any order.
    pub fn new(from: Instant, to: Instant, mut wishes: Vec<Wish>) -> Self {
        wishes.sort_by_key(|wish| wish.from_ms);
        Self { from, to, wishes }
    }

    /// How many wishes there are.
    pub fn len(&self) -> u64 {
        self.wishes.len() as u64
    }

    /// Whether nobody wanted a seat.
    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }

    /// How many of them were truly denied.
    pub fn denied(&self) -> u64 {
        self.wishes.iter().filter(|wish| wish.denied).count() as u64
    }

    /// How many holders there are, each of the anonymous counted as one.
    pub fn holders(&self) -> u64 {
        let named: HashSet<&String> = self
            .wishes
            .iter()
            .filter_map(|wish| wish.holder.as_ref())
            .collect();
        let anonymous = self
            .wishes
            .iter()
            .filter(|wish| wish.holder.is_none())
            .count();
        (named.len() + anonymous) as u64
    }

    /// Seats that were wanted on the average: the offered load, in Erlang.
    pub fn load(&self) -> f64 {
        let range = self.to.since(self.from);
        let wanted: i64 = self
            .wishes
            .iter()
            .map(|wish| wish.until_ms - wish.from_ms)
            .sum();
        if range == 0 {
            0.0
        } else {
            wanted as f64 / range as f64
        }
    }

    /// The most seats that were wanted at once.
    pub fn peak(&self) -> u64 {
        peak(&self.wishes, |_| true)
    }

    /// What `seats` seats would have meant. A refused wish is gone: whether its holder would have asked again is not
    /// known, so the number of refusals is a lower bound.
    pub fn with(&self, seats: u64) -> Point {
        let mut ends: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
        let mut holders: HashSet<&String> = HashSet::new();
        let (mut denials, mut anonymous, mut longest) = (0, 0, 0);
        for wish in &self.wishes {
            while ends.peek().is_some_and(|end| end.0 <= wish.from_ms) {
                ends.pop();
            }
            if (ends.len() as u64) < seats {
                ends.push(Reverse(wish.until_ms));
                continue;
            }
            denials += 1;
            match &wish.holder {
                Some(holder) => drop(holders.insert(holder)),
                None => anonymous += 1,
            }
            let free = ends.peek().map_or(wish.until_ms, |end| end.0);
            longest = longest.max(free - wish.from_ms);
        }
        Point {
            seats,
            denials,
            holders_denied: holders.len() as u64 + anonymous,
            longest_wait_ms: u64::try_from(longest).unwrap_or(0),
            erlang_b: erlang_b(seats, self.load()),
            engset: engset(seats, self.holders(), self.load()),
        }
    }

    /// What different numbers of seats would have meant, from one to the peak.
    pub fn curve(&self) -> Vec<Point> {
        let peak = self.peak();
        let step = peak.div_ceil(POINTS).max(1);
        let mut seats: Vec<u64> = (1..=peak)
            .step_by(usize::try_from(step).unwrap_or(1))
            .collect();
        if seats.last().is_some_and(|last| *last < peak) {
            seats.push(peak);
        }
        seats.into_iter().map(|seats| self.with(seats)).collect()
    }

    /// The fewest seats with which at most this share of the wishes would have been refused.
    pub fn fewest(&self, share: f64) -> Point {
        let (mut low, mut high) = (0, self.peak());
        while low < high {
            let middle = (low + high) / 2;
            if self.with(middle).denials as f64 <= share * self.len() as f64 {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.with(low)
    }
}

/// Where a curve bends: the point that is farthest below the straight line between its ends (the idea of Kneedle:
/// Satopää and others, 2011). None for a curve of fewer than three points, or one that bends nowhere.
pub fn knee(curve: &[Point]) -> Option<Point> {
    let (first, last) = (curve.first()?, curve.last()?);
    let wide = last
        .seats
        .checked_sub(first.seats)
        .filter(|wide| *wide > 0)? as f64;
    let high = first
        .denials
        .checked_sub(last.denials)
        .filter(|high| *high > 0)? as f64;
    let below = |point: &Point| {
        let along = (point.seats - first.seats) as f64 / wide;
        let left = point.denials.saturating_sub(last.denials) as f64 / high;
        1.0 - along - left
    };
    let knee = curve.iter().max_by(|a, b| below(a).total_cmp(&below(b)))?;
    (below(knee) > 0.05).then_some(*knee)
}

/// The most wishes at once among those that are `counted`.
fn peak<'a>(wishes: &'a [Wish], counted: impl Fn(&'a Wish) -> bool) -> u64 {
    let mut ends: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
    let mut most = 0;
    for wish in wishes.iter().filter(|wish| counted(wish)) {
        while ends.peek().is_some_and(|end| end.0 <= wish.from_ms) {
            ends.pop();
        }
        ends.push(Reverse(wish.until_ms));
        most = most.max(ends.len() as u64);
    }
    most
}

/// Share of lost calls when calls come at random to `seats` servers, by the recursion of the B formula.
pub fn erlang_b(seats: u64, load: f64) -> f64 {
    (1..=seats).fold(1.0, |blocked, n| {
        let offered = load * blocked;
        offered / (n as f64 + offered)
    })
}

/// Share of time at which all servers are busy when `holders` sources offer `load` together, by Engset's recursion.
pub fn engset(seats: u64, holders: u64, load: f64) -> f64 {
    if holders <= seats {
        return 0.0;
    }
    let idle = holders as f64 - load;
    if idle <= 0.0 {
        return 1.0;
    }
    let each = load / idle;
    (1..=seats).fold(1.0, |busy, n| {
        let offered = (holders - n + 1) as f64 * each * busy;
        offered / (n as f64 + offered)
    })
}

/// The way the peak of a week goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Weeks that were looked at.
    pub weeks: u64,
    /// Seats more in a week: the median of the slopes between any two weeks (Theil 1950, Sen 1968).
    pub seats_per_week: f64,
    /// Nine of ten of these slopes lie between these two.
    pub interval: (f64, f64),
    /// The latest weeks' peak.
    pub last: f64,
}

impl Growth {
    /// Weeks without which a trend would be a guess.
    pub const ENOUGH: usize = 8;

    /// Of the peaks of weeks, oldest first. None for fewer than [`Self::ENOUGH`].
    pub fn of(peaks: &[u64]) -> Option<Self> {
        if peaks.len() < Self::ENOUGH {
            return None;
        }
        let mut slopes = Vec::new();
        for (later, to) in peaks.iter().enumerate() {
            for (earlier, from) in peaks[..later].iter().enumerate() {
                slopes.push((*to as f64 - *from as f64) / (later - earlier) as f64);
            }
        }
        slopes.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| slopes[((slopes.len() - 1) as f64 * share).round() as usize];
        Some(Self {
            weeks: peaks.len() as u64,
            seats_per_week: at(0.5),
            interval: (at(0.05), at(0.95)),
            last: *peaks.last()? as f64,
        })
    }

    /// Seats that a peak needs so many weeks ahead: expected, and at most by the interval.
    pub fn ahead(&self, weeks: f64) -> (u64, u64) {
        let seats = |slope: f64| (self.last + slope * weeks).max(0.0).ceil() as u64;
        (seats(self.seats_per_week), seats(self.interval.1))
    }
}

/// What a seat costs, by quantity: from the first seat of a tier on each costs its price.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices(Vec<(u64, f64)>);

impl Prices {
    /// What so many seats cost.
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
    type Err = crate::lease::Invalid;

    /// `35`, or `1:35,11:30`: the first ten seats at 35 each, each further one at 30.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            crate::lease::Invalid(
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
    /// A concurrent seat for each wish at the peak.
    pub concurrent_seats: u64,
    /// What these cost.
    pub concurrent: f64,
    /// The cheapest mix: named seats for those who hold longest, the rest shares.
    pub mix: (u64, u64, f64),
}

impl Comparison {
    /// Of a demand in which everybody has a name.
    pub fn of(demand: &Demand, named: &Prices, concurrent: &Prices) -> Self {
        let mut held: HashMap<&String, i64> = HashMap::new();
        for wish in &demand.wishes {
            if let Some(holder) = &wish.holder {
                *held.entry(holder).or_default() += wish.until_ms - wish.from_ms;
            }
        }
        let mut holders: Vec<(&String, i64)> = held.into_iter().collect();
        holders.sort_unstable_by_key(|(holder, ms)| (Reverse(*ms), *holder));

        let step = (holders.len() as u64).div_ceil(POINTS).max(1);
        let mix = (0..=holders.len())
            .step_by(usize::try_from(step).unwrap_or(1))
            .chain([holders.len()])
            .map(|count| {
                let own: HashSet<&String> =
                    holders[..count].iter().map(|(holder, _)| *holder).collect();
                let shared = peak(&demand.wishes, |wish| {
                    wish.holder
                        .as_ref()
                        .is_none_or(|holder| !own.contains(holder))
                });
                let count = count as u64;
                (count, shared, named.of(count) + concurrent.of(shared))
            })
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
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn wish(holder: &str, from_ms: i64, until_ms: i64) -> Wish {
        Wish {
            from_ms,
            until_ms,
            holder: Some(holder.into()),
            denied: false,
        }
    }

    fn day(wishes: Vec<Wish>) -> Demand {
        Demand::new(Instant(0), Instant(24 * HOUR), wishes)
    }

    #[test]
    fn ten_who_work_all_day_buy_named_seats() {
        let demand = day((0..10)
            .map(|n| wish(&format!("user-{n}"), 8 * HOUR, 17 * HOUR))
            .collect());
        let compared = Comparison::of(&demand, &"10".parse().unwrap(), &"35".parse().unwrap());
        assert_eq!((compared.named, compared.concurrent), (100.0, 350.0));
        assert_eq!(compared.mix, (10, 0, 100.0));
    }

    #[test]
    fn twenty_of_whom_five_work_at_a_time_share_seats() {
        let wishes = (0..20).map(|n| {
            let from = 8 * HOUR + i64::from(n / 5) * 2 * HOUR;
            wish(&format!("user-{n}"), from, from + 2 * HOUR)
        });
        let compared = Comparison::of(
            &day(wishes.collect()),
            &"10".parse().unwrap(),
            &"35".parse().unwrap(),
        );
        assert_eq!((compared.named, compared.concurrent), (200.0, 175.0));
    }

    #[test]
    fn a_replay_refuses_who_finds_no_seat_and_no_other() {
        let demand = day(vec![
            wish("ann", 0, 100),
            wish("bob", 10, 50),
            wish("cid", 20, 60),
            wish("cid", 55, 70),
            wish("dan", 100, 110),
        ]);
        assert_eq!(demand.peak(), 3);
        let point = demand.with(2);
        assert_eq!(
            (point.denials, point.holders_denied, point.longest_wait_ms),
            (1, 1, 30)
        );
        let point = demand.with(1);
        // A seat that comes free at an instant is free for who asks at that instant.
        assert_eq!(
            (point.denials, point.holders_denied, point.longest_wait_ms),
            (3, 2, 90)
        );
        assert_eq!(demand.with(3).denials, 0);
        assert_eq!(demand.fewest(0.0).seats, 3);
        assert_eq!(demand.fewest(0.2).seats, 2);
    }

    #[test]
    fn a_curve_bends_where_further_seats_help_little() {
        let point = |seats, denials| Point {
            seats,
            denials,
            holders_denied: 0,
            longest_wait_ms: 0,
            erlang_b: 0.0,
            engset: 0.0,
        };
        let bent = [
            point(1, 100),
            point(2, 40),
            point(3, 10),
            point(4, 6),
            point(5, 0),
        ];
        assert_eq!(knee(&bent).map(|knee| knee.seats), Some(3));
        let straight = [point(1, 20), point(2, 10), point(3, 0)];
        assert_eq!(knee(&straight), None);
        assert_eq!(knee(&[]), None);
    }

    #[test]
    fn the_formulas_agree_with_published_tables() {
        // Erlang B tables: 10 Erlang on 15 lines lose 3.65 %, 20 on 30 lose 0.85 %.
        assert!((erlang_b(15, 10.0) - 0.0365).abs() < 0.000_1);
        assert!((erlang_b(30, 20.0) - 0.0085).abs() < 0.000_1);
        // With very many sources Engset's formula becomes Erlang's; with no more sources than seats nobody waits.
        assert!((engset(15, 1_000_000, 10.0) - erlang_b(15, 10.0)).abs() < 0.000_1);
        assert_eq!(engset(5, 5, 3.0), 0.0);
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
    fn growth_is_a_robust_slope_and_needs_enough_weeks() {
        assert_eq!(Growth::of(&[1, 2, 3, 4, 5, 6, 7]), None);
        // One wild week changes nothing.
        let growth = Growth::of(&[10, 12, 14, 16, 90, 20, 22, 24, 26, 28]).unwrap();
        assert!((growth.seats_per_week - 2.0).abs() < 0.01);
        assert_eq!(growth.ahead(26.0).0, 80);
    }

    #[test]
    fn a_hundred_thousand_leases_are_replayed_in_no_time_worth_mentioning() {
        let wishes = (0..100_000_i64)
            .map(|n| wish(&format!("user-{}", n % 1_000), n * 800, n * 800 + 60_000))
            .collect();
        let demand = day(wishes);
        let curve = demand.curve();
        assert!(curve.len() <= 51);
        assert_eq!(curve.last().unwrap().denials, 0);
        assert!(
            curve
                .windows(2)
                .all(|pair| pair[1].denials <= pair[0].denials)
        );
    }
}
