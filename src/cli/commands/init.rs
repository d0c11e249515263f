//! `dewpoint init`: a commented starter manifest.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use camino::Utf8Path;

use crate::cli::args::Init;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::tell;
use crate::guest::without_credentials;
use crate::manifest::{self, Kit, Outline};

/// How much of a file is looked at, in bytes.
const MOST_READ: u64 = 1024 * 1024;

/// Writes the manifest, never over another.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub fn run(context: &Context, options: &Init) -> miette::Result<Exit> {
    let path = &context.global.file;
    if path != "-" && std::fs::symlink_metadata(path).is_ok() {
        return Err(CliError::Exists { path: path.clone() }.into());
    }
    let folder = folder(path);
    let project = match &options.project {
        Some(project) => project.clone(),
        None => ask(context, project_name(&folder)),
    };
    let outline = Outline {
        project,
        kit: kit(&folder),
        remote: remote(&folder),
    };
    let text = manifest::starter(&outline);
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
    let written = std::fs::File::create_new(path).and_then(|mut file| {
        file.write_all(text.as_bytes()).inspect_err(|_| {
            // Half a manifest, on a full disk, would be refused to be written anew.
            let _ = std::fs::remove_file(path);
        })
    });
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
    let mut found: Vec<String> = Vec::new();
    found.extend(outline.kit.words().map(|kit| format!("a project in {kit}")));
    found.extend(
        outline
            .remote
            .map(|remote| format!("the repository {remote}")),
    );
    let found = match found.is_empty() {
        true => String::new(),
        false => format!(" for {}", found.join(", ")),
    };
    let text = format!(
        "Wrote {path}{found}. Next:\n\n    dewpoint doctor          is all there that dewpoint needs?\n    dewpoint plan --local    what it would do, on a local cloud: no account\n    dewpoint test --local    the whole cycle there: build, boot, run, destroy\n"
    );
    tell(&context.terminal.fit_err(text));
    Ok(Exit::Success)
}

/// The folder that a manifest lies in, or would.
fn folder(path: &Utf8Path) -> PathBuf {
    let whole = std::path::absolute(path.as_std_path()).unwrap_or_default();
    whole.parent().map(Path::to_owned).unwrap_or_default()
}

/// The name of the project, if there is somebody to ask; else, and when nothing is said, the default.
fn ask(context: &Context, default: String) -> String {
    if !context.terminal.can_ask || context.global.file == "-" {
        return default;
    }
    let question = format!("Name of the project [{default}]: ");
    loop {
        match context.terminal.question(&question) {
            Some(answer) if answer.is_empty() => return default,
            Some(answer) => match manifest::check_project(&answer) {
                Ok(()) => return answer,
                Err(problem) => tell(&context.terminal.fit_err(problem)),
            },
            None => return default,
        }
    }
}

/// What a folder's files say a project is written in.
fn kit(folder: &Path) -> Kit {
    let has = |name: &str| folder.join(name).is_file();
    let mentions_pytest = |name: &str| {
        let mut text = String::new();
        let file = std::fs::File::open(folder.join(name));
        file.and_then(|file| file.take(MOST_READ).read_to_string(&mut text))
            .is_ok_and(|_| text.contains("pytest"))
    };
    if mentions_pytest("requirements.txt") {
        Kit::Pytest
    } else if ["pyproject.toml", "setup.py", "requirements.txt"]
        .into_iter()
        .any(has)
    {
        Kit::Unittest
    } else if has("Cargo.toml") {
        Kit::Rust
    } else if has("go.mod") {
        Kit::Go
    } else if has("package.json") {
        // What `npm ci` goes by.
        match has("package-lock.json") || has("npm-shrinkwrap.json") {
            true => Kit::Node,
            false => Kit::UnlockedNode,
        }
    } else {
        Kit::Other
    }
}

/// The address of the repository that a folder is a work tree of, without what it may hold of
/// credentials.
fn remote(folder: &Path) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["config", "--get", "remote.origin.url"])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let remote = said.trim();
    (output.status.success() && !remote.is_empty()).then(|| without_credentials(remote))
}

/// A name for the project, from the folder's.
fn project_name(folder: &Path) -> String {
    let name = folder
        .file_name()
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
            assert_eq!(
                project_name(&folder(Utf8Path::new(path))),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn files_tell_what_a_project_is_written_in() {
        let found = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            for (name, text) in files {
                std::fs::write(folder.path().join(name), text).expect("written");
            }
            kit(folder.path())
        };
        assert_eq!(found(&[]), Kit::Other);
        assert_eq!(found(&[("requirements.txt", "numpy\n")]), Kit::Unittest);
        assert_eq!(found(&[("requirements.txt", "pytest==8\n")]), Kit::Pytest);
        // A front end beside a service in Python.
        let both = [("package.json", "{}"), ("pyproject.toml", "")];
        assert_eq!(found(&both), Kit::Unittest);
        assert_eq!(found(&[("package.json", "{}")]), Kit::UnlockedNode);
        let locked = [("package.json", "{}"), ("package-lock.json", "{}")];
        assert_eq!(found(&locked), Kit::Node);
        assert_eq!(found(&[("Cargo.toml", "")]), Kit::Rust);
        assert_eq!(found(&[("go.mod", "")]), Kit::Go);
    }
}
