//! `leasehold serve`: one node, from its settings to its last answer.

mod introduction;
mod node;
mod signals;
mod systemd;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;

use self::node::{Node, named, to_agree_on};
use self::signals::{StopSignals, signals};
use super::{Exit, Failure};
use crate::alerts;
use crate::config::{Flags, LogFormat, Settings};
use crate::history;
use crate::http::server::{self, ConnectionLimit, Drain, Limits};
use crate::service;
use crate::stderr;
use crate::store::{self, Store};
use crate::tasks;
use crate::telemetry;

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
    run_with(&settings, &readable, serve.quiet, None)
}

/// What is done before anybody is served, with the store and the address of the node.
pub(super) type Begin = fn(Store, SocketAddr) -> BoxFuture<'static, Result<(), store::Error>>;

/// One node with these settings; files of secrets that others can read are named in the log.
pub(super) fn run_with(
    settings: &Settings,
    readable: &BTreeSet<PathBuf>,
    quiet: bool,
    begin: Option<Begin>,
) -> Result<Exit, Failure> {
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
    super::block_on(runtime, node(settings, quiet, begin))
}

/// Starts, serves until a signal, stops.
///
/// SIGTERM and SIGQUIT come from an orchestrator, whose balancer needs time to notice; SIGINT from a person, who does not want to
/// wait. Other daemons reload or reopen by SIGHUP, SIGUSR1 and SIGUSR2. There is nothing of that here, so they change nothing; only a
/// terminal that hangs up ends the node.
async fn node(settings: &Settings, quiet: bool, begin: Option<Begin>) -> Result<Exit, Failure> {
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

    if let Some(begin) = begin {
        let begun = begin(store.clone(), address).await;
        begun.map_err(|error| Failure::new(Exit::Unavailable, error))?;
    }
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
    alerts::start(&store, alerts::Options::of(settings, address));
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

/// Connections at a time where only machines ask.
const SCRAPERS: usize = 64;
