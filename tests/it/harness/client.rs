//! HTTP as a transcript: the call, then the status that it must have.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a test writes json!(…) as the argument, without a sign for what nobody else needs"
)]

use std::ops::Index;
use std::panic::Location;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::openapi;

/// For calls whose status is the question, not the expectation; 0 is no answer at all.
pub(crate) const ANY: [u16; 0] = [];

/// The answer to come. It borrows nothing, so that many can be awaited at once.
pub(crate) type Answer = BoxFuture<'static, Reply>;

/// The statuses that a call may have; none means any.
pub(crate) struct Expected(Vec<u16>);

impl From<u16> for Expected {
    fn from(status: u16) -> Self {
        Self(vec![status])
    }
}

impl<const N: usize> From<[u16; N]> for Expected {
    fn from(statuses: [u16; N]) -> Self {
        Self(statuses.to_vec())
    }
}

/// Speaks to one node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        Self::patient_for(base, Duration::from_secs(15))
    }

    /// One that gives up after this long.
    pub(crate) fn patient_for(base: &str, patience: Duration) -> Self {
        leasehold::tls::choose_cryptography();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(patience)
            .build()
            .expect("a client without TLS");
        Self {
            http,
            base: base.to_owned(),
            key: None,
        }
    }

    /// The same client with this key as its bearer token.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    /// `127.0.0.1:port`, for tests that speak below HTTP.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// The address of a page, for a browser.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        Call {
            request,
            is_ours: true,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    #[track_caller]
    pub(crate) fn put_pool(
        &self,
        pool: &str,
        policy: Value,
        status: impl Into<Expected>,
    ) -> Answer {
        self.call(Method::PUT, &format!("/v1/pools/{pool}"))
            .json(&policy)
            .expect(status)
    }

    #[track_caller]
    pub(crate) fn patch_pool(
        &self,
        pool: &str,
        change: Value,
        status: impl Into<Expected>,
    ) -> Answer {
        self.call(Method::PATCH, &format!("/v1/pools/{pool}"))
            .json(&change)
            .expect(status)
    }

    #[track_caller]
    pub(crate) fn pool(&self, pool: &str, status: impl Into<Expected>) -> Answer {
        self.get(&format!("/v1/pools/{pool}")).expect(status)
    }

    #[track_caller]
    pub(crate) fn acquire(&self, pool: &str, body: Value, status: impl Into<Expected>) -> Answer {
        expect(
            self.post(&format!("/v1/pools/{pool}/leases")).json(&body),
            status.into(),
        )
    }

    /// Acquire with an `Idempotency-Key`.
    #[track_caller]
    pub(crate) fn acquire_once(
        &self,
        pool: &str,
        key: &str,
        body: Value,
        status: impl Into<Expected>,
    ) -> Answer {
        let call = self
            .post(&format!("/v1/pools/{pool}/leases"))
            .header("idempotency-key", key)
            .json(&body);
        expect(call, status.into())
    }

    /// Takes `count` seats, each for a holder of its own: `agent-0`, `agent-1`, …
    pub(crate) async fn fill(&self, pool: &str, count: usize) -> Vec<Reply> {
        let mut leases = Vec::with_capacity(count);
        // As many at once as a node has connections: more would wait in the node, on a busy machine too long.
        for batch in (0..count).collect::<Vec<_>>().chunks(8) {
            let asks = batch
                .iter()
                .map(|i| self.acquire(pool, json!({ "holder": format!("agent-{i}") }), 201));
            leases.extend(join_all(asks).await);
        }
        leases
    }

    #[track_caller]
    pub(crate) fn renew(&self, token: &str, status: impl Into<Expected>) -> Answer {
        self.renew_with(json!({ "token": token }), status)
    }

    /// Renew with more than the token in the body.
    #[track_caller]
    pub(crate) fn renew_with(&self, body: Value, status: impl Into<Expected>) -> Answer {
        expect(self.post("/v1/leases/renew").json(&body), status.into())
    }

    #[track_caller]
    pub(crate) fn renew_many(&self, tokens: &[&str], status: impl Into<Expected>) -> Answer {
        expect(
            self.post("/v1/leases/renew-many")
                .json(&json!({ "tokens": tokens })),
            status.into(),
        )
    }

    #[track_caller]
    pub(crate) fn release(&self, token: &str, status: impl Into<Expected>) -> Answer {
        expect(
            self.post("/v1/leases/release")
                .json(&json!({ "token": token })),
            status.into(),
        )
    }

    #[track_caller]
    pub(crate) fn leave(&self, token: &str, status: impl Into<Expected>) -> Answer {
        expect(
            self.post("/v1/leases/leave")
                .json(&json!({ "token": token })),
            status.into(),
        )
    }

    #[track_caller]
    pub(crate) fn terminate(&self, pool: &str, body: Value, status: impl Into<Expected>) -> Answer {
        self.post(&format!("/v1/pools/{pool}/leases/terminate"))
            .json(&body)
            .expect(status)
    }

    /// Lists leases; `query` is what follows the `?`, and may be empty.
    #[track_caller]
    pub(crate) fn list(&self, pool: &str, query: &str, status: impl Into<Expected>) -> Answer {
        self.get(&format!("/v1/pools/{pool}/leases?{query}"))
            .expect(status)
    }

    #[track_caller]
    pub(crate) fn availability(&self, pool: &str, status: impl Into<Expected>) -> Answer {
        self.get(&format!("/v1/pools/{pool}/availability"))
            .expect(status)
    }
}

/// One request that was not sent yet.
pub(crate) struct Call {
    request: reqwest::RequestBuilder,
    is_ours: bool,
}

impl Call {
    /// Another program answers, whose answers are not in our document.
    pub(crate) fn of_another_program(mut self) -> Self {
        self.is_ours = false;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.request = self
            .request
            .header("content-type", "application/json")
            .body(body.to_string());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request = self.request.body(body.into());
        self
    }

    #[track_caller]
    pub(crate) fn expect(self, status: impl Into<Expected>) -> Answer {
        expect(self, status.into())
    }
}

/// Sends the call and holds the answer to its status, and to what the contract says about every error.
///
/// Not an async function, so that the message can name the line of the test.
#[track_caller]
fn expect(call: Call, expected: Expected) -> Answer {
    let asked_at = Location::caller();
    Box::pin(async move {
        let (http, request) = call.request.build_split();
        let request = request.expect("a well-formed request");
        let (method, url) = (request.method().clone(), request.url().clone());
        let what = format!("{method} {url}");
        // People read on a page what programs read in a problem document.
        let accept = request.headers().get("accept");
        let for_people = accept.is_some_and(|accept| accept == "text/html");
        let response = match http.execute(request).await {
            Ok(response) => response,
            // Where the test asks for the status, 0 stands for no answer.
            Err(error) if expected.0.is_empty() => {
                return Reply {
                    status: 0,
                    headers: HeaderMap::new(),
                    body: Value::Null,
                    text: format!("no answer: {error:?}"),
                };
            }
            Err(error) => panic!("{asked_at}: {what}: no answer: {error:?}"),
        };
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response
            .text()
            .await
            .unwrap_or_else(|error| panic!("{asked_at}: {what}: {status}: {error}"));
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let reply = Reply {
            status,
            headers,
            body,
            text,
        };
        let shown = format!("{asked_at}: {what} answered {status}: {}", reply.text);
        assert!(
            expected.0.is_empty() || expected.0.contains(&status),
            "{shown}\nexpected: {:?}",
            expected.0
        );
        if status >= 400 && !for_people {
            reply.is_a_problem(&shown);
        }
        let violation = call
            .is_ours
            .then(|| openapi::violation(&method, url.path(), status, &reply.headers, &reply.body))
            .flatten();
        assert!(
            violation.is_none(),
            "{shown}\nOpenAPI: {}",
            violation.unwrap_or_default()
        );
        reply
    })
}

/// An answer. `reply["lease"]["id"]` reads its body.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Reply {
    /// The latest token of the lease.
    pub(crate) fn token(&self) -> String {
        self["token"]
            .as_str()
            .unwrap_or_else(|| panic!("no token in {}", self.text))
            .to_owned()
    }

    /// The id of the lease.
    pub(crate) fn id(&self) -> String {
        self["lease"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no lease id in {}", self.text))
            .to_owned()
    }

    /// A number of milliseconds, a count or a fence, by its JSON pointer.
    #[track_caller]
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        match self.body.pointer(pointer).and_then(Value::as_u64) {
            Some(number) => number,
            None => panic!("{pointer} is not a number in {}", self.text),
        }
    }

    /// An instant, in milliseconds since the epoch, by its JSON pointer. RFC 3339 in UTC, with milliseconds.
    #[track_caller]
    pub(crate) fn instant(&self, pointer: &str) -> i64 {
        let text = self
            .body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default();
        match chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.3fZ") {
            Ok(at) if text.len() == 24 => at.and_utc().timestamp_millis(),
            _ => panic!("{pointer} is not an instant in {}", self.text),
        }
    }

    /// The list of this name.
    #[track_caller]
    pub(crate) fn list(&self, name: &str) -> &[Value] {
        match self[name].as_array() {
            Some(list) => list,
            None => panic!("{name} is not a list in {}", self.text),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// RFC 9457, the stable code, and `Retry-After` where the contract promises it.
    fn is_a_problem(&self, shown: &str) {
        let kind = self.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("application/problem+json"),
            "{shown}\ncontent-type: {kind}"
        );
        for field in ["type", "title", "detail", "code"] {
            let filled = self[field].as_str().is_some_and(|text| !text.is_empty());
            assert!(filled, "{shown}\nno {field}");
        }
        assert_eq!(
            self["status"], self.status,
            "{shown}\nstatus in the body differs"
        );
        if matches!(self.status, 429 | 503) || self["code"] == "pool_full" {
            let seconds = self
                .header("retry-after")
                .and_then(|text| text.parse::<u64>().ok());
            assert!(
                seconds.is_some_and(|seconds| seconds >= 1),
                "{shown}\nRetry-After: {seconds:?}"
            );
        }
        if self.status == 503 {
            let outcome = self["outcome"].as_str();
            assert!(
                matches!(outcome, Some("none" | "unknown")),
                "{shown}\noutcome: {outcome:?}"
            );
        }
    }
}

impl Index<&str> for Reply {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        &self.body[key]
    }
}
