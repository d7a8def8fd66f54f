//! Dates as people write them, in every report, and files as spreadsheets read them.

use serde_json::json;

use crate::harness::{ANY, Launch, Redis};

/// Every route that takes a range of time.
const REPORTS: [&str; 7] = [
    "/v1/pools/crm/denials",
    "/v1/pools/crm/holders",
    "/v1/pools/crm/tenants",
    "/v1/pools/crm/history?step=day",
    "/v1/pools/crm/patterns",
    "/v1/pools/crm/sizing",
    "/v1/audit",
];

fn with(path: &str, query: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}{query}")
}

#[tokio::test]
async fn a_day_is_midnight_in_the_zone_and_what_is_no_time_is_said_in_words() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    for path in REPORTS {
        for query in [
            "from=2026-11-01",
            "from=2026-11-01&to=2026-11-03",
            "from=2026-11-01&tz=Asia/Kolkata",
            "from=2026-11-01T08:00&tz=Asia/Kolkata",
            // A plus sign that nobody wrote as %2B.
            "from=2026-11-01T00:00:00+05:30",
            "from=2026-11-01T00:00:00%2B05:30",
        ] {
            let answer = node.get(&with(path, query)).expect(ANY).await;
            assert_eq!(answer.status, 200, "{path} {query}: {}", answer.text);
        }
        for (query, name) in [
            ("from=yesterday", "from"),
            ("from=2026-11-31", "from"),
            ("to=1795000000", "to"),
            ("from=%2B262142-12-31T00:00:00Z", "from"),
            ("to=-262142-01-01T00:00:00Z", "to"),
            ("from=2026-11-01&tz=Mars/Olympus", "tz"),
        ] {
            let refused = node.get(&with(path, query)).expect(ANY).await;
            assert_eq!(refused.status, 400, "{path} {query}: {}", refused.text);
            let detail = refused["detail"].as_str().expect("a sentence");
            assert!(detail.contains(&format!("`{name}`")), "{detail}");
            if name != "tz" {
                assert!(detail.contains("2026-11-28"), "{detail}");
            }
            assert!(
                !detail.contains("premature") && !detail.contains("input"),
                "{detail}"
            );
        }
    }
    let kolkata = node
        .get("/v1/pools/crm/patterns?from=2026-11-01&to=2026-11-08&tz=Asia/Kolkata")
        .expect(200)
        .await;
    assert_eq!(kolkata["from"], "2026-10-31T18:30:00.000Z");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_words_and_not_in_types() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let put = |body: &'static str| {
        node.call(reqwest::Method::PUT, "/v1/pools/crm")
            .header("content-type", "application/json")
            .body(body)
            .expect(400)
    };
    let mut said = Vec::new();
    for body in [
        r#"{"capacity": "five"}"#,
        r#"{"capacity": 1e3}"#,
        r#"{"capacity": -1}"#,
        r#"{"capacity": 1, "tenants": []}"#,
        r#"{"capacity": 1, "platforms": "web"}"#,
        r#"{"capacity": 1, "schedule": [{"from": "tomorrow", "until": "2026-12-01T00:00:00Z", "capacity": 2}]}"#,
        r#"{"capacity": 1, "overdraft": 3}"#,
        r#""crm""#,
    ] {
        said.push(
            put(body).await["detail"]
                .as_str()
                .expect("a sentence")
                .to_owned(),
        );
    }
    for path in [
        "/v1/pools/crm/leases?limit=ten",
        "/v1/pools/crm/usage?days=1.5",
        "/v1/pools/crm/sizing?target_lean=x",
        "/v1/audit?limit=-1",
    ] {
        said.push(
            node.get(path).expect(400).await["detail"]
                .as_str()
                .expect("a sentence")
                .to_owned(),
        );
    }
    for detail in &said {
        for word in [
            "u32",
            "u64",
            "f64",
            "struct",
            "expected",
            "invalid type",
            "digit found",
            "premature",
            "sequence",
        ] {
            assert!(!detail.contains(word), "{word}: {detail}");
        }
        assert!(
            detail.contains('`') || detail.contains("object"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn a_file_for_a_person_says_that_it_is_utf_8_and_has_the_times_of_the_zone() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    node.acquire("crm", json!({"holder": "müller@example.de"}), 201)
        .await;
    for page in ["holders", "denials", "history", "tenants", "patterns"] {
        let file = node
            .get(&format!("/admin/pools/crm/{page}?format=csv"))
            .expect(200)
            .await;
        assert!(file.text.starts_with('\u{feff}'), "{page}: {}", file.text);
    }
    // Programs get what they got.
    let path = "/v1/pools/crm/holders?format=csv";
    let file = node.get(path).expect(200).await;
    assert!(
        file.text.starts_with("holder,") && file.text.contains("müller"),
        "{}",
        file.text
    );
    let seen = |text: &str| {
        text.lines()
            .nth(1)
            .and_then(|row| row.split(',').nth(3))
            .expect("a cell")
            .to_owned()
    };
    assert!(seen(&file.text).ends_with('Z'), "{}", file.text);
    let local = node
        .get(&format!("{path}&tz=Asia/Kathmandu"))
        .expect(200)
        .await;
    let at = chrono::NaiveDateTime::parse_from_str(&seen(&local.text), "%Y-%m-%d %H:%M:%S")
        .expect("a local time");
    let utc: chrono::DateTime<chrono::Utc> = seen(&file.text).parse().expect("RFC 3339");
    let ahead = at.and_utc() - utc;
    assert!(
        (ahead.num_seconds() - (5 * 3_600 + 45 * 60)).abs() < 60,
        "{ahead}"
    );
}
