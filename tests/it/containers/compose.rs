//! `docker-compose.yml`, driven as its users do: three nodes behind HAProxy, and what may happen to them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::harness::{Client, DOCKER_KEY, Docker, Project, field, signal, wait_until};

/// Containers start slowly on a machine with other things to do.
const LONG: Duration = Duration::from_secs(120);

/// Holders that come, beat and go, until they are stopped.
struct Load(Child);

impl Load {
    fn begin(project: &Project) -> Self {
        let arguments = "bench --pool load --seats 20 --holders 30 --stay 2s --away 300ms --beat 200ms --for 15m --json";
        let child = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(arguments.split(' '))
            .args(["--server", &project.server()])
            .env("LEASEHOLD_KEY", DOCKER_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        Self(child)
    }

    /// Stops it; what it saw.
    async fn end(self) -> Value {
        signal(self.0.id().expect("it runs"), "INT");
        let output = self.0.wait_with_output().await.expect("it ended");
        serde_json::from_slice(&output.stdout).expect("a report")
    }
}

/// How many nodes the balancer sends requests to.
fn ready(project: &Project) -> usize {
    let servers = project.servers("ready");
    servers
        .iter()
        .filter(|server| field(server, "status").starts_with("UP"))
        .count()
}

async fn until_ready(project: &Project, nodes: usize) {
    wait_until(&format!("{nodes} nodes are ready"), LONG, async || {
        ready(project) == nodes
    })
    .await;
}

/// As many ask at once as there are answers; how many got a seat.
async fn crowd(client: &Client, pool: &str) -> usize {
    let asked = (0..60).map(|_| client.acquire(pool, json!({}), [201, 409]));
    let answers = futures_util::future::join_all(asked).await;
    answers.iter().filter(|reply| reply.status == 201).count()
}

#[tokio::test]
async fn three_nodes_behind_a_balancer_are_one_that_does_not_fail() {
    let Some(docker) = Docker::find() else { return };
    let project = Project::prepare(docker);
    project.compose(&["up", "-d", "--no-build"]);
    until_ready(&project, 3).await;
    let client = project.client();

    // One truth behind three nodes: ten seats, whoever is asked.
    client.put_pool("crm", json!({"capacity": 10}), 201).await;
    assert_eq!(crowd(&client, "crm").await, 10);
    // Each took part.
    for server in project.servers("ready") {
        assert_ne!(field(&server, "stot"), "0", "{server:?}");
    }
    // What is for machines inside stays inside, and so does everything but the balancer.
    let metrics = client.get("/metrics").of_another_program();
    metrics.expect(404).await;
    for service in ["node", "redis"] {
        for id in project.containers(service) {
            let format = "{{range $port, $on := .NetworkSettings.Ports}}{{range $on}}{{.HostPort}} {{end}}{{end}}";
            assert_eq!(docker.run(&["inspect", "--format", format, &id]).trim(), "");
        }
    }

    // Killed, restarted and added to under load: nobody notices.
    let load = Load::begin(&project);
    wait_until("there is a load", LONG, async || {
        client
            .get("/v1/pools/load/availability")
            .expect([200, 404])
            .await["in_use"]
            == 20
    })
    .await;
    let nodes = project.containers("node");
    docker.run(&["kill", &nodes[0]]);
    until_ready(&project, 2).await;
    project.compose(&["up", "-d", "--no-build", "node"]);
    until_ready(&project, 3).await;

    let rolled = project
        .script("deploy/docker/roll.sh")
        .output()
        .await
        .expect("it runs");
    assert!(
        rolled.status.success(),
        "{}",
        String::from_utf8_lossy(&rolled.stderr)
    );
    for id in project.containers("node") {
        assert!(!nodes.contains(&id), "{id} was not replaced");
    }
    until_ready(&project, 3).await;

    project.compose(&["up", "-d", "--no-build", "--scale", "node=5", "node"]);
    until_ready(&project, 5).await;
    let saw = load.end().await;
    assert_eq!(saw["failed"], 0, "{saw:#}");
    assert!(saw["most_in_use"].as_u64() <= Some(20), "{saw:#}");
    for answer in ["granted", "renewed", "released", "pool_full"] {
        assert!(saw["answers"][answer].as_u64() > Some(0), "{saw:#}");
    }

    // Stopped, it goes by itself, as the first process of its container: it was not killed.
    let id = &project.containers("node")[0];
    docker.run(&["stop", "--time", "60", id]);
    assert_eq!(
        docker
            .run(&["inspect", "--format", "{{.State.ExitCode}}", id])
            .trim(),
        "0"
    );

    // A new client: the connections of the old one have been idle for longer than a balancer keeps them.
    let client = project.client();
    // Without Redis no node is ready, and all still answer, with a time to come back. Then everybody has a seat again.
    client.put_pool("keep", json!({"capacity": 1}), 201).await;
    let lease = client.acquire("keep", json!({"holder": "ann"}), 201).await;
    project.compose(&["stop", "redis"]);
    until_ready(&project, 0).await;
    let reply = client.renew(&lease.token(), 503).await;
    assert_eq!(reply["code"], "store_unavailable", "{}", reply.text);
    client.get("/livez").expect(200).await;
    project.compose(&["start", "redis"]);
    until_ready(&project, 4).await;
    assert_eq!(
        client.renew(&lease.token(), 200).await["lease"]["id"],
        lease.id()
    );
    client.acquire("keep", json!({"holder": "bob"}), 409).await;

    // Without nodes the balancer says it, in the words of the nodes. Each time on a new connection: on one that was used
    // before, a balancer whose server went away closes it, and leaves it to the client to ask again.
    project.compose(&["kill", "node"]);
    wait_until("the balancer has noticed", LONG, async || {
        let asked = project.client().get("/livez");
        asked.expect([200, 502, 503]).await["code"] == "no_node"
    })
    .await;
}

#[tokio::test]
async fn the_demo_fills_the_pages_and_prometheus_finds_every_node() {
    let Some(docker) = Docker::find() else { return };
    let project = Project::prepare(docker);
    let up = [
        "--profile",
        "demo",
        "--profile",
        "monitoring",
        "up",
        "-d",
        "--no-build",
    ];
    project.compose(&[&up[..], &["balancer", "demo", "prometheus"]].concat());
    until_ready(&project, 3).await;
    let client = project.client();
    wait_until("somebody has a seat", LONG, async || {
        client
            .get("/v1/pools/demo/availability")
            .expect([200, 404])
            .await["in_use"]
            .as_u64()
            > Some(0)
    })
    .await;
    let listed = project.compose(&["run", "--rm", "cli", "pool", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap_or_else(|_| panic!("{listed}"));
    assert_eq!(listed[0]["name"], "demo");

    let prometheus = Prometheus::of(&project);
    wait_until(
        "three nodes and the balancer are scraped",
        LONG,
        async || {
            let up = prometheus.ask("up==1").await;
            let mut jobs: Vec<_> = up
                .iter()
                .map(|up| up["metric"]["job"].as_str().expect("a job"))
                .collect();
            jobs.sort_unstable();
            jobs == ["haproxy", "leasehold", "leasehold", "leasehold"]
        },
    )
    .await;

    // The shipped rules are those that it goes by.
    let shipped = std::fs::read_to_string("deploy/prometheus/alerts.yaml").expect("shipped");
    let shipped = ["- alert: ", "- record: "]
        .map(|kind| shipped.matches(kind).count())
        .iter()
        .sum::<usize>();
    wait_until("the rules are gone through", LONG, async || {
        let rules = prometheus.rules().await;
        rules.len() == shipped && rules.iter().all(|rule| rule["health"] == "ok")
    })
    .await;
    let rules = prometheus.rules().await;
    let fires = rules
        .iter()
        .filter(|rule| rule["state"] == "firing" && rule["labels"]["severity"] == "critical");
    assert_eq!(fires.count(), 0, "{rules:#?}");

    // The demo has one plain pool; here is one with all that a pool can have.
    let policy = json!({
        "capacity": 1, "ttl_ms": 1_000, "queue": {"max_waiting": 5}, "overdraft": {"seats": 1, "seat_minutes_per_day": 9},
        "named": {"seats": 1, "anchor_day": 1, "time_zone": "UTC", "spill_to_concurrent": true},
        "idle": {"after_ms": 1_000, "then": "count", "notice_ms": 0},
    });
    client.put_pool("all", policy, 201).await;
    let lease = client.acquire("all", json!({"holder": "ann"}), 201).await;
    wait_until("the lease has expired", LONG, async || {
        client.availability("all", 200).await["in_use"] == 0
            && client.list("all", "", 200).await.list("items").is_empty()
    })
    .await;
    client.renew(&lease.token(), 200).await;

    // Every panel has something to show, but for those that only show trouble.
    let silent = [
        "Connections that nodes closed, by reason",
        "Failed calls, by trouble",
        "Waits for a replica",
    ];
    let questions = questions("deploy/grafana/dashboards");
    assert!(questions.len() > 40, "{questions:#?}");
    for (panel, question) in &questions {
        if !silent.contains(&panel.as_str()) {
            let what = format!("\"{panel}\" has data for {question}");
            wait_until(&what, LONG, async || {
                !prometheus.ask(question).await.is_empty()
            })
            .await;
        }
    }
}

/// The Prometheus of a project.
struct Prometheus(Client);

impl Prometheus {
    fn of(project: &Project) -> Self {
        let port = project.setting("PROMETHEUS_PORT");
        Self(Client::new(&format!("http://127.0.0.1:{port}")))
    }

    /// What it answers to a question; nothing while it starts.
    async fn ask(&self, question: &str) -> Vec<Value> {
        let query: String = form_urlencoded::byte_serialize(question.as_bytes()).collect();
        let path = format!("/api/v1/query?query={query}");
        let call = self.0.get(&path).of_another_program();
        let reply = call.expect([200, 503]).await;
        let found = reply["data"]["result"].as_array();
        found.cloned().unwrap_or_default()
    }

    /// The rules that it has, with what came of them.
    async fn rules(&self) -> Vec<Value> {
        let call = self.0.get("/api/v1/rules").of_another_program();
        let reply = call.expect(200).await;
        let groups = reply["data"]["groups"].as_array().expect("groups");
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        rules.flatten().cloned().collect()
    }
}

/// What the dashboards ask, each with the title of its panel, and with everything chosen that can be.
fn questions(directory: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for board in std::fs::read_dir(directory).expect("shipped") {
        let board = std::fs::read(board.expect("readable").path()).expect("readable");
        let board: Value = serde_json::from_slice(&board).expect("JSON");
        for panel in board["panels"].as_array().expect("panels") {
            let title = panel["title"].as_str().expect("a title");
            for target in panel["targets"].as_array().into_iter().flatten() {
                let question = target["expr"].as_str().expect("a question");
                let question = question.replace("$__rate_interval", "1m");
                let question = ["$job", "$instance", "$pool"]
                    .iter()
                    .fold(question, |question, name| question.replace(name, ".*"));
                assert!(!question.contains('$'), "{title}: {question}");
                all.push((title.to_owned(), question));
            }
        }
    }
    all
}

#[tokio::test]
async fn with_sentinels_the_seats_outlive_their_redis() {
    let Some(docker) = Docker::find() else { return };
    let mut project = Project::prepare(docker);
    project.set("COMPOSE_PROFILES", "sentinel");
    project.set("REDIS_SCHEME", "redis+sentinel");
    project.set(
        "REDIS_HOSTS",
        "sentinel-1:26379,sentinel-2:26379,sentinel-3:26379/leasehold",
    );
    project.compose(&["up", "-d", "--no-build"]);
    until_ready(&project, 3).await;
    let client = project.client();
    client.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = client.acquire("crm", json!({"holder": "ann"}), 201).await;

    // What somebody with the operators' password sees of it; nothing that must be mended.
    let knows = |what: &str| {
        let findings = project.compose_however(&["run", "--rm", "doctor", "doctor", "--json"]);
        let findings = String::from_utf8_lossy(&findings.stdout).into_owned();
        let findings: Vec<Value> = serde_json::from_str(&findings).unwrap_or_default();
        !findings.iter().any(|finding| finding["level"] == "error")
            && findings.iter().any(|finding| {
                let found = finding["found"].as_str().expect("a text");
                found.contains(what)
            })
    };
    wait_until("the replica follows, and is known", LONG, async || {
        knows("they name redis:6379 as the master")
            && knows("it follows the master")
            && knows("each knows a replica that could take over")
    })
    .await;

    // Nobody in particular is let in.
    let redis = &project.containers("redis")[0];
    let said = docker.run(&["exec", redis, "redis-cli", "ping"]);
    assert!(said.contains("NOAUTH"), "{said}");

    docker.run(&["kill", redis]);
    wait_until("the lease goes on", LONG, async || {
        client.renew(&lease.token(), [200, 503]).await.status == 200
    })
    .await;
    client.acquire("crm", json!({"holder": "bob"}), 409).await;

    // It comes back as a replica, and is made the master again without losing anything.
    project.compose(&["start", "redis"]);
    wait_until("the old master follows the new one", LONG, async || {
        knows("they name replica:6379 as the master") && knows("it follows the master")
    })
    .await;
    let said = project.compose(&["run", "--rm", "doctor", "failover", "--json"]);
    assert!(said.contains("redis:6379"), "{said}");
    wait_until("the lease goes on", LONG, async || {
        client.renew(&lease.token(), [200, 503]).await.status == 200
    })
    .await;
    assert_eq!(
        client.renew(&lease.token(), 200).await["lease"]["id"],
        lease.id()
    );
}

#[test]
fn nothing_starts_with_a_password_that_others_know() {
    let Some(docker) = Docker::find() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir_all(directory.path().join("deploy/docker")).expect("ours");
    for file in ["docker-compose.yml", ".env.example", "deploy/docker/env.sh"] {
        std::fs::copy(file, directory.path().join(file)).expect("copied");
    }
    let config = || docker.compose_in(directory.path(), &["config"]);
    let refused = |text: &str| {
        let output = config();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(text), "{said}");
    };

    refused("run sh deploy/docker/env.sh");
    std::fs::copy(".env.example", directory.path().join(".env")).expect("copied");
    refused("run sh deploy/docker/env.sh");
    std::fs::remove_file(directory.path().join(".env")).expect("removed");

    let make = || {
        let made = std::process::Command::new("sh")
            .arg("deploy/docker/env.sh")
            .current_dir(directory.path())
            .output();
        assert!(made.expect("it runs").status.success());
        std::fs::read_to_string(directory.path().join(".env")).expect("made")
    };
    let secrets = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.split_once('='))
            .map(|(_, secret)| secret.to_owned())
            .collect::<Vec<_>>()
    };
    let first = secrets(&make());
    assert_eq!(first.len(), 5);
    assert!(first.iter().all(|secret| secret.len() >= 24), "{first:?}");
    assert!(config().status.success());
    // What is there is in use.
    assert_eq!(secrets(&make()), first);
    std::fs::remove_file(directory.path().join(".env")).expect("removed");
    let second = secrets(&make());
    assert!(first.iter().all(|secret| !second.contains(secret)));
}
