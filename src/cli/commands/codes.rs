//! `dewpoint explain`: the pages of error codes.

use crate::cli::args::Explain;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::print;
use crate::report::codes;

/// Shows the page of a code, of all codes of that name or part, or the list of all.
///
/// # Errors
/// When there is no such code.
pub fn run(context: &Context, options: &Explain) -> miette::Result<Exit> {
    let palette = context.terminal.out;
    let width = if context.terminal.out_folds {
        context.terminal.width()
    } else {
        usize::MAX
    };
    if options.markdown {
        print(&codes::document())?;
        return Ok(Exit::Success);
    }
    let Some(given) = &options.code else {
        print(&codes::list(palette, width))?;
        return Ok(Exit::Success);
    };
    let found = codes::find(given);
    if found.is_empty() {
        return Err(CliError::NoCode {
            given: given.clone(),
            nearest: codes::nearest(given).join(", "),
        }
        .into());
    }
    let pages: Vec<String> = found
        .iter()
        .map(|code| codes::page(code, palette, width))
        .collect();
    print(&pages.join("\n"))?;
    Ok(Exit::Success)
}
