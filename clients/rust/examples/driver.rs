//! What the scenarios of clients/spec/wire drive: lines of JSON in, lines of JSON out.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leasehold_client::{Client, Gateway, Key, Options, Seat, SeatError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;

#[derive(Clone, Default)]
struct Driver {
    client: Option<Client>,
    gateway: Option<Gateway>,
    #[cfg(feature = "verify")]
    verifier: Option<Arc<leasehold_client::Verifier>>,
    url: String,
    seats: Arc<Mutex<HashMap<String, Arc<Seat>>>>,
    tasks: Arc<Mutex<HashMap<String, AbortHandle>>>,
    tokens: Arc<Mutex<HashMap<String, String>>>,
    /// What the program says of each seat: milliseconds, or "raise".
    idle: Arc<Mutex<HashMap<String, Value>>>,
}

fn say(mut line: Value) {
    if let Some(members) = line.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn text(value: &Value) -> Option<String> {
    Some(value.as_str()?.to_owned())
}

fn name(line: &Value) -> String {
    text(&line["as"]).unwrap_or("s".into())
}

fn options(line: &Value) -> Options {
    let (seat, listener) = (name(line), text(&line["listener"]));
    let told = move |event: &leasehold_client::SeatEvent| {
        let mut said = Value::Object(event.details.clone());
        said["seat"] = json!(seat);
        said["event"] = json!(event.state);
        said["id"] = json!(event.id);
        say(said);
        match listener.as_deref() {
            Some("raise") => panic!("a listener of the program"),
            Some("block") => std::thread::sleep(Duration::from_secs(10)),
            _ => {}
        }
    };
    let ms = |name: &str| line[name].as_u64().map(Duration::from_millis);
    Options {
        holder: text(&line["holder"]),
        tenant: text(&line["tenant"]),
        label: text(&line["label"]),
        wait: line["wait"] == true,
        reacquire: line["reacquire"] == true,
        request: line["request"] == true,
        max_grace: ms("max_grace_ms"),
        timeout: ms("timeout_ms"),
        on_event: Some(Arc::new(told)),
        ..Options::default()
    }
}

fn failed(seat: &str, error: &SeatError) {
    say(
        json!({ "seat": seat, "error": error.code, "detail": error.detail, "temporary": error.is_temporary() }),
    );
}

/// Says that a task was dropped where it waited, unless it came to its end.
struct Unless(Option<Value>);

impl Drop for Unless {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            say(line);
        }
    }
}

impl Driver {
    fn client(&self) -> Client {
        self.client.clone().expect("a client")
    }

    fn seat(&self, name: &str) -> Arc<Seat> {
        self.seats.lock().expect("a lock")[name].clone()
    }

    fn keep(&self, name: &str, seat: Seat) {
        self.seats
            .lock()
            .expect("a lock")
            .insert(name.to_owned(), Arc::new(seat));
    }

    fn kept(&self) -> HashMap<String, String> {
        let tokens = self.tokens.lock().expect("a lock");
        tokens
            .iter()
            .map(|(session, token)| (session.clone(), token.replace("SECRET-", "")))
            .collect()
    }

    fn options(&self, line: &Value) -> Options {
        let mut options = options(line);
        if !line["idle"].is_null() {
            let (name, idle) = (name(line), self.idle.clone());
            idle.lock()
                .expect("a lock")
                .insert(name.clone(), line["idle"].clone());
            options.idle = Some(Arc::new(move || {
                let said = idle.lock().expect("a lock")[&name].clone();
                let ms = said
                    .as_u64()
                    .unwrap_or_else(|| panic!("a function of the program"));
                Some(Duration::from_millis(ms))
            }));
        }
        options
    }

    fn spawn(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(work);
        self.tasks
            .lock()
            .expect("a lock")
            .insert(name.to_owned(), task.abort_handle());
    }

    fn start(&mut self, line: &Value) {
        let keys: Vec<String> = line["keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect();
        let key = match &*keys {
            [one] => Key::Fixed(one.clone()),
            _ => Key::Function(Arc::new(move |refused| {
                let key = keys[usize::from(refused)].clone();
                Box::pin(async move { Ok(key) })
            })),
        };
        self.url = text(&line["url"]).unwrap_or_default();
        self.client = Some(Client::new(&self.url, key).expect("a client"));
        eprintln!("{:?}", self.client());
    }

    async fn acquire(self, line: Value) {
        let (name, pool) = (name(&line), text(&line["pool"]).unwrap_or_default());
        let mut cancelled = Unless(Some(json!({ "seat": name, "error": "cancelled" })));
        let client = self.client();
        let result = match text(&line["token"]) {
            Some(token) => client.adopt(&pool, &token, self.options(&line)).await,
            None => client.acquire(&pool, self.options(&line)).await,
        };
        cancelled.0 = None;
        match result {
            Ok(seat) => {
                let said = json!({ "seat": name, "result": "held", "id": seat.id(), "fence": seat.fence(), "sure": seat.is_sure() });
                self.keep(&name, seat);
                say(said);
            }
            Err(error) => failed(&name, &error),
        }
    }

    async fn hold(self, line: Value) {
        let (name, pool) = (name(&line), text(&line["pool"]).unwrap_or_default());
        let mut cancelled = Unless(Some(json!({ "seat": name, "body": "cancelled" })));
        let work = async |_: &Seat| {
            say(json!({ "seat": name, "body": "runs" }));
            tokio::time::sleep(Duration::from_secs(60)).await;
        };
        let options = self.options(&line);
        let result = self.client().hold(&pool, options, work).await;
        cancelled.0 = None;
        if let Err(error) = result {
            say(
                json!({ "seat": name, "body": "lost", "code": error.code, "reason": error.reason }),
            );
        }
    }

    async fn many(self, line: Value) {
        let pool = text(&line["pool"]).unwrap_or_default();
        let touch = line["touch"] == true;
        let mut all = tokio::task::JoinSet::new();
        for n in 1..=line["count"].as_u64().unwrap_or(0) {
            let (driver, pool, name) = (self.clone(), pool.clone(), format!("s{n}"));
            all.spawn(async move {
                let seat = name.clone();
                let told = move |event: &leasehold_client::SeatEvent| {
                    if event.state == "lost" {
                        say(json!({ "seat": seat, "event": "lost", "code": event.code() }));
                    }
                };
                let options = Options {
                    on_event: Some(Arc::new(told)),
                    ..Options::holder(&*name)
                };
                match driver.client().acquire(&pool, options).await {
                    Ok(seat) => {
                        if touch {
                            seat.touch();
                        }
                        driver.keep(&name, seat)
                    }
                    Err(error) => failed(&name, &error),
                }
            });
        }
        all.join_all().await;
        say(
            json!({ "seat": "", "result": "held", "count": self.seats.lock().expect("a lock").len() }),
        );
    }

    async fn ended(self, line: Value) {
        let (name, how, began) = (
            name(&line),
            text(&line["do"]).unwrap_or_default(),
            Instant::now(),
        );
        let seat = self.seat(&name);
        if how == "release" {
            seat.release().await
        } else {
            seat.leave().await
        }
        say(json!({ "seat": name, "done": how, "ms": began.elapsed().as_millis() as u64 }));
    }

    async fn restore(self, line: Value) {
        let timeout = Duration::from_millis(line["timeout_ms"].as_u64().unwrap_or(30_000));
        let tokens = self.tokens.lock().expect("a lock").clone();
        let restored = self
            .gateway
            .as_ref()
            .expect("a gateway")
            .restore(tokens, timeout)
            .await;
        say(json!({ "seat": name(&line), "restored": restored, "kept": self.kept() }));
    }

    async fn login(self, line: Value) {
        let session = text(&line["session"]).unwrap_or_default();
        let options = Options {
            holder: text(&line["holder"]),
            reacquire: line["reacquire"] == true,
            ..Options::default()
        };
        match self
            .gateway
            .as_ref()
            .expect("a gateway")
            .login(&session, options)
            .await
        {
            Ok(seat) => say(json!({ "seat": name(&line), "login": session, "id": seat.id() })),
            Err(error) => failed(&name(&line), &error),
        }
    }

    fn gateway(&mut self, line: &Value) {
        for (session, token) in line["tokens"].as_object().into_iter().flatten() {
            self.tokens
                .lock()
                .expect("a lock")
                .insert(session.clone(), text(token).unwrap_or_default());
        }
        let tokens = self.tokens.clone();
        let keep = move |session: &str, token: Option<&str>| {
            let mut tokens = tokens.lock().expect("a lock");
            match token {
                Some(token) => tokens.insert(session.to_owned(), token.to_owned()),
                None => tokens.remove(session),
            };
        };
        self.gateway = Some(Gateway::new(
            self.client(),
            &text(&line["pool"]).unwrap_or_default(),
            keep,
            |_, _| {},
        ));
    }

    #[cfg(feature = "verify")]
    fn verify(&mut self, line: Value) {
        let (issuer, audience) = (
            text(&line["issuer"]).unwrap_or_default(),
            text(&line["audience"]).unwrap_or_default(),
        );
        let url = self.url.clone();
        let verifier = self
            .verifier
            .get_or_insert_with(|| {
                Arc::new(leasehold_client::Verifier::new(&issuer, &audience, &url))
            })
            .clone();
        tokio::spawn(async move {
            let mut verified = 0;
            for _ in 0..line["times"].as_u64().unwrap_or(0) {
                let proof = verifier
                    .verify_at(
                        line["proof"].as_str().unwrap_or(""),
                        line["at"].as_f64().unwrap_or(0.0),
                    )
                    .await;
                verified += u32::from(proof.is_ok());
            }
            say(json!({ "seat": name(&line), "verified": verified }));
        });
    }

    /// Whether to go on.
    fn take(&mut self, line: Value) -> bool {
        let (driver, as_name) = (self.clone(), name(&line));
        match line["do"].as_str().unwrap_or("") {
            "quit" | "raise" => return false,
            "start" => self.start(&line),
            "acquire" | "adopt" => self.spawn(&as_name, driver.acquire(line)),
            "hold" => self.spawn(&as_name, driver.hold(line)),
            "many" => drop(tokio::spawn(driver.many(line))),
            "cancel" => self.tasks.lock().expect("a lock")[&as_name].abort(),
            "release" | "close" => drop(tokio::spawn(driver.ended(line))),
            "hand_over" => {
                let seat = self.seat(&as_name);
                tokio::spawn(async move {
                    let handed_over = seat.hand_over().await;
                    say(json!({ "seat": as_name, "handed_over": handed_over }));
                });
            }
            "check" => {
                let seat = self.seat(&as_name);
                let said = seat
                    .check()
                    .map_or_else(|error| error.code, |()| "ok".into());
                eprintln!("{seat:?}");
                say(
                    json!({ "seat": as_name, "check": said, "state": seat.state(), "sure": seat.is_sure() }),
                );
            }
            "report" => {
                let activities: Vec<&str> = line["activities"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                self.seat(&as_name).report(&activities);
            }
            "touch" => match (text(&line["session"]), &self.gateway) {
                (Some(session), Some(gateway)) => gateway.touch(&session),
                _ => self.seat(&as_name).touch(),
            },
            "idle" => drop(
                self.idle
                    .lock()
                    .expect("a lock")
                    .insert(as_name, line["ms"].clone()),
            ),
            "gateway" => {
                self.gateway(&line);
                drop(tokio::spawn(self.clone().restore(line)));
            }
            "restore" => drop(tokio::spawn(driver.restore(line))),
            "login" => drop(tokio::spawn(driver.login(line))),
            "kept" => say(json!({ "seat": as_name, "kept": self.kept() })),
            #[cfg(feature = "verify")]
            "verify" => self.verify(line),
            other => panic!("there is no step {other}"),
        }
        true
    }
}

#[tokio::main]
async fn main() {
    let mut can = vec!["cancel", "gateway"];
    if cfg!(feature = "verify") {
        can.push("verify");
    }
    say(json!({ "ready": "rust", "spec": 2, "can": can }));
    let mut driver = Driver::default();
    let mut terminate = signal(SignalKind::terminate()).expect("signals");
    let mut lines = BufReader::new(stdin()).lines();
    let code = loop {
        tokio::select! {
            _ = terminate.recv() => break 143,
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { break 0 };
                let line: Value = serde_json::from_str(&line).expect("JSON");
                let raise = line["do"] == "raise";
                if !driver.take(line) {
                    break i32::from(raise);
                }
            }
        }
    };
    if let Some(client) = driver.client {
        client.close().await; // As programs do that want to end well: the runtime ends with this function.
    }
    std::process::exit(code);
}
