//! What a manifest's files and repositories hold, which the plan rests on beside the account.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use futures_util::future::try_join_all;

use super::context::Loaded;
use super::error::CliError;
use super::key::is_generated;
use crate::desired::{self, SshKey};
use crate::digest::Digest;
use crate::guest::{self, Identity};

/// What the manifest asks for but for its sources' commits, which no resource depends on: nothing is
/// asked of any repository. None when a file of a recipe cannot be read.
pub async fn desired_but_for_commits(
    loaded: &Loaded,
    identity: &Identity,
) -> Option<desired::Desired> {
    let reads = desired::reads(&loaded.manifest);
    let commits = reads.git.into_iter().map(|read| {
        let commit = desired::GitCommit {
            reference: read.reference.clone().unwrap_or_default(),
            commit: String::new(),
        };
        (read, commit)
    });
    let key = SshKey {
        public_key: identity.public_key_line(),
        fingerprint: identity.md5_fingerprint(),
        generated: is_generated(&loaded.manifest),
    };
    let copies = copies(loaded.base.clone(), reads.copies).await.ok()?;
    let inputs = desired::Inputs {
        ssh_key: key,
        copies,
        commits: commits.collect(),
    };
    desired::desired(&loaded.manifest, &inputs).ok()
}

/// Digests of what recipes copy.
async fn copies(base: Utf8PathBuf, paths: Vec<String>) -> miette::Result<BTreeMap<String, Digest>> {
    let reading = tokio::task::spawn_blocking(move || {
        paths
            .into_iter()
            .map(|from| {
                let digest = guest::copy_digest(&base.join(&from))?;
                Ok((from, digest))
            })
            .collect::<Result<BTreeMap<String, Digest>, guest::GuestError>>()
    });
    let copies = reading.await.map_err(|cause| CliError::Start {
        cause: std::io::Error::other(cause),
    })??;
    Ok(copies)
}

/// Reads what the manifest's recipes and sources name.
///
/// # Errors
/// When a file cannot be read, or a repository does not answer or lacks what is named.
pub async fn read_inputs(loaded: &Loaded, ssh_key: SshKey) -> miette::Result<desired::Inputs> {
    let reads = desired::reads(&loaded.manifest);
    let copies = copies(loaded.base.clone(), reads.copies);
    let commits = try_join_all(reads.git.into_iter().map(async |read| {
        let commit = guest::resolve_git(&read.url, read.reference.as_deref(), &loaded.base).await?;
        Ok::<_, guest::GuestError>((read, commit))
    }));
    let (copies, commits) = tokio::join!(copies, commits);
    Ok(desired::Inputs {
        ssh_key,
        copies: copies?,
        commits: commits?
            .into_iter()
            .map(|(read, commit)| {
                let commit = desired::GitCommit {
                    reference: commit.reference,
                    commit: commit.commit,
                };
                (read, commit)
            })
            .collect(),
    })
}
