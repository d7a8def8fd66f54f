//! Long computations, away from the threads that answer requests: a heartbeat must not wait for a report.

/// Does the work on a thread of its own and waits for it. For what takes more than some milliseconds; reading from the store
/// waits by itself and needs none. A panic in it is one here.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program is ending, and nobody waits for this any more.
            Err(_) => std::future::pending().await,
        },
    }
}
