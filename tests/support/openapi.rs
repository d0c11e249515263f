//! Holds requests and answers against the official OpenAPI document.
//!
//! The document is not part of this repository: `DEWPOINT_OPENAPI` names it, else it is looked for
//! beside the repository. Where it is missing, [`OpenApi::load`] says so and returns nothing, and
//! the test that wanted it passes without having held anything.
//!
//! OpenAPI 3.0 schemas are read as JSON Schema draft 4, which they descend from, after `nullable`
//! has been turned into a type of its own.
#![allow(dead_code, reason = "each test binary uses its own part of this file")]

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

/// The document, ready to judge.
pub struct OpenApi {
    document: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// Where the document is looked for.
fn location() -> PathBuf {
    std::env::var_os("DEWPOINT_OPENAPI").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/digitalocean-openapi.json"),
        PathBuf::from,
    )
}

impl OpenApi {
    /// Reads the document. `None`, and a line that says so, when there is none.
    ///
    /// # Panics
    /// When the file is there and is no JSON: a test that holds nothing must not look as if it did.
    pub fn load() -> Option<Self> {
        let path = location();
        let Ok(text) = std::fs::read(&path) else {
            // Past the test harness, which keeps what a passing test prints to itself.
            let _ = writeln!(
                std::io::stderr(),
                "NOT HELD against the official OpenAPI document: {} is not there (name it in DEWPOINT_OPENAPI)",
                path.display()
            );
            return None;
        };
        let mut document: Value = serde_json::from_slice(&text).expect("the document is JSON");
        as_draft4(&mut document);
        Some(Self {
            document,
            validators: Mutex::default(),
        })
    }

    /// What is wrong with a request; empty when nothing is. `path` is `/v2/...` without query,
    /// `body` the JSON body if there is one.
    pub fn check_request(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        body: Option<&Value>,
    ) -> Vec<String> {
        let Some((template, values)) = self.route(method, path) else {
            return vec![format!("{method} {path}: no such operation")];
        };
        let operation = self.operation(method, &template);
        let mut problems = Vec::new();
        let parameters: Vec<&Value> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .collect();
        for (name, value) in values.iter().chain(query) {
            let place = if values.iter().any(|(n, _)| n == name) {
                "path"
            } else {
                "query"
            };
            let found = parameters
                .iter()
                .position(|p| p["in"] == place && p["name"] == name.as_str());
            let Some(at) = found else {
                problems.push(format!("unknown {place} parameter `{name}`"));
                continue;
            };
            let pointer = format!("{}/parameters/{at}/schema", pointer(method, &template));
            // A text may stand for any scalar: it is right when one reading of it is.
            let readings = readings(value);
            let faults: Vec<_> = readings.iter().map(|v| self.faults(&pointer, v)).collect();
            if !faults.iter().any(Vec::is_empty) {
                problems.push(format!(
                    "{place} parameter `{name}` = `{value}`: {}",
                    faults[0].join("; ")
                ));
            }
        }
        for parameter in &parameters {
            let name = parameter["name"].as_str().unwrap_or_default();
            if parameter["in"] == "query"
                && parameter["required"] == true
                && !query.iter().any(|(n, _)| n == name)
            {
                problems.push(format!("query parameter `{name}` is missing"));
            }
        }
        let content = &operation["requestBody"]["content"]["application/json"];
        match (body, content.is_object()) {
            (Some(_), false) => problems.push("a body where none is taken".to_owned()),
            (None, true) if operation["requestBody"]["required"] == true => {
                problems.push("the body is missing".to_owned());
            }
            (Some(body), true) => {
                let at = format!(
                    "{}/requestBody/content/application~1json/schema",
                    pointer(method, &template)
                );
                problems.extend(self.faults(&at, body));
                let schema = &content["schema"];
                self.unknown_keys(&[schema], body, "", &mut problems);
            }
            (None, _) => {}
        }
        problems
            .into_iter()
            .map(|problem| format!("{method} {path}: {problem}"))
            .collect()
    }

    /// What is wrong with an answer; empty when nothing is. `body` is absent when it is empty.
    pub fn check_response(
        &self,
        method: &str,
        path: &str,
        status: u16,
        body: Option<&Value>,
    ) -> Vec<String> {
        let Some((template, _)) = self.route(method, path) else {
            return vec![format!("{method} {path}: no such operation")];
        };
        let responses = &self.operation(method, &template)["responses"];
        let mut key = status.to_string();
        if responses.get(&key).is_none() {
            // Errors that are not listed one by one fall under `default`; successes must be listed.
            if status < 400 || responses.get("default").is_none() {
                return vec![format!(
                    "{method} {path}: status {status} is not documented"
                )];
            }
            "default".clone_into(&mut key);
        }
        let content = &responses[&key]["content"]["application/json"];
        let problems = match (body, content.is_object()) {
            (Some(body), true) => {
                let at = format!(
                    "{}/responses/{key}/content/application~1json/schema",
                    pointer(method, &template)
                );
                self.faults(&at, body)
            }
            (Some(_), false) => vec!["a body where none is documented".to_owned()],
            (None, true) => vec!["the body is missing".to_owned()],
            (None, false) => Vec::new(),
        };
        problems
            .into_iter()
            .map(|problem| format!("{method} {path} -> {status}: {problem}"))
            .collect()
    }

    fn operation(&self, method: &str, template: &str) -> &Value {
        &self.document["paths"][template][method.to_lowercase()]
    }

    /// The path template that matches, with the values of its parameters. Literal segments win.
    fn route(&self, method: &str, path: &str) -> Option<(String, Vec<(String, String)>)> {
        let method = method.to_lowercase();
        let segments: Vec<&str> = path.split('/').collect();
        let mut best: Option<(String, Vec<(String, String)>)> = None;
        for (template, item) in self.document["paths"].as_object()? {
            let parts: Vec<&str> = template.split('/').collect();
            if parts.len() != segments.len() || item.get(&method).is_none() {
                continue;
            }
            let mut values = Vec::new();
            let matches = parts.iter().zip(&segments).all(|(part, segment)| {
                match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                    Some(name) if !segment.is_empty() => {
                        values.push((name.to_owned(), percent_decoded(segment)));
                        true
                    }
                    _ => part == segment,
                }
            });
            if matches && best.as_ref().is_none_or(|(_, b)| values.len() < b.len()) {
                best = Some((template.clone(), values));
            }
        }
        best
    }

    /// What the schema at a place of the document says against a value.
    fn faults(&self, at: &str, value: &Value) -> Vec<String> {
        let validator = {
            let mut validators = self
                .validators
                .lock()
                .expect("no test panics while it holds this");
            validators
                .entry(at.to_owned())
                .or_insert_with(|| {
                    let schema = self
                        .document
                        .pointer(at)
                        .cloned()
                        .unwrap_or_else(|| json!({}));
                    let root =
                        json!({ "allOf": [schema], "components": self.document["components"] });
                    Arc::new(
                        jsonschema::options()
                            .with_draft(Draft::Draft4)
                            .build(&root)
                            .unwrap_or_else(|error| {
                                panic!("the schema at {at} is usable: {error}")
                            }),
                    )
                })
                .clone()
        };
        validator
            .iter_errors(value)
            .map(|error| format!("at `{}`: {error}", error.instance_path()))
            .collect()
    }

    /// Keys of a body that no schema for that place knows: the document does not forbid them, but
    /// a client that sends them has misspelt something.
    fn unknown_keys(
        &self,
        schemas: &[&Value],
        value: &Value,
        at: &str,
        problems: &mut Vec<String>,
    ) {
        let mut flat = Vec::new();
        for schema in schemas {
            self.flatten(schema, &mut flat);
        }
        match value {
            Value::Object(object) => {
                let known: BTreeSet<&String> = flat
                    .iter()
                    .filter_map(|s| s["properties"].as_object())
                    .flat_map(Map::keys)
                    .collect();
                if known.is_empty() {
                    return;
                }
                for (key, inner) in object {
                    let place = format!("{at}/{key}");
                    if !known.contains(key) {
                        problems.push(format!("at `{place}`: unknown key"));
                        continue;
                    }
                    let inner_schemas: Vec<&Value> = flat
                        .iter()
                        .filter_map(|s| s["properties"].get(key))
                        .collect();
                    self.unknown_keys(&inner_schemas, inner, &place, problems);
                }
            }
            Value::Array(items) => {
                let inner: Vec<&Value> = flat.iter().filter_map(|s| s.get("items")).collect();
                for (index, item) in items.iter().enumerate() {
                    self.unknown_keys(&inner, item, &format!("{at}/{index}"), problems);
                }
            }
            _ => {}
        }
    }

    /// A schema and everything it is put together from.
    fn flatten<'a>(&'a self, schema: &'a Value, into: &mut Vec<&'a Value>) {
        if let Some(reference) = schema["$ref"].as_str() {
            if let Some(target) = self.document.pointer(reference.trim_start_matches('#')) {
                self.flatten(target, into);
            }
            return;
        }
        into.push(schema);
        for word in ["allOf", "anyOf", "oneOf"] {
            for part in schema[word].as_array().into_iter().flatten() {
                self.flatten(part, into);
            }
        }
    }
}

/// JSON pointer to an operation.
fn pointer(method: &str, template: &str) -> String {
    let template = template.replace('~', "~0").replace('/', "~1");
    format!("/paths/{template}/{}", method.to_lowercase())
}

/// What a text of a path or query may mean.
fn readings(text: &str) -> Vec<Value> {
    let mut all = vec![json!(text)];
    if let Ok(number) = text.parse::<i64>() {
        all.push(json!(number));
    }
    if let Ok(truth) = text.parse::<bool>() {
        all.push(json!(truth));
    }
    all
}

fn percent_decoded(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| segment.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Turns OpenAPI 3.0's `nullable` into what draft 4 knows, and drops examples, which are no schema.
fn as_draft4(node: &mut Value) {
    match node {
        Value::Object(object) => {
            // An `example` beside a schema is data; a property of that name is an object schema.
            for word in ["example", "examples"] {
                let is_schema = object.get(word).is_some_and(|v| {
                    v.get("type").is_some() || v.get("$ref").is_some() || v.get("allOf").is_some()
                });
                if !is_schema {
                    object.remove(word);
                }
            }
            object.values_mut().for_each(as_draft4);
            if object.get("nullable") == Some(&Value::Bool(true)) {
                object.remove("nullable");
                let inner = Value::Object(std::mem::take(object));
                object.insert("anyOf".to_owned(), json!([{ "type": "null" }, inner]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(as_draft4),
        _ => {}
    }
}

#[cfg(test)]
mod own_tests {
    use super::*;

    #[test]
    fn a_good_request_has_no_problems_and_a_bad_one_has() {
        let Some(spec) = OpenApi::load() else { return };
        let good = json!({ "name": "dewpoint" });
        assert_eq!(
            spec.check_request("POST", "/v2/tags", &[], Some(&good)),
            [""; 0]
        );
        let bad = json!({ "name": "no blanks please", "colour": "red" });
        let problems = spec.check_request("POST", "/v2/tags", &[], Some(&bad));
        assert!(
            problems.iter().any(|p| p.contains("`/name`")),
            "{problems:?}"
        );
        assert!(
            problems.iter().any(|p| p.contains("unknown key")),
            "{problems:?}"
        );
        let query = [("per_page".to_owned(), "201".to_owned())];
        assert_eq!(
            spec.check_request("GET", "/v2/droplets", &query, None)
                .len(),
            1
        );
        assert_eq!(
            spec.check_request("GET", "/v2/nonsense", &[], None).len(),
            1
        );
    }

    #[test]
    fn answers_are_held_too() {
        let Some(spec) = OpenApi::load() else { return };
        assert_eq!(
            spec.check_response("DELETE", "/v2/droplets/1", 204, None),
            [""; 0]
        );
        assert_eq!(
            spec.check_response("DELETE", "/v2/droplets/1", 200, None)
                .len(),
            1
        );
        let error = json!({ "id": "not_found", "message": "gone" });
        assert_eq!(
            spec.check_response("GET", "/v2/droplets/1", 404, Some(&error)),
            [""; 0]
        );
        assert!(
            !spec
                .check_response("GET", "/v2/droplets/1", 404, Some(&json!([])))
                .is_empty()
        );
    }
}
