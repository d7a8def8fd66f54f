//! Makes connections for the pool, and keeps why one could not be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{ErrorKind, RedisError};

use super::one::{Connection, Link};
use super::source::Source;
use crate::store::error::Trouble;
use crate::store::health::Health;
use crate::store::script;

/// After a connection could not be made, the next try comes no sooner: a server that refuses is not stormed.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Keeps why no connection could be made; without it only time-outs would be seen.
#[derive(Debug)]
pub(super) struct Reasons(pub(super) Arc<Health>);

impl bb8::ErrorSink<RedisError> for Reasons {
    fn sink(&self, error: RedisError) {
        if error.kind() != ErrorKind::Client {
            self.0.refused(&error);
        }
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<RedisError>> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

/// Makes connections, and loads the scripts that the server of a new one does not have.
pub(in crate::store) struct Manager {
    pub(super) source: Arc<Source>,
    /// Grows with each failure of a connection; those made before are dropped.
    pub(super) age: Arc<AtomicU64>,
    pub(super) response_timeout: Duration,
    /// Whether the last try failed; then tries come one by one.
    pub(super) failing: AtomicBool,
    pub(super) turn: tokio::sync::Mutex<Option<Instant>>,
}

impl Manager {
    async fn make(&self) -> Result<Connection, RedisError> {
        let made_at = self.age.load(Ordering::Relaxed);
        let link = self.source.connect().await?;
        let mut connection = Connection {
            link,
            made_at,
            age: Arc::clone(&self.age),
            broken: Arc::default(),
        };
        match script::load_missing(&mut connection, self.source.is_cluster()).await {
            // In a cluster this goes to all masters, and one that is away must not keep us from the others: a script
            // that a server lacks is sent whole.
            Err(error) if self.source.is_cluster() && Trouble::of(&error) != Trouble::Refused => {}
            loaded => loaded?,
        }
        if let Link::One(one) = &mut connection.link {
            // Until here it was longer: a busy server takes its time with the scripts, and no call waits for that.
            one.set_response_timeout(self.response_timeout);
        }
        connection.broken.store(false, Ordering::Relaxed);
        Ok(connection)
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        if self.failing.load(Ordering::Relaxed) {
            let mut last = self.turn.lock().await;
            if self.failing.load(Ordering::Relaxed) {
                if let Some(last) = *last {
                    tokio::time::sleep(BETWEEN_TRIES.saturating_sub(last.elapsed())).await;
                }
                *last = Some(Instant::now());
            }
        }
        let made = self.make().await;
        self.failing.store(made.is_err(), Ordering::Relaxed);
        made
    }

    /// No PING: whether the connection was made after the last failure.
    async fn is_valid(&self, connection: &mut Connection) -> Result<(), RedisError> {
        if self.has_broken(connection) {
            return Err((ErrorKind::Client, "made before the last failure").into());
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.has_failed()
    }
}
