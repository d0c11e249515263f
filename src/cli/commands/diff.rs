//! `dewpoint diff`: what a change of the manifest means. No network, no account.

use crate::cli::args::{Diff, DiffFormat};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::prices;
use crate::cli::sides;
use crate::cli::terminal::print;
use crate::diff;
use crate::guest::quote;
use crate::report::{diff_markdown, diff_text};

/// Compares two manifests.
///
/// # Errors
/// When one of them cannot be found, read or understood.
pub fn run(context: &Context, options: &Diff) -> miette::Result<Exit> {
    let sides::Sides { old, new, notices } = sides::read(context, options)?;
    let cached = prices::cached(context);
    let prices = cached
        .as_ref()
        .map(|(catalog, at)| diff::Prices { catalog, at: *at });
    let mut difference = diff::compare(old.as_ref(), &new, prices)?;
    difference.notices.extend(notices);
    let text = match options.format {
        DiffFormat::Text => diff_text::render(
            &difference,
            diff_text::View {
                palette: context.terminal.out,
                width: context.terminal.width(),
                folds: context.terminal.out_folds,
            },
        ),
        DiffFormat::Markdown => diff_markdown::render(&difference, &command(context, options)),
        DiffFormat::Json => {
            let mut text = serde_json::to_string_pretty(&difference).expect("it is plain data");
            text.push('\n');
            text
        }
    };
    print(&text)?;
    if options.detailed_exitcode && !difference.is_empty() {
        return Ok(Exit::Changes);
    }
    Ok(Exit::Success)
}

/// What shows all of a difference.
fn command(context: &Context, options: &Diff) -> String {
    let Diff { old, new, path, .. } = options;
    let mut command = format!("dewpoint diff{} {}", context.flags(), quote(old));
    if let Some(new) = new {
        command.push_str(&format!(" {}", quote(new)));
    }
    if let Some(path) = path {
        command.push_str(&format!(" -- {}", quote(path.as_str())));
    }
    command
}
