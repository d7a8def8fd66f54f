//! One attempt over HTTP. What a receiver says is taken for hostile: it is read up to a bound, followed nowhere, and shown to
//! admins only.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};

use super::address::{Allowed, Resolver, system};
use crate::client::innermost;
use crate::time::Timestamp;
use crate::tls::choose_cryptography;

/// How long one attempt may take in all, and to connect.
pub(super) const TOTAL: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next message, and how many of them for one receiver. Short, because the address of
/// a name is looked at when it connects.
const KEPT_OPEN: Duration = Duration::from_secs(2);
const OPEN: usize = 8;
/// Most that is read of a reply, and most that is kept of it.
const REPLY: usize = 64 * 1024;
pub(super) const KEPT: usize = 512;

/// What a receiver's certificate is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roots {
    /// The authorities that this machine trusts. A minimal image may have none.
    Machine,
    /// Nothing: for `http://` only.
    None,
}

/// A client that connects only to addresses that are allowed: no redirects, no proxy but that of the settings.
///
/// A proxy looks names up itself, so it decides where they lead.
pub(super) fn client<Lookup, Answer>(
    resolver: Resolver<Lookup>,
    roots: Roots,
    proxy: Option<&Url>,
) -> Result<reqwest::Client, reqwest::Error>
where
    Lookup: Fn(String) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    choose_cryptography();
    let own = proxy.and_then(Url::host_str).map(str::to_owned);
    let resolver = resolver.with_own(own);
    let mut client = reqwest::Client::builder()
        .timeout(TOTAL)
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .pool_idle_timeout(KEPT_OPEN)
        .pool_max_idle_per_host(OPEN)
        .user_agent(concat!("Leasehold/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(resolver));
    if let Some(proxy) = proxy {
        client = client.proxy(reqwest::Proxy::all(proxy.clone())?);
    }
    match roots {
        Roots::Machine => client.build(),
        Roots::None => client.tls_certs_only([]).build(),
    }
}

/// Sends over HTTP, with one client for `http://` and one for `https://`, each made when it is first needed.
pub(super) struct Poster {
    http: OnceLock<reqwest::Client>,
    https: OnceLock<reqwest::Client>,
    allowed: Allowed,
    proxy: Option<Url>,
}

/// What a receiver answered.
pub(super) struct Answer {
    /// The status of HTTP, or the code of SMTP.
    pub(super) status: u16,
    /// When it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
    /// The first part of what it said.
    pub(super) reply: Option<String>,
    /// Why it is not the answer that is hoped for.
    pub(super) complaint: Option<&'static str>,
}

impl Poster {
    pub(super) const fn new(allowed: Allowed, proxy: Option<Url>) -> Self {
        Self {
            http: OnceLock::new(),
            https: OnceLock::new(),
            allowed,
            proxy,
        }
    }

    /// The client for a scheme. One that could not be made is tried again: certificates may have been installed.
    pub(super) fn client(&self, scheme: &str) -> Result<&reqwest::Client, String> {
        let (kept, roots) = match scheme {
            "https" => (&self.https, Roots::Machine),
            _ => (&self.http, Roots::None),
        };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        let resolver = Resolver::new(self.allowed, system);
        let made = client(resolver, roots, self.proxy.as_ref());
        let made = made.map_err(|error| {
            format!(
                "this machine has no CA certificates to check a receiver with; install ca-certificates, or name a file \
                 of them in SSL_CERT_FILE ({})",
                innermost(&error)
            )
        })?;
        Ok(kept.get_or_init(|| made))
    }

    /// One attempt. An error is in words for the operator, and without the URL, which may hold a secret.
    pub(super) async fn send(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
        at: Timestamp,
    ) -> Result<Answer, String> {
        let client = self.client(url.scheme())?;
        let response = client
            .post(url)
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .map_err(in_words)?;
        let status = response.status();
        let retry_after = retry_after(&response, at);
        let reply = read(response).await.map_err(in_words)?;
        Ok(Answer {
            status: status.as_u16(),
            retry_after,
            reply,
            complaint: complaint(status),
        })
    }
}

/// Why an answer is none that is hoped for.
fn complaint(status: StatusCode) -> Option<&'static str> {
    if status.is_success() {
        None
    } else if status.is_redirection() {
        Some("the receiver redirects, which is not followed; give the webhook the other URL")
    } else if status == StatusCode::GONE {
        Some("the receiver is gone")
    } else {
        Some("the receiver did not take it")
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(response: &Response, at: Timestamp) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    let ms = date.timestamp_millis() - at.0;
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// Reads a reply up to its bound, and returns its first part.
async fn read(mut response: Response) -> Result<Option<String>, reqwest::Error> {
    let (mut seen, mut kept) = (0, Vec::new());
    while let Some(chunk) = response.chunk().await? {
        seen += chunk.len();
        let room = KEPT.saturating_sub(kept.len()).min(chunk.len());
        kept.extend_from_slice(&chunk[..room]);
        if seen >= REPLY {
            // The rest is not waited for; the connection ends here.
            break;
        }
    }
    Ok(in_one_line(&String::from_utf8_lossy(&kept)))
}

/// What a receiver said, without what would do something to a terminal.
pub(super) fn in_one_line(text: &str) -> Option<String> {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn in_words(error: reqwest::Error) -> String {
    if error.is_timeout() {
        let what = if error.is_connect() {
            "connect"
        } else {
            "answer"
        };
        return format!("the receiver did not {what} in time");
    }
    let error = error.without_url();
    format!("the receiver cannot be reached: {}", innermost(&error))
}
