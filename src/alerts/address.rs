//! Where a webhook may lead. Whoever may create one must not reach with it what only this machine reaches.
//!
//! A URL is looked at when the webhook is made and before each attempt. A name is looked up once for each attempt, by the
//! resolver that makes the connection: every address that it has must be allowed, and one of those is connected to. So
//! there is no second look-up that could say something else (DNS rebinding). Numbers in odd forms (`0x7f.1`) are
//! addresses already for the URL parser, which is the one that browsers use. The ranges are those of the registries of
//! special-purpose addresses (IANA, RFC 6890), and what clouds have their metadata at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};

use lettre::Address;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::webhook::Webhook;

/// Maximum addresses of one webhook that leads to mail.
const MAX_ADDRESSES: usize = 20;

/// What the settings allow beside `https` and public addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Also `http`.
    pub http: bool,
    /// Also addresses of private networks and of this machine, at any port.
    pub private: bool,
    /// Also `mailto:`, because there is a server that takes mail.
    pub mail: bool,
}

/// Why a webhook may not lead there, as a sentence for whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressRefused(String);

fn refuse<T>(sentence: impl Into<String>) -> Result<T, AddressRefused> {
    Err(AddressRefused(sentence.into()))
}

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Anybody's.
    Public,
    /// Of a private network, or of this machine.
    Private,
    /// Of nobody that could take a webhook; or of a cloud's metadata, which never may.
    Special,
}

/// Names that are never anybody's in public.
const LOCAL_SUFFIXES: [&str; 7] = [
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home.arpa",
    "localdomain",
];

/// Names of metadata services, which no setting allows.
const METADATA: [&str; 7] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Where a webhook leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To a receiver that speaks HTTP.
    Http(Url),
    /// To people, by mail.
    Mail(Vec<Address>),
}

impl Allowed {
    /// Checks where a webhook leads, as far as that is possible without looking up a name.
    pub fn target(self, text: &str) -> Result<Target, AddressRefused> {
        let is_mail = text
            .get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:"));
        if !is_mail {
            return self.url(text).map(Target::Http);
        }
        if text.len() > Webhook::MAX_URL {
            return refuse(format!("url has at most {} bytes", Webhook::MAX_URL));
        }
        let to = &text[7..];
        if to.contains(['?', '#']) {
            return refuse("url has nothing behind the addresses of mailto:");
        }
        let mut addresses = Vec::new();
        for address in to.split(',') {
            let Ok(decoded) = percent_decode_str(address).decode_utf8() else {
                return refuse("url has an address of mail that is not UTF-8");
            };
            let Ok(address) = decoded.parse::<Address>() else {
                return refuse(
                    "url names no addresses of mail, such as mailto:on-call@example.com,desk@example.com",
                );
            };
            // A mail server would connect to it, whatever it is.
            if address.domain().starts_with('[') || address.domain().parse::<IpAddr>().is_ok() {
                return refuse("url has an address of mail with a number in place of a name");
            }
            addresses.push(address);
        }
        if addresses.len() > MAX_ADDRESSES {
            return refuse(format!(
                "url names at most {MAX_ADDRESSES} addresses of mail"
            ));
        }
        if !self.mail {
            return refuse(
                "url is an address of mail, and there is no server that takes mail: set smtp_url and smtp_from",
            );
        }
        Ok(Target::Mail(addresses))
    }

    /// Checks a URL as far as that is possible without looking up its name.
    pub fn url(self, text: &str) -> Result<Url, AddressRefused> {
        if text.len() > Webhook::MAX_URL {
            return refuse(format!("url has at most {} bytes", Webhook::MAX_URL));
        }
        if text
            .bytes()
            .any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\')
        {
            return refuse("url has no spaces, control characters or backslashes");
        }
        let Ok(url) = Url::parse(text) else {
            return refuse("url is not a URL, such as https://hooks.example.com/leasehold");
        };
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            "http" => {
                return refuse("url begins with https://; http is only for webhook_http = \"on\"");
            }
            _ => return refuse("url begins with https:// or mailto:"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("url has no name and no password in it");
        }
        if url.fragment().is_some() {
            return refuse("url has no fragment");
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let usual = [443, 8443].contains(&port) || (self.http && [80, 8080].contains(&port));
        if !usual && !self.private {
            return refuse(
                "url has the port 443 or 8443; others are only for webhook_private_networks = \"on\"",
            );
        }
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            self.address(address)?;
        } else {
            self.name(host)?;
        }
        Ok(url)
    }

    fn name(self, host: &str) -> Result<(), AddressRefused> {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.is_empty() {
            return refuse("url names no host");
        }
        // RFC 1035, section 2.3.4: no name server would answer for another one.
        if host.len() > 253
            || host
                .split('.')
                .any(|label| label.is_empty() || label.len() > 63)
        {
            return refuse(
                "url has a host whose parts are 1 to 63 characters, and all of it at most 253",
            );
        }
        if METADATA.contains(&host) {
            return refuse(format!("{host} is a metadata service"));
        }
        let is_local = !host.contains('.')
            || LOCAL_SUFFIXES.iter().any(|suffix| {
                host.strip_suffix(suffix)
                    .is_some_and(|rest| rest.ends_with('.'))
            });
        if is_local && !self.private {
            return refuse(format!(
                "{host} is a name of a private network; those are only for webhook_private_networks = \"on\""
            ));
        }
        Ok(())
    }

    /// Checks one address.
    pub fn address(self, address: IpAddr) -> Result<(), AddressRefused> {
        match kind(address) {
            Kind::Public => Ok(()),
            Kind::Private if self.private => Ok(()),
            Kind::Private => refuse(format!(
                "{address} is in a private network; those are only for webhook_private_networks = \"on\""
            )),
            Kind::Special => refuse(format!("{address} is an address for special purposes")),
        }
    }

    /// Checks all addresses of a name. One that is not allowed spoils the others: which one a connection would take is
    /// not for its owner to choose.
    fn all(self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, AddressRefused> {
        if addresses.is_empty() {
            return refuse("the name has no address");
        }
        for address in &addresses {
            self.address(address.ip())?;
        }
        Ok(addresses)
    }
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        // Alibaba's metadata, amid the shared addresses of carriers; and Azure's platform, which every virtual machine there
        // reaches (Microsoft, "What is IP address 168.63.129.16?").
        [100, 100, 100, 200] | [168, 63, 129, 16] => Kind::Special,
        // Services of IBM Cloud for its own virtual machines (IBM, "IBM Cloud IP ranges"): names, time, packages, storage.
        [161, 26, ..] => Kind::Private,
        [166, second, ..] if second & 0xfc == 8 => Kind::Private,
        [10 | 127, ..] | [192, 168, ..] => Kind::Private,
        [172, second, ..] if second & 0xf0 == 16 => Kind::Private,
        [100, second, ..] if second & 0xc0 == 64 => Kind::Private,
        // This network, link-local with the metadata of most clouds, protocol assignments, documentation, relays of
        // 6to4, benchmarks, multicast, reserved and broadcast.
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Kind::Special,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return kind_v4(mapped);
    }
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // What Amazon, Google and Scaleway have for their virtual machines: metadata, names, time, credentials of containers.
        [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, ..] | [0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042] => {
            Kind::Special
        }
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Private,
        // NAT64 leads to an IPv4 address.
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [first, ..] if first & 0xfe00 == 0xfc00 => Kind::Private,
        // Teredo and other protocol assignments, documentation (two of them), 6to4.
        [0x2001, second, ..] if second < 0x0200 => Kind::Special,
        [0x2001, 0x0db8, ..] | [0x2002, ..] => Kind::Special,
        [0x3fff, second, ..] if second < 0x1000 => Kind::Special,
        // All that is not global unicast: link-local, multicast, discard, and what nobody has yet.
        [first, ..] if first & 0xe000 != 0x2000 => Kind::Special,
        _ => Kind::Public,
    }
}

/// Looks a name up for the connection that is about to be made, and gives it only what is allowed.
pub(super) struct Resolver<Lookup> {
    allowed: Allowed,
    /// A name that the settings themselves lead to: that of the proxy.
    own: Option<String>,
    lookup: Arc<Lookup>,
}

impl<Lookup, Answer> Resolver<Lookup>
where
    Lookup: Fn(String) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    /// `lookup` is the system's but in tests.
    pub(super) fn new(allowed: Allowed, lookup: Lookup) -> Self {
        Self {
            allowed,
            own: None,
            lookup: Arc::new(lookup),
        }
    }

    /// The same, which gives every address of this name.
    pub(super) fn with_own(self, own: Option<String>) -> Self {
        Self { own, ..self }
    }
}

impl<Lookup, Answer> Resolve for Resolver<Lookup>
where
    Lookup: Fn(String) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn resolve(&self, name: Name) -> Resolving {
        let (allowed, lookup) = (self.allowed, Arc::clone(&self.lookup));
        let is_own = self.own.as_deref() == Some(name.as_str());
        Box::pin(async move {
            let found = lookup(name.as_str().to_owned()).await?;
            if is_own {
                let addresses: Addrs = Box::new(found.into_iter());
                return Ok(addresses);
            }
            let addresses: Addrs = Box::new(allowed.all(found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// Look-ups at once. One that is given up goes on in its thread, for a minute where name servers are silent, and there are only
/// all threads for that: reports need them too.
const LOOKUPS: usize = 16;

/// What the system knows of a name.
pub(super) async fn system(name: String) -> std::io::Result<Vec<SocketAddr>> {
    static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(LOOKUPS)));
    let turn = Arc::clone(&ROOM).acquire_owned().await;
    let lookup = tokio::task::spawn_blocking(move || {
        // The port of the URL takes the place of this one.
        let found = (name.as_str(), 0).to_socket_addrs()?.collect();
        drop(turn);
        Ok(found)
    });
    lookup.await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests;
