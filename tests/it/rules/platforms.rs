//! Platforms: a pool that is licensed for some gives no seat to others.

use serde_json::json;

use crate::harness::Installation;

#[tokio::test]
async fn a_pool_for_the_web_gives_no_seat_to_an_app() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 2, "platforms": ["web", "kiosk"]}),
        201,
    )
    .await;

    b.acquire("crm", json!({"platform": "web"}), 201).await;
    let denial = b.acquire("crm", json!({"platform": "ios"}), 403).await;
    assert_eq!(denial["code"], "platform_not_licensed");
    assert_eq!(denial["platforms"], json!(["web", "kiosk"]));
    // Nor to one without a platform, or with part of a name.
    a.acquire("crm", json!({}), 403).await;
    a.acquire("crm", json!({"platform": "we"}), 403).await;
    assert_eq!(a.availability("crm", 200).await["in_use"], 1);

    a.patch_pool("crm", json!({"platforms": null}), 200).await;
    b.acquire("crm", json!({"platform": "ios"}), 201).await;
}
