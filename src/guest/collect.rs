//! Artifacts: files of a droplet that a run's patterns name, onto this side.

use std::collections::BTreeSet;
use std::io::{Seek as _, Write as _};

use camino::Utf8Path;
use globset::{GlobBuilder, GlobMatcher};

use super::connect::Session;
use super::error::GuestError;
use super::exec::Status;
use super::output::Stream;
use super::shell::quote;
use super::sync::on_a_thread;
use super::unpack::unpack;

/// How much one run's artifacts may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// What a report, logs and a few screenshots need a hundred times over, and what a forgotten
/// `**` in a folder of models would exceed at once.
const LIMITS: Limits = Limits {
    files: 10_000,
    bytes: 2 * 1024 * 1024 * 1024,
};

/// Exit code of [`list_script`]: there is no such folder.
const NO_FOLDER: i32 = 8;

/// What was brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Files, by path relative to the destination, sorted.
    pub files: Vec<String>,
    /// Their size, all told.
    pub bytes: u64,
    /// Patterns that named nothing, in the order they were given.
    pub unmatched: Vec<String>,
    /// What was named and not brought back, sorted: links, and files that vanished meanwhile.
    pub skipped: Vec<String>,
}

/// Brings files back from a droplet: those below `cwd` (the user's home if there is none) that a
/// pattern names. `*` stays within a folder, `**` does not; a folder's name stands for all in it.
/// Links are not followed, neither there nor below `dest`.
///
/// # Errors
/// When a pattern is none or leads out of the folder, there is too much, the droplet sends what it
/// was not asked for, or `dest` cannot be written.
pub async fn collect(
    session: &Session,
    cwd: Option<&str>,
    patterns: &[String],
    dest: &Utf8Path,
) -> Result<CollectReport, GuestError> {
    collect_within(session, cwd, patterns, dest, LIMITS).await
}

pub(super) async fn collect_within(
    session: &Session,
    cwd: Option<&str>,
    patterns: &[String],
    dest: &Utf8Path,
    limits: Limits,
) -> Result<CollectReport, GuestError> {
    let patterns: Vec<Pattern> = patterns
        .iter()
        .map(|pattern| Pattern::parse(pattern))
        .collect::<Result<_, _>>()?;
    if patterns.is_empty() {
        return Ok(CollectReport::default());
    }
    let doing = "collecting artifacts";
    let said = session
        .sh(&list_script(cwd, &patterns), doing, tokio::io::empty())
        .await?;
    let listed = match said.status {
        Status::Exit(0) => said.out,
        // A run that failed early may not have made its folder: nothing matches.
        Status::Exit(NO_FOLDER) => Vec::new(),
        status => return Err(session.failed(doing, &status.to_string(), &said.err)),
    };
    let mut chosen = choose(&listed, &patterns);
    if chosen.files.len() > limits.files {
        return Err(GuestError::TooManyArtifacts {
            label: session.label().to_owned(),
            limit: limits.files,
        });
    }
    if chosen.bytes > limits.bytes {
        return Err(GuestError::ArtifactsTooLarge {
            label: session.label().to_owned(),
            limit_bytes: limits.bytes,
        });
    }
    if !chosen.files.is_empty() {
        let wanted: Vec<String> = std::mem::take(&mut chosen.files).into_iter().collect();
        let archive = fetch(session, cwd, &wanted, limits, doing).await?;
        let (dest, label) = (dest.to_owned(), session.label().to_owned());
        let asked = wanted.clone();
        let written =
            on_a_thread(move || unpack(archive, &asked, &dest, limits.bytes, &label)).await?;
        let missing = wanted
            .into_iter()
            .filter(|path| !written.contains_key(path));
        chosen.skipped.extend(missing);
        chosen.bytes = written.values().sum();
        chosen.files = written.into_keys().collect();
    }
    Ok(CollectReport {
        files: chosen.files.into_iter().collect(),
        bytes: chosen.bytes,
        unmatched: chosen.unmatched,
        skipped: chosen.skipped.into_iter().collect(),
    })
}

/// A pattern of artifacts.
struct Pattern {
    given: String,
    /// What it names itself, and all below that.
    matchers: [GlobMatcher; 2],
    /// The folders or the file it begins with, up to the first part that is not plain.
    root: Vec<String>,
}

impl Pattern {
    fn parse(given: &str) -> Result<Self, GuestError> {
        let bad = |problem: &str| GuestError::BadPattern {
            pattern: given.chars().filter(|c| !c.is_control()).collect(),
            problem: problem.to_owned(),
        };
        if given.starts_with('/') {
            return Err(bad("it is absolute"));
        }
        if given.contains('\0') {
            return Err(bad("it has a zero byte"));
        }
        let parts: Vec<&str> = given
            .split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .collect();
        if parts.is_empty() {
            return Err(bad(
                "it names the whole folder; write `**` if that is meant",
            ));
        }
        if parts.contains(&"..") {
            return Err(bad("it leads out of the folder by `..`"));
        }
        let text = parts.join("/");
        let glob = |text: &str| {
            let glob = GlobBuilder::new(text).literal_separator(true).build();
            glob.map(|glob| glob.compile_matcher())
                .map_err(|error| bad(&error.kind().to_string()))
        };
        let is_plain = |part: &&&str| !part.contains(['*', '?', '[', ']', '{', '}', '\\']);
        // A brace may hold a slash: then its parts are no parts, and come after it anyway.
        let root = parts.iter().take_while(is_plain);
        Ok(Self {
            given: given.to_owned(),
            matchers: [glob(&text)?, glob(&format!("{text}/**"))?],
            root: root.map(|part| (*part).to_owned()).collect(),
        })
    }

    fn names(&self, path: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.is_match(path))
    }
}

/// Lists what could match: type, size and path of all below each pattern's plain beginning, which
/// is not entered through a link. The droplet matches nothing itself: its shell's patterns are not
/// ours.
fn list_script(cwd: Option<&str>, patterns: &[Pattern]) -> String {
    let mut script = format!("{}|| exit {NO_FOLDER}\n", enter(cwd));
    let roots: BTreeSet<&[String]> = patterns
        .iter()
        .map(|pattern| pattern.root.as_slice())
        .collect();
    for root in &roots {
        // What is below another root is listed already.
        if (0..root.len()).any(|length| roots.contains(&root[..length])) {
            continue;
        }
        let mut path = ".".to_owned();
        let mut safe = String::new();
        for (index, part) in root.iter().enumerate() {
            path = format!("{path}/{part}");
            if index + 1 < root.len() {
                safe.push_str(&format!("[ ! -L {} ] && ", quote(&path)));
            }
        }
        let path = quote(&path);
        // What cannot be read, or vanishes, is not there.
        script.push_str(&format!(
            "{safe}{{ [ -e {path} ] || [ -L {path} ]; }} && find -P {path} ! -type d -printf '%y %s %p\\0' 2>/dev/null\n"
        ));
    }
    script.push_str("exit 0");
    script
}

/// What begins both commands: into the folder.
fn enter(cwd: Option<&str>) -> String {
    match cwd {
        Some(cwd) => format!("cd -- {} ", quote(cwd)),
        None => "cd -- \"$HOME\" ".to_owned(),
    }
}

#[derive(Default)]
struct Chosen {
    files: BTreeSet<String>,
    skipped: BTreeSet<String>,
    unmatched: Vec<String>,
    bytes: u64,
}

/// Matches what a droplet listed.
fn choose(listed: &[u8], patterns: &[Pattern]) -> Chosen {
    let mut chosen = Chosen::default();
    let mut has_matched = vec![false; patterns.len()];
    for line in listed.split(|&byte| byte == 0) {
        let mut parts = line.splitn(3, |&byte| byte == b' ');
        let (Some(kind), Some(size), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let path = path.strip_prefix(b"./").unwrap_or(path);
        let shown = String::from_utf8_lossy(path);
        let mut is_named = false;
        for (pattern, has_matched) in patterns.iter().zip(&mut has_matched) {
            if pattern.names(&shown) {
                is_named = true;
                *has_matched = true;
            }
        }
        if !is_named {
            continue;
        }
        match std::str::from_utf8(path) {
            Ok(path) if kind == b"f" => {
                if chosen.files.insert(path.to_owned()) {
                    let size = std::str::from_utf8(size).ok();
                    let size: Option<u64> = size.and_then(|size| size.parse().ok());
                    chosen.bytes = chosen.bytes.saturating_add(size.unwrap_or(u64::MAX));
                }
            }
            // No file, or one whose name this side could not keep.
            _ => drop(chosen.skipped.insert(shown.into_owned())),
        }
    }
    chosen.unmatched = patterns
        .iter()
        .zip(has_matched)
        .filter(|(_, has_matched)| !has_matched)
        .map(|(pattern, _)| pattern.given.clone())
        .collect();
    chosen
}

/// Takes these files as an archive into a file without a name.
async fn fetch(
    session: &Session,
    cwd: Option<&str>,
    wanted: &[String],
    limits: Limits,
    doing: &str,
) -> Result<std::fs::File, GuestError> {
    let script = format!(
        "{}&& exec tar -cz --no-recursion --hard-dereference --ignore-failed-read --null --verbatim-files-from -T - -f -",
        enter(cwd)
    );
    let mut names = Vec::new();
    for path in wanted {
        names.extend_from_slice(b"./");
        names.extend_from_slice(path.as_bytes());
        names.push(0);
    }
    let spool_error = |cause| GuestError::Write {
        path: "the folder for temporary files".into(),
        cause,
    };
    let mut spool = tempfile::tempfile().map_err(spool_error)?;
    let command = format!("exec sh -c {}", quote(&script));
    let mut length = 0_u64;
    let mut complaint = Vec::new();
    // What is packed is hardly ever larger than it was; headers are.
    let most = limits.bytes + limits.bytes / 4 + 16 * 1024 * 1024;
    let status = session
        .converse(&command, doing, names.as_slice(), |stream, bytes| {
            if stream == Stream::Err {
                complaint.extend_from_slice(&bytes);
                let surplus = complaint.len().saturating_sub(4096);
                complaint.drain(..surplus);
                return Ok(());
            }
            length += bytes.len() as u64;
            if length > most {
                return Err(GuestError::ArtifactsTooLarge {
                    label: session.label().to_owned(),
                    limit_bytes: limits.bytes,
                });
            }
            spool.write_all(&bytes).map_err(spool_error)
        })
        .await?;
    match status {
        // 1: a file changed or vanished while it was read.
        Status::Exit(0 | 1) => {
            spool.rewind().map_err(spool_error)?;
            Ok(spool)
        }
        status => Err(session.failed(
            doing,
            &status.to_string(),
            &super::exec::printable(&complaint),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_within_the_folder() {
        for bad in ["", ".", "/etc/passwd", "../x", "a/../../x", "a/[", "a\0b"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
        let names = |pattern: &str, path: &str| {
            Pattern::parse(pattern).is_ok_and(|pattern| pattern.names(path))
        };
        assert!(names("./report.xml", "report.xml"));
        assert!(names("logs/**", "logs/a/b.txt"));
        assert!(names("logs", "logs/a/b.txt"));
        assert!(names("*.xml", "a.xml"));
        assert!(!names("*.xml", "a/b.xml"));
        assert!(names("**/*.xml", "b.xml"));
        assert!(!names("logs", "logs2/a"));
    }

    #[test]
    fn only_what_can_match_is_listed() {
        let patterns: Vec<Pattern> = ["a/b/*.xml", "a/b/c/d.txt", "report.xml"]
            .iter()
            .map(|pattern| Pattern::parse(pattern).expect("good"))
            .collect();
        insta::assert_snapshot!(list_script(Some("/opt/my app"), &patterns), @r"
        cd -- '/opt/my app' || exit 8
        [ ! -L ./a ] && { [ -e ./a/b ] || [ -L ./a/b ]; } && find -P ./a/b ! -type d -printf '%y %s %p\0' 2>/dev/null
        { [ -e ./report.xml ] || [ -L ./report.xml ]; } && find -P ./report.xml ! -type d -printf '%y %s %p\0' 2>/dev/null
        exit 0
        ");
    }
}
