//! Requests to the provider: never redirected, never for long, never more than a bound.

use std::sync::OnceLock;
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::Error;
use crate::client::innermost;
use crate::tls::choose_cryptography;

/// How long one request may take in all, and to connect.
const TOTAL: Duration = Duration::from_secs(8);
const CONNECT: Duration = Duration::from_secs(4);
/// Maximum length of a document, in bytes.
const MAX: usize = 512 * 1024;

pub(super) struct Fetcher {
    ca: Option<Vec<u8>>,
    /// Made when it is first needed: a machine without certificates still serves everything else.
    client: OnceLock<Client>,
}

impl Fetcher {
    pub(super) const fn new(ca: Option<Vec<u8>>) -> Self {
        Self {
            ca,
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> Result<&Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        choose_cryptography();
        let mut client = Client::builder()
            .timeout(TOTAL)
            .connect_timeout(CONNECT)
            // An answer that leads elsewhere could lead into our own network.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("Leasehold/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = &self.ca {
            let certificates = Certificate::from_pem_bundle(ca)
                .map_err(|error| Error::Provider(format!("oidc_ca_file: {error}")))?;
            client = client.tls_certs_only(certificates);
        }
        let client = client.build().map_err(|error| {
            Error::Provider(format!(
                "this machine has no CA certificates to check it with; install ca-certificates, or set oidc_ca_file ({})",
                innermost(&error)
            ))
        })?;
        Ok(self.client.get_or_init(|| client))
    }

    /// A JSON document.
    pub(super) async fn get(&self, address: &str, bearer: Option<&str>) -> Result<Value, Error> {
        Ok(self.get_with_clock(address, bearer).await?.0)
    }

    /// A JSON document, and the clock of who answered, in seconds.
    pub(super) async fn get_with_clock(
        &self,
        address: &str,
        bearer: Option<&str>,
    ) -> Result<(Value, Option<i64>), Error> {
        check_address(address)?;
        let mut request = self.client()?.get(address);
        if let Some(bearer) = bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {bearer}"))
                .map_err(|_| Error::Untrusted("the access token is no text".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let (status, clock, document) = send(address, request).await?;
        if !status.is_success() {
            return Err(Error::Provider(format!("{address} answered {status}")));
        }
        Ok((document, clock))
    }

    /// Sends a form; the status and the JSON document of the answer. `basic` is an encoded name and secret.
    pub(super) async fn post(
        &self,
        address: &str,
        form: String,
        basic: Option<HeaderValue>,
    ) -> Result<(StatusCode, Value), Error> {
        check_address(address)?;
        let mut request = self
            .client()?
            .post(address)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        if let Some(mut basic) = basic {
            basic.set_sensitive(true);
            request = request.header(AUTHORIZATION, basic);
        }
        let (status, _, document) = send(address, request).await?;
        Ok((status, document))
    }
}

/// Refuses addresses at which what is sent could be read on the way.
pub(super) fn check_address(address: &str) -> Result<(), Error> {
    let url: reqwest::Url = address
        .parse()
        .map_err(|_| Error::Provider(format!("{address:?} is no address")))?;
    let is_near = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_near => Ok(()),
        _ => Err(Error::Provider(format!("{address} is not encrypted"))),
    }
}

async fn send(
    address: &str,
    request: RequestBuilder,
) -> Result<(StatusCode, Option<i64>, Value), Error> {
    let failed = |error: &reqwest::Error| {
        Error::Provider(format!("{address} does not answer: {}", innermost(error)))
    };
    let answer = request.header(ACCEPT, "application/json").send().await;
    let mut answer: Response = answer.map_err(|error| failed(&error))?;
    let status = answer.status();
    let clock = answer.headers().get(DATE).and_then(|date| {
        let date = DateTime::parse_from_rfc2822(date.to_str().ok()?).ok()?;
        Some(date.timestamp())
    });
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > MAX {
            return Err(Error::Provider(format!("{address} answers without an end")));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_redirection() {
        return Err(Error::Provider(format!(
            "{address} leads elsewhere ({status}), and redirects are not followed"
        )));
    }
    let document = serde_json::from_slice(&body).map_err(|_| {
        Error::Provider(format!(
            "{address} answered {status} without a JSON document"
        ))
    })?;
    Ok((status, clock, document))
}
