//! What a shell offers while a command is typed: addresses of the manifest, environments and runs of
//! the folder, error codes. Only files are read; what cannot be read offers nothing.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use camino::{Utf8Path, Utf8PathBuf};
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};

use super::context;
use crate::desired;
use crate::execute::history;
use crate::manifest::{self, Inputs, Manifest, Unset};
use crate::report::codes;

/// How many runs are offered: those of late.
const RUNS: usize = 20;

/// Addresses of everything the manifest declares, and patterns for all instances of a droplet.
pub(super) fn addresses() -> Vec<CompletionCandidate> {
    let Some(manifest) = load() else {
        return Vec::new();
    };
    let mut found = droplets_of(&manifest);
    found.extend(manifest.volumes.keys().map(|name| format!("volume.{name}")));
    found.extend(
        manifest
            .snapshots
            .keys()
            .map(|name| format!("snapshot.{name}")),
    );
    found.extend(["firewall", "ssh_key"].map(str::to_owned));
    candidates(found)
}

/// Addresses of the manifest's droplets.
pub(super) fn droplets() -> Vec<CompletionCandidate> {
    candidates(
        load()
            .map(|manifest| droplets_of(&manifest))
            .unwrap_or_default(),
    )
}

/// What one side of a copy can be: a droplet of the manifest with a colon, or a path.
pub(super) fn sides_of_a_copy(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let droplets = load().map(|manifest| droplets_of(&manifest));
    let droplets = droplets.unwrap_or_default().into_iter();
    // Several cannot be a side.
    let droplets = droplets.filter(|address| !address.contains('*'));
    let sides = droplets.map(|address| format!("{address}:"));
    let mut found = candidates(sides.filter(|side| side.starts_with(&*typed)));
    found.extend(PathCompleter::any().complete(current));
    found
}

fn droplets_of(manifest: &Manifest) -> Vec<String> {
    let mut found = Vec::new();
    for (name, droplet) in &manifest.droplets {
        let instances = desired::instances(name, droplet);
        if instances.len() > 1 {
            found.push(format!("droplet.{name}[*]"));
        }
        found.extend(instances.iter().map(ToString::to_string));
    }
    found
}

/// Environments that were worked on from this folder, and the manifest's own.
pub(super) fn environments() -> Vec<CompletionCandidate> {
    let Some(manifest) = load() else {
        return Vec::new();
    };
    let mut found = BTreeSet::from([manifest.environment.clone()]);
    let before = format!("{}-", manifest.project);
    let locks = state().join("locks");
    for entry in std::fs::read_dir(locks).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let environment = name
            .strip_prefix(&before)
            .and_then(|name| name.strip_suffix(".lock"));
        found.extend(environment.map(str::to_owned));
    }
    candidates(found)
}

/// Runs of this folder, the newest first, with what each of them was.
pub(super) fn runs() -> Vec<CompletionCandidate> {
    let folder = state().join("runs");
    let ids = history::ids(&folder).unwrap_or_default();
    ids.iter()
        .take(RUNS)
        .enumerate()
        .map(|(order, id)| {
            let run = history::read(&folder, id, |_, _| false);
            let line = crate::report::history::line(&run, crate::report::style::Palette::PLAIN);
            let help = line.trim_start_matches(id.as_str()).trim().to_owned();
            CompletionCandidate::new(id)
                .help(Some(help.into()))
                .display_order(Some(order))
        })
        .collect()
}

/// Error codes.
pub(super) fn error_codes() -> Vec<CompletionCandidate> {
    candidates(codes::all().iter().map(|code| code.code.to_owned()))
}

fn candidates(texts: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    texts.into_iter().map(CompletionCandidate::new).collect()
}

/// The manifest that the command is about, as far as it is typed.
fn load() -> Option<Manifest> {
    let (name, _, bytes) = context::read(&file()).ok()?;
    let inputs = Inputs {
        environment: option(&["--env"]),
        unset: Unset::Kept,
        ..Inputs::default()
    };
    manifest::load(&name, &bytes, &inputs).ok()
}

fn file() -> Utf8PathBuf {
    let given = option(&["-f", "--file"]).or_else(|| std::env::var("DEWPOINT_FILE").ok());
    let file = given.unwrap_or_else(|| "dewpoint.yaml".to_owned());
    // Standard input is not for a shell to read.
    if file == "-" {
        "dewpoint.yaml".into()
    } else {
        file.into()
    }
}

fn state() -> Utf8PathBuf {
    let file = file();
    let folder = file.parent().unwrap_or(Utf8Path::new("."));
    folder.join(".dewpoint")
}

/// The value of an option among the words that are typed, which come after `--`.
fn option(names: &[&str]) -> Option<String> {
    value(std::env::args_os(), names)
}

fn value(words: impl Iterator<Item = OsString>, names: &[&str]) -> Option<String> {
    let words = words.map(|word| word.to_string_lossy().into_owned());
    let mut found = None;
    let mut is_next = false;
    for word in words {
        if is_next {
            found = Some(word);
            is_next = false;
            continue;
        }
        is_next = names.contains(&word.as_str());
        let with_value = names
            .iter()
            .find_map(|name| word.strip_prefix(name)?.strip_prefix('='));
        if let Some(value) = with_value {
            found = Some(value.to_owned());
        }
    }
    found.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_among_the_words() {
        let of = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            value(words, &["-f", "--file"])
        };
        assert_eq!(
            of("dewpoint -- dewpoint -f a.yaml run "),
            Some("a.yaml".to_owned())
        );
        assert_eq!(
            of("dewpoint run --file=b.yaml --fil"),
            Some("b.yaml".to_owned())
        );
        assert_eq!(of("dewpoint run -f"), None);
        assert_eq!(of("dewpoint run"), None);
    }
}
