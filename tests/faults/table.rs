//! The table of what came of each: checked in, and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::faults::FAULTS;
use crate::matrix::{Came, Kinds};
use crate::plans::all_kinds;

/// Why a kind of step asks the API for nothing.
fn without_calls(kind: &str) -> &'static str {
    match kind {
        "gather" => "writes down what is known",
        "connect" => "knows the address; works over SSH",
        _ => {
            "works over SSH; asks the API only whether its droplet is there, once a connection broke"
        }
    }
}

/// In this order words stand in a cell.
const WORDS: [&str; 4] = ["survived", "retried", "failed", "failed later"];

const HEAD: &str = "# Steps and faults

Made by `UPDATE_FAULTS=1 cargo test --test faults`. The test fails when something else comes than what stands here.

Each kind of step is executed once for each of its calls and each fault that the call can meet. In every case the next \
`apply` (or `test`, `destroy`, `sweep`) without the fault converges, `plan` has no changes then, nothing is doubled, `status` \
shows what a failure has left, and `destroy --project` ends with an empty account.

- **survived**: nothing had to be done about it.
- **retried**: the step succeeded: the call was made again, or what it had done was found.
- **failed**: the step failed with a clear error; what it left is below.
- **failed later**: the step succeeded, and a later one met what had been done to it.
- **-**: the step makes no call that can meet it, for the fault's reason.

Several words in a cell: it depends on which of its calls meets the fault. `cargo test` runs one call for each cell, all of them \
when `ALL_FAULTS` is set.

";

/// One case: kind of step, world, call, fault.
type Key = [String; 4];

/// What a table says.
#[derive(Debug, Default)]
pub struct Table {
    text: String,
    /// Words by kind of step and fault.
    cells: BTreeMap<(String, String), BTreeSet<String>>,
    /// Error and what was left, of each case in which a step failed.
    failed: BTreeMap<Key, (String, String)>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/faults/TABLE.md")
}

fn key(came: &Came) -> Key {
    [came.kind, came.world, &came.call, came.fault].map(str::to_owned)
}

/// Of a case in which something failed: the error, and what it left.
fn failure(came: &Came) -> Option<(String, String)> {
    let or = |text: &str, or: &str| (if text.is_empty() { or } else { text }).to_owned();
    match came.word {
        "failed" => Some((came.code.clone(), or(&came.left, "nothing"))),
        "failed later" => Some(("in a later step".to_owned(), "all of it".to_owned())),
        _ => None,
    }
}

impl Table {
    /// The one that is checked in.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(path()).unwrap_or_default();
        let mut table = Self::default();
        for line in text.lines() {
            let Some(line) = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |")) else {
                continue;
            };
            let columns: Vec<&str> = line.split(" | ").collect();
            match columns.as_slice() {
                ["step" | "---", ..] => {}
                [kind, words @ ..] if words.len() == FAULTS.len() => {
                    for (fault, words) in FAULTS.iter().zip(words) {
                        let words = words.split(", ").filter(|word| *word != "-");
                        let words: BTreeSet<String> = words.map(str::to_owned).collect();
                        if !words.is_empty() {
                            let cell = ((*kind).to_owned(), fault.name.to_owned());
                            table.cells.insert(cell, words);
                        }
                    }
                }
                [kind, world, call, faults, code, left] => {
                    for fault in faults.split("; ") {
                        let key = [*kind, *world, *call, fault].map(str::to_owned);
                        let failure = ((*code).to_owned(), (*left).to_owned());
                        table.failed.insert(key, failure);
                    }
                }
                _ => {}
            }
        }
        table.text = text;
        table
    }

    /// Whether it says what came of a case.
    pub fn has(&self, came: &Came) -> bool {
        let cell = (came.kind.to_owned(), came.fault.to_owned());
        let words = self.cells.get(&cell);
        words.is_some_and(|words| words.contains(came.word))
            && self.failed.get(&key(came)) == failure(came).as_ref()
    }

    /// Fails unless it says what came of the cases; when those are all there are, no more than that.
    pub fn check(&self, all: &[Came], quiet: &Kinds, untried: &[&str], is_whole: bool) {
        let mut news: Vec<String> = all
            .iter()
            .filter(|came| !self.has(came))
            .map(|came| {
                let was = self.failed.get(&key(came));
                let is = failure(came);
                format!("{:?}: {} {is:?} instead of {was:?}", key(came), came.word)
            })
            .collect();
        let tried: BTreeSet<(String, String)> = all
            .iter()
            .map(|came| (came.kind.to_owned(), came.fault.to_owned()))
            .collect();
        if std::env::var_os("FAULTS_ONLY").is_none() {
            let gone = self.cells.keys().filter(|cell| !tried.contains(cell));
            // Where there are no guests, what needs them is not tried.
            let gone = gone.filter(|(kind, _)| !untried.contains(&kind.as_str()));
            news.extend(gone.map(|(kind, fault)| format!("{kind} [{fault}] is no longer tried")));
        }
        assert!(
            news.is_empty(),
            "tests/faults/TABLE.md says otherwise (UPDATE_FAULTS=1 writes it anew):\n{}",
            news.join("\n")
        );
        if is_whole && untried.is_empty() && std::env::var_os("FAULTS_ONLY").is_none() {
            let text = written(all, quiet);
            let same = similar::TextDiff::from_lines(&self.text, &text);
            let said = same.unified_diff().context_radius(0).to_string();
            assert!(
                self.text == text,
                "tests/faults/TABLE.md says otherwise (UPDATE_FAULTS=1 writes it anew):\n{said}"
            );
        }
    }

    /// Writes it anew.
    pub fn write(all: &[Came], quiet: &Kinds) {
        std::fs::write(path(), written(all, quiet)).expect("written");
    }
}

fn written(all: &[Came], quiet: &Kinds) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| fault | what it is | which calls can meet it |\n| --- | --- | --- |\n");
    for fault in &FAULTS {
        let needs = fault.needs.unwrap_or("each");
        let _ = writeln!(text, "| {} | {} | {needs} |", fault.name, fault.meaning);
    }
    let mut cells: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for came in all {
        let cell = cells.entry((came.kind, came.fault)).or_default();
        cell.insert(came.word);
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
            assert!(
                cell.is_some() || fault.needs.is_some(),
                "no call of {kind} meets {}, and no reason is told",
                fault.name
            );
            let words: Vec<&str> = WORDS
                .into_iter()
                .filter(|word| cell.is_some_and(|cell| cell.contains(word)))
                .collect();
            let words = words.join(", ");
            let _ = write!(text, " {} |", if words.is_empty() { "-" } else { &words });
        }
        text.push('\n');
    }
    text.push_str("\n## Steps that ask the API for nothing\n\n| step | why |\n| --- | --- |\n");
    for kind in all_kinds() {
        if kinds.contains(kind.as_str()) {
            continue;
        }
        assert!(quiet.contains(kind.as_str()), "no world has {kind}");
        let _ = writeln!(text, "| {kind} | {} |", without_calls(&kind));
    }
    text.push_str(
        "\n## What failures leave\n\n\
         *in* is what was executed; *left* is what the step itself had added (+) or removed (-), once what it began had ended.\n\n\
         | step | in | call | faults | error | left |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let mut rows: BTreeMap<[String; 5], BTreeSet<&str>> = BTreeMap::new();
    for came in all {
        if let Some((code, left)) = failure(came) {
            let [kind, world, call, _] = key(came);
            let row = rows.entry([kind, world, call, code, left]).or_default();
            row.insert(came.fault);
        }
    }
    for ([kind, world, call, code, left], faults) in rows {
        let faults: Vec<&str> = faults.into_iter().collect();
        let faults = faults.join("; ");
        let _ = writeln!(
            text,
            "| {kind} | {world} | {call} | {faults} | {code} | {left} |"
        );
    }
    text
}
