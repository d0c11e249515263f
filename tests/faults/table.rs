//! The table of what came of each: checked in, and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::faults::FAULTS;
use crate::lab::all_kinds;
use crate::matrix::Came;

/// Why a kind of step meets no fault of the API.
pub fn without_calls(kind: &str) -> Option<&'static str> {
    match kind {
        "connect" => Some("asks for an address only when none is known; else works over SSH"),
        "provision" | "mount" | "unmount" | "prepare" | "sync" | "run" | "collect"
        | "stop_background" => Some(
            "works over SSH; asks the API only whether its droplet is there, once a connection broke",
        ),
        "power_off" => Some("works over SSH, then looks until the droplet is off"),
        "gather" => Some("writes down what is known"),
        _ => None,
    }
}

/// In this order words stand in a cell.
const WORDS: [&str; 5] = ["survived", "retried", "found", "failed", "failed later"];

fn written(all: &[Came]) -> String {
    let mut text = "# Steps and faults\n\n\
        Made by `UPDATE_FAULTS=1 cargo test --test faults`; the test fails when it is no longer true.\n\n\
        Each kind of step is executed once for each of its calls and each fault that the call can meet. \
        In every case the next `apply` (or `test`, `destroy`, `sweep`) without the fault converges, \
        `plan` has no changes then, nothing is doubled, `status` shows what a failure has left, and \
        `destroy --project` ends with an empty account.\n\n\
        - **survived**: nothing had to be done about it.\n\
        - **retried**: the call was made again, and the step succeeded.\n\
        - **found**: the call was not made again: what it had done was found, and the step succeeded.\n\
        - **failed**: the step failed with a clear error; what it left is below.\n\
        - **failed later**: the step succeeded, and a later one met what had been done to it.\n\
        - **-**: none of its calls can meet it.\n\n"
        .to_owned();
    text.push_str("| fault | what it is |\n| --- | --- |\n");
    for fault in &FAULTS {
        let _ = writeln!(text, "| {} | {} |", fault.name, fault.meaning);
    }
    let mut cells: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for came in all {
        cells
            .entry((came.kind, came.fault))
            .or_default()
            .insert(came.word);
    }
    let _ = writeln!(text, "\n## {} cases\n", all.len());
    text.push_str("| step |");
    for fault in &FAULTS {
        let _ = write!(text, " {} |", fault.name);
    }
    let _ = writeln!(text, "\n| --- |{}", " --- |".repeat(FAULTS.len()));
    let kinds: BTreeSet<&str> = all.iter().map(|came| came.kind).collect();
    for kind in &kinds {
        let _ = write!(text, "| {kind} |");
        for fault in &FAULTS {
            let cell = cells.get(&(*kind, fault.name));
            let words: Vec<&str> = WORDS
                .into_iter()
                .filter(|word| cell.is_some_and(|cell| cell.contains(word)))
                .collect();
            let words = if words.is_empty() {
                "-".to_owned()
            } else {
                words.join(", ")
            };
            let _ = write!(text, " {words} |");
        }
        text.push('\n');
    }
    text.push_str("\n## Steps that ask the API for nothing\n\n| step | why |\n| --- | --- |\n");
    for kind in all_kinds()
        .iter()
        .filter(|kind| !kinds.contains(kind.as_str()))
    {
        let why = without_calls(kind).expect("looked at before");
        let _ = writeln!(text, "| {kind} | {why} |");
    }
    text.push_str(
        "\n## What failures leave\n\nThe last column is what the step itself had added (+) or removed (-) when it failed.\n\n\
         | step | call | fault | error | left |\n| --- | --- | --- | --- | --- |\n",
    );
    let mut rows = BTreeMap::new();
    for came in all.iter().filter(|came| came.word == "failed") {
        let left = if came.left.is_empty() {
            "nothing"
        } else {
            &came.left
        };
        let key = (came.kind, &came.call, &came.code, left);
        rows.entry(key)
            .or_insert_with(BTreeSet::new)
            .insert(came.fault);
    }
    for ((kind, call, code, left), faults) in rows {
        let faults: Vec<&str> = faults.into_iter().collect();
        let _ = writeln!(
            text,
            "| {kind} | {call} | {} | {code} | {left} |",
            faults.join("; ")
        );
    }
    text
}

/// Compares the table with the one that is checked in, or writes it.
pub fn check(all: &[Came]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/TABLE.md");
    let text = written(all);
    if std::env::var_os("UPDATE_FAULTS").is_some() {
        std::fs::write(&path, text).expect("written");
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    if there == text {
        return;
    }
    let lines: BTreeSet<&str> = there.lines().collect();
    let new: Vec<&str> = text.lines().filter(|line| !lines.contains(line)).collect();
    panic!(
        "tests/faults/TABLE.md is stale (UPDATE_FAULTS=1 writes it); lines that are new:\n{}",
        new.join("\n")
    );
}
