//! The admin pages: HTML from the binary, good without JavaScript, and better with a little of our own.
//!
//! Every view has a URL that says all there is to it, and the same URL gives JSON and CSV. Pages change something only
//! by a form that was sent from this origin, through the same functions as the HTTP interface, so they are judged by
//! the same table and written into the same trail. Deliberately absent: inline scripts and styles, foreign assets, and
//! anything that a reload would lose.

mod alerts;
mod audit;
mod blocks;
mod charts;
mod denials;
mod errors;
mod form;
mod frame;
mod here;
mod history;
mod holders;
mod keys;
mod leases;
mod login;
mod markdown;
mod named;
mod new_secret;
mod nodes;
mod overview;
mod past;
mod patterns;
mod people;
mod quantity;
mod queue;
mod range;
mod reference;
mod reports;
mod runbooks;
mod sessions;
mod settings;
mod sizing;
mod tenants;
mod wall;
mod webhooks;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::http::App;
use crate::http::accept;
use crate::http::extract::Path;
use crate::http::problem::{Code, Logged, Problem};

pub(crate) use self::login::login_code;

/// Largest form, in bytes: a thousand ids and room to spare.
const FORM_LIMIT: usize = 128 * 1024;

/// Nothing but our own files, nobody may frame us, and forms go nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types leasehold";

/// All pages. Not part of the described interface: they are for people.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(root))
        .route("/favicon.ico", get(icon))
        .route("/admin", get(overview::show))
        .route("/admin/assets/{file}", get(asset))
        .route("/admin/login", get(login::show).post(login::log_in))
        .route("/admin/login/oidc", get(login::single_sign_on::begin))
        .route(
            "/admin/login/callback",
            get(login::single_sign_on::come_back),
        )
        .route("/admin/login/backchannel", post(login::single_sign_on::end))
        .route("/admin/logout", post(login::log_out))
        .route(wall::HERE, get(wall::show))
        .route("/admin/blocks", get(blocks::show))
        .route("/admin/reports", get(reports::summary))
        .route("/admin/reports/tenants", get(reports::tenants))
        .route("/admin/reports/people", get(reports::people))
        .route("/admin/reports/denials", get(reports::denials))
        .route("/admin/reports/workbook", get(reports::excel))
        .route("/admin/people", get(people::show))
        .route("/admin/people/{holder}", get(people::person::show))
        .route(
            "/admin/people/{holder}/end",
            get(people::actions::confirm_end).post(people::actions::end),
        )
        .route(
            "/admin/people/{holder}/notice",
            post(people::actions::notify),
        )
        .route(
            "/admin/people/{holder}/block",
            post(people::actions::put_block),
        )
        .route(
            "/admin/people/{holder}/unblock",
            post(people::actions::lift_block),
        )
        .route("/admin/pools", post(settings::create))
        .route("/admin/pools/{pool}", get(leases::show))
        .route(
            "/admin/pools/{pool}/terminate",
            get(leases::terminate::confirm).post(leases::terminate::terminate),
        )
        .route(
            "/admin/pools/{pool}/settings",
            get(settings::show).post(settings::save),
        )
        .route("/admin/pools/{pool}/history", get(history::show))
        .route("/admin/pools/{pool}/patterns", get(patterns::show))
        .route("/admin/pools/{pool}/sizing", get(sizing::show))
        .route("/admin/pools/{pool}/denials", get(denials::show))
        .route("/admin/pools/{pool}/holders", get(holders::show))
        .route(
            "/admin/pools/{pool}/tenants",
            get(tenants::show).post(tenants::edit),
        )
        .route("/admin/pools/{pool}/queue", get(queue::show))
        .route(
            "/admin/pools/{pool}/named",
            get(named::show).post(named::give),
        )
        .route(
            "/admin/pools/{pool}/named/free",
            get(named::confirm_free).post(named::take),
        )
        .route(
            "/admin/pools/{pool}/named/transfer",
            get(named::confirm_transfer).post(named::transfer_seat),
        )
        .route(
            "/admin/pools/{pool}/maintenance",
            post(settings::maintenance::turn),
        )
        .route(
            "/admin/pools/{pool}/schedule",
            post(settings::schedule::edit),
        )
        .route("/admin/keys", get(keys::show).post(keys::create))
        .route(
            "/admin/keys/{id}/roll",
            get(keys::confirm_roll).post(keys::roll),
        )
        .route(
            "/admin/keys/{id}/revoke",
            get(keys::confirm_revoke).post(keys::revoke),
        )
        .route("/admin/alerts", get(alerts::show))
        .route("/admin/alerts/acknowledge", post(alerts::acknowledge))
        .route("/admin/alerts/withdraw", post(alerts::withdraw))
        .route("/admin/alerts/snoozes", post(alerts::snooze))
        .route("/admin/alerts/snoozes/{id}/end", post(alerts::end_snooze))
        .route(
            "/admin/webhooks",
            get(webhooks::show).post(webhooks::create),
        )
        .route(
            "/admin/webhooks/{id}",
            get(webhooks::detail).post(webhooks::save),
        )
        .route("/admin/webhooks/{id}/enabled", post(webhooks::enable))
        .route("/admin/webhooks/{id}/test", post(webhooks::test))
        .route(
            "/admin/webhooks/{id}/deliveries/{delivery}/resend",
            post(webhooks::resend),
        )
        .route(
            "/admin/webhooks/{id}/roll",
            get(webhooks::confirm_roll).post(webhooks::roll),
        )
        .route(
            "/admin/webhooks/{id}/delete",
            get(webhooks::confirm_delete).post(webhooks::delete),
        )
        .route("/admin/audit", get(audit::show))
        .route(
            "/admin/sessions",
            get(sessions::show).post(sessions::end_others),
        )
        .route("/admin/sessions/{id}/end", post(sessions::end))
        .route("/admin/nodes", get(nodes::show))
        .route("/docs", get(reference::list))
        .route("/docs/api", get(reference::list))
        .route("/docs/api/{tag}", get(reference::show))
        .route("/docs/errors", get(errors::list))
        .route("/docs/errors/{code}", get(errors::show))
        .route("/docs/runbooks", get(runbooks::list))
        .route("/docs/runbooks/{name}", get(runbooks::show))
}

/// Whether this is the path of a page, or of something that belongs to one.
pub(crate) fn has(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/") || path == "/docs" || path.starts_with("/docs/")
}

/// Gives a page its headers, and a problem the form of a page if a browser asks.
pub(crate) async fn with_page_headers<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let page = accept::best(request.headers(), &[accept::JSON, accept::HTML]) == accept::HTML;
    let here = request
        .uri()
        .path_and_query()
        .map_or_else(|| "/admin".to_owned(), ToString::to_string);
    let reads = request.method().is_safe();
    let may_be_kept_back = reads && login::may_be_kept_back(request.headers());
    let (request, sent) = match page && !reads {
        true => login::SentForm::of(request).await,
        false => (request, None),
    };
    let open = app.store().open_alerts();
    let mut response = frame::OPEN_ALERTS.scope(open, answer(request)).await;
    // A page that keeps what was typed says itself what is wrong.
    let shown = response.extensions().get::<form::Shown>().cloned();
    if !page && let Some(problem) = shown.as_ref().and_then(form::Shown::problem) {
        response = problem.into_response();
    }
    if page && shown.is_none() {
        response = match response
            .extensions()
            .get::<Logged>()
            .map(|logged| logged.code)
        {
            // A link in a mail: the login comes along with the next request, which this page makes.
            Some(Code::Unauthorized) if may_be_kept_back => login::lead_on(&here),
            // What was typed is not lost because the login ended meanwhile.
            Some(Code::Unauthorized) => match &sent {
                Some(sent) => login::prompt_again(app, sent),
                None => login::prompt(if reads { &here } else { "/admin" }),
            },
            Some(_) => frame::problem(response, reads).await,
            None => response,
        };
    }
    response = crate::http::csv::for_spreadsheets(response);
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Leads a browser to the pages. Programs have no business here.
async fn root(headers: HeaderMap) -> Result<Response, Problem> {
    if accept::best(&headers, &[accept::JSON, accept::HTML]) == accept::HTML {
        return Ok(redirect("/admin"));
    }
    Err(Problem::new(
        Code::RouteNotFound,
        "There is nothing at this path. The interface begins with /v1, as /v1/openapi.json describes it; the pages are at /admin.",
    ))
}

async fn icon() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("image/x-icon")),
        (
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=86400"),
        ),
    ];
    (headers, &include_bytes!("../web/admin/favicon.ico")[..]).into_response()
}

/// The files of the pages.
async fn asset(Path(file): Path<String>) -> Result<Response, Problem> {
    let (kind, text) = match file.as_str() {
        "style.css" => (
            "text/css; charset=utf-8",
            include_str!("../web/admin/style.css"),
        ),
        "admin.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../web/admin/admin.js"),
        ),
        "select.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../web/admin/select.js"),
        ),
        "chart.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../web/admin/chart.js"),
        ),
        "spark.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../web/admin/spark.js"),
        ),
        "stored.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../web/admin/stored.js"),
        ),
        "times.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../web/admin/times.js"),
        ),
        "wall.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../web/admin/wall.js"),
        ),
        _ => return Err(Problem::new(Code::RouteNotFound, "There is no such file.")),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, text).into_response())
}

/// In which form a view is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Html,
    Json,
    Csv,
}

impl Format {
    fn wanted(headers: &HeaderMap, format: Option<&str>) -> Self {
        match format {
            Some("json") => Self::Json,
            Some("csv") => Self::Csv,
            Some(_) => Self::Html,
            None => match accept::best(headers, &[accept::HTML, accept::JSON, accept::CSV]) {
                accept::JSON => Self::Json,
                accept::CSV => Self::Csv,
                _ => Self::Html,
            },
        }
    }
}

/// What a form sent, in its order. A name may come more than once.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(known, _)| known == name);
        field
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// What was typed, blanks and all.
    fn raw(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.0.iter().filter(move |(known, _)| known == name);
        fields.map(|(_, value)| value.as_str())
    }

    /// The value of a filter; none if it is left empty. One that cannot be is refused: without it a page would show more than was asked for.
    fn chosen<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, Problem> {
        let value = self.get(name).map(str::parse).transpose();
        value.map_err(|error: T::Err| {
            let sentence = format!("The filter `{name}` is not valid: {error}.");
            Problem::new(Code::InvalidRequest, sentence.clone()).at_field(name, sentence)
        })
    }

    /// Words of a field, separated by commas or spaces.
    fn words(&self, name: &str) -> Vec<String> {
        let text = self.get(name).unwrap_or_default();
        text.split([',', ' ', '\n', '\r', '\t'])
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Problem> {
        if request.method().is_safe() {
            return Ok(Self::parse(
                request.uri().query().unwrap_or_default().as_bytes(),
            ));
        }
        let kind = request.headers().get(CONTENT_TYPE);
        if kind.is_none_or(|kind| {
            !kind
                .as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        }) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "This page takes what its form sends.",
            ));
        }
        let body = axum::body::to_bytes(request.into_body(), FORM_LIMIT)
            .await
            .map_err(|_| {
                Problem::new(
                    Code::PayloadTooLarge,
                    "The form is too large, or broke off.",
                )
            })?;
        Ok(Self::parse(&body))
    }
}

/// Leads to another page after a form was taken, so that a reload does not send it again.
fn redirect(path: &str) -> Response {
    let Ok(path) = HeaderValue::try_from(path) else {
        return redirect("/admin");
    };
    (StatusCode::SEE_OTHER, [(LOCATION, path)]).into_response()
}

/// A query from names and values; those without a value are left out.
fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() {
        query
    } else {
        format!("?{query}")
    }
}

/// The address of a view with what its address says now, some of it replaced.
fn link(path: &str, fields: &Fields, kept: &[&str], replaced: &[(&str, &str)]) -> String {
    let is_replaced = |name: &str| replaced.iter().any(|(other, _)| *other == name);
    let kept = kept.iter().filter(|name| !is_replaced(name));
    let kept = kept.map(|name| (*name, fields.get(name)));
    let replaced = replaced.iter().map(|(name, value)| (*name, Some(*value)));
    format!("{path}{}", query(kept.chain(replaced)))
}
