//! What can go wrong between this machine and a droplet.

use std::time::Duration;

use camino::Utf8PathBuf;
use miette::Diagnostic;
use thiserror::Error;

use crate::units::Seconds;

/// A cause of whatever kind.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error of the SSH side: keys, connection, commands, files.
#[derive(Debug, Error, Diagnostic)]
pub enum GuestError {
    /// A key file cannot be read.
    #[error("cannot read the SSH key {path}")]
    #[diagnostic(
        code(dewpoint::guest::key_read),
        help("name an existing private key in `ssh.key`, or use `ssh.key: generated`")
    )]
    KeyRead {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// A key file holds no private key that can be understood.
    #[error("{path} is not a private key in OpenSSH format")]
    #[diagnostic(
        code(dewpoint::guest::key_format),
        help("make one with `ssh-keygen -t ed25519`, or use `ssh.key: generated`")
    )]
    KeyFormat {
        /// Which one.
        path: Utf8PathBuf,
        /// Why, as the parser says it.
        #[source]
        cause: Cause,
    },

    /// A key whose passphrase we do not ask for.
    #[error("the SSH key {path} is protected by a passphrase")]
    #[diagnostic(
        code(dewpoint::guest::key_encrypted),
        help("add it to your agent with `ssh-add {path}` and use `ssh.key: agent`")
    )]
    KeyEncrypted {
        /// Which one.
        path: Utf8PathBuf,
    },

    /// A key of a kind whose signatures differ each time, or that this program cannot use.
    #[error("the SSH key {name} is of kind {kind}, and only ed25519 will do")]
    #[diagnostic(
        code(dewpoint::guest::key_kind),
        help(
            "make one with `ssh-keygen -t ed25519`, or use `ssh.key: generated`: the host key of the droplets is derived from a signature, which must be the same each time"
        )
    )]
    KeyKind {
        /// Path or comment of the key.
        name: String,
        /// `ssh-rsa`, `ecdsa-sha2-nistp256` and so on.
        kind: String,
    },

    /// Others can read the key.
    #[error("others can read the SSH key {path} (mode {mode:04o})")]
    #[diagnostic(code(dewpoint::guest::key_permissions), help("run `chmod 600 {path}`"))]
    KeyPermissions {
        /// Which one.
        path: Utf8PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// A key file is there already.
    #[error("{path} is there already, and was left as it is")]
    #[diagnostic(
        code(dewpoint::guest::key_exists),
        help("use that key, or move it away")
    )]
    KeyExists {
        /// Where.
        path: Utf8PathBuf,
    },

    /// A key file cannot be written.
    #[error("cannot write the SSH key {path}")]
    #[diagnostic(
        code(dewpoint::guest::key_write),
        help("make room on the disk, or make the folder writable")
    )]
    KeyWrite {
        /// Where.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// No agent answers.
    #[error("no SSH agent answers")]
    #[diagnostic(
        code(dewpoint::guest::no_agent),
        help(
            "start one with `eval $(ssh-agent)` and add a key with `ssh-add`, or use `ssh.key: generated`"
        )
    )]
    NoAgent {
        /// Why.
        #[source]
        cause: Cause,
    },

    /// The agent would not sign.
    #[error("the SSH agent did not sign with the key {key}")]
    #[diagnostic(
        code(dewpoint::guest::agent_refused),
        help("unlock the agent, or confirm its question and try again")
    )]
    AgentRefused {
        /// The key's fingerprint.
        key: String,
        /// Why.
        #[source]
        cause: Cause,
    },

    /// The agent holds no ed25519 key.
    #[error("the SSH agent holds no ed25519 key, but {held}")]
    #[diagnostic(
        code(dewpoint::guest::agent_empty),
        help(
            "make one with `ssh-keygen -t ed25519` and add it with `ssh-add`, or use `ssh.key: generated`"
        )
    )]
    AgentEmpty {
        /// What it holds, in words.
        held: String,
    },

    /// The agent's signatures differ each time.
    #[error("the key {key} in the SSH agent signs the same text differently each time")]
    #[diagnostic(
        code(dewpoint::guest::not_deterministic),
        help("use an ed25519 key that is held in software, or `ssh.key: generated`")
    )]
    NotDeterministic {
        /// The key's fingerprint.
        key: String,
    },

    /// A pinned host key is no public key.
    #[error("the pinned host key of {label} is not a public key")]
    #[diagnostic(code(dewpoint::guest::bad_pin))]
    BadPin {
        /// Which droplet.
        label: String,
        /// Why.
        #[source]
        cause: Cause,
    },

    /// Nothing that speaks SSH answered in time.
    #[error("{label} did not answer SSH at {at} within {time}", time = seconds(*.waited))]
    #[diagnostic(
        code(dewpoint::guest::unreachable),
        help(
            "check that `ssh.allow_from` and the firewall let this machine in; look at the droplet's console if it did not boot"
        )
    )]
    Unreachable {
        /// Which droplet.
        label: String,
        /// Its address and port.
        at: String,
        /// How long it was tried.
        waited: Duration,
        /// What the last try met.
        #[source]
        cause: Cause,
    },

    /// Somebody else answers at the droplet's address.
    #[error("WRONG HOST KEY: whoever answers at {at} is not {label}; nothing was sent to it")]
    #[diagnostic(
        code(dewpoint::guest::wrong_host_key),
        help(
            "expected {expected}, got {seen}; find out who answers there before you go on: the droplet may have been rebuilt by hand, its image may ignore cloud-init's `ssh_keys` (then `ssh.host_key: accept-new`), or the connection is being intercepted"
        )
    )]
    WrongHostKey {
        /// Which droplet.
        label: String,
        /// Its address and port.
        at: String,
        /// Fingerprint of the pinned key.
        expected: String,
        /// Fingerprint of the key that was shown.
        seen: String,
    },

    /// The droplet does not let the key in.
    #[error("{label} refuses the key {key} for the user `{user}`")]
    #[diagnostic(
        code(dewpoint::guest::key_refused),
        help(
            "check `ssh.user` and `ssh.key`: a droplet only knows the key it was created with, and only for root unless its image says otherwise"
        )
    )]
    KeyRefused {
        /// Which droplet.
        label: String,
        /// The user.
        user: String,
        /// The key's fingerprint.
        key: String,
    },

    /// The other side's SSH and ours cannot agree.
    #[error("{label} and dewpoint found no common SSH protocol")]
    #[diagnostic(code(dewpoint::guest::protocol))]
    Protocol {
        /// Which droplet.
        label: String,
        /// Where they differ.
        #[source]
        cause: Cause,
    },

    /// The connection broke before the end was known.
    #[error("the connection to {label} was lost while {doing}")]
    #[diagnostic(
        code(dewpoint::guest::connection_lost),
        help(
            "apply again; if it happens at the same place, the command may restart the network or exhaust the droplet's memory"
        )
    )]
    ConnectionLost {
        /// Which droplet.
        label: String,
        /// What was being done.
        doing: String,
    },

    /// The SSH server would not start a command.
    #[error("the SSH server of {label} refused {doing}")]
    #[diagnostic(code(dewpoint::guest::refused))]
    Refused {
        /// Which droplet.
        label: String,
        /// What was to be done.
        doing: String,
    },

    /// A name that no environment variable can have, or a value with a zero byte.
    #[error("`{name}` cannot be set as an environment variable: {problem}")]
    #[diagnostic(
        code(dewpoint::guest::bad_variable),
        help("use letters, digits and underscores, and no zero byte")
    )]
    BadVariable {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// A command of our own failed over there.
    #[error("{doing} failed on {label} ({end}){}", indented(.output))]
    #[diagnostic(code(dewpoint::guest::remote_failed))]
    RemoteFailed {
        /// Which droplet.
        label: String,
        /// What was being done.
        doing: String,
        /// `exit 1`, `signal KILL`.
        end: String,
        /// The last of what it said.
        output: String,
    },

    /// A droplet answers without end.
    #[error("{label} answered more than {limit_bytes} bytes while {doing}")]
    #[diagnostic(code(dewpoint::guest::answer_too_long))]
    AnswerTooLong {
        /// Which droplet.
        label: String,
        /// What was being done.
        doing: String,
        /// The limit.
        limit_bytes: usize,
    },

    /// Something of our own took too long over there.
    #[error("{doing} took longer than {time} on {label}", time = seconds(*.limit))]
    #[diagnostic(
        code(dewpoint::guest::took_too_long),
        help("log in and look at `cloud-init status --long` and the system's journal")
    )]
    TookTooLong {
        /// Which droplet.
        label: String,
        /// What was being done.
        doing: String,
        /// How long it was given.
        limit: Duration,
    },

    /// cloud-init says that the first boot went wrong.
    #[error("the first boot of {label} ended with an error{}", indented(.output))]
    #[diagnostic(
        code(dewpoint::guest::first_boot),
        help("log in and read /var/log/cloud-init-output.log")
    )]
    FirstBoot {
        /// Which droplet.
        label: String,
        /// What cloud-init says.
        output: String,
    },

    /// An attached volume does not show up.
    #[error("the volume {volume} did not appear on {label} within {time}", time = Seconds(u64::from(*.waited_seconds)))]
    #[diagnostic(
        code(dewpoint::guest::volume_missing),
        help(
            "check that it is attached; the image must run udev, which names its device below /dev/disk/by-id"
        )
    )]
    VolumeMissing {
        /// Which droplet.
        label: String,
        /// The volume's name.
        volume: String,
        /// How long it was waited for.
        waited_seconds: u32,
    },

    /// A volume holds something else than it should.
    #[error("the volume {volume} holds {found}, not {wanted}; nothing was written to it")]
    #[diagnostic(
        code(dewpoint::guest::wrong_filesystem),
        help(
            "use a volume of another name; or set `filesystem` to what it holds, if that is ext4 or xfs; if nothing on it is needed, destroy it, and the next apply makes it anew"
        )
    )]
    WrongFilesystem {
        /// The volume's name.
        volume: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        wanted: String,
    },

    /// It cannot be told what a volume holds.
    #[error("it cannot be told what the volume {volume} holds; nothing was written to it{}", indented(.output))]
    #[diagnostic(
        code(dewpoint::guest::volume_unreadable),
        help("log in and look at it with `blkid -p` and `dmesg`")
    )]
    VolumeUnreadable {
        /// The volume's name.
        volume: String,
        /// What was said.
        output: String,
    },

    /// Something else is mounted where a volume should be.
    #[error("something else is mounted at {path} on {label}: {found}")]
    #[diagnostic(
        code(dewpoint::guest::mount_point_taken),
        help("name another folder in `mount`, or unmount what is there")
    )]
    MountPointTaken {
        /// Which droplet.
        label: String,
        /// The folder.
        path: String,
        /// What is mounted there.
        found: String,
    },

    /// A file system is in use.
    #[error("{path} on {label} cannot be unmounted{}", indented(.output))]
    #[diagnostic(
        code(dewpoint::guest::busy),
        help("end these processes in the last run step, or let them work elsewhere")
    )]
    Busy {
        /// Which droplet.
        label: String,
        /// Where it is mounted.
        path: String,
        /// What umount said, and which processes use it.
        output: String,
    },

    /// A program the droplet should have is not there.
    #[error("the image of {label} has no {program}")]
    #[diagnostic(
        code(dewpoint::guest::program_missing),
        help("install it in the snapshot's `provision` steps")
    )]
    ProgramMissing {
        /// Which droplet.
        label: String,
        /// Which program.
        program: String,
    },

    /// A path on a droplet that cannot be the target of files.
    #[error("`{path}` cannot be a target on a droplet: {problem}")]
    #[diagnostic(
        code(dewpoint::guest::bad_target),
        help("name an absolute path below `/`, such as /opt/app")
    )]
    BadTarget {
        /// Which one.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// A file on this side cannot be read.
    #[error("cannot read {path}")]
    #[diagnostic(
        code(dewpoint::guest::source_read),
        help("put it back or make it readable, and apply again")
    )]
    SourceRead {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// A folder was expected on this side.
    #[error("{path} is not a folder")]
    #[diagnostic(
        code(dewpoint::guest::source_folder),
        help("name a folder in `source.path`")
    )]
    SourceFolder {
        /// Which one.
        path: Utf8PathBuf,
    },

    /// A file name that cannot be carried faithfully.
    #[error("the file name `{path}` is not valid UTF-8")]
    #[diagnostic(
        code(dewpoint::guest::source_name),
        help("rename it, or list it in .gitignore")
    )]
    SourceName {
        /// The name, its odd bytes replaced.
        path: String,
    },

    /// There is no git on this side.
    #[error("cannot run git on this machine")]
    #[diagnostic(
        code(dewpoint::guest::no_git),
        help("install git, or use `source: {{ path: . }}`")
    )]
    NoGit {
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// git failed on this side.
    #[error("git cannot {doing} {url}{}", indented(.output))]
    #[diagnostic(
        code(dewpoint::guest::git),
        help("check the address, and that you may read it: `git ls-remote {url}`")
    )]
    Git {
        /// `list`, `fetch from`.
        doing: &'static str,
        /// The repository, without credentials.
        url: String,
        /// What git said.
        output: String,
    },

    /// git took too long on this side.
    #[error("git did not {doing} {url} within {time}", time = seconds(*.limit))]
    #[diagnostic(
        code(dewpoint::guest::git_timeout),
        help("check the network and try again")
    )]
    GitTimeout {
        /// `list`, `fetch from`.
        doing: &'static str,
        /// The repository, without credentials.
        url: String,
        /// How long it was given.
        limit: Duration,
    },

    /// A repository address that is none, or of a kind that can run programs.
    #[error("`{url}` is not an address dewpoint fetches code from")]
    #[diagnostic(
        code(dewpoint::guest::bad_url),
        help("use https://, ssh://, git@host:path, git://, file:// or a path")
    )]
    BadUrl {
        /// The address, without credentials.
        url: String,
    },

    /// No such branch, tag or commit.
    #[error("{url} has no branch, tag or commit `{reference}`")]
    #[diagnostic(code(dewpoint::guest::no_such_ref))]
    NoSuchRef {
        /// The repository, without credentials.
        url: String,
        /// What was asked for.
        reference: String,
        /// The way out.
        #[help]
        help: String,
    },

    /// A pattern of artifacts that is none.
    #[error("`{pattern}` is not a pattern for artifacts: {problem}")]
    #[diagnostic(
        code(dewpoint::guest::bad_pattern),
        help("use paths relative to the run's folder, such as `report.xml` or `logs/**`")
    )]
    BadPattern {
        /// Which one.
        pattern: String,
        /// What is wrong.
        problem: String,
    },

    /// More artifacts than allowed.
    #[error("the artifacts of {label} are larger than the {} that one run may bring back", bytesize::ByteSize(*limit_bytes))]
    #[diagnostic(
        code(dewpoint::guest::artifacts_too_large),
        help("name fewer files in `artifacts`, and leave what is large on a volume")
    )]
    ArtifactsTooLarge {
        /// Which droplet.
        label: String,
        /// The limit.
        limit_bytes: u64,
    },

    /// More artifacts than allowed.
    #[error("the artifacts of {label} are more than the {limit} files that one run may bring back")]
    #[diagnostic(
        code(dewpoint::guest::too_many_artifacts),
        help("name fewer files in `artifacts`, or pack them on the droplet first")
    )]
    TooManyArtifacts {
        /// Which droplet.
        label: String,
        /// The limit.
        limit: usize,
    },

    /// A file on this side cannot be written.
    #[error("cannot write {path}")]
    #[diagnostic(
        code(dewpoint::guest::write),
        help("make room on the disk, or make the folder writable")
    )]
    Write {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// What a recipe copies is not what the plan was made from.
    #[error("{path} has changed since the plan was made")]
    #[diagnostic(
        code(dewpoint::guest::copy_changed),
        help("plan again: the snapshot is named by what goes into it")
    )]
    CopyChanged {
        /// Which file or folder.
        path: Utf8PathBuf,
    },

    /// A source is not what the saved plan was made from.
    #[error(
        "the files of {path} have changed since the plan was made; nothing of them was brought"
    )]
    #[diagnostic(
        code(dewpoint::guest::source_moved),
        help("make the plan anew with `dewpoint plan --out FILE`")
    )]
    SourceMoved {
        /// Which folder.
        path: Utf8PathBuf,
    },

    /// A file that is neither file, folder nor link.
    #[error("{path} is neither a file nor a folder")]
    #[diagnostic(
        code(dewpoint::guest::source_kind),
        help("name a file or a folder in `copy.from`")
    )]
    SourceKind {
        /// Which one.
        path: Utf8PathBuf,
    },

    /// A droplet sent what it was not asked for.
    #[error("{label} sent `{path}` among its artifacts: {problem}; nothing of it was kept")]
    #[diagnostic(
        code(dewpoint::guest::unsafe_archive),
        help("look at what runs on the droplet: something there tampers with its `tar`")
    )]
    UnsafeArchive {
        /// Which droplet.
        label: String,
        /// The name it sent, fit for a message.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// What a droplet sent is no archive.
    #[error("{label} sent an archive that cannot be read")]
    #[diagnostic(code(dewpoint::guest::bad_archive))]
    BadArchive {
        /// Which droplet.
        label: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl GuestError {
    /// Whether the same thing may well succeed over a new connection.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. })
    }
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        format!("{}ms", duration.as_millis())
    } else {
        Seconds(seconds).to_string()
    }
}

/// What a command said, under the sentence that names the command.
fn indented(output: &str) -> String {
    output
        .trim_end()
        .lines()
        .fold(String::new(), |mut text, line| {
            text.push_str("\n  ");
            text.push_str(line);
            text
        })
}
