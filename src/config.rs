//! Every setting, its unit, its default, and which combinations refuse to start.
//!
//! A value comes from the command line, else from the environment (`LEASEHOLD_…`), else from the file
//! (`leasehold.toml`, or the one that `--config` names), else from its default. The doc comment of a field
//! of [`Settings`] is the text of `--help`: there is no second place to keep in step.
//!
//! Deliberately absent: reloading. A pool changes over HTTP; everything else is worth a restart.

mod base_path;
mod explain;
mod layers;
mod oidc_roles;
mod public_url;
mod redis_url;
mod report;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

pub use self::base_path::BasePath;
pub use self::layers::{Flags, Origin};
pub use self::oidc_roles::RoleRules;
pub use self::redis_url::{RedisUrl, Topology};
pub use self::report::Row;
use crate::names::KeyPrefix;
use crate::names::PoolName;
use crate::pool::Policy;
use crate::tls::{ClientCertificate, ServerCertificate, Tls};

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

    /// Redis to keep the pools in; without one, a private Redis is started in the data directory
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

    /// The first operator key, at least 16 characters; without one the program serves loopback only
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

    /// Claim that is shown as the name of a person; who it is is told by issuer and subject
    #[arg(long, value_name = "CLAIM", default_value = "email")]
    pub oidc_user_claim: String,

    /// Claim with the groups of a person: groups, roles at Entra, or a path such as realm_access.roles
    #[arg(long, value_name = "CLAIM", default_value = "groups")]
    pub oidc_groups_claim: String,

    /// Role of a group, such as "floor-leads = operator pools=crm,phone tenants=acme"; may be given more than once
    ///
    /// Also for the groups that a proxy names. Whose groups have no rule is not let in. Of several roles the highest counts. In the
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

    /// Form of the logs on stderr
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

    /// After SIGTERM, serve on for so long before connections are refused, so that balancers notice, in ms
    #[arg(long, value_name = "MS", default_value = "5000")]
    pub drain_wait_ms: u64,

    /// Threads that answer requests [default: half of the cores, at least one]
    ///
    /// One answers as many heartbeats as a third of a Redis can take; with more of them each heartbeat costs more.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Most HTTP connections at once; above that, those that have been idle for longest are closed
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

    /// Most pools with series of their own in /metrics; the others are counted together, as pool "_other"
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
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::On => "on",
        })
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line for a person.
    #[default]
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// What a log-out ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OidcLogout {
    /// The session of the admin pages.
    #[default]
    Local,
    /// That of the provider, too.
    Provider,
}

impl fmt::Display for OidcLogout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Provider => "provider",
        })
    }
}

/// What acquire, release and terminate wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The master has it.
    #[default]
    Async,
    /// A replica has it too, and the answer reports that.
    Replicated,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async => "async",
            Self::Replicated => "replicated",
        })
    }
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

    /// The Redis to use; none is the embedded one.
    pub fn redis(&self) -> Option<RedisUrl> {
        let url = self.redis_url.as_ref()?.expose_secret();
        Some(
            url.parse()
                .expect("checked before the settings were handed out"),
        )
    }

    /// The certificates for a Redis with TLS.
    pub fn redis_tls(&self) -> Result<Tls, WrongSetting> {
        let certificate = pem(
            "redis_cert_file",
            self.redis_cert_file.as_deref(),
            "certificate",
        )?;
        let key = pem("redis_key_file", self.redis_key_file.as_deref(), "key")?;
        Ok(Tls {
            ca: pem(
                "redis_ca_file",
                self.redis_ca_file.as_deref(),
                "certificate",
            )?,
            client: certificate
                .zip(key)
                .map(|(certificate, key)| ClientCertificate {
                    certificate,
                    key: key.into(),
                }),
        })
    }

    /// What callers are shown, if this node speaks TLS.
    pub fn server_certificate(&self) -> Result<Option<ServerCertificate>, WrongSetting> {
        let (Some(certificate), Some(key)) = (&self.tls_cert_file, &self.tls_key_file) else {
            return Ok(None);
        };
        let read = ServerCertificate::read(certificate, key);
        read.map(Some).map_err(|unusable| WrongSetting {
            setting: "tls_cert_file and tls_key_file".to_owned(),
            origin: format!("{} and {}", certificate.display(), key.display()),
            wrong: format!("cannot be used: {unusable}"),
            right:
                "give a certificate and its private key, both in PEM form, that this user may read"
                    .to_owned(),
        })
    }

    /// How the addresses of this node begin.
    pub const fn scheme(&self) -> &'static str {
        if self.tls_cert_file.is_some() {
            "https"
        } else {
            "http"
        }
    }

    /// Where the runbooks are, for a node that listens at this address.
    pub fn runbooks(&self, address: SocketAddr) -> String {
        if let Some(url) = &self.runbook_url {
            return url.trim_end_matches('/').to_owned();
        }
        let node = match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let host = if address.ip().is_unspecified() {
                    let name = rustix::system::uname();
                    name.nodename().to_string_lossy().into_owned()
                } else {
                    SocketAddr::new(address.ip(), 0)
                        .to_string()
                        .trim_end_matches(":0")
                        .to_owned()
                };
                let (scheme, port) = (self.scheme(), address.port());
                format!("{scheme}://{host}:{port}{}", self.base_path().as_str())
            }
        };
        format!("{node}/docs/runbooks")
    }

    /// Whose proofs those of this installation are.
    pub fn issuer(&self, installation: &str) -> String {
        match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("urn:leasehold:{installation}"),
        }
    }

    /// The certificate of the provider, if it is one of your own.
    pub fn oidc_ca(&self) -> Result<Option<Vec<u8>>, WrongSetting> {
        pem("oidc_ca_file", self.oidc_ca_file.as_deref(), "certificate")
    }

    /// What stands in front of every key.
    pub fn key_prefix(&self) -> KeyPrefix {
        let prefix = self.key_prefix.as_deref().unwrap_or_default();
        prefix
            .parse()
            .expect("checked before the settings were handed out")
    }

    /// Longest wait for Redis.
    pub const fn redis_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_timeout_ms)
    }

    /// What is in front of every path.
    pub fn base_path(&self) -> BasePath {
        BasePath::of(self.base_path.as_deref().unwrap_or_default())
    }

    /// How long to serve on after SIGTERM.
    pub const fn drain_wait(&self) -> Duration {
        Duration::from_millis(self.drain_wait_ms)
    }

    /// Threads that answer requests.
    ///
    /// Half of the cores: Redis is often on the same machine and needs one for itself, and a heartbeat that wanders between
    /// threads costs a third more (see docs/performance.md).
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            (cores / 2).max(1)
        })
    }

    /// The proxy for messages to webhooks.
    pub fn webhook_proxy(&self) -> Option<reqwest::Url> {
        let proxy = self.webhook_proxy.as_ref()?.expose_secret();
        Some(
            proxy
                .parse()
                .expect("checked before the settings were handed out"),
        )
    }

    /// How long a connection may stay open without a request.
    pub const fn http_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.http_idle_timeout_ms)
    }

    /// How often to record ended leases; zero leaves it to other nodes.
    pub const fn sweep_every(&self) -> Duration {
        Duration::from_millis(self.sweep_every_ms)
    }
}

/// Refuses a filter in which a word stands alone that is no level: it would be the name of a module, and nothing would be
/// logged but what that says.
fn log_filter(filter: &str) -> Result<(), String> {
    for part in filter.split(',').map(str::trim) {
        let is_level = ["error", "warn", "info", "debug", "trace", "off"]
            .iter()
            .any(|level| part.eq_ignore_ascii_case(level));
        if !is_level && !part.contains(['=', '[']) {
            return Err(format!(
                "has \"{}\", which is no level",
                part.escape_default()
            ));
        }
    }
    Ok(())
}

/// Reads a file that is to be in PEM form.
fn pem(setting: &str, file: Option<&Path>, what: &str) -> Result<Option<Vec<u8>>, WrongSetting> {
    let Some(file) = file else {
        return Ok(None);
    };
    let wrong = |wrong: String| WrongSetting {
        setting: setting.to_owned(),
        origin: file.display().to_string(),
        wrong,
        right: format!("give a file with a {what} in PEM form"),
    };
    let text = std::fs::read(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !text.windows(11).any(|begin| begin == b"-----BEGIN ") {
        return Err(wrong("is not in PEM form".to_owned()));
    }
    Ok(Some(text))
}

impl Loaded {
    /// Refuses values out of range and combinations that cannot work.
    pub fn check(self) -> Result<Settings, WrongSetting> {
        self.check_values()?;
        self.check_pools()?;
        self.check_together()?;
        Ok(self.settings)
    }

    /// Settings files with a secret in them that every user of this machine can read. Not files that hold a secret only: containers get
    /// those with such rights, and have no other users.
    pub fn secrets_that_others_read(&self) -> BTreeSet<PathBuf> {
        let secrets = [
            "secret",
            "previous_secrets",
            "admin_key",
            "redis_url",
            "webhook_proxy",
            "oidc_client_secret",
            "proxy_secret",
        ];
        let files = secrets
            .iter()
            .filter_map(|name| match self.origins.get(*name)? {
                Origin::File(path) => Some(path.clone()),
                _ => None,
            });
        files
            .filter(|path| {
                path.metadata()
                    .is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
            })
            .collect()
    }

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

    fn wrong(
        &self,
        setting: &str,
        wrong: impl Into<String>,
        right: impl Into<String>,
    ) -> WrongSetting {
        WrongSetting {
            setting: setting.to_owned(),
            origin: self.origin(setting).to_string(),
            wrong: wrong.into(),
            right: right.into(),
        }
    }

    fn origin(&self, setting: &str) -> &Origin {
        self.origins.get(setting).unwrap_or(&Origin::Default)
    }

    fn check_values(&self) -> Result<(), WrongSetting> {
        let settings = &self.settings;
        let secrets = settings.secret.iter().map(|secret| ("secret", secret));
        let previous = settings
            .previous_secrets
            .iter()
            .map(|secret| ("previous_secrets", secret));
        for (name, secret) in secrets.chain(previous) {
            let length = secret.expose_secret().chars().count();
            if length < Settings::MIN_SECRET {
                return Err(self.wrong(
                    name,
                    format!("has {length} characters"),
                    format!(
                        "use at least {}, for example from: openssl rand -base64 32",
                        Settings::MIN_SECRET
                    ),
                ));
            }
        }
        if let Some(proxy) = &settings.webhook_proxy {
            let url = proxy.expose_secret().parse::<reqwest::Url>().ok();
            let is_proxy = |url: &reqwest::Url| {
                ["http", "https"].contains(&url.scheme())
                    && url.has_host()
                    && url.path() == "/"
                    && url.query().is_none()
            };
            if !url.as_ref().is_some_and(is_proxy) {
                return Err(self.wrong(
                    "webhook_proxy",
                    "is not the address of a proxy",
                    "give a URL such as http://proxy.example:3128",
                ));
            }
        }
        if let Some(url) = &settings.runbook_url
            && !url.parse::<reqwest::Url>().is_ok_and(|url| url.has_host())
        {
            return Err(self.wrong(
                "runbook_url",
                "is not an address",
                "give one such as https://wiki.example/leasehold",
            ));
        }
        if let Some(url) = &settings.otlp_endpoint {
            let url = url.parse::<reqwest::Url>().ok();
            let is_one = |url: &reqwest::Url| {
                ["http", "https"].contains(&url.scheme())
                    && url.has_host()
                    && url.username().is_empty()
                    && url.query().is_none()
            };
            if !url.as_ref().is_some_and(is_one) {
                return Err(self.wrong(
                    "otlp_endpoint",
                    "is not the address of a collector",
                    "give a URL such as http://127.0.0.1:4318; headers it asks for come from OTEL_EXPORTER_OTLP_HEADERS",
                ));
            }
        }
        if let Err(sentence) = log_filter(&settings.log) {
            return Err(self.wrong(
                "log",
                sentence,
                "give error, warn, info, debug, trace or off, or levels by module such as info,leasehold::store=debug",
            ));
        }
        if let Some(key) = &settings.admin_key {
            let key = key.expose_secret();
            if key.chars().count() < Settings::MIN_ADMIN_KEY {
                return Err(self.wrong(
                    "admin_key",
                    format!("has {} characters", key.chars().count()),
                    format!(
                        "use at least {}, for example from: openssl rand -hex 16",
                        Settings::MIN_ADMIN_KEY
                    ),
                ));
            }
            // It travels in an Authorization header, which carries nothing else.
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(self.wrong(
                    "admin_key",
                    "has characters that a header cannot carry",
                    "use letters, digits and punctuation of ASCII, without spaces",
                ));
            }
        }
        if let Some(url) = &settings.public_url
            && let Err(wrong) = public_url::check(url)
        {
            return Err(self.wrong(
                "public_url",
                wrong,
                "give the address that callers use, such as https://seats.example; http:// only on loopback",
            ));
        }
        if let Some(url) = &settings.oidc_issuer
            && let Err(wrong) = public_url::check(url)
        {
            return Err(self.wrong(
                "oidc_issuer",
                wrong,
                "give the address of the provider as its discovery document has it, such as https://login.example/realms/ops; \
                 http:// only on loopback",
            ));
        }
        if let Some(secret) = &settings.proxy_secret
            && secret.expose_secret().chars().count() < Settings::MIN_ADMIN_KEY
        {
            return Err(self.wrong(
                "proxy_secret",
                format!("has {} characters", secret.expose_secret().chars().count()),
                format!(
                    "use at least {}, for example from: openssl rand -hex 16",
                    Settings::MIN_ADMIN_KEY
                ),
            ));
        }
        for (name, header) in [
            ("proxy_user_header", &settings.proxy_user_header),
            ("proxy_groups_header", &settings.proxy_groups_header),
        ] {
            if header
                .as_ref()
                .is_some_and(|header| header.parse::<axum::http::HeaderName>().is_err())
            {
                return Err(self.wrong(
                    name,
                    "is not the name of a header",
                    "give a name such as Remote-User",
                ));
            }
        }
        if let Some(url) = &settings.redis_url
            && let Err(wrong) = url.expose_secret().parse::<RedisUrl>()
        {
            return Err(self.wrong("redis_url", wrong.to_string(), redis_url::RIGHT));
        }
        if let Some(path) = &settings.base_path
            && !BasePath::is_one(path)
        {
            return Err(self.wrong(
                "base_path",
                "is not a path in front of others",
                "give segments of letters, digits, - _ . and ~, with a / before each, such as /seats",
            ));
        }
        if let Some(prefix) = &settings.key_prefix
            && let Err(wrong) = prefix.parse::<KeyPrefix>()
        {
            return Err(self.wrong(
                "key_prefix",
                wrong.to_string(),
                "give letters, digits, - _ and ., at most 32, such as staging",
            ));
        }
        if let Err(error) = EnvFilter::try_new(&settings.log) {
            return Err(self.wrong(
                "log",
                format!("is not a filter: {error}"),
                "give off, error, warn, info, debug or trace, or levels by module such as info,leasehold::store=debug",
            ));
        }
        for (name, value, least, most) in [
            ("drain_wait_ms", settings.drain_wait_ms, 0, 600_000),
            ("threads", settings.threads() as u64, 1, 1_024),
            (
                "max_connections",
                settings.max_connections as u64,
                1,
                1_000_000,
            ),
            (
                "http_idle_timeout_ms",
                settings.http_idle_timeout_ms,
                1_000,
                86_400_000,
            ),
            (
                "redis_connections",
                settings.redis_connections.into(),
                1,
                1_000,
            ),
            ("redis_timeout_ms", settings.redis_timeout_ms, 10, 60_000),
            (
                "metrics_max_pools",
                settings.metrics_max_pools as u64,
                0,
                10_000,
            ),
            ("sweep_every_ms", settings.sweep_every_ms, 0, 60_000),
            ("webhook_retry_ms", settings.webhook_retry_ms, 10, 3_600_000),
            ("webhook_attempts", settings.webhook_attempts.into(), 1, 100),
        ] {
            if !(least..=most).contains(&value) {
                return Err(self.wrong(
                    name,
                    format!("is {value}"),
                    format!("give {least} to {most}"),
                ));
            }
        }
        Ok(())
    }

    fn check_pools(&self) -> Result<(), WrongSetting> {
        for (name, policy) in &self.settings.pools {
            if let Err(invalid) = name.check().and_then(|()| policy.check()) {
                return Err(self.wrong(
                    &format!("pools.{name}"),
                    "cannot be used",
                    invalid.to_string(),
                ));
            }
        }
        Ok(())
    }

    fn check_together(&self) -> Result<(), WrongSetting> {
        let settings = &self.settings;
        if settings.is_open() && !settings.listen.ip().to_canonical().is_loopback() {
            return Err(self.together(
                ["listen", "admin_key"],
                format!(
                    "do not go together: {} is reachable from other machines and there is no key",
                    settings.listen
                ),
                "open mode serves loopback only: set admin_key, or listen on 127.0.0.1",
            ));
        }
        if settings.metrics_listen == Some(settings.listen) && settings.listen.port() != 0 {
            return Err(self.together(
                ["listen", "metrics_listen"],
                "are the same address".to_owned(),
                "give metrics_listen a port of its own, or leave it out",
            ));
        }
        self.check_single_sign_on()?;
        if settings.tls_cert_file.is_some() != settings.tls_key_file.is_some() {
            return Err(self.together(
                ["tls_cert_file", "tls_key_file"],
                "do not go one without the other".to_owned(),
                "give both, or none; both may name the same file",
            ));
        }
        match (&settings.redis_cert_file, &settings.redis_key_file) {
            (Some(_), None) | (None, Some(_)) => {
                return Err(self.together(
                    ["redis_cert_file", "redis_key_file"],
                    "do not go one without the other".to_owned(),
                    "give both, or none",
                ));
            }
            (Some(_), Some(_)) if settings.redis().is_none_or(|redis| !redis.is_tls()) => {
                return Err(self.together(
                    ["redis_url", "redis_cert_file"],
                    "do not go together: without TLS nobody is shown a certificate".to_owned(),
                    "write rediss://, rediss+sentinel:// or rediss+cluster://, or give no certificate",
                ));
            }
            _ => {}
        }
        if let Some(redis) = settings.redis()
            && settings.secret.is_none()
            && !redis.is_local()
        {
            return Err(self.together(
                ["redis_url", "secret"],
                format!("do not go together: {redis} is on another host and there is no secret"),
                "nodes that share a Redis verify each other's tokens: set the same secret on all of them",
            ));
        }
        Ok(())
    }

    /// Refuses a single sign-on that lacks something, or that would let in the wrong people.
    fn check_single_sign_on(&self) -> Result<(), WrongSetting> {
        let settings = &self.settings;
        let lacks = |first: &'static str, second: &'static str, right: &str| {
            Err(self.together(
                [first, second],
                format!("do not go one without the other: {second} is not set"),
                right,
            ))
        };
        let roles = "name a role for each group, such as oidc_roles = [\"floor-leads = operator pools=crm\"]";
        let key = "keep an admin_key as the way in when the single sign-on fails";
        settings.oidc_ca()?;
        if settings.oidc_issuer.is_some() {
            if settings.oidc_client_id.is_none() {
                return lacks(
                    "oidc_issuer",
                    "oidc_client_id",
                    "give the client id that the provider has for this installation",
                );
            }
            if settings.public_url.is_none() {
                return lacks(
                    "oidc_issuer",
                    "public_url",
                    "give the address of the admin pages, to which the provider leads back",
                );
            }
            if settings.oidc_roles.is_empty() {
                return lacks("oidc_issuer", "oidc_roles", roles);
            }
            if settings.is_open() {
                return lacks("oidc_issuer", "admin_key", key);
            }
        } else if settings.oidc_client_id.is_some() {
            return lacks(
                "oidc_client_id",
                "oidc_issuer",
                "give the address of the provider",
            );
        }
        if settings.proxy_user_header.is_some() {
            if settings.proxy_groups_header.is_none() {
                return lacks(
                    "proxy_user_header",
                    "proxy_groups_header",
                    "give the header in which the proxy names the groups of a person",
                );
            }
            if settings.trusted_proxies.is_empty() {
                return lacks(
                    "proxy_user_header",
                    "trusted_proxies",
                    "give the address of the proxy: nobody else is believed",
                );
            }
            if settings.oidc_roles.is_empty() {
                return lacks("proxy_user_header", "oidc_roles", roles);
            }
            if settings.is_open() {
                return lacks("proxy_user_header", "admin_key", key);
            }
            if settings.proxy_secret.is_none() && !settings.listen.ip().to_canonical().is_loopback()
            {
                return lacks(
                    "proxy_user_header",
                    "proxy_secret",
                    "give a secret, and let the proxy send it in the header Leasehold-Proxy-Secret; on loopback none is needed",
                );
            }
        } else if settings.proxy_groups_header.is_some() {
            return lacks(
                "proxy_groups_header",
                "proxy_user_header",
                "give the header in which the proxy names the person",
            );
        }
        Ok(())
    }

    fn together(&self, names: [&str; 2], wrong: String, right: &str) -> WrongSetting {
        WrongSetting {
            setting: names.join(" and "),
            origin: names
                .map(|name| self.origin(name).to_string())
                .join(" and "),
            wrong,
            right: right.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
