//! Code from git: resolved and fetched on this side, so that no credential reaches a droplet.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::connect::Session;
use super::error::GuestError;
use super::git_address::Address;
use super::git_command::{local, remote, run, start};
use super::sync::{SyncReport, sync_folder};
use super::tree::Choice;

/// Listing a repository's branches and tags.
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// Fetching one commit.
const FETCH_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Reading from the cache, on this machine.
const LOCAL_LIMIT: Duration = Duration::from_secs(5 * 60);
/// Between tries for the cache's lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How many names are suggested.
const SUGGESTIONS: usize = 3;

/// What a name in a repository stood for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitCommit {
    /// What was asked for: branch, tag, commit; `HEAD` if nothing was.
    pub reference: String,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
}

/// Asks a repository which commit a name stands for now. As with git, a tag hides a branch of the
/// same name, and an annotated tag stands for its commit. A commit of 40 digits is taken as it is:
/// whether it exists shows when it is fetched. Relative addresses are relative to `base`.
///
/// # Errors
/// When the address is of a kind that could run programs, the repository cannot be read without
/// asking for a password, or has no such name.
pub async fn resolve_git(
    url: &str,
    reference: Option<&str>,
    base: &Utf8Path,
) -> Result<GitCommit, GuestError> {
    let address = Address::parse(url, base)?;
    let name = reference.unwrap_or("HEAD");
    let found = |commit: &str| GitCommit {
        reference: name.to_owned(),
        commit: commit.to_ascii_lowercase(),
    };
    if is_commit(name) {
        return Ok(found(name));
    }
    if !is_name(name) {
        return Err(no_such(
            &address,
            name,
            "a name of a branch or tag has no blanks, `..`, `~^:?*[\\` and no dash before it"
                .to_owned(),
        ));
    }
    let places = places(name);
    let patterns = places.iter().flat_map(|place| {
        // The second one is the commit behind an annotated tag.
        [place.clone(), format!("{place}^{{}}")]
    });
    let listed = list(&address, patterns).await?;
    for place in &places {
        let peeled = format!("{place}^{{}}");
        let of = |wanted: &str| {
            let found = listed.iter().find(|(_, name)| name == wanted);
            found.map(|(commit, _)| commit.as_str())
        };
        if let Some(commit) = of(&peeled).or_else(|| of(place)) {
            return Ok(found(commit));
        }
    }
    unknown(&address, name).await.map(|commit| found(&commit))
}

/// Brings the files of one commit onto a droplet, without its history. The commit is fetched into
/// a repository below `cache`, which other processes may share, and sent as [`super::sync_path`]
/// sends a folder. Files in git LFS come as pointers. Submodules are fetched and come
/// with it; one whose address `.gitmodules` does not tell is left out, and reported.
///
/// # Errors
/// When the commit cannot be fetched, or the droplet does not take it.
pub async fn sync_git(
    session: &Session,
    url: &str,
    commit: &str,
    base: &Utf8Path,
    cache: &Utf8Path,
    into: &str,
) -> Result<SyncReport, GuestError> {
    super::target::check_folder(into)?;
    let address = Address::parse(url, base)?;
    if !is_commit(commit) {
        return Err(no_such(
            &address,
            commit,
            "name the commit by its 40 digits".to_owned(),
        ));
    }
    let repository = fetch(&address, commit, cache).await?;
    let folder = tempfile::tempdir().map_err(|cause| write_error(cache, cause))?;
    let path = Utf8PathBuf::try_from(folder.path().to_owned())
        .map_err(|bad| write_error(cache, bad.into_io_error()))?;
    let tree = path.join("tree");
    std::fs::create_dir(&tree).map_err(|cause| write_error(&tree, cause))?;
    let mut export = Export {
        cache,
        index: path.join("index"),
        left_out: Vec::new(),
    };
    export
        .write(&address, &repository, commit, &tree, "", DEEPEST)
        .await?;
    let mut report = sync_folder(session, &tree, Choice::All, into, None).await?;
    report.left_out.extend(export.left_out);
    report.left_out.sort();
    Ok(report)
}

/// Whether a name is a whole commit.
fn is_commit(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a name can be that of a branch or tag: `git help check-ref-format`.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.ends_with(".lock")
        && !["..", "//", "/.", "@{"]
            .iter()
            .any(|bad| name.contains(bad))
        && !name
            .chars()
            .any(|c| c.is_control() || " ~^:?*[\\".contains(c))
}

/// Where git looks for a name, first match first: `git help revisions`.
fn places(name: &str) -> Vec<String> {
    if name == "HEAD" || name.starts_with("refs/") {
        return vec![name.to_owned()];
    }
    ["refs/tags/", "refs/heads/"]
        .iter()
        .map(|folder| format!("{folder}{name}"))
        .collect()
}

/// What a repository lists under these patterns: commits and full names.
async fn list(
    address: &Address,
    patterns: impl IntoIterator<Item = String>,
) -> Result<Vec<(String, String)>, GuestError> {
    let mut command = remote(address).await;
    command.args(["ls-remote", "--quiet", "--", address.given()]);
    command.args(patterns);
    let output = run(command, address, "list", LIST_LIMIT).await?;
    let listed = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(commit, _)| is_commit(commit))
        .map(|(commit, name)| (commit.to_owned(), name.to_owned()))
        .collect();
    Ok(listed)
}

/// A name that stands nowhere: the tip that begins with these digits, or the nearest names.
async fn unknown(address: &Address, name: &str) -> Result<String, GuestError> {
    let all = list(address, []).await?;
    let is_short = (7..40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
    if is_short {
        let digits = name.to_ascii_lowercase();
        let mut tips: Vec<&str> = all
            .iter()
            .map(|(commit, _)| commit.as_str())
            .filter(|commit| commit.starts_with(&digits))
            .collect();
        tips.sort_unstable();
        tips.dedup();
        if let [commit] = tips[..] {
            return Ok(commit.to_owned());
        }
        return Err(no_such(
            address,
            name,
            "write all 40 digits of the commit: servers do not find it by fewer".to_owned(),
        ));
    }
    let mut near: Vec<(f64, &str)> = all
        .iter()
        .filter_map(|(_, full)| {
            full.strip_prefix("refs/heads/")
                .or_else(|| full.strip_prefix("refs/tags/"))
        })
        .filter(|full| !full.ends_with("^{}"))
        .map(|full| (strsim::jaro_winkler(full, name), full))
        .filter(|(likeness, _)| *likeness > 0.7)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let near: Vec<String> = near
        .iter()
        .take(SUGGESTIONS)
        .map(|(_, full)| format!("`{full}`"))
        .collect();
    let help = if all.is_empty() {
        "the repository is empty: push a commit first".to_owned()
    } else if near.is_empty() {
        format!("list them with `git ls-remote {}`", address.shown())
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    Err(no_such(address, name, help))
}

/// Fetches one commit into the cache, unless it is there. Gives the repository's folder.
async fn fetch(
    address: &Address,
    commit: &str,
    cache: &Utf8Path,
) -> Result<Utf8PathBuf, GuestError> {
    let name = hex::encode(&Sha256::digest(address.shown().as_bytes())[..16]);
    let folder = cache.join("git");
    let repository = folder.join(format!("{name}.git"));
    std::fs::create_dir_all(&folder).map_err(|cause| write_error(&folder, cause))?;
    // Held until the commit is there: two droplets often want the same one at once.
    let _lock = lock(address, &folder.join(format!("{name}.lock"))).await?;
    if holds(address, &repository, commit).await? {
        return Ok(repository);
    }
    let mut init = local(&repository);
    init.args(["init", "--quiet", "--bare", "--template="]);
    run(init, address, "fetch from", LOCAL_LIMIT).await?;

    let fetch = async |what: &[&str]| {
        let mut command = remote(address).await;
        command.arg("--git-dir").arg(&repository);
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        command.args(["-c", "core.hooksPath=/dev/null", "fetch", "--quiet"]);
        command.args([
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
        ]);
        command.args(what);
        run(command, address, "fetch from", FETCH_LIMIT).await
    };
    // A reference keeps the commit from being collected.
    let one = format!("+{commit}:refs/dewpoint/{commit}");
    let first = fetch(&["--depth=1", "--", address.given(), &one]).await;
    if holds(address, &repository, commit).await? {
        return Ok(repository);
    }
    match first {
        // It is there, and no commit.
        Ok(_) => return Err(not_shown(address, commit)),
        Err(error @ GuestError::GitTimeout { .. }) => return Err(error),
        // Some servers only give what a branch or tag leads to.
        Err(_) => {}
    }
    let mut everything = vec![
        "--",
        address.given(),
        "+refs/heads/*:refs/dewpoint/heads/*",
        "+refs/tags/*:refs/dewpoint/tags/*",
    ];
    if repository.join("shallow").exists() {
        // What lies below an earlier commit is not sent otherwise.
        everything.insert(0, "--unshallow");
    }
    let second = fetch(&everything).await;
    if holds(address, &repository, commit).await? {
        return Ok(repository);
    }
    second?;
    Err(not_shown(address, commit))
}

/// Waits for a lock file and holds it. Waiting is given up with the future, not with the lock.
async fn lock(address: &Address, path: &Utf8Path) -> Result<File, GuestError> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|cause| write_error(path, cause))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < FETCH_LIMIT => {
                sleep(LOCK_PAUSE).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(GuestError::GitTimeout {
                    doing: "fetch from",
                    url: address.shown().to_owned(),
                    limit: FETCH_LIMIT,
                });
            }
            Err(TryLockError::Error(cause)) => return Err(write_error(path, cause)),
        }
    }
}

fn not_shown(address: &Address, commit: &str) -> GuestError {
    no_such(
        address,
        commit,
        "push it, or name a branch or tag: the commit is on none that the repository shows"
            .to_owned(),
    )
}

/// Whether a repository holds a commit with all its files.
async fn holds(address: &Address, repository: &Utf8Path, commit: &str) -> Result<bool, GuestError> {
    if !repository.join("HEAD").exists() {
        return Ok(false);
    }
    let mut command = local(repository);
    command.args(["rev-parse", "--quiet", "--verify", "--end-of-options"]);
    command.arg(format!("refs/dewpoint/{commit}^{{commit}}"));
    let output = start(command, address, "fetch from", LOCAL_LIMIT).await?;
    if output.status.success() {
        return Ok(true);
    }
    // It came with a branch or tag: a reference of its own keeps it.
    let mut command = local(repository);
    command.arg("update-ref");
    command.args([&format!("refs/dewpoint/{commit}"), commit]);
    let output = start(command, address, "fetch from", LOCAL_LIMIT).await?;
    Ok(output.status.success() && is_a_commit(address, repository, commit).await?)
}

/// `update-ref` takes any object: a tree's or a tag's digits are no commit.
async fn is_a_commit(
    address: &Address,
    repository: &Utf8Path,
    commit: &str,
) -> Result<bool, GuestError> {
    let mut command = local(repository);
    command.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
    let output = start(command, address, "fetch from", LOCAL_LIMIT).await?;
    Ok(output.status.success())
}

/// How deep submodules may lie in submodules.
const DEEPEST: usize = 10;

/// Files of commits on their way to a folder.
struct Export<'a> {
    cache: &'a Utf8Path,
    index: Utf8PathBuf,
    /// Submodules that could not be found out, by their paths.
    left_out: Vec<String>,
}

impl Export<'_> {
    /// Writes the files of a commit below `tree`, with their modes and links, and those of its
    /// submodules. `within` is where `tree` is, relative to the first one: empty, or it ends with
    /// a slash.
    fn write<'f>(
        &'f mut self,
        address: &'f Address,
        repository: &'f Utf8Path,
        commit: &'f str,
        tree: &'f Utf8Path,
        within: &'f str,
        deepest: usize,
    ) -> BoxFuture<'f, Result<(), GuestError>> {
        Box::pin(async move {
            let links = checkout(address, repository, commit, tree, &self.index).await?;
            if links.is_empty() {
                return Ok(());
            }
            let urls = submodule_urls(address, repository, commit).await?;
            for (inner, path) in links {
                let full = format!("{within}{path}");
                let folder = tree.join(&path);
                let (Some(url), true) = (urls.get(&path), deepest > 0 && is_folder(tree, &path))
                else {
                    self.left_out.push(full);
                    continue;
                };
                let address = address.submodule(url)?;
                let repository = fetch(&address, &inner, self.cache).await?;
                let within = format!("{full}/");
                self.write(&address, &repository, &inner, &folder, &within, deepest - 1)
                    .await?;
            }
            Ok(())
        })
    }
}

/// Whether a path below a folder is a folder that no link leads to; made when it is not there.
fn is_folder(tree: &Utf8Path, path: &str) -> bool {
    let mut at = tree.to_owned();
    for part in path.split('/') {
        at.push(part);
        let is_there = match std::fs::symlink_metadata(&at) {
            Ok(metadata) => metadata.is_dir(),
            Err(_) => std::fs::create_dir(&at).is_ok(),
        };
        if !is_there || matches!(part, "" | "." | ".." | ".git") {
            return false;
        }
    }
    true
}

/// The addresses that `.gitmodules` of a commit tells, by the submodules' paths.
async fn submodule_urls(
    address: &Address,
    repository: &Utf8Path,
    commit: &str,
) -> Result<BTreeMap<String, String>, GuestError> {
    let mut command = local(repository);
    // Read as the commit has it: as a file it could be a link to somewhere else.
    command.args(["config", "--blob", &format!("{commit}:.gitmodules")]);
    command.args(["--null", "--get-regexp", r"^submodule\..*\.(path|url)$"]);
    let output = start(command, address, "read what was fetched from", LOCAL_LIMIT).await?;
    // One that is not there or cannot be understood tells nothing.
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    let mut urls: BTreeMap<String, String> = BTreeMap::new();
    for entry in String::from_utf8_lossy(&output.stdout).split('\0') {
        let Some((key, value)) = entry.split_once('\n') else {
            continue;
        };
        if let Some(name) = key.strip_suffix(".path") {
            paths.insert(name.to_owned(), value.trim_end_matches('/').to_owned());
        } else if let Some(name) = key.strip_suffix(".url") {
            urls.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(paths
        .into_iter()
        .filter_map(|(name, path)| Some((path, urls.remove(&name)?)))
        .collect())
}

/// Writes the files of a commit below a folder; gives the commits and paths of its submodules,
/// whose files are not there.
async fn checkout(
    address: &Address,
    repository: &Utf8Path,
    commit: &str,
    tree: &Utf8Path,
    index: &Utf8Path,
) -> Result<Vec<(String, String)>, GuestError> {
    let git = |arguments: &[&str]| {
        let mut command = local(repository);
        command.env("GIT_INDEX_FILE", index);
        // What this machine's git is set up to do to files must not tell machines apart.
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1");
        command.arg("--work-tree").arg(tree);
        command.args(["-c", "core.bare=false", "-c", "core.symlinks=true"]);
        command.args(["-c", "core.fileMode=true", "-c", "core.hooksPath=/dev/null"]);
        command.args(["-c", "core.attributesFile=/dev/null"]);
        command.args(arguments);
        command.current_dir(tree);
        command
    };
    let read = git(&["read-tree", commit]);
    run(read, address, "read what was fetched from", LOCAL_LIMIT).await?;
    let write = git(&["checkout-index", "--all", "--force", "--quiet"]);
    run(write, address, "read what was fetched from", LOCAL_LIMIT).await?;
    let list = git(&["ls-files", "--stage", "-z"]);
    let listed = run(list, address, "read what was fetched from", LOCAL_LIMIT).await?;
    Ok(String::from_utf8_lossy(&listed.stdout)
        .split('\0')
        .filter_map(|line| line.strip_prefix("160000 ")?.split_once('\t'))
        .filter_map(|(object, path)| {
            let commit = object.split(' ').next()?;
            Some((commit.to_owned(), path.to_owned()))
        })
        .collect())
}

fn no_such(address: &Address, reference: &str, help: String) -> GuestError {
    GuestError::NoSuchRef {
        url: address.shown().to_owned(),
        reference: reference.chars().filter(|c| !c.is_control()).collect(),
        help,
    }
}

fn write_error(path: &Utf8Path, cause: std::io::Error) -> GuestError {
    GuestError::Write {
        path: path.to_owned(),
        cause,
    }
}
