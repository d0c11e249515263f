//! What stands in a git repository: revisions, files of theirs, and what git does not know.
//!
//! git itself is asked. It never asks back, locks nothing, and fetches nothing: what a partial clone
//! lacks is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use super::error::CliError;
use crate::guest::{Copied, Entry};

/// A link in a tree that leads to a link, and so on: after so many it is a circle.
const MOST_LINKS: usize = 10;

/// What stands for the contents of a file that Git LFS keeps is no longer than this.
const MOST_POINTER: usize = 1024;

/// A git repository with a working tree.
#[derive(Debug, Clone)]
pub struct Repository {
    top: Utf8PathBuf,
}

/// What is at a path of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TreeEntry {
    mode: String,
    object: String,
    path: String,
}

impl Repository {
    /// The repository that a folder lies in; `None` when it lies in none.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn around(folder: &Utf8Path) -> Result<Option<Self>, CliError> {
        let output = run(
            folder,
            &["rev-parse", "--show-toplevel"],
            "looking for a repository",
        )?;
        let top = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        Ok((output.status.success() && !top.is_empty()).then(|| Self { top: top.into() }))
    }

    /// The commit that a revision stands for; `None` when it is none.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn commit(&self, revision: &str) -> Result<Option<String>, CliError> {
        if revision.is_empty() || revision.starts_with('-') {
            return Ok(None);
        }
        let wanted = format!("{revision}^{{commit}}");
        let output = run(
            &self.top,
            &["rev-parse", "--verify", "--quiet", &wanted],
            "looking for a revision",
        )?;
        let commit = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        Ok((output.status.success() && !commit.is_empty()).then_some(commit))
    }

    /// The commit in which two lines of history last met; `None` when they never did.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn merge_base(&self, one: &str, other: &str) -> Result<Option<String>, CliError> {
        let output = run(
            &self.top,
            &["merge-base", one, other],
            "looking for a merge base",
        )?;
        let commit = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        Ok((output.status.success() && !commit.is_empty()).then_some(commit))
    }

    /// Where a path lies below the top of the working tree; `None` when it lies elsewhere.
    #[must_use]
    pub fn below_top(&self, path: &Utf8Path) -> Option<String> {
        let path = tidy(path)?;
        let real = |path: &Utf8Path| path.canonicalize_utf8().ok();
        // The folder may be reached by a link; the file itself need not be there.
        let whole = match (path.parent().and_then(real), path.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => path,
        };
        let top = real(&self.top).unwrap_or_else(|| self.top.clone());
        whole.strip_prefix(&top).ok().map(|path| path.to_string())
    }

    /// A path of the repository in the working tree.
    #[must_use]
    pub fn in_working_tree(&self, path: &str) -> Utf8PathBuf {
        self.top.join(path)
    }

    /// The first bytes of a file of a commit; `None` when it has none of that path.
    ///
    /// # Errors
    /// When git cannot be run or read.
    pub fn file(&self, commit: &str, path: &str, most: u64) -> Result<Option<Vec<u8>>, CliError> {
        let Some((_, entries)) = self.resolve(commit, path)? else {
            return Ok(None);
        };
        let [entry] = entries.as_slice() else {
            return Ok(None);
        };
        let mut child = git(&self.top)
            .args(["cat-file", "blob", &entry.object])
            .spawn()
            .map_err(|cause| CliError::NoGit { cause })?;
        let mut bytes = Vec::new();
        let out = child.stdout.take().expect("it is piped");
        let read = out.take(most).read_to_end(&mut bytes);
        // What is beyond the limit is not waited for.
        let _ = child.kill();
        let _ = child.wait();
        read.map_err(|cause| CliError::Read {
            path: format!("{path} in git"),
            cause,
        })?;
        Ok(Some(bytes))
    }

    /// What a recipe would copy from a path of a commit; `None` when it has nothing there.
    ///
    /// # Errors
    /// When git cannot be run or read.
    pub fn copied(&self, commit: &str, path: &str) -> Result<Option<Copied>, CliError> {
        let Some((path, entries)) = self.resolve(commit, path)? else {
            return Ok(None);
        };
        let objects: Vec<&str> = entries
            .iter()
            .filter(|entry| entry.mode != SUBMODULE)
            .map(|entry| entry.object.as_str())
            .collect();
        let contents = self.contents(&objects)?;
        let read = |entry: &TreeEntry| match (entry.mode.as_str(), contents.get(&entry.object)) {
            // A clone without submodules has an empty folder there.
            (SUBMODULE, _) | (_, None) => Entry::Folder,
            (LINK, Some(contents)) => Entry::Link {
                target: String::from_utf8_lossy(&contents.beginning).into_owned(),
            },
            (mode, Some(contents)) => Entry::File {
                executable: mode == EXECUTABLE,
                size: contents.size,
                sha256: contents.sha256,
            },
        };
        if let [entry] = entries.as_slice()
            && entry.path == path
            && entry.mode != SUBMODULE
        {
            return Ok(Some(Copied::File(read(entry))));
        }
        let below = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut found = BTreeMap::new();
        for entry in &entries {
            let relative = entry.path.strip_prefix(&below).unwrap_or_default();
            if relative.is_empty() || Copied::leaves_out(relative) {
                continue;
            }
            // git keeps no folders, only what lies in them.
            for (at, _) in relative.match_indices('/') {
                found.insert(relative[..at].to_owned(), Entry::Folder);
            }
            found.insert(relative.to_owned(), read(entry));
        }
        Ok(Some(Copied::Folder(found)))
    }

    /// What git knows below a path of the working tree: paths from the top.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn tracked(&self, path: &str) -> Result<BTreeSet<String>, CliError> {
        let mut arguments = vec!["ls-files", "-z", "--full-name", "--"];
        if !path.is_empty() {
            arguments.push(path);
        }
        let output = succeed(&self.top, &arguments, "listing what git knows")?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .split_terminator('\0')
            .map(str::to_owned)
            .collect())
    }

    /// What is at a path, with the path itself: a link that was named stands for what it leads to.
    fn resolve(
        &self,
        commit: &str,
        path: &str,
    ) -> Result<Option<(String, Vec<TreeEntry>)>, CliError> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let entries = self.entries(commit, &path)?;
            let Some(first) = entries.first() else {
                return Ok(None);
            };
            if first.path != path || first.mode != LINK {
                return Ok(Some((path, entries)));
            }
            let contents = self.contents(&[&first.object])?;
            let target = contents
                .get(&first.object)
                .map(|contents| String::from_utf8_lossy(&contents.beginning).into_owned());
            let folder = Utf8Path::new(&path).parent().unwrap_or(Utf8Path::new(""));
            let Some(next) = target.and_then(|target| below(folder, &target)) else {
                return Ok(None);
            };
            path = next;
        }
        Ok(None)
    }

    fn entries(&self, commit: &str, path: &str) -> Result<Vec<TreeEntry>, CliError> {
        let mut arguments = vec!["ls-tree", "-r", "-z", "--full-tree", commit];
        if !path.is_empty() {
            arguments.push(path);
        }
        let output = succeed(&self.top, &arguments, "listing files of a revision")?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .split_terminator('\0')
            .filter_map(|line| {
                let (what, path) = line.split_once('\t')?;
                let mut words = what.split(' ');
                let (mode, _, object) = (words.next()?, words.next()?, words.next()?);
                Some(TreeEntry {
                    mode: mode.to_owned(),
                    object: object.to_owned(),
                    path: path.to_owned(),
                })
            })
            .collect())
    }

    /// Size, digest and beginning of blobs, read in one go.
    fn contents(&self, objects: &[&str]) -> Result<BTreeMap<String, Contents>, CliError> {
        let wanted: BTreeSet<&str> = objects.iter().copied().collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut child = git(&self.top)
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|cause| CliError::NoGit { cause })?;
        let mut asks = child.stdin.take().expect("it is piped");
        let mut answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let result = std::thread::scope(|scope| {
            let asking = &wanted;
            // git answers while it is asked: one thread would wait for itself.
            scope.spawn(move || {
                for object in asking {
                    // An end of git shows where it is read.
                    if writeln!(asks, "{object}").is_err() {
                        break;
                    }
                }
            });
            let mut found = BTreeMap::new();
            for object in &wanted {
                found.insert((*object).to_owned(), read_blob(&mut answers)?);
            }
            Ok(found)
        });
        if result.is_err() {
            let _ = child.kill();
        }
        let _ = child.wait();
        result.map_err(|cause| CliError::Read {
            path: "files of a revision".to_owned(),
            cause,
        })
    }
}

const LINK: &str = "120000";
const SUBMODULE: &str = "160000";
const EXECUTABLE: &str = "100755";

/// What stands in a blob.
#[derive(Debug)]
struct Contents {
    size: u64,
    sha256: [u8; 32],
    /// As much as a link's target or a pointer takes.
    beginning: Vec<u8>,
}

/// Reads one answer of `git cat-file --batch`.
fn read_blob(answers: &mut impl std::io::BufRead) -> std::io::Result<Contents> {
    let odd = |what: &str| std::io::Error::other(format!("git said `{what}`"));
    let mut head = String::new();
    answers.read_line(&mut head)?;
    let head = head.trim_end();
    let mut words = head.split(' ');
    let size: u64 = match (words.next(), words.next(), words.next()) {
        (Some(_), Some("blob"), Some(size)) => size.parse().map_err(|_| odd(head))?,
        _ => return Err(odd(head)),
    };
    let mut hash = Sha256::new();
    let mut beginning = Vec::new();
    let mut left = size;
    while left > 0 {
        let buffer = answers.fill_buf()?;
        if buffer.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let count = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        hash.update(&buffer[..count]);
        let room = (4 * MOST_POINTER).saturating_sub(beginning.len());
        beginning.extend_from_slice(&buffer[..count.min(room)]);
        answers.consume(count);
        left -= count as u64;
    }
    // A line break ends each answer.
    answers.read_line(&mut String::new())?;
    let (size, sha256) = pointer(&beginning).unwrap_or_else(|| (size, hash.finalize().into()));
    Ok(Contents {
        size,
        sha256,
        beginning,
    })
}

/// What a pointer of Git LFS stands for: size and digest of the contents, which lie elsewhere.
fn pointer(contents: &[u8]) -> Option<(u64, [u8; 32])> {
    let text = std::str::from_utf8(contents).ok()?;
    if contents.len() > MOST_POINTER || !text.starts_with("version https://git-lfs.github.com/") {
        return None;
    }
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let digest = hex::decode(value("oid sha256:")?).ok()?;
    Some((value("size ")?.parse().ok()?, digest.try_into().ok()?))
}

/// A path below a folder of a repository; `None` when it leads out of it.
#[must_use]
pub fn below(folder: &Utf8Path, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder
        .components()
        .map(|part| part.as_str())
        .filter(|part| *part != ".")
        .collect();
    for part in Utf8Path::new(path).components() {
        match part {
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir => drop(parts.pop()?),
            Utf8Component::Normal(part) => parts.push(part),
            Utf8Component::RootDir | Utf8Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// A path without `.` and `..`; `None` when it leads above the root.
fn tidy(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let rest = path.as_str().strip_prefix('/')?;
    below(Utf8Path::new(""), rest).map(|path| format!("/{path}").into())
}

fn git(folder: &Utf8Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_LITERAL_PATHSPECS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(folder: &Utf8Path, arguments: &[&str], _doing: &str) -> Result<Output, CliError> {
    git(folder)
        .args(arguments)
        .output()
        .map_err(|cause| CliError::NoGit { cause })
}

fn succeed(folder: &Utf8Path, arguments: &[&str], doing: &'static str) -> Result<Output, CliError> {
    let output = run(folder, arguments, doing)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(CliError::Git {
        doing,
        said: crate::report::markdown::visible(said.trim_end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_repository() {
        let folder = Utf8Path::new("ci/env");
        assert_eq!(below(folder, "./a/../b").as_deref(), Some("ci/env/b"));
        assert_eq!(below(folder, "../../x").as_deref(), Some("x"));
        assert_eq!(below(folder, "../../../x"), None);
        assert_eq!(below(folder, "/etc/passwd"), None);
        assert_eq!(below(Utf8Path::new(""), ".").as_deref(), Some(""));
    }

    #[test]
    fn a_pointer_stands_for_what_it_points_to() {
        let digest = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 12345\n"
        );
        let (size, sha256) = pointer(text.as_bytes()).expect("a pointer");
        assert_eq!((size, hex::encode(sha256)), (12345, digest.to_owned()));
        assert_eq!(pointer(b"version 2\n"), None);
    }
}
