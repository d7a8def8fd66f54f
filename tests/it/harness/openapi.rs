//! The OpenAPI document, held against every answer that a test gets.
//!
//! A client may meet fields that the document does not have, because a later release adds some. Here none may come: what a
//! node answers today is what its own document says. Tables and pages are compared by content type only. Tests that read a stream
//! hold its events against the document with [`violation_of_event`].

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Registry, Validator};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

/// Where the document lies for the validator; nothing is fetched.
const ADDRESS: &str = "urn:leasehold:openapi";
/// What a fragment of an address cannot have as it is (RFC 3986).
const FRAGMENT: &AsciiSet = &CONTROLS.add(b'{').add(b'}').add(b'%').add(b' ').add(b'"');

/// How an answer differs from the document; none if it does not.
pub(crate) fn violation(
    method: &Method,
    path: &str,
    status: u16,
    headers: &HeaderMap,
    body: &Value,
) -> Option<String> {
    // The router of the tests would forgive an empty step. A node has nothing there.
    if path.contains("//") {
        return (status != 404).then(|| format!("{path} is not in the document"));
    }
    let base = path.find("/v1/").unwrap_or(0);
    INTERFACE
        .check(method, &path[base..], status, headers, body)
        .err()
}

/// What is wrong about an event of a stream; nothing if all is right.
pub(crate) fn violation_of_event(path: &str, event: &Value) -> Option<String> {
    INTERFACE.check_event(path, event).err()
}

static INTERFACE: LazyLock<Interface> = LazyLock::new(Interface::new);

struct Interface {
    /// The document, with every object closed.
    document: Value,
    /// The templates of the document, by the paths that they are for.
    paths: matchit::Router<String>,
    registry: Registry<'static>,
    /// By the schema's place in the document. Most answers share a few.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Interface {
    fn new() -> Self {
        let document = closed(leasehold::http::openapi());
        let mut paths = matchit::Router::new();
        for path in document["paths"].as_object().expect("paths").keys() {
            paths
                .insert(path, path.clone())
                .expect("no two templates are for the same paths");
        }
        let registry = Registry::new()
            .add(ADDRESS, document.clone())
            .expect("an address")
            .prepare()
            .expect("a document whose references lead somewhere");
        Self {
            document,
            paths,
            registry,
            validators: Mutex::default(),
        }
    }

    fn check(
        &self,
        method: &Method,
        path: &str,
        status: u16,
        headers: &HeaderMap,
        body: &Value,
    ) -> Result<(), String> {
        let Ok(matched) = self.paths.at(path) else {
            // Pages and files are no part of the interface.
            let nowhere = status == 404 || !path.starts_with("/v1/");
            return nowhere
                .then_some(())
                .ok_or_else(|| format!("{path} is not in the document"));
        };
        let path = matched.value;
        let word = match *method {
            Method::HEAD => "get".to_owned(),
            _ => method.as_str().to_lowercase(),
        };
        let operation = &self.document["paths"][path][&word];
        if operation.is_null() {
            let refused = status == 405 || *method == Method::OPTIONS;
            return refused
                .then_some(())
                .ok_or_else(|| format!("{word} {path} is not in the document"));
        }
        let response = &operation["responses"][status.to_string()];
        if response.is_null() {
            return Err(format!("{word} {path} has no answer {status}"));
        }
        let sent = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .and_then(|kind| kind.split(';').next())
            .unwrap_or_default();
        let Some(content) = response["content"].as_object() else {
            return match sent {
                "" => Ok(()),
                _ => Err(format!(
                    "{word} {path}: {status} has no body, but {sent} came"
                )),
            };
        };
        if !content.contains_key(sent) {
            return Err(format!("{word} {path}: {status} is not of type {sent:?}"));
        }
        if *method == Method::HEAD || !sent.ends_with("json") {
            return Ok(());
        }
        let pointer = format!(
            "/paths/{}/{word}/responses/{status}/content/{}/schema",
            path.replace('/', "~1"),
            sent.replace('/', "~1"),
        );
        self.conforms(&pointer, body).map_err(|faults| {
            format!("{word} {path}: {status} is not as its schema says: {faults}")
        })
    }

    fn check_event(&self, path: &str, event: &Value) -> Result<(), String> {
        let matched = self.paths.at(path).expect("the path of a stream");
        let pointer = format!(
            "/paths/{}/get/responses/200/content/text~1event-stream/schema/contentSchema",
            matched.value.replace('/', "~1"),
        );
        self.conforms(&pointer, event)
            .map_err(|faults| format!("{path}: an event is not as its schema says: {faults}"))
    }

    fn conforms(&self, pointer: &str, value: &Value) -> Result<(), String> {
        let validator = self.validator(pointer);
        let faults: Vec<String> = validator
            .iter_errors(value)
            .take(5)
            .map(|fault| format!("at {:?}: {fault}", fault.instance_path().as_str()))
            .collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(faults.join("; "))
    }

    fn validator(&self, pointer: &str) -> Arc<Validator> {
        let schema = self.document.pointer(pointer).expect("a schema");
        let place = match schema["$ref"].as_str() {
            Some(reference) => reference.to_owned(),
            None => format!("#{}", utf8_percent_encode(pointer, FRAGMENT)),
        };
        let mut validators = self.validators.lock().expect("no test panics in here");
        let validator = validators.entry(place).or_insert_with_key(|place| {
            let mut schema = json!({"$ref": format!("{ADDRESS}{place}")});
            close(&self.document, &mut schema, Part::Whole);
            let validator = jsonschema::options()
                .with_registry(&self.registry)
                .should_validate_formats(true)
                .build(&schema);
            Arc::new(validator.expect("a schema"))
        });
        Arc::clone(validator)
    }
}

/// Whether a schema is all that is said about an object.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Whole,
    /// One of `allOf`, or a named schema: what refers to it adds the rest.
    Some,
}

/// The document without the promise that answers may have more members than it names.
fn closed(document: &Value) -> Value {
    let mut closed = document.clone();
    let schemas = closed["components"]["schemas"].as_object_mut();
    for schema in schemas.expect("schemas").values_mut() {
        close(document, schema, Part::Some);
    }
    let paths = closed["paths"].as_object_mut().expect("paths");
    for path in paths.values_mut() {
        let stream =
            path.pointer_mut("/get/responses/200/content/text~1event-stream/schema/contentSchema");
        if let Some(event) = stream {
            close(document, event, Part::Some);
        }
    }
    closed
}

fn close(document: &Value, schema: &mut Value, part: Part) {
    let whole = part == Part::Whole && names_members(document, schema);
    let Some(keywords) = schema.as_object_mut() else {
        return;
    };
    if keywords.get("additionalProperties") == Some(&json!(true)) {
        keywords.remove("additionalProperties");
    }
    for (keyword, value) in keywords.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(members)) => {
                members
                    .values_mut()
                    .for_each(|member| close(document, member, Part::Whole));
            }
            ("items" | "additionalProperties", schema) => close(document, schema, Part::Whole),
            ("oneOf" | "anyOf", Value::Array(choices)) => {
                choices
                    .iter_mut()
                    .for_each(|choice| close(document, choice, part));
            }
            ("allOf", Value::Array(parts)) => {
                parts
                    .iter_mut()
                    .for_each(|schema| close(document, schema, Part::Some));
            }
            _ => {}
        }
    }
    if whole {
        keywords.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}

/// Whether a schema names members, itself or where it leads.
fn names_members(document: &Value, schema: &Value) -> bool {
    match schema["$ref"]
        .as_str()
        .and_then(|reference| reference.split_once('#'))
    {
        Some((_, pointer)) => {
            let pointer = percent_decode_str(pointer)
                .decode_utf8()
                .expect("a pointer");
            names_members(document, document.pointer(&pointer).expect("a schema"))
        }
        None => schema["properties"].is_object() || schema["allOf"].is_array(),
    }
}
