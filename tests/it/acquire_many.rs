//! Acquire-many: the seats of a whole backend in one call.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Installation, Launch, Redis, Reply};

const PATH: &str = "/v1/pools/crm/leases/acquire-many";

fn statuses(answer: &Reply) -> Vec<&str> {
    let results = answer.list("results").iter();
    results
        .map(|result| {
            let code = result["code"].as_str();
            code.unwrap_or_else(|| result["status"].as_str().expect("a word"))
        })
        .collect()
}

#[tokio::test]
async fn each_is_decided_alone_in_the_order_of_the_list() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    let block = node.call(Method::PUT, "/v1/pools/crm/blocks/bob");
    block
        .json(&json!({"for_ms": 60_000, "reason": "Call the desk."}))
        .expect(200)
        .await;

    let leases = json!({"leases": [
        {"holder": "ann", "tenant": "acme", "label": "Front desk", "platform": "web", "key": "a"},
        {"holder": "bob", "key": "b"},
        {"holder": "ann", "tenant": "acme", "key": "a"},
        {"holder": "cid"},
        {"holder": "dan", "key": "d"},
    ]});
    let first = node.post(PATH).json(&leases).expect(200).await;

    assert_eq!(
        statuses(&first),
        [
            "granted",
            "holder_blocked",
            "existing",
            "granted",
            "pool_full"
        ]
    );
    let results = first.list("results");
    assert_eq!(results[0]["lease"]["label"], "Front desk");
    assert_eq!(results[0]["lease"]["platform"], "web");
    assert_eq!(results[0]["lease"]["renew_after_ms"], 20_000);
    assert_eq!(results[1]["status"], "denied");
    assert_eq!(results[1]["reason"], "Call the desk.");
    assert!(results[1]["blocked_until"].is_string());
    assert_eq!(results[2]["lease"]["id"], results[0]["lease"]["id"]);
    assert_eq!(results[2]["lease"]["label"], "Front desk");
    let fence = |at: usize| results[at]["lease"]["fence"].as_u64().expect("a number");
    assert!(fence(0) < fence(3));
    assert_eq!(results[4]["in_use"], 2);
    assert_eq!(results[4]["capacity"], 2);
    assert!(results[4]["retry_after_ms"].as_u64() > Some(0));

    // What came back is worth as much as what a single acquire gives.
    let token = results[3]["token"].as_str().expect("a token");
    node.renew(token, 200).await;
    node.release(token, 204).await;
    let again = node.post(PATH).json(&leases).expect(200).await;
    assert_eq!(
        statuses(&again),
        [
            "existing",
            "holder_blocked",
            "existing",
            "granted",
            "pool_full"
        ]
    );
    // The key of a single acquire is the same name.
    let single = node
        .acquire_once("crm", "a", json!({"holder": "ann", "tenant": "acme"}), 200)
        .await;
    assert_eq!(single["lease"]["id"], results[0]["lease"]["id"]);
}

#[tokio::test]
async fn rules_hold_for_each_and_more_than_a_bite_is_answered() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy = json!({"capacity": 3, "tenant_max": 1, "platforms": ["web"]});
    node.put_pool("crm", policy, 201).await;
    let leases = json!({"leases": [
        {"holder": "ann", "tenant": "acme", "platform": "web"},
        {"holder": "bob", "tenant": "acme", "platform": "web"},
        {"holder": "cid", "tenant": "blue", "platform": "phone"},
        {"holder": "dan", "tenant": "blue", "platform": "web", "key": "d"},
        {"holder": "dan", "tenant": "blue", "platform": "web", "key": "d"},
    ]});
    let answer = node.post(PATH).json(&leases).expect(200).await;
    assert_eq!(
        statuses(&answer),
        [
            "granted",
            "tenant_full",
            "platform_not_licensed",
            "granted",
            "existing"
        ]
    );

    node.put_pool("crm", json!({"capacity": 450}), 200).await;
    let many: Vec<Value> = (0..500)
        .map(|at| json!({"holder": format!("h{at}")}))
        .collect();
    let answer = node
        .post(PATH)
        .json(&json!({ "leases": many }))
        .expect(200)
        .await;
    let words = statuses(&answer);
    let granted = words.iter().filter(|word| **word == "granted").count();
    assert_eq!((words.len(), granted), (500, 448));
    assert!(
        words[448..].iter().all(|word| *word == "pool_full"),
        "{words:?}"
    );
    let status = node.pool("crm", 200).await;
    assert_eq!(status["in_use"], 450);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_whole() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let ask = async |body: Value, status: u16| node.post(PATH).json(&body).expect(status).await;
    // A pool that is not there is asked for once, not once for each of the list.
    let many: Vec<Value> = (0..500)
        .map(|number| json!({"key": format!("{number}")}))
        .collect();
    let asked = async {
        let none = ask(json!({ "leases": many }), 404).await;
        assert_eq!(none["code"], "pool_not_found");
    };
    let commands = cluster.redis.commands_of(":crm:", asked).await;
    assert!(commands.len() < 20, "{} commands", commands.len());
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    assert_eq!(ask(json!({"leases": []}), 200).await["results"], json!([]));
    let too_many: Vec<Value> = (0..501).map(|_| json!({})).collect();
    ask(json!({ "leases": too_many }), 400).await;
    ask(json!({"leases": [{"key": ""}]}), 400).await;
    ask(json!({"leases": [{"holder": "a\u{7}"}]}), 400).await;
    ask(json!({"leases": [{"wait": true}]}), 400).await;
    assert_eq!(node.pool("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn a_key_of_pages_takes_no_seats_for_others() {
    let redis = Redis::start().await;
    let admin = "an-operator-key-of-this-test";
    let node = Launch::on(&redis.url())
        .set("admin_key", admin)
        .start()
        .await;
    let node = &node;
    let operator = node.with_key(admin);
    operator.put_pool("crm", json!({"capacity": 5}), 201).await;
    let make = async |more: Value| {
        let mut key = json!({"name": "x", "role": "client", "pools": ["crm"]});
        key.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        let made = operator.post("/v1/keys").json(&key).expect(201).await;
        made["secret"].as_str().expect("a secret").to_owned()
    };
    let page = make(json!({"origins": ["https://crm.example"]})).await;
    let backend = make(json!({})).await;
    let body = json!({"leases": [{"holder": "ann"}]});
    let refused = node
        .with_key(&page)
        .post(PATH)
        .json(&body)
        .expect(403)
        .await;
    assert_eq!(refused["code"], "forbidden");
    node.with_key(&backend)
        .post(PATH)
        .json(&body)
        .expect(200)
        .await;
}
