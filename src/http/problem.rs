//! The one shape of every error answer: a problem document (RFC 9457).
//!
//! A [`Code`] is the stable word for programs; the detail is a sentence for the person who reads the
//! answer and tells what to do next. What went wrong inside is a [`Problem::cause`]: it goes to the log,
//! once, and never to the client. Deliberately absent: any conversion from a foreign error. Each edge
//! says in its own words what its errors mean.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::request_id;

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Where each code is explained, on every node: `type` is an address below it.
pub(crate) const TYPES: &str = "/docs/errors/";

/// Declares the codes once, so that word, status and title cannot get out of step.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])* $code:ident $word:literal $status:ident $title:literal;)*) => {
        /// The stable word for programs that names the kind of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $meaning])* $code,)*
        }

        impl Code {
            /// Every code, in the order in which they are documented.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The word itself, as it stands in `code` and at the end of `type`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $word,)*
                }
            }

            /// The HTTP status that goes with the code, always the same.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$code => StatusCode::$status,)*
                }
            }

            /// What it says, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$code => concat!($($meaning),*),)*
                }
            }

            /// A short name for people, the same for every problem of this code.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$code => $title,)*
                }
            }
        }
    };
}

codes! {
    // Denials: the pool answered, and the answer is no.
    /// All seats of the pool are in use.
    PoolFull "pool_full" CONFLICT "All seats are in use";
    /// The tenant uses all that it may.
    TenantFull "tenant_full" CONFLICT "The tenant uses all its seats";
    /// All named seats of the period are occupied.
    NamedSeatsExhausted "named_seats_exhausted" CONFLICT "All named seats are taken";
    /// The queue of the pool takes nobody more.
    QueueFull "queue_full" CONFLICT "The queue is full";
    /// An operator blocked the holder for a time.
    HolderBlocked "holder_blocked" CONFLICT "The holder is blocked";

    // Not allowed.
    /// The pool has no licence for this platform.
    PlatformNotLicensed "platform_not_licensed" FORBIDDEN "The platform is not licensed";
    /// The client key does not name this origin.
    OriginNotAllowed "origin_not_allowed" FORBIDDEN "The origin is not allowed";
    /// The credential does not allow this.
    Forbidden "forbidden" FORBIDDEN "Not allowed";
    /// There is no credential, or it is unknown.
    Unauthorized "unauthorized" UNAUTHORIZED "A credential is needed";
    /// The token does not verify.
    InvalidToken "invalid_token" UNAUTHORIZED "The token is not valid";

    // Ends that a renew reads.
    /// Time ended the lease.
    LeaseExpired "lease_expired" GONE "The lease has expired";
    /// The holder gave the seat back.
    LeaseReleased "lease_released" GONE "The lease was released";
    /// An operator ended the lease.
    LeaseTerminated "lease_terminated" GONE "The lease was terminated";
    /// A policy ended the lease.
    LeaseEvicted "lease_evicted" GONE "The lease was evicted";

    // What an operator's request meets.
    /// Somebody has a seat, and the change needs an empty pool.
    PoolInUse "pool_in_use" CONFLICT "The pool is in use";
    /// A node that is up does not know the word yet.
    OlderNode "older_node" CONFLICT "A node is too old for this";
    /// The named seat was transferred before in this period.
    NamedSeatTransferred "named_seat_transferred" CONFLICT "The named seat was transferred before";

    // Too late.
    /// The place in the queue is lost.
    TicketExpired "ticket_expired" GONE "The ticket has expired";

    // Not there.
    /// No pool has this name.
    PoolNotFound "pool_not_found" NOT_FOUND "No such pool";
    /// No lease has this id.
    LeaseNotFound "lease_not_found" NOT_FOUND "No such lease";
    /// No key has this id.
    KeyNotFound "key_not_found" NOT_FOUND "No such key";
    /// No login to the admin pages has this id.
    SessionNotFound "session_not_found" NOT_FOUND "No such session";
    /// No webhook has this id.
    WebhookNotFound "webhook_not_found" NOT_FOUND "No such webhook";
    /// The webhook has no delivery of this id, or no longer.
    DeliveryNotFound "delivery_not_found" NOT_FOUND "No such delivery";
    /// The holder has no named seat in this period, or the pool has none at all.
    NamedSeatNotFound "named_seat_not_found" NOT_FOUND "No such named seat";
    /// No route has this path.
    RouteNotFound "route_not_found" NOT_FOUND "No such route";

    // The request itself.
    /// The request cannot be understood, or breaks a rule.
    InvalidRequest "invalid_request" BAD_REQUEST "The request is not valid";
    /// The route exists, but not with this method.
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The method is not allowed here";
    /// The request came too slowly.
    RequestTimeout "request_timeout" REQUEST_TIMEOUT "The request took too long to arrive";
    /// `If-Match` names another version.
    PreconditionFailed "precondition_failed" PRECONDITION_FAILED "It was changed in between";
    /// The body is larger than the route takes.
    PayloadTooLarge "payload_too_large" PAYLOAD_TOO_LARGE "The body is too large";
    /// The body is not declared as JSON.
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body must be JSON";
    /// The caller asks too often.
    TooManyRequests "too_many_requests" TOO_MANY_REQUESTS "Too many requests";
    /// The request line and the headers are larger than the server takes.
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "The headers are too large";

    // Come back later.
    /// An operator closed the pool to newcomers for a time.
    Maintenance "maintenance" SERVICE_UNAVAILABLE "Maintenance";
    /// Data was lost; those who had a seat come first.
    Recovering "recovering" SERVICE_UNAVAILABLE "Recovering";
    /// The store did not answer, or not in time.
    StoreUnavailable "store_unavailable" SERVICE_UNAVAILABLE "The store is unavailable";
    /// The store is out of memory.
    StoreFull "store_full" SERVICE_UNAVAILABLE "The store is full";
    /// Only a node of a later version can do this.
    NewerNodeNeeded "newer_node_needed" SERVICE_UNAVAILABLE "A newer node is needed";
    /// The connection limit of the node is reached.
    Overloaded "overloaded" SERVICE_UNAVAILABLE "The node is overloaded";
    /// The node is about to stop.
    Draining "draining" SERVICE_UNAVAILABLE "The node is stopping";

    /// Something else than the store keeps the node from its work.
    NotReady "not_ready" SERVICE_UNAVAILABLE "The node is not ready";

    /// A bug of this program.
    Internal "internal" INTERNAL_SERVER_ERROR "Internal error";
}

impl Code {
    /// `true` if every problem of this code carries a time to come back, also when the caller gave none.
    fn always_says_when(self) -> bool {
        self == Self::PoolFull
            || matches!(
                self.status(),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            )
    }

    /// Whether the rest of the request is not worth reading, so that the connection has to go.
    fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::RequestTimeout | Self::PayloadTooLarge | Self::HeadersTooLarge
        )
    }

    /// The challenge that RFC 9110, section 11.6.1, asks for with every 401.
    fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthorized => Some("Bearer realm=\"leasehold\""),
            Self::InvalidToken => Some("Bearer realm=\"leasehold\", error=\"invalid_token\""),
            _ => None,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, ToSchema)]
pub struct FieldError {
    /// Where it is, as in `schedule[1].until`.
    #[schema(example = "ttl_ms")]
    pub field: String,
    /// What is wrong with it, in words for a person.
    #[schema(example = "ttl_ms is from 1000 to 86400000")]
    pub message: String,
}

impl FieldError {
    /// What is wrong with a field of this name.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// One error answer, before it is sent.
#[derive(Debug)]
#[must_use]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    retry_after_ms: Option<u64>,
    members: Vec<(&'static str, Value)>,
    errors: Vec<FieldError>,
    cause: Option<Box<str>>,
}

/// What a [`Problem`] leaves in the response for the log, where the client cannot see it.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) code: Code,
    pub(crate) cause: Option<Box<str>>,
}

impl Problem {
    /// A problem of kind `code`; `detail` is whole sentences for a person, with what to do next.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_ms: None,
            members: Vec::new(),
            errors: Vec::new(),
            cause: None,
        }
    }

    /// Adds a member of its own. What cannot be written as JSON becomes `null`.
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        self.members
            .push((name, serde_json::to_value(value).unwrap_or(Value::Null)));
        self
    }

    /// Says what is wrong with a field, besides the sentence for all of it.
    pub fn at_field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push(FieldError::new(field, message));
        self
    }

    /// The same with other words about single fields.
    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// What is wrong with single fields.
    pub(crate) fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// Leaves out members: the caller is not to read them.
    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.members.retain(|(name, _)| !names.contains(name));
        self
    }

    /// Says when to come back, in milliseconds, as a member and as `Retry-After`.
    pub fn retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }

    /// What happened inside, for the log only. It must not hold a secret.
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into_boxed_str());
        self
    }

    /// The sentence for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Time until a retry makes sense, in milliseconds, if there is one.
    pub(crate) fn when_to_come_back(&self) -> Option<u64> {
        self.retry_after_ms
            // Spread out, so that those who were refused together do not come back together.
            .or_else(|| {
                self.code
                    .always_says_when()
                    .then(|| rand::random_range(1_000..=2_000))
            })
    }

    /// The members of its own.
    pub(crate) fn members(&self) -> serde_json::Map<String, Value> {
        let members = self.members.iter();
        members
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    /// The code of this problem.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The headers and the document, apart from the status.
    fn render(&self) -> (HeaderMap, Vec<u8>) {
        let retry_after_ms = self.when_to_come_back();
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(ms) = retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1)));
        }
        if let Some(challenge) = self.code.challenge() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.code.closes_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }

        let mut body = Vec::with_capacity(384);
        let document = Document {
            problem: self,
            retry_after_ms,
        };
        serde_json::to_writer(&mut body, &document)
            .expect("strings and JSON values can be written");
        (headers, body)
    }

    /// The whole answer as HTTP/1.1 bytes that end the connection, for the places where no request was parsed.
    pub(crate) fn to_http1(&self) -> Vec<u8> {
        let (mut headers, body) = self.render();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let status = self.code.status();
        let mut bytes = Vec::with_capacity(body.len() + 384);
        bytes.extend_from_slice(format!("HTTP/1.1 {status}\r\n").as_bytes());
        for (name, value) in &headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (headers, body) = self.render();
        let mut response = (self.code.status(), headers, body).into_response();
        response.extensions_mut().insert(Logged {
            code: self.code,
            cause: self.cause,
        });
        response
    }
}

/// A problem as JSON: the members of RFC 9457 first, then our own.
struct Document<'a> {
    problem: &'a Problem,
    retry_after_ms: Option<u64>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Problem {
            code,
            detail,
            members,
            errors,
            ..
        } = self.problem;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("{TYPES}{}", code.as_str()))?;
        map.serialize_entry("title", code.title())?;
        map.serialize_entry("status", &code.status().as_u16())?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("code", code)?;
        if let Some(retry_after_ms) = self.retry_after_ms {
            map.serialize_entry("retry_after_ms", &retry_after_ms)?;
        }
        for (name, value) in members {
            map.serialize_entry(name, value)?;
        }
        if !errors.is_empty() {
            map.serialize_entry("errors", errors)?;
        }
        if let Some(request_id) = request_id::current() {
            map.serialize_entry("request_id", &*request_id)?;
        }
        map.end()
    }
}

/// The shape of every error answer, `application/problem+json` (RFC 9457). Which of the further members are there depends on the
/// code.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(
    dead_code,
    reason = "only the schema of it is used: a problem is written by hand, member by member"
)]
pub struct ProblemDocument {
    /// Where the code is explained: an address of the node that answered.
    #[schema(rename = "type", example = "/docs/errors/pool_full")]
    type_: String,
    /// Short name of the kind of problem, for people.
    #[schema(example = "All seats are in use")]
    title: String,
    /// The HTTP status, repeated.
    #[schema(example = 409)]
    status: u16,
    /// What happened and what to do next, for people. The wording can change.
    detail: String,
    /// The stable word for programs.
    #[schema(example = "pool_full")]
    code: String,
    /// When to come back, in milliseconds; also sent as `Retry-After`, in whole seconds.
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
    /// Names the request in the node's log; the same as the header `x-request-id`.
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// With 503: `none` if surely nothing was done, `unknown` if it may have been.
    #[schema(nullable = false, example = "none")]
    outcome: Option<String>,
    /// With a denial: seats in use.
    #[schema(nullable = false)]
    in_use: Option<u64>,
    /// With a denial: seats in all.
    #[schema(nullable = false)]
    capacity: Option<u64>,
    /// With `tenant_full`: the rule that denied, `max`, `tenant_max` or `reserved`.
    #[schema(nullable = false, example = "max")]
    limit: Option<String>,
    /// With `tenant_full`: the sub-account.
    tenant: Option<String>,
    /// With `platform_not_licensed`: those that get a seat.
    #[schema(nullable = false)]
    platforms: Option<Vec<String>>,
    /// With `holder_blocked` and `lease_terminated`: the end of the block.
    #[schema(format = DateTime)]
    blocked_until: Option<String>,
    /// With `holder_blocked` and `lease_terminated`: what the operator said.
    reason: Option<String>,
    /// The id of the lease or of the thing that it is about.
    #[schema(nullable = false)]
    id: Option<String>,
    /// With `precondition_failed`: the present version; null for a pool that does not exist.
    version: Option<u64>,
    /// With `invalid_request`: the field of the body that does not fit.
    #[schema(nullable = false, example = "capacity")]
    field: Option<String>,
    /// With `invalid_request`: what is wrong with single fields.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
    /// With `invalid_request`: the line of the body at which reading stopped.
    #[schema(nullable = false)]
    line: Option<u64>,
    /// With `invalid_request`: the column of that line.
    #[schema(nullable = false)]
    column: Option<u64>,
    /// With `payload_too_large`: the most bytes that the route takes.
    #[schema(nullable = false)]
    limit_bytes: Option<u64>,
    /// With `not_ready` and its like: each check, as `/readyz` has them.
    #[schema(nullable = false)]
    checks: Option<BTreeMap<String, String>>,
    /// With `not_ready` and its like: why a check is not `ok`.
    #[schema(nullable = false)]
    reasons: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use axum::body::to_bytes;

    use super::*;

    async fn sent(problem: Problem) -> (StatusCode, HeaderMap, Value) {
        let response = problem.into_response();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (
            parts.status,
            parts.headers,
            serde_json::from_slice(&body).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_problem_has_the_shape_of_rfc_9457_and_its_own_members() {
        let problem = Problem::new(Code::PoolFull, "All 5 seats are in use.")
            .with("in_use", 5)
            .retry_after_ms(1_200);
        let (status, headers, document) = sent(problem).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(headers[CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(headers[RETRY_AFTER], "2");
        assert_eq!(
            document,
            serde_json::json!({
                "type": "/docs/errors/pool_full",
                "title": "All seats are in use",
                "status": 409,
                "detail": "All 5 seats are in use.",
                "code": "pool_full",
                "retry_after_ms": 1200,
                "in_use": 5,
            })
        );
    }

    #[tokio::test]
    async fn those_who_are_to_come_back_are_always_told_when() {
        for &code in Code::ALL {
            let (status, headers, document) = sent(Problem::new(code, "No.")).await;
            let must = code == Code::PoolFull || status == 429 || status == 503;
            assert_eq!(headers.contains_key(RETRY_AFTER), must, "{code:?}");
            assert_eq!(document["retry_after_ms"].is_u64(), must, "{code:?}");
            assert_eq!(
                headers.contains_key(WWW_AUTHENTICATE),
                status == 401,
                "{code:?}"
            );
        }
        let (_, headers, _) = sent(Problem::new(Code::Recovering, "Wait.").retry_after_ms(0)).await;
        assert_eq!(headers[RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn the_cause_stays_inside() {
        let response = Problem::new(Code::Internal, "Sorry.")
            .cause("redis at 10.0.0.7")
            .into_response();
        assert_eq!(
            response
                .extensions()
                .get::<Logged>()
                .unwrap()
                .cause
                .as_deref(),
            Some("redis at 10.0.0.7")
        );
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("redis"));
    }

    #[test]
    fn words_are_unique_and_no_code_is_a_success() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.status().as_u16() >= 400));
    }

    /// The clients are made and tested with this list, so it has to be ours.
    #[test]
    fn the_specification_of_the_clients_has_every_code_with_its_status() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/spec/errors.json");
        let text = std::fs::read_to_string(path).unwrap();
        let listed: Value = serde_json::from_str(&text).unwrap();
        let listed = listed["codes"].as_object().unwrap();
        for code in Code::ALL {
            let entry = &listed[code.as_str()];
            assert_eq!(
                entry["status"],
                code.status().as_u16(),
                "{code:?}: say its status and class in {path}, then run clients/spec/make_machine.py"
            );
            let class = entry["class"].as_str().unwrap();
            let known = ["ends", "retry", "denied", "misuse"];
            assert!(known.contains(&class), "{code:?} is of no class: {class}");
            // A problem with a time to come back is worth a retry, and nothing that ends a lease is.
            let temporary = code.always_says_when() && *code != Code::PoolFull;
            assert!(!temporary || class == "retry", "{code:?} is temporary");
        }
        assert_eq!(listed.len(), Code::ALL.len(), "codes that are none");
    }
}
