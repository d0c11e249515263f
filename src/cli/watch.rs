//! Waits until somebody saves: the manifest, or a file that a `sync` would bring.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::CliError;
use crate::guest::SourceFiles;

/// A save is over when nothing was written for so long: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(60);
/// A program that writes without end does not put a run off for longer.
const MOST_QUIET: usize = 20;

/// What everything looked like.
type Looks = BTreeMap<Utf8PathBuf, BTreeMap<String, String>>;

/// Whoever waits for a save.
pub struct Watch {
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<()>,
    watched: BTreeSet<PathBuf>,
    manifest: Utf8PathBuf,
    folders: Vec<Utf8PathBuf>,
    looked: Looks,
}

impl Watch {
    /// Looks at a manifest and at folders; what is saved from here on counts.
    ///
    /// # Errors
    /// When the system cannot tell of changes, or a folder cannot be read.
    pub fn new(manifest: Utf8PathBuf, folders: Vec<Utf8PathBuf>) -> Result<Self, CliError> {
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change of it. What cannot be told counts: it is looked at then.
            let is_reading = event.is_ok_and(|event| event.kind.is_access());
            if !is_reading {
                // Nobody listens any more when the program ends.
                let _ = sender.send(());
            }
        })
        .map_err(unwatched)?;
        let mut watch = Self {
            watcher,
            events,
            watched: BTreeSet::new(),
            manifest,
            folders,
            looked: Looks::new(),
        };
        watch.cover()?;
        watch.looked = watch.look();
        Ok(watch)
    }

    /// Waits until something is saved that makes a difference. What was saved since the last call
    /// counts. Nothing is lost when it is given up.
    ///
    /// # Errors
    /// When a folder that is new cannot be watched.
    pub async fn changed(&mut self) -> Result<(), CliError> {
        loop {
            let looks = self.look();
            if looks != self.looked {
                self.looked = looks;
                return Ok(());
            }
            if self.events.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            for _ in 0..MOST_QUIET {
                if timeout(QUIET, self.events.recv()).await.is_err() {
                    break;
                }
            }
            self.cover()?;
        }
    }

    fn look(&self) -> Looks {
        let mut looks = Looks::new();
        // A manifest that is just being written, or gone for a moment, looks different, too.
        let text = std::fs::read(&self.manifest).unwrap_or_default();
        let digest = crate::digest::Digest::of_bytes(&text).to_string();
        looks.insert(self.manifest.clone(), [(String::new(), digest)].into());
        for folder in &self.folders {
            let files = SourceFiles::read(folder, None).unwrap_or_default();
            looks.insert(folder.clone(), files.files);
        }
        looks
    }

    /// Watches every folder in which a file could be saved that counts, those that are new too. What
    /// git ignores (`target`, `node_modules`) takes no watch.
    fn cover(&mut self) -> Result<(), CliError> {
        let mut wanted = BTreeSet::new();
        wanted.extend(self.manifest.parent().map(|folder| match folder.as_str() {
            "" => PathBuf::from("."),
            _ => folder.as_std_path().to_owned(),
        }));
        for folder in &self.folders {
            wanted.extend(folders_in(folder));
        }
        let mut new = wanted.difference(&self.watched).peekable();
        if new.peek().is_some() {
            // In one go: macOS begins anew with each, and sees nothing until it has.
            let mut watched = self.watcher.paths_mut();
            for folder in new {
                watched
                    .add(folder, RecursiveMode::NonRecursive)
                    .map_err(unwatched)?;
            }
            watched.commit().map_err(unwatched)?;
        }
        // Those that are gone are not watched any more by themselves.
        self.watched = wanted;
        Ok(())
    }
}

fn folders_in(folder: &Utf8Path) -> impl Iterator<Item = PathBuf> {
    ignore::WalkBuilder::new(folder)
        .hidden(false)
        .require_git(false)
        .filter_entry(|entry| !matches!(entry.file_name().to_str(), Some(".git" | ".dewpoint")))
        .build()
        .flatten()
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()))
        .map(ignore::DirEntry::into_path)
}

fn unwatched(cause: notify::Error) -> CliError {
    CliError::Unwatched {
        cause: std::io::Error::other(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_counts_is_noticed_and_nothing_else() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = Utf8Path::from_path(temporary.path()).expect("UTF-8");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        write("dewpoint.yaml", "version: 1\n");
        write("src/a.py", "1\n");
        write(".gitignore", "target\n");
        write("target/x", "1\n");
        let manifest = folder.join("dewpoint.yaml");
        let mut watch = Watch::new(manifest, vec![folder.to_owned()]).expect("watched");
        // Saved as it was, or where nothing counts: nothing happens. A later save is what is noticed,
        // not these.
        write("src/a.py", "1\n");
        write("target/x", "2\n");
        write(".dewpoint/runs/journal", "x\n");
        let mut changed = Box::pin(watch.changed());
        assert!(timeout(QUIET * 5, &mut changed).await.is_err());
        write("src/a.py", "2\n");
        changed.as_mut().await.expect("noticed");
        drop(changed);
        // In a folder that was not there before.
        write("src/new/b.py", "1\n");
        watch.changed().await.expect("noticed");
        write("src/new/b.py", "2\n");
        watch.changed().await.expect("noticed");
        write("dewpoint.yaml", "version: 1\n# other\n");
        watch.changed().await.expect("noticed");
        // What is saved while nobody waits is noticed by whoever waits next.
        write("src/a.py", "3\n");
        watch.changed().await.expect("noticed");
    }
}
