//! Pages that may call, and the headers by which browsers learn it (CORS).
//!
//! Only the routes of holders answer other origins at all, and each answer names the one origin that asked. Every page may
//! ask for leave, and read why it was refused. It reads what a key or a token gives only if the key names its origin, or if it
//! has the token. This is no protection of the server, where an origin can be forged: it protects the people whose browser a
//! foreign page would use.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

/// What a page may send besides the headers that need no leave.
/// `traceparent`, `tracestate` and `baggage` are added by tracing in browsers (W3C Trace Context, W3C Baggage).
const SENT: HeaderValue = HeaderValue::from_static(
    "authorization,content-type,idempotency-key,x-request-id,traceparent,tracestate,baggage",
);
/// What a page may read besides the headers that need no leave.
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after,etag,x-request-id");
/// Chromium keeps a leave no longer than this, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origin of the page that asks; an empty one if the header is not text.
pub(super) fn asking(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(ORIGIN)
        .map(|origin| origin.to_str().unwrap_or(""))
}

/// The host that was asked, as `host:port`.
pub(super) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match headers.get(HOST) {
        Some(host) => Some(host.to_str().unwrap_or("")),
        None => uri.authority().map(|authority| authority.as_str()),
    }
}

/// Whether `host:port` is this machine by its own words.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether `host:port` is a name that nobody in the net could have pointed at this machine: its own, or one without a
/// dot, which is never asked of the net's name servers. Proxies and containers go by such names.
pub(super) fn is_near(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or("");
    is_loopback(host) || (!host.starts_with('[') && !name.is_empty() && !name.contains(['.', '@']))
}

/// Whether an origin is a page on this machine. What is no origin as browsers write it is none.
pub(super) fn is_local_page(origin: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(origin) else {
        return false;
    };
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && !origin.ends_with('/')
        && !origin.contains('@');
    is_plain && url.host_str().is_some_and(is_loopback)
}

/// Whether an origin is the host that was asked.
pub(super) fn is_same(origin: &str, host: Option<&str>) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| host.is_some_and(|host| host.eq_ignore_ascii_case(authority)))
}

/// `true` if the headers of a browser show that a page of this very origin sent the request. For what changes something with a
/// credential that the browser adds by itself.
pub(crate) fn is_from_here(headers: &HeaderMap, uri: &Uri) -> bool {
    match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => asking(headers).is_some_and(|origin| is_same(origin, host(headers, uri))),
    }
}

/// Whether this asks for leave, before the request itself.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The leave.
pub(super) fn leave(origin: &str, methods: &str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(methods) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    name(headers, origin);
    vary(headers);
    response
}

/// The answer of a route that pages may call; a page of this origin may read it.
pub(super) fn shared(mut response: Response, origin: Option<&str>) -> Response {
    let headers = response.headers_mut();
    vary(headers);
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        name(headers, origin);
    }
    response
}

/// Keeps caches from giving one origin the answer for another.
fn vary(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("origin"));
}

fn name(headers: &mut HeaderMap, origin: &str) {
    if let Ok(origin) = HeaderValue::from_str(origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_few_names_and_no_others() {
        for host in [
            "localhost",
            "localhost:7070",
            "LOCALHOST",
            "127.0.0.1:7070",
            "127.9.9.9",
            "[::1]:7070",
            "a.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "localhost.",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
        assert!(is_near("node-1:7070") && is_near("[::1]:7070") && is_near("127.0.0.1"));
        for host in [
            "",
            "evil.example",
            "evil.example:7070",
            "10.0.0.1",
            "[2001:db8::1]",
            "localhost.",
            "a@localhost",
        ] {
            assert!(!is_near(host), "{host}");
        }
        assert!(is_local_page("http://localhost:3000") && is_local_page("https://[::1]:3000"));
        for origin in [
            "null",
            "",
            "localhost",
            "file://localhost",
            "http://localhost:80@evil.example",
            "http://[::1].evil.example",
            "http://localhost:x",
            "http://[::1",
            "http://localhost/page",
            "https://evil.example",
        ] {
            assert!(!is_local_page(origin), "{origin}");
        }
    }
}
