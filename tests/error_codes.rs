//! The list of error codes that `dewpoint explain` reads, made from the code: meanings are the doc
//! comments of what bears them, messages and helps those that are shown.
//!
//! `UPDATE_CODES=1 cargo test --test error_codes` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use syn::parse::Parse as _;
use syn::visit::{self, Visit};

/// A code, and what the code says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    code: String,
    meaning: String,
    messages: Vec<String>,
    help: Vec<String>,
}

/// What the source says of one code.
#[derive(Debug, Clone, Default)]
struct Known {
    meaning: Vec<String>,
    messages: BTreeSet<String>,
    help: BTreeSet<String>,
}

/// What is found in the source.
#[derive(Default)]
struct Found {
    /// By code.
    entries: BTreeMap<String, Known>,
    /// Codes that are named anywhere outside tests.
    named: BTreeSet<String>,
    /// Doc comments of variants, by enum and variant.
    variants: BTreeMap<(String, String), String>,
    /// Codes of variants that a `match` gives them.
    matched: Vec<(String, String, String)>,
    /// The type whose `impl` is looked at.
    owner: String,
}

fn docs(attributes: &[syn::Attribute]) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
        .filter_map(|attribute| match &attribute.meta {
            syn::Meta::NameValue(value) => literal(&value.value),
            _ => None,
        })
        .map(|line| line.trim().to_owned())
        .collect();
    lines.join(" ").trim().to_owned()
}

fn literal(expression: &syn::Expr) -> Option<String> {
    match expression {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

/// The pattern of `#[error("…", …)]`, unless a part of it has no name that says what stands there.
fn pattern(input: syn::parse::ParseStream<'_>) -> syn::Result<Option<String>> {
    let text = input.parse::<Option<syn::LitStr>>()?;
    let _: proc_macro2::TokenStream = input.parse()?;
    Ok(text
        .map(|text| text.value())
        .filter(|text| !text.contains("{}")))
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|word| word == "test")
    })
}

impl Found {
    /// What `#[diagnostic(…)]` and `#[error(…)]` say of a variant or a struct.
    fn diagnostic(&mut self, attributes: &[syn::Attribute]) {
        let mut code = None;
        let mut help = None;
        let mut message = None;
        for attribute in attributes {
            if attribute.path().is_ident("error") {
                message = attribute.parse_args_with(pattern).unwrap_or_default();
            }
            if !attribute.path().is_ident("diagnostic") {
                continue;
            }
            // `code(a::b::c)`, `help("…")`, `transparent`, `severity(…)`, …
            let _ = attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("code") {
                    let inner;
                    syn::parenthesized!(inner in meta.input);
                    let path: syn::Path = inner.parse()?;
                    let words: Vec<String> =
                        path.segments.iter().map(|s| s.ident.to_string()).collect();
                    code = Some(words.join("::"));
                } else if meta.path.is_ident("help") && meta.input.peek(syn::token::Paren) {
                    let inner;
                    syn::parenthesized!(inner in meta.input);
                    let parts = inner.parse_terminated(syn::Expr::parse, syn::Token![,])?;
                    help = parts.first().and_then(literal);
                } else if meta.input.peek(syn::token::Paren) {
                    let inner;
                    syn::parenthesized!(inner in meta.input);
                    let _: proc_macro2::TokenStream = inner.parse()?;
                }
                Ok(())
            });
        }
        let Some(code) = code else { return };
        self.named.insert(code.clone());
        let entry = self.entries.entry(code).or_default();
        let meaning = docs(attributes);
        if !meaning.is_empty() && !entry.meaning.contains(&meaning) {
            entry.meaning.push(meaning);
        }
        entry.messages.extend(message);
        // One that is a value of its own says nothing here.
        entry
            .help
            .extend(help.filter(|help| !help.starts_with('{')));
    }

    fn names(&mut self, text: &str) {
        let is_code = text.strip_prefix("dewpoint::").is_some_and(|rest| {
            rest.split("::").count() == 2
                && rest
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':')
        });
        if is_code {
            self.named.insert(text.to_owned());
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        for variant in &item.variants {
            self.diagnostic(&variant.attrs);
            self.variants.insert(
                (item.ident.to_string(), variant.ident.to_string()),
                docs(&variant.attrs),
            );
        }
        visit::visit_item_enum(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.diagnostic(&item.attrs);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let before = std::mem::take(&mut self.owner);
        if let syn::Type::Path(path) = &*item.self_ty {
            let last = path.path.segments.last().expect("a name");
            self.owner = last.ident.to_string();
        }
        visit::visit_item_impl(self, item);
        self.owner = before;
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some(code) = literal(&arm.body).filter(|text| text.starts_with("dewpoint::")) {
            let path = match &arm.pat {
                syn::Pat::Path(path) => Some(&path.path),
                syn::Pat::Struct(pattern) => Some(&pattern.path),
                syn::Pat::TupleStruct(pattern) => Some(&pattern.path),
                _ => None,
            };
            if let Some(path) = path {
                let words: Vec<String> =
                    path.segments.iter().map(|s| s.ident.to_string()).collect();
                if let [owner, variant] = words.as_slice() {
                    let owner = if owner == "Self" { &self.owner } else { owner };
                    self.matched.push((owner.clone(), variant.clone(), code));
                }
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.names(&text.value());
    }
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the source") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if name != "tests" && name != "testdata" {
                sources(&path, into);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            into.push(path);
        }
    }
}

fn found() -> Found {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files.sort();
    let mut found = Found::default();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        found.visit_file(&parsed);
    }
    for (owner, variant, code) in std::mem::take(&mut found.matched) {
        let meaning = found.variants.get(&(owner, variant)).cloned();
        let entry = found.entries.entry(code).or_default();
        for meaning in meaning.into_iter().filter(|meaning| !meaning.is_empty()) {
            if !entry.meaning.contains(&meaning) {
                entry.meaning.push(meaning);
            }
        }
    }
    found
}

#[test]
fn the_list_of_codes_is_that_of_the_source() {
    let found = found();
    assert!(found.named.len() > 200, "{} codes", found.named.len());
    let entries: Vec<Entry> = found
        .named
        .iter()
        .map(|code| {
            let Known {
                meaning,
                messages,
                help,
            } = found.entries.get(code).cloned().unwrap_or_default();
            Entry {
                code: code.clone(),
                meaning: meaning.join(" "),
                messages: messages.into_iter().collect(),
                help: help.into_iter().collect(),
            }
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&entries).expect("plain data");
    text.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/codes/codes.json");
    if std::env::var_os("UPDATE_CODES").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "src/report/codes/codes.json is not that of the source: UPDATE_CODES=1 cargo test --test error_codes"
    );
}

#[test]
fn the_pages_in_the_documentation_are_those_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let text = dewpoint::report::codes::document();
    if std::env::var_os("UPDATE_CODES").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/errors.md is not current: UPDATE_CODES=1 cargo test --test error_codes, twice"
    );
}
