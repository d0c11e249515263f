//! The texts under a real sh, with the programs that would need a droplet replaced by small ones.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use camino::Utf8PathBuf;

use crate::desired::spec::VolumeUse;
use crate::digest::Digest;
use crate::guest::exec::{Said, Status};
use crate::guest::scripts::{
    self, Places, first_boot, mount_volume_in, seal_in, unmount_in, write_inventory_in,
};
use crate::guest::setup::mounted;
use crate::guest::{GuestError, Mounted, has_run_once, mark_run_once, quote, wait_first_boot};
use crate::manifest::schema::Filesystem;

use super::server::Server;

/// A system below a temporary folder, whose programs come before the real ones.
struct System {
    root: Utf8PathBuf,
    _folder: tempfile::TempDir,
}

impl System {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = Utf8PathBuf::from_path_buf(folder.path().canonicalize().expect("there"))
            .expect("UTF-8");
        let system = Self {
            root,
            _folder: folder,
        };
        system.write(
            "proc/self/mountinfo",
            "20 1 8:1 / / rw - ext4 /dev/vda1 rw\n",
        );
        // Mounting is one line in the table; the device's number is that of no device, 0:0.
        let table = system.path("proc/self/mountinfo");
        system.program(
            "mount",
            &format!(
                "echo mount \"$@\" >>{root}/log\n\
                 case \" $* \" in *\"${{REFUSE:-no such}}\"*) echo 'bad option'; exit 32 ;; esac\n\
                 echo \"30 20 0:0 / $6 rw - $2 $5 rw\" >>{table}",
                root = system.root
            ),
        );
        system.program(
            "umount",
            &format!(
                "echo umount \"$2\" >>{root}/log\n\
                 [ ! -e {root}/busy ] || {{ echo \"umount: $2: target is busy.\" >&2; exit 32; }}\n\
                 grep -vF \" $2 \" {table} >{table}.new; mv {table}.new {table}",
                root = system.root
            ),
        );
        for name in ["sync", "sleep"] {
            system.program(name, ":");
        }
        system
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        self.root.join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, content).expect("written");
    }

    fn program(&self, name: &str, text: &str) {
        let path = format!("bin/{name}");
        self.write(&path, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(self.path(&path), fs::Permissions::from_mode(0o755)).expect("set");
    }

    /// A volume of this many MiB.
    fn volume(&self, size_mib: u64) -> Utf8PathBuf {
        let path = self.path("dev/disk/by-id/scsi-0DO_Volume_models");
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .expect("opened");
        file.set_len(size_mib * 1024 * 1024).expect("sized");
        path
    }

    fn places(&self) -> Places<'_> {
        Places {
            root: self.root.as_str(),
            device_seconds: 1,
        }
    }

    fn sh(&self, script: &str) -> Said {
        self.sh_with(script, "no such")
    }

    fn sh_with(&self, script: &str, refuse: &str) -> Said {
        let path = std::env::var("PATH").expect("set");
        let output = Command::new("sh")
            .args(["-c", script])
            .env(
                "PATH",
                format!("{}:{path}:/usr/sbin:/sbin", self.path("bin")),
            )
            .env("REFUSE", refuse)
            .env("DEWPOINT_STATE_DIR", self.path("state"))
            .output()
            .expect("sh runs");
        Said {
            status: Status::Exit(output.status.code().expect("an exit")),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn mount(&self, filesystem: Filesystem) -> Result<Mounted, GuestError> {
        self.mount_with(filesystem, "no such")
    }

    fn mount_with(&self, filesystem: Filesystem, refuse: &str) -> Result<Mounted, GuestError> {
        let script = mount_volume_in(
            "models",
            filesystem,
            VolumeUse::Own,
            "/mnt/models",
            self.places(),
        );
        let said = self.sh_with(&script, refuse);
        mounted("droplet.runner", "models", filesystem, "/mnt/models", &said)
            .unwrap_or_else(|| panic!("{said:?}"))
    }

    /// What was mounted and unmounted, the root left out.
    fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        fs::write(self.path("log"), "").expect("written");
        log.lines()
            .map(|line| line.replace(self.root.as_str(), ""))
            .collect()
    }
}

const FRESH: Mounted = Mounted {
    formatted: true,
    grown: false,
    already: false,
};

#[test]
fn a_blank_volume_is_formatted_once_and_mounted() {
    let system = System::new();
    system.volume(64);
    assert_eq!(system.mount(Filesystem::Ext4).expect("mounted"), FRESH);
    assert_eq!(
        system.log(),
        [
            "mount -t ext4 -o defaults,nofail,discard,noatime /dev/disk/by-id/scsi-0DO_Volume_models /mnt/models"
        ]
    );
    let again = system.mount(Filesystem::Ext4).expect("mounted");
    assert!(
        again.already && !again.formatted && !again.grown,
        "{again:?}"
    );
    assert!(system.log().is_empty());

    let said = system.sh(&unmount_in("/mnt/models", system.places()));
    assert_eq!(said.status, Status::Exit(0), "{said:?}");
    assert_eq!(system.log(), ["umount /mnt/models"]);
    let said = system.sh(&unmount_in("/mnt/models", system.places()));
    assert_eq!(said.status, Status::Exit(0), "{said:?}");
    assert!(system.log().is_empty());
    // Whoever no longer knows where it was mounted names its device.
    system.mount(Filesystem::Ext4).expect("mounted");
    system.log();
    let device = "/dev/disk/by-id/scsi-0DO_Volume_models";
    let said = system.sh(&unmount_in(device, system.places()));
    assert_eq!(said.status, Status::Exit(0), "{said:?}");
    assert_eq!(system.log(), ["umount /mnt/models"]);
    let other = "/dev/disk/by-id/scsi-0DO_Volume_other";
    for nothing in [device, other] {
        let said = system.sh(&unmount_in(nothing, system.places()));
        assert_eq!(said.status, Status::Exit(0), "{said:?}");
    }
    assert!(system.log().is_empty());
    let third = system
        .mount_with(Filesystem::Ext4, "discard")
        .expect("mounted");
    assert_eq!(third, Mounted::default());
    assert_eq!(system.log().len(), 2, "once with discard, once without");
}

#[test]
fn a_larger_device_grows_its_file_system() {
    let system = System::new();
    let volume = system.volume(64);
    system.mount(Filesystem::Ext4).expect("mounted");
    system.sh(&unmount_in("/mnt/models", system.places()));
    system.volume(160);
    let mounted = system.mount(Filesystem::Ext4).expect("mounted");
    assert!(mounted.grown && !mounted.formatted, "{mounted:?}");
    let blocks = system.sh(&format!(
        "dumpe2fs -h {volume} 2>/dev/null | awk -F: '/^Block (count|size)/ {{ print $2 }}'"
    ));
    let numbers: Vec<u64> = String::from_utf8_lossy(&blocks.out)
        .lines()
        .map(|line| line.trim().parse().expect("a number"))
        .collect();
    assert_eq!(numbers.iter().product::<u64>(), 160 * 1024 * 1024);
    // While it is mounted, where the kernel cannot: it is taken off and put back.
    system.log();
    system.volume(256);
    system.program("resize2fs", &format!("[ ! -s {0}/proc/self/mountinfo ] || ! grep -q /mnt/models {0}/proc/self/mountinfo || exit 1; PATH=/usr/sbin:/sbin exec resize2fs \"$@\"", system.root));
    let mounted = system.mount(Filesystem::Ext4).expect("mounted");
    assert!(mounted.grown && !mounted.already, "{mounted:?}");
    assert_eq!(system.log().len(), 2);
}

#[test]
fn what_is_not_blank_is_never_written_to() {
    let system = System::new();
    let volume = system.volume(64);
    let made = system.sh(&format!("mkfs.ext2 -q {volume}"));
    assert_eq!(made.status, Status::Exit(0), "{made:?}");
    let before = fs::read(&volume).expect("read");
    let error = system.mount(Filesystem::Ext4).expect_err("refused");
    insta::assert_snapshot!(error, @"the volume models holds ext2, not ext4; nothing was written to it");

    // Whatever blkid cannot tell is not "empty".
    for (text, code) in [("echo ambivalent; exit 8", 8), ("echo broken; exit 4", 4)] {
        system.program("blkid", text);
        let error = system.mount(Filesystem::Ext4).expect_err("refused");
        let GuestError::VolumeUnreadable { output, .. } = error else {
            panic!("{error:?}")
        };
        assert!(output.contains(&format!("exit {code}")), "{output}");
    }
    system.program("blkid", "echo PTTYPE=gpt; exit 0");
    let error = system.mount(Filesystem::Ext4).expect_err("refused");
    insta::assert_snapshot!(error, @"the volume models holds a partition table (gpt), not ext4; nothing was written to it");
    system.program("dd", "echo 'Input/output error' >&2; exit 1");
    system.program("blkid", "exit 2");
    let error = system.mount(Filesystem::Ext4).expect_err("refused");
    assert!(
        matches!(error, GuestError::VolumeUnreadable { .. }),
        "{error:?}"
    );
    assert!(fs::read(&volume).expect("read") == before, "untouched");
    assert!(system.log().is_empty());
}

#[test]
fn data_that_blkid_does_not_know_is_never_formatted() {
    const MIB: u64 = 1024 * 1024;
    // Where it lies, and how long it is.
    for (at, length, told) in [
        (0, 3, "in its first 16 MiB"),
        (9 * MIB + 5, 1, "in its first 16 MiB"),
        (80 * MIB, 4 * MIB, "beyond its first 16 MiB"),
        (160 * MIB - 1, 1, "in its last 2 MiB"),
    ] {
        let system = System::new();
        let volume = system.volume(160);
        let file = fs::File::options().write(true).open(&volume);
        let data = vec![b'x'; usize::try_from(length).expect("short")];
        file.expect("opened")
            .write_all_at(&data, at)
            .expect("written");
        let before = fs::read(&volume).expect("read");
        let error = system.mount(Filesystem::Ext4).expect_err("refused");
        assert_eq!(
            error.to_string(),
            format!(
                "the volume models holds data of a kind that is not known ({told}), not ext4; nothing was written to it"
            )
        );
        assert!(fs::read(&volume).expect("read") == before, "untouched");
    }
}

#[test]
fn a_file_system_that_was_only_half_made_is_made_again() {
    let system = System::new();
    let volume = system.volume(160);
    system.program(
        "mkfs.ext4",
        "printf half | dd of=$2 bs=1M seek=3 conv=notrunc 2>/dev/null; exit 1",
    );
    let script = mount_volume_in(
        "models",
        Filesystem::Ext4,
        VolumeUse::Own,
        "/mnt/models",
        system.places(),
    );
    let said = system.sh(&script);
    assert_eq!(said.status, Status::Exit(1), "{said:?}");
    fs::remove_file(system.path("bin/mkfs.ext4")).expect("removed");
    assert_eq!(system.mount(Filesystem::Ext4).expect("mounted"), FRESH);
    // The mark went with the need for it, and what was made is whole.
    let mark = b"only half made";
    let content = fs::read(&volume).expect("read");
    assert!(!content.windows(mark.len()).any(|window| window == mark));
    let checked = system.sh(&format!("e2fsck -fn {volume}"));
    assert_eq!(checked.status, Status::Exit(0), "{checked:?}");
}

#[test]
fn mounts_elsewhere_and_mounts_of_others() {
    let system = System::new();
    system.volume(64);
    system.mount(Filesystem::Ext4).expect("mounted");
    // As DigitalOcean's own automount leaves it.
    let table = system.path("proc/self/mountinfo");
    let elsewhere = system.path("mnt/by_itself");
    fs::create_dir_all(&elsewhere).expect("made");
    fs::write(
        &table,
        format!("30 20 0:0 / {elsewhere} rw - ext4 /dev/sda rw\n"),
    )
    .expect("written");
    system.log();
    system.mount(Filesystem::Ext4).expect("mounted");
    assert_eq!(system.log()[0], "umount /mnt/by_itself");

    let place = system.path("mnt/models");
    fs::write(
        &table,
        format!("31 20 8:7 / {place} rw shared:3 - xfs /dev/sdb rw\n"),
    )
    .expect("written");
    let error = system.mount(Filesystem::Ext4).expect_err("refused");
    insta::assert_snapshot!(error, @"something else is mounted at /mnt/models on droplet.runner: xfs /dev/sdb");

    fs::write(
        &table,
        format!("30 20 0:0 / {elsewhere} rw - ext4 /dev/sda rw\n"),
    )
    .expect("written");
    system.write("busy", "");
    let holder = fs::File::open(&elsewhere).expect("opened");
    let error = system.mount(Filesystem::Ext4).expect_err("refused");
    let GuestError::Busy { output, .. } = error else {
        panic!("{error:?}")
    };
    drop(holder);
    assert!(output.contains("target is busy"), "{output}");
    assert!(
        output.contains(&format!("held by process {}", std::process::id())),
        "{output}"
    );
}

#[test]
fn a_volume_that_does_not_come_and_a_program_that_is_not_there() {
    let system = System::new();
    let error = system.mount(Filesystem::Ext4).expect_err("missing");
    assert!(
        matches!(error, GuestError::VolumeMissing { .. }),
        "{error:?}"
    );
    system.volume(64);
    if Command::new("mkfs.xfs").arg("-V").output().is_err() {
        let error = system.mount(Filesystem::Xfs).expect_err("missing");
        insta::assert_snapshot!(error, @"the image of droplet.runner has no mkfs.xfs");
    }
}

#[test]
fn xfs_is_made_by_its_own_tools() {
    let system = System::new();
    system.volume(64);
    for name in ["mkfs.xfs", "xfs_growfs"] {
        system.program(name, &format!("echo {name} \"$@\" >>{}/log", system.root));
    }
    assert_eq!(system.mount(Filesystem::Xfs).expect("mounted"), FRESH);
    assert_eq!(
        system.log(),
        [
            "mkfs.xfs -q /dev/disk/by-id/scsi-0DO_Volume_models",
            "mount -t xfs -o defaults,nofail,discard,noatime /dev/disk/by-id/scsi-0DO_Volume_models /mnt/models",
            "xfs_growfs -d /mnt/models",
        ]
    );
}

#[test]
fn a_sealed_builder_has_no_keys_and_no_past() {
    let system = System::new();
    for name in ["apt-get", "dnf", "journalctl", "cloud-init", "fstrim"] {
        system.program(name, &format!("echo {name} \"$@\" >>{}/log", system.root));
    }
    // The last thing: what is still there when the power goes.
    system.program(
        "poweroff",
        &format!(
            "find {0}/etc {0}/root {0}/home {0}/var {0}/tmp -type f >{0}/left",
            system.root
        ),
    );
    for path in [
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssh/ssh_host_ed25519_key.pub",
        "etc/ssh/sshd_config",
        "root/.ssh/authorized_keys",
        "root/.ssh/config",
        "root/.bash_history",
        "home/ci/.ssh/authorized_keys",
        "home/ci/.python_history",
        "var/lib/dewpoint/once/x",
        "var/lib/cloud/instances/1/user-data.txt",
        "var/lib/apt/lists/x",
        "var/lib/dbus/machine-id",
        "var/log/syslog",
        "var/log/syslog.1",
        "var/log/apt/history.log.2.gz",
        "tmp/.hidden/x",
        "var/tmp/x",
        "etc/machine-id",
        "etc/udev/rules.d/99-digitalocean-automount.rules",
        "opt/app/kept",
    ] {
        system.write(path, "something");
    }
    symlink("instances/1", system.path("var/lib/cloud/instance")).expect("made");
    let said = system.sh(&seal_in("ci", system.places()));
    assert_eq!(said.status, Status::Exit(0), "{said:?}");
    assert_eq!(
        String::from_utf8_lossy(&said.out).trim(),
        scripts::POWERING_OFF
    );
    let left = fs::read_to_string(system.path("left")).expect("it was powered off");
    let mut left: Vec<&str> = left
        .lines()
        .map(|line| line.trim_start_matches(system.root.as_str()))
        .collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            "/etc/machine-id",
            "/etc/ssh/sshd_config",
            "/root/.ssh/config",
            "/var/log/syslog"
        ]
    );
    for path in ["etc/machine-id", "var/log/syslog"] {
        assert_eq!(
            fs::metadata(system.path(path)).expect("there").len(),
            0,
            "{path}"
        );
    }
    assert!(system.path("opt/app/kept").exists());
}

#[test]
fn first_boots_end_in_three_ways() {
    let system = System::new();
    let ended = |text: &str| {
        system.program("cloud-init", text);
        system.sh(&first_boot()).status
    };
    assert_eq!(ended("exit 0"), Status::Exit(0));
    assert_eq!(ended("exit 2"), Status::Exit(scripts::FIRST_BOOT_DEGRADED));
    assert_eq!(ended("exit 1"), Status::Exit(scripts::FIRST_BOOT_FAILED));
}

#[tokio::test]
async fn a_failed_first_boot_is_shown_and_none_passes() {
    let server = Server::start().await;
    let session = server.session().await;
    let bin = server.folder("bin");
    let path = bin.join("cloud-init");
    let text = "#!/bin/sh\ncase $* in *--long*) echo 'status: error'; echo 'runcmd failed' ;; esac\nexit 1\n";
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    let real = std::env::var("PATH").expect("set");
    *server.path.lock().expect("unpoisoned") = Some(format!("{bin}:{real}"));
    let error = wait_first_boot(&session).await.expect_err("failed");
    insta::assert_snapshot!(error, @r"
    the first boot of droplet.runner ended with an error
      status: error
      runcmd failed
    ");
}

#[tokio::test]
async fn once_is_remembered_on_the_droplet() {
    let server = Server::start().await;
    let session = server.session().await;
    let digest = Digest::of_bytes(b"a run");
    assert!(!has_run_once(&session, &digest).await.expect("asked"));
    mark_run_once(&session, &digest).await.expect("marked");
    assert!(has_run_once(&session, &digest).await.expect("asked"));
    let other = Digest::of_bytes(b"another");
    assert!(!has_run_once(&session, &other).await.expect("asked"));
}

#[test]
fn a_copy_is_mounted_beside_what_it_is_a_copy_of() {
    let options = |filesystem, usage| {
        let script = scripts::mount_volume("a", filesystem, usage, "/mnt/a");
        script.matches("noatime,nouuid \"$node\"").count()
    };
    assert_eq!(options(Filesystem::Xfs, VolumeUse::Clone), 2);
    assert_eq!(options(Filesystem::Xfs, VolumeUse::Own), 0);
    assert_eq!(options(Filesystem::Ext4, VolumeUse::Clone), 0);
}

#[test]
fn texts_survive_quoting_and_any_sh() {
    for text in [
        first_boot(),
        scripts::mount_volume("a", Filesystem::Xfs, VolumeUse::Own, "/mnt/a"),
        scripts::unmount("/mnt/a"),
        scripts::seal("root"),
        scripts::has_run_once(&Digest::of_bytes(b"")),
    ] {
        let text = scripts::as_root(&text);
        for shell in ["sh", "bash"] {
            let output = Command::new(shell)
                .args(["-n", "-c", &format!("exec sh -c {}", quote(&text))])
                .output()
                .expect("it runs");
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{output:?}"
            );
        }
    }
}

#[test]
fn names_stand_once_in_hosts_and_leave_the_rest_alone() {
    let system = System::new();
    system.write("etc/hosts", "127.0.0.1 localhost\n");
    let write = |inventory: &str, hosts: &str| {
        let script = write_inventory_in(inventory.len(), system.places());
        system.write("input", &format!("{inventory}{hosts}"));
        let input = quote(system.path("input").as_str());
        let said = system.sh(&format!("exec <{input}\n{script}"));
        assert_eq!(said.status, Status::Exit(0), "{}", said.err);
    };
    write("{}\n", "10.0.0.2 server app-main-server\n");
    let hosts = || fs::read_to_string(system.path("etc/hosts")).expect("there");
    insta::assert_snapshot!(hosts(), @r"
    127.0.0.1 localhost
    # begin dewpoint: written before runs, do not edit
    10.0.0.2 server app-main-server
    # end dewpoint
    ");
    let more = format!("{}10.9.9.9 mine\n", hosts());
    system.write("etc/hosts", &more);
    write("[]\n", "10.0.0.3 server app-main-server\n");
    insta::assert_snapshot!(hosts(), @r"
    127.0.0.1 localhost
    10.9.9.9 mine
    # begin dewpoint: written before runs, do not edit
    10.0.0.3 server app-main-server
    # end dewpoint
    ");
    let inventory = system.path("run/dewpoint/inventory.json");
    assert_eq!(fs::read_to_string(&inventory).expect("there"), "[]\n");
    let mode = fs::metadata(&inventory)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(
        fs::read_dir(system.path("run/dewpoint"))
            .expect("there")
            .count(),
        1
    );
}
