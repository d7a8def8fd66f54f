//! May this caller do what a row of the table is about: by role, pools and tenants, from where it asks, as often as it does.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};

use super::table::{Row, Rule};
use super::{Caller, origin};
use crate::access_key::Role;
use crate::http::App;
use crate::http::problem::{Code, Problem};
use crate::names::PoolName;
use crate::time::millis;

/// Whether a role is enough for a rule, of somebody for all pools and tenants or for some.
pub(super) fn role_is_enough(rule: Rule, role: Role, sees_everything: bool) -> bool {
    match rule {
        Rule::Anybody | Rule::Token => true,
        Rule::Acquire => matches!(role, Role::Client | Role::Admin),
        Rule::Availability => role != Role::Verifier,
        Rule::Check => role == Role::Verifier || role >= Role::Viewer,
        Rule::Role(least) | Rule::OwnPools(least) => role != Role::Client && role >= least,
        Rule::Keys(least) => {
            let least = if sees_everything { least } else { Role::Admin };
            role != Role::Client && role >= least
        }
    }
}

/// Whether the caller's role, pools and tenants are enough for the route.
pub(super) fn reach(row: &Row, caller: &Caller, pool: Option<&PoolName>) -> Result<(), Problem> {
    let role = caller.role();
    let rule = row.rule;
    let allowed = role_is_enough(rule, role, caller.sees_everything());
    if !allowed {
        return Err(forbidden(&format!(
            "A key with the role {} may not do this.",
            role.as_str()
        )));
    }
    let in_reach = match pool {
        Some(pool) => caller.is_for(pool),
        None => {
            matches!(rule, Rule::OwnPools(_) | Rule::Keys(_) | Rule::Check) || !caller.names_pools()
        }
    };
    if !in_reach {
        return Err(pool.map_or_else(for_some_pools, not_for));
    }
    let is_of_some_tenants = match pool {
        Some(pool) => caller.tenants_in(pool).is_some(),
        None => caller.names_tenants(),
    };
    // What clients ask is about the tenant of their key, or about nobody.
    if is_of_some_tenants && !row.keeps_to_tenants && role != Role::Client {
        return Err(forbidden(
            "This key is for some tenants only, and this is about all of them.",
        ));
    }
    Ok(())
}

/// Whether the caller may do what the rule is about, from where it asks and as often as it does.
pub(super) fn authorize(
    app: &App,
    row: &Row,
    caller: &Caller,
    pool: Option<&PoolName>,
    parts: &Parts,
    address: Option<IpAddr>,
) -> Result<(), Problem> {
    // Before the role: what is refused counts too.
    if let Some(key) = caller.key()
        && key.role == Role::Client
    {
        app.0.access.limiters.check(key, address).map_err(|wait| {
            Problem::new(
                Code::TooManyRequests,
                "This key is used more often than its limits allow. Ask again later; seats that are held are not \
                 affected.",
            )
            .retry_after_ms(millis(wait).max(1))
        })?;
    }
    reach(row, caller, pool)?;
    if let Some(key) = caller.key()
        && key.role == Role::Client
    {
        let page = origin::asking(&parts.headers);
        let named = page.is_none_or(|page| key.is_for_page(page));
        return if named {
            Ok(())
        } else {
            Err(origin_not_allowed())
        };
    }
    if !caller.is_open() {
        return Ok(());
    }
    let is_from_here = origin::is_from_here(&parts.headers, &parts.uri);
    // A form needs no leave to be sent, so it must come from our own pages.
    if parts.uri.path().starts_with("/admin") && !parts.method.is_safe() && !is_from_here {
        return Err(forbidden(
            "This was sent by a page of another origin. Use the admin pages of this server.",
        ));
    }
    // Nothing is shown, so a foreign page could make the browser of somebody on this machine do it.
    match origin::asking(&parts.headers) {
        // Our own pages keep their address to themselves, so a browser calls the origin of their forms "null".
        Some(page)
            if !is_from_here && !page_is_known(app, page, pool, &parts.headers, &parts.uri) =>
        {
            Err(origin_not_allowed())
        }
        _ => Ok(()),
    }
}

/// Whether a page of this origin may use some key, or needs none.
pub(super) fn page_is_known(
    app: &App,
    page: &str,
    pool: Option<&PoolName>,
    headers: &HeaderMap,
    uri: &Uri,
) -> bool {
    let local = app.0.access.is_open()
        && (origin::is_local_page(page) || origin::is_same(page, origin::host(headers, uri)));
    local
        || app
            .0
            .store
            .keyring()
            .names_origin(page, pool, app.0.store.now())
}

pub(super) fn forbidden(detail: &str) -> Problem {
    Problem::new(
        Code::Forbidden,
        format!("{detail} Ask who runs this server for another key."),
    )
}

pub(super) fn not_for(pool: &PoolName) -> Problem {
    forbidden(&format!("This key is not for the pool {pool}."))
}

pub(super) fn for_some_pools() -> Problem {
    forbidden("This key is for some pools only, and this is about all of them.")
}

pub(super) fn right_ended() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "While this waited, the key was revoked, changed or came to its end, or the login ended. Ask again with a key that \
         is good.",
    )
}

fn origin_not_allowed() -> Problem {
    Problem::new(
        Code::OriginNotAllowed,
        "No key allows pages of this origin here. An operator names it in a client key.",
    )
}
