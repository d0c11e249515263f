//! What all benches share: rows with budgets, the table they print, the file beside it.
//!
//! A bench makes a [`Report`], adds rows, and ends with [`Report::finish`]: the table goes to standard
//! output, the same as JSON to `target/bench/<bench>.json`, and the process fails when a budget is
//! missed. The bench `table` puts the rows of all of them together.

#![allow(dead_code, reason = "no bench needs all of it")]

#[path = "../../tests/support/api_call.rs"]
pub mod api_call;
pub mod cloud;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use dewpoint::digest::Digest;
use dewpoint::plan::{Cost, Goal, Plan};
use serde::{Deserialize, Serialize};

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// No more than that.
    AtMost(f64),
    /// No less than that.
    AtLeast(f64),
}

/// One thing that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// The median, where it was measured several times.
    pub value: f64,
    pub unit: String,
    /// What it may be at most, or must be at least; absent when it is only told.
    pub budget: Option<f64>,
    /// How much of the budget is used: up to 1 it is met.
    pub ratio: Option<f64>,
    pub ok: bool,
    /// The smallest and the largest, where it was measured several times.
    pub least: Option<f64>,
    pub most: Option<f64>,
}

impl Row {
    fn new(name: &str, unit: &str, value: f64, budget: Option<Budget>) -> Self {
        let (budget, ratio) = match budget {
            None => (None, None),
            // Of what may not be at all.
            Some(Budget::AtMost(0.0)) if value == 0.0 => (Some(0.0), Some(0.0)),
            Some(Budget::AtMost(most)) => (Some(most), Some(value / most)),
            Some(Budget::AtLeast(least)) => (Some(least), Some(least / value)),
        };
        Self {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            budget,
            ratio,
            // Also what is no number is no success.
            ok: ratio.is_none_or(|ratio| ratio <= 1.0),
            least: None,
            most: None,
        }
    }
}

/// Where it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    /// What else went on when the bench began: the system's load of one minute.
    pub load: f64,
    /// The compiler, as it calls itself.
    pub compiler: String,
    /// What `[profile.release]` says, which benches are built with.
    pub profile: String,
}

impl Machine {
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let load = read("/proc/loadavg");
        let compiler = Command::new("rustc").arg("--version").output();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib / 1024.0 / 102.4).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or_default(),
            compiler: compiler
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
                .unwrap_or_default(),
            profile: profile(),
        }
    }

    pub fn describe(&self) -> String {
        format!(
            "{}, {} cores, {} GiB; Linux {}; {}; release profile: {}; load {}",
            self.cpu,
            self.cores,
            self.memory_gib,
            self.kernel,
            self.compiler,
            self.profile,
            self.load
        )
    }
}

/// The lines of `[profile.release]`, as they stand.
fn profile() -> String {
    let manifest = include_str!("../../Cargo.toml");
    let section = manifest.split("[profile.release]\n").nth(1);
    let lines = section.unwrap_or_default().lines();
    let lines: Vec<&str> = lines
        .take_while(|line| !line.starts_with('['))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    lines.join(", ")
}

/// What a bench leaves for programs, and for the table of all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    pub bench: String,
    pub machine: Machine,
    pub rows: Vec<Row>,
    pub notes: Vec<String>,
    /// Whether every budget is met.
    pub ok: bool,
}

/// The rows of one bench.
pub struct Report {
    document: Document,
}

impl Report {
    pub fn new(bench: &str) -> Self {
        let document = Document {
            bench: bench.to_owned(),
            machine: Machine::here(),
            rows: Vec::new(),
            notes: Vec::new(),
            ok: true,
        };
        Self { document }
    }

    /// Something that was measured once, or is a count.
    pub fn value(&mut self, name: &str, unit: &str, value: f64, budget: impl Into<Option<Budget>>) {
        let row = Row::new(name, unit, value, budget.into());
        self.document.rows.push(row);
    }

    /// Something that was measured several times: the median counts.
    pub fn values(
        &mut self,
        name: &str,
        unit: &str,
        values: &[f64],
        budget: impl Into<Option<Budget>>,
    ) {
        let spread = Spread::of(values);
        let mut row = Row::new(name, unit, spread.median, budget.into());
        row.least = Some(spread.least);
        row.most = Some(spread.most);
        self.document.rows.push(row);
    }

    /// A sentence below the table.
    pub fn note(&mut self, text: &str) {
        self.document.notes.push(text.to_owned());
    }

    /// Prints the table and writes the file.
    pub fn finish(mut self) -> ExitCode {
        let document = &mut self.document;
        document.ok = document.rows.iter().all(|row| row.ok);
        println!("\n{}", table(document));
        let folder = folder();
        std::fs::create_dir_all(&folder).expect("a folder for results");
        let text = serde_json::to_string_pretty(document).expect("plain data");
        let path = folder.join(format!("{}.json", document.bench));
        std::fs::write(path, text + "\n").expect("the result is written");
        if document.ok {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Where results lie: `target/bench`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench")
}

/// The document as text.
pub fn table(document: &Document) -> String {
    let mut text = format!("{}: {}\n", document.bench, document.machine.describe());
    text.push_str(&rows_text(&document.rows));
    for note in &document.notes {
        let _ = writeln!(text, "{note}");
    }
    let missed = document.rows.iter().filter(|row| !row.ok).count();
    let budgets = document.rows.iter().filter(|row| row.budget.is_some());
    let _ = match missed {
        0 => writeln!(text, "all {} budgets met", budgets.count()),
        missed => writeln!(text, "{missed} of {} budgets MISSED", budgets.count()),
    };
    text
}

/// Rows under a heading.
pub fn rows_text(rows: &[Row]) -> String {
    let width = rows
        .iter()
        .map(|row| row.name.chars().count())
        .max()
        .unwrap_or_default();
    let mut text = format!(
        "{:width$}{:>12}{:>12}{:>12}  {:7}{:>10}{:>7}\n",
        "", "value", "least", "most", "unit", "budget", "ratio"
    );
    for row in rows {
        let maybe = |value: Option<f64>| value.map(number).unwrap_or_default();
        let verdict = match (row.ratio, row.ok) {
            (None, _) => "",
            (Some(_), true) => "  met",
            (Some(_), false) => "  MISSED",
        };
        let ratio = row.ratio.map(|ratio| format!("{ratio:.2}"));
        let line = format!(
            "{:width$}{:>12}{:>12}{:>12}  {:7}{:>10}{:>7}{verdict}",
            row.name,
            number(row.value),
            maybe(row.least),
            maybe(row.most),
            row.unit,
            maybe(row.budget),
            ratio.unwrap_or_default(),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A number with some three significant digits.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size == 0.0 || size >= 1000.0 || value.fract() == 0.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// The middle of several values, and their ends.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: &[f64]) -> Self {
        assert!(!values.is_empty(), "something was measured");
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            least: sorted[0],
            median: sorted[sorted.len() / 2],
            most: sorted[sorted.len() - 1],
        }
    }
}

/// Milliseconds that something takes, measured so many times after once for nothing.
pub fn times_ms<T>(rounds: usize, mut what: impl FnMut() -> T) -> Vec<f64> {
    std::hint::black_box(what());
    (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            let made = std::hint::black_box(what());
            let took = begun.elapsed();
            // Taking it apart is no part of making it.
            drop(made);
            ms(took)
        })
        .collect()
}

/// Milliseconds of the processor that something takes which waits for nothing and nobody, measured so
/// many times after once for nothing: what else goes on here is no part of that.
pub fn processor_times_ms<T>(rounds: usize, mut what: impl FnMut() -> T) -> Vec<f64> {
    std::hint::black_box(what());
    (0..rounds)
        .map(|_| {
            let (took, made) = processor_ms(&mut what);
            // Taking it apart is no part of making it.
            drop(made);
            took
        })
        .collect()
}

/// Milliseconds of the processor that something takes this once, and what it makes.
pub fn processor_ms<T>(what: impl FnOnce() -> T) -> (f64, T) {
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let part = |of: i64| u64::try_from(of).expect("time goes on");
        Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
    };
    let begun = now();
    let made = std::hint::black_box(what());
    let took = now().checked_sub(begun).expect("time goes on");
    (ms(took), made)
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// A plan that does nothing, to put steps into.
pub fn empty_plan() -> Plan {
    Plan {
        version: 1,
        project: "bench".to_owned(),
        environment: "main".to_owned(),
        region: "nyc3".to_owned(),
        goal: Goal::Apply,
        desired_digest: Digest::of_bytes(b""),
        live_digest: Digest::of_bytes(b""),
        changes: vec![],
        activities: vec![],
        steps: vec![],
        edges: vec![],
        cost: Cost::default(),
        notices: vec![],
    }
}
