//! `dewpoint init`: a commented starter manifest.

use std::io::Write as _;

use camino::Utf8Path;

use crate::cli::args::Init;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::tell;
use crate::manifest;

/// Writes the manifest, never over another.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub fn run(context: &Context, options: &Init) -> miette::Result<Exit> {
    let path = &context.global.file;
    let project = match &options.project {
        Some(project) => project.clone(),
        None => project_name(path),
    };
    let text = manifest::starter(&project);
    // What `init` writes must be what `validate` accepts: a project name that is none is said here.
    manifest::load(
        "the starter manifest",
        text.as_bytes(),
        &manifest::Inputs::default(),
    )?;
    if path == "-" {
        crate::cli::terminal::print(&text)?;
        return Ok(Exit::Success);
    }
    let written =
        std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => {}
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CliError::Exists { path: path.clone() }.into());
        }
        Err(cause) => {
            return Err(CliError::Write {
                path: path.to_string(),
                cause,
            }
            .into());
        }
    }
    tell(&format!(
        "Wrote {path}. Next:\n\n    dewpoint plan --local    what would happen, on a local cloud that needs no account\n    dewpoint test --local    the whole cycle there: build, boot, run, destroy\n"
    ));
    Ok(Exit::Success)
}

/// A name for the project, from the folder's.
fn project_name(path: &Utf8Path) -> String {
    let folder = std::path::absolute(path.as_std_path()).ok();
    let name = folder
        .as_deref()
        .and_then(|path| path.parent())
        .and_then(|folder| folder.file_name())
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .chars()
        .take(20)
        .collect();
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        "my-project".to_owned()
    } else {
        slug.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_a_valid_project_name() {
        for (path, expected) in [
            ("/home/x/Ollama Eval/dewpoint.yaml", "ollama-eval"),
            ("/srv/3d_render.v2/dewpoint.yaml", "d-render-v2"),
            ("/srv/42/dewpoint.yaml", "my-project"),
            (
                "/srv/a-very-long-name-of-a-folder/x.yaml",
                "a-very-long-name-of",
            ),
        ] {
            assert_eq!(project_name(Utf8Path::new(path)), expected, "{path}");
        }
    }
}
