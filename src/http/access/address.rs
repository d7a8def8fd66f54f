//! The network address of a client behind proxies, in every spelling that they have.
//!
//! `X-Forwarded-For` or `Forwarded` (RFC 7239), whichever is there. Where both are and name different clients, one of them was
//! passed on from the client, and the one counts that this proxy has been seen to write alone. Each proxy adds on the right whom it
//! heard from; what stands further left than the first stranger is the stranger's word. What cannot be read leaves the address at the
//! proxy that said it, with one line in the log, because then all clients of that proxy share one limit.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

static UNREADABLE: Once = Once::new();
static BOTH: Once = Once::new();

/// Tells clients from proxies.
#[derive(Debug)]
pub(super) struct Clients {
    trusted_proxies: Vec<IpNet>,
    /// Whether a proxy sent one of the headers without the other. No client can take away what its proxy adds, so the one that was
    /// missing is not the proxy's.
    lists_alone: AtomicBool,
    standard_alone: AtomicBool,
}

impl Clients {
    /// Behind these proxies.
    pub(super) fn behind(trusted_proxies: &[IpNet]) -> Self {
        Self {
            trusted_proxies: trusted_proxies.to_vec(),
            lists_alone: AtomicBool::new(false),
            standard_alone: AtomicBool::new(false),
        }
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| match (network, address) {
                // `::/0` is meant for everybody.
                (IpNet::V6(v6), IpAddr::V4(v4)) => v6.contains(&v4.to_ipv6_mapped()),
                _ => network.contains(&address),
            })
    }

    /// The client that is behind this peer.
    pub(super) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let address = peer.to_canonical();
        if !self.trusts(address) {
            return address;
        }
        let by_list = said(headers, &X_FORWARDED_FOR);
        let by_standard = said(headers, &FORWARDED);
        match (by_list.is_empty(), by_standard.is_empty()) {
            (true, true) => address,
            (false, true) => {
                note(&self.lists_alone);
                self.by_list(address, &by_list)
            }
            (true, false) => {
                note(&self.standard_alone);
                self.by_standard(address, &by_standard)
            }
            (false, false) => {
                let (list, standard) = (
                    self.by_list(address, &by_list),
                    self.by_standard(address, &by_standard),
                );
                let alone = |of: &AtomicBool| of.load(Ordering::Relaxed);
                match (alone(&self.lists_alone), alone(&self.standard_alone)) {
                    _ if list == standard => list,
                    (true, false) => list,
                    (false, true) => standard,
                    _ => {
                        BOTH.call_once(|| {
                            tracing::warn!(
                                proxy = %address,
                                "a proxy sends X-Forwarded-For and Forwarded, and they name different clients, so its clients are taken \
                                 for the proxy itself until it is clear which of the two it writes; have it remove the other"
                            );
                        });
                        address
                    }
                }
            }
        }
    }

    fn by_list(&self, proxy: IpAddr, said: &str) -> IpAddr {
        self.last_stranger(proxy, said.split(',').rev().map(hop))
    }

    fn by_standard(&self, proxy: IpAddr, said: &str) -> IpAddr {
        self.last_stranger(proxy, parts(said, ',').into_iter().rev().map(forwarded_hop))
    }

    /// The first address from the right that is not a proxy's. What is left of it is a client's word.
    fn last_stranger(&self, proxy: IpAddr, hops: impl Iterator<Item = Hop>) -> IpAddr {
        let mut address = proxy;
        for hop in hops {
            if !self.trusts(address) {
                break;
            }
            match hop {
                Hop::Address(named) => address = named,
                Hop::None => {}
                Hop::Hidden => break,
                Hop::Unreadable => {
                    UNREADABLE.call_once(|| {
                        tracing::warn!(
                            proxy = %address,
                            "a proxy names its client in a way that cannot be read, so its clients are taken for the proxy \
                             itself, and share its limits; see X-Forwarded-For in its settings"
                        );
                    });
                    break;
                }
            }
        }
        address
    }
}

/// Once is enough, and a line of memory that all requests write is dear.
fn note(seen: &AtomicBool) {
    if !seen.load(Ordering::Relaxed) {
        seen.store(true, Ordering::Relaxed);
    }
}

/// The client behind this peer, by the headers of one request. For programs that try a parser alone.
pub fn client_address(trusted_proxies: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    Clients::behind(trusted_proxies).address(peer, headers)
}

/// What all headers of this name say, one after the other.
fn said(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let values: Vec<String> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    values.join(",")
}

/// What one proxy says of whom it heard from.
#[derive(Debug, PartialEq, Eq)]
enum Hop {
    Address(IpAddr),
    /// The proxy does not say, on purpose.
    Hidden,
    /// Nothing is there.
    None,
    Unreadable,
}

/// One hop of `X-Forwarded-For`: an address, with or without a port, brackets and quotes.
fn hop(text: &str) -> Hop {
    let text = text.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
        .trim();
    if text.is_empty() {
        return Hop::None;
    }
    // RFC 7239, section 6: what a proxy writes that does not tell.
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Hop::Hidden;
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = bracketed.unwrap_or(text).parse::<IpAddr>();
    let address = address
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| {
            text.parse::<SocketAddrV6>()
                .map(|address| IpAddr::V6(*address.ip()))
        })
        .ok()
        .or_else(|| with_obscure_port(text));
    address.map_or(Hop::Unreadable, |address| {
        Hop::Address(address.to_canonical())
    })
}

/// An address with a port that is none, such as `192.0.2.1:_x` (RFC 7239, section 6.3), or with a zone: `fe80::1%eth0`.
fn with_obscure_port(text: &str) -> Option<IpAddr> {
    let (host, behind) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match text.split_once('%') {
            Some((host, _)) => (host, ""),
            None => {
                let at = text.rfind(':')?;
                text.split_at(at)
            }
        },
    };
    let host = host.split('%').next().unwrap_or_default();
    let is_port = behind.is_empty()
        || behind.strip_prefix(':').is_some_and(|port| {
            port.strip_prefix('_').is_some_and(|port| {
                !port.is_empty()
                    && port
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            }) || (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
        });
    let address = host.parse::<IpAddr>().ok()?;
    is_port.then_some(address)
}

/// A text in parts. A separator within quotes is none (RFC 7239, section 4).
fn parts(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if letter == separator && !is_quoted => {
                parts.push(&text[from..at]);
                from = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// One hop of `Forwarded`: pairs behind semicolons, of which `for` names the client.
fn forwarded_hop(element: &str) -> Hop {
    if element.trim().is_empty() {
        return Hop::None;
    }
    let mut named = parts(element, ';').into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    match (named.next(), named.next()) {
        (Some(value), None) => match hop(value) {
            Hop::None => Hop::Unreadable,
            hop => hop,
        },
        (None, _) => Hop::Hidden,
        _ => Hop::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn behind(proxies: &[&str]) -> Clients {
        let proxies: Vec<IpNet> = proxies.iter().map(|net| net.parse().unwrap()).collect();
        Clients::behind(&proxies)
    }

    fn address(clients: &Clients, headers: &[(&HeaderName, &str)]) -> String {
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            sent.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let peer = "127.0.0.1".parse().unwrap();
        clients.address(peer, &sent).to_string()
    }

    #[test]
    fn every_legal_spelling_names_the_client() {
        let clients = behind(&["127.0.0.0/8"]);
        for (said, expected) in [
            ("203.0.113.78", "203.0.113.78"),
            ("203.0.113.78:41234", "203.0.113.78"),
            ("\"203.0.113.78:41234\"", "203.0.113.78"),
            ("2001:db8::6", "2001:db8::6"),
            ("[2001:db8::6]", "2001:db8::6"),
            ("[2001:db8::6]:443", "2001:db8::6"),
            ("::ffff:203.0.113.78", "203.0.113.78"),
            ("[::ffff:203.0.113.78]:80", "203.0.113.78"),
            ("fe80::1%eth0", "fe80::1"),
            ("203.0.113.79, 127.0.0.1:5555", "203.0.113.79"),
            ("  203.0.113.79 ,,127.0.0.1 ", "203.0.113.79"),
            // Left of the first stranger is his word.
            ("10.9.9.9, 203.0.113.79", "203.0.113.79"),
            ("10.9.9.9, garbage, 203.0.113.79", "203.0.113.79"),
        ] {
            assert_eq!(
                address(&clients, &[(&X_FORWARDED_FOR, said)]),
                expected,
                "{said}"
            );
        }
        for (said, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.43, for=127.0.0.1", "192.0.2.43"),
            ("proto=https; for=\"192.0.2.43:_gazonk\"", "192.0.2.43"),
            // Separators within quotes are none.
            ("for=192.0.2.43;host=\"a,b;c\"", "192.0.2.43"),
            ("by=\"x\\\",for=9\";for=192.0.2.43", "192.0.2.43"),
            ("for=unknown", "127.0.0.1"),
            ("for=_hidden", "127.0.0.1"),
            ("for=192.0.2.43, for=_hidden", "127.0.0.1"),
        ] {
            assert_eq!(address(&clients, &[(&FORWARDED, said)]), expected, "{said}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let clients = behind(&["127.0.0.0/8", "10.0.0.0/8"]);
        let headers = [
            (&X_FORWARDED_FOR, "203.0.113.1"),
            (&X_FORWARDED_FOR, "203.0.113.2, 10.0.0.1"),
        ];
        assert_eq!(address(&clients, &headers), "203.0.113.2");
    }

    #[test]
    fn of_two_headers_the_one_that_the_proxy_writes_counts() {
        let list = (&X_FORWARDED_FOR, "203.0.113.1");
        let standard = (&FORWARDED, "for=203.0.113.9");
        let same = (&FORWARDED, "for=203.0.113.1");
        // One of the two is the client's, and nobody knows which.
        let clients = behind(&["127.0.0.0/8"]);
        assert_eq!(address(&clients, &[list, standard]), "127.0.0.1");
        assert_eq!(address(&clients, &[list, same]), "203.0.113.1");
        // Probes of the proxy itself have neither.
        assert_eq!(address(&clients, &[]), "127.0.0.1");
        assert_eq!(address(&clients, &[list, standard]), "127.0.0.1");
        // A client cannot take away what its proxy adds.
        assert_eq!(address(&clients, &[standard]), "203.0.113.9");
        assert_eq!(address(&clients, &[list, standard]), "203.0.113.9");
        // Two proxies, each with its own.
        assert_eq!(address(&clients, &[list]), "203.0.113.1");
        assert_eq!(address(&clients, &[list, standard]), "127.0.0.1");

        let clients = behind(&["127.0.0.0/8"]);
        assert_eq!(address(&clients, &[list]), "203.0.113.1");
        assert_eq!(address(&clients, &[list, standard]), "203.0.113.1");
    }

    #[test]
    fn what_cannot_be_read_is_the_proxy_and_strangers_are_not_believed() {
        let clients = behind(&["127.0.0.1/32"]);
        for said in [
            "garbage",
            "203.0.113.1:x",
            "[203.0.113.1",
            "1.2.3",
            "203.0.113.1:123456",
        ] {
            assert_eq!(
                address(&clients, &[(&X_FORWARDED_FOR, said)]),
                "127.0.0.1",
                "{said}"
            );
        }
        let clients = behind(&["10.0.0.0/8", "2001:db8::/32"]);
        let said = [(&X_FORWARDED_FOR, "203.0.113.1")];
        assert_eq!(address(&clients, &said), "127.0.0.1");
        assert_eq!(address(&behind(&["::/0"]), &said), "203.0.113.1");
    }
}
