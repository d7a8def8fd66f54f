//! Bad configuration is refused with the field named, and what was put is what is read.

use serde_json::json;

use crate::harness::Installation;

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_said() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    for (field, policy) in [
        (
            "schedule[1].from",
            json!({"capacity": 3, "schedule": [
            {"from": "2026-12-01T08:00:00Z", "until": "2026-12-01T18:00:00Z", "capacity": 5},
            {"from": "2026-12-01T08:00:00Z", "until": "2026-12-01T09:00:00Z", "capacity": 6}]}),
        ),
        (
            "schedule[0].until",
            json!({"capacity": 3, "schedule": [
            {"from": "2026-12-01T08:00:00Z", "until": "2026-12-01T08:00:00Z", "capacity": 5}]}),
        ),
        (
            "time_zone",
            json!({"capacity": 3, "named": {"seats": 1, "time_zone": "Mars/Base"}}),
        ),
        (
            "anchor_day",
            json!({"capacity": 3, "named": {"seats": 1, "anchor_day": 0}}),
        ),
        (
            "reserved",
            json!({"capacity": 3, "tenants": {"acme": {"reserved": 4}}}),
        ),
    ] {
        let refused = node.put_pool("crm", policy, 400).await;
        assert_eq!(refused["code"], "invalid_request");
        assert!(
            refused["detail"].as_str().unwrap().contains(field),
            "{field}: {}",
            refused.text
        );
    }
    for policy in [
        json!({"capacity": -1}),
        json!({"capacity": 3, "named": {"seats": -1}}),
        json!({"capacity": 3, "seat_per": "person"}),
        json!({"capacity": 3, "privacy": "secret"}),
        json!({"capacity": 3, "queue": {"max": 3}}),
        json!({"capacity": 3, "tenants": {"": {"max": 3}}}),
    ] {
        node.put_pool("crm", policy, 400).await;
    }
    node.pool("crm", 404).await;
}

#[tokio::test]
async fn a_policy_with_every_rule_is_read_as_it_was_put_on_every_node() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let policy = json!({"capacity": 50, "ttl_ms": 60_000, "linger_ms": 10_000, "resume_window_ms": 600_000,
        "seat_per": "holder",
        "tenants": {"acme": {"max": 3, "reserved": 1}}, "tenant_max": 7,
        "schedule": [{"name": "training", "from": "2026-12-01T08:00:00Z", "until": "2026-12-01T18:00:00Z", "capacity": 70}],
        "overdraft": {"seats": 2, "seat_minutes_per_day": 60},
        "named": {"seats": 10, "anchor_day": 5, "time_zone": "Europe/Zurich", "spill_to_concurrent": true},
        "queue": {"max_waiting": 100},
        "platforms": ["web"],
        "maintenance": {"message": "Back at 20:00", "retry_after_ms": 5_000},
        "privacy": "pseudonymous",
        "alert_at_percent": [80, 95, 100]});
    a.put_pool("crm", policy.clone(), 201).await;
    let read = b.pool("crm", 200).await;
    for (field, value) in policy.as_object().unwrap() {
        assert_eq!(read[field.as_str()], *value, "{field}");
    }
    let patched = b
        .patch_pool(
            "crm",
            json!({"maintenance": null, "platforms": null, "named": null}),
            200,
        )
        .await;
    assert!(patched["maintenance"].is_null());
    a.acquire("crm", json!({"holder": "ann", "tenant": "acme"}), 201)
        .await;
}

#[tokio::test]
async fn a_pool_says_which_of_its_levels_the_use_has_reached() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 4, "alert_at_percent": [50, 100]}),
        201,
    )
    .await;
    for level in [json!(null), json!(50), json!(50), json!(100)] {
        node.acquire("crm", json!({}), 201).await;
        assert_eq!(node.pool("crm", 200).await["alert_level"], level);
    }
    for wrong in [json!([0]), json!([80, 80]), json!([100, 80]), json!(80)] {
        node.patch_pool("crm", json!({"alert_at_percent": wrong}), 400)
            .await;
    }
}
