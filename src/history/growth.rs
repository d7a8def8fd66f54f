//! Which way the peaks of weeks go.
//!
//! Deliberately absent: seasons. A year of weeks shows a trend, and no second Christmas to compare the first with.

/// The way the peak of a week goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Weeks that were looked at.
    pub weeks: u64,
    /// Seats more in a week: the median of the slopes between any two weeks (Theil 1950, Sen 1968).
    pub seats_per_week: f64,
    /// The true slope lies between these two with 90 % confidence (Sen's interval, from the variance of Kendall's S).
    pub interval: (f64, f64),
    /// Where the line of the slope is in the last week.
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
        let middle = median(&slopes);
        let n = peaks.len() as f64;
        let spread = 1.645 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        let rank = |at: f64| slopes[(at.round().max(0.0) as usize).min(slopes.len() - 1)];
        let count = slopes.len() as f64;
        // The line goes through the middle of the weeks, so that one wild week does not move its end.
        let last = peaks.len() - 1;
        let mut ends: Vec<f64> = peaks
            .iter()
            .enumerate()
            .map(|(week, peak)| *peak as f64 + middle * (last - week) as f64)
            .collect();
        ends.sort_unstable_by(f64::total_cmp);
        Some(Self {
            weeks: peaks.len() as u64,
            seats_per_week: middle,
            interval: (
                rank((count - spread) / 2.0 - 1.0),
                rank((count + spread) / 2.0),
            ),
            last: median(&ends),
        })
    }

    /// Seats that a peak needs in that many weeks: the expected number, and the upper end of the interval.
    pub fn ahead(&self, weeks: f64) -> (u64, u64) {
        let seats = |slope: f64| (self.last + slope * weeks).max(0.0).ceil() as u64;
        (seats(self.seats_per_week), seats(self.interval.1))
    }
}

/// Of numbers in order.
fn median(of: &[f64]) -> f64 {
    let middle = of.len() / 2;
    if of.len() % 2 == 1 {
        of[middle]
    } else {
        (of[middle - 1] + of[middle]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_a_robust_slope_and_needs_enough_weeks() {
        assert_eq!(Growth::of(&[1, 2, 3, 4, 5, 6, 7]), None);
        // One wild week changes nothing.
        let growth = Growth::of(&[10, 12, 14, 16, 90, 20, 22, 24, 26, 28]).unwrap();
        assert!((growth.seats_per_week - 2.0).abs() < 0.01);
        assert_eq!(growth.ahead(26.0).0, 80);
    }

    #[test]
    fn an_interval_that_holds_zero_is_no_growth() {
        let growth = Growth::of(&[20, 22, 19, 21, 20, 18, 22, 20, 21, 19]).unwrap();
        assert!(growth.interval.0 < 0.0 && 0.0 < growth.interval.1);
        let growth = Growth::of(&[10, 11, 13, 13, 15, 17, 17, 19, 21, 21]).unwrap();
        assert!(
            growth.interval.0 > 0.8 && growth.interval.1 < 2.0,
            "{growth:?}"
        );
    }
}
