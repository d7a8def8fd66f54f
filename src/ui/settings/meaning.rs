//! What a change of a pool's policy would mean at once, in sentences.

use crate::pool::{HolderMatch, Policy, Pool, Privacy, WhenHeld, WhenIdle};

/// What would happen at once; nothing for what shows itself only later.
pub(super) fn meaning(pool: &Pool, after: &Policy) -> Vec<String> {
    let mut meaning = Vec::new();
    capacity(pool, after, &mut meaning);
    let before = &pool.policy;
    if after.ttl_ms != before.ttl_ms {
        meaning.push("Leases get the new length with their next heartbeat; none is shorter than it was promised.".to_owned());
    }
    if after.seat_per != before.seat_per && pool.leases > 0 {
        meaning.push(format!(
            "What takes a seat can change only while the pool is empty, and {}: this will be refused.",
            are(pool.leases, "lease is live", "leases are live")
        ));
    }
    if after.holder_match != before.holder_match {
        meaning.push(if pool.leases + pool.waiting + pool.named_taken > 0 {
            "When two spellings are one holder can change only while nobody has a seat, waits for one, is blocked or has a named seat of this period: this will be refused.".to_owned()
        } else {
            match after.holder_match {
                HolderMatch::Exact => "Holders whose names are spelt differently are different holders from now on.",
                HolderMatch::Folded => "Holders whose names differ in case, composition or blanks are one holder from now on.",
            }
            .to_owned()
        });
    }
    if after.privacy != before.privacy {
        meaning.push(
            match after.privacy {
                Privacy::Named => "Names of holders are kept from the next lease on.",
                Privacy::Pseudonymous => "From the next lease on a keyed hash is kept in place of names; leases that are live keep what they have.",
                Privacy::Anonymous => "From the next lease on nothing is kept of holders; leases that are live keep what they have.",
            }
            .to_owned(),
        );
    }
    named(pool, after, &mut meaning);
    match (&before.queue, &after.queue) {
        (Some(_), None) if pool.waiting > 0 => {
            meaning.push(format!(
                "{} no longer: those who wait have to ask again.",
                are(pool.waiting, "waits", "wait")
            ));
        }
        (_, Some(queue)) if pool.waiting > u64::from(queue.max_waiting) => meaning.push(format!(
            "{} wait, and {} may: nobody is sent away, and nobody new may wait.",
            pool.waiting, queue.max_waiting
        )),
        _ => {}
    }
    idle(pool, after, &mut meaning);
    if let Some(platforms) = &after.platforms
        && before.platforms != after.platforms
    {
        let names: Vec<&str> = platforms.iter().map(|platform| platform.as_str()).collect();
        meaning.push(format!(
            "Only {} get a seat from now on; who has one keeps it.",
            names.join(", ")
        ));
    }
    if let (Some(_), None) = (&before.overdraft, &after.overdraft)
        && pool.overdrawn > 0
    {
        meaning.push(format!(
            "{} on the overdraft: nobody is ended, nothing more is lent.",
            are(pool.overdrawn, "seat is", "seats are")
        ));
    }
    meaning
}

fn are(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn capacity(pool: &Pool, after: &Policy, meaning: &mut Vec<String>) {
    let in_use = pool.in_use;
    let (before, now) = (pool.capacity, u64::from(after.capacity_at(pool.at)));
    if now == before {
        if after.capacity != pool.policy.capacity {
            meaning.push(format!(
                "The schedule is in force: there are {now} seats now, and {} when it ends.",
                after.capacity
            ));
        }
        return;
    }
    let is = format!("{in_use} in use, new capacity {now}:");
    meaning.push(if now == 0 {
        match in_use {
            0 => format!("{is} nobody gets in."),
            _ => format!("{is} nobody is ended, and nobody new gets in."),
        }
    } else if in_use > now {
        format!(
            "{is} nobody is ended, no new seats until {} are in use.",
            now - 1
        )
    } else if in_use == now {
        format!("{is} the pool is full at once. Nobody is ended.")
    } else {
        format!(
            "{is} {}.",
            are(now - in_use, "seat is free", "seats are free")
        )
    });
    if now > before && pool.waiting > 0 {
        let served = pool.waiting.min(now.saturating_sub(in_use));
        meaning.push(format!(
            "{} in the queue; {} a seat at once.",
            are(pool.waiting, "waits", "wait"),
            are(served, "gets", "get")
        ));
    }
    let reserved: u64 = after
        .tenants
        .values()
        .map(|rule| u64::from(rule.reserved))
        .sum();
    if reserved > now {
        meaning.push(format!(
            "{} for tenants, more than there are: who comes first gets them.",
            are(reserved, "seat is reserved", "seats are reserved")
        ));
    }
}

fn idle(pool: &Pool, after: &Policy, meaning: &mut Vec<String>) {
    let before = &pool.policy;
    if before.idle != after.idle {
        let by_report = "a seat is idle by the next reports of its holder, and whoever reports nothing is active";
        meaning.push(match after.idle.map(|idle| (idle.then, idle.people)) {
            None => "Nothing is kept any more of how active people are, and no seat is taken for it.".to_owned(),
            Some((WhenIdle::Count, people)) => format!(
                "Idle seats are counted, and nobody loses one: {by_report}.{}",
                of_people(people)
            ),
            Some((WhenIdle::Yield, people)) => format!(
                "Whoever would be denied or have to wait gets the seat that is idle longest: {by_report}.{}",
                of_people(people)
            ),
            Some((WhenIdle::End, people)) => format!(
                "Idle seats end with a heartbeat: {by_report}.{}",
                of_people(people)
            ),
        });
    }
    if before.max_hold != after.max_hold {
        meaning.push(match after.max_hold.map(|hold| hold.then) {
            None => "Seats are held as long as anybody likes.",
            Some(WhenHeld::Yield) => "A seat that is held for longer goes to the next who would be denied or have to wait.",
            Some(WhenHeld::End) => "A seat that is held for longer ends with its next heartbeat.",
        }
        .to_owned());
    }
    if before.hand_over != after.hand_over {
        meaning.push(match after.hand_over {
            None => "Those who wait cannot ask for a seat.",
            Some(_) => "Those who wait may ask for a seat; holders read that with their heartbeats, not who it is, and may give theirs.",
        }
        .to_owned());
    }
}

fn of_people(people: bool) -> &'static str {
    if people {
        " Reports tell the idle time of each person."
    } else {
        ""
    }
}

fn named(pool: &Pool, after: &Policy, meaning: &mut Vec<String>) {
    match (&pool.policy.named, &after.named) {
        (None, Some(named)) => meaning.push(format!(
            "{} in addition to the capacity, for the current billing period.",
            are(u64::from(named.seats), "named seat comes", "named seats come")
        )),
        (Some(_), None) if pool.named_taken > 0 => meaning.push(format!(
            "{} taken: their holders keep the leases that are live, and take seats of the capacity from the next one on.",
            are(pool.named_taken, "named seat is", "named seats are")
        )),
        (Some(before), Some(named)) if before != named => {
            let seats = u64::from(named.seats);
            if before.anchor_day != named.anchor_day || before.time_zone != named.time_zone {
                meaning.push("The billing period changes: what is taken of the present one does not count in another.".to_owned());
            } else if pool.named_taken >= seats {
                meaning.push(format!(
                    "{} taken, new number {seats}: nobody loses one, nobody new gets one in this period.",
                    are(pool.named_taken, "named seat is", "named seats are")
                ));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::pool::Scheduled;
    use crate::time::Timestamp;

    fn pool(in_use: u64, capacity: u32) -> Pool {
        Pool {
            name: "crm".parse().unwrap(),
            policy: Policy::with_capacity(capacity),
            version: 1,
            in_use,
            capacity: u64::from(capacity),
            leases: in_use,
            waiting: 0,
            tenants: BTreeMap::new(),
            overdrawn: 0,
            waited: None,
            idle: 0,
            lent_ms: 0,
            named_taken: 0,
            period: None,
            next_change: None,
            at: Timestamp(1_000_000),
        }
    }

    fn says(pool: &Pool, after: &Policy) -> String {
        meaning(pool, after).join(" ")
    }

    #[test]
    fn a_new_capacity_is_told_by_what_it_does_to_those_who_have_a_seat_and_those_who_want_one() {
        let with = Policy::with_capacity;
        let says = |in_use, before, after| says(&pool(in_use, before), &with(after));
        assert_eq!(
            says(47, 50, 40),
            "47 in use, new capacity 40: nobody is ended, no new seats until 39 are in use."
        );
        assert_eq!(
            says(40, 50, 40),
            "40 in use, new capacity 40: the pool is full at once. Nobody is ended."
        );
        assert_eq!(
            says(39, 50, 40),
            "39 in use, new capacity 40: 1 seat is free."
        );
        assert_eq!(
            says(47, 50, 0),
            "47 in use, new capacity 0: nobody is ended, and nobody new gets in."
        );
        assert_eq!(
            says(60, 50, 55),
            "60 in use, new capacity 55: nobody is ended, no new seats until 54 are in use."
        );
        assert_eq!(says(1, 50, 50), "");
    }

    #[test]
    fn a_schedule_that_is_in_force_hides_the_base() {
        let mut scheduled = pool(3, 5);
        let at = |second| chrono::DateTime::from_timestamp(second, 0).unwrap();
        scheduled.policy.schedule = vec![Scheduled {
            name: String::new(),
            from: at(900),
            until: at(1_100),
            capacity: 9,
        }];
        scheduled.capacity = 9;
        let mut after = scheduled.policy.clone();
        after.capacity = 2;
        assert_eq!(
            says(&scheduled, &after),
            "The schedule is in force: there are 9 seats now, and 2 when it ends."
        );
        after.schedule.clear();
        assert_eq!(
            says(&scheduled, &after),
            "3 in use, new capacity 2: nobody is ended, no new seats until 1 are in use."
        );
    }

    #[test]
    fn a_queue_moves_up_and_what_is_refused_is_said_before() {
        let mut waiting = pool(5, 5);
        waiting.waiting = 3;
        assert_eq!(
            says(&waiting, &Policy::with_capacity(7)),
            "5 in use, new capacity 7: 2 seats are free. 3 wait in the queue; 2 get a seat at once."
        );
        let mut after = Policy::with_capacity(5);
        after.seat_per = crate::pool::SeatPer::Holder;
        assert!(says(&pool(1, 5), &after).contains("1 lease is live: this will be refused"));
    }
}
