//! The description of the interface is complete, and true.

use std::collections::BTreeSet;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use crate::harness::openapi::violation;
use crate::harness::{Launch, Redis};

/// Every route of the contract that the core serves.
const ROUTES: [(&str, &str); 40] = [
    ("post", "/v1/pools/{pool}/leases"),
    ("get", "/v1/pools/{pool}/leases"),
    ("post", "/v1/pools/{pool}/leases/terminate"),
    ("get", "/v1/pools/{pool}/availability"),
    ("get", "/v1/pools/{pool}/events"),
    ("get", "/v1/pools/{pool}/usage"),
    ("get", "/v1/pools/{pool}/history"),
    ("get", "/v1/pools/{pool}/denials"),
    ("get", "/v1/pools/{pool}/holders"),
    ("get", "/v1/pools/{pool}/tenants"),
    ("get", "/v1/pools/{pool}/sizing"),
    ("get", "/v1/pools/{pool}/patterns"),
    ("post", "/v1/leases/renew"),
    ("post", "/v1/leases/renew-many"),
    ("post", "/v1/leases/release"),
    ("post", "/v1/leases/leave"),
    ("post", "/v1/leases/yield"),
    ("post", "/v1/pools/{pool}/queue/request"),
    ("get", "/v1/pools"),
    ("get", "/v1/pools/{pool}"),
    ("put", "/v1/pools/{pool}"),
    ("patch", "/v1/pools/{pool}"),
    ("delete", "/v1/pools/{pool}"),
    ("get", "/v1/nodes"),
    ("get", "/v1/alerts"),
    ("get", "/v1/alerts/events"),
    ("get", "/v1/webhooks"),
    ("post", "/v1/webhooks"),
    ("get", "/v1/webhooks/{id}"),
    ("put", "/v1/webhooks/{id}"),
    ("patch", "/v1/webhooks/{id}"),
    ("delete", "/v1/webhooks/{id}"),
    ("post", "/v1/webhooks/{id}/roll"),
    ("post", "/v1/webhooks/{id}/test"),
    ("get", "/v1/webhooks/{id}/deliveries"),
    ("post", "/v1/webhooks/{id}/deliveries/{delivery}/resend"),
    ("get", "/v1/openapi.json"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/metrics"),
];

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;

    let document = node.get("/v1/openapi.json").expect(200).await;
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    assert!(
        document
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"))
    );

    for (method, path) in ROUTES {
        let operation = &document["paths"][path][method];
        assert!(operation.is_object(), "{method} {path} is not described");
    }

    let mut undeclared = Vec::new();
    let paths = document["paths"].as_object().expect("paths");
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("a path item") {
            if !METHODS.contains(&method.as_str()) {
                continue;
            }
            describes_itself(method, path, operation);
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            // No body and names that nobody has: enough to be routed, too little to change anything.
            let filled: Vec<_> = path
                .split('/')
                .map(|part| {
                    if part.starts_with('{') {
                        "nobody"
                    } else {
                        part
                    }
                })
                .collect();
            let answer = node
                .call(method.clone(), &filled.join("/"))
                // So that a stream without an end is refused, and not followed.
                .header("last-event-id", "nobody")
                .expect([])
                .await;
            let code = answer["code"].as_str().unwrap_or_default();
            assert!(
                !["route_not_found", "method_not_allowed"].contains(&code),
                "{method} {path}: {}",
                answer.text
            );
            let declared = &operation["responses"][answer.status.to_string()];
            let family = &operation["responses"][format!("{}XX", answer.status / 100)];
            let fits = declared.is_object()
                || family.is_object()
                || operation["responses"]["default"].is_object();
            if !fits {
                undeclared.push(format!("{method} {path}: {}", answer.status));
            }
        }
    }
    assert!(
        undeclared.is_empty(),
        "answers that are not described: {undeclared:#?}"
    );
}

fn describes_itself(method: &str, path: &str, operation: &Value) {
    let says = |field: &str| {
        operation[field]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    };
    assert!(
        says("summary") || says("description"),
        "{method} {path} has no sentence"
    );
    assert!(
        says("operationId"),
        "{method} {path} has no name for generators"
    );
    let responses = operation["responses"].as_object();
    assert!(
        responses.is_some_and(|responses| responses.len() > 1),
        "{method} {path} has no answer of its own"
    );
    for (status, response) in responses.into_iter().flatten() {
        assert!(
            response["description"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{method} {path}: {status} has no description"
        );
    }
}

#[tokio::test]
async fn a_generator_can_make_a_client_that_survives_the_next_release() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let document = node.get("/v1/openapi.json").expect(200).await.body;

    let mut operations = Vec::new();
    for item in document["paths"].as_object().expect("paths").values() {
        for method in METHODS {
            if item[method].is_object() {
                operations.push(&item[method]);
            }
        }
    }
    let ids: BTreeSet<_> = operations
        .iter()
        .map(|operation| operation["operationId"].as_str())
        .collect();
    assert_eq!(ids.len(), operations.len(), "two operations have one id");

    // Every object in an answer may get more fields; no request body is closed or has a default.
    for operation in operations {
        for response in operation["responses"]
            .as_object()
            .expect("answers")
            .values()
        {
            each_schema(&document, response, &mut |schema| {
                assert!(
                    schema["properties"].is_null() || schema["additionalProperties"] == true,
                    "closed: {schema}"
                );
            });
        }
        each_schema(&document, &operation["requestBody"], &mut |schema| {
            assert!(schema["additionalProperties"] != true, "open: {schema}");
            assert!(schema["additionalProperties"] != false, "closed: {schema}");
            assert!(schema.get("default").is_none(), "{schema}");
        });
    }
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .expect("schemas")
    {
        assert!(
            schema["description"].is_string(),
            "{name} has no description"
        );
    }
}

/// Visits a part of the document, and what it refers to.
fn each_schema(document: &Value, part: &Value, visit: &mut impl FnMut(&Value)) {
    match part {
        Value::Object(members) => {
            visit(part);
            for (name, value) in members {
                match value.as_str() {
                    Some(reference) if name == "$ref" => {
                        let target = document.pointer(reference.trim_start_matches('#'));
                        each_schema(document, target.expect("a schema"), visit);
                    }
                    _ if ["example", "examples"].contains(&name.as_str()) => {}
                    _ => each_schema(document, value, visit),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                each_schema(document, item, visit);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn every_request_has_an_example_that_is_taken_and_every_answer_one_that_is_true() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let document = node.get("/v1/openapi.json").expect(200).await.body;
    let problems = document["components"]["examples"]
        .as_object()
        .expect("problems");

    let mut wrong = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        if path == "/v1/openapi.json" {
            continue;
        }
        let filled = path
            .replace("{pool}", "crm")
            .replace("{holder}", "agent-7")
            .replace("{id}", "nobody")
            .replace("{delivery}", "none");
        for word in METHODS {
            let operation = &item[word];
            let method: Method = word.to_uppercase().parse().expect("a method");
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                    let shown: Vec<&Value> = match &content["examples"] {
                        Value::Object(examples) => examples
                            .keys()
                            .map(|code| &problems[code]["value"])
                            .collect(),
                        _ => content.get("example").into_iter().collect(),
                    };
                    let text = response["description"].as_str().unwrap_or_default();
                    let lacks = match media_type.as_str() {
                        "application/json" => shown.is_empty(),
                        // Where an answer names codes, one of each is shown.
                        "application/problem+json" => problems.values().any(|problem| {
                            let value = &problem["value"];
                            let code = value["code"].as_str().unwrap_or_default();
                            value["status"].as_u64() == status.parse().ok()
                                && text.contains(&format!("`{code}`"))
                                && !shown.contains(&value)
                        }),
                        _ => continue,
                    };
                    if lacks {
                        wrong.push(format!("{word} {path}: {status} lacks an example"));
                    }
                    let mut headers = HeaderMap::new();
                    headers.insert(CONTENT_TYPE, media_type.parse().expect("a media type"));
                    for example in shown {
                        let number: u16 = status.parse().expect("no example of `default`");
                        let problem = example["status"].as_u64().unwrap_or(number.into());
                        assert_eq!(problem, u64::from(number), "{word} {path}: {example}");
                        wrong.extend(violation(&method, &filled, number, &headers, example));
                    }
                }
            }
            if operation["requestBody"].is_null() {
                continue;
            }
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            let answer = node
                .call(method.clone(), &filled)
                .json(example)
                .expect([])
                .await;
            // Its names lead nowhere, and its secrets are cut short; it is understood all the same.
            let of_nobody = answer.text.contains("`ticket` is not one");
            if example.is_null() || [400, 413, 415].contains(&answer.status) && !of_nobody {
                wrong.push(format!(
                    "{word} {path}: {example} was answered {}",
                    answer.text
                ));
            }
            if path == "/v1/webhooks" {
                let made = answer["id"].as_str().expect("an id");
                let webhook = format!("{path}/{made}");
                node.call(Method::DELETE, &webhook).expect(204).await;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn every_reference_in_the_description_leads_somewhere() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let document = node.get("/v1/openapi.json").expect(200).await.body;

    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(reference) if name == "$ref" => references.push(reference.to_owned()),
                    _ => collect(value, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
