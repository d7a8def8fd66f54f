//! Whether one server is fit to keep seats.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use secrecy::ExposeSecret as _;

use super::Findings;
use crate::config::Durability;
use crate::store::clock_shift::WORTH_A_WORD;
use crate::store::error::{Error, Trouble};
use crate::store::info::Info;
use crate::store::{Options, keys, rights};

/// A clock that differs by more is worth a warning: the end of a lease is by Redis's clock.
const CLOCK: Duration = Duration::from_secs(2);
/// A slower answer makes every heartbeat slow.
const SLOW: Duration = Duration::from_millis(20);
/// PINGs that the latency is the median of.
const PINGS: usize = 21;
/// Replicas say every second how far they are.
const LAG_SECONDS: u64 = 5;

/// Patches of each branch from which on a script cannot break out of its sandbox (CVE-2025-49844), by the makers' release
/// notes. Branches after the last one have never had the fault.
const PATCHED_REDIS: [((u32, u32), u32); 5] = [
    ((6, 2), 20),
    ((7, 2), 11),
    ((7, 4), 6),
    ((8, 0), 4),
    ((8, 2), 2),
];
const PATCHED_VALKEY: [((u32, u32), u32); 3] = [((7, 2), 11), ((8, 0), 6), ((8, 1), 4)];

/// What is known of a server before anything is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerFacts<'a> {
    pub(super) role: Role,
    pub(super) is_cluster: bool,
    /// Something could take over, and should.
    pub(super) expects_replicas: bool,
    /// Nobody reaches it but who is on this machine.
    pub(super) is_private: bool,
    /// Why this user may not hear of seats that come free.
    pub(super) refused_to_listen: Option<&'a RedisError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    Replica,
}

pub(super) async fn look_at(
    server: &mut MultiplexedConnection,
    info: &Info,
    seen: ServerFacts<'_>,
    options: &Options,
    notes: &mut Findings<'_>,
) -> Result<(), Error> {
    look_at_version(info, notes);
    look_at_memory(info, notes);
    if !options.url.expose_secret().starts_with("unix:") {
        look_at_bound(info, notes);
    }
    look_at_persistence(info, notes);
    look_at_clients(info, notes);
    look_at_latency(server, notes).await?;
    if seen.role == Role::Replica {
        if info.text("master_link_status") == "up" {
            notes.ok("it follows the master");
        } else {
            notes.error(
                "it has lost the master",
                "see its log, and masterauth there: what it lacks would be lost in a failover",
            );
        }
        return Ok(());
    }
    if info.text("role") != "master" {
        notes.error(
            "it is a replica, and takes no writes",
            "let redis_url lead to the master, or to the sentinels, which know it",
        );
        return Ok(());
    }
    if seen.expects_replicas || info.number("connected_slaves") > 0 {
        look_at_replicas(info, notes);
    } else {
        notes.ok("no replicas");
    }
    look_at_buckets(server, notes).await;
    look_at_room(server, info, options, notes).await;
    look_at_installation(server, notes).await;
    look_at_shift(server, notes).await;
    if seen.is_cluster {
        let cluster = Info::ask(server, &["CLUSTER", "INFO"]).await?;
        if cluster.text("cluster_state") == "ok" {
            notes.ok("the cluster serves all slots");
        } else {
            notes.error(
                "the cluster does not serve all slots",
                "see CLUSTER INFO and CLUSTER NODES there",
            );
        }
    }
    look_at_rights(server, seen, options, notes).await;
    look_at_user(server, seen, notes).await;
    Ok(())
}

pub(super) fn look_at_version(info: &Info, notes: &mut Findings<'_>) {
    let valkey = info.text("valkey_version");
    let (product, text, patched) = if valkey.is_empty() {
        ("Redis", info.text("redis_version"), &PATCHED_REDIS[..])
    } else {
        ("Valkey", valkey, &PATCHED_VALKEY[..])
    };
    if info.version() < (6, 2) {
        notes.error(
            format!("{product} {text} is too old"),
            "use Redis 6.2 or later, or Valkey",
        );
    } else if is_patched(text, patched) {
        notes.ok(format!("{product} {text}"));
    } else {
        notes.warn(
            format!(
                "{product} {text} lets who may run scripts break out of them (CVE-2025-49844), unless your distribution has \
                 mended it"
            ),
            "update to Redis 6.2.20, 7.2.11, 7.4.6, 8.0.4, 8.2.2 or Valkey 7.2.11, 8.0.6, 8.1.4 or later, and let nobody else in",
        );
    }
}

fn is_patched(version: &str, patched: &[((u32, u32), u32)]) -> bool {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (branch, patch) = ((next(), next()), next());
    match patched.iter().find(|(known, _)| *known == branch) {
        Some((_, least)) => patch >= *least,
        None => patched.last().is_some_and(|(last, _)| branch > *last),
    }
}

pub(super) fn look_at_memory(info: &Info, notes: &mut Findings<'_>) {
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

/// Where nothing bounds its memory the kernel does, without a word. Not of a server behind a socket, such as the embedded one.
fn look_at_bound(info: &Info, notes: &mut Findings<'_>) {
    if info.number("maxmemory") == 0 {
        notes.warn(
            "no maxmemory: if memory runs out the kernel kills Redis, and with it every heartbeat",
            "set maxmemory to half of what its machine or container has: a full Redis refuses new leases and keeps the others",
        );
    }
}

fn look_at_persistence(info: &Info, notes: &mut Findings<'_>) {
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

fn look_at_clients(info: &Info, notes: &mut Findings<'_>) {
    let (now, most) = (info.number("connected_clients"), info.number("maxclients"));
    if most > 0 && now > most / 5 * 4 {
        notes.warn(
            format!("{now} of at most {most} clients are connected"),
            "raise maxclients there, or lower redis_connections: a node that finds no place serves nobody",
        );
    }
}

pub(super) fn look_at_replicas(info: &Info, notes: &mut Findings<'_>) {
    let (replicas, online) = (info.number("connected_slaves"), info.replicas().len());
    if online == 0 {
        notes.error(
            "no replica is connected and up to date: nothing could take over",
            "start one, or see the log of the one there is",
        );
    } else {
        notes.ok(format!("{online} replicas"));
    }
    if (online as u64) < replicas {
        notes.warn(
            format!(
                "{} replicas are still being filled",
                replicas - online as u64
            ),
            "wait: they could not take over yet",
        );
    }
    if let Some(lag) = info.lag_seconds().filter(|lag| *lag > LAG_SECONDS) {
        notes.warn(
            format!("a replica is {lag} s behind"),
            "see its load and the network: so much would be lost if it took over now",
        );
    }
    // INFO has this field only where the setting is more than 0, and everybody may read INFO.
    if info.text("min_slaves_good_slaves").is_empty() {
        notes.warn(
            "min-replicas-to-write 0: a master that was cut off goes on giving seats that are lost later",
            "set min-replicas-to-write 1 and min-replicas-max-lag 2 on all servers",
        );
    } else {
        notes.ok("it takes no writes without a replica (min-replicas-to-write)");
    }
}

/// Whether all connections that the nodes may open find room.
async fn look_at_room(
    server: &mut MultiplexedConnection,
    info: &Info,
    options: &Options,
    notes: &mut Findings<'_>,
) {
    // Of a cluster only one master has them.
    let nodes: RedisResult<u64> = redis::cmd("ZRANGE")
        .arg(keys::NODES)
        .arg(0)
        .arg(-1)
        .query_async(server)
        .await
        .map(|nodes: Vec<String>| nodes.len() as u64);
    let Ok(nodes) = nodes else {
        return;
    };
    // One more listens, and another is made while the server changes.
    let each = u64::from(options.connections) + 2;
    let each = match options.durability {
        Durability::Async => each,
        Durability::Replicated => each + u64::from(options.connections),
    };
    let most = info.number("maxclients");
    if most > 0 && nodes * each > most {
        notes.warn(
            format!("{nodes} nodes may open {} connections, and {most} clients may connect", nodes * each),
            "raise maxclients there, or lower redis_connections: a node that finds no place serves nobody",
        );
    }
}

async fn look_at_buckets(server: &mut MultiplexedConnection, notes: &mut Findings<'_>) {
    let buckets: RedisResult<Option<u16>> = redis::cmd("GET")
        .arg(keys::BUCKET_COUNT)
        .query_async(server)
        .await;
    match buckets {
        Ok(None) => notes.ok("no node has used this Redis yet"),
        Ok(Some(count)) if count == keys::BUCKETS => notes.ok(format!("{count} buckets")),
        Ok(Some(count)) => notes.error(
            format!(
                "it holds an installation with {count} buckets, and this program has {}",
                keys::BUCKETS
            ),
            "use another database",
        ),
        // Of a cluster only one master has it.
        Err(error) if error.code() == Some("MOVED") => {}
        Err(error) => notes.error(
            format!("the keys of an installation cannot be read ({error})"),
            Trouble::of(&error).advice(),
        ),
    }
}

/// How far the time of leases is ahead of the clock of this server.
async fn look_at_shift(server: &mut MultiplexedConnection, notes: &mut Findings<'_>) {
    let mut largest = 0_u64;
    for bucket in keys::Bucket::all() {
        // In a cluster most buckets are elsewhere.
        let shift: RedisResult<Option<u64>> = redis::cmd("HGET")
            .arg(bucket.clock())
            .arg("shift")
            .query_async(server)
            .await;
        largest = largest.max(shift.ok().flatten().unwrap_or(0));
    }
    let seconds = largest as f64 / 1e3;
    if Duration::from_millis(largest) > WORTH_A_WORD {
        notes.warn(
            format!("its clock went back: leases go on {seconds:.1} s ahead of it, and return to it slowly"),
            "see that NTP keeps the clocks of this host and of those that could take over; until leases are back, schedules begin \
             early and reports are ahead by as much (docs/runbooks/clock-shifted.md)",
        );
    } else {
        notes.ok("leases go by its clock");
    }
}

/// Two installations that were to be one, or one that was to be two, show by it.
async fn look_at_installation(server: &mut MultiplexedConnection, notes: &mut Findings<'_>) {
    let id: RedisResult<Option<String>> = redis::cmd("GET")
        .arg(keys::INSTALLATION)
        .query_async(server)
        .await;
    // Of a cluster only one master has it, and that the keys cannot be read is said of the buckets.
    if let Ok(Some(id)) = id {
        notes.ok(format!("installation {id}"));
    }
}

async fn look_at_rights(
    server: &mut MultiplexedConnection,
    seen: ServerFacts<'_>,
    options: &Options,
    notes: &mut Findings<'_>,
) {
    let mut lacking = match rights::of_commands(server, options).await {
        Ok(lacking) => lacking,
        Err(error) => {
            notes.error(
                format!("the rights of this user could not be tried ({error})"),
                Trouble::of(&error).advice(),
            );
            return;
        }
    };
    lacking.note_listening(seen.refused_to_listen.cloned());
    if let Some(error) = &lacking.trouble {
        notes.error(
            format!("nodes could not write now ({error})"),
            Trouble::of(error).advice(),
        );
    }
    if lacking.is_empty() {
        notes.ok("this user may do what nodes do");
    } else if lacking.may_run_nothing() {
        // As it should be for who only looks.
        notes.ok(
            "this user may run no scripts, so it is none for nodes; run the doctor with theirs too",
        );
    } else {
        notes.error(
            format!("this user may not do what nodes do: {}", lacking.named()),
            &lacking.advice(&rights::user(options)),
        );
    }
}

async fn look_at_user(
    server: &mut MultiplexedConnection,
    seen: ServerFacts<'_>,
    notes: &mut Findings<'_>,
) {
    let user: RedisResult<String> = redis::cmd("ACL").arg("WHOAMI").query_async(server).await;
    match user {
        Ok(user) if user != "default" => notes.ok(format!("the user is {user}")),
        // A user that may not ask has fewer rights than the default user.
        Err(_) => notes.ok("the user has few rights"),
        Ok(_) if seen.is_private => {
            notes.ok("the user is default, who may do anything; nobody else reaches this Redis");
        }
        Ok(_) => notes.warn(
            "the nodes are the default user, who may do anything",
            "use the users of deploy/redis/leasehold.acl",
        ),
    }
}

async fn look_at_latency(
    server: &mut MultiplexedConnection,
    notes: &mut Findings<'_>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_below_the_patched_ones_are_told_from_the_others() {
        for (version, patched) in [
            ("6.2.19", false),
            ("6.2.20", true),
            ("7.0.15", false),
            ("7.2.10", false),
            ("7.2.11", true),
            ("7.4.6", true),
            ("8.0.3", false),
            ("8.2.2", true),
            ("8.4.0", true),
            ("9.0.0", true),
        ] {
            assert_eq!(is_patched(version, &PATCHED_REDIS), patched, "{version}");
        }
        for (version, patched) in [
            ("7.2.10", false),
            ("8.0.6", true),
            ("8.1.3", false),
            ("9.1.2", true),
        ] {
            assert_eq!(is_patched(version, &PATCHED_VALKEY), patched, "{version}");
        }
    }
}
