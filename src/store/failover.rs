//! A planned failover under Sentinel that loses nothing: the steps of docs/runbooks/failover.md.
//!
//! `SENTINEL FAILOVER` alone promotes a replica while the old master goes on acknowledging, for seconds, what nobody will
//! ever see again. Here writes are held first, so that the replica has everything; nodes see a pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::Options;
use super::connection::Source;
use super::connection::sentinel::Sentinel;
use super::error::Error;
use super::info::Info;
use crate::time::millis;

/// Maximum time for which writes are held, whatever becomes of us, in ms.
const PAUSE_MS: u64 = 15_000;
/// How long each step may take.
const STEP: Duration = Duration::from_secs(10);
/// Between looks.
const POLL: Duration = Duration::from_millis(20);

/// Host and port.
type Address = (String, u16);

/// What happened.
#[derive(Debug, Clone, serde::Serialize)]
pub struct FailoverResult {
    /// The master before.
    pub from: String,
    /// The master now.
    pub to: String,
    /// How long nothing was written, in ms.
    pub paused_ms: u64,
}

/// Makes a replica the master and loses nothing. Refuses without a replica that is up to date.
pub async fn fail_over(options: &Options) -> Result<FailoverResult, Error> {
    let source =
        Source::new(options, Arc::default()).map_err(|error| Error::not_connected(&error))?;
    let Source::Sentinel(sentinel) = &source else {
        return Err(Error::not_sent(
            "this is for redis+sentinel://; in a cluster send CLUSTER FAILOVER to the replica that is to take over, which \
             loses nothing either",
        ));
    };
    let from = name_now(sentinel).await?;
    let connect = async |address: &Address| {
        sentinel
            .connect_to(address)
            .await
            .map_err(|error| Error::not_connected(&error))
    };
    let mut old = connect(&from).await?;
    let replicas = Info::read(&mut old).await?.replicas();
    let mut candidates = Vec::new();
    for address in &replicas {
        if let Ok(connection) = sentinel.connect_to(address).await {
            candidates.push((address.clone(), connection));
        }
    }
    if candidates.is_empty() {
        return Err(Error::not_sent(
            "no replica is connected; start one and wait until it follows",
        ));
    }

    let began = Instant::now();
    let () = redis::cmd("CLIENT")
        .arg("PAUSE")
        .arg(PAUSE_MS)
        .arg("WRITE")
        .query_async(&mut old)
        .await?;
    let promoted = promote(sentinel, &mut old, &mut candidates).await;
    let to = match promoted {
        Ok(to) => to,
        Err(error) => {
            // Still the master: it goes on as if nothing had been.
            let _: RedisResult<()> = redis::cmd("CLIENT")
                .arg("UNPAUSE")
                .query_async(&mut old)
                .await;
            return Err(error);
        }
    };
    // Before anything is written to it again: it must never again acknowledge by itself.
    let () = redis::cmd("REPLICAOF")
        .arg(&to.0)
        .arg(to.1)
        .query_async(&mut old)
        .await?;
    let waited = Instant::now();
    while name_now(sentinel).await? != to && waited.elapsed() < STEP {
        tokio::time::sleep(POLL).await;
    }
    let () = redis::cmd("CLIENT")
        .arg("UNPAUSE")
        .query_async(&mut old)
        .await?;
    let _: RedisResult<i64> = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query_async(&mut old)
        .await;
    Ok(FailoverResult {
        from: format!("{}:{}", from.0, from.1),
        to: format!("{}:{}", to.0, to.1),
        paused_ms: millis(began.elapsed()),
    })
}

/// Lets a replica catch up, asks a sentinel for the failover and waits until a replica reports that it is the master.
async fn promote(
    sentinel: &Sentinel,
    old: &mut MultiplexedConnection,
    candidates: &mut [(Address, MultiplexedConnection)],
) -> Result<Address, Error> {
    let waited = Instant::now();
    let offset = Info::read(old).await?.number("master_repl_offset");
    loop {
        let mut all = true;
        for (_, replica) in candidates.iter_mut() {
            all &= Info::read(replica).await?.number("slave_repl_offset") >= offset;
        }
        if all {
            break;
        }
        if waited.elapsed() > STEP / 5 {
            return Err(Error::not_sent(
                "a replica does not catch up; see its log, and try again when its lag is small",
            ));
        }
        tokio::time::sleep(POLL).await;
    }

    let mut failure = None;
    for address in sentinel.sentinels() {
        let Ok(mut connection) = sentinel.connect_to_sentinel(address).await else {
            continue;
        };
        let asked: RedisResult<()> = redis::cmd("SENTINEL")
            .arg("FAILOVER")
            .arg(sentinel.master_name())
            .query_async(&mut connection)
            .await;
        failure = asked.err();
        if failure.is_none() {
            break;
        }
    }
    if let Some(error) = failure {
        return Err(Error::not_sent(format!("the sentinels refuse: {error}")));
    }
    let waited = Instant::now();
    while waited.elapsed() < STEP {
        for (address, _) in candidates.iter() {
            // Anew: who is promoted closes all its connections.
            if let Ok(mut replica) = sentinel.connect_to(address).await
                && Info::read(&mut replica)
                    .await
                    .is_ok_and(|info| info.text("role") == "master")
            {
                return Ok(address.clone());
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Error::not_sent(
        "no replica was promoted; see the log of the sentinels",
    ))
}

/// Whom the sentinels name now.
async fn name_now(sentinel: &Sentinel) -> Result<Address, Error> {
    for address in sentinel.sentinels() {
        if let Ok(Some(master)) = sentinel.ask_one(address).await {
            return Ok(master);
        }
    }
    Err(Error::not_sent("no sentinel answers"))
}
