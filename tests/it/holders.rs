//! Holders as directories have them: what a name may be, and what becomes of one that an earlier version took.

use std::time::Duration;

use leasehold::names::Holder;
use leasehold::time::Timestamp;
use leasehold::token::Tokens;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Installation, Node, Reply, SECRET, raw, wait_until};
use crate::history::store;

const LONG_TTL: u64 = 60_000;

/// The name of 512 bytes that a directory could have.
fn distinguished_name() -> String {
    let mut name = "CN=Zoë Müller,OU=".to_owned();
    while name.len() < 512 - ",DC=example,DC=com".len() {
        name.push('x');
    }
    name.push_str(",DC=example,DC=com");
    assert_eq!(name.len(), 512);
    name
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_holder_has_up_to_512_bytes_everywhere() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let holder = distinguished_name();
    let named = json!({"capacity": 2_000, "named": {"seats": 5, "anchor_day": 1}});
    node.put_pool("crm", named, 201).await;
    let body = json!({"holder": holder, "label": "l".repeat(128), "tenant": "t".repeat(64)});
    let granted = node.acquire("crm", body, 201).await;
    assert_eq!(granted["lease"]["holder"], json!(holder));
    let token = granted.token();
    let renewed = node.renew(&token, 200).await;
    assert_eq!(renewed["lease"]["holder"], json!(holder));

    // A batch of as many as there may be, each as long as a token can be.
    let many = node.renew_many(&vec![token.as_str(); 1_000], 200).await;
    assert_eq!(many.list("results").len(), 1_000);

    let listed = node
        .list("crm", &format!("holder={}", encoded(&holder)), 200)
        .await;
    assert_eq!(listed.list("items")[0]["holder"], json!(holder));
    let seat = format!("/v1/pools/crm/named/{}", encoded(&holder));
    assert_eq!(node.get(&seat).expect(200).await["holder"], json!(holder));
    let ended = json!({"holder": holder, "block_ms": 60_000});
    node.terminate("crm", ended, 200).await;
    let denied = node.acquire("crm", json!({"holder": holder}), 409).await;
    assert_eq!(denied["code"], "holder_blocked");

    let longer = json!({"holder": format!("{holder}x")});
    node.acquire("crm", longer, 400).await;
}

/// The sentence with which a request is refused.
fn detail(reply: &Reply) -> &str {
    assert_eq!(reply["code"], "invalid_request");
    reply["detail"].as_str().expect("a sentence")
}

#[tokio::test]
async fn a_name_that_nobody_could_read_is_refused_with_a_sentence() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let named = json!({"capacity": 5, "named": {"seats": 5, "anchor_day": 1}});
    node.put_pool("crm", named, 201).await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    for (name, sentence) in [
        (
            "ann\u{200B}",
            "invisible characters, and number 4 of this one is U+200B",
        ),
        (
            "\u{FEFF}ann",
            "invisible characters, and number 1 of this one is U+FEFF",
        ),
        (
            "an\u{AD}n",
            "invisible characters, and number 3 of this one is U+00AD",
        ),
        (
            "ann\u{E0041}",
            "invisible characters, and number 4 of this one is U+E0041",
        ),
        (
            "\u{202E}ann",
            "bidirectional control characters, and number 1 of this one is U+202E",
        ),
        (
            "ann\u{2066}",
            "bidirectional control characters, and number 4 of this one is U+2066",
        ),
        (
            "a\u{7}n",
            "control characters, and number 2 of this one is U+0007",
        ),
        (
            "a\u{85}n",
            "control characters, and number 2 of this one is U+0085",
        ),
        (
            " ann",
            "no blanks at its ends, and this one has one at its beginning",
        ),
        (
            "ann\u{A0}",
            "no blanks at its ends, and this one has one at its end",
        ),
        (
            "ann\u{3000}",
            "no blanks at its ends, and this one has one at its end",
        ),
        ("\u{2003}", "is not blank"),
    ] {
        for field in ["holder", "tenant", "label", "platform"] {
            let refused = node.acquire("crm", json!({ field: name }), 400).await;
            let about = format!("a {field} ");
            assert!(detail(&refused).contains(&about), "{}", refused.text);
            assert!(detail(&refused).contains(sentence), "{}", refused.text);
            assert_eq!(refused["field"], field);
        }
        let activities = json!({ "activities": ["Order 17", name] });
        let refused = node.acquire("crm", activities, 400).await;
        assert!(detail(&refused).contains(sentence), "{}", refused.text);
        let label = json!({"token": ann.token(), "label": name});
        detail(&node.renew_with(label, 400).await);

        let seat = format!("/v1/pools/crm/named/{}", encoded(name));
        detail(&node.call(Method::PUT, &seat).expect(400).await);
        let transfer = node.post("/v1/pools/crm/named/ann/transfer");
        detail(&transfer.json(&json!({"to": name})).expect(400).await);
        let policy = json!({"capacity": 5, "tenants": { name: {"max": 1} }});
        detail(&node.put_pool("erp", policy, 400).await);
        let policy = json!({"capacity": 5, "platforms": [name]});
        detail(&node.put_pool("erp", policy, 400).await);
        let key = node.post("/v1/keys");
        detail(
            &key.json(&json!({"name": name, "role": "viewer"}))
                .expect(400)
                .await,
        );
    }
    let reason = json!({"all": true, "reason": "\u{202E}enough"});
    detail(&node.terminate("crm", reason, 400).await);
    let message = json!({"capacity": 5, "maintenance": {"message": "be\u{200B}back"}});
    detail(&node.put_pool("erp", message, 400).await);

    for name in ["Zoë Müller", "山田 太郎", "می\u{200C}خواهم", "👩\u{200D}💻"] {
        node.acquire("crm", json!({"holder": name, "label": name}), 201)
            .await;
    }
}

/// A lease of `holder` as an earlier version gave it, and its token.
async fn given_before(node: &Node, pool: &str, holder: &str) -> String {
    let token = node
        .acquire(pool, json!({"holder": "x"}), 201)
        .await
        .token();
    let tokens = Tokens::new(&SecretString::from(SECRET), []);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = Timestamp(now.expect("after 1970").as_millis() as i64);
    let mut claims = tokens.verify(&token, now).expect("one of ours");
    claims.holder = Some(Holder::recorded(holder.to_owned()).expect("it was taken"));
    tokens.sign(&claims)
}

#[tokio::test]
async fn a_lease_whose_name_was_taken_before_goes_on() {
    let mut cluster = Installation::one().await;
    let padded = "ann\u{200B} ";
    cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 3, "ttl_ms": LONG_TTL}), 201)
        .await;
    let token = given_before(&cluster.nodes[0], "crm", padded).await;
    let renewed = cluster.nodes[0].renew(&token, 200).await;
    assert_eq!(renewed["lease"]["holder"], json!(padded));

    // Also where its seat is made again from the token.
    cluster.redis.restart_empty().await;
    let node = cluster.first();
    node.ready().await;
    let renewed = node.renew(&token, 200).await;
    assert_eq!(renewed["lease"]["holder"], json!(padded));
    let listed = node
        .list("crm", &format!("holder={}", encoded(padded)), 200)
        .await;
    assert_eq!(listed.list("items")[0]["holder"], json!(padded));
    wait_until("it is ended", Duration::from_secs(20), async || {
        let ended = json!({"holder": padded, "reason": "renamed"});
        node.terminate("crm", ended, [200, 503]).await.status == 200
    })
    .await;
    let lost = node.renew(&token, 410).await;
    assert_eq!(lost["code"], "lease_terminated");
}

/// The answer to a request whose path no client has made nicer.
async fn as_it_is(node: &Node, method: &str, path: &str, body: &str) -> Reply {
    let mut stream = TcpStream::connect(node.address())
        .await
        .expect("it listens");
    let request = raw::request(method, path, "Connection: close\r\n", body);
    stream.write_all(request.as_bytes()).await.expect("sent");
    raw::answer(&mut stream, request.as_bytes()).await
}

#[tokio::test]
async fn no_new_pool_is_called_dot_and_an_old_one_can_be_deleted() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy = r#"{"capacity": 1}"#;
    for name in [".", ".."] {
        let path = format!("/v1/pools/{name}");
        let refused = as_it_is(node, "PUT", &path, policy).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
        let detail = refused["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("a pool is not called . or .."), "{detail}");

        let store = store(&cluster.redis).await;
        let pool = name.parse().expect("earlier versions took it");
        let policy = leasehold::pool::Policy::with_capacity(1);
        let expect = leasehold::store::Expect::Any;
        store.put_pool(&pool, &policy, expect).await.expect("made");
        let changed = r#"{"capacity": 2}"#;
        assert_eq!(as_it_is(node, "PUT", &path, changed).await.status, 200);
        assert_eq!(as_it_is(node, "GET", &path, "").await.status, 200);
        assert_eq!(as_it_is(node, "DELETE", &path, "").await.status, 204);
    }
    // Names in which dots are something else.
    for name in ["...", ".crm", "a.b"] {
        node.put_pool(name, json!({"capacity": 1}), 201).await;
    }
}
