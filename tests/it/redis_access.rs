//! A Redis that trusts nobody: the users of `deploy/redis/leasehold.acl`, and TLS.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use crate::harness::{
    ANY, Certificates, Guards, Launch, Node, Sentinels, Server, free_port, is_7, wait_until,
};
use crate::hints::{a_waiter_is_told, one_seat};

#[tokio::test]
async fn the_shipped_user_is_enough_for_a_node_and_for_nothing_else() {
    let port = free_port();
    let text = port.to_string();
    let mut server = Server::prepare(
        port,
        &["--port", &text, "--save", "", "--aclfile", "users.acl"],
    );
    std::fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/redis/leasehold.acl"),
        server.directory().join("users.acl"),
    )
    .expect("the file is shipped");
    server.restart();
    let url = format!("redis://leasehold:change-me-nodes@127.0.0.1:{port}");
    let client = redis::Client::open(url.as_str()).expect("a URL");
    wait_until("Redis answers", Duration::from_secs(10), async || {
        client.get_multiplexed_async_connection().await.is_ok()
    })
    .await;

    let node = Launch::on(&url).start().await;
    node.put_pool("crm", json!({"capacity": 2, "ttl_ms": 1_000}), 201)
        .await;
    let lease = node
        .acquire_once(
            "crm",
            "tab",
            json!({"holder": "agent-7", "label": "Desk", "activities": ["a"]}),
            201,
        )
        .await;
    node.acquire_once("crm", "tab", json!({}), [200, 201]).await;
    node.acquire("crm", json!({}), [201, 409]).await;
    node.renew_with(json!({"token": lease.token(), "label": "Front"}), 200)
        .await;
    node.leave(&lease.token(), 204).await;
    node.renew_many(&[&lease.token()], 200).await;
    assert!(!node.list("crm", "", 200).await.list("items").is_empty());
    node.get("/v1/pools").expect(200).await;
    node.release(&lease.token(), 204).await;
    node.terminate("crm", json!({"all": true, "block_ms": 1_000}), 200)
        .await;
    let expired = node.acquire("crm", json!({}), 201).await;
    crate::harness::let_pass(3_500).await;
    assert_eq!(node.renew(&expired.token(), 200).await["resumed"], true);
    node.call(reqwest::Method::DELETE, "/v1/pools/crm")
        .expect(204)
        .await;
    node.put_pool("queue", one_seat(), 201).await;
    a_waiter_is_told(&node, &node, "queue").await;
    // Nodes notify each other without scripts: of themselves, keys and webhooks.
    let other = node.launch().anew().start().await;
    wait_until("both are listed", Duration::from_secs(20), async || {
        let nodes = other.get("/v1/nodes").expect(200).await;
        nodes.list("items").len() == 2
    })
    .await;
    let key = json!({"name": "page", "role": "client", "pools": ["crm"]});
    node.post("/v1/keys").json(&key).expect(201).await;
    wait_until(
        "the other node knows it",
        Duration::from_secs(20),
        async || {
            let keys = other.get("/v1/keys").expect(200).await;
            !keys.list("items").is_empty()
        },
    )
    .await;
    let log = node.all_said().await + &other.all_said().await;
    for trouble in ["NOPERM", "ACL failure", "executing the script", "panic"] {
        assert!(!log.contains(trouble), "{log}");
    }
    assert!(!log.contains("change-me"), "{log}");

    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("it runs");
    for line in [
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "SCAN 0",
        "CONFIG GET *",
        "CONFIG SET save x",
        "SHUTDOWN",
        "REPLICAOF NO ONE",
        "SCRIPT FLUSH",
        "SCRIPT KILL",
        "FUNCTION LIST",
        "ACL LIST",
        "ACL WHOAMI",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "CLIENT PAUSE 1",
        "MONITOR",
        "SAVE",
        "BGSAVE",
        "MIGRATE h 1 k 0 1",
        "SORT lh1:x",
        "GET other",
        "SET other x",
        "DEL other",
        "ZADD other 1 x",
        "SUBSCRIBE other",
        "CLUSTER FORGET x",
        "BLPOP lh1:x 1",
        "MODULE LIST",
        "SWAPDB 0 1",
        "SLOWLOG GET",
        "LATENCY RESET",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "FUNCTION" && !is_7() {
            continue;
        }
        let answer: redis::RedisResult<redis::Value> = redis::cmd(words[0])
            .arg(&words[1..])
            .query_async(&mut connection)
            .await;
        let error = answer.expect_err(line).to_string();
        assert!(error.to_lowercase().contains("perm"), "{line}: {error}");
    }
    let script = "return redis.call('GET', 'other')";
    let answer: redis::RedisResult<redis::Value> = redis::cmd("EVAL")
        .arg(&[script, "0"])
        .query_async(&mut connection)
        .await;
    answer.expect_err("a script reaches no further");
}

#[tokio::test]
async fn what_the_shipped_user_wrote_is_there_after_a_restart() {
    let port = free_port();
    let text = port.to_string();
    let mut server = Server::prepare(
        port,
        &[
            "--port",
            &text,
            "--appendonly",
            "yes",
            "--save",
            "",
            "--aclfile",
            "users.acl",
        ],
    );
    let users = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/redis/leasehold.acl");
    std::fs::copy(users, server.directory().join("users.acl")).expect("the file is shipped");
    server.restart();
    let url = format!("redis://leasehold:change-me-nodes@127.0.0.1:{port}");
    let answers = async || {
        let client = redis::Client::open(url.as_str()).expect("a URL");
        wait_until("Redis answers", Duration::from_secs(10), async || {
            client.get_multiplexed_async_connection().await.is_ok()
        })
        .await;
    };
    answers().await;
    let node = Launch::on(&url).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    // It goes too: it would put back what it remembers. What was acknowledged is in the file a second later.
    drop(node);
    crate::harness::let_pass(1_500).await;

    server.restart();
    answers().await;
    let node = Launch::on(&url).start().await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 1);
    let reply = node.renew(&lease.token(), 200).await;
    assert_eq!(reply["lease"]["id"], lease.id());
    assert_eq!(reply["resumed"], false);

    // Nobody is the user whose rights the file is read with.
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("redis://default:x@127.0.0.1:{port}"),
    ] {
        let client = redis::Client::open(url).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await;
        let answer: redis::RedisResult<String> = match connection {
            Ok(mut connection) => redis::cmd("PING").query_async(&mut connection).await,
            Err(error) => Err(error),
        };
        answer.expect_err("it is off");
    }
}

#[tokio::test]
async fn tls_with_a_certificate_of_ones_own() {
    let certificates = Certificates::make();
    let Some(server) = Server::encrypted(&certificates).await else {
        return;
    };
    let url = format!("rediss://localhost:{}", server.port);
    let ca = certificates.ca();
    let node = Launch::on(&url)
        .set("redis_ca_file", ca.to_str().expect("UTF-8"))
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    node.acquire("crm", json!({}), 201).await;
    node.put_pool("queue", one_seat(), 201).await;
    a_waiter_is_told(&node, &node, "queue").await;

    // Not signed by anybody that this machine trusts; and no TLS at this end.
    for (url, cause) in [
        (url, "TLS to Redis fails"),
        (
            format!("redis://localhost:{}", server.port),
            "cannot use redis://",
        ),
    ] {
        let refused = Launch::on(&url).spawn();
        let status = refused.ended(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(6), "{}", refused.log());
        wait_until("it says why", Duration::from_secs(2), async || {
            refused.log().contains(cause)
        })
        .await;
    }
}

#[tokio::test]
async fn a_redis_that_wants_a_certificate_of_its_clients_is_shown_one() {
    let certificates = Certificates::of_both_ends();
    let Some(server) = Server::encrypted(&certificates).await else {
        return;
    };
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let [certificate, key] = certificates.client().map(|path| text(&path));
    let url = format!("rediss://localhost:{}", server.port);
    let without = Launch::on(&url).set("redis_ca_file", &text(&certificates.ca()));
    let with = |launch: &Launch| {
        let launch = launch.anew().set("redis_cert_file", &certificate);
        launch.set("redis_key_file", &key)
    };
    let node = with(&without).start().await;
    node.put_pool("queue", one_seat(), 201).await;
    a_waiter_is_told(&node, &node, "queue").await;
    let doctor = without.anew().set("redis_cert_file", &certificate);
    for (wrong, exit, named) in [
        (without.anew(), 6, ["redis_cert_file", "redis_key_file"]),
        (doctor, 2, ["redis_cert_file", "redis_key_file"]),
        (
            without.anew().set("redis_key_file", &key),
            2,
            ["redis_cert_file", "redis_key_file"],
        ),
        (
            with(&without).set("redis_cert_file", &key.replace("client.key", "names")),
            2,
            ["redis_cert_file", "PEM"],
        ),
        (
            with(&without).set("redis_url", &url.replace("rediss", "redis")),
            2,
            ["redis_url", "redis_cert_file"],
        ),
    ] {
        let (status, said) = wrong.refuse().await;
        assert_eq!(status.code(), Some(exit), "{said}");
        assert!(named.iter().all(|name| said.contains(name)), "{said}");
        assert!(!said.contains("cannot be reached"), "{said}");
    }

    // Sentinels and the servers that they name want one as well.
    let redis = Sentinels::start_encrypted(&certificates).await;
    let url = redis.url().replacen("redis+", "rediss+", 1);
    let node = with(&without).set("redis_url", &url).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    node.acquire("crm", json!({}), 201).await;
}

/// The least that a sentinel has to allow, as deploy/redis/README.md has it.
const AT_SENTINELS: &str = "user seats on >guards &* -@all +sentinel|get-master-addr-by-name +subscribe +ping +hello +auth +info";

/// Kills the master, and waits until a lease from before is renewed at its successor.
async fn follows_a_failover(redis: &mut Sentinels, node: &Node) {
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;
    redis.servers[0].copied_to(2).await;

    redis.servers[0].kill();
    redis.promoted(0).await;
    wait_until("the node follows", Duration::from_secs(10), async || {
        node.renew(&lease.token(), ANY).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn sentinels_that_want_a_user_of_their_own_are_followed() {
    let mut redis = Sentinels::start_guarded(&Guards {
        servers: "servers",
        sentinels: "sentinels",
        lines: AT_SENTINELS,
    })
    .await;
    let hosts = redis.url();
    let hosts = hosts.strip_prefix("redis+sentinel://").expect("sentinels");
    let url = format!(
        "redis+sentinel://:servers@{hosts}?sentinel_username=seats&sentinel_password=guards"
    );
    let node = Launch::on(&url).start().await;
    follows_a_failover(&mut redis, &node).await;

    // What the sentinels want is not what the servers want, and neither is ever written anywhere.
    for (wrong, cause) in [
        (format!("redis+sentinel://:servers@{hosts}"), "password"),
        (
            format!("redis+sentinel://:servers@{hosts}?sentinel_password=servers"),
            "password",
        ),
        (
            format!("redis+sentinel://:sentinels@{hosts}?sentinel_password=sentinels"),
            "password",
        ),
    ] {
        let (status, said) = Launch::on(&wrong).refuse().await;
        assert_eq!(status.code(), Some(6), "{said}");
        assert!(said.contains(cause), "{said}");
        assert!(
            !said.contains(":servers@") && !said.contains("_password="),
            "{said}"
        );
    }
    let log = node.all_said().await;
    assert!(!log.contains("guards"), "{log}");
}

#[tokio::test]
async fn sentinels_and_servers_that_speak_only_tls_are_followed() {
    let certificates = Certificates::make();
    if Server::encrypted(&certificates).await.is_none() {
        return;
    }
    let ca = certificates.ca();
    let ca = ca.to_str().expect("UTF-8");
    let mut redis = Sentinels::start_encrypted(&certificates).await;
    let url = redis.url().replacen("redis+", "rediss+", 1);
    let node = Launch::on(&url).set("redis_ca_file", ca).start().await;
    node.put_pool("queue", one_seat(), 201).await;
    a_waiter_is_told(&node, &node, "queue").await;
    follows_a_failover(&mut redis, &node).await;

    // Who signed the certificates is not known to this machine, and without TLS nobody answers.
    for (wrong, cause) in [
        (url, "TLS to Redis fails"),
        (redis.url(), "cannot use redis+sentinel://"),
    ] {
        let (status, said) = Launch::on(&wrong).refuse().await;
        assert_eq!(status.code(), Some(6), "{said}");
        assert!(said.contains(cause), "{said}");
    }
}

/// A server with a user `lh` that has these rights.
async fn server_with_a_user(rights: &str) -> (Server, String) {
    let port = free_port();
    let text = port.to_string();
    let mut server = Server::prepare(port, &["--port", &text, "--save", ""]);
    server.restart();
    server.answers().await;
    give(&server, rights).await;
    (server, format!("redis://lh:p@127.0.0.1:{port}"))
}

async fn give(server: &Server, rights: &str) {
    let mut words = vec!["ACL", "SETUSER", "lh"];
    words.extend(rights.split(' '));
    let () = server.query(&words).await;
}

#[tokio::test]
async fn a_missing_right_refuses_the_start_and_the_line_that_is_named_gives_it() {
    for (rights, named) in [
        // As a new user of Redis 7 is: it has no channels.
        (
            "on >p ~lh1:* resetchannels +@all",
            "the channels lh1:*:queue",
        ),
        ("on >p ~lh1:* &* +@all -publish", "PUBLISH"),
        ("on >p ~lh1:* &* +@all -psubscribe", "PSUBSCRIBE"),
        ("on >p ~lh1:{* &* +@all", "the keys lh1:*"),
        (
            "on >p ~other resetchannels &lh1:*:queue +@all",
            "the keys lh1:*",
        ),
        (
            "on >p ~lh1:* &* +@all -@scripting -xdel -time -getdel",
            "TIME, XDEL, GETDEL, EVAL, EVALSHA, SCRIPT LOAD",
        ),
        ("on >p ~lh1:* &* +@all -info -multi", "MULTI, INFO"),
    ] {
        let (server, url) = server_with_a_user(rights).await;
        let (status, said) = Launch::on(&url).refuse().await;
        assert_eq!(status.code(), Some(6), "{rights}: {said}");
        assert!(said.contains(named), "{rights}: {said}");
        let line = said
            .split("ACL SETUSER lh ")
            .nth(1)
            .and_then(|rest| rest.split(',').next())
            .unwrap_or_else(|| panic!("no line in {said}"));
        give(&server, line).await;
        Launch::on(&url).start().await;
    }
}

#[tokio::test]
async fn a_command_that_was_renamed_away_refuses_the_start_and_is_named() {
    let port = free_port();
    let text = port.to_string();
    let settings = [
        "--port",
        &text,
        "--save",
        "",
        "--rename-command",
        "XDEL",
        "x",
    ];
    let mut server = Server::prepare(port, &settings);
    server.restart();
    server.answers().await;
    let (status, said) = Launch::on(&format!("redis://127.0.0.1:{port}"))
        .refuse()
        .await;
    assert_eq!(status.code(), Some(6), "{said}");
    assert!(
        said.contains("XDEL") && said.contains("rename-command"),
        "{said}"
    );
}

#[tokio::test]
async fn who_may_not_tell_of_free_seats_any_more_still_decides() {
    let (server, url) = server_with_a_user("on >p ~lh1:* &* +@all").await;
    let node = Launch::on(&url).start().await;
    node.put_pool("crm", one_seat(), 201).await;
    let lease = node.acquire("crm", json!({"holder": "a"}), 201).await;
    let waiter = node.acquire(
        "crm",
        json!({"holder": "b", "wait": true, "wait_ms": 8_000}),
        201,
    );
    let waiting = async {
        wait_until("somebody waits", Duration::from_secs(5), async || {
            node.availability("crm", 200).await["waiting"] == 1
        })
        .await;
        give(&server, "resetchannels -publish").await;
        node.release(&lease.token(), 204).await;
    };
    let (next, ()) = tokio::join!(waiter, waiting);
    assert_eq!(
        node.renew(&lease.token(), 410).await["code"],
        "lease_released"
    );
    node.terminate("crm", json!({"ids": [next.id()]}), 200)
        .await;
    assert_eq!(
        node.renew(&next.token(), 410).await["code"],
        "lease_terminated"
    );
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);
    let keys: Vec<String> = server.query(&["KEYS", "lh1:*:crm:events"]).await;
    let events: Vec<(String, HashMap<String, String>)> =
        server.query(&["XRANGE", &keys[0], "-", "+"]).await;
    let ends: Vec<&str> = events
        .iter()
        .filter(|(_, event)| event["type"] == "ended")
        .map(|(_, event)| event["reason"].as_str())
        .collect();
    assert_eq!(ends, ["released", "terminated"]);
}
