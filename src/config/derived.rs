//! What follows from the settings: files that are read, addresses that are put together, numbers that depend on the machine.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lettre::message::Mailbox;
use secrecy::ExposeSecret as _;

use super::{BasePath, RedisUrl, Settings, SmtpUrl, WrongSetting};
use crate::names::KeyPrefix;
use crate::tls::{ClientCertificate, ServerCertificate, Tls, Unusable};

impl Settings {
    /// The Redis to use; none is the embedded one.
    pub fn redis(&self) -> Option<RedisUrl> {
        let url = self.redis_url.as_ref()?.expose_secret();
        Some(
            url.parse()
                .expect("checked before the settings were handed out"),
        )
    }

    /// The certificates for a Redis with TLS.
    pub fn redis_tls(&self) -> Result<Tls, WrongSetting> {
        let certificate = pem(
            "redis_cert_file",
            self.redis_cert_file.as_deref(),
            "certificate",
        )?;
        let key = pem("redis_key_file", self.redis_key_file.as_deref(), "key")?;
        if let (Some(certificate), Some(key)) = (&self.redis_cert_file, &self.redis_key_file) {
            ServerCertificate::read(certificate, key).map_err(|unusable| {
                unusable_pair(
                    "redis_cert_file and redis_key_file",
                    (certificate, key),
                    &unusable,
                )
            })?;
        }
        Ok(Tls {
            ca: pem(
                "redis_ca_file",
                self.redis_ca_file.as_deref(),
                "certificate",
            )?,
            client: certificate
                .zip(key)
                .map(|(certificate, key)| ClientCertificate {
                    certificate,
                    key: key.into(),
                }),
        })
    }

    /// What callers are shown, if this node speaks TLS.
    pub fn server_certificate(&self) -> Result<Option<ServerCertificate>, WrongSetting> {
        let (Some(certificate), Some(key)) = (&self.tls_cert_file, &self.tls_key_file) else {
            return Ok(None);
        };
        let read = ServerCertificate::read(certificate, key);
        read.map(Some).map_err(|unusable| {
            unusable_pair(
                "tls_cert_file and tls_key_file",
                (certificate, key),
                &unusable,
            )
        })
    }

    /// How the addresses of this node begin.
    pub const fn scheme(&self) -> &'static str {
        if self.tls_cert_file.is_some() {
            "https"
        } else {
            "http"
        }
    }

    /// Where the runbooks are, for a node that listens at this address.
    pub fn runbooks(&self, address: SocketAddr) -> String {
        match &self.runbook_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("{}/docs/runbooks", self.pages(address)),
        }
    }

    /// What stands in front of the path of a page, for a node that listens at this address: `public_url`, or the node itself.
    pub fn pages(&self, address: SocketAddr) -> String {
        match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let host = if address.ip().is_unspecified() {
                    let name = rustix::system::uname();
                    name.nodename().to_string_lossy().into_owned()
                } else {
                    SocketAddr::new(address.ip(), 0)
                        .to_string()
                        .trim_end_matches(":0")
                        .to_owned()
                };
                let (scheme, port) = (self.scheme(), address.port());
                format!("{scheme}://{host}:{port}{}", self.base_path().as_str())
            }
        }
    }

    /// Whose proofs those of this installation are.
    pub fn issuer(&self, installation: &str) -> String {
        match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("urn:leasehold:{installation}"),
        }
    }

    /// The certificate of the provider, if it is one of your own.
    pub fn oidc_ca(&self) -> Result<Option<Vec<u8>>, WrongSetting> {
        pem("oidc_ca_file", self.oidc_ca_file.as_deref(), "certificate")
    }

    /// What stands in front of every key.
    pub fn key_prefix(&self) -> KeyPrefix {
        let prefix = self.key_prefix.as_deref().unwrap_or_default();
        prefix
            .parse()
            .expect("checked before the settings were handed out")
    }

    /// Longest wait for Redis.
    pub const fn redis_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_timeout_ms)
    }

    /// What is in front of every path.
    pub fn base_path(&self) -> BasePath {
        BasePath::of(self.base_path.as_deref().unwrap_or_default())
    }

    /// How long to serve on after SIGTERM.
    pub const fn drain_wait(&self) -> Duration {
        Duration::from_millis(self.drain_wait_ms)
    }

    /// Threads that answer requests.
    ///
    /// Half of the cores: Redis is often on the same machine and needs one for itself, and a heartbeat that wanders between
    /// threads costs a third more (see docs/performance.md).
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            (cores / 2).max(1)
        })
    }

    /// The proxy for messages to webhooks.
    pub fn webhook_proxy(&self) -> Option<reqwest::Url> {
        let proxy = self.webhook_proxy.as_ref()?.expose_secret();
        Some(
            proxy
                .parse()
                .expect("checked before the settings were handed out"),
        )
    }

    /// The server that takes mail, and whom it is from.
    pub fn mail(&self) -> Option<(SmtpUrl, Mailbox)> {
        let server = self.smtp_url.as_ref()?.expose_secret();
        let from = self.smtp_from.as_ref()?;
        let checked = "checked before the settings were handed out";
        Some((server.parse().expect(checked), from.parse().expect(checked)))
    }

    /// How long a connection may stay open without a request.
    pub const fn http_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.http_idle_timeout_ms)
    }

    /// How often to record ended leases; zero leaves it to other nodes.
    pub const fn sweep_every(&self) -> Duration {
        Duration::from_millis(self.sweep_every_ms)
    }
}

/// A certificate and a key of which one cannot be used, or that do not belong together.
fn unusable_pair(
    settings: &str,
    (certificate, key): (&Path, &Path),
    unusable: &Unusable,
) -> WrongSetting {
    WrongSetting {
        setting: settings.to_owned(),
        origin: format!("{} and {}", certificate.display(), key.display()),
        wrong: format!("cannot be used: {unusable}"),
        right: "give a certificate and its private key, both in PEM form, that this user may read"
            .to_owned(),
    }
}

/// Reads a file that is to be in PEM form.
fn pem(setting: &str, file: Option<&Path>, what: &str) -> Result<Option<Vec<u8>>, WrongSetting> {
    let Some(file) = file else {
        return Ok(None);
    };
    let wrong = |wrong: String| WrongSetting {
        setting: setting.to_owned(),
        origin: file.display().to_string(),
        wrong,
        right: format!("give a file with a {what} in PEM form"),
    };
    let text = std::fs::read(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !text.windows(11).any(|begin| begin == b"-----BEGIN ") {
        return Err(wrong("is not in PEM form".to_owned()));
    }
    Ok(Some(text))
}
