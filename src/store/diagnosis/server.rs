//! Whether one server is fit to keep seats.

mod clock;
mod user;
mod version;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use secrecy::ExposeSecret as _;

use self::clock::{check_latency, check_shift};
use self::user::{check_rights, check_user};
pub(super) use self::version::check_version;
use super::Findings;
use crate::config::Durability;
use crate::store::error::{Error, Trouble};
use crate::store::info::Info;
use crate::store::{Options, keys};

/// Replicas say every second how far they are.
const LAG_SECONDS: u64 = 5;

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

pub(super) async fn check(
    server: &mut MultiplexedConnection,
    info: &Info,
    facts: ServerFacts<'_>,
    options: &Options,
    notes: &mut Findings<'_>,
) -> Result<(), Error> {
    check_version(info, notes);
    check_memory(info, notes);
    if !options.url.expose_secret().starts_with("unix:") {
        check_bound(info, notes);
    }
    check_persistence(info, notes);
    check_clients(info, notes);
    check_latency(server, notes).await?;
    if facts.role == Role::Replica {
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
    if facts.expects_replicas || info.number("connected_slaves") > 0 {
        check_replicas(info, notes);
    } else {
        notes.ok("no replicas");
    }
    check_buckets(server, notes).await;
    check_room(server, info, options, notes).await;
    check_installation(server, notes).await;
    check_shift(server, notes).await;
    if facts.is_cluster {
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
    check_rights(server, facts, options, notes).await;
    check_user(server, facts, notes).await;
    Ok(())
}

pub(super) fn check_memory(info: &Info, notes: &mut Findings<'_>) {
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
fn check_bound(info: &Info, notes: &mut Findings<'_>) {
    if info.number("maxmemory") == 0 {
        notes.warn(
            "no maxmemory: if memory runs out the kernel kills Redis, and with it every heartbeat",
            "set maxmemory to half of what its machine or container has: a full Redis refuses new leases and keeps the others",
        );
    }
}

fn check_persistence(info: &Info, notes: &mut Findings<'_>) {
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

fn check_clients(info: &Info, notes: &mut Findings<'_>) {
    let (now, most) = (info.number("connected_clients"), info.number("maxclients"));
    if most > 0 && now > most / 5 * 4 {
        notes.warn(
            format!("{now} of at most {most} clients are connected"),
            "raise maxclients there, or lower redis_connections: a node that finds no place serves nobody",
        );
    }
}

pub(super) fn check_replicas(info: &Info, notes: &mut Findings<'_>) {
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
async fn check_room(
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

async fn check_buckets(server: &mut MultiplexedConnection, notes: &mut Findings<'_>) {
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

/// Two installations that were to be one, or one that was to be two, show by it.
async fn check_installation(server: &mut MultiplexedConnection, notes: &mut Findings<'_>) {
    let id: RedisResult<Option<String>> = redis::cmd("GET")
        .arg(keys::INSTALLATION)
        .query_async(server)
        .await;
    // Of a cluster only one master has it, and that the keys cannot be read is said of the buckets.
    if let Ok(Some(id)) = id {
        notes.ok(format!("installation {id}"));
    }
}
