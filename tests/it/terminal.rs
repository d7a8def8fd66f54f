//! The commands on a terminal: they ask before they destroy, show how long work gets on, and leave the screen as it was.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Launch, Proxy, Redis, Terminal};

fn leasehold(server: &str, arguments: &[&str]) -> Terminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TERM", "xterm-256color")
        .env("LEASEHOLD_SERVER", server);
    Terminal::run(command)
}

fn server(node: &Client) -> String {
    format!("http://{}", node.address())
}

#[tokio::test]
async fn what_destroys_asks_first_and_only_a_yes_is_one() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    node.acquire("crm", json!({}), 201).await;

    for no in ["n\r", "\r", "yess\r", "\u{4}"] {
        let mut terminal = leasehold(&server(&node), &["pool", "delete", "crm"]);
        terminal
            .shows("Remove the pool crm and end its 1 leases? [y/N] ")
            .await;
        terminal.types(no);
        let (status, text) = terminal.ended().await;
        assert_eq!(status.code(), Some(1), "{no:?}: {text}");
        assert!(text.contains("nothing was done"), "{text}");
        node.pool("crm", 200).await;
    }
    let mut terminal = leasehold(&server(&node), &["lease", "terminate", "crm", "--all"]);
    terminal
        .shows("Terminate all leases, now 1 lease, in the pool crm? [y/N] ")
        .await;
    terminal.types("y\r");
    let (status, text) = terminal.ended().await;
    assert!(status.success(), "{text}");
    assert!(text.contains("1 of 1 leases were terminated"), "{text}");
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn long_work_shows_how_far_it_is_and_cleans_up_behind_itself() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 2_000}), 201).await;
    for _ in 0..25 {
        let some = (0..50).map(|_| node.acquire("crm", json!({}), 201));
        futures_util::future::join_all(some).await;
    }
    // A slow way, so that there is something to show.
    let mut proxy = Proxy::start(node.address().parse().expect("an address"));
    proxy.delay(Duration::from_millis(300));
    let slow = format!("http://127.0.0.1:{}", proxy.port());
    let mut terminal = leasehold(&slow, &["lease", "terminate", "crm", "--all", "--yes"]);
    terminal.shows("reading: 1000 rows").await;
    terminal.shows("terminating").await;
    terminal.shows("1,000 of 1,250").await;
    let (status, text) = terminal.ended().await;
    assert!(status.success(), "{text}");
    assert!(
        text.contains("1250 of 1250 leases were terminated"),
        "{text}"
    );
    // Each line that moved was cleared in the end, so that only what was done stands there.
    let last = text.rsplit("\u{1b}[2K").next().unwrap_or_default();
    assert_eq!(
        last.trim(),
        "1250 of 1250 leases were terminated",
        "{text:?}"
    );
}

#[tokio::test]
async fn a_command_that_waits_says_so_while_it_does() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool(
        "crm",
        json!({"capacity": 1, "queue": {"max_waiting": 5}}),
        201,
    )
    .await;
    let first = node.acquire("crm", json!({}), 201).await;
    let run = ["run", "--pool", "crm", "--wait", "--", "echo", "has it"];
    let mut terminal = leasehold(&server(&node), &run);
    terminal.shows("waiting").await;
    node.release(&first.token(), 204).await;
    let (status, text) = terminal.ended().await;
    assert!(status.success() && text.contains("has it"), "{text}");
}

#[tokio::test]
async fn a_watch_is_a_screen_of_its_own_that_is_given_back() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    node.put_pool("other", json!({"capacity": 7}), 201).await;
    let mut watch = leasehold(&server(&node), &["watch", "--every", "1"]);
    watch.shows("\u{1b}[?1049h").await;
    watch.shows("0/2").await;
    watch.shows("0/7").await;
    node.acquire("crm", json!({}), 201).await;
    watch.shows("1/2").await;
    watch.types("s");
    watch.shows("fullest first").await;
    watch.types(" ");
    watch.shows("paused").await;
    watch.types(" ");
    node.acquire("crm", json!({}), 201).await;
    watch.shows("2/2").await;
    // An outage is shown and waited out.
    node.signal("STOP");
    watch.shows("stale, last seen").await;
    node.signal("CONT");
    node.acquire("other", json!({}), 201).await;
    watch.shows("1/7").await;
    watch.types("q");
    let (status, text) = watch.ended().await;
    assert!(status.success(), "{text}");
    assert!(text.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{text:?}");

    // Ended from outside it gives the screen back too.
    let mut watch = leasehold(&server(&node), &["watch"]);
    watch.shows("2/2").await;
    watch.signal("TERM");
    let (_, text) = watch.ended().await;
    assert!(text.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{text:?}");
}

#[tokio::test]
async fn where_nobody_looks_there_is_no_bar_and_no_question() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["lease", "terminate", "crm", "--all", "--yes"])
        .env_clear()
        .env("LEASEHOLD_SERVER", server(&node))
        .output()
        .await
        .expect("it runs");
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[tokio::test]
async fn a_command_on_a_terminal_that_nobody_uses_is_warned_and_gives_its_seat_away() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let idle = json!({"after_ms": 2_000, "then": "end", "notice_ms": 1_500});
    node.put_pool(
        "crm",
        json!({"capacity": 1, "ttl_ms": 1_000, "idle": idle}),
        201,
    )
    .await;
    let run = ["run", "--pool", "crm", "--idle", "tty", "--", "sleep", "60"];
    let mut terminal = leasehold(&server(&node), &run);
    terminal
        .shows("nobody has used this terminal for long; it ends in")
        .await;
    let list = node.list("crm", "", 200).await;
    assert!(list["items"][0]["active_at"].is_string(), "{}", list.text);
    let (status, text) = terminal.ended().await;
    assert_eq!(status.code(), Some(143), "{text}");
    assert!(
        text.contains("the seat is lost: Nobody used this seat"),
        "{text}"
    );
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);

    let elsewhere = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(run)
        .env("LEASEHOLD_SERVER", server(&node))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(elsewhere.status.code(), Some(2));
}
