//! One stable address whose master moves, while the old one goes on answering as a replica: a name, a virtual address, a Kubernetes
//! Service by role, a managed Redis. Nodes follow by themselves.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    ANY, Launch, NAME, Names, Node, Proxy, Scrape, Server, free_port, wait_until,
};
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
    // Its first copy may still keep the replica busy.
    wait_until("b is a replica of a", Duration::from_secs(20), async || {
        node.acquire("crm", json!({}), 201).await["durable"] == true
    })
    .await;

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

/// Two servers with one port, at two addresses of this machine, the second of which is a replica, and a name that leads to the first.
/// None where a program cannot have names of its own.
async fn named_pair(hosts: [&str; 2]) -> Option<(Server, Server, Names)> {
    let names = match Names::new() {
        Ok(names) => names,
        Err(why) => {
            eprintln!("nothing to test: {why}");
            return None;
        }
    };
    let port = free_port();
    let (a, b) = (
        Server::at(hosts[0], port).await,
        Server::at(hosts[1], port).await,
    );
    let () = b.query(&["REPLICAOF", hosts[0], &port.to_string()]).await;
    a.copied_to(1).await;
    names.lead_to(&[a.ip()]);
    Some((a, b, names))
}

fn by_name(server: &Server, names: &Names) -> Launch {
    Launch::on(&format!("redis://{NAME}:{}", server.port)).knowing(names)
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_followed_there_and_back() {
    let Some((a, b, names)) = named_pair(["127.0.0.2", "127.0.0.3"]).await else {
        return;
    };
    let node = by_name(&a, &names).start().await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;
    for (old, new) in [(&a, &b), (&b, &a)] {
        swap_at(old, new).await;
        wait_until("it is told", Duration::from_secs(3), async || {
            node.acquire("crm", json!({}), ANY).await.status == 503
        })
        .await;
        names.lead_to(&[new.ip()]);
        follows(&node, new).await;
        node.renew(&lease.token(), 200).await;
    }

    // Of all addresses of a name the one of the master is taken, wherever it stands.
    names.lead_to(&[a.ip(), b.ip()]);
    swap_at(&a, &b).await;
    follows(&node, &b).await;
    names.lead_to(&[b.ip(), a.ip()]);
    swap_at(&b, &a).await;
    follows(&node, &a).await;
}

/// As [`swap`], of two servers with an address each.
async fn swap_at(master: &Server, replica: &Server) {
    master.copied_to(1).await;
    let (host, port) = (replica.ip().to_string(), replica.port.to_string());
    let () = replica.query(&["REPLICAOF", "NO", "ONE"]).await;
    let () = master.query(&["REPLICAOF", &host, &port]).await;
}

#[tokio::test]
async fn a_name_may_lead_to_either_kind_of_address() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("nothing to test: this machine has no IPv6");
        return;
    }
    let Some((a, b, names)) = named_pair(["127.0.0.1", "::1"]).await else {
        return;
    };
    // Nobody is at the first one, and that is tried too.
    names.lead_to(&[[0, 0, 0, 0, 0, 0, 0, 1].into(), a.ip()]);
    let node = by_name(&a, &names).start().await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    node.acquire("crm", json!({}), 201).await;
    names.lead_to(&[b.ip()]);
    swap_at(&a, &b).await;
    follows(&node, &b).await;
    node.put_pool("queue", one_seat(), 201).await;
    a_waiter_is_told(&node, &node, "queue").await;
    drop(node);

    // Without a name, in a URL and in the log.
    let node = Launch::on(&format!("redis://{}", b.address()))
        .start()
        .await;
    node.acquire("crm", json!({}), 201).await;
    node.says(&format!("redis://{}", b.address())).await;
}

#[tokio::test]
async fn an_old_server_that_has_no_master_itself_is_left() {
    let (a, b) = pair().await;
    let proxy = Proxy::start(at(&a));
    let node = Launch::on(&format!("redis://127.0.0.1:{}", proxy.port()))
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    node.acquire("crm", json!({}), 201).await;
    a.copied_to(1).await;

    // It answers nearly everything with MASTERDOWN, over connections that are sound.
    let () = a
        .query(&["CONFIG", "SET", "replica-serve-stale-data", "no"])
        .await;
    let () = b.query(&["REPLICAOF", "NO", "ONE"]).await;
    let () = a.query(&["REPLICAOF", "127.0.0.1", "1"]).await;
    wait_until("it is told", Duration::from_secs(3), async || {
        node.acquire("crm", json!({}), ANY).await.status == 503
    })
    .await;
    wait_until("it is not ready", Duration::from_secs(3), async || {
        let told = node.get("/readyz").expect(ANY).await;
        let store = told["checks"]["store"].as_str().unwrap_or_default();
        ["master_down", "replica"].contains(&store)
    })
    .await;
    proxy.lead_to(at(&b));
    follows(&node, &b).await;
}

#[tokio::test]
async fn an_address_that_led_to_a_server_with_another_password_is_followed_back() {
    for (url_has, other_wants) in [("", "p"), (":p@", "another")] {
        let (mut a, b) = (
            Server::alone(true, Vec::new()).await,
            Server::alone(true, Vec::new()).await,
        );
        if !url_has.is_empty() {
            let () = a.query(&["CONFIG", "SET", "requirepass", "p"]).await;
            url_has.clone_into(&mut a.userinfo);
        }
        let () = b
            .query(&["CONFIG", "SET", "requirepass", other_wants])
            .await;
        let mut proxy = Proxy::start(at(&a));
        let node = Launch::on(&format!("redis://{url_has}127.0.0.1:{}", proxy.port()))
            .start()
            .await;
        node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
        node.acquire("crm", json!({}), 201).await;

        proxy.lead_to(at(&b));
        proxy.cut();
        wait_until("it is told why", Duration::from_secs(5), async || {
            let told = node.get("/readyz").expect(ANY).await;
            told["checks"]["store"] == "auth"
        })
        .await;
        let refused = node.acquire("crm", json!({}), 503).await;
        assert_eq!(refused["outcome"], "none", "{}", refused.text);
        // Connections to it stay open: nothing but what it says tells that they are of no use.
        proxy.lead_to(at(&a));
        follows(&node, &a).await;
    }
}

#[tokio::test]
async fn a_name_server_that_never_answers_holds_nobody_up() {
    let names = match Names::with_a_silent_name_server() {
        Ok(names) => names,
        Err(why) => {
            eprintln!("nothing to test: {why}");
            return;
        }
    };
    let mut redis = Server::alone(true, Vec::new()).await;
    names.lead_to(&[redis.ip()]);
    let node = by_name(&redis, &names).start().await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;

    // What is connected goes on.
    names.lead_to(&[]);
    node.acquire("crm", json!({}), 201).await;
    redis.kill();
    redis.restart();
    redis.answers().await;
    wait_until("it is told", Duration::from_secs(3), async || {
        node.acquire("crm", json!({}), ANY).await.status == 503
    })
    .await;
    for _ in 0..3 {
        let asked = Instant::now();
        let refused = node.acquire("crm", json!({}), 503).await;
        assert_eq!(refused["outcome"], "none", "{}", refused.text);
        node.get("/readyz").expect(503).await;
        node.get("/livez").expect(200).await;
        node.get("/metrics").expect(200).await;
        assert!(asked.elapsed() < 2 * FOLLOWS, "{:?}", asked.elapsed());
    }
    names.lead_to(&[redis.ip()]);
    // A look-up that is under way is given up first.
    wait_until("it follows", 2 * FOLLOWS, async || {
        node.acquire("crm", json!({}), ANY).await.status == 201
    })
    .await;

    // Nor does a look-up that is under way hold up the end of a node, or of one that has not begun.
    names.lead_to(&[]);
    redis.kill();
    wait_until("it is told", Duration::from_secs(3), async || {
        node.acquire("crm", json!({}), ANY).await.status == 503
    })
    .await;
    node.signal("TERM");
    node.ended(Duration::from_secs(4)).await;
    let began = Instant::now();
    let (status, said) = by_name(&redis, &names).refuse().await;
    assert_eq!(status.code(), Some(6), "{said}");
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
}
