//! What handlers take out of a request, with every refusal as a [`Problem`].
//!
//! [`Body`] requires the media type of JSON, which also keeps foreign pages from sending it
//! without a preflight. [`Beacon`] takes the same bytes under any media type, for the routes where the
//! token in the body is the credential. Both read the whole body first and parse it in place: renewals
//! come this way, and most bodies are one chunk, which is never copied. What a client sent is never
//! repeated to it: it may be a secret in the wrong place. Deliberately absent: a time limit. The
//! connection has one for every body ([`super::server::Limits::body_read`]); here it only becomes a 408.

mod objects;
mod replacement;
mod words;

use std::error::Error as _;

use axum::body::{Body as HttpBody, HttpBody as _};
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use self::objects::Objects;
pub(crate) use self::replacement::{ReadOnly, Replacement};
use crate::http::problem::{Code, Problem};
use crate::http::server::{BodyTimedOut, NoRoom};
use crate::names::{Holder, Invalid};
use crate::store::Outcome;

/// The largest body of most routes, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The largest body of `renew-many`, in bytes: 1 000 tokens and room to spare.
pub const RENEW_MANY_LIMIT: usize = 1536 * 1024;

/// The largest body of `acquire-many`, in bytes: 500 requests with the longest fields.
pub const ACQUIRE_MANY_LIMIT: usize = 1024 * 1024;

/// A JSON body of at most `LIMIT` bytes, declared as JSON. An empty one stands for `{}`.
#[derive(Debug, Clone, Copy)]
pub struct Body<T, const LIMIT: usize = BODY_LIMIT>(pub T);

/// A JSON body of at most `LIMIT` bytes under any media type, for routes whose credential is the token in it.
#[derive(Debug, Clone, Copy)]
pub struct Beacon<T, const LIMIT: usize = BODY_LIMIT>(pub T);

/// The parameters in the path.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

/// A holder as a segment of a path. `.` and `..` have a blank behind them there, because clients fold them away.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct HolderSegment(pub Holder);

impl TryFrom<String> for HolderSegment {
    type Error = Invalid;

    fn try_from(segment: String) -> Result<Self, Invalid> {
        let name = match segment.as_str() {
            ". " => ".",
            ".. " => "..",
            _ => return Holder::try_from(segment).map(Self),
        };
        Holder::try_from(name.to_owned()).map(Self)
    }
}

/// The parameters in the query.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T, S, const LIMIT: usize> FromRequest<S> for Body<T, LIMIT>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let declared = declares_json(request.headers());
        if declared == Some(false) {
            return Err(not_json());
        }
        let bytes = read(request, LIMIT).await?;
        if declared.is_none() && !bytes.is_empty() {
            return Err(not_json());
        }
        parse(&bytes).map(Self)
    }
}

impl<T, S, const LIMIT: usize> FromRequest<S> for Beacon<T, LIMIT>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(&read(request, LIMIT).await?).map(Self)
    }
}

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(rejection) => Err(bad_path(rejection)),
        }
    }
}

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(bad_query(&rejection)),
        }
    }
}

/// Whether the body is declared as JSON; `None` when it is not declared at all.
fn declares_json(headers: &HeaderMap) -> Option<bool> {
    let declared = headers.get(CONTENT_TYPE)?;
    let Ok(declared) = declared.to_str() else {
        return Some(false);
    };
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = essence.split_once('/') else {
        return Some(false);
    };
    let json = subtype.eq_ignore_ascii_case("json")
        || subtype
            .rsplit_once('+')
            .is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"));
    Some(kind.eq_ignore_ascii_case("application") && json)
}

fn not_json() -> Problem {
    Problem::new(
        Code::UnsupportedMediaType,
        "This route takes JSON. Send the body with the header \"Content-Type: application/json\".",
    )
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        Code::PayloadTooLarge,
        format!(
            "The body is larger than the {limit} bytes that this route takes. Send less at a time."
        ),
    )
    .with("limit_bytes", limit)
}

/// The whole body, in one piece.
async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    // A declared length is refused before a byte of it is read. One that cannot be parsed never gets here.
    let declared = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }

    let mut body = request.into_body();
    let first = next_chunk(&mut body).await?.unwrap_or_default();
    if first.len() > limit {
        return Err(too_large(limit));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let Some(second) = next_chunk(&mut body).await? else {
        return Ok(first);
    };
    let mut whole = BytesMut::with_capacity(
        declared.map_or(first.len() + second.len(), |length| length as usize),
    );
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if whole.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
        next = next_chunk(&mut body).await?;
    }
    Ok(whole.freeze())
}

async fn next_chunk(body: &mut HttpBody) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        // Trailers mean nothing to any route.
        if let Ok(chunk) = frame.map_err(|error| unreadable(&error))?.into_data() {
            return Ok(Some(chunk));
        }
    }
    Ok(None)
}

fn unreadable(error: &axum::Error) -> Problem {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<BodyTimedOut>() {
            return Problem::new(
                Code::RequestTimeout,
                "The body did not arrive in time. Send the request again, whole and at once.",
            );
        }
        if let Some(no_room) = error.downcast_ref::<NoRoom>() {
            return no_room.problem(Outcome::None);
        }
        source = error.source();
    }
    Problem::new(
        Code::InvalidRequest,
        "The body broke off or is not framed as its headers say. Send the request again.",
    )
}

/// Reads JSON from a whole body; an empty one stands for `{}`.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::new(
            Code::InvalidRequest,
            "The body is a list. This route takes a JSON object with named fields.",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = T::deserialize(Objects(&mut json)).and_then(|read| json.end().map(|()| read));
    read.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = without_position(&error.to_string());
        let problem = match error.classify() {
            Category::Data => match (field::<T>(bytes), words::reworded(&clean(&message))) {
                (Some(field), message) => Problem::new(
                    Code::InvalidRequest,
                    format!("The body is not what this route takes. At `{field}`: {message}."),
                )
                .at_field(field.as_str(), message)
                .with("field", field),
                (None, message) => Problem::new(
                    Code::InvalidRequest,
                    format!("The body is not what this route takes: {message}."),
                ),
            },
            Category::Io | Category::Syntax | Category::Eof => Problem::new(
                Code::InvalidRequest,
                format!(
                    "The body is not valid JSON in UTF-8: at line {line}, column {column}, {}.",
                    words::of_syntax(&message)
                ),
            ),
        };
        problem.with("line", line).with("column", column)
    })
}

/// Where in the body the first thing is that does not fit. Parses a second time, so only after a failure.
fn field<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, T>(Objects(&mut json)).err()?;
    plain_path(error.path())
}

/// Keys of maps are a client's words, so they are held to plain and short ones.
fn plain_path(path: &serde_path_to_error::Path) -> Option<String> {
    let path = path.to_string();
    let plain = path.len() <= 64 && path.split('.').all(is_plain);
    plain.then_some(path)
}

/// Makes a value of JSON that something else was made of, such as a thing and its changes.
pub(crate) fn of_value<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Objects(value)).map_err(|error| {
        let message = words::reworded(&clean(&error.inner().to_string()));
        match plain_path(error.path()) {
            Some(field) => Problem::new(
                Code::InvalidRequest,
                format!("The {what} is not valid. At `{field}`: {message}."),
            )
            .at_field(field.as_str(), message)
            .with("field", field),
            None => Problem::new(
                Code::InvalidRequest,
                format!("The {what} is not valid: {message}."),
            ),
        }
    })
}

/// Whether a name that a client sent can be repeated: a token or a key is longer than any field.
fn is_plain(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-[]".contains(&byte))
}

fn without_position(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

/// serde's message without the value that the client sent, which may be a secret in the wrong place.
///
/// What the client sent comes first and what was expected last, so the last "expected" is serde's own.
fn clean(message: &str) -> String {
    let (said, expected) = match message
        .rfind(", expected ")
        .or_else(|| message.rfind(", there are no "))
    {
        Some(at) => message.split_at(at),
        None => (message, ""),
    };
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some(at) = said.find(kind) {
            let value = &said[at + kind.len()..];
            let noun = value
                .split(['`', '"'])
                .next()
                .unwrap_or_default()
                .trim_end();
            return format!("{}{kind}{noun}{expected}", &said[..at]);
        }
    }
    for kind in ["unknown field ", "unknown variant "] {
        if let Some(at) = said.find(kind) {
            let name = said[at + kind.len()..].trim_matches('`');
            let name = if is_plain(name) {
                format!("`{name}`")
            } else {
                "(not repeated here)".to_owned()
            };
            return format!("{}{kind}{name}{expected}", &said[..at]);
        }
    }
    message.to_owned()
}

fn bad_path(rejection: PathRejection) -> Problem {
    let detail = match rejection {
        PathRejection::FailedToDeserializePathParams(error) => match error.into_kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => {
                format!("The path is not valid: `{key}` is not UTF-8 after percent-decoding.")
            }
            ErrorKind::ParseErrorAtKey {
                key, expected_type, ..
            } => {
                format!(
                    "The path is not valid: `{key}` takes {}.",
                    words::of_type(expected_type)
                )
            }
            ErrorKind::ParseErrorAtIndex { expected_type, .. }
            | ErrorKind::ParseError { expected_type, .. } => {
                format!(
                    "The path is not valid: a part of it takes {}.",
                    words::of_type(expected_type)
                )
            }
            ErrorKind::DeserializeError { key, message, .. } => {
                format!(
                    "The path is not valid: `{key}`: {}.",
                    words::reworded(&clean(&message))
                )
            }
            ErrorKind::Message(message) => {
                format!(
                    "The path is not valid: {}.",
                    words::reworded(&clean(&message))
                )
            }
            kind => {
                // Only a route that does not fit its handler gets here.
                return Problem::new(
                    Code::Internal,
                    "Something went wrong inside. It was logged.",
                )
                .cause(kind);
            }
        },
        _ => {
            return Problem::new(
                Code::Internal,
                "Something went wrong inside. It was logged.",
            )
            .cause("path parameters are missing");
        }
    };
    Problem::new(Code::InvalidRequest, detail)
}

/// What somebody reads who sends parameters where none are taken.
pub(crate) fn no_parameters(name: &str) -> Problem {
    let detail = "this name is not known here: the route takes no parameters in its address";
    if !is_plain(name) {
        return Problem::new(
            Code::InvalidRequest,
            format!("The query is not valid: {detail}."),
        );
    }
    Problem::new(
        Code::InvalidRequest,
        format!("The query is not valid: `{name}`: {detail}."),
    )
    .at_field(name, detail)
    .with("field", name)
}

fn bad_query(rejection: &QueryRejection) -> Problem {
    let text = match rejection {
        QueryRejection::FailedToDeserializeQueryString(error) => error
            .source()
            .map_or_else(|| error.body_text(), ToString::to_string),
        _ => rejection.body_text(),
    };
    let text = clean(&text);
    // The name of the parameter comes first, if it is known.
    let named = text.split_once(": ").filter(|(name, _)| is_plain(name));
    match named {
        Some((name, said)) => {
            let said = words::reworded(said);
            Problem::new(
                Code::InvalidRequest,
                format!("The query is not valid: `{name}`: {said}."),
            )
            .at_field(name, said.as_str())
            .with("field", name)
        }
        None => Problem::new(
            Code::InvalidRequest,
            format!("The query is not valid: {}.", words::reworded(&text)),
        ),
    }
}

#[cfg(test)]
mod tests;
