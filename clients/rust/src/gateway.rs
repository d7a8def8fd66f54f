//! Seats that a web backend holds for the users who are logged in to it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use crate::client::Client;
use crate::error::SeatError;
use crate::machine::{Json, is_active, is_unused};
use crate::seat::{Options, Seat, SeatEvent};

const AT_ONCE: usize = 16;

type Keep = Arc<dyn Fn(&str, Option<&str>) + Send + Sync>;
type OnLost = Arc<dyn Fn(&str, &SeatError) + Send + Sync>;

/// One seat for each session of a product; a clone is the same one. Beyond twenty seats the heartbeats go out together.
#[derive(Clone)]
pub struct Gateway {
    client: Client,
    pool: String,
    keep: Keep,
    on_lost: OnLost,
    sessions: Arc<Mutex<Sessions>>,
    ended: Arc<Notify>,
}

#[derive(Default)]
struct Sessions {
    seats: HashMap<String, Arc<Seat>>,
    logins: HashSet<String>,
}

/// A login that is under way, until it is dropped.
struct Login<'a>(&'a Gateway, &'a str);

impl Drop for Login<'_> {
    fn drop(&mut self) {
        self.0.lock().logins.remove(self.1);
        self.0.ended.notify_waiters();
    }
}

impl Gateway {
    /// `keep` is told the token of a session whenever there is a new one, and none when there is none any more; what it keeps goes to
    /// `restore` after a restart. It must be quick and call nothing of this crate. `on_lost` is told of each session that lost its seat.
    pub fn new(
        client: Client,
        pool: &str,
        keep: impl Fn(&str, Option<&str>) + Send + Sync + 'static,
        on_lost: impl Fn(&str, &SeatError) + Send + Sync + 'static,
    ) -> Self {
        let sessions = Arc::new(Mutex::new(Sessions::default()));
        Self {
            client,
            pool: pool.to_owned(),
            keep: Arc::new(keep),
            on_lost: Arc::new(on_lost),
            sessions,
            ended: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many sessions have a seat.
    pub fn len(&self) -> usize {
        self.lock().seats.len()
    }

    /// Whether no session has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// After a restart: goes on with the seats whose tokens were kept, by session, and says how many there are. A token is forgotten if
    /// its lease has ended, and stays if no server answered within the time: call this again then.
    pub async fn restore(&self, tokens: HashMap<String, String>, timeout: Duration) -> usize {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut all = tokio::task::JoinSet::new();
        for (session, token) in tokens {
            if self.lock().seats.contains_key(&session) {
                continue;
            }
            let (gateway, slots) = (self.clone(), slots.clone());
            all.spawn(async move {
                let _slot = slots.acquire().await;
                let options = Options {
                    timeout: Some(timeout),
                    ..Options::default()
                };
                match gateway
                    .client
                    .adopt(&gateway.pool, &token, gateway.listening(&session, options))
                    .await
                {
                    Ok(seat) => drop(gateway.put(&session, seat)),
                    Err(error) if error.is_lost || error.code == "lease_released" => {
                        (gateway.keep)(&session, None)
                    }
                    Err(_) => {} // The server is away, and the seat may still be there.
                }
            });
        }
        all.join_all().await;
        self.len()
    }

    /// A seat for this session, the one that it has or a new one. Calls for one session wait for each other.
    pub async fn login(&self, session: &str, options: Options) -> Result<Arc<Seat>, SeatError> {
        loop {
            let ended = self.ended.notified();
            if self.lock().logins.insert(session.to_owned()) {
                break;
            }
            ended.await;
        }
        let _login = Login(self, session);
        let old = self.lock().seats.get(session).cloned();
        if let Some(old) = old {
            if is_active(old.state()) {
                return Ok(old);
            }
            old.release().await; // It may still hope to come back.
        }
        let seat = self
            .client
            .acquire(&self.pool, self.listening(session, options))
            .await?;
        Ok(self.put(session, seat))
    }

    /// For each request of a user: the seat, or why the session has none.
    pub fn check(&self, session: &str) -> Result<Arc<Seat>, SeatError> {
        let seat = self.lock().seats.get(session).cloned();
        let seat = seat.ok_or_else(|| SeatError::new("lease_released", &Json::new(), true))?;
        seat.check()?;
        Ok(seat)
    }

    /// The user of this session did something just now: see [`Seat::touch`].
    pub fn touch(&self, session: &str) {
        if let Some(seat) = self.lock().seats.get(session) {
            seat.touch();
        }
    }

    /// Gives the seat of this session back.
    pub async fn logout(&self, session: &str) {
        let seat = self.lock().seats.remove(session);
        if let Some(seat) = seat {
            seat.release().await;
        }
        (self.keep)(session, None);
    }

    fn put(&self, session: &str, seat: Seat) -> Arc<Seat> {
        let seat = Arc::new(seat);
        self.lock().seats.insert(session.to_owned(), seat.clone());
        let (keep, name) = (self.keep.clone(), session.to_owned());
        seat.keep(Arc::new(move |token| keep(&name, Some(token))));
        seat
    }

    fn listening(&self, session: &str, options: Options) -> Options {
        let (sessions, keep, on_lost) = (
            Arc::downgrade(&self.sessions),
            self.keep.clone(),
            self.on_lost.clone(),
        );
        let (name, own, reacquire) = (
            session.to_owned(),
            options.on_event.clone(),
            options.reacquire,
        );
        let told = move |event: &SeatEvent| {
            let code = event.code().unwrap_or("").to_owned();
            let reason = event
                .details
                .get("reason")
                .and_then(|reason| reason.as_str());
            let expired =
                matches!(&*code, "lease_expired" | "invalid_token") || is_unused(&code, reason);
            let again = code == "outage_grace_over" || (reacquire && expired);
            let ended = matches!(&*event.state, "lost" | "denied");
            if ended && let Some(sessions) = sessions.upgrade() {
                // An acquire that was denied is of no session yet.
                let seat = sessions
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .seats
                    .get(&name)
                    .cloned();
                if let Some(seat) = seat.filter(|seat| !is_active(seat.state())) {
                    if event.state == "denied" || !again {
                        sessions
                            .lock()
                            .unwrap_or_else(|poisoned| poisoned.into_inner())
                            .seats
                            .remove(&name);
                        keep(&name, None);
                    }
                    on_lost(&name, &SeatError::new(&code, &event.details, true));
                    drop(seat);
                }
            }
            if let Some(own) = &own {
                own(event);
            }
        };
        Options {
            on_event: Some(Arc::new(told)),
            ..options
        }
    }
}
