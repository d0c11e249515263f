//! `dewpoint graph`: the steps of a plan as a picture.

use std::io::Write as _;

use camino::Utf8Path;

use crate::cli::args::{Graph as Options, GraphFormat};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::planning;
use crate::cli::terminal::{print, tell};
use crate::plan::Goal;
use crate::report::graph::{self, Graph};

/// Draws the plan.
///
/// # Errors
/// When it cannot be made, or the picture not be written.
pub async fn run(context: &Context, options: &Options) -> miette::Result<Exit> {
    let loaded = match options.destroy {
        true => context.load_to_look()?,
        false => context.load()?,
    };
    let goal = match (options.destroy, options.project, options.test) {
        (true, true, _) => Goal::DestroyProject,
        (true, false, _) => Goal::Destroy,
        (false, _, true) => Goal::Test,
        (false, _, false) => Goal::Apply,
    };
    let wishes = planning::Wishes {
        unprotect: &options.unprotect,
        targets: &options.narrowing.targets,
        replace: &options.narrowing.replace,
        only_destroy: options.only_destroy,
        ..planning::Wishes::default()
    };
    let planned = planning::make(context, loaded, goal, wishes).await?;
    if options.only_destroy || !options.narrowing.targets.is_empty() {
        // A picture does not show what is missing in it.
        for notice in &planned.plan.notices {
            tell(notice);
        }
    }
    let drawn = Graph::of(&planned.plan, options.steps);
    let text = match format(options) {
        GraphFormat::Mermaid => graph::mermaid(&drawn),
        GraphFormat::Dot => graph::dot(&drawn),
        GraphFormat::Svg => graph::svg(&drawn),
    };
    match &options.out {
        Some(path) => write(path, &text)?,
        None => print(&text)?,
    }
    Ok(Exit::Success)
}

/// The format that is asked for, else the one that the file's name speaks of.
fn format(options: &Options) -> GraphFormat {
    let named = || match options.out.as_deref()?.extension()? {
        "svg" => Some(GraphFormat::Svg),
        "dot" | "gv" => Some(GraphFormat::Dot),
        _ => None,
    };
    let format = options.format.or_else(named);
    format.unwrap_or(GraphFormat::Mermaid)
}

/// Writes a file in one piece: one that is there is replaced only by a whole one.
fn write(path: &Utf8Path, text: &str) -> Result<(), CliError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_str().is_empty() => folder,
        _ => Utf8Path::new("."),
    };
    let written = || -> std::io::Result<()> {
        let mut new = tempfile::Builder::new()
            // As any file of a document: no secret is in it.
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(folder)?;
        new.write_all(text.as_bytes())?;
        new.persist(path)?;
        Ok(())
    };
    written().map_err(|cause| CliError::Write {
        path: path.to_string(),
        cause,
    })
}
