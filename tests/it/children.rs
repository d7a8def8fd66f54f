//! Files and children of a node: nothing of its secrets reaches them, and other users of the machine read nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Launch, Redis, processes_in};

const KEY: &str = "the-operator-key-of-the-tests";

fn open_to_others(directory: &Path, found: &mut Vec<String>) {
    for entry in directory.read_dir().expect("a directory") {
        let path = entry.expect("an entry").path();
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        // The directory around it decides who may enter.
        let is_socket = !metadata.is_file() && !metadata.is_dir();
        if metadata.permissions().mode() & 0o077 != 0 && !is_socket {
            found.push(format!(
                "{} {:o}",
                path.display(),
                metadata.permissions().mode()
            ));
        }
        if metadata.is_dir() {
            open_to_others(&path, found);
        }
    }
}

#[tokio::test]
async fn data_is_for_this_user_whatever_was_there_and_children_know_no_secret() {
    let place = tempfile::tempdir().expect("a directory");
    let data = place.path().join("data");
    std::fs::create_dir_all(data.join("appendonlydir")).expect("a directory");
    for path in [data.clone(), data.join("appendonlydir")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    std::fs::write(data.join("redis.log"), "of before\n").expect("a file");
    std::fs::write(data.join("notes.txt"), "of somebody else\n").expect("a file");
    let node = Launch::embedded()
        .set("data_dir", data.to_str().expect("UTF-8"))
        .set("admin_key", KEY)
        .start()
        .await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 1}), 201).await;
    admin
        .acquire("crm", json!({"holder": "somebody"}), 201)
        .await;

    assert_eq!(
        data.metadata().expect("it is there").permissions().mode() & 0o777,
        0o700
    );
    let mut found = Vec::new();
    open_to_others(&data, &mut found);
    assert!(
        found.len() == 1 && found[0].contains("notes.txt"),
        "{found:?}"
    );

    let children = processes_in(&data.canonicalize().expect("it is there"));
    assert!(!children.is_empty());
    for child in children {
        let environment = std::fs::read(format!("/proc/{child}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        assert!(
            !environment.contains(KEY) && !environment.contains("LEASEHOLD_"),
            "{environment}"
        );
    }
}

#[tokio::test]
async fn a_command_gets_its_lease_and_no_key() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    node.with_key(KEY)
        .put_pool("crm", json!({"capacity": 1}), 201)
        .await;
    let ran = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["run", "--pool", "crm", "--", "env"])
        .env("LEASEHOLD_SERVER", node.url(""))
        .env("LEASEHOLD_KEY", KEY)
        .env(
            "LEASEHOLD_SECRET",
            "a secret of the tests, long enough for it",
        )
        .output()
        .expect("it runs");
    let environment = String::from_utf8_lossy(&ran.stdout);
    assert!(
        environment.contains("LEASEHOLD_LEASE_ID=") && environment.contains("LEASEHOLD_SERVER="),
        "{environment}"
    );
    assert!(
        !environment.contains(KEY) && !environment.contains("LEASEHOLD_SECRET"),
        "{environment}"
    );
}

#[tokio::test]
async fn metrics_ask_for_a_key_where_the_settings_say_so() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("metrics_key", "on")
        .start()
        .await;
    node.get("/metrics").expect(401).await;
    node.get("/livez").expect(200).await;
    let admin = node.with_key(KEY);
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "prometheus", "role": "viewer"}))
        .expect(201)
        .await;
    let scrape = node.with_key(made["secret"].as_str().expect("a secret"));
    assert!(
        scrape
            .get("/metrics")
            .expect(200)
            .await
            .text
            .contains("leasehold_")
    );
    let client = json!({"name": "c", "role": "client", "pools": ["crm"]});
    let made = admin.post("/v1/keys").json(&client).expect(201).await;
    node.with_key(made["secret"].as_str().expect("a secret"))
        .get("/metrics")
        .expect(403)
        .await;
}

#[tokio::test]
async fn a_typing_error_in_the_log_filter_is_refused() {
    let redis = Redis::start().await;
    for filter in ["debugg", "inf", "info,leasehold", "info,hyper"] {
        let (status, said) = Launch::on(&redis.url()).set("log", filter).refuse().await;
        assert_eq!(status.code(), Some(2), "{filter}: {said}");
        assert!(said.contains("log") && said.contains("no level"), "{said}");
    }
    Launch::on(&redis.url())
        .set("log", "INFO,leasehold::store=debug")
        .start()
        .await;
}
