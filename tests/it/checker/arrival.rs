//! Waiters are served in order of arrival, and keep their place for as long as they ask, over outages too.

use std::collections::{HashMap, HashSet};

use super::{Grace, History, Operation, Outcome, Verdict};

/// A waiter that is silent for this long loses its place, ms; `lua/parts/queue.lua`.
const SILENT: i64 = 6_000;
/// Who asks no later than this after the last answer is not passed over, ms: the shortest time that anybody is told, and what
/// a question may be late.
const IN_TIME: i64 = 2_600;

/// What one waiter heard, in the order of scripts.
#[derive(Default)]
struct Waiter<'a> {
    asked: Vec<&'a Operation>,
    /// It had a place before: what is first here is not its arrival.
    came_before: bool,
}

impl<'a> Waiter<'a> {
    /// When it came, if that is sure: a request that was sent again may have come sooner than its answer says.
    fn came(&self, history: &History) -> Option<&'a Operation> {
        let first = *self.asked.first()?;
        let sure = history.may_have_run_since(first).is_none() && !history.may_repeat(first);
        (first.outcome == Outcome::Queued && sure && !self.came_before && self.asked_in_time())
            .then_some(first)
    }

    /// Whether it asked in time: a client that did not may have been passed over, and has its place again when it asks.
    fn asked_in_time(&self) -> bool {
        let pairs = self.asked.windows(2);
        pairs.into_iter().all(|pair| {
            pair[0].outcome != Outcome::Queued || pair[1].at() - pair[0].at() <= IN_TIME
        })
    }

    /// When the last script ran that said that it waits.
    fn waits_until(&self) -> Moment {
        let waits = self.asked.iter().rev();
        waits
            .filter(|operation| operation.outcome == Outcome::Queued)
            .map(|operation| moment(operation))
            .next()
            .unwrap_or_default()
    }
}

/// The instant of a script, and its number among those of one instant. By number alone a master that took over, and whose
/// numbers are a little behind, would be earlier than the one before it.
type Moment = (i64, u64);

fn moment(operation: &Operation) -> Moment {
    (operation.at(), operation.seq())
}

/// Checks the queue of one segment.
pub(super) fn check(
    history: &History,
    graces: &[Grace],
    operations: &[&Operation],
    verdict: &mut Verdict,
) {
    // Whose connection broke is passed over until it asks again.
    let unsure: HashSet<&str> = operations
        .iter()
        .filter(|operation| operation.outcome == Outcome::Unknown)
        .map(|operation| &*operation.ticket)
        .collect();
    let mut first_sent: HashMap<&str, f64> = HashMap::new();
    for operation in operations {
        let first = first_sent.entry(&operation.ticket).or_insert(f64::MAX);
        *first = first.min(operation.sent);
    }
    // A failover may lose places, and begins the numbers anew.
    let mut epochs: HashMap<usize, Vec<&Operation>> = HashMap::new();
    for operation in operations
        .iter()
        .filter(|operation| operation.ran.is_some() && !history.may_be_lost(operation))
    {
        let losses = history.lossy.iter();
        let before = losses.filter(|(_, until)| operation.sent > *until).count();
        epochs.entry(before).or_default().push(operation);
    }
    for mut operations in epochs.into_values() {
        operations.sort_by_key(|operation| operation.seq());
        let mut waiters: HashMap<&str, Waiter<'_>> = HashMap::new();
        for operation in operations.iter().filter(|operation| {
            !operation.ticket.is_empty() && !unsure.contains(&*operation.ticket)
        }) {
            let waiter = waiters.entry(&operation.ticket).or_default();
            waiter.came_before |=
                waiter.asked.is_empty() && operation.sent > first_sent[&*operation.ticket];
            waiter.asked.push(operation);
        }
        check_places(graces, &waiters, verdict);
        check_order(history, &waiters, &operations, verdict);
    }
}

/// Nobody loses a place who asked in time, and a whole such time is left to everybody after an outage.
fn check_places(graces: &[Grace], waiters: &HashMap<&str, Waiter<'_>>, verdict: &mut Verdict) {
    for waiter in waiters.values() {
        for pair in waiter.asked.windows(2) {
            let (asked, lost) = (pair[0], pair[1]);
            if asked.outcome != Outcome::Queued || lost.outcome != Outcome::TicketExpired {
                continue;
            }
            let deadline = asked.at() + SILENT;
            let known = graces.iter().filter(|grace| grace.back <= lost.at());
            let extended = known
                .filter(|grace| grace.floor < deadline)
                .map(|grace| grace.back + SILENT);
            let end = extended.fold(deadline, i64::max);
            if lost.at() < end {
                verdict.violations.push(format!(
                    "queue: the place was kept until {end}, and lost: {asked:?}, {lost:?}"
                ));
            }
        }
    }
}

/// Whoever got a seat came before all who heard later that they still wait.
fn check_order(
    history: &History,
    waiters: &HashMap<&str, Waiter<'_>>,
    operations: &[&Operation],
    verdict: &mut Verdict,
) {
    // Of those who had come by each number, the one who waited longest.
    let mut waits: Vec<(Moment, Moment)> = waiters
        .values()
        .filter_map(|waiter| Some((moment(waiter.came(history)?), waiter.waits_until())))
        .collect();
    waits.sort_unstable();
    let mut longest = Moment::default();
    for (_, until) in &mut waits {
        longest = longest.max(*until);
        *until = longest;
    }
    for operation in operations {
        let came = match operation.outcome {
            Outcome::Granted | Outcome::Resumed if operation.ticket.is_empty() => moment(operation),
            Outcome::Granted => {
                let own = waiters.get(&*operation.ticket);
                match own.and_then(|own| own.came(history)) {
                    Some(own) => moment(own),
                    None => continue,
                }
            }
            _ => continue,
        };
        let before = waits.partition_point(|(arrived, _)| *arrived < came);
        let (at, number) = before
            .checked_sub(1)
            .map_or(Moment::default(), |place| waits[place].1);
        if operation.at() <= at && operation.seq() < number {
            verdict.violations.push(format!(
                "queue: overtook one who still waits at number {number}: {operation:?}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Segment};
    use super::*;

    /// What a client heard at this number and instant.
    fn operation(ticket: &str, outcome: Outcome, seq: u64, at: i64) -> Operation {
        Operation {
            kind: Kind::Acquire,
            outcome,
            sent: at as f64 - 1.0,
            received: at as f64 + 1.0,
            id: "".into(),
            key: "".into(),
            ticket: ticket.into(),
            holder: "ann".into(),
            ran: Some((seq, at)),
            expires_at: 0,
            fence: 0,
        }
    }

    fn found(operations: Vec<Operation>, graces: Vec<Grace>) -> Vec<String> {
        let history = History {
            segments: vec![Segment {
                graces,
                ..Segment::default()
            }],
            operations,
            ..History::of(1, 60_000)
        };
        let mut verdict = Verdict::default();
        let all: Vec<&Operation> = history.operations.iter().collect();
        check(&history, &history.segments[0].graces, &all, &mut verdict);
        verdict.violations
    }

    #[test]
    fn first_come_first_served_is_right_and_any_other_order_is_found() {
        let story = |first: &str, second: &str| {
            vec![
                operation("a", Outcome::Queued, 1, 1_000),
                operation("b", Outcome::Queued, 2, 1_010),
                operation(first, Outcome::Granted, 3, 2_000),
                operation(second, Outcome::Queued, 4, 2_010),
                operation(second, Outcome::Granted, 5, 3_000),
            ]
        };
        assert_eq!(found(story("a", "b"), Vec::new()), Vec::<String>::new());
        assert_eq!(found(story("b", "a"), Vec::new()).len(), 1);
    }

    #[test]
    fn a_newcomer_or_a_late_heartbeat_that_overtakes_is_found() {
        for word in [Outcome::Granted, Outcome::Resumed] {
            let story = vec![
                operation("a", Outcome::Queued, 1, 1_000),
                operation("", word, 2, 2_000),
                operation("a", Outcome::Queued, 3, 2_100),
            ];
            assert_eq!(found(story, Vec::new()).len(), 1);
            // Where the waiter gets a seat too there was one for each.
            let story = vec![
                operation("a", Outcome::Queued, 1, 1_000),
                operation("", word, 2, 2_000),
                operation("a", Outcome::Granted, 3, 2_100),
            ];
            assert_eq!(found(story, Vec::new()), Vec::<String>::new());
        }
    }

    #[test]
    fn who_did_not_ask_in_time_is_passed_over_and_nobody_else() {
        let story = |again: i64| {
            vec![
                operation("a", Outcome::Queued, 1, 1_000),
                operation("b", Outcome::Queued, 2, 1_010),
                operation("b", Outcome::Granted, 3, 3_400),
                operation("a", Outcome::Queued, 4, again),
            ]
        };
        assert_eq!(found(story(3_500), Vec::new()).len(), 1);
        assert_eq!(found(story(4_500), Vec::new()), Vec::<String>::new());
    }

    #[test]
    fn a_place_is_lost_by_silence_and_not_by_an_outage() {
        let story = |lost: i64| {
            vec![
                operation("a", Outcome::Queued, 1, 1_000),
                operation("a", Outcome::TicketExpired, 2, lost),
            ]
        };
        let outage = vec![Grace {
            floor: 2_000,
            back: 22_000,
            gap: 20_000,
        }];
        assert_eq!(found(story(7_000), Vec::new()), Vec::<String>::new());
        assert_eq!(found(story(6_999), Vec::new()).len(), 1);
        assert_eq!(found(story(22_500), outage.clone()).len(), 1);
        assert_eq!(found(story(28_000), outage), Vec::<String>::new());
    }
}
