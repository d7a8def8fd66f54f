//! Connections to Redis: a pool of them, each given back or dropped after its first failure.
//!
//! bb8-redis never calls a connection broken and sends a PING with each check-out. Here a failed call marks its
//! connection, and all others of the same age, so that one error after a restart of Redis is the last one, and
//! a check-out costs nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{
    Cmd, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError, RedisFuture, ServerErrorKind,
    Value,
};

use super::error::Error;
use super::{keys, script};

/// How long a check-out waits for a free or a new connection. Together with the response time-out it stays
/// under the second in which every call is answered.
const CHECK_OUT: Duration = Duration::from_millis(350);

/// The pool that all calls take their connection from.
#[derive(Clone)]
pub(super) struct Connections(bb8::Pool<Manager>);

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        write!(
            f,
            "Connections({} of which {} idle)",
            state.connections, state.idle_connections
        )
    }
}

impl Connections {
    /// A pool of at most `size` connections to `url`. Fails if none can be made now.
    pub(super) async fn open(
        url: &str,
        size: u32,
        response_timeout: Duration,
    ) -> Result<Self, RedisError> {
        let manager = Manager::new(url, response_timeout)?;
        // With a wrong address the pool would come up empty and the node would serve nothing but 503.
        drop(bb8::ManageConnection::connect(&manager).await?);
        let pool = bb8::Pool::builder()
            .max_size(size)
            // All at once, so that the first crowd does not wait for them.
            .min_idle(size)
            .connection_timeout(CHECK_OUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .error_sink(Box::new(Log))
            .build(manager)
            .await?;
        Ok(Self(pool))
    }

    /// Refuses a server that would lose leases or cannot run the scripts, saying what to change.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let mut connection = self.get().await?;
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut *connection)
            .await?;
        let memory: String = redis::cmd("INFO")
            .arg("memory")
            .query_async(&mut *connection)
            .await?;
        let field = |text: &str, name: &str| {
            text.lines().find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(':')
                    .map(str::to_owned)
            })
        };
        let version = field(&info, "redis_version").unwrap_or_default();
        let mut numbers = version
            .split('.')
            .map(|number| number.parse::<u32>().unwrap_or(0));
        if (numbers.next(), numbers.next()) < (Some(6), Some(2)) {
            return Err(Error::not_sent(format!(
                "Redis {version} is too old: use Redis 6.2 or later, or Valkey"
            )));
        }
        let policy = field(&memory, "maxmemory_policy").unwrap_or_default();
        if policy.starts_with("allkeys") {
            return Err(Error::not_sent(format!(
                "Redis may throw leases away (maxmemory-policy {policy}): set maxmemory-policy noeviction"
            )));
        }
        if policy.starts_with("volatile") {
            tracing::warn!(
                "Redis may throw records of leases away (maxmemory-policy {policy}); noeviction is better"
            );
        }
        redis::cmd("SET")
            .arg(keys::BUCKET_COUNT)
            .arg(keys::BUCKETS)
            .arg("NX")
            .exec_async(&mut *connection)
            .await?;
        let buckets: u16 = redis::cmd("GET")
            .arg(keys::BUCKET_COUNT)
            .query_async(&mut *connection)
            .await?;
        if buckets != keys::BUCKETS {
            return Err(Error::not_sent(format!(
                "this Redis holds an installation with {buckets} buckets, and this program has {}: use another database",
                keys::BUCKETS
            )));
        }
        Ok(())
    }

    /// A connection for one call at a time.
    pub(super) async fn get(&self) -> Result<bb8::PooledConnection<'_, Manager>, Error> {
        self.0.get().await.map_err(|error| match error {
            bb8::RunError::User(error) => Error::not_sent(error.to_string()),
            bb8::RunError::TimedOut => {
                Error::not_sent("no connection to Redis; see redis_url, and whether it runs")
            }
        })
    }
}

/// Says why no connection could be made; without it only time-outs would be seen.
#[derive(Debug, Clone, Copy)]
struct Log;

impl bb8::ErrorSink<RedisError> for Log {
    fn sink(&self, error: RedisError) {
        if error.kind() != ErrorKind::Client {
            tracing::warn!(error = %error, "no connection to Redis: {error}");
        }
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<RedisError>> {
        Box::new(*self)
    }
}

/// Makes connections with time-outs and keep-alive, and loads the scripts into each new one's server.
pub(super) struct Manager {
    inner: RedisConnectionManager,
    response_timeout: Duration,
    /// Grows with each failure of a connection; those made before are dropped.
    age: Arc<AtomicU64>,
}

impl Manager {
    fn new(url: &str, response_timeout: Duration) -> Result<Self, RedisError> {
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(
            socket2::TcpKeepalive::new()
                .with_time(Duration::from_secs(10))
                .with_interval(Duration::from_secs(3))
                .with_retries(3),
        );
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(Duration::from_secs(10));
        let info = url.into_connection_info()?.set_tcp_settings(tcp);
        Ok(Self {
            inner: RedisConnectionManager::new(info)?,
            response_timeout,
            age: Arc::new(AtomicU64::new(0)),
        })
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        let age = self.age.load(Ordering::Relaxed);
        let mut inner = tokio::time::timeout(self.response_timeout, self.inner.connect())
            .await
            .map_err(|_| {
                RedisError::from((
                    ErrorKind::Io,
                    "Redis accepts connections but does not answer",
                ))
            })??;
        inner.set_response_timeout(self.response_timeout);
        let mut connection = Connection {
            inner,
            made_at: age,
            age: Arc::clone(&self.age),
            broken: false,
        };
        script::load_all(&mut connection).await?;
        Ok(connection)
    }

    /// No PING: whether the connection was made after the last failure.
    async fn is_valid(&self, connection: &mut Connection) -> Result<(), RedisError> {
        if self.has_broken(connection) {
            return Err((ErrorKind::Client, "made before the last failure").into());
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.broken || connection.made_at < self.age.load(Ordering::Relaxed)
    }
}

/// One connection, which notices its own failure.
pub(super) struct Connection {
    inner: MultiplexedConnection,
    made_at: u64,
    age: Arc<AtomicU64>,
    broken: bool,
}

impl Connection {
    /// After these a connection is of no use: it is cut, it is stuck, or it leads to a replica.
    fn note(&mut self, error: &RedisError) {
        let useless = error.is_unrecoverable_error()
            || error.is_timeout()
            || matches!(
                error.kind(),
                ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
            );
        if useless && !self.broken {
            self.broken = true;
            let after = self.made_at + 1;
            self.age.fetch_max(after, Ordering::Relaxed);
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let result = self.inner.req_packed_command(command).await;
            if let Err(error) = &result {
                self.note(error);
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
            let result = self
                .inner
                .req_packed_commands(pipeline, offset, count)
                .await;
            if let Err(error) = &result {
                self.note(error);
            }
            result
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}
