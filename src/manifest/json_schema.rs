//! The manifest's JSON Schema, for editors: what the types say, as the parser reads them.
//!
//! The types alone would be too strict about variables (any scalar may be written as one) and too
//! lax about blanks (an optional key may be absent, but not without a value).

use serde_json::{Map, Value, json};

use super::blanks::MAY_BE_BLANK;
use super::schema::Manifest;

/// A whole variable, where a number or a truth value belongs.
const WHOLE_VARIABLE: &str = r"^\$\{var\.[A-Za-z_][A-Za-z0-9_-]*\}$";
/// Text with a variable in it, where one of several words belongs.
const WITH_VARIABLE: &str = r"\$\{var\.[A-Za-z_][A-Za-z0-9_-]*\}";

/// The JSON Schema of a manifest: what `schemas/manifest.schema.json` holds.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(Manifest).to_value();
    let definitions = schema
        .get("$defs")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    adapt_properties(&mut schema, &definitions);
    if let Some(Value::Object(all)) = schema.get_mut("$defs") {
        for definition in all.values_mut() {
            adapt_properties(definition, &definitions);
        }
    }
    for shape in MAY_BE_BLANK {
        let steps: Vec<&str> = shape.split('.').collect();
        allow_blank(&mut schema, &steps);
    }
    schema
}

/// What a value may be beside a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    /// Any text: a variable is text already.
    Text,
    /// A number or a truth value.
    NotText,
    /// One of several words.
    Word,
    /// A map or a list.
    Block,
}

fn adapt_properties(schema: &mut Value, definitions: &Map<String, Value>) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else {
        return;
    };
    for property in properties.values_mut() {
        without_null(property);
        let pattern = match scalar(property, definitions) {
            Scalar::Text | Scalar::Block => continue,
            Scalar::NotText => WHOLE_VARIABLE,
            Scalar::Word => WITH_VARIABLE,
        };
        let mut own = property.take();
        let mut outer = Map::new();
        if let Some(inner) = own.as_object_mut() {
            for key in ["description", "default", "examples"] {
                if let Some(value) = inner.remove(key) {
                    outer.insert(key.to_owned(), value);
                }
            }
        }
        let mut choices = match own.as_object_mut().and_then(|inner| inner.remove("anyOf")) {
            Some(Value::Array(choices)) => choices,
            _ => vec![own],
        };
        choices.push(json!({ "type": "string", "pattern": pattern }));
        outer.insert("anyOf".to_owned(), Value::Array(choices));
        *property = Value::Object(outer);
    }
}

/// Takes the `null` away that stands for an absent key.
fn without_null(property: &mut Value) {
    let Some(property) = property.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            property.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
        choices.retain(|one| *one != json!({ "type": "null" }));
        if let [Value::Object(one)] = choices.as_slice() {
            let one = one.clone();
            property.remove("anyOf");
            property.extend(one);
        }
    }
}

fn scalar(schema: &Value, definitions: &Map<String, Value>) -> Scalar {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return name
            .strip_prefix("#/$defs/")
            .and_then(|name| definitions.get(name))
            .map_or(Scalar::Block, |schema| scalar(schema, definitions));
    }
    if schema.get("enum").is_some() || schema.get("const").is_some() {
        return Scalar::Word;
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(key).and_then(Value::as_array) {
            let kinds: Vec<Scalar> = choices
                .iter()
                .map(|choice| scalar(choice, definitions))
                .collect();
            return [Scalar::Text, Scalar::Word, Scalar::NotText]
                .into_iter()
                .find(|kind| kinds.contains(kind))
                .unwrap_or(Scalar::Block);
        }
    }
    match schema.get("type") {
        Some(Value::Array(types)) if types.iter().any(|one| one == "string") => Scalar::Text,
        Some(Value::String(one)) => match one.as_str() {
            "string" => Scalar::Text,
            "integer" | "number" | "boolean" => Scalar::NotText,
            _ => Scalar::Block,
        },
        _ => Scalar::Block,
    }
}

/// Where the alternatives of a schema stand, references followed.
fn alternatives(root: &Value, pointer: String, found: &mut Vec<String>) {
    let Some(schema) = root.pointer(&pointer) else {
        return;
    };
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        alternatives(root, name.trim_start_matches('#').to_owned(), found);
    }
    let choices = schema.get("anyOf").and_then(Value::as_array);
    for index in 0..choices.map_or(0, Vec::len) {
        alternatives(root, format!("{pointer}/anyOf/{index}"), found);
    }
    found.push(pointer);
}

/// Allows the block at a place to be without a value.
fn allow_blank(root: &mut Value, steps: &[&str]) {
    let mut pointer = String::new();
    for step in steps {
        let mut found = Vec::new();
        alternatives(root, pointer, &mut found);
        let below: &[String] = &match *step {
            "*" => vec!["/items".to_owned(), "/additionalProperties".to_owned()],
            key => vec![format!("/properties/{key}")],
        };
        let next = found
            .iter()
            .flat_map(|place| below.iter().map(move |step| format!("{place}{step}")))
            .find(|place| root.pointer(place).is_some_and(Value::is_object));
        match next {
            Some(next) => pointer = next,
            None => return,
        }
    }
    let Some(Value::Object(block)) = root.pointer_mut(&pointer) else {
        return;
    };
    if let Some(Value::String(one)) = block.get("type") {
        let types = json!([one, "null"]);
        block.insert("type".to_owned(), types);
    } else if let Some(Value::Array(choices)) = block.get_mut("anyOf") {
        choices.push(json!({ "type": "null" }));
    } else if let Some(reference) = block.remove("$ref") {
        block.insert(
            "anyOf".to_owned(),
            json!([{ "$ref": reference }, { "type": "null" }]),
        );
    }
}
