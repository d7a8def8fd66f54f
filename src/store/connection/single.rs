//! One Redis, over TCP, TLS or a Unix socket.
//!
//! A name may lead to several servers, or to another one than a moment ago. So it is looked up anew for every connection, and all of its
//! addresses are tried.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::AsyncDNSResolver;
use redis::io::tcp::{TcpSettings, socket2};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind,
    IntoConnectionInfo as _, RedisError, RedisFuture, RedisResult, ServerErrorKind,
    TlsCertificates, Value,
};
use secrecy::ExposeSecret as _;

use crate::store::error::Trouble;
use crate::tls::Tls;

/// How long a new connection may take, and then its first calls. Nobody waits for it: a check-out gives up
/// sooner.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// The same with TLS, whose arithmetic takes a busy machine longer when a whole pool is connected at once.
const TLS_HANDSHAKE: Duration = Duration::from_secs(4);
/// How long one address may take to be connected, without TLS. Shorter than all of it, so that a server which was frozen does not
/// hold up its successor.
const CONNECT: Duration = Duration::from_secs(1);
/// How much later the next address of a name is tried, so that a healthy first one is mostly the only one.
const STAGGER: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Any,
    Master,
}

/// Makes connections to one server.
#[derive(Debug, Clone)]
pub(in crate::store) struct Single {
    client: Client,
    response_timeout: Duration,
    lookup: fn(String, u16) -> RedisFuture<'static, Vec<SocketAddr>>,
}

impl Single {
    pub(in crate::store) fn new(
        url: &str,
        tls: &Tls,
        response_timeout: Duration,
    ) -> RedisResult<Self> {
        let client = client(url, tls)?;
        Ok(Self {
            client,
            response_timeout,
            lookup: |host, port| look_up(host, port).boxed(),
        })
    }

    /// A connection that listens to what is published at the master.
    pub(in crate::store) async fn subscribe(&self) -> RedisResult<PubSub> {
        let (_, address) = self.first(Target::Master).await?;
        let mut info = self.client.get_connection_info().clone();
        // With TLS the name has to stay. A replica would do as well: it repeats what its master publishes.
        if let (ConnectionAddr::Tcp(..), Some(address)) = (info.addr(), address) {
            info = info.set_addr(ConnectionAddr::Tcp(
                address.ip().to_string(),
                address.port(),
            ));
        }
        let client = Client::open(info)?;
        self.in_time(client.get_async_pubsub()).await
    }

    /// A connection whose calls time out, to whichever server answers first.
    pub(in crate::store) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        Ok(self.first(Target::Any).await?.0)
    }

    /// The same to a server that takes writes. The former master may go on answering as a replica, at the same address or at another one
    /// of its name.
    pub(in crate::store) async fn connect_to_master(&self) -> RedisResult<MultiplexedConnection> {
        Ok(self.first(Target::Master).await?.0)
    }

    /// Tries all addresses; the first connection to a server that is `wanted`, and its address unless it is a Unix socket.
    async fn first(
        &self,
        wanted: Target,
    ) -> RedisResult<(MultiplexedConnection, Option<SocketAddr>)> {
        self.in_time(async {
            let addresses = match self.client.get_connection_info().addr() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                    let found = (self.lookup)(host.clone(), *port).await?;
                    found.into_iter().map(Some).collect()
                }
                _ => vec![None],
            };
            let mut tries: FuturesUnordered<_> = (0..)
                .zip(addresses)
                .map(|(place, address)| async move {
                    tokio::time::sleep(STAGGER * place).await;
                    let mut connection = self.connect_at(address).await?;
                    if wanted == Target::Master {
                        is_master(&mut connection).await?;
                    }
                    Ok((connection, address))
                })
                .collect();
            let mut failure: Option<RedisError> = None;
            while let Some(tried) = tries.next().await {
                let error = match tried {
                    Ok(found) => return Ok(found),
                    Err(error) => error,
                };
                // What a server says tells more than that another one is not there.
                let said = |error| !matches!(Trouble::of(error), Trouble::Away | Trouble::Silent);
                if failure
                    .as_ref()
                    .is_none_or(|known| !said(known) || said(&error))
                {
                    failure = Some(error);
                }
            }
            Err(failure.unwrap_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, "the name has no address").into()
            }))
        })
        .await
    }

    fn is_tls(&self) -> bool {
        let info = self.client.get_connection_info();
        matches!(info.addr(), ConnectionAddr::TcpTls { .. })
    }

    async fn in_time<T>(&self, connecting: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let limit = if self.is_tls() {
            TLS_HANDSHAKE
        } else {
            HANDSHAKE
        };
        tokio::time::timeout(limit, connecting)
            .await
            .unwrap_or_else(
                |_| Err((ErrorKind::Io, "no answer to a new connection in time").into()),
            )
    }

    async fn connect_at(&self, address: Option<SocketAddr>) -> RedisResult<MultiplexedConnection> {
        let connect = if self.is_tls() {
            TLS_HANDSHAKE
        } else {
            CONNECT
        };
        let mut config = AsyncConnectionConfig::new().set_connection_timeout(Some(connect));
        if let Some(address) = address {
            config = config.set_dns_resolver(ResolvedAddress(address));
        }
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        connection.set_response_timeout(self.response_timeout.max(HANDSHAKE));
        Ok(connection)
    }
}

/// Refuses a replica, and a server that does not answer calls. Whoever may not ask for the role finds out with the first write.
async fn is_master(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let role: RedisResult<Vec<Value>> = redis::cmd("ROLE").query_async(connection).await;
    if let Ok(role) = role
        && let Some(Value::BulkString(role)) = role.first()
        && role == b"slave"
    {
        let kind = ErrorKind::Server(ServerErrorKind::ReadOnly);
        return Err((kind, "the address leads to a replica").into());
    }
    // A server that wants a password cuts a connection that sends as much as all scripts, and does not say why: this it answers.
    redis::cmd("PING").exec_async(connection).await
}

/// An address that was looked up before. The library would take the first of a name to accept a connection.
struct ResolvedAddress(SocketAddr);

impl AsyncDNSResolver for ResolvedAddress {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _host: &'b str,
        _port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let one: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(std::iter::once(self.0));
        std::future::ready(Ok(one)).boxed()
    }
}

/// All addresses of a name, as the system knows them now.
async fn look_up(host: String, port: u16) -> RedisResult<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
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

/// A client of one server, which is not connected yet.
pub(super) fn client(url: &str, tls: &Tls) -> RedisResult<Client> {
    let info = url.into_connection_info()?.set_tcp_settings(tcp_settings());
    if url.starts_with("rediss") && (tls.ca.is_some() || tls.client.is_some()) {
        return Client::build_with_tls(info, certificates(tls));
    }
    Client::open(info)
}

/// The certificates of both ends.
pub(super) fn certificates(tls: &Tls) -> TlsCertificates {
    TlsCertificates {
        client_tls: tls.client.as_ref().map(|client| ClientTlsConfig {
            client_cert: client.certificate.clone(),
            client_key: client.key.expose_secret().to_vec(),
        }),
        root_cert: tls.ca.clone(),
    }
}

#[cfg(test)]
mod tests;
