//! The formulas of Erlang (B, 1917) and Engset (1918), as in ITU-T's Teletraffic Engineering Handbook, chapters 7 and 8.
//!
//! They assume that people come at random, which shifts do not: a check of a replay, never an answer of their own.

/// Share of lost calls when calls come at random to `seats` servers, by the recursion of the B formula.
/// Where nobody calls none is lost.
pub fn erlang_b(seats: u64, load: f64) -> f64 {
    if load <= 0.0 {
        return 0.0;
    }
    (1..=seats).fold(1.0, |blocked, n| {
        let offered = load * blocked;
        offered / (n as f64 + offered)
    })
}

/// Share of time at which all servers are busy when `holders` sources offer `load` together, by Engset's recursion.
pub fn engset(seats: u64, holders: u64, load: f64) -> f64 {
    busy(seats, holders, holders, load)
}

/// Share of lost calls of such sources: a source that calls sees only what the others do.
pub fn engset_refused(seats: u64, holders: u64, load: f64) -> f64 {
    busy(seats, holders.saturating_sub(1), holders, load)
}

fn busy(seats: u64, sources: u64, holders: u64, load: f64) -> f64 {
    if load <= 0.0 || sources < seats || holders <= seats {
        return 0.0;
    }
    let idle = holders as f64 - load;
    if idle <= 0.0 {
        return 1.0;
    }
    let each = load / idle;
    (1..=seats).fold(1.0, |busy, n| {
        let offered = (sources - n + 1) as f64 * each * busy;
        offered / (n as f64 + offered)
    })
}

/// The fewest seats with which at most this share is refused, by one of the two.
pub fn fewest(share: f64, refused: impl Fn(u64) -> f64) -> u64 {
    let mut high = 1;
    while share < refused(high) && high < 1 << 20 {
        high *= 2;
    }
    let mut low = 0;
    while low < high {
        let middle = (low + high) / 2;
        if refused(middle) <= share {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_fewest_seats_are_those_of_the_tables() {
        // Seats for 5 %, 1 % and 0.1 % of refusals, from published tables.
        for (load, seats) in [
            (5.0, [9, 11, 14]),
            (20.0, [26, 30, 35]),
            (100.0, [105, 117, 128]),
        ] {
            let found =
                [0.05, 0.01, 0.001].map(|share| fewest(share, |seats| erlang_b(seats, load)));
            assert_eq!(found, seats, "{load}");
        }
        // Sixty people of whom half are active: fewer than for as much random demand.
        assert_eq!(fewest(0.01, |seats| engset_refused(seats, 60, 30.0)), 38);
        assert_eq!(fewest(0.01, |seats| erlang_b(seats, 30.0)), 42);
        assert_eq!(fewest(0.01, |seats| erlang_b(seats, 0.0)), 0);
    }
}
