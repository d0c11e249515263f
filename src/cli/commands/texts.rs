//! `schema`, `completions` and `man`: made from the types and the arguments.

use clap::CommandFactory as _;

use crate::cli::args::Cli;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::print;
use crate::manifest;

/// Prints the JSON Schema of manifests.
#[must_use]
pub fn schema() -> Exit {
    let mut text =
        serde_json::to_string_pretty(&manifest::json_schema()).expect("a schema is plain data");
    text.push('\n');
    print(&text);
    Exit::Success
}

/// Prints a completion script.
#[must_use]
pub fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dewpoint", &mut script);
    print(&String::from_utf8_lossy(&script));
    Exit::Success
}

/// Prints the man page.
///
/// # Errors
/// When it cannot be rendered.
pub fn man() -> miette::Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|cause| CliError::Render {
            what: "the man page",
            cause: cause.into(),
        })?;
    print(&String::from_utf8_lossy(&page));
    Ok(Exit::Success)
}
