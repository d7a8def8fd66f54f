//! Terminate: an operator ends leases, and the holders learn why.

use serde_json::{Value, json};

use crate::harness::{Installation, Reply, let_pass};

/// The ids that a terminate says it ended.
fn terminated(answer: &Reply) -> Vec<&Value> {
    let results = answer.list("results").iter();
    results
        .filter(|result| result["status"] == "terminated")
        .map(|result| &result["id"])
        .collect()
}

#[tokio::test]
async fn a_terminated_holder_reads_the_reason_in_its_next_renew() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let granted = a.acquire("crm", json!({"holder": "ann"}), 201).await;

    let answer = b
        .terminate(
            "crm",
            json!({"ids": [granted.id()], "reason": "Shift is over"}),
            200,
        )
        .await;

    assert_eq!(terminated(&answer), [granted.id().as_str()]);
    let lost = a.renew(&granted.token(), 410).await;
    assert_eq!(lost["code"], "lease_terminated");
    assert_eq!(lost["reason"], "Shift is over");
    assert!(lost["blocked_until"].is_null());
    // The seat is free at once, and the lease never resumes: not even into a free seat.
    let other = a.acquire("crm", json!({}), 201).await;
    b.release(&other.token(), 204).await;
    assert_eq!(
        b.renew(&granted.token(), 410).await["code"],
        "lease_terminated"
    );
    let_pass(1_100).await;
    assert_eq!(
        a.renew(&granted.token(), 410).await["reason"],
        "Shift is over"
    );
    assert_eq!(a.availability("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn what_is_no_id_is_answered_like_an_id_that_nobody_has() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    let (ann, bob) = (
        node.acquire("crm", json!({"holder": "ann"}), 201)
            .await
            .id(),
        node.acquire("crm", json!({"holder": "bob"}), 201)
            .await
            .id(),
    );
    let nobody = "AAAAAAAAAAAAAAAAAAAAAA";
    let ids = json!([ann, "nope", nobody, "", bob]);
    let answer = node.terminate("crm", json!({ "ids": ids }), 200).await;
    let words = ["terminated", "ended", "ended", "ended", "terminated"];
    let expected: Vec<Value> = words
        .into_iter()
        .zip(ids.as_array().expect("a list"))
        .map(|(status, id)| json!({"id": id, "status": status}))
        .collect();
    assert_eq!(answer["results"], json!(expected));
}

#[tokio::test]
async fn a_blocked_holder_gets_no_seat_until_the_block_is_over() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 5}), 201).await;
    let ann = a.acquire("crm", json!({"holder": "ann"}), 201).await;

    a.terminate(
        "crm",
        json!({"ids": [ann.id()], "reason": "Abuse", "block_ms": 1_500}),
        200,
    )
    .await;

    let lost = b.renew(&ann.token(), 410).await;
    let blocked_until = lost.instant("/blocked_until");
    assert!(
        blocked_until > ann.instant("/lease/started_at") + 1_500,
        "{blocked_until}"
    );

    let denial = b.acquire("crm", json!({"holder": "ann"}), 409).await;
    assert_eq!(denial["code"], "holder_blocked");
    let retry_after_ms = denial.number("/retry_after_ms");
    assert!((1..=1_500).contains(&retry_after_ms), "{retry_after_ms}");
    // Others are not affected.
    b.acquire("crm", json!({"holder": "bob"}), 201).await;
    b.acquire("crm", json!({}), 201).await;

    let_pass(retry_after_ms).await;
    let back = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert!(back.instant("/lease/started_at") >= blocked_until);
    // The old lease stays ended.
    assert_eq!(a.renew(&ann.token(), 410).await["code"], "lease_terminated");
}

#[tokio::test]
async fn all_leases_of_a_holder_or_of_a_tenant_or_of_the_pool_end_together() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 100}), 201).await;
    for (holder, tenant) in [
        ("ann", "acme"),
        ("ann", "acme"),
        ("bob", "acme"),
        ("cid", "beta"),
        ("dan", "beta"),
    ] {
        node.acquire("crm", json!({"holder": holder, "tenant": tenant}), 201)
            .await;
    }
    node.acquire("crm", json!({}), 201).await;

    let answer = node.terminate("crm", json!({"holder": "ann"}), 200).await;
    assert_eq!(terminated(&answer).len(), 2);
    assert_eq!(
        node.list("crm", "holder=ann", 200)
            .await
            .list("items")
            .len(),
        0
    );
    assert_eq!(node.availability("crm", 200).await["in_use"], 4);

    let answer = node.terminate("crm", json!({"tenant": "beta"}), 200).await;
    assert_eq!(terminated(&answer).len(), 2);
    assert_eq!(node.availability("crm", 200).await["in_use"], 2);

    let answer = node.terminate("crm", json!({"all": true}), 200).await;
    assert_eq!(terminated(&answer).len(), 2);
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);

    // Again: nothing left to do, and that is no error.
    let answer = node.terminate("crm", json!({"all": true}), 200).await;
    assert_eq!(terminated(&answer).len(), 0);
}

#[tokio::test]
async fn a_whole_pool_of_hundreds_is_terminated_in_one_call() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 450}), 201).await;
    let leases = node.fill("crm", 450).await;
    let tokens: Vec<_> = leases.iter().map(Reply::token).collect();

    let answer = node
        .terminate("crm", json!({"all": true, "reason": "Stocktaking"}), 200)
        .await;

    assert_eq!(terminated(&answer).len(), 450);
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);
    for token in [&tokens[0], &tokens[225], &tokens[449]] {
        assert_eq!(node.renew(token, 410).await["reason"], "Stocktaking");
    }
}

#[tokio::test]
async fn each_id_gets_its_own_result() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let live = node.acquire("crm", json!({}), 201).await;
    let released = node.acquire("crm", json!({}), 201).await;
    node.release(&released.token(), 204).await;
    let unknown = "AAAAAAAAAAAAAAAAAAAAAA";

    let answer = node
        .terminate(
            "crm",
            json!({"ids": [unknown, live.id(), released.id()]}),
            200,
        )
        .await;

    let results = answer.list("results");
    let ids: Vec<_> = results.iter().map(|result| &result["id"]).collect();
    assert_eq!(ids, [unknown, &live.id(), &released.id()]);
    assert_eq!(terminated(&answer), [live.id().as_str()]);
    // How a lease ended is not rewritten.
    assert_eq!(
        node.renew(&released.token(), 410).await["code"],
        "lease_released"
    );
}

#[tokio::test]
async fn a_terminate_names_exactly_one_kind_of_lease() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;

    for body in [
        json!({}),
        json!({"reason": "Why not"}),
        json!({"all": false}),
        json!({"holder": "ann", "all": true}),
        json!({"holder": "ann", "ids": [lease.id()]}),
        json!({"ids": [7]}),
        json!({"holder": "ann", "block_ms": -1}),
        json!({"holder": "ann", "blocks": 1}),
    ] {
        node.terminate("crm", body, 400).await;
    }
    node.terminate("nowhere", json!({"all": true}), 404).await;
    node.renew(&lease.token(), 200).await;
}

#[tokio::test]
async fn a_lease_that_was_terminated_after_it_expired_is_not_resumed() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let granted = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let_pass(1_050).await;

    node.terminate("crm", json!({"ids": [granted.id()], "reason": "Gone"}), 200)
        .await;

    assert_eq!(
        node.renew(&granted.token(), 410).await["code"],
        "lease_terminated"
    );
}

#[tokio::test]
async fn what_had_expired_and_could_come_back_ends_with_its_holder_its_tenant_and_its_pool() {
    for sweep_every_ms in ["0", "100"] {
        let cluster = Installation::start_with(2, &[("sweep_every_ms", sweep_every_ms)]).await;
        let (a, b) = cluster.pair();
        let policy = json!({"capacity": 5, "ttl_ms": 1_000});
        a.put_pool("crm", policy, 201).await;
        for (number, which) in [
            json!({"holder": "lap"}),
            json!({"tenant": "acme"}),
            json!({"all": true}),
        ]
        .into_iter()
        .enumerate()
        {
            let lap = json!({"holder": "lap", "tenant": "acme"});
            let lease = a.acquire("crm", lap.clone(), 201).await;
            let other = json!({"holder": "other", "tenant": "beta"});
            let other = b.acquire("crm", other, 201).await;
            let_pass(1_200).await;

            let mut why = which.clone();
            why["reason"] = json!("The shift is over.");
            let answer = b.terminate("crm", why, 200).await;
            assert_eq!(terminated(&answer).len(), 0);

            let lost = a.renew(&lease.token(), 410).await;
            assert_eq!(lost["code"], "lease_terminated", "{which}");
            assert_eq!(lost["reason"], "The shift is over.");
            // To give back what is over changes nothing about how it ended.
            a.release(&lease.token(), 204).await;
            let lost = b.renew(&lease.token(), 410).await;
            assert_eq!(lost["code"], "lease_terminated", "{which}");
            // Of those that were not meant nobody has ended.
            let rest = if number == 2 { 410 } else { 200 };
            b.renew(&other.token(), rest).await;
            // Nothing keeps the holder from a new lease, which is not one of those that were ended.
            let again = b.acquire("crm", lap, 201).await;
            let_pass(1_100).await;
            assert_eq!(a.renew(&again.token(), 200).await["resumed"], true);
            a.release(&again.token(), 204).await;
            b.release(&other.token(), 204).await;
        }
    }
}
