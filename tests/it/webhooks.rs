//! Webhooks: signed, at least once, by one node at a time, whatever the receiver does.

mod burst;
mod failing;
mod formats;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Behaviour, Client, Installation, Launch, Message, Receiver, Redis, let_pass, wait_until,
};

const KEY: &str = "the-operator-key-of-the-tests";

/// What lets webhooks lead to the receivers of the tests, and try again soon.
const HERE: [(&str, &str); 3] = [
    ("webhook_http", "on"),
    ("webhook_private_networks", "on"),
    ("webhook_retry_ms", "100"),
];

async fn create(node: &Client, url: &str, events: &[&str]) -> (String, String) {
    let made = node
        .post("/v1/webhooks")
        .json(&json!({"url": url, "events": events}))
        .expect(201)
        .await;
    let word = |name: &str| made[name].as_str().expect("a text").to_owned();
    (word("id"), word("secret"))
}

async fn deliveries(node: &Client, id: &str, query: &str) -> Vec<Value> {
    let path = format!("/v1/webhooks/{id}/deliveries?{query}");
    node.get(&path).expect(200).await.list("items").to_vec()
}

async fn wait_for_state(node: &Client, id: &str, state: &str, count: usize) -> Vec<Value> {
    let query = format!("state={state}");
    wait_until(
        &format!("{count} deliveries are {state}"),
        Duration::from_secs(40),
        async || deliveries(node, id, &query).await.len() == count,
    )
    .await;
    deliveries(node, id, &query).await
}

fn told(message: &Message) -> (String, String) {
    let kind = message.json["type"].as_str().expect("a type").to_owned();
    let state = message
        .data("state")
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (kind, state)
}

#[tokio::test]
async fn three_nodes_tell_each_alert_once_signed_and_that_it_is_over() {
    let cluster = Installation::start_with(3, &HERE).await;
    let node = cluster.first();
    let receiver = Receiver::start().await;
    let (id, secret) = create(node, &receiver.url(), &["pool.level", "pool.full"]).await;
    let policy = json!({"capacity": 10, "alert_at_percent": [80]});
    node.put_pool("crm", policy, 201).await;

    let leases = node.fill("crm", 8).await;
    let first = receiver.got(1).await.remove(0);
    assert_eq!(told(&first), ("pool.level".into(), "firing".into()));
    assert_eq!(first.data("pool"), "crm");
    assert_eq!(first.data("percent"), 80);
    assert_eq!(first.data("in_use"), 8);
    assert_eq!(first.data("capacity"), 10);
    assert_eq!(first.data("until"), &Value::Null);
    assert_eq!(first.header("content-type"), "application/json");
    assert!(first.is_signed_with(&secret));
    assert!(!first.is_signed_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    assert!(!first.id().contains('.'), "{}", first.id());
    let sent_at: i64 = first.header("webhook-timestamp").parse().expect("seconds");
    assert!((chrono::Utc::now().timestamp() - sent_at).abs() < 60);

    // Up and down above the lower bound is no news: 75 % is where it ends.
    let ninth = node.acquire("crm", json!({}), 201).await;
    node.release(&ninth.token(), 204).await;
    node.release(&leases[0].token(), 204).await;
    let second = receiver.got(2).await.remove(1);
    assert_eq!(told(&second), ("pool.level".into(), "resolved".into()));
    assert_eq!(second.data("alert"), first.data("alert"));
    assert_eq!(second.data("since"), first.data("since"));
    assert_eq!(second.data("in_use"), 7);
    assert_ne!(second.id(), first.id());
    assert!(second.is_signed_with(&secret));

    let delivered = wait_for_state(&cluster.nodes[2], &id, "delivered", 2).await;
    assert!(delivered.iter().all(|delivery| delivery["tries"] == 1));
    // Whatever comes now comes after all there was.
    node.post(&format!("/v1/webhooks/{id}/test"))
        .expect(202)
        .await;
    let all = receiver.got(3).await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[2].json["type"], "webhook.test");
    assert!(all[2].is_signed_with(&secret));
}

#[tokio::test]
async fn a_message_that_failed_comes_again_with_the_same_id_after_growing_pauses() {
    let cluster = Installation::start_with(2, &HERE).await;
    let node = cluster.first();
    let receiver = Receiver::that(|n, _| Behaviour::Status(if n < 4 { 500 } else { 200 })).await;
    let (id, secret) = create(node, &receiver.url(), &["pool.full"]).await;
    node.post(&format!("/v1/webhooks/{id}/test"))
        .expect(202)
        .await;
    let came = receiver.got(5).await;
    for message in &came {
        assert_eq!(message.id(), came[0].id());
        // All of them are one trace, each a part of its own.
        let (trace, first) = (message.header("traceparent"), came[0].header("traceparent"));
        assert!(trace.starts_with("00-") && trace.len() == 55, "{trace}");
        assert_eq!(trace[..36], first[..36]);
        assert_eq!(message.body, came[0].body);
        assert!(message.is_signed_with(&secret));
    }
    for (pair, least) in came.windows(2).zip([90, 360, 1_440, 5_760]) {
        let pause = pair[1].at.duration_since(pair[0].at);
        assert!(
            pause >= Duration::from_millis(least),
            "{pause:?}, not {least}"
        );
    }
    let delivered = wait_for_state(node, &id, "delivered", 1).await;
    assert_eq!(delivered[0]["tries"], 5);
    let statuses: Vec<_> = delivered[0]["attempts"]
        .as_array()
        .expect("attempts")
        .iter()
        .map(|attempt| attempt["status"].clone())
        .collect();
    assert_eq!(statuses, [500, 500, 500, 500, 200]);
}

#[tokio::test]
async fn what_is_given_up_is_a_dead_letter_that_can_be_sent_again() {
    let mut settings = HERE.to_vec();
    settings.push(("webhook_attempts", "3"));
    let cluster = Installation::start_with(1, &settings).await;
    let node = cluster.first();
    let receiver = Receiver::that(|_, _| Behaviour::Status(503)).await;
    let (id, _) = create(node, &receiver.url(), &["pool.full"]).await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    node.acquire("crm", json!({}), 201).await;

    let dead = wait_for_state(node, &id, "dead", 1).await;
    assert_eq!(dead[0]["tries"], 3);
    assert_eq!(dead[0]["type"], "pool.full");
    assert_eq!(dead[0]["message"]["data"]["pool"], "crm");
    assert_eq!(receiver.messages().len(), 3);
    let listed = node.get("/v1/webhooks").expect(200).await;
    assert_eq!(listed["items"][0]["dead"], 1);
    assert_eq!(listed["items"][0]["pending"], 0);
    let csv = node
        .get(&format!("/v1/webhooks/{id}/deliveries?format=csv"))
        .expect(200)
        .await;
    assert!(csv.text.contains(",dead,pool.full,crm,"), "{}", csv.text);

    receiver.now(|_, _| Behaviour::Status(200));
    let delivery = dead[0]["id"].as_str().expect("an id");
    let resend =
        |delivery: &str| node.post(&format!("/v1/webhooks/{id}/deliveries/{delivery}/resend"));
    resend(delivery).expect(202).await;
    let came = receiver.got(4).await;
    assert_eq!(came[3].id(), came[0].id());
    wait_for_state(node, &id, "delivered", 1).await;
    wait_for_state(node, &id, "dead", 0).await;
    let unknown = resend(&format!("msg_0-1-1_{id}")).expect(404).await;
    assert_eq!(unknown["code"], "delivery_not_found");
    resend("msg_of_another").expect(404).await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_an_operator_says_so() {
    let cluster = Installation::start_with(2, &HERE).await;
    let node = cluster.first();
    let receiver = Receiver::that(|_, _| Behaviour::Status(410)).await;
    let (id, _) = create(node, &receiver.url(), &["*"]).await;
    let path = format!("/v1/webhooks/{id}");
    node.post(&format!("{path}/test")).expect(202).await;
    for node in &cluster.nodes {
        wait_until("it is disabled", Duration::from_secs(20), async || {
            node.get(&path).expect(200).await["enabled"] == false
        })
        .await;
    }
    let shown = node.get(&path).expect(200).await;
    assert!(
        shown["disabled_reason"]
            .as_str()
            .expect("why")
            .contains("410")
    );
    assert_eq!(wait_for_state(node, &id, "dead", 1).await[0]["tries"], 1);
    node.post(&format!("{path}/test")).expect(400).await;

    receiver.now(|_, _| Behaviour::Status(200));
    let enabled = node
        .call(Method::PATCH, &path)
        .json(&json!({"enabled": true}))
        .expect(200)
        .await;
    assert_eq!(enabled["enabled"], true);
    node.post(&format!("{path}/test")).expect(202).await;
    receiver.got(2).await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let cluster = Installation::start_with(1, &HERE).await;
    let node = cluster.first();
    let receiver = Receiver::that(|n, _| match n {
        0 => Behaviour::Later(429, "2".into()),
        1 => {
            let later = chrono::Utc::now() + Duration::from_secs(3);
            Behaviour::Later(503, later.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
        }
        _ => Behaviour::Status(200),
    })
    .await;
    let (id, _) = create(node, &receiver.url(), &["*"]).await;
    node.post(&format!("/v1/webhooks/{id}/test"))
        .expect(202)
        .await;
    let came = receiver.got(3).await;
    let pauses: Vec<Duration> = came
        .windows(2)
        .map(|pair| pair[1].at.duration_since(pair[0].at))
        .collect();
    assert!(pauses[0] >= Duration::from_millis(1_990), "{pauses:?}");
    // A date has whole seconds.
    assert!(pauses[1] >= Duration::from_millis(1_900), "{pauses:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_an_endless_reply_is_not_read() {
    let cluster = Installation::start_with(1, &HERE).await;
    let node = cluster.first();
    let inside = Receiver::start().await;
    let target = inside.url();
    let redirecting = Receiver::that(move |_, _| Behaviour::Redirect(target.clone())).await;
    let endless = Receiver::that(|_, _| Behaviour::Endless).await;
    let (first, _) = create(node, &redirecting.url(), &["*"]).await;
    let (second, _) = create(node, &endless.url(), &["*"]).await;
    for id in [&first, &second] {
        node.post(&format!("/v1/webhooks/{id}/test"))
            .expect(202)
            .await;
    }
    redirecting.got(2).await;
    let waiting = wait_for_state(node, &first, "pending", 1).await;
    let error = waiting[0]["attempts"][0]["error"].as_str().expect("why");
    assert!(error.contains("redirect"), "{error}");
    assert_eq!(inside.messages().len(), 0);

    let before = node.memory_kib();
    let delivered = wait_for_state(node, &second, "delivered", 1).await;
    let reply = delivered[0]["attempts"][0]["reply"]
        .as_str()
        .expect("its begin");
    assert_eq!(reply.len(), 512);
    assert!(node.memory_kib() < before + 64 * 1024);
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_other() {
    let cluster = Installation::start_with(1, &HERE).await;
    let node = cluster.first();
    let hanging = Receiver::that(|_, _| Behaviour::Hang).await;
    let quick = Receiver::start().await;
    let (slow_id, _) = create(node, &hanging.url(), &["*"]).await;
    let (quick_id, _) = create(node, &quick.url(), &["*"]).await;
    for _ in 0..12 {
        node.post(&format!("/v1/webhooks/{slow_id}/test"))
            .expect(202)
            .await;
    }
    hanging.got(4).await;
    let begun = Instant::now();
    for count in 1..=6 {
        node.post(&format!("/v1/webhooks/{quick_id}/test"))
            .expect(202)
            .await;
        quick.got(count).await;
    }
    // Less than one attempt to the other takes.
    assert!(
        begun.elapsed() < Duration::from_secs(14),
        "{:?}",
        begun.elapsed()
    );
    // Four at once, and no more.
    assert_eq!(hanging.messages().len(), 4);
    // The log has that this one did not answer in time.
    wait_until("an attempt ends", Duration::from_secs(40), async || {
        let pending = deliveries(node, &slow_id, "state=pending").await;
        pending.iter().any(|delivery| {
            let error = delivery["attempts"][0]["error"].as_str();
            error.is_some_and(|error| error.contains("in time"))
        })
    })
    .await;
}

#[tokio::test]
async fn a_node_that_dies_amid_a_delivery_leaves_it_to_another() {
    let cluster = Installation::start_with(2, &HERE).await;
    let (a, b) = cluster.pair();
    // It has taken the message, and never answers.
    let receiver = Receiver::that(|n, _| match n {
        0 => Behaviour::Hang,
        _ => Behaviour::Status(200),
    })
    .await;
    let (id, _) = create(a, &receiver.url(), &["*"]).await;
    // The other node is stopped for a moment, so that it is known who sends.
    b.signal("STOP");
    a.post(&format!("/v1/webhooks/{id}/test")).expect(202).await;
    receiver.got(1).await;
    a.kill();
    b.signal("CONT");
    let came = receiver.got(2).await;
    assert_eq!(came[1].id(), came[0].id());
    let delivered = wait_for_state(b, &id, "delivered", 1).await;
    assert_eq!(delivered[0]["tries"], 1);
    assert_eq!(receiver.messages().len(), 2);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_two_sign_while_it_is_rolled() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set_all(&HERE)
        .set("admin_key", KEY)
        .set("log", "debug")
        .start()
        .await;
    let admin = node.with_key(KEY);
    let receiver =
        Receiver::that(|_, _| Behaviour::Text("a hint\u{1b}[31m of the inside".into())).await;
    let url = format!("{}?token=part-of-the-url", receiver.url());
    let (id, first) = create(&admin, &url, &["*"]).await;
    let rolled = admin
        .post(&format!("/v1/webhooks/{id}/roll"))
        .json(&json!({"overlap_ms": 600_000}))
        .expect(200)
        .await;
    let second = rolled["secret"].as_str().expect("a secret").to_owned();
    assert_ne!(first, second);
    admin
        .post(&format!("/v1/webhooks/{id}/test"))
        .expect(202)
        .await;
    let came = receiver.got(1).await;
    assert!(came[0].is_signed_with(&first) && came[0].is_signed_with(&second));

    let rolled = admin
        .post(&format!("/v1/webhooks/{id}/roll"))
        .json(&json!({"overlap_ms": 0}))
        .expect(200)
        .await;
    let third = rolled["secret"].as_str().expect("a secret").to_owned();
    admin
        .post(&format!("/v1/webhooks/{id}/test"))
        .expect(202)
        .await;
    let came = receiver.got(2).await;
    assert!(came[1].is_signed_with(&third));
    assert!(!came[1].is_signed_with(&first) && !came[1].is_signed_with(&second));

    // What the receiver says is for admins.
    wait_for_state(&admin, &id, "delivered", 2).await;
    let shown = deliveries(&admin, &id, "").await;
    assert_eq!(
        shown[0]["attempts"][0]["reply"],
        "a hint [31m of the inside"
    );
    let viewer = admin
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer"}))
        .expect(201)
        .await;
    let viewer = node.with_key(viewer["secret"].as_str().expect("a secret"));
    let shown = deliveries(&viewer, &id, "").await;
    assert_eq!(shown[0]["attempts"][0]["reply"], Value::Null);
    for path in ["/v1/webhooks", "/admin/webhooks?format=csv"] {
        let shown = viewer.get(path).expect(200).await;
        assert!(shown.text.contains("http://127.0.0.1:"), "{path}");
        assert!(!shown.text.contains("part-of-the-url"), "{path}");
    }
    let shown = admin.get("/v1/webhooks").expect(200).await;
    assert!(shown.text.contains("part-of-the-url"));
    viewer
        .post(&format!("/v1/webhooks/{id}/test"))
        .expect(403)
        .await;

    for path in [
        "/v1/webhooks".to_owned(),
        format!("/v1/webhooks/{id}"),
        format!("/v1/webhooks/{id}/deliveries"),
        "/v1/audit".to_owned(),
        "/metrics".to_owned(),
    ] {
        let answer = admin.get(&path).expect(200).await;
        for secret in [&first, &second, &third] {
            assert!(!answer.text.contains(&secret[6..]), "{path}");
        }
    }
    let trail = admin.get("/v1/audit?action=webhook").expect(200).await;
    let actions: Vec<_> = trail
        .list("items")
        .iter()
        .rev()
        .map(|entry| {
            (
                entry["action"].as_str().unwrap_or_default(),
                entry["outcome"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        actions,
        [
            ("webhook.create", "done"),
            ("webhook.roll", "done"),
            ("webhook.test", "done"),
            ("webhook.roll", "done"),
            ("webhook.test", "done"),
            ("webhook.test", "refused"),
        ]
    );
    assert!(!trail.text.contains("part-of-the-url"), "{}", trail.text);
    let log = node.all_said().await;
    for secret in [&first[6..], &second[6..], &third[6..], "part-of-the-url"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_webhook_can_be_listed_changed_and_deleted() {
    let cluster = Installation::start_with(2, &HERE).await;
    let (a, b) = cluster.pair();
    let receiver = Receiver::that(|_, _| Behaviour::Status(500)).await;
    let (id, _) = create(a, &receiver.url(), &["pool.full", "pool.full"]).await;
    let path = format!("/v1/webhooks/{id}");
    let shown = b.get(&path).expect(200).await;
    assert_eq!(shown["events"], json!(["pool.full"]));
    assert_eq!(shown["enabled"], true);
    assert_eq!(shown["secret"], Value::Null);

    let patched = b
        .call(Method::PATCH, &path)
        .json(&json!({"name": "the pager", "pools": ["crm"]}))
        .expect(200)
        .await;
    assert_eq!(patched["name"], "the pager");
    assert_eq!(patched["url"], receiver.url());
    let put = a
        .call(Method::PUT, &path)
        .json(&json!({"url": receiver.url(), "events": ["*"]}))
        .expect(200)
        .await;
    assert_eq!(put["name"], Value::Null);
    assert_eq!(put["pools"], json!([]));
    a.call(Method::PATCH, &path)
        .json(&json!({"events": []}))
        .expect(400)
        .await;

    a.post(&format!("{path}/test")).expect(202).await;
    receiver.got(1).await;
    b.call(Method::DELETE, &path).expect(204).await;
    for node in [a, b] {
        let gone = node.get(&path).expect(404).await;
        assert_eq!(gone["code"], "webhook_not_found");
        assert!(
            node.get("/v1/webhooks")
                .expect(200)
                .await
                .list("items")
                .is_empty()
        );
    }
    // An attempt under way may still end; then nothing is left.
    wait_until(
        "nothing is left of it",
        Duration::from_secs(20),
        async || {
            let left = cluster.redis.keys("lh1:{alerts}:*").await;
            let deliveries: i64 = cluster
                .redis
                .query(&["HLEN", "lh1:{alerts}:deliveries"])
                .await;
            deliveries == 0 && !left.iter().any(|key| key.contains(&id))
        },
    )
    .await;
}

#[tokio::test]
async fn what_is_no_sensible_webhook_is_refused() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let url = "https://hooks.example.com/leasehold";
    for body in [
        json!({}),
        json!({"url": url}),
        json!({"url": url, "events": []}),
        json!({"url": url, "events": ["pool.fool"]}),
        json!({"url": url, "events": ["pool.full", "everything"]}),
        json!({"url": url, "events": "pool.full"}),
        json!({"url": url, "events": ["pool.full"], "secret": "mine"}),
        json!({"url": url, "events": ["pool.full"], "pools": ["a b"]}),
        json!({"url": "http://hooks.example.com/", "events": ["pool.full"]}),
        json!({"url": "https://127.0.0.1/", "events": ["pool.full"]}),
        json!({"url": "https://0x7f.1/", "events": ["pool.full"]}),
        json!({"url": "https://[::ffff:169.254.169.254]/", "events": ["pool.full"]}),
        json!({"url": "https://localhost/", "events": ["pool.full"]}),
        json!({"url": "https://a:b@hooks.example.com/", "events": ["pool.full"]}),
        json!({"url": "https://hooks.example.com:6379/", "events": ["pool.full"]}),
        json!({"url": "nowhere", "events": ["pool.full"]}),
        json!({"url": format!("{url}/{}", "x".repeat(2_048)), "events": ["pool.full"]}),
    ] {
        let refused = node.post("/v1/webhooks").json(&body).expect(400).await;
        assert_eq!(refused["code"], "invalid_request", "{body}");
    }
    let all = [
        "pool.level",
        "pool.full",
        "pool.denials",
        "pool.idle_while_denied",
        "pool.expiry_spike",
        "pool.queue",
        "pool.overdraft",
        "store.outage",
        "store.data_lost",
    ];
    create(&node, url, &all).await;
    for path in ["/v1/webhooks/nobodyhaseis", "/v1/webhooks/x"] {
        node.get(path).expect(404).await;
    }
}

#[tokio::test]
async fn a_setting_that_is_taken_back_holds_for_webhooks_that_are_there() {
    let redis = Redis::start().await;
    let receiver = Receiver::start().await;
    let open = Launch::on(&redis.url()).set_all(&HERE).start().await;
    let (id, _) = create(&open, &receiver.url(), &["*"]).await;
    open.kill();

    let node = Launch::on(&redis.url())
        .set("webhook_http", "on")
        .start()
        .await;
    node.post(&format!("/v1/webhooks/{id}/test"))
        .expect(202)
        .await;
    wait_until("an attempt ends", Duration::from_secs(20), async || {
        let pending = deliveries(&node, &id, "state=pending").await;
        pending.iter().any(|delivery| {
            let error = delivery["attempts"][0]["error"].as_str();
            error.is_some_and(|error| error.contains("webhook_private_networks"))
        })
    })
    .await;
    assert_eq!(receiver.messages().len(), 0);
}

#[tokio::test]
async fn a_loss_of_data_is_told_by_the_webhooks_that_were_lost() {
    let cluster = Installation::start_with(2, &HERE).await;
    let node = cluster.first();
    let receiver = Receiver::start().await;
    let (id, secret) = create(node, &receiver.url(), &["store.data_lost"]).await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    // The other node has to know of it.
    cluster.nodes[1]
        .get(&format!("/v1/webhooks/{id}"))
        .expect(200)
        .await;
    let_pass(1_500).await;

    cluster.redis.empty().await;
    let came = receiver.got(1).await;
    assert_eq!(
        told(&came[0]),
        ("store.data_lost".into(), "happened".into())
    );
    assert!(came[0].is_signed_with(&secret));
    // All buckets were lost, and that is reported once.
    let_pass(3_000).await;
    assert_eq!(receiver.messages().len(), 1);
    node.get(&format!("/v1/webhooks/{id}")).expect(200).await;
}

#[tokio::test]
async fn an_outage_is_told_once_after_the_return() {
    let mut cluster = Installation::start_with(2, &HERE).await;
    let receiver = Receiver::start().await;
    create(&cluster.nodes[0], &receiver.url(), &["store.outage"]).await;
    for pool in ["a", "b", "c", "d"] {
        cluster.nodes[0]
            .put_pool(pool, json!({"capacity": 5}), 201)
            .await;
    }
    let_pass(2_500).await;
    cluster.redis.freeze().await;
    let_pass(4_500).await;
    cluster.redis.thaw().await;

    let came = receiver.got(1).await;
    assert_eq!(told(&came[0]), ("store.outage".into(), "happened".into()));
    let instant = |name: &str| {
        let text = came[0].data(name).as_str().expect("an instant");
        chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339")
    };
    let away = instant("until") - instant("since");
    assert!(away.num_milliseconds() > 3_000, "{away}");
    let_pass(3_000).await;
    assert_eq!(receiver.messages().len(), 1, "{:?}", receiver.messages());
}

#[tokio::test]
async fn without_ca_certificates_everything_works_but_https() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set_all(&HERE)
        .set("ENV_SSL_CERT_FILE", "/nonexistent")
        .set("ENV_SSL_CERT_DIR", "/nonexistent")
        .start()
        .await;
    let lines = node.all_said().await;
    let told = lines
        .lines()
        .filter(|line| line.contains("CA certificates"));
    assert_eq!(told.count(), 1, "{lines}");

    let receiver = Receiver::start().await;
    let (plain, _) = create(&node, &receiver.url(), &["pool.full"]).await;
    let secure = receiver.url().replace("http://", "https://");
    let (secure, _) = create(&node, &secure, &["pool.full"]).await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    node.fill("crm", 1).await;

    assert_eq!(told_kind(&receiver.got(1).await[0]), "pool.full");
    wait_for_state(&node, &plain, "delivered", 1).await;
    let raised = node.get("/v1/alerts").expect(200).await;
    assert_eq!(raised["current"][0]["type"], "pool.full");
    wait_until(
        "the other one says why",
        Duration::from_secs(20),
        async || {
            let waiting = deliveries(&node, &secure, "state=pending").await;
            let why = waiting
                .first()
                .map(|delivery| delivery["attempts"].to_string());
            why.is_some_and(|why| why.contains("install ca-certificates"))
        },
    )
    .await;
    assert!(node.is_ready().await);
    let log = node.all_said().await;
    assert!(!log.contains("panic"), "{log}");
}

fn told_kind(message: &Message) -> String {
    told(message).0
}
