//! The one shape of every error answer: a problem document (RFC 9457).
//!
//! A [`Code`] is the stable word for programs; the detail is a sentence for the person who reads the
//! answer and tells what to do next. What went wrong inside is a [`Problem::cause`]: it goes to the log,
//! once, and never to the client. Deliberately absent: any conversion from a foreign error. Each edge
//! says in its own words what its errors mean.

mod code;
mod document;

use std::borrow::Cow;

use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::ser::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

pub use self::code::Code;
use self::document::Document;
pub use self::document::ProblemDocument;

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Where each code is explained, on every node: `type` is an address below it.
pub(crate) const TYPES: &str = "/docs/errors/";

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

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::StatusCode;

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
}
