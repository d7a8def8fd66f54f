//! A script is all or nothing: whichever of its calls fails, nothing has happened, and the same request again gets the answer and
//! leaves the data that it would have without the failure.
//!
//! Nodes do all that they can do while each call of a script is kept with what was in Redis. Then every call of Redis in every
//! script fails once in each of these situations. A place in `lua/` that calls Redis and was in none of them fails the test, so a
//! new script or a new branch has to be added to what the nodes do here.

mod capture;
mod explore;
mod state;

use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use self::capture::Capture;
use self::explore::{calls, explore, files};
use crate::harness::{
    ANY, Behaviour, Launch, Node, Receiver, Redis, Reply, let_pass, raw, wait_until,
};

/// Places that no situation here comes to, and why.
const NOT_REACHED: [(&str, &str, &str); 9] = [
    (
        "prelude",
        "'pause_to', int(pause_to), 'tick', int(now)",
        "a silence of more than a second comes by on a busy machine only, and no lease is touched by it",
    ),
    (
        "prelude",
        "'shift', int(shift)",
        "the clock of Redis went back, and every run would be at another instant; a lease is not touched by it",
    ),
    (
        "tick",
        "'silences')",
        "after a silence, at a clock that stood still in it; reads only",
    ),
    (
        "tick",
        "'generation', int(generation)",
        "the clock of Redis was set back by years; it is the only write",
    ),
    (
        "prelude",
        "redis.pcall('XADD'",
        "the clock of Redis went back; where it fails the other way is gone",
    ),
    (
        "put_pool",
        "redis.call('Z",
        "another way to compare names; reads only, and the write is that of any rule",
    ),
    (
        "open",
        "'lost', '1')",
        "two nodes open a bucket at the same instant; it is the only write",
    ),
    (
        "parts/queue",
        "redis.call('ZLEXCOUNT', line, '[' .. letter",
        "for a caller who is for one tenant, behind the same writes as for others; reads only",
    ),
    (
        "rollup_state",
        "redis.call('HGET', seats, 'all')",
        "reads only",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_nothing_has_happened_and_the_same_request_again_gets_its_answer() {
    let redis = Redis::start().await;
    let capture = Capture::start(redis.address(), &redis.direct_url()).await;
    let mut url = reqwest::Url::parse(&redis.direct_url()).expect("a URL");
    url.set_port(Some(capture.port())).expect("it has a port");
    let launch = Launch::on(url.as_str())
        .set("webhook_http", "on")
        .set("webhook_private_networks", "on")
        .set("webhook_retry_ms", "100")
        .set("webhook_attempts", "2")
        .set("redis_timeout_ms", "800");
    let node = launch.start().await;
    let scene = Scene {
        redis: &redis,
        url: url.to_string(),
        node,
    };
    scene.run().await;
    drop(scene);

    let situations = capture.take();
    redis.empty().await;
    let client = redis::Client::open(redis.direct_url()).expect("a URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis runs");
    connection.set_response_timeout(Duration::from_secs(30));
    let found = explore(&situations, &mut connection).await;
    for (script, (situations, failures)) in &found.scripts {
        eprintln!("{script}: {failures} failures in {situations} situations");
    }

    let mut wrong = found.violations;
    for file in files() {
        for (at, _) in calls(&file.text) {
            let line = file.text[..at].matches('\n').count() + 1;
            let text = file.text.lines().nth(line - 1).unwrap_or_default().trim();
            let excused = NOT_REACHED
                .iter()
                .any(|(name, call, _)| *name == file.name && text.contains(call));
            if !excused && !found.sites.contains(&(file.name.clone(), line)) {
                wrong.push(format!("{}.lua:{line} was not reached: {text}", file.name));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(
        wrong.is_empty(),
        "{} faults:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The token of a grant; empty without a grant.
fn token(reply: &Reply) -> String {
    reply["token"].as_str().unwrap_or_default().to_owned()
}

/// The id of the lease of a grant; empty without a grant.
fn id(reply: &Reply) -> String {
    reply["lease"]["id"].as_str().unwrap_or_default().to_owned()
}

/// All that nodes do.
struct Scene<'a> {
    redis: &'a Redis,
    /// Where the node has its Redis.
    url: String,
    node: Node,
}

impl Scene<'_> {
    async fn run(&self) {
        let receiver = self.webhooks().await;
        self.plain().await;
        self.together().await;
        self.crowded().await;
        self.blocks().await;
        self.queue().await;
        self.hand_over().await;
        self.called().await;
        self.shared().await;
        self.reserves().await;
        self.overdraft().await;
        self.named().await;
        self.evict().await;
        self.unused().await;
        self.policies().await;
        self.keys().await;
        self.alerts(&receiver).await;
        self.history().await;
        self.losses().await;
    }

    /// The one key of a pool with this ending.
    async fn key(&self, pool: &str, name: &str) -> String {
        let anywhere = self.redis.keys(&format!("lh1:{{*}}:{pool}:config")).await;
        let config = anywhere
            .first()
            .unwrap_or_else(|| panic!("there is no {pool}"));
        config.replace(":config", &format!(":{name}"))
    }

    async fn clock(&self, pool: &str) -> String {
        self.key(pool, "")
            .await
            .replace(&format!(":{pool}:"), ":clock")
    }

    async fn query(&self, words: &[&str]) {
        let _: redis::Value = self.redis.query(words).await;
    }

    /// Lets leases of a pool end now, all or one.
    async fn expire(&self, pool: &str, id: Option<&str>) {
        let leases = self.key(pool, "leases").await;
        let ids: Vec<String> = match id {
            Some(id) => vec![id.to_owned()],
            None => self.redis.query(&["ZRANGE", &leases, "0", "-1"]).await,
        };
        if ids.is_empty() {
            return;
        }
        let time: (i64, i64) = self.redis.query(&["TIME"]).await;
        let before = (time.0 * 1_000 - 5).to_string();
        let mut words = vec!["ZADD", &leases, "XX"];
        for id in &ids {
            words.extend([before.as_str(), id]);
        }
        self.query(&words).await;
    }

    /// Waits until what has ended is written down.
    async fn swept(&self, pool: &str) {
        let due = self.clock(pool).await.replace(":clock", ":due");
        self.query(&["ZADD", &due, "1000", pool]).await;
        for set in ["expired", "evicted"] {
            let key = self.key(pool, set).await;
            wait_until(
                "ends are written down",
                Duration::from_secs(10),
                async || self.redis.query::<i64>(&["ZCARD", &key]).await == 0,
            )
            .await;
        }
    }

    async fn acquire(&self, pool: &str, body: Value) -> Reply {
        self.node.acquire(pool, body, ANY).await
    }

    /// One that is there, one that is denied, and one more than there is room for.
    async fn acquire_many(&self, pool: &str) {
        let leases = json!({"leases": [
            {"holder": "ann", "key": "tab"}, {"holder": "kim", "key": "k"}, {"holder": "lea"}, {"holder": "mia"}]});
        let path = format!("/v1/pools/{pool}/leases/acquire-many");
        self.node.post(&path).json(&leases).expect(ANY).await;
    }

    /// Requests that share calls: some give a seat back, some get one and some do not, and a crowd goes on asking.
    async fn together(&self) {
        let policy = |capacity: u32| json!({"capacity": capacity, "ttl_ms": 60_000});
        self.put("storm", policy(2)).await;
        let many = async |leases: Value| {
            let call = self.node.post("/v1/pools/storm/leases/acquire-many");
            call.json(&json!({"leases": leases})).expect(ANY).await
        };
        let holders = json!([{"holder": "ann", "label": "Desk"}, {"holder": "bob"}, {"holder": "cid"}, {"holder": "cid"}, {"holder": "dan"}]);
        let first = many(holders.clone()).await;
        many(holders).await;
        // A holder that was denied before gets a seat.
        self.put("storm", policy(8)).await;
        many(json!([{"holder": "cid"}, {"holder": "dan", "key": "k"}, {"holder": "cid"}])).await;
        let tokens = first.list("results")[..2].iter();
        let tokens: Vec<&str> = tokens
            .filter_map(|result| result["token"].as_str())
            .collect();
        let alone = many(json!([{"holder": "fay"}])).await;
        let alone = alone.list("results")[0]["token"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.node.release(&alone, ANY).await;
        for _ in 0..3 {
            let back = tokens
                .iter()
                .chain(&tokens)
                .map(|token| self.node.release(token, ANY));
            let asked = (0..6).map(|_| self.node.acquire("storm", json!({"holder": "eve"}), ANY));
            join(join_all(asked), join_all(back)).await;
        }
    }

    /// Seats that are kept for tenants, by one policy and then by another.
    async fn reserves(&self) {
        let policy = |tenants: Value| json!({"capacity": 4, "ttl_ms": 60_000, "tenants": tenants});
        let tenants = json!({"a": {"reserved": 1}, "b": {"reserved": 2}});
        self.put("kept", policy(tenants)).await;
        let lease = self.acquire("kept", json!({"tenant": "a"})).await;
        self.acquire("kept", json!({"tenant": "c"})).await;
        self.acquire("kept", json!({"tenant": "d"})).await;
        let tenants = json!({"a": {"reserved": 2}, "c": {"reserved": 1}});
        self.put("kept", policy(tenants)).await;
        self.acquire("kept", json!({"tenant": "a"})).await;
        // A script of a node that keeps no sums.
        let clock = self.clock("kept").await;
        self.query(&["HINCRBY", &clock, "seq", "1"]).await;
        self.node.release(&token(&lease), ANY).await;
        self.acquire("kept", json!({"tenant": "d"})).await;
    }

    /// Notices for a holder and for another, and an end when it is idle.
    async fn notices(&self, ann: &Reply, bob: &Reply) {
        let node = &self.node;
        let message = json!({"message": "Hello", "pools": ["crm"]});
        for holder in ["ann", "bob"] {
            let path = format!("/v1/holders/{holder}/notice");
            node.post(&path).json(&message).expect(ANY).await;
        }
        // Two more wait behind the first.
        for _ in 0..2 {
            let path = "/v1/holders/bob/notice";
            node.post(path).json(&message).expect(ANY).await;
        }
        node.renew(&token(ann), ANY).await;
        for _ in 0..3 {
            node.renew(&token(bob), ANY).await;
        }
        node.post("/v1/holders/ann/notice")
            .json(&message)
            .expect(ANY)
            .await;
        let when = json!({"when": "idle", "pools": ["crm"]});
        node.post("/v1/holders/ann/terminate")
            .json(&when)
            .expect(ANY)
            .await;
        node.renew(&token(ann), ANY).await;
        let policy =
            json!({"capacity": 2, "ttl_ms": 60_000, "linger_ms": 500, "resume_window_ms": 60_000});
        self.put("crm", policy).await;
    }

    /// Asks whether a lease lives.
    async fn check(&self, of: &Reply) {
        let lease = &of["lease"];
        let body = json!({"id": lease["id"], "pool": lease["pool"], "fence": lease["fence"]});
        self.node
            .post("/v1/leases/check")
            .json(&body)
            .expect(ANY)
            .await;
    }

    /// A connection that waits for its turn with a ticket.
    async fn ask_and_wait(&self, pool: &str, ticket: &Value) -> TcpStream {
        let mut stream = TcpStream::connect(self.node.address())
            .await
            .expect("it listens");
        let body = json!({"ticket": ticket, "wait_ms": 20_000}).to_string();
        let request = raw::request("POST", &format!("/v1/pools/{pool}/leases"), "", &body);
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        stream
    }

    async fn put(&self, pool: &str, policy: Value) {
        self.node.put_pool(pool, policy, ANY).await;
    }

    async fn plain(&self) {
        let node = &self.node;
        self.put(
            "crm",
            json!({"capacity": 2, "ttl_ms": 60_000, "linger_ms": 500, "resume_window_ms": 60_000}),
        )
        .await;
        let ann = node
            .acquire_once(
                "crm",
                "tab",
                json!({"holder": "ann", "label": "Desk", "activities": ["a"]}),
                ANY,
            )
            .await;
        node.acquire_once("crm", "tab", json!({"holder": "ann"}), ANY)
            .await;
        let bob = self
            .acquire("crm", json!({"holder": "bob", "tenant": "acme"}))
            .await;
        for _ in 0..2 {
            self.acquire("crm", json!({"holder": "cid"})).await;
        }
        self.acquire_many("crm").await;
        node.renew(&token(&ann), ANY).await;
        node.renew_with(json!({"token": &token(&ann), "label": "Front"}), ANY)
            .await;
        node.renew_many(&[&token(&ann), &token(&bob)], ANY).await;
        node.leave(&token(&bob), ANY).await;
        node.list("crm", "", ANY).await;
        let page = node.list("crm", "limit=1", ANY).await;
        let cursor = page["next_cursor"].as_str().unwrap_or_default();
        let first = page["items"][0]["id"].as_str().unwrap_or_default();
        node.list("crm", &format!("limit=1&cursor={cursor}"), ANY)
            .await;
        // It has beaten since.
        let leases = self.key("crm", "leases").await;
        self.query(&["ZINCRBY", &leases, "5", first]).await;
        node.list("crm", &format!("limit=1&cursor={cursor}"), ANY)
            .await;
        node.renew(&token(&bob), ANY).await;
        node.get("/v1/pools/crm").expect(ANY).await;

        // A record that is gone, of a lease that is not.
        let records = self.key("crm", "records").await;
        self.query(&["HDEL", &records, &id(&ann)]).await;
        node.renew_with(json!({"token": &token(&ann), "label": "Back"}), ANY)
            .await;

        // Ends that nobody has written down yet.
        self.notices(&ann, &bob).await;
        self.check(&ann).await;
        self.expire("crm", Some(&id(&ann))).await;
        self.check(&ann).await;
        node.renew(&token(&ann), ANY).await;
        self.expire("crm", Some(&id(&ann))).await;
        node.release(&token(&ann), ANY).await;
        node.release(&token(&ann), ANY).await;
        self.expire("crm", Some(&id(&bob))).await;
        node.terminate("crm", json!({"ids": [id(&bob)], "reason": "Over"}), ANY)
            .await;
        node.terminate("crm", json!({"ids": [id(&bob)], "reason": "Over"}), ANY)
            .await;
        node.renew(&token(&bob), ANY).await;

        // And those that somebody has.
        let cid = self
            .acquire("crm", json!({"holder": "cid", "label": "Lab"}))
            .await;
        let dan = self
            .acquire("crm", json!({"holder": "dan", "label": "Lab"}))
            .await;
        let eve = self.acquire("crm", json!({"holder": "eve"})).await;
        drop(eve);
        self.expire("crm", None).await;
        // A newcomer ends what is due.
        let fay = self.acquire("crm", json!({"holder": "fay"})).await;
        self.acquire_many("crm").await;
        self.swept("crm").await;
        node.renew(&token(&cid), ANY).await;
        node.renew(&token(&dan), ANY).await;
        node.release(&token(&dan), ANY).await;
        self.expire("crm", None).await;
        self.swept("crm").await;
        node.terminate("crm", json!({"ids": [id(&fay), id(&cid)]}), ANY)
            .await;

        let ann = self.acquire("crm", json!({"holder": "ann"})).await;
        node.terminate(
            "crm",
            json!({"all": true, "block_ms": 60_000, "reason": "Pause"}),
            ANY,
        )
        .await;
        node.terminate("crm", json!({"holder": "zoe", "block_ms": 60_000}), ANY)
            .await;
        self.acquire("crm", json!({"holder": "ann"})).await;
        node.renew(&token(&ann), ANY).await;
        self.check(&ann).await;

        // A holder that was blocked after its lease had ended by time.
        let gil = self.acquire("crm", json!({"holder": "gil"})).await;
        self.expire("crm", Some(&id(&gil))).await;
        self.swept("crm").await;
        let blocks = self.key("crm", "blocks").await;
        self.query(&["ZADD", &blocks, "9999999999999", "gil"]).await;
        node.renew(&token(&gil), ANY).await;
        let notes = self.key("crm", "block_notes").await;
        self.query(&["ZADD", &blocks, "1000", "over"]).await;
        self.query(&["HSET", &notes, "over", "1000\u{1}1\u{1}x\u{1}y"])
            .await;
        self.acquire("crm", json!({"holder": "ida"})).await;
        self.expire("crm", None).await;
        self.swept("crm").await;
        // Whoever made an index for rules to come has given up.
        let config = self.key("crm", "config").await;
        self.query(&["HSET", &config, "indexed", "1", "indexing", "1000"])
            .await;
        self.acquire("crm", json!({"holder": "ida"})).await;
        self.expire("crm", None).await;
        self.swept("crm").await;

        // A silence, for the reports.
        let clock = self.clock("crm").await;
        let time: (i64, i64) = self.redis.query(&["TIME"]).await;
        let before = (time.0 * 1_000 - 20_000).to_string();
        self.query(&["HSET", &clock, "tick", &before]).await;
        self.acquire("crm", json!({"holder": "hal"})).await;
        node.get("/v1/pools/crm/usage").expect(ANY).await;
    }

    /// More ends than one call takes, and more denials than are remembered.
    async fn crowded(&self) {
        let node = &self.node;
        self.put("large", json!({"capacity": 80, "ttl_ms": 60_000}))
            .await;
        let leases = node.fill("large", 80).await;
        let tokens: Vec<String> = leases.iter().map(token).collect();
        self.expire("large", None).await;
        let key = self.key("large", "leases").await;
        self.query(&["ZADD", &key, "9999999999999", &id(&leases[79])])
            .await;
        node.renew_many(&[&tokens[79], &tokens[0]], ANY).await;
        self.expire("large", None).await;
        // More is due than a resume ends, and this one came last.
        node.terminate("large", json!({"all": true}), ANY).await;
        let leases = node.fill("large", 80).await;
        self.expire("large", None).await;
        let time: (i64, i64) = self.redis.query(&["TIME"]).await;
        let before = (time.0 * 1_000 - 1).to_string();
        self.query(&["ZADD", &key, &before, &id(&leases[79])]).await;
        node.renew(&token(&leases[79]), ANY).await;
        self.expire("large", None).await;
        self.acquire("large", json!({"holder": "ann"})).await;
        self.swept("large").await;

        self.put("small", json!({"capacity": 0})).await;
        self.acquire("small", json!({"holder": "ann"})).await;
        let denied = self.key("small", "denied").await;
        let fill = "for i = 1, 10000 do redis.call('ZADD', KEYS[1], 'NX', ARGV[1], 'h' .. i) end";
        let time: (i64, i64) = self.redis.query(&["TIME"]).await;
        let now = (time.0 * 1_000).to_string();
        self.query(&["EVAL", fill, "1", &denied, &now]).await;
        self.acquire("small", json!({"holder": "bob"})).await;
        self.put("ruled", json!({"capacity": 0, "tenant_max": 1}))
            .await;
        let denied_by_rules = self.key("ruled", "denied").await;
        self.query(&["EVAL", fill, "1", &denied_by_rules, &now])
            .await;
        self.acquire("ruled", json!({"holder": "bob"})).await;
        self.query(&["DEL", &denied_by_rules]).await;
        // A run of denials that is over.
        self.query(&["DEL", &denied]).await;
        self.query(&["ZADD", &denied, "1000", "cid"]).await;
        let due = self.clock("small").await.replace(":clock", ":due");
        self.query(&["ZADD", &due, "1000", "small"]).await;
        wait_until("it is counted", Duration::from_secs(10), async || {
            self.redis.query::<i64>(&["ZCARD", &denied]).await == 0
        })
        .await;
    }

    async fn blocks(&self) {
        self.put("desk", json!({"capacity": 1, "ttl_ms": 60_000}))
            .await;
        let put = async |pool: &str, holder: &str, body: Value| {
            let path = format!("/v1/pools/{pool}/blocks/{holder}");
            self.node
                .call(Method::PUT, &path)
                .json(&body)
                .expect(ANY)
                .await;
        };
        let list = async |query: &str| {
            let path = format!("/v1/pools/desk/blocks?{query}");
            self.node.get(&path).expect(ANY).await
        };
        put("desk", "ann", json!({"for_ms": 60_000})).await;
        put("desk", "ann", json!({"for_ms": 90_000, "reason": "Pause"})).await;
        put("desk", "bob", json!({"for_ms": 120_000})).await;
        put("desk", "cid", json!({"until": "2001-01-01T00:00:00Z"})).await;
        put("nowhere", "ann", json!({"for_ms": 60_000})).await;
        let page = list("limit=1").await;
        let next = format!(
            "limit=1&cursor={}",
            page["next_cursor"].as_str().unwrap_or_default()
        );
        list(&next).await;
        // The last one of the page was changed meanwhile.
        put("desk", "ann", json!({"for_ms": 150_000})).await;
        list(&next).await;
        for holder in ["ann", "zoe"] {
            let path = format!("/v1/pools/desk/blocks/{holder}");
            self.node.call(Method::DELETE, &path).expect(ANY).await;
        }
    }

    async fn queue(&self) {
        let node = &self.node;
        self.put(
            "queue",
            json!({"capacity": 1, "ttl_ms": 60_000, "queue": {"max_waiting": 2}}),
        )
        .await;
        let wait = |holder: &str| json!({"holder": holder, "label": "Desk", "wait": true});
        let ann = self.acquire("queue", json!({"holder": "ann"})).await;
        let bob = node.acquire_once("queue", "b", wait("bob"), ANY).await;
        node.acquire_once("queue", "b", wait("bob"), ANY).await;
        let cid = self.acquire("queue", wait("cid")).await;
        self.acquire("queue", wait("dan")).await;
        self.acquire("queue", json!({"holder": "eve"})).await;
        let ticket = |of: &Reply| json!({"ticket": of["ticket"]});
        self.acquire("queue", ticket(&bob)).await;
        node.release(&token(&ann), ANY).await;
        self.acquire("queue", ticket(&cid)).await;
        let bob = self.acquire("queue", ticket(&bob)).await;
        node.get("/v1/pools/queue").expect(ANY).await;
        // Who falls silent.
        let waiting = self.key("queue", "waiting").await;
        let silent = cid["ticket"].as_str().unwrap_or_default();
        self.query(&["ZADD", &waiting, "1000", silent]).await;
        self.acquire("queue", json!({"holder": "fay"})).await;
        self.acquire("queue", ticket(&cid)).await;
        let gil = self.acquire("queue", wait("gil")).await;
        node.terminate("queue", json!({"ids": [id(&bob)]}), ANY)
            .await;
        node.terminate("queue", json!({"holder": "gil", "block_ms": 60_000}), ANY)
            .await;
        self.acquire("queue", ticket(&gil)).await;
        let hal = self.acquire("queue", wait("hal")).await;
        self.acquire("queue", wait("ida")).await;
        self.expire("queue", None).await;
        node.get("/v1/pools/queue/queue").expect(ANY).await;
        let leave = |of: &Reply| {
            node.post("/v1/pools/queue/queue/leave")
                .json(&json!({"ticket": of["ticket"]}))
                .expect(ANY)
        };
        let jay = self.acquire("queue", wait("jay")).await;
        leave(&jay).await;
        leave(&jay).await;
        leave(&hal).await;
        node.terminate("queue", json!({"all": true}), ANY).await;
        // Connections that break: while one waits, and a moment after its seat came free.
        let key = self.key("queue", "events").await;
        let waiting = self.key("queue", "waiting").await;
        for pause in 0..40 {
            let held = self.acquire("queue", json!({"holder": "kim"})).await;
            let place = self.acquire("queue", wait(&format!("l{pause}"))).await;
            let open = self.ask_and_wait("queue", &place["ticket"]).await;
            let_pass(40).await;
            let released = tokio::spawn(node.release(&token(&held), ANY));
            let_pass(pause % 8).await;
            drop(open);
            drop(released.await);
            let_pass(60).await;
            let told: String = self
                .redis
                .query(&[
                    "EVAL",
                    "return cjson.encode(redis.call('XRANGE', KEYS[1], '-', '+'))",
                    "1",
                    &key,
                ])
                .await;
            node.terminate("queue", json!({"all": true}), ANY).await;
            let everybody: Vec<String> = self.redis.query(&["ZRANGE", &waiting, "0", "-1"]).await;
            for ticket in everybody {
                self.query(&["ZADD", &waiting, "XX", "1000", &ticket]).await;
            }
            if told.contains("\"returned\"") {
                break;
            }
        }
        self.acquire("queue", json!({"holder": "moe"})).await;
        self.acquire("queue", json!({"holder": "nan"})).await;
        let ona = self.acquire("queue", wait("ona")).await;
        let open = self.ask_and_wait("queue", &ona["ticket"]).await;
        let_pass(40).await;
        drop(open);
        let_pass(100).await;
        self.acquire("queue", ticket(&ona)).await;
        node.terminate("queue", json!({"all": true}), ANY).await;
        self.acquire("queue", ticket(&ona)).await;
        self.acquire("queue", ticket(&ona)).await;
        leave(&ona).await;
        node.patch_pool("queue", json!({"capacity": 2}), ANY).await;
        self.swept("queue").await;
    }

    /// Who is called in a pool with a seat that is kept for a tenant, and another one that may have one at most; and who is told
    /// while its request is held open.
    async fn hand_over(&self) {
        let node = &self.node;
        let policy = |answer_ms: u64, more: &[(&str, Value)]| {
            let mut policy = json!({"capacity": 2, "ttl_ms": 60_000, "queue": {"max_waiting": 9}, "hand_over": {"answer_ms": answer_ms}});
            for (name, value) in more {
                policy[*name] = value.clone();
            }
            policy
        };
        let ask = |of: &Reply| {
            node.post("/v1/pools/given/queue/request")
                .json(&json!({"ticket": of["ticket"]}))
                .expect(ANY)
        };
        let give = |of: &Reply| {
            node.post("/v1/leases/yield")
                .json(&json!({"token": token(of)}))
                .expect(ANY)
        };
        let of = |holder: &str, tenant: &str, wait: bool| json!({"holder": holder, "tenant": tenant, "wait": wait});
        let reserves = [("tenants", json!({"acme": {"reserved": 1}}))];
        self.put("given", policy(1_000, &reserves)).await;
        let ann = self.acquire("given", of("ann", "acme", false)).await;
        let bob = self.acquire("given", of("bob", "globex", false)).await;
        let cid = self.acquire("given", of("cid", "globex", true)).await;
        ask(&cid).await;
        ask(&cid).await;
        node.renew(&token(&ann), ANY).await;
        node.get("/v1/pools/given/queue").expect(ANY).await;
        // Nobody could have it, and then somebody can.
        give(&ann).await;
        give(&bob).await;
        give(&bob).await;
        let cid = self
            .acquire("given", json!({"ticket": cid["ticket"]}))
            .await;
        // A request whose time is over goes with the next one.
        let dan = self.acquire("given", of("dan", "globex", true)).await;
        ask(&dan).await;
        let_pass(1_100).await;
        self.acquire("given", json!({"ticket": dan["ticket"]}))
            .await;
        ask(&dan).await;
        node.post("/v1/pools/given/queue/leave")
            .json(&json!({"ticket": dan["ticket"]}))
            .expect(ANY)
            .await;
        give(&cid).await;
        self.swept("given").await;
        give(&bob).await;
    }

    async fn called(&self) {
        let node = &self.node;
        let policy = |capacity: u32| {
            json!({"capacity": capacity, "ttl_ms": 60_000, "queue": {"max_waiting": 9},
                "tenants": {"acme": {"reserved": 1}, "beta": {"max": 1}}})
        };
        self.put("called", policy(2)).await;
        let ticket = |of: &Reply| json!({"ticket": of["ticket"]});
        let wait =
            |holder: &str, tenant: &str| json!({"holder": holder, "tenant": tenant, "wait": true});
        let ann = self.acquire("called", json!({"holder": "ann"})).await;
        let bob = self
            .acquire("called", json!({"holder": "bob", "tenant": "acme"}))
            .await;
        let first = self.acquire("called", wait("cid", "beta")).await;
        self.acquire("called", wait("dan", "beta")).await;
        let acme = self.acquire("called", wait("eve", "acme")).await;
        let gone = self.acquire("called", wait("fay", "acme")).await;
        node.release(&token(&bob), ANY).await;
        self.acquire("called", json!({"holder": "gil", "tenant": "acme"}))
            .await;
        // So many were counted that older ones fade.
        let seats = self.key("called", "seats").await;
        self.query(&["HSET", &seats, "waits", "300", "wait:9", "300"])
            .await;
        let eve = self.acquire("called", ticket(&acme)).await;
        node.release(&token(&ann), ANY).await;
        self.put("called", policy(3)).await;
        self.acquire("called", ticket(&first)).await;
        // One that is called and does not ask.
        let called = self.key("called", "called").await;
        let lapse = async |at: &str| {
            let entries: Vec<String> = self.redis.query(&["ZRANGE", &called, "0", "-1"]).await;
            for entry in entries {
                self.query(&["ZADD", &called, "XX", at, &entry]).await;
            }
        };
        node.release(&token(&eve), ANY).await;
        lapse("1000").await;
        self.acquire("called", json!({"holder": "hal"})).await;
        self.acquire("called", ticket(&gone)).await;
        node.terminate("called", json!({"all": true}), ANY).await;

        // One that is called while its request is held open, and goes away before it has asked.
        self.put("called", policy(1)).await;
        let held = self
            .acquire("called", json!({"holder": "ann", "tenant": "acme"}))
            .await;
        let next = self.acquire("called", wait("ida", "acme")).await;
        let open = self.ask_and_wait("called", &next["ticket"]).await;
        let line = self.key("called", "line").await;
        let queue = self.key("called", "queue").await;
        wait_until("it is in line", Duration::from_secs(5), async || {
            let entries: Vec<String> = self.redis.query(&["ZRANGE", &line, "0", "-1"]).await;
            entries.iter().any(|entry| entry.starts_with("wacme"))
        })
        .await;
        let_pass(60).await;
        let entries: Vec<String> = self.redis.query(&["ZRANGE", &line, "0", "-1"]).await;
        for entry in entries.iter().filter(|entry| entry.starts_with("wacme")) {
            let (_, arrival) = entry.split_once('\u{1}').expect("tenant and arrival");
            let by_arrival = ["ZRANGE", &queue, &arrival[1..], &arrival[1..], "BYSCORE"];
            let tickets: Vec<String> = self.redis.query(&by_arrival).await;
            let entry = format!("{}\u{1}{}", &entry[1..], tickets[0]);
            self.query(&["ZADD", &called, "99999999999999", &entry])
                .await;
        }
        drop(open);
        wait_until("that is noted", Duration::from_secs(5), async || {
            let scores: Vec<String> = self
                .redis
                .query(&["ZRANGE", &called, "0", "-1", "WITHSCORES"])
                .await;
            scores.get(1).is_none_or(|score| score != "99999999999999")
        })
        .await;
        lapse("1000").await;
        self.acquire("called", json!({"holder": "jay"})).await;
        node.release(&token(&held), ANY).await;

        // Those who can have another seat than one that comes free, or none.
        self.put(
            "told",
            json!({"capacity": 1, "ttl_ms": 60_000, "seat_per": "holder", "queue": {"max_waiting": 9}}),
        )
        .await;
        self.acquire("told", json!({"holder": "ann"})).await;
        let bob = self
            .acquire("told", json!({"holder": "bob", "wait": true}))
            .await;
        let block = json!({"for_ms": 60_000});
        node.call(Method::PUT, "/v1/pools/told/blocks/cid")
            .json(&block)
            .expect(ANY)
            .await;
        let open = self.ask_and_wait("told", &bob["ticket"]).await;
        let_pass(100).await;
        self.put("told", json!({"capacity": 2, "ttl_ms": 60_000, "seat_per": "holder", "queue": {"max_waiting": 9}}))
            .await;
        let_pass(100).await;
        drop(open);
        node.terminate("told", json!({"all": true}), ANY).await;
        self.put(
            "spill",
            json!({"capacity": 1, "ttl_ms": 60_000, "queue": {"max_waiting": 9},
                "named": {"seats": 1, "spill_to_concurrent": true}}),
        )
        .await;
        for holder in ["ann", "bob"] {
            self.acquire("spill", json!({"holder": holder})).await;
        }
        let cid = self
            .acquire("spill", json!({"holder": "cid", "wait": true}))
            .await;
        let open = self.ask_and_wait("spill", &cid["ticket"]).await;
        let_pass(100).await;
        drop(open);
        self.put("spill", json!({"capacity": 1, "ttl_ms": 60_000}))
            .await;
    }

    async fn shared(&self) {
        let node = &self.node;
        // Leases from before there was a rule that counts them.
        self.put(
            "shared",
            json!({"capacity": 3, "ttl_ms": 60_000, "resume_window_ms": 60_000}),
        )
        .await;
        self.acquire("shared", json!({"holder": "ann", "tenant": "acme"}))
            .await;
        self.acquire("shared", json!({"holder": "bob"})).await;
        self.put(
            "shared",
            json!({"capacity": 3, "ttl_ms": 60_000, "resume_window_ms": 60_000,
                "tenants": {"acme": {"max": 1}, "other": {"reserved": 1}}, "tenant_max": 1}),
        )
        .await;
        for _ in 0..3 {
            self.acquire("shared", json!({"holder": "ann", "tenant": "acme"}))
                .await;
        }
        let cid = self
            .acquire("shared", json!({"holder": "cid", "tenant": "other"}))
            .await;
        self.acquire("shared", json!({"holder": "dan"})).await;
        self.put("shared", json!({"capacity": 3, "seat_per": "holder"}))
            .await;
        node.terminate("shared", json!({"all": true}), ANY).await;
        node.renew(&token(&cid), ANY).await;
        self.put(
            "shared",
            json!({"capacity": 1, "ttl_ms": 60_000, "resume_window_ms": 60_000, "seat_per": "holder", "queue": {"max_waiting": 3},
                "tenants": {"acme": {"max": 1}}}),
        )
        .await;
        let ann = self
            .acquire("shared", json!({"holder": "ann", "tenant": "acme"}))
            .await;
        let twice = self.acquire("shared", json!({"holder": "ann"})).await;
        self.acquire("shared", json!({"holder": "bob", "wait": true}))
            .await;
        self.acquire("shared", json!({"holder": "cid", "tenant": "acme"}))
            .await;
        node.get("/v1/pools/shared").expect(ANY).await;
        node.release(&token(&twice), ANY).await;
        self.expire("shared", Some(&id(&ann))).await;
        node.renew(&token(&ann), ANY).await;
        // An index that is not ours any more.
        let who = self.key("shared", "who").await;
        self.query(&[
            "HSET",
            &who,
            "x",
            "c\u{1}1\u{1}\u{1}x",
            "y",
            "c\u{1}1\u{1}\u{1}y",
        ])
        .await;
        self.acquire("shared", json!({"holder": "eve"})).await;
        self.expire("shared", None).await;
        node.terminate("shared", json!({"ids": [id(&ann)]}), ANY)
            .await;
        let eve = self.acquire("shared", json!({"holder": "eve"})).await;
        self.expire("shared", None).await;
        node.release(&token(&eve), ANY).await;
        self.swept("shared").await;
    }

    async fn overdraft(&self) {
        let node = &self.node;
        self.put(
            "lent",
            json!({"capacity": 1, "ttl_ms": 60_000, "resume_window_ms": 60_000, "overdraft": {"seats": 2, "seat_minutes_per_day": 30}}),
        )
        .await;
        let ann = self.acquire("lent", json!({"holder": "ann"})).await;
        let bob = self.acquire("lent", json!({"holder": "bob"})).await;
        let_pass(20).await;
        let cid = self.acquire("lent", json!({"holder": "cid"})).await;
        self.acquire("lent", json!({"holder": "dan"})).await;
        node.get("/v1/pools/lent").expect(ANY).await;
        let_pass(20).await;
        node.release(&token(&bob), ANY).await;
        self.expire("lent", Some(&id(&cid))).await;
        node.renew(&token(&cid), ANY).await;
        node.terminate("lent", json!({"ids": [id(&ann)]}), ANY)
            .await;
        node.patch_pool("lent", json!({"capacity": 2}), ANY).await;
        self.expire("lent", None).await;
        self.swept("lent").await;
        // Its alerts are looked at.
        let_pass(1_500).await;
        node.call(Method::DELETE, "/v1/pools/lent")
            .expect(ANY)
            .await;
    }

    async fn named(&self) {
        let node = &self.node;
        self.put(
            "named",
            json!({"capacity": 1, "ttl_ms": 60_000, "resume_window_ms": 60_000, "named": {"seats": 2, "spill_to_concurrent": true}}),
        )
        .await;
        let ann = self.acquire("named", json!({"holder": "ann"})).await;
        let seat = |method: Method, holder: &str| {
            node.call(method, &format!("/v1/pools/named/named/{holder}"))
                .expect(ANY)
        };
        seat(Method::PUT, "bob").await;
        seat(Method::PUT, "bob").await;
        seat(Method::PUT, "cid").await;
        seat(Method::GET, "bob").await;
        seat(Method::GET, "zoe").await;
        node.get("/v1/pools/named/named").expect(ANY).await;
        let transfer = |of: &str, to: &str| {
            node.post(&format!("/v1/pools/named/named/{of}/transfer"))
                .json(&json!({"to": to}))
                .expect(ANY)
        };
        // A seat that is freed, and comes back to its holder or goes to somebody else.
        for next in ["bob", "zoe"] {
            seat(Method::DELETE, "bob").await;
            let lease = self.acquire("named", json!({"holder": next})).await;
            node.release(&token(&lease), ANY).await;
        }
        seat(Method::PUT, "bob").await;
        transfer("ann", "dan").await;
        transfer("bob", "ann").await;
        transfer("bob", "eve").await;
        transfer("eve", "fay").await;
        self.acquire("named", json!({"holder": "gil"})).await;
        self.acquire("named", json!({})).await;
        node.get("/v1/pools/named").expect(ANY).await;
        // A new period, while somebody has a lease.
        let named = self.key("named", "named").await;
        self.query(&["DEL", &named]).await;
        self.acquire("named", json!({"holder": "hal"})).await;
        // More in the index than one call carries over.
        let holders = self.key("named", "holders").await;
        let others: Vec<String> = (0..101)
            .map(|number| format!("a{number}\u{1}c\u{1}\u{1}1\u{1}{number:022}"))
            .collect();
        for other in &others {
            self.query(&["ZADD", &holders, "0", other]).await;
        }
        self.query(&["DEL", &named]).await;
        seat(Method::GET, "ann").await;
        for other in &others {
            self.query(&["ZREM", &holders, other]).await;
        }
        self.query(&["DEL", &named]).await;
        let due = self.clock("named").await.replace(":clock", ":due");
        self.query(&["ZADD", &due, "1000", "named"]).await;
        wait_until("the period begins", Duration::from_secs(10), async || {
            self.redis.query::<i64>(&["EXISTS", &named]).await == 1
        })
        .await;
        self.expire("named", Some(&id(&ann))).await;
        node.renew(&token(&ann), ANY).await;
        node.release(&token(&ann), ANY).await;
        seat(Method::DELETE, "ann").await;
        self.expire("named", None).await;
        self.swept("named").await;
        self.put("named", json!({"capacity": 1, "named": {"seats": 1}}))
            .await;
        self.acquire("named", json!({"holder": "ida"})).await;
    }

    async fn evict(&self) {
        let node = &self.node;
        self.put(
            "evict",
            json!({"capacity": 1, "ttl_ms": 60_000, "resume_window_ms": 60_000, "when_full": "evict_oldest_of_holder",
                "tenants": {"acme": {"max": 1}}, "queue": {"max_waiting": 2}}),
        )
        .await;
        let first = self
            .acquire("evict", json!({"holder": "ann", "tenant": "acme"}))
            .await;
        let second = self
            .acquire("evict", json!({"holder": "ann", "tenant": "acme"}))
            .await;
        node.renew(&token(&first), ANY).await;
        node.release(&token(&first), ANY).await;
        self.swept("evict").await;
        node.renew(&token(&first), ANY).await;
        self.acquire("evict", json!({"holder": "ann", "tenant": "acme"}))
            .await;
        node.terminate("evict", json!({"ids": [id(&second)]}), ANY)
            .await;
        self.acquire("evict", json!({"holder": "bob"})).await;
        self.swept("evict").await;
    }

    /// Heartbeats of somebody who has done nothing for so many minutes.
    async fn unused_for(&self, of: &Reply, minutes: u64) {
        let body = json!({"token": token(of), "idle_ms": minutes * 60_000});
        self.node.renew_with(body, ANY).await;
    }

    /// Seats that nobody uses, or that are held for too long: given away, or ended.
    async fn unused(&self) {
        let node = &self.node;
        let idle = |then: &str| json!({"after_ms": 900_000, "then": then});
        let policy = json!({"capacity": 2, "ttl_ms": 60_000, "idle": idle("yield"), "queue": {"max_waiting": 9}});
        self.put("unused", policy).await;
        let ann = json!({"holder": "ann", "label": "Desk", "idle_ms": 1_200_000});
        let ann = self.acquire("unused", ann).await;
        let bob = self.acquire("unused", json!({"holder": "bob"})).await;
        for minutes in [20, 1, 20, 20] {
            self.unused_for(&ann, minutes).await;
        }
        self.unused_for(&bob, 3).await;
        let busy = json!({"token": token(&bob), "label": "Front", "idle_ms": 1_200_000, "activities": ["Call"]});
        node.renew_with(busy, ANY).await;
        // Of leases that a node ended which knows nothing of this.
        for (name, at) in [("idle", "1"), ("held", "1")] {
            let key = self.key("unused", name).await;
            self.query(&["ZADD", &key, at, "ended"]).await;
        }
        let cid = self.acquire("unused", json!({"holder": "cid"})).await;
        node.renew(&token(&ann), ANY).await;
        self.swept("unused").await;
        let waits = json!({"holder": "dan", "wait": true});
        let dan = self.acquire("unused", waits).await;
        self.unused_for(&cid, 20).await;
        self.acquire("unused", json!({"ticket": dan["ticket"]}))
            .await;
        self.put(
            "unused",
            json!({"capacity": 2, "ttl_ms": 60_000, "idle": idle("count")}),
        )
        .await;
        self.unused_for(&bob, 20).await;
        node.renew_with(
            json!({"token": token(&bob), "activities": [], "idle_ms": 1_200_000}),
            ANY,
        )
        .await;
        self.acquire("unused", json!({"holder": "eve"})).await;
        // Its alerts are looked at.
        let_pass(1_500).await;
        self.put("unused", json!({"capacity": 2, "ttl_ms": 60_000}))
            .await;

        // Somebody waits for a seat that is held for too long.
        let hold = |after_ms: u64, then: &str| {
            json!({"capacity": 1, "ttl_ms": 60_000, "queue": {"max_waiting": 9},
                "max_hold": {"after_ms": after_ms, "then": then}})
        };
        self.put("shift", json!({"capacity": 1, "ttl_ms": 60_000}))
            .await;
        let ann = self.acquire("shift", json!({"holder": "ann"})).await;
        self.put("shift", hold(60_000, "yield")).await;
        let held = self.key("shift", "held").await;
        self.query(&["DEL", &held]).await;
        self.put("shift", hold(1_000, "yield")).await;
        node.renew(&token(&ann), ANY).await;
        self.put("shift", hold(60_000, "yield")).await;
        let waits = json!({"holder": "bob", "wait": true});
        let bob = self.acquire("shift", waits).await;
        let_pass(1_000).await;
        self.put("shift", hold(1_000, "yield")).await;
        let bob = self
            .acquire("shift", json!({"ticket": bob["ticket"]}))
            .await;
        self.put("shift", hold(1_000, "end")).await;
        let_pass(1_000).await;
        node.renew(&token(&bob), ANY).await;
        self.swept("shift").await;
        self.put("shift", json!({"capacity": 1, "ttl_ms": 60_000}))
            .await;

        // A seat that leases share.
        let tabs = |then: &str| json!({"capacity": 1, "ttl_ms": 60_000, "seat_per": "holder", "idle": idle(then)});
        self.put("tabs", tabs("yield")).await;
        let (one, two) = (
            self.acquire("tabs", json!({"holder": "ann"})).await,
            self.acquire("tabs", json!({"holder": "ann"})).await,
        );
        self.unused_for(&one, 20).await;
        self.unused_for(&two, 14).await;
        self.unused_for(&two, 20).await;
        self.acquire("tabs", json!({"holder": "bob"})).await;
        self.swept("tabs").await;
        node.terminate("tabs", json!({"all": true}), ANY).await;
        self.put("tabs", tabs("end")).await;
        let one = self.acquire("tabs", json!({"holder": "ann"})).await;
        self.unused_for(&one, 20).await;
        self.swept("tabs").await;

        // Seats that are kept for a tenant, or lent.
        let policy = json!({"capacity": 2, "ttl_ms": 60_000, "idle": idle("yield"), "tenants": {"acme": {"reserved": 1}},
            "overdraft": {"seats": 1, "seat_minutes_per_day": 60}});
        self.put("spare", policy).await;
        for (holder, tenant) in [("ann", Some("acme")), ("bob", None), ("cid", None)] {
            let asked = json!({"holder": holder, "tenant": tenant, "idle_ms": 1_200_000});
            self.acquire("spare", asked).await;
        }
        self.acquire("spare", json!({"holder": "dan"})).await;
        self.acquire("spare", json!({"holder": "eve", "tenant": "acme"}))
            .await;
    }

    async fn policies(&self) {
        let node = &self.node;
        let at = |ms: i64| (chrono::Utc::now() + chrono::TimeDelta::milliseconds(ms)).to_rfc3339();
        let schedule = |base: u32| json!({"capacity": base, "ttl_ms": 60_000, "schedule": [{"from": at(200), "until": at(400), "capacity": 3}]});
        self.put("plan", schedule(1)).await;
        self.acquire("plan", json!({"holder": "ann"})).await;
        let_pass(250).await;
        self.acquire("plan", json!({"holder": "bob"})).await;
        let_pass(200).await;
        self.acquire("plan", json!({"holder": "cid"})).await;
        let due = self.clock("plan").await.replace(":clock", ":due");
        self.put("plan", schedule(1)).await;
        let_pass(250).await;
        self.query(&["ZADD", &due, "1000", "plan"]).await;
        let config = self.key("plan", "config").await;
        let_pass(1_500).await;
        self.put("plan", schedule(2)).await;
        let_pass(250).await;
        self.put("plan", json!({"capacity": 2, "ttl_ms": 30_000}))
            .await;
        self.put("plan", json!({"capacity": 2, "ttl_ms": 30_000}))
            .await;
        drop(config);
        let no_match = node
            .call(Method::PUT, "/v1/pools/plan")
            .header("if-none-match", "*")
            .json(&json!({"capacity": 1}));
        no_match.expect(ANY).await;

        self.put("quiet", json!({"capacity": 1, "ttl_ms": 60_000, "platforms": ["web"], "privacy": "anonymous", "queue": {"max_waiting": 2}}))
            .await;
        self.acquire("quiet", json!({"holder": "ann", "platform": "web"}))
            .await;
        self.acquire("quiet", json!({"holder": "ann", "platform": "kiosk"}))
            .await;
        let waits = self
            .acquire(
                "quiet",
                json!({"holder": "bob", "platform": "web", "wait": true}),
            )
            .await;
        self.put("quiet", json!({"capacity": 1, "maintenance": {"message": "Back soon"}, "queue": {"max_waiting": 2}})).await;
        self.acquire("quiet", json!({"ticket": waits["ticket"]}))
            .await;
        self.acquire("quiet", json!({"holder": "cid"})).await;
        node.call(Method::DELETE, "/v1/pools/quiet")
            .expect(ANY)
            .await;
        node.call(Method::DELETE, "/v1/pools/quiet")
            .expect(ANY)
            .await;
        self.acquire("quiet", json!({})).await;

        self.put("fold", json!({"capacity": 1})).await;
        self.put("fold", json!({"capacity": 1, "holder_match": "folded"}))
            .await;

        // One that is full when it goes.
        self.put("full", json!({"capacity": 1, "ttl_ms": 60_000}))
            .await;
        self.acquire("full", json!({"holder": "ann"})).await;
        let alerts = self.key("full", "alerts").await;
        wait_until("it is told", Duration::from_secs(10), async || {
            self.redis
                .query::<i64>(&["HEXISTS", &alerts, "f:pool.full"])
                .await
                == 1
        })
        .await;
        node.call(Method::DELETE, "/v1/pools/full")
            .expect(ANY)
            .await;
    }

    async fn keys(&self) {
        let node = &self.node;
        let key = json!({"name": "page", "role": "client", "pools": ["crm"]});
        let made = node.post("/v1/keys").json(&key).expect(ANY).await;
        let path = format!("/v1/keys/{}", made["id"].as_str().unwrap_or_default());
        node.post(&format!("{path}/roll"))
            .json(&json!({"overlap_ms": 1_000}))
            .expect(ANY)
            .await;
        node.call(Method::DELETE, &path).expect(ANY).await;
        node.call(Method::DELETE, &path).expect(ANY).await;
    }

    async fn webhooks(&self) -> Receiver {
        let receiver = Receiver::that(|_, _| Behaviour::Status(503)).await;
        let hook = json!({"url": receiver.url(), "events": ["*"]});
        let made = self.node.post("/v1/webhooks").json(&hook).expect(201).await;
        let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap_or_default());
        self.node
            .call(Method::PATCH, &path)
            .json(&json!({"name": "the pager"}))
            .expect(ANY)
            .await;
        let hook =
            json!({"url": receiver.url(), "events": ["pool.full"], "group": {"wait_ms": 1_000}});
        self.node.post("/v1/webhooks").json(&hook).expect(201).await;
        receiver
    }

    /// Deliveries that fail, come at last, are given up, and are sent again.
    async fn alerts(&self, receiver: &Receiver) {
        let node = &self.node;
        let hooks = node.get("/v1/webhooks").expect(200).await;
        let mut hooks = hooks.list("items").iter();
        let pager = hooks.find(|hook| hook["name"] == "the pager");
        let id = pager.expect("it was made")["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let path = format!("/v1/webhooks/{id}");
        let of_state = async |state: &str| {
            let deliveries = node
                .get(&format!("{path}/deliveries?state={state}"))
                .expect(200)
                .await;
            deliveries.list("items").to_vec()
        };
        wait_until("one is given up", Duration::from_secs(20), async || {
            !of_state("dead").await.is_empty()
        })
        .await;
        node.post(&format!("{path}/test")).expect(ANY).await;
        for waits in of_state("pending").await {
            let delivery = waits["id"].as_str().unwrap_or_default();
            node.post(&format!("{path}/deliveries/{delivery}/resend"))
                .expect(ANY)
                .await;
        }
        receiver.now(|_, _| Behaviour::Status(200));
        let dead = of_state("dead").await;
        for pending in of_state("pending").await {
            let delivery = pending["id"].as_str().unwrap_or_default();
            node.post(&format!("{path}/deliveries/{delivery}/resend"))
                .expect(ANY)
                .await;
        }
        let delivery = dead[0]["id"].as_str().unwrap_or_default();
        node.post(&format!("{path}/deliveries/{delivery}/resend"))
            .expect(ANY)
            .await;
        wait_until("it comes", Duration::from_secs(20), async || {
            !of_state("delivered").await.is_empty()
        })
        .await;
        node.post(&format!("{path}/test")).expect(ANY).await;
        // Deliveries without a record, and more than are kept.
        let pending = format!("lh1:{{alerts}}:{id}:pending");
        self.query(&["ZADD", &pending, "1000", &format!("msg_0-1-1_{id}")])
            .await;
        let sent = format!("msg_0-1-2_{id}");
        self.query(&["ZADD", "lh1:{alerts}:claims", "9999999999999", &sent])
            .await;
        self.query(&["ZADD", &pending, "1000", &sent]).await;
        for list in ["delivered", "dead"] {
            let key = format!("lh1:{{alerts}}:{id}:{list}");
            let fill = "for i = 1, 600 do redis.call('ZADD', KEYS[1], i, 'old' .. i) redis.call('HSET', KEYS[2], 'old' .. i, '{}') end";
            self.query(&["EVAL", fill, "2", &key, "lh1:{alerts}:deliveries"])
                .await;
        }
        node.post(&format!("{path}/test")).expect(ANY).await;
        wait_until("it comes", Duration::from_secs(20), async || {
            self.redis
                .query::<i64>(&["ZCARD", &format!("lh1:{{alerts}}:{id}:delivered")])
                .await
                < 600
        })
        .await;
        self.quiet_alerts().await;
        // As many wait as may, and as many were given up as are kept.
        let (dead, first) = (format!("lh1:{{alerts}}:{id}:dead"), "late1");
        let fill = "for i = 1, 10000 do redis.call('ZADD', KEYS[1], 9999999999999, 'waits' .. i) end
            for i = 1, 500 do
            redis.call('ZADD', KEYS[2], i, 'late' .. i) redis.call('HSET', KEYS[3], 'late' .. i, '{}') end";
        let deliveries = "lh1:{alerts}:deliveries";
        self.query(&["EVAL", fill, "3", &pending, &dead, deliveries])
            .await;
        self.put("loud", json!({"capacity": 1, "ttl_ms": 60_000}))
            .await;
        // Its alerts were to be evaluated much later.
        let evaluations = self.clock("loud").await.replace(":clock", ":evaluations");
        self.query(&["ZADD", &evaluations, "9999999999999", "loud"])
            .await;
        self.acquire("loud", json!({})).await;
        wait_until(
            "the oldest is forgotten",
            Duration::from_secs(10),
            async || {
                let score: Option<String> = self.redis.query(&["ZSCORE", &dead, first]).await;
                score.is_none()
            },
        )
        .await;
        // Each failure of its deletion would be tried with all of them.
        self.query(&["ZREMRANGEBYSCORE", &pending, "9999999999999", "+inf"])
            .await;
        node.call(Method::DELETE, &path).expect(ANY).await;
        node.post("/v1/webhooks")
            .json(&json!({"url": receiver.url(), "events": ["*"]}))
            .expect(ANY)
            .await;
    }

    /// An alert is acknowledged; others are snoozed, and sent when that is over.
    async fn quiet_alerts(&self) {
        let node = &self.node;
        let current = async || {
            let alerts = node.get("/v1/alerts?pool=quiet").expect(200).await;
            alerts.list("current").to_vec()
        };
        let snooze = json!({"pool": "quiet", "for_ms": 600_000});
        let snoozed = node
            .post("/v1/alerts/snoozes")
            .json(&snooze)
            .expect(201)
            .await;
        let over = json!({"id": "over", "until_ms": 1}).to_string();
        self.query(&["HSET", "lh1:{alerts}:snoozes", "over", &over])
            .await;
        self.put("quiet", json!({"capacity": 1, "ttl_ms": 60_000}))
            .await;
        let lease = self.acquire("quiet", json!({})).await;
        wait_until("it is raised", Duration::from_secs(20), async || {
            !current().await.is_empty()
        })
        .await;
        let alert = current().await[0]["alert"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let path = format!("/v1/alerts/{alert}/acknowledge");
        node.post(&path).json(&json!({})).expect(200).await;
        node.call(Method::DELETE, &path).expect(204).await;
        node.post(&path).json(&json!({})).expect(200).await;
        let gone = "gone:pool.full:1 AAAAAAAAAAAA";
        self.query(&["HSET", "lh1:{alerts}:reminded", gone, "1"])
            .await;
        // As a node of an earlier version leaves it.
        self.query(&[
            "HSET",
            "lh1:{alerts}:acknowledged",
            "gone:pool.full:1",
            "{}",
        ])
        .await;
        let id = snoozed["id"].as_str().unwrap_or_default();
        node.call(Method::DELETE, &format!("/v1/alerts/snoozes/{id}"))
            .expect(204)
            .await;
        wait_until("it is sent late", Duration::from_secs(20), async || {
            let suppressed: i64 = self.redis.query(&["HLEN", "lh1:{alerts}:suppressed"]).await;
            suppressed == 0
        })
        .await;
        // One that is over before its snooze is.
        node.post("/v1/alerts/snoozes")
            .json(&snooze)
            .expect(201)
            .await;
        node.post("/v1/leases/release")
            .json(&json!({"token": lease.token()}))
            .expect(ANY)
            .await;
        wait_until("it is over", Duration::from_secs(20), async || {
            current().await.is_empty()
        })
        .await;
        let lease = self.acquire("quiet", json!({})).await;
        wait_until("it is raised again", Duration::from_secs(20), async || {
            !current().await.is_empty()
        })
        .await;
        node.post("/v1/leases/release")
            .json(&json!({"token": lease.token()}))
            .expect(ANY)
            .await;
        wait_until("it is over", Duration::from_secs(20), async || {
            current().await.is_empty()
        })
        .await;
    }

    /// What happened some minutes ago is rolled up.
    async fn history(&self) {
        self.put("past", json!({"capacity": 3})).await;
        let (events, denials) = (
            self.key("past", "events").await,
            self.key("past", "denials").await,
        );
        self.query(&["DEL", &events]).await;
        let time: (i64, i64) = self.redis.query(&["TIME"]).await;
        let before = |seconds: i64| ((time.0 - seconds) * 1_000).to_string();
        for (seconds, kind, id) in [
            (600, "configured", ""),
            (590, "started", "x"),
            (300, "ended", "x"),
            (200, "denied", ""),
        ] {
            let (at, reason) = (
                before(seconds),
                if kind == "configured" {
                    "3"
                } else {
                    "pool_full"
                },
            );
            let entry = format!("{at}-0");
            self.query(&[
                "XADD", &events, &entry, "type", kind, "id", id, "at", &at, "holder", "ann",
                "tenant", "", "reason", reason,
            ])
            .await;
        }
        let minute = format!("{}:pool_full", (time.0 - 200) / 60);
        self.query(&["HSET", &denials, &minute, "3"]).await;

        let options = leasehold::store::Options {
            url: self.url.clone().into(),
            connections: 1,
            timeout: Duration::from_secs(2),
            sweep_every: Duration::ZERO,
            tls: Default::default(),
            key_prefix: Default::default(),
            durability: leasehold::config::Durability::Async,
            metrics_max_pools: 0,
        };
        let store = leasehold::store::Store::connect(&options)
            .await
            .expect("a store");
        let pool = "past".parse().expect("a name");
        store.pools(None, 1_000).await.expect("Redis answers");
        let mut looks = leasehold::store::RollupLooks::default();
        for every in [Duration::ZERO, Duration::from_secs(60)] {
            let noted = store.note_rollups(&mut looks, every).await;
            noted.expect("Redis answers");
            looks = leasehold::store::RollupLooks::default();
        }
        while leasehold::history::rollup::roll_up(&store, &pool, 1_000)
            .await
            .expect("Redis answers")
        {}
        let newest: Vec<(String, Vec<String>)> = self
            .redis
            .query(&["XREVRANGE", &events, "+", "-", "COUNT", "1"])
            .await;
        let newest = newest[0].0.parse().expect("a place");
        self.query(&["DEL", &denials]).await;
        for whole in [None, Some(None), Some(Some(newest))] {
            let finished = store.finish_roll_up(&pool, whole, Duration::from_secs(60));
            finished.await.expect("Redis answers");
        }
    }

    /// Data that is lost, and comes back as far as nodes and tokens know it.
    async fn losses(&self) {
        let node = &self.node;
        self.put(
            "lost",
            json!({"capacity": 2, "ttl_ms": 60_000, "resume_window_ms": 60_000}),
        )
        .await;
        let ann = self.acquire("lost", json!({"holder": "ann"})).await;
        let bob = self.acquire("lost", json!({"holder": "bob"})).await;
        let key = json!({"name": "page", "role": "client", "pools": ["crm"]});
        node.post("/v1/keys").json(&key).expect(ANY).await;
        // The last writes before a failover.
        for name in ["leases", "records"] {
            let key = self.key("lost", name).await;
            self.query(&["DEL", &key]).await;
        }
        node.renew(&token(&ann), ANY).await;
        self.redis.empty().await;
        wait_until("the pool is back", Duration::from_secs(10), async || {
            node.pool("lost", ANY).await.status == 200
        })
        .await;
        let clock = self.clock("lost").await;
        self.query(&["HSET", &clock, "lost", "0"]).await;
        // It was made by hand before a node could put it back.
        let config = self.key("lost", "config").await;
        self.query(&["HSET", &config, "incarnation", "9999999999999999"])
            .await;
        node.renew(&token(&bob), ANY).await;
        self.query(&["HSET", &clock, "lost", "0"]).await;
        node.renew(&token(&bob), ANY).await;
        self.acquire("lost", json!({"holder": "cid"})).await;
        wait_until(
            "keys and webhooks are back",
            Duration::from_secs(20),
            async || {
                let keys = self
                    .redis
                    .query::<i64>(&["EXISTS", "lh1:{keys}:records"])
                    .await;
                keys + self
                    .redis
                    .query::<i64>(&["EXISTS", "lh1:{alerts}:webhooks"])
                    .await
                    == 2
            },
        )
        .await;
        let_pass(2_000).await;
    }
}
