//! The origin of a page that may use a client key.

use serde::{Deserialize, Serialize};

use crate::names::Invalid;

/// Where a page comes from, as browsers write it: scheme, host, and the port if it is not the scheme's own.
///
/// Besides those of the web there are those of programs with pages in them: `capacitor://localhost`,
/// `chrome-extension://…`, `file://`, and `null` for pages without an origin, such as files and sandboxed frames. `null` stands for all
/// of these together. Compared as a whole. Deliberately absent: wildcards and suffixes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    /// What browsers write for a page without an origin.
    const NULL: &'static str = "null";

    /// The origin itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is what a browser wrote.
    pub fn is(&self, written: &str) -> bool {
        // Browsers write origins of the web in small letters; the names in others are case-sensitive to some of them.
        self.0 == written || (!self.is_of_the_web() && self.0.eq_ignore_ascii_case(written))
    }

    /// Whether it is one of `http` or `https`.
    pub fn is_of_the_web(&self) -> bool {
        self.0.starts_with("http://") || self.0.starts_with("https://")
    }
}

/// Whether this is the origin of a page in a program: a scheme of its own, and what stands for a host there.
fn is_of_a_program(scheme: &str, rest: &str) -> bool {
    // Those of the net, and those that are no origin, are typing errors.
    const OTHERS: [&str; 8] = [
        "ftp",
        "ws",
        "wss",
        "data",
        "blob",
        "about",
        "javascript",
        "mailto",
    ];
    let is_scheme = scheme.len() <= 64
        && scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
    let host = rest.split_once(':');
    let (host, port) = host.map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_host = host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_port = port.is_none_or(|port| {
        !port.starts_with('0')
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    is_scheme
        && !OTHERS.contains(&scheme)
        && is_host
        && is_port
        && (host.is_empty() == (scheme == "file"))
}

impl TryFrom<String> for Origin {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid(
                "an origin is http:// or https:// and a host, with a port if it is not the usual one, and nothing \
                 behind it: https://crm.example; or that of a program, such as capacitor://localhost, or null"
                    .into(),
            )
        };
        let text = text.to_ascii_lowercase();
        if text == Self::NULL {
            return Ok(Self(text));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let usual = match scheme {
            "http" => "80",
            "https" => "443",
            _ if is_of_a_program(scheme, rest) => return Ok(Self(text)),
            _ => return Err(invalid()),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => {
                let (address, after) = v6.split_once(']').ok_or_else(invalid)?;
                address
                    .parse::<std::net::Ipv6Addr>()
                    .map_err(|_| invalid())?;
                let port = match after {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or_else(invalid)?),
                };
                (&rest[..address.len() + 2], port)
            }
            None => {
                let (host, port) = match rest.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (rest, None),
                };
                let labels = host.len() <= 253
                    && host.split('.').all(|label| {
                        (1..=63).contains(&label.len())
                            && label.bytes().all(|byte| {
                                byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
                            })
                    });
                if !labels {
                    return Err(invalid());
                }
                (host, port)
            }
        };
        match port {
            None => Ok(Self(format!("{scheme}://{host}"))),
            Some(port) if port == usual => Ok(Self(format!("{scheme}://{host}"))),
            Some(port)
                if !port.starts_with('0')
                    && port.bytes().all(|byte| byte.is_ascii_digit())
                    && port.parse::<u16>().is_ok_and(|port| port > 0) =>
            {
                Ok(Self(format!("{scheme}://{host}:{port}")))
            }
            Some(_) => Err(invalid()),
        }
    }
}

impl std::str::FromStr for Origin {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::try_from(text.to_owned())
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}
