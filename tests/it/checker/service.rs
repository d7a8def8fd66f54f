//! Every request is served: while nothing but messages is forbidden, and soon after the address has moved.

use super::{History, Kind, Operation};

/// From the moment when the new master answers at the address to the first answer, ms. Two seconds are promised, and held against a
/// node that has nothing else to do (`moved_address.rs`); here a crowd makes pauses of up to a second.
const FOLLOWS: f64 = 5_000.0;

/// So many requests without one decision are no accident of a busy machine.
const MANY: usize = 5;

/// Checks who was served when.
pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    for (from, until) in &history.only_notices_fail {
        for kind in [Kind::Acquire, Kind::Release, Kind::Terminate] {
            let within = |operation: &&Operation| {
                operation.kind == kind && operation.sent >= *from && operation.received <= *until
            };
            let asked: Vec<&Operation> = history.operations.iter().filter(within).collect();
            let decided = asked.iter().filter(|operation| operation.ran.is_some());
            if asked.len() >= MANY && decided.count() == 0 {
                wrong.push(format!(
                    "service: only messages were forbidden, and no {kind:?} of {} was decided: {:?}",
                    asked.len(),
                    asked[0]
                ));
            }
        }
    }
    for moved in &history.moved {
        let after = |operation: &&Operation| operation.sent >= *moved;
        let asked = history.operations.iter().filter(after);
        let first = asked
            .clone()
            .filter(|operation| operation.ran.is_some())
            .map(|operation| operation.received)
            .min_by(f64::total_cmp);
        let last = asked
            .map(|operation| operation.received)
            .fold(0.0, f64::max);
        let served = first.unwrap_or(f64::INFINITY);
        if last > moved + FOLLOWS && served > moved + FOLLOWS {
            wrong.push(format!(
                "service: the address moved at {moved:.0}, and the first answer came after {:.0} ms",
                served - moved
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn release(sent: f64, ran: bool) -> Operation {
        Operation {
            kind: Kind::Release,
            outcome: if ran { Outcome::Done } else { Outcome::NotRun },
            sent,
            received: sent + 1.0,
            id: "a".into(),
            key: "".into(),
            ticket: "".into(),
            holder: "ann".into(),
            ran: ran.then_some((1, sent as i64)),
            expires_at: 0,
            fence: 0,
        }
    }

    fn found(history: &History) -> Vec<String> {
        let mut wrong = Vec::new();
        check(history, &mut wrong);
        wrong
    }

    #[test]
    fn releases_that_fail_with_their_messages_are_found() {
        let story = |ran: &[bool]| History {
            operations: (0..)
                .zip(ran)
                .map(|(i, ran)| release(f64::from(i) * 10.0, *ran))
                .collect(),
            only_notices_fail: vec![(0.0, 1_000.0)],
            ..History::of(1, 1_000)
        };
        assert_eq!(found(&story(&[false; 5])).len(), 1);
        assert_eq!(found(&story(&[false; 4])), Vec::<String>::new());
        assert_eq!(
            found(&story(&[false, false, true, false, false])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_address_that_is_not_followed_in_time_is_found() {
        let story = |first: f64| {
            let operations = (0..100)
                .map(f64::from)
                .map(|i| release(i * 100.0, i * 100.0 >= first));
            History {
                operations: operations.collect(),
                moved: vec![1_000.0],
                ..History::of(1, 1_000)
            }
        };
        assert_eq!(found(&story(5_500.0)), Vec::<String>::new());
        assert_eq!(found(&story(6_100.0)).len(), 1);
        assert_eq!(found(&story(f64::INFINITY)).len(), 1);
    }
}
