//! How commands end that did not do what was asked: an exit code for scripts, a sentence for people, a word for programs.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Client, Launch, Proxy, Redis};

const KEY: &str = "the-operator-key-of-the-tests";

async fn run(server: &str, key: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LEASEHOLD_SERVER", server)
        .env("LEASEHOLD_KEY", key)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("it runs")
}

/// What a program reads of a failure: one line of JSON on stderr, and nothing on stdout.
async fn failure(node: &Client, key: &str, arguments: &[&str]) -> Value {
    let output = run(&node.url(""), key, arguments).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(told["exit"], json!(output.status.code()), "{told}");
    assert!(
        told["message"].as_str().is_some_and(|text| text.len() > 10),
        "{told}"
    );
    told
}

#[tokio::test]
async fn a_failure_has_a_word_and_a_number_for_programs() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 1}), 201).await;
    let made = json!({"name": "v", "role": "viewer"});
    let viewer = admin.post("/v1/keys").json(&made).expect(201).await;
    let viewer = viewer["secret"].as_str().expect("a secret").to_owned();

    for (key, arguments, code, exit) in [
        (KEY, &["pool", "show", "nowhere"][..], "pool_not_found", 4),
        (
            KEY,
            &["key", "revoke", "nobodyhaseis", "--yes"],
            "key_not_found",
            4,
        ),
        (
            KEY,
            &["pool", "set", "crm", "capcity=9"],
            "invalid_request",
            2,
        ),
        (KEY, &["pool", "set", "crm", "capacity"], "wrong_usage", 2),
        (KEY, &["pool", "delete", "crm"], "not_confirmed", 2),
        (KEY, &["pool", "lisst"], "wrong_usage", 2),
        (KEY, &["lease", "terminate", "crm"], "wrong_usage", 2),
        (
            KEY,
            &["pool", "list", "--server", "127.0.0.1:1"],
            "wrong_usage",
            2,
        ),
        (
            KEY,
            &["pool", "list", "--key-file", "/no/such/file"],
            "wrong_usage",
            2,
        ),
        (
            &viewer,
            &["pool", "set", "crm", "capacity=9"],
            "forbidden",
            5,
        ),
        ("wrong", &["pool", "list"], "unauthorized", 5),
        (
            KEY,
            &["pool", "list", "--server", "http://127.0.0.1:1"],
            "unreachable",
            6,
        ),
        (KEY, &["report", "usage", "nowhere"], "pool_not_found", 4),
        (KEY, &["sizing", "nowhere"], "pool_not_found", 4),
        (
            KEY,
            &["config", "--redis-url", "nonsense"],
            "wrong_setting",
            2,
        ),
    ] {
        let arguments = [arguments, &["--json"]].concat();
        if arguments[0] == "config" {
            // It prints first and refuses then, so that one sees what was refused.
            let output = run(&node.url(""), key, &arguments).await;
            let said = String::from_utf8_lossy(&output.stderr);
            let told: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
            assert_eq!((&told["code"], &told["exit"]), (&json!(code), &json!(exit)));
            continue;
        }
        let told = failure(&node, key, &arguments).await;
        assert_eq!(
            (&told["code"], &told["exit"]),
            (&json!(code), &json!(exit)),
            "{arguments:?}: {told}"
        );
    }
    // For people it is a sentence, as ever.
    let output = run(&node.url(""), KEY, &["pool", "show", "nowhere"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("leasehold: ") && said.contains("`leasehold pool list`"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_unavailable_says_when_to_ask_again() {
    let redis = Redis::start_alone().await;
    let mut proxy = Proxy::start(redis.address());
    let node = Launch::on(&redis.url_through(&proxy)).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    proxy.refuse().await;
    let told = failure(&node, "", &["pool", "list", "--json"]).await;
    assert_eq!(
        (&told["code"], &told["exit"]),
        (&json!("store_unavailable"), &json!(6))
    );
    assert!(told["retry_after_ms"].as_u64() > Some(0), "{told}");
}

#[tokio::test]
async fn a_pool_is_made_and_changed_by_one_command_with_one_entry_in_the_trail() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    for (arguments, capacity) in [
        (["pool", "set", "crm", "capacity=3"], 3),
        (["pool", "set", "crm", "capacity=2"], 2),
    ] {
        let output = run(&node.url(""), KEY, &arguments).await;
        assert!(output.status.success());
        let pool = node.with_key(KEY).pool("crm", 200).await;
        assert_eq!(pool["capacity"], capacity);
    }
    let trail = node.with_key(KEY).get("/v1/audit").expect(200).await;
    let told: Vec<_> = trail
        .list("items")
        .iter()
        .rev()
        .map(|entry| (entry["action"].clone(), entry["outcome"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            (json!("pool.put"), json!("done")),
            (json!("pool.patch"), json!("done"))
        ]
    );
}

#[tokio::test]
async fn settings_that_are_for_tests_are_shown_to_those_who_set_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = async |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(arguments)
            .env_clear()
            .current_dir(directory.path())
            .output()
            .await
            .expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = config(&["config"]).await;
    assert!(
        shown.contains("drain_wait_ms") && !shown.contains("trail"),
        "{shown}"
    );
    let shown = config(&["config", "--trail", "on"]).await;
    assert!(shown.contains("trail"), "{shown}");
}
