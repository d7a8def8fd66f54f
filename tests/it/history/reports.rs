//! What reports promise beside their numbers: terms, pages, files, days of every length, and what they must not tell.

use chrono::{Datelike as _, NaiveDate, Weekday};
use serde_json::json;

use super::by_hand::{DAY, HOUR, Hands, MINUTE};
use crate::harness::{Client, Installation, Redis, Reply};

/// The rows of a file, read by a library for such files, below its columns.
fn rows(file: &Reply) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(file.text.as_bytes());
    reader
        .records()
        .map(|row| row.expect("CSV").iter().map(str::to_owned).collect())
        .collect()
}

/// The last Sunday of a month, on which clocks change in Europe.
fn change(year: i32, month: u32) -> i64 {
    let mut days = (25..=31).filter_map(|day| NaiveDate::from_ymd_opt(year, month, day));
    let sunday = days.rfind(|day| day.weekday() == Weekday::Sun);
    let midnight = sunday.expect("a Sunday").and_hms_opt(0, 0, 0);
    midnight.expect("a midnight").and_utc().timestamp_millis()
}

#[tokio::test]
async fn a_day_has_23_or_25_hours_where_clocks_change() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let year = chrono::Utc::now().year() + 1;
    for (pool, sunday, begin, hours) in [
        ("march", change(year, 3), -HOUR, 23),
        ("october", change(year, 10), -2 * HOUR, 25),
    ] {
        // The Sunday begins at midnight in Zurich, which is in the evening before in UTC.
        let begin = sunday + begin;
        let end = begin + hours * HOUR;
        let mut hands = Hands::take(&cluster.redis, pool, begin - 30 * MINUTE).await;
        let policy = json!({"capacity": 2, "ttl_ms": DAY});
        node.put_pool(pool, policy, 201).await;
        let lease = node.acquire(pool, json!({"holder": "ann"}), 201).await;
        // A beat at noon, because no lease lives for 25 hours without one.
        hands.pass(12 * HOUR).await;
        node.renew(&lease.token(), 200).await;
        hands.pass((hours - 12) * HOUR).await;
        node.release(&lease.token(), 204).await;
        hands.pass(2 * HOUR).await;

        let at = |ms: i64| leasehold::time::Timestamp(ms).to_string();
        let range = format!("from={}&to={}&tz=Europe/Zurich", at(begin), at(end));
        let days = node
            .get(&format!("/v1/pools/{pool}/history?step=day&{range}"))
            .expect(200)
            .await;
        let [day] = days.list("items") else {
            panic!("{pool}: {}", days.text)
        };
        assert_eq!(
            (&day["from"], &day["until"]),
            (&json!(at(begin)), &json!(at(end))),
            "{pool}"
        );
        let used = hours * HOUR - 30 * MINUTE;
        assert_eq!(
            day["levels_ms"],
            json!({"0": 30 * MINUTE, "1": used}),
            "{pool}"
        );
        assert_eq!(
            (&day["grants"], &day["high_water_mark"]),
            (&json!(0), &json!(1))
        );
        let by_hour = node
            .get(&format!("/v1/pools/{pool}/history?step=hour&{range}"))
            .expect(200)
            .await;
        assert_eq!(
            i64::try_from(by_hour.list("items").len()).unwrap(),
            hours,
            "{pool}"
        );
        let usage = node
            .get(&format!("/v1/pools/{pool}/usage?days=2&tz=Europe/Zurich"))
            .expect(200)
            .await;
        let sunday = &usage.list("daily")[0];
        let mean = used as f64 / (hours * HOUR) as f64;
        assert_eq!(
            sunday["mean"],
            json!((mean * 1_000.0).round() / 1_000.0),
            "{}",
            usage.text
        );
        // Days of other zones are made of hours, which are kept for 35 days; the answer says from when on.
        assert!(usage["covered_from"].is_string());
    }
}

#[tokio::test]
async fn sizing_is_made_with_the_terms_that_are_asked_for() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = super::past(&redis).await;
    // Twelve days ago: ten for an hour from 23:30 UTC on, and for twenty minutes of it ten more.
    let now = store.clock().await.expect("a clock").0;
    let begin = now.div_euclid(DAY) * DAY - 12 * DAY + 23 * HOUR + 30 * MINUTE;
    let mut events = Vec::new();
    for agent in 0..20 {
        let (from, length) = match agent {
            0..10 => (begin, HOUR),
            _ => (begin + 5 * MINUTE, 20 * MINUTE),
        };
        events.push((from, "started", agent));
        events.push((from + length, "ended", agent));
    }
    events.sort();
    for (number, (at, kind, agent)) in events.into_iter().enumerate() {
        let id = agent.to_string();
        super::event(&mut connection, &stream, (at, number), kind, &id, "").await;
    }
    let node = crate::harness::Launch::on(&redis.url()).start().await;
    let size = async |terms: &str| {
        node.get(&format!("/v1/pools/{pool}/sizing?{terms}"))
            .expect(200)
            .await
    };
    let usual = size("").await;
    assert_eq!(usual["inputs"]["sustained_peak"], 10);
    assert_eq!(usual["inputs"]["sustained_minutes"], 30);
    assert_eq!(usual["reserve"]["percent"], 10);
    assert_eq!(usual["reserve"]["never_refuse"], 22);
    assert_eq!(usual["choices"]["balanced"]["seats"], 20);
    // Half of the hour is before midnight in UTC: 10 × 60 and 10 × 20 minutes in two days, of which one begins at midnight.
    let share = |minutes: i64| json!((minutes as f64 / 60.0 * 1_000.0).round() / 1_000.0);
    assert_eq!(usual["inputs"]["busy_hour_load"], share((500 + 300) / 2));
    let zurich = size("tz=Asia/Tokyo").await;
    assert_eq!(
        zurich["inputs"]["busy_hour_load"],
        share(500),
        "one day in Tokyo"
    );

    let other = size("reserve=50&sustained_minutes=20&target_lean=0.5&target_balanced=0.25").await;
    assert_eq!(other["inputs"]["sustained_peak"], 20);
    assert_eq!(other["inputs"]["target_lean"], 0.5);
    assert_eq!(other["choices"]["lean"]["seats"], 10);
    // Fifteen would refuse a quarter, but the sustained peak is more.
    assert_eq!(other["choices"]["balanced"]["seats"], 20);
    assert_eq!(other["reserve"]["lean"], 15);
    assert_eq!(other["cross_check"]["target"], 0.25);
    let other = size("sustained_minutes=21&target_balanced=0.25").await;
    assert_eq!(other["choices"]["balanced"]["seats"], 15);
    for wrong in [
        "reserve=101",
        "reserve=-1",
        "sustained_minutes=0",
        "sustained_minutes=50401",
        "target_lean=1.1",
        "target_balanced=-0.1",
        "tz=Mars",
        "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "colour=red",
    ] {
        node.get(&format!("/v1/pools/{pool}/sizing?{wrong}"))
            .expect(400)
            .await;
    }
}

/// Follows the pages of a file by the link in its header.
async fn pages(node: &Client, path: &str) -> Vec<Vec<String>> {
    let (report, mut query) = path
        .split_once('?')
        .map(|(a, b)| (a, b.to_owned()))
        .unwrap();
    let mut all = Vec::new();
    loop {
        let page = node.get(&format!("{report}?{query}")).expect(200).await;
        let found = rows(&page);
        assert!(found.len() <= 2, "{}", page.text);
        all.extend(found);
        let Some(link) = page.header("link") else {
            return all;
        };
        let (next, rel) = link
            .strip_prefix("<?")
            .and_then(|link| link.split_once('>'))
            .expect("a link to the same place");
        assert_eq!(rel, "; rel=\"next\"");
        query = next.to_owned();
    }
}

#[tokio::test]
async fn files_of_any_length_come_page_by_page_and_hostile_names_stay_one_cell() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 7}), 201).await;
    let hostile = [
        "=cmd|' /C calc'!A0",
        "@SUM(1+1)",
        "+49 30 123",
        "-2+3",
        "a,b;c",
        "say \"hi\"",
        "Zoë 🦀 <script>",
    ];
    for name in hostile {
        let body = json!({"holder": name, "tenant": name});
        node.acquire("crm", body, 201).await;
    }
    for name in hostile {
        let body = json!({"holder": format!("{name}!"), "tenant": name});
        node.acquire("crm", body, 409).await;
    }
    let safe = |name: &str| match name.chars().next() {
        Some('=' | '+' | '-' | '@') => format!("'{name}"),
        _ => name.to_owned(),
    };
    let mut names: Vec<&str> = hostile.to_vec();
    names.sort_unstable();

    let holders = pages(node, "/v1/pools/crm/holders?limit=2&format=csv").await;
    let found: Vec<_> = holders.iter().map(|row| row[0].clone()).collect();
    assert_eq!(
        found,
        names.iter().map(|name| safe(name)).collect::<Vec<_>>()
    );
    assert!(holders.iter().all(|row| row.len() == 4 && row[1] == "1"));

    let tenants = pages(node, "/v1/pools/crm/tenants?format=csv&limit=2").await;
    let found: Vec<_> = tenants.iter().map(|row| row[0].clone()).collect();
    assert_eq!(
        found,
        names.iter().map(|name| safe(name)).collect::<Vec<_>>()
    );
    assert!(tenants.iter().all(|row| row[1] == "1" && row[4] == "1"));

    let denials = pages(node, "/v1/pools/crm/denials?limit=2&format=csv").await;
    let found: Vec<_> = denials.iter().map(|row| row[2].clone()).collect();
    let told: Vec<_> = hostile
        .iter()
        .map(|name| safe(&format!("{name}!")))
        .collect();
    assert_eq!(found, told);

    // The same pages as JSON.
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = node
            .get(&format!("/v1/pools/crm/tenants?limit=3{cursor}"))
            .expect(200)
            .await;
        let items = page.list("items");
        found.extend(
            items
                .iter()
                .map(|row| row["tenant"].as_str().expect("a name").to_owned()),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, names);
}

#[tokio::test]
async fn reports_tell_of_holders_what_the_pool_keeps_of_them_and_no_more() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    for privacy in ["named", "pseudonymous", "anonymous"] {
        let policy = json!({"capacity": 1, "privacy": privacy});
        node.put_pool(privacy, policy, 201).await;
        let body = json!({"holder": "Ann Smith", "label": "Ann's desk", "tenant": "acme"});
        let lease = node.acquire(privacy, body, 201).await;
        node.acquire(privacy, json!({"holder": "Bob Jones"}), 409)
            .await;
        node.release(&lease.token(), 204).await;
        let body = json!({"holder": "Ann Smith"});
        let lease = node.acquire(privacy, body, 201).await;
        node.release(&lease.token(), 204).await;

        let mut all = String::new();
        for report in [
            "holders", "denials", "sizing", "tenants", "usage", "history", "patterns",
        ] {
            for format in ["json", "csv"] {
                let path = format!("/v1/pools/{privacy}/{report}?format={format}");
                all += &node.get(&path).expect(200).await.text;
            }
        }
        let is_named = privacy == "named";
        for name in ["Ann", "Bob"] {
            assert_eq!(all.contains(name), is_named, "{privacy} {name}");
        }
        let holders = node
            .get(&format!("/v1/pools/{privacy}/holders"))
            .expect(200)
            .await;
        let [row] = holders.list("items") else {
            panic!("{privacy}: {}", holders.text)
        };
        assert_eq!(row["leases"], 2, "{privacy}");
        match privacy {
            "named" => assert_eq!(row["holder"], "Ann Smith"),
            "anonymous" => assert_eq!(row["holder"], json!(null)),
            _ => assert!(row["holder"].as_str().is_some_and(|text| text.len() > 10)),
        }
    }
}
