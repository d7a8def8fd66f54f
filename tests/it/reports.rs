//! Reports over many pools: the same numbers in every form, whole, and to each caller what is theirs.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::process::Stdio;

use chrono::{DateTime, NaiveDate, TimeZone as _, Utc};
use chrono_tz::Tz;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{ANY, Client, Launch, Node, Redis, wait_until};
use crate::history::past;

const KEY: &str = "the-operator-key-of-the-tests";
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const ZONE: Tz = Tz::Asia__Kathmandu;

fn local(ms: i64) -> DateTime<Tz> {
    let utc = Utc.timestamp_millis_opt(ms).single();
    utc.expect("an instant").with_timezone(&ZONE)
}

/// A node with two pools, in the first of which something happened on a day of Kathmandu ten days ago. Also the address of that day.
async fn stage(redis: &Redis) -> (Node, String) {
    let (store, _, mut connection, stream) = past(redis).await;
    let now = store.clock().await.expect("a clock").0;
    let day = local(now - 10 * DAY).date_naive();
    let midnight = |day: NaiveDate| {
        let midnight = ZONE.from_local_datetime(&day.and_hms_opt(0, 0, 0).expect("midnight"));
        midnight.earliest().expect("a midnight").timestamp_millis()
    };
    let begin = midnight(day);
    // Ann and Bob hold a seat for two and for three hours; what is before the day and after it does not count. The name of one of them is a formula.
    let events = [
        (begin - HOUR, "started", "a", "ann", "acme", ""),
        (begin + HOUR, "ended", "a", "", "", "expired"),
        (begin + 2 * HOUR, "started", "b", "=1+1", "globex", ""),
        (begin + 3 * HOUR, "started", "c", "ann", "acme", ""),
        (
            begin + 3 * HOUR + 1_000,
            "denied",
            "",
            "zoë",
            "acme",
            "pool_full",
        ),
        (begin + 3 * HOUR + 61_000, "started", "d", "zoë", "acme", ""),
        (begin + 3 * HOUR + 91_000, "ended", "d", "", "", "released"),
        (begin + 4 * HOUR, "ended", "c", "", "", "released"),
        (begin + 5 * HOUR, "ended", "b", "", "", "released"),
        (begin + 25 * HOUR, "started", "e", "eve", "", ""),
        (begin + 26 * HOUR, "ended", "e", "", "", "released"),
    ];
    for (number, (at, kind, lease, holder, tenant, reason)) in events.into_iter().enumerate() {
        let (id, at) = (format!("{at}-{number}"), at.to_string());
        redis::cmd("XADD")
            .arg(&stream)
            .arg(&[&id, "type", kind, "id", lease, "at", &at][..])
            .arg(&["holder", holder, "tenant", tenant, "reason", reason])
            .exec_async(&mut connection)
            .await
            .expect("an event");
    }
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("phone", json!({"capacity": 3}), 201).await;
    let next = day + chrono::Days::new(1);
    (node, format!("from={day}&to={next}&tz=Asia/Kathmandu"))
}

async fn sheet(client: &Client, word: &str, time: &str) -> Value {
    let path = format!("/v1/reports/{word}?{time}");
    client.get(&path).expect(200).await.body
}

/// A new key, and a client that shows it.
async fn key(admin: &Client, body: Value) -> (Client, String) {
    let made = admin.post("/v1/keys").json(&body).expect(201).await;
    let secret = made["secret"].as_str().expect("a secret");
    (admin.with_key(secret), secret.to_owned())
}

/// What stands in the cells of each sheet of a workbook, by the name of the sheet.
fn cells(file: &[u8]) -> BTreeMap<String, Vec<Vec<Value>>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(file)).expect("a ZIP file");
    let mut part = |name: &str| {
        let mut text = String::new();
        let mut file = archive.by_name(name).expect("a part of a workbook");
        file.read_to_string(&mut text).expect("UTF-8");
        text
    };
    let of = |text: &str, begin: &str, end: &str| -> Vec<String> {
        let parts = text.split(begin).skip(1);
        parts
            .map(|part| part.split(end).next().unwrap_or_default().to_owned())
            .collect()
    };
    let strings: Vec<String> = of(&part("xl/sharedStrings.xml"), "<si><t", "</t>")
        .iter()
        .map(|text| {
            text.split_once('>')
                .expect("a text")
                .1
                .replace("&amp;", "&")
        })
        .collect();
    let names = of(&part("xl/workbook.xml"), "<sheet name=\"", "\"");
    let sheets = names.into_iter().enumerate().map(|(at, name)| {
        let text = part(&format!("xl/worksheets/sheet{}.xml", at + 1));
        let rows = of(&text, "<row ", "</row>");
        let rows = rows.iter().map(|row| {
            let mut cells = Vec::new();
            for cell in of(row, "<c r=\"", "</c>") {
                let column = usize::from(cell.as_bytes()[0] - b'A');
                cells.resize(column, Value::Null);
                let value = of(&cell, "<v>", "</v>").pop().expect("a value");
                let number: f64 = value.parse().expect("a number");
                cells.push(match cell.contains("t=\"s\"") {
                    true => json!(strings[number as usize]),
                    false => json!(number),
                });
            }
            cells
        });
        (name, rows.collect())
    });
    sheets.collect()
}

/// A field of a row as it stands in a cell: a time is counted in days by the clocks of the zone.
fn as_cell(field: &str, value: &Value) -> Value {
    let days = |text: &str, form: &str| {
        let at = chrono::NaiveDateTime::parse_from_str(text, form).expect("a time");
        let epoch = NaiveDate::from_ymd_opt(1899, 12, 30).expect("a day");
        (at - epoch.and_hms_opt(0, 0, 0).expect("midnight")).num_milliseconds() as f64
            / 86_400_000.0
    };
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Bool(truth) => json!(truth.to_string()),
        Value::String(text) if field == "peak_on" => {
            json!(days(&format!("{text} 00:00"), "%Y-%m-%d %H:%M"))
        }
        Value::String(text)
            if field == "at" || field.ends_with("_at") || field == "covered_from" =>
        {
            let at: DateTime<Utc> = text.parse().expect("an instant");
            let local = local(at.timestamp_millis());
            json!(days(
                &local.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
                "%Y-%m-%d %H:%M:%S%.3f"
            ))
        }
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_workbook_has_each_number_that_the_interface_gives() {
    let redis = Redis::start().await;
    let (node, time) = stage(&redis).await;
    let admin = node.with_key(KEY);

    // By hand: an hour of a, three of b, one of c, thirty seconds of d.
    let summary = sheet(&admin, "summary", &time).await;
    assert_eq!(
        (&summary["is_over"], &summary["tz"]),
        (&json!(true), &json!("Asia/Kathmandu"))
    );
    let crm = &summary["items"][0];
    assert_eq!(crm["seat_hours"], 5.008, "{summary}");
    assert_eq!(
        (&crm["peak"], &crm["grants"], &crm["denials"]),
        (&json!(3), &json!(3), &json!(1))
    );
    assert_eq!(crm["mean"], 0.209, "five hours and thirty seconds of a day");
    assert_eq!(crm["peak_on"], json!(time[5..15]));
    // Of a pool that came later nothing is known, which is not zero.
    let phone = &summary["items"][1];
    assert_eq!(
        (&phone["pool"], &phone["peak"], &phone["covered_from"]),
        (&json!("phone"), &json!(null), &json!(null))
    );
    let people = sheet(&admin, "people", &time).await;
    let hours: Vec<_> = people["items"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            (
                row["holder"].as_str().unwrap_or_default(),
                row["leases"].as_u64(),
                row["hours"].as_f64(),
            )
        })
        .collect();
    assert_eq!(
        hours,
        [
            ("=1+1", Some(1), Some(3.0)),
            ("ann", Some(2), Some(2.0)),
            ("zoë", Some(1), Some(0.008))
        ]
    );
    let denials = sheet(&admin, "denials", &time).await;
    assert_eq!(denials["items"][0]["waited_ms"], 60_000);

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("report.xlsx");
    let day = &time[5..15];
    let next = &time[19..29];
    let leasehold = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        command
            .args([
                "report",
                "summary",
                "--from",
                day,
                "--to",
                next,
                "--tz",
                "Asia/Kathmandu",
            ])
            .args(more)
            .env_clear()
            .env("LEASEHOLD_SERVER", format!("http://{}", node.address()))
            .env("LEASEHOLD_KEY", KEY)
            .stdin(Stdio::null());
        command
    };
    let name = file.to_str().expect("a name");
    let written = leasehold(&["--xlsx", name])
        .output()
        .await
        .expect("it runs");
    assert!(written.status.success(), "{written:?}");
    let sheets = cells(&std::fs::read(&file).expect("the file"));
    assert_eq!(
        sheets.keys().collect::<Vec<_>>(),
        ["About", "Denials", "People", "Summary", "Tenants"]
    );
    for (word, name) in [
        ("summary", "Summary"),
        ("tenants", "Tenants"),
        ("people", "People"),
        ("denials", "Denials"),
    ] {
        let rows = &sheets[name];
        let answer = sheet(&admin, word, &time).await;
        let items = answer["items"].as_array().expect("rows");
        assert!(
            !items.is_empty() && rows.len() == items.len() + 1,
            "{name}: {rows:?}"
        );
        let csv = admin
            .get(&format!("/v1/reports/{word}?{time}&format=csv&bom=true"))
            .of_another_program()
            .expect(200)
            .await;
        let text = csv.text.strip_prefix('\u{feff}').expect("a mark");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let columns: Vec<String> = reader
            .headers()
            .expect("columns")
            .iter()
            .map(str::to_owned)
            .collect();
        assert_eq!(reader.records().count(), items.len(), "{}", csv.text);
        for (item, row) in items.iter().zip(&rows[1..]) {
            assert_eq!(
                item.as_object().expect("a row").len(),
                columns.len(),
                "{word}"
            );
            for (at, column) in columns.iter().enumerate() {
                let cell = row.get(at).cloned().unwrap_or_default();
                assert_eq!(
                    cell,
                    as_cell(column, &item[column]),
                    "{name}, {column}: {item}"
                );
            }
        }
    }
    // What is there already is not written over.
    let again = leasehold(&["--xlsx", name])
        .output()
        .await
        .expect("it runs");
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let table = leasehold(&["crm"]).output().await.expect("it runs");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.contains("5.008") && !table.contains("phone"),
        "{table}"
    );
}

#[tokio::test]
async fn everybody_gets_what_is_theirs_in_a_report() {
    let redis = Redis::start().await;
    let (node, time) = stage(&redis).await;
    let admin = node.with_key(KEY);
    let (reports, without_names) = key(&admin, json!({"name": "r", "role": "reports"})).await;
    let (phone, _) = key(
        &admin,
        json!({"name": "p", "role": "viewer", "pools": ["phone"]}),
    )
    .await;
    let (acme, of_acme) = key(
        &admin,
        json!({"name": "a", "role": "viewer", "tenants": ["acme"]}),
    )
    .await;

    // Without names: no people, no denials, also not in the workbook.
    for (word, status) in [
        ("summary", 200),
        ("tenants", 200),
        ("people", 403),
        ("denials", 403),
    ] {
        reports
            .get(&format!("/v1/reports/{word}?{time}"))
            .expect(status)
            .await;
    }
    let workbook = async |secret: &str| {
        let http = reqwest::Client::new();
        let request = http
            .get(format!(
                "http://{}/v1/reports/workbook?{time}",
                node.address()
            ))
            .bearer_auth(secret);
        let answer = request.send().await.expect("an answer");
        cells(&answer.bytes().await.expect("a file"))
    };
    let sheets = workbook(&without_names).await;
    assert_eq!(
        sheets.keys().collect::<Vec<_>>(),
        ["About", "Summary", "Tenants"]
    );

    let summary = sheet(&phone, "summary", &time).await;
    assert_eq!(
        summary["items"].as_array().map(Vec::len),
        Some(1),
        "{summary}"
    );
    let foreign = phone
        .get(&format!("/v1/reports/people?{time}&pools=crm"))
        .expect(404)
        .await;
    assert_eq!(foreign["code"], "pool_not_found");

    let summary = sheet(&acme, "summary", &time).await;
    let crm = &summary["items"][0];
    assert_eq!(
        (&crm["seat_hours"], &crm["denials"]),
        (&json!(2.008), &json!(1)),
        "{summary}"
    );
    for hidden in ["capacity", "peak", "mean", "grants", "covered_from"] {
        assert_eq!(crm[hidden], Value::Null, "{hidden}");
    }
    let shown = format!("{:?}", workbook(&of_acme).await);
    assert!(
        shown.contains("zoë") && !shown.contains("=1+1") && !shown.contains("globex"),
        "{shown}"
    );

    for wrong in [
        "month=November",
        "month=2026-11&from=2026-11-01",
        "from=2026-11-02&to=2026-11-02",
        "from=2020-01-01",
        "to=2026-11-02",
        "pools=%20!",
    ] {
        let refused = admin
            .get(&format!("/v1/reports/summary?{wrong}"))
            .expect(400)
            .await;
        assert_eq!(refused["code"], "invalid_request", "{wrong}");
    }
    for month in [
        "",
        "month=this",
        "month=last",
        "month=last&tz=America/New_York",
    ] {
        sheet(&admin, "summary", month).await;
        sheet(&admin, "denials", month).await;
    }
}

#[tokio::test]
async fn a_long_report_is_whole_and_breaks_off_when_its_right_ends() {
    const DENIALS: usize = 12_000;
    let redis = Redis::start().await;
    let (store, _, _, stream) = past(&redis).await;
    let now = store.clock().await.expect("a clock").0;
    let write = r"
        for number = 1, ARGV[2] do
          local at = ARGV[1] + number * 1000
          redis.call('XADD', KEYS[1], at .. '-1', 'type', 'denied', 'id', '', 'at', at,
            'holder', string.format('agent-%06d-%s', number, string.rep('x', 200)), 'tenant', '', 'reason', 'pool_full')
        end";
    let begin = (now - DAY).to_string();
    let () = redis
        .query(&["EVAL", write, "1", &stream, &begin, &DENIALS.to_string()])
        .await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let day = local(now - DAY).date_naive();
    let time = format!("from={day}&tz=Asia/Kathmandu");
    let path = format!("/v1/reports/denials?{time}&format=csv");
    let file = admin.get(&path).of_another_program().expect(200).await;
    assert_eq!(file.text.lines().count(), DENIALS + 1);

    // Somebody who reads slowly, and whose key is revoked meanwhile.
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer"}))
        .expect(201)
        .await;
    let http = reqwest::Client::new();
    let request = http
        .get(format!("http://{}{path}", node.address()))
        .bearer_auth(made["secret"].as_str().expect("a secret"));
    let mut answer = request.send().await.expect("an answer");
    answer.chunk().await.expect("the first part");
    let id = made["id"].as_str().expect("an id");
    admin
        .call(Method::DELETE, &format!("/v1/keys/{id}"))
        .expect(204)
        .await;
    wait_until("the node knows", crate::harness::PATIENCE, async || {
        let by = admin.with_key(made["secret"].as_str().expect("a secret"));
        by.get("/v1/pools").expect(ANY).await.status == 401
    })
    .await;
    let mut read = 0;
    let end = loop {
        match answer.chunk().await {
            Ok(Some(part)) => read += part.len(),
            end => break end,
        }
    };
    assert!(
        end.is_err(),
        "it looks whole after {read} of {} bytes",
        file.text.len()
    );
}
