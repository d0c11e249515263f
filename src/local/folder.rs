//! The state folder of a local cloud, and what lies in it.

use std::fs::{self, File};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::error::LocalError;
use super::seam::Tier;
use super::store;

/// Marks a folder as a local cloud's: nothing else is ever deleted.
const MARK: &str = ".dewpoint-local-cloud";

/// A state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: Utf8PathBuf,
}

/// What stays the same each time the service starts. Only its owner may read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Makes ids and addresses differ from those of other local clouds.
    pub(super) seed: String,
    /// What requests must bring.
    pub(super) token: String,
    /// Where the API listens, if it is free.
    pub(super) api_port: Option<u16>,
    /// Where droplets' SSH servers listen, if it is free.
    pub(super) ssh_port: Option<u16>,
    /// What its droplets are, when that was asked for.
    #[serde(default)]
    pub(super) guests: Option<Tier>,
}

impl Folder {
    /// The folder at a path, made absolute; nothing is looked at.
    pub(super) fn at(path: &Utf8Path) -> Result<Self, LocalError> {
        let absolute = std::path::absolute(path)
            .and_then(|path| {
                Utf8PathBuf::from_path_buf(path).map_err(|_| io::ErrorKind::InvalidFilename.into())
            })
            .map_err(LocalError::io(format!("cannot use {path} as a folder")))?;
        Ok(Self { path: absolute })
    }

    /// Whether the folder is a local cloud's.
    pub(super) fn is_marked(&self) -> bool {
        self.path.join(MARK).exists()
    }

    /// Makes the folder, unless it is there; refuses one that holds something else.
    pub(super) fn prepare(&self) -> Result<(), LocalError> {
        let failed = || LocalError::io(format!("cannot make {}", self.path));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.path).map_err(failed())?;
        if self.is_marked() {
            return Ok(());
        }
        let mut entries = self.path.read_dir_utf8().map_err(failed())?;
        // Another process may be here at the same time, at this very point.
        let is_foreign =
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "up.lock"));
        if is_foreign && !self.is_marked() {
            return Err(LocalError::NotOurs {
                folder: self.path.clone(),
            });
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700)).map_err(failed())?;
        }
        use std::os::unix::fs::OpenOptionsExt as _;
        // Not by way of another name: a process that comes at the same time would see that alone.
        let mut mark = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.path.join(MARK))
            .map_err(failed())?;
        io::Write::write_all(
            &mut mark,
            b"The state of a local cloud. `dewpoint local reset` removes it.\n",
        )
        .map_err(failed())
    }

    pub(super) fn state(&self) -> Utf8PathBuf {
        self.path.join("state.json")
    }

    pub(super) fn endpoint(&self) -> Utf8PathBuf {
        self.path.join("endpoint.json")
    }

    pub(super) fn log(&self) -> Utf8PathBuf {
        self.path.join("cloud.log")
    }

    fn identity_file(&self) -> Utf8PathBuf {
        self.path.join("identity.json")
    }

    /// What stays the same; made at first use.
    pub(super) fn identity(&self) -> Result<Identity, LocalError> {
        let file = self.identity_file();
        let failed = || LocalError::io(format!("cannot read {file}"));
        match fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| failed()(io::Error::from(error)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Identity {
                seed: random_hex(16).map_err(failed())?,
                // As DigitalOcean's personal tokens look, so that whatever redacts those redacts it.
                token: format!("dop_v1_{}", random_hex(32).map_err(failed())?),
                api_port: None,
                ssh_port: None,
                guests: None,
            }),
            Err(error) => Err(failed()(error)),
        }
    }

    pub(super) fn keep_identity(&self, identity: &Identity) -> Result<(), LocalError> {
        self.write_json(&self.identity_file(), identity)
    }

    /// Replaces a file; only its owner may read it.
    pub(super) fn write_json(
        &self,
        file: &Utf8Path,
        value: &impl Serialize,
    ) -> Result<(), LocalError> {
        let failed = || LocalError::io(format!("cannot write {file}"));
        let bytes = serde_json::to_vec_pretty(value).map_err(|error| failed()(error.into()))?;
        store::replace(file, &bytes).map_err(failed())
    }

    /// The lock that whoever starts or stops the service holds.
    pub(super) fn lock_for_change(&self) -> Result<File, LocalError> {
        loop {
            let file = self.open_lock("up.lock")?;
            file.lock()
                .map_err(LocalError::io(format!("cannot lock {}", self.path)))?;
            // A reset in between leaves a lock on a file that is gone.
            if self.is_same_file("up.lock", &file) {
                return Ok(file);
            }
        }
    }

    /// The lock that the service holds while it lives; `None` while another holds it.
    pub(super) fn try_lock_for_service(&self) -> Result<Option<File>, LocalError> {
        let file = self.open_lock("serve.lock")?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => {
                Err(LocalError::io(format!("cannot lock {}", self.path))(error))
            }
        }
    }

    fn open_lock(&self, name: &str) -> Result<File, LocalError> {
        let path = self.path.join(name);
        let open = || {
            use std::os::unix::fs::OpenOptionsExt as _;
            File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
        };
        match open() {
            // A reset took the folder away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.prepare()?;
                open()
            }
            result => result,
        }
        .map_err(LocalError::io(format!("cannot open {path}")))
    }

    #[cfg(unix)]
    fn is_same_file(&self, name: &str, file: &File) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        match (fs::metadata(self.path.join(name)), file.metadata()) {
            (Ok(named), Ok(held)) => named.ino() == held.ino() && named.dev() == held.dev(),
            _ => false,
        }
    }

    #[cfg(not(unix))]
    fn is_same_file(&self, name: &str, _file: &File) -> bool {
        self.path.join(name).exists()
    }
}

/// So many random bytes, in hexadecimal digits.
fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut random)?;
    Ok(hex::encode(random))
}
