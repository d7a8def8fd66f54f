//! The operator's commands, against a server: what they print, and how they end.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::{Behaviour, Client, Launch, Node, Receiver, Redis, signal, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";

fn command(server: &str, key: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LEASEHOLD_SERVER", server)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(key) = key {
        command.env("LEASEHOLD_KEY", key);
    }
    command
}

#[track_caller]
fn leasehold(
    node: &Client,
    key: Option<&str>,
    arguments: &[&str],
    exit: i32,
) -> impl Future<Output = String> + use<> {
    let asked_at = std::panic::Location::caller();
    let mut command = command(&format!("http://{}", node.address()), key, arguments);
    let line = arguments.join(" ");
    async move {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().await.expect("it runs");
        let (out, err) = (
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr),
        );
        assert_eq!(
            status.code(),
            Some(exit),
            "{asked_at}: {line}\n{out}\n{err}"
        );
        assert!(
            exit == 0 || exit > 6 || !err.is_empty(),
            "{line} says nothing"
        );
        out.into_owned()
    }
}

async fn closed() -> (Redis, Node) {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    (redis, node)
}

#[tokio::test]
async fn operators_work_from_the_shell() {
    let (_redis, node) = closed().await;
    let run =
        |arguments: &'static [&'static str], exit| leasehold(&node, Some(KEY), arguments, exit);

    run(&["pool", "set", "crm", "capacity=3"], 0).await;
    run(&["pool", "set", "crm", "capacity=2", "ttl_ms=30000"], 0).await;
    let pools = run(&["pool", "list"], 0).await;
    assert!(
        pools.starts_with("NAME") && pools.contains("crm"),
        "{pools}"
    );
    let shown: Value =
        serde_json::from_str(&run(&["pool", "show", "crm", "--json"], 0).await).expect("JSON");
    assert_eq!(
        (&shown["capacity"], &shown["ttl_ms"]),
        (&json!(2), &json!(30_000))
    );

    let lease = node
        .with_key(KEY)
        .acquire("crm", json!({"holder": "agent-7"}), 201)
        .await;
    let leases = run(&["lease", "list", "crm", "--json"], 0).await;
    let leases: Value = serde_json::from_str(&leases).expect("JSON");
    assert_eq!(leases[0]["holder"], "agent-7");
    // What destroys asks first, and without a terminal it has to be said.
    run(&["lease", "terminate", "crm", "--holder", "agent-7"], 2).await;
    run(
        &[
            "lease",
            "terminate",
            "crm",
            "--holder",
            "agent-7",
            "--reason",
            "Over.",
            "--yes",
        ],
        0,
    )
    .await;
    assert_eq!(node.renew(&lease.token(), 410).await["reason"], "Over.");

    let secret = run(&["key", "create", "v", "--role", "viewer"], 0).await;
    let keys: Value =
        serde_json::from_str(&run(&["key", "list", "--json"], 0).await).expect("JSON");
    let id = keys[0]["id"].as_str().expect("an id").to_owned();
    leasehold(&node, Some(secret.trim()), &["pool", "list"], 0).await;
    leasehold(
        &node,
        Some(secret.trim()),
        &["pool", "set", "crm", "capacity=9"],
        5,
    )
    .await;
    leasehold(&node, Some(KEY), &["key", "roll", &id], 0).await;
    leasehold(&node, Some(KEY), &["key", "revoke", &id, "--yes"], 0).await;
    leasehold(&node, Some(secret.trim()), &["pool", "list"], 5).await;
    let audit = run(&["audit", "--action", "key"], 0).await;
    assert_eq!(audit.lines().count(), 4, "{audit}");

    run(&["pool", "show", "nowhere"], 4).await;
    run(&["pool", "set", "crm", "capcity=9"], 2).await;
    run(&["pool", "set", "crm", "capacity"], 2).await;
    run(&["lease", "terminate", "crm", "--yes"], 2).await;
    leasehold(&node, None, &["pool", "list"], 5).await;
    run(&["pool", "delete", "crm", "--yes"], 0).await;
    run(&["pool", "list", "--server", "http://127.0.0.1:1"], 6).await;
}

#[tokio::test]
async fn a_command_holds_a_seat_while_it_runs() {
    let (_redis, node) = closed().await;
    let admin = node.with_key(KEY);
    admin
        .put_pool("crm", json!({"capacity": 1, "ttl_ms": 1500}), 201)
        .await;
    let run = |script: &'static str, exit| {
        leasehold(
            &node,
            Some(KEY),
            &["run", "--pool", "crm", "--", "sh", "-c", script],
            exit,
        )
    };

    assert_eq!(run("echo done", 0).await, "done\n");
    run("exit 7", 7).await;
    run("kill -KILL $$", 137).await;
    assert_eq!(admin.availability("crm", 200).await["in_use"], 0);

    // Longer than a lease: the heartbeats keep it. Nobody else gets the seat meanwhile, and one waits for it.
    let held = run("sleep 3", 0);
    let others = async {
        wait_until("the seat is taken", Duration::from_secs(5), async || {
            admin.availability("crm", 200).await["in_use"] == 1
        })
        .await;
        run("true", 3).await;
        leasehold(
            &node,
            Some(KEY),
            &["run", "--pool", "crm", "--wait", "--", "true"],
            0,
        )
        .await;
    };
    tokio::join!(held, others);
    leasehold(
        &node,
        Some(KEY),
        &["run", "--pool", "nowhere", "--", "true"],
        4,
    )
    .await;
    leasehold(
        &node,
        Some(KEY),
        &["run", "--pool", "crm", "--", "/no/such/command"],
        127,
    )
    .await;
    assert_eq!(admin.availability("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn signals_go_on_to_the_command_and_a_lost_seat_ends_it() {
    let (_redis, node) = closed().await;
    let admin = node.with_key(KEY);
    admin
        .put_pool("crm", json!({"capacity": 5, "ttl_ms": 1500}), 201)
        .await;
    let server = format!("http://{}", node.address());
    let in_use = async || admin.availability("crm", 200).await["in_use"].as_u64();

    let script = "trap 'exit 42' TERM; while :; do sleep 0.05; done";
    let start = || {
        command(
            &server,
            Some(KEY),
            &["run", "--pool", "crm", "--", "sh", "-c", script],
        )
        .spawn()
        .expect("it starts")
    };
    let mut held = start();
    wait_until("the seat is taken", Duration::from_secs(5), async || {
        in_use().await == Some(1)
    })
    .await;
    // The shell sets its trap a moment after the seat was taken.
    tokio::time::sleep(Duration::from_millis(500)).await;
    signal(held.id().expect("it runs"), "TERM");
    assert_eq!(held.wait().await.expect("it ended").code(), Some(42));
    assert_eq!(in_use().await, Some(0));

    let mut held = start();
    wait_until("the seat is taken", Duration::from_secs(5), async || {
        in_use().await == Some(1)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    admin.terminate("crm", json!({"all": true}), 200).await;
    assert_eq!(held.wait().await.expect("it ended").code(), Some(42));
}

#[tokio::test]
async fn reports_and_sizing_are_read_in_a_shell() {
    let (_redis, node) = closed().await;
    let run =
        |arguments: &'static [&'static str], exit| leasehold(&node, Some(KEY), arguments, exit);
    run(&["pool", "set", "crm", "capacity=1"], 0).await;
    let keyed = node.with_key(KEY);
    keyed.acquire("crm", json!({"holder": "ann"}), 201).await;
    keyed.acquire("crm", json!({"holder": "bob"}), 409).await;

    for (what, word) in [
        ("usage", "DATE"),
        ("history", "GRANTS"),
        ("denials", "bob"),
        ("holders", "ann"),
        ("tenants", "LEASES"),
        ("patterns", "WEEKDAY"),
    ] {
        let arguments: &'static [&'static str] = Vec::leak(vec!["report", what, "crm"]);
        let table = run(arguments, 0).await;
        assert!(table.contains(word), "{what}: {table}");
    }
    let file = run(&["report", "holders", "crm", "--csv"], 0).await;
    assert!(file.starts_with("\u{feff}holder,leases,"), "{file}");
    let sized = run(&["sizing", "crm", "--csv", "--sustained-minutes", "5"], 0).await;
    assert!(sized.starts_with("\u{feff}seats,denials,"), "{sized}");
    let choices = run(&["sizing", "crm"], 0).await;
    assert!(choices.contains("never_refuse"), "{choices}");
    let sizing = run(&["sizing", "crm", "--json", "--target-lean", "0.1"], 0).await;
    let sizing: Value = serde_json::from_str(&sizing).expect("JSON");
    assert_eq!(sizing["inputs"]["holders"], 1);
    run(&["sizing", "crm", "--target-lean", "2"], 2).await;
    run(&["sizing", "crm", "--sustained-minutes", "0"], 2).await;
}

#[tokio::test]
async fn a_file_has_all_pages_of_a_report() {
    let (redis, node) = closed().await;
    let run =
        |arguments: &'static [&'static str], exit| leasehold(&node, Some(KEY), arguments, exit);
    run(&["pool", "set", "crm", "capacity=3000"], 0).await;
    // More holders than a page has rows; each has been here and gone.
    let events = redis.keys("lh1:*:crm:events").await;
    let write = r"
        for number = 1, 2100 do
          for _, kind in ipairs({ 'started', 'ended' }) do
            redis.call('XADD', KEYS[1], '*', 'type', kind, 'id', tostring(number), 'at', ARGV[1],
              'holder', string.format('agent-%04d', number), 'tenant', '', 'reason', '')
          end
        end";
    let (seconds, _): (i64, i64) = redis.query(&["TIME"]).await;
    let at = (seconds * 1_000).to_string();
    let () = redis.query(&["EVAL", write, "1", &events[0], &at]).await;

    let names = |file: &str| -> Vec<String> {
        let mut reader = csv::Reader::from_reader(file.as_bytes());
        let rows = reader.records().map(|row| row.expect("CSV")[0].to_owned());
        rows.collect()
    };
    let all: Vec<String> = (1..=2_100)
        .map(|number| format!("agent-{number:04}"))
        .collect();
    let file = run(&["report", "holders", "crm", "--csv"], 0).await;
    assert_eq!(names(&file), all);
    let file = run(&["report", "holders", "crm", "--csv", "--limit", "1500"], 0).await;
    assert_eq!(names(&file), all[..1_500]);
    let json = run(
        &["report", "holders", "crm", "--json", "--limit", "2050"],
        0,
    )
    .await;
    let items: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(items.as_array().map(Vec::len), Some(2_050));
}

#[tokio::test]
async fn people_get_tables_and_programs_get_json() {
    let (_redis, node) = closed().await;
    let run =
        |arguments: &'static [&'static str], exit| leasehold(&node, Some(KEY), arguments, exit);
    run(&["pool", "set", "crm", "capacity=3"], 0).await;
    node.with_key(KEY).acquire("crm", json!({}), 201).await;

    let leases = run(&["lease", "list", "crm"], 0).await;
    let (head, row) = leases.split_once('\n').expect("a head and a row");
    assert!(row.starts_with("Guest "), "{leases}");
    // Nobody has a tenant, so there is no such column.
    assert!(
        head.contains("EXPIRES IN") && !head.contains("TENANT"),
        "{leases}"
    );
    assert!(
        run(&["pool", "show", "crm"], 0)
            .await
            .contains("in use         1\n")
    );

    let json = async |arguments: &'static [&'static str]| -> Value {
        serde_json::from_str(&run(arguments, 0).await).expect("JSON")
    };
    assert_eq!(json(&["pool", "list", "--json"]).await[0]["in_use"], 1);
    assert_eq!(
        json(&["pool", "set", "crm", "capacity=9", "--json"]).await["capacity"],
        9
    );
    assert_eq!(
        json(&["lease", "list", "crm", "--json"]).await[0]["holder"],
        Value::Null
    );
    assert_eq!(json(&["audit", "--json"]).await[0]["action"], "pool.patch");
    assert_eq!(
        json(&["pool", "delete", "crm", "--yes", "--json"]).await["status"],
        "removed"
    );
    assert_eq!(json(&["pool", "list", "--json"]).await, json!([]));
}

#[tokio::test]
async fn many_leases_are_listed_and_terminated_page_by_page() {
    let (_redis, node) = closed().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 5_000}), 201).await;
    let ask = |n: u32| admin.acquire("crm", json!({"tenant": format!("t{}", n % 2)}), 201);
    for some in (0..2_200).collect::<Vec<_>>().chunks(40) {
        futures_util::future::join_all(some.iter().map(|n| ask(*n))).await;
    }
    let count = async |arguments: &'static [&'static str]| {
        let text = leasehold(&node, Some(KEY), arguments, 0).await;
        let list: Value = serde_json::from_str(&text).expect("JSON");
        list.as_array().expect("a list").len()
    };
    assert_eq!(
        count(&["lease", "list", "crm", "--limit", "1050", "--json"]).await,
        1_050
    );
    assert_eq!(
        count(&[
            "lease",
            "terminate",
            "crm",
            "--tenant",
            "t1",
            "--yes",
            "--json"
        ])
        .await,
        1_100
    );
    assert_eq!(admin.availability("crm", 200).await["in_use"], 1_100);
    assert_eq!(
        count(&["lease", "terminate", "crm", "--all", "--yes", "--json"]).await,
        1_100
    );
    assert_eq!(admin.availability("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn a_key_comes_from_a_file_and_an_address_has_a_scheme() {
    let (_redis, node) = closed().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key");
    std::fs::write(&file, format!("{KEY}\n")).expect("written");
    let file = file.to_str().expect("UTF-8").to_owned();
    leasehold(&node, None, &["pool", "list", "--key-file", &file], 0).await;
    // What all commands take stands where one likes.
    let listed = leasehold(
        &node,
        None,
        &["--json", "--key-file", &file, "pool", "list"],
        0,
    )
    .await;
    assert!(serde_json::from_str::<Value>(&listed).is_ok(), "{listed}");
    leasehold(&node, None, &["pool", "--key-file", &file, "list"], 0).await;
    leasehold(
        &node,
        None,
        &["pool", "list", "--key-file", "/no/such/file"],
        2,
    )
    .await;
    leasehold(
        &node,
        Some(KEY),
        &["pool", "list", "--server", "127.0.0.1:7070"],
        2,
    )
    .await;
}

#[tokio::test]
async fn a_command_waits_in_the_queue_and_learns_what_it_holds() {
    let (_redis, node) = closed().await;
    let admin = node.with_key(KEY);
    admin
        .put_pool(
            "crm",
            json!({"capacity": 1, "queue": {"max_waiting": 5}}),
            201,
        )
        .await;
    let first = admin.acquire("crm", json!({}), 201).await;
    let script = "echo $LEASEHOLD_LEASE_ID $LEASEHOLD_FENCE";
    let waiting = leasehold(
        &node,
        Some(KEY),
        &["run", "--pool", "crm", "--wait", "--", "sh", "-c", script],
        0,
    );
    let free = async {
        wait_until("it waits", Duration::from_secs(10), async || {
            admin.availability("crm", 200).await["waiting"] == 1
        })
        .await;
        admin.release(&first.token(), 204).await;
    };
    let (said, ()) = tokio::join!(waiting, free);
    let (id, fence) = said.trim().split_once(' ').expect("an id and a fence");
    assert_eq!(id.len(), 22, "{said}");
    assert!(
        fence.parse::<u64>().expect("a number")
            > first["lease"]["fence"].as_u64().expect("a number")
    );

    // Not for ever, when that is asked for.
    admin.acquire("crm", json!({}), 201).await;
    leasehold(
        &node,
        Some(KEY),
        &["run", "--pool", "crm", "--wait=1", "--", "true"],
        3,
    )
    .await;
}

#[tokio::test]
async fn a_command_that_is_stopped_while_it_waits_leaves_the_queue() {
    let (_redis, node) = closed().await;
    let admin = node.with_key(KEY);
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 5}});
    admin.put_pool("crm", policy, 201).await;
    let held = admin.acquire("crm", json!({"holder": "ann"}), 201).await;
    for name in ["INT", "TERM"] {
        let server = format!("http://{}", node.address());
        let arguments = [
            "run", "--pool", "crm", "--holder", "bob", "--wait", "--", "true",
        ];
        let mut waiting = command(&server, Some(KEY), &arguments)
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        wait_until("it waits", Duration::from_secs(10), async || {
            admin.availability("crm", 200).await["waiting"] == 1
        })
        .await;
        let listed = leasehold(&node, Some(KEY), &["queue", "list", "crm", "--json"], 0).await;
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        assert_eq!(
            (&listed[0]["position"], &listed[0]["holder"]),
            (&json!(1), &json!("bob"))
        );
        signal(waiting.id().expect("it runs"), name);
        let status = waiting.wait().await.expect("it ends");
        assert_eq!(status.code(), Some(3), "{name}");
        assert_eq!(admin.availability("crm", 200).await["waiting"], 0);
    }
    // Nobody is promised the seat.
    admin.release(&held.token(), 204).await;
    admin.acquire("crm", json!({"holder": "cid"}), 201).await;
    let nobody = leasehold(&node, Some(KEY), &["queue", "list", "crm"], 0).await;
    assert_eq!(nobody, "");
}

#[tokio::test]
async fn a_command_that_will_not_stop_without_its_seat_is_killed() {
    let (_redis, node) = closed().await;
    let admin = node.with_key(KEY);
    admin
        .put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_500}), 201)
        .await;
    let script = "trap '' TERM; while :; do sleep 0.05; done";
    let arguments = [
        "run",
        "--pool",
        "crm",
        "--kill-after",
        "0",
        "--",
        "sh",
        "-c",
        script,
    ];
    let held = leasehold(&node, Some(KEY), &arguments, 137);
    let end = async {
        wait_until("the seat is taken", Duration::from_secs(10), async || {
            admin.availability("crm", 200).await["in_use"] == 1
        })
        .await;
        admin.terminate("crm", json!({"all": true}), 200).await;
    };
    tokio::join!(held, end);
}

#[tokio::test]
async fn a_watch_that_nobody_reads_any_more_ends() {
    let (_redis, node) = closed().await;
    node.with_key(KEY)
        .put_pool("crm", json!({"capacity": 1}), 201)
        .await;
    let server = format!("http://{}", node.address());
    let mut watch = command(&server, Some(KEY), &["watch", "--json", "--every", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    let line = lines.next_line().await.expect("read").expect("a line");
    let pool: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&pool["name"], &pool["in_use"]), (&json!("crm"), &json!(0)));
    drop(lines);
    let ended = tokio::time::timeout(Duration::from_secs(20), watch.wait()).await;
    assert!(ended.expect("it ends").expect("a status").success());
}

#[tokio::test]
async fn webhooks_and_alerts_are_handled_from_the_shell() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("webhook_http", "on")
        .set("webhook_private_networks", "on")
        .set("webhook_retry_ms", "50")
        .set("webhook_attempts", "2")
        .start()
        .await;
    let shell = |arguments: &[&str], exit: i32| leasehold(&node, Some(KEY), arguments, exit);
    let receiver = Receiver::that(|_, _| Behaviour::Status(500)).await;
    let url = receiver.url();

    shell(&["webhook", "create", &url, "--event", "pool.fool"], 2).await;
    shell(&["webhook", "create", "ftp://x/", "--event", "*"], 2).await;
    let secret = shell(
        &["webhook", "create", &url, "--event", "*", "--name", "pager"],
        0,
    )
    .await;
    assert!(secret.trim_end().starts_with("whsec_") && secret.lines().count() == 1);
    let listed = shell(&["webhook", "list", "--json"], 0).await;
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed[0]["name"], "pager");
    let id = listed[0]["id"].as_str().expect("an id").to_owned();
    assert!(shell(&["webhook", "list"], 0).await.contains(&url));

    // It says what the receiver answered.
    let delivery = shell(&["webhook", "test", &id], 1).await;
    let delivery = delivery.trim_end();
    wait_until("it is given up", Duration::from_secs(20), async || {
        shell(&["webhook", "deliveries", &id, "--state", "dead"], 0)
            .await
            .contains(delivery)
    })
    .await;
    let dead = shell(&["webhook", "deliveries", &id], 0).await;
    assert!(dead.contains("500: the receiver did not take it"), "{dead}");
    receiver.now(|_, _| Behaviour::Status(200));
    shell(&["webhook", "resend", &id, delivery], 0).await;
    receiver.got(3).await;
    shell(&["webhook", "resend", &id, "msg_x"], 4).await;

    let rolled = shell(&["webhook", "roll", &id, "--overlap-ms", "0"], 0).await;
    assert!(rolled.starts_with("whsec_") && rolled != secret);
    shell(&["webhook", "disable", &id], 0).await;
    shell(&["webhook", "test", &id], 2).await;
    shell(&["webhook", "enable", &id], 0).await;

    let nothing = shell(&["alert", "list"], 0).await;
    assert!(nothing.is_empty(), "{nothing}");
    shell(&["pool", "set", "crm", "capacity=1"], 0).await;
    node.with_key(KEY).acquire("crm", json!({}), 201).await;
    wait_until("it is told", Duration::from_secs(20), async || {
        shell(&["alert", "list", "--pool", "crm"], 0)
            .await
            .contains("All seats of crm are in use: 1 of 1.")
    })
    .await;
    let all = shell(&["alert", "list", "--all", "--json"], 0).await;
    let all: Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all[0]["type"], "pool.full");
    shell(&["alert", "list", "--type", "pool.fool"], 2).await;

    shell(&["webhook", "delete", &id], 2).await;
    shell(&["webhook", "delete", &id, "--yes"], 0).await;
    shell(&["webhook", "deliveries", &id], 4).await;
}

#[tokio::test]
async fn blocks_are_set_listed_and_lifted_from_the_shell() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let shell = |arguments: &[&str], exit: i32| leasehold(&node, Some(KEY), arguments, exit);
    admin.put_pool("crm", json!({"capacity": 5}), 201).await;
    let who = "Zoë Müller/desk 7";

    assert_eq!(shell(&["block", "list"], 0).await, "");
    shell(&["holder", "block", who, "--pool", "crm"], 2).await;
    let put = [
        "holder", "block", who, "--pool", "crm", "--for-ms", "600000", "--reason", "Call us.",
        "--json",
    ];
    let put: Value = serde_json::from_str(&shell(&put, 0).await).expect("JSON");
    assert_eq!(put["holder"], who);
    let denied = admin.acquire("crm", json!({"holder": who}), 409).await;
    assert_eq!(denied["code"], "holder_blocked");
    assert_eq!(denied["reason"], "Call us.");

    for list in [&["block", "list"][..], &["block", "list", "--pool", "crm"]] {
        let table = shell(list, 0).await;
        assert!(table.contains(who) && table.contains("Call us."), "{table}");
        let listed = shell(&[list, &["--json"]].concat(), 0).await;
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        assert_eq!(listed[0]["until"], denied["blocked_until"]);
        assert_eq!(listed[0]["by"], "admin key of the settings", "{listed}");
    }

    shell(&["holder", "unblock", who, "--pool", "crm"], 0).await;
    assert_eq!(shell(&["block", "list"], 0).await, "");
    admin.acquire("crm", json!({"holder": who}), 201).await;
    shell(&["holder", "unblock", who, "--pool", "none"], 4).await;
    shell(&["block", "list", "--pool", "none"], 4).await;

    // Clients take these for steps of an address, however they are encoded.
    for who in [".", "..", "...", "%2E", "a/../b"] {
        let lease = admin.acquire("crm", json!({"holder": who}), 201).await;
        let shown = shell(&["holder", "show", who, "--json"], 0).await;
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["leases"][0]["id"], lease.id(), "{who}: {shown}");
        shell(&["holder", "end", who, "--yes"], 0).await;
        admin.renew(&lease.token(), 410).await;
        let put = ["holder", "block", who, "--pool", "crm", "--for-ms", "60000"];
        shell(&put, 0).await;
        admin.acquire("crm", json!({"holder": who}), 409).await;
        shell(&["holder", "unblock", who, "--pool", "crm"], 0).await;
        let lease = admin.acquire("crm", json!({"holder": who}), 201).await;
        admin.release(&lease.token(), 204).await;
    }
    let page = admin.get("/admin/people/..%20").expect(200).await;
    assert!(page.text.contains("<bdi>..</bdi>"), "{}", page.text);
}
