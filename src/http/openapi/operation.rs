//! One operation: what its path, its parameters and its row in the access table say about it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::accept;
use super::super::access::{self, Needs};
use super::super::problem::MEDIA_TYPE;
use super::{SCHEMAS, schemas};
use crate::names::PoolName;

const PROBLEM: &str = "#/components/schemas/Problem";

/// Completes an operation with what no handler says.
pub(super) fn complete(
    path: &str,
    method: &str,
    operation: &mut Value,
    schemas: &BTreeMap<String, Value>,
) {
    let (needs, callers) = access::needs(path, method).unwrap_or_else(|| {
        panic!("{method} {path} has no rule in the access table, so nobody can use it")
    });
    describe(operation, &callers);
    complete_parameters(path, operation);
    complete_body(operation, schemas);
    complete_responses(path, method, operation, needs, schemas);
    operation["security"] = match needs {
        // A node in open mode asks for none.
        Needs::Key => json!([{}, {"bearer": []}]),
        Needs::Token | Needs::Nothing => json!([]),
    };
}

/// Says who may call it, below what the handler says.
fn describe(operation: &mut Value, callers: &str) {
    let own = operation["description"].as_str().unwrap_or_default();
    operation["description"] = json!(format!("{own}\n\n{callers}").trim_start());
}

/// Adds the parameters of the path, and the bounds of those that mean the same everywhere.
fn complete_parameters(path: &str, operation: &mut Value) {
    if operation["parameters"].is_null() {
        operation["parameters"] = json!([]);
    }
    let parameters = operation["parameters"].as_array_mut().expect("a list");
    let in_path = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(path_parameter(path, name))
    });
    parameters.splice(0..0, in_path);
    for parameter in parameters.iter_mut() {
        let (named, place) = (parameter["name"].clone(), parameter["in"].clone());
        let schema = &mut parameter["schema"];
        // An optional parameter is left out, never null. Rust's generators refuse two types.
        schemas::without_null(schema);
        if place != "query" {
            continue;
        }
        match named.as_str() {
            Some("pool") => *schema = pool_name(),
            Some("tz") => {
                *schema = json!({"type": "string", "minLength": 1, "example": "Europe/Zurich"});
            }
            // A day is one as well, and a time of the clocks of `tz`.
            Some("from" | "to" | "at") => {
                *schema = json!({"type": "string", "minLength": 1, "example": "2026-11-28"});
            }
            _ => {}
        }
    }
    if parameters.is_empty() {
        operation
            .as_object_mut()
            .expect("an operation")
            .remove("parameters");
    }
}

fn path_parameter(path: &str, name: &str) -> Value {
    let id = || json!({"type": "string", "pattern": "^[0-9A-Za-z_-]+$", "maxLength": 64});
    let (description, schema) = match name {
        "pool" => ("Name of the pool", pool_name()),
        "holder" => (
            "The holder, percent-encoded; `.` and `..` with a blank behind them (`..%20`), because clients fold them out of addresses",
            json!({"type": "string", "minLength": 1, "maxLength": 512}),
        ),
        "delivery" => ("Id of the delivery", id()),
        "id" if path.starts_with("/v1/keys/") => ("Id of the key", id()),
        "id" if path.starts_with("/v1/webhooks/") => ("Id of the webhook", id()),
        "id" if path.starts_with("/v1/sessions/") => ("Id of the session", id()),
        "id" if path.starts_with("/v1/alerts/snoozes/") => ("Id of the snooze", id()),
        "id" => ("Its id", id()),
        "alert" => (
            "The `alert` of one in `current`, percent-encoded",
            json!({"type": "string", "minLength": 1, "maxLength": 512, "example": "crm:pool.full:1795000000000"}),
        ),
        _ => panic!("{path}: say here what {name} is"),
    };
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
}

fn pool_name() -> Value {
    json!({
        "type": "string",
        "pattern": "^[A-Za-z0-9._-]+$",
        "minLength": 1,
        "maxLength": PoolName::MAX_LEN,
        "example": "crm",
    })
}

/// A body without a field that has to be in it can be left out.
fn complete_body(operation: &mut Value, schemas: &BTreeMap<String, Value>) {
    let Some(body) = operation.get_mut("requestBody") else {
        return;
    };
    let schema = named_schema(&body["content"], schemas);
    let needs_fields = schema
        .is_none_or(|schema| schema["required"].is_array() || schema["minProperties"].is_number());
    body["required"] = json!(needs_fields);
}

/// Adds the answers that no handler names, and to each answer what comes with its status.
fn complete_responses(
    path: &str,
    method: &str,
    operation: &mut Value,
    needs: Needs,
    schemas: &BTreeMap<String, Value>,
) {
    let is_a_table = |parameter: &Value| parameter["name"] == "format";
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let forms = parameters.clone().find(|parameter| is_a_table(parameter));
    let forms = forms.map_or(json!([]), |parameter| parameter["schema"]["enum"].clone());
    let asks = parameters.count() > 0;
    let body = operation.get("requestBody").is_some();
    let responses = operation["responses"]
        .as_object_mut()
        .expect("a map of answers");
    let not_found = not_found(path, method).map(|codes| ("404", codes));
    // A route of the interface that takes no parameters refuses those that come.
    let asks = asks || (needs != Needs::Nothing && path.starts_with("/v1/"));
    for (status, description) in edge_answers(needs, body, asks).chain(not_found) {
        responses
            .entry(status)
            .or_insert_with(|| json!({"description": description}));
    }
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5', 'd']) {
            complete_problem(status, response);
        } else {
            complete_success(response, schemas, &forms);
        }
    }
}

/// The codes of what may not be there, by the names in the path.
fn not_found(path: &str, method: &str) -> Option<&'static str> {
    let creates = method == "put" && path.ends_with("/{pool}");
    let ticket_says_all = path.ends_with("/queue/leave");
    if creates || ticket_says_all {
        None
    } else if path.contains("/named") {
        Some("`pool_not_found` or `named_seat_not_found`")
    } else if path.starts_with("/v1/alerts/{alert}/") {
        Some("`alert_not_found`")
    } else if path.contains("{delivery}") {
        Some("`webhook_not_found` or `delivery_not_found`")
    } else if path.contains("/webhooks/{id}") {
        Some("`webhook_not_found`")
    } else if path.contains("/keys/{id}") {
        Some("`key_not_found`")
    } else if path.contains("/sessions/{id}") {
        Some("`session_not_found`")
    } else if path.contains("{pool}") {
        Some("`pool_not_found`")
    } else {
        None
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
        (body, "413", "`payload_too_large`, with `limit_bytes`"),
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

/// Gives an answer the description that OpenAPI requires (that of its schema, where the handler has none of its own), its
/// other forms, and the ETag of a pool.
fn complete_success(response: &mut Value, schemas: &BTreeMap<String, Value>, forms: &Value) {
    if response["description"].as_str().is_none_or(str::is_empty) {
        let named = named_schema(&response["content"], schemas)
            .and_then(|schema| schema["description"].as_str());
        response["description"] =
            json!(named.expect("an answer without a schema of its own describes itself"));
    }
    let fields = response.as_object_mut().expect("an answer");
    let Some(content) = fields
        .get_mut("content")
        .filter(|content| !content.is_null())
    else {
        fields.remove("content");
        return;
    };
    for form in forms.as_array().into_iter().flatten() {
        let media_type = match form.as_str() {
            Some("csv") => accept::CSV,
            Some("jsonl") => accept::JSON_LINES,
            _ => continue,
        };
        content[media_type] = json!({"schema": {"type": "string"}});
    }
    // A generator cannot decode a stream as one object; its events have schemas of their own.
    if let Some(stream) = content.get_mut("text/event-stream") {
        let event = stream["schema"]["$ref"].as_str();
        let event = event.and_then(|event| schemas.get(event.strip_prefix(SCHEMAS)?));
        stream["schema"] = json!({"type": "string", "contentSchema": event});
    }
    if content[accept::JSON]["schema"]["$ref"] == format!("{SCHEMAS}Pool") {
        fields.insert(
            "headers".to_owned(),
            json!({"ETag": {"description": "Version of the policy, for `If-Match`", "schema": {"type": "string"}}}),
        );
    }
}

/// The schema that a body in JSON refers to.
fn named_schema<'a>(content: &Value, schemas: &'a BTreeMap<String, Value>) -> Option<&'a Value> {
    let reference = content[accept::JSON]["schema"]["$ref"].as_str()?;
    schemas.get(reference.strip_prefix(SCHEMAS)?)
}
