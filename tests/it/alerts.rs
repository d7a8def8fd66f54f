//! Alerts: each is reported once when it is raised and once when it is over, whatever the number of nodes.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::admin_pages::{form, page_of_ours};
use crate::harness::{
    Client, Event, Installation, Launch, Receiver, Redis, Reply, openapi, wait_until,
};

const KEY: &str = "the-operator-key-of-the-tests";

async fn log(node: &Client, query: &str) -> Vec<Value> {
    let answer = node.get(&format!("/v1/alerts?{query}")).expect(200).await;
    let mut items = answer.list("items").to_vec();
    items.reverse();
    items
}

/// Waits for this many alerts in the log, and returns them, the oldest first.
#[track_caller]
fn told(node: &Client, query: &str, count: usize) -> impl Future<Output = Vec<Value>> {
    let (node, query) = (node.clone(), query.to_owned());
    let what = format!(
        "{}: {count} alerts of {query}",
        std::panic::Location::caller()
    );
    async move {
        wait_until(&what, Duration::from_secs(30), async || {
            log(&node, &query).await.len() >= count
        })
        .await;
        let items = log(&node, &query).await;
        assert_eq!(items.len(), count, "{items:#?}");
        items
    }
}

async fn current(node: &Client) -> Vec<String> {
    let answer = node.get("/v1/alerts").expect(200).await;
    let current = answer.list("current").iter();
    current
        .map(|alert| {
            let kind = alert["type"].as_str().expect("a type");
            match alert["percent"].as_u64() {
                Some(percent) => format!("{kind}:{percent}"),
                None => kind.to_owned(),
            }
        })
        .collect()
}

fn line(alert: &Value) -> String {
    let word = |name: &str| alert[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| alert[name].to_string();
    format!(
        "{} {} {} {}",
        word("type"),
        number("percent"),
        word("state"),
        number("in_use")
    )
}

async fn release(node: &Client, leases: &[Reply]) {
    for lease in leases {
        node.release(&lease.token(), 204).await;
    }
}

/// Has the alerts of a pool evaluated now: time has passed that nobody waits for here.
async fn evaluate(redis: &Redis, pool: &str) {
    let config = redis.keys(&format!("lh1:*:{pool}:config")).await.remove(0);
    let evaluations = config.replace(&format!("{pool}:config"), "evaluations");
    let _: i64 = redis.query(&["ZADD", &evaluations, "1", pool]).await;
}

#[tokio::test]
async fn a_level_is_told_at_eighty_and_is_over_at_seventy_five() {
    let cluster = Installation::start(3).await;
    let [a, b, c] = &cluster.nodes[..] else {
        unreachable!()
    };
    let policy = json!({"capacity": 20, "alert_at_percent": [80, 95]});
    a.put_pool("crm", policy, 201).await;
    let mut leases = a.fill("crm", 15).await;
    assert!(current(b).await.is_empty());

    leases.extend(b.fill("crm", 1).await);
    let seen = told(c, "pool=crm", 1).await;
    assert_eq!(line(&seen[0]), "pool.level 80 firing 16");
    assert_eq!(current(a).await, ["pool.level:80"]);
    assert_eq!(
        seen[0]["summary"],
        "The use of crm reached 80 %: 16 of 20 seats."
    );
    // The instant is that of the grant, not that of the look.
    assert_eq!(seen[0]["since"], leases[15]["lease"]["started_at"]);

    // 100 %: three levels at once, each its own.
    leases.extend(c.fill("crm", 4).await);
    let seen = told(a, "pool=crm", 3).await;
    assert_eq!(line(&seen[1]), "pool.level 95 firing 19");
    assert_eq!(line(&seen[2]), "pool.full null firing 20");

    // 95 %, 80 %, 80 % + 1: nothing of the lower level.
    release(a, &leases[0..1]).await;
    let seen = told(b, "pool=crm", 4).await;
    assert_eq!(line(&seen[3]), "pool.full null resolved 19");
    release(a, &leases[1..4]).await;
    leases.extend(a.fill("crm", 1).await);
    let seen = told(b, "pool=crm", 5).await;
    assert_eq!(line(&seen[4]), "pool.level 95 resolved 18");
    assert_eq!(current(c).await, ["pool.level:80"]);

    // 75 %.
    release(a, &leases[4..6]).await;
    let seen = told(b, "pool=crm", 6).await;
    assert_eq!(line(&seen[5]), "pool.level 80 resolved 15");
    assert_eq!(seen[5]["alert"], seen[0]["alert"]);
    assert_eq!(seen[5]["since"], seen[0]["since"]);
    assert!(current(c).await.is_empty());
}

#[tokio::test]
async fn a_peak_between_two_looks_is_not_missed() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 4, "alert_at_percent": [50]}), 201)
        .await;
    // Up and down in one go: some of these peaks are shorter than any look.
    for _ in 0..3 {
        let leases = node.fill("crm", 4).await;
        release(node, &leases).await;
    }
    let seen = told(node, "pool=crm", 12).await;
    let lines: Vec<String> = seen.iter().map(line).collect();
    for round in lines.chunks(4) {
        assert_eq!(
            round,
            [
                "pool.level 50 firing 2",
                "pool.full null firing 4",
                "pool.full null resolved 3",
                "pool.level 50 resolved 1"
            ]
        );
    }
}

#[tokio::test]
async fn a_capacity_that_changes_raises_and_resolves_and_so_does_the_policy() {
    let cluster = Installation::two().await;
    let node = cluster.first();
    let policy =
        |capacity: u32, levels: Value| json!({"capacity": capacity, "alert_at_percent": levels});
    node.put_pool("crm", policy(10, json!([50])), 201).await;
    node.fill("crm", 4).await;
    node.put_pool("crm", policy(8, json!([50])), 200).await;
    let seen = told(node, "pool=crm", 1).await;
    assert_eq!(line(&seen[0]), "pool.level 50 firing 4");
    node.put_pool("crm", policy(40, json!([50])), 200).await;
    let seen = told(node, "pool=crm", 2).await;
    assert_eq!(line(&seen[1]), "pool.level 50 resolved 4");
    // A pool without seats is closed, not full.
    node.put_pool("crm", policy(0, json!([50])), 200).await;
    node.put_pool("crm", policy(4, json!([50, 100])), 200).await;
    let seen = told(node, "pool=crm", 5).await;
    let mut lines: Vec<String> = seen[2..].iter().map(line).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "pool.full null firing 4",
            "pool.level 100 firing 4",
            "pool.level 50 firing 4"
        ]
    );
    // A level that nobody asks for any more, and a pool that is gone.
    node.put_pool("crm", policy(4, json!([50])), 200).await;
    let seen = told(node, "pool=crm", 6).await;
    assert_eq!(seen[5]["percent"], 100);
    assert_eq!(seen[5]["reason"], "policy");
    node.call(Method::DELETE, "/v1/pools/crm").expect(204).await;
    let seen = told(node, "pool=crm", 8).await;
    assert!(
        seen[6..].iter().all(|alert| alert["state"] == "resolved"),
        "{seen:#?}"
    );
    assert!(current(node).await.is_empty());
}

#[tokio::test]
async fn an_expiry_resolves_and_a_shared_seat_counts_once() {
    let cluster = Installation::two().await;
    let node = cluster.first();
    let policy = json!({"capacity": 2, "ttl_ms": 1_500, "seat_per": "holder"});
    node.put_pool("crm", policy, 201).await;
    for _ in 0..4 {
        node.acquire("crm", json!({"holder": "ann"}), 201).await;
    }
    let last = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    let seen = told(node, "pool=crm", 2).await;
    assert_eq!(line(&seen[0]), "pool.full null firing 2");
    assert_eq!(seen[1]["state"], "resolved");
    assert!(
        seen[1]["until"].as_str() <= last["lease"]["expires_at"].as_str(),
        "{seen:#?}"
    );
}

#[tokio::test]
async fn what_goes_up_and_down_all_the_time_is_told_ten_times_and_then_calms_down() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("tiny", json!({"capacity": 1}), 201).await;
    for _ in 0..15 {
        let lease = node.acquire("tiny", json!({}), 201).await;
        node.release(&lease.token(), 204).await;
    }
    // Nine times up and down; the tenth stays.
    let seen = told(node, "pool=tiny", 19).await;
    assert_eq!(seen[18]["state"], "firing");
    assert_eq!(seen[18]["flapping"], true);
    assert_eq!(seen[16]["flapping"], Value::Null);
    assert_eq!(current(node).await, ["pool.full"]);

    // A minute later, which nobody waits for here: the cause is away since then.
    let key = cluster.redis.keys("lh1:*:tiny:alerts").await.remove(0);
    let since: String = cluster.redis.query(&["HGET", &key, "c:pool.full"]).await;
    let earlier = (since.parse::<i64>().expect("an instant") - 60_000).to_string();
    let _: i64 = cluster
        .redis
        .query(&["HSET", &key, "c:pool.full", &earlier, "look_at", "1"])
        .await;
    evaluate(&cluster.redis, "tiny").await;
    let seen = told(node, "pool=tiny", 20).await;
    assert_eq!(seen[19]["state"], "resolved");
}

#[tokio::test]
async fn holders_that_get_no_seat_within_two_minutes_are_told() {
    let cluster = Installation::two().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let first = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    for holder in ["bob", "cid", "dan"] {
        node.acquire("crm", json!({"holder": holder}), 409).await;
    }
    // Dan gets one after all.
    node.release(&first.token(), 204).await;
    node.acquire("crm", json!({"holder": "dan"}), 201).await;

    // Two minutes pass for them.
    let denied = cluster.redis.keys("lh1:*:crm:denied").await.remove(0);
    let due = denied.replace("crm:denied", "due");
    for holder in ["bob", "cid"] {
        let _: i64 = cluster
            .redis
            .query(&["ZADD", &denied, "1000", holder])
            .await;
    }
    let _: i64 = cluster.redis.query(&["ZADD", &due, "1", "crm"]).await;
    let seen = told(node, "type=pool.denials", 1).await;
    assert_eq!(seen[0]["denials"], 2);
    assert_eq!(
        seen[0]["summary"],
        "2 holders got no seat of crm within two minutes."
    );
    // And ten more minutes without any.
    let alerts = denied.replace("denied", "alerts");
    let _: i64 = cluster
        .redis
        .query(&["HSET", &alerts, "denied_at", "1000", "look_at", "1"])
        .await;
    evaluate(&cluster.redis, "crm").await;
    let seen = told(node, "type=pool.denials", 2).await;
    assert_eq!(seen[1]["state"], "resolved");
}

#[tokio::test]
async fn far_more_expiries_than_usual_are_told() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 100, "ttl_ms": 1_000}), 201)
        .await;
    node.fill("crm", 1).await;
    let alerts = format!(
        "{}alerts",
        cluster.redis.keys("lh1:*:crm:config").await[0].trim_end_matches("config")
    );
    wait_until("it is judged", Duration::from_secs(20), async || {
        !cluster.redis.keys(&alerts).await.is_empty()
    })
    .await;
    // A week in which one of twenty leases expired.
    let _: i64 = cluster
        .redis
        .query(&["HSET", &alerts, "usual_ends", "1000", "usual_expired", "50"])
        .await;
    let leases = node.fill("crm", 60).await;
    release(node, &leases[..30]).await;
    let seen = told(node, "type=pool.expiry_spike", 1).await;
    assert_eq!(seen[0]["state"], "firing");
    let share = |name: &str| seen[0][name].as_f64().expect("a share");
    assert!((0.3..=0.6).contains(&share("share")), "{seen:#?}");
    assert!((0.04..=0.06).contains(&share("usual_share")), "{seen:#?}");
    assert!(seen[0]["expired"].as_u64() >= Some(20));
    // The time over which it is looked at ends, and the next one is like any other.
    wait_until("all have expired", Duration::from_secs(20), async || {
        node.availability("crm", 200).await["in_use"] == 0
    })
    .await;
    for _ in 0..2 {
        let begun: String = cluster.redis.query(&["HGET", &alerts, "window"]).await;
        let earlier = (begun.parse::<i64>().expect("an instant") - 600_000).to_string();
        let _: i64 = cluster
            .redis
            .query(&["HSET", &alerts, "window", &earlier, "look_at", "1"])
            .await;
        evaluate(&cluster.redis, "crm").await;
        wait_until("it is judged", Duration::from_secs(20), async || {
            let now: String = cluster.redis.query(&["HGET", &alerts, "window"]).await;
            now != earlier
        })
        .await;
    }
    let seen = told(node, "type=pool.expiry_spike", 2).await;
    assert_eq!(seen[1]["state"], "resolved");
}

#[tokio::test]
async fn a_queue_that_is_nearly_full_is_told() {
    let cluster = Installation::two().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 1, "queue": {"max_waiting": 5}}),
        201,
    )
    .await;
    let holder = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let wait = |holder: &str| {
        node.acquire(
            "crm",
            json!({"holder": holder, "wait": true, "wait_ms": 0}),
            202,
        )
    };
    for name in ["b", "c", "d", "e"] {
        wait(name).await;
    }
    let seen = told(node, "type=pool.queue", 1).await;
    assert_eq!(seen[0]["waiting"], 4);
    assert_eq!(seen[0]["max_waiting"], 5);
    node.release(&holder.token(), 204).await;
    // They do not ask again, and lose their places.
    let seen = told(node, "type=pool.queue", 2).await;
    assert_eq!(seen[1]["state"], "resolved");
}

#[tokio::test]
async fn an_overdraft_that_is_spent_is_told_when_it_is() {
    let cluster = Installation::two().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 1, "overdraft": {"seats": 1, "seat_minutes_per_day": 1}}),
        201,
    )
    .await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.acquire("crm", json!({"holder": "bob"}), 201).await;
    assert!(log(node, "type=pool.overdraft").await.is_empty());
    // It was lent for a minute, as far as the store knows.
    let lent = cluster.redis.keys("lh1:*:crm:lent").await.remove(0);
    let now: Vec<String> = cluster.redis.query(&["TIME"]).await;
    let now_ms = now[0].parse::<i64>().expect("seconds") * 1_000;
    let today = (now_ms - now_ms % 86_400_000).to_string();
    let _: i64 = cluster.redis.query(&["HSET", &lent, &today, "58500"]).await;
    // Somebody comes and goes, so that it is looked at; then time alone spends the rest.
    node.acquire("crm", json!({"holder": "cid"}), 409).await;
    let seen = told(node, "type=pool.overdraft", 1).await;
    assert_eq!(seen[0]["budget_ms"], 60_000);
    assert!(seen[0]["lent_ms"].as_i64() >= Some(60_000), "{seen:#?}");
    node.put_pool("crm", json!({"capacity": 2}), 200).await;
    let seen = told(node, "type=pool.overdraft", 2).await;
    assert_eq!(seen[1]["state"], "resolved");
}

#[tokio::test]
async fn alerts_are_listed_by_page_as_csv_and_as_a_stream_that_goes_on_where_it_was() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let follow = async |from: Option<&str>| {
        let mut request =
            reqwest::Client::new().get(format!("http://{}/v1/alerts/events", b.address()));
        if let Some(from) = from {
            request = request.header("last-event-id", from);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response
    };
    let mut following = follow(None).await;
    for pool in ["x", "y"] {
        a.put_pool(pool, json!({"capacity": 1}), 201).await;
        a.fill(pool, 1).await;
    }
    let seen = told(a, "", 2).await;
    let read = async |response: &mut reqwest::Response, count: usize| {
        let mut text = String::new();
        // A comment opens the stream.
        while text.matches("\n\n").count() <= count {
            let chunk = tokio::time::timeout(Duration::from_secs(20), response.chunk())
                .await
                .expect("events come")
                .expect("a stream")
                .expect("more");
            text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
        for event in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let event = serde_json::from_str(event).expect("JSON");
            let violation = openapi::violation_of_event("/v1/alerts/events", &event);
            assert_eq!(violation, None, "{event}");
        }
        text
    };
    let text = read(&mut following, 2).await;
    let first = seen[0]["id"].as_str().expect("an id");
    assert!(text.contains(&format!("id: {first}\n")), "{text}");
    assert!(text.contains("event: pool.full\n"), "{text}");
    assert!(text.contains("\"state\":\"firing\""), "{text}");
    let text = read(&mut follow(Some(first)).await, 1).await;
    assert!(!text.contains(first), "{text}");
    assert!(
        text.contains(seen[1]["id"].as_str().expect("an id")),
        "{text}"
    );

    let page = a.get("/v1/alerts?limit=1").expect(200).await;
    assert_eq!(page["items"][0]["id"], seen[1]["id"]);
    assert_eq!(page.list("current").len(), 2);
    let cursor = page["next_cursor"].as_str().expect("there is more");
    let page = a
        .get(&format!("/v1/alerts?limit=1&cursor={cursor}"))
        .expect(200)
        .await;
    assert_eq!(page["items"][0]["id"], seen[0]["id"]);
    assert_eq!(page["next_cursor"], Value::Null);
    let csv = a
        .get("/v1/alerts?pool=x")
        .header("accept", "text/csv")
        .expect(200)
        .await;
    assert_eq!(csv.text.lines().count(), 2, "{}", csv.text);
    assert!(csv.text.contains(",pool.full,firing,x,"), "{}", csv.text);

    for query in ["type=pool.fool", "limit=0", "cursor=x", "colour=red"] {
        a.get(&format!("/v1/alerts?{query}")).expect(400).await;
    }
}

/// The alerts of a pool, worked out from its history: each alert with its state and the instant of its event.
fn expected(history: &[Event], capacity: i64, percents: &[i64]) -> Vec<(String, String, i64)> {
    let mut levels = vec![("pool.full".to_owned(), 100)];
    levels.extend(
        percents
            .iter()
            .map(|percent| (format!("pool.level {percent}"), *percent)),
    );
    // Raised, and how often.
    let mut known = vec![(false, 0); levels.len()];
    let (mut in_use, mut told) = (0, Vec::new());
    for event in history.iter().filter(|event| event.change() != 0) {
        in_use += event.change();
        for ((name, percent), (raised, times)) in levels.iter().zip(&mut known) {
            let share = in_use as f64 / capacity as f64 * 100.0;
            if share >= *percent as f64 && !*raised {
                (*raised, *times) = (true, *times + 1);
                told.push((name.clone(), "firing".to_owned(), event.at));
            } else if share <= (*percent - 5) as f64 && *raised && *times < 10 {
                *raised = false;
                told.push((name.clone(), "resolved".to_owned(), event.at));
            }
        }
    }
    told
}

#[tokio::test]
async fn a_random_walk_over_three_nodes_is_told_as_its_history_says() {
    use rand::RngExt as _;
    let cluster = Installation::start(3).await;
    let node = cluster.first();
    let pools = ["a", "b", "c", "d"];
    for pool in pools {
        node.put_pool(
            pool,
            json!({"capacity": 7, "alert_at_percent": [40, 80]}),
            201,
        )
        .await;
    }
    let walks = pools.iter().map(async |pool| {
        let mut held: Vec<Reply> = Vec::new();
        for _ in 0..80 {
            let node = &cluster.nodes[rand::rng().random_range(0..3)];
            if held.is_empty() || (held.len() < 7 && rand::rng().random_bool(0.55)) {
                held.push(node.acquire(pool, json!({}), 201).await);
            } else {
                let lease = held.swap_remove(rand::rng().random_range(0..held.len()));
                node.release(&lease.token(), 204).await;
            }
        }
    });
    futures_util::future::join_all(walks).await;

    for pool in pools {
        let expected = expected(&cluster.redis.events(pool).await, 7, &[40, 80]);
        assert!(!expected.is_empty());
        let told = told(node, &format!("limit=1000&pool={pool}"), expected.len()).await;
        let told: Vec<(String, String, i64)> = told
            .iter()
            .map(|alert| {
                let word = |name: &str| alert[name].as_str().unwrap_or_default();
                let name = match alert["percent"].as_u64() {
                    Some(percent) => format!("{} {percent}", word("type")),
                    None => word("type").to_owned(),
                };
                let at = match word("state") {
                    "firing" => word("since"),
                    _ => word("until"),
                };
                let at = chrono::DateTime::parse_from_rfc3339(at).expect("an instant");
                (name, word("state").to_owned(), at.timestamp_millis())
            })
            .collect();
        assert_eq!(told, expected, "{pool}");
    }
}

#[tokio::test]
async fn many_nodes_that_look_at_once_tell_nothing_twice() {
    let cluster = Installation::start(3).await;
    let node = cluster.first();
    let pools: Vec<String> = (0..24).map(|n| format!("pool-{n}")).collect();
    for pool in &pools {
        node.put_pool(pool, json!({"capacity": 2}), 201).await;
    }
    for (n, pool) in pools.iter().enumerate() {
        cluster.nodes[n % 3].fill(pool, 2).await;
    }
    let seen = told(node, "limit=1000", 24).await;
    assert!(
        seen.iter()
            .all(|alert| line(alert) == "pool.full null firing 2")
    );
    assert_eq!(current(node).await.len(), 24);
    for pool in &pools {
        node.terminate(pool, json!({"all": true}), 200).await;
    }
    told(node, "limit=1000", 48).await;
    assert!(current(node).await.is_empty());
}

#[tokio::test]
async fn acknowledged_and_snoozed_alerts_send_nothing_until_that_ends() {
    let redis = Redis::start().await;
    let launch = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("webhook_http", "on")
        .set("webhook_private_networks", "on");
    let node = launch.start().await;
    let admin = node.with_key(KEY);
    let receiver = Receiver::start().await;
    let hook = json!({"url": receiver.url(), "events": ["pool.full"], "remind_after_ms": 600_000});
    let hook = admin.post("/v1/webhooks").json(&hook).expect(201).await;
    assert_eq!(hook["remind_after_ms"], 600_000);
    let key = async |role: &str| {
        let key = json!({"name": format!("a {role}"), "role": role});
        let key = admin.post("/v1/keys").json(&key).expect(201).await;
        node.with_key(key["secret"].as_str().expect("a secret"))
    };
    let (operator, viewer) = (key("operator").await, key("viewer").await);
    let snooze =
        json!({"pool": "crm", "type": "pool.full", "for_ms": 600_000, "comment": "training"});
    viewer
        .post("/v1/alerts/snoozes")
        .json(&snooze)
        .expect(403)
        .await;
    let snoozed = operator
        .post("/v1/alerts/snoozes")
        .json(&snooze)
        .expect(201)
        .await;
    assert_eq!(snoozed["by"], "a operator");
    // Sent again it is the same one, with its last end and author.
    let snoozed = admin
        .post("/v1/alerts/snoozes")
        .json(&snooze)
        .expect(201)
        .await;
    let listed = viewer.get("/v1/alerts/snoozes").expect(200).await;
    assert_eq!(listed.list("items"), std::slice::from_ref(&snoozed.body));
    for wrong in [
        json!({}),
        json!({"for_ms": 0}),
        json!({"for_ms": 2_592_000_001_u64}),
        json!({"for_ms": 1_000, "until": "2030-01-01"}),
        json!({"for_ms": 1_000, "type": "pool.fool"}),
        json!({"for_ms": 1_000, "comment": "x".repeat(513)}),
    ] {
        operator
            .post("/v1/alerts/snoozes")
            .json(&wrong)
            .expect(400)
            .await;
    }

    // One pool is snoozed, the other one is told.
    for pool in ["crm", "desk"] {
        admin.put_pool(pool, json!({"capacity": 1}), 201).await;
        admin.acquire(pool, json!({}), 201).await;
    }
    told(&admin, "", 2).await;
    let first = receiver.got(1).await.remove(0);
    assert_eq!(first.data("pool"), "desk");
    let current = viewer.get("/v1/alerts").expect(200).await;
    let current = current.list("current");
    let of = |pool: &str| {
        current
            .iter()
            .find(|alert| alert["pool"] == pool)
            .expect(pool)
    };
    assert_eq!(of("crm")["snoozed_until"], snoozed["until"]);
    assert_eq!(of("desk")["snoozed_until"], Value::Null);
    assert_eq!(of("desk")["acknowledged"], Value::Null);

    // The first acknowledgement stays.
    let desk = of("desk")["alert"].as_str().expect("an alert").to_owned();
    let path = format!("/v1/alerts/{desk}/acknowledge");
    viewer.post(&path).json(&json!({})).expect(403).await;
    let by = json!({"comment": "I ask for more."});
    let by = operator.post(&path).json(&by).expect(200).await;
    let again = admin.post(&path).json(&json!({})).expect(200).await;
    assert_eq!(by["by"], "a operator");
    assert_eq!(again.body, by.body);
    let page = |path: &str| admin.get(path).header("accept", "text/html");
    let shown = page("/admin/alerts").expect(200).await;
    for words in [
        "I ask for more.",
        "training",
        ">1<span class=\"hidden\"> open",
    ] {
        assert!(shown.text.contains(words), "{words}: {}", shown.text);
    }
    // The same by the forms of the page; what is wrong is said beside its field.
    let send = |to: &str, fields: &[(&str, &str)]| {
        form(
            page_of_ours(&operator, &format!("/admin/alerts/{to}")),
            fields,
        )
    };
    for to in ["withdraw", "acknowledge"] {
        send(to, &[("alert", &desk)]).expect(303).await;
    }
    let wrong = send("snoozes", &[("for_ms", "40 d")])
        .header("accept", "text/html")
        .expect(422)
        .await;
    assert!(wrong.text.contains("at most thirty days"), "{}", wrong.text);
    send("snoozes", &[("type", "pool.level"), ("for_ms", "2 h")])
        .expect(303)
        .await;
    let listed = viewer.get("/v1/alerts/snoozes").expect(200).await;
    let other = &listed.list("items")[1];
    assert_eq!(other["type"], "pool.level");
    let other = other["id"].as_str().expect("an id");
    send(&format!("snoozes/{other}/end"), &[]).expect(303).await;
    let unknown = operator
        .post("/v1/alerts/crm:pool.full:1/acknowledge")
        .json(&json!({}))
        .expect(404)
        .await;
    assert_eq!(unknown["code"], "alert_not_found");

    // Ten minutes later a reminder comes only of what is not acknowledged.
    let an_hour_ago = |alert: &Value| {
        let mut alert = alert.clone();
        alert["at"] = json!(1);
        alert.to_string()
    };
    let raised = "lh1:{alerts}:raised";
    let kept: String = redis.query(&["HGET", raised, &desk]).await;
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    let _: i64 = redis
        .query(&["HSET", raised, &desk, &an_hour_ago(&kept)])
        .await;
    let id = snoozed["id"].as_str().expect("an id");
    operator
        .call(Method::DELETE, &format!("/v1/alerts/snoozes/{id}"))
        .expect(204)
        .await;
    // What the snooze kept back comes now, and nothing came before it.
    let late = receiver.got(2).await.remove(1);
    assert_eq!(late.data("pool"), "crm");
    assert_eq!(late.data("reminder"), &Value::Null);
    operator.call(Method::DELETE, &path).expect(204).await;
    let reminder = receiver.got(3).await.remove(2);
    assert_eq!(reminder.data("alert"), desk.as_str());
    assert_eq!(reminder.data("reminder"), true);
    assert_ne!(reminder.id(), first.id());

    // Both end, and that is sent, because their beginning was.
    operator
        .post("/v1/alerts/snoozes")
        .json(&snooze)
        .expect(201)
        .await;
    for pool in ["crm", "desk"] {
        admin.terminate(pool, json!({"all": true}), 200).await;
    }
    let ended = receiver.got(5).await;
    assert!(
        ended[3..]
            .iter()
            .all(|message| message.data("state") == "resolved")
    );
    let left: i64 = redis
        .query(&[
            "EXISTS",
            "lh1:{alerts}:acknowledged",
            "lh1:{alerts}:suppressed",
        ])
        .await;
    assert_eq!(left, 0);
    // The end is not sent where the beginning was not.
    admin.acquire("crm", json!({}), 201).await;
    told(&admin, "pool=crm", 3).await;
    admin.terminate("crm", json!({"all": true}), 200).await;
    told(&admin, "pool=crm", 4).await;
    admin
        .post(&format!(
            "/v1/webhooks/{}/test?wait_ms=15000",
            hook["id"].as_str().expect("an id")
        ))
        .expect(200)
        .await;
    assert_eq!(receiver.got(6).await.len(), 6);
    let trail = admin.get("/v1/audit?action=alert.").expect(200).await;
    assert!(trail.list("items").len() > 5, "{}", trail.text);
}
