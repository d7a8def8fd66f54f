//! The reference of the interface as pages, made from the OpenAPI document that the node serves: what they say is what programs read.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::frame::{commands, whole};
use super::markdown;
use crate::http::extract::Path;
use crate::http::openapi;
use crate::http::problem::{Code, Problem, TYPES};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One method of one path.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    described: &'a Value,
}

impl<'a> Operation<'a> {
    fn all(document: &'a Value) -> impl Iterator<Item = Self> {
        let paths = document["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| {
                item.get(method).map(|described| Self {
                    method,
                    path,
                    described,
                })
            })
        })
    }

    fn tag(&self) -> &'a str {
        self.described["tags"][0].as_str().unwrap_or("other")
    }

    fn id(&self) -> &'a str {
        self.described["operationId"].as_str().unwrap_or_default()
    }

    fn name(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }

    fn address(&self) -> String {
        format!("/docs/api/{}#{}", self.tag(), self.id())
    }

    /// Whether it takes a key; some take one and go without.
    fn takes_a_key(&self) -> bool {
        let security = self.described["security"].as_array();
        security.is_none_or(|ways| !ways.is_empty())
    }

    /// Content of the request, its type first.
    fn body(&self) -> Option<(&'a String, &'a Value)> {
        let content = self.described["requestBody"]["content"].as_object();
        content.and_then(|content| content.iter().next())
    }

    fn parameters(&self) -> impl Iterator<Item = &'a Value> {
        self.described["parameters"]
            .as_array()
            .into_iter()
            .flatten()
    }

    /// A call that a shell can make.
    fn curl(&self) -> String {
        let mut path = self.path.to_owned();
        for parameter in self
            .parameters()
            .filter(|parameter| parameter["in"] == "path")
        {
            let name = parameter["name"].as_str().unwrap_or_default();
            let value = match &parameter["schema"]["example"] {
                Value::String(example) => example.clone(),
                Value::Null => name.to_uppercase(),
                other => other.to_string(),
            };
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        let method = match (self.method, self.body()) {
            ("get", _) | ("post", Some(_)) => String::new(),
            (method, _) => format!("-X {} ", method.to_uppercase()),
        };
        let mut text = format!("curl {method}\"$LEASEHOLD_SERVER{path}\"");
        if self.takes_a_key() {
            text.push_str(" \\\n  -H \"authorization: Bearer $LEASEHOLD_KEY\"");
        }
        if let Some((kind, content)) = self.body() {
            let example = example_in(content).unwrap_or_else(|| Value::Object(Map::new()));
            let example = example.to_string().replace('\'', "'\\''");
            text.push_str(&format!(
                " \\\n  -H 'content-type: {kind}' \\\n  -d '{example}'"
            ));
        }
        text
    }
}

/// The example in a content, the first where there are several.
fn example_in(content: &Value) -> Option<Value> {
    if let Some(example) = content.get("example") {
        return Some(example.clone());
    }
    let (_, first) = content["examples"].as_object()?.iter().next()?;
    let first = match first["$ref"].as_str() {
        Some(name) => &openapi()["components"]["examples"][name.rsplit('/').next()?],
        None => first,
    };
    first.get("value").cloned()
}

/// A problem of this code as a node answers it.
pub(super) fn example_of(code: Code) -> Option<String> {
    let example = &openapi()["components"]["examples"][code.as_str()]["value"];
    let pretty = serde_json::to_string_pretty(example).ok();
    pretty.filter(|_| !example.is_null())
}

/// Addresses and names of the operations that can answer this code.
pub(super) fn operations_that_answer(code: &str) -> Vec<(String, String)> {
    let word = format!("`{code}`");
    let answers = |operation: &Operation<'_>| {
        let responses = operation.described["responses"].as_object();
        responses.into_iter().flatten().any(|(_, response)| {
            let description = response["description"].as_str();
            description.is_some_and(|text| text.contains(&word))
        })
    };
    Operation::all(openapi())
        .filter(answers)
        .map(|operation| (operation.address(), operation.name()))
        .collect()
}

/// What there is, by subject.
pub(super) async fn list() -> Response {
    let document = openapi();
    let body = html! {
        h1 { "Interface" }
        (text(&document["info"]["description"]))
        p {
            "Version " (document["info"]["version"].as_str().unwrap_or_default()) ". The same for programs: "
            a href="/v1/openapi.json" { code { "/v1/openapi.json" } } " (OpenAPI 3.1). "
            a href="/docs/errors" { "Error codes" } " · " a href="/docs/api/schemas" { "Objects" } " · "
            a href="/docs/runbooks" { "Runbooks" }
        }
        @for tag in document["tags"].as_array().into_iter().flatten() {
            @let name = tag["name"].as_str().unwrap_or_default();
            section {
                h2 { a href=(format!("/docs/api/{name}")) { (name) } }
                (text(&tag["description"]))
                table {
                    tbody {
                        @for operation in Operation::all(document).filter(|operation| operation.tag() == name) {
                            tr {
                                th scope="row" { a href=(operation.address()) { code { (operation.name()) } } }
                                td { (codes(operation.described["summary"].as_str().unwrap_or_default())) }
                            }
                        }
                    }
                }
            }
        }
    };
    whole(StatusCode::OK, "Interface", &html! {}, &body)
}

/// One subject, with everything about its operations; or all objects.
pub(super) async fn show(Path(tag): Path<String>) -> Result<Response, Problem> {
    let document = openapi();
    if tag == "schemas" {
        return Ok(schemas(document));
    }
    let operations: Vec<_> = Operation::all(document)
        .filter(|operation| operation.tag() == tag)
        .collect();
    if operations.is_empty() {
        let detail = "There is no such part of the interface. /docs/api lists them.";
        return Err(Problem::new(Code::RouteNotFound, detail));
    }
    let body = html! {
        p.crumbs { a href="/docs/api" { "Interface" } " / " (tag) }
        h1 { (tag) }
        ul {
            @for operation in &operations {
                li { a href=(format!("#{}", operation.id())) { code { (operation.name()) } } " " (operation.described["summary"].as_str().unwrap_or_default()) }
            }
        }
        @for operation in &operations { (described(operation)) }
    };
    Ok(whole(StatusCode::OK, &tag, &html! {}, &body))
}

fn described(operation: &Operation<'_>) -> Markup {
    let parameters: Vec<_> = operation.parameters().collect();
    let responses = operation.described["responses"].as_object();
    html! {
        section id=(operation.id()) {
            h2 { code { (operation.name()) } }
            p { strong { (operation.described["summary"].as_str().unwrap_or_default()) } }
            (text(&operation.described["description"]))
            @if !parameters.is_empty() {
                div.scroll tabindex="0" {
                    table {
                        caption { "Parameters" }
                        tbody {
                            @for parameter in parameters {
                                (field(
                                    parameter["name"].as_str().unwrap_or_default(),
                                    &parameter["schema"],
                                    parameter["required"] == true,
                                    &parameter["description"],
                                ))
                            }
                        }
                    }
                }
            }
            @if let Some((kind, content)) = operation.body() {
                (fields(&content["schema"], &format!("Body, {kind}")))
            }
            (commands(&operation.curl()))
            @for (status, response) in responses.into_iter().flatten() {
                @let content = response["content"].as_object().and_then(|content| content.iter().next());
                details.data open[status.starts_with('2') && content.is_some()] {
                    @let about = response["description"].as_str().unwrap_or_default();
                    // A summary opens its details, so it has no links in it.
                    summary { strong { (status) } " " (words(about)) }
                    @let codes: Vec<&str> = codes_in(about).collect();
                    @if !codes.is_empty() {
                        p { "What it means: " @for (at, code) in codes.iter().enumerate() { @if at > 0 { ", " } (link_to(code)) } }
                    }
                    @if let Some((kind, content)) = content {
                        p { (kind) ", " (type_of(&content["schema"])) }
                        @if let Some(example) = example_in(content) {
                            (commands(&match example {
                                Value::String(text) => text,
                                other => serde_json::to_string_pretty(&other).unwrap_or_default(),
                            }))
                        }
                    }
                }
            }
        }
    }
}

/// All objects by name.
fn schemas(document: &Value) -> Response {
    let schemas = document["components"]["schemas"].as_object();
    let body = html! {
        p.crumbs { a href="/docs/api" { "Interface" } " / Objects" }
        h1 { "Objects" }
        @for (name, schema) in schemas.into_iter().flatten() {
            section id=(name) {
                h2 { code { (name) } }
                (text(&schema["description"]))
                @if schema.get("properties").is_some() {
                    (fields(schema, "Fields"))
                } @else {
                    p { (type_of(schema)) }
                }
            }
        }
    };
    whole(StatusCode::OK, "Objects", &html! {}, &body)
}

/// The fields of an object, those of what it is made of too.
fn fields(schema: &Value, caption: &str) -> Markup {
    let schema = resolved(schema);
    let mut rows = Vec::new();
    let mut required = BTreeSet::new();
    collect(schema, &mut rows, &mut required);
    if rows.is_empty() {
        return html! { p { (caption) ": " (type_of(schema)) } };
    }
    html! {
        div.scroll tabindex="0" {
            table {
                caption { (caption) }
                tbody {
                    @for (name, schema) in rows {
                        (field(name, schema, required.contains(name), &schema["description"]))
                    }
                }
            }
        }
    }
}

fn collect<'a>(
    schema: &'a Value,
    rows: &mut Vec<(&'a str, &'a Value)>,
    required: &mut BTreeSet<&'a str>,
) {
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect(resolved(part), rows, required);
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    rows.extend(properties.map(|(name, schema)| (name.as_str(), schema)));
    let names = schema["required"].as_array().into_iter().flatten();
    required.extend(names.filter_map(Value::as_str));
}

fn field(name: &str, schema: &Value, required: bool, description: &Value) -> Markup {
    html! {
        tr {
            th scope="row" { code { (name) } @if required { span.quiet { " required" } } }
            td { (type_of(schema)) }
            td { (text(description)) }
        }
    }
}

/// What a schema names, if it names one.
fn resolved(schema: &Value) -> &Value {
    let name = schema["$ref"]
        .as_str()
        .and_then(|name| name.rsplit('/').next());
    name.map_or(schema, |name| &openapi()["components"]["schemas"][name])
}

/// The type in a few words, with a link where it has a name.
fn type_of(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|name| name.rsplit('/').next())
    {
        return html! { a href=(format!("/docs/api/schemas#{name}")) { code { (name) } } };
    }
    for word in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[word].as_array() {
            let between = if word == "allOf" { " and " } else { " or " };
            return html! {
                @for (at, part) in parts.iter().enumerate() {
                    @if at > 0 { (between) }
                    (type_of(part))
                }
            };
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return html! {
            @for (at, word) in words.iter().enumerate() {
                @if at > 0 { ", " }
                code { (word.as_str().map_or_else(|| word.to_string(), str::to_owned)) }
            }
        };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec!["anything"],
    };
    let range = match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => String::new(),
        (least, Value::Null) => format!(", from {least}"),
        (Value::Null, most) => format!(", up to {most}"),
        (least, most) => format!(", {least} to {most}"),
    };
    html! {
        @if types.contains(&"array") { "list of " (type_of(&schema["items"])) @if types.contains(&"null") { " or null" } }
        @else if let (true, Some(of)) = (types.contains(&"object"), schema.get("additionalProperties").filter(|of| of.is_object())) {
            "object of " (type_of(of))
        }
        @else { (types.join(" or ")) }
        @if let Some(format) = schema["format"].as_str() { ", " (format) }
        (range)
        @if let Some(default) = schema.get("default") { ", default " code { (default) } }
    }
}

/// A description, in Markdown as OpenAPI has it.
fn text(description: &Value) -> Markup {
    let lead = |to: &str| to.starts_with("https://").then(|| to.to_owned());
    markdown::to_html(description.as_str().unwrap_or_default(), lead)
}

/// Whether a word is a code, and so has a page of its own.
fn is_code(word: &str) -> bool {
    Code::ALL.iter().any(|code| code.as_str() == word)
}

/// The codes in the backticks of a line.
fn codes_in(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split('`').skip(1).step_by(2);
    words.filter(|word| is_code(word))
}

fn link_to(code: &str) -> Markup {
    html! { a href=(format!("{TYPES}{code}")) { code { (code) } } }
}

/// A line in which codes in backticks lead to their pages.
fn codes(line: &str) -> Markup {
    marked(line, true)
}

/// A line with its words in backticks as they are in code.
fn words(line: &str) -> Markup {
    marked(line, false)
}

fn marked(line: &str, leads: bool) -> Markup {
    html! {
        @for (at, part) in line.split('`').enumerate() {
            @if at % 2 == 0 { (part) }
            @else if leads && is_code(part) { (link_to(part)) }
            @else { code { (part) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_on_a_page_with_a_call() {
        let tags: BTreeSet<&str> = openapi()["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tag| tag["name"].as_str())
            .collect();
        let mut count = 0;
        for operation in Operation::all(openapi()) {
            count += 1;
            assert!(tags.contains(operation.tag()), "{}", operation.name());
            assert!(!operation.id().is_empty(), "{}", operation.name());
            let curl = operation.curl();
            assert!(!curl.contains('{') || curl.contains("-d '{"), "{curl}");
            let page = described(&operation).into_string();
            assert!(page.contains("<summary>"), "{}", operation.name());
            let summaries = page.split("<summary>").skip(1);
            let summaries = summaries.filter_map(|rest| rest.split("</summary>").next());
            assert!(
                summaries
                    .into_iter()
                    .all(|summary| !summary.contains("<a "))
            );
        }
        assert!(count > 50);
    }

    #[test]
    fn a_code_is_on_the_pages_of_those_who_answer_it() {
        let full = operations_that_answer("pool_full");
        let acquire = full
            .iter()
            .any(|(_, name)| name == "POST /v1/pools/{pool}/leases");
        assert!(acquire, "{full:?}");
        assert!(example_of(Code::PoolFull).is_some_and(|example| example.contains(TYPES)));
    }
}
