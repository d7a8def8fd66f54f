//! Nothing that a node says to somebody else holds a secret: not its log, not its metrics, not an error.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    ANY, Behaviour, Call, Client, Launch, Proxy, Receiver, Server, free_port, wait_until,
};

const PASSWORD: &str = "canary-password-of-redis-77";
const SECRET: &str = "canary-secret-that-signs-tokens-0123456789";
const PREVIOUS: &str = "canary-secret-of-before-0123456789abcdef";
const KEY: &str = "canary-key-of-the-operator-55";
/// Part of the address of a webhook: to some receivers that is a password.
const PATH: &str = "canary-path-of-a-webhook";
const WRONG: &str = "canary-key-that-somebody-mistyped";

/// What was said, but for the answers that hand out a secret on purpose.
#[derive(Default)]
struct Said(String);

impl Said {
    async fn hears(&mut self, call: Call) {
        let answer = call.expect(ANY).await;
        self.0 += &answer.text;
        self.0 += &format!("{:?}\n", answer.headers);
    }
}

#[tokio::test]
async fn no_log_no_metric_and_no_error_holds_a_secret() {
    let port = free_port();
    let text = port.to_string();
    let mut server = Server::prepare(
        port,
        &["--port", &text, "--save", "", "--requirepass", PASSWORD],
    );
    server.userinfo = format!(":{PASSWORD}@");
    server.restart();
    server.answers().await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut proxy = Proxy::start(address);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", proxy.port());
    let launch = Launch::on(&url)
        .set("secret", SECRET)
        .set("previous_secrets", PREVIOUS)
        .set("admin_key", KEY)
        .set("log", "debug")
        .set("webhook_http", "on")
        .set("webhook_private_networks", "on")
        .set("webhook_retry_ms", "100");
    let node = launch.start().await;
    let admin = node.with_key(KEY);

    // What there is to keep secret.
    let policy = json!({"capacity": 1, "ttl_ms": 60_000, "queue": {"max_waiting": 5}});
    admin.put_pool("crm", policy, 201).await;
    let made = json!({"name": "widget", "role": "client", "pools": ["crm"], "origins": ["https://crm.example"]});
    let made = admin.post("/v1/keys").json(&made).expect(201).await;
    let client_key = made["secret"].as_str().expect("a secret").to_owned();
    let token = admin
        .acquire("crm", json!({"holder": "ann"}), 201)
        .await
        .token();
    let queued = admin
        .acquire("crm", json!({"holder": "bob", "wait": true}), 202)
        .await;
    let ticket = queued["ticket"].as_str().expect("a ticket").to_owned();
    let receiver = Receiver::that(|_, _| Behaviour::Status(500)).await;
    let hook = json!({"url": format!("{}/{PATH}?key={PATH}", receiver.url()), "events": ["*"]});
    let hook = admin.post("/v1/webhooks").json(&hook).expect(201).await;
    let hook_secret = hook["secret"].as_str().expect("a secret").to_owned();
    let hook = format!("/v1/webhooks/{}", hook["id"].as_str().expect("an id"));
    let rolled = admin
        .post(&format!("{hook}/roll"))
        .json(&json!({"overlap_ms": 600_000}))
        .expect(200)
        .await;
    let rolled_secret = rolled["secret"].as_str().expect("a secret").to_owned();
    admin.post(&format!("{hook}/test")).expect(202).await;
    receiver.got(2).await;
    let secrets = [
        &hook_secret[6..],
        &rolled_secret[6..],
        PASSWORD,
        SECRET,
        PREVIOUS,
        KEY,
        WRONG,
        &client_key[16..],
        &token[..],
        &ticket[..],
    ];

    // Mistakes that people make with them.
    let mut said = Said::default();
    let holder = node.with_key(&client_key);
    let calls = async |said: &mut Said, client: &Client| {
        said.hears(
            client
                .post("/v1/leases/renew")
                .body(format!("{{\"token\": \"{token}\"")),
        )
        .await;
        said.hears(
            client
                .post("/v1/leases/renew")
                .body(format!("{{\"tokens\": \"{token}\"}}")),
        )
        .await;
        said.hears(
            client
                .post("/v1/leases/renew")
                .json(&json!({"token": format!("{token}x")})),
        )
        .await;
        said.hears(
            client
                .post("/v1/leases/renew")
                .json(&json!({"token": token, "lable": "x"})),
        )
        .await;
        said.hears(client.post(&format!("/v1/leases/renew?token={token}")))
            .await;
        said.hears(client.post(&format!("/v1/leases/{token}/release")))
            .await;
        said.hears(
            client
                .post("/v1/leases/renew-many")
                .json(&json!({"tokens": [token, 7]})),
        )
        .await;
        said.hears(
            client
                .post("/v1/pools/crm/leases")
                .json(&json!({"ticket": format!("{ticket}x")})),
        )
        .await;
        said.hears(
            client
                .post("/v1/pools/crm/leases")
                .json(&json!({"holder": "cid"})),
        )
        .await;
        // Only the sender of the name of a pool reads it in an answer.
        client
            .post(&format!("/v1/pools/{ticket}/leases"))
            .json(&json!({}))
            .expect(ANY)
            .await;
        said.hears(client.get(&format!("/v1/keys/{client_key}")))
            .await;
        said.hears(client.get(&format!("/admin?key={KEY}"))).await;
        said.hears(client.post("/admin/login").body(format!("key={WRONG}")))
            .await;
        said.hears(
            client
                .get("/v1/pools")
                .header("authorization", &format!("Basic {KEY}")),
        )
        .await;
        said.hears(client.get("/v1/pools").header("x-api-key", KEY))
            .await;
        said.hears(
            client
                .get("/v1/pools")
                .header("x-request-id", "a name")
                .header("cookie", &format!("x={KEY}")),
        )
        .await;
        said.hears(client.get("/readyz")).await;
        said.hears(client.get("/metrics")).await;
        said.hears(client.get("/v1/audit")).await;
        for path in ["", "/deliveries"] {
            said.hears(client.get(&format!("{hook}{path}"))).await;
        }
        said.hears(client.get("/v1/webhooks")).await;
        said.hears(client.get("/v1/alerts")).await;
        said.hears(client.get("/admin/webhooks").header("accept", "text/html"))
            .await;
        said.hears(
            client
                .call(reqwest::Method::PATCH, &hook)
                .json(&json!({ "secret": hook_secret })),
        )
        .await;
    };
    for client in [&*node, &admin, &holder, &node.with_key(WRONG)] {
        calls(&mut said, client).await;
    }
    // Only admins see the URL of a webhook: no viewer does, and neither the trail nor a metric has it.
    let viewer = json!({"name": "board", "role": "viewer"});
    let viewer = admin.post("/v1/keys").json(&viewer).expect(201).await;
    let viewer = node.with_key(viewer["secret"].as_str().expect("a secret"));
    for (client, path) in [
        (&viewer, "/v1/webhooks"),
        (&viewer, hook.as_str()),
        (&viewer, &format!("{hook}/deliveries")),
        (&admin, "/v1/audit"),
        (&*node, "/metrics"),
    ] {
        let answer = client.get(path).expect(200).await;
        assert!(!answer.text.contains(PATH), "{path}: {}", answer.text);
    }
    // The same while Redis is away, and while it takes the password no more.
    proxy.refuse().await;
    calls(&mut said, &admin).await;
    proxy.restore();
    let redis =
        redis::Client::open(format!("redis://:{PASSWORD}@127.0.0.1:{port}")).expect("a URL");
    let mut connection = redis
        .get_multiplexed_async_connection()
        .await
        .expect("it runs");
    let set: redis::RedisResult<()> = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "another-one"])
        .query_async(&mut connection)
        .await;
    set.expect("it is changed");
    proxy.cut();
    wait_until(
        "the password is refused",
        Duration::from_secs(20),
        async || {
            node.renew(&token, ANY).await;
            node.log().contains("refuses the user or the password")
        },
    )
    .await;
    calls(&mut said, &admin).await;
    let (status, refused) = launch_again(&node).refuse().await;
    assert!(!status.success());
    node.signal("TERM");
    node.ended(Duration::from_secs(30)).await;

    let log = node.log();
    assert!(log.contains("a message was not delivered"), "{log}");
    assert!(!log.contains(PATH), "{}", around(&log, PATH));
    assert!(log.contains(" DEBUG ") && log.contains("stopped"), "{log}");
    assert!(
        said.0.contains("invalid_token") && said.0.contains("store_unavailable"),
        "{}",
        said.0
    );
    for (what, text) in [
        ("the log", &log),
        ("an answer", &said.0),
        ("a refused start", &refused),
    ] {
        for secret in secrets {
            assert!(
                !text.contains(secret),
                "{what} holds {secret}:\n{}",
                around(text, secret)
            );
        }
    }
}

fn launch_again(node: &crate::harness::Node) -> Launch {
    node.launch().on_another_port()
}

/// The lines with the secret.
fn around(text: &str, secret: &str) -> String {
    let lines = text.lines().filter(|line| line.contains(secret));
    lines.collect::<Vec<_>>().join("\n")
}
