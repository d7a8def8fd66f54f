//! What is refused: nobody pushes others out of the trail, locks them out, or hides behind a proxy.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::admin_pages::{form, log_in, page_of_ours};
use crate::harness::{ANY, Client, Launch, Node, Redis, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";

async fn behind_a_proxy(redis: &Redis) -> Node {
    Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("trusted_proxies", "[\"127.0.0.1\"]")
        .start()
        .await
}

async fn secret(admin: &Client, body: serde_json::Value) -> String {
    let made = admin.post("/v1/keys").json(&body).expect(201).await;
    made["secret"].as_str().expect("a secret").to_owned()
}

/// The statuses of this many attempts to delete a pool.
async fn delete(client: &Client, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests / 50 {
        let some = (0..50).map(|_| client.call(Method::DELETE, "/v1/pools/crm").expect(ANY));
        statuses.extend(join_all(some).await.iter().map(|answer| answer.status));
    }
    statuses
}

#[tokio::test]
async fn no_key_pushes_what_others_did_out_of_the_trail_and_repetitions_are_counted() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 5}), 201).await;
    let limits = json!({"per_minute": 60, "per_address_per_minute": 60});
    let widget = json!({"name": "w", "role": "client", "pools": ["crm"], "limits": limits});
    let widget = secret(&admin, widget).await;
    let viewer = secret(&admin, json!({"name": "v", "role": "viewer"})).await;

    // Its limits come first, so what is refused counts.
    let statuses = delete(&node.with_key(&widget), 200).await;
    assert_eq!((statuses[0], statuses.last()), (403, Some(&429)));
    delete(&node.with_key(&viewer), 300).await;
    // Nobody's key, and none at all, are strangers alike.
    delete(&node.with_key("lh_operator_000000000000"), 150).await;
    delete(&node, 150).await;
    // What is allowed is an entry, and found among the first.
    admin.patch_pool("crm", json!({"capacity": 6}), 200).await;
    let counted = async || {
        let trail = admin.get("/v1/audit?limit=1000").expect(200).await;
        let entries = trail.list("items");
        let deleted = entries
            .iter()
            .filter(|entry| entry["action"] == "pool.delete");
        let times: u64 = deleted
            .clone()
            .map(|entry| entry["times"].as_u64().expect("a count"))
            .sum();
        (times, deleted.count(), entries.len())
    };
    wait_until("all are counted", Duration::from_secs(20), async || {
        counted().await.0 == 800
    })
    .await;
    let (_, entries, all) = counted().await;
    assert!(entries < 400 && all < 420, "{entries} of {all}");
    let newest = admin.get("/v1/audit?action=pool.patch").expect(200).await;
    assert_eq!(
        (
            newest["items"][0]["times"].clone(),
            newest["items"][0]["outcome"].clone()
        ),
        (json!(1), json!("done"))
    );
    let lines = node.all_said().await.matches("pool.delete").count();
    assert!(lines < 3 * 400, "{lines}");
}

#[tokio::test]
async fn who_guesses_the_admin_key_waits_and_nobody_else_does() {
    let redis = Redis::start().await;
    let node = behind_a_proxy(&redis).await;
    let from = |address: &'static str, key: &str| {
        let key = node.with_key(key);
        key.get("/v1/pools")
            .header("x-forwarded-for", address)
            .expect(ANY)
    };
    let attacker = "[2001:db8:0:1::9]:40000";
    let mut statuses = Vec::new();
    for number in 0..30 {
        let guess = format!("guess-number-{number}-of-the-key");
        statuses.push(from(attacker, &guess).await.status);
    }
    assert!(statuses.starts_with(&[401, 401, 401]), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let told = from(attacker, KEY).await;
    assert_eq!(
        (told.status, &told["code"]),
        (429, &json!("too_many_requests"))
    );
    assert!(told.header("retry-after").is_some());
    // Another address of the same customer, another customer, and a key that cannot be guessed.
    assert_eq!(from("2001:db8:0:1:ffff::", KEY).await.status, 429);
    assert_eq!(from("2001:db8:0:2::9", KEY).await.status, 200);
    assert_eq!(from("198.51.100.7:1234", KEY).await.status, 200);
    let admin = node.with_key(KEY);
    let viewer = secret(&admin, json!({"name": "v", "role": "viewer"})).await;
    assert_eq!(from(attacker, &viewer).await.status, 200);

    // Nor can keys of ours be tried one after the other, whole or damaged; who has one gets in from the same address.
    let whole = |number: usize| format!("lh_client_{number:012}{}", "a".repeat(40));
    let damaged = |number: usize| format!("lh_operator_{number}");
    let forms: [(&'static str, &dyn Fn(usize) -> String); 2] =
        [("192.0.2.77", &whole), ("192.0.2.78", &damaged)];
    for (office, form) in forms {
        let mut statuses = Vec::new();
        for number in 0..15 {
            statuses.push(from(office, &form(number)).await.status);
        }
        assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
        assert_eq!(from(office, &viewer).await.status, 200);
        assert_eq!(from(office, KEY).await.status, 200);
    }

    // The same wrong key for ever is a mistake, and locks nobody out.
    for _ in 0..60 {
        assert_eq!(
            from("198.51.100.8", "the-key-of-last-year-1").await.status,
            401
        );
    }
    assert_eq!(from("198.51.100.8", KEY).await.status, 200);

    // The log-in page counts by address too.
    let enter = |address: &'static str, key: &'static str| {
        let call = page_of_ours(&node, "/admin/login").header("x-forwarded-for", address);
        form(call, &[("key", key)]).expect(ANY)
    };
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(enter("203.0.113.9", "wrong").await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert_eq!(enter("203.0.113.9", KEY).await.status, 429);
    let entered = enter("198.51.100.7", KEY).await;
    assert!(entered.header("set-cookie").is_some(), "{}", entered.status);
}

#[tokio::test]
async fn the_token_of_a_proxy_hides_no_login_and_is_no_guess() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let cookie = log_in(&node, KEY).await;
    let call = |path: &str| node.get(path).header("cookie", &cookie);
    for number in 0..40 {
        for bearer in [
            format!("Bearer eyJhbGciOiJSUzI1NiJ9.eyJuIjox{number}.c2ln"),
            format!("Bearer ya29.opaque-{number}"),
        ] {
            let answer = call("/v1/pools")
                .header("authorization", &bearer)
                .expect(ANY)
                .await;
            assert_eq!(answer.status, 200, "{bearer}");
        }
    }
    let page = call("/admin")
        .header("accept", "text/html")
        .header("authorization", "Bearer eyJ.x.y");
    page.expect(200).await;
    // A key of ours that is not good any more is not passed over.
    let gone = "Bearer lh_operator_000000000000";
    call("/v1/pools")
        .header("authorization", gone)
        .expect(401)
        .await;
}

#[tokio::test]
async fn clients_behind_a_proxy_are_told_apart_in_every_spelling_of_their_address() {
    let redis = Redis::start().await;
    let node = behind_a_proxy(&redis).await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 100}), 201).await;
    let limits = json!({"per_address_per_minute": 6});
    let widget = json!({"name": "w", "role": "client", "pools": ["crm"], "limits": limits});
    let client = node.with_key(&secret(&admin, widget).await);
    let look = |header: &'static str, value: String| {
        let call = client
            .get("/v1/pools/crm/availability")
            .header(header, &value);
        call.expect(ANY)
    };
    for number in 1..20 {
        for (header, value) in [
            ("x-forwarded-for", format!("203.0.113.{number}:41234")),
            ("x-forwarded-for", format!("[2001:db8:0:{number}::6]:443")),
            (
                "forwarded",
                format!("for=\"198.51.100.{number}:4711\";proto=https"),
            ),
        ] {
            assert_eq!(look(header, value.clone()).await.status, 200, "{value}");
            // One at once is what six a minute are.
            assert_eq!(look(header, value.clone()).await.status, 429, "{value}");
        }
    }
    admin
        .call(Method::PUT, "/v1/pools/other")
        .header("x-forwarded-for", "203.0.113.78:41234, 127.0.0.1:5555")
        .json(&json!({"capacity": 1}))
        .expect(201)
        .await;
    let trail = admin.get("/v1/audit?pool=other").expect(200).await;
    assert_eq!(trail["items"][0]["address"], "203.0.113.78");

    // A client adds the header that its proxy does not write, and changes nothing by that.
    for number in 30..34 {
        let call = client
            .get("/v1/pools/crm/availability")
            .header("x-forwarded-for", &format!("203.0.113.{number}"))
            .header("forwarded", "for=198.51.100.99");
        // Both kinds were seen, so it is the proxy, which has been asked once already from the second time on.
        let expected = if number == 30 { 200 } else { 429 };
        assert_eq!(call.expect(ANY).await.status, expected, "{number}");
    }

    // What cannot be read is said once.
    for _ in 0..3 {
        look("x-forwarded-for", "somebody".to_owned()).await;
    }
    wait_until("it is in the log", Duration::from_secs(5), async || {
        node.log().contains("cannot be read")
    })
    .await;
    let log = node.all_said().await;
    assert_eq!(log.matches("cannot be read").count(), 1, "{log}");
}
