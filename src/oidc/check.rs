//! What is right and wrong with the provider of the settings, for `leasehold doctor oidc`.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::fetch::check_address;
use super::signature::{ALGORITHMS, PublicKeys};
use super::{Groups, LEEWAY_S, Provider, groups_in};
use crate::config::Settings;
use crate::finding::{Finding, Level};

/// Looks at the provider as a login would, without one; and which role somebody with these claims would get.
pub async fn check(
    settings: &Settings,
    provider: &Provider,
    claims: Option<&Map<String, Value>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    match provider.fetch_discovery().await {
        Err(error) => findings.push(Finding::new(
            Level::Error,
            "discovery",
            error.to_string(),
            "compare oidc_issuer with what the provider calls its issuer, and see if this machine reaches it",
        )),
        Ok((discovery, clock)) => {
            findings.push(Finding::ok("discovery", format!("{} answers", discovery.issuer)));
            findings.push(clock_finding(clock));
            let endpoints = [
                &discovery.authorization_endpoint,
                &discovery.token_endpoint,
                &discovery.jwks_uri,
            ];
            for address in endpoints {
                if let Err(error) = check_address(address) {
                    findings.push(Finding::new(
                        Level::Error,
                        "endpoints",
                        error.to_string(),
                        "let the provider name https:// addresses; behind a proxy it may need its own address in its settings",
                    ));
                }
            }
            let algorithms = discovery.id_token_signing_alg_values_supported.unwrap_or_default();
            let is_taken = |name: &String| name.parse::<Algorithm>().is_ok_and(|algorithm| ALGORITHMS.contains(&algorithm));
            if !algorithms.is_empty() && !algorithms.iter().any(is_taken) {
                findings.push(Finding::new(
                    Level::Error,
                    "signatures",
                    format!("the provider signs with {}", algorithms.join(", ")),
                    "let it sign with RS256, PS256, ES256 or EdDSA",
                ));
            }
            let methods = discovery.code_challenge_methods_supported;
            match methods {
                Some(known) if !known.iter().any(|method| method == "S256") => findings.push(Finding::new(
                    Level::Error,
                    "pkce",
                    "the provider does not take S256",
                    "allow PKCE with S256 for this client",
                )),
                None => findings.push(Finding::new(
                    Level::Warning,
                    "pkce",
                    "the discovery document does not mention PKCE",
                    "require PKCE with S256 for this client at the provider, if it can",
                )),
                Some(_) => findings.push(Finding::ok("pkce", "the provider takes S256")),
            }
            match provider.fetcher.get(&discovery.jwks_uri, None).await {
                Err(error) => findings.push(Finding::new(
                    Level::Error,
                    "keys",
                    error.to_string(),
                    "see if this machine reaches the address of the keys",
                )),
                Ok(set) => match PublicKeys::of(&set).len() {
                    0 => findings.push(Finding::new(
                        Level::Error,
                        "keys",
                        "the provider has no key that signatures can be checked with",
                        "give it a key for RS256, ES256 or EdDSA",
                    )),
                    count => findings.push(Finding::ok("keys", format!("{count} can be used"))),
                },
            }
            if provider.ends_at_provider() && discovery.end_session_endpoint.is_none() {
                findings.push(Finding::new(
                    Level::Warning,
                    "log-out",
                    "oidc_logout is provider, and the provider has no address for it",
                    "set oidc_logout = \"local\"",
                ));
            }
        }
    }
    findings.push(Finding::ok(
        "addresses",
        format!(
            "register at the provider: redirect {}, after a log-out {base}/admin/login, back-channel log-out {base}/admin/login/backchannel",
            provider.redirect_uri(),
            base = provider.public_url,
        ),
    ));
    if let Some(claims) = claims {
        findings.push(role_finding(settings, claims));
    }
    findings
}

fn clock_finding(clock: Option<i64>) -> Finding {
    let Some(clock) = clock else {
        return Finding::new(
            Level::Warning,
            "clock",
            "the provider does not tell its clock",
            "compare it yourself: tokens are taken a minute early or late",
        );
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs().cast_signed());
    let apart = (now - clock).abs();
    if apart > LEEWAY_S {
        return Finding::new(
            Level::Error,
            "clock",
            format!("the provider's clock and this machine's are {apart} s apart"),
            "let both keep time by NTP, and the machine of Redis too, whose clock counts",
        );
    }
    Finding::ok("clock", format!("{apart} s apart from the provider's"))
}

fn role_finding(settings: &Settings, claims: &Map<String, Value>) -> Finding {
    let name = &settings.oidc_groups_claim;
    match groups_in(claims, name) {
        Groups::TooMany => Finding::new(
            Level::Error,
            "role",
            format!(
                "the person is in more groups than fit into a token, so it has none of them ({name})"
            ),
            TOO_MANY,
        ),
        Groups::Missing => Finding::new(
            Level::Error,
            "role",
            format!("there is no claim {name}"),
            "let the provider put the groups into the ID token or the userinfo, or name another claim in oidc_groups_claim",
        ),
        Groups::Named(groups) => {
            match settings
                .oidc_roles
                .of_groups(groups.iter().map(String::as_str))
            {
                Some((role, scope)) => Finding::ok("role", format!("{}, {scope}", role.as_str())),
                None => Finding::new(
                    Level::Error,
                    "role",
                    format!("none; the groups are {}", groups.join(", ")),
                    "name one of them in oidc_roles",
                ),
            }
        }
    }
}

/// What to do where Entra leaves out the groups.
pub const TOO_MANY: &str = "use app roles with oidc_groups_claim = \"roles\", or let the provider send only the groups that are assigned \
     to the application";
