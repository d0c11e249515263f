//! `kill -9` of dewpoint before and after what its journal records, with guests: the next apply
//! converges, and a destroy from another machine ends empty.
//!
//! By default at moments that between them meet each kind of step of both examples on both sides;
//! `DEWPOINT_TEST_ALL=1` at every record. (At every record without guests: `tests/faults`.)

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::guests;
use crate::killed_at::{Ended, Record, Side, killed_at};
use crate::workspace::Workspace;

/// What a record tells: which event, of which kind of step.
type Told = (String, String);

/// Reads records of one run.
#[derive(Default)]
struct Reader {
    kinds: BTreeMap<u64, String>,
}

impl Reader {
    fn read(&mut self, record: &Record) -> Told {
        if self.kinds.is_empty() {
            self.kinds = kinds(&record.run);
        }
        let event: Value = serde_json::from_str(&record.text).expect("an event");
        let kind = event["step"].as_u64().and_then(|id| self.kinds.get(&id));
        let word = event["event"].as_str().expect("a word");
        (word.to_owned(), kind.cloned().unwrap_or_default())
    }
}

/// The kind of each step of the plan that a run keeps.
fn kinds(run: &Path) -> BTreeMap<u64, String> {
    let plan = std::fs::read(run.join("plan.json")).expect("a plan");
    let plan: Value = serde_json::from_slice(&plan).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps").iter();
    let kind = |step: &Value| {
        let kind = step["kind"]["kind"].as_str().expect("a kind");
        (step["id"].as_u64().expect("a number"), kind.to_owned())
    };
    steps.map(kind).collect()
}

/// An environment of an example, and a copy of its folder as another machine has it.
struct Example {
    here: Workspace,
    there: Workspace,
}

impl Example {
    fn new(name: &str) -> Self {
        let example = Self {
            here: Workspace::example(name),
            there: Workspace::example(name),
        };
        example.here.up(&[]);
        example
    }

    /// Applies until a moment comes; whether it came.
    fn apply(&self, when: impl FnMut(&Record) -> Option<Side>) -> bool {
        let command = self.here.command(&["apply", "--yes", "--local"]);
        let said = self.here.path("said");
        match killed_at(command, &said, when) {
            Ended::Killed => true,
            Ended::Exited(code) => {
                assert_eq!(code, 0, "{}", self.here.read("said"));
                false
            }
        }
    }

    /// What an apply of it records.
    fn records(&self) -> Vec<Told> {
        let mut reader = Reader::default();
        let mut records = Vec::new();
        let was_killed = self.apply(|record| {
            records.push(reader.read(record));
            None
        });
        assert!(!was_killed);
        self.destroy("nothing");
        records
    }

    /// Destroys from the other machine: no journal, no lock, no key.
    fn destroy(&self, told: &str) {
        assert!(!self.there.path(".dewpoint").exists());
        let mut command = self
            .there
            .command(&["destroy", "--project", "--yes", "--local"]);
        command.env("DEWPOINT_LOCAL_DIR", self.here.path("cloud"));
        let ran = self.there.finish(command);
        assert_eq!(ran.code, Some(0), "{told}: {}", ran.all());
        self.here.assert_empty();
        let _ = std::fs::remove_dir_all(self.there.path(".dewpoint"));
    }

    /// Applies to the end, and sees that nothing is left to do.
    fn converge(&self, told: &str) {
        let ran = self.here.local(&["apply", "--yes"]);
        assert_eq!(ran.code, Some(0), "{told}: {}", ran.all());
        let plan = self.here.local(&["plan", "--detailed-exitcode"]);
        assert_eq!(plan.code, Some(0), "{told}: {}", plan.all());
        assert!(plan.out.contains("No changes."), "{told}: {}", plan.all());
    }
}

/// Where a run is killed.
#[derive(Debug)]
enum At {
    /// The first record that tells this.
    First(Told),
    /// The record of this number.
    Number(usize),
}

/// What comes after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Converges,
    IsDestroyed,
}

/// The moments at which an apply with such records is killed, and what comes then.
fn moments(records: &[Told], begun: Then, done: Then) -> Vec<(At, Side, Then)> {
    if std::env::var_os("DEWPOINT_TEST_ALL").is_some() {
        let numbers = 1..=records.len();
        let sides = numbers.flat_map(|n| [(n, Side::Before), (n, Side::After)]);
        return sides
            .flat_map(|(n, side)| [Then::Converges, Then::IsDestroyed].map(|then| (n, side, then)))
            .map(|(n, side, then)| (At::Number(n), side, then))
            .collect();
    }
    let told: BTreeSet<&Told> = records.iter().collect();
    let moments = told.into_iter().filter_map(|told| {
        let (side, then) = match told.0.as_str() {
            // Told, and nothing of it done; or all of it done, and not told.
            "started" => (Side::After, begun),
            "done" => (Side::Before, done),
            "run_started" => (Side::Before, begun),
            "run_finished" => (Side::After, done),
            _ => return None,
        };
        Some((At::First(told.clone()), side, then))
    });
    moments.collect()
}

fn killed(name: &str, begun: Then, done: Then) {
    if !guests() {
        return;
    }
    let example = Example::new(name);
    let records = example.records();
    let moments = moments(&records, begun, done);
    let count = moments.len();
    for (at, side, then) in moments {
        let told = format!("{name}: killed {side:?} {at:?}, then {then:?}");
        let mut reader = Reader::default();
        let came = example.apply(|record| {
            let is_it = match &at {
                At::First(told) => reader.read(record) == *told,
                At::Number(number) => record.number == *number,
            };
            is_it.then_some(side)
        });
        // How many records there are can differ by the tries that something takes.
        assert!(came || matches!(at, At::Number(_)), "{told}: it never came");
        if then == Then::Converges {
            example.converge(&told);
        }
        example.destroy(&told);
    }
    println!("{name}: killed at {count} moments");
}

#[test]
fn the_quickstart_is_killed_and_goes_on() {
    killed("quickstart", Then::IsDestroyed, Then::Converges);
}

#[test]
fn the_shared_volume_is_killed_and_goes_on() {
    killed("shared-volume", Then::Converges, Then::IsDestroyed);
}
