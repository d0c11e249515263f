//! `schema`, `completions` and `man`: made from the types and the arguments.

use camino::Utf8Path;
use clap::CommandFactory as _;

use crate::cli::args::{Cli, SchemaOf};
use crate::cli::env_vars;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::print;
use crate::{diff, execute, manifest, plan, report};

/// Prints a JSON Schema.
///
/// # Errors
/// When it cannot be written.
pub fn schema(of: SchemaOf) -> miette::Result<Exit> {
    let schema = match of {
        SchemaOf::Manifest => manifest::json_schema(),
        SchemaOf::Plan => plan::json_schema(),
        SchemaOf::Diff => diff::json_schema(),
        SchemaOf::Drift => report::drift::json_schema(),
        SchemaOf::Event => execute::event::json_schema(),
    };
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain data");
    text.push('\n');
    print(&text)?;
    Ok(Exit::Success)
}

/// Prints a completion script: the shell asks this program what can follow, so that addresses,
/// environments and runs are offered as they are at that moment.
///
/// # Errors
/// When it cannot be written.
pub fn completions(shell: clap_complete::Shell) -> miette::Result<Exit> {
    let shells = clap_complete::env::Shells::builtins();
    let name = shell.to_string();
    let mut script = Vec::new();
    if let Some(completer) = shells.completer(&name) {
        let var = env_vars::COMPLETE;
        completer
            .write_registration(var, "dewpoint", "dewpoint", "dewpoint", &mut script)
            .map_err(|cause| CliError::Render {
                what: "the completion script",
                cause: cause.into(),
            })?;
    } else {
        clap_complete::generate(shell, &mut Cli::command(), "dewpoint", &mut script);
    }
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}

/// Prints the man page of dewpoint, or of one of its commands.
///
/// # Errors
/// When there is no such command, or the page cannot be rendered or written.
pub fn man(of: &[String]) -> miette::Result<Exit> {
    let mut command = Cli::command();
    // Names the pages of commands after the way to them: `dewpoint-local-up`.
    command.build();
    for word in of {
        command = command
            .find_subcommand(word)
            .cloned()
            .ok_or_else(|| CliError::NoCommand { word: word.clone() })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|cause| CliError::Render {
            what: "the man page",
            cause: cause.into(),
        })?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Success)
}

/// Writes the man page of dewpoint and of each of its commands into a folder.
///
/// # Errors
/// When one cannot be written.
pub fn all_man_pages(folder: &Utf8Path) -> miette::Result<Exit> {
    clap_mangen::generate_to(Cli::command(), folder).map_err(|cause| CliError::Write {
        path: folder.to_string(),
        cause,
    })?;
    Ok(Exit::Success)
}
