//! The rights of callers. Every request passes [`guard`], which asks the one table.
//!
//! Without an admin key the program is open, and serves this machine only. With one, operators and clients show a key
//! as a bearer token, or the cookie of the admin pages. Routes of tokens need nothing else: whoever has the token has
//! the seat. Checking a key costs no round trip: each node has a copy of them, at most a second old.

mod address;
mod allowed;
mod attempts;
mod audit;
mod authorize;
mod caller;
mod credential;
mod limits;
pub(crate) mod login;
mod origin;
pub(crate) mod person;
mod proxy_user;
pub(super) mod refusals;
mod right;
mod table;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use secrecy::{ExposeSecret as _, SecretString};
use tower::Service as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use self::address::Clients;
pub use self::address::client_address;
pub(super) use self::allowed::Client;
pub(crate) use self::allowed::Operator;
pub(crate) use self::attempts::Attempts;
pub(crate) use self::audit::Notes;
pub(crate) use self::caller::{ADMIN_KEY, Caller};
pub(crate) use self::credential::{
    Credential, Verified, by_offer, caller_of_login, offer, verify, wait_to_guess,
};

use self::audit::{Entry, RequestOutcome};
use self::authorize::{authorize, page_is_known, right_ended};
use self::limits::Limiters;
pub(crate) use self::origin::is_from_here;
use self::proxy_user::ProxyUsers;
use self::refusals::Refusals;
pub(crate) use self::right::EndsWithRight;
use self::right::Right;
use self::table::{METRICS_WITH_KEY, Row, Rule};
pub(super) use self::table::{Needs, needs};
pub(crate) use self::table::{RouteMatch, find};
use super::App;
use super::problem::{Code, Problem};
use super::{extract, openapi, request_id};
use crate::access_key::{self, Fingerprint};
use crate::config::{RoleRules, Settings, Switch};
use crate::names::PoolName;
use crate::store;
use crate::tasks;

/// A request that takes no longer than this is not asked again whether it may. The promise about rights that end is a second.
const QUICK: Duration = Duration::from_millis(700);

/// The actor in the trail that nobody knows.
const UNKNOWN: &str = "unknown";

/// How callers are authenticated.
#[derive(Debug)]
pub(crate) struct Access {
    /// Hash of the admin key; none in open mode.
    admin: Option<Fingerprint>,
    /// Of the admin key.
    admin_form: Form,
    clients: Clients,
    limiters: Limiters,
    refusals: Refusals,
    /// Bounds how often keys are looked for that this node does not know.
    strangers: DefaultDirectRateLimiter,
    /// Guesses of the admin key.
    pub(crate) attempts: Attempts,
    /// Keys of ours that are none. Counted apart: they cannot be guessed, and whoever tries must not lock out a person with the admin key.
    wrong_keys: Attempts,
    /// Logouts that a provider did not sign. Counted apart: any page can send such a form from the browser of a person, who must not be
    /// locked out by it.
    pub(crate) wrong_logouts: Attempts,
    /// Whether `/metrics` asks for a key.
    metrics_key: bool,
    /// Roles of groups.
    pub(crate) roles: RoleRules,
    proxy_users: ProxyUsers,
    /// Whether the login page asks for a key.
    pub(crate) asks_for_keys: bool,
    /// What stands on the link to the provider.
    pub(crate) oidc_button: String,
}

impl Access {
    /// As the settings say.
    pub(super) fn new(settings: &Settings) -> Self {
        let ten = std::num::NonZeroU32::new(10).expect("not zero");
        let admin = settings.admin_key.as_ref();
        Self {
            admin: admin.map(|key| Fingerprint::of(key.expose_secret())),
            admin_form: admin.map_or(Form::Text, |key| Form::of(key.expose_secret())),
            clients: Clients::behind(&settings.trusted_proxies),
            limiters: Limiters::default(),
            refusals: Refusals::default(),
            strangers: RateLimiter::direct(Quota::per_second(ten)),
            attempts: Attempts::default(),
            wrong_keys: Attempts::default(),
            wrong_logouts: Attempts::default(),
            metrics_key: settings.metrics_key == Switch::On,
            roles: settings.oidc_roles.clone(),
            proxy_users: ProxyUsers::of(settings),
            asks_for_keys: settings.login_with_keys == Switch::On,
            oidc_button: settings.oidc_button.clone(),
        }
    }

    /// Whether a string cannot be the admin key: a token that a proxy adds, or a damaged key of ours.
    fn is_foreign(&self, text: &str) -> bool {
        let form = Form::of(text);
        form != Form::Text && form != self.admin_form
    }

    /// Whether no key is asked for.
    pub(crate) const fn is_open(&self) -> bool {
        self.admin.is_none()
    }

    /// Whether what this address says about its clients is believed.
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        self.clients.trusts(address.to_canonical())
    }

    /// Where a request comes from: the peer, or what a trusted proxy says about it.
    pub(crate) fn address(&self, request: &Request) -> Option<IpAddr> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0;
        Some(self.clients.address(peer.ip(), request.headers()))
    }
}

/// The form of a string that should be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A key that this program made.
    Ours,
    /// A JSON Web Token (RFC 7519): three parts, the first of which begins with `{"`.
    Jwt,
    /// Anything else, as people choose an admin key.
    Text,
}

impl Form {
    fn of(text: &str) -> Self {
        if text.starts_with(access_key::PREFIX) {
            Self::Ours
        } else if text.starts_with("eyJ") && text.matches('.').count() == 2 {
            Self::Jwt
        } else {
            Self::Text
        }
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
    let row = match about.row(request.method()) {
        Some(_) if access.metrics_key && about.name == METRICS_WITH_KEY.path => {
            Some(&METRICS_WITH_KEY)
        }
        row => row,
    };

    // The page of another origin that asks, where such pages may.
    let page = origin::asking(request.headers())
        .filter(|page| about.shares && !page.is_empty())
        .map(str::to_owned);

    if access.is_open() {
        // A page whose name was pointed at this machine would get around the rule of one origin (DNS rebinding).
        let asked = origin::host(request.headers(), request.uri());
        let machine = row.is_some_and(|row| row.rule == Rule::Anybody);
        if !machine && !asked.is_none_or(origin::is_near) {
            let refused = Problem::new(
                Code::Forbidden,
                "No key is set, so this server answers only under the names of its own machine: 127.0.0.1, [::1] and \
                 localhost. Set admin_key to serve under another name.",
            );
            return origin::shared(refused.into_response(), page.as_deref());
        }
    }

    // Leave is given to every page, because without it a page cannot read why the request itself is refused.
    if about.shares && origin::is_preflight(&request) {
        return origin::leave(page.as_deref().unwrap_or_default(), &about.allowed);
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

    // A token tells whoever has it nothing new.
    let is_known = row.rule == Rule::Token
        || page.as_deref().is_some_and(|page| {
            page_is_known(app, page, pool.as_ref(), request.headers(), request.uri())
        });
    let mut response = match row.rule {
        Rule::Anybody | Rule::Token => route(row, router, request).await,
        // Apart, so that what those need weighs on no heartbeat.
        _ => Box::pin(admit(app, row, pool, router, request)).await,
    };
    if about.shares {
        // A refusal tells nothing of anybody.
        let may_read = is_known || !response.status().is_success();
        response = origin::shared(response, page.as_deref().filter(|_| may_read));
    }
    response
}

/// Hands a request to its handler.
async fn route(row: &Row, router: &Router, request: Request) -> Response {
    if let Some(query) = request.uri().query().filter(|query| !query.is_empty())
        && let Err(unknown) = takes_query(row, query)
    {
        return unknown.into_response();
    }
    let Ok(response) = router.clone().call(request).await;
    response
}

/// Refuses parameters on a route of the interface that takes none: its handler would not look at them, and whoever sent `?limit=5` would
/// take all for five. Handlers that take some refuse others by themselves.
fn takes_query(row: &Row, query: &str) -> Result<(), Problem> {
    let is_exempt = row.rule == Rule::Anybody || !row.path.starts_with("/v1/");
    if is_exempt || openapi::takes_query(row.path, row.method) {
        return Ok(());
    }
    let name = form_urlencoded::parse(query.as_bytes()).next();
    Err(extract::no_parameters(
        &name.map_or(String::new(), |(name, _)| name.into_owned()),
    ))
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
    let judged = match credential::identify(app, &parts, address).await {
        Ok(credential) => {
            let caller = credential.caller.clone();
            if let Some(key) = caller.key() {
                app.0.store.note_key_use(&key.id);
            }
            match authorize(app, row, &caller, pool.as_ref(), &parts, address) {
                Ok(()) => Ok(credential),
                Err(refused) => Err((Some(caller), refused)),
            }
        }
        Err(unknown) => Err((None, unknown)),
    };
    let judged = judged.map_err(|(caller, refused)| {
        let status = refused.code().status();
        if ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
            return (caller, refused);
        }
        let actor = caller.as_ref().map_or(UNKNOWN, Caller::id);
        match app.0.access.refusals.check(actor, address) {
            Ok(()) => (caller, refused),
            Err(wait) => (caller, refusals::too_many(wait)),
        }
    });
    let Some(action) = row.action else {
        return match judged {
            Ok(credential) => {
                parts.extensions.insert(credential.caller.clone());
                let right = Right {
                    credential,
                    row,
                    pool,
                    page: origin::asking(&parts.headers).map(str::to_owned),
                };
                let answer = route(row, router, Request::from_parts(parts, body));
                tokio::select! {
                    biased;
                    response = answer => right.bound(app, response),
                    () = async {
                        // What is quick ends as it began.
                        tokio::time::sleep(QUICK).await;
                        right.clone().ended(app.clone()).await;
                    } => right_ended().into_response(),
                }
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
        Ok(Credential { caller, .. }) => {
            entry.notes.by(caller.clone());
            parts.extensions.insert(entry.notes.clone());
            parts.extensions.insert(caller);
            let (app, router) = (app.clone(), router.clone());
            // In a task of its own: what was begun ends and is written down, also when the caller goes away.
            let done = tasks::finish(store::carry(request_id::carry(async move {
                let response = route(row, &router, Request::from_parts(parts, body)).await;
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
            if unavailable {
                return response;
            }
            let is_stranger = caller.is_none();
            if let Some(caller) = caller {
                entry.notes.by(caller);
            }
            let action = entry.action(&RequestOutcome::of(&response), "refused");
            if let Some(action) = app.0.access.refusals.entry(action, is_stranger, address) {
                audit::write(&app.0.store, &action).await;
            }
            response
        }
    }
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
