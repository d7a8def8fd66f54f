//! The rights of callers. Every request passes [`guard`], which asks the one table.
//!
//! Without an admin key the program is open, and serves this machine only. With one, operators and clients show a key
//! as a bearer token, or the cookie of the admin pages. Routes of tokens need nothing else: whoever has the token has
//! the seat. Checking a key costs no round trip: each node has a copy of them, at most a second old.

mod address;
mod attempts;
mod audit;
mod caller;
mod limits;
pub(crate) mod login;
mod origin;
pub(crate) mod person;
mod proxy_user;
pub(super) mod refusals;
mod right;
mod table;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::header::ALLOW;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use tower::Service as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use self::address::Clients;
pub(crate) use self::attempts::Attempts;
pub(crate) use self::caller::{
    ADMIN_KEY, Caller, Credential, Verified, by_offer, offer, verify, wait_to_guess,
};

pub(crate) use self::audit::Notes;
use self::audit::{Entry, RequestOutcome};
use self::limits::Limiters;
pub(crate) use self::origin::is_from_here;
use self::proxy_user::ProxyUsers;
use self::refusals::Refusals;
use self::right::Right;
use self::table::{METRICS_WITH_KEY, Row, Rule};
pub(super) use self::table::{Needs, needs};
pub(crate) use self::table::{RouteMatch, find};
use super::App;
use super::problem::{Code, Problem};
use super::request_id;
use crate::access_key::{self, Fingerprint, Role};
use crate::config::{RoleRules, Settings, Switch};
use crate::names::{PoolName, Tenant};
use crate::store;
use crate::tasks;
use crate::time::millis;

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
        Rule::Anybody | Rule::Token => route(router, request).await,
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
    let judged = match caller::identify(app, &parts, address).await {
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
                };
                let answer = route(router, Request::from_parts(parts, body));
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

/// Whether a role is enough for a rule, of somebody for all pools and tenants or for some.
fn role_is_enough(rule: Rule, role: Role, sees_everything: bool) -> bool {
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
fn reach(row: &Row, caller: &Caller, pool: Option<&PoolName>) -> Result<(), Problem> {
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
        return Err(forbidden(&match pool {
            Some(pool) => format!("This key is not for the pool {pool}."),
            None => "This key is for some pools only, and this is about all of them.".to_owned(),
        }));
    }
    let is_of_some_tenants = match pool {
        Some(pool) => caller.tenants_in(pool).is_some(),
        None => caller.names_tenants(),
    };
    if is_of_some_tenants && !row.keeps_to_tenants {
        return Err(forbidden(
            "This key is for some tenants only, and this is about all of them.",
        ));
    }
    Ok(())
}

/// Whether the caller may do what the rule is about, from where it asks and as often as it does.
fn authorize(
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
        let named = page.is_none_or(|page| key.origins.iter().any(|origin| origin.is(page)));
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

fn right_ended() -> Problem {
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
    /// The tenants that the caller may see and touch in this pool; none is all of them.
    pub(crate) fn tenants_in(&self, pool: &PoolName) -> Option<BTreeSet<Tenant>> {
        self.caller.tenants_in(pool)
    }

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

impl Client {
    /// The tenant of a lease that this caller asks for: the one that its key fixes, or one that it may name.
    pub(super) fn tenant(
        &self,
        pool: &PoolName,
        named: Option<Tenant>,
    ) -> Result<Option<Tenant>, Problem> {
        let fixed = self.caller.key().and_then(|key| key.tenant.clone());
        match (fixed, named) {
            (Some(fixed), Some(named)) if fixed != named => Err(forbidden(&format!(
                "This key acquires for the tenant {fixed} only."
            ))),
            (Some(fixed), _) => Ok(Some(fixed)),
            (None, named) => match self.caller.tenants_in(pool) {
                Some(own) if named.as_ref().is_none_or(|named| !own.contains(named)) => Err(
                    forbidden("This key is for some tenants only. Name one of them in `tenant`."),
                ),
                _ => Ok(named),
            },
        }
    }
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
