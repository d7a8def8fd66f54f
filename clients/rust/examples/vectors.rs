//! Runs the vectors of ../../spec/machine, or with the argument `proof` those of ../../spec/proof: one line of JSON for each.

use std::path::Path;

use leasehold_client::machine::{Answer, Event, Now, Options, Output, State, Timer, spread};
use serde_json::{Map, Value, json};

fn texts(value: &Value) -> Option<Vec<String>> {
    Some(
        value
            .as_array()?
            .iter()
            .filter_map(|text| Some(text.as_str()?.to_owned()))
            .collect(),
    )
}

fn text(value: &Value) -> Option<String> {
    Some(value.as_str()?.to_owned())
}

fn answer(event: &Value) -> Answer {
    let headers = event["headers"].as_object().into_iter().flatten();
    let headers = headers
        .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
        .collect();
    Answer {
        status: event["status"].as_u64().unwrap_or(0) as u16,
        headers,
        body: event["body"].clone(),
    }
}

fn event(event: &Value) -> Event {
    let id = event["id"].as_u64().unwrap_or(0);
    match event["event"].as_str().unwrap_or("") {
        "acquire" => Event::Acquire,
        "adopt" => Event::Adopt(text(&event["token"]).unwrap_or_default()),
        "answer" => Event::Answer {
            id,
            answer: answer(event),
        },
        "result" => Event::Result {
            id,
            result: event["result"].clone(),
        },
        "failed" => Event::Failed { id },
        "timer" if event["timer"] == "next" => Event::Timer(Timer::Next),
        "timer" => Event::Timer(Timer::Deadline),
        "wake" => Event::Wake,
        "report" => Event::Report {
            activities: texts(&event["activities"]),
            label: text(&event["label"]),
        },
        "cancel" => Event::Cancel,
        "request" => Event::Request,
        "yield" => Event::Yield,
        "release" => Event::Release,
        "close" => Event::Close,
        "forked" => Event::Forked,
        "active" => Event::Active,
        other => panic!("no event is called {other}"),
    }
}

fn plain(out: Output) -> Map<String, Value> {
    let mut all = Map::new();
    let send = out.send.into_iter().map(|request| {
        let mut one = json!({ "id": request.id, "path": request.path, "body": request.body, "timeout_ms": request.timeout_ms });
        if let Some(acquisition) = request.acquisition {
            one["acquisition"] = acquisition.into();
        }
        for (name, is) in [
            ("refused", request.refused),
            ("fresh", request.fresh),
            ("idle", request.idle),
        ] {
            if is {
                one[name] = true.into();
            }
        }
        one
    });
    let send: Vec<Value> = send.collect();
    let timers = out.timers.into_iter().map(|(timer, span)| {
        let name = if timer == Timer::Next {
            "next"
        } else {
            "deadline"
        };
        (
            name.to_owned(),
            span.map_or(Value::Null, |(from, to)| json!([from, to])),
        )
    });
    let timers: Map<String, Value> = timers.collect();
    let mut put = |name: &str, there: bool, value: Value| {
        if there {
            all.insert(name.into(), value);
        }
    };
    put("send", !send.is_empty(), send.clone().into());
    put("abort", out.abort.is_some(), json!(out.abort));
    put("timers", !timers.is_empty(), timers.clone().into());
    put("emit", !out.emit.is_empty(), json!(out.emit));
    put("tell", out.tell.is_some(), json!(out.tell));
    put("done", out.done, true.into());
    all
}

fn run(vector: &Value) -> Result<(), String> {
    let o = &vector["options"];
    let mut state = State::new(Options {
        pool: text(&o["pool"]).unwrap_or_default(),
        holder: text(&o["holder"]),
        tenant: text(&o["tenant"]),
        label: text(&o["label"]),
        platform: text(&o["platform"]),
        activities: texts(&o["activities"]),
        wait: o["wait"] == true,
        reacquire: o["reacquire"] == true,
        request: o["request"] == true,
        max_grace_ms: o["max_grace_ms"].as_i64(),
        asks_for_key: o["key"] == "function",
    });
    for (number, step) in vector["steps"].as_array().into_iter().flatten().enumerate() {
        let at = &step["at"];
        let clock = |name: &str| at.as_i64().or(at[name].as_i64()).unwrap_or(0);
        let now = Now {
            mono: clock("mono"),
            wall: clock("wall"),
        };
        let out = step
            .get("event")
            .map(|one| state.step_said(event(one), one["idle_ms"].as_i64(), now))
            .unwrap_or_default();
        let Some(then) = step.get("then").and_then(Value::as_object) else {
            continue;
        };
        let mut expected = then.clone();
        let peek = expected.remove("peek");
        let mut got = plain(out);
        got.insert("state".into(), state.seen(now).0.into());
        got.insert("sure".into(), state.is_sure(now).into());
        if got != expected {
            return Err(format!(
                "step {}: got {}, expected {}",
                number + 1,
                json!(got),
                json!(expected)
            ));
        }
        let lease_id = state
            .lease
            .as_ref()
            .map_or(Value::Null, |lease| lease["id"].clone());
        let known = json!({ "token": state.token, "proof": state.proof, "lease_id": lease_id, "away": state.is_away() });
        for (name, value) in peek
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if known[name] != *value {
                return Err(format!(
                    "step {}: {name} is {}, expected {value}",
                    number + 1,
                    known[name]
                ));
            }
        }
    }
    Ok(())
}

fn batch(vector: &Value) -> Result<(), String> {
    let ids: Vec<u64> = vector["ids"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    let got = spread(&ids, answer(vector)).into_iter().map(|event| match event {
        Event::Result { id, result } => json!({ "event": "result", "id": id, "result": result }),
        Event::Answer { id, answer } => {
            json!({ "event": "answer", "id": id, "status": answer.status, "headers": answer.headers, "body": answer.body })
        }
        _ => Value::Null,
    });
    let got = Value::Array(got.collect());
    if got == vector["events"] {
        Ok(())
    } else {
        Err(format!("got {got}"))
    }
}

#[cfg(feature = "verify")]
async fn proof(vector: &Value, known: &Value) -> Result<(), String> {
    use leasehold_client::Verifier;
    let pinned = vector
        .get("keys")
        .cloned()
        .unwrap_or_else(|| json!({ "keys": known }));
    let leeway = std::time::Duration::from_secs(vector["leeway_s"].as_u64().unwrap_or(5));
    let verifier = Verifier::pinned(
        vector["issuer"].as_str().unwrap_or(""),
        vector["audience"].as_str().unwrap_or(""),
        &pinned,
    );
    let verified = verifier
        .leeway(leeway)
        .verify_at(
            vector["proof"].as_str().unwrap_or(""),
            vector["at"].as_f64().unwrap_or(0.0),
        )
        .await;
    match (verified, vector["ok"] == true) {
        (Ok(_), true) | (Err(_), false) => Ok(()),
        (Ok(_), false) => Err("accepted".into()),
        (Err(why), true) => Err(why.to_string()),
    }
}

#[cfg(not(feature = "verify"))]
async fn proof(_: &Value, _: &Value) -> Result<(), String> {
    Err("built without the feature verify".into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let layer = std::env::args().nth(1).unwrap_or("machine".into());
    let home = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../spec")
        .join(&layer);
    let mut failed = false;
    for entry in std::fs::read_dir(home)
        .expect("the specification")
        .flatten()
    {
        let path = entry.path();
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let document: Value =
            serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        for vector in document["vectors"].as_array().into_iter().flatten() {
            let result = match (&*layer, &*stem) {
                ("proof", _) => proof(vector, &document["keys"]).await,
                (_, "batch") => batch(vector),
                _ => run(vector),
            };
            let name = format!("{layer}/{stem}: {}", vector["name"].as_str().unwrap_or(""));
            failed |= result.is_err();
            match result {
                Ok(()) => println!("{}", json!({ "vector": name, "ok": true })),
                Err(why) => println!("{}", json!({ "vector": name, "ok": false, "why": why })),
            }
        }
    }
    std::process::exit(failed.into());
}
