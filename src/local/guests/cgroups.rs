//! Control groups: the memory a guest may use, and the tree its systemd needs to be process 1.
//!
//! Both generations are used as they are found: a memory controller of version 1 below this
//! process's own group (so that a limit set on this program holds for its guests too), one of
//! version 2 at the hierarchy's root, because a group that has processes of its own cannot hand
//! controllers down.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Start of the name of every group; the cloud process's id and the droplet's follow.
const PREFIX: &str = "dewpoint-";

/// What this machine offers.
#[derive(Debug, Clone, Default)]
pub(super) struct Cgroups {
    /// Where groups with a memory limit can be made.
    memory: Option<Memory>,
    /// Where groups of version 2 can be made.
    unified: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Memory {
    folder: PathBuf,
    version: u8,
}

/// The groups of one guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Groups {
    /// The group with the memory limit.
    pub memory: Option<Limit>,
    /// The group of version 2 that is handed to the guest's systemd.
    pub delegated: Option<String>,
}

/// A group and the limit on its memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Limit {
    folder: String,
    version: u8,
    bytes: u64,
}

impl Limit {
    /// The limit in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Cgroups {
    /// Looks for what is there and can be written, and clears away what clouds that were killed
    /// have left.
    pub(super) fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let hierarchies = hierarchies(&mounts, &own);
        let mut found = Self::default();
        for hierarchy in hierarchies {
            sweep(&hierarchy.folder);
            if !can_make(&hierarchy.folder) {
                continue;
            }
            if hierarchy.version == 2 {
                if found.memory.is_none() && hands_down_memory(&hierarchy.folder) {
                    found.memory = Some(Memory {
                        folder: hierarchy.folder.clone(),
                        version: 2,
                    });
                }
                found.unified = Some(hierarchy.folder);
            } else {
                found.memory = Some(Memory {
                    folder: hierarchy.folder,
                    version: 1,
                });
            }
        }
        found
    }

    /// Whether a guest's memory can be limited.
    pub(super) fn limit_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether a guest can have a tree of its own.
    pub(super) fn delegate(&self) -> bool {
        self.unified.is_some()
    }

    /// The groups for a guest; its supervisor makes them.
    pub(super) fn plan(&self, droplet: u64, memory_mib: Option<u32>, systemd: bool) -> Groups {
        let name = format!("{PREFIX}{}-{droplet}", std::process::id());
        let memory = self
            .memory
            .as_ref()
            .zip(memory_mib)
            .map(|(memory, mib)| Limit {
                folder: memory.folder.join(&name).display().to_string(),
                version: memory.version,
                bytes: u64::from(mib) << 20,
            });
        let delegated = self
            .unified
            .as_ref()
            .filter(|_| systemd)
            .map(|folder| folder.join(&name).display().to_string());
        Groups { memory, delegated }
    }
}

/// Groups that were made, as the guest's supervisor holds them. Dropping does not remove them:
/// that is only possible once their processes are gone.
#[derive(Debug)]
pub(super) struct Made {
    folders: Vec<PathBuf>,
    /// `cgroup.procs` of the groups the guest's processes start in.
    join: Vec<OwnedFd>,
    /// `cgroup.procs` of the group that the agent stays in, and what it starts at first.
    beside: Option<OwnedFd>,
}

impl Made {
    /// Makes the groups, gives the delegated one to the guest's root (`shift` outside).
    pub(super) fn make(groups: &Groups, shift: u32) -> io::Result<Self> {
        let mut made = Self {
            folders: Vec::new(),
            join: Vec::new(),
            beside: None,
        };
        if let Some(limit) = &groups.memory {
            let folder = Path::new(&limit.folder);
            made.folder(folder)?;
            let file = if limit.version == 1 {
                "memory.limit_in_bytes"
            } else {
                "memory.max"
            };
            fs::write(folder.join(file), limit.bytes.to_string())?;
            // Without a limit on swap, memory that is full would only move there. Neither file is
            // there on a kernel that does not count swap.
            let _ = if limit.version == 1 {
                fs::write(
                    folder.join("memory.memsw.limit_in_bytes"),
                    limit.bytes.to_string(),
                )
            } else {
                fs::write(folder.join("memory.swap.max"), "0")
            };
            if groups.delegated.as_deref() != Some(&limit.folder) {
                made.join.push(members(folder)?);
            }
        }
        if let Some(folder) = groups.delegated.as_deref().map(Path::new) {
            made.folder(folder)?;
            // Handed down as far as they are there: then limits of the guest's services work.
            let _ = fs::write(folder.join("cgroup.subtree_control"), "+memory +pids");
            // What comes in over SSH shares systemd's own leaf: the root of a tree that hands
            // controllers down holds no process, and from outside of it none could be moved in.
            let (guest, beside) = (folder.join("guest"), folder.join("guest/init.scope"));
            for inner in [&guest, &beside] {
                made.folder(inner)?;
                for name in [
                    "",
                    "cgroup.procs",
                    "cgroup.subtree_control",
                    "cgroup.threads",
                ] {
                    std::os::unix::fs::chown(inner.join(name), Some(shift), Some(shift))?;
                }
            }
            made.join.push(members(&guest)?);
            made.beside = Some(members(&beside)?);
        }
        Ok(made)
    }

    fn folder(&mut self, folder: &Path) -> io::Result<()> {
        if let Err(error) = fs::create_dir(folder)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        self.folders.push(folder.to_owned());
        Ok(())
    }

    /// Moves this process into the groups its guest lives in.
    pub(super) fn join(&self) -> io::Result<()> {
        self.join.iter().try_for_each(enter)
    }

    /// Moves this process off the root of the guest's own tree.
    pub(super) fn step_aside(&self) -> io::Result<()> {
        self.beside.iter().try_for_each(enter)
    }

    /// Removes the groups; their processes have ended.
    pub(super) fn remove(&self) {
        for folder in self.folders.iter().rev() {
            remove(folder);
        }
    }
}

fn enter(members: &OwnedFd) -> io::Result<()> {
    rustix::io::write(members, b"0")?;
    Ok(())
}

fn members(folder: &Path) -> io::Result<OwnedFd> {
    let file = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(folder.join("cgroup.procs"))?;
    Ok(file.into())
}

struct Hierarchy {
    folder: PathBuf,
    version: u8,
}

/// Version 2's hierarchy and version 1's with the memory controller, and where in them to work.
fn hierarchies(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let own_in = |controller: &str| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            controllers
                .split(',')
                .any(|name| name == controller)
                .then(|| fields.next())?
        })
    };
    mounts
        .lines()
        .filter_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(3);
            let (root, target) = (mount.next()?, mount.next()?);
            let mut system = system.split(' ');
            let (kind, options) = (system.next()?, system.nth(1).unwrap_or_default());
            let version = match kind {
                "cgroup2" => 2,
                "cgroup" if options.split(',').any(|option| option == "memory") => 1,
                _ => return None,
            };
            let target = Path::new(target);
            let folder = if version == 1 {
                own_in("memory")
                    .and_then(|own| own.strip_prefix(root))
                    .map(|own| target.join(own.trim_start_matches('/')))
                    .filter(|folder| folder.is_dir())
                    .unwrap_or_else(|| target.to_owned())
            } else {
                target.to_owned()
            };
            Some(Hierarchy { folder, version })
        })
        .collect()
}

/// Found out by doing: a read-only mount or a missing right says no.
fn can_make(folder: &Path) -> bool {
    let probe = folder.join(format!("{PREFIX}{}-probe", std::process::id()));
    fs::create_dir(&probe).is_ok() && fs::remove_dir(&probe).is_ok()
}

fn hands_down_memory(folder: &Path) -> bool {
    let has = |file: &str| {
        fs::read_to_string(folder.join(file))
            .is_ok_and(|text| text.split_whitespace().any(|name| name == "memory"))
    };
    has("cgroup.controllers")
        && (has("cgroup.subtree_control")
            || fs::write(folder.join("cgroup.subtree_control"), "+memory").is_ok())
}

/// Removes the groups of clouds that are gone.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner
            && owner.bytes().all(|byte| byte.is_ascii_digit())
            && !Path::new("/proc").join(owner).exists()
        {
            remove(&entry.path());
        }
    }
}

/// Removes a group and the groups in it. One that still has processes stays.
fn remove(folder: &Path) {
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
    }
    // A group whose last process has just ended is busy for a moment.
    for _ in 0..50 {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_are_found() {
        let hybrid = "\
31 1 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
42 31 0:39 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
        let found: Vec<_> = hierarchies(hybrid, "4:memory:/no/such/group\n0::/\n")
            .into_iter()
            .map(|found| (found.folder, found.version))
            .collect();
        assert_eq!(
            found,
            [
                ("/sys/fs/cgroup/memory".into(), 1),
                ("/sys/fs/cgroup/unified".into(), 2)
            ]
        );
        let unified = "26 25 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = hierarchies(unified, "0::/system.slice/x.service\n");
        assert_eq!(found[0].folder, Path::new("/sys/fs/cgroup"));
    }
}
