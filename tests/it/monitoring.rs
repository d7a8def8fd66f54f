//! What watches over the nodes knows what they say: every metric of an alert or a dashboard is one of a node, every metric of a
//! node is documented, and every alert links to a page that tells what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{ANY, Launch, Proxy, Redis, Scrape, let_pass, wait_until};

/// What leads to the runbooks that nodes serve, or to those of `runbook_url`.
const RUNBOOKS: &str = "{{ with query `max by (url) (last_over_time(leasehold_runbooks_info[1d]))` }}{{ . | first | label `url` }}{{ end }}/";

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(directory).expect("the directory is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
}

/// The names of metrics in a source; names that rules record have a colon, and are left out.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_:".contains(letter))
        .filter(|word| word.starts_with("leasehold_") || word.starts_with("process_"))
        .collect()
}

/// The name of the metric that a sample belongs to.
fn family(sample: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| sample.strip_suffix(suffix))
        .unwrap_or(sample)
}

/// A node that has done something of everything.
async fn busy() -> Scrape {
    let redis = Redis::start().await;
    let mut proxy = Proxy::start(redis.address());
    let node = Launch::on(&redis.url_through(&proxy))
        .set("durability", "replicated")
        .set("webhook_http", "on")
        .set("webhook_private_networks", "on");
    let node = node.start().await;
    let policy = json!({
        "capacity": 1, "ttl_ms": 1000, "queue": {"max_waiting": 5}, "overdraft": {"seats": 1, "seat_minutes_per_day": 9},
        "named": {"seats": 1, "anchor_day": 1, "time_zone": "UTC", "spill_to_concurrent": true},
    });
    node.put_pool("crm", policy, 201).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.renew(&lease.token(), 200).await;
    for holder in ["bob", "cid"] {
        node.acquire("crm", json!({ "holder": holder }), 201).await;
    }
    node.acquire("crm", json!({"holder": "dan"}), 409).await;
    // From the first waiter on, the node is notified of seats that come free.
    let waits = json!({"holder": "dan", "wait": true, "wait_ms": 50});
    node.acquire("crm", waits, ANY).await;
    // Somebody is served who had waited.
    node.put_pool(
        "line",
        json!({"capacity": 1, "queue": {"max_waiting": 5}}),
        201,
    )
    .await;
    let first = node.acquire("line", json!({"holder": "ann"}), 201).await;
    let waits = json!({"holder": "bob", "wait": true});
    let queued = node.acquire("line", waits, 202).await;
    let held_open = json!({"ticket": queued["ticket"], "wait_ms": 1_500});
    node.acquire("line", held_open, 202).await;
    node.release(&first.token(), 204).await;
    node.acquire("line", json!({"ticket": queued["ticket"]}), 201)
        .await;
    node.put_pool("unused", json!({"capacity": 2, "idle": {}}), 201)
        .await;
    node.fill("unused", 1).await;
    node.put_pool("small", json!({"capacity": 2, "ttl_ms": 600_000}), 201)
        .await;
    node.fill("small", 2).await;
    node.patch_pool("small", json!({"capacity": 1}), 200).await;
    let_pass(1_100).await;
    node.renew(&lease.token(), 200).await;
    node.release(&lease.token(), 204).await;
    // Nobody listens there, so that the message waits.
    let webhook = json!({"url": "http://127.0.0.1:9/", "events": ["*"]});
    let webhook = node.post("/v1/webhooks").json(&webhook).expect(201).await;
    let webhook = webhook["id"].as_str().expect("an id");
    node.post(&format!("/v1/webhooks/{webhook}/test"))
        .expect(202)
        .await;
    wait_until(
        "the message was tried",
        Duration::from_secs(30),
        async || {
            Scrape::of(&node)
                .await
                .names()
                .contains("leasehold_webhook_attempts_total")
        },
    )
    .await;
    // What is no request is answered, and the connection closed.
    let mut stream = TcpStream::connect(node.address())
        .await
        .expect("it listens");
    stream
        .write_all(b"nonsense\r\n\r\n")
        .await
        .expect("it listens");
    let _ = stream.read_to_end(&mut Vec::new()).await;

    proxy.refuse().await;
    wait_until("the node notices", Duration::from_secs(20), async || {
        node.acquire("crm", json!({"holder": "eve"}), ANY).await;
        Scrape::of(&node).await.get("leasehold_store_up", &[]) == Some(0.0)
    })
    .await;
    proxy.restore();
    wait_until("the gauges are back", Duration::from_secs(30), async || {
        let scrape = Scrape::of(&node).await;
        scrape.names().contains("leasehold_seats_in_use")
            && scrape.names().contains("leasehold_overcommit")
            && scrape.names().contains("leasehold_store_failures_total")
    })
    .await;
    Scrape::of(&node).await
}

#[tokio::test]
async fn alerts_dashboards_and_documents_know_the_metrics_that_there_are() {
    let scrape = busy().await;
    let there: BTreeSet<&str> = scrape.names();
    let families: BTreeSet<&str> = there.iter().map(|name| family(name)).collect();

    let rules = file("deploy/prometheus/alerts.yaml");
    let mut watched = metrics_in(&rules);
    let boards: Vec<String> = files("deploy/grafana/dashboards")
        .iter()
        .map(|path| fs::read_to_string(path).expect("readable"))
        .collect();
    watched.extend(boards.iter().flat_map(|board| metrics_in(board)));
    assert!(watched.len() > 20, "{watched:?}");
    for name in watched {
        assert!(
            there.contains(name),
            "no node has {name}; there are {there:#?}"
        );
    }

    let documents = file("docs/operating.md");
    let documented: BTreeSet<&str> = metrics_in(&documents).into_iter().map(family).collect();
    for name in &families {
        assert!(
            documented.contains(name),
            "docs/operating.md does not explain {name}"
        );
    }
    for name in documented {
        assert!(
            families.contains(name),
            "docs/operating.md has {name}, which no node has"
        );
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_leads_to_a_page_that_helps() {
    let rules = file("deploy/prometheus/alerts.yaml");
    let tests = file("deploy/prometheus/alerts.test.yaml")
        + &file("deploy/prometheus/alerts.weeks.test.yaml");
    let mut pages = BTreeSet::new();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert.lines().next().expect("a name").trim();
        let field = |field: &str| {
            let lines = alert
                .lines()
                .filter_map(|line| line.trim().strip_prefix(field));
            let value = lines
                .map(|value| value.trim_matches([' ', '\'', '}']))
                .next();
            value
                .unwrap_or_else(|| panic!("{name} has no {field}"))
                .to_owned()
        };
        assert!(
            ["critical", "warning", "info"].contains(&field("labels: {severity:").as_str()),
            "{name}"
        );
        for text in ["for:", "summary:", "description:"] {
            assert!(!field(text).is_empty(), "{name} has no {text}");
        }
        assert!(tests.contains(name), "{name} is not tested");
        let url = field("runbook_url:");
        let page = url
            .strip_prefix(RUNBOOKS)
            .unwrap_or_else(|| panic!("{name} leads to {url}"));
        let text = file(&format!("docs/runbooks/{page}.md"));
        assert!(
            text.contains(name),
            "docs/runbooks/{page}.md does not name {name}"
        );
        for part in ["## What it means", "## Look", "## Do", "## Over when"] {
            assert!(
                text.contains(part),
                "docs/runbooks/{page}.md has no part \"{part}\""
            );
        }
        pages.insert(page.to_owned());
    }
    let operating = file("docs/operating.md");
    for page in pages {
        assert!(
            operating.contains(&format!("runbooks/{page}.md")),
            "docs/operating.md does not list {page}"
        );
    }
}

#[tokio::test]
async fn alerts_lead_to_pages_that_every_node_serves_to_anybody() {
    let node = Launch::embedded()
        .set("admin_key", "the-operator-key-of-the-tests")
        .start()
        .await;
    let address = node.url("/docs/runbooks");
    let metrics = node.get("/metrics").of_another_program().expect(200).await;
    let says = |url: &str| format!("leasehold_runbooks_info{{url=\"{url}\"}} 1");
    assert!(metrics.text.contains(&says(&address)), "{}", metrics.text);
    for name in ["", "/store-down", "/store-down.md"] {
        let page = node
            .get(&format!("/docs/runbooks{name}"))
            .header("accept", "text/html")
            .expect(200)
            .await;
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert!(
            page.headers.contains_key("content-security-policy"),
            "{name}"
        );
        assert!(page.text.contains("LeaseholdStoreDown"), "{}", page.text);
    }
    let none = node.get("/docs/runbooks/none").expect(404).await;
    assert_eq!(none["code"], "route_not_found");

    let moved = Launch::embedded()
        .set("runbook_url", "https://wiki.example/seats/")
        .start()
        .await;
    let metrics = moved.get("/metrics").of_another_program().expect(200).await;
    let wiki = says("https://wiki.example/seats");
    assert!(metrics.text.contains(&wiki), "{}", metrics.text);
}

#[test]
fn dashboards_can_be_imported_anywhere() {
    for path in files("deploy/grafana/dashboards") {
        let text = fs::read_to_string(&path).expect("readable");
        let board: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let uid = board["uid"].as_str().expect("a uid");
        assert!(
            uid.len() < 40 && path.ends_with(format!("{uid}.json")),
            "{uid}"
        );
        assert!(board["id"].is_null(), "an id belongs to one Grafana");
        let variables = board["templating"]["list"].as_array().expect("variables");
        let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name);
        assert_eq!(
            variable("datasource").expect("a data source")["type"],
            "datasource"
        );
        if let Some(pool) = variable("pool") {
            assert_eq!(pool["multi"], true);
        }
        let panels = board["panels"].as_array().expect("panels");
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().expect("a title");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            for target in panel["targets"].as_array().expect("questions") {
                let question = target["expr"].as_str().expect("an expression");
                assert!(
                    question.contains(r#"job=~"$job""#),
                    "{title} asks all installations"
                );
                // What every node says alike must not be added up, and what each counts must.
                for name in metrics_in(question) {
                    let alike = name.starts_with("leasehold_seats_")
                        || name.starts_with("leasehold_named_");
                    if alike {
                        assert!(
                            question.contains("by (pool)") && !question.starts_with("sum"),
                            "{title}: {question}"
                        );
                    } else if name.ends_with("_total") && !name.starts_with("process_") {
                        assert!(
                            question.contains("sum") || question.contains("max(increase("),
                            "{title}: {question}"
                        );
                    }
                }
            }
        }
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{uid}: ids are there twice");
    }
}
