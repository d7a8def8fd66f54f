//! Admission: never one seat more than there are, whatever the number of nodes.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{ANY, Client, Installation, Reply, let_pass};

/// Asks until the answer is a grant or a denial. A busy node may answer that it does not know, as to any client.
async fn ask(node: &Client, key: &str) -> Reply {
    for _ in 0..100 {
        let body = json!({ "holder": key });
        let answer = node
            .acquire_once("crm", key, body, [200, 201, 409, 503])
            .await;
        if answer.status != 503 {
            return answer;
        }
        let_pass(20).await;
    }
    panic!("{key} gets no answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_clients_on_3_nodes_exactly_10_get_one_of_10_seats_in_100_rounds() {
    let cluster = Installation::start(3).await;
    cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 10}), 201)
        .await;

    for round in 0..100 {
        let keys: Vec<_> = (0..64)
            .map(|client| format!("agent-{client}-{round}"))
            .collect();
        let asks = keys
            .iter()
            .zip(0..)
            .map(|(key, client)| ask(&cluster.nodes[client % 3], key));
        let answers = join_all(asks).await;

        let (granted, denied): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status != 409);
        assert_eq!(granted.len(), 10, "round {round}");
        for denial in denied {
            assert_eq!(
                denial["code"], "pool_full",
                "round {round}: {}",
                denial.text
            );
            assert_eq!(denial["in_use"], 10, "round {round}: {}", denial.text);
        }

        let tokens: Vec<_> = granted.iter().map(|answer| answer.token()).collect();
        join_all(
            tokens
                .iter()
                .zip(0..)
                .map(|(token, i)| cluster.nodes[i % 3].release(token, 204)),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_that_comes_free_goes_to_exactly_one_of_all_who_ask() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1}), 201).await;
    let mut token = a.acquire("crm", json!({}), 201).await.token();

    for round in 0..50 {
        let asks = (0..16).map(|client| [a, b][client % 2].acquire("crm", json!({}), ANY));
        let (_, answers) = tokio::join!(b.release(&token, 204), join_all(asks));

        let granted: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 201)
            .collect();
        assert!(
            granted.len() <= 1,
            "round {round}: {} seats of 1",
            granted.len()
        );
        // All may have asked before the release.
        token = match granted.first() {
            Some(answer) => answer.token(),
            None => a.acquire("crm", json!({}), 201).await.token(),
        };
    }
}
