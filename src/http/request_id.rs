//! The id of a request: taken from the client or made here, and carried to every task that works for it.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};

/// The header that names a request, taken from the client or made here, and sent back.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: Arc<str>;
}

/// The name of the request that this task is answering, if it is answering one.
pub fn current() -> Option<Arc<str>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// A future that keeps the name of the present request in another task.
pub(crate) fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let id = current();
    async move {
        match id {
            Some(id) => CURRENT.scope(id, future).await,
            None => future.await,
        }
    }
}

/// A future in which the request that is answered has this id.
pub(super) fn scope<F: Future>(id: Arc<str>, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(id, future)
}

/// The same for what waits for nothing.
pub(super) fn sync_scope<T>(id: Arc<str>, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(id, work)
}

/// The id of a request and its header: the client's if it is a plain one, else a new one.
pub(super) fn of(request: &Request) -> (Arc<str>, HeaderValue) {
    let given = request.headers().get(HEADER).filter(|value| {
        let bytes = value.as_bytes();
        (1..=64).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    });
    if let Some(header) = given {
        let id = header.to_str().expect("checked to be plain ASCII");
        return (Arc::from(id), header.clone());
    }
    let digits: [u8; 16] =
        rand::random::<[u8; 16]>().map(|random| b"0123456789abcdef"[usize::from(random % 16)]);
    let id = std::str::from_utf8(&digits).expect("hexadecimal digits");
    let header = HeaderValue::from_bytes(&digits).expect("hexadecimal digits");
    (Arc::from(id), header)
}
