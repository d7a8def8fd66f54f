//! Every call that a script makes fails once, in every situation that was kept, and what is in Redis then is held against what
//! was there before and against what the script leaves behind when nothing fails.
//!
//! The text of a script is changed so that the k-th of its calls fails and its clock stands still. So all runs of one situation
//! happen at one instant, and after the same request came again replies and data have to be the same byte for byte.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Pipeline, Value};

use super::capture::Situation;
use super::state::{self, State};

/// In front of each script. A call that fails does so as one that Redis does not allow: with an error from within.
const WRAPPER: &str = r"
local fault_at, fault_count = tonumber(redis.call('GET', 'fault:at') or 0), 0
local fault_time = { redis.call('HGET', 'fault:time', 's'), redis.call('HGET', 'fault:time', 'u') }
local function fault_call(protected, site, ...)
  fault_count = fault_count + 1
  redis.call('RPUSH', 'fault:trace', site)
  if fault_count == fault_at then
    return redis[protected]('LEASEHOLD.FAULT')
  end
  if select(1, ...) == 'TIME' then
    return fault_time
  end
  return redis[protected](...)
end
";

/// A place in `lua/` where Redis is called: file and line.
pub(super) type Site = (String, usize);

/// A file of `lua/`.
pub(super) struct File {
    /// Below `lua/`, without the ending.
    pub(super) name: String,
    pub(super) text: String,
}

/// The files of `lua/`.
pub(super) fn files() -> Vec<File> {
    let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lua");
    let mut files = Vec::new();
    for (directory, prefix) in [(root.clone(), ""), (root.join("parts"), "parts/")] {
        for entry in std::fs::read_dir(directory)
            .expect("lua/ is there")
            .flatten()
        {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "lua") {
                let stem = path.file_stem().expect("a name").to_string_lossy();
                files.push(File {
                    name: format!("{prefix}{stem}"),
                    text: std::fs::read_to_string(&path).expect("a text"),
                });
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// Where a source calls Redis: offset, and `true` where errors are caught.
pub(super) fn calls(text: &str) -> Vec<(usize, bool)> {
    let mut calls = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split("--").next().unwrap_or_default();
        for (word, protected) in [("redis.call(", false), ("redis.pcall(", true)] {
            calls.extend(
                code.match_indices(word)
                    .map(|(at, _)| (offset + at, protected)),
            );
        }
        offset += line.len();
    }
    calls.sort_unstable();
    calls
}

/// What may stay of a script that failed, and why.
const EXCUSED: [(&str, &str, &str); 4] = [
    (
        "probe",
        ":probe",
        "keys that only it uses, and that have a TTL",
    ),
    (
        "renew",
        ":leases has",
        "a longer term, which the same beat gives again; a note for each beat would cost too much",
    ),
    ("renew_by_rules", ":leases has", "the same"),
    (
        "acquire_by_rules",
        ":leases has",
        "a mark that a waiter was notified; without memory for it, it is left out",
    ),
];

fn is_excused(script: &str, difference: &str) -> bool {
    EXCUSED
        .iter()
        .any(|(name, what, _)| *name == script && difference.contains(what))
}

/// A script whose calls can fail.
struct Spoilt {
    /// The file that it is of.
    name: String,
    sha: String,
    /// Where each of its calls stands, by number.
    sites: Vec<Site>,
}

impl Spoilt {
    async fn load(source: &str, files: &[File], redis: &mut MultiplexedConnection) -> Self {
        let in_source = |file: &File| {
            source
                .find(file.text.as_str())
                .map(|at| at..at + file.text.len())
        };
        let name = files
            .iter()
            .filter(|file| !file.name.contains('/') && file.name != "prelude")
            .find(|file| in_source(file).is_some())
            .map(|file| file.name.clone())
            .expect("a script of lua/");
        let joined = std::env::var("ATOMIC_JOINED")
            .ok()
            .and_then(|dir| std::fs::read_to_string(format!("{dir}/{name}.lua")).ok());
        let source = joined.as_deref().unwrap_or(source);
        let in_source = |file: &File| {
            source
                .find(file.text.as_str())
                .map(|at| at..at + file.text.len())
        };
        let places: Vec<_> = files
            .iter()
            .filter_map(|file| Some((file, in_source(file)?)))
            .collect();
        let (mut text, mut sites, mut done) = (WRAPPER.to_owned(), Vec::new(), 0);
        for (at, protected) in calls(source) {
            let site = places
                .iter()
                .find(|(_, place)| place.contains(&at))
                .map_or_else(
                    || ("joined".to_owned(), 0),
                    |(file, place)| {
                        let line = source[place.start..at].matches('\n').count() + 1;
                        (file.name.clone(), line)
                    },
                );
            let (word, by) = if protected {
                ("redis.pcall(", "pcall")
            } else {
                ("redis.call(", "call")
            };
            text.push_str(&source[done..at]);
            write!(text, "fault_call('{by}', {}, ", sites.len()).expect("a string takes any text");
            done = at + word.len();
            sites.push(site);
        }
        text.push_str(&source[done..]);
        let sha = redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(&text)
            .query_async(redis)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, sha, sites }
    }
}

/// What became of all.
#[derive(Default)]
pub(super) struct Exploration {
    pub(super) violations: Vec<String>,
    /// The calls that were made.
    pub(super) sites: BTreeSet<Site>,
    /// Scripts, with the number of situations and of failed calls.
    pub(super) scripts: BTreeMap<String, (usize, usize)>,
}

/// Puts back what was there before.
fn restore(pipe: &mut Pipeline, situation: &Situation) -> usize {
    let mut delete = redis::cmd("UNLINK");
    delete.arg(&situation.looked_at).arg("fault:trace");
    pipe.add_command(delete);
    for (key, dump, has_ttl) in &situation.before {
        let ttl = if *has_ttl { 86_400_000 } else { 0 };
        pipe.cmd("RESTORE").arg(key).arg(ttl).arg(dump);
    }
    1 + situation.before.len()
}

fn run(pipe: &mut Pipeline, spoilt: &Spoilt, situation: &Situation, fails_at: usize) -> usize {
    pipe.cmd("SET").arg("fault:at").arg(fails_at);
    pipe.cmd("EVALSHA")
        .arg(&spoilt.sha)
        .arg(situation.keys.len())
        .arg(&situation.keys)
        .arg(&situation.arguments);
    2
}

fn look(pipe: &mut Pipeline, situation: &Situation) -> usize {
    pipe.cmd("EVAL")
        .arg(state::READ)
        .arg(situation.looked_at.len())
        .arg(&situation.looked_at);
    1
}

/// Lets every call of the kept situations fail.
pub(super) async fn explore(
    situations: &[Situation],
    redis: &mut MultiplexedConnection,
) -> Exploration {
    let files = files();
    let mut found = Exploration::default();
    let mut scripts: HashMap<Arc<str>, Spoilt> = HashMap::new();
    let mut explored: HashSet<(String, String)> = HashSet::new();
    for situation in situations {
        if !scripts.contains_key(&situation.source) {
            let spoilt = Spoilt::load(&situation.source, &files, redis).await;
            scripts.insert(Arc::clone(&situation.source), spoilt);
        }
        explore_one(
            &scripts[&situation.source],
            situation,
            redis,
            &mut explored,
            &mut found,
        )
        .await;
    }
    found
}

async fn explore_one(
    spoilt: &Spoilt,
    situation: &Situation,
    redis: &mut MultiplexedConnection,
    explored: &mut HashSet<(String, String)>,
    found: &mut Exploration,
) {
    // As it is without a failure.
    let mut pipe = Pipeline::new();
    pipe.cmd("HSET").arg("fault:time").arg(&[
        "s",
        &situation.at.0.to_string(),
        "u",
        &situation.at.1.to_string(),
    ]);
    let mut count = 1 + restore(&mut pipe, situation);
    let before_at = count;
    count += look(&mut pipe, situation);
    count += run(&mut pipe, spoilt, situation, 0);
    let reply_at = count - 1;
    count += look(&mut pipe, situation);
    pipe.cmd("LRANGE").arg("fault:trace").arg(0).arg(-1);
    count += 1;
    let mut values = redis
        .req_packed_commands(&pipe, 0, count)
        .await
        .expect("Redis answers");
    let trace: Vec<usize> =
        redis::from_redis_value(values.pop().expect("a trace")).expect("numbers of calls");
    let after = State::of(situation, values.pop().expect("what is there"));
    let before = State::of(situation, values[before_at].clone());
    let reply = state::text(&values[reply_at]);
    if matches!(values[reply_at], Value::ServerError(_)) {
        found
            .violations
            .push(format!("{} fails by itself: {reply}", spoilt.name));
        return;
    }

    let status = reply
        .split('\n')
        .find(|word| !word.is_empty())
        .unwrap_or_default();
    if !explored.insert((spoilt.name.clone(), format!("{status} {}", shape(&trace)))) {
        return;
    }
    found
        .sites
        .extend(trace.iter().map(|site| spoilt.sites[*site].clone()));
    let numbers = found.scripts.entry(spoilt.name.clone()).or_default();
    numbers.0 += 1;
    let failing = failing(&trace);
    numbers.1 += failing.len();

    for some in failing.chunks(16) {
        let mut pipe = Pipeline::new();
        let (mut count, mut places) = (0, Vec::new());
        for fails_at in some {
            count += restore(&mut pipe, situation);
            count += run(&mut pipe, spoilt, situation, *fails_at);
            let failed = count - 1;
            count += look(&mut pipe, situation);
            pipe.cmd("LRANGE").arg("fault:trace").arg(0).arg(-1);
            count += 1;
            // Numbers that only grow: the second try would have others.
            for (clock, fields) in before.clocks() {
                pipe.cmd("HDEL").arg(clock).arg(&state::NUMBERS);
                count += 1;
                if !fields.is_empty() {
                    pipe.cmd("HSET").arg(clock).arg(&fields);
                    count += 1;
                }
            }
            count += run(&mut pipe, spoilt, situation, 0);
            let again = count - 1;
            count += look(&mut pipe, situation);
            places.push((*fails_at, failed, again));
        }
        let values = redis
            .req_packed_commands(&pipe, 0, count)
            .await
            .expect("Redis answers");
        for (fails_at, failed, again) in places {
            let (file, line) = &spoilt.sites[trace[fails_at - 1]];
            let place = format!(
                "{} ({status}), call {fails_at} at {file}.lua:{line}",
                spoilt.name
            );
            let amid = State::of(situation, values[failed + 1].clone());
            let calls: Vec<usize> =
                redis::from_redis_value(values[failed + 2].clone()).expect("numbers");
            found
                .sites
                .extend(calls.iter().map(|site| spoilt.sites[*site].clone()));
            let has_failed = matches!(values[failed], Value::ServerError(_));
            let mut outcome = if has_failed {
                // Nothing may have happened.
                amid.differs_from(&before, state::Grows::Allowed)
            } else {
                // It was not essential.
                amid.differs_from(&after, state::Grows::Forbidden)
            };
            outcome.retain(|wrong| !is_excused(&spoilt.name, wrong));
            let told = state::text(&values[failed]);
            if !has_failed && told != reply {
                outcome.push(format!("it answered {told:?}, not {reply:?}"));
            }
            for wrong in outcome.into_iter().chain(amid.violations(&before)) {
                found
                    .violations
                    .push(format!("{place}: after the failure {wrong}"));
            }
            if !has_failed {
                continue;
            }
            // A heartbeat reports how long the lease would have lived without it, and this is the second.
            let told = state::text(&values[again]);
            let beats = ["renew", "renew_by_rules"].contains(&spoilt.name.as_str());
            if told != reply && !beats {
                found
                    .violations
                    .push(format!("{place}: again answered {told:?}, not {reply:?}"));
            }
            let at_last = State::of(situation, values[again + 1].clone());
            for wrong in at_last.differs_from(&after, state::Grows::Forbidden) {
                found
                    .violations
                    .push(format!("{place}: after the second try {wrong}"));
            }
        }
    }
}

/// Which calls are to fail: of those that a loop makes at one place the first two and the last.
fn failing(trace: &[usize]) -> Vec<usize> {
    let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, site) in trace.iter().enumerate() {
        places.entry(*site).or_default().push(at + 1);
    }
    let some = places.values().flat_map(|all| {
        let last = all.len().saturating_sub(1).max(2);
        all.iter().take(2).chain(all.get(last)).copied()
    });
    some.collect()
}

/// Which calls were made, and whether once or more often.
fn shape(trace: &[usize]) -> String {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for site in trace {
        *counts.entry(*site).or_default() += 1;
    }
    let counts = counts
        .iter()
        .map(|(site, count)| format!("{site}x{}", (*count).min(2)));
    counts.collect::<Vec<_>>().join(" ")
}
