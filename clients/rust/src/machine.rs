//! The rules of one seat: from an event to what there is to do. No clock, no random number, no socket. What the words mean is written down
//! once for all clients, in `clients/spec/README.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

pub type Json = Map<String, Value>;

const ENDS: [&str; 6] = [
    "lease_expired",
    "lease_released",
    "lease_terminated",
    "lease_evicted",
    "invalid_token",
    "pool_not_found",
];
pub const GRACE_OVER: &str = "outage_grace_over";
const REQUEST_MS: i64 = 8_000;
const MOST_MS: i64 = 31 * 24 * 3_600_000; // What a heartbeat may report as a length of time.
const LONG_POLL_MS: i64 = 20_000;
const END_MS: i64 = 3_000;
const TEXTS: [&str; 5] = ["title", "detail", "reason", "blocked_until", "request_id"];
const NUMBERS: [&str; 5] = ["retry_after_ms", "in_use", "capacity", "position", "eta_ms"];
const TOLD: [&str; 1] = ["notice"];
const AWAY_MS: i64 = 60_000;
const RENEWED: [&str; 4] = [
    "expires_in_ms",
    "renew_after_ms",
    "outage_grace_ms",
    "active_at",
];

/// Both clocks, in milliseconds: one that only goes forward, and the one on the wall.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub mono: i64,
    pub wall: i64,
}

impl Now {
    /// How long ago something was, by the clock that says more.
    pub fn since(self, then: Self) -> i64 {
        (self.mono - then.mono).max(self.wall - then.wall)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub pool: String,
    pub holder: Option<String>,
    pub tenant: Option<String>,
    pub label: Option<String>,
    pub platform: Option<String>,
    pub activities: Option<Vec<String>>,
    pub wait: bool,
    pub reacquire: bool,
    pub request: bool,
    pub max_grace_ms: Option<i64>,
    /// Whether the key is a function that can be asked for another.
    pub asks_for_key: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    Next,
    Deadline,
}

#[derive(Clone, Debug)]
pub enum Event {
    Acquire,
    Adopt(String),
    Answer {
        id: u64,
        answer: Answer,
    },
    Result {
        id: u64,
        result: Value,
    },
    Failed {
        id: u64,
    },
    Timer(Timer),
    Wake,
    Report {
        activities: Option<Vec<String>>,
        label: Option<String>,
    },
    /// The user is there, or back.
    Active,
    /// Whoever waits would like the seat of somebody else.
    Request,
    /// The seat goes to whoever asked for one.
    Yield,
    Cancel,
    Release,
    Close,
    Forked,
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Answer {
    /// The code of a problem document of Leasehold. The error page of a proxy has none.
    fn code(&self) -> Option<&str> {
        let media = self.headers.get("content-type").map_or("", String::as_str);
        let media = media
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase();
        let problem = self.status >= 400 && media == "application/problem+json";
        text(&self.body, "code").filter(|_| problem)
    }

    fn retry_after(&self, ours: bool) -> i64 {
        if let Some(ms) = length(&self.body["retry_after_ms"]).filter(|_| ours) {
            return ms;
        }
        let header = self
            .headers
            .get("retry-after")
            .map_or("", |value| value.trim());
        let digits =
            (1..=9).contains(&header.len()) && header.bytes().all(|byte| byte.is_ascii_digit());
        header
            .parse()
            .map_or(0, |seconds: i64| if digits { seconds * 1_000 } else { 0 })
    }

    /// What an event tells of an answer. Never a token or a ticket.
    fn details(&self, ours: bool) -> Json {
        let mut found = Json::new();
        let plain = !ours || !self.body.is_object();
        if self.status >= 400 || (plain && self.status > 0) {
            found.insert("status".into(), self.status.into());
        }
        if plain {
            return found;
        }
        for name in TEXTS {
            if let Some(value) = text(&self.body, name) {
                found.insert(name.into(), value.into());
            }
        }
        for name in NUMBERS {
            if length(&self.body[name]).is_some() {
                found.insert(name.into(), self.body[name].clone());
            }
        }
        found
    }

    fn is_temporary(&self) -> bool {
        matches!(self.status, 0 | 408 | 429) || self.status >= 500
    }
}

/// To be sent by POST.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: u64,
    pub path: String,
    pub body: Json,
    pub timeout_ms: i64,
    pub acquisition: Option<u64>,
    pub refused: bool,
    pub fresh: bool,
    /// It may report how long nobody did anything.
    pub idle: bool,
}

/// What there is to do after a step, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Output {
    pub send: Vec<Request>,
    pub abort: Option<u64>,
    pub timers: BTreeMap<Timer, Option<(i64, i64)>>,
    pub emit: Vec<Json>,
    pub tell: Option<Json>,
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ask,
    Renew,
    Yield,
    End,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    id: u64,
    kind: Kind,
    at: Now,
    news: bool,
    idle: bool,
}

/// A request that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stray {
    Ask,
    Poll,
    Request,
    End,
}

#[derive(Clone, Debug)]
struct Ending {
    path: &'static str,
    token: String,
    tries: u32,
    most: u32,
    at: Now,
}

/// One seat, as far as the rules know it.
#[derive(Clone, Debug)]
pub struct State {
    pub name: &'static str,
    pub code: Option<String>,
    pub lease: Option<Json>,
    pub token: Option<String>,
    pub proof: Option<String>,
    options: Options,
    position: Value,
    ticket: Option<String>,
    sent: Now,
    acquisition: u64,
    requests: u64,
    flight: Option<Flight>,
    strays: BTreeMap<u64, Stray>,
    ending: Option<Ending>,
    running: BTreeSet<Timer>,
    misses: u32,
    fresh: bool,
    refused: bool,
    heard: bool,
    again: bool,
    dormant: bool,
    returned: bool,
    plain: bool,
    idle_ms: Option<i64>,
    ends: Value,
    news: bool,
    /// How long the last request for the seat was open, at the last heartbeat.
    asked: Option<i64>,
    wishes: bool,
    can_request: bool,
    requested: bool,
}

fn length(value: &Value) -> Option<i64> {
    value
        .as_f64()
        .filter(|number| *number >= 0.0)
        .map(|number| number.floor() as i64)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn is_lease(value: &Value) -> bool {
    text(value, "id").is_some()
        && length(&value["expires_in_ms"]).is_some()
        && length(&value["renew_after_ms"]).is_some()
}

/// Whether somebody who comes back may have another seat after an end like this.
pub fn is_unused(code: &str, reason: Option<&str>) -> bool {
    code == "lease_evicted" && matches!(reason, Some("idle" | "max_hold"))
}

pub fn is_active(name: &str) -> bool {
    matches!(name, "held" | "unstable" | "grace")
}

pub fn is_asking(name: &str) -> bool {
    matches!(name, "acquiring" | "waiting")
}

fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| {
            if plain(byte) {
                (byte as char).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Makes of the answer to a `renew-many` one event for each heartbeat in it. A malformed one ends nobody.
pub fn spread(ids: &[u64], answer: Answer) -> Vec<Event> {
    if answer.status == 200
        && let Some(results) = answer.body["results"]
            .as_array()
            .filter(|results| results.len() == ids.len())
    {
        return ids
            .iter()
            .zip(results)
            .map(|(id, result)| Event::Result {
                id: *id,
                result: result.clone(),
            })
            .collect();
    }
    // Words that end a lease stand in a result, and nowhere else.
    let foreign = answer.status == 200
        || answer.body["code"]
            .as_str()
            .is_some_and(|code| ENDS.contains(&code));
    let answer = Answer {
        body: if foreign { Value::Null } else { answer.body },
        ..answer
    };
    ids.iter()
        .map(|id| Event::Answer {
            id: *id,
            answer: answer.clone(),
        })
        .collect()
}

impl State {
    /// A seat that nobody has asked for.
    pub fn new(options: Options) -> Self {
        Self {
            name: "idle",
            code: None,
            lease: None,
            token: None,
            proof: None,
            wishes: options.request,
            options,
            position: Value::Null,
            ticket: None,
            sent: Now::default(),
            acquisition: 0,
            requests: 0,
            flight: None,
            strays: BTreeMap::new(),
            ending: None,
            running: BTreeSet::new(),
            misses: 0,
            fresh: false,
            refused: false,
            heard: false,
            again: false,
            dormant: false,
            returned: false,
            plain: false,
            idle_ms: None,
            ends: Value::Null,
            news: false,
            asked: None,
            can_request: false,
            requested: false,
        }
    }

    fn of_lease(&self, name: &str) -> i64 {
        self.lease
            .as_ref()
            .and_then(|lease| length(&lease[name]))
            .unwrap_or(0)
    }

    /// How much longer the lease surely lives, counted from when its last good request left.
    pub fn left(&self, now: Now) -> i64 {
        if self.lease.is_none() {
            0
        } else {
            self.of_lease("expires_in_ms") - now.since(self.sent)
        }
    }

    /// How often it is renewed, in milliseconds.
    pub fn renew_after_ms(&self) -> i64 {
        self.of_lease("renew_after_ms")
    }

    /// How long work may go on without the server; none is without limit.
    fn grace(&self) -> Option<i64> {
        let told = self
            .lease
            .as_ref()
            .and_then(|lease| length(lease.get("outage_grace_ms")?));
        [told, self.options.max_grace_ms]
            .into_iter()
            .flatten()
            .min()
    }

    /// Name and code of the state as the clock has it, also where no timer has fired yet.
    pub fn seen(&self, now: Now) -> (&'static str, Option<String>) {
        let left = self.left(now);
        if !is_active(self.name) || left > 0 {
            (self.name, self.code.clone())
        } else if self.grace().is_some_and(|limit| left + limit <= 0) {
            ("lost", Some(GRACE_OVER.into()))
        } else {
            ("grace", self.code.clone())
        }
    }

    /// Whether nobody else can have the seat.
    pub fn is_sure(&self, now: Now) -> bool {
        matches!(self.seen(now).0, "held" | "unstable")
    }

    fn is_busy(&self) -> bool {
        self.flight.is_some()
            || self.ending.is_some()
            || !self.strays.is_empty()
            || !self.running.is_empty()
            || self.dormant
    }

    /// Whether the next activity of the user makes a difference: to a seat that may end as idle, or to one that has ended so.
    pub fn is_away(&self) -> bool {
        let Some(lease) = self.lease.as_ref().filter(|_| !self.dormant) else {
            return self.dormant;
        };
        let least = self.of_lease("renew_after_ms").min(AWAY_MS);
        let told = lease.get("active_at").is_some_and(Value::is_string);
        self.ends["reason"] == "idle" || (told && self.idle_ms.is_some_and(|ms| ms >= least))
    }

    /// Whether the answer to a yield is awaited.
    pub fn yields(&self) -> bool {
        self.flight.is_some_and(|flight| flight.kind == Kind::Yield)
    }

    /// Whether the machine is to hear of activity.
    pub fn heeds(&self) -> bool {
        self.flight.is_some() || self.is_away()
    }

    /// The same as `step`, with the answer to a request that may have reported how long nobody did anything.
    pub fn step_said(&mut self, event: Event, idle_ms: Option<i64>, now: Now) -> Output {
        let heard = match &event {
            Event::Answer { id, .. } | Event::Result { id, .. } | Event::Failed { id } => Some(*id),
            _ => None,
        };
        if heard.is_some() && self.flight.map(|flight| flight.id) == heard {
            self.idle_ms = idle_ms;
        }
        self.step(event, now)
    }

    /// Takes one step.
    pub fn step(&mut self, event: Event, now: Now) -> Output {
        let busy = self.is_busy();
        let mut step = Step {
            s: self,
            now,
            out: Output::default(),
        };
        step.take(event);
        let mut out = step.out;
        out.done = busy && !self.is_busy();
        out
    }
}

struct Step<'a> {
    s: &'a mut State,
    now: Now,
    out: Output,
}

impl Step<'_> {
    fn take(&mut self, event: Event) {
        if let Event::Timer(timer) = &event {
            self.s.running.remove(timer);
        }
        if !matches!(event, Event::Forked) {
            self.look();
        }
        match event {
            Event::Acquire => self.acquire(),
            Event::Adopt(token) => self.adopt(token),
            Event::Timer(timer) => self.timer(timer),
            Event::Wake => self.wake(),
            Event::Report { activities, label } => self.report(activities, label),
            Event::Active => self.active(),
            Event::Request if is_asking(self.s.name) => {
                self.s.wishes = true;
                self.request_seat();
            }
            Event::Request => {}
            Event::Yield => self.yield_seat(),
            Event::Release => self.end("/v1/leases/release", "lease_released", 3),
            Event::Close => self.end("/v1/leases/leave", "closed", 1),
            Event::Cancel if is_asking(self.s.name) => {
                self.end("/v1/leases/release", "cancelled", 3)
            }
            Event::Cancel => {}
            Event::Forked => self.forked(),
            Event::Answer { id, answer } => self.hear(id, Ok(answer)),
            Event::Failed { id } => self.hear(id, Ok(Answer::default())),
            Event::Result { id, result } => self.hear(id, Err(result)),
        }
    }

    // Events of the program and of the shell.

    fn acquire(&mut self) {
        if is_asking(self.s.name) || self.s.lease.is_some() {
            return;
        }
        self.stop(Timer::Next);
        let s = &mut *self.s;
        (s.misses, s.fresh, s.again) = (0, false, false);
        (s.dormant, s.plain) = (false, false);
        s.acquisition += 1;
        self.to("acquiring", None, Json::new());
        if self.s.ending.is_none() {
            return self.ask();
        }
        self.s.again = true; // The seat that is being given back may be the one that it gets.
        if self.s.flight.is_none() {
            self.give_back();
        }
    }

    fn adopt(&mut self, token: String) {
        if self.s.name == "idle" {
            self.s.token = Some(token);
            self.to("acquiring", None, Json::new());
            self.beat();
        }
    }

    fn timer(&mut self, timer: Timer) {
        if timer == Timer::Deadline {
            if is_active(self.s.name) && !self.s.running.contains(&Timer::Deadline) {
                self.watch();
            }
        } else if self.s.flight.is_some() {
        } else if self.s.ending.is_some() {
            self.give_back();
        } else if self.s.lease.is_some() || (self.s.token.is_some() && self.s.name == "acquiring") {
            self.beat();
        } else if is_asking(self.s.name) {
            self.ask();
        } else if self.s.name == "lost" && self.s.again {
            self.acquire();
        }
    }

    fn wake(&mut self) {
        let s = &*self.s;
        if s.ending.is_some() || !(s.lease.is_some() || is_asking(s.name)) {
            return;
        }
        if let Some(flight) = s.flight {
            if self.now.since(flight.at) <= 3_000 {
                return;
            }
            self.abort(); // The network that it hangs on may be gone.
        } else if s.lease.is_some() && self.now.since(s.sent) <= 1_000 {
            return;
        }
        self.stop(Timer::Next);
        if self.s.token.is_some() {
            self.beat()
        } else {
            self.ask()
        }
    }

    fn report(&mut self, activities: Option<Vec<String>>, label: Option<String>) {
        let s = &mut *self.s;
        s.options.activities = activities.or(s.options.activities.take());
        s.options.label = label.or(s.options.label.take());
        s.news = true;
        if s.lease.is_some() && s.flight.is_none() {
            self.wait(Timer::Next, 500, 500);
        }
    }

    fn active(&mut self) {
        if self.s.dormant {
            self.acquire();
        } else if let Some(flight) = self.s.flight {
            self.s.returned = flight.idle;
        } else if self.s.name == "held" && self.s.is_away() {
            self.beat(); // In an outage the tries have their own times.
        }
    }

    fn yield_seat(&mut self) {
        if self.s.lease.is_none() || self.s.ending.is_some() || self.s.yields() {
            return;
        }
        self.abort();
        let body = object(json!({ "token": self.s.token }));
        let (timeout, fresh) = (self.patience(), self.s.fresh);
        self.send(
            Kind::Yield,
            "/v1/leases/yield".into(),
            body,
            timeout,
            fresh,
            [false, false],
        );
    }

    /// Asks those who have a seat for one, once for each ticket.
    fn request_seat(&mut self) {
        let s = &mut *self.s;
        if !s.wishes || !s.can_request || s.requested {
            return;
        }
        if let Some(ticket) = s.ticket.clone() {
            s.requested = true;
            let path = format!("/v1/pools/{}/queue/request", segment(&s.options.pool));
            self.send_stray(path, object(json!({ "ticket": ticket })), 1_000);
            self.s.strays.insert(self.s.requests, Stray::Request);
        }
    }

    /// How long to wait for an answer about the lease.
    fn patience(&self) -> i64 {
        let rest = self.s.left(self.now);
        if rest > 0 {
            (rest / 2).clamp(250, REQUEST_MS)
        } else {
            REQUEST_MS
        }
    }

    fn forked(&mut self) {
        let s = &mut *self.s;
        // The sockets, the timers and the seat are the parent's.
        (s.flight, s.ending, s.again, s.dormant) = (None, None, false, false);
        s.strays.clear();
        s.running.clear();
        if is_asking(s.name) || is_active(s.name) || s.lease.is_some() {
            self.finish("lost", "forked", Json::new());
        }
    }

    // Answers.

    fn hear(&mut self, id: u64, heard: Result<Answer, Value>) {
        if let Some(stray) = self.s.strays.remove(&id) {
            if stray == Stray::Request {
                self.s.requested = heard.is_ok_and(|answer| !answer.is_temporary());
                return;
            }
            let body = heard.map_or(Value::Null, |answer| answer.body);
            if let Some(token) = text(&body, "token").filter(|_| stray != Stray::End) {
                self.send_stray(
                    "/v1/leases/release".into(),
                    object(json!({ "token": token })),
                    END_MS,
                );
            } else if let Some(ticket) = text(&body, "ticket").filter(|_| stray == Stray::Ask) {
                self.leave_queue(ticket.to_owned());
            }
            return;
        }
        let Some(flight) = self.s.flight.filter(|flight| flight.id == id) else {
            return; // It came too late, and a later one has been heard.
        };
        self.s.flight = None;
        match (flight.kind, heard) {
            (_, Err(result)) => self.hear_result(flight, &result),
            (Kind::End, Ok(answer)) => self.hear_end(answer.status),
            (Kind::Yield, Ok(answer)) => self.hear_yield(&answer),
            (Kind::Renew, Ok(answer)) => self.hear_beat(flight, &answer),
            (Kind::Ask, Ok(answer)) => self.hear_ask(flight, &answer),
        }
    }

    fn hear_ask(&mut self, flight: Flight, answer: &Answer) {
        let Answer { status, body, .. } = answer;
        let code = answer.code();
        let granted = matches!(status, 200 | 201)
            && is_lease(&body["lease"])
            && text(body, "token").is_some();
        let ticket = text(body, "ticket").filter(|_| *status == 202);
        let ours = granted || ticket.is_some() || code.is_some();
        let wait = answer.retry_after(ours);
        let details = answer.details(ours);
        let refused = std::mem::take(&mut self.s.refused);
        self.s.heard |= ours;
        if granted {
            return self.hold(flight, body, object(body["lease"].clone()));
        }
        if let Some(ticket) = ticket {
            self.s.requested &= self.s.ticket.as_deref() == Some(ticket);
            self.s.ticket = Some(ticket.to_owned());
            self.s.can_request = body["can_request"] == true;
            self.s.misses = 0;
            self.to("waiting", None, details);
            let rest = (if wait == 0 { 2_000 } else { wait }) - self.now.since(flight.at);
            if rest > 0 {
                self.wait(Timer::Next, rest / 2, rest - rest / 10);
            } else {
                self.wait(Timer::Next, 0, 100);
            }
            return self.request_seat();
        }
        let is = |name: &str| code == Some(name);
        if is("ticket_expired") && self.s.ticket.is_some() {
            self.s.ticket = None;
            self.s.acquisition += 1;
            self.to("acquiring", code, details);
            return self.wait(Timer::Next, 0, 100);
        }
        let closed = is("maintenance") || is("recovering");
        let full = is("pool_full") || is("tenant_full") || is("queue_full");
        if closed || (self.s.options.wait && full) {
            self.s.misses = 0;
            self.to("waiting", code, details);
            let least = wait.max(500).min(if closed { 60_000 } else { 5_000 });
            return self.wait(Timer::Next, least, least + least / 10);
        }
        if is("unauthorized") && self.s.options.asks_for_key && !refused {
            self.s.refused = true;
            return self.ask();
        }
        if is("invalid_request") && self.s.idle_ms.is_some() {
            self.s.plain = true; // An older server knows nothing of it.
            return self.ask();
        }
        let temporary = answer.is_temporary();
        match code {
            Some(code) if !temporary && code != "ticket_expired" => {
                return self.finish("denied", code, details);
            }
            None if !self.s.heard && !temporary => {
                return self.finish("denied", "not_leasehold", details);
            }
            Some("draining") if self.s.misses == 0 => return self.at_once(),
            _ => {}
        }
        if self.s.name == "acquiring" {
            self.to("acquiring", Some(code.unwrap_or(unheard(*status))), details);
        }
        self.retry(wait, *status == 0);
    }

    fn hear_beat(&mut self, flight: Flight, answer: &Answer) {
        let lease = &answer.body["lease"];
        let id = self.s.lease.as_ref().map(|lease| &lease["id"]);
        if answer.status == 200 && is_lease(lease) && id.is_none_or(|id| *id == lease["id"]) {
            return self.hold(flight, &answer.body, object(lease.clone()));
        }
        let code = answer.code();
        if let Some(code) = code.filter(|code| ENDS.contains(code)) {
            return self.lose(code, answer.details(true));
        }
        self.s.news |= flight.news && code != Some("invalid_request");
        if code == Some("draining") && self.s.misses == 0 {
            return self.at_once();
        }
        if code == Some("invalid_request")
            && self.s.idle_ms.is_some()
            && let Some(lease) = &mut self.s.lease
        {
            lease.remove("active_at");
            self.s.news |= flight.news;
            return self.wait(Timer::Next, 0, 100);
        }
        let ours = code.is_some();
        self.miss(
            code.unwrap_or(unheard(answer.status)),
            answer.details(ours),
            answer.retry_after(ours),
            answer.status == 0,
        );
    }

    fn hear_result(&mut self, flight: Flight, result: &Value) {
        let own = match (result.get("id"), &self.s.lease) {
            (Some(id), Some(lease)) => *id == lease["id"],
            (id, _) => id.is_none(), // Else it is somebody else's.
        };
        let status = text(result, "status").unwrap_or("").to_owned();
        let renewed =
            matches!(&*status, "renewed" | "resumed") && length(&result["expires_in_ms"]).is_some();
        if let Some(mut lease) = self.s.lease.clone().filter(|_| own && renewed) {
            for name in RENEWED {
                if let Some(value) = result.get(name) {
                    lease.insert(name.into(), value.clone());
                }
            }
            let mut body = result.clone();
            body["resumed"] = json!(status == "resumed");
            return self.hold(flight, &body, lease);
        }
        if let Some(code) =
            text(result, "code").filter(|code| own && status == "lost" && ENDS.contains(code))
        {
            let details = Answer {
                status: 0,
                body: result.clone(),
                ..Answer::default()
            }
            .details(true);
            return self.lose(code, details);
        }
        if own && status == "invalid" {
            return self.lose("invalid_token", Json::new());
        }
        self.s.news |= flight.news;
        self.miss("not_leasehold", Json::new(), 0, false);
    }

    fn hear_yield(&mut self, answer: &Answer) {
        if answer.status == 200 && answer.body["yielded"] == true {
            return self.finish("released", "handed_over", Json::new());
        }
        if let Some(code) = answer.code().filter(|code| ENDS.contains(code)) {
            return self.lose(code, answer.details(true));
        }
        self.s.fresh |= answer.status == 0;
        self.wait(Timer::Next, 0, 100); // A heartbeat tells whether the seat is still there.
    }

    fn hear_end(&mut self, status: u16) {
        let settled = !Answer {
            status,
            ..Answer::default()
        }
        .is_temporary();
        let more = |ending: &Ending| {
            ending.tries < ending.most && self.now.since(ending.at) < END_MS - 500
        };
        if !settled && self.s.ending.as_ref().is_some_and(more) {
            return self.wait(Timer::Next, 100, 400);
        }
        self.s.ending = None;
        if std::mem::take(&mut self.s.again) {
            self.ask();
        }
    }

    // What is done.

    fn hold(&mut self, flight: Flight, body: &Value, lease: Json) {
        let s = &mut *self.s;
        s.lease = Some(lease);
        (s.sent, s.ticket, s.position, s.fresh, s.heard) =
            (flight.at, None, Value::Null, false, true);
        if let Some(token) = text(body, "token") {
            s.token = Some(token.to_owned());
        }
        if let Some(proof) = text(body, "proof") {
            s.proof = Some(proof.to_owned());
        }
        let told = TOLD.iter().filter_map(|name| {
            Some((
                name.to_string(),
                body.get(name).filter(|value| !value.is_null())?.clone(),
            ))
        });
        let mut told: Json = told.collect();
        let near = Some(&body["ends"]).filter(|ends| length(&ends["in_ms"]).is_some());
        let near = near.cloned().unwrap_or_default();
        if !near.is_null() || !self.s.ends.is_null() {
            told.insert("ending".into(), near.clone());
        }
        (self.s.ends, self.s.plain) = (near, false);
        let request = &body["seat_requested"];
        let within = length(&request["answer_in_ms"]);
        // Once for each request: the time that is left grows only when another one comes.
        if within.is_some_and(|ms| self.s.asked.is_none_or(|before| ms > before)) {
            told.insert("seat_requested".into(), request.clone());
        } else if within.is_none() && self.s.asked.is_some() {
            told.insert("seat_requested".into(), Value::Null);
        }
        self.s.asked = within;
        if !told.is_empty() {
            self.out.tell = Some(told);
        }
        if self.s.left(self.now) <= 0 {
            // It took longer than the lease lasts.
            if is_asking(self.s.name) {
                self.s.name = "held";
            }
            self.look();
            return self.retry(0, false);
        }
        self.s.misses = 0;
        let resumed = body["resumed"] == json!(true);
        self.to(
            "held",
            None,
            if resumed {
                object(json!({ "resumed": true }))
            } else {
                Json::new()
            },
        );
        self.watch();
        let every = self
            .s
            .of_lease("renew_after_ms")
            .min(self.s.of_lease("expires_in_ms") / 2)
            .max(100);
        if std::mem::take(&mut self.s.returned) && self.s.is_away() {
            self.wait(Timer::Next, 0, 0)
        } else if self.s.news {
            self.wait(Timer::Next, 500, 500)
        } else {
            self.wait(Timer::Next, every - every * 15 / 100, every)
        }
    }

    fn miss(&mut self, code: &str, details: Json, wait: i64, unheard: bool) {
        match self.s.name {
            "held" | "unstable" => self.to("unstable", Some(code), details),
            "acquiring" => self.to("acquiring", Some(code), details),
            "grace" => self.s.code = Some(code.to_owned()),
            _ => {}
        }
        self.retry(wait, unheard);
    }

    fn lose(&mut self, code: &str, details: Json) {
        if self.s.name == "acquiring" && self.s.options.reacquire && code != "lease_terminated" {
            self.s.token = None; // It was remembered from an earlier life of the program.
            self.s.acquisition += 1;
            return self.ask();
        }
        let reason = details.get("reason").and_then(Value::as_str);
        let unused = is_unused(code, reason);
        self.finish(
            if code == "lease_released" {
                "released"
            } else {
                "lost"
            },
            code,
            details,
        );
        // Whoever took it back before anybody is there would undo what the pool is asked to do.
        self.s.dormant = self.s.options.reacquire && unused;
        if self.s.options.reacquire && matches!(code, "lease_expired" | "invalid_token") {
            self.s.again = true;
            self.wait(Timer::Next, 0, 2_000);
        }
    }

    fn end(&mut self, path: &'static str, code: &str, most: u32) {
        let s = &mut *self.s;
        // An adopted token that was not heard of yet is not this program's to give up.
        let token = s.token.clone().filter(|_| code != "cancelled");
        let ticket = s.ticket.clone();
        if s.lease.is_none() && !s.again && !s.dormant && !is_asking(s.name) {
            return;
        }
        if s.ending.is_some() {
            s.again = false; // It was asked for again, and is no longer.
            return self.to("released", Some(code), Json::new());
        }
        if let Some(flight) = s.flight.filter(|flight| flight.kind == Kind::Ask) {
            // If it brings a seat or a place, that goes back.
            s.strays.insert(
                flight.id,
                if ticket.is_some() {
                    Stray::Poll
                } else {
                    Stray::Ask
                },
            );
            s.flight = None;
        } else if s.flight.is_some() {
            self.abort();
        }
        self.finish("released", code, Json::new());
        if let Some(token) = token {
            self.s.ending = Some(Ending {
                path,
                token,
                tries: 0,
                most,
                at: self.now,
            });
            self.give_back();
        } else if let Some(ticket) = ticket {
            self.leave_queue(ticket);
        }
    }

    fn leave_queue(&mut self, ticket: String) {
        let path = format!("/v1/pools/{}/queue/leave", segment(&self.s.options.pool));
        self.send_stray(path, object(json!({ "ticket": ticket })), 1_000);
    }

    fn give_back(&mut self) {
        if let Some(ending) = &mut self.s.ending {
            ending.tries += 1;
            let timeout = (END_MS - self.now.since(ending.at)).clamp(100, 2_000);
            let (path, token, fresh) = (
                ending.path.to_owned(),
                ending.token.clone(),
                ending.tries > 1,
            );
            self.send(
                Kind::End,
                path,
                object(json!({ "token": token })),
                timeout,
                fresh,
                [false, false],
            );
        }
    }

    fn ask(&mut self) {
        let s = &mut *self.s;
        let o = &s.options;
        let activities = o.activities.as_ref().filter(|list| !list.is_empty());
        let (body, long) = match &s.ticket {
            Some(ticket) => (
                json!({ "ticket": ticket, "wait_ms": LONG_POLL_MS }),
                LONG_POLL_MS,
            ),
            None => {
                let wait = o.wait.then_some(true);
                let body = json!({ "holder": o.holder, "tenant": o.tenant, "label": o.label, "platform": o.platform, "activities": activities, "wait": wait });
                (body, 0)
            }
        };
        s.news = false;
        let path = format!("/v1/pools/{}/leases", segment(&o.pool));
        let (fresh, idle) = (s.fresh, s.ticket.is_none() && !s.plain);
        self.send(
            Kind::Ask,
            path,
            object(body),
            REQUEST_MS + long,
            fresh,
            [false, idle],
        );
    }

    fn beat(&mut self) {
        let s = &mut *self.s;
        let rest = s.left(self.now);
        let news = std::mem::take(&mut s.news);
        let mut body = object(json!({ "token": s.token }));
        if news {
            body.insert("activities".into(), json!(s.options.activities));
            body.insert("label".into(), json!(s.options.label));
        }
        if rest < 0
            && s.lease
                .as_ref()
                .is_some_and(|lease| lease.contains_key("outage_grace_ms"))
        {
            body.insert(
                "grace_used_ms".into(),
                s.grace().unwrap_or(MOST_MS).min(MOST_MS).min(-rest).into(),
            );
        }
        let fresh = s.fresh;
        let idle = s.lease.as_ref();
        let idle = idle.is_some_and(|lease| lease.contains_key("active_at"));
        let timeout = self.patience();
        self.send(
            Kind::Renew,
            "/v1/leases/renew".into(),
            body,
            timeout,
            fresh,
            [news, idle],
        );
    }

    /// Plans the next try: full jitter, and what the server asked for as far as the lease allows.
    fn retry(&mut self, wait: i64, unheard: bool) {
        let rest = self.s.left(self.now);
        let (limit, most) = if self.s.lease.is_none() {
            (60_000, 8_000)
        } else if rest > 0 {
            (
                (rest / 2).max(100),
                (self.s.of_lease("renew_after_ms") / 2).min(8_000),
            )
        } else {
            // Whoever beats within a lease's length of the server's return keeps the seat.
            let half = (self.s.of_lease("expires_in_ms") / 2).clamp(100, 30_000);
            (half, half)
        };
        let low = wait.min(limit - limit / 10).max(100);
        let high = most.min(1_000 << self.s.misses.min(10)).max(low + low / 10);
        self.s.misses += 1;
        self.s.fresh |= unheard;
        self.wait(Timer::Next, low, low.max(high.min(limit)));
    }

    /// The node says good-bye: another one answers a new connection.
    fn at_once(&mut self) {
        (self.s.misses, self.s.fresh) = (1, true);
        self.wait(Timer::Next, 0, 0);
    }

    fn finish(&mut self, name: &'static str, code: &str, details: Json) {
        self.stop(Timer::Next);
        self.stop(Timer::Deadline);
        let s = &mut *self.s;
        (s.lease, s.token, s.ticket, s.proof, s.position) = (None, None, None, None, Value::Null);
        (s.misses, s.fresh, s.refused, s.again) = (0, false, false, false);
        (s.dormant, s.returned, s.idle_ms, s.ends) = (false, false, None, Value::Null);
        (s.asked, s.wishes, s.can_request, s.requested) = (None, s.options.request, false, false);
        self.to(name, Some(code), details);
    }

    /// Brings the state up to the clock.
    fn look(&mut self) {
        let (name, code) = self.s.seen(self.now);
        if name == self.s.name {
            return;
        }
        self.to(name, code.as_deref(), Json::new());
        self.stop(Timer::Deadline);
        if name == "grace" {
            self.watch();
        }
    }

    fn watch(&mut self) {
        let rest = self.s.left(self.now);
        if rest > 0 {
            self.wait(Timer::Deadline, rest, rest);
        } else if let Some(limit) = self.s.grace() {
            self.wait(Timer::Deadline, rest + limit, rest + limit);
        }
    }

    fn to(&mut self, name: &'static str, code: Option<&str>, details: Json) {
        let s = &mut *self.s;
        let position = details.get("position").cloned().unwrap_or_default();
        let another = matches!(name, "acquiring" | "waiting" | "lost") && code != s.code.as_deref();
        let moved = name == "waiting" && !position.is_null() && position != s.position;
        let told = name != s.name || details.contains_key("resumed") || another || moved;
        if name != "waiting" || !position.is_null() {
            s.position = position;
        }
        (s.name, s.code) = (name, code.map(str::to_owned));
        if told {
            let mut event = object(json!({ "state": name }));
            if let Some(code) = code {
                event.insert("code".into(), code.into());
            }
            event.extend(details);
            self.out.emit.push(event);
        }
    }

    fn send(
        &mut self,
        kind: Kind,
        path: String,
        body: Json,
        timeout_ms: i64,
        fresh: bool,
        [news, idle]: [bool; 2],
    ) {
        self.stop(Timer::Next);
        let id = self.request(path, body, timeout_ms, fresh, kind == Kind::Ask);
        if let Some(request) = self.out.send.last_mut() {
            request.idle = idle;
        }
        self.s.flight = Some(Flight {
            id,
            kind,
            at: self.now,
            news,
            idle: idle && kind == Kind::Renew,
        });
    }

    fn send_stray(&mut self, path: String, body: Json, timeout_ms: i64) {
        let id = self.request(path, body, timeout_ms, false, false);
        self.s.strays.insert(id, Stray::End);
    }

    fn request(
        &mut self,
        path: String,
        mut body: Json,
        timeout_ms: i64,
        fresh: bool,
        asks: bool,
    ) -> u64 {
        self.s.requests += 1;
        let id = self.s.requests;
        body.retain(|_, value| !value.is_null());
        let (acquisition, refused) = (asks.then_some(self.s.acquisition), asks && self.s.refused);
        self.out.send.push(Request {
            id,
            path,
            body,
            timeout_ms,
            acquisition,
            refused,
            fresh,
            idle: false,
        });
        id
    }

    fn abort(&mut self) {
        if let Some(flight) = self.s.flight.take() {
            self.out.abort = Some(flight.id);
            self.s.news |= flight.news;
            self.s.fresh = true;
        }
    }

    fn wait(&mut self, timer: Timer, low: i64, high: i64) {
        self.s.running.insert(timer);
        self.out.timers.insert(timer, Some((low, high)));
    }

    fn stop(&mut self, timer: Timer) {
        if self.s.running.remove(&timer) {
            self.out.timers.insert(timer, None);
        }
    }
}

fn unheard(status: u16) -> &'static str {
    if status == 0 {
        "unreachable"
    } else {
        "not_leasehold"
    }
}

fn object(value: Value) -> Json {
    match value {
        Value::Object(members) => members,
        _ => Json::new(),
    }
}
