//! JSON answers of the routes that carry the load: written in one go into one buffer.
//!
//! axum's own writer begins with 128 bytes and grows with each of the many small writes of a serializer; a lease has five
//! times as many. Deliberately absent: reading. [`super::extract`] does that.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Room for a lease with its token and without activities.
const CAPACITY: usize = 1024;

/// A body of JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(CAPACITY);
        serde_json::to_writer(&mut body, &self.0).expect("strings and numbers have a JSON form");
        let media_type = HeaderValue::from_static("application/json");
        ([(CONTENT_TYPE, media_type)], body).into_response()
    }
}
