//! Logging in at a provider, and what ends such a login.
//!
//! What has to come back from the provider is kept by the browser, encrypted, in a cookie for each attempt, so that several tabs can log
//! in at once and a node keeps nothing. Deliberately absent: the name under which the request came in. The provider leads back to
//! `public_url`.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::{CACHE_CONTROL, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::super::frame::whole;
use super::super::{Fields, query, redirect};
use super::{is_page, lead_on};
use crate::http::App;
use crate::http::access::person::no_role;
use crate::http::access::{self, login};
use crate::http::problem::{Code, Problem};
use crate::oidc::{self, Groups, LoggedIn, LoginAttempt, Provider};
use crate::store::SessionOfPerson;

/// What the names of the cookies begin with. They go to all pages of this host, because `__Host-` asks for that.
const COOKIE: &str = "__Host-leasehold-oidc-";
/// How long somebody may take at the provider.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Attempts of one browser at the same time.
const AT_ONCE: usize = 5;
/// Characters of the state in the name of a cookie.
const TAG: usize = 8;
/// What cookies are encrypted for.
const ATTEMPT: &str = "oidc login attempt";
/// What ID tokens are encrypted for.
const HINT: &str = "oidc id token";
/// How long a log-out message is remembered: longer than one is taken.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Maximum groups per session.
const MAX_GROUPS: usize = 100;
/// Characters of what a provider says of a refusal that are shown and logged.
const MAX_WHY: usize = 300;

/// Leads to the provider.
pub(in crate::ui) async fn begin(
    State(app): State<App>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let Some(provider) = app.provider() else {
        return Ok(redirect("/admin/login"));
    };
    let next = fields.get("next").filter(|next| is_page(next));
    let attempt = LoginAttempt::new(next, app.store().now().0);
    let address = match provider.authorization_url(&attempt).await {
        Ok(address) => address,
        Err(error) => return Ok(failed(&error, next)),
    };
    let location = HeaderValue::try_from(address).map_err(|_| {
        Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )
        .cause("the address of the provider cannot be a header")
    })?;
    let mut response = (StatusCode::SEE_OTHER, [("location", location)]).into_response();
    let json = serde_json::to_string(&attempt).expect("strings have a JSON form");
    let hidden = app.tokens().encrypt(ATTEMPT, &json);
    let tag = &attempt.state[..TAG];
    set(&mut response, tag, &hidden, PATIENCE);
    let mut open: Vec<(LoginAttempt, String)> = attempts(&app, &headers).collect();
    open.sort_by_key(|(attempt, _)| attempt.since_ms);
    for (_, tag) in open.iter().rev().skip(AT_ONCE - 1) {
        set(&mut response, tag, "", Duration::ZERO);
    }
    Ok(response)
}

/// The attempts that a browser has under way, with the tag of each cookie.
fn attempts(app: &App, headers: &HeaderMap) -> impl Iterator<Item = (LoginAttempt, String)> {
    login::cookies(headers).filter_map(|(name, value)| {
        let tag = name.strip_prefix(COOKIE)?;
        let json = app.tokens().decrypt(ATTEMPT, value)?;
        Some((serde_json::from_str(&json).ok()?, tag.to_owned()))
    })
}

/// Lax, because a page of the provider leads back here.
fn set(response: &mut Response, tag: &str, value: &str, life: Duration) {
    let cookie = format!(
        "{COOKIE}{tag}={value}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax",
        life.as_secs()
    );
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Logs in whoever comes back from the provider.
pub(in crate::ui) async fn come_back(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(provider) = app.provider() else {
        return Ok(redirect("/admin/login"));
    };
    let address = app.access().address(&request);
    let attempts_of_address = &app.access().attempts;
    attempts_of_address
        .may_try(address)
        .map_err(access::wait_to_guess)?;
    let headers = request.headers().clone();
    let fields = Fields::from_request(request, &()).await?;
    let state = fields.get("state").unwrap_or_default();
    let now = app.store().now();
    let found = attempts(&app, &headers).find(|(attempt, _)| attempt.is_of(state));
    let Some((attempt, tag)) = found else {
        return Ok(refusal(
            StatusCode::BAD_REQUEST,
            "This login was not begun here",
            &html! {
                "It may have been begun in another browser, or more than ten minutes ago, or it was used already."
            },
            None,
        ));
    };
    let next = attempt.next.as_deref().filter(|next| is_page(next));
    let age = u64::try_from(now.0 - attempt.since_ms).unwrap_or(0);
    let mut response = if Duration::from_millis(age) > PATIENCE {
        refusal(
            StatusCode::BAD_REQUEST,
            "This login took too long",
            &html! { "It has to be done within ten minutes." },
            next,
        )
    } else {
        match log_in(&app, provider, &attempt, &fields, address).await? {
            Ok(response) => response,
            Err(error) => {
                // Whoever comes back again and again without a login asks the provider and fills the log each time.
                if !matches!(error, oidc::Error::Provider(_)) {
                    attempts_of_address.note_wrong_form(address);
                }
                failed(&error, next)
            }
        }
    };
    // It is used, whatever became of it.
    set(&mut response, &tag, "", Duration::ZERO);
    Ok(response)
}

async fn log_in(
    app: &App,
    provider: &Provider,
    attempt: &LoginAttempt,
    fields: &Fields,
    address: Option<IpAddr>,
) -> Result<Result<Response, oidc::Error>, Problem> {
    if let Err(error) = provider.check_issuer(fields.get("iss")).await {
        return Ok(Err(error));
    }
    if let Some(error) = fields.get("error") {
        let why = fields.get("error_description").unwrap_or_default();
        // Anybody can write it, and it goes into the log.
        let why: String = format!("{error} {why}")
            .trim()
            .chars()
            .take(MAX_WHY)
            .collect();
        return Ok(Err(oidc::Error::Refused(why)));
    }
    let Some(code) = fields.get("code") else {
        return Ok(Err(oidc::Error::Untrusted("no code came back".to_owned())));
    };
    let now = app.store().now();
    let LoggedIn { claims, id_token } = match provider.log_in(attempt, code, now.0 / 1_000).await {
        Ok(logged_in) => logged_in,
        Err(error) => return Ok(Err(error)),
    };
    let next = attempt.next.as_deref().filter(|next| is_page(next));
    let (subject, name) = (&claims.subject, &claims.name);
    let groups = match claims.groups {
        Groups::Named(groups) => groups,
        Groups::Missing => Vec::new(),
        Groups::TooMany => {
            tracing::warn!(
                subject,
                "{name} is in more groups than fit into a token; {}",
                oidc::TOO_MANY
            );
            return Ok(Ok(refusal(
                StatusCode::FORBIDDEN,
                "You are in too many groups",
                &html! {
                    "The provider leaves the groups of " bdi { (name) } " out, because they are more than fit into a token (at Entra \
                     more than 200). Ask who runs this server to " (oidc::TOO_MANY) "."
                },
                next,
            )));
        }
    };
    let roles = &app.access().roles;
    let Some((role, _)) = roles.of_groups(groups.iter().map(String::as_str)) else {
        let refused = no_role(name, groups.iter().map(String::as_str));
        tracing::warn!(
            subject,
            groups = groups.join(", "),
            "{name} has no role: none of the groups is in oidc_roles"
        );
        return Ok(Ok(refusal(
            StatusCode::FORBIDDEN,
            "You have no role here",
            &html! { (refused.detail()) },
            next,
        )));
    };
    let kept = groups
        .iter()
        .filter(|group| roles.names(group))
        .take(MAX_GROUPS);
    let person = SessionOfPerson {
        issuer: provider.issuer().to_owned(),
        subject: subject.clone(),
        name: name.clone(),
        groups: kept.cloned().collect(),
        sid: claims.session,
    };
    let (cookie, fingerprint) = login::begin_of_person(app, person, address).await?;
    if provider.ends_at_provider() {
        let hint = app.tokens().encrypt(HINT, &id_token);
        app.store().keep_login_hint(&fingerprint, &hint).await?;
    }
    tracing::info!(
        subject,
        role = role.as_str(),
        "{name} logged in to the admin pages at the provider"
    );
    let mut response = lead_on(next.unwrap_or("/admin"));
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(Ok(response))
}

/// What somebody reads whom the provider did not log in, or not so that it could be believed.
fn failed(error: &oidc::Error, next: Option<&str>) -> Response {
    tracing::warn!(error = %error, "a login at the provider failed: {error}");
    match error {
        oidc::Error::Provider(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "The single sign-on does not work at the moment",
            &html! { "The provider does not answer as it should; the log of the server has the reason. With a key you can still log in." },
            next,
        ),
        oidc::Error::Refused(why) => refusal(
            StatusCode::FORBIDDEN,
            "The provider did not log you in",
            &html! { "It said: " bdi { (crate::names::shown(why)) } },
            next,
        ),
        oidc::Error::Untrusted(_) => refusal(
            StatusCode::BAD_REQUEST,
            "The answer of the provider is not to be believed",
            &html! { "Nobody was logged in. The log of the server has the reason." },
            next,
        ),
    }
}

fn refusal(status: StatusCode, title: &str, text: &Markup, next: Option<&str>) -> Response {
    let body = html! {
        section.login {
            h1 { (title) }
            p.problem role="alert" { (text) }
            p.row {
                a.button.main href=(format!("/admin/login/oidc{}", query([("next", next)]))) { "Try again" }
                a href="/admin/login?with=key" { "Log in with a key" }
            }
        }
    };
    let mut response = whole(status, title, &html! {}, &body);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Where a log-out goes on, if it ends the session at the provider too. What fails there keeps nobody logged in here.
pub(super) async fn end_session_url(app: &App, headers: &HeaderMap) -> Option<String> {
    let provider = app
        .provider()
        .filter(|provider| provider.ends_at_provider())?;
    let fingerprint = login::fingerprint(app, headers)?;
    let kept = app.store().login(&fingerprint).await.ok()??;
    kept.person?;
    let hint = app.store().login_hint(&fingerprint).await.ok().flatten();
    let id_token = hint.and_then(|hint| app.tokens().decrypt(HINT, &hint));
    match provider.end_session_url(id_token.as_deref()).await {
        Ok(address) => address,
        Err(error) => {
            tracing::warn!(error = %error, "the session at the provider goes on: {error}");
            None
        }
    }
}

/// Ends the logins of somebody whom the provider has logged out.
pub(in crate::ui) async fn end(State(app): State<App>, request: Request) -> Response {
    let ended = end_named(&app, request).await;
    let mut response = match ended {
        Ok(count) => {
            tracing::info!(sessions = count, "the provider ended a session");
            StatusCode::OK.into_response()
        }
        Err(problem) => problem.into_response(),
    };
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn end_named(app: &App, request: Request) -> Result<usize, Problem> {
    let refused = |detail: String| Problem::new(Code::InvalidRequest, detail);
    let Some(provider) = app.provider() else {
        return Err(refused(
            "This server has no provider. Set oidc_issuer.".to_owned(),
        ));
    };
    let address = app.access().address(&request);
    let attempts = &app.access().wrong_logouts;
    attempts.may_try(address).map_err(access::wait_to_guess)?;
    let fields = Fields::from_request(request, &()).await?;
    let token = fields.get("logout_token");
    let token = token.ok_or_else(|| refused("The form has no logout_token.".to_owned()))?;
    let now = app.store().now();
    let ended = provider
        .ended(token, now.0 / 1_000)
        .await
        .map_err(|error| {
            if matches!(error, oidc::Error::Untrusted(_)) {
                attempts.note_wrong_form(address);
            }
            refused(format!("Nobody was logged out: {error}."))
        })?;
    let id = access::code_fingerprint(&format!("logout\0{}", ended.id).into());
    if !app.store().is_first(&id, REMEMBERED).await? {
        return Err(refused("This logout_token was used already.".to_owned()));
    }
    let (subject, session) = (ended.subject.as_deref(), ended.session.as_deref());
    Ok(app
        .store()
        .end_sessions_of(provider.issuer(), subject, session)
        .await?)
}
