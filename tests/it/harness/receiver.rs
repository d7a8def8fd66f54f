//! What webhooks lead to: a server that takes messages, or fails in every way.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::wait_until;

/// What a receiver answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// This status.
    Status(u16),
    /// This status, and when to come back.
    Later(u16, String),
    /// Nothing, for ever.
    Hang,
    /// Another address.
    Redirect(String),
    /// 200 and a body without an end.
    Endless,
    /// 200 and this body.
    Text(String),
    /// 204, after this long.
    Slow(Duration),
}

/// A message that came.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) json: Value,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        match value {
            Some(Ok(value)) => value,
            _ => panic!("no {name} in {:?}", self.headers),
        }
    }

    /// The `webhook-id`.
    pub(crate) fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    /// A field of the alert.
    pub(crate) fn data(&self, name: &str) -> &Value {
        &self.json["data"][name]
    }

    /// Whether one of its signatures was made with this secret: computed from the definition of HMAC (RFC 2104), not
    /// by the library that signs.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD
            .decode(secret.strip_prefix("whsec_").expect("the prefix"))
            .expect("base64");
        assert!((24..=64).contains(&key.len()), "{} bytes", key.len());
        let (mut inner, mut outer) = ([0x36_u8; 64], [0x5c_u8; 64]);
        for (at, byte) in key.iter().enumerate() {
            inner[at] ^= byte;
            outer[at] ^= byte;
        }
        let mut signed = inner.to_vec();
        let (id, at) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        signed.extend_from_slice(format!("{id}.{at}.").as_bytes());
        signed.extend_from_slice(&self.body);
        let mut mac = outer.to_vec();
        mac.extend_from_slice(&Sha256::digest(&signed));
        let wanted = format!("v1,{}", STANDARD.encode(Sha256::digest(&mac)));
        self.header("webhook-signature")
            .split(' ')
            .any(|signature| signature == wanted)
    }
}

type Behave = dyn Fn(usize, &Message) -> Reply + Send + Sync;

struct Shared {
    messages: Mutex<Vec<Message>>,
    behave: Mutex<Arc<Behave>>,
}

/// A receiver; it ends with its value.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    port: u16,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        Self::that(|_, _| Reply::Status(204)).await
    }

    /// One that answers as told: for the nth message, from 0.
    pub(crate) async fn that(
        behave: impl Fn(usize, &Message) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            messages: Mutex::default(),
            behave: Mutex::new(Arc::new(behave)),
        });
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let server = tokio::spawn(async move {
            axum_serve(listener, router).await;
        });
        Self {
            shared,
            port,
            server,
        }
    }

    /// Answers otherwise from now on.
    pub(crate) fn now(&self, behave: impl Fn(usize, &Message) -> Reply + Send + Sync + 'static) {
        *self.shared.behave.lock().expect("no panic while held") = Arc::new(behave);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// All that came, in order.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.shared
            .messages
            .lock()
            .expect("no panic while held")
            .clone()
    }

    /// Waits until this many have come.
    #[track_caller]
    pub(crate) fn got(&self, count: usize) -> impl Future<Output = Vec<Message>> {
        let asked_at = std::panic::Location::caller();
        async move {
            let what = format!("{asked_at}: {count} messages come");
            wait_until(&what, Duration::from_secs(40), async || {
                self.messages().len() >= count
            })
            .await;
            self.messages()
        }
    }
}

pub(crate) async fn axum_serve(listener: tokio::net::TcpListener, router: Router) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto;
    use hyper_util::service::TowerToHyperService;
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            // It ends when the other side does.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let message = Message {
        at: Instant::now(),
        headers,
        json: serde_json::from_slice(&body).unwrap_or_default(),
        body,
    };
    let behave = Arc::clone(&shared.behave.lock().expect("no panic while held"));
    let count = {
        let mut messages = shared.messages.lock().expect("no panic while held");
        messages.push(message.clone());
        messages.len() - 1
    };
    let status = |status: u16| StatusCode::from_u16(status).expect("a status");
    match behave(count, &message) {
        Reply::Status(code) => status(code).into_response(),
        Reply::Later(code, wish) => (status(code), [("retry-after", wish)]).into_response(),
        Reply::Hang => std::future::pending().await,
        Reply::Redirect(to) => (status(302), [("location", to)]).into_response(),
        Reply::Text(text) => text.into_response(),
        Reply::Slow(pause) => {
            tokio::time::sleep(pause).await;
            status(204).into_response()
        }
        Reply::Endless => {
            let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
            let chunks = futures_util::stream::repeat_with(move || {
                Ok::<_, std::convert::Infallible>(chunk.clone())
            });
            Body::from_stream(chunks).into_response()
        }
    }
}
