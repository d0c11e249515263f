//! The account on disk: one JSON file, replaced as a whole, so that a kill at any time leaves the
//! old one or the new one.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::{Notify, watch};

use super::account::{Account, Config};

/// Reads the account, if it was ever written.
///
/// # Errors
/// When the file cannot be read or is no account.
pub fn read(file: &Utf8Path, config: Config) -> std::io::Result<Option<Account>> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    let mut account: Account = serde_json::from_slice(&bytes)?;
    account.configure(config);
    Ok(Some(account))
}

/// Replaces a file as a whole; only its owner may read it.
///
/// # Errors
/// When it cannot be written.
pub fn replace(file: &Utf8Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Utf8Path::new("."));
    // Made with mode 0600.
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(bytes)?;
    fresh.persist(file.as_std_path())?;
    Ok(())
}

/// Writes the account; many changes that come at once are written once.
pub struct Store {
    file: Utf8PathBuf,
    account: Arc<Mutex<Account>>,
    wanted: AtomicU64,
    wake: Notify,
    saved: watch::Sender<u64>,
}

impl Store {
    /// A store for an account; [`Store::run`] must be running for anything to be written.
    #[must_use]
    pub fn new(file: Utf8PathBuf, account: Arc<Mutex<Account>>) -> Self {
        Self {
            file,
            account,
            wanted: AtomicU64::new(0),
            wake: Notify::new(),
            saved: watch::Sender::new(0),
        }
    }

    /// Asks for what has changed to be written, without waiting.
    pub fn ask(&self) -> u64 {
        let version = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        version
    }

    /// Waits until what has changed by now is written.
    pub async fn save(&self) {
        let version = self.ask();
        let mut saved = self.saved.subscribe();
        // The sender lives as long as this store.
        let _ = saved.wait_for(|done| *done >= version).await;
    }

    /// Writes whenever it is asked to, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            let version = self.wanted.load(Ordering::SeqCst);
            let store = Arc::clone(&self);
            let written = tokio::task::spawn_blocking(move || store.write()).await;
            match written {
                Ok(Ok(())) => {}
                // What is in memory stays true; the next change tries again.
                Ok(Err(error)) => tracing::error!(%error, file = %self.file, "cannot write state"),
                Err(error) => tracing::error!(%error, "writing state ended early"),
            }
            self.saved.send_replace(version);
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let bytes = {
            let account = self
                .account
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            serde_json::to_vec(&*account)?
        };
        replace(&self.file, &bytes)
    }
}
