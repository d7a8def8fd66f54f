//! The OpenAPI document: what the handlers say about themselves, completed by what is the same for all of them.
//!
//! A handler names its own answers, and nothing else. What follows from its path, its parameters and its row in the access
//! table is added here, so that no handler repeats it and none forgets it. The rest is for generators, whose habits decide
//! what a client can read: each mend says which kind of generator needs it. The tests hold every answer that they get
//! against this document.

mod examples;
mod operation;
mod schemas;

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use serde_json::{Value, json};

use examples::Examples;

use super::access::Credentials;
use super::problem::{Code, ProblemDocument};
use super::{api, machines};

/// Where named schemas are.
const SCHEMAS: &str = "#/components/schemas/";
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// What every answer of the interface is about; the text at the top of the document.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Leasehold",
        contact(name = "The Leasehold authors", url = "https://example.invalid/leasehold"),
        description = "Seat leases: acquire a seat, keep it with heartbeats, give it back. Timestamps are RFC 3339 in UTC, \
                       durations are milliseconds. Errors are problem documents (RFC 9457) with a stable `code`. Clients \
                       must ignore fields and codes that they do not know."
    ),
    tags(
        (name = "leases", description = "For holders and operators: seats that are held."),
        (name = "pools", description = "For operators: sets of seats, and their policy."),
        (name = "holders", description = "For operators: people, and what they hold in all pools."),
        (name = "keys", description = "For admins: who may do what, and who did."),
        (name = "history", description = "For operators: what happened, and what it means."),
        (name = "alerts", description = "For operators: what needs attention, and where it is reported."),
        (name = "machines", description = "For balancers, orchestrators and monitoring."),
    ),
    modifiers(&Credentials),
    components(schemas(ProblemDocument))
)]
pub(super) struct Description;

/// The description of the whole interface (OpenAPI 3.1), as served at `/v1/openapi.json`.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        // Its title comes first: the other router has none.
        let mut described = api().into_openapi();
        described.merge(machines::description());
        let mut document =
            serde_json::to_value(&described).expect("strings and numbers have a JSON form");
        complete(&mut document);
        document
    });
    &DOCUMENT
}

/// Whether an operation takes parameters in the query.
pub(super) fn takes_query(path: &str, method: &str) -> bool {
    static SUCH: LazyLock<HashSet<(String, String)>> = LazyLock::new(|| {
        let paths = document()["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, item)| {
            let item = item.as_object().expect("an item");
            item.iter()
                .map(move |(method, operation)| (path, method, operation))
        });
        let such = operations.filter(|(_, _, operation)| {
            let parameters = operation["parameters"].as_array();
            parameters.is_some_and(|all| all.iter().any(|one| one["in"] == "query"))
        });
        such.map(|(path, method, _)| (path.clone(), method.to_uppercase()))
            .collect()
    });
    SUCH.contains(&(path.to_owned(), method.to_owned()))
}

fn complete(document: &mut Value) {
    document["servers"] =
        json!([{"url": "/", "description": "The node that serves this document"}]);
    document["paths"]["/v1/openapi.json"] = json!({"get": {
        "tags": ["machines"],
        "summary": "Describes this interface.",
        "operationId": "openapi",
        "responses": {"200": {
            "description": "This document.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }},
    }});
    document["components"]["schemas"]["Problem"]["properties"]["code"]["x-extensible-enum"] =
        Code::ALL.iter().map(|code| code.as_str()).collect();
    // Go's generators name a constant by its value, and `client` would be called as the client itself.
    let role = &mut document["components"]["schemas"]["Role"];
    role["x-enum-varnames"] = role["enum"]
        .as_array()
        .expect("the roles")
        .iter()
        .map(|word| format!("Role{}", capitalised(word.as_str().expect("a word"))))
        .collect();
    let schemas = document["components"]["schemas"].take();
    let mut schemas: BTreeMap<String, Value> =
        serde_json::from_value(schemas).expect("a map of schemas");
    schemas.insert(
        "PolicyPatch".to_owned(),
        schemas::patch_of(&schemas["Policy"]),
    );
    let paths = document["paths"].as_object_mut().expect("paths");
    paths["/v1/pools/{pool}"]["patch"]["requestBody"]["content"]["application/json"]["schema"] =
        json!({"$ref": format!("{SCHEMAS}PolicyPatch")});
    let examples = Examples::read();
    for (path, item) in paths.iter_mut() {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                operation::complete(path, method, operation, &schemas);
                examples.add_to(operation);
            }
        }
    }
    describe_refusals(&mut schemas);
    schemas.values_mut().for_each(schemas::without_sign);
    schemas::open_answers(paths, &mut schemas);
    document["components"]["schemas"] = json!(schemas);
    document["components"]["examples"] = json!(examples.of_problems());
}

/// Gives a result of many what the problem document of one would say of a refusal.
fn describe_refusals(schemas: &mut BTreeMap<String, Value>) {
    let members = schemas["Problem"]["properties"].clone();
    let result = schemas.get_mut("AcquireManyResult").expect("a schema");
    for name in [
        "outcome",
        "in_use",
        "capacity",
        "limit",
        "tenant",
        "platforms",
        "blocked_until",
        "reason",
    ] {
        result["properties"][name] = members[name].clone();
    }
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}
