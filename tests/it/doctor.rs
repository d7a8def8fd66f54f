//! `leasehold doctor`: what is wrong with a Redis, and what to do about it. Each server here is really bad.

use std::time::Duration;

use serde_json::Value;

use crate::chaos::stage::Clock;
use crate::failover::run;
use crate::harness::{Launch, Proxy, Redis, Sentinels, Server, Shards, free_port, wait_until};

/// What the doctor says of this Redis.
struct Findings(Vec<Value>);

impl Findings {
    fn of(redis_url: &str) -> Self {
        let output = run("doctor", redis_url);
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let errors = findings.iter().any(|finding| finding["level"] == "error");
        // The exit code says it too, for scripts.
        assert_eq!(
            output.status.code(),
            Some(i32::from(errors)),
            "{findings:#?}"
        );
        for finding in &findings {
            let has_advice = finding["advice"] != "";
            assert_eq!(has_advice, finding["level"] != "ok", "{finding}");
        }
        Self(findings)
    }

    /// How bad it finds what it says in these words; nothing if it does not say it.
    fn level(&self, words: &str) -> Option<&str> {
        let says = |finding: &&Value| {
            finding["found"]
                .as_str()
                .is_some_and(|text| text.contains(words))
        };
        let mut found = self.0.iter().filter(says);
        found.next().and_then(|finding| finding["level"].as_str())
    }

    #[track_caller]
    fn says(&self, level: &str, words: &str) {
        assert_eq!(self.level(words), Some(level), "{words}: {:#?}", self.0);
    }
}

/// A server with these settings.
async fn server(settings: &[&str]) -> Server {
    let port = free_port();
    let text = port.to_string();
    let mut arguments = vec!["--port", &text, "--bind", "127.0.0.1", "--save", ""];
    arguments.extend(settings);
    let mut server = Server::prepare(port, &arguments);
    server.restart();
    server.answers().await;
    server
}

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

#[tokio::test]
async fn a_good_server_gets_no_more_than_advice() {
    let redis = Redis::start().await;
    let findings = Findings::of(&redis.url());
    findings.says("ok", "maxmemory-policy noeviction");
    findings.says("warning", "no maxmemory");
    findings.says("ok", "an append-only file is kept");
    findings.says("ok", "this user may do what nodes do");
    findings.says("ok", "no replicas");
    findings.says("ok", "answers in");
    findings.says("ok", "its clock is");
    findings.says("ok", "it stays on this machine");
    assert!(findings.0.iter().all(|finding| finding["level"] != "error"));
    assert_eq!(run("doctor", "redis://127.0.0.1:1").status.code(), Some(6));
}

#[tokio::test]
async fn one_that_forgets_or_is_full_or_crowded() {
    let server = server(&["--maxclients", "12", "--maxmemory-policy", "allkeys-lru"]).await;
    let findings = Findings::of(&url(&server));
    findings.says("error", "allkeys-lru");
    findings.says("warning", "no append-only file");
    assert_eq!(findings.level("clients may connect"), None);
    for sign in ["a", "b"] {
        let () = server
            .query(&["ZADD", "lh1:{nodes}:signs", "1", sign])
            .await;
    }
    let findings = Findings::of(&url(&server));
    findings.says("warning", "2 nodes may open 20 connections");

    let () = server
        .query(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"])
        .await;
    let () = server
        .query(&["CONFIG", "SET", "maxmemory", "1000000"])
        .await;
    let client = redis::Client::open(url(&server)).expect("a URL");
    let mut crowd = Vec::new();
    for _ in 0..10 {
        crowd.push(
            client
                .get_multiplexed_async_connection()
                .await
                .expect("a place"),
        );
    }
    let findings = Findings::of(&url(&server));
    findings.says("warning", "volatile-ttl");
    findings.says("warning", "% of maxmemory");
    findings.says("warning", "of at most 12 clients");
    // Nothing can be written any more, and that is found by trying.
    findings.says("error", "nodes could not write now (\"OOM\"");
}

#[tokio::test]
async fn one_that_cannot_save() {
    let server = server(&["--dbfilename", "x.rdb"]).await;
    std::fs::create_dir(server.directory().join("x.rdb")).expect("the directory is ours");
    let _: redis::RedisResult<redis::Value> = server.try_query(&["BGSAVE"]).await;
    wait_until("the save fails", Duration::from_secs(10), async || {
        let info: String = server.query(&["INFO", "persistence"]).await;
        info.contains("rdb_last_bgsave_status:err")
    })
    .await;
    Findings::of(&url(&server)).says("error", "the snapshot could not be written");
}

#[tokio::test]
async fn one_whose_clock_is_wrong() {
    let Some(clock) = Clock::build() else {
        eprintln!("skipped: there is no C compiler");
        return;
    };
    let server = Server::alone(true, clock.environment()).await;
    Findings::of(&url(&server)).says("ok", "its clock is");
    for offset in [-5_000, 90_000] {
        clock.set(offset);
        Findings::of(&url(&server)).says("warning", "its clock is");
    }
}

#[tokio::test]
async fn a_replica_in_the_place_of_a_master() {
    let master = server(&[]).await;
    let of = format!("127.0.0.1 {}", master.port);
    let replica = server(&["--replicaof", &of]).await;
    let findings = Findings::of(&url(&replica));
    findings.says("error", "it is a replica, and takes no writes");
}

#[tokio::test]
async fn a_user_that_may_too_little_and_one_that_only_looks() {
    let server = server(&[]).await;
    for user in [
        "ACL SETUSER short on >p ~lh1:* resetchannels &lh1:*:queue +@all -xadd -multi -@dangerous +info",
        "ACL SETUSER looks on >p ~lh1:* -@all +get +info +ping +time +acl|whoami +hello +auth",
    ] {
        let words: Vec<&str> = user.split(' ').collect();
        let () = server.query(&words).await;
    }
    let with = |user: &str| format!("redis://{user}:p@127.0.0.1:{}", server.port);
    let findings = Findings::of(&with("short"));
    findings.says("error", "may not do what nodes do: XADD, MULTI");
    let advice = "ACL SETUSER short +xadd +multi";
    let advised = |finding: &Value| {
        finding["advice"]
            .as_str()
            .is_some_and(|text| text.contains(advice))
    };
    assert!(findings.0.iter().any(advised), "{:#?}", findings.0);
    let findings = Findings::of(&with("looks"));
    findings.says("ok", "may run no scripts");
    findings.says("ok", "the user is looks");
}

#[tokio::test]
async fn an_installation_that_this_program_cannot_use() {
    let server = server(&[]).await;
    let () = server.query(&["SET", "lh1:buckets", "7"]).await;
    Findings::of(&url(&server)).says("error", "7 buckets");
}

// The proxy lives in this program, and has to go on while the doctor is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_is_long_or_open_to_others() {
    let server = server(&[]).await;
    let mut proxy = Proxy::start(([127, 0, 0, 1], server.port).into());
    proxy.delay(Duration::from_millis(30));
    let findings = Findings::of(&format!("redis://127.0.0.1:{}", proxy.port()));
    findings.says("warning", "answers in");

    // Written like this it could be anywhere; it leads here.
    let elsewhere = format!("redis://127.1:{}", server.port);
    let findings = Findings::of(&elsewhere);
    findings.says("warning", "without TLS");
    findings.says("warning", "the default user");
    // A node says it too when it starts, and starts.
    let node = Launch::on(&elsewhere).start().await;
    node.says("without TLS").await;
}

#[tokio::test]
async fn sentinels_that_could_not_bring_about_a_failover() {
    let mut redis = Sentinels::start().await;
    let findings = Findings::of(&redis.url());
    findings.says("warning", "min-replicas-to-write 0");
    findings.says("ok", "as the master");
    findings.says("ok", "enough of them can be reached");
    findings.says("ok", "it follows the master");
    let node = Launch::on(&redis.url()).start().await;
    node.says("min-replicas-to-write 0").await;

    // The one that would take over is looked at as well.
    let () = redis.servers[1]
        .query(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await;
    Findings::of(&redis.url()).says("error", "allkeys-lru");
    for server in &redis.servers {
        for (name, value) in [
            ("maxmemory-policy", "noeviction"),
            ("min-replicas-to-write", "1"),
        ] {
            let () = server.query(&["CONFIG", "SET", name, value]).await;
        }
    }
    let silence = async |ms: &str| {
        let set = ["SENTINEL", "SET", "main", "down-after-milliseconds", ms];
        let () = redis.sentinels[0].query(&set).await;
    };
    silence("60000").await;
    let findings = Findings::of(&redis.url());
    findings.says("ok", "it takes no writes without a replica");
    findings.says("warning", "after 60000 ms of silence");
    silence("1000").await;

    let one = format!(
        "redis+sentinel://127.0.0.1:{}/main",
        redis.sentinels[0].port
    );
    let findings = Findings::of(&one);
    findings.says("warning", "fewer than three");
    findings.says("warning", "there are 3");

    redis.sentinels[1].kill();
    redis.sentinels[2].kill();
    wait_until("it is noticed", Duration::from_secs(60), async || {
        Findings::of(&one).level("too few of them") == Some("error")
    })
    .await;
    Findings::of(&redis.url()).says("error", "does not answer");
}

#[tokio::test]
async fn sentinels_that_know_nobody_who_could_take_over() {
    let mut redis = Sentinels::start().await;
    wait_until("they know them", Duration::from_secs(60), async || {
        Findings::of(&redis.url()).level("each knows a replica") == Some("ok")
    })
    .await;
    redis.servers[1].kill();
    redis.servers[2].kill();
    let reset = ["SENTINEL", "RESET", "main"];
    wait_until("one has nobody", Duration::from_secs(60), async || {
        let _: u64 = redis.sentinels[1].query(&reset).await;
        Findings::of(&redis.url()).level("knows no replica") == Some("error")
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_has_lost_slots() {
    let mut redis = Shards::start().await;
    let node = Launch::on(&redis.url()).start().await;
    wait_until("the replicas follow", Duration::from_secs(30), async || {
        Findings::of(&redis.url()).level("it follows the master") == Some("ok")
    })
    .await;
    let findings = Findings::of(&redis.url());
    findings.says("ok", "the cluster serves all slots");
    findings.says("ok", "32 buckets");
    // A master and its replica.
    redis.servers[0].kill();
    redis.servers[3].kill();
    wait_until("it is noticed", Duration::from_secs(30), async || {
        Findings::of(&redis.url()).level("does not serve all slots") == Some("error")
    })
    .await;
    Findings::of(&redis.url()).says("error", "this master cannot be reached");
    drop(node);
}

#[tokio::test]
async fn without_an_address_it_looks_at_the_embedded_server_of_the_data_directory() {
    let node = Launch::embedded().start().await;
    let doctor = |directory: &std::path::Path| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["doctor", "--json", "--data-dir"])
            .arg(directory)
            .env_clear()
            .current_dir(std::env::temp_dir())
            .output();
        output.expect("the binary runs")
    };
    let data = node.directory().join("leasehold-data");
    let output = doctor(&data);
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let says = |words: &str| {
        let mut found = findings
            .iter()
            .filter_map(|finding| finding["found"].as_str());
        found.any(|found| found.contains(words))
    };
    assert!(
        output.status.success() && says("it stays on this machine"),
        "{findings:#?}"
    );
    assert!(says("an append-only file is kept"), "{findings:#?}");

    // Where none runs, that is said, and what to do.
    drop(node);
    let empty = tempfile::tempdir().expect("a directory");
    let output = doctor(empty.path());
    let told: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(
        (&told["code"], output.status.code()),
        (&Value::from("unavailable"), Some(6))
    );
    assert!(
        told["message"]
            .as_str()
            .is_some_and(|text| text.contains("leasehold serve")),
        "{told}"
    );
}
