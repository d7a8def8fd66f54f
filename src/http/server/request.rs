//! One request of a connection: what is wrong with it before anybody looks at its path, its body, and the answer on its way out.

mod answer_body;
mod screen;
mod timed_body;

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderValue, Request, Version};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

pub(super) use self::answer_body::Answer;
use self::screen::{name_host, screen};
pub use self::timed_body::BodyTimedOut;
use self::timed_body::Timed;
use super::Shared;
use super::room::Kept;
use super::watch::{AnswerKind, BrokenOff, UnderWay, Watch};
use crate::store::Outcome;

/// Maximum of unwanted body bytes that are read to keep the connection usable.
const REST: u64 = 64 * 1024;

/// How long such bytes are waited for.
const REST_WAIT: Duration = Duration::from_secs(1);

/// Answers up to here may wait for their client without a turn.
const SMALL: u64 = 16 * 1024;

tokio::task_local! {
    /// Of a request that is one of many on its connection, while a handler works on it.
    static TURN: RefCell<Option<OwnedSemaphorePermit>>;
}

/// Gives the turn of the request that is worked on to the next: this one only waits from here on. Not by the clock, because on a
/// busy machine everything takes long.
pub(super) fn end_turn() {
    let _ = TURN.try_with(|turn| turn.take());
}

/// Where requests come from.
pub(super) struct From<F> {
    pub(super) peer: SocketAddr,
    pub(super) shared: Arc<Shared<F>>,
    pub(super) watch: Arc<Watch>,
    /// Whether the connection ends after one answer.
    pub(super) once: bool,
    /// How many of them may be worked on at a time, if there are more than one.
    pub(super) turns: Option<Arc<Semaphore>>,
}

/// Has one request answered.
pub(super) fn answer<F, A>(
    request: Request<Incoming>,
    from: &From<F>,
) -> BoxFuture<'static, Result<Response<Answer>, Infallible>>
where
    F: Fn(axum::extract::Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let mut under_way = UnderWay::new(&from.watch);
    let (shared, watch) = (Arc::clone(&from.shared), Arc::clone(&from.watch));
    let (turns, once) = (from.turns.clone(), from.once);
    let queue = Arc::clone(&watch);
    let http1 = request.version() < Version::HTTP_2;
    let screened = screen(&request, &watch, shared.limits.header_bytes);
    // Whoever waits for permission to send a body is not asked for one that nobody wants.
    let expects = request.headers().contains_key(EXPECT);
    let mut request = request.map(|body| {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Timed::new(body, &shared, &watch, http1))
    });
    request.extensions_mut().insert(ConnectInfo(from.peer));
    name_host(&mut request);

    let answering = move |mut turn: Option<OwnedSemaphorePermit>| async move {
        let mut closes = once || shared.drain.is_draining();
        let mut response = match screened {
            Ok(()) => {
                let response;
                (response, turn) = handled(&shared, request, turn).await;
                response
            }
            Err(problem) => {
                closes = true;
                drop(request);
                problem.into_response()
            }
        };
        let is_whole = response.body().size_hint().exact().is_some();
        let kept;
        (response, kept) = keep_large(&shared, &watch, response).await;
        if http1 {
            if let Some(rest) = watch.take_rest() {
                closes |= match rest {
                    Ok(rest) => expects || !read_rest(rest, &watch).await,
                    Err(BrokenOff) => true,
                };
            }
            if closes {
                // The client goes by itself before the connection is closed under it.
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        under_way.answer(if is_whole {
            AnswerKind::Whole
        } else {
            AnswerKind::Endless
        });
        // Without a large answer to wait for its client, the next request may be worked on.
        let turn = turn.filter(|_| kept.is_some());
        Ok(response.map(|body| Answer::new(body, under_way, turn, kept, http1)))
    };
    // In a box for as long as it runs: a connection keeps the place of its answer while it is silent, 6 KB of it. A request that
    // waits for its turn does without.
    match turns {
        None => Box::pin(answering(None)),
        Some(turns) => Box::pin(async move {
            // The others wait for their client, if they do not move on.
            let paused = queue.pause(Instant::now());
            let turn = turns.acquire_owned().await.ok();
            drop(paused);
            Box::pin(answering(turn)).await
        }),
    }
}

/// Has a handler answer, and returns the turn of the request, unless the handler gave that on.
async fn handled<F, A>(
    shared: &Shared<F>,
    request: axum::extract::Request,
    turn: Option<OwnedSemaphorePermit>,
) -> (Response, Option<OwnedSemaphorePermit>)
where
    F: Fn(axum::extract::Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let answering = (shared.answer)(request);
    if turn.is_none() {
        return (answering.await, None);
    }
    let answering = async {
        let response = answering.await;
        (response, TURN.with(RefCell::take))
    };
    TURN.scope(RefCell::new(turn), answering).await
}

/// Takes room for a large answer for as long as it waits for its client. One without an end, such as an event stream, is made as it is
/// taken.
async fn keep_large<F>(
    shared: &Shared<F>,
    watch: &Arc<Watch>,
    response: Response,
) -> (Response, Option<Kept>) {
    let size = response.body().size_hint().exact();
    let Some(size) = size.filter(|size| SMALL < *size) else {
        return (response, None);
    };
    if let Some(kept) = shared.answers.try_take(size, watch) {
        return (response, Some(kept));
    }
    let paused = watch.pause(Instant::now());
    let taken = Arc::clone(&shared.answers)
        .take(size, Arc::clone(watch))
        .await;
    drop(paused);
    match taken {
        Ok(kept) => (response, Some(kept)),
        // It may have been done, and nobody is to hear of it.
        Err(no_room) => (no_room.problem(Outcome::Unknown).into_response(), None),
    }
}

/// Reads what is left of a body, if it is little and comes soon, and returns whether that was all.
async fn read_rest(mut rest: Incoming, watch: &Arc<Watch>) -> bool {
    if REST < rest.size_hint().lower() {
        return false;
    }
    let _paused = watch.pause(Instant::now());
    let all = async {
        let mut length = 0;
        while let Some(frame) = rest.frame().await {
            length += match frame {
                Ok(frame) => frame.data_ref().map_or(0, |data| data.len() as u64),
                Err(_) => return false,
            };
            if REST < length {
                return false;
            }
        }
        true
    };
    timeout(REST_WAIT, all).await.unwrap_or(false)
}
