//! Overdraft: seats beyond the capacity, on a daily budget that is charged to the millisecond.

use serde_json::json;

use super::jump;
use crate::harness::Reply;
use crate::history::by_hand::held_cluster;

const DAY: u64 = 86_400_000;

/// An instant of tomorrow, UTC, in ms: a day on which nothing was lent yet, with hours before it ends.
fn tomorrow(reply: &Reply) -> u64 {
    let now = u64::try_from(reply.instant("/lease/started_at")).unwrap();
    (now / DAY + 1) * DAY + 3_600_000
}

#[tokio::test]
async fn seats_are_lent_while_the_budget_lasts_and_charged_exactly() {
    let (cluster, _proxy, _) = held_cluster(&[("sweep_every_ms", "0")]).await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 1, "ttl_ms": 86_400_000, "overdraft": {"seats": 2, "seat_minutes_per_day": 3}}),
        201,
    )
    .await;
    let first = a.acquire("crm", json!({"holder": "dan"}), 201).await;
    let day = tomorrow(&first);
    a.release(&first.token(), 204).await;
    jump(&cluster.redis, "crm", day).await;

    let regular = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert_eq!(regular["lease"]["seat"], "concurrent");
    let lent = b.acquire("crm", json!({"holder": "bob"}), 201).await;
    assert_eq!(lent["lease"]["seat"], "overdraft");
    assert_eq!(lent["pool"], json!({"in_use": 2, "capacity": 1}));
    jump(&cluster.redis, "crm", day + 30_001).await;
    a.acquire("crm", json!({"holder": "cid"}), 201).await;
    a.acquire("crm", json!({"holder": "eve"}), 409).await;
    assert_eq!(
        b.list("crm", "holder=bob", 200).await["items"][0]["seat"],
        "overdraft"
    );

    jump(&cluster.redis, "crm", day + 60_000).await;
    // One for 60 s, one for 29.999 s.
    let used = b.availability("crm", 200).await;
    assert_eq!(used["overdraft"]["in_use"], 2);
    assert_eq!(used["overdraft"]["seat_ms_today"], 89_999);
    // When somebody else goes, nothing is beyond the capacity for that seat any more.
    a.release(&regular.token(), 204).await;
    jump(&cluster.redis, "crm", day + 70_000).await;
    assert_eq!(
        b.availability("crm", 200).await["overdraft"]["seat_ms_today"],
        99_999
    );
    assert_eq!(
        b.renew(&lent.token(), 200).await["lease"]["seat"],
        "overdraft"
    );

    // Spent: nothing more is granted, and nobody is thrown out.
    jump(&cluster.redis, "crm", day + 200_000).await;
    b.acquire("crm", json!({"holder": "eve"}), 409).await;
    a.renew(&lent.token(), 200).await;
    b.release(&lent.token(), 204).await;
    let used = a.availability("crm", 200).await;
    assert_eq!(used["overdraft"]["seat_ms_today"], 229_999);
    assert_eq!(used["in_use"], 1);
    a.acquire("crm", json!({"holder": "eve"}), 409).await;

    // A new day, a new budget.
    jump(&cluster.redis, "crm", day + DAY - 3_600_000).await;
    assert_eq!(
        a.availability("crm", 200).await["overdraft"]["seat_ms_today"],
        0
    );
    a.acquire("crm", json!({"holder": "eve"}), 201).await;
}
