//! The line of a pool without tenants' rules at one instant, held against what it has to be: a seat is kept for one ticket, for those
//! who came first of all who are there, and for nobody else.

use crate::harness::Redis;

/// Reads all of it in one step: seats that are free, the clock, then for each ticket its arrival, by when it has to ask, from when it is
/// passed over because its connection broke (0 for not at all), whether it is in line (`w`) or called (`c`), and its holder. Then the
/// entries of tickets that have no place.
const READ: &str = r"
local all = redis.call('HGET', KEYS[1], 'all') or '0'
local capacity = redis.call('HGET', KEYS[2], 'capacity')
local time = redis.call('TIME')
local reply = { capacity - all, time[1] * 1000 + math.floor(time[2] / 1000) }
local kinds, ghosts = {}, {}
local line = redis.call('ZRANGE', KEYS[6], 0, -1)
for i = 1, #line do
  local arrival = string.match(line[i], '\1.(%d+)$')
  kinds[arrival] = string.sub(line[i], 1, 1)
  if redis.call('ZCOUNT', KEYS[3], arrival, arrival) == 0 then ghosts[#ghosts + 1] = line[i] end
end
local tickets = {}
local queue = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
for i = 1, #queue, 2 do
  local id = queue[i]
  local holder = string.match(redis.call('HGET', KEYS[5], id) or '', '^[^\1]*\1([^\1]*)')
  tickets[#tickets + 1] = { queue[i + 1], redis.call('ZSCORE', KEYS[4], id) or '0', redis.call('HGET', KEYS[5], 'broken:' .. id) or '0',
    kinds[queue[i + 1]] or '-', holder or '' }
end
reply[3], reply[4], reply[5] = tickets, ghosts, redis.call('ZCARD', KEYS[7])
return reply";

/// How much earlier than its place is lost a ticket has to ask to be called, ms; `lua/parts/queue.lua`.
const KEPT: i64 = 3_400;

type Read = (
    i64,
    i64,
    Vec<(i64, i64, i64, String, String)>,
    Vec<String>,
    i64,
);

/// What is against the rules.
pub(crate) async fn check(redis: &Redis, pool: &str) -> Vec<String> {
    let config = redis.keys(&format!("lh1:{{*}}:{pool}:config")).await;
    let Some(config) = config.first() else {
        return Vec::new();
    };
    let key = |name: &str| config.replace(":config", &format!(":{name}"));
    let keys = [
        "seats", "config", "queue", "waiting", "tickets", "line", "called",
    ]
    .map(key);
    let mut words = vec!["EVAL", READ, "7"];
    words.extend(keys.iter().map(String::as_str));
    faults(&redis.query(&words).await)
}

fn faults((free, now, tickets, ghosts, called): &Read) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_there = |(_, until, broken, _, _): &&(i64, i64, i64, String, String)| {
        until - KEPT > *now && (*broken == 0 || broken > now)
    };
    if called > &(*free).max(0) {
        wrong.push(format!("line: {called} are called for {free} seats"));
    }
    if !ghosts.is_empty() {
        wrong.push(format!("line: ghosts: {ghosts:?}"));
    }
    let first = tickets
        .iter()
        .find(|ticket| ticket.3 == "w" && is_there(ticket));
    for ticket in tickets {
        let (arrival, _, broken, kind, holder) = ticket;
        if kind == "-" && is_there(&ticket) {
            wrong.push(format!("line: {holder} is forgotten"));
        }
        if kind == "c" && *broken > 0 && broken <= now {
            wrong.push(format!("line: a seat is kept for {holder}, who is gone"));
        }
        if let Some(first) = first
            && kind == "c"
            && first.0 < *arrival
        {
            wrong.push(format!("line: {holder} is called before {}", first.4));
        }
    }
    if let Some(first) = first
        && free > called
    {
        wrong.push(format!(
            "line: {} is not called, and {free} seats are free",
            first.4
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_right_and_each_mistake_in_one() {
        let ticket =
            |arrival: i64, kind: &str| (arrival, 20_000, 0, kind.to_owned(), format!("h{arrival}"));
        let line = |kinds: &[&str]| -> Vec<_> {
            (1..)
                .zip(kinds)
                .map(|(arrival, kind)| ticket(arrival, kind))
                .collect()
        };
        let found = |free: i64, kinds: &[&str]| {
            let called = kinds.iter().filter(|kind| **kind == "c").count();
            let called = i64::try_from(called).expect("few");
            faults(&(free, 10_000, line(kinds), Vec::new(), called))
        };
        assert_eq!(found(2, &["c", "c", "w"]), Vec::<String>::new());
        assert_eq!(found(0, &["w", "w"]), Vec::<String>::new());
        assert_eq!(found(1, &["c", "c", "w"]).len(), 1, "two for one");
        assert_eq!(found(1, &["w", "c"]).len(), 1, "one overtaken");
        assert_eq!(found(1, &["c", "-", "w"]).len(), 1, "one forgotten");
        assert_eq!(found(1, &["w", "w"]).len(), 1, "nobody is called");
        let mut gone = line(&["c", "w"]);
        gone[0].2 = 9_000;
        let found = faults(&(1, 10_000, gone, vec!["wghost".to_owned()], 1));
        assert_eq!(found.len(), 2, "a seat that waits for a ghost");
    }
}
