//! `report`: a past run as a page for a browser.

use camino::Utf8Path;

use crate::cli::args::Report;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::team::Source;
use crate::cli::terminal::print;
use crate::execute::past_files;
use crate::guest::openssh::write_private;
use crate::report::html::{Page, render};

/// The page's name in the folder of its run.
const FILE: &str = "report.html";

/// Writes the page of a run, and prints where it is.
///
/// # Errors
/// When there is no such run, or the page cannot be written.
pub async fn run(context: &Context, options: &Report) -> miette::Result<Exit> {
    let loaded = context.load_to_look()?;
    let source = Source::of(&options.storing, &loaded)?;
    let run = source.find(&loaded, options.run.as_ref()).await?;
    let files = past_files::read(&run);
    let page = |is_in_folder| {
        render(Page {
            run: &run,
            files: &files,
            is_in_folder,
        })
    };
    let path = match options.output.as_deref() {
        Some(path) if path == "-" => {
            print(&page(false))?;
            return Ok(Exit::Success);
        }
        Some(path) => path.to_owned(),
        None => run.folder.join(FILE),
    };
    let is_in_folder = same_folder(path.parent(), &run.folder);
    write_private(&path, &page(is_in_folder)).map_err(|cause| CliError::Write {
        path: path.to_string(),
        cause,
    })?;
    print(&format!("{}\n", loaded.relative(&path)))?;
    Ok(Exit::Success)
}

fn same_folder(one: Option<&Utf8Path>, other: &Utf8Path) -> bool {
    let one = match one {
        Some(path) if path != "" => path,
        _ => Utf8Path::new("."),
    };
    one.canonicalize_utf8()
        .is_ok_and(|one| other.canonicalize_utf8().is_ok_and(|other| one == other))
}
