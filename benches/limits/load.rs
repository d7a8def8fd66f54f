//! Load: wrk at full speed, redis-benchmark next to it, and a steady rate from this process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Threads of wrk; the targets are for a machine of two cores.
const THREADS: &str = "2";

/// What wrk counted.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Counted {
    /// Answers.
    pub(crate) requests: f64,
    /// Time.
    pub(crate) seconds: f64,
    /// Answers of 400 and above.
    pub(crate) refused: f64,
    /// Requests without an answer.
    pub(crate) failed: f64,
}

impl Counted {
    /// Answers in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests / self.seconds
    }
}

/// The command of a row, as the table shows it.
pub(crate) fn wrk_command(kind: &str, connections: u32) -> String {
    format!("wrk -t{THREADS} -c{connections} -s benches/limits/load.lua URL -- {kind}")
}

/// Runs wrk with `load.lua`. Refusals are a failure unless they are what is measured.
pub(crate) async fn wrk(
    url: &str,
    kind: &str,
    argument: &str,
    connections: u32,
    seconds: u64,
) -> Counted {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/limits/load.lua");
    let mut command = Command::new("wrk");
    command
        .args(["-t", THREADS, "-c", &connections.to_string()])
        .args(["-d", &format!("{seconds}s"), "--timeout", "10s", "-s"])
        .arg(script)
        .args([url, "--", kind, THREADS, argument]);
    let text = output(command).await;
    let line = text.lines().find(|line| line.starts_with('{'));
    let counted: Counted = line
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("wrk printed no result: {text}"));
    assert!(
        counted.failed == 0.0 && (kind == "denied" || counted.refused == 0.0),
        "{kind}: {counted:?}"
    );
    counted
}

/// Calls a second of `redis-benchmark` running one command, unpipelined, over 50 connections.
pub(crate) async fn redis_benchmark(socket: &Path, calls: usize, arguments: &[String]) -> f64 {
    let mut command = Command::new("redis-benchmark");
    command
        .arg("-s")
        .arg(socket)
        .args(["-c", "50", "-n", &calls.to_string(), "--csv"])
        .args(arguments);
    let text = output(command).await;
    // "EVALSHA …","53191.49","0.5",… under a line of headings. The command itself has no quoted comma.
    text.lines()
        .last()
        .and_then(|line| line.split("\",\"").nth(1)?.parse().ok())
        .unwrap_or_else(|| panic!("redis-benchmark printed no result: {text}"))
}

async fn output(mut command: Command) -> String {
    let name = format!("{:?}", command.get_program());
    let output = tokio::task::spawn_blocking(move || {
        command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
    })
    .await
    .expect("no panic")
    .unwrap_or_else(|error| panic!("{name} does not run: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One connection that asks and waits for the answer.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(2 * 1024),
        })
    }

    /// Posts a body; status and body of the answer.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        self.ask(format!(
            "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    /// Gets what is at a path; status and body of the answer.
    pub(crate) async fn get(&mut self, path: &str) -> std::io::Result<(u16, String)> {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n"))
            .await
    }

    async fn ask(&mut self, request: String) -> std::io::Result<(u16, String)> {
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let text = std::str::from_utf8(&self.buffer).expect("answers are text");
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                let status = head[9..12].parse().expect("a status");
                return Ok((status, body.to_owned()));
            }
        }
    }
}

/// Beats at a steady rate over 64 connections to one node, 256 to several: how long each took, in microseconds, sorted, and the rate that was reached.
///
/// A heartbeat's time counts from the instant at which it was due, so one that waits for a slow answer before it is counted as slow too. All from one
/// thread: this is to measure the node, and threads that wake each other up would take its time.
pub(crate) async fn steady(
    nodes: &[SocketAddr],
    tokens: &Arc<Vec<String>>,
    rate: f64,
    length: Duration,
) -> (Vec<u32>, f64) {
    let (nodes, tokens) = (nodes.to_vec(), Arc::clone(tokens));
    let beats = move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(steady_beats(nodes, tokens, rate, length))
    };
    tokio::task::spawn_blocking(beats)
        .await
        .expect("every beat is answered")
}

async fn steady_beats(
    nodes: Vec<SocketAddr>,
    tokens: Arc<Vec<String>>,
    rate: f64,
    length: Duration,
) -> (Vec<u32>, f64) {
    let connections = if nodes.len() == 1 { 64 } else { 256 };
    let every = Duration::from_secs_f64(f64::from(connections) / rate);
    let begin = Instant::now() + Duration::from_millis(100);
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let tokens = Arc::clone(&tokens);
            let address = nodes[number as usize % nodes.len()];
            tokio::spawn(async move {
                let mut client = Client::connect(address).await.expect("the node runs");
                let mut times = Vec::new();
                let mut due = begin + every * number / connections;
                let mut at = tokens.len() / connections as usize * number as usize;
                while due < begin + length {
                    let late = due <= Instant::now();
                    if !late {
                        tokio::time::sleep_until(due.into()).await;
                    }
                    // The timer's own millisecond is not the node's.
                    let from = if late { due } else { Instant::now() };
                    let body = format!("{{\"token\":\"{}\"}}", tokens[at % tokens.len()]);
                    let (status, _) = client
                        .post("/v1/leases/renew", &body)
                        .await
                        .expect("the node answers");
                    assert_eq!(status, 200, "a beat at a steady rate");
                    times.push(u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX));
                    at += 1;
                    due += every;
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.append(&mut task.await.expect("every beat is answered"));
    }
    let reached = times.len() as f64 / (begin.elapsed().as_secs_f64());
    times.sort_unstable();
    (times, reached)
}
