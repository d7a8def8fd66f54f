//! Where connections lead: one server, the master that sentinels name, or a cluster.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{ErrorKind, RedisError};
use secrecy::ExposeSecret as _;

use super::cluster::Cluster;
use super::one::Link;
use super::sentinel::Sentinel;
use super::single::Single;
use crate::config::{RedisUrl, Topology};
use crate::store::Options;
use crate::store::error::Trouble;

/// Where connections lead.
pub(in crate::store) enum Source {
    /// One server.
    Single(Box<Single>),
    /// The master that sentinels name.
    Sentinel(Arc<Sentinel>),
    /// All masters of a cluster.
    Cluster(Arc<Cluster>),
}

impl Source {
    /// Reads `redis_url`; `age` grows when the servers change.
    pub(in crate::store) fn new(
        options: &Options,
        age: Arc<AtomicU64>,
    ) -> Result<Self, RedisError> {
        let url: RedisUrl = options.url.expose_secret().parse().map_err(|_| {
            RedisError::from((ErrorKind::InvalidClientConfig, "redis_url cannot be read"))
        })?;
        let (tls, timeout) = (&options.tls, options.timeout);
        Ok(match &url.topology {
            Topology::Single => Self::Single(Box::new(Single::new(
                url.as_single().expose_secret(),
                tls,
                timeout,
            )?)),
            Topology::Sentinel { master } => {
                Self::Sentinel(Arc::new(Sentinel::new(&url, master, tls, timeout, age)))
            }
            Topology::Cluster => Self::Cluster(Arc::new(Cluster::new(&url, tls, timeout, age))),
        })
    }

    /// Whether buckets are on several servers.
    pub(in crate::store) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    pub(super) fn watch(&self) {
        match self {
            Self::Single(_) => {}
            Self::Sentinel(sentinel) => Sentinel::watch(&Arc::downgrade(sentinel)),
            Self::Cluster(cluster) => Cluster::watch(&Arc::downgrade(cluster)),
        }
    }

    pub(super) async fn connect(&self) -> Result<Link, RedisError> {
        Ok(match self {
            Self::Single(single) => Link::One(single.connect_to_master().await?),
            Self::Sentinel(sentinel) => Link::One(sentinel.connect().await?),
            Self::Cluster(cluster) => Link::Many(Box::new(cluster.connect().await?)),
        })
    }

    /// A connection that listens to what is published: to the master, or to any node of a cluster, which tell each other.
    pub(in crate::store) async fn subscribe(&self) -> Result<PubSub, RedisError> {
        match self {
            Self::Single(single) => single.subscribe().await,
            Self::Sentinel(sentinel) => sentinel.subscribe().await,
            Self::Cluster(cluster) => cluster.subscribe().await,
        }
    }

    /// A connection to each master, or why it failed, with a name for an operator. Fails if it cannot be known who they
    /// are.
    pub(in crate::store) async fn masters(&self) -> Result<Vec<Master>, RedisError> {
        Ok(match self {
            Self::Single(single) => {
                let master = match single.connect_to_master().await {
                    // The caller names it in its message.
                    Err(error) if Trouble::of(&error) == Trouble::Replica => single.connect().await,
                    master => master,
                };
                vec![("Redis".to_owned(), master)]
            }
            Self::Sentinel(sentinel) => {
                vec![("the master".to_owned(), sentinel.connect().await)]
            }
            Self::Cluster(cluster) => {
                let mut masters = Vec::new();
                for address in cluster.masters().await? {
                    let name = format!("{}:{}", address.0, address.1);
                    masters.push((name, cluster.connect_to(&address).await));
                }
                masters
            }
        })
    }
}

/// What an operator calls a master, and a connection to it.
pub(in crate::store) type Master = (String, Result<MultiplexedConnection, RedisError>);
