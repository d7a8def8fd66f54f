//! What `leasehold config` prints: each value and where it came from.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Origin, Settings};

/// One setting as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The name, as in the file.
    pub setting: String,
    /// The value; a secret is only "(set)", what is missing is null or "(not set)".
    pub value: Value,
    /// Where it came from.
    pub origin: String,
}

pub(super) fn rows(settings: &Settings, origins: &BTreeMap<String, Origin>) -> Vec<Row> {
    // Taken apart by name, so that a new setting cannot be forgotten here.
    let Settings {
        listen,
        metrics_listen,
        tls_cert_file,
        tls_key_file,
        base_path,
        redis_url,
        redis_url_file,
        redis_ca_file,
        redis_cert_file,
        redis_key_file,
        key_prefix,
        data_dir,
        redis_server,
        secret,
        secret_file,
        previous_secrets,
        previous_secrets_file,
        public_url,
        signing_key_file,
        admin_key,
        admin_key_file,
        trusted_proxies,
        oidc_issuer,
        oidc_client_id,
        oidc_client_secret,
        oidc_client_secret_file,
        oidc_scopes,
        oidc_user_claim,
        oidc_groups_claim,
        oidc_roles,
        oidc_ca_file,
        oidc_logout,
        oidc_button,
        login_with_keys,
        proxy_user_header,
        proxy_groups_header,
        proxy_secret,
        proxy_secret_file,
        pools,
        log_format,
        log,
        runbook_url,
        otlp_endpoint,
        drain_wait_ms,
        threads,
        max_connections,
        http_idle_timeout_ms,
        redis_connections,
        redis_timeout_ms,
        durability,
        trail,
        metrics_key,
        metrics_max_pools,
        sweep_every_ms,
        webhook_http,
        webhook_private_networks,
        webhook_proxy,
        webhook_retry_ms,
        webhook_attempts,
        smtp_url,
        smtp_url_file,
        smtp_from,
    } = settings;
    let values = [
        ("listen", json!(listen)),
        ("metrics_listen", json!(metrics_listen)),
        ("tls_cert_file", path(tls_cert_file.as_deref())),
        ("tls_key_file", path(tls_key_file.as_deref())),
        ("base_path", json!(base_path)),
        ("redis_url", hidden(redis_url.as_ref())),
        ("redis_url_file", path(redis_url_file.as_deref())),
        ("redis_ca_file", path(redis_ca_file.as_deref())),
        ("redis_cert_file", path(redis_cert_file.as_deref())),
        ("redis_key_file", path(redis_key_file.as_deref())),
        ("key_prefix", json!(key_prefix)),
        ("data_dir", path(Some(data_dir))),
        ("redis_server", path(redis_server.as_deref())),
        ("secret", hidden(secret.as_ref())),
        ("secret_file", path(secret_file.as_deref())),
        ("previous_secrets", hidden(previous_secrets.first())),
        (
            "previous_secrets_file",
            path(previous_secrets_file.as_deref()),
        ),
        ("public_url", json!(public_url)),
        ("signing_key_file", path(signing_key_file.as_deref())),
        ("admin_key", hidden(admin_key.as_ref())),
        ("admin_key_file", path(admin_key_file.as_deref())),
        ("trusted_proxies", json!(trusted_proxies)),
        ("oidc_issuer", json!(oidc_issuer)),
        ("oidc_client_id", json!(oidc_client_id)),
        ("oidc_client_secret", hidden(oidc_client_secret.as_ref())),
        (
            "oidc_client_secret_file",
            path(oidc_client_secret_file.as_deref()),
        ),
        ("oidc_scopes", json!(oidc_scopes)),
        ("oidc_user_claim", json!(oidc_user_claim)),
        ("oidc_groups_claim", json!(oidc_groups_claim)),
        ("oidc_roles", json!(oidc_roles.to_lines())),
        ("oidc_ca_file", path(oidc_ca_file.as_deref())),
        ("oidc_logout", json!(oidc_logout)),
        ("oidc_button", json!(oidc_button)),
        ("login_with_keys", json!(login_with_keys)),
        ("proxy_user_header", json!(proxy_user_header)),
        ("proxy_groups_header", json!(proxy_groups_header)),
        ("proxy_secret", hidden(proxy_secret.as_ref())),
        ("proxy_secret_file", path(proxy_secret_file.as_deref())),
        ("log_format", json!(log_format)),
        ("log", json!(log)),
        ("runbook_url", json!(runbook_url)),
        ("otlp_endpoint", json!(otlp_endpoint)),
        ("drain_wait_ms", json!(drain_wait_ms)),
        ("threads", json!(threads)),
        ("max_connections", json!(max_connections)),
        ("http_idle_timeout_ms", json!(http_idle_timeout_ms)),
        ("redis_connections", json!(redis_connections)),
        ("redis_timeout_ms", json!(redis_timeout_ms)),
        ("durability", json!(durability)),
        ("trail", json!(trail)),
        ("metrics_key", json!(metrics_key)),
        ("metrics_max_pools", json!(metrics_max_pools)),
        ("sweep_every_ms", json!(sweep_every_ms)),
        ("webhook_http", json!(webhook_http)),
        ("webhook_private_networks", json!(webhook_private_networks)),
        ("webhook_proxy", hidden(webhook_proxy.as_ref())),
        ("webhook_retry_ms", json!(webhook_retry_ms)),
        ("webhook_attempts", json!(webhook_attempts)),
        ("smtp_url", hidden(smtp_url.as_ref())),
        ("smtp_url_file", path(smtp_url_file.as_deref())),
        ("smtp_from", json!(smtp_from)),
    ];
    let settings = values
        .into_iter()
        // It is for tests and in no help, so only those who have set it see it.
        .filter(|(name, _)| {
            let origin = origins.get(*name);
            *name != "trail" || origin.is_some_and(|origin| *origin != Origin::Default)
        })
        .map(|(name, value)| (name.to_owned(), value));
    let no_pools = pools.is_empty().then(|| ("pools".to_owned(), Value::Null));
    let pools = pools
        .iter()
        .map(|(name, policy)| (format!("pools.{name}"), json!(policy)));
    settings
        .chain(no_pools)
        .chain(pools)
        .map(|(setting, value)| Row {
            origin: origins
                .get(&setting)
                .unwrap_or(&Origin::Default)
                .to_string(),
            setting,
            value,
        })
        .collect()
}

fn hidden(secret: Option<&SecretString>) -> Value {
    json!(if secret.is_some() {
        "(set)"
    } else {
        "(not set)"
    })
}

fn path(path: Option<&Path>) -> Value {
    path.map_or(Value::Null, |path| json!(path.display().to_string()))
}
