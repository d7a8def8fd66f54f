//! What a Redis is like, and whether seats are safe in it: the findings of `leasehold doctor`.
//!
//! Reads only, and needs few rights: what may not be read is said and not held against anybody.

mod records;
mod sentinels;
mod server;

use secrecy::ExposeSecret as _;

use self::server::{Role, ServerFacts};
use super::connection::Source;
use super::error::Error;
use super::info::Info;
use super::{Options, keys, rights};
use crate::config::{RedisUrl, Topology};
use crate::finding::{Finding, Level};

/// Findings about one place.
struct Findings<'a> {
    place: String,
    findings: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, level: Level, found: impl Into<String>, advice: &str) {
        let place = self.place.clone();
        self.findings
            .push(Finding::new(level, place, found, advice));
    }

    fn ok(&mut self, found: impl Into<String>) {
        self.add(Level::Ok, found, "");
    }

    fn warn(&mut self, found: impl Into<String>, advice: &str) {
        self.add(Level::Warning, found, advice);
    }

    fn error(&mut self, found: impl Into<String>, advice: &str) {
        self.add(Level::Error, found, advice);
    }
}

/// Looks at every server, and at the sentinels or the cluster.
pub async fn diagnose(options: &Options) -> Result<Vec<Finding>, Error> {
    keys::begin_with(&options.key_prefix)?;
    let source = Source::new(options, std::sync::Arc::default())
        .map_err(|error| Error::not_connected(&error))?;
    let mut findings = Vec::new();
    if let Source::Sentinel(sentinel) = &source {
        sentinels::check(sentinel, &mut findings).await;
    }
    let mut notes = Findings {
        place: "the way there".to_owned(),
        findings: &mut findings,
    };
    check_url(options, &mut notes);
    let refused_to_listen = rights::refused_to_listen(&source).await;
    let masters = source.masters().await;
    let masters = masters.map_err(|error| Error::not_connected(&error))?;
    for (place, server) in masters {
        let mut notes = Findings {
            place,
            findings: &mut findings,
        };
        let mut server = match server {
            Ok(server) => server,
            Err(error) if source.is_cluster() => {
                notes.error(
                    format!("this master cannot be reached ({error})"),
                    "see whether it runs, and why no replica took over",
                );
                continue;
            }
            Err(error) => return Err(Error::not_connected(&error)),
        };
        let facts = ServerFacts {
            role: Role::Master,
            is_cluster: source.is_cluster(),
            expects_replicas: !matches!(source, Source::Single(_)),
            is_private: is_private(options),
            refused_to_listen: refused_to_listen.as_ref(),
        };
        let info = Info::read(&mut server).await?;
        server::check(&mut server, &info, facts, options, &mut notes).await?;
        records::check(&mut server, &mut notes).await;
        // Whoever takes over has to be as fit.
        for address in info.replicas() {
            let name = format!("the replica {}:{}", address.0, address.1);
            let replica = match &source {
                Source::Single(_) => continue,
                Source::Sentinel(sentinel) => sentinel.connect_to(&address).await,
                Source::Cluster(cluster) => cluster.connect_to(&address).await,
            };
            let mut notes = Findings {
                place: name,
                findings: &mut findings,
            };
            let facts = ServerFacts {
                role: Role::Replica,
                ..facts
            };
            match replica {
                Err(error) => notes.error(
                    format!("it cannot be reached from here ({error})"),
                    "see its address and its users: after a failover nodes would not reach it either",
                ),
                Ok(mut replica) => {
                    let info = Info::read(&mut replica).await?;
                    server::check(&mut replica, &info, facts, options, &mut notes).await?;
                }
            }
        }
    }
    Ok(findings)
}

/// What is wrong with a master, for a node that starts: what costs a round trip or two.
pub(super) fn at_start(options: &Options, info: &Info) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut notes = Findings {
        place: "Redis".to_owned(),
        findings: &mut findings,
    };
    check_url(options, &mut notes);
    if !is_private(options) {
        server::check_version(info, &mut notes);
    }
    server::check_memory(info, &mut notes);
    let url = options.url.expose_secret().parse::<RedisUrl>();
    if url.is_ok_and(|url| url.topology != Topology::Single) {
        server::check_replicas(info, &mut notes);
    }
    findings
}

/// Whether nobody else can reach this Redis but who is on this machine.
fn is_private(options: &Options) -> bool {
    let url = options.url.expose_secret().parse::<RedisUrl>();
    url.is_ok_and(|url| url.is_local())
}

fn check_url(options: &Options, notes: &mut Findings<'_>) {
    let Ok(url) = options.url.expose_secret().parse::<RedisUrl>() else {
        return;
    };
    let prefix = &options.key_prefix;
    notes.ok(if prefix.is_empty() {
        format!("it leads to {url}, without a key_prefix")
    } else {
        format!("it leads to {url}, with key_prefix {prefix}")
    });
    if url.is_local() {
        notes.ok("it stays on this machine");
    } else if url.is_tls() {
        notes.ok("it is encrypted");
    } else {
        notes.warn(
            "it leads over a network without TLS: passwords and tokens' secrets can be read there",
            "use rediss:// (rediss+sentinel://, rediss+cluster://) with redis_ca_file, unless the network is encrypted itself",
        );
    }
}
