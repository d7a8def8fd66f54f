//! A node that is about to serve: what the settings name is opened, read and made, in the order in which it can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpSocket};

use crate::cli::{Exit, Failure};
use crate::config::{RedisUrl, Settings, WrongSetting};
use crate::names::PoolName;
use crate::pool::{Policy, seats};
use crate::proof::ProofKeys;
use crate::store::embedded::Embedded;
use crate::store::{self, Expect, Options, Put, Store, Trouble};
use crate::tls::ServerCertificate;
use crate::token::Tokens;

/// How long a start waits for a Redis that is there and does not answer yet.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// A Redis and what is ours there, without credentials.
pub(super) fn named(redis: &RedisUrl, settings: &Settings) -> String {
    match &settings.key_prefix {
        Some(prefix) => format!("{redis}, key_prefix {prefix}"),
        None => redis.to_string(),
    }
}

/// Connects to Redis. One that is slow, loads its data or is about to become the master gets some time: whoever starts nodes and Redis
/// together starts both on a busy machine. Anything else is a wrong setting, and reported at once.
async fn connect(options: &Options) -> Result<Store, store::Error> {
    let until = tokio::time::Instant::now() + START_TIMEOUT;
    let mut told = false;
    loop {
        let error = match Store::connect(options).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        let may_come = matches!(
            error.trouble(),
            Some(Trouble::Silent | Trouble::Loading | Trouble::Replica | Trouble::MasterDown)
        );
        if !may_come || until <= tokio::time::Instant::now() {
            return Err(error);
        }
        if !told {
            tracing::info!("not connected yet, trying again: {error}");
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How many connections wait in the kernel until they are taken; it bounds this by its own maximum (`net.core.somaxconn`). With the 128
/// that are usual a crowd that comes at nine o'clock loses its first packets, and sends them again a second later.
const BACKLOG: u32 = 4_096;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A node that is started again takes the port while connections of its former life linger there.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    bind(address).map_err(|error| {
        let sentence = format!(
            "cannot listen on {address}: {error}; choose another address or port with {flag} ({})",
            flag.trim_start_matches('-').replace('-', "_"),
        );
        Failure::new(Exit::Error, sentence)
    })
}

/// A node that is about to serve.
pub(super) struct Node {
    pub(super) listener: TcpListener,
    /// What it shows to callers, if it speaks TLS.
    pub(super) certificate: Option<ServerCertificate>,
    /// Where only machines ask, if that is another address.
    pub(super) metrics_listener: Option<TcpListener>,
    pub(super) address: SocketAddr,
    pub(super) store: Store,
    pub(super) tokens: Tokens,
    pub(super) proofs: ProofKeys,
    pub(super) store_is: String,
    pub(super) embedded: Option<Embedded>,
}

impl Node {
    pub(super) async fn start(settings: &Settings) -> Result<Self, Failure> {
        // First, because it is wrong at once or not at all.
        let certificate = settings.server_certificate()?;
        let (url, store_is, embedded) = match (&settings.redis_url, settings.redis()) {
            (Some(url), Some(redis)) => (url.clone(), named(&redis, settings), None),
            _ => {
                let server = settings.redis_server.as_deref();
                let embedded = Embedded::start(&settings.data_dir, server).await;
                let embedded = embedded.map_err(|error| Failure::new(Exit::Error, error))?;
                let store_is = format!("embedded Redis, data in {}", settings.data_dir.display());
                (SecretString::from(embedded.url()), store_is, Some(embedded))
            }
        };
        let unavailable = |error: store::Error| {
            let next = if embedded.is_some() {
                "; see redis.log there"
            } else if error.trouble() == Some(store::Trouble::NotAllowed) {
                // It says itself what to do.
                ""
            } else {
                "; check redis_url, and that it runs"
            };
            Failure::new(
                Exit::Unavailable,
                format!("cannot use {store_is}: {error}{next}"),
            )
        };
        let options = Options {
            url,
            tls: settings.redis_tls()?,
            key_prefix: settings.key_prefix(),
            connections: settings.redis_connections,
            timeout: settings.redis_timeout(),
            sweep_every: settings.sweep_every(),
            durability: settings.durability,
            metrics_max_pools: settings.metrics_max_pools,
        };
        let store = connect(&options).await.map_err(unavailable)?;
        let secrets = secrets(&store, settings).await.map_err(unavailable)?;
        let tokens = Tokens::new(&secrets[0], &secrets[1..]);
        let issuer = settings.issuer(store.installation());
        let proofs = proofs(settings, issuer, &secrets)?;
        for (name, policy) in &settings.pools {
            create(&store, name, policy).await.map_err(unavailable)?;
        }
        let listener = listen(settings.listen, "--listen")?;
        let metrics_listener = match settings.metrics_listen {
            Some(address) => Some(listen(address, "--metrics-listen")?),
            None => None,
        };
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            certificate,
            metrics_listener,
            address,
            store,
            tokens,
            proofs,
            store_is,
            embedded,
        })
    }
}

/// The secrets that sign and verify tokens: that of the settings, else the one that the store keeps, and the former ones.
async fn secrets(store: &Store, settings: &Settings) -> Result<Vec<SecretString>, store::Error> {
    let secret = match &settings.secret {
        Some(secret) => secret.clone(),
        None => {
            let random: [u8; 32] = rand::random();
            store
                .secret(&SecretString::from(STANDARD.encode(random)))
                .await?
        }
    };
    let mut secrets = vec![secret];
    secrets.extend(settings.previous_secrets.iter().cloned());
    Ok(secrets)
}

/// The keys that sign proofs: those of the settings, else those that go with the secrets.
fn proofs(
    settings: &Settings,
    issuer: String,
    secrets: &[SecretString],
) -> Result<ProofKeys, WrongSetting> {
    let Some(file) = &settings.signing_key_file else {
        return Ok(ProofKeys::of_secrets(issuer, secrets));
    };
    let wrong = |wrong: String| {
        WrongSetting {
        setting: "signing_key_file".to_owned(),
        origin: file.display().to_string(),
        wrong,
        right: "give a file that this program may read with an Ed25519 key, from: openssl genpkey -algorithm ed25519"
            .to_owned(),
    }
    };
    let text = std::fs::read_to_string(file).map(SecretString::from);
    let text = text.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    ProofKeys::of_pem(issuer, &text).map_err(|error| wrong(error.to_string()))
}

/// Creates a pool of the settings. One that is there already is left as it is: what an operator changed over HTTP must
/// not change back because a node was restarted.
async fn create(store: &Store, name: &PoolName, policy: &Policy) -> Result<(), store::Error> {
    let put = match store.put_pool(name, policy, Expect::None).await {
        // During an upgrade; the last node that starts makes it.
        Err(store::Error::OlderNode(sentence)) => {
            tracing::warn!(pool.name = %name, "pool {name} of the settings is not made: {sentence}");
            return Ok(());
        }
        put => put?,
    };
    if let Put::Conflict(_) = put
        && let Some(pool) = store.status(name).await?
        && pool.policy != *policy
    {
        tracing::info!(
            pool.name = %name,
            capacity = pool.policy.capacity,
            "pool {name} is there already with another policy than in the settings, and keeps it: it has {}, and the settings \
             say {}; change it with PUT /v1/pools/{name}",
            seats(pool.policy.capacity.into()),
            seats(policy.capacity.into()),
        );
    }
    Ok(())
}

/// The settings that make a difference to callers, or to webhooks, if nodes do not have the same.
pub(super) fn to_agree_on(settings: &Settings, tokens: &Tokens) -> BTreeMap<String, String> {
    let networks: BTreeSet<String> = settings
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    let networks: Vec<String> = networks.into_iter().collect();
    let admin_key = match &settings.admin_key {
        Some(key) => tokens.fingerprint(key),
        None => "none".to_owned(),
    };
    let settings = [
        ("admin_key", admin_key),
        ("durability", settings.durability.to_string()),
        (
            "oidc_client_id",
            settings.oidc_client_id.clone().unwrap_or_default(),
        ),
        (
            "oidc_issuer",
            settings.oidc_issuer.clone().unwrap_or_default(),
        ),
        ("oidc_roles", settings.oidc_roles.to_string()),
        (
            "proxy_user_header",
            settings.proxy_user_header.clone().unwrap_or_default(),
        ),
        (
            "public_url",
            settings.public_url.clone().unwrap_or_default(),
        ),
        ("smtp_from", settings.smtp_from.clone().unwrap_or_default()),
        (
            "smtp_url",
            settings
                .mail()
                .map(|(server, _)| server.to_string())
                .unwrap_or_default(),
        ),
        ("trail", settings.trail.to_string()),
        ("trusted_proxies", networks.join(",")),
        ("webhook_attempts", settings.webhook_attempts.to_string()),
        ("webhook_http", settings.webhook_http.to_string()),
        (
            "webhook_private_networks",
            settings.webhook_private_networks.to_string(),
        ),
        ("webhook_retry_ms", settings.webhook_retry_ms.to_string()),
    ];
    let named = settings.into_iter();
    named
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
