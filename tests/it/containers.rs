//! What runs in containers: the image of a node, the Redis image that it is tested with, and the project of
//! `docker-compose.yml`. They want a container engine and the machine for themselves: `make test-containers`.

mod compose;
mod kubernetes;

use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Docker, Launch, Redis, wait_until};

/// Beats until it is answered: an outage ends a moment after its end.
async fn renewed(node: &Client, token: &str) {
    wait_until(
        "the lease is renewed",
        Duration::from_secs(20),
        async || node.renew(token, [200, 503]).await.status == 200,
    )
    .await;
}

#[tokio::test]
async fn seats_are_kept_by_the_redis_image_that_users_get() {
    let Some(docker) = Docker::find() else { return };
    let mut redis = Redis::in_container().await;
    let (image, id) = redis.container().expect("it is in a container");
    assert!(
        std::fs::read_to_string("docker-compose.yml").is_ok_and(|compose| {
            let line = format!("image: {image}");
            compose.lines().any(|known| known.trim() == line)
        })
    );
    let runs = docker.run(&[
        "inspect",
        "--format",
        "{{.Config.Image}} {{.State.Running}}",
        &id,
    ]);
    assert_eq!(runs.trim(), format!("{image} true"));

    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;

    // Frozen: nobody answers, and what that means is said. Thawed: as before.
    redis.freeze().await;
    node.renew(&lease.token(), 503).await;
    redis.thaw().await;
    renewed(&node, &lease.token()).await;

    // Killed and started again, with its data and on the same port.
    redis.kill().await;
    node.acquire("crm", json!({"holder": "bob"}), 503).await;
    redis.restart().await;
    renewed(&node, &lease.token()).await;
    node.acquire("crm", json!({"holder": "bob"}), 409).await;

    // And gone with its data: whoever had a seat has it again.
    redis.restart_empty().await;
    renewed(&node, &lease.token()).await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 1);

    drop((node, redis));
    wait_until(
        "the container is gone",
        Duration::from_secs(20),
        async || !docker.output(&["inspect", &id]).status.success(),
    )
    .await;
}

#[test]
fn the_image_needs_no_rights_and_no_shell() {
    let Some(docker) = Docker::find() else { return };
    let image = docker.build();
    let run = |more: &[&str], arguments: &[&str]| {
        let hardened = [
            "run",
            "--rm",
            "--network",
            "none",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
        ];
        docker.output(&[&hardened, more, &[image.name.as_str()], arguments].concat())
    };

    let version = run(&[], &["--version"]);
    assert!(version.status.success(), "{version:?}");
    let said = String::from_utf8_lossy(&version.stdout).into_owned();
    assert_eq!(
        said.trim(),
        concat!("leasehold ", env!("CARGO_PKG_VERSION"))
    );

    let inspect = |format: &str| {
        docker
            .run(&["inspect", "--format", format, &image.name])
            .trim()
            .to_owned()
    };
    assert_eq!(inspect("{{.Config.User}}"), "65532:65532");
    let label = r#"{{index .Config.Labels "org.opencontainers.image.version"}}"#;
    assert_eq!(inspect(label), env!("CARGO_PKG_VERSION"));
    assert!(
        !run(&["--entrypoint", "sh"], &["-c", "true"])
            .status
            .success()
    );

    // Others can reach it, so it wants a key, and says which.
    let open = run(&[], &[]);
    assert_eq!(open.status.code(), Some(2), "{open:?}");
    assert!(String::from_utf8_lossy(&open.stderr).contains("set admin_key"));
    // A node that is not there is not healthy.
    assert_eq!(run(&[], &["healthcheck"]).status.code(), Some(6));
}
