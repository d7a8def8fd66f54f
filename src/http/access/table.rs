//! The one table of rights. A route that is not in it is served to nobody.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::Method;

use crate::access_key::Role;
use crate::names::PoolName;

/// What a caller must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing.
    Anybody,
    /// The token of a lease, in the body; the handler verifies it.
    Token,
    /// A client key for the pool, or an admin: an operator's key takes no seat by accident.
    Acquire,
    /// A client key for the pool, or whoever reads.
    Availability,
    /// A verifier's key, or whoever reads; the handler keeps to the pools of the key.
    Check,
    /// An operator's key of at least this role, for the pool if the key names pools.
    Role(Role),
    /// The same, for routes that show the pools of the key and no others.
    OwnPools(Role),
    /// The same, for routes of keys: who is for some pools or tenants only has to be an admin, and sees keys for no more than these.
    Keys(Role),
}

/// What one method of one path needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What a caller must show.
    pub(super) rule: Rule,
    /// The word in the audit trail; none for what changes nothing.
    pub(super) action: Option<&'static str>,
    /// Whether the handler keeps to the tenants of the caller. Callers for some tenants only have nothing to do on other routes.
    pub(super) keeps_to_tenants: bool,
}

impl Row {
    const fn of_tenants(self) -> Self {
        Self {
            keeps_to_tenants: true,
            ..self
        }
    }
}

const fn open(method: &'static str, path: &'static str, rule: Rule) -> Row {
    Row {
        method,
        path,
        rule,
        action: None,
        keeps_to_tenants: false,
    }
}

const fn read(path: &'static str) -> Row {
    open("GET", path, Rule::Role(Role::Viewer))
}

/// A report: how much is used, without names.
const fn report(path: &'static str) -> Row {
    open("GET", path, Rule::Role(Role::Reports))
}

const fn change(method: &'static str, path: &'static str, role: Role, action: &'static str) -> Row {
    Row {
        method,
        path,
        rule: Rule::Role(role),
        action: Some(action),
        keeps_to_tenants: false,
    }
}

const fn change_own(
    method: &'static str,
    path: &'static str,
    role: Role,
    action: &'static str,
) -> Row {
    Row {
        method,
        path,
        rule: Rule::OwnPools(role),
        action: Some(action),
        keeps_to_tenants: false,
    }
}

const fn change_keys(method: &'static str, path: &'static str, action: &'static str) -> Row {
    Row {
        method,
        path,
        rule: Rule::Keys(Role::Admin),
        action: Some(action),
        keeps_to_tenants: true,
    }
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // Machines, and readers of the description.
    open("GET", "/livez", Rule::Anybody),
    open("GET", "/healthz", Rule::Anybody),
    open("GET", "/readyz", Rule::Anybody),
    open("GET", "/metrics", Rule::Anybody),
    open("GET", "/v1/openapi.json", Rule::Anybody),
    open("GET", "/client/{file}", Rule::Anybody),
    open("GET", "/client/{version}/{file}", Rule::Anybody),
    open("GET", "/", Rule::Anybody),
    open("GET", "/favicon.ico", Rule::Anybody),
    open("GET", "/demo", Rule::Anybody),
    open("GET", "/demo/{file}", Rule::Anybody),
    open("GET", "/docs", Rule::Anybody),
    open("GET", "/docs/api", Rule::Anybody),
    open("GET", "/docs/api/{tag}", Rule::Anybody),
    open("GET", "/docs/errors", Rule::Anybody),
    open("GET", "/docs/errors/{code}", Rule::Anybody),
    open("GET", "/docs/runbooks", Rule::Anybody),
    open("GET", "/docs/runbooks/{name}", Rule::Anybody),

    // Holders.
    open("POST", "/v1/leases/renew", Rule::Token),
    open("POST", "/v1/leases/renew-many", Rule::Token),
    open("POST", "/v1/leases/check", Rule::Check).of_tenants(),
    open("GET", "/v1/jwks", Rule::Anybody),
    open("POST", "/v1/leases/release", Rule::Token),
    open("POST", "/v1/leases/leave", Rule::Token),
    open("POST", "/v1/leases/yield", Rule::Token),
    open("POST", "/v1/pools/{pool}/queue/leave", Rule::Token),
    open("POST", "/v1/pools/{pool}/queue/request", Rule::Token),
    open("POST", "/v1/pools/{pool}/leases", Rule::Acquire).of_tenants(),
    open("POST", "/v1/pools/{pool}/leases/acquire-many", Rule::Acquire).of_tenants(),
    open("GET", "/v1/pools/{pool}/availability", Rule::Availability),

    // Operators: pools and leases.
    open("GET", "/v1/pools", Rule::OwnPools(Role::Reports)).of_tenants(),
    report("/v1/pools/{pool}").of_tenants(),
    change("PUT", "/v1/pools/{pool}", Role::Admin, "pool.put"),
    // An operator may change the schedule; the handler asks for an admin for everything else.
    change("PATCH", "/v1/pools/{pool}", Role::Operator, "pool.patch"),
    change("DELETE", "/v1/pools/{pool}", Role::Admin, "pool.delete"),
    read("/v1/pools/{pool}/leases").of_tenants(),
    change("POST", "/v1/pools/{pool}/leases/terminate", Role::Operator, "leases.terminate").of_tenants(),
    read("/v1/pools/{pool}/queue").of_tenants(),
    open("GET", "/v1/blocks", Rule::OwnPools(Role::Viewer)).of_tenants(),
    open("GET", "/v1/holders", Rule::OwnPools(Role::Viewer)).of_tenants(),
    open("GET", "/v1/holders/{holder}", Rule::OwnPools(Role::Viewer)).of_tenants(),
    change_own("POST", "/v1/holders/{holder}/terminate", Role::Operator, "holder.terminate").of_tenants(),
    change_own("POST", "/v1/holders/{holder}/notice", Role::Operator, "holder.notice").of_tenants(),
    read("/v1/pools/{pool}/blocks").of_tenants(),
    change("PUT", "/v1/pools/{pool}/blocks/{holder}", Role::Operator, "block.put").of_tenants(),
    change("DELETE", "/v1/pools/{pool}/blocks/{holder}", Role::Operator, "block.delete").of_tenants(),
    read("/v1/pools/{pool}/named"),
    read("/v1/pools/{pool}/named/{holder}"),
    change("PUT", "/v1/pools/{pool}/named/{holder}", Role::Operator, "named.put"),
    change("DELETE", "/v1/pools/{pool}/named/{holder}", Role::Operator, "named.delete"),
    change("POST", "/v1/pools/{pool}/named/{holder}/transfer", Role::Operator, "named.transfer"),

    // Operators: history.
    report("/v1/pools/{pool}/usage"),
    report("/v1/pools/{pool}/history"),
    read("/v1/pools/{pool}/denials").of_tenants(),
    read("/v1/pools/{pool}/holders").of_tenants(),
    report("/v1/pools/{pool}/tenants").of_tenants(),
    report("/v1/pools/{pool}/sizing"),
    report("/v1/pools/{pool}/patterns"),
    read("/v1/pools/{pool}/events").of_tenants(),
    open("GET", "/v1/reports/summary", Rule::OwnPools(Role::Reports)).of_tenants(),
    open("GET", "/v1/reports/tenants", Rule::OwnPools(Role::Reports)).of_tenants(),
    open("GET", "/v1/reports/people", Rule::OwnPools(Role::Viewer)).of_tenants(),
    open("GET", "/v1/reports/denials", Rule::OwnPools(Role::Viewer)).of_tenants(),
    // Without names for a caller of the role `reports`; the handler looks.
    open("GET", "/v1/reports/workbook", Rule::OwnPools(Role::Reports)).of_tenants(),

    // Operators: keys, webhooks, the trail.
    open("GET", "/v1/keys", Rule::Keys(Role::Viewer)).of_tenants(),
    open("GET", "/v1/keys/{id}", Rule::Keys(Role::Viewer)).of_tenants(),
    change_keys("POST", "/v1/keys", "key.create"),
    change_keys("PATCH", "/v1/keys/{id}", "key.patch"),
    change_keys("POST", "/v1/keys/{id}/roll", "key.roll"),
    change_keys("DELETE", "/v1/keys/{id}", "key.revoke"),
    open("GET", "/v1/sessions", Rule::Role(Role::Admin)),
    change("DELETE", "/v1/sessions", Role::Admin, "session.end_all"),
    change("DELETE", "/v1/sessions/{id}", Role::Admin, "session.end"),
    read("/v1/webhooks"),
    read("/v1/webhooks/{id}"),
    read("/v1/webhooks/{id}/deliveries"),
    change("POST", "/v1/webhooks", Role::Admin, "webhook.create"),
    change("PUT", "/v1/webhooks/{id}", Role::Admin, "webhook.put"),
    change("PATCH", "/v1/webhooks/{id}", Role::Admin, "webhook.patch"),
    change("DELETE", "/v1/webhooks/{id}", Role::Admin, "webhook.delete"),
    change("POST", "/v1/webhooks/{id}/test", Role::Admin, "webhook.test"),
    change("POST", "/v1/webhooks/{id}/roll", Role::Admin, "webhook.roll"),
    change("POST", "/v1/webhooks/{id}/deliveries/{delivery}/resend", Role::Admin, "webhook.resend"),
    open("GET", "/v1/alerts", Rule::OwnPools(Role::Viewer)),
    open("GET", "/v1/alerts/events", Rule::OwnPools(Role::Viewer)),
    open("GET", "/v1/alerts/snoozes", Rule::OwnPools(Role::Viewer)),
    change_own("POST", "/v1/alerts/snoozes", Role::Operator, "alert.snooze"),
    change_own("DELETE", "/v1/alerts/snoozes/{id}", Role::Operator, "alert.end_snooze"),
    change_own("POST", "/v1/alerts/{alert}/acknowledge", Role::Operator, "alert.acknowledge"),
    change_own("DELETE", "/v1/alerts/{alert}/acknowledge", Role::Operator, "alert.withdraw"),
    open("GET", "/v1/audit", Rule::OwnPools(Role::Viewer)).of_tenants(),
    read("/v1/nodes"),

    // The admin pages. Logging in and out verify where they come from by themselves.
    open("GET", "/admin/login", Rule::Anybody),
    open("POST", "/admin/login", Rule::Anybody),
    open("GET", "/admin/login/oidc", Rule::Anybody),
    open("GET", "/admin/login/callback", Rule::Anybody),
    open("POST", "/admin/login/backchannel", Rule::Anybody),
    open("POST", "/admin/logout", Rule::Anybody),
    open("GET", "/admin/assets/{file}", Rule::Anybody),
    // It says nothing of anybody: its script asks with a key.
    open("GET", "/admin/wall", Rule::Anybody),
    open("GET", "/admin", Rule::OwnPools(Role::Reports)).of_tenants(),
    open("GET", "/admin/blocks", Rule::OwnPools(Role::Viewer)).of_tenants(),
    open("GET", "/admin/reports", Rule::OwnPools(Role::Reports)).of_tenants(),
    open("GET", "/admin/reports/tenants", Rule::OwnPools(Role::Reports)).of_tenants(),
    open("GET", "/admin/reports/people", Rule::OwnPools(Role::Viewer)).of_tenants(),
    open("GET", "/admin/reports/denials", Rule::OwnPools(Role::Viewer)).of_tenants(),
    open("GET", "/admin/reports/workbook", Rule::OwnPools(Role::Reports)).of_tenants(),
    open("GET", "/admin/people", Rule::OwnPools(Role::Viewer)).of_tenants(),
    open("GET", "/admin/people/{holder}", Rule::OwnPools(Role::Viewer)).of_tenants(),
    open("GET", "/admin/people/{holder}/end", Rule::OwnPools(Role::Operator)).of_tenants(),
    change_own("POST", "/admin/people/{holder}/end", Role::Operator, "holder.terminate").of_tenants(),
    change_own("POST", "/admin/people/{holder}/notice", Role::Operator, "holder.notice").of_tenants(),
    change_own("POST", "/admin/people/{holder}/block", Role::Operator, "block.put").of_tenants(),
    change_own("POST", "/admin/people/{holder}/unblock", Role::Operator, "block.delete").of_tenants(),
    change("POST", "/admin/pools", Role::Admin, "pool.put"),
    read("/admin/pools/{pool}").of_tenants(),
    open("GET", "/admin/pools/{pool}/terminate", Rule::Role(Role::Operator)).of_tenants(),
    change("POST", "/admin/pools/{pool}/terminate", Role::Operator, "leases.terminate").of_tenants(),
    report("/admin/pools/{pool}/history"),
    report("/admin/pools/{pool}/patterns"),
    report("/admin/pools/{pool}/sizing"),
    read("/admin/pools/{pool}/denials").of_tenants(),
    read("/admin/pools/{pool}/holders").of_tenants(),
    report("/admin/pools/{pool}/tenants"),
    change("POST", "/admin/pools/{pool}/tenants", Role::Admin, "pool.patch"),
    read("/admin/pools/{pool}/queue").of_tenants(),
    read("/admin/pools/{pool}/named"),
    change("POST", "/admin/pools/{pool}/named", Role::Operator, "named.put"),
    open("GET", "/admin/pools/{pool}/named/free", Rule::Role(Role::Operator)),
    change("POST", "/admin/pools/{pool}/named/free", Role::Operator, "named.delete"),
    open("GET", "/admin/pools/{pool}/named/transfer", Rule::Role(Role::Operator)),
    change("POST", "/admin/pools/{pool}/named/transfer", Role::Operator, "named.transfer"),
    change("POST", "/admin/pools/{pool}/maintenance", Role::Admin, "pool.patch"),
    change("POST", "/admin/pools/{pool}/schedule", Role::Operator, "pool.patch"),
    read("/admin/pools/{pool}/settings"),
    change("POST", "/admin/pools/{pool}/settings", Role::Operator, "pool.patch"),
    open("GET", "/admin/keys", Rule::Keys(Role::Viewer)).of_tenants(),
    change_keys("POST", "/admin/keys", "key.create"),
    open("GET", "/admin/keys/{id}/roll", Rule::Keys(Role::Admin)).of_tenants(),
    change_keys("POST", "/admin/keys/{id}/roll", "key.roll"),
    open("GET", "/admin/keys/{id}/revoke", Rule::Keys(Role::Admin)).of_tenants(),
    change_keys("POST", "/admin/keys/{id}/revoke", "key.revoke"),
    open("GET", "/admin/alerts", Rule::OwnPools(Role::Viewer)),
    change_own("POST", "/admin/alerts/acknowledge", Role::Operator, "alert.acknowledge"),
    change_own("POST", "/admin/alerts/withdraw", Role::Operator, "alert.withdraw"),
    change_own("POST", "/admin/alerts/snoozes", Role::Operator, "alert.snooze"),
    change_own("POST", "/admin/alerts/snoozes/{id}/end", Role::Operator, "alert.end_snooze"),
    read("/admin/webhooks"),
    change("POST", "/admin/webhooks", Role::Admin, "webhook.create"),
    read("/admin/webhooks/{id}"),
    change("POST", "/admin/webhooks/{id}", Role::Admin, "webhook.patch"),
    change("POST", "/admin/webhooks/{id}/enabled", Role::Admin, "webhook.patch"),
    change("POST", "/admin/webhooks/{id}/test", Role::Admin, "webhook.test"),
    change("POST", "/admin/webhooks/{id}/deliveries/{delivery}/resend", Role::Admin, "webhook.resend"),
    open("GET", "/admin/webhooks/{id}/roll", Rule::Role(Role::Admin)),
    change("POST", "/admin/webhooks/{id}/roll", Role::Admin, "webhook.roll"),
    open("GET", "/admin/webhooks/{id}/delete", Rule::Role(Role::Admin)),
    change("POST", "/admin/webhooks/{id}/delete", Role::Admin, "webhook.delete"),
    open("GET", "/admin/audit", Rule::OwnPools(Role::Viewer)),
    open("GET", "/admin/sessions", Rule::Role(Role::Admin)),
    change("POST", "/admin/sessions", Role::Admin, "session.end_all"),
    change("POST", "/admin/sessions/{id}/end", Role::Admin, "session.end"),
    read("/admin/nodes"),
];

/// In place of the row for `/metrics`, where the settings ask for a key.
pub(super) const METRICS_WITH_KEY: Row = read("/metrics");

/// The kind of credential that a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Needs {
    /// None.
    Nothing,
    /// The token of a lease, in the body.
    Token,
    /// An access key, unless the node is in open mode.
    Key,
}

/// What a method of a path needs, as they are called in the OpenAPI document, and a sentence about its callers; none without
/// a rule.
pub(in crate::http) fn needs(path: &str, method: &str) -> Option<(Needs, String)> {
    let row = TABLE
        .iter()
        .find(|row| row.path == path && row.method.eq_ignore_ascii_case(method))?;
    let (needs, callers) = match row.rule {
        Rule::Anybody => (Needs::Nothing, "Needs no key.".to_owned()),
        Rule::Token => (
            Needs::Token,
            "Needs no key: what is in the body is the credential.".to_owned(),
        ),
        Rule::Acquire => (
            Needs::Key,
            "Needs a client key of the pool, or an admin's.".to_owned(),
        ),
        Rule::Availability => (
            Needs::Key,
            "Needs a client key of the pool, or an operator's of any role.".to_owned(),
        ),
        Rule::Check => (
            Needs::Key,
            "Needs a key of the role `verifier`, `viewer` or a higher one.".to_owned(),
        ),
        Rule::Role(role) | Rule::OwnPools(role) | Rule::Keys(role) => {
            let role = role.as_str();
            (
                Needs::Key,
                format!("Needs a key of the role `{role}` or a higher one."),
            )
        }
    };
    Some((needs, callers))
}

/// What is said about one path.
#[derive(Debug, Default)]
pub(in crate::http) struct Path {
    /// As it stands in the description.
    pub(in crate::http) name: &'static str,
    rows: Vec<&'static Row>,
    /// Its methods, as in the header `Allow`.
    pub(super) allowed: String,
    /// Whether pages of other origins may call it.
    pub(super) shares: bool,
}

/// The table by path, put together once: it is asked for every request.
static PATHS: LazyLock<matchit::Router<Path>> = LazyLock::new(|| {
    let mut paths: BTreeMap<&str, Path> = BTreeMap::new();
    for row in TABLE {
        let path = paths.entry(row.path).or_default();
        path.name = row.path;
        path.rows.push(row);
        path.shares |= matches!(row.rule, Rule::Token | Rule::Acquire | Rule::Availability);
        let methods: &[&str] = match row.method {
            "GET" => &["GET", "HEAD"],
            _ => &[row.method],
        };
        for method in methods {
            if !path.allowed.is_empty() {
                path.allowed.push(',');
            }
            path.allowed.push_str(method);
        }
    }
    let mut router = matchit::Router::new();
    for (name, path) in paths {
        router
            .insert(name, path)
            .expect("no two paths of the table are for the same requests");
    }
    router
});

/// A path of the table that is asked for, and which pool it names.
#[derive(Debug, Clone)]
pub(crate) struct RouteMatch {
    pub(in crate::http) path: &'static Path,
    pub(super) pool: Option<PoolName>,
}

impl RouteMatch {
    /// The path of the route, as it is described.
    pub(crate) fn route(&self) -> &'static str {
        self.path.name
    }
}

/// What is said about the path of a request; none for one that is not in the table.
pub(crate) fn find(path: &str) -> Option<RouteMatch> {
    let found = PATHS.at(path).ok()?;
    let pool = found.params.get("pool").and_then(|pool| {
        let pool = percent_encoding::percent_decode_str(pool);
        pool.decode_utf8().ok()?.parse().ok()
    });
    Some(RouteMatch {
        path: found.value,
        pool,
    })
}

impl Path {
    /// What this method needs. `HEAD` is `GET` without the body.
    pub(super) fn row(&self, method: &Method) -> Option<&'static Row> {
        let method = if *method == Method::HEAD {
            "GET"
        } else {
            method.as_str()
        };
        let mut rows = self.rows.iter();
        rows.find(|row| row.method == method).copied()
    }
}

#[cfg(test)]
mod tests;
