//! How a script is asked: within a deadline, once more over another connection if that can help, and with its bucket opened first.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::RedisResult;

use super::connection::Connections;
use super::error::{Error, Trouble};
use super::keys::{AlertKeys, Bucket};
use super::script::{Call, Reply, Request};
use super::{Store, script_trace, scripts};
use crate::telemetry;

/// Deadline of a call, as its handler sees it. The promise is an answer within a second.
pub(super) const DEADLINE: Duration = Duration::from_millis(950);

impl Store {
    /// Asks a script of a bucket.
    pub(super) async fn call<R: Request>(
        &self,
        bucket: Bucket,
        request: &R,
    ) -> Result<R::Reply, Error> {
        let reply = self.run(bucket, &request.call()).await?;
        request.read(&reply)
    }

    /// Runs a script, opening its bucket first if Redis has none. Fails at once while Redis does not work.
    pub(super) async fn run(&self, bucket: Bucket, call: &Call) -> Result<Reply, Error> {
        self.0.connections.admit(bucket)?;
        let sent = std::time::Instant::now();
        let result = within_deadline(async {
            let mut reply = self.send(call).await?;
            if reply.status() == "unopened" {
                // Boxed, as is all here that is rare: a future has room for each of its ways, and is moved with every call.
                let opening = self.open(bucket, self.0.pool_cache.generation(bucket));
                opening.await?;
                reply = self.send(call).boxed().await?;
            }
            if reply.status() == "unopened" {
                return Err(Error::not_sent(
                    "Redis loses its data as fast as it gets it",
                ));
            }
            self.0.pool_cache.set_now(reply.now()?);
            script_trace::note(reply.step()?);
            Ok(reply)
        })
        .await;
        call.took(sent.elapsed(), result.as_ref().err());
        self.note(bucket, &result);
        result
    }

    /// Notes how a call ended. What a new connection may cure is tried over one.
    pub(super) fn note<T>(&self, bucket: Bucket, result: &Result<T, Error>) {
        let connections = &self.0.connections;
        connections.health().note(bucket, result);
        let trouble = result.as_ref().err().and_then(Error::trouble);
        if trouble.is_some_and(Trouble::may_be_of_this_server) {
            connections.look_for_another_server(bucket);
        }
    }

    /// Sends a script. If the connection is found cut, or leads to a server that is no master any more, it is sent
    /// once more over another: every script is idempotent.
    pub(super) async fn send(&self, call: &Call) -> Result<Reply, Error> {
        let (error, cut) = match self.try_once(call).await? {
            Ok(reply) => return Ok(reply),
            Err(error) => {
                let cut = error.is_io_error() && !error.is_timeout();
                if !cut && Trouble::of(&error) != Trouble::Replica {
                    return Err(self.0.connections.understand(error));
                }
                (error, cut)
            }
        };
        tracing::debug!(error = %error, "connection to Redis lost, sending again: {error}");
        let again = match self.try_once(call).boxed().await {
            Ok(tried) => tried.map_err(|error| self.0.connections.understand(error)),
            Err(error) => Err(error),
        };
        // If the first try was cut it may have run, whatever became of the second.
        again.map_err(|again| if cut { again.may_have_run() } else { again })
    }

    /// Asks a script that is about alerts.
    pub(super) async fn call_about_alerts<R: Request>(
        &self,
        request: &R,
    ) -> Result<R::Reply, Error> {
        let reply = self.send_about_alerts(&request.call()).await?;
        request.read(&reply)
    }

    /// Asks a script that belongs to no bucket.
    pub(super) async fn call_at_once<R: Request>(&self, request: &R) -> Result<R::Reply, Error> {
        let call = request.call();
        let reply = within_deadline(self.send(&call)).await?;
        request.read(&reply)
    }

    /// Sends a script that is about alerts, and opens their clock first if it is missing.
    pub(super) async fn send_about_alerts(&self, call: &Call) -> Result<Reply, Error> {
        let reply = self.send(call).await?;
        if reply.status() != "unopened" {
            return Ok(reply);
        }
        let open = scripts::Open {
            clock: AlertKeys.clock().to_string(),
            remembered: 0,
        };
        self.send(&open.call()).boxed().await?;
        self.send(call).boxed().await
    }

    /// Sends a script once; the outer error is that there was no connection for it.
    async fn try_once(&self, call: &Call) -> Result<RedisResult<Reply>, Error> {
        if let Some(waiting) = self.0.waiting.as_ref().filter(|_| call.is_worth_a_wait()) {
            return try_durably(waiting, call).boxed().await;
        }
        let mut connection = self.0.connections.share().await?;
        Ok(call.run(&mut connection).await)
    }

    /// Opens a bucket, noting a loss if the caller remembers another generation, and puts back the policies that
    /// this node knows.
    ///
    /// Not an `async fn`: what it calls may have to open a bucket itself.
    pub(super) fn open(&self, bucket: Bucket, remembered: u64) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let open = scripts::Open {
                clock: bucket.clock(),
                remembered,
            };
            let generation = open.read(&self.send(&open.call()).await?)?.generation;
            let before = self.0.pool_cache.set_generation(bucket, generation);
            if before != 0 && before != generation {
                let pools = self.0.pool_cache.lose(bucket);
                self.0.losses.add(pools);
                metrics::counter!(telemetry::DATA_LOSSES).increment(1);
                // At once, for those who ask now. What does not get through the sweeper puts back.
                self.put_back_pools(bucket).await?;
            }
            Ok(())
        })
    }
}

/// Sends a script once, and waits until a replica has what it wrote.
async fn try_durably(waiting: &Connections, call: &Call) -> Result<RedisResult<Reply>, Error> {
    let mut connection = waiting.get().await?;
    let mut tried = call.run(&mut connection).await;
    if let Ok(reply) = &mut tried {
        reply.durable = Some(connection.wait_for_replica(call).await);
    }
    Ok(tried)
}

/// Answers in time that it is not known, where an operation of several calls takes too long.
///
/// Not an `async fn`, which would have room for the operation twice: before it waits, and while it does.
pub(super) fn within_deadline<T>(
    operation: impl Future<Output = Result<T, Error>>,
) -> impl Future<Output = Result<T, Error>> {
    tokio::time::timeout(DEADLINE, operation).map(|answer| {
        answer.unwrap_or_else(|_| Err(Error::unanswered("Redis did not answer in time")))
    })
}
