//! The list of live leases, as operators read it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Client, Installation, Launch, Node, Redis, Reply};

fn of(answer: &Reply, field: &str) -> Vec<String> {
    let items = answer.list("items").iter();
    items
        .map(|lease| lease[field].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Follows `next_cursor` to the end; `query` has no cursor.
async fn pages(node: &Node, pool: &str, query: &str) -> Vec<Reply> {
    let mut pages = vec![node.list(pool, query, 200).await];
    while let Some(cursor) = pages.last().expect("one page at least")["next_cursor"].as_str() {
        assert!(
            cursor
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)),
            "{cursor}"
        );
        let next = node
            .list(pool, &format!("{query}&cursor={cursor}"), 200)
            .await;
        pages.push(next);
        assert!(pages.len() < 100, "the pages never end");
    }
    pages
}

#[tokio::test]
async fn leases_are_found_by_holder_by_tenant_and_by_a_part_of_what_is_known() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 10}), 201).await;
    for (holder, tenant, label) in [
        ("ann", "acme", "Front desk"),
        ("ann", "beta", "Back office"),
        ("bob", "acme", "Field"),
        ("annabel", "acme", "Front door"),
    ] {
        node.acquire(
            "crm",
            json!({"holder": holder, "tenant": tenant, "label": label}),
            201,
        )
        .await;
    }
    node.acquire("crm", json!({}), 201).await;

    let found = async |query: &str| {
        let mut holders = of(&node.list("crm", query, 200).await, "holder");
        holders.sort();
        holders
    };
    assert_eq!(found("").await.len(), 5);
    assert_eq!(found("holder=ann").await, ["ann", "ann"]);
    assert_eq!(found("tenant=acme").await, ["ann", "annabel", "bob"]);
    assert_eq!(found("holder=ann&tenant=acme").await, ["ann"]);
    assert_eq!(found("holder=nobody").await, [""; 0]);
    assert_eq!(found("q=ann").await, ["ann", "ann", "annabel"]);
    assert_eq!(found("q=FRONT").await, ["ann", "annabel"]);
    assert_eq!(found("q=front+do").await, ["annabel"]);
}

#[tokio::test]
async fn the_list_is_sorted_as_asked() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 10}), 201).await;
    for holder in ["cid", "ann", "dan", "bob"] {
        node.acquire("crm", json!({"holder": holder}), 201).await;
        crate::harness::let_pass(2).await;
    }

    let sorted = async |sort: &str| {
        of(
            &node.list("crm", &format!("sort={sort}"), 200).await,
            "holder",
        )
    };
    assert_eq!(sorted("holder").await, ["ann", "bob", "cid", "dan"]);
    assert_eq!(sorted("-holder").await, ["dan", "cid", "bob", "ann"]);
    assert_eq!(sorted("started_at").await, ["cid", "ann", "dan", "bob"]);
    assert_eq!(sorted("-started_at").await, ["bob", "dan", "ann", "cid"]);
    assert_eq!(sorted("expires_at").await, ["cid", "ann", "dan", "bob"]);
    node.list("crm", "sort=shoe_size", 400).await;
}

#[tokio::test]
async fn a_cursor_leads_through_250_leases_and_shows_each_once() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 250}), 201).await;
    let leases = a.fill("crm", 250).await;
    let ids: HashSet<_> = leases.iter().map(Reply::id).collect();

    for query in [
        "limit=40",
        "limit=40&sort=holder",
        "limit=40&sort=-started_at",
    ] {
        let pages = pages(b, "crm", query).await;
        assert_eq!(pages.len(), 7, "{query}");
        assert!(
            pages[..6].iter().all(|page| page.list("items").len() == 40),
            "{query}"
        );
        let seen: Vec<_> = pages.iter().flat_map(|page| of(page, "id")).collect();
        assert_eq!(seen.len(), 250, "{query}");
        assert_eq!(seen.into_iter().collect::<HashSet<_>>(), ids, "{query}");
        assert_eq!(pages[6]["next_cursor"], Value::Null, "{query}");
    }
    // A filter goes on through the pages.
    let found = pages(b, "crm", "limit=10&q=agent-1").await;
    assert_eq!(
        found
            .iter()
            .map(|page| page.list("items").len())
            .sum::<usize>(),
        111
    );
}

#[tokio::test]
async fn a_wrong_question_is_refused() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 10}), 201).await;

    for query in [
        "limit=0",
        "limit=-1",
        "limit=many",
        "limit=1000000",
        "cursor=nonsense",
        "tennant=acme",
    ] {
        node.list("crm", query, 400).await;
    }
    assert_eq!(node.list("crm", "", 200).await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_while_the_list_is_read_is_not_in_it() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 500}), 201).await;
    let stop = Arc::new(AtomicBool::new(false));
    let come_and_go = (0..12).map(|number| {
        let (node, stop) = (Client::clone(&node), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let body = json!({"holder": format!("agent-{number}")});
                let lease = node.acquire("crm", body, 201).await;
                node.release(&lease.token(), 204).await;
            }
        })
    });
    let come_and_go: Vec<_> = come_and_go.collect();
    for _ in 0..150 {
        for lease in node.list("crm", "sort=holder", 200).await.list("items") {
            assert!(lease["holder"].is_string(), "{lease}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in come_and_go {
        task.await.expect("no panic");
    }
}
