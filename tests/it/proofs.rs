//! Proofs of leases, and the question whether somebody holds one: what a backend needs that holds no seats itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::harness::{Client, Installation, Launch, Redis, Reply, let_pass, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD
        .decode(part)
        .expect("base64url without padding")
}

/// What a proof says, if one of the keys that the node publishes signed it.
async fn verified(node: &Client, proof: &Value) -> Value {
    let proof = proof.as_str().expect("a proof");
    let parts: Vec<&str> = proof.split('.').collect();
    let header: Value = serde_json::from_slice(&decoded(parts[0])).expect("JSON");
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(header["typ"], "leasehold-lease+jwt");
    let keys = node.get("/v1/jwks").expect(200).await;
    let key = keys
        .list("keys")
        .iter()
        .find(|key| key["kid"] == header["kid"]);
    let x = key.expect("it is published")["x"].as_str().expect("a key");
    let signed = format!("{}.{}", parts[0], parts[1]);
    UnparsedPublicKey::new(&ED25519, decoded(x))
        .verify(signed.as_bytes(), &decoded(parts[2]))
        .expect("it was signed here");
    serde_json::from_slice(&decoded(parts[1])).expect("JSON")
}

async fn kids(node: &Client) -> Vec<String> {
    let keys = node.get("/v1/jwks").expect(200).await;
    let kids = keys.list("keys").iter();
    kids.map(|key| key["kid"].as_str().expect("a kid").to_owned())
        .collect()
}

fn end_of(lease: &Value) -> f64 {
    let end = lease["expires_at"].as_str().expect("an instant");
    let end = chrono::DateTime::parse_from_rfc3339(end).expect("RFC 3339");
    end.timestamp_millis() as f64 / 1e3
}

#[tokio::test]
async fn every_answer_that_extends_a_lease_brings_a_proof_that_others_can_verify() {
    let redis = Redis::start().await;
    let launch = Launch::on(&redis.url()).set("public_url", "https://seats.example/");
    let node = launch.start().await;
    node.put_pool("crm", json!({"capacity": 9, "proofs": {}}), 201)
        .await;
    node.put_pool("plain", json!({"capacity": 9}), 201).await;

    let lease = node
        .acquire("crm", json!({"holder": "ann", "tenant": "acme"}), 201)
        .await;
    let claims = verified(&node, &lease["proof"]).await;
    assert_eq!(claims["iss"], "https://seats.example");
    assert_eq!(claims["aud"], "crm");
    assert_eq!(claims["sub"], "ann");
    assert_eq!(claims["jti"], lease.id());
    assert_eq!(claims["exp"], json!(end_of(&lease["lease"])));
    assert_eq!(claims["lh"]["fence"], lease["lease"]["fence"]);
    assert_eq!(claims["lh"]["tenant"], "acme");
    assert_eq!(claims["lh"]["grace_ms"], 600_000);

    let renewed = node.renew(&lease.token(), 200).await;
    let claims = verified(&node, &renewed["proof"]).await;
    assert_eq!(claims["exp"], json!(end_of(&renewed["lease"])));
    let many = node.renew_many(&[&lease.token()], 200).await;
    verified(&node, &many.list("results")[0]["proof"]).await;
    let body = json!({"leases": [{"holder": "bob"}]});
    let taken = node
        .post("/v1/pools/crm/leases/acquire-many")
        .json(&body)
        .expect(200)
        .await;
    verified(&node, &taken.list("results")[0]["proof"]).await;

    // A policy that changes reaches holders with their next beat.
    let policy = json!({"capacity": 9, "privacy": "pseudonymous", "proofs": {"audience": "https://api.example"}});
    node.put_pool("crm", policy, 200).await;
    let renewed = node.renew(&lease.token(), 200).await;
    let claims = verified(&node, &renewed["proof"]).await;
    assert_eq!(claims["aud"], "https://api.example");
    assert!(claims.get("sub").is_none(), "{claims}");

    let plain = node.acquire("plain", json!({}), 201).await;
    assert!(plain["proof"].is_null());
    node.put_pool(
        "crm",
        json!({"capacity": 9, "proofs": {"audience": " "}}),
        400,
    )
    .await;
    node.put_pool(
        "crm",
        json!({"capacity": 9, "proofs": {"audiense": "x"}}),
        400,
    )
    .await;
}

#[tokio::test]
async fn a_backend_asks_whether_a_lease_lives_and_changes_nothing_by_it() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let policy = json!({"capacity": 9, "ttl_ms": 2_000, "proofs": {}});
    admin.put_pool("crm", policy, 201).await;
    admin
        .put_pool("erp", json!({"capacity": 9, "proofs": {}}), 201)
        .await;
    let key = async |body: Value| {
        let made = admin.post("/v1/keys").json(&body).expect(201).await;
        node.with_key(made["secret"].as_str().expect("a secret"))
    };
    let verifier = key(json!({"name": "api", "role": "verifier", "pools": ["crm"]})).await;
    let viewer = key(json!({"name": "eye", "role": "viewer"})).await;
    let client = key(json!({"name": "app", "role": "client", "pools": ["crm"]})).await;
    let check = async |who: &Client, body: Value, status: u16| {
        who.post("/v1/leases/check")
            .json(&body)
            .expect(status)
            .await
    };
    for (body, code) in [
        (
            json!({"id": "x", "pool": "crm", "fence": 1}),
            "lease_not_found",
        ),
        (
            json!({"id": "x", "pool": "c/r/m", "fence": 1}),
            "pool_not_found",
        ),
    ] {
        let answer = check(&viewer, body, 200).await;
        assert_eq!(
            (&answer["active"], &answer["code"]),
            (&json!(false), &json!(code))
        );
    }
    let named = |lease: &Reply| {
        let lease = &lease["lease"];
        json!({"id": lease["id"], "pool": lease["pool"], "fence": lease["fence"]})
    };

    let lease = client
        .acquire("crm", json!({"holder": "ann", "tenant": "acme"}), 201)
        .await;
    let_pass(200).await;
    for body in [json!({"proof": lease["proof"]}), named(&lease)] {
        for who in [&verifier, &viewer, &admin] {
            let answer = check(who, body.clone(), 200).await;
            assert_eq!(answer["active"], true, "{}", answer.text);
            assert_eq!(
                (&answer["pool"], &answer["holder"]),
                (&json!("crm"), &json!("ann"))
            );
            assert_eq!(
                (&answer["tenant"], &answer["fence"]),
                (&json!("acme"), &lease["lease"]["fence"])
            );
            let rest = answer["expires_in_ms"].as_u64().expect("a number");
            assert!(rest <= 1_800, "it was extended: {rest}");
            let cache = answer["cache_ms"].as_u64().expect("a number");
            assert!(0 < cache && cache <= 666, "{cache}");
        }
    }
    // What a verifier may not: anything else.
    check(&client, named(&lease), 403).await;
    check(&node, named(&lease), 401).await;
    for path in [
        "/v1/pools",
        "/v1/pools/crm",
        "/v1/pools/crm/leases",
        "/v1/pools/crm/availability",
        "/v1/keys",
    ] {
        verifier.get(path).expect(403).await;
    }
    verifier.acquire("crm", json!({}), 403).await;
    check(&verifier, json!({}), 400).await;
    check(&verifier, json!({"id": lease.id(), "pool": "crm"}), 400).await;
    check(&verifier, json!({"proof": "x", "pool": "crm"}), 400).await;

    let code = async |body: Value| {
        let answer = check(&verifier, body, 200).await;
        assert_eq!(answer["active"], false, "{}", answer.text);
        assert!(answer["holder"].is_null(), "{}", answer.text);
        answer["code"].as_str().expect("a code").to_owned()
    };
    assert_eq!(code(json!({"proof": "a.b.c"})).await, "invalid_proof");
    let other_fence = json!({"id": lease.id(), "pool": "crm", "fence": 1});
    assert_eq!(code(other_fence).await, "lease_not_found");
    // A pool that is not for this key is as unknown as one that is not there.
    let foreign = admin.acquire("erp", json!({}), 201).await;
    assert_eq!(
        code(json!({"proof": foreign["proof"]})).await,
        "pool_not_found"
    );
    let nowhere = json!({"id": lease.id(), "pool": "nowhere", "fence": 1});
    assert_eq!(code(nowhere).await, "pool_not_found");

    client.release(&lease.token(), 204).await;
    assert_eq!(
        code(json!({"proof": lease["proof"]})).await,
        "lease_released"
    );
    let ended = client.acquire("crm", json!({}), 201).await;
    admin
        .terminate("crm", json!({"ids": [ended.id()]}), 200)
        .await;
    assert_eq!(
        code(json!({"proof": ended["proof"]})).await,
        "lease_terminated"
    );
    let expired = client.acquire("crm", json!({}), 201).await;
    let_pass(2_050).await;
    assert_eq!(code(named(&expired)).await, "lease_expired");
    wait_until(
        "the end is written down",
        std::time::Duration::from_secs(10),
        async || code(json!({"proof": expired["proof"]})).await == "lease_expired",
    )
    .await;
}

#[tokio::test]
async fn keys_of_a_file_sign_and_nodes_publish_what_any_of_them_will_sign_with() {
    let cluster = Installation::one().await;
    let old = &cluster.nodes[0];
    let before = kids(old).await;
    assert_eq!(before.len(), 1);

    // RFC 8410, section 10.3.
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("proofs.pem");
    std::fs::write(&file, pem).expect("a file");
    let path = file.to_str().expect("UTF-8");
    let launch = Launch::on(&cluster.redis.url());
    let new = launch.clone().set("signing_key_file", path).start().await;
    new.put_pool("crm", json!({"capacity": 1, "proofs": {}}), 201)
        .await;
    // A node that has never seen the file publishes its key.
    wait_until(
        "they have heard of each other",
        std::time::Duration::from_secs(10),
        async || kids(old).await.len() == 2 && kids(&new).await.len() == 2,
    )
    .await;
    let lease = new.acquire("crm", json!({}), 201).await;
    let claims = verified(old, &lease["proof"]).await;
    let issuer = claims["iss"].as_str().expect("a text");
    assert!(issuer.starts_with("urn:leasehold:"), "{issuer}");
    let answer = old
        .post("/v1/leases/check")
        .json(&json!({"proof": lease["proof"]}));
    assert_eq!(answer.expect(200).await["active"], true);
    assert!(!new.log().contains("MC4CAQ"));

    std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nAAAA\n").expect("a file");
    let (status, said) = launch.anew().set("signing_key_file", path).refuse().await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(
        said.contains("signing_key_file") && said.contains("openssl"),
        "{said}"
    );
    let (status, said) = launch
        .anew()
        .set("public_url", "http://seats.example")
        .refuse()
        .await;
    assert_eq!(status.code(), Some(2), "{said}");
}

#[tokio::test]
async fn a_preflight_is_not_needed_for_the_keys_and_they_may_be_kept() {
    let cluster = Installation::one().await;
    let answer = cluster.nodes[0]
        .call(Method::GET, "/v1/jwks")
        .expect(200)
        .await;
    assert_eq!(answer.headers["cache-control"], "public, max-age=300");
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let key = &answer.list("keys")[0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["use"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("sig"))
    );
    assert!(key.get("d").is_none() && key.get("alg").is_none());
}
