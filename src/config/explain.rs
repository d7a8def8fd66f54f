//! What is wrong with a layer, in the operator's words and without a secret.

use std::collections::BTreeMap;

use figment::error::{Actual, Kind};

use super::secrets::SECRETS;
use super::{Origin, WrongSetting};

/// A name that no setting has.
pub(super) fn unknown(name: &str, origin: String, known: &str) -> WrongSetting {
    WrongSetting {
        setting: name.to_owned(),
        origin,
        wrong: "is not a setting".into(),
        right: format!("the settings are {known}"),
    }
}

/// A TOML error quotes the line it stumbled over, and that line may be the secret.
pub(super) fn without_source_lines(error: &str) -> String {
    let lines = error
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains('|'));
    lines.collect::<Vec<_>>().join(": ")
}

/// What was wrong with a value, without the value where it is a secret.
pub(super) fn explain(error: figment::Error, origins: &BTreeMap<String, Origin>) -> WrongSetting {
    let name = error.path.join(".");
    let top = error.path.first().map(String::as_str).unwrap_or_default();
    let pool = error
        .path
        .get(1)
        .filter(|_| top == "pools")
        .map(|pool| format!("pools.{pool}"));
    let origin = pool
        .and_then(|pool| origins.get(&pool))
        .or_else(|| origins.get(top));
    let (wrong, wanted) = match error.kind {
        Kind::UnknownField(field, known) => {
            let setting = format!("{name}.{field}");
            return unknown(
                &setting,
                origin.unwrap_or(&Origin::Default).to_string(),
                &known.join(", "),
            );
        }
        Kind::MissingField(field) => (format!("lacks {field}"), None),
        Kind::InvalidType(actual, wanted) if SECRETS.contains(&top) => {
            (format!("is {}", kind_of(&actual)), Some(wanted))
        }
        Kind::InvalidType(actual, wanted) => (format!("is {actual}"), Some(wanted)),
        Kind::UnknownVariant(variant, known) => {
            (format!("is {variant:?}"), Some(known.join(" or ")))
        }
        _ if SECRETS.contains(&top) => ("cannot be read".to_owned(), None),
        kind => (format!("is wrong: {kind}"), None),
    };
    WrongSetting {
        setting: if name.is_empty() {
            "a setting".into()
        } else {
            name
        },
        origin: origin.unwrap_or(&Origin::Default).to_string(),
        wrong,
        right: right(top)
            .map(str::to_owned)
            .or(wanted.map(|wanted| format!("give {wanted}")))
            .unwrap_or_else(|| format!("see {top} in leasehold.example.toml")),
    }
}

fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "not text",
    }
}

/// What to give instead, where the type alone does not say it.
fn right(setting: &str) -> Option<&'static str> {
    Some(match setting {
        "metrics_listen" => "give an address and a port, such as 10.0.0.5:9090",
        "listen" => "give an address and a port, such as 127.0.0.1:7070 or [::1]:7070",
        "secret" | "admin_key" | "redis_url" | "webhook_proxy" | "oidc_client_secret"
        | "proxy_secret" | "smtp_url" | "smtp_from" => "give text in quotes",
        "oidc_roles" => {
            "give a list of rules, such as [\"floor-leads = operator pools=crm,phone\"]"
        }
        "oidc_logout" => "give local or provider",
        "previous_secrets" => "give a list of strings in quotes",
        "trusted_proxies" => {
            "give a list of addresses or networks, such as [\"127.0.0.1\", \"10.0.0.0/8\"]"
        }
        "pools" => {
            "give [pools.NAME] with capacity, and ttl_ms, linger_ms and resume_window_ms where they differ"
        }
        "log_format" => "give text or json",
        "durability" => "give async or replicated",
        "metrics_key"
        | "trail"
        | "webhook_http"
        | "webhook_private_networks"
        | "login_with_keys" => "give off or on",
        "drain_wait_ms"
        | "threads"
        | "max_connections"
        | "http_idle_timeout_ms"
        | "redis_connections"
        | "redis_timeout_ms"
        | "metrics_max_pools"
        | "sweep_every_ms" => "give a whole number",
        _ => return None,
    })
}
