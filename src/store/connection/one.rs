//! One connection, which notices its own failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value};

use super::routed::Routed;
use crate::store::error::Trouble;
use crate::store::script;
use crate::telemetry;

/// How long a call waits for a replica, in ms. Replicas answer within a millisecond or not soon.
const REPLICA_MS: u64 = 100;

pub(super) enum Link {
    One(MultiplexedConnection),
    Many(Box<Routed>),
}

/// One connection, which notices its own failure.
pub(in crate::store) struct Connection {
    pub(super) link: Link,
    pub(super) made_at: u64,
    pub(super) age: Arc<AtomicU64>,
    /// Of all that share it.
    pub(super) broken: Arc<AtomicBool>,
}

impl Connection {
    /// Whether it, or one that was made before or with it, is of no use any more.
    pub(super) fn has_failed(&self) -> bool {
        self.broken.load(Ordering::Relaxed) || self.made_at < self.age.load(Ordering::Relaxed)
    }

    /// The same connection once more.
    pub(super) fn another(&self) -> Self {
        Self {
            link: match &self.link {
                Link::One(one) => Link::One(one.clone()),
                Link::Many(many) => Link::Many(many.clone()),
            },
            made_at: self.made_at,
            age: Arc::clone(&self.age),
            broken: Arc::clone(&self.broken),
        }
    }

    /// After these a connection is of no use: it is cut, it is stuck, or what it leads to is no master of ours now. The next
    /// one looks up where the address leads.
    pub(super) fn note(&self, error: &RedisError, of_script: bool) {
        // One of a cluster leads to all servers. Scripts find their way whatever one of these does; the library, which has
        // all the rest, may wait for a silent one as long as it is asked.
        if matches!(self.link, Link::Many(_)) {
            if error.kind() == ErrorKind::ClusterConnectionNotFound
                || (error.is_timeout() && !of_script)
            {
                self.broken.store(true, Ordering::Relaxed);
            }
            return;
        }
        let useless = error.is_unrecoverable_error()
            || error.is_timeout()
            || matches!(
                Trouble::of(error),
                Trouble::Replica | Trouble::MasterDown | Trouble::Loading | Trouble::Auth
            );
        if useless && !self.broken.swap(true, Ordering::Relaxed) {
            let after = self.made_at + 1;
            self.age.fetch_max(after, Ordering::Relaxed);
        }
    }
}

impl Connection {
    /// Waits until a replica has what this connection has seen. `false` if none has it in time.
    pub(in crate::store) async fn wait_for_replica(&mut self, call: &script::Call) -> bool {
        let mut wait = redis::cmd("WAIT");
        wait.arg(1).arg(REPLICA_MS);
        let replicas: Result<i64, RedisError> = match &mut self.link {
            Link::One(_) => wait.query_async(self).await,
            Link::Many(many) => {
                // Left to the library, it would go to all masters.
                let Some(key) = call.first_key() else {
                    return false;
                };
                let answer = many.query_at(key, &wait).await;
                answer.and_then(|value| Ok(redis::from_redis_value(value)?))
            }
        };
        let durable = replicas.is_ok_and(|replicas| replicas > 0);
        metrics::counter!(telemetry::STORE_WAITS, "durable" => if durable { "true" } else { "false" }).increment(1);
        durable
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let result = match &mut self.link {
                Link::One(one) => one.req_packed_command(command).await,
                Link::Many(many) => many.query(command).await,
            };
            // What a server refuses comes as a value.
            let result = result.and_then(Value::extract_error);
            if let Err(error) = &result {
                self.note(error, script::first_key(command).is_some());
            }
            result
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let result = match &mut self.link {
                Link::One(one) => one.req_packed_commands(pipeline, offset, count).await,
                Link::Many(many) => many.queries(pipeline, offset, count).await,
            };
            match &result {
                Err(error) => self.note(error, false),
                Ok(values) => {
                    for value in values {
                        if let Value::ServerError(error) = value {
                            self.note(&error.clone().into(), false);
                        }
                    }
                }
            }
            result
        })
    }

    fn get_db(&self) -> i64 {
        match &self.link {
            Link::One(one) => one.get_db(),
            Link::Many(many) => many.get_db(),
        }
    }
}
