//! People whom a proxy has logged in (Authelia, oauth2-proxy and others): it names them in headers of each request.
//!
//! Whoever can set these headers is whoever they like, so they count only from a trusted proxy that shows the shared secret, and from
//! anybody else the whole request is refused: passing them over would hide that somebody tries, or that a proxy is not trusted that
//! should be.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use secrecy::ExposeSecret as _;

use super::person::{Person, Source, no_role};
use crate::access_key::Fingerprint;
use crate::config::Settings;
use crate::http::App;
use crate::http::problem::{Code, Problem};

/// The header with the shared secret.
const SECRET: HeaderName = HeaderName::from_static("leasehold-proxy-secret");
/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 255;

/// How people are named, if a proxy does.
#[derive(Debug)]
pub(super) struct ProxyUsers {
    headers: Option<Headers>,
    secret: Option<Fingerprint>,
    /// Bounds the lines in the log.
    lines: DefaultDirectRateLimiter,
}

#[derive(Debug)]
struct Headers {
    user: HeaderName,
    groups: HeaderName,
}

impl ProxyUsers {
    pub(super) fn of(settings: &Settings) -> Self {
        let header = |name: &Option<String>| name.as_ref()?.parse::<HeaderName>().ok();
        let names = header(&settings.proxy_user_header).zip(header(&settings.proxy_groups_header));
        let secret = settings.proxy_secret.as_ref();
        let ten = std::num::NonZeroU32::new(10).expect("not zero");
        Self {
            headers: names.map(|(user, groups)| Headers { user, groups }),
            secret: secret.map(|secret| Fingerprint::of(secret.expose_secret())),
            lines: RateLimiter::direct(Quota::per_minute(ten)),
        }
    }

    /// Whom the proxy names, or why that person is not let in; none if it names nobody. Fails if it is not for the sender to name anybody.
    pub(super) fn named(
        &self,
        app: &App,
        parts: &Parts,
    ) -> Result<Option<Result<Person, Problem>>, Problem> {
        let Some(Headers { user, groups }) = &self.headers else {
            return Ok(None);
        };
        if !parts.headers.contains_key(user) && !parts.headers.contains_key(groups) {
            return Ok(None);
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|peer| peer.0.ip());
        if !peer.is_some_and(|peer| app.0.access.is_proxy(peer)) {
            return Err(self.refused(peer, user, "it is not one of trusted_proxies"));
        }
        if let Some(secret) = &self.secret {
            let shown = parts
                .headers
                .get(SECRET)
                .and_then(|shown| shown.to_str().ok());
            if shown.map(Fingerprint::of).as_ref() != Some(secret) {
                return Err(self.refused(
                    peer,
                    user,
                    "it does not send proxy_secret in the header Leasehold-Proxy-Secret",
                ));
            }
        }
        let names = texts(&parts.headers, user);
        let name = match names.as_deref() {
            Some([]) => return Ok(None),
            Some([name]) if name.is_empty() => return Ok(None),
            Some([name]) if name.len() <= MAX_NAME => name.as_str(),
            // One of them may have come from the client.
            _ => return Err(self.refused(peer, user, "the header comes twice, or is no text")),
        };
        let Some(groups) = texts(&parts.headers, groups) else {
            return Err(self.refused(peer, groups, "the header is no text"));
        };
        let groups: Vec<&str> = groups
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .filter(|group| !group.is_empty())
            .collect();
        let person = Person::with_groups(app, Source::Proxy, name, name, groups.iter().copied());
        Ok(Some(person.ok_or_else(|| no_role(name, groups))))
    }

    fn refused(&self, peer: Option<std::net::IpAddr>, header: &HeaderName, why: &str) -> Problem {
        if self.lines.check().is_ok() {
            let peer =
                peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string());
            tracing::warn!(
                peer,
                "a request with the header {header} was refused: {peer} may not name people, because {why}"
            );
        }
        Problem::new(
            Code::Forbidden,
            format!(
                "The header {header} names a person, and only the proxy of this server may do that. Send the request without it."
            ),
        )
    }
}

/// All values of a header; none if one is no text.
fn texts(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| {
            Some(
                std::str::from_utf8(value.as_bytes())
                    .ok()?
                    .trim()
                    .to_owned(),
            )
        })
        .collect()
}
