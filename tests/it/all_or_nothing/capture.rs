//! A proxy that keeps each call of a script on its way to Redis, with all that the script could see then.
//!
//! It passes on one command at a time for all connections together, so that what it keeps is what the script will find.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Pipeline, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::free_port;

/// A call of a script, and what was in Redis before it.
#[derive(Debug, Clone)]
pub(super) struct Situation {
    /// The text of the script.
    pub(super) source: Arc<str>,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) arguments: Vec<Vec<u8>>,
    /// The keys that are there, the script's and all others of its pools, as DUMP gives them; with whether they have a TTL.
    pub(super) before: Vec<Kept>,
    /// All keys that are compared.
    pub(super) looked_at: Vec<Vec<u8>>,
    /// Redis's clock: seconds and microseconds.
    pub(super) at: (i64, i64),
}

/// A key, what DUMP says of it, and whether it has a TTL.
pub(super) type Kept = (Vec<u8>, Vec<u8>, bool);

/// What the keys of a pool are called behind its prefix.
const OF_A_POOL: [&str; 25] = [
    "block_notes",
    "config",
    "leases",
    "expired",
    "evicted",
    "records",
    "events",
    "denied",
    "denials",
    "blocks",
    "who",
    "seats",
    "holders",
    "lent",
    "idle",
    "held",
    "named",
    "queue",
    "waiting",
    "tickets",
    "line",
    "heads",
    "called",
    "alerts",
    "rolled",
];

/// Situations of one script that are kept; of those that come every second there would be thousands.
const MOST: usize = 600;

struct Shared {
    direct: MultiplexedConnection,
    upstream: SocketAddr,
    kept: Mutex<Captured>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Captured {
    sources: HashMap<String, Arc<str>>,
    situations: Vec<Situation>,
    known: HashSet<Vec<u8>>,
    counts: HashMap<Arc<str>, usize>,
}

/// The proxy. All of its connections end with it.
pub(super) struct Capture {
    port: u16,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

impl Capture {
    pub(super) async fn start(upstream: SocketAddr, direct: &str) -> Self {
        let client = redis::Client::open(direct).expect("a URL");
        let mut direct = client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis runs");
        direct.set_response_timeout(Duration::from_secs(30));
        let shared = Arc::new(Shared {
            direct,
            upstream,
            kept: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
        });
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("the port is free");
        let of_listener = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, Arc::clone(&of_listener)));
            }
        });
        Self {
            port,
            shared,
            listener,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// All that was kept.
    pub(super) fn take(self) -> Vec<Situation> {
        self.listener.abort();
        let mut book = self.shared.kept.lock().expect("no panic while held");
        std::mem::take(&mut book.situations)
    }
}

/// Carries one connection, command by command.
async fn carry(mut near: TcpStream, shared: Arc<Shared>) {
    let Ok(mut far) = TcpStream::connect(shared.upstream).await else {
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let Some(length) = reply_length(&asked) else {
            match near.read(&mut chunk).await {
                Ok(n @ 1..) => asked.extend_from_slice(&chunk[..n]),
                _ => return,
            }
            continue;
        };
        let request: Vec<u8> = asked.drain(..length).collect();
        let words = words(&request);
        if words
            .first()
            .is_some_and(|word| word.ends_with(b"SUBSCRIBE"))
        {
            // From here on both ends speak when they like.
            if far.write_all(&request).await.is_ok() {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
            return;
        }
        let _turn = shared.turn.lock().await;
        keep(&shared, &words).await;
        if far.write_all(&request).await.is_err() {
            return;
        }
        let length = loop {
            if let Some(length) = reply_length(&answered) {
                break length;
            }
            match far.read(&mut chunk).await {
                Ok(n @ 1..) => answered.extend_from_slice(&chunk[..n]),
                _ => return,
            }
        };
        let reply: Vec<u8> = answered.drain(..length).collect();
        if near.write_all(&reply).await.is_err() {
            return;
        }
    }
}

async fn keep(shared: &Shared, words: &[&[u8]]) {
    let name = words.first().copied().unwrap_or_default();
    if name == b"SCRIPT" && words.get(1).copied() == Some(b"LOAD") {
        let text = String::from_utf8_lossy(words[2]);
        let sha = redis::Script::new(&text).get_hash().to_owned();
        let mut book = shared.kept.lock().expect("no panic while held");
        book.sources.entry(sha).or_insert_with(|| text.into());
        return;
    }
    if name != b"EVALSHA" {
        return;
    }
    let sha = String::from_utf8_lossy(words[1]);
    let source = {
        let book = shared.kept.lock().expect("no panic while held");
        book.sources.get(&*sha).cloned()
    };
    // Redis will tell the node that it does not know it either, or it is none of ours.
    let Some(source) = source else { return };
    let count: usize = std::str::from_utf8(words[2])
        .ok()
        .and_then(|count| count.parse().ok())
        .expect("a number of keys");
    let keys: Vec<Vec<u8>> = words[3..3 + count]
        .iter()
        .map(|word| word.to_vec())
        .collect();
    let arguments = words[3 + count..]
        .iter()
        .map(|word| word.to_vec())
        .collect();
    let looked_at = with_those_of_pools(&keys);

    let mut pipe = Pipeline::new();
    pipe.cmd("TIME");
    for key in &looked_at {
        pipe.cmd("DUMP").arg(key).cmd("PTTL").arg(key);
    }
    let mut direct = shared.direct.clone();
    let values = direct.req_packed_commands(&pipe, 0, 1 + 2 * looked_at.len());
    let values = values.await.expect("Redis answers");
    let at: (i64, i64) = redis::from_redis_value(values[0].clone()).expect("a time");
    let mut before = Vec::new();
    for (key, found) in looked_at.iter().zip(values[1..].chunks(2)) {
        if let (Value::BulkString(dump), Value::Int(ttl)) = (&found[0], &found[1]) {
            before.push((key.clone(), dump.clone(), *ttl >= 0));
        }
    }

    let situation = Situation {
        source,
        keys,
        arguments,
        before,
        looked_at,
        at,
    };
    let mut book = shared.kept.lock().expect("no panic while held");
    let print = print(&situation);
    let many = book.counts.get(&situation.source).copied().unwrap_or(0);
    if many < MOST && book.known.insert(print) {
        book.counts.insert(Arc::clone(&situation.source), many + 1);
        book.situations.push(situation);
    }
}

/// What tells situations apart: all but the clocks, which move on by themselves.
fn print(situation: &Situation) -> Vec<u8> {
    let mut print = situation.source.as_bytes()[situation.source.len() / 2..].to_vec();
    for word in situation.keys.iter().chain(&situation.arguments) {
        print.extend_from_slice(word);
        print.push(0);
    }
    for (key, dump, _) in &situation.before {
        if !key.ends_with(b":clock") && !key.ends_with(b":due") && !key.ends_with(b":watch") {
            print.extend_from_slice(dump);
        }
    }
    print
}

/// These keys, and all others of the pools that they are of.
fn with_those_of_pools(keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all = keys.to_vec();
    let mut seen: HashSet<Vec<u8>> = keys.iter().cloned().collect();
    for key in keys {
        // lh1:{12}:crm:leases
        let colons: Vec<usize> = (0..key.len()).filter(|at| key[*at] == b':').collect();
        let is_of_a_bucket = key.get(5).is_some_and(u8::is_ascii_digit);
        if !is_of_a_bucket || colons.len() < 3 {
            continue;
        }
        for name in OF_A_POOL {
            let mut other = key[..=colons[2]].to_vec();
            other.extend_from_slice(name.as_bytes());
            if seen.insert(other.clone()) {
                all.push(other);
            }
        }
    }
    all
}

/// The words of a request.
fn words(request: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let Some(mut at) = line_end(request, 0) else {
        return words;
    };
    while at < request.len() {
        let Some(after) = line_end(request, at) else {
            break;
        };
        let Some(length) = number(&request[at + 1..after - 2]) else {
            break;
        };
        let length = usize::try_from(length).unwrap_or(0);
        words.push(&request[after..after + length]);
        at = after + length + 2;
    }
    words
}

/// How long the first reply or request is; nothing if it is not whole yet.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    value_end(bytes, 0)
}

fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    let after = line_end(bytes, at)?;
    let line = &bytes[at + 1..after - 2];
    match bytes[at] {
        b'$' => {
            let Ok(length) = usize::try_from(number(line)?) else {
                return Some(after);
            };
            (bytes.len() >= after + length + 2).then_some(after + length + 2)
        }
        b'*' => {
            let mut end = after;
            for _ in 0..number(line)?.max(0) {
                end = value_end(bytes, end)?;
            }
            Some(end)
        }
        _ => Some(after),
    }
}

fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some(at + end + 2)
}

fn number(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}
