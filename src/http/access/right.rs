//! The right that an answer without an end stands on: event streams and long polls end with it.
//!
//! A key that is revoked, rolled or changed, also to other tenants, ends it as soon as this node reads the keys again, at most half a second later. A
//! log-out is noticed by asking for the login. While the store does not answer, nothing ends: nothing new comes either.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use tokio::time::{sleep, timeout};

use super::table::Row;
use super::{Caller, Credential};
use crate::access_key::Role;
use crate::http::App;
use crate::names::PoolName;

/// How often a login is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// How long a right without a known end is believed in without a change of the keys.
const LONGEST: Duration = Duration::from_secs(60);

/// Marks an answer that takes long, and is not whole if the right to it ends meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndsWithRight;

/// A body that fails when the right to it ends: what was sent of it must not look like all.
fn broken_off(
    body: Body,
    ended: impl Future<Output = ()> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    let parts = body.into_data_stream();
    stream::unfold(Some((parts, ended)), |rest| async {
        let (mut parts, mut ended) = rest?;
        tokio::select! {
            biased;
            () = &mut ended => {
                let error = io::Error::other("the right to this has ended");
                Some((Err(axum::Error::new(error)), None))
            }
            part = parts.next() => Some((part?, Some((parts, ended)))),
        }
    })
}

/// What a request may do, and by what.
#[derive(Debug, Clone)]
pub(super) struct Right {
    pub(super) credential: Credential,
    pub(super) row: &'static Row,
    pub(super) pool: Option<PoolName>,
    /// The origin of the page that asked.
    pub(super) page: Option<String>,
}

impl Right {
    /// Done when the caller may not do this any more.
    pub(super) async fn ended(self, app: App) {
        let store = &app.0.store;
        let mut changed = store.changed_keys();
        loop {
            changed.mark_unchanged();
            let Some(caller) = self.credential.renewed(&app) else {
                return;
            };
            if super::authorize::reach(self.row, &caller, self.pool.as_ref()).is_err()
                || !self.sees_the_same(&caller)
            {
                return;
            }
            if !self.credential.is_logged_in(&app).await {
                return;
            }
            let mut rest = LONGEST;
            if let Some(end) = caller.next_end(store.now()) {
                rest = rest.min(Duration::from_millis(end.since(store.now())));
            }
            if self.credential.is_login() {
                rest = rest.min(LOOK_EVERY);
            }
            // A little later, because the end itself is not before its instant.
            let _ = timeout(rest + Duration::from_millis(1), async {
                if changed.changed().await.is_err() {
                    sleep(LONGEST).await;
                }
            })
            .await;
        }
    }

    /// Whether the page may still use the key, and the answer, which keeps to the tenants of its beginning, would keep to the same ones now.
    fn sees_the_same(&self, caller: &Caller) -> bool {
        let before = &self.credential.caller;
        let page_may = caller
            .key()
            .filter(|key| key.role == Role::Client)
            .zip(self.page.as_deref())
            .is_none_or(|(key, page)| key.is_for_page(page));
        if !page_may {
            return false;
        }
        match &self.pool {
            Some(pool) => caller.tenants_in(pool) == before.tenants_in(pool),
            None => caller.scope() == before.scope(),
        }
    }

    /// The answer, which ends with the right if it has no end of its own, or breaks off with it if it has.
    pub(super) fn bound(self, app: &App, response: Response) -> Response {
        if response.extensions().get::<EndsWithRight>().is_some() {
            let ended = Box::pin(self.ended(app.clone()));
            return response.map(|body| Body::from_stream(broken_off(body, ended)));
        }
        let is_stream = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == HeaderValue::from_static("text/event-stream"));
        if !is_stream {
            return response;
        }
        let ended = Box::pin(self.ended(app.clone()));
        response.map(|body| Body::from_stream(body.into_data_stream().take_until(ended)))
    }
}
