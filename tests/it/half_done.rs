//! Redis goes away right after the script that makes a change, before whatever the node does next: the answer is true all the same,
//! and the same request again comes to the same end.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ANY, Client, Launch, Node, Proxy, Redis, Reply, wait_until};

/// A node that loses its Redis on request, and another one that does not.
struct Stage {
    node: Node,
    other: Client,
    proxy: Proxy,
}

impl Stage {
    async fn start(redis: &Redis, other: &Client) -> Self {
        let proxy = Proxy::start(redis.address());
        let node = Launch::on(&redis.url_through(&proxy)).start().await;
        Self {
            node,
            other: other.clone(),
            proxy,
        }
    }

    /// Sends a request, and loses Redis after the reply to the script that is known by `needle`.
    async fn lose(&mut self, method: Method, path: &str, body: Value, needle: &str) -> Reply {
        self.proxy.end_after(needle);
        let call = self.node.call(method, path);
        let call = if body.is_null() {
            call
        } else {
            call.json(&body)
        };
        let answer = call.expect(ANY).await;
        wait_until("Redis is lost", Duration::from_secs(2), async || {
            self.proxy.has_ended()
        })
        .await;
        self.proxy.restore();
        self.node.ready().await;
        answer
    }

    /// The same where that script makes the change: no answer claims that nothing was done.
    async fn change(&mut self, method: Method, path: &str, body: Value, needle: &str) -> Reply {
        let answer = self.lose(method.clone(), path, body, needle).await;
        let is_true = answer.status < 300 || answer["outcome"] == "unknown";
        assert!(is_true, "{method} {path}: {}", answer.text);
        answer
    }
}

async fn keys(mut stage: Stage) {
    let key = json!({"name": "needle-a", "role": "viewer"});
    let made = stage
        .change(Method::POST, "/v1/keys", key, "needle-a")
        .await;
    assert_eq!(made.status, 201, "the secret would be lost: {}", made.text);
    let path = format!("/v1/keys/{}", made["id"].as_str().expect("an id"));
    stage.other.get(&path).expect(200).await;

    let name = json!({"name": "needle-b"});
    stage.change(Method::PATCH, &path, name, "needle-b").await;
    assert_eq!(stage.other.get(&path).expect(200).await["name"], "needle-b");

    let roll = format!("{path}/roll");
    let rolled = stage
        .change(Method::POST, &roll, json!({}), "needle-b")
        .await;
    assert_eq!(rolled.status, 200, "{}", rolled.text);
    let secret = rolled["secret"].as_str().expect("a secret");
    stage
        .other
        .with_key(secret)
        .get("/v1/pools")
        .expect(200)
        .await;

    stage
        .change(Method::DELETE, &path, Value::Null, "needle-b")
        .await;
    stage.other.get(&path).expect(404).await;
}

async fn webhooks(mut stage: Stage) {
    let webhook =
        |name: &str| json!({"url": "https://hooks.example.com/", "events": ["*"], "name": name});
    let made = stage
        .change(
            Method::POST,
            "/v1/webhooks",
            webhook("needle-a"),
            "needle-a",
        )
        .await;
    assert_eq!(made.status, 201, "the secret would be lost: {}", made.text);
    let path = format!("/v1/webhooks/{}", made["id"].as_str().expect("an id"));
    for (method, body, name) in [
        (Method::PUT, webhook("needle-c"), "needle-c"),
        (Method::PATCH, json!({"name": "needle-d"}), "needle-d"),
    ] {
        stage
            .change(method.clone(), &path, body.clone(), name)
            .await;
        assert_eq!(stage.other.get(&path).expect(200).await["name"], name);
        let again = stage.node.call(method, &path).json(&body).expect(200).await;
        assert_eq!(again["name"], name);
    }
    stage
        .change(Method::DELETE, &path, Value::Null, "needle-d")
        .await;
    stage.other.get(&path).expect(404).await;
}

async fn pools(mut stage: Stage) {
    let path = "/v1/pools/crm";
    let policy = |capacity: u64| json!({"capacity": capacity});
    stage
        .change(Method::PUT, path, policy(4_711), "\"capacity\":4711")
        .await;
    assert_eq!(stage.other.pool("crm", 200).await["capacity"], 4_711);
    stage
        .change(Method::PATCH, path, policy(4_712), "\"capacity\":4712")
        .await;
    assert_eq!(stage.other.pool("crm", 200).await["capacity"], 4_712);
    let again = stage.node.patch_pool("crm", policy(4_712), 200).await;
    assert_eq!(again["capacity"], 4_712);

    // A rule that needs an index first. What is lost before the policy is put has changed nothing.
    for number in 0..3 {
        let holder = json!({"holder": format!("holder-{number}"), "tenant": "acme"});
        stage.node.acquire("crm", holder, 201).await;
    }
    let rule = json!({"tenant_max": 4_713});
    let needle = "\"tenant_max\":4713";
    let lost = stage.lose(Method::PATCH, path, rule.clone(), needle).await;
    let now = stage.other.pool("crm", 200).await;
    let is_true = lost["outcome"] == "unknown" || now["tenant_max"].is_null();
    assert!(lost.status == 503 && is_true, "{} {}", lost.text, now.text);
    stage.node.patch_pool("crm", rule, 200).await;
    let denied = json!({"tenants": {"acme": {"max": 3}}});
    stage.node.patch_pool("crm", denied, 200).await;
    stage
        .node
        .acquire("crm", json!({"tenant": "acme"}), 409)
        .await;

    stage
        .change(Method::DELETE, path, Value::Null, ":crm:block_notes")
        .await;
    stage.other.pool("crm", 404).await;
    stage.node.pool("crm", 404).await;
}

async fn people(mut stage: Stage) {
    let named = json!({"capacity": 5, "named": {"seats": 2, "anchor_day": 1, "time_zone": "UTC"}});
    stage.node.put_pool("people", named, 201).await;
    let path = "/v1/pools/people/blocks/ann";
    let block = json!({"for_ms": 600_000, "reason": "needle-1"});
    stage.change(Method::PUT, path, block, "needle-1").await;
    let ann = json!({"holder": "ann"});
    let denied = stage.other.acquire("people", ann.clone(), 409).await;
    assert_eq!(denied["code"], "holder_blocked");
    // The call that lifts it names the longest block; the one before only reads.
    stage
        .change(Method::DELETE, path, Value::Null, "31622400000")
        .await;
    let lease = stage.other.acquire("people", ann.clone(), 201).await;

    // It ends by several scripts: a block that holds, and leases that go on, would be half of it.
    let ending = json!({"holder": "ann", "block_ms": 600_000, "reason": "needle-2"});
    let path = "/v1/pools/people/leases/terminate";
    let ended = stage
        .change(Method::POST, path, ending.clone(), "needle-2")
        .await;
    assert_eq!(ended["outcome"], "unknown", "{}", ended.text);
    stage.node.terminate("people", ending, 200).await;
    stage.other.renew(&lease.token(), 410).await;
    stage.other.acquire("people", ann, 409).await;

    let bob = stage
        .other
        .acquire("people", json!({"holder": "bob"}), 201)
        .await;
    let path = "/v1/pools/people/named/bob";
    let freed = stage
        .change(
            Method::DELETE,
            path,
            Value::Null,
            "gave the named seat away",
        )
        .await;
    assert_eq!(freed["outcome"], "unknown", "{}", freed.text);
    stage.node.call(Method::DELETE, path).expect(204).await;
    stage.other.renew(&bob.token(), 410).await;
}

/// What is done in one pool after the other, and was done in the first.
async fn people_in_pools(mut stage: Stage) {
    let mut leases = Vec::new();
    for pool in ["first", "second"] {
        let policy = json!({"capacity": 5});
        stage.other.put_pool(pool, policy, 201).await;
        let eve = json!({"holder": "eve", "activities": ["a call"]});
        leases.push(stage.other.acquire(pool, eve, 201).await);
    }
    for (path, body, needle) in [
        (
            "/v1/holders/eve/notice",
            json!({"message": "needle-n"}),
            "needle-n",
        ),
        (
            "/v1/holders/eve/terminate",
            json!({"when": "idle", "reason": "needle-i"}),
            "needle-i",
        ),
    ] {
        let answer = stage.change(Method::POST, path, body.clone(), needle).await;
        assert_eq!(answer["outcome"], "unknown", "{}", answer.text);
        stage.node.post(path).json(&body).expect(ANY).await;
    }
    let beat = |lease: &Reply| json!({"token": lease.token(), "activities": []});
    for lease in &leases {
        let ended = stage.other.renew_with(beat(lease), 410).await;
        assert_eq!(ended["reason"], "needle-i");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_change_that_was_made_nobody_says_that_nothing_was_done() {
    let redis = Redis::start().await;
    let other = Launch::on(&redis.url()).start().await;
    let stages = join_all((0..5).map(|_| Stage::start(&redis, &other))).await;
    let [a, b, c, d, e] = <[Stage; 5]>::try_from(stages).unwrap_or_else(|_| unreachable!());
    tokio::join!(
        keys(a),
        webhooks(b),
        pools(c),
        people(d),
        people_in_pools(e)
    );
}
