//! The rows of all benches together, from the files they left in `target/bench`: the last bench of
//! `cargo bench`, which runs them by name.

mod support;

use std::process::ExitCode;

use support::{Document, folder, rows_text};

fn main() -> ExitCode {
    let mut documents = Vec::new();
    let entries = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a result");
        match serde_json::from_str::<Document>(&text) {
            Ok(document) => documents.push(document),
            Err(error) => {
                eprintln!("{}: not a result of a bench: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    documents.sort_by(|a, b| a.bench.cmp(&b.bench));
    let Some(first) = documents.first() else {
        println!("no bench has left a result in {}", folder().display());
        return ExitCode::SUCCESS;
    };
    println!("\n{}", first.machine.describe());
    for document in &documents {
        // A machine is the same but for what else went on.
        let mut machine = document.machine.clone();
        machine.load = first.machine.load;
        if machine != first.machine {
            println!(
                "{} was measured elsewhere: {}",
                document.bench,
                document.machine.describe()
            );
        }
    }
    let rows: Vec<_> = documents
        .iter()
        .flat_map(|document| {
            document.rows.iter().cloned().map(|mut row| {
                row.name = format!("{}: {}", document.bench, row.name);
                row
            })
        })
        .collect();
    println!("{}", rows_text(&rows));
    let missed = rows.iter().filter(|row| !row.ok).count();
    let budgets = rows.iter().filter(|row| row.budget.is_some()).count();
    println!("{} of {budgets} budgets met", budgets - missed);
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
