//! The rules that a history must obey, checked over all of it. In time linear in its length, but for sorting.
//!
//! Two views are held against each other: what clients were told, and the pool's own events. Neither is believed alone: a
//! script that counts wrongly also writes wrong events, but then answers, clocks and terms do not fit together.

use std::collections::{BTreeMap, HashMap};

use crate::harness::Event;

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Acquire,
    Renew,
    Release,
    Terminate,
}

/// What it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// A new lease.
    Granted,
    /// The lease that the key already has.
    Existing,
    /// Every seat is taken.
    Denied,
    Renewed,
    Resumed,
    /// Time ended it.
    Expired,
    /// It was released or terminated.
    Final,
    /// Released or terminated.
    Done,
    /// It may have run, or not.
    Unknown,
    /// It surely did not run.
    NotRun,
}

/// One operation, as a client saw it. Times in milliseconds since the epoch, by the client's clock.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) told: Told,
    pub(super) sent: f64,
    pub(super) received: f64,
    /// The lease; empty where none was named.
    pub(super) id: String,
    /// The idempotency key of an acquire.
    pub(super) key: String,
    /// Number and instant of the script, where one answered.
    pub(super) ran: Option<(u64, i64)>,
    /// What was promised, ms.
    pub(super) expires_at: i64,
    pub(super) fence: u64,
}

/// What the pool is, and how the run ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) capacity: usize,
    pub(super) ttl: i64,
    /// When the events were read, by Redis's clock.
    pub(super) until: i64,
    /// Starts less ends, and members of the sorted set.
    pub(super) balance: (i64, i64),
}

/// The clocks of one machine, read by two processes.
const CLOCK_SLACK: f64 = 3.0;
/// How long after its end a lease may go unrecorded.
const RECORDED: i64 = 2_500;

/// A life of a lease: from a start or a resume to the next end.
#[derive(Debug, Clone, Copy)]
struct Life {
    from: i64,
    to: i64,
}

/// All that is wrong; empty if nothing is.
pub(super) fn violations(frame: Frame, operations: &[Operation], events: &[Event]) -> Vec<String> {
    let mut wrong = Vec::new();
    check_clock_and_order(operations, &mut wrong);
    let lives = check_events(frame, operations, events, &mut wrong);
    check_answers(frame, operations, events, &lives, &mut wrong);
    if frame.balance.0 != frame.balance.1 {
        wrong.push(format!(
            "conservation: starts less ends are {}, leases {}",
            frame.balance.0, frame.balance.1
        ));
    }
    wrong
}

/// The instant of a script lies between question and answer, and what came later has the greater number.
fn check_clock_and_order(operations: &[Operation], wrong: &mut Vec<String>) {
    let mut ran: Vec<(&Operation, u64, i64)> = operations
        .iter()
        .filter_map(|operation| operation.ran.map(|(seq, at)| (operation, seq, at)))
        .collect();
    for (operation, _, at) in &ran {
        // Redis counts whole milliseconds, downwards.
        let (least, most) = (
            operation.sent - 1.0 - CLOCK_SLACK,
            operation.received + CLOCK_SLACK,
        );
        if (*at as f64) < least || (*at as f64) > most {
            wrong.push(format!(
                "clock: ran at {at}, not in {least:.0}..{most:.0}: {operation:?}"
            ));
        }
    }
    let mut by_end = ran.clone();
    by_end.sort_by(|(a, ..), (b, ..)| a.received.total_cmp(&b.received));
    ran.sort_by(|(a, ..), (b, ..)| a.sent.total_cmp(&b.sent));
    let (mut ended, mut newest) = (by_end.iter().peekable(), (0, 0));
    for (operation, seq, at) in ran {
        while let Some((_, seq, at)) = ended.next_if(|(other, ..)| other.received < operation.sent)
        {
            newest = (newest.0.max(*seq), newest.1.max(*at));
        }
        // What only reads has the number of the last change.
        let reads = operation.told == Told::Existing;
        if seq < newest.0 || (seq == newest.0 && !reads) || at < newest.1 {
            wrong.push(format!(
                "order: number {seq} at {at} after number {} at {} was answered: {operation:?}",
                newest.0, newest.1
            ));
        }
    }
}

/// Admission, terms and conservation in the pool's own history.
fn check_events(
    frame: Frame,
    operations: &[Operation],
    events: &[Event],
    wrong: &mut Vec<String>,
) -> HashMap<String, Vec<Life>> {
    let mut lives: HashMap<String, Vec<Life>> = HashMap::new();
    let mut last_start = 0;
    for event in events.iter().filter(|event| event.change() != 0) {
        let own = lives.entry(event.id.clone()).or_default();
        let open = own.last().is_some_and(|life| life.to == i64::MAX);
        match (event.change() > 0, open) {
            (true, false) => own.push(Life {
                from: event.at,
                to: i64::MAX,
            }),
            (false, true) => own.last_mut().expect("open").to = event.at,
            _ => wrong.push(format!(
                "conservation: {event:?} does not fit what was before"
            )),
        }
        if event.change() > 0 {
            if event.at < last_start {
                wrong.push(format!("order: {event:?} after one at {last_start}"));
            }
            last_start = event.at;
        }
    }

    // An end at an instant frees the seat for a start at the same.
    let mut steps: Vec<(i64, i64)> = Vec::new();
    for life in lives.values().flatten() {
        steps.push((life.from, 1));
        if life.to < i64::MAX {
            steps.push((life.to.max(life.from), -1));
        }
    }
    steps.sort_unstable();
    let mut live = 0;
    for (at, step) in steps {
        live += step;
        if live > i64::try_from(frame.capacity).expect("small") {
            wrong.push(format!("admission: {live} leases at {at}"));
        }
    }

    // What each lease was promised at least, and could have at most.
    let mut promised: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    let mut unknown: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for operation in operations {
        match (operation.told, operation.ran) {
            (Told::Granted | Told::Renewed | Told::Resumed, Some((_, at))) => promised
                .entry(&operation.id)
                .or_default()
                .push((at, operation.expires_at)),
            (Told::Unknown, _) if operation.kind == Kind::Renew => {
                unknown
                    .entry(&operation.id)
                    .or_default()
                    .push(operation.sent);
            }
            _ => {}
        }
    }
    for operation in operations
        .iter()
        .filter(|operation| operation.told == Told::Renewed)
    {
        let at = operation.ran.map_or(0, |(_, at)| at);
        let before = promised.get(operation.id.as_str()).into_iter().flatten();
        let least = before
            .filter(|(when, _)| *when < at)
            .map(|(_, end)| *end)
            .max();
        let open = unknown.contains_key(operation.id.as_str());
        if !open && least.is_some_and(|end| end <= at) {
            wrong.push(format!(
                "maximum term: renewed after its end at {least:?}: {operation:?}"
            ));
        }
    }
    for event in events.iter().filter(|event| event.reason == "expired") {
        let before = promised.get(event.id.as_str()).into_iter().flatten();
        let least = before
            .filter(|(at, _)| *at < event.at)
            .map(|(_, end)| *end)
            .max();
        let asked = unknown.get(event.id.as_str()).into_iter().flatten();
        let open = asked.into_iter().any(|sent| (*sent as i64) < event.at);
        if let Some(least) = least {
            if event.at < least {
                wrong.push(format!("minimum term: promised until {least}: {event:?}"));
            }
            if event.at > least && !open {
                wrong.push(format!(
                    "maximum term: promised until {least} only: {event:?}"
                ));
            }
        }
    }
    for (id, own) in &lives {
        let open = own.last().is_some_and(|life| life.to == i64::MAX);
        let least = promised
            .get(id.as_str())
            .and_then(|ends| ends.iter().map(|(_, end)| *end).max());
        if let (true, Some(end)) = (open, least)
            && end + RECORDED < frame.until
            && !unknown.contains_key(id.as_str())
        {
            wrong.push(format!(
                "maximum term: {id} ends at {end} and does not at {}",
                frame.until
            ));
        }
    }
    lives
}

/// What clients were told fits the history, and each other.
fn check_answers(
    frame: Frame,
    operations: &[Operation],
    events: &[Event],
    lives: &HashMap<String, Vec<Life>>,
    wrong: &mut Vec<String>,
) {
    let happened = |id: &str, at: i64, kinds: &[&str]| {
        events
            .iter()
            .any(|event| event.id == id && event.at == at && kinds.contains(&event.kind.as_str()))
    };
    let mut finals: HashMap<&str, f64> = HashMap::new();
    let mut fences: Vec<(i64, u64)> = Vec::new();
    let mut keys: HashMap<&str, Vec<&Operation>> = HashMap::new();
    let spans: Vec<Life> = lives.values().flatten().copied().collect();
    for operation in operations {
        let at = operation.ran.map_or(0, |(_, at)| at);
        match operation.told {
            Told::Granted => {
                if !happened(
                    &operation.id,
                    operation.expires_at - frame.ttl,
                    &["started"],
                ) {
                    wrong.push(format!("invented: no start for {operation:?}"));
                }
                fences.push((operation.expires_at - frame.ttl, operation.fence));
            }
            Told::Resumed if !happened(&operation.id, at, &["resumed", "rebuilt"]) => {
                wrong.push(format!("invented: no resume for {operation:?}"));
            }
            Told::Denied => {
                // In the same millisecond a seat may have been free before or after.
                let live = spans
                    .iter()
                    .filter(|life| life.from <= at && at <= life.to)
                    .count();
                if live < frame.capacity {
                    wrong.push(format!(
                        "denied with {live} of {}: {operation:?}",
                        frame.capacity
                    ));
                }
            }
            Told::Expired => {
                let live = lives
                    .get(&operation.id)
                    .is_some_and(|own| own.iter().any(|life| life.from <= at && at < life.to));
                if live {
                    wrong.push(format!("told that it ended while it lived: {operation:?}"));
                }
            }
            Told::Done => {
                finals.entry(&operation.id).or_insert(operation.received);
            }
            _ => {}
        }
        if matches!(operation.told, Told::Granted | Told::Existing) && !operation.key.is_empty() {
            keys.entry(&operation.key).or_default().push(operation);
        }
    }
    for operation in operations {
        if let Some(ended) = finals.get(operation.id.as_str())
            && operation.sent > *ended
            && matches!(operation.told, Told::Renewed | Told::Resumed)
        {
            wrong.push(format!(
                "finality: after its release or termination {operation:?}"
            ));
        }
    }
    for event in events.iter().filter(|event| event.change() > 0) {
        if finals
            .get(event.id.as_str())
            .is_some_and(|ended| event.at as f64 > ended + CLOCK_SLACK)
        {
            wrong.push(format!(
                "finality: after its release or termination {event:?}"
            ));
        }
    }
    fences.sort_unstable();
    let repeated = fences
        .windows(2)
        .any(|pair| pair[0].1 >= pair[1].1 && pair[0].0 < pair[1].0);
    let mut numbers: Vec<u64> = fences.iter().map(|(_, fence)| *fence).collect();
    numbers.sort_unstable();
    if repeated || numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        wrong.push("fences do not grow".to_owned());
    }
    for (key, answers) in keys {
        let mut ids: Vec<&str> = answers.iter().map(|answer| answer.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        // A key is used anew only for a lease that lives.
        for pair in ids.windows(2) {
            let (a, b) = (lives.get(pair[0]), lives.get(pair[1]));
            let overlap = a.into_iter().flatten().any(|a| {
                b.into_iter()
                    .flatten()
                    .any(|b| a.from < b.to && b.from < a.to)
            });
            if overlap {
                wrong.push(format!(
                    "idempotency: two leases at once for {key}: {pair:?}"
                ));
            }
        }
    }
}
