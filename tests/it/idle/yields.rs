//! Yield: an acquire that would be denied gets the seat that nobody uses, in one step.

use futures_util::future::join_all;
use serde_json::json;

use super::{MINUTE, beat, end_of, evicted, idle, seat, story};
use crate::harness::{ANY, Installation, let_pass};

#[tokio::test]
async fn an_acquire_gets_the_seat_that_is_idle_longest_and_its_holder_learns_why() {
    let cluster = Installation::start(2).await;
    let ([a, b], redis) = (&cluster.nodes[..], &cluster.redis) else {
        unreachable!()
    };
    a.put_pool("crm", json!({"capacity": 4, "idle": idle("yield")}), 201)
        .await;
    let ann = seat(a, "crm", "ann").await;
    let bob = seat(b, "crm", "bob").await;
    let cid = seat(a, "crm", "cid").await;
    let dan = seat(b, "crm", "dan").await;
    beat(a, &ann, 20 * MINUTE).await;
    beat(b, &bob, 30 * MINUTE).await;
    // Not quite, and a word too late for a time that has passed.
    beat(a, &cid, 15 * MINUTE - 1).await;
    let_pass(20).await;

    let eve = seat(a, "crm", "eve").await;
    assert_eq!(eve["pool"], json!({"in_use": 4, "capacity": 4}));
    assert_eq!(end_of(a, &bob).await, evicted("idle"));
    let fay = seat(b, "crm", "fay").await;
    assert_eq!(end_of(b, &ann).await, evicted("idle"));
    let denial = b.acquire("crm", json!({"holder": "gus"}), 409).await;
    assert_eq!(denial["code"], "pool_full");
    assert_eq!(denial["in_use"], 4);

    // It never comes back, with whatever token, and nothing hinders a new one.
    a.release(&cid.token(), 204).await;
    let many = b.renew_many(&[&bob.token()], 200).await;
    assert_eq!(
        many["results"][0],
        json!({"id": bob.id(), "status": "lost", "code": "lease_evicted", "reason": "idle"})
    );
    seat(a, "crm", "bob").await;
    for lease in [&dan, &eve, &fay] {
        a.renew(&lease.token(), 200).await;
    }
    crate::rules::index_is_true(redis, "crm", false).await;

    // The end stays what it was when it has become a tombstone.
    crate::harness::wait_until(
        "the ends are recorded",
        std::time::Duration::from_secs(5),
        async || redis.keys("lh1:*:crm:evicted").await.is_empty(),
    )
    .await;
    assert_eq!(end_of(b, &bob).await, evicted("idle"));
    let told: Vec<_> = story(redis, "crm").await;
    let of = |id: &str| -> Vec<(String, String)> {
        let own = told.iter().filter(|(_, lease, _)| lease == id);
        own.map(|(kind, _, reason)| (kind.clone(), reason.clone()))
            .collect()
    };
    let word = |kind: &str, reason: &str| (kind.to_owned(), reason.to_owned());
    let all = [word("started", ""), word("idle", ""), word("ended", "idle")];
    assert_eq!(of(&ann.id()), all);
    assert_eq!(
        of(&cid.id()),
        [word("started", ""), word("ended", "released")]
    );
}

#[tokio::test]
async fn of_those_who_are_idle_for_as_long_the_older_lease_goes_first() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 5, "idle": idle("yield")}), 201)
        .await;
    let leases = node.fill("crm", 5).await;
    // In one call, so at one instant, and not in the order in which they began.
    let many: Vec<_> = [3, 1, 4, 0, 2]
        .iter()
        .map(|at| json!({"token": leases[*at].token(), "idle_ms": 20 * MINUTE}))
        .collect();
    node.post("/v1/leases/renew-many")
        .json(&json!({ "leases": many }))
        .expect(200)
        .await;
    let mut by_age: Vec<_> = leases.iter().collect();
    by_age.sort_by_key(|lease| lease.number("/lease/fence"));
    for (gone, oldest) in by_age.iter().enumerate() {
        seat(node, "crm", &format!("new-{gone}")).await;
        assert_eq!(end_of(node, oldest).await, evicted("idle"));
    }
    node.acquire("crm", json!({}), 409).await;
}

#[tokio::test]
async fn one_idle_seat_goes_to_one_of_those_who_race_for_it() {
    let cluster = Installation::start(2).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    a.put_pool("crm", json!({"capacity": 2, "idle": idle("yield")}), 201)
        .await;
    let _active = seat(a, "crm", "ann").await;
    for round in 0..5 {
        let free = a.pool("crm", 200).await.number("/free");
        let idler = match free {
            0 => unreachable!(),
            _ => seat(a, "crm", "idler").await,
        };
        beat(a, &idler, 40 * MINUTE).await;
        let asks = (0..6).map(|number| {
            let node = if number % 2 == 0 { a } else { b };
            node.acquire("crm", json!({"holder": format!("{round}-{number}")}), ANY)
        });
        let answers = join_all(asks).await;
        let granted: Vec<_> = answers.iter().filter(|one| one.status == 201).collect();
        assert_eq!(granted.len(), 1, "round {round}");
        assert!(
            answers
                .iter()
                .all(|one| one.status == 201 || one["code"] == "pool_full")
        );
        a.renew(&idler.token(), 410).await;
        a.release(&granted[0].token(), 204).await;
    }
}

#[tokio::test]
async fn who_comes_back_in_the_same_instant_keeps_the_seat_or_is_told_the_truth() {
    let cluster = Installation::start(2).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    a.put_pool("crm", json!({"capacity": 1, "idle": idle("yield")}), 201)
        .await;
    let (mut kept, mut lost) = (0, 0);
    for round in 0..12 {
        let ann = seat(a, "crm", "ann").await;
        beat(a, &ann, 40 * MINUTE).await;
        let back = json!({"token": ann.token(), "idle_ms": 0});
        let comes_back = a.renew_with(back, ANY);
        let asks = b.acquire("crm", json!({"holder": "bob"}), ANY);
        // Neither is always the first.
        let (back, asked) = if round % 2 == 0 {
            tokio::join!(comes_back, asks)
        } else {
            let (asked, back) = tokio::join!(asks, comes_back);
            (back, asked)
        };
        match (back.status, asked.status) {
            (200, 409) => {
                kept += 1;
                a.release(&ann.token(), 204).await;
            }
            (410, 201) => {
                lost += 1;
                assert_eq!(back["reason"], "idle");
                a.release(&asked.token(), 204).await;
            }
            other => panic!("both or neither of them: {other:?}"),
        }
    }
    assert_eq!(kept + lost, 12);
}

#[tokio::test]
async fn nobody_loses_a_seat_who_reports_nothing_or_works_or_is_only_counted() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    for (pool, then) in [("counted", "count"), ("ended", "end"), ("crm", "yield")] {
        node.put_pool(pool, json!({"capacity": 2}), 201).await;
        let old = seat(node, pool, "ann").await;
        let caller = seat(node, pool, "bob").await;
        // It comes to a pool in use.
        node.patch_pool(pool, json!({"idle": idle(then)}), 200)
            .await;
        node.renew(&old.token(), 200).await;
        let call = json!({"token": caller.token(), "idle_ms": 60 * MINUTE, "activities": ["Call"]});
        node.renew_with(call, 200).await;
        let beaten = json!({"token": caller.token(), "idle_ms": 60 * MINUTE});
        let renewed = node.renew_with(beaten, 200).await;
        assert_eq!(renewed.body.get("ends"), None, "{pool}");
        node.acquire(pool, json!({"holder": "cid"}), 409).await;
        node.renew(&old.token(), 200).await;
        node.renew(&caller.token(), 200).await;
        assert!(
            story(redis, pool)
                .await
                .iter()
                .all(|(kind, ..)| kind != "idle")
        );
    }
    // Counted, and nobody loses anything by that.
    let ann = node.list("counted", "holder=ann", 200).await;
    assert_eq!(ann.list("items").len(), 1);
    let idler = node.acquire("counted", json!({"holder": "dan"}), 409).await;
    assert_eq!(idler["code"], "pool_full");
}
