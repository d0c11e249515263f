//! The JSON Schema and the parser say the same.

use std::collections::BTreeSet;

use serde_json::Value;

use super::meaning::FULL;
use super::*;
use crate::manifest::variables::NOT_TEXT;

const CHECKED_IN: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/schemas/manifest.schema.json"
));

fn accepts(text: &str) -> Result<(), String> {
    let validator = jsonschema::validator_for(&json_schema()).expect("a schema");
    let document: Value = serde_yaml::from_str(text).expect("YAML");
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.join("\n"))
    }
}

#[test]
fn the_checked_in_schema_is_that_of_the_types() {
    let current = format!("{:#}\n", json_schema());
    assert!(
        current == CHECKED_IN,
        "schemas/manifest.schema.json is stale; run: dewpoint schema > schemas/manifest.schema.json"
    );
}

#[test]
fn the_schema_accepts_what_the_parser_accepts() {
    let starter = starter(&Outline::named("my-project"));
    let blank = format!(
        "{HEAD}limits:\nprotect:\nvariables: {{ a: }}\nssh:\nfirewall: {{ inbound: }}\nsnapshots: {{ s: {{ from: 1, size: y, provision: }} }}\nvolumes:\ndroplets: {{ d: {{ image: x, size: y, env: , secrets: , run: , needs: , tags: , volumes: }} }}\n"
    );
    let variables = format!(
        "{HEAD}variables: {{ n: {{ default: 1 }}, w: {{ default: ext4 }}, k: {{ default: keep }} }}\nlimits: {{ droplets: \"${{var.n}}\", cost_per_hour: \"${{var.n}}\" }}\nsnapshots: {{ s: {{ from: \"${{var.n}}\", size: y, keep: \"${{var.n}}\" }} }}\nvolumes: {{ v: {{ size: \"${{var.n}}GiB\", filesystem: \"${{var.w}}\" }} }}\ndroplets: {{ d: {{ image: x, size: y, after_run: \"${{var.k}}\" }} }}\n"
    );
    for text in [HEAD, FULL, &starter, &blank, &variables] {
        loaded(text);
        if let Err(errors) = accepts(text) {
            panic!("{text}\n{errors}");
        }
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses_by_form() {
    for rest in [
        "regin: x",
        "ttl: 5",
        "ttl:",
        "ssh: { allow_from: }",
        "limits: { droplets: many }",
        "volumes: { v: { size: 5GB } }",
        "volumes: { v: { size: 5GiB, filesystem: ntfs } }",
        "droplets: { d: { size: y } }",
        "droplets: { d: { image: x, size: 3.10 } }",
        "droplets: { d: { image: x, size: y, after_run: explode } }",
        "droplets: { d: { image: x, size: y, matrix: { python: [3.10] } } }",
        "variables: { a: { default: [1] } }",
        "firewall: off",
    ] {
        let text = format!("{HEAD}{rest}\n");
        assert!(!codes(&text).is_empty(), "the parser accepts {rest}");
        assert!(accepts(&text).is_err(), "the schema accepts {rest}");
    }
}

/// Calls `visit` with the kind of place and the schema of every value a manifest may have.
fn walk(root: &Value, schema: &Value, shape: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(shape, schema);
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = root
            .pointer(name.trim_start_matches('#'))
            .expect("a definition");
        walk(root, target, shape, visit);
    }
    for choices in ["anyOf", "oneOf"] {
        for choice in schema
            .get(choices)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            walk(root, choice, shape, visit);
        }
    }
    let below = |step: &str| {
        if shape.is_empty() {
            step.to_owned()
        } else {
            format!("{shape}.{step}")
        }
    };
    for (key, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        walk(root, property, &below(key), visit);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
            walk(root, inner, &below("*"), visit);
        }
    }
}

fn shapes_where(is: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let schema = json_schema();
    let mut shapes = BTreeSet::new();
    walk(&schema, &schema, "", &mut |shape, schema| {
        if is(schema) {
            shapes.insert(shape.to_owned());
        }
    });
    shapes
}

#[test]
fn variables_may_stand_for_each_number_and_truth_value() {
    let not_text = shapes_where(|schema| {
        matches!(
            schema.get("type").and_then(Value::as_str),
            Some("integer" | "number" | "boolean")
        )
    });
    // An image's id is read from text too.
    let expected: BTreeSet<String> = NOT_TEXT
        .iter()
        .chain(&[
            "droplets.*.image",
            "snapshots.*.from",
            "volumes.*.populate.image",
        ])
        .map(|shape| (*shape).to_owned())
        .collect();
    assert_eq!(not_text, expected);
}

#[test]
fn the_blocks_that_may_be_blank_are_those_the_schema_lets_be() {
    let blank = shapes_where(|schema| match schema.get("type") {
        Some(Value::String(one)) => one == "null",
        Some(Value::Array(types)) => types.iter().any(|one| one == "null"),
        _ => false,
    });
    let expected: BTreeSet<String> = blanks::MAY_BE_BLANK
        .iter()
        .map(|shape| (*shape).to_owned())
        .collect();
    assert_eq!(blank, expected);
}

#[test]
fn everything_in_the_schema_is_described() {
    let schema = json_schema();
    walk(&schema, &schema, "", &mut |shape, schema| {
        for (key, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            assert!(
                property.get("description").is_some(),
                "`{key}` in `{shape}` has no description"
            );
        }
    });
}

#[test]
fn every_key_has_a_description_and_a_default_or_examples_that_are_valid() {
    let schema = json_schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    let blocks = definitions
        .iter()
        .map(|(name, block)| (name.as_str(), block));
    let mut keys = 0;
    for (block_name, block) in blocks.chain([("Manifest", &schema)]) {
        let required: Vec<&str> = block["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        for (key, property) in block["properties"].as_object().into_iter().flatten() {
            keys += 1;
            let place = format!("{block_name}.{key}");
            let text = property["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{place} has no description");
            let examples = property["examples"].as_array().cloned().unwrap_or_default();
            let default = property.get("default");
            assert!(!examples.is_empty(), "{place} has no examples");
            assert!(
                default.is_none() || !required.contains(&key.as_str()),
                "{place} is required and has a default"
            );
            let mut alone = property.clone();
            alone["$defs"] = schema["$defs"].clone();
            let validator = jsonschema::validator_for(&alone).expect("a schema");
            for value in examples.iter().chain(default) {
                if let Err(error) = validator.validate(value) {
                    panic!("{place}: {value}: {error}");
                }
            }
        }
    }
    assert!(keys > 80, "only {keys} keys were looked at");
}
