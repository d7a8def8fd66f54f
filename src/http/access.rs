//! Who may do what. Every request passes [`guard`], which asks the one table.
//!
//! Without an admin key the program is open, and serves this machine only. With one, operators and clients show a key
//! as a bearer token, or the cookie of the admin pages. Routes of tokens need nothing else: whoever has the token has
//! the seat. Checking a key costs no round trip: each node has a copy of them, at most a second old.

mod audit;
mod caller;
mod limits;
pub(crate) mod login;
mod origin;
mod table;

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::header::ALLOW;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse as _, Response};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use tower::Service as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

pub(crate) use self::audit::Notes;
use self::audit::{Entry, RequestOutcome};
pub(crate) use self::caller::{ADMIN_KEY, Caller, verify};
use self::limits::Limiters;
pub(crate) use self::origin::is_from_here;
pub(super) use self::table::{Needs, needs};
pub(crate) use self::table::{RouteMatch, find};
use self::table::{Row, Rule};
use super::App;
use super::problem::{Code, Logged, Problem};
use super::request_id;
use crate::access_key::{Fingerprint, Role};
use crate::config::Settings;
use crate::names::PoolName;
use crate::store;
use crate::tasks;

/// How callers are told apart.
#[derive(Debug)]
pub(crate) struct Access {
    /// Hash of the admin key; none in open mode.
    admin: Option<Fingerprint>,
    trusted_proxies: Vec<IpNet>,
    limiters: Limiters,
    /// Bounds the entries of callers that nobody knows, so that they cannot push the others out of the trail.
    strangers: DefaultDirectRateLimiter,
    logins: DefaultDirectRateLimiter,
}

impl Access {
    /// As the settings say.
    pub(super) fn new(settings: &Settings) -> Self {
        let ten = std::num::NonZeroU32::new(10).expect("not zero");
        Self {
            admin: settings
                .admin_key
                .as_ref()
                .map(|key| Fingerprint::of(key.expose_secret())),
            trusted_proxies: settings.trusted_proxies.clone(),
            limiters: Limiters::default(),
            strangers: RateLimiter::direct(Quota::per_second(ten)),
            logins: RateLimiter::direct(Quota::per_minute(ten).allow_burst(ten)),
        }
    }

    /// Whether no key is asked for.
    pub(crate) const fn is_open(&self) -> bool {
        self.admin.is_none()
    }

    /// Counts an attempt to log in. A few a minute are a person; more are somebody who guesses.
    pub(crate) fn count_login(&self) -> Result<(), Problem> {
        self.logins.check().map_err(|_| {
            Problem::new(
                Code::TooManyRequests,
                "There were too many attempts to log in. Wait a minute and try again.",
            )
        })
    }

    /// Where a request comes from: the peer, or what a trusted proxy says about it.
    fn address(&self, request: &Request) -> Option<IpAddr> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0;
        let mut address = peer.ip().to_canonical();
        let trusted = |address: IpAddr| {
            self.trusted_proxies
                .iter()
                .any(|network| network.contains(&address))
        };
        let named: Vec<&str> = request
            .headers()
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        // Each proxy adds on the right whom it heard from; what stands further left than the first stranger is his word.
        for name in named.into_iter().rev() {
            if !trusted(address) {
                break;
            }
            match name.trim().parse::<IpAddr>() {
                Ok(named) => address = named.to_canonical(),
                Err(_) => break,
            }
        }
        Some(address)
    }
}

/// Lets a request through to its handler, or not, and writes into the trail what operators do.
pub(crate) async fn guard(
    app: &App,
    found: RouteMatch,
    router: &Router,
    request: Request,
) -> Response {
    let RouteMatch { path: about, pool } = found;
    let access = &app.0.access;
    let row = about.row(request.method());

    if access.is_open() {
        // A page whose name was pointed at this machine would get around the rule of one origin (DNS rebinding).
        let asked = origin::host(request.headers(), request.uri());
        let machine = row.is_some_and(|row| row.rule == Rule::Anybody);
        if !machine && !asked.is_none_or(origin::is_near) {
            return Problem::new(
                Code::Forbidden,
                "No key is set, so this server answers only under the names of its own machine: 127.0.0.1, [::1] and \
                 localhost. Set admin_key to serve under another name.",
            )
            .into_response();
        }
    }

    // The page that asks, if it may read the answer.
    let known = origin::asking(request.headers())
        .filter(|from| {
            about.shares
                && page_is_known(app, from, pool.as_ref(), request.headers(), request.uri())
        })
        .map(str::to_owned);
    if about.shares && origin::is_preflight(&request) {
        let Some(from) = known else {
            let mut refused = origin_not_allowed().into_response();
            origin::vary(refused.headers_mut());
            return refused;
        };
        return origin::leave(&from, &about.allowed);
    }

    let Some(row) = row else {
        let mut response = Problem::new(
            Code::MethodNotAllowed,
            "This path exists, but not with this method. The header \"Allow\" names those that it takes.",
        )
        .into_response();
        if let Ok(methods) = HeaderValue::from_str(&about.allowed) {
            response.headers_mut().insert(ALLOW, methods);
        }
        return response;
    };

    let mut response = match row.rule {
        Rule::Anybody | Rule::Token => route(router, request).await,
        // Apart, so that what those need weighs on no heartbeat.
        _ => Box::pin(admit(app, row, pool, router, request)).await,
    };
    if about.shares {
        origin::vary(response.headers_mut());
        // A key that does not name the origin answers a page that another key names, but it cannot be read.
        let other_key = response
            .extensions()
            .get::<Logged>()
            .is_some_and(|logged| logged.code == Code::OriginNotAllowed);
        if let Some(from) = known.filter(|_| !other_key) {
            origin::share(response.headers_mut(), &from);
        }
    }
    response
}

/// Hands a request to its handler.
async fn route(router: &Router, request: Request) -> Response {
    let Ok(response) = router.clone().call(request).await;
    response
}

/// Judges a request that needs a caller.
async fn admit(
    app: &App,
    row: &'static Row,
    pool: Option<PoolName>,
    router: &Router,
    request: Request,
) -> Response {
    let address = app.0.access.address(&request);
    let (mut parts, body) = request.into_parts();
    let judged = match caller::identify(app, &parts).await {
        Ok(caller) => match authorize(app, row.rule, &caller, pool.as_ref(), &parts, address) {
            Ok(()) => Ok(caller),
            Err(refused) => Err((Some(caller), refused)),
        },
        Err(unknown) => Err((None, unknown)),
    };
    let Some(action) = row.action else {
        return match judged {
            Ok(caller) => {
                parts.extensions.insert(caller);
                route(router, Request::from_parts(parts, body)).await
            }
            Err((_, refused)) => refused.into_response(),
        };
    };

    let entry = Entry {
        action,
        pool,
        address,
        notes: Notes::default(),
    };
    match judged {
        Ok(caller) => {
            entry.notes.by(caller.clone());
            parts.extensions.insert(entry.notes.clone());
            parts.extensions.insert(caller);
            let (app, router) = (app.clone(), router.clone());
            // In a task of its own: what was begun ends and is written down, also when the caller goes away.
            let done = tasks::finish(store::carry(request_id::carry(async move {
                let response = route(&router, Request::from_parts(parts, body)).await;
                entry
                    .write(&app, RequestOutcome::of(&response), "failed")
                    .await;
                response
            })));
            match done.await {
                Ok(response) => response,
                Err(stopped) => match stopped.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Problem::new(
                        Code::Draining,
                        "The node is stopping. Send the request again.",
                    )
                    .into_response(),
                },
            }
        }
        Err((caller, refused)) => {
            let unavailable = refused.code() == Code::StoreUnavailable;
            let response = refused.into_response();
            if unavailable || (caller.is_none() && app.0.access.strangers.check().is_err()) {
                return response;
            }
            if let Some(caller) = caller {
                entry.notes.by(caller);
            }
            entry
                .write(app, RequestOutcome::of(&response), "refused")
                .await;
            response
        }
    }
}

/// Whether the caller may do what the rule is about.
fn authorize(
    app: &App,
    rule: Rule,
    caller: &Caller,
    pool: Option<&PoolName>,
    parts: &Parts,
    address: Option<IpAddr>,
) -> Result<(), Problem> {
    let role = caller.role();
    let allowed = match rule {
        Rule::Anybody | Rule::Token => true,
        Rule::Acquire => matches!(role, Role::Client | Role::Admin),
        Rule::Availability => true,
        Rule::Role(least) | Rule::OwnPools(least) => role != Role::Client && role >= least,
    };
    if !allowed {
        return Err(forbidden(&format!(
            "A key with the role {} may not do this.",
            role.as_str()
        )));
    }
    let in_reach = match pool {
        Some(pool) => caller.is_for(pool),
        None => matches!(rule, Rule::OwnPools(_)) || !caller.names_pools(),
    };
    if !in_reach {
        return Err(forbidden(&match pool {
            Some(pool) => format!("This key is not for the pool {pool}."),
            None => "This key is for some pools only, and this is about all of them.".to_owned(),
        }));
    }
    match caller {
        Caller::Key(key) if role == Role::Client => {
            let page = origin::asking(&parts.headers);
            let named =
                page.is_none_or(|page| key.origins.iter().any(|origin| origin.as_str() == page));
            if !named {
                return Err(origin_not_allowed());
            }
            app.0.access.limiters.check(key, address).map_err(|wait| {
                Problem::new(
                    Code::TooManyRequests,
                    "This key is used more often than its limits allow. Ask again later; seats that are held are not \
                     affected.",
                )
                .retry_after_ms(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
            })
        }
        // A form needs no leave to be sent, so it must come from our own pages.
        Caller::Open
            if parts.uri.path().starts_with("/admin")
                && !parts.method.is_safe()
                && !origin::is_from_here(&parts.headers, &parts.uri) =>
        {
            Err(forbidden(
                "This was sent by a page of another origin. Use the admin pages of this server.",
            ))
        }
        // Nothing is shown, so a foreign page could make the browser of somebody on this machine do it.
        Caller::Open => match origin::asking(&parts.headers) {
            // Our own pages keep their address to themselves, so a browser calls the origin of their forms "null".
            Some(page)
                if !origin::is_from_here(&parts.headers, &parts.uri)
                    && !page_is_known(app, page, pool, &parts.headers, &parts.uri) =>
            {
                Err(origin_not_allowed())
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether a page of this origin may use some key, or needs none.
fn page_is_known(
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

fn forbidden(detail: &str) -> Problem {
    Problem::new(
        Code::Forbidden,
        format!("{detail} Ask who runs this server for another key."),
    )
}

fn origin_not_allowed() -> Problem {
    Problem::new(
        Code::OriginNotAllowed,
        "No key allows pages of this origin here. An operator names it in a client key.",
    )
}

/// Proof that the caller may do what operators do on this route.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// Who it is.
    pub(crate) caller: Caller,
    /// What to write down about it.
    pub(crate) notes: Notes,
}

impl Operator {
    /// Whether the caller may make these changes of a policy: an operator schedules, and an admin does everything.
    pub(crate) fn may_change(&self, changes: &Map<String, Value>) -> Result<(), Problem> {
        if self.caller.role() >= Role::Admin || changes.keys().all(|field| field == "schedule") {
            return Ok(());
        }
        Err(forbidden(
            "A key with the role operator may change the schedule of a pool and nothing else of it.",
        ))
    }
}

impl Operator {
    /// Refuses what only an admin may do on a route that operators use as well.
    pub(crate) fn only_as_admin(&self, what: &str) -> Result<(), Problem> {
        if self.caller.role() >= Role::Admin {
            return Ok(());
        }
        Err(forbidden(&format!(
            "Only a key with the role admin may {what}."
        )))
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self {
            caller: caller(parts)?,
            notes: parts.extensions.get().cloned().unwrap_or_default(),
        })
    }
}

/// Proof that the caller may acquire, and who it is, for idempotency keys.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Who it is.
    pub(super) caller: Caller,
}

impl FromRequestParts<App> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self {
            caller: caller(parts)?,
        })
    }
}

/// Whom the guard let through. A route that the guard does not watch has none, and so nobody.
fn caller(parts: &Parts) -> Result<Caller, Problem> {
    parts.extensions.get().cloned().ok_or_else(|| {
        Problem::new(Code::Forbidden, "Nobody may do this.")
            .cause("the route has no rule that asks for a caller")
    })
}

/// Describes the credential in the OpenAPI document.
pub(super) struct Credentials;

impl utoipa::Modify for Credentials {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An operator's or a client's key. In open mode none is needed.",
            ))
            .build();
        description
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The hash of a login code, as the store keeps it.
pub(crate) fn code_fingerprint(code: &SecretString) -> String {
    Fingerprint::of(code.expose_secret()).into()
}
