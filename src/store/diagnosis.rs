//! What a Redis is like, and whether seats are safe in it: the findings of `leasehold doctor`.
//!
//! Reads only, and needs few rights: what may not be read is said and not held against anybody.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use serde::Serialize;

use super::connection::Source;
use super::connection::sentinel::Sentinel;
use super::error::Error;
use super::info::Info;
use super::{Options, keys};

/// A clock that differs by more is worth a word: the end of a lease is told by Redis's.
const CLOCK: Duration = Duration::from_secs(2);
/// A slower answer makes every heartbeat slow.
const SLOW: Duration = Duration::from_millis(20);
/// PINGs that the latency is the median of.
const PINGS: usize = 21;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and something can be lost or slow.
    Warning,
    /// Leases can be lost, or nothing works.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at: a server, the sentinels.
    pub place: String,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do; empty if nothing.
    pub advice: String,
}

/// Findings about one place.
struct Notes<'a> {
    place: String,
    findings: &'a mut Vec<Finding>,
}

impl Notes<'_> {
    fn add(&mut self, level: Level, found: impl Into<String>, advice: &str) {
        self.findings.push(Finding {
            level,
            place: self.place.clone(),
            found: found.into(),
            advice: advice.to_owned(),
        });
    }

    fn ok(&mut self, found: impl Into<String>) {
        self.add(Level::Ok, found, "");
    }

    fn warn(&mut self, found: impl Into<String>, advice: &str) {
        self.add(Level::Warning, found, advice);
    }

    fn error(&mut self, found: impl Into<String>, advice: &str) {
        self.add(Level::Error, found, advice);
    }
}

/// Looks at every master, and at the sentinels or the cluster.
pub async fn diagnose(options: &Options) -> Result<Vec<Finding>, Error> {
    let source = Source::new(options, std::sync::Arc::default())
        .map_err(|error| Error::not_connected(&error))?;
    let mut findings = Vec::new();
    if let Source::Sentinel(sentinel) = &source {
        look_at_sentinels(sentinel, &mut findings).await;
    }
    let masters = source.masters().await;
    let masters = masters.map_err(|error| Error::not_connected(&error))?;
    for (place, mut server) in masters {
        let mut notes = Notes {
            place,
            findings: &mut findings,
        };
        look_at_server(&mut server, &source, &mut notes).await?;
    }
    Ok(findings)
}

async fn look_at_server(
    server: &mut MultiplexedConnection,
    source: &Source,
    notes: &mut Notes<'_>,
) -> Result<(), Error> {
    let info = Info::read(server).await?;
    let version = info.text("redis_version");
    if info.version() < (6, 2) {
        notes.error(
            format!("Redis {version} is too old"),
            "use Redis 6.2 or later, or Valkey",
        );
    } else {
        notes.ok(format!("version {version}"));
    }
    look_at_memory(&info, notes);
    look_at_persistence(&info, notes);
    look_at_replicas(server, &info, source, notes).await;
    look_at_latency(server, notes).await?;
    if !source.is_cluster() {
        let buckets: Option<u16> = redis::cmd("GET")
            .arg(keys::BUCKET_COUNT)
            .query_async(server)
            .await?;
        match buckets {
            None => notes.ok("no node has used this Redis yet"),
            Some(count) if count == keys::BUCKETS => notes.ok(format!("{count} buckets")),
            Some(count) => notes.error(
                format!(
                    "it holds an installation with {count} buckets, and this program has {}",
                    keys::BUCKETS
                ),
                "use another database",
            ),
        }
    } else if Info::ask(server, &["CLUSTER", "INFO"])
        .await?
        .text("cluster_state")
        == "ok"
    {
        notes.ok("the cluster serves all slots");
    } else {
        notes.error(
            "the cluster does not serve all slots",
            "see CLUSTER INFO and CLUSTER NODES there",
        );
    }
    let user: redis::RedisResult<String> =
        redis::cmd("ACL").arg("WHOAMI").query_async(server).await;
    // Who may not ask has fewer rights than the default user.
    if user.is_ok_and(|user| user == "default") {
        notes.warn(
            "the nodes are the default user, who may do anything",
            "use the users of deploy/redis/leasehold.acl, unless nobody else reaches this Redis",
        );
    }
    Ok(())
}

fn look_at_memory(info: &Info, notes: &mut Notes<'_>) {
    match info.text("maxmemory_policy") {
        "noeviction" => notes.ok("maxmemory-policy noeviction"),
        policy if policy.starts_with("volatile") => notes.warn(
            format!("maxmemory-policy {policy}: records of leases may be thrown away"),
            "set maxmemory-policy noeviction",
        ),
        policy => notes.error(
            format!("maxmemory-policy {policy}: leases may be thrown away"),
            "set maxmemory-policy noeviction",
        ),
    }
    let (used, most) = (info.number("used_memory"), info.number("maxmemory"));
    if most > 0 && used > most / 5 * 4 {
        notes.warn(
            format!("{} % of maxmemory are used", used * 100 / most),
            "raise maxmemory: a full Redis gives no new leases",
        );
    }
}

fn look_at_persistence(info: &Info, notes: &mut Notes<'_>) {
    if info.number("aof_enabled") == 1 {
        notes.ok("an append-only file is kept");
    } else {
        notes.warn(
            "no append-only file: a restart loses pools, keys and history, and newcomers wait for one TTL",
            "set appendonly yes; never let a master without a file be restarted by itself",
        );
    }
    for (field, file) in [
        ("aof_last_write_status", "append-only file"),
        ("rdb_last_bgsave_status", "snapshot"),
    ] {
        if info.text(field) == "err" {
            notes.error(
                format!("the {file} could not be written"),
                "see its log and the disk; Redis takes no writes meanwhile",
            );
        }
    }
}

async fn look_at_replicas(
    server: &mut MultiplexedConnection,
    info: &Info,
    source: &Source,
    notes: &mut Notes<'_>,
) {
    let replicas = info.number("connected_slaves");
    let alone = matches!(source, Source::Single(_)) && replicas == 0;
    if alone {
        notes.ok("no replicas");
        return;
    }
    if replicas == 0 {
        notes.error(
            "no replica is connected: nothing could take over",
            "start one, or see the log of the one there is",
        );
    } else {
        notes.ok(format!("{replicas} replicas"));
    }
    let setting: redis::RedisResult<Vec<String>> = redis::cmd("CONFIG")
        .arg(&["GET", "min-replicas-to-write"])
        .query_async(server)
        .await;
    match setting.as_deref() {
        Ok([_, number]) if number == "0" => notes.warn(
            "min-replicas-to-write 0: a master that was cut off goes on giving seats that are lost later",
            "set min-replicas-to-write 1 and min-replicas-max-lag 2 on all servers",
        ),
        Ok([_, number]) => notes.ok(format!("min-replicas-to-write {number}")),
        _ => notes.ok("min-replicas-to-write could not be read: this user may not"),
    }
}

async fn look_at_latency(
    server: &mut MultiplexedConnection,
    notes: &mut Notes<'_>,
) -> Result<(), Error> {
    let mut took = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let asked = Instant::now();
        redis::cmd("PING").exec_async(server).await?;
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    let median = took[PINGS / 2];
    let text = format!(
        "answers in {:.2} ms (median of {PINGS})",
        median.as_secs_f64() * 1e3
    );
    if median > SLOW {
        notes.warn(text, "move the nodes nearer to Redis, or see its load");
    } else {
        notes.ok(text);
    }

    let here = SystemTime::now();
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(server).await?;
    let there = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
    let apart = there
        .duration_since(here)
        .unwrap_or_else(|earlier| earlier.duration());
    let text = format!("its clock is {} ms from ours", apart.as_millis());
    if apart > CLOCK {
        notes.warn(
            text,
            "let NTP slew both: leases end by Redis's clock, whatever this one says",
        );
    } else {
        notes.ok(text);
    }
    Ok(())
}

async fn look_at_sentinels(sentinel: &Sentinel, findings: &mut Vec<Finding>) {
    let mut notes = Notes {
        place: "the sentinels".to_owned(),
        findings,
    };
    let mut named = Vec::new();
    for address in sentinel.sentinels() {
        let name = format!("{}:{}", address.0, address.1);
        match sentinel.ask_one(address).await {
            Ok(Some(master)) => named.push(master),
            Ok(None) => notes.error(
                format!("{name} knows no master {}", sentinel.master_name()),
                "see its configuration, and the name in redis_url",
            ),
            Err(error) => notes.error(
                format!("{name} does not answer ({error})"),
                "start it: with too few of them there is no failover",
            ),
        }
    }
    named.dedup();
    match &named[..] {
        [] => {}
        [(host, port)] => notes.ok(format!("they name {host}:{port} as the master")),
        _ => notes.error(
            "they do not agree who the master is",
            "see SENTINEL MASTER on each: one of them is cut off",
        ),
    }
    if sentinel.sentinels().len() < 3 {
        notes.warn(
            "fewer than three are in redis_url",
            "name at least three: two cannot tell who of them is cut off",
        );
    }
}
