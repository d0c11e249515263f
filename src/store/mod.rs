//! A bucket, or a folder, that a team shares.
//!
//! What comes in: an address (`s3://BUCKET/PREFIX`, `file:///FOLDER`) and names. What goes out:
//! bytes, and when they were written by the store's own clock.
//!
//! **Invariants:**
//! - Only this module knows which kind of store it is; only it reads credentials of one, and no
//!   message bears them.
//! - [`Store::create`] is exclusive: of any number at once, one succeeds. A store that only
//!   pretends to is for the caller to find out ([`StoreError::NotExclusive`]): creating what is
//!   known to be there has to fail.

mod address;
mod error;
mod files;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

pub use error::StoreError;
pub use files::Sent;

use crate::secret::Secret;

/// The most of an object that is read: what is kept here are leases, of some hundred bytes.
const MOST_BYTES: usize = 64 * 1_024;

/// A place in a bucket or a folder.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    address: String,
    /// Where it is, when it is a folder.
    folder: Option<std::path::PathBuf>,
    /// Struck out of whatever a server says: some echo what they were sent.
    credentials: Arc<[Secret<String>]>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.address).finish()
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name below the folder that was listed.
    pub name: String,
    /// When it was written, in milliseconds since 1970 by the store's clock; stores may cut it to
    /// whole seconds.
    pub written: i64,
}

impl Store {
    /// Opens a place by its address. Nothing is sent yet.
    ///
    /// # Errors
    /// When it is no address of a store, a folder is not there, or there are no credentials.
    pub fn open(address: &str) -> Result<Self, StoreError> {
        address::open(address, address::For::Locks, |name| {
            std::env::var(name).ok()
        })
    }

    /// Opens a place for files, which may be large; a path of a folder will do as well.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_for_files(given: &str) -> Result<Self, StoreError> {
        let address = address::of_path(given)?;
        address::open(&address, address::For::Files, |name| {
            std::env::var(name).ok()
        })
    }

    /// One in memory, for tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self {
            objects: Arc::new(object_store::memory::InMemory::new()),
            prefix: Path::default(),
            address: "memory".to_owned(),
            folder: None,
            credentials: Arc::new([]),
        }
    }

    /// The address it was opened by.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The objects that lie directly in a folder, in no order.
    ///
    /// # Errors
    /// When the store does not answer, or refuses.
    pub async fn list(&self, folder: &[&str]) -> Result<Vec<Listed>, StoreError> {
        let path = self.path(folder);
        let mut listed = Vec::new();
        let mut objects = self.objects.list(Some(&path));
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| self.failed("list", folder, &error))?;
            let below: Vec<_> = object
                .location
                .prefix_match(&path)
                .into_iter()
                .flatten()
                .collect();
            if let [name] = below.as_slice() {
                listed.push(Listed {
                    name: name.as_ref().to_owned(),
                    written: object.last_modified.timestamp_millis(),
                });
            }
        }
        Ok(listed)
    }

    /// Reads an object, and when it was written; `None` when there is none, or no such bucket: list
    /// first.
    ///
    /// # Errors
    /// When the store does not answer, or refuses.
    pub async fn read(&self, name: &[&str]) -> Result<Option<(Bytes, i64)>, StoreError> {
        let object = match self.objects.get(&self.path(name)).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("read", name, &error)),
        };
        let written = object.meta.last_modified.timestamp_millis();
        let mut bytes = BytesMut::new();
        let mut pieces = object.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.failed("read", name, &error))?;
            if bytes.len() + piece.len() > MOST_BYTES {
                return Err(StoreError::Unreadable {
                    address: self.address.clone(),
                    name: name.join("/"),
                    why: format!("it is larger than {} KiB", MOST_BYTES / 1_024),
                });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Some((bytes.freeze(), written)))
    }

    /// Writes an object that is not there yet; false when it is there already.
    ///
    /// # Errors
    /// When the store does not answer, or refuses: then it may or may not be there.
    pub async fn create(&self, name: &[&str], bytes: Bytes) -> Result<bool, StoreError> {
        let (path, payload) = (self.path(name), PutPayload::from_bytes(bytes));
        let options = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(&path, payload, options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed("create", name, &error)),
        }
    }

    /// Writes an object, whether or not it is there.
    ///
    /// # Errors
    /// When the store does not answer, or refuses.
    pub async fn write(&self, name: &[&str], bytes: Bytes) -> Result<(), StoreError> {
        let payload = PutPayload::from_bytes(bytes);
        match self.objects.put(&self.path(name), payload).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("write", name, &error)),
        }
    }

    /// Removes an object; that it is not there is as good.
    ///
    /// # Errors
    /// When the store does not answer, or refuses.
    pub async fn remove(&self, name: &[&str]) -> Result<(), StoreError> {
        match self.objects.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", name, &error)),
        }
    }

    fn path(&self, name: &[&str]) -> Path {
        let parts = self.prefix.parts().map(|part| part.as_ref().to_owned());
        let name = name.iter().map(|part| (*part).to_owned());
        Path::from_iter(parts.chain(name))
    }

    fn failed(&self, verb: &str, name: &[&str], error: &object_store::Error) -> StoreError {
        let doing = format!("{verb} {}", name.join("/"));
        StoreError::of(&self.address, doing, error, &self.credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_a_store_that_creates_only_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = format!("file://{}/team%20one", folder.path().display());
        let error = Store::open(&address).expect_err("not there").to_string();
        assert!(error.contains("team one"), "{error}");
        std::fs::create_dir(folder.path().join("team one")).expect("made");
        let store = Store::open(&address).expect("a folder");
        let name = ["locks", "shop", "1"];
        assert_eq!(store.list(&["locks", "shop"]).await.expect("none"), []);
        assert_eq!(store.read(&name).await.expect("none"), None);
        let created = futures_util::future::join_all(
            (0..8).map(|writer| store.create(&name, Bytes::from(writer.to_string()))),
        )
        .await;
        let won = created
            .into_iter()
            .filter(|made| *made.as_ref().expect("no fault"));
        assert_eq!(won.count(), 1);
        store
            .write(&name, Bytes::from("again"))
            .await
            .expect("written");
        store
            .write(&["locks", "shop", "deeper", "2"], Bytes::new())
            .await
            .expect("written");
        let listed = store.list(&["locks", "shop"]).await.expect("listed");
        let (bytes, written) = store.read(&name).await.expect("read").expect("there");
        assert_eq!(bytes, "again");
        assert_eq!(
            listed,
            [Listed {
                name: "1".to_owned(),
                written
            }]
        );
        let large = std::fs::File::create(folder.path().join("team one/large")).expect("made");
        large.set_len(1 << 30).expect("sparse");
        let error = store.read(&["large"]).await.expect_err("too large");
        assert!(error.to_string().contains("larger than 64 KiB"), "{error}");
        store.remove(&name).await.expect("removed");
        store.remove(&name).await.expect("gone already");
        assert_eq!(store.read(&name).await.expect("none"), None);
    }
}
