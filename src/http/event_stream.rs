//! How server-sent events leave: at once, whatever stands in between.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream, StreamExt as _};

use super::server::LongLived;

/// Says that the connection lives, to whoever closes silent ones.
const ALIVE: Duration = Duration::from_secs(15);

/// An answer that lasts as long as `events`, and has its room for as long.
pub(super) fn event_stream(
    room: LongLived,
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    // Something proxies can pass on: some hold back the head until there is a body.
    let open = stream::once(async { Ok(Event::default().comment("open")) });
    let events = open.chain(events).map(move |event| {
        let _room = &room;
        event
    });
    let keep_alive = KeepAlive::new().interval(ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        // Compressed events would stay in the compressor.
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // nginx, and what is made of it, holds answers back otherwise.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
