//! Pools, keys and webhooks as a file: what `leasehold export` writes, `leasehold apply` makes, and makes once.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Client, Launch, Node, Redis};

const KEY: &str = "the-admin-key-of-the-tests";

/// What was printed, and how it ended.
struct Run {
    out: String,
    err: String,
    exit: i32,
}

async fn leasehold(node: &Node, arguments: &[&str]) -> Run {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LEASEHOLD_SERVER", format!("http://{}", node.address()))
        .env("LEASEHOLD_KEY", KEY)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs");
    Run {
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
        exit: status.code().expect("an exit code"),
    }
}

/// Applies a file, and checks how that ends.
async fn apply(node: &Node, file: &Path, text: &str, more: &[&str], exit: i32) -> Run {
    let end = chrono::Utc::now().date_naive() + chrono::Days::new(1_000);
    let text = text.replace("YEARS_FROM_NOW", &format!("{end}T00:00:00Z"));
    std::fs::write(file, &text).expect("written");
    let mut arguments = vec!["apply", "-f", file.to_str().expect("a path")];
    arguments.extend(more);
    let run = leasehold(node, &arguments).await;
    assert_eq!(run.exit, exit, "{text}\n{}\n{}", run.out, run.err);
    run
}

async fn export(node: &Node) -> String {
    let run = leasehold(node, &["export"]).await;
    assert_eq!(run.exit, 0, "{}", run.err);
    run.out
}

async fn closed() -> (Redis, Node, Client) {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    (redis, node, admin)
}

const DESK: &str = r#"
version: 1
pools:
  crm:
    capacity: 2
    outage_grace_ms: null
    tenants: {acme: {max: 1, reserved: 1}}
    queue: {max_waiting: 10}
  phone: {capacity: 5, ttl_ms: 30000, privacy: pseudonymous}
keys:
  crm widget:
    role: client
    pools: [crm]
    origins: [https://crm.example]
    limits: {per_minute: 600}
  desk: {role: operator, pools: [crm, phone], expires_at: YEARS_FROM_NOW}
webhooks:
  on call: {url: https://hooks.example.com/x, events: [pool.full, pool.level], pools: [crm], enabled: false}
"#;

#[tokio::test]
async fn a_file_makes_what_it_declares_and_what_is_exported_is_the_same_again() {
    let (_redis, node, admin) = closed().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("desk.yaml");

    // Looking first does nothing.
    let dry = apply(&node, &file, DESK, &["--dry-run"], 10).await;
    for line in [
        "+ key crm widget",
        "+ key desk",
        "+ pool crm",
        "+ pool phone",
        "+ webhook on call",
        "    capacity: 2",
    ] {
        assert!(
            dry.out.lines().any(|printed| printed == line),
            "{line}\n{}",
            dry.out
        );
    }
    admin.pool("crm", 404).await;

    let made = apply(&node, &file, DESK, &[], 0).await;
    assert!(
        made.out
            .contains("secret of the key crm widget: lh_client_"),
        "{}",
        made.out
    );
    assert!(
        made.err.contains("5 created, 0 changed, 0 the same"),
        "{}",
        made.err
    );
    let pool = admin.pool("crm", 200).await;
    assert_eq!(
        (&pool["capacity"], &pool["outage_grace_ms"]),
        (&json!(2), &Value::Null)
    );
    let keys = admin.get("/v1/keys").expect(200).await;
    assert_eq!(keys["items"][0]["limits"]["per_minute"], 600);

    // Once more is nothing, and no version moves.
    let again = apply(&node, &file, DESK, &["--dry-run"], 0).await;
    assert!(
        again.out.lines().all(|line| line.starts_with("= ")),
        "{}",
        again.out
    );
    apply(&node, &file, DESK, &[], 0).await;
    assert_eq!(admin.pool("crm", 200).await["version"], pool["version"]);

    let exported = export(&node).await;
    let json = leasehold(&node, &["export", "--json"]).await.out;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["pools"]["phone"]["ttl_ms"], 30_000);
    apply(&node, &file, &exported, &["--dry-run"], 0).await;
    // On another installation it makes the same.
    let (_other_redis, other, _) = closed().await;
    apply(&other, &file, &exported, &[], 0).await;
    assert_eq!(export(&other).await, exported);
}

#[tokio::test]
async fn changes_are_shown_field_by_field_with_what_they_mean() {
    let (_redis, node, admin) = closed().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("desk.yaml");
    apply(&node, &file, DESK, &[], 0).await;
    for holder in ["ann", "bob"] {
        let tenant = (holder == "ann").then_some("acme");
        admin
            .acquire("crm", json!({"holder": holder, "tenant": tenant}), 201)
            .await;
    }
    // What is set for a time is not the file's, unless it names it.
    let closed_for_a_while = json!({"maintenance": {"message": "Back at nine."}});
    admin.patch_pool("crm", closed_for_a_while, 200).await;

    let changed = DESK
        .replace("capacity: 2", "capacity: 1")
        .replace("capacity: 5", "capacity: 6")
        .replace("per_minute: 600", "per_minute: 900")
        .replace("[pool.full, pool.level]", "['*']");
    let run = apply(&node, &file, &changed, &[], 0).await;
    let shown: Vec<&str> = run.out.lines().collect();
    assert_eq!(
        shown,
        [
            "~ webhook on call",
            "    events: [\"pool.level\",\"pool.full\"] → [\"*\"]",
            "~ key crm widget",
            "    limits: {\"per_minute\":600} → {\"per_minute\":900}",
            "= key desk",
            "~ pool phone",
            "    capacity: 5 → 6",
            "~ pool crm",
            "    capacity: 2 → 1",
            "    2 seats are in use; nothing is granted until 1 of them are free, and nobody is ended",
        ]
    );
    let pool = admin.pool("crm", 200).await;
    assert_eq!((&pool["capacity"], &pool["in_use"]), (&json!(1), &json!(2)));
    assert_eq!(pool["maintenance"]["message"], "Back at nine.");
    let opened = changed.replace("    queue:", "    maintenance: null\n    queue:");
    apply(&node, &file, &opened, &[], 0).await;
    assert!(
        admin
            .pool("crm", 200)
            .await
            .body
            .get("maintenance")
            .is_none()
    );

    // What is not in the file stays, and what cannot be is refused before anything is written.
    let run = apply(
        &node,
        &file,
        "version: 1\npools: {crm: {capacity: 1, outage_grace_ms: null}}\n",
        &[],
        0,
    )
    .await;
    assert!(
        run.out
            .contains("    queue: {\"max_waiting\":10} → default"),
        "{}",
        run.out
    );
    admin.pool("phone", 200).await;
    for (text, said) in [
        (
            "version: 1\npools:\n  crm: {capacity: 3}\n  new:\n    capacity: 1\n    capcity: 2\n",
            "line 6",
        ),
        (
            "version: 1\npools: {crm: {capacity: 3}, new: {capacity: 1, ttl_ms: 5}}\n",
            "the pool new",
        ),
        (
            "version: 1\npools: {crm: {capacity: 3}, ..: {capacity: 1}}\n",
            "a pool is not called . or ..",
        ),
        (
            "version: 1\npools: {crm: {capacity: 3}}\nkeys: {desk: {role: viewer}}\n",
            "the role operator",
        ),
        (
            "version: 1\npools: {crm: {capacity: 3}}\nwebhooks: {desk: {url: 'https://127.0.0.1/x', events: [pool.full]}}\n",
            "the webhook desk",
        ),
        ("version: 3\n", "version 3"),
        ("pools: {}\n", "version"),
    ] {
        let run = apply(&node, &file, text, &[], 2).await;
        assert!(run.err.contains(said), "{said}: {}", run.err);
        assert_eq!(admin.pool("crm", 200).await["capacity"], 1);
    }
    let file = file.to_str().expect("a path");
    let twice = leasehold(&node, &["apply", "-f", file, "-f", file]).await;
    assert_eq!(twice.exit, 2, "{}", twice.err);
}
