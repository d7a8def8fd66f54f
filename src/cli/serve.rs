//! `leasehold serve`: one node, from its settings to its last answer.

mod systemd;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::{Exit, Failure};
use crate::alerts;
use crate::config::{Flags, LogFormat, RedisUrl, Settings, WrongSetting};
use crate::history;
use crate::http::server::{self, ConnectionLimit, Drain, Limits};
use crate::names::PoolName;
use crate::pool::{Policy, seats};
use crate::proof::ProofKeys;
use crate::service;
use crate::stderr;
use crate::store::embedded::Embedded;
use crate::store::{self, Expect, Options, Put, Store, Trouble};
use crate::tasks;
use crate::telemetry;
use crate::tls::ServerCertificate;
use crate::token::Tokens;
use crate::ui;

#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: Flags,
    /// Do not print the address, the mode, the store and the pools at start
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(serve: &Serve) -> Result<Exit, Failure> {
    let loaded = super::load(&serve.flags)?;
    let readable = loaded.secrets_that_others_read();
    let settings = loaded.check()?;
    telemetry::logs(settings.log_format, &settings.log)
        .map_err(|error| Failure::new(Exit::Error, error))?;
    for file in readable {
        let file = file.display();
        tracing::warn!(
            "{file} holds a secret, and every user of this machine can read it; run: chmod o-rwx {file}"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads())
        .enable_all()
        .build()?;
    super::block_on(runtime, node(&settings, serve.quiet))
}

/// Starts, serves until a signal, stops.
///
/// SIGTERM and SIGQUIT come from an orchestrator, whose balancer needs time to notice; SIGINT from a person, who does not want to
/// wait. Other daemons reload or reopen by SIGHUP, SIGUSR1 and SIGUSR2. There is nothing of that here, so they change nothing; only a
/// terminal that hangs up ends the node.
async fn node(settings: &Settings, quiet: bool) -> Result<Exit, Failure> {
    let StopSignals { mut first, second } = signals()?;
    let mut second = pin!(second);
    // Before it waits for Redis, so that whoever reads the log knows what for.
    let version = env!("CARGO_PKG_VERSION");
    let store = settings.redis().map_or_else(
        || "an embedded Redis".to_owned(),
        |redis| named(&redis, settings),
    );
    tracing::info!(version, store, "leasehold {version} starts, with {store}");
    // Before anything that counts.
    let metrics = telemetry::metrics().map_err(|error| Failure::new(Exit::Error, error))?;
    let node = tokio::select! {
        node = Node::start(settings) => node?,
        // The data may be large and the wait long. Whoever does not want it gets away.
        _ = &mut first => return Ok(Exit::Ok),
    };
    if settings.log_format == LogFormat::Text && !quiet {
        stderr::say(node.introduction(settings).await);
    }
    let Node {
        listener,
        certificate,
        metrics_listener,
        address,
        store,
        tokens,
        proofs,
        store_is,
        embedded,
    } = node;

    telemetry::runbooks_are_at(settings.runbooks(address));
    if let Some(endpoint) = &settings.otlp_endpoint {
        telemetry::export_spans(endpoint, &address.to_string())
            .map_err(|error| Failure::new(Exit::Error, error))?;
    }
    tasks::spawn("metrics", {
        let metrics = metrics.clone();
        move || telemetry::upkeep(metrics.clone())
    });
    tasks::spawn("history", {
        let store = store.clone();
        move || history::rollup::run(store.clone())
    });
    let mut sign =
        store.new_announcement(address, &tokens, &proofs, to_agree_on(settings, &tokens));
    // Before anybody is served, because what it signs could be unknown to the others.
    if let Err(error) = store.announce_and_compare(&mut sign).await {
        tracing::debug!(error = %error, "not compared with other nodes yet: {error}");
    }
    let (stop_signing, stopped) = watch::channel(false);
    let signing = tasks::spawn("sign", {
        let store = store.clone();
        move || store.clone().announce_until(sign.clone(), stopped.clone())
    });
    alerts::start(&store, alerts::Options::of(settings));
    let drain = Drain::default();
    let connections = ConnectionLimit::of(settings.max_connections);
    let service = service::service(
        &store,
        &tokens,
        proofs,
        settings,
        &metrics,
        &drain,
        &connections,
    );
    let service = Arc::new(service);
    let answer = {
        let service = Arc::clone(&service);
        move |request| {
            let service = Arc::clone(&service);
            async move { service.answer(request).await }
        }
    };
    let answer_machine = move |request| {
        let service = Arc::clone(&service);
        async move { service.answer_machine(request).await }
    };
    let limits = Limits {
        connections: connections.connections(),
        idle: settings.http_idle_timeout(),
        drain_wait: settings.drain_wait(),
        ..Limits::default()
    };
    if let Some(listener) = metrics_listener {
        let limits = Limits {
            connections: SCRAPERS,
            ..limits.clone()
        };
        // Cut with the runtime: it answers to the last, also that the node is not ready.
        let serving = server::serve(
            listener,
            None,
            answer_machine,
            limits,
            drain.clone(),
            std::future::pending(),
        );
        tokio::spawn(serving);
    }
    if let Some(certificate) = &certificate {
        let certificate = certificate.clone();
        tasks::spawn("certificate", move || certificate.clone().follow_files());
    }
    let drain_wait = settings.drain_wait();
    // Connections wait in the kernel's queue from here on: the listener is bound.
    let scheme = settings.scheme();
    systemd::serving(&format!("serving {scheme}://{address} from {store_is}"));
    tasks::spawn("watchdog", systemd::watchdog);
    let shutdown = async move {
        let told = first.await;
        systemd::stopping();
        match told {
            Ok(kind) if kind == SignalKind::interrupt() => Duration::ZERO,
            Ok(_) => drain_wait,
            Err(_) => Duration::ZERO,
        }
    };
    tokio::select! {
        served = server::serve(listener, certificate.as_ref(), answer, limits, drain, shutdown) => served?,
        _ = &mut second => {
            tracing::warn!("told to stop a second time: stopping at once");
            return Ok(Exit::Error);
        }
    }
    tasks::finished(FAREWELL).await;
    telemetry::finish_spans(FAREWELL).await;
    stop_signing.send_replace(true);
    // A sign that stays is forgotten.
    let _ = tokio::time::timeout(FAREWELL, signing).await;
    // Its sweeper would complain about a Redis that goes away.
    drop(store);
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    tracing::info!("stopped");
    Ok(Exit::Ok)
}

/// How long the end waits for what was begun, and until the sign of the node is taken away.
const FAREWELL: Duration = Duration::from_secs(2);

/// A Redis and what is ours there, without credentials.
fn named(redis: &RedisUrl, settings: &Settings) -> String {
    match &settings.key_prefix {
        Some(prefix) => format!("{redis}, key_prefix {prefix}"),
        None => redis.to_string(),
    }
}

/// How long a start waits for a Redis that is there and does not answer yet.
const START_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Connections at a time where only machines ask.
const SCRAPERS: usize = 64;

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let sentence = format!(
            "cannot listen on {address}: {error}; choose another address or port with {flag} ({})",
            flag.trim_start_matches('-').replace('-', "_"),
        );
        Failure::new(Exit::Error, sentence)
    })
}

/// A node that is about to serve.
struct Node {
    listener: TcpListener,
    /// What it shows to callers, if it speaks TLS.
    certificate: Option<ServerCertificate>,
    /// Where only machines ask, if that is another address.
    metrics_listener: Option<TcpListener>,
    address: SocketAddr,
    store: Store,
    tokens: Tokens,
    proofs: ProofKeys,
    store_is: String,
    embedded: Option<Embedded>,
}

impl Node {
    async fn start(settings: &Settings) -> Result<Self, Failure> {
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
            } else if error.trouble() == Some(store::Trouble::AddressRefused) {
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
        let listener = listen(settings.listen, "--listen").await?;
        let metrics_listener = match settings.metrics_listen {
            Some(address) => Some(listen(address, "--metrics-listen").await?),
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

    /// What a person wants to know who has just started it.
    async fn introduction(&self, settings: &Settings) -> String {
        let address = format!("{}://{}", settings.scheme(), self.address);
        let admin = format!("{address}/admin");
        // A login that can be used once, for a person only: nothing that could be used belongs into a log.
        let login = match &settings.admin_key {
            Some(key) if stderr::is_terminal() => {
                ui::login_code(&self.store, &self.tokens, key).await.ok()
            }
            _ => None,
        };
        let admin = match login {
            Some(code) => format!("{admin}/login?code={code}  (logs in once, within 10 minutes)"),
            None => admin,
        };
        let mode = if settings.is_open() {
            "open: no key is asked for, and only this machine can ask (set admin_key to change that)"
        } else {
            "keys: operators need the admin key"
        };
        let mut pools = Vec::new();
        for (name, policy) in &settings.pools {
            pools.push(self.pool(name, policy).await);
        }
        let pools = if pools.is_empty() {
            "none in the settings".to_owned()
        } else {
            pools.join(", ")
        };
        let mut text = format!(
            "\n  Leasehold {version}\n\n  address  {address}\n  admin    {admin}\n  mode     {mode}\n  \
             store    {store}\n  pools    {pools}\n\n",
            version = env!("CARGO_PKG_VERSION"),
            store = self.store_is,
        );
        // With TLS the address would have to be a name of the certificate, and that is not known here.
        if settings.is_open() && self.certificate.is_none() {
            text.push_str(&try_it(self.address, settings.pools.keys().next()));
        }
        text
    }
}

impl Node {
    /// A pool of the settings, with the seats that it really has.
    async fn pool(&self, name: &PoolName, policy: &Policy) -> String {
        let wanted = seats(policy.capacity.into());
        match self.store.status(name).await {
            Ok(Some(pool)) if pool.policy.capacity != policy.capacity => format!(
                "{name} ({} as it was there already; the settings say {wanted})",
                seats(pool.capacity)
            ),
            Ok(Some(pool)) => format!("{name} ({})", seats(pool.capacity)),
            _ => format!("{name} ({wanted})"),
        }
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

/// The settings that make a difference to callers, or to webhooks, if nodes do not have the same.
fn to_agree_on(settings: &Settings, tokens: &Tokens) -> BTreeMap<String, String> {
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

/// Lines for a shell: take a seat, keep it, see who has one.
fn try_it(address: SocketAddr, pool: Option<&PoolName>) -> String {
    const JSON: &str = "-H 'content-type: application/json'";
    const CURL: &str = r"curl -s -w '\n'";
    let base = format!("http://{address}/v1");
    let name = pool.map_or("demo", PoolName::as_str);
    let mut text = String::from("  Try it in another terminal:\n\n");
    let mut line = |line: String| writeln!(text, "{line}\n").expect("a String takes everything");
    if pool.is_none() {
        line(format!(
            "{CURL} -X PUT {base}/pools/{name} {JSON} -d '{{\"capacity\":5}}'"
        ));
    }
    line(format!(
        "GRANT=$({CURL} {base}/pools/{name}/leases {JSON} -d '{{\"holder\":\"agent-7\"}}'); echo \"$GRANT\"; \
         TOKEN=$(echo \"$GRANT\" | sed -n 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/p')"
    ));
    line(format!(
        "{CURL} {base}/leases/renew {JSON} -d \"{{\\\"token\\\":\\\"$TOKEN\\\"}}\""
    ));
    line(format!("{CURL} {base}/pools/{name}/leases"));
    text
}

/// The first and the second signal to stop.
struct StopSignals {
    first: oneshot::Receiver<SignalKind>,
    second: oneshot::Receiver<SignalKind>,
}

fn signals() -> io::Result<StopSignals> {
    let mut signals = Signals::new()?;
    let (tell_first, first) = oneshot::channel();
    let (tell_second, second) = oneshot::channel();
    tokio::spawn(async move {
        // Nobody listens any more when the node has ended meanwhile.
        let _ = tell_first.send(signals.next_to_stop().await);
        let _ = tell_second.send(signals.next_to_stop().await);
    });
    Ok(StopSignals { first, second })
}

/// The signals that a node does not leave to the system.
struct Signals {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one to stop.
    async fn next_to_stop(&mut self) -> SignalKind {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return SignalKind::terminate(),
                _ = self.quit.recv() => return SignalKind::quit(),
                _ = self.interrupt.recv() => return SignalKind::interrupt(),
                _ = self.hangup.recv() => {
                    if stderr::is_terminal() {
                        return SignalKind::interrupt();
                    }
                    "SIGHUP"
                }
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::info!(
                "{ignored} changes nothing: settings are read at start, and logs go to stderr; SIGTERM stops this node"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_to_try_are_whole_commands() {
        let text = try_it("127.0.0.1:7070".parse().expect("an address"), None);
        let commands = text.lines().filter(|line| line.contains("curl"));
        assert_eq!(commands.clone().count(), 4);
        for command in commands {
            let mut shell = std::process::Command::new("sh");
            assert!(
                shell
                    .args(["-n", "-c", command])
                    .status()
                    .expect("a shell")
                    .success(),
                "{command}"
            );
        }
    }
}
