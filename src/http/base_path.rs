//! What a proxy that serves this program under a path needs: everything that names a path of ours names the one in front of it too.
//!
//! Inside there is no such path: pages, redirects and documents say `/admin`. It is taken off a request when it comes in, and put
//! in front of each link when the answer leaves. So one node can be reached under several paths, and no page has to know.
//! Deliberately absent: paths in what the interface answers. It names none but in these documents.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, REFRESH, SET_COOKIE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;

use super::access::{Access, login};
use super::problem;
use crate::config::BasePath;

/// Attributes of our pages that hold an address. What people wrote never looks like one: in it, quotes are escaped.
const LINKS: [&str; 5] = [
    " href=\"/",
    " action=\"/",
    " src=\"/",
    " formaction=\"/",
    " data-at=\"/",
];

/// The path that stands in front of all others for whoever sent this, or the one of the settings.
pub(crate) fn of(request: &Request, access: &Access, settings: &BasePath) -> BasePath {
    let Some(forwarded) = request.headers().get("x-forwarded-prefix") else {
        return settings.clone();
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if peer.is_none_or(|peer| !access.is_proxy(peer.0.ip())) {
        return settings.clone();
    }
    let forwarded = BasePath::of(forwarded.to_str().unwrap_or_default());
    if forwarded.is_none() {
        return settings.clone();
    }
    forwarded
}

/// Takes the path off a request, if the proxy has not done so. The login has a name of its own under a path.
pub(crate) fn take_off(base: &BasePath, request: &mut Request) {
    if let Some(path) = base.strip(request.uri().path()) {
        let target = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        if let Ok(target) = target.parse::<PathAndQuery>() {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = Some(target);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    let cookies: Vec<String> = request
        .headers()
        .get_all(COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            match name {
                // Of another installation, which has the whole host.
                login::NAME => None,
                login::NAME_UNDER_A_PATH => Some(format!("{}={value}", login::NAME)),
                _ => Some(format!("{name}={value}")),
            }
        })
        .collect();
    let headers = request.headers_mut();
    if headers.remove(COOKIE).is_some()
        && let Ok(cookies) = HeaderValue::try_from(cookies.join("; "))
    {
        headers.insert(COOKIE, cookies);
    }
}

/// Puts the path in front of everything in an answer that names one of ours.
pub(crate) async fn put_on(base: &BasePath, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    put_on_headers(base, &mut parts.headers);
    let kind = parts.headers.get(CONTENT_TYPE);
    let kind = kind.map_or(&b""[..], HeaderValue::as_bytes);
    let names_paths = parts.extensions.remove::<NamesPaths>().is_some();
    let is_problem = kind.starts_with(problem::MEDIA_TYPE.as_bytes());
    if !kind.starts_with(b"text/html") && !names_paths && !is_problem {
        return Response::from_parts(parts, body);
    }
    // Ours, and in memory already.
    let text = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let text = if is_problem {
        let kind = format!("\"type\":\"{}{}", base.as_str(), problem::TYPES);
        text.replacen(&format!("\"type\":\"{}", problem::TYPES), &kind, 1)
    } else if names_paths {
        // Without a `/` at the end of what others put paths behind.
        let root = format!("url\":\"{}\"", base.as_str());
        let path = format!("url\":\"{}/", base.as_str());
        text.split("url\":\"/\"")
            .map(|text| text.replace("url\":\"/", &path))
            .collect::<Vec<_>>()
            .join(&root)
    } else {
        LINKS.iter().fold(text.into_owned(), |text, link| {
            let attribute = link.trim_end_matches('/');
            text.replace(link, &format!("{attribute}{}/", base.as_str()))
        })
    };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(text))
}

/// Marks a JSON document that names paths of ours in members whose names end in `url`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamesPaths;

fn put_on_headers(base: &BasePath, headers: &mut HeaderMap) {
    if let Some(location) = headers.get(LOCATION)
        && location.as_bytes().first() == Some(&b'/')
    {
        let location = [base.as_str().as_bytes(), location.as_bytes()].concat();
        if let Ok(location) = HeaderValue::from_bytes(&location) {
            headers.insert(LOCATION, location);
        }
    }
    // An answer that leads on by itself: "0;url=/admin".
    if let Some(refresh) = headers.get(REFRESH)
        && let Some(path) = refresh.as_bytes().strip_prefix(b"0;url=/")
    {
        let refresh = [b"0;url=", base.as_str().as_bytes(), b"/", path].concat();
        if let Ok(refresh) = HeaderValue::from_bytes(&refresh) {
            headers.insert(REFRESH, refresh);
        }
    }
    let ours = format!("{}=", login::NAME);
    let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        let text = cookie.to_str().unwrap_or_default();
        let renamed = text.strip_prefix(&ours).map(|rest| {
            let rest = rest.replace("; Path=/;", &format!("; Path={};", base.as_str()));
            format!("{}={rest}", login::NAME_UNDER_A_PATH)
        });
        let cookie = renamed
            .and_then(|renamed| HeaderValue::try_from(renamed).ok())
            .unwrap_or(cookie);
        headers.append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_links_of_our_own_get_the_path() {
        let base = BasePath::of("/seats");
        let page = "<a href=\"/admin\">x</a><a href=\"#main\"></a><form action=\"/admin/login\">\
                    <p>href=&quot;/admin&quot; /admin</p><link href=\"data:,\">";
        let mut response = Response::new(Body::from(page));
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(
            LOCATION,
            HeaderValue::from_static("/admin/login?next=%2Fadmin"),
        );
        let cookie = format!("{}=abc; Path=/; Max-Age=1; Secure", login::NAME);
        headers.append(SET_COOKIE, HeaderValue::try_from(cookie).expect("ASCII"));
        let (parts, body) = put_on(&base, response).await.into_parts();
        assert_eq!(parts.headers[LOCATION], "/seats/admin/login?next=%2Fadmin");
        assert_eq!(
            parts.headers[SET_COOKIE],
            "__Secure-leasehold=abc; Path=/seats; Max-Age=1; Secure"
        );
        let text = to_bytes(body, usize::MAX).await.expect("in memory");
        assert_eq!(
            text,
            "<a href=\"/seats/admin\">x</a><a href=\"#main\"></a><form action=\"/seats/admin/login\">\
             <p>href=&quot;/admin&quot; /admin</p><link href=\"data:,\">"
        );
    }

    #[test]
    fn a_request_loses_the_path_and_the_login_of_others() {
        let base = BasePath::of("/seats");
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("/seats/admin/pools?a=%2F");
        request.headers_mut().insert(
            COOKIE,
            HeaderValue::from_static("a=b; __Host-leasehold=other; __Secure-leasehold=mine"),
        );
        take_off(&base, &mut request);
        assert_eq!(request.uri(), "/admin/pools?a=%2F");
        assert_eq!(request.headers()[COOKIE], "a=b; __Host-leasehold=mine");
    }
}
