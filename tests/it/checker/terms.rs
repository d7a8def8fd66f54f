//! Minimum and maximum term: no lease ends before what was promised, and none lives longer.

use std::collections::HashMap;

use super::lifetimes::{Lifetime, Lifetimes};
use super::{History, Kind, Operation, Outcome, RECORDED, Verdict};

/// Until when a lease lives by what is known of it.
#[derive(Debug, Clone, Copy)]
struct Term {
    /// By what was surely done.
    least: i64,
    /// With what was acknowledged and may be lost.
    most: i64,
    /// Whether a renew with an unknown outcome may have made it longer.
    open: bool,
}

/// What was done with one lease, in order.
struct Deeds<'a> {
    history: &'a History,
    known: Vec<&'a Operation>,
    unknown: Vec<&'a Operation>,
}

impl Deeds<'_> {
    /// The term of a life, by what was done in it before `end` in the order of scripts.
    fn term(&self, life: Lifetime, end: (i64, u64)) -> Term {
        let History { ttl, linger, .. } = *self.history;
        let begun = life.from + ttl;
        let mut term = Term {
            least: begun,
            most: begun,
            open: false,
        };
        let mut shortest = i64::MAX;
        let place = |operation: &Operation| (operation.at(), operation.seq());
        let first = self
            .known
            .partition_point(|operation| operation.at() < life.from);
        for operation in &self.known[first..] {
            if place(operation) >= end {
                break;
            }
            let sure = !self.history.may_be_lost(operation);
            if self.history.may_repeat(operation) {
                match operation.kind {
                    Kind::Renew | Kind::Acquire => term.open = true,
                    // Its second run takes back what a renew in between gave.
                    Kind::Leave => shortest = shortest.min(operation.at() + linger),
                    _ => {}
                }
            }
            match (operation.kind, operation.outcome) {
                (Kind::Leave, Outcome::Done) => {
                    term.least = term.least.min(operation.at() + linger);
                    if sure {
                        term.most = term.most.min(operation.at() + linger);
                    }
                }
                (_, Outcome::Granted | Outcome::Renewed | Outcome::Resumed) => {
                    term.most = term.most.max(operation.expires_at);
                    if sure {
                        term.least = operation.expires_at;
                    }
                }
                _ => {}
            }
        }
        for operation in &self.unknown {
            let sent = operation.sent as i64 + self.history.skew.0 - 5;
            if sent >= end.0 {
                continue;
            }
            match operation.kind {
                Kind::Renew => term.open = true,
                Kind::Leave => shortest = shortest.min(sent + linger),
                _ => {}
            }
        }
        term.least = term.least.min(shortest);
        term
    }
}

/// Groups what was done by its lease; what is known in order.
fn by_lease(history: &History) -> HashMap<&str, Deeds<'_>> {
    let mut leases: HashMap<&str, Deeds<'_>> = HashMap::new();
    for operation in history
        .operations
        .iter()
        .filter(|operation| !operation.id.is_empty())
    {
        let deeds = leases.entry(&operation.id).or_insert_with(|| Deeds {
            history,
            known: Vec::new(),
            unknown: Vec::new(),
        });
        if operation.ran.is_some() {
            deeds.known.push(operation);
        } else if operation.outcome == Outcome::Unknown {
            deeds.unknown.push(operation);
        }
    }
    for deeds in leases.values_mut() {
        deeds
            .known
            .sort_by_key(|operation| (operation.at(), operation.seq()));
    }
    leases
}

/// Checks the terms of one segment. `last`: nothing comes after it.
pub(super) fn check(
    history: &History,
    lifetimes: &Lifetimes<'_>,
    operations: &[&Operation],
    last: bool,
    verdict: &mut Verdict,
) {
    let leases = by_lease(history);
    let nothing = Deeds {
        history,
        known: Vec::new(),
        unknown: Vec::new(),
    };
    for (id, lives) in &lifetimes.lives {
        let deeds = leases.get(id).unwrap_or(&nothing);
        for life in lives {
            if life.expired {
                check_end(lifetimes, deeds, id, *life, &mut verdict.violations);
            } else if life.is_open() && last {
                let term = deeds.term(*life, (i64::MAX, 0));
                let end = lifetimes.end_of(term.most, i64::MAX);
                if end + RECORDED < history.until && !term.open {
                    verdict.violations.push(format!(
                        "maximum term: {id} ends at {end} and does not at {}",
                        history.until
                    ));
                }
            }
        }
    }
    for operation in operations
        .iter()
        .filter(|operation| operation.ran.is_some())
    {
        let (Outcome::Renewed | Outcome::Expired, at) = (operation.outcome, operation.at()) else {
            continue;
        };
        let deeds = leases.get(&*operation.id).unwrap_or(&nothing);
        let lives = lifetimes.of(&operation.id).iter();
        let life = lives.rev().find(|life| life.from <= at);
        let before = (at, operation.seq());
        if operation.outcome == Outcome::Renewed {
            let Some(life) = life else { continue };
            let term = deeds.term(*life, before);
            let end = lifetimes.end_of(term.most, at);
            // A node that got no reply asks again, and then the lease lives by what the first run did.
            let in_time = history
                .may_have_run_since(operation)
                .is_some_and(|first| first < end);
            if !term.open && end <= at && !in_time {
                verdict.violations.push(format!(
                    "maximum term: renewed after its end at {end}: {operation:?}"
                ));
            }
            continue;
        }
        check_told_expired(history, lifetimes, deeds, operation, life.copied(), verdict);
    }
}

/// A life that time ended did so exactly at the end of its term.
fn check_end(
    lifetimes: &Lifetimes<'_>,
    deeds: &Deeds<'_>,
    id: &str,
    life: Lifetime,
    wrong: &mut Vec<String>,
) {
    let term = deeds.term(life, (life.to, 0));
    let least = lifetimes.ends_of(term.least, i64::MAX);
    // The lease of somebody who waited ends a millisecond later each time that it is told, and answers that told it may be lost.
    let lost_answers = if deeds.history.queue { 3 } else { 0 };
    let later = (0..=lost_answers).find(|ms| least.contains(&(life.to - ms)));
    let life = Lifetime {
        to: life.to - later.unwrap_or(0),
        ..life
    };
    if life.to < term.least {
        wrong.push(format!(
            "minimum term: {id} was promised until {}: {life:?}",
            term.least
        ));
    } else if !term.open && term.least == term.most && !least.contains(&life.to) {
        wrong.push(format!(
            "maximum term: {id} ends at one of {least:?}: {life:?}"
        ));
    } else if !term.open && life.to > lifetimes.end_of(term.most, i64::MAX) {
        wrong.push(format!(
            "maximum term: {id} was promised until {} at most: {life:?}",
            term.most
        ));
    }
}

/// Whoever beats in time is never told that time ended its lease, unless data was lost.
fn check_told_expired(
    history: &History,
    lifetimes: &Lifetimes<'_>,
    deeds: &Deeds<'_>,
    operation: &Operation,
    life: Option<Lifetime>,
    verdict: &mut Verdict,
) {
    let at = operation.at();
    let place = (at, operation.seq());
    // What this client was last promised, on whatever data.
    let promise = deeds
        .known
        .iter()
        .take_while(|other| (other.at(), other.seq()) < place)
        .filter_map(|other| match other.outcome {
            Outcome::Granted | Outcome::Renewed | Outcome::Resumed => {
                Some((*other, other.expires_at))
            }
            Outcome::Done if other.kind == Kind::Leave => Some((*other, 0)),
            _ => None,
        })
        .last();
    let unsure_leave = deeds.unknown.iter().chain(&deeds.known).any(|other| {
        let unsure = other.ran.is_none() || history.may_repeat(other);
        unsure && other.kind == Kind::Leave && other.sent < operation.received
    });
    let Some((promised, expiry)) = promise else {
        return;
    };
    let on_other_data =
        promised.at() < lifetimes.segment.generation && lifetimes.segment.after_loss;
    let may_be_lost = history.may_be_lost(promised)
        || history.may_be_lost(operation)
        || (history.lossy_after(promised.at()) && life.is_none());
    let early = expiry > 0 && !unsure_leave && lifetimes.end_of(expiry, at) > at;
    let away = on_other_data && at < lifetimes.segment.generation + history.ttl;
    if early || (away && expiry > 0) {
        verdict.lost += 1;
        if !may_be_lost && !on_other_data {
            verdict.violations.push(format!(
                "minimum term: promised until {} and told that it ended: {operation:?}",
                lifetimes.end_of(expiry, at)
            ));
        }
    }
}
