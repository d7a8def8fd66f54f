//! One Redis, over TCP, TLS or a Unix socket.

use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{
    Client, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisError, TlsCertificates,
};

/// How long a new connection may take, TLS included, and then its first calls. Nobody waits for it: a check-out gives up
/// sooner.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// Makes connections to one server.
#[derive(Debug, Clone)]
pub(in crate::store) struct Single {
    inner: RedisConnectionManager,
    info: ConnectionInfo,
    response_timeout: Duration,
}

impl Single {
    /// `ca` is a certificate in PEM form, in place of those of the machine.
    pub(in crate::store) fn new(
        url: &str,
        ca: Option<&[u8]>,
        response_timeout: Duration,
    ) -> Result<Self, RedisError> {
        let info = url.into_connection_info()?.set_tcp_settings(tcp_settings());
        let info = match ca {
            Some(_) if url.starts_with("rediss") => Client::build_with_tls(info, certificates(ca))?
                .get_connection_info()
                .clone(),
            _ => info,
        };
        Ok(Self {
            inner: RedisConnectionManager::new(info.clone())?,
            info,
            response_timeout,
        })
    }

    /// A connection that listens to what is published.
    pub(in crate::store) async fn subscribe(&self) -> Result<PubSub, RedisError> {
        let client = Client::open(self.info.clone())?;
        tokio::time::timeout(HANDSHAKE, client.get_async_pubsub())
            .await
            .map_err(|_| {
                RedisError::from((ErrorKind::Io, "no answer to a new connection in time"))
            })?
    }

    /// A connection whose calls time out.
    pub(in crate::store) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        use bb8::ManageConnection as _;
        let mut connection = tokio::time::timeout(HANDSHAKE, self.inner.connect())
            .await
            .map_err(|_| {
                RedisError::from((ErrorKind::Io, "no answer to a new connection in time"))
            })??;
        connection.set_response_timeout(self.response_timeout.max(HANDSHAKE));
        Ok(connection)
    }
}

/// With keep-alive, because a server that lost its power closes nothing.
pub(super) fn tcp_settings() -> TcpSettings {
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(
        socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(10))
            .with_interval(Duration::from_secs(3))
            .with_retries(3),
    );
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(Duration::from_secs(10));
    tcp
}

/// The certificates that a server may have.
pub(super) fn certificates(ca: Option<&[u8]>) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        root_cert: ca.map(<[u8]>::to_vec),
    }
}
