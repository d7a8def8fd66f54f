//! `leasehold healthcheck`: what a container asks about its own node.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::harness::{Installation, free_port, wait_until};

async fn exit(listen: &str, arguments: &[&str]) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command
        .arg("healthcheck")
        .args(arguments)
        .env_clear()
        // The settings of the node, which the check reads as the node does.
        .env("LEASEHOLD_LISTEN", listen)
        .env("LEASEHOLD_ADMIN_KEY", "the-operator-key-of-the-tests")
        .stdin(Stdio::null());
    command.output().await.expect("it runs").status.code()
}

#[tokio::test]
async fn a_node_without_its_store_is_healthy_and_not_ready() {
    let mut cluster = Installation::one().await;
    let address = cluster.nodes[0].address().to_string();
    let (_, port) = address.rsplit_once(':').expect("an address");
    // As in a container, where it listens on every address.
    let listen = format!("0.0.0.0:{port}");
    assert_eq!(exit(&listen, &[]).await, Some(0));
    assert_eq!(exit(&listen, &["--ready"]).await, Some(0));

    cluster.redis.kill().await;
    wait_until("it is not ready", Duration::from_secs(20), async || {
        exit(&listen, &["--ready"]).await == Some(6)
    })
    .await;
    assert_eq!(exit(&listen, &[]).await, Some(0));

    cluster.nodes[0].signal("STOP");
    assert_eq!(exit(&listen, &["--within-ms", "300"]).await, Some(6));
    cluster.nodes[0].kill();
    assert_eq!(exit(&listen, &[]).await, Some(6));
    assert_eq!(
        exit(&format!("127.0.0.1:{}", free_port()), &[]).await,
        Some(6)
    );
    assert_eq!(exit("127.0.0.1:0", &[]).await, Some(2));
}
