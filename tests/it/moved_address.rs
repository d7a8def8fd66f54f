//! One stable address whose master moves, while the old one goes on answering as a replica: a name, a virtual address, a Kubernetes
//! Service by role, a managed Redis. Nodes follow by themselves.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{ANY, Launch, Node, Proxy, Scrape, Server, wait_until};
use crate::hints::{a_waiter_is_told, one_seat};

/// From the moment at which the new master answers at the address to the first grant.
const FOLLOWS: Duration = Duration::from_secs(2);

fn at(server: &Server) -> std::net::SocketAddr {
    server.address().parse().expect("an address")
}

/// A master and its replica.
async fn pair() -> (Server, Server) {
    let (master, replica) = (
        Server::alone(true, Vec::new()).await,
        Server::alone(true, Vec::new()).await,
    );
    let port = master.port.to_string();
    let () = replica.query(&["REPLICAOF", "127.0.0.1", &port]).await;
    master.copied_to(1).await;
    (master, replica)
}

/// The replica becomes the master and the master its replica; both run on.
async fn swap(master: &Server, replica: &Server) {
    master.copied_to(1).await;
    let port = replica.port.to_string();
    let () = replica.query(&["REPLICAOF", "NO", "ONE"]).await;
    let () = master.query(&["REPLICAOF", "127.0.0.1", &port]).await;
}

/// Asks until a seat is granted, and checks that the new master has it. Whenever the node reports ready, it is.
async fn follows(node: &Node, master: &Server) {
    let moved = Instant::now();
    let granted = async || {
        let lease = node.acquire("crm", json!({}), ANY).await;
        lease.status == 201 && master.has_lease("crm", &lease.id()).await
    };
    wait_until("a grant of the new master", FOLLOWS, granted).await;
    eprintln!("followed after {:?}", moved.elapsed());
    for _ in 0..20 {
        node.acquire("crm", json!({}), 201).await;
    }
    node.get("/readyz").expect(200).await;
    assert_eq!(
        Scrape::of(node).await.get("leasehold_store_up", &[]),
        Some(1.0)
    );
}

#[tokio::test]
async fn a_moved_address_is_followed_there_and_back() {
    let (a, b) = pair().await;
    let proxy = Proxy::start(at(&a));
    let node = Launch::on(&format!("redis://127.0.0.1:{}", proxy.port()))
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;
    node.put_pool("queue", one_seat(), 201).await;
    a_waiter_is_told(&node, &node, "queue").await;

    for (old, new) in [(&a, &b), (&b, &a)] {
        swap(old, new).await;
        // The address is late: meanwhile that is reported, and nothing is granted.
        wait_until("it is told", Duration::from_secs(3), async || {
            node.acquire("crm", json!({}), ANY).await.status == 503
        })
        .await;
        let told = node.get("/readyz").expect(503).await;
        assert_eq!(told["checks"]["store"], "replica", "{}", told.text);
        proxy.lead_to(at(new));
        follows(&node, new).await;
        node.renew(&lease.token(), 200).await;
        a_waiter_is_told(&node, &node, "queue").await;
    }
}

#[tokio::test]
async fn an_address_that_moves_at_the_same_moment_is_followed_by_who_waits_for_replicas() {
    let (a, b) = pair().await;
    let proxy = Proxy::start(at(&a));
    let node = Launch::on(&format!("redis://127.0.0.1:{}", proxy.port()))
        .set("durability", "replicated")
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    assert_eq!(node.acquire("crm", json!({}), 201).await["durable"], true);

    proxy.lead_to(at(&b));
    swap(&a, &b).await;
    follows(&node, &b).await;
    wait_until("a is a replica of b", Duration::from_secs(20), async || {
        node.acquire("crm", json!({}), 201).await["durable"] == true
    })
    .await;
}

#[tokio::test]
async fn a_socket_whose_path_leads_elsewhere_is_followed() {
    let (mut a, mut b) = pair().await;
    for server in [&mut a, &mut b] {
        server.set("--unixsocket", "redis.sock");
        server.restart();
        server.answers().await;
    }
    let port = a.port.to_string();
    let () = b.query(&["REPLICAOF", "127.0.0.1", &port]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("redis.sock");
    let lead_to = |server: &Server| {
        // In one step, as whoever moves it should.
        let new = directory.path().join("new");
        std::os::unix::fs::symlink(server.directory().join("redis.sock"), &new).expect("ours");
        std::fs::rename(new, &path).expect("ours");
    };
    lead_to(&a);
    let node = Launch::on(&format!("unix://{}", path.display()))
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    node.acquire("crm", json!({}), 201).await;

    swap(&a, &b).await;
    lead_to(&b);
    follows(&node, &b).await;
}

#[tokio::test]
async fn a_master_that_was_cut_off_and_takes_no_writes_is_left_for_the_one_at_the_address() {
    let (a, b) = pair().await;
    let proxy = Proxy::start(at(&a));
    let node = Launch::on(&format!("redis://127.0.0.1:{}", proxy.port()))
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    a.copied_to(1).await;

    // It still thinks that it is the master: nothing that it says is about its role.
    let () = a
        .query(&["CONFIG", "SET", "min-replicas-to-write", "3"])
        .await;
    let () = b.query(&["REPLICAOF", "NO", "ONE"]).await;
    wait_until("it is told", Duration::from_secs(3), async || {
        let told = node.get("/readyz").expect(ANY).await;
        told["checks"]["store"] == "no_replicas"
    })
    .await;
    proxy.lead_to(at(&b));
    follows(&node, &b).await;
}

#[tokio::test]
async fn a_node_that_starts_in_the_middle_of_a_move_waits_for_the_master() {
    let (a, b) = pair().await;
    let proxy = Proxy::start(at(&b));
    let starting = Launch::on(&format!("redis://127.0.0.1:{}", proxy.port())).spawn();
    wait_until("it waits", Duration::from_secs(10), async || {
        starting.log().contains("trying again")
    })
    .await;
    proxy.lead_to(at(&a));
    starting.ready().await;
}
