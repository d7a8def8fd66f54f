//! The OpenAPI document: what the handlers say about themselves, completed by what is the same for all of them.
//!
//! A handler names its own answers. The answers that the edge gives come from the access table, which knows what each
//! route needs, so no handler repeats them and none can forget one. The rest is for generators, whose habits decide
//! what a client can read: each mend below says which kind of generator needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::access::{self, Credentials, Needs};
use super::problem::{Code, MEDIA_TYPE, ProblemDocument};
use super::{api, machines};
use crate::names::PoolName;

const PROBLEM: &str = "#/components/schemas/Problem";
const SCHEMAS: &str = "#/components/schemas/";
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// What every answer of the interface is about; the text at the top of the document.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Leasehold",
        description = "Seat leases: acquire a seat, keep it with heartbeats, give it back. Timestamps are RFC 3339 in UTC, \
                       durations are milliseconds. Errors are problem documents (RFC 9457) with a stable `code`. Clients \
                       must ignore fields and codes that they do not know."
    ),
    tags(
        (name = "leases", description = "For holders and operators: seats that are held."),
        (name = "pools", description = "For operators: sets of seats, and their policy."),
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
    let schemas = document["components"]["schemas"].take();
    let mut schemas: BTreeMap<String, Value> =
        serde_json::from_value(schemas).expect("a map of schemas");
    schemas.insert("PolicyPatch".to_owned(), patch_of(&schemas["Policy"]));
    let paths = document["paths"].as_object_mut().expect("paths");
    paths["/v1/pools/{pool}"]["patch"]["requestBody"]["content"]["application/json"]["schema"] =
        json!({"$ref": format!("{SCHEMAS}PolicyPatch")});
    for (path, item) in paths.iter_mut() {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                complete_operation(path, method, operation, &schemas);
            }
        }
    }
    open_answers(paths, &mut schemas);
    document["components"]["schemas"] = json!(schemas);
}

/// A change of what a schema describes: every field can be left out.
fn patch_of(schema: &Value) -> Value {
    let mut patch = schema.clone();
    patch["description"] = json!("The fields to change. What is left out stays as it is.");
    if let Some(members) = patch.as_object_mut() {
        members.remove("required");
    }
    patch
}

/// Adds the answers of the edge, and what each answer has to have.
fn complete_operation(
    path: &str,
    method: &str,
    operation: &mut Value,
    schemas: &BTreeMap<String, Value>,
) {
    let needs = access::needs(path, method).unwrap_or_else(|| {
        panic!("{method} {path} has no rule in the access table, so nobody can use it")
    });
    let body = operation.get("requestBody").is_some();
    let parameters = operation.get("parameters").is_some();
    let responses = operation["responses"]
        .as_object_mut()
        .expect("a map of answers");
    for (status, description) in edge_answers(needs, body, parameters) {
        responses
            .entry(status)
            .or_insert_with(|| json!({"description": description}));
    }
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5', 'd']) {
            complete_problem(status, response);
        } else {
            complete_success(response, schemas);
        }
    }
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if parameter["in"] == "path" && parameter["name"] == "pool" {
            parameter["schema"] = json!({
                "type": "string",
                "pattern": "^[A-Za-z0-9._-]+$",
                "minLength": 1,
                "maxLength": PoolName::MAX_LEN,
            });
        }
        // An optional parameter is left out, never null. Rust's generators refuse two types.
        if let Some(schema) = parameter.get_mut("schema") {
            without_null(schema);
        }
    }
    if needs == Needs::Key {
        operation["security"] = json!([{}, {"bearer": []}]);
    } else {
        operation["security"] = json!([]);
    }
}

/// The answers that come before a handler is asked, or that any handler can give.
fn edge_answers(
    needs: Needs,
    body: bool,
    parameters: bool,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let key = needs == Needs::Key;
    let token = needs == Needs::Token;
    let store = needs != Needs::Nothing;
    [
        (body || parameters, "400", "`invalid_request`"),
        (key, "401", "`unauthorized`"),
        (token, "401", "`invalid_token`"),
        (key, "403", "`forbidden` or `origin_not_allowed`"),
        (body, "408", "`request_timeout`"),
        (body, "413", "`payload_too_large`"),
        (body && !token, "415", "`unsupported_media_type`"),
        (key, "429", "`too_many_requests`"),
        (true, "431", "`headers_too_large`"),
        (
            store,
            "503",
            "`store_unavailable`, with `outcome`, or `overloaded`",
        ),
        (!store, "503", "`overloaded`"),
        (true, "default", "Any other problem."),
    ]
    .into_iter()
    .filter_map(|(given, status, description)| given.then_some((status, description)))
}

/// Gives an error answer its body and the headers that come with its status.
fn complete_problem(status: &str, response: &mut Value) {
    if response.get("content").is_none() {
        response["content"] = json!({MEDIA_TYPE: {"schema": {"$ref": PROBLEM}}});
    }
    let header = |text: &str, kind: &str| json!({"description": text, "schema": {"type": kind}});
    match status {
        "401" => {
            response["headers"]["WWW-Authenticate"] =
                header("The scheme to use: `Bearer`.", "string");
        }
        "429" | "503" => {
            response["headers"]["Retry-After"] =
                header("When to ask again, in whole seconds.", "integer");
        }
        _ => {}
    }
}

/// Gives an answer the description that OpenAPI requires: that of its schema, where the handler has none of its own.
fn complete_success(response: &mut Value, schemas: &BTreeMap<String, Value>) {
    if response["description"].as_str().is_none_or(str::is_empty) {
        let named = response["content"]["application/json"]["schema"]["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix(SCHEMAS))
            .and_then(|name| schemas.get(name)?.get("description")?.as_str());
        response["description"] =
            json!(named.expect("an answer without a schema of its own describes itself"));
        if response["content"].is_null() {
            response
                .as_object_mut()
                .expect("an answer")
                .remove("content");
        }
    }
    // A stream has no schema that a generator could decode as a whole.
    if let Some(stream) = response
        .get_mut("content")
        .and_then(|content| content.get_mut("text/event-stream"))
    {
        stream["schema"] = json!({"type": "string"});
    }
}

fn without_null(schema: &mut Value) {
    let Some(types) = schema["type"].as_array() else {
        return;
    };
    let mut types = types.iter().filter(|kind| *kind != "null");
    if let (Some(one), None) = (types.next().cloned(), types.next()) {
        schema["type"] = one;
    }
}

/// Says of every object in an answer that it can have more fields: several generators refuse what they do not know,
/// and a later release adds fields. Of a request body nothing is said, because a generator that learns that it is
/// open sends what nobody reads. A schema that is in both therefore becomes two.
fn open_answers(paths: &mut Map<String, Value>, schemas: &mut BTreeMap<String, Value>) {
    let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for operation in operations(paths) {
        references(&operation["requestBody"], &mut asked);
        references(&operation["responses"], &mut answered);
    }
    let (asked, answered) = (reachable(asked, schemas), reachable(answered, schemas));
    // Words, and what refers to no object, mean the same both ways.
    let is_object = |name: &String| {
        let schema = &schemas[name];
        schema["type"] == "object" || schema.get("allOf").is_some()
    };
    let two_ways: BTreeSet<String> = asked.intersection(&answered).cloned().collect();
    let two_ways: BTreeSet<String> = two_ways.into_iter().filter(is_object).collect();

    for name in &two_ways {
        let mut request = schemas[name].clone();
        rename(&mut request, &two_ways);
        close_request(&mut request);
        schemas.insert(format!("{name}Request"), request);
    }
    for name in asked.difference(&two_ways) {
        let schema = schemas.get_mut(name).expect("a schema");
        rename(schema, &two_ways);
        close_request(schema);
    }
    for name in &answered {
        open(schemas.get_mut(name).expect("a schema"));
    }
    for operation in operations_mut(paths) {
        if let Some(body) = operation.get_mut("requestBody") {
            rename(body, &two_ways);
        }
    }
}

fn operations(paths: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    paths
        .values()
        .flat_map(|item| METHODS.iter().filter_map(|method| item.get(method)))
}

fn operations_mut(paths: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    paths.values_mut().flat_map(|item| {
        item.as_object_mut()
            .expect("a path item")
            .iter_mut()
            .filter(|(method, _)| METHODS.contains(&method.as_str()))
            .map(|(_, operation)| operation)
    })
}

fn references(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                match value.as_str().and_then(|text| text.strip_prefix(SCHEMAS)) {
                    Some(name) if member == "$ref" => {
                        names.insert(name.to_owned());
                    }
                    _ => references(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}

fn reachable(from: BTreeSet<String>, schemas: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next: Vec<String> = from.into_iter().collect();
    while let Some(name) = next.pop() {
        if let Some(schema) = schemas.get(&name)
            && found.insert(name)
        {
            let mut more = BTreeSet::new();
            references(schema, &mut more);
            next.extend(more);
        }
    }
    found
}

/// Points at the request's form of schemas that have two.
fn rename(value: &mut Value, two_ways: &BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members.iter_mut() {
                let name = value.as_str().and_then(|text| text.strip_prefix(SCHEMAS));
                match name {
                    Some(name) if member == "$ref" && two_ways.contains(name) => {
                        *value = json!(format!("{SCHEMAS}{name}Request"));
                    }
                    _ => rename(value, two_ways),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, two_ways)),
        _ => {}
    }
}

/// Takes out of a request's schema what makes generators wrong: a default, which some take for a required field, and the
/// word that it is closed. The node refuses unknown fields all the same.
fn close_request(schema: &mut Value) {
    each_object(schema, &mut |members| {
        members.remove("default");
        if members.get("additionalProperties") == Some(&json!(false)) {
            members.remove("additionalProperties");
        }
    });
}

fn open(schema: &mut Value) {
    each_object(schema, &mut |members| {
        if members.contains_key("properties") {
            members.insert("additionalProperties".to_owned(), json!(true));
        }
    });
}

/// Visits a schema and the schemas in it.
fn each_object(schema: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Object(members) => {
            visit(members);
            for (name, value) in members.iter_mut() {
                match (name.as_str(), value) {
                    // The members of `properties` are schemas, whatever they are called.
                    ("properties", Value::Object(properties)) => {
                        for property in properties.values_mut() {
                            each_object(property, visit);
                        }
                    }
                    ("example" | "examples" | "enum" | "const" | "default", _) => {}
                    (_, value) => each_object(value, visit),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                each_object(item, visit);
            }
        }
        _ => {}
    }
}
