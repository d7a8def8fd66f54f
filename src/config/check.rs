//! Which values and which combinations of them refuse to start.

mod single_sign_on;

use lettre::message::Mailbox;
use secrecy::ExposeSecret as _;
use tracing_subscriber::EnvFilter;

use super::{
    BasePath, Loaded, Origin, RedisUrl, Settings, SmtpUrl, WrongSetting, log_filter, public_url,
    redis_url, smtp_url,
};
use crate::names::KeyPrefix;

const LOG_FILTERS: &str = "give off, error, warn, info, debug or trace, or levels by module such as info,leasehold::store=debug";

impl Loaded {
    /// Refuses values out of range and combinations that cannot work.
    pub fn check(self) -> Result<Settings, WrongSetting> {
        self.check_values()?;
        self.check_pools()?;
        self.check_together()?;
        Ok(self.settings)
    }

    fn check_values(&self) -> Result<(), WrongSetting> {
        let settings = &self.settings;
        let secrets = settings.secret.iter().map(|secret| ("secret", secret));
        let previous = settings
            .previous_secrets
            .iter()
            .map(|secret| ("previous_secrets", secret));
        for (name, secret) in secrets.chain(previous) {
            let length = secret.expose_secret().chars().count();
            if length < Settings::MIN_SECRET {
                return Err(self.wrong(
                    name,
                    format!("has {length} characters"),
                    format!(
                        "use at least {}, for example from: openssl rand -base64 32",
                        Settings::MIN_SECRET
                    ),
                ));
            }
        }
        if let Some(proxy) = &settings.webhook_proxy {
            let url = proxy.expose_secret().parse::<reqwest::Url>().ok();
            let is_proxy = |url: &reqwest::Url| {
                ["http", "https"].contains(&url.scheme())
                    && url.has_host()
                    && url.path() == "/"
                    && url.query().is_none()
            };
            if !url.as_ref().is_some_and(is_proxy) {
                return Err(self.wrong(
                    "webhook_proxy",
                    "is not the address of a proxy",
                    "give a URL such as http://proxy.example:3128",
                ));
            }
        }
        if let Some(url) = &settings.smtp_url
            && let Err(wrong) = url.expose_secret().parse::<SmtpUrl>()
        {
            return Err(self.wrong("smtp_url", wrong.to_string(), smtp_url::RIGHT));
        }
        if let Some(from) = &settings.smtp_from
            && from.parse::<Mailbox>().is_err()
        {
            return Err(self.wrong(
                "smtp_from",
                "is not the address of a sender",
                "give one such as seats@example.com or \"Leasehold <seats@example.com>\"",
            ));
        }
        if let Some(url) = &settings.runbook_url
            && !url.parse::<reqwest::Url>().is_ok_and(|url| url.has_host())
        {
            return Err(self.wrong(
                "runbook_url",
                "is not an address",
                "give one such as https://wiki.example/leasehold",
            ));
        }
        if let Some(url) = &settings.otlp_endpoint {
            let url = url.parse::<reqwest::Url>().ok();
            let is_one = |url: &reqwest::Url| {
                ["http", "https"].contains(&url.scheme())
                    && url.has_host()
                    && url.username().is_empty()
                    && url.query().is_none()
            };
            if !url.as_ref().is_some_and(is_one) {
                return Err(self.wrong(
                    "otlp_endpoint",
                    "is not the address of a collector",
                    "give a URL such as http://127.0.0.1:4318; headers it asks for come from OTEL_EXPORTER_OTLP_HEADERS",
                ));
            }
        }
        if let Err(sentence) = log_filter::check(&settings.log) {
            return Err(self.wrong("log", sentence, LOG_FILTERS));
        }
        if let Some(key) = &settings.admin_key {
            let key = key.expose_secret();
            if key.chars().count() < Settings::MIN_ADMIN_KEY {
                return Err(self.wrong(
                    "admin_key",
                    format!("has {} characters", key.chars().count()),
                    format!(
                        "use at least {}, for example from: openssl rand -hex 16",
                        Settings::MIN_ADMIN_KEY
                    ),
                ));
            }
            // It travels in an Authorization header, which carries nothing else.
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(self.wrong(
                    "admin_key",
                    "has characters that a header cannot carry",
                    "use letters, digits and punctuation of ASCII, without spaces",
                ));
            }
        }
        if let Some(url) = &settings.public_url
            && let Err(wrong) = public_url::check(url)
        {
            return Err(self.wrong(
                "public_url",
                wrong,
                "give the address that callers use, such as https://seats.example; http:// only on loopback",
            ));
        }
        if let Some(url) = &settings.oidc_issuer
            && let Err(wrong) = public_url::check(url)
        {
            return Err(self.wrong(
                "oidc_issuer",
                wrong,
                "give the address of the provider as its discovery document has it, such as https://login.example/realms/ops; \
                 http:// only on loopback",
            ));
        }
        if let Some(secret) = &settings.proxy_secret
            && secret.expose_secret().chars().count() < Settings::MIN_ADMIN_KEY
        {
            return Err(self.wrong(
                "proxy_secret",
                format!("has {} characters", secret.expose_secret().chars().count()),
                format!(
                    "use at least {}, for example from: openssl rand -hex 16",
                    Settings::MIN_ADMIN_KEY
                ),
            ));
        }
        for (name, header) in [
            ("proxy_user_header", &settings.proxy_user_header),
            ("proxy_groups_header", &settings.proxy_groups_header),
        ] {
            if header
                .as_ref()
                .is_some_and(|header| header.parse::<axum::http::HeaderName>().is_err())
            {
                return Err(self.wrong(
                    name,
                    "is not the name of a header",
                    "give a name such as Remote-User",
                ));
            }
        }
        if let Some(url) = &settings.redis_url
            && let Err(wrong) = url.expose_secret().parse::<RedisUrl>()
        {
            return Err(self.wrong("redis_url", wrong.to_string(), redis_url::RIGHT));
        }
        if let Some(path) = &settings.base_path
            && !BasePath::is_one(path)
        {
            return Err(self.wrong(
                "base_path",
                "is not a path in front of others",
                "give segments of letters, digits, - _ . and ~, with a / before each, such as /seats",
            ));
        }
        if let Some(prefix) = &settings.key_prefix
            && let Err(wrong) = prefix.parse::<KeyPrefix>()
        {
            return Err(self.wrong(
                "key_prefix",
                wrong.to_string(),
                "give letters, digits, - _ and ., at most 32, such as staging",
            ));
        }
        if let Err(error) = EnvFilter::try_new(&settings.log) {
            return Err(self.wrong("log", format!("is not a filter: {error}"), LOG_FILTERS));
        }
        for (name, value, least, most) in [
            ("drain_wait_ms", settings.drain_wait_ms, 0, 600_000),
            ("threads", settings.threads() as u64, 1, 1_024),
            (
                "max_connections",
                settings.max_connections as u64,
                1,
                1_000_000,
            ),
            (
                "http_idle_timeout_ms",
                settings.http_idle_timeout_ms,
                1_000,
                86_400_000,
            ),
            (
                "redis_connections",
                settings.redis_connections.into(),
                1,
                1_000,
            ),
            ("redis_timeout_ms", settings.redis_timeout_ms, 10, 60_000),
            (
                "metrics_max_pools",
                settings.metrics_max_pools as u64,
                0,
                10_000,
            ),
            ("sweep_every_ms", settings.sweep_every_ms, 0, 60_000),
            ("webhook_retry_ms", settings.webhook_retry_ms, 10, 3_600_000),
            ("webhook_attempts", settings.webhook_attempts.into(), 1, 100),
        ] {
            if !(least..=most).contains(&value) {
                return Err(self.wrong(
                    name,
                    format!("is {value}"),
                    format!("give {least} to {most}"),
                ));
            }
        }
        Ok(())
    }

    fn check_pools(&self) -> Result<(), WrongSetting> {
        for (name, policy) in &self.settings.pools {
            if let Err(invalid) = name.check().and_then(|()| policy.check()) {
                return Err(self.wrong(
                    &format!("pools.{name}"),
                    "cannot be used",
                    invalid.to_string(),
                ));
            }
        }
        Ok(())
    }

    fn check_together(&self) -> Result<(), WrongSetting> {
        let settings = &self.settings;
        if settings.is_open() && !settings.listen.ip().to_canonical().is_loopback() {
            return Err(self.together(
                ["listen", "admin_key"],
                format!(
                    "do not go together: {} is reachable from other machines and there is no key",
                    settings.listen
                ),
                "open mode serves loopback only: set admin_key, or listen on 127.0.0.1",
            ));
        }
        if settings.metrics_listen == Some(settings.listen) && settings.listen.port() != 0 {
            return Err(self.together(
                ["listen", "metrics_listen"],
                "are the same address".to_owned(),
                "give metrics_listen a port of its own, or leave it out",
            ));
        }
        if settings.smtp_url.is_some() != settings.smtp_from.is_some() {
            return Err(self.together(
                ["smtp_url", "smtp_from"],
                "do not go one without the other".to_owned(),
                "give both to send mail, or none",
            ));
        }
        self.check_single_sign_on()?;
        if settings.tls_cert_file.is_some() != settings.tls_key_file.is_some() {
            return Err(self.together(
                ["tls_cert_file", "tls_key_file"],
                "do not go one without the other".to_owned(),
                "give both, or none; both may name the same file",
            ));
        }
        let speaks_tls = settings.redis().is_some_and(|redis| redis.is_tls());
        match (&settings.redis_cert_file, &settings.redis_key_file) {
            (Some(_), None) | (None, Some(_)) => {
                return Err(self.together(
                    ["redis_cert_file", "redis_key_file"],
                    "do not go one without the other".to_owned(),
                    "give both, or none",
                ));
            }
            (Some(_), Some(_)) if !speaks_tls => {
                return Err(self.together(
                    ["redis_url", "redis_cert_file"],
                    "do not go together: without TLS nobody is shown a certificate".to_owned(),
                    "write rediss://, rediss+sentinel:// or rediss+cluster://, or give no certificate",
                ));
            }
            _ if !speaks_tls && settings.redis_ca_file.is_some() => {
                return Err(self.together(
                    ["redis_url", "redis_ca_file"],
                    "do not go together: without TLS nobody shows a certificate".to_owned(),
                    "write rediss://, rediss+sentinel:// or rediss+cluster://, or leave the file out",
                ));
            }
            _ => {}
        }
        if let Some(redis) = settings.redis()
            && settings.secret.is_none()
            && !redis.is_local()
        {
            return Err(self.together(
                ["redis_url", "secret"],
                format!("do not go together: {redis} is on another host and there is no secret"),
                "nodes that share a Redis verify each other's tokens: set the same secret on all of them",
            ));
        }
        Ok(())
    }

    fn wrong(
        &self,
        setting: &str,
        wrong: impl Into<String>,
        right: impl Into<String>,
    ) -> WrongSetting {
        WrongSetting {
            setting: setting.to_owned(),
            origin: self.origin(setting).to_string(),
            wrong: wrong.into(),
            right: right.into(),
        }
    }

    fn origin(&self, setting: &str) -> &Origin {
        self.origins.get(setting).unwrap_or(&Origin::Default)
    }

    fn together(&self, names: [&str; 2], wrong: String, right: &str) -> WrongSetting {
        WrongSetting {
            setting: names.join(" and "),
            origin: names
                .map(|name| self.origin(name).to_string())
                .join(" and "),
            wrong,
            right: right.to_owned(),
        }
    }
}
