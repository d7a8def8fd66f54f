//! What is refused before anybody looks at the path: requests that others could read as another one than this server does.

use axum::http::header::{CONTENT_ENCODING, HOST, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, Version};
use hyper::body::Incoming;

use crate::http::problem::{Code, Problem};
use crate::http::server::watch::Watch;

/// Refuses what others could read as another request than this server does.
pub(super) fn screen(
    request: &Request<Incoming>,
    watch: &Watch,
    header_bytes: usize,
) -> Result<(), Problem> {
    let headers = request.headers();
    let invalid = |detail: &'static str| Err(Problem::new(Code::InvalidRequest, detail));
    if request.version() >= Version::HTTP_2 {
        if list_bytes(headers) > header_bytes {
            return Err(Problem::new(
                Code::HeadersTooLarge,
                "The headers are larger than this server takes. Send fewer or smaller headers.",
            ));
        }
        let authority = request.uri().authority().map(Authority::as_str);
        if let (Some(host), Some(authority)) = (headers.get(HOST), authority)
            && !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
        {
            return invalid("\"host\" and \":authority\" name different hosts. Send one of them.");
        }
        if authority.is_some_and(|authority| authority.contains('@')) {
            return invalid("\":authority\" names a user. Send the host alone.");
        }
        if authority.is_none() && headers.get(HOST).is_none() {
            return invalid("A request names its host, in \":authority\" or in \"host\".");
        }
    } else {
        if watch.has_bare_lf() {
            return invalid("A line of the headers ends without CR. End each line with CR and LF.");
        }
        let codings = headers.get_all(TRANSFER_ENCODING);
        let mut codings = codings.iter().map(HeaderValue::as_bytes);
        if let Some(coding) = codings.next()
            && (!coding.trim_ascii().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
        {
            return invalid("This server takes no transfer coding but \"chunked\", and that once.");
        }
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        return invalid("A request names its host in exactly one header \"Host\".");
    }
    if host.is_some_and(|host| !is_host(host)) {
        return invalid("\"Host\" is not the name or address of a host, with a port or without.");
    }
    let coded = headers.get(CONTENT_ENCODING);
    if coded.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "This server takes no compressed bodies. Send it without \"Content-Encoding\".",
        ));
    }
    Ok(())
}

/// Whether this is what a `Host` may be (RFC 9110, section 7.2). An empty one stands for none.
fn is_host(host: &HeaderValue) -> bool {
    host.is_empty()
        || host.to_str().is_ok_and(|host| {
            // The parser takes anything for a port, and anything behind a bracket.
            let behind = match host.rsplit_once(']') {
                Some((_, behind)) => behind,
                None => host.find(':').map_or("", |colon| &host[colon..]),
            };
            let port = behind.strip_prefix(':').unwrap_or_default();
            !host.contains('@')
                && (behind.is_empty() || behind.starts_with(':'))
                && (port.is_empty() || port.parse::<u16>().is_ok() && !port.starts_with('+'))
                && host.parse::<Authority>().is_ok()
        })
}

/// Lets the target of a request say which host it is for, where it does: it has precedence over `Host` (RFC 9112, section 3.2.2).
pub(super) fn name_host(request: &mut axum::extract::Request) {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::try_from(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
}

/// The size of a header list as HTTP/2 counts it (RFC 9113, section 6.5.2).
fn list_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}
