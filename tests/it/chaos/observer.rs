//! Looks into Redis next to the nodes: the clocks of buckets and the history of pools, while things break.
//!
//! White box: the keys and fields are those of `lua/README.md`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, RedisResult};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::checker::{Grace, Segment};
use crate::harness::{Event, LEFT_RECORDS, LEFT_RECORDS_OF};

/// CRC-16 as Redis uses it for slots (XMODEM).
fn crc16(text: &str) -> u16 {
    text.bytes().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let carry = crc & 0x8000 != 0;
            (crc << 1) ^ if carry { 0x1021 } else { 0 }
        })
    })
}

/// The bucket of a pool.
pub(crate) fn bucket(pool: &str) -> u16 {
    crc16(pool) % 32
}

/// Which third of the slots a bucket is in: which of the three first masters of a cluster has it.
pub(crate) fn third(bucket: u16) -> usize {
    usize::from(crc16(&bucket.to_string()) % 16_384) * 3 / 16_384
}

/// How to reach the data.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// One server.
    Server(String),
    /// The server of these that reports the role master.
    Masters(Vec<String>),
    /// The master that one of these sentinels names.
    Sentinels(Vec<String>),
    Installation(Vec<String>),
}

enum Link {
    One(MultiplexedConnection),
    Many(Box<ClusterConnection>),
}

impl Way {
    async fn connect(&self) -> RedisResult<Link> {
        Ok(match self {
            Self::Server(url) => Link::One(connect(url).await?),
            Self::Masters(urls) | Self::Sentinels(urls) => {
                let mut failure = None;
                for url in urls {
                    let found = match self {
                        Self::Masters(_) => master_at(url).await,
                        _ => named_by(url).await,
                    };
                    match found {
                        Ok(master) => return Ok(Link::One(master)),
                        Err(error) => failure = Some(error),
                    }
                }
                return Err(failure.expect("there are servers"));
            }
            Self::Installation(urls) => {
                let client = redis::cluster::ClusterClient::builder(urls.clone())
                    .retries(1)
                    .connection_timeout(Duration::from_millis(500))
                    .response_timeout(Duration::from_millis(500))
                    .build()?;
                Link::Many(Box::new(client.get_async_connection().await?))
            }
        })
    }
}

/// The master that a sentinel names, if it agrees that it is one.
async fn named_by(sentinel: &str) -> RedisResult<MultiplexedConnection> {
    let mut sentinel = connect(sentinel).await?;
    let (host, port): (String, u16) = redis::cmd("SENTINEL")
        .arg(&["get-master-addr-by-name", "main"])
        .query_async(&mut sentinel)
        .await?;
    master_at(&format!("redis://{host}:{port}")).await
}

/// This server, if it reports the role master.
async fn master_at(url: &str) -> RedisResult<MultiplexedConnection> {
    let mut master = connect(url).await?;
    let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut master).await?;
    let role = role.into_iter().next().map(String::from_redis_value);
    if matches!(role, Some(Ok(role)) if role == "master") {
        Ok(master)
    } else {
        Err((redis::ErrorKind::Client, "not a master yet").into())
    }
}

async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await
}

impl Link {
    async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Many(connection) => command.query_async(connection.as_mut()).await,
        }
    }
}

/// What was observed of one pool.
#[derive(Debug, Clone)]
pub(crate) struct ObservedPool {
    pool: String,
    segments: Vec<Segment>,
    /// Up to where the events were read.
    last: String,
}

impl ObservedPool {
    fn key(&self, name: &str) -> String {
        format!("lh1:{{{}}}:{}:{name}", bucket(&self.pool), self.pool)
    }

    /// Looks at the clock, and reads what is new. `whole`: reads the last segment anew, all of it.
    async fn look(&mut self, link: &mut Link, whole: bool) -> RedisResult<()> {
        let clock = format!("lh1:{{{}}}:clock", bucket(&self.pool));
        let fields = ["generation", "lost", "floor", "back", "gap"];
        let mut command = redis::cmd("HMGET");
        let state: Vec<Option<i64>> = link.query(command.arg(clock).arg(&fields)).await?;
        let Some(generation) = state[0] else {
            return Ok(());
        };
        if self
            .segments
            .last()
            .is_none_or(|segment| segment.generation != generation)
        {
            self.segments.push(Segment {
                generation,
                ..Segment::default()
            });
            "-".clone_into(&mut self.last);
        }
        let later = self.segments.len() > 1;
        let segment = self.segments.last_mut().expect("pushed");
        // A bucket that was new with this pool has lost nothing, whatever it says.
        segment.after_loss = later && state[1] == Some(1);
        let grace = Grace {
            floor: state[2].unwrap_or(0),
            back: state[3].unwrap_or(0),
            gap: state[4].unwrap_or(0),
        };
        if grace.back > 0 && segment.graces.last() != Some(&grace) {
            segment.graces.push(grace);
        }
        if whole {
            "-".clone_into(&mut self.last);
            segment.events.clear();
        }
        let events = self.key("events");
        loop {
            let mut command = redis::cmd("XRANGE");
            command.arg(&events).arg(&self.last).arg("+");
            let entries: Vec<(String, HashMap<String, String>)> =
                link.query(command.arg("COUNT").arg(2_000)).await?;
            let count = entries.len();
            for (id, fields) in entries {
                self.last = format!("({id}");
                self.segments
                    .last_mut()
                    .expect("pushed")
                    .events
                    .push(Event::from_fields(&fields));
            }
            if count < 2_000 {
                return Ok(());
            }
        }
    }
}

impl ObservedPool {
    /// Drops the silences that a master noted which had been replaced already, when it woke up: they went with it.
    async fn forget_what_is_gone(&mut self, link: &mut Link) -> RedisResult<()> {
        let clock = format!("lh1:{{{}}}:clock", bucket(&self.pool));
        let mut command = redis::cmd("HGET");
        let silences: Option<String> = link.query(command.arg(clock).arg("silences")).await?;
        let silences = silences.unwrap_or_default();
        let ends: Vec<&str> = silences.split(' ').skip(1).step_by(2).collect();
        if let Some(segment) = self.segments.last_mut() {
            segment
                .graces
                .retain(|grace| ends.contains(&grace.back.to_string().as_str()));
        }
        Ok(())
    }
}

/// What is known of a pool at the end of a round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    pub(crate) segments: Vec<Segment>,
    /// Redis's clock before the history was read, ms.
    pub(crate) until: i64,
    /// Starts less ends, and members of the sorted set.
    pub(crate) balance: (i64, i64),
    /// Ids of records whose lease is in none of the sets.
    pub(crate) left_records: Vec<String>,
}

/// Watches the pools of a round until it is closed.
pub(crate) struct Observer {
    way: Way,
    observed: Arc<Mutex<Vec<ObservedPool>>>,
    task: JoinHandle<()>,
}

impl Observer {
    pub(crate) fn open(way: &Way, pools: &[String]) -> Self {
        let observed: Vec<ObservedPool> = pools
            .iter()
            .map(|pool| ObservedPool {
                pool: pool.clone(),
                segments: Vec::new(),
                last: "-".to_owned(),
            })
            .collect();
        let observed = Arc::new(Mutex::new(observed));
        let task = tokio::spawn(watch(way.clone(), Arc::clone(&observed)));
        Self {
            way: way.clone(),
            observed,
            task,
        }
    }

    /// Reads all to the end.
    pub(crate) async fn close(self) -> Vec<Sight> {
        self.task.abort();
        let _ = self.task.await;
        let mut all = self.observed.lock().await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            match close(&self.way, &mut all).await {
                Ok(sights) => return sights,
                Err(error) => {
                    let late = tokio::time::Instant::now() > deadline;
                    assert!(!late, "the history cannot be read: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn close(way: &Way, all: &mut [ObservedPool]) -> RedisResult<Vec<Sight>> {
    const COUNT: &str = r"
        local change = { started = 1, resumed = 1, rebuilt = 1, ended = -1 }
        local balance = 0
        for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
          for i = 1, #entry[2], 2 do
            if entry[2][i] == 'type' then
              balance = balance + (change[entry[2][i + 1]] or 0)
            end
          end
        end
        local time = redis.call('TIME')
        return { balance, redis.call('ZCARD', KEYS[2]), time[1] * 1000 + math.floor(time[2] / 1000) }";
    let mut link = way.connect().await?;
    let mut sights = Vec::new();
    for observed in all {
        let mut command = redis::cmd("EVAL");
        command.arg(COUNT).arg(2);
        command
            .arg(observed.key("events"))
            .arg(observed.key("leases"));
        let (starts, members, until): (i64, i64, i64) = link.query(&command).await?;
        let mut command = redis::cmd("EVAL");
        command.arg(LEFT_RECORDS).arg(LEFT_RECORDS_OF.len());
        for key in LEFT_RECORDS_OF {
            command.arg(observed.key(key));
        }
        let left: Vec<String> = link.query(&command).await?;
        observed.look(&mut link, true).await?;
        observed.forget_what_is_gone(&mut link).await?;
        sights.push(Sight {
            segments: observed.segments.clone(),
            until,
            balance: (starts, members),
            left_records: left,
        });
    }
    Ok(sights)
}

/// Looks again and again. While Redis is away there is nothing to see.
async fn watch(way: Way, observed: Arc<Mutex<Vec<ObservedPool>>>) {
    let mut link = None;
    loop {
        // Soon enough to have nearly all when a Redis without a file dies.
        tokio::time::sleep(Duration::from_millis(60)).await;
        if link.is_none() {
            link = way.connect().await.ok();
        }
        let Some(connected) = &mut link else { continue };
        let mut failed = false;
        for one in observed.lock().await.iter_mut() {
            failed |= one.look(connected, false).await.is_err();
        }
        if failed {
            link = None;
        }
    }
}
