//! One attempt to get a seat: for as long as its client is there to read the answer, and with nothing left behind when it is not.

use std::time::Duration;

use tokio::sync::oneshot;

use super::acquire::AcquireBody;
use crate::http::App;
use crate::http::problem::{Code, Problem};
use crate::names::{LeaseId, PoolName};
use crate::store::{self, Acquired, Leaving, Turn, Wait, carry};
use crate::tasks;
use crate::time::Timestamp;
use crate::token::Claims;

/// Asks for a seat. What nobody will hear of goes back at once, because the request is dropped when its client goes away.
pub(super) async fn acquire(
    app: &App,
    pool: &PoolName,
    body: AcquireBody,
    key: Option<LeaseId>,
    wait: Wait,
) -> Result<Acquired, Problem> {
    if !matches!(wait, Wait::Ticket(_))
        && let Some(acquired) = acquire_at_once(app, pool, &body, key).await
    {
        app.0.store.count_acquire(pool, &acquired);
        return Ok(acquired?);
    }
    acquire_in_a_task(app, pool, body, key, wait).await
}

/// Asks a pool without rules, which has no queue: the store itself takes back a seat of which nobody hears. None if that decides
/// nothing.
async fn acquire_at_once(
    app: &App,
    pool: &PoolName,
    body: &AcquireBody,
    key: Option<LeaseId>,
) -> Option<Result<Acquired, store::Error>> {
    let asked = match app.acquire_request(pool, body, key, Wait::No).await {
        Ok(asked) => asked,
        Err(error) => return Some(Err(error)),
    };
    if asked.snapshot.has_rules() {
        return None;
    }
    app.0.store.acquire_at_once(pool, &asked).await.transpose()
}

/// Asks in a task of its own, which goes on when the client has gone away, and gives back what it got.
async fn acquire_in_a_task(
    app: &App,
    pool: &PoolName,
    mut body: AcquireBody,
    key: Option<LeaseId>,
    wait: Wait,
) -> Result<Acquired, Problem> {
    // Without room for one more wait, the client gets its place in the queue at once, and asks again.
    let waits = body.wait_ms > 0 && wait != Wait::No;
    let room = waits.then(|| app.0.connections.long_lived().ok()).flatten();
    if room.is_none() {
        body.wait_ms = 0;
    }
    let (mut answer, answered) = oneshot::channel();
    let (app, pool) = (app.clone(), pool.clone());
    tasks::finish(carry(async move {
        let _room = room;
        let acquired = acquire_or_wait(&app, &pool, &body, key, wait, &mut answer).await;
        app.0.store.count_acquire(&pool, &acquired);
        let unheard = acquired.as_ref().ok().and_then(|acquired| {
            let can_ask_again = key.is_some() || matches!(wait, Wait::Ticket(_));
            Undelivered::of(&app, acquired, can_ask_again)
        });
        // An answer may be on its way when the client goes: it was heard when the handler has it.
        let (hear, heard) = oneshot::channel();
        let sent = answer.send((acquired, hear));
        if (sent.is_err() || heard.await.is_err())
            && let Some(unheard) = unheard
        {
            Box::pin(unheard.give_back(&app, &pool)).await;
        }
    }));
    match answered.await {
        Ok((acquired, hear)) => {
            // The task that asked may have ended with the runtime.
            let _ = hear.send(());
            Ok(acquired?)
        }
        Err(_) => Err(Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )),
    }
}

/// The answer and the sender that confirms it.
type Answer = oneshot::Sender<(Result<Acquired, store::Error>, oneshot::Sender<()>)>;

/// How often a question is made anew because the policy has changed.
pub(super) const MAX_CHANGES: u32 = 10;

/// What becomes of an answer that its client is not there to hear.
pub(super) enum Undelivered {
    /// A seat that the client cannot ask for again.
    Seat(Claims),
    /// A seat that came to a client with a ticket: it goes to the next, and the client keeps its place for a while.
    Turn(Box<Turn>),
    /// A place that the client can ask for again, if it does so in time.
    QueuePlace(LeaseId, Timestamp),
    /// A place that it cannot ask for again.
    Lost(LeaseId),
}

impl Undelivered {
    /// `can_ask_again`: the client has a key or a ticket with which it can. A seat that came to somebody with a key and
    /// without a wait is kept: the same request yields it.
    pub(super) fn of(app: &App, acquired: &Acquired, can_ask_again: bool) -> Option<Self> {
        match acquired {
            Acquired::Granted(grant) if !can_ask_again => Some(Self::Seat(app.claims(grant))),
            Acquired::Granted(grant) => grant.turn.clone().map(Self::Turn),
            Acquired::Queued {
                ticket,
                asks_again_by,
                ..
            } if can_ask_again => Some(Self::QueuePlace(*ticket, *asks_again_by)),
            Acquired::Queued { ticket, .. } => Some(Self::Lost(*ticket)),
            _ => None,
        }
    }

    pub(super) async fn give_back(self, app: &App, pool: &PoolName) {
        let store = &app.0.store;
        let done = match &self {
            Self::Seat(claims) => store.release(claims).await,
            Self::Turn(turn) => store
                .leave_queue(pool, Leaving::Undelivered(turn))
                .await
                .map(drop),
            // Told to Redis together with others: thousands may close their pages at once.
            Self::QueuePlace(ticket, by) => {
                store.hang_up(pool, *ticket, Some(*by));
                Ok(())
            }
            Self::Lost(ticket) => {
                store.hang_up(pool, *ticket, None);
                Ok(())
            }
        };
        tracing::debug!(pool.name = %pool, ok = done.is_ok(), "gave back what a client got that is gone");
    }
}

/// Pause before a ticket asks again that found Redis away.
const AWAY: Duration = Duration::from_millis(250);

/// How long a ticket that is not held open waits to be reported with others, where many ask at once.
const REPORTED_WITHIN: Duration = Duration::from_secs(2);

/// Asks until there is an answer, or, as long as the answer is a place in the queue, until the time to wait is over or
/// the client is gone. A ticket asks only when it is called. Thousands come at once with tickets when their node has died: those who do
/// not wait are reported together too, and need no script each.
async fn acquire_or_wait(
    app: &App,
    pool: &PoolName,
    body: &AcquireBody,
    key: Option<LeaseId>,
    mut wait: Wait,
    answer: &mut Answer,
) -> Result<Acquired, store::Error> {
    let store = &app.0.store;
    let mut until = tokio::time::Instant::now() + Duration::from_millis(body.wait_ms);
    let (mut turn, mut is_short) = (None, false);
    let mut held = match wait {
        // Whose ticket it is has to be seen first.
        Wait::Ticket(ticket) if !body.is_of_one_tenant => {
            is_short = body.wait_ms == 0;
            if is_short {
                turn = store.room_to_ask();
                until += REPORTED_WITHIN;
            }
            turn.is_none().then(|| store.hold_open(pool, ticket, None))
        }
        _ => None,
    };
    let (mut changes, mut is_over) = (0, false);
    loop {
        if let Some(held) = &held {
            let is_stopping = app.0.drain.begun();
            tokio::select! {
                // First, because it may be called in the same moment.
                biased;
                () = answer.closed() => return Ok(held.unheard()),
                () = held.called() => {}
                () = held.reported(), if is_short => {
                    if let Some(place) = held.place() {
                        return Ok(place);
                    }
                }
                // The place is kept; another node answers the next question.
                () = is_stopping => {
                    if let Some(place) = held.place().filter(|_| !body.is_of_one_tenant) {
                        return Ok(place);
                    }
                    is_over = true;
                }
                () = tokio::time::sleep_until(until) => {
                    // Only a script counts among those of a tenant.
                    if let Some(place) = held.place().filter(|_| !body.is_of_one_tenant) {
                        return Ok(place);
                    }
                }
            }
        }
        if is_short && turn.is_none() {
            turn = store.turn_to_ask().await;
        }
        // In a box for as long as it runs: thousands are held open here who do not ask.
        let acquired = Box::pin(async {
            let asked = app.acquire_request(pool, body, key, wait).await?;
            store.acquire(pool, &asked).await
        })
        .await;
        let may_wait = body.wait_ms > 0 && !is_over && tokio::time::Instant::now() < until;
        match (acquired, &held) {
            // The policy is made anew while we ask; that comes to an end.
            (Ok(Acquired::Changed), _) if changes < MAX_CHANGES => changes += 1,
            (
                Ok(Acquired::Queued {
                    ticket,
                    position,
                    asks_again_by,
                    ..
                }),
                held_before,
            ) if may_wait => {
                wait = Wait::Ticket(ticket);
                match held_before {
                    Some(held) => held.waits_on(position, asks_again_by),
                    None => {
                        let told = Some((position, asks_again_by));
                        held = Some(store.hold_open(pool, ticket, told));
                    }
                }
            }
            // Whoever waits goes on waiting: the place outlives an outage, and asking again yields the same seat.
            (Err(store::Error::Unavailable { .. }), Some(_)) if may_wait => {
                tokio::time::sleep(AWAY).await;
            }
            (Ok(acquired), held) => {
                if let Some(held) = held
                    && !matches!(acquired, Acquired::Queued { .. })
                {
                    held.is_over();
                }
                return Ok(acquired);
            }
            (Err(error), _) => return Err(error),
        }
    }
}
