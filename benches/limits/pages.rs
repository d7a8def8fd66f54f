//! The admin pages on large installations: 100 000 leases in one pool, and 1 000 pools.
//!
//! One client asks for one view after the other, as a person does; a time goes from the request to the last byte. The
//! leases beat meanwhile no more than they must to live, and the pools have a history of a few minutes.

use std::time::{Duration, Instant};

use leasehold::names::PoolName;

use crate::node::{Node, Redis};
use crate::population::{Population, pools};
use crate::table::{Row, median};
use crate::{goal, say};

/// How often each view is asked for.
const TIMES: usize = 20;
const LEASES: usize = 100_000;
const POOLS: usize = 1_000;
/// What a person does not feel as waiting.
const GOAL_MS: f64 = 300.0;

/// All rows of this part.
pub(crate) async fn pages() -> Vec<Row> {
    let redis = Redis::start().await;
    let store = redis.store().await;
    let large = pools(&store, "large", 1, 200_000).await;
    let teams = pools(&store, "team", POOLS, 20).await;
    let node = Node::start(&redis).await;
    say("100 000 leases in one pool, 10 000 in 1 000 pools");
    let mut crowd = Population::acquire(&store, &large, LEASES).await;
    let mut spread = Population::acquire(&store, &teams, 10 * POOLS).await;
    leasehold::tls::choose_cryptography();
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client without TLS");
    let last = last_cursor(&client, &node, &large[0]).await;

    let pool = format!("/admin/pools/{}", large[0]);
    let leases = |query: &str| format!("{pool}?{query}");
    let views = [
        ("100 000 leases: first page", pool.clone()),
        ("100 000 leases: first page as JSON", leases("format=json")),
        (
            "100 000 leases: by their beginning",
            leases("sort=started_at"),
        ),
        (
            "100 000 leases: by holder, backwards",
            leases("sort=-holder"),
        ),
        (
            "100 000 leases: by last beat, backwards",
            leases("sort=-renewed_at"),
        ),
        (
            "100 000 leases: those with a string",
            leases("q=agent-0777"),
        ),
        (
            "100 000 leases: last page",
            leases(&format!("cursor={last}")),
        ),
        ("1 000 pools: overview", "/admin".to_owned()),
        (
            "1 000 pools: overview, fullest first",
            "/admin?sort=use".to_owned(),
        ),
        (
            "1 000 pools: all of them on one overview",
            "/admin?limit=1000".to_owned(),
        ),
    ];
    let mut rows = Vec::new();
    for (what, path) in views {
        let mut times = Vec::with_capacity(TIMES);
        // The first answer of a node also warms it up, and counts like the others: a person waits for it too.
        for _ in 0..TIMES {
            crowd.keep().await;
            spread.keep().await;
            let begin = Instant::now();
            let text = get(&client, &node, &path).await;
            times.push(begin.elapsed().as_secs_f64() * 1_000.0);
            assert!(text.len() > 1_000, "{path}: {text}");
        }
        let worst = times.iter().copied().fold(0.0, f64::max);
        let middle = median(&times);
        say(&format!("{what}: {middle:.0} ms, worst {worst:.0} ms"));
        rows.push(goal(
            what,
            format!("{middle:.0} ms (worst of {TIMES}: {worst:.0} ms)"),
            "≤ 300 ms",
            middle <= GOAL_MS,
            format!("GET {}", path.split("cursor=").next().unwrap_or_default()),
        ));
    }
    drop(node);
    redis.stop().await;
    rows
}

async fn get(client: &reqwest::Client, node: &Node, path: &str) -> String {
    let request = client
        .get(format!("{}{path}", node.url()))
        .header(
            "accept",
            if path.contains("json") {
                "application/json"
            } else {
                "text/html"
            },
        )
        .timeout(Duration::from_secs(30));
    let answer = request.send().await.expect("the node answers");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.text().await.expect("a whole answer")
}

/// The cursor of the last page, found by turning all of them.
async fn last_cursor(client: &reqwest::Client, node: &Node, pool: &PoolName) -> String {
    let mut cursor = String::new();
    loop {
        let joint = if cursor.is_empty() { "" } else { "&cursor=" };
        let path = format!("/v1/pools/{pool}/leases?limit=1000&format=json{joint}{cursor}");
        let page: serde_json::Value =
            serde_json::from_str(&get(client, node, &path).await).expect("JSON");
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return cursor,
        }
    }
}
