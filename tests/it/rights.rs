//! A right that ends, ends everywhere within a second: event streams, waits and logins that stand on it.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::admin_pages::log_in;
use crate::harness::{ANY, Client, Installation, Launch, Node, Redis, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";
/// The promise, and what a busy machine adds to it.
const SOON: Duration = Duration::from_secs(2);

struct Made {
    id: String,
    secret: String,
}

async fn make(admin: &Client, body: Value) -> Made {
    let made = admin.post("/v1/keys").json(&body).expect(201).await;
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    Made {
        id: text("id"),
        secret: text("secret"),
    }
}

/// Opens a stream with this header.
async fn follow(node: &Client, path: &str, header: (&str, &str)) -> Response {
    let answer = reqwest::Client::new()
        .get(node.url(path))
        .header(header.0, header.1)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer
}

/// How long a stream goes on.
async fn ends(mut stream: Response) -> Duration {
    let begun = Instant::now();
    let reading = async { while let Ok(Some(_)) = stream.chunk().await {} };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("the stream ends");
    begun.elapsed()
}

async fn goes_on(stream: &mut Response, node: &Client, pool: &str) {
    node.with_key(KEY).acquire(pool, json!({}), 201).await;
    let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await;
    assert!(chunk.expect("in time").expect("a stream").is_some());
}

#[tokio::test]
async fn streams_end_with_the_key_that_opened_them_on_every_node() {
    let cluster = Installation::start_with(2, &[("admin_key", KEY)]).await;
    let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
    let admin = a.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 100}), 201).await;
    let viewer = |name: &str| make(&admin, json!({"name": name, "role": "viewer"}));
    let path = |made: &Made| format!("/v1/keys/{}", made.id);
    let (revoked, rolled, kept, narrowed, narrowed_to_a_tenant, shortened) = (
        viewer("revoked").await,
        viewer("rolled").await,
        viewer("kept").await,
        viewer("narrowed").await,
        viewer("narrowed to a tenant").await,
        viewer("shortened").await,
    );
    let open = async |made: &Made, node: &Node, path: &str| {
        let bearer = format!("Bearer {}", made.secret);
        follow(node, path, ("authorization", &bearer)).await
    };
    let events = "/v1/pools/crm/events";
    let streams = [
        open(&revoked, a, events).await,
        open(&revoked, b, events).await,
        open(&revoked, b, "/v1/alerts/events").await,
        open(&rolled, b, events).await,
        open(&narrowed, b, events).await,
        open(&narrowed_to_a_tenant, a, events).await,
        open(&narrowed_to_a_tenant, b, events).await,
        open(&shortened, b, events).await,
    ];
    let mut others = open(&kept, b, events).await;

    admin
        .call(Method::DELETE, &path(&revoked))
        .expect(204)
        .await;
    admin
        .post(&format!("{}/roll", path(&rolled)))
        .json(&json!({"overlap_ms": 0}))
        .expect(200)
        .await;
    let patch = async |made: &Made, change: Value| {
        let call = admin.call(Method::PATCH, &path(made)).json(&change);
        call.expect(200).await
    };
    patch(&narrowed, json!({"pools": ["other"]})).await;
    patch(&narrowed_to_a_tenant, json!({"tenants": ["acme"]})).await;
    let soon = patch(&kept, json!({"name": "kept still"})).await;
    assert_eq!(soon["name"], "kept still");
    // A roll with an overlap ends nothing yet.
    admin
        .post(&format!("{}/roll", path(&kept)))
        .json(&json!({}))
        .expect(200)
        .await;
    let now = admin.get("/v1/nodes").expect(200).await["items"][0]["seen_at"].clone();
    let now: chrono::DateTime<chrono::Utc> =
        now.as_str().expect("an instant").parse().expect("RFC 3339");
    let at = (now + chrono::TimeDelta::milliseconds(1_500)).to_rfc3339();
    patch(&shortened, json!({"expires_at": at})).await;

    for stream in streams {
        let took = ends(stream).await;
        assert!(took < SOON + Duration::from_millis(1_500), "{took:?}");
    }
    goes_on(&mut others, b, "crm").await;
}

#[tokio::test]
async fn a_wait_for_a_seat_ends_with_the_key() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 5}});
    admin.put_pool("crm", policy, 201).await;
    admin.acquire("crm", json!({}), 201).await;
    let changes = [
        (Method::DELETE, json!({})),
        (Method::PATCH, json!({"tenant": "globex"})),
        (Method::PATCH, json!({"origins": ["https://other.example"]})),
    ];
    for (method, change) in changes {
        let page = "https://crm.example";
        let client = json!({"name": "c", "role": "client", "pools": ["crm"], "tenant": "acme", "origins": [page]});
        let client = make(&admin, client).await;
        let waiter = node.with_key(&client.secret);
        let waiting = waiter
            .post("/v1/pools/crm/leases")
            .header("origin", page)
            .json(&json!({"wait": true, "wait_ms": 9_000}))
            .expect(ANY);
        let waiting = tokio::spawn(waiting);
        wait_until("it waits", Duration::from_secs(5), async || {
            admin.availability("crm", 200).await["waiting"] == 1
        })
        .await;

        let changed = Instant::now();
        admin
            .call(method, &format!("/v1/keys/{}", client.id))
            .json(&change)
            .expect([200, 204])
            .await;
        let answer = waiting.await.expect("an answer");
        assert_eq!(
            (answer.status, &answer["code"]),
            (401, &json!("unauthorized")),
            "{change}"
        );
        assert!(changed.elapsed() < SOON, "{:?}", changed.elapsed());
        wait_until("nobody waits", Duration::from_secs(10), async || {
            admin.availability("crm", 200).await["waiting"] == 0
        })
        .await;
    }
}

/// The status of a call with this cookie.
async fn with_cookie(node: &Client, cookie: &str) -> u16 {
    let call = node.get("/v1/pools").header("cookie", cookie);
    call.expect(ANY).await.status
}

#[tokio::test]
async fn a_login_ends_with_the_secret_that_made_it() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let operator = make(&admin, json!({"name": "o", "role": "operator"})).await;
    let (by_admin, by_key) = (
        log_in(&node, KEY).await,
        log_in(&node, &operator.secret).await,
    );
    assert_eq!(
        (
            with_cookie(&node, &by_admin).await,
            with_cookie(&node, &by_key).await
        ),
        (200, 200)
    );
    // While both secrets are good, the login is.
    let roll = async |overlap_ms: u64| {
        admin
            .post(&format!("/v1/keys/{}/roll", operator.id))
            .json(&json!({ "overlap_ms": overlap_ms }))
            .expect(200)
            .await
    };
    roll(60_000).await;
    assert_eq!(with_cookie(&node, &by_key).await, 200);
    let who = async || {
        let listed = admin.get("/v1/sessions").expect(200).await;
        let who = listed.list("items").iter();
        let mut who: Vec<_> = who.map(|session| session["who"].clone()).collect();
        who.sort_by_key(ToString::to_string);
        who
    };
    assert_eq!(who().await, ["admin_key", "o"]);
    let rolled = roll(0).await;
    assert_eq!(with_cookie(&node, &by_key).await, 401);
    assert_eq!(who().await, ["admin_key"]);
    let again = log_in(&node, rolled["secret"].as_str().expect("a secret")).await;
    assert_eq!(with_cookie(&node, &again).await, 200);

    // Another admin key, as after a restart: who has the former cookie is out, and only who has it.
    drop(node);
    let other = "another-operator-key-of-the-tests";
    let node = Launch::on(&redis.url())
        .set("admin_key", other)
        .start()
        .await;
    assert_eq!(
        (
            with_cookie(&node, &by_admin).await,
            with_cookie(&node, &again).await
        ),
        (401, 200)
    );
    let anew = log_in(&node, other).await;
    assert_eq!(with_cookie(&node, &anew).await, 200);
}

#[tokio::test]
async fn who_is_logged_in_can_be_listed_and_sent_out() {
    let cluster = Installation::start_with(
        2,
        &[("admin_key", KEY), ("trusted_proxies", "[\"127.0.0.1\"]")],
    )
    .await;
    let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
    let admin = a.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 5}), 201).await;
    let operator = make(
        &admin,
        json!({"name": "Anna, shift lead", "role": "operator"}),
    )
    .await;
    let (anna, mine) = (log_in(a, &operator.secret).await, log_in(b, KEY).await);

    let listed = admin.get("/v1/sessions").expect(200).await;
    let sessions = listed.list("items");
    assert_eq!(sessions.len(), 2, "{}", listed.text);
    let of = |who: &str| {
        let found = sessions.iter().find(|session| session["who"] == who);
        found.expect("a session").clone()
    };
    let session = of("Anna, shift lead");
    assert_eq!(session["actor"], operator.id);
    assert_eq!(session["address"], "127.0.0.1");
    for instant in ["since", "last_seen_at"] {
        let at = session[instant].as_str().expect("an instant");
        assert!(at.ends_with('Z'), "{at}");
    }
    of("admin_key");
    // Nobody can log in with what is listed, and only admins see it.
    let value = anna.split_once('=').expect("a value").1;
    assert!(!listed.text.contains(&value[..20]), "{}", listed.text);
    let viewer = make(&admin, json!({"name": "v", "role": "operator"})).await;
    a.with_key(&viewer.secret)
        .get("/v1/sessions")
        .expect(403)
        .await;

    let stream = follow(b, "/v1/pools/crm/events", ("cookie", &anna)).await;
    let id = session["id"].as_str().expect("an id");
    let path = format!("/v1/sessions/{id}");
    admin.call(Method::DELETE, &path).expect(204).await;
    let took = ends(stream).await;
    assert!(took < SOON, "{took:?}");
    assert_eq!(
        (with_cookie(b, &anna).await, with_cookie(a, &mine).await),
        (401, 200)
    );
    let unknown = admin.call(Method::DELETE, &path).expect(404).await;
    assert_eq!(unknown["code"], "session_not_found");
    let trail = admin.get("/v1/audit?action=session").expect(200).await;
    assert_eq!(trail["items"][1]["target"], id, "{}", trail.text);

    // A log-out ends what was open by it.
    let stream = follow(a, "/v1/alerts/events", ("cookie", &mine)).await;
    b.post("/admin/logout")
        .header("cookie", &mine)
        .header("sec-fetch-site", "same-origin")
        .expect(303)
        .await;
    let took = ends(stream).await;
    assert!(took < SOON, "{took:?}");
    assert!(
        admin
            .get("/v1/sessions")
            .expect(200)
            .await
            .list("items")
            .is_empty()
    );
}

#[tokio::test]
async fn a_login_of_an_earlier_version_is_bound_to_the_secret_that_is_good_now() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let cookie = log_in(&node, KEY).await;
    // As an earlier version leaves it.
    let _: i64 = redis.query(&["DEL", "lh1:sessions:{login}"]).await;
    assert_eq!(with_cookie(&node, &cookie).await, 200);
    assert_eq!(
        node.with_key(KEY).get("/v1/sessions").expect(200).await["items"][0]["who"],
        "admin_key"
    );
    drop(node);
    let other = "another-operator-key-of-the-tests";
    let node = Launch::on(&redis.url())
        .set("admin_key", other)
        .start()
        .await;
    assert_eq!(with_cookie(&node, &cookie).await, 401);
}
