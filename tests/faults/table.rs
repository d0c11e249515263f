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

fn written(all: &[Came], before: &str) -> String {
    let said = Said::read(before);
    let mut text = "# Steps and faults\n\n\
        Made by `UPDATE_FAULTS=1 cargo test --test faults`, which adds what it sees to what was seen before \
        (`UPDATE_FAULTS=new` begins anew); the test fails when something comes that is not here.\n\n\
        Each kind of step is executed once for each of its calls and each fault that the call can meet. \
        In every case the next `apply` (or `test`, `destroy`, `sweep`) without the fault converges, \
        `plan` has no changes then, nothing is doubled, `status` shows what a failure has left, and \
        `destroy --project` ends with an empty account.\n\n\
        - **survived**: nothing had to be done about it.\n\
        - **retried**: the call was made again, and the step succeeded.\n\
        - **found**: the call was not made again: what it had done was found, and the step succeeded.\n\
        - **failed**: the step failed with a clear error; what it left is below.\n\
        - **failed later**: the step succeeded, and a later one met what had been done to it.\n\
        - **-**: none of its calls can meet it.\n\n\
        Several words in a cell: it depends on which call meets the fault, or on what is quicker.\n\n"
        .to_owned();
    text.push_str("| fault | what it is |\n| --- | --- |\n");
    for fault in &FAULTS {
        let _ = writeln!(text, "| {} | {} |", fault.name, fault.meaning);
    }
    let mut cells: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for ((kind, fault), words) in &said.cells {
        cells
            .entry((kind, fault))
            .or_default()
            .extend(words.iter().map(String::as_str));
    }
    for came in all {
        cells
            .entry((came.kind, came.fault))
            .or_default()
            .insert(came.word);
    }
    // Which calls a step makes can differ by a few.
    let _ = writeln!(text, "\n## More than {} cases\n", all.len() / 100 * 100);
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
    let mut rows: BTreeMap<[String; 4], BTreeSet<String>> = BTreeMap::new();
    let in_rows = before
        .split("## What failures leave")
        .nth(1)
        .unwrap_or_default();
    for line in in_rows.lines() {
        let row = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |"));
        let columns: Vec<&str> = row
            .map(|row| row.split(" | ").collect())
            .unwrap_or_default();
        if let [kind, call, faults, code, left] = columns.as_slice()
            && !matches!(*kind, "step" | "---")
        {
            rows.entry([*kind, *call, *code, *left].map(str::to_owned))
                .or_default()
                .extend(faults.split("; ").map(str::to_owned));
        }
    }
    for came in all.iter().filter(|came| came.word == "failed") {
        let left = if came.left.is_empty() {
            "nothing"
        } else {
            &came.left
        };
        let key = [came.kind, &came.call, &came.code, left].map(str::to_owned);
        rows.entry(key).or_default().insert(came.fault.to_owned());
    }
    for ([kind, call, code, left], faults) in rows {
        let faults: Vec<String> = faults.into_iter().collect();
        let _ = writeln!(
            text,
            "| {kind} | {call} | {} | {code} | {left} |",
            faults.join("; ")
        );
    }
    text
}

/// What a table says, as far as it is compared: which words stand in which cell, and what failures of
/// which kind of step leave.
#[derive(Debug, Default)]
struct Said {
    cells: BTreeMap<(String, String), BTreeSet<String>>,
    left: BTreeSet<(String, String)>,
}

impl Said {
    fn read(text: &str) -> Self {
        let mut said = Self::default();
        let mut faults: Vec<String> = Vec::new();
        for line in text.lines() {
            let Some(line) = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |")) else {
                continue;
            };
            let columns: Vec<&str> = line.split(" | ").collect();
            match columns.as_slice() {
                ["step", names @ ..] if names.len() == FAULTS.len() => {
                    faults = names.iter().map(|name| (*name).to_owned()).collect();
                }
                [kind, words @ ..] if words.len() == FAULTS.len() && words[0] != "---" => {
                    for (fault, words) in faults.iter().zip(words) {
                        let words = words.split(", ").filter(|word| *word != "-");
                        said.cells
                            .entry(((*kind).to_owned(), fault.clone()))
                            .or_default()
                            .extend(words.map(str::to_owned));
                    }
                }
                [kind, _, _, _, left] if *kind != "step" => {
                    said.left.insert(((*kind).to_owned(), (*left).to_owned()));
                }
                _ => {}
            }
        }
        said
    }
}

/// Errors that only say that it took longer than a client in a hurry waits: on a machine that has
/// much else to do, what is usually mended in time can end so.
const TOO_SLOW: [&str; 6] = [
    "timed_out",
    "outcome_unknown",
    "unreachable",
    "broken",
    "unreadable_answer",
    "rate_limited",
];

/// Whether a step mended what it met itself.
fn recovered(word: &str) -> bool {
    matches!(word, "survived" | "retried" | "found")
}

/// Compares what came of the cases with the table that is checked in, or adds it to that.
///
/// How a step comes out can depend on what was quicker (whether a call is repeated or its effect
/// found first), so the table holds all that was seen: nothing may come that it does not have.
pub fn check(all: &[Came]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/TABLE.md");
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some(how) = std::env::var_os("UPDATE_FAULTS") {
        // Unless it is begun anew, what was seen before stays.
        let before = if how == "new" { "" } else { &there };
        std::fs::write(&path, written(all, before)).expect("written");
        return;
    }
    let said = Said::read(&there);
    let mut news = BTreeSet::new();
    for came in all {
        let cell = said
            .cells
            .get(&(came.kind.to_owned(), came.fault.to_owned()));
        let has =
            |is: &dyn Fn(&str) -> bool| cell.is_some_and(|words| words.iter().any(|word| is(word)));
        let is_known = if recovered(came.word) {
            has(&|word| recovered(word))
        } else {
            has(&|word| word == came.word)
                || (TOO_SLOW.contains(&came.code.as_str()) && has(&|_| true))
        };
        if !is_known {
            news.insert(format!(
                "{} {} [{}]: {} {}",
                came.kind, came.call, came.fault, came.word, came.code
            ));
        }
        let left = if came.left.is_empty() {
            "nothing"
        } else {
            &came.left
        };
        let key = (came.kind.to_owned(), left.to_owned());
        if came.word == "failed" && !said.left.contains(&key) {
            news.insert(format!(
                "{} {} [{}]: {} leaves {left}",
                came.kind, came.call, came.fault, came.code
            ));
        }
    }
    let kinds: BTreeSet<&str> = all.iter().map(|came| came.kind).collect();
    for (kind, _) in said.cells.keys() {
        if !kinds.contains(kind.as_str()) {
            news.insert(format!("{kind} is no longer tried"));
        }
    }
    let news: Vec<String> = news.into_iter().collect();
    assert!(
        news.is_empty(),
        "tests/faults/TABLE.md does not have (UPDATE_FAULTS=1 adds it):\n{}",
        news.join("\n")
    );
}
