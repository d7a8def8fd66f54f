//! What is in some keys, so that it can be compared, and what has to hold in it whatever failed.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use super::capture::Situation;

/// Reads keys of any type: type, `ttl` or nothing, and what is in it.
pub(super) const READ: &str = r"
local all = {}
for i = 1, #KEYS do
  local kind, items = redis.call('TYPE', KEYS[i]).ok, {}
  if kind == 'string' then
    items = { redis.call('GET', KEYS[i]) }
  elseif kind == 'hash' then
    items = redis.call('HGETALL', KEYS[i])
  elseif kind == 'zset' then
    items = redis.call('ZRANGE', KEYS[i], 0, -1, 'WITHSCORES')
  elseif kind == 'stream' then
    for _, entry in ipairs(redis.call('XRANGE', KEYS[i], '-', '+')) do
      items[#items + 1] = table.concat(entry[2], '\2')
    end
  end
  all[i] = { kind, redis.call('PTTL', KEYS[i]) >= 0 and 'ttl' or '', items }
end
return all";

/// Whether what only grows may differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grows {
    Allowed,
    Forbidden,
}

/// What is in a key, in an order that does not depend on Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Held {
    kind: String,
    has_ttl: bool,
    items: Vec<(String, String)>,
}

/// What is in all keys that a situation looks at.
#[derive(Debug, Clone)]
pub(super) struct State(BTreeMap<String, Held>);

/// Fields of a clock that only grow: numbers that it has given, and what was said of them.
pub(super) const NUMBERS: [&str; 4] = ["seq", "fence", "summed", "older"];

impl State {
    pub(super) fn of(situation: &Situation, read: Value) -> Self {
        let read: Vec<(String, String, Vec<Vec<u8>>)> =
            redis::from_redis_value(read).expect("what the script above returns");
        let mut keys = BTreeMap::new();
        for (key, (kind, ttl, items)) in situation.looked_at.iter().zip(read) {
            // A stream stays when its last entry is taken back.
            if kind == "none" || (kind == "stream" && items.is_empty()) {
                continue;
            }
            let items: Vec<String> = items
                .iter()
                .map(|item| String::from_utf8_lossy(item).into_owned())
                .collect();
            let mut items: Vec<(String, String)> = match kind.as_str() {
                "hash" | "zset" => items
                    .chunks(2)
                    .map(|pair| (pair[0].clone(), pair[1].clone()))
                    .collect(),
                _ => items
                    .into_iter()
                    .map(|item| (item, String::new()))
                    .collect(),
            };
            if kind == "hash" {
                items.sort();
            }
            // Who sees it grow reads the policies again, and may do so for nothing.
            let is_clock = key.ends_with(b":clock");
            items.retain(|(field, _)| !(is_clock && field == "revision"));
            let held = Held {
                kind,
                has_ttl: ttl == "ttl",
                items,
            };
            keys.insert(String::from_utf8_lossy(key).into_owned(), held);
        }
        Self(keys)
    }

    /// The clocks, and their [`NUMBERS`].
    pub(super) fn clocks(&self) -> Vec<(&str, Vec<String>)> {
        let clocks = self.0.iter().filter(|(key, _)| key.ends_with(":clock"));
        clocks
            .map(|(key, held)| {
                let numbers = held
                    .items
                    .iter()
                    .filter(|(field, _)| NUMBERS.contains(&field.as_str()));
                let words = numbers.flat_map(|(field, value)| [field.clone(), value.clone()]);
                (key.as_str(), words.collect())
            })
            .collect()
    }

    /// In what this differs from what should be there. With [`Grows::Allowed`] clocks may have moved on, and a pool may be
    /// due too early, which costs a look.
    pub(super) fn differs_from(&self, right: &Self, grows: Grows) -> Vec<String> {
        let keys: BTreeSet<&String> = self.0.keys().chain(right.0.keys()).collect();
        let mut differences = Vec::new();
        for key in keys {
            if key.ends_with(":revision") {
                continue;
            }
            if grows == Grows::Allowed && (key.ends_with(":clock") || key.ends_with(":due")) {
                continue;
            }
            // An index that is gone is made again from the records.
            if grows == Grows::Allowed && self.has_no_index(key) {
                continue;
            }
            let none = Held::default();
            let (is, should_be) = (
                self.0.get(key).unwrap_or(&none),
                right.0.get(key).unwrap_or(&none),
            );
            if is == should_be {
                continue;
            }
            let too_many: Vec<_> = is
                .items
                .iter()
                .filter(|item| !should_be.items.contains(item))
                .collect();
            let missing: Vec<_> = should_be
                .items
                .iter()
                .filter(|item| !is.items.contains(item))
                .collect();
            differences.push(format!(
                "{key} has {too_many:?} and lacks {missing:?}{}{}",
                if is.has_ttl == should_be.has_ttl {
                    ""
                } else {
                    ", and its TTL differs"
                },
                if too_many.is_empty() && missing.is_empty() {
                    ", or the order differs"
                } else {
                    ""
                },
            ));
        }
        differences
    }

    /// Whether this is of an index of which nothing is left.
    fn has_no_index(&self, key: &str) -> bool {
        let parts = ["who", "seats", "holders"];
        let pool = parts.iter().find_map(|part| key.strip_suffix(part));
        pool.is_some_and(|pool| {
            pool.ends_with(':')
                && parts
                    .iter()
                    .all(|part| !self.0.contains_key(&format!("{pool}{part}")))
        })
    }

    fn members(&self, key: &str) -> BTreeSet<&str> {
        let held = self.0.get(key);
        held.map_or_else(BTreeSet::new, |held| {
            held.items
                .iter()
                .map(|(member, _)| member.as_str())
                .collect()
        })
    }

    /// Starts less ends of a pool, and leases that it has.
    fn balance(&self, pool: &str) -> (i64, i64) {
        let events = self.0.get(&format!("{pool}events"));
        let change = |event: &str| {
            let kind = event.split('\u{2}').nth(1).unwrap_or_default();
            match kind {
                "started" | "resumed" | "rebuilt" => 1,
                "ended" => -1,
                _ => 0,
            }
        };
        let balance = events.map_or(0, |events| {
            events.items.iter().map(|(event, _)| change(event)).sum()
        });
        let leases = self.members(&format!("{pool}leases")).len();
        (balance, i64::try_from(leases).expect("few"))
    }

    /// What does not hold, although it did before.
    pub(super) fn violations(&self, before: &Self) -> Vec<String> {
        let pools: BTreeSet<&str> = self
            .0
            .keys()
            .chain(before.0.keys())
            .filter_map(|key| key.strip_suffix("leases"))
            .collect();
        let mut violations = Vec::new();
        for pool in pools {
            for (rule, holds) in RULES {
                if holds(before, pool) && !holds(self, pool) {
                    violations.push(format!("{rule} does not hold in {pool}"));
                }
            }
        }
        violations
    }
}

type Rule = (&'static str, fn(&State, &str) -> bool);

const RULES: [Rule; 4] = [
    (
        "started + resumed + rebuilt = ended + live",
        |state, pool| {
            let (balance, leases) = state.balance(pool);
            balance == leases
        },
    ),
    (
        "each lease has a record, and each record a lease",
        |state, pool| {
            let of = |name: &str| state.members(&format!("{pool}{name}"));
            let mut leases = of("leases");
            let records = of("records");
            if !leases.is_subset(&records) {
                return false;
            }
            leases.extend(of("expired"));
            leases.extend(of("evicted"));
            records.is_subset(&leases)
        },
    ),
    ("the index is that of the leases", |state, pool| {
        let of = |name: &str| state.members(&format!("{pool}{name}"));
        !of("config").contains("indexed") || of("who") == of("leases")
    }),
    (
        "who waits has a place, a time and a ticket",
        |state, pool| {
            let of = |name: &str| state.members(&format!("{pool}{name}"));
            let mut tickets = of("tickets");
            // What is kept of a ticket beside what was asked for.
            tickets.retain(|field| !field.starts_with("since:") && !field.starts_with("broken:"));
            of("queue") == of("waiting") && of("queue") == tickets
        },
    ),
];

/// A reply as one text, a line for each field, without the ids of entries.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let texts: Vec<String> = values.iter().map(text).collect();
            texts.join("\n")
        }
        Value::BulkString(bytes) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            // The id of an entry is made of the clock, which goes on.
            let is_id = text.len() > 14
                && text
                    .split('-')
                    .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
            if is_id && text.contains('-') {
                "an entry".to_owned()
            } else {
                text
            }
        }
        other => format!("{other:?}"),
    }
}
