//! Numbers, instants and fences grow, and fit the time at which clients asked.

use super::{CLOCK_SLACK, History, OUTAGE, Operation, Outcome, Verdict};

/// Checks the order of the whole history.
pub(super) fn check(history: &History, verdict: &mut Verdict) {
    let ran: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|operation| operation.ran.is_some())
        .collect();
    let wrong = &mut verdict.violations;
    check_clock(history, &ran, wrong);
    check_real_time(history, ran.clone(), wrong);
    check_numbers(history, ran, wrong);
    check_graces(history, wrong);
}

/// The instant of a script lies between question and answer.
fn check_clock(history: &History, ran: &[&Operation], wrong: &mut Vec<String>) {
    for operation in ran {
        // Redis counts whole milliseconds, downwards.
        let least = operation.sent - 1.0 - CLOCK_SLACK + history.skew.0 as f64;
        let most = operation.received + CLOCK_SLACK + history.skew.1 as f64;
        let at = operation.at();
        if (at as f64) < least || (at as f64) > most {
            wrong.push(format!(
                "clock: ran at {at}, not in {least:.0}..{most:.0}: {operation:?}"
            ));
        }
    }
}

/// The number of what only reads is that of the last change.
fn reads(history: &History, operation: &Operation) -> bool {
    match operation.outcome {
        Outcome::Existing => true,
        // A call that a node had to send again finds what the first try did.
        Outcome::Granted => operation.expires_at - history.ttl != operation.at(),
        _ => false,
    }
}

/// What is asked after an answer has a greater number than what was answered, on the same data.
fn check_real_time(history: &History, ran: Vec<&Operation>, wrong: &mut Vec<String>) {
    let mut by_end = ran.clone();
    by_end.sort_by(|a, b| a.received.total_cmp(&b.received));
    let mut by_begin = ran;
    by_begin.sort_by(|a, b| a.sent.total_cmp(&b.sent));
    let (mut ended, mut newest) = (by_end.iter().peekable(), (0, 0));
    // Of what was asked since the last loss of data only.
    let mut since = (0.0, 0);
    for operation in by_begin {
        while let Some(other) = ended.next_if(|other| other.received < operation.sent) {
            let counts = other.sent > since.0 && history.segment_of(other.at()) == since.1;
            if counts && !history.may_be_lost(other) {
                newest.0 = newest.0.max(other.seq());
                // What only reads leaves no trace: when the clock is set back in that moment, the next may be earlier.
                if !reads(history, other) {
                    newest.1 = newest.1.max(other.at());
                }
            }
        }
        let segment = history.segment_of(operation.at());
        let lossy = history.lossy.iter().map(|(_, until)| *until);
        let loss = lossy.filter(|until| operation.sent > *until);
        let epoch = (loss.fold(0.0, f64::max), segment);
        if epoch != since {
            (since, newest) = (epoch, (0, 0));
        }
        let (seq, at) = (operation.seq(), operation.at());
        let again = seq == newest.0 && !reads(history, operation);
        if !history.may_be_lost(operation) && (seq < newest.0 || again || at < newest.1) {
            wrong.push(format!(
                "order: number {seq} at {at} after number {} at {} was answered: {operation:?}",
                newest.0, newest.1
            ));
        }
    }
}

/// In the order of numbers instants never fall and fences grow; a number is used for one thing.
fn check_numbers(history: &History, ran: Vec<&Operation>, wrong: &mut Vec<String>) {
    let mut sure: Vec<&Operation> = ran
        .into_iter()
        .filter(|operation| !history.may_be_lost(operation))
        .collect();
    let epoch = |operation: &Operation| {
        let losses = history.lossy.iter();
        let before = losses.filter(|(_, until)| operation.sent > *until).count();
        (history.segment_of(operation.at()), before)
    };
    sure.sort_by_key(|operation| (epoch(operation), operation.seq(), operation.at()));
    for pair in sure.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if epoch(a) != epoch(b) {
            continue;
        }
        if b.at() < a.at() && !reads(history, a) {
            wrong.push(format!("order: the instant falls from {a:?} to {b:?}"));
        }
        // Renewals share a call; a look has the number of the last change.
        let shared =
            a.outcome == Outcome::Renewed && b.outcome == Outcome::Renewed && a.at() == b.at();
        let looks = reads(history, a) || reads(history, b);
        if a.seq() == b.seq() && !shared && !looks {
            wrong.push(format!("order: one number for {a:?} and {b:?}"));
        }
    }
    let grants = sure
        .iter()
        .filter(|operation| operation.outcome == Outcome::Granted && !reads(history, operation));
    let mut last: Option<&Operation> = None;
    for operation in grants {
        if let Some(before) = last
            && epoch(before) == epoch(operation)
            && before.fence >= operation.fence
        {
            wrong.push(format!("fences do not grow: {before:?} and {operation:?}"));
        }
        last = Some(operation);
    }
}

/// Every silence that counts was noted, and nothing else was. What only reads is no sign of life: the scripts do not note it.
fn check_graces(history: &History, wrong: &mut Vec<String>) {
    for segment in &history.segments {
        let mut instants: Vec<i64> = history
            .operations
            .iter()
            .filter(|operation| operation.ran.is_some() && !history.may_be_lost(operation))
            .filter(|operation| !reads(history, operation))
            .map(Operation::at)
            .collect();
        instants.sort_unstable();
        for grace in &segment.graces {
            // A silence within a grace keeps the floor of the first, so the whole is longer than each gap.
            let whole = grace.back - grace.floor;
            let after = instants.partition_point(|at| *at <= grace.floor);
            if grace.gap == whole && instants.get(after).is_some_and(|at| *at < grace.back) {
                wrong.push(format!("outage: {} lies within {grace:?}", instants[after]));
            }
            // While time returns to a clock that went back, less of it may pass than was silent.
            let shifted = history.skew.0 != history.skew.1;
            if grace.gap <= OUTAGE || (grace.gap > whole && !shifted) {
                wrong.push(format!("outage: {grace:?} is none"));
            }
        }
    }
    let (least, most) = (history.skew.0 as f64, history.skew.1 as f64);
    for (from, until) in &history.silences {
        // A second more, because a script may have run right before and after; shorter ones may be none.
        if until - from < OUTAGE as f64 + 1_000.0 + most - least {
            continue;
        }
        let noted = |segment: &super::Segment| {
            segment.graces.iter().any(|grace| {
                (grace.floor as f64) <= from + most + 50.0
                    && (grace.back as f64) >= until + least - 50.0
            })
        };
        let emptied = |segment: &super::Segment| {
            let at = segment.generation as f64;
            segment.after_loss && at >= from + least && at <= until + most + 1_000.0
        };
        let segments = &history.segments;
        if !segments
            .iter()
            .any(|segment| noted(segment) || emptied(segment))
        {
            wrong.push(format!(
                "outage: the silence {from:.0}..{until:.0} was not noted"
            ));
        }
    }
}
