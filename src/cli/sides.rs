//! Which two manifests a `diff` is about, and what their recipes copy on each side.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use super::args::{Diff, Global};
use super::context::{self, Context};
use super::error::CliError;
use super::revisions::{Repository, below};
use super::variables::{self, Origin};
use crate::desired;
use crate::diff::{CopiedFile, CopiedFiles, Side};
use crate::digest::Digest;
use crate::guest::{self, Copied, Entry};
use crate::manifest::{self, Manifest, ManifestErrors};

/// What stands for no manifest at all.
const NOTHING: &str = "/dev/null";

/// Both sides, read.
#[derive(Debug)]
pub struct Sides {
    /// Before; absent when there was none.
    pub old: Option<Side>,
    /// After.
    pub new: Side,
    /// What the reader should know of how they were read.
    pub notices: Vec<String>,
}

/// Where a manifest lies.
#[derive(Debug, Clone)]
enum Place {
    /// Nowhere.
    Nothing,
    /// In a file.
    File(Utf8PathBuf),
    /// In a commit: what the revision was called, and the path in the repository.
    Commit {
        revision: String,
        commit: String,
        path: String,
    },
}

/// A manifest's text.
struct Text {
    place: Place,
    /// What errors call it.
    name: String,
    /// The folder that paths in it are relative to: in the working tree, or in the repository.
    base: Utf8PathBuf,
    bytes: Vec<u8>,
}

/// Finds and reads both sides.
///
/// # Errors
/// When an argument is neither file nor revision, or both; when nothing is there to compare; all
/// problems of both manifests at once.
pub fn read(context: &Context, options: &Diff) -> miette::Result<Sides> {
    let finder = Finder::new(&context.global, options)?;
    let (old, new) = finder.places()?;
    let old = finder.text(old)?;
    let Some(new) = finder.text(new.clone())? else {
        return Err(CliError::NoNewManifest {
            place: finder.shown(&new),
        }
        .into());
    };
    let mut notices = Vec::new();
    let (old_manifest, new_manifest) = manifests(&context.global, old.as_ref(), &new)?;
    let mut copies = Copies {
        finder: &finder,
        notices: &mut notices,
    };
    let new_side = Side {
        name: new.name.clone(),
        copies: copies.of(&new, &new_manifest)?,
        manifest: new_manifest,
    };
    let old_side = match (old, old_manifest) {
        (Some(text), Some(manifest)) => Some(Side {
            name: text.name.clone(),
            copies: copies.of(&text, &manifest)?,
            manifest,
        }),
        _ => None,
    };
    notices.sort();
    notices.dedup();
    Ok(Sides {
        old: old_side,
        new: new_side,
        notices,
    })
}

/// What arguments mean.
struct Finder<'a> {
    options: &'a Diff,
    /// The manifest's path in the working tree.
    path: Utf8PathBuf,
    /// The repository it lies in.
    repository: Option<Repository>,
}

impl<'a> Finder<'a> {
    fn new(global: &Global, options: &'a Diff) -> Result<Self, CliError> {
        let path = options.path.clone().unwrap_or_else(|| global.file.clone());
        let folder = match path.parent() {
            Some(folder) if folder.is_dir() => folder.to_owned(),
            _ => Utf8PathBuf::from("."),
        };
        Ok(Self {
            repository: Repository::around(&folder)?,
            options,
            path,
        })
    }

    fn places(&self) -> Result<(Place, Place), CliError> {
        let Diff { old, new, .. } = self.options;
        if let Some(new) = new {
            return Ok((self.place(old)?, self.place(new)?));
        }
        if !Utf8Path::new(old).exists()
            && let Some((from, to, meets)) = range(old)
        {
            let from = if from.is_empty() { "HEAD" } else { from };
            let to = if to.is_empty() { "HEAD" } else { to };
            let new = self.revision(to, None)?;
            let mut old = self.revision(from, None)?;
            if meets
                && let (
                    Place::Commit {
                        revision, commit, ..
                    },
                    Place::Commit { commit: other, .. },
                    Some(repository),
                ) = (&mut old, &new, &self.repository)
            {
                *commit =
                    repository
                        .merge_base(commit, other)?
                        .ok_or_else(|| CliError::NoMergeBase {
                            one: from.to_owned(),
                            other: to.to_owned(),
                        })?;
                let short: String = commit.chars().take(12).collect();
                *revision = format!("{short} (where {to} left {from})");
            }
            return Ok((old, new));
        }
        Ok((self.place(old)?, Place::File(self.path.clone())))
    }

    /// A file that is there is a file, unless `-- PATH` says that revisions are meant.
    fn place(&self, given: &str) -> Result<Place, CliError> {
        if given == NOTHING {
            return Ok(Place::Nothing);
        }
        let path = Utf8Path::new(given);
        let is_file =
            self.options.path.is_none() && ((path.exists() && !path.is_dir()) || given == "-");
        let is_plain = !given.contains('/') && given != "-";
        if is_file && is_plain && self.commit(given)?.is_some() {
            return Err(CliError::Ambiguous {
                given: given.to_owned(),
                path: self.path.clone(),
            });
        }
        if is_file {
            return Ok(Place::File(path.to_owned()));
        }
        if let Some((revision, path)) = given.split_once(':')
            && self.commit(revision)?.is_some()
        {
            return self.revision(revision, Some(path));
        }
        self.revision(given, None)
    }

    fn commit(&self, revision: &str) -> Result<Option<String>, CliError> {
        match &self.repository {
            Some(repository) => repository.commit(revision),
            None => Ok(None),
        }
    }

    fn revision(&self, given: &str, path: Option<&str>) -> Result<Place, CliError> {
        let unknown = || {
            CliError::NoRevision {
            given: given.to_owned(),
            hint: match &self.repository {
                Some(_) => "name a file that is there, or a branch, tag or commit that `git log` knows; one of a server must be fetched first".to_owned(),
                None => format!("{} lies in no git repository, so only files can be compared", self.path),
            },
        }
        };
        let repository = self.repository.as_ref().ok_or_else(unknown)?;
        let commit = repository.commit(given)?.ok_or_else(unknown)?;
        let path = match path {
            Some(path) => below(Utf8Path::new(""), path),
            None => {
                let here = std::env::current_dir()
                    .ok()
                    .and_then(|here| Utf8PathBuf::from_path_buf(here).ok())
                    .unwrap_or_default();
                repository.below_top(&here.join(&self.path))
            }
        };
        let path = path.ok_or_else(|| CliError::OutsideRepository {
            path: self.path.clone(),
        })?;
        Ok(Place::Commit {
            revision: given.to_owned(),
            commit,
            path,
        })
    }

    /// A place as people write it.
    fn shown(&self, place: &Place) -> String {
        match place {
            Place::Nothing => NOTHING.to_owned(),
            Place::File(path) => path.to_string(),
            Place::Commit { revision, path, .. } => format!("{revision}:{path}"),
        }
    }

    /// Reads a manifest; `None` where there is none.
    fn text(&self, place: Place) -> Result<Option<Text>, CliError> {
        let name = self.shown(&place);
        match &place {
            Place::Nothing => Ok(None),
            Place::File(path) => {
                let (_, base, bytes) = context::read(path)?;
                let base = self.options.folder.clone().unwrap_or(base);
                Ok(Some(Text {
                    place,
                    name,
                    base,
                    bytes,
                }))
            }
            Place::Commit { commit, path, .. } => {
                let repository = self.repository.as_ref().expect("it has the commit");
                let most = manifest::MOST_BYTES as u64 + 1;
                let Some(bytes) = repository.file(commit, path, most)? else {
                    return Ok(None);
                };
                let base = Utf8Path::new(path).parent();
                Ok(Some(Text {
                    base: base.map_or_else(Utf8PathBuf::new, Utf8Path::to_owned),
                    place,
                    name,
                    bytes,
                }))
            }
        }
    }
}

/// `A..B` and `A...B`, and whether it is the latter: from where both met.
fn range(given: &str) -> Option<(&str, &str, bool)> {
    match given.split_once("...") {
        Some((from, to)) => Some((from, to, true)),
        None => given.split_once("..").map(|(from, to)| (from, to, false)),
    }
}

/// Both manifests, with the values of variables that are given to both.
fn manifests(
    global: &Global,
    old: Option<&Text>,
    new: &Text,
) -> miette::Result<(Option<Manifest>, Manifest)> {
    let values = variables::collect(global)?;
    let pairs = |of: &dyn Fn(Origin) -> bool| -> Vec<(String, String)> {
        let values = values.iter().filter(|(_, _, origin)| of(*origin));
        values
            .map(|(name, value, _)| (name.clone(), value.clone()))
            .collect()
    };
    let given = pairs(&|origin| origin == Origin::Given);
    // One side may not know a variable yet, or no longer.
    let inputs = manifest::Inputs {
        ambient: pairs(&|_| true),
        variables: Vec::new(),
        environment: global.environment.clone(),
        unset: manifest::Unset::Kept,
    };
    let load = |text: &Text, side: &str| {
        let name = format!("{} ({side})", text.name);
        manifest::load(&name, &text.bytes, &inputs).or_else(|_| {
            // Where a placeholder does not do, it is the missing value that is to be told.
            let inputs = manifest::Inputs {
                unset: manifest::Unset::Refused,
                ..inputs.clone()
            };
            manifest::load(&name, &text.bytes, &inputs)
        })
    };
    let before = old.map(|old| load(old, "OLD")).transpose();
    let after = load(new, "NEW");
    let (before, after) = match (before, after) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => return Err(error.into()),
        (Err(before), Err(after)) => {
            return Err(BothInvalid {
                sides: vec![before, after],
            }
            .into());
        }
    };
    let is_known = |name: &String| {
        let mut manifests = before.iter().chain([&after]);
        manifests.any(|manifest| manifest.variables.contains_key(name))
    };
    if given.iter().any(|(name, _)| !is_known(name)) {
        // In the words that every command has for it.
        let inputs = manifest::Inputs {
            variables: given,
            ..inputs.clone()
        };
        manifest::load(&format!("{} (NEW)", new.name), &new.bytes, &inputs)?;
    }
    Ok((before, after))
}

/// Neither side is a valid manifest.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("neither OLD nor NEW is a valid manifest")]
#[diagnostic(code(dewpoint::cli::both_invalid))]
struct BothInvalid {
    #[related]
    sides: Vec<ManifestErrors>,
}

/// Finds what recipes copy.
struct Copies<'a> {
    finder: &'a Finder<'a>,
    notices: &'a mut Vec<String>,
}

impl Copies<'_> {
    fn of(&mut self, text: &Text, manifest: &Manifest) -> Result<CopiedFiles, CliError> {
        let mut found = CopiedFiles::new();
        for from in desired::reads(manifest).copies {
            let copied = match &text.place {
                Place::Commit { commit, .. } => self.of_commit(text, commit, &from)?,
                Place::File(_) | Place::Nothing => self.of_folder(text, &from)?,
            };
            found.insert(from, copied);
        }
        Ok(found)
    }

    fn of_commit(&mut self, text: &Text, commit: &str, from: &str) -> Result<CopiedFile, CliError> {
        let repository = self.finder.repository.as_ref().expect("it has the commit");
        let path = below(&text.base, from);
        if let Some(path) = &path
            && let Some(copied) = repository.copied(commit, path)?
        {
            return Ok(known(&copied, BTreeSet::new()));
        }
        // Not in the revision: a file that git does not know at all lies as it is on both sides.
        let here = match &path {
            Some(path) => repository.in_working_tree(path),
            None => repository.in_working_tree(text.base.as_str()).join(from),
        };
        let is_tracked = match &path {
            Some(path) => !repository.tracked(path)?.is_empty(),
            None => false,
        };
        match guest::copied(&here) {
            Ok(copied) if !is_tracked => {
                self.notices.push(format!(
                    "what is copied from {from} is not in git: it is taken for what lies here now, in {} too",
                    text.name
                ));
                Ok(known(&copied, BTreeSet::new()))
            }
            _ => Ok(self.missing(text, from)),
        }
    }

    fn of_folder(&mut self, text: &Text, from: &str) -> Result<CopiedFile, CliError> {
        let place = text.base.join(from);
        let Ok(copied) = guest::copied(&place) else {
            return Ok(self.missing(text, from));
        };
        let untracked = self.untracked(&place, &copied)?;
        if let Some(folder) = &self.finder.options.folder {
            self.notices.push(format!(
                "copied files are those of {folder} on both sides: they do not differ"
            ));
        }
        Ok(known(&copied, untracked))
    }

    fn missing(&mut self, text: &Text, from: &str) -> CopiedFile {
        self.notices.push(format!(
            "{}: what is to be copied from {from} is not there; apply would refuse that",
            text.name
        ));
        CopiedFile {
            digest: Digest::of_bytes(b"nothing"),
            files: BTreeMap::new(),
            untracked: BTreeSet::new(),
        }
    }

    /// Of what is copied from a working tree, what git does not know.
    fn untracked(&self, place: &Utf8Path, copied: &Copied) -> Result<BTreeSet<String>, CliError> {
        let Some(repository) = &self.finder.repository else {
            return Ok(BTreeSet::new());
        };
        let whole = place.canonicalize_utf8().ok();
        let Some(path) = whole.and_then(|whole| repository.below_top(&whole)) else {
            return Ok(BTreeSet::new());
        };
        let tracked = repository.tracked(&path)?;
        let below = |relative: &str| match (path.is_empty(), relative.is_empty()) {
            (true, _) => relative.to_owned(),
            (_, true) => path.clone(),
            _ => format!("{path}/{relative}"),
        };
        Ok(files(copied)
            .into_iter()
            .filter(|(_, entry)| **entry != Entry::Folder)
            .filter(|(relative, _)| !tracked.contains(&below(relative)))
            .map(|(relative, _)| relative)
            .collect())
    }
}

fn files(copied: &Copied) -> BTreeMap<String, &Entry> {
    match copied {
        Copied::File(entry) => BTreeMap::from([(String::new(), entry)]),
        Copied::Folder(entries) => entries
            .iter()
            .map(|(path, entry)| (path.clone(), entry))
            .collect(),
    }
}

fn known(copied: &Copied, untracked: BTreeSet<String>) -> CopiedFile {
    CopiedFile {
        digest: copied.digest(),
        files: files(copied)
            .into_iter()
            .map(|(path, entry)| (path, entry.clone()))
            .collect(),
        untracked,
    }
}
