//! Examples of requests and answers, as a node said them; only secrets are cut short.
//!
//! They are kept by operation: the body of a request under `request`, the answers under their statuses. A problem has one example,
//! which all the answers share that name its code. The tests hold each against its schema, and send the requests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::accept;
use super::super::problem::{Code, MEDIA_TYPE, TYPES};

/// What `examples.json` holds.
#[derive(Deserialize)]
pub(super) struct Examples {
    operations: BTreeMap<String, BTreeMap<String, Value>>,
    /// By code: what a problem says besides the code and what follows from it.
    problems: BTreeMap<String, Map<String, Value>>,
}

impl Examples {
    pub(super) fn read() -> Self {
        serde_json::from_str(include_str!("examples.json")).expect("examples by operation and code")
    }

    /// Shows an operation's request and its answers.
    pub(super) fn add_to(&self, operation: &mut Value) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        for (of, example) in self.operations.get(id).into_iter().flatten() {
            let body = match of.as_str() {
                "request" => &mut operation["requestBody"],
                status => &mut operation["responses"][status],
            };
            body["content"][accept::JSON]["example"] = example.clone();
        }
        let responses = operation["responses"].as_object_mut();
        for (status, response) in responses.expect("a map of answers") {
            let named =
                codes(status, response).filter(|code| self.problems.contains_key(code.as_str()));
            let examples: Map<String, Value> = named
                .map(|code| {
                    let place = format!("#/components/examples/{}", code.as_str());
                    (code.as_str().to_owned(), json!({"$ref": place}))
                })
                .collect();
            if !examples.is_empty() {
                response["content"][MEDIA_TYPE]["examples"] = json!(examples);
            }
        }
    }

    /// The problems, for `components`.
    pub(super) fn of_problems(&self) -> Map<String, Value> {
        let known = Code::ALL.iter().filter_map(|code| {
            let mut problem = json!({
                "type": format!("{TYPES}{}", code.as_str()),
                "title": code.title(),
                "status": code.status().as_u16(),
                "code": code.as_str(),
            });
            let own = self.problems.get(code.as_str())?;
            problem.as_object_mut()?.extend(own.clone());
            let example = json!({"summary": code.title(), "value": problem});
            Some((code.as_str().to_owned(), example))
        });
        known.collect()
    }
}

/// The codes of a status that an answer names.
fn codes<'a>(status: &'a str, response: &'a Value) -> impl Iterator<Item = Code> + 'a {
    let text = response["description"].as_str().unwrap_or_default();
    Code::ALL.iter().copied().filter(move |code| {
        status == code.status().as_str() && text.contains(&format!("`{}`", code.as_str()))
    })
}
