//! What every command finds out first: which manifest, which folder, which cloud.

use std::collections::BTreeMap;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::args::Global;
use super::error::CliError;
use super::terminal::Terminal;
use super::variables::{self, Origin};
use crate::manifest::{self, Manifest, Unset};
use crate::report::hints::Flags;

/// Name of the folder beside the manifest that holds keys, history, caches and locks.
const FOLDER: &str = ".dewpoint";

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    /// Options of every command.
    pub global: Global,
    /// What the streams are.
    pub terminal: Terminal,
}

/// A manifest that was read and checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub manifest: Manifest,
    /// What it is called in messages.
    pub name: String,
    /// The folder that paths in it are relative to.
    pub base: Utf8PathBuf,
    /// Its text, for problems that only show outside it.
    pub text: Vec<u8>,
    /// The values that were given to its variables.
    pub variables: BTreeMap<String, String>,
    /// Names of variables without a value, of which something in the manifest consists: nothing can be
    /// made of it. See [`Context::load_to_look`].
    pub unset: Vec<String>,
}

impl Loaded {
    /// The folder `.dewpoint`, made when it is not there. Keys lie in it: it is for its owner alone
    /// and out of git's sight.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn state(&self) -> Result<Utf8PathBuf, CliError> {
        let folder = self.base.join(FOLDER);
        private_folder(folder.as_std_path()).map_err(unmade(&folder))?;
        let ignore = folder.join(".gitignore");
        // Whatever is there already stays, a link to nowhere too: nothing is written through it.
        let made = std::fs::File::create_new(&ignore).and_then(|mut file| {
            std::io::Write::write_all(&mut file, b"*\n").inspect_err(|_| {
                // On a full disk: an empty one would show git the keys from then on.
                let _ = std::fs::remove_file(&ignore);
            })
        });
        match made {
            Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(CliError::Write {
                    path: ignore.to_string(),
                    cause,
                })
            }
            _ => Ok(folder),
        }
    }

    /// A folder in `.dewpoint`, made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Result<Utf8PathBuf, CliError> {
        let path = self.state()?.join(name);
        private_folder(path.as_std_path()).map_err(unmade(&path))?;
        Ok(path)
    }

    /// A path as a person in the current folder would write it.
    #[must_use]
    pub fn relative<'a>(&self, path: &'a Utf8Path) -> &'a str {
        std::env::current_dir()
            .ok()
            // From the root every path would only lose its slash.
            .filter(|here| here.parent().is_some())
            .and_then(|here| path.as_std_path().strip_prefix(here).ok()?.to_str())
            .unwrap_or(path.as_str())
    }

    /// A path below `.dewpoint` that is only looked at, not made.
    #[must_use]
    pub fn looked_at(&self, name: &str) -> Utf8PathBuf {
        self.base.join(FOLDER).join(name)
    }
}

pub(super) fn unmade(path: &Utf8Path) -> impl FnOnce(std::io::Error) -> CliError {
    move |cause| CliError::Write {
        path: path.to_string(),
        cause,
    }
}

/// Makes a folder, and those above it, for its owner alone.
pub(super) fn private_folder(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

impl Context {
    /// What a further command has to be given to mean the same.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.global.flags()
    }

    /// Reads and checks the manifest.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or has problems: all of them at once.
    pub fn load(&self) -> miette::Result<Loaded> {
        let (text, inputs) = self.read()?;
        Ok(text.load(&inputs)?)
    }

    /// The same for a command that only looks at what there is, or empties it: a variable without a value
    /// stands in nobody's way where such a command does not need it.
    ///
    /// # Errors
    /// As [`Self::load`], also when a value is missing that it needs.
    pub fn load_to_look(&self) -> miette::Result<Loaded> {
        let (text, inputs) = self.read()?;
        if let Ok(whole) = text.load(&inputs) {
            return Ok(whole);
        }
        let inputs = manifest::Inputs {
            unset: Unset::Spared,
            ..inputs
        };
        let mut loaded = text.load(&inputs)?;
        loaded.unset = manifest::unset(&loaded.manifest, &inputs);
        Ok(loaded)
    }

    /// The manifest's text, and what it is read with.
    fn read(&self) -> miette::Result<(Text, manifest::Inputs)> {
        let (name, base, bytes) = read(&self.global.file)?;
        let values = variables::collect(&self.global)?;
        let (environment, given): (Vec<_>, Vec<_>) = values
            .into_iter()
            .partition(|(_, _, origin)| *origin == Origin::Environment);
        let plain = |values: Vec<(String, String, Origin)>| {
            values
                .into_iter()
                .map(|(name, value, _)| (name, value))
                .collect()
        };
        let inputs = manifest::Inputs {
            ambient: plain(environment),
            variables: plain(given),
            environment: self.global.environment.clone(),
            unset: Unset::Refused,
        };
        Ok((Text { name, base, bytes }, inputs))
    }
}

/// A manifest as it was read.
struct Text {
    name: String,
    base: Utf8PathBuf,
    bytes: Vec<u8>,
}

impl Text {
    fn load(&self, inputs: &manifest::Inputs) -> Result<Loaded, manifest::ManifestErrors> {
        let manifest = manifest::load(&self.name, &self.bytes, inputs)?;
        let variables = manifest::given(&manifest, inputs);
        Ok(Loaded {
            manifest,
            name: self.name.clone(),
            base: self.base.clone(),
            text: self.bytes.clone(),
            variables,
            unset: Vec::new(),
        })
    }
}

/// Reads a manifest: what it is called, the folder that paths in it are relative to, its bytes.
///
/// # Errors
/// When it is not there or cannot be read.
pub(super) fn read(path: &Utf8Path) -> Result<(String, Utf8PathBuf, Vec<u8>), CliError> {
    let here = || {
        std::env::current_dir()
            .and_then(|folder| {
                Utf8PathBuf::from_path_buf(folder)
                    .map_err(|odd| std::io::Error::other(format!("{} is not UTF-8", odd.display())))
            })
            .map_err(|cause| CliError::Read {
                path: "the current folder".to_owned(),
                cause,
            })
    };
    // One byte more than the manifest's own limit: enough to see that it is exceeded.
    let limit = manifest::MOST_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path == "-" {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|cause| CliError::Read {
                path: "standard input".to_owned(),
                cause,
            })?;
        return Ok(("<standard input>".to_owned(), here()?, bytes));
    }
    let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return Err(CliError::NoManifest {
                path: path.to_owned(),
            });
        }
        Err(cause) => {
            return Err(CliError::Read {
                path: path.to_string(),
                cause,
            });
        }
    }
    let whole = if path.is_absolute() {
        path.to_owned()
    } else {
        here()?.join(path)
    };
    let base = whole
        .parent()
        .map_or_else(|| "/".into(), Utf8Path::to_owned);
    Ok((path.to_string(), base, bytes))
}
