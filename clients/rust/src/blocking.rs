//! The same for programs without `async`. A thread of the client keeps the seats, whatever the program's own threads do. Not for use inside
//! of a runtime: there is the rest of this crate.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::{Key, Options, SeatError};

/// Speaks to one server. One for a whole program is enough; a clone is the same one.
#[derive(Clone)]
pub struct Client {
    inner: crate::Client,
    runtime: Arc<Runtime>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Client {
    /// A client of the server at this address.
    ///
    /// # Errors
    ///
    /// With a sentence if the address is none of a server, or the key is no key, or there is no thread to be had.
    pub fn new(url: &str, key: impl Into<Key>) -> Result<Self, String> {
        let inner = crate::Client::new(url, key)?;
        let mut threads = Builder::new_multi_thread();
        threads.worker_threads(1).thread_name("leasehold");
        let runtime = threads.enable_all().build();
        let runtime = Arc::new(runtime.map_err(|error| error.to_string())?);
        Ok(Self { inner, runtime })
    }

    /// Takes a seat.
    pub fn acquire(&self, pool: &str, options: Options) -> Result<Seat, SeatError> {
        let seat = self.runtime.block_on(self.inner.acquire(pool, options))?;
        Ok(self.seat(seat))
    }

    /// Goes on with a seat whose token was kept.
    pub fn adopt(&self, pool: &str, token: &str, options: Options) -> Result<Seat, SeatError> {
        let adopted = self.inner.adopt(pool, token, options);
        Ok(self.seat(self.runtime.block_on(adopted)?))
    }

    /// Takes a seat, works in it, and gives it back. Long work calls [`crate::Seat::check`] now and then. The loss is returned also if the
    /// work has not noticed it.
    pub fn hold<T>(
        &self,
        pool: &str,
        options: Options,
        work: impl FnOnce(&Seat) -> T,
    ) -> Result<T, SeatError> {
        let seat = self.acquire(pool, options)?;
        let done = work(&seat);
        seat.check().map(|()| done)
    }

    /// Releases all seats, within three seconds.
    pub fn close(&self) {
        self.runtime.block_on(self.inner.close());
    }

    fn seat(&self, inner: crate::Seat) -> Seat {
        let runtime = self.runtime.clone();
        Seat { inner, runtime }
    }
}

/// A seat, from its grant to its end. What needs no waiting is that of [`crate::Seat`]. Whoever drops it gives it back.
pub struct Seat {
    inner: crate::Seat,
    runtime: Arc<Runtime>,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Deref for Seat {
    type Target = crate::Seat;

    fn deref(&self) -> &crate::Seat {
        &self.inner
    }
}

impl Seat {
    /// Waits until work has to stop, but no longer than that, and says why.
    pub fn wait_lost(&self, timeout: Duration) -> Option<SeatError> {
        let lost = async { tokio::time::timeout(timeout, self.inner.lost()).await };
        self.runtime.block_on(lost).ok()
    }

    /// Gives the seat to whoever asked for one first; whether it did. If nobody asks any more, the seat stays.
    pub fn hand_over(&self) -> bool {
        self.runtime.block_on(self.inner.hand_over())
    }

    /// Gives the seat back. Three seconds at most; may be called at any time; never fails.
    pub fn release(&self) {
        self.runtime.block_on(self.inner.release());
    }

    /// Goes away, as a page does: the seat is kept for the pool's `linger_ms`.
    pub fn leave(&self) {
        self.runtime.block_on(self.inner.leave());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.release();
    }
}
