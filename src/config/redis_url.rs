//! What `redis_url` may say: one Redis, the sentinels that know its master, or some nodes of a cluster.
//!
//! Every part is honoured or refused: whoever misspells `?db=` would otherwise share the database of somebody else. Deliberately absent:
//! percent-decoding. The Redis client does it with the URLs that are built here, so that there is one reading of it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};

use crate::names::Invalid;

/// What to write instead of a URL that cannot be used.
pub(super) const RIGHT: &str = "give redis://host:6379, rediss://host:6379, unix:///path/to/redis.sock, \
     redis+sentinel://a:26379,b:26379,c:26379/master or redis+cluster://a:6379,b:6379,c:6379";

/// Where the pools are kept.
///
/// Its `Display` has hosts and no credentials, for logs and the start block.
#[derive(Debug, Clone)]
pub struct RedisUrl {
    /// How the servers belong together.
    pub topology: Topology,
    /// Host and port of each server that is named; empty for a Unix socket.
    pub hosts: Vec<(String, u16)>,
    /// The number of the database; a cluster has only 0.
    pub database: u32,
    /// Of a Unix socket, as the operator wrote it.
    path: String,
    tls: bool,
    /// `user:password@`, as the operator wrote it.
    userinfo: SecretString,
    /// The same of the sentinels, which have users of their own.
    sentinels: Sentinels,
    /// The word of `?protocol=`.
    protocol: Option<&'static str>,
}

/// How to speak to sentinels, from `sentinel_username`, `sentinel_password` and `sentinel_tls` behind the master's name.
#[derive(Debug, Clone, Default)]
struct Sentinels {
    username: String,
    password: SecretString,
    /// None is as for the master.
    tls: Option<bool>,
}

/// How the servers of a [`RedisUrl`] belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single,
    /// Sentinels, which know the address of the master of this name.
    Sentinel {
        /// What the sentinels call the master.
        master: String,
    },
    /// Some nodes of a cluster.
    Cluster,
}

impl RedisUrl {
    /// Whether it can only be on this machine: a Unix socket, or loopback.
    pub fn is_local(&self) -> bool {
        self.hosts.iter().all(|(host, _)| {
            host.eq_ignore_ascii_case("localhost")
                || host
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.to_canonical().is_loopback())
        })
    }

    /// The URL of a single Redis as the client library reads it.
    pub fn as_single(&self) -> SecretString {
        if let Some((host, port)) = self.hosts.first() {
            return self.node_url(host, *port);
        }
        // The library wants the credentials of a socket among the parameters.
        let userinfo = self.userinfo.expose_secret();
        let userinfo = userinfo.strip_suffix('@').unwrap_or_default();
        let (user, password) = userinfo.split_once(':').unwrap_or_default();
        let mut url = format!("unix://{}?db={}", self.path, self.database);
        for (name, value) in [
            ("user", user),
            ("pass", password),
            ("protocol", self.protocol.unwrap_or_default()),
        ] {
            if !value.is_empty() {
                url.push_str(&format!("&{name}={value}"));
            }
        }
        SecretString::from(url)
    }

    /// The URL of one data server, with the credentials of this one: the master that a sentinel named, or a
    /// node of the cluster.
    pub fn node_url(&self, host: &str, port: u16) -> SecretString {
        let userinfo = self.userinfo.expose_secret();
        let mut url = format!("{}://{userinfo}{}", self.scheme(), authority(host, port));
        if self.database > 0 {
            url.push_str(&format!("/{}", self.database));
        }
        if let Some(protocol) = self.protocol {
            url.push_str(&format!("?protocol={protocol}"));
        }
        SecretString::from(url)
    }

    /// The URL of one sentinel. Those before the hosts are the master's credentials; a sentinel gets only its own.
    pub fn sentinel_url(&self, host: &str, port: u16) -> SecretString {
        let Sentinels {
            username, password, ..
        } = &self.sentinels;
        let password = password.expose_secret();
        let userinfo = if password.is_empty() {
            String::new()
        } else {
            format!("{username}:{password}@")
        };
        let scheme = scheme(self.sentinels_use_tls());
        SecretString::from(format!("{scheme}://{userinfo}{}", authority(host, port)))
    }

    /// Whether what is sent to the sentinels is encrypted.
    pub fn sentinels_use_tls(&self) -> bool {
        self.sentinels.tls.unwrap_or(self.tls)
    }

    /// Whether what is sent to the servers is encrypted.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    const fn scheme(&self) -> &'static str {
        scheme(self.tls)
    }
}

impl FromStr for RedisUrl {
    type Err = Invalid;

    fn from_str(url: &str) -> Result<Self, Invalid> {
        let invalid = |text: &str| Invalid(text.to_owned());
        let (scheme, after) = url
            .split_once("://")
            .ok_or_else(|| invalid("is not a URL"))?;
        let (tls, kind) = match scheme {
            "unix" | "redis+unix" => (false, Kind::Socket),
            "redis" => (false, Kind::Single),
            "rediss" => (true, Kind::Single),
            "redis+sentinel" => (false, Kind::Sentinel),
            "rediss+sentinel" => (true, Kind::Sentinel),
            "redis+cluster" => (false, Kind::Cluster),
            "rediss+cluster" => (true, Kind::Cluster),
            // The word before :// may be half of a secret that was pasted here: not repeated.
            _ => return Err(invalid("has a scheme that is not known")),
        };
        if after.contains('#') {
            return Err(invalid(
                "has a fragment, which means nothing here; a # in a password is written %23",
            ));
        }
        let (before_query, query) = after.split_once('?').unwrap_or((after, ""));
        let end = before_query.find('/').unwrap_or(before_query.len());
        let (authority, path) = before_query.split_at(end);
        if kind != Kind::Socket && (path.contains('@') || query.contains('@')) {
            return Err(invalid(
                "has a / or ? before an @; in a password they are written %2F and %3F, and an @ is written %40",
            ));
        }
        let mut given = Parameters::read(query, kind)?;
        let (userinfo, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        check_userinfo(userinfo)?;
        let mut userinfo = SecretString::from(userinfo);
        if kind == Kind::Socket {
            if path.is_empty() || !authority.is_empty() {
                return Err(invalid("names a socket without an absolute path"));
            }
            userinfo = given.take_userinfo()?;
        }
        let hosts = if kind == Kind::Socket {
            Vec::new()
        } else {
            let port = if kind == Kind::Sentinel { 26379 } else { 6379 };
            let hosts = hosts.split(',').map(|host| host_and_port(host, port));
            hosts.collect::<Result<Vec<_>, _>>()?
        };
        if kind == Kind::Single && hosts.len() > 1 {
            return Err(invalid(
                "names several servers, which need redis+sentinel:// or redis+cluster://",
            ));
        }
        let mut segments = match kind {
            Kind::Socket => Vec::new(),
            _ => path.split('/').skip(1).collect(),
        };
        let topology = match kind {
            Kind::Socket | Kind::Single => Topology::Single,
            Kind::Cluster => Topology::Cluster,
            Kind::Sentinel if segments.first().is_none_or(|master| master.is_empty()) => {
                return Err(invalid("does not name the master after the sentinels"));
            }
            Kind::Sentinel => Topology::Sentinel {
                master: segments.remove(0).to_owned(),
            },
        };
        // A slash at the end says nothing.
        segments.pop_if(|last| last.is_empty());
        let database = match (segments.as_slice(), given.database.take()) {
            ([], None) => 0,
            ([number], None) => database(number)?,
            ([], Some(number)) => database(&number)?,
            ([path], Some(parameter)) if database(path)? == database(&parameter)? => {
                database(path)?
            }
            ([_], Some(_)) => {
                return Err(invalid(
                    "names one database in its path and another one as db",
                ));
            }
            _ => return Err(invalid("has a path that goes on after the database")),
        };
        if kind == Kind::Cluster && database != 0 {
            return Err(Invalid(format!(
                "names database {database}, and a cluster has only 0; key_prefix lets several installations share one"
            )));
        }
        Ok(Self {
            topology,
            hosts,
            database,
            path: path.to_owned(),
            tls,
            userinfo,
            sentinels: given.sentinels.checked()?,
            protocol: given.protocol,
        })
    }
}

/// What a scheme means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socket,
    Single,
    Sentinel,
    Cluster,
}

/// What stands behind the question mark.
#[derive(Debug, Default)]
struct Parameters {
    database: Option<String>,
    protocol: Option<&'static str>,
    user: String,
    password: SecretString,
    sentinels: Sentinels,
}

impl Parameters {
    /// Takes every parameter once, and refuses those that mean nothing with this scheme.
    fn read(query: &str, kind: Kind) -> Result<Self, Invalid> {
        let mut given = Self::default();
        let mut names = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if names.contains(&name) {
                return Err(Invalid(format!("has the parameter {name} twice")));
            }
            names.push(name);
            match (name, value, kind) {
                ("db", number, _) => given.database = Some(number.to_owned()),
                ("protocol", "2" | "resp2", _) => given.protocol = Some("resp2"),
                ("protocol", "3" | "resp3", _) => given.protocol = Some("resp3"),
                ("protocol", _, _) => {
                    return Err(Invalid("has a protocol that is not resp2 or resp3".into()));
                }
                ("user", user, Kind::Socket) => user.clone_into(&mut given.user),
                ("pass", password, Kind::Socket) => given.password = password.into(),
                ("sentinel_username", name, Kind::Sentinel) => {
                    name.clone_into(&mut given.sentinels.username);
                }
                ("sentinel_password", password, Kind::Sentinel) => {
                    given.sentinels.password = password.into();
                }
                ("sentinel_tls", "on", Kind::Sentinel) => given.sentinels.tls = Some(true),
                ("sentinel_tls", "off", Kind::Sentinel) => given.sentinels.tls = Some(false),
                ("sentinel_tls", _, Kind::Sentinel) => {
                    return Err(Invalid("has a sentinel_tls that is not on or off".into()));
                }
                _ => {
                    let known = match kind {
                        Kind::Socket => "db, user, pass and protocol",
                        Kind::Single | Kind::Cluster => "db and protocol",
                        Kind::Sentinel => {
                            "db, protocol, sentinel_username, sentinel_password and sentinel_tls"
                        }
                    };
                    return Err(Invalid(format!(
                        "has the parameter {name}, which means nothing here; there are {known}"
                    )));
                }
            }
        }
        Ok(given)
    }

    /// The credentials of a socket, in the form that other URLs have in front of the host.
    fn take_userinfo(&mut self) -> Result<SecretString, Invalid> {
        let password = self.password.expose_secret();
        match (self.user.as_str(), password) {
            ("", "") => Ok(SecretString::default()),
            (_, "") => Err(Invalid("has a user without pass".into())),
            (user, password) => Ok(SecretString::from(format!("{user}:{password}@"))),
        }
    }
}

/// A user without a password is not logged in by anybody: it is a password in the wrong place, or one was forgotten.
fn check_userinfo(userinfo: &str) -> Result<(), Invalid> {
    let Some(userinfo) = userinfo.strip_suffix('@') else {
        return Ok(());
    };
    match userinfo.split_once(':') {
        Some((_, password)) if !password.is_empty() => Ok(()),
        _ => Err(Invalid(
            "has a user without a password before the @; a password alone is written :PASSWORD@"
                .into(),
        )),
    }
}

fn database(text: &str) -> Result<u32, Invalid> {
    // Redis counts them with an int.
    let number = text
        .parse()
        .ok()
        .filter(|number| *number <= i32::MAX as u32);
    number.ok_or_else(|| Invalid("has a database that is not a number from 0 on".into()))
}

const fn scheme(tls: bool) -> &'static str {
    if tls { "rediss" } else { "redis" }
}

impl Sentinels {
    fn checked(self) -> Result<Self, Invalid> {
        if !self.username.is_empty() && self.password.expose_secret().is_empty() {
            return Err(Invalid(
                "has a sentinel_username without sentinel_password".into(),
            ));
        }
        Ok(self)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plus = match &self.topology {
            Topology::Single if self.hosts.is_empty() => {
                return write!(f, "a Unix socket, database {}", self.database);
            }
            Topology::Single => "",
            Topology::Sentinel { .. } => "+sentinel",
            Topology::Cluster => "+cluster",
        };
        write!(f, "{}{plus}://", self.scheme())?;
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", authority(host, *port))?;
        }
        match &self.topology {
            Topology::Sentinel { master } => write!(f, "/{master}/{}", self.database),
            Topology::Single => write!(f, "/{}", self.database),
            Topology::Cluster => Ok(()),
        }
    }
}

fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), Invalid> {
    // An IPv6 address stands in brackets, and its colons do not introduce a port.
    let colon = text
        .rfind(':')
        .filter(|colon| text.rfind(']').is_none_or(|bracket| bracket < *colon));
    let (host, port) = match colon {
        Some(colon) => {
            let port = text[colon + 1..]
                .parse()
                .map_err(|_| Invalid("has a port that is not a number".into()))?;
            (&text[..colon], port)
        }
        None => (text, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(Invalid("lacks a host".into()));
    }
    Ok((host.to_owned(), port))
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests;
