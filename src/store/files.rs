//! Files in a store: large ones, and long lists of them.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Listed, Store, StoreError};

/// How much is sent or fetched in one request. S3 takes no smaller parts than 5 MiB.
const PIECE: usize = 8 * 1_024 * 1_024;
/// How long parts may take to be thrown away, of a file that was not sent whole.
const THROW_AWAY: Duration = Duration::from_secs(2);

/// How a file was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    Whole,
    /// Nothing of it: it was to stop.
    Stopped,
}

impl Store {
    /// The objects that lie directly in a folder and whose names come after `after`, in no order; at
    /// most so many, and whether there are more.
    ///
    /// # Errors
    /// When the store does not answer, or refuses.
    pub async fn list_after(
        &self,
        folder: &[&str],
        after: Option<&str>,
        most: usize,
    ) -> Result<(Vec<Listed>, bool), StoreError> {
        self.refuse_links(folder)?;
        let path = self.path(folder);
        let mut objects = match after {
            Some(after) => {
                let offset = self.path(&[folder, &[after]].concat());
                self.objects.list_with_offset(Some(&path), &offset)
            }
            None => self.objects.list(Some(&path)),
        };
        let mut listed = Vec::new();
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| self.failed("list", folder, &error))?;
            let below: Vec<_> = object
                .location
                .prefix_match(&path)
                .into_iter()
                .flatten()
                .collect();
            if let [name] = below.as_slice() {
                if listed.len() == most {
                    return Ok((listed, true));
                }
                listed.push(Listed {
                    name: name.as_ref().to_owned(),
                    written: object.last_modified.timestamp_millis(),
                });
            }
        }
        Ok((listed, false))
    }

    /// Sends a file: afterwards it is there whole, or as it was before.
    ///
    /// # Errors
    /// When the file cannot be read, or the store does not answer, or refuses.
    pub async fn upload(
        &self,
        name: &[&str],
        file: &Path,
        stop: &CancellationToken,
    ) -> Result<Sent, StoreError> {
        self.refuse_links(name)?;
        let unread = |error: std::io::Error| StoreError::Local {
            path: file.display().to_string(),
            cause: error,
        };
        let mut source = File::open(file).await.map_err(unread)?;
        let first = piece(&mut source).await.map_err(unread)?;
        if first.len() < PIECE {
            let sending = self.write(name, first);
            return match stop.run_until_cancelled(sending).await {
                Some(sent) => sent.map(|()| Sent::Whole),
                None => Ok(Sent::Stopped),
            };
        }
        let path = self.path(name);
        let beginning = self.objects.put_multipart(&path);
        let mut upload = match stop.run_until_cancelled(beginning).await {
            Some(Ok(upload)) => upload,
            Some(Err(error)) => return Err(self.failed("write", name, &error)),
            None => return Ok(Sent::Stopped),
        };
        let mut next = Ok(first);
        loop {
            let piece_of_it = match next {
                Ok(bytes) => bytes,
                Err(error) => {
                    throw_away(upload).await;
                    return Err(unread(error));
                }
            };
            let is_last = piece_of_it.is_empty();
            let sent = if is_last {
                let completing = async { upload.complete().await.map(|_| ()) };
                stop.run_until_cancelled(completing).await
            } else {
                let putting = upload.put_part(PutPayload::from_bytes(piece_of_it));
                stop.run_until_cancelled(putting).await
            };
            match sent {
                Some(Ok(())) if is_last => return Ok(Sent::Whole),
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    throw_away(upload).await;
                    return Err(self.failed("write", name, &error));
                }
                None => {
                    throw_away(upload).await;
                    return Ok(Sent::Stopped);
                }
            }
            next = piece(&mut source).await;
        }
    }

    /// Fetches a file; false when there is none. What is larger than `most` is not fetched.
    ///
    /// # Errors
    /// When it is too large, cannot be written, or the store does not answer, or refuses.
    pub async fn download(
        &self,
        name: &[&str],
        into: &mut File,
        most: u64,
    ) -> Result<bool, StoreError> {
        self.refuse_links(name)?;
        let path = self.path(name);
        let size = match self.objects.head(&path).await {
            Ok(object) => object.size,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(self.failed("read", name, &error)),
        };
        if size > most {
            return Err(self.unreadable(name, format!("it is larger than {most} bytes")));
        }
        let mut begin = 0;
        while begin < size {
            let end = size.min(begin + PIECE as u64);
            let bytes = match self.objects.get_range(&path, begin..end).await {
                Ok(bytes) => bytes,
                Err(error) => return Err(self.failed("read", name, &error)),
            };
            // A server that sends something else than it was asked for.
            if bytes.len() as u64 != end - begin {
                return Err(self.unreadable(name, "it changed while it was read".to_owned()));
            }
            into.write_all(&bytes)
                .await
                .map_err(|cause| StoreError::Local {
                    path: "a temporary file".to_owned(),
                    cause,
                })?;
            begin = end;
        }
        let flushed = into.flush().await;
        flushed.map_err(|cause| StoreError::Local {
            path: "a temporary file".to_owned(),
            cause,
        })?;
        Ok(true)
    }

    /// What lies there is not what was put there.
    pub(crate) fn unreadable(&self, name: &[&str], why: String) -> StoreError {
        StoreError::Unreadable {
            address: self.address.clone(),
            name: name.join("/"),
            why,
        }
    }

    /// In a folder that others write to, a link could lead anywhere.
    fn refuse_links(&self, name: &[&str]) -> Result<(), StoreError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let mut path = folder.clone();
        for part in name {
            path.push(part);
            if std::fs::symlink_metadata(&path).is_ok_and(|seen| seen.is_symlink()) {
                return Err(self.unreadable(name, format!("{} is a link", path.display())));
            }
        }
        Ok(())
    }
}

/// The next piece of a file; empty at its end.
async fn piece(file: &mut File) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    file.take(PIECE as u64).read_to_end(&mut bytes).await?;
    Ok(bytes.into())
}

/// Parts of a file that is not there whole are paid for.
async fn throw_away(mut upload: Box<dyn MultipartUpload>) {
    match timeout(THROW_AWAY, upload.abort()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%error, "parts of a file are left in the store"),
        Err(_) => tracing::info!("parts of a file may be left in the store"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetched(store: &Store, name: &[&str], most: u64) -> Result<Option<usize>, StoreError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut into = File::create(file.path()).await.expect("opened");
        let found = store.download(name, &mut into, most).await?;
        let bytes = std::fs::read(file.path()).expect("read");
        Ok(found.then_some(bytes.len()))
    }

    #[tokio::test]
    async fn files_come_back_as_they_were_sent() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shared = folder.path().join("shared");
        std::fs::create_dir(&shared).expect("made");
        let in_folder = Store::open_for_files(shared.to_str().expect("UTF-8")).expect("a folder");
        for store in [Store::in_memory(), in_folder] {
            let stop = CancellationToken::new();
            for size in [0, 1, PIECE - 1, PIECE, 2 * PIECE + 3] {
                let file = folder.path().join("file");
                std::fs::write(&file, vec![7; size]).expect("written");
                let name = ["files", "one"];
                let sent = store.upload(&name, &file, &stop).await.expect("sent");
                assert_eq!(sent, Sent::Whole);
                let back = fetched(&store, &name, 1 << 30).await.expect("fetched");
                assert_eq!(back, Some(size));
                if size > 0 {
                    let error = fetched(&store, &name, size as u64 - 1).await;
                    assert!(error.expect_err("too large").to_string().contains("larger"));
                }
            }
            assert_eq!(
                fetched(&store, &["files", "two"], 9).await.expect("none"),
                None
            );
            stop.cancel();
            let file = folder.path().join("file");
            let sent = store.upload(&["files", "two"], &file, &stop).await;
            assert_eq!(sent.expect("no fault"), Sent::Stopped);
            let (listed, more) = store.list_after(&["files"], None, 9).await.expect("listed");
            assert_eq!((listed.len(), more), (1, false), "{store:?}");
        }
    }

    #[tokio::test]
    async fn a_list_begins_after_a_name_and_has_an_end() {
        let store = Store::in_memory();
        for name in ["1", "2", "3", "4"] {
            let written = store.write(&["names", name], Bytes::new()).await;
            written.expect("written");
        }
        let list = async |after, most| {
            let (listed, more) = store
                .list_after(&["names"], after, most)
                .await
                .expect("listed");
            let names: Vec<String> = listed.into_iter().map(|it| it.name).collect();
            (names.join(" "), more)
        };
        assert_eq!(list(None, 4).await, ("1 2 3 4".to_owned(), false));
        assert_eq!(list(None, 3).await.1, true);
        assert_eq!(list(Some("2"), 9).await, ("3 4".to_owned(), false));
    }

    #[tokio::test]
    async fn links_in_a_shared_folder_lead_nowhere() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (shared, private) = (folder.path().join("shared"), folder.path().join("private"));
        std::fs::create_dir(&shared).expect("made");
        std::fs::create_dir(&private).expect("made");
        std::fs::write(private.join("key"), "secret").expect("written");
        std::os::unix::fs::symlink(&private, shared.join("files")).expect("linked");
        let store = Store::open_for_files(shared.to_str().expect("UTF-8")).expect("a folder");
        let error = fetched(&store, &["files", "key"], 99).await;
        assert!(error.expect_err("a link").to_string().contains("is a link"));
        let stop = CancellationToken::new();
        let file = private.join("key");
        let error = store.upload(&["files", "new"], &file, &stop).await;
        assert!(error.expect_err("a link").to_string().contains("is a link"));
        assert!(store.list_after(&["files"], None, 9).await.is_err());
        assert!(!private.join("new").exists());
    }
}
