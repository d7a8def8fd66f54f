//! Logging in with an operator's key, with a code that can be used once, or at a provider.

pub(super) mod single_sign_on;

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::FromRequest as _;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, REFRESH, SET_COOKIE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use maud::html;
use secrecy::SecretString;

use super::frame::whole;
use super::{Fields, query, redirect};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::{self, Verified, login};
use crate::http::problem::{Code, Problem};
use crate::names::Label;
use crate::store;
use crate::token::Tokens;

pub(super) async fn show(State(app): State<App>, headers: HeaderMap, fields: Fields) -> Response {
    if app.access().is_open() {
        return redirect("/admin");
    }
    form(&app, &fields, keeps_no_login(&headers), None)
}

/// Where somebody goes who has to log in first.
pub(super) fn prompt(next: &str) -> Response {
    redirect(&format!("/admin/login{}", query([("next", Some(next))])))
}

/// A form that somebody sent, to be sent again after the login.
pub(super) struct SentForm {
    /// Where it went.
    to: String,
    /// What it said, as it came.
    body: String,
}

/// Longest form that is carried through a login, in bytes: the login page has it once more, with marks in place of letters.
const CARRIED: usize = 32 * 1024;

impl SentForm {
    /// What a request of one of our pages says, and the request as it was. None of what others sent: nobody else fills in a form here.
    pub(super) async fn of(request: Request) -> (Request, Option<Self>) {
        let to = request.uri().path().to_owned();
        let is_form = request.headers().get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        let length = request.headers().get(CONTENT_LENGTH);
        let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let is_small = length.is_some_and(|length| length <= CARRIED);
        let is_ours = access::is_from_here(request.headers(), request.uri());
        let logs_in = to == "/admin/login" || to == "/admin/logout";
        if !is_form || !is_small || !is_ours || logs_in || !is_page(&to) {
            return (request, None);
        }
        let (parts, body) = request.into_parts();
        let Ok(bytes) = axum::body::to_bytes(body, CARRIED).await else {
            // The handler finds that it broke off.
            let body = Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(
                std::io::Error::from(std::io::ErrorKind::UnexpectedEof),
            )]));
            return (Request::from_parts(parts, body), None);
        };
        let body = String::from_utf8(bytes.to_vec()).ok();
        let sent = body.map(|body| Self { to, body });
        (Request::from_parts(parts, Body::from(bytes)), sent)
    }

    /// The form that a login page carried.
    fn carried(fields: &Fields) -> Option<Self> {
        let to = fields.get("to").filter(|to| is_page(to))?;
        let body = fields.get("body").unwrap_or_default();
        Some(Self {
            to: to.to_owned(),
            body: body.to_owned(),
        })
    }
}

/// The login page with a form that somebody sent who was not logged in any more.
pub(super) fn prompt_again(app: &App, sent: &SentForm) -> Response {
    form(app, &Fields(Vec::new()), false, Some(sent))
}

/// Asks whoever has logged in to send the form that was carried through. It is not sent by itself: somebody else may have logged in.
fn send_again(sent: &SentForm) -> Response {
    let fields = Fields::parse(sent.body.as_bytes());
    let body = html! {
        section.login {
            h1 { "You are logged in" }
            p { "What you sent before is still here, and was not done yet." }
            form method="post" action=(sent.to) {
                @for (name, value) in &fields.0 { input type="hidden" name=(name) value=(value); }
                p.row {
                    a.button href="/admin" { "Do not send it" }
                    button.main type="submit" autofocus { "Send it" }
                }
            }
        }
    };
    whole(StatusCode::OK, "You are logged in", &html! {}, &body)
}

/// Leads on to a page by itself. Unlike a redirect this makes our own page the one that asks for the next, so browsers send the login
/// along, which they keep from what pages of others begin.
pub(super) fn lead_on(to: &str) -> Response {
    let body = html! {
        section.login {
            p { a href=(to) { "Go on" } }
        }
    };
    let mut response = whole(StatusCode::OK, "One moment", &html! {}, &body);
    let Ok(refresh) = HeaderValue::try_from(format!("0;url={to}")) else {
        return redirect("/admin");
    };
    let headers = response.headers_mut();
    headers.insert(REFRESH, refresh);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a link on a page of others led here, so that the browser may have kept the login back.
pub(super) fn may_be_kept_back(headers: &HeaderMap) -> bool {
    let is = |name: &str, expected: &str| headers.get(name).is_some_and(|value| value == expected);
    is("sec-fetch-site", "cross-site")
        && is("sec-fetch-mode", "navigate")
        && !login::is_sent(headers)
}

fn form(app: &App, fields: &Fields, keeps_no_login: bool, sent: Option<&SentForm>) -> Response {
    let (next, code) = (fields.get("next"), fields.get("code"));
    let provider = app.provider().is_some();
    let with_key = code.is_some()
        || !provider
        || app.access().asks_for_keys
        || fields.get("with") == Some("key");
    let body = html! {
        section.login {
            h1 { "Log in" }
            @if fields.get("wrong").is_some() {
                p.problem role="alert" {
                    "That did not work. Check the key: it must be an operator's, and not revoked. A login that can be used \
                     once may have been used."
                }
            }
            @if sent.is_some() {
                p.problem role="alert" {
                    "Your login has ended. "
                    @if with_key { "Log in again with a key: what you sent is kept, and you can send it after that." }
                    @else { "What you sent was not done: log in, and send it again." }
                }
            }
            @if keeps_no_login { p.problem role="alert" { (NEEDS_HTTPS) } }
            @if provider && code.is_none() {
                p { a.button.main href=(format!("/admin/login/oidc{}", query([("next", next)]))) { (app.access().oidc_button) } }
            }
            @if with_key {
                form method="post" action="/admin/login" {
                    @if let Some(next) = next { input type="hidden" name="next" value=(next); }
                    @if let Some(sent) = sent {
                        input type="hidden" name="to" value=(sent.to);
                        input type="hidden" name="body" value=(sent.body);
                    }
                    @if let Some(code) = code {
                        input type="hidden" name="code" value=(code);
                        p { "You come with a login that can be used once." }
                    } @else {
                        label for="key" { "Key of an operator" }
                        input #key name="key" type="password" required autocomplete="current-password" autofocus[!provider]
                            spellcheck="false" aria-describedby="key-hint";
                        p.quiet #key-hint { "The admin_key of the settings, or one that was made with it. Operators take no seat." }
                        label for="name" { "Your name (optional)" }
                        input #name name="name" maxlength="60" autocomplete="name" aria-describedby="name-hint";
                        p.quiet #name-hint { "The audit trail shows it with the key, for keys that several people use." }
                    }
                    button.main[!provider] type="submit" { "Log in" }
                }
            }
        }
    };
    whole(StatusCode::OK, "Log in", &html! {}, &body)
}

pub(super) async fn log_in(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (headers, uri) = (request.headers().clone(), request.uri().clone());
    let address = app.access().address(&request);
    from_here(&headers, &uri)?;
    let attempts = &app.access().attempts;
    let fields = Fields::from_request(request, &()).await?;
    let next = fields.get("next").filter(|next| is_page(next));

    let credential = match (fields.get("code"), fields.get("key")) {
        (Some(code), _) => {
            attempts.may_try(address).map_err(access::wait_to_guess)?;
            let fingerprint = access::code_fingerprint(&SecretString::from(code));
            match app.store().take_login(&fingerprint).await? {
                Some(offer) => access::by_offer(&app, &offer).await?,
                None => None,
            }
        }
        (None, Some(key)) => match access::verify(&app, key, address).await? {
            Verified::Good(credential) if credential.caller.role() >= Role::Reports => {
                Some(credential)
            }
            _ => None,
        },
        (None, None) => None,
    };
    let Some(credential) = credential else {
        attempts.note_wrong_form(address);
        if let Some(sent) = SentForm::carried(&fields) {
            let wrong = Fields(vec![("wrong".to_owned(), "1".to_owned())]);
            return Ok(form(&app, &wrong, false, Some(&sent)));
        }
        let again = query([("next", next), ("wrong", Some("1"))]);
        return Ok(redirect(&format!("/admin/login{again}")));
    };
    let caller = credential.caller.id();
    let name = match fields
        .get("name")
        .map(|name| Label::try_from(name.to_owned()))
    {
        Some(Ok(name)) => Some(name),
        Some(Err(wrong)) => {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!(
                    "This name cannot stand in the audit trail: {wrong}. Log in with another one, or without."
                ),
            ));
        }
        None => None,
    };
    tracing::info!(actor = caller, "{caller} logged in to the admin pages");
    let name = name.as_ref().map(Label::as_str);
    let cookie = login::begin(&app, &credential, name, address).await?;
    let mut response = match SentForm::carried(&fields) {
        Some(sent) => send_again(&sent),
        None => redirect(next.unwrap_or("/admin")),
    };
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

pub(super) async fn log_out(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    from_here(&headers, &uri)?;
    let elsewhere = single_sign_on::end_session_url(&app, &headers).await;
    let cookie = login::end(&headers, app.tokens(), app.store()).await?;
    // Not by a redirect: the form may lead to our own pages only.
    let mut response = match elsewhere {
        Some(address) => lead_on(&address),
        None => redirect("/admin/login"),
    };
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// A foreign page must not log anybody in as somebody else, nor out.
fn from_here(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    if access::is_from_here(headers, uri) {
        return Ok(());
    }
    Err(Problem::new(
        Code::Forbidden,
        if keeps_no_login(headers) {
            NEEDS_HTTPS
        } else {
            "This was sent by a page of another origin. Log in on the page of this server."
        },
    ))
}

const NEEDS_HTTPS: &str = "Logging in needs https, or a browser on the machine of the server: over plain http a browser keeps \
     no login, and others can read the key. Open this page under an address that begins with https://.";

/// Whether a browser would throw the login away, as far as its headers tell: it sends the origin of a page only over TLS, or
/// on its own machine. Nothing is decided by it but what the page says.
fn keeps_no_login(headers: &HeaderMap) -> bool {
    if headers.contains_key("sec-fetch-site")
        || headers
            .get("x-forwarded-proto")
            .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
    {
        return false;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    !host.is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost"
            || name.ends_with(".localhost")
            || name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

/// Only our own pages: whoever makes the link must not choose where it leads.
fn is_page(next: &str) -> bool {
    (next == "/admin" || next.starts_with("/admin/") || next.starts_with("/admin?"))
        && !next.contains(['\\', '\r', '\n'])
}

/// A login for whoever has just started the node, as the admin of the settings. Good once, for ten minutes.
pub(crate) async fn login_code(
    store: &store::Store,
    tokens: &Tokens,
    admin_key: &SecretString,
) -> Result<String, store::Error> {
    use base64::Engine as _;
    let random: [u8; 18] = rand::random();
    let code = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    let fingerprint = access::code_fingerprint(&SecretString::from(code.as_str()));
    let offer = access::offer(tokens, admin_key);
    store.offer_login(&fingerprint, &offer).await?;
    Ok(code)
}
