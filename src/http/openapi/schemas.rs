//! Schemas, made such that generators read them right.
//!
//! Several generators refuse a member that the schema does not have, and a later release adds some. Others, told that an
//! object is open, send what nobody reads. So answers are open, requests say nothing, and a schema that is in both becomes
//! two.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{METHODS, SCHEMAS};

/// A change of what a schema describes: every field can be left out.
pub(super) fn patch_of(schema: &Value) -> Value {
    let mut patch = schema.clone();
    patch["description"] = json!("The fields to change. What is left out stays as it is.");
    if let Some(members) = patch.as_object_mut() {
        members.remove("required");
    }
    patch
}

/// Removes null from the types of a value that is left out when it is unknown.
pub(super) fn without_null(schema: &mut Value) {
    let Some(types) = schema["type"].as_array() else {
        return;
    };
    let mut types = types.iter().filter(|kind| *kind != "null");
    if let (Some(one), None) = (types.next().cloned(), types.next()) {
        schema["type"] = one;
    }
}

/// Takes out what utoipa says of a number without a sign: that it is a signed one, of which half the values are none.
pub(super) fn without_sign(schema: &mut Value) {
    each_object(schema, &mut |members| {
        let is_unsigned = members.get("minimum").and_then(Value::as_u64).is_some();
        let is_bounded = members.contains_key("maximum");
        if is_unsigned && !is_bounded && members.get("format") == Some(&json!("int32")) {
            members.remove("format");
        }
    });
}

/// Opens every object of an answer, parts the schemas that are in requests too, and drops those that are in nothing.
pub(super) fn open_answers(paths: &mut Map<String, Value>, schemas: &mut BTreeMap<String, Value>) {
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
    let parts = schemas.clone();
    for name in &answered {
        let schema = schemas.get_mut(name).expect("a schema");
        flatten(schema, &parts);
        open(schema);
    }
    for operation in operations_mut(paths) {
        if let Some(responses) = operation.get_mut("responses") {
            flatten(responses, &parts);
            open(responses);
        }
        if let Some(body) = operation.get_mut("requestBody") {
            rename(body, &two_ways);
        }
    }
    let mut used = BTreeSet::new();
    operations(paths).for_each(|operation| references(operation, &mut used));
    let used = reachable(used, schemas);
    schemas.retain(|name, _| used.contains(name));
}

/// Makes one object of parts. Of an open one with parts, generators for Python and TypeScript make code that does not run; of one that
/// is not open, a generator for Go makes code that refuses what a later release adds.
fn flatten(schema: &mut Value, parts: &BTreeMap<String, Value>) {
    each_object(schema, &mut |members| {
        if let Some(Value::Array(composed)) = members.remove("allOf") {
            members.insert("type".to_owned(), json!("object"));
            composed
                .iter()
                .for_each(|part| take_in(part, parts, members));
        }
    });
}

/// Adds what a part says, or the parts that it has itself.
fn take_in(part: &Value, parts: &BTreeMap<String, Value>, whole: &mut Map<String, Value>) {
    let named = part["$ref"].as_str();
    let part = match named.and_then(|named| named.strip_prefix(SCHEMAS)) {
        Some(name) => &parts[name],
        None => part,
    };
    for inner in part["allOf"].as_array().into_iter().flatten() {
        take_in(inner, parts, whole);
    }
    let properties = whole.entry("properties").or_insert_with(|| json!({}));
    for (name, schema) in part["properties"].as_object().into_iter().flatten() {
        properties[name] = schema.clone();
    }
    let required = part["required"].as_array().into_iter().flatten().cloned();
    let all = whole.entry("required").or_insert_with(|| json!([]));
    all.as_array_mut().expect("names").extend(required);
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
