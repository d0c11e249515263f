//! The pages of `docs`: what is made from the program is current, and each manifest is valid.
//!
//! `UPDATE_DOCS=1 cargo test --test cli docs::` writes the reference anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::workspace::Workspace;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
const SCHEMA: &str = include_str!("../../schemas/manifest.schema.json");

#[test]
fn the_reference_of_commands_is_current() {
    let options = clap_markdown::MarkdownOptions::new()
        .show_footer(false)
        .title("Commands".to_owned());
    let text = clap_markdown::help_markdown_custom::<dewpoint::cli::args::Cli>(&options);
    is_current("commands.md", &text);
}

#[test]
fn the_reference_of_manifests_is_current() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    is_current("manifest.md", &reference(&schema));
}

#[test]
fn each_manifest_in_the_docs_is_valid() {
    let mut seen = 0;
    for (path, text) in pages() {
        for block in text.split("\n```yaml\n").skip(1) {
            let manifest = block.split("\n```").next().unwrap_or_default();
            let workspace = Workspace::with(manifest);
            workspace.write("requirements.txt", "");
            let ran = workspace.run(&["validate"]);
            assert_eq!(ran.code, Some(0), "{}: {}", path.display(), ran.all());
            seen += 1;
        }
    }
    assert!(seen > 0, "the docs have no manifests");
}

#[test]
fn no_link_between_the_pages_leads_nowhere() {
    for (path, text) in pages() {
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#', ' ']).next().unwrap_or_default();
            if link.is_empty() || link.contains("://") || path.ends_with("commands.md") {
                continue;
            }
            let target = path.parent().expect("a folder").join(link);
            assert!(target.exists(), "{}: {link}", path.display());
        }
    }
}

/// Every page, and the README.
fn pages() -> Vec<(PathBuf, String)> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut paths = vec![readme];
    for entry in std::fs::read_dir(DOCS).expect("the docs") {
        paths.push(entry.expect("an entry").path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a page");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

fn is_current(name: &str, text: &str) {
    let path = Path::new(DOCS).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == text,
        "run: UPDATE_DOCS=1 cargo test --test cli docs::"
    );
}

/// The schema as a page: a table for each kind of object, in the order they are first named.
fn reference(schema: &Value) -> String {
    let mut out = String::from(
        "# Manifest\n\nEvery key of a manifest, made from its schema \
         (`dewpoint schema`). Keys in bold have to be there. How they work together is told in the \
         [README](../README.md#the-manifest).\n",
    );
    let definitions = &schema["$defs"];
    let mut waiting = vec![("Manifest".to_owned(), schema)];
    let mut seen = BTreeMap::new();
    while !waiting.is_empty() {
        let (name, definition) = waiting.remove(0);
        if seen.insert(name.clone(), ()).is_some() {
            continue;
        }
        let mut named = Vec::new();
        if definition["properties"].is_object() {
            table(&mut out, &name, definition, definitions, &mut named);
        } else {
            choices(&mut out, &name, definition, definitions, &mut named);
        }
        for name in named {
            if let Some(definition) = definitions.get(&name) {
                waiting.push((name, definition));
            }
        }
    }
    out.push_str(&seen_by_run_steps());
    out
}

/// What the README says of the variables that run steps see.
fn seen_by_run_steps() -> String {
    let readme = include_str!("../../README.md");
    let table: String = readme
        .lines()
        .skip_while(|line| !line.starts_with("| variable |"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    for name in ["ENV", "DROPLET", "INDEX", "COUNT", "MATRIX_<KEY>"] {
        assert!(table.contains(&format!("| `DEWPOINT_{name}` |")), "{name}");
    }
    format!(
        "\n## Variables of run steps\n\nBeside `env` and `secrets`, a command sees these.\n\n{table}"
    )
}

fn table(out: &mut String, name: &str, of: &Value, all: &Value, named: &mut Vec<String>) {
    let _ = write!(out, "\n## {name}\n\n{}\n\n", said(of));
    out.push_str("| key | what it is | type | default |\n| --- | --- | --- | --- |\n");
    let required: Vec<&str> = of["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (key, property) in of["properties"].as_object().expect("properties") {
        let shown = match required.contains(&key.as_str()) {
            true => format!("**`{key}`**"),
            false => format!("`{key}`"),
        };
        let default = match &property["default"] {
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let kind = kind(property, all, named);
        let _ = writeln!(out, "| {shown} | {} | {kind} | {default} |", said(property));
    }
}

fn choices(out: &mut String, name: &str, of: &Value, all: &Value, named: &mut Vec<String>) {
    let parts = ["oneOf", "anyOf"].iter().find_map(|key| of[key].as_array());
    let Some(parts) = parts else { return };
    let _ = write!(out, "\n## {name}\n\n{}\n\n", said(of));
    for part in parts {
        let what = match part["const"].as_str() {
            Some(word) => format!("`{word}`"),
            None => kind(part, all, named),
        };
        let _ = writeln!(out, "- {what}: {}", said(part));
    }
}

/// A description on one line, as a cell of a table may hold it.
fn said(of: &Value) -> String {
    let text = of["description"].as_str().unwrap_or_default();
    text.replace('\n', " ").replace('|', "\\|")
}

/// What a value may be, in words, with links to what has a section of its own.
fn kind(of: &Value, all: &Value, named: &mut Vec<String>) -> String {
    if let Some(name) = of["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        let definition = &all[name];
        let has_section = ["properties", "oneOf", "anyOf"]
            .iter()
            .any(|key| !definition[key].is_null());
        if has_section {
            named.push(name.to_owned());
            return format!("[{name}](#{})", name.to_lowercase());
        }
        return said(definition);
    }
    for key in ["anyOf", "oneOf"] {
        let Some(parts) = of[key].as_array() else {
            continue;
        };
        // That a variable may stand there is told once, and goes for all.
        let is_variable = |part: &&Value| !part["pattern"].to_string().contains("var");
        let kinds: Vec<String> = parts
            .iter()
            .filter(is_variable)
            .filter(|part| part["type"] != "null")
            .map(|part| kind(part, all, named))
            .collect();
        return kinds.join(" or ");
    }
    let types: Vec<&str> = match &of["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let first = types.into_iter().find(|kind| *kind != "null");
    match first {
        Some("array") => format!("list of {}", kind(&of["items"], all, named)),
        Some("object") if of["additionalProperties"].is_object() => {
            format!(
                "map of names to {}",
                kind(&of["additionalProperties"], all, named)
            )
        }
        Some("integer" | "number") => "number".to_owned(),
        Some("string") => "text".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}
