//! Every part of `redis_url` is honoured, or refused at the start by its name.

use serde_json::json;

use crate::harness::{Certificates, Launch, Sentinels, Server};

async fn keys_in(server: &Server, database: u32) -> i64 {
    let url = format!("redis://{}/{database}", server.address());
    let client = redis::Client::open(url).expect("a URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("it runs");
    redis::cmd("DBSIZE")
        .query_async(&mut connection)
        .await
        .expect("it runs")
}

#[tokio::test]
async fn a_database_is_taken_from_the_path_and_from_the_query() {
    let server = Server::alone(false, Vec::new()).await;
    let here = |rest: &str| Launch::on(&format!("redis://{}{rest}", server.address()));
    let node = here("").start().await;
    node.put_pool("prod", json!({"capacity": 1}), 201).await;
    for (rest, database) in [("?db=2", 2), ("/3", 3), ("/4?db=4&protocol=resp3", 4)] {
        let node = here(rest).start().await;
        node.put_pool("crm", json!({"capacity": 1}), 201).await;
        node.acquire("crm", json!({}), 201).await;
        let pools = node.get("/v1/pools").expect(200).await;
        assert_eq!(pools.list("items").len(), 1, "{rest}: {}", pools.text);
        assert!(keys_in(&server, database).await > 0, "{rest}");
        // The log names the address.
        let named = format!("starts, with redis://{}/{database}", server.address());
        node.says(&named).await;
    }
    let here: Vec<String> = server.query(&["KEYS", "*:crm:*"]).await;
    assert_eq!(here, [""; 0]);
}

#[tokio::test]
async fn behind_sentinels_the_database_is_that_of_the_master() {
    let redis = Sentinels::start().await;
    let node = Launch::on(&format!("{}?db=3", redis.url())).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let master = &redis.servers[redis.master().await];
    assert!(keys_in(master, 3).await > 0);
    assert_eq!(keys_in(master, 0).await, 0);
}

#[tokio::test]
async fn files_of_tls_that_cannot_be_used_are_refused_before_redis_is_asked() {
    let (one, other) = (Certificates::make(), Certificates::make());
    let ([certificate, _], [_, key]) = (one.client(), other.client());
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let refused = Launch::on("rediss://127.0.0.1:1")
        .set("redis_cert_file", &certificate)
        .set("redis_key_file", &key);
    let (status, said) = refused.refuse().await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(
        said.contains("redis_cert_file and redis_key_file"),
        "{said}"
    );

    let refused = Launch::on("redis://127.0.0.1:1").set("redis_ca_file", &certificate);
    let (status, said) = refused.refuse().await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("redis_ca_file"), "{said}");
}

#[tokio::test]
async fn what_means_nothing_is_refused_at_the_start() {
    for (url, named) in [
        ("redis://127.0.0.1:1?nonsense=1", "nonsense"),
        ("redis://127.0.0.1:1?database=2", "database"),
        ("redis://127.0.0.1:1/x", "database"),
        ("redis://127.0.0.1:1/1?db=2", "db"),
        ("redis://127.0.0.1:1?protocol=9", "protocol"),
        ("redis://127.0.0.1:1#2", "fragment"),
        ("redis+sentinel://127.0.0.1:1/main?ssl=true", "ssl"),
        ("redis+cluster://127.0.0.1:1/2", "database 2"),
        ("redis+cluster://127.0.0.1:1?db=2", "database 2"),
        ("http://127.0.0.1:1", "scheme"),
    ] {
        let (status, said) = Launch::on(url).refuse().await;
        assert_eq!(status.code(), Some(2), "{url}: {said}");
        assert!(
            said.contains("redis_url") && said.contains(named),
            "{url}: {said}"
        );
    }
}
