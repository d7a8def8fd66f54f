//! What `smtp_url` may say: the server that takes mail, and the account there.
//!
//! Every part is honoured or refused, as with `redis_url`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use secrecy::SecretString;

use crate::names::Invalid;

/// What to write instead of a URL that cannot be used.
pub(super) const RIGHT: &str = "give smtps://user:password@mail.example, or smtp://user:password@mail.example:587, which \
     begins without TLS and goes on with it; ?tls=off is for servers that have none";

/// The server that takes mail.
///
/// Its `Display` and its `Debug` have no credentials.
#[derive(Clone)]
pub struct SmtpUrl {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When the connection is encrypted.
    pub tls: SmtpTls,
    /// User and password, if the server wants them.
    pub credentials: Option<(String, SecretString)>,
}

/// When a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// From its first byte.
    Implicit,
    /// With `STARTTLS`, before anything is said that matters; a server that has none is sent nothing.
    Required,
    /// Never.
    Off,
}

impl fmt::Display for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.tls {
            SmtpTls::Implicit => "smtps",
            SmtpTls::Required | SmtpTls::Off => "smtp",
        };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        write!(f, "{scheme}://{host}:{}", self.port)
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpUrl({self})")
    }
}

impl SmtpUrl {
    /// Whether the server can only be on this machine.
    fn is_local(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl FromStr for SmtpUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |sentence: &str| Invalid(sentence.to_owned());
        if text
            .bytes()
            .any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\')
        {
            return Err(invalid("has spaces, control characters or backslashes"));
        }
        let url: Url = text.parse().map_err(|_| invalid("is not a URL"))?;
        let mut tls = match url.scheme() {
            "smtps" => SmtpTls::Implicit,
            "smtp" => SmtpTls::Required,
            // The word before :// may be half of a secret that was pasted here: not repeated.
            _ => return Err(invalid("does not begin with smtps:// or smtp://")),
        };
        if url.fragment().is_some() {
            return Err(invalid(
                "has a fragment, which means nothing here; a # in a password is written %23",
            ));
        }
        if !matches!(url.path(), "" | "/") {
            return Err(invalid(
                "has a path, which means nothing here; a / in a password is written %2F",
            ));
        }
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("tls", "off") if tls == SmtpTls::Required => tls = SmtpTls::Off,
                ("tls", _) => return Err(invalid("has a tls other than off, behind smtp://")),
                _ => return Err(invalid("has a parameter other than tls")),
            }
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_name = host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if host.is_empty() || !(is_name || host.parse::<IpAddr>().is_ok()) {
            return Err(invalid("names no server"));
        }
        let port = url.port().unwrap_or(match tls {
            SmtpTls::Implicit => 465,
            SmtpTls::Required => 587,
            SmtpTls::Off => 25,
        });
        if port == 0 {
            return Err(invalid("has the port 0"));
        }
        let decoded = |part: &str| {
            let part = percent_decode_str(part).decode_utf8();
            part.map(|part| part.into_owned())
                .map_err(|_| invalid("has a user or a password that is not UTF-8"))
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) => return Err(invalid("has a password without a user")),
            (_, None) => return Err(invalid("has a user without a password")),
            (user, Some(password)) => {
                Some((decoded(user)?, SecretString::from(decoded(password)?)))
            }
        };
        let host = host.to_owned();
        let server = Self {
            host,
            port,
            tls,
            credentials,
        };
        if tls == SmtpTls::Off && server.credentials.is_some() && !server.is_local() {
            return Err(invalid(
                "has a password that everybody on the way could read, because of tls=off",
            ));
        }
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn every_part_is_honoured() {
        for (text, shown, tls) in [
            (
                "smtps://mail.example",
                "smtps://mail.example:465",
                SmtpTls::Implicit,
            ),
            (
                "smtp://mail.example/",
                "smtp://mail.example:587",
                SmtpTls::Required,
            ),
            (
                "smtp://mail.example:2525",
                "smtp://mail.example:2525",
                SmtpTls::Required,
            ),
            ("smtp://mail?tls=off", "smtp://mail:25", SmtpTls::Off),
            ("smtp://[::1]:25?tls=off", "smtp://[::1]:25", SmtpTls::Off),
            (
                "smtp://u:p@127.0.0.1?tls=off",
                "smtp://127.0.0.1:25",
                SmtpTls::Off,
            ),
        ] {
            let server: SmtpUrl = text.parse().expect(text);
            assert_eq!((server.to_string().as_str(), server.tls), (shown, tls));
        }
        let server: SmtpUrl = "smtps://seats%40a.example:p%2Fq%23@mail.example"
            .parse()
            .expect("a URL");
        assert!(!format!("{server:?}{server}").contains("p/q"));
        let (user, password) = server.credentials.expect("both are there");
        assert_eq!(user, "seats@a.example");
        assert_eq!(password.expose_secret(), "p/q#");
    }

    #[test]
    fn what_means_nothing_is_refused_without_the_password() {
        for text in [
            "",
            "mail.example",
            "mail.example:587",
            "http://mail.example",
            "smtp://",
            "smtp:mail.example",
            "smtps://hunter2@mail.example",
            "smtps://:hunter2@mail.example",
            "smtps://u:hunter2@mail.example/path",
            "smtps://u:hunter2@mail.example#x",
            "smtps://u:hun/ter2@mail.example",
            "smtps://u:hunter2@mail.example?tls=off",
            "smtp://u:hunter2@mail.example?tls=required",
            "smtp://u:hunter2@mail.example?starttls=yes",
            "smtp://u:hunter2@mail.example?tls=off",
            "smtp://u:hunter2@mail.example:0",
            "smtp://u:hunter2@mail.example:99999",
            "smtp://u:%ff@mail.example",
            "smtp://mail example",
            "smtp://mail.example,other.example",
        ] {
            let Err(wrong) = text.parse::<SmtpUrl>() else {
                panic!("{text} was taken");
            };
            assert!(!wrong.to_string().contains("hun"), "{wrong}");
        }
    }
}
