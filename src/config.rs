//! Every setting, its unit, its default, and which combinations refuse to start.
//!
//! A value comes from the command line, else from the environment (`LEASEHOLD_…`), else from the file
//! (`leasehold.toml`, or the one that `--config` names), else from its default. The doc comment of a field
//! of [`Settings`] is the text of `--help`: there is no second place to keep in step.
//!
//! It is long because [`Settings`] is one list, in the order of `--help`. Deliberately absent: reloading. A pool changes over HTTP; everything else is worth a restart.

mod base_path;
mod check;
mod choices;
mod derived;
mod explain;
mod layers;
mod log_filter;
mod oidc_roles;
mod public_url;
mod redis_url;
mod report;
mod secrets;
mod smtp_url;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

pub use self::base_path::BasePath;
pub use self::choices::{Durability, LogFormat, OidcLogout, Switch};
pub use self::layers::{Flags, Origin};
pub use self::oidc_roles::RoleRules;
pub use self::redis_url::{RedisUrl, Topology};
pub use self::report::Row;
pub use self::smtp_url::{SmtpTls, SmtpUrl};
use crate::names::PoolName;
use crate::pool::Policy;

/// Every setting of the program.
///
/// Declared as a clap `Args`, so that one declaration is the flag, its help and its default. The values are
/// never taken from clap, though: [`Flags`] keeps which flags were given and [`Loaded`] puts the layers together.
#[derive(Debug, Clone, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address and port of the HTTP interface
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,

    /// Address and port for /metrics, /livez and /readyz alone; /metrics is then not on the other one
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,

    /// Certificate with its chain, in PEM form: with it the interface speaks TLS (HTTP/1.1 and HTTP/2) and nothing else
    ///
    /// Read again when it changes, with its key, so that a renewed one needs no restart. metrics_listen stays without TLS.
    #[arg(long = "tls-cert", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// Private key of that certificate, in PEM form
    #[arg(long = "tls-key", value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// Path in front of everything, if a proxy serves this under one, such as /seats
    ///
    /// Requests may come with it or without, as the proxy likes. Links, redirects and cookies have it. A trusted proxy may say
    /// it in X-Forwarded-Prefix instead.
    #[arg(long, value_name = "PATH")]
    pub base_path: Option<String>,

    /// Redis that keeps the pools. Default: a private Redis, started in the data directory
    ///
    /// redis://, rediss:// (TLS), unix:///path, redis+sentinel://a,b,c/master or redis+cluster://a,b,c
    ///
    /// The database is the last part of the path or ?db=. Also ?protocol=resp3. Anything else is refused.
    ///
    /// What sentinels want stands behind the master: ?sentinel_username=…&sentinel_password=…&sentinel_tls=on
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<SecretString>,

    /// File that holds the redis_url, if it carries a password
    #[arg(long, value_name = "FILE")]
    pub redis_url_file: Option<PathBuf>,

    /// File with the certificate, in PEM form, that a Redis with TLS must be signed with [default: those of the machine]
    #[arg(long, value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,

    /// File with the certificate, in PEM form, that this node shows to a Redis with TLS that wants one
    #[arg(long, value_name = "FILE")]
    pub redis_cert_file: Option<PathBuf>,

    /// File with the key of that certificate, in PEM form
    #[arg(long, value_name = "FILE")]
    pub redis_key_file: Option<PathBuf>,

    /// Stands in front of every key and channel, so that several installations can share a Redis or a cluster
    ///
    /// Letters, digits, - _ and ., at most 32. All nodes of an installation have the same one. Keys are then PREFIX:lh1:…
    #[arg(long, value_name = "PREFIX")]
    pub key_prefix: Option<String>,

    /// Where the embedded Redis keeps its data
    #[arg(long, value_name = "DIR", default_value = "./leasehold-data")]
    pub data_dir: PathBuf,

    /// Server program of the embedded Redis [default: redis-server or valkey-server from the PATH]
    #[arg(long, value_name = "PROGRAM")]
    pub redis_server: Option<PathBuf>,

    /// Signs tokens, at least 32 characters; needed when nodes share a Redis on another host
    ///
    /// Without one, a secret is made once and kept in the store.
    ///
    /// The command line is visible to others on this machine: prefer the environment or a file.
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<SecretString>,

    /// File that holds the secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// Former secrets, whose tokens are still good while secrets are rotated
    ///
    /// In the environment they are separated by commas.
    #[arg(long, value_name = "SECRET")]
    #[serde(default)]
    pub previous_secrets: Vec<SecretString>,

    /// File that holds the former secrets, one in a line
    #[arg(long, value_name = "FILE")]
    pub previous_secrets_file: Option<PathBuf>,

    /// Address under which callers reach this installation; it stands in proofs of leases as their issuer
    ///
    /// https://, or http:// on loopback. Without it the issuer is urn:leasehold: and the id of the installation.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,

    /// File with the Ed25519 keys that sign proofs, in PEM form, the first one signs [default: made from the secrets]
    ///
    /// openssl genpkey -algorithm ed25519 makes one. A new key stands behind the present one until it is known, and then in front of it.
    #[arg(long, value_name = "FILE")]
    pub signing_key_file: Option<PathBuf>,

    /// The first operator key, at least 16 characters; without a key the program serves loopback only
    ///
    /// The command line is visible to others on this machine: prefer the environment or a file.
    #[arg(long, value_name = "KEY")]
    pub admin_key: Option<SecretString>,

    /// File that holds the admin key
    #[arg(long, value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,

    /// Address or network of a proxy whose X-Forwarded-For is believed; may be given more than once
    ///
    /// The limits of client keys count by address. In the environment they are separated by commas.
    #[arg(long = "trusted-proxy", value_name = "NETWORK", value_parser = layers::network, required = false)]
    #[serde(default, deserialize_with = "layers::networks")]
    pub trusted_proxies: Vec<IpNet>,

    /// Provider of the single sign-on for the admin pages (OpenID Connect): https://, or http:// on loopback
    ///
    /// Its discovery document is at this address, behind it /.well-known/openid-configuration. A node starts and runs without it.
    #[arg(long, value_name = "URL")]
    pub oidc_issuer: Option<String>,

    /// Name of this installation at the provider
    #[arg(long, value_name = "ID")]
    pub oidc_client_id: Option<String>,

    /// Secret of this installation at the provider; none if it is a public client there
    ///
    /// The command line is visible to others on this machine: prefer the environment or a file.
    #[arg(long, value_name = "SECRET")]
    pub oidc_client_secret: Option<SecretString>,

    /// File that holds the oidc_client_secret
    #[arg(long, value_name = "FILE")]
    pub oidc_client_secret_file: Option<PathBuf>,

    /// What the provider is asked for, with spaces between
    #[arg(long, value_name = "SCOPES", default_value = "openid profile email")]
    pub oidc_scopes: String,

    /// Claim that is shown as the name of a person; issuer and subject identify the person
    #[arg(long, value_name = "CLAIM", default_value = "email")]
    pub oidc_user_claim: String,

    /// Claim with the groups of a person: groups, roles at Entra, or a path such as realm_access.roles
    #[arg(long, value_name = "CLAIM", default_value = "groups")]
    pub oidc_groups_claim: String,

    /// Role of a group, such as "floor-leads = operator pools=crm,phone tenants=acme"; may be given more than once
    ///
    /// Also for the groups that a proxy names. Somebody whose groups have no rule is refused. Of several roles the highest counts. In the
    /// environment they are separated by semicolons.
    #[arg(long = "oidc-role", value_name = "RULE", action = clap::ArgAction::Append, value_parser = oidc_roles::flag, required = false)]
    #[serde(default)]
    pub oidc_roles: RoleRules,

    /// File with the certificate, in PEM form, that a provider with a certificate of your own is signed with
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,

    /// What a log-out ends: local (the session here) or provider (the one at the provider, too)
    #[arg(long, value_enum, value_name = "WHERE", default_value = "local")]
    pub oidc_logout: OidcLogout,

    /// Text of the link on the login page that leads to the provider
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "Log in with single sign-on"
    )]
    pub oidc_button: String,

    /// Whether the login page asks for a key where there is a single sign-on: on or off; /admin/login?with=key always does
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "on")]
    pub login_with_keys: Switch,

    /// Header in which a proxy of trusted_proxies names the person that it has logged in, such as Remote-User
    ///
    /// Requests with it from anybody else are refused.
    #[arg(long, value_name = "HEADER")]
    pub proxy_user_header: Option<String>,

    /// Header in which that proxy names the groups of the person, with commas between, such as Remote-Groups
    #[arg(long, value_name = "HEADER")]
    pub proxy_groups_header: Option<String>,

    /// Secret that the proxy sends in the header Leasehold-Proxy-Secret; needed unless this listens on loopback
    ///
    /// The command line is visible to others on this machine: prefer the environment or a file.
    #[arg(long, value_name = "SECRET")]
    pub proxy_secret: Option<SecretString>,

    /// File that holds the proxy_secret
    #[arg(long, value_name = "FILE")]
    pub proxy_secret_file: Option<PathBuf>,

    /// Pool to create at start, with its number of seats; may be given more than once
    ///
    /// In the file: [pools.NAME] with the fields of the policy. In the environment: LEASEHOLD_POOLS, as
    /// "NAME=CAPACITY,…" or as inline TOML or JSON with the fields of the policy.
    #[arg(
        long = "pool",
        value_name = "NAME=CAPACITY",
        value_parser = layers::pool_flag,
        action = clap::ArgAction::Append,
        required = false
    )]
    #[serde(default)]
    pub pools: BTreeMap<PoolName, Policy>,

    /// Format of the logs on stderr
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged: a level, or levels by module such as "info,leasehold::store=debug"
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// What stands in front of the name of a runbook in alerts [default: /docs/runbooks of public_url, or of this node]
    ///
    /// Every node serves the runbooks of its version, without a key. Prometheus learns the address from /metrics.
    #[arg(long, value_name = "URL")]
    pub runbook_url: Option<String>,

    /// Collector of OpenTelemetry that gets the spans of requests, over HTTP, such as `http://127.0.0.1:4318`
    ///
    /// A request with a traceparent is exported if its caller records it; one without begins a trace, heartbeats and probes excepted.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// How long to go on serving after SIGTERM, so that balancers notice, in ms; then connections are refused
    #[arg(long, value_name = "MS", default_value = "5000")]
    pub drain_wait_ms: u64,

    /// Threads that answer requests [default: half of the cores, at least one]
    ///
    /// One answers as many heartbeats as a third of a Redis can take; with more of them each heartbeat costs more.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Maximum HTTP connections; above that, those that have been idle for longest are closed
    ///
    /// Event streams and waits get at most three quarters of them, so that probes, heartbeats and acquires find room.
    #[arg(long, value_name = "N", default_value = "10000")]
    pub max_connections: usize,

    /// How long a connection may stay open without a request, in ms
    ///
    /// Longer than a balancer in front keeps it, or some requests meet a connection that is just being closed.
    #[arg(long, value_name = "MS", default_value = "620000")]
    pub http_idle_timeout_ms: u64,

    /// Connections to Redis
    #[arg(long, value_name = "N", default_value = "8")]
    pub redis_connections: u32,

    /// Longest wait for Redis before a call answers 503, in ms
    #[arg(long, value_name = "MS", default_value = "500")]
    pub redis_timeout_ms: u64,

    /// What acquire, release and terminate wait for: async (the master has it) or replicated (a replica has it too)
    ///
    /// With replicated their answers say "durable": true, or false where no replica had it within 100 ms.
    #[arg(long, value_enum, value_name = "DURABILITY", default_value = "async")]
    pub durability: Durability,

    /// Adds to each answer which scripts ran for it, with their number and instant: off or on
    ///
    /// For tests, which order by it what happened. It is nothing secret, but nothing for the public either.
    #[arg(
        long,
        value_enum,
        value_name = "SWITCH",
        default_value = "off",
        hide = true
    )]
    pub trail: Switch,

    /// Whether /metrics asks for the key of a viewer: off or on
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "off")]
    pub metrics_key: Switch,

    /// Maximum pools with series of their own in /metrics; the others are counted together, as pool "_other"
    #[arg(long, value_name = "N", default_value = "200")]
    pub metrics_max_pools: usize,

    /// How often this node records ended leases, in ms; 0 leaves that to other nodes
    #[arg(long, value_name = "MS", default_value = "1000")]
    pub sweep_every_ms: u64,

    /// Whether webhooks may lead to http:// and not only to https://: off or on
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "off")]
    pub webhook_http: Switch,

    /// Whether webhooks may lead to private networks and to this machine, at any port: off or on
    ///
    /// Whoever may create webhooks can then make a node send a request to whatever it reaches there.
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "off")]
    pub webhook_private_networks: Switch,

    /// Proxy that all messages to webhooks go through, such as `http://proxy.example:3128`
    ///
    /// The proxy looks names up, so it decides which networks they may lead to. The proxies of the environment are not used.
    #[arg(long, value_name = "URL")]
    pub webhook_proxy: Option<SecretString>,

    /// Pause after the first failed attempt to deliver, in ms; each further one is four times as long, at most 12 h
    #[arg(long, value_name = "MS", default_value = "5000")]
    pub webhook_retry_ms: u64,

    /// Attempts before a delivery is given up; the default takes about three days
    #[arg(long, value_name = "N", default_value = "13")]
    pub webhook_attempts: u32,

    /// Server that takes mail, for webhooks that lead to mailto: addresses, such as `smtps://user:password@mail.example`
    ///
    /// smtps:// has TLS from the first byte (port 465), smtp:// goes over to it (STARTTLS, port 587) or sends nothing.
    /// `smtp://127.0.0.1:25?tls=off` is for a server without TLS. Anything else is refused.
    ///
    /// The command line is visible to others on this machine: prefer the environment or a file.
    #[arg(long, value_name = "URL")]
    pub smtp_url: Option<SecretString>,

    /// File that holds the smtp_url
    #[arg(long, value_name = "FILE")]
    pub smtp_url_file: Option<PathBuf>,

    /// Whom mail is from, such as "Leasehold <seats@example.com>"
    #[arg(long, value_name = "ADDRESS")]
    pub smtp_from: Option<String>,
}

/// What is wrong with a setting, where it came from, and what would be right.
///
/// Never holds the value of a secret: its text goes to terminals and logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} (from {origin}) {wrong}; {right}")]
pub struct WrongSetting {
    /// The name as the operator wrote it, or the names that do not go together.
    pub setting: String,
    /// The layer, named so that it can be found.
    pub origin: String,
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub right: String,
}

/// The text without blanks, line ends and the mark of an editor around it: a value means the same wherever it is written.
pub(crate) fn without_edges(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

/// Settings as they were put together, not yet checked against each other.
///
/// Separate from [`Settings`] so that `leasehold config` can show what a refused start was made of.
pub struct Loaded {
    settings: Settings,
    origins: BTreeMap<String, Origin>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.settings, f)
    }
}

impl Settings {
    /// Minimum length of a secret, in characters: a shorter one could be guessed from a signed token.
    pub const MIN_SECRET: usize = 32;
    /// Minimum length of an operator key, in characters.
    pub const MIN_ADMIN_KEY: usize = 16;

    /// Puts the layers together: `flags`, then `env`, then the file, then the defaults.
    ///
    /// The file is the one that `--config` or `LEASEHOLD_CONFIG` names, else `leasehold.toml` in `directory`
    /// if there is one. The environment comes in as an argument, because a test cannot change its own.
    pub fn load(
        flags: &Flags,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        directory: &Path,
    ) -> Result<Loaded, WrongSetting> {
        let env: Vec<_> = env.into_iter().collect();
        let credentials = env.iter().find(|(name, _)| name == secrets::CREDENTIALS);
        let credentials = credentials.map(|(_, directory)| PathBuf::from(directory));
        let (mut settings, mut origins) = layers::read(flags, env, directory)?;
        if let Some(credentials) = credentials {
            secrets::find_credentials(&mut settings, &mut origins, &credentials);
        }
        secrets::read_files(&mut settings, &mut origins)?;
        Ok(Loaded { settings, origins })
    }

    /// Whether there is no operator key, so that only this machine may ask.
    pub const fn is_open(&self) -> bool {
        self.admin_key.is_none()
    }
}

impl Loaded {
    /// Every value and where it came from, in the order of declaration; secrets are only "(set)" or "(not set)".
    pub fn rows(&self) -> Vec<Row> {
        report::rows(&self.settings, &self.origins)
    }

    /// Where the node listens, if all the rest is as it should be.
    pub const fn listen(&self) -> SocketAddr {
        self.settings.listen
    }

    /// How its address begins.
    pub const fn scheme(&self) -> &'static str {
        self.settings.scheme()
    }
}

#[cfg(test)]
mod tests;
