//! What `redis_url` may say: one Redis, the sentinels that know its master, or some nodes of a cluster.
//!
//! Deliberately absent: percent-decoding and database numbers. The Redis client reads them from the URLs
//! that [`RedisUrl::node_url`] builds, so that there is one reading of them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};

use crate::lease::Invalid;

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
    /// The URL as the operator wrote it, with its credentials.
    url: SecretString,
    tls: bool,
    userinfo: SecretString,
    /// The same of the sentinels, which have users of their own.
    sentinels: Sentinels,
    /// What follows the hosts, and the master's name: `/0?protocol=resp3`.
    rest: String,
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
    /// Sentinels, which say where the master of this name is.
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
    pub fn as_single(&self) -> &SecretString {
        &self.url
    }

    /// The URL of one data server, with the credentials of this one: the master that a sentinel named, or a
    /// node of the cluster.
    pub fn node_url(&self, host: &str, port: u16) -> SecretString {
        let userinfo = self.userinfo.expose_secret();
        SecretString::from(format!(
            "{}://{userinfo}{}{}",
            self.scheme(),
            authority(host, port),
            self.rest
        ))
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
            "unix" | "redis+unix" => return unix(url, after),
            "redis" => (false, "single"),
            "rediss" => (true, "single"),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            // The word before :// may be half of a secret that was pasted here: not repeated.
            _ => return Err(invalid("has a scheme that is not known")),
        };
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        let (userinfo, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let port = if kind == "sentinel" { 26379 } else { 6379 };
        let hosts = hosts
            .split(',')
            .map(|host| host_and_port(host, port))
            .collect::<Result<Vec<_>, _>>()?;
        let mut sentinels = Sentinels::default();
        let (topology, rest) = match kind {
            "single" if hosts.len() > 1 => {
                return Err(invalid(
                    "names several servers, which need redis+sentinel:// or redis+cluster://",
                ));
            }
            "single" => (Topology::Single, rest.to_owned()),
            "cluster" => (Topology::Cluster, rest.to_owned()),
            _ => {
                let path = rest.strip_prefix('/').unwrap_or_default();
                let end = path.find(['/', '?']).unwrap_or(path.len());
                let (master, rest) = path.split_at(end);
                if master.is_empty() {
                    return Err(invalid("does not name the master after the sentinels"));
                }
                let rest = sentinels.take_from(rest)?;
                (
                    Topology::Sentinel {
                        master: master.to_owned(),
                    },
                    rest,
                )
            }
        };
        Ok(Self {
            topology,
            hosts,
            url: url.into(),
            tls,
            userinfo: userinfo.into(),
            sentinels,
            rest,
        })
    }
}

const fn scheme(tls: bool) -> &'static str {
    if tls { "rediss" } else { "redis" }
}

impl Sentinels {
    /// Takes what is for the sentinels out of the query, and returns the rest, which is for the servers.
    fn take_from(&mut self, rest: &str) -> Result<String, Invalid> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, value) {
                ("sentinel_username", name) => name.clone_into(&mut self.username),
                ("sentinel_password", password) => self.password = password.into(),
                ("sentinel_tls", "on") => self.tls = Some(true),
                ("sentinel_tls", "off") => self.tls = Some(false),
                ("sentinel_tls", _) => {
                    return Err(Invalid("has a sentinel_tls that is not on or off".into()));
                }
                _ if name.starts_with("sentinel_") => {
                    return Err(Invalid(
                        "has a parameter for sentinels that is not sentinel_username, sentinel_password or sentinel_tls"
                            .into(),
                    ));
                }
                _ => others.push(pair),
            }
        }
        if !self.username.is_empty() && self.password.expose_secret().is_empty() {
            return Err(Invalid(
                "has a sentinel_username without sentinel_password".into(),
            ));
        }
        Ok(if others.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", others.join("&"))
        })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plus = match &self.topology {
            Topology::Single if self.hosts.is_empty() => return f.write_str("a Unix socket"),
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
            Topology::Sentinel { master } => write!(f, "/{master}"),
            Topology::Single | Topology::Cluster => Ok(()),
        }
    }
}

fn unix(url: &str, path: &str) -> Result<RedisUrl, Invalid> {
    if !path.starts_with('/') {
        return Err(Invalid("names a socket without an absolute path".into()));
    }
    Ok(RedisUrl {
        topology: Topology::Single,
        hosts: Vec::new(),
        url: url.into(),
        tls: false,
        userinfo: SecretString::default(),
        sentinels: Sentinels::default(),
        rest: String::new(),
    })
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
mod tests {
    use super::*;

    fn parse(url: &str) -> RedisUrl {
        url.parse().unwrap_or_else(|wrong| panic!("{url} {wrong}"))
    }

    #[test]
    fn every_scheme_of_the_settings_is_read() {
        assert_eq!(parse("redis://h").hosts, [("h".to_owned(), 6379)]);
        assert_eq!(
            parse("rediss://u:p@h:1/2").node_url("x", 3).expose_secret(),
            "rediss://u:p@x:3/2"
        );
        assert!(parse("unix:///run/redis.sock").hosts.is_empty());
        assert!(parse("redis+unix:///run/redis.sock?db=1").is_local());
        assert_eq!(
            parse("redis+cluster://a,b:7000").hosts,
            [("a".to_owned(), 6379), ("b".to_owned(), 7000)]
        );

        let sentinel = parse("redis+sentinel://u:p%40@a,b:1,[::2]:3/main/4");
        assert_eq!(
            sentinel.topology,
            Topology::Sentinel {
                master: "main".into()
            }
        );
        assert_eq!(
            sentinel.hosts,
            [
                ("a".to_owned(), 26379),
                ("b".to_owned(), 1),
                ("::2".to_owned(), 3)
            ]
        );
        assert_eq!(
            sentinel.node_url("::9", 5).expose_secret(),
            "redis://u:p%40@[::9]:5/4"
        );
        assert_eq!(
            sentinel.sentinel_url("a", 26379).expose_secret(),
            "redis://a:26379"
        );
    }

    #[test]
    fn sentinels_have_credentials_of_their_own() {
        let url = parse(
            "rediss+sentinel://u:p@a/main/4?sentinel_username=s&protocol=resp3&sentinel_password=q%40&sentinel_tls=off",
        );
        assert_eq!(
            url.sentinel_url("a", 1).expose_secret(),
            "redis://s:q%40@a:1"
        );
        assert_eq!(
            url.node_url("b", 2).expose_secret(),
            "rediss://u:p@b:2/4?protocol=resp3"
        );
        let url = parse("rediss+sentinel://a/main?sentinel_password=q");
        assert_eq!(url.sentinel_url("a", 1).expose_secret(), "rediss://:q@a:1");
        assert_eq!(url.node_url("b", 2).expose_secret(), "rediss://b:2");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        for url in [
            "",
            "localhost:6379",
            "http://h",
            "redis://",
            "redis://h:port",
            "redis://a,b",
            "unix://relative",
            "redis+sentinel://a,b",
            "redis+sentinel://a,b/m?sentinel_user=x",
            "redis+sentinel://a,b/m?sentinel_username=x",
            "redis+sentinel://a,b/m?sentinel_tls=yes",
            "redis+cluster://a,,b",
            "redis://h:70000",
        ] {
            assert!(url.parse::<RedisUrl>().is_err(), "{url}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        for url in [
            "redis://localhost",
            "redis://127.3.2.1:1",
            "redis://[::1]:6379",
            "unix:///s",
        ] {
            assert!(parse(url).is_local(), "{url}");
        }
        for url in [
            "redis://redis",
            "redis://10.0.0.1",
            "redis+cluster://127.0.0.1,10.0.0.1",
            "redis://[::2]",
        ] {
            assert!(!parse(url).is_local(), "{url}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for url in [
            "redis://u:hunter2@h/0",
            "redis+sentinel://:hunter2@a,b/m",
            "redis+sentinel://a,b/m?sentinel_password=hunter2",
            "unix:///s?pass=hunter2",
        ] {
            let url = parse(url);
            assert!(!format!("{url} {url:?}").contains("hunter2"));
        }
    }
}
