//! Carries out what the machines of all seats of a client output: timers, requests, events.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::error::SeatError;
use crate::machine::{Answer, Event, Json, Now, Output, Request, State, Timer, is_asking, spread};
use crate::seat::{Idle, Listener, Options, Seat, SeatEvent};

const AGENT: &str = "leasehold-rust/0.1.0 (spec 2)";
const TICK: Duration = Duration::from_secs(1);
const END: Duration = Duration::from_secs(3);
const MANY: usize = 20;
const BATCH: usize = 500;
const MOST_BYTES: usize = 4 << 20;
const MOST_IDLE: Duration = Duration::from_secs(31 * 24 * 3_600);

type Asked = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;
pub(crate) type Keep = Arc<dyn Fn(&str) + Send + Sync>;

/// What asks for a seat says who it is with.
#[derive(Clone, Default)]
pub enum Key {
    /// For a server in open mode.
    #[default]
    None,
    Fixed(String),
    /// Called for each acquire, and once more with `true` when the key was refused.
    Function(Arc<dyn Fn(bool) -> Asked + Send + Sync>),
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self::Fixed(key.to_owned())
    }
}

/// Speaks to one server. One for a whole program is enough; a clone is the same one.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    base: String,
    key: Key,
    runtime: OnceLock<Handle>,
    inner: Mutex<Inner>,
    events: Mutex<Option<mpsc::Sender<(Listener, SeatEvent)>>>,
}

pub(crate) struct Inner {
    pub(crate) seats: HashMap<u64, Runner>,
    last_id: u64,
    http: Option<reqwest::Client>,
    batch: Option<Vec<(u64, Request)>>,
    ticks: bool,
}

/// One seat: its machine, its timers and its requests.
pub(crate) struct Runner {
    pub(crate) state: State,
    pub(crate) details: Json,
    pub(crate) keep: Option<Keep>,
    seed: String,
    fault: String,
    timers: HashMap<Timer, (i64, u64, AbortHandle)>,
    planned: u64,
    calls: HashMap<u64, AbortHandle>,
    listener: Option<Listener>,
    idle: Option<Idle>,
    /// What the program's function returned last.
    idle_was: Option<i64>,
    idle_panicked: bool,
    touched: Option<i64>,
    busy: bool,
    dropped: bool,
    changed: watch::Sender<()>,
}

pub(crate) fn now() -> Now {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = rustix::time::ClockId::Boottime; // Goes on while the machine sleeps.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = rustix::time::ClockId::Monotonic;
    let mono = rustix::time::clock_gettime(clock);
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        mono: mono.tv_sec * 1_000 + mono.tv_nsec / 1_000_000,
        wall: wall.as_millis() as i64,
    }
}

fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| now().wall as u64)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client of {}", self.shared.base)
    }
}

impl Client {
    /// A client of the server at this address.
    ///
    /// # Errors
    ///
    /// With a sentence if the address is none of a server, or the key is no key. It does not show the key.
    pub fn new(url: &str, key: impl Into<Key>) -> Result<Self, String> {
        let address = reqwest::Url::parse(url)
            .map_err(|error| format!("the address of a server: {error}"))?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err("the address of a server begins with http:// or https://".into());
        }
        let bare = address.username().is_empty() && address.password().is_none();
        if !bare || address.query().is_some() || address.fragment().is_some() {
            return Err("the address of a server has no user, no query and no fragment".into());
        }
        let key = key.into();
        if matches!(&key, Key::Fixed(key) if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err("a key is one line of plain letters".into());
        }
        let inner = Inner {
            seats: HashMap::new(),
            last_id: 0,
            http: None,
            batch: None,
            ticks: false,
        };
        let base = url.trim_end_matches('/').to_owned();
        let shared = Shared {
            base,
            key,
            runtime: OnceLock::new(),
            inner: Mutex::new(inner),
            events: Mutex::new(None),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Takes a seat. If this future is dropped, the program has none. It needs a Tokio runtime, in which the heartbeats run from then on.
    pub async fn acquire(&self, pool: &str, options: Options) -> Result<Seat, SeatError> {
        self.start(pool, options, Event::Acquire, None).await
    }

    /// Goes on with a seat whose token was kept.
    pub async fn adopt(
        &self,
        pool: &str,
        token: &str,
        options: Options,
    ) -> Result<Seat, SeatError> {
        self.start(pool, options, Event::Adopt(token.to_owned()), None)
            .await
    }

    /// Takes a seat, works in it, and gives it back. Work is dropped where it waits when the seat is lost.
    pub async fn hold<T>(
        &self,
        pool: &str,
        options: Options,
        work: impl AsyncFnOnce(&Seat) -> T,
    ) -> Result<T, SeatError> {
        let seat = self.acquire(pool, options).await?;
        let result = tokio::select! {
            biased;
            lost = seat.lost() => Err(lost),
            done = work(&seat) => seat.check().map(|()| done), // Work that did not notice the loss has not succeeded.
        };
        seat.release().await;
        result
    }

    /// Releases all seats, within three seconds. To be awaited before the program ends: the end of the runtime ends requests, too.
    pub async fn close(&self) {
        let all: Vec<u64> = self.shared.lock().seats.keys().copied().collect();
        for id in &all {
            self.shared.feed(*id, Event::Release);
        }
        let quiet = async {
            for id in all {
                self.shared.until(id, |runner| !runner.busy).await;
            }
        };
        let _ = tokio::time::timeout(END, quiet).await;
    }

    pub(crate) async fn start(
        &self,
        pool: &str,
        options: Options,
        event: Event,
        keep: Option<Keep>,
    ) -> Result<Seat, SeatError> {
        let shared = &self.shared;
        let _ = shared.runtime.set(Handle::current());
        let limit = options
            .timeout
            .or((!options.wait).then_some(Duration::from_secs(30)));
        let state = State::new(options.machine(pool, matches!(shared.key, Key::Function(_))));
        let id = {
            let mut inner = shared.lock();
            inner.last_id += 1;
            let runner = Runner {
                state,
                details: Json::new(),
                keep,
                seed: format!("{:016x}{:016x}", random(), random()),
                fault: "The server did not answer.".into(),
                timers: HashMap::new(),
                planned: 0,
                calls: HashMap::new(),
                listener: options.on_event.clone(),
                idle: options.idle.clone(),
                idle_was: None,
                idle_panicked: false,
                touched: None,
                busy: false,
                dropped: false,
                changed: watch::Sender::new(()),
            };
            let id = inner.last_id;
            inner.seats.insert(id, runner);
            id
        };
        let seat = Seat::new(shared.clone(), id, pool, options.holder.as_deref()); // Gives back what comes if this future is dropped.
        shared.feed(id, event);
        let decided = shared.until(id, |runner| !is_asking(runner.state.name));
        match limit {
            Some(limit) => drop(tokio::time::timeout(limit, decided).await),
            None => decided.await,
        }
        let error = {
            let inner = shared.lock();
            let Runner {
                state,
                details,
                fault,
                ..
            } = &inner.seats[&id];
            if state.lease.is_some() && state.name != "lost" {
                drop(inner);
                return Ok(seat.granted());
            }
            let undecided = if is_asking(state.name) {
                "timeout"
            } else {
                state.name
            };
            let code = state.code.as_deref().unwrap_or(undecided);
            let why = if code == "unreachable" {
                json!({ "detail": fault }).as_object().cloned()
            } else {
                None
            };
            SeatError::new(code, why.as_ref().unwrap_or(details), state.name == "lost")
        };
        drop(seat);
        Err(error)
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn feed(self: &Arc<Self>, id: u64, event: Event) {
        self.step(&mut self.lock(), id, event);
    }

    pub(crate) fn touch(self: &Arc<Self>, id: u64) {
        let mut inner = self.lock();
        if let Some(runner) = inner.seats.get_mut(&id) {
            runner.touched = Some(now().mono);
            if runner.state.heeds() {
                self.step(&mut inner, id, Event::Active);
            }
        }
    }

    /// How long nobody has used the seat, if that is known.
    fn idle_ms(&self, id: u64) -> Option<i64> {
        let idle = self.lock().seats.get(&id)?.idle.clone();
        let asked = idle.map_or(Ok(None), |idle| asked(&idle)); // Without the lock: the function is the program's.
        let mut inner = self.lock();
        let runner = inner.seats.get_mut(&id)?;
        let asked = runner.answered(asked);
        if runner.idle_panicked {
            return None; // The seat counts as used.
        }
        let untouched = runner.touched.map(|at| (now().mono - at).max(0));
        let known = asked.into_iter().chain(untouched).min()?;
        Some(known.min(MOST_IDLE.as_millis() as i64))
    }

    /// Notices that the user is back, where only the program's function knows.
    fn poll(self: &Arc<Self>, id: u64, idle: Idle) {
        let asked = asked(&idle);
        let mut inner = self.lock();
        let Some(runner) = inner.seats.get_mut(&id) else {
            return;
        };
        let was = runner.idle_was;
        let asked = runner.answered(asked);
        if asked.zip(was).is_some_and(|(asked, was)| asked < was) {
            self.step(&mut inner, id, Event::Active);
        }
    }

    /// The program has no use for the seat any more.
    pub(crate) fn drop_seat(self: &Arc<Self>, id: u64, events: Vec<Event>) {
        let mut inner = self.lock();
        if let Some(runner) = inner.seats.get_mut(&id) {
            runner.dropped = true;
        }
        for event in events {
            self.step(&mut inner, id, event);
        }
        if inner.seats.get(&id).is_some_and(|runner| !runner.busy) {
            inner.seats.remove(&id);
        }
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, id: u64, reached: impl Fn(&Runner) -> bool) {
        let watched = self
            .lock()
            .seats
            .get(&id)
            .map(|runner| runner.changed.subscribe());
        let Some(mut changed) = watched else { return };
        while self
            .lock()
            .seats
            .get(&id)
            .is_some_and(|runner| !reached(runner))
        {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until nothing is under way, but not for long.
    pub(crate) async fn quiet(&self, id: u64) {
        let _ = tokio::time::timeout(END, self.until(id, |runner| !runner.busy)).await;
    }

    /// Takes one step, and carries out what follows.
    fn step(self: &Arc<Self>, inner: &mut Inner, id: u64, event: Event) {
        self.step_said(inner, id, event, None);
    }

    fn step_said(self: &Arc<Self>, inner: &mut Inner, id: u64, event: Event, idle_ms: Option<i64>) {
        let Some(runner) = inner.seats.get_mut(&id) else {
            return;
        };
        let before = runner.state.token.clone();
        let Output {
            send,
            abort,
            timers,
            emit,
            tell,
            done,
        } = runner.state.step_said(event, idle_ms, now());
        if let Some(call) = abort.and_then(|id| runner.calls.remove(&id)) {
            call.abort();
        }
        runner.busy = (runner.busy || !send.is_empty() || !timers.is_empty()) && !done;
        for (timer, span) in timers {
            self.plan(runner, id, timer, span);
        }
        for told in emit {
            let state = told
                .get("state")
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned();
            let mut details = told;
            details.remove("state");
            runner.details = details.clone();
            self.tell(
                runner,
                SeatEvent {
                    state,
                    id: runner.lease_id(),
                    details,
                },
            );
        }
        if let Some(details) = tell {
            self.tell(
                runner,
                SeatEvent {
                    state: runner.state.name.into(),
                    id: runner.lease_id(),
                    details,
                },
            );
        }
        if let (Some(keep), Some(token)) = (&runner.keep, &runner.state.token)
            && runner.state.token != before
        {
            keep(token);
        }
        let gone = runner.dropped && !runner.busy;
        runner.changed.send_replace(());
        for request in send {
            let alone = request.path != "/v1/leases/renew" || request.body.len() > 1;
            match &mut inner.batch {
                Some(batch) if !alone => batch.push((id, request)),
                _ => self.send(inner, vec![(id, request)]),
            }
        }
        if gone {
            inner.seats.remove(&id);
        } else if !std::mem::replace(&mut inner.ticks, true) {
            self.tick();
        }
    }

    fn plan(
        self: &Arc<Self>,
        runner: &mut Runner,
        id: u64,
        timer: Timer,
        span: Option<(i64, i64)>,
    ) {
        if let Some((_, _, old)) = runner.timers.remove(&timer) {
            old.abort();
        }
        let (Some((from, to)), Some(runtime)) = (span, self.runtime.get()) else {
            return;
        };
        let ms = from + (random() % (to - from + 1) as u64) as i64;
        runner.planned += 1;
        let (number, shared) = (runner.planned, Arc::downgrade(self));
        let task = runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms as u64)).await;
            if let Some(shared) = shared.upgrade() {
                shared.fire(id, timer, number);
            }
        });
        runner
            .timers
            .insert(timer, (now().mono + ms, number, task.abort_handle()));
    }

    /// A timer of a seat is due. Beyond twenty seats those that are nearly due go along.
    fn fire(self: &Arc<Self>, id: u64, timer: Timer, number: u64) {
        let inner = &mut *self.lock();
        let Some(runner) = inner.seats.get_mut(&id) else {
            return;
        };
        if runner
            .timers
            .get(&timer)
            .is_none_or(|(_, planned, _)| *planned != number)
        {
            return;
        }
        runner.timers.remove(&timer);
        let held: Vec<u64> = inner
            .seats
            .iter()
            .filter(|(_, one)| one.state.lease.is_some())
            .map(|(id, _)| *id)
            .collect();
        inner.batch = (held.len() > MANY).then(Vec::new);
        self.step(inner, id, Event::Timer(timer));
        if inner.batch.as_ref().is_some_and(|batch| !batch.is_empty()) {
            let instant = now().mono;
            for other in held {
                let Some(runner) = inner.seats.get_mut(&other) else {
                    continue;
                };
                let soon = runner.state.renew_after_ms() * 15 / 100;
                if runner.state.lease.is_none()
                    || runner
                        .timers
                        .get(&Timer::Next)
                        .is_none_or(|(at, ..)| at - instant > soon)
                {
                    continue;
                }
                if let Some((_, _, task)) = runner.timers.remove(&Timer::Next) {
                    task.abort();
                }
                self.step(inner, other, Event::Timer(Timer::Next));
            }
        }
        let mut together = inner.batch.take().unwrap_or_default();
        while !together.is_empty() {
            let rest = together.split_off(together.len().min(BATCH));
            self.send(inner, std::mem::replace(&mut together, rest));
        }
    }

    fn send(self: &Arc<Self>, inner: &mut Inner, group: Vec<(u64, Request)>) {
        let Some(runtime) = self.runtime.get() else {
            return;
        };
        if group.iter().any(|(_, request)| request.fresh) {
            inner.http = None; // And with it its connections.
        }
        let http = inner.http.get_or_insert_with(http).clone();
        let seed = inner
            .seats
            .get(&group[0].0)
            .map_or(String::new(), |runner| runner.seed.clone());
        let (shared, alone) = (
            self.clone(),
            (group.len() == 1).then(|| (group[0].0, group[0].1.id)),
        );
        let task = runtime.spawn(async move {
            let timeout = group
                .iter()
                .map(|(_, request)| request.timeout_ms)
                .min()
                .unwrap_or(0);
            let idle: Vec<_> = group
                .iter()
                .map(|(id, request)| request.idle.then(|| shared.idle_ms(*id)).flatten())
                .collect();
            let asked = shared.post(&http, &seed, &group, &idle);
            let answer = tokio::time::timeout(Duration::from_millis(timeout as u64), asked).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
            shared.hear(group, &idle, answer);
        });
        // One seat of many that is released must not abort the heartbeats of all.
        if let Some((id, request)) = alone
            && let Some(runner) = inner.seats.get_mut(&id)
        {
            runner.calls.insert(request, task.abort_handle());
        }
    }

    fn hear(
        self: &Arc<Self>,
        group: Vec<(u64, Request)>,
        idle: &[Option<i64>],
        answer: Result<Answer, String>,
    ) {
        let ids: Vec<u64> = group.iter().map(|(_, request)| request.id).collect();
        let fault = answer
            .as_ref()
            .err()
            .map(|why| format!("{} did not answer: {why}", self.base));
        let events = match answer {
            Ok(answer) if group.len() > 1 => spread(&ids, answer),
            Ok(answer) => vec![Event::Answer { id: ids[0], answer }],
            Err(_) => ids.into_iter().map(|id| Event::Failed { id }).collect(),
        };
        let inner = &mut *self.lock();
        for (((id, request), event), idle) in group.into_iter().zip(events).zip(idle) {
            if let Some(runner) = inner.seats.get_mut(&id) {
                runner.calls.remove(&request.id);
                runner.fault = fault.clone().unwrap_or_default();
            }
            self.step_said(inner, id, event, *idle);
        }
    }

    async fn post(
        &self,
        http: &reqwest::Client,
        seed: &str,
        group: &[(u64, Request)],
        idle: &[Option<i64>],
    ) -> Result<Answer, String> {
        let (
            _,
            Request {
                path,
                acquisition,
                refused,
                ..
            },
        ) = &group[0];
        let body = body_of(group, idle);
        let path = match group.len() {
            1 => path,
            _ => "/v1/leases/renew-many",
        };
        let mut request = http.post(format!("{}{path}", self.base));
        request = request
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(body.to_string());
        if let Some(acquisition) = acquisition {
            request = request.header("idempotency-key", format!("{seed}-{acquisition}"));
            let key = match &self.key {
                Key::None => None,
                Key::Fixed(key) => Some(key.clone()),
                Key::Function(ask) => Some(
                    ask(*refused)
                        .await
                        .map_err(|_| "the function for the key failed")?,
                ),
            };
            request = key
                .into_iter()
                .fold(request, |request, key| request.bearer_auth(key));
        }
        let mut response = request.send().await.map_err(|error| root(&error))?;
        let mut answer = Answer {
            status: response.status().as_u16(),
            ..Answer::default()
        };
        for (name, value) in response.headers() {
            answer
                .headers
                .insert(name.to_string(), value.to_str().unwrap_or("").to_owned());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| root(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MOST_BYTES {
                return Err("its answer is too long".into());
            }
        }
        answer.body = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(answer)
    }

    /// Notices when time has jumped, for as long as anything is under way.
    fn tick(self: &Arc<Self>) {
        let (Some(runtime), shared) = (self.runtime.get(), Arc::downgrade(self)) else {
            return;
        };
        runtime.spawn(async move {
            let mut last = now();
            loop {
                tokio::time::sleep(TICK).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                let instant = now();
                let apart = (instant.wall - instant.mono) - (last.wall - last.mono);
                let jumped = apart.abs() > 1_000 || instant.mono - last.mono > 3_000;
                last = instant;
                let inner = &mut *shared.lock();
                let busy: Vec<u64> = inner
                    .seats
                    .iter()
                    .filter(|(_, one)| one.busy)
                    .map(|(id, _)| *id)
                    .collect();
                inner.ticks = !busy.is_empty();
                if !inner.ticks {
                    return;
                }
                for id in busy.into_iter() {
                    if jumped {
                        shared.step(inner, id, Event::Wake);
                    }
                    if let Some(runner) = inner.seats.get(&id)
                        && let Some(idle) = runner.idle.clone().filter(|_| runner.state.is_away())
                    {
                        let shared = shared.clone();
                        tokio::spawn(async move { shared.poll(id, idle) });
                    }
                }
            }
        });
    }

    /// What the program gave us runs on a thread of its own: it may panic, and take as long as it likes.
    fn tell(&self, runner: &Runner, event: SeatEvent) {
        let Some(listener) = runner.listener.clone() else {
            return;
        };
        let mut events = self
            .events
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let sender = events.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel::<(Listener, SeatEvent)>();
            let thread = std::thread::Builder::new().name("leasehold events".into());
            let work = move || {
                for (listener, event) in receiver {
                    let run = std::panic::AssertUnwindSafe(|| listener(&event));
                    if std::panic::catch_unwind(run).is_err() {
                        tracing::error!("a listener of a seat panicked; its heartbeats go on");
                    }
                }
            };
            if let Err(error) = thread.spawn(work) {
                tracing::error!(%error, "no thread for the listeners of seats");
            }
            sender
        });
        let _ = sender.send((listener, event));
    }
}

impl Runner {
    fn lease_id(&self) -> Option<String> {
        Some(self.state.lease.as_ref()?.get("id")?.as_str()?.to_owned())
    }

    /// Keeps what the program's function said. One that panicked is not asked again: each panic is printed, and heartbeats go on for days.
    fn answered(&mut self, asked: std::thread::Result<Option<i64>>) -> Option<i64> {
        if asked.is_err() && !self.idle_panicked {
            tracing::error!(
                "the function for the idle time of a seat panicked; its heartbeats go on, and the seat counts as used"
            );
            self.idle_panicked = true;
            self.idle = None;
        }
        self.idle_was = asked.ok().flatten();
        self.idle_was
    }
}

/// What the program's own function returns, in milliseconds.
fn asked(idle: &Idle) -> std::thread::Result<Option<i64>> {
    let run = std::panic::AssertUnwindSafe(|| idle());
    let asked = std::panic::catch_unwind(run)?;
    Ok(asked.map(|idle| idle.min(MOST_IDLE).as_millis() as i64))
}

/// The body of a request, or of many, with the idle time that is reported.
fn body_of(group: &[(u64, Request)], idle: &[Option<i64>]) -> Value {
    let bodies = group.iter().zip(idle).map(|((_, request), idle)| {
        let mut body = request.body.clone();
        if let Some(ms) = idle {
            body.insert("idle_ms".into(), (*ms).into());
        }
        body
    });
    let mut bodies: Vec<Json> = bodies.collect();
    if bodies.len() == 1 {
        return bodies.remove(0).into();
    }
    if idle.iter().any(Option::is_some) {
        return json!({ "leases": bodies });
    }
    let tokens: Vec<_> = bodies.iter().map(|body| &body["token"]).collect();
    json!({ "tokens": tokens })
}

pub(crate) fn http() -> reqwest::Client {
    #[cfg(feature = "tls")]
    let _ = rustls::crypto::ring::default_provider().install_default(); // Unless the program has chosen one.
    let builder = reqwest::Client::builder()
        .user_agent(AGENT)
        .redirect(reqwest::redirect::Policy::none());
    builder
        .pool_idle_timeout(Duration::from_secs(30))
        .build()
        .unwrap_or_else(|error| {
            tracing::error!(%error, "no client for HTTP with the settings of Leasehold");
            reqwest::Client::new()
        })
}

/// What the network said: a certificate, a name, a refusal. Without the address, which would say nothing new.
fn root(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
