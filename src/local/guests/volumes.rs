//! Volumes: sparse files behind loop devices, shown to a guest as disks.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::guest::Guest;
use super::loop_device::Loop;
use super::sys;

/// A volume that is attached to a droplet.
#[derive(Debug)]
pub(super) struct Attached {
    pub droplet: u64,
    pub name: String,
    /// Its disk in the guest, such as `sda`; `None` while the droplet is off.
    pub disk: Option<Disk>,
}

/// A volume as a guest sees it.
#[derive(Debug)]
pub(super) struct Disk {
    pub device: Loop,
    pub node: String,
}

/// Shows a volume to a running guest as the first free `/dev/sdX`.
pub(super) fn show(guest: &Guest, file: &Path, name: &str, shift: u32) -> std::io::Result<Disk> {
    not_in_use(file)?;
    let device = Loop::attach(file)?;
    let devices = guest.devices();
    let mut node = None;
    for letter in 'a'..='z' {
        let candidate = format!("sd{letter}");
        match sys::make_node(
            devices,
            &candidate,
            libc::S_IFBLK,
            0o660,
            device.number()?,
            shift,
        ) {
            Ok(()) => {
                node = Some(candidate);
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let node = node.ok_or(std::io::ErrorKind::StorageFull)?;
    let link = link_name(name);
    // A link of an earlier attachment of the same volume points to a disk that is gone.
    let _ = rustix::fs::unlinkat(devices, &link, rustix::fs::AtFlags::empty());
    rustix::fs::symlinkat(format!("../../{node}"), devices, &link)?;
    sys::give(devices, &link, shift)?;
    Ok(Disk { device, node })
}

/// Takes a volume's disk from a running guest.
pub(super) fn hide(guest: &Guest, name: &str, disk: &Disk) {
    // The guest may have removed them itself.
    let _ = rustix::fs::unlinkat(guest.devices(), &disk.node, rustix::fs::AtFlags::empty());
    let _ = rustix::fs::unlinkat(
        guest.devices(),
        link_name(name),
        rustix::fs::AtFlags::empty(),
    );
}

fn link_name(volume: &str) -> String {
    format!("disk/by-id/scsi-0DO_Volume_{volume}")
}

/// Two loop devices over one file would corrupt it: the kernel keeps one as long as a mount of an
/// earlier attachment is there.
fn not_in_use(file: &Path) -> std::io::Result<()> {
    let file = fs::canonicalize(file)?;
    for entry in fs::read_dir("/sys/block")? {
        let backing = entry?.path().join("loop/backing_file");
        if fs::read_to_string(backing).is_ok_and(|path| Path::new(path.trim_end()) == file) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::ResourceBusy,
                "the volume is still mounted where it was attached before",
            ));
        }
    }
    Ok(())
}

/// Mounts the file system on a disk with the guest's ids; the mount is handed over, not placed.
pub(super) fn mount(disk: &Disk, guest: &Guest, options: &str) -> Result<OwnedFd, String> {
    let device = disk.device.path();
    let kind = match recognise(device) {
        Ok(Some(kind)) => kind,
        Ok(None) => {
            return Err(format!(
                "/dev/{}: wrong fs type, or no file system on it",
                disk.node
            ));
        }
        Err(error) => return Err(format!("/dev/{}: {error}", disk.node)),
    };
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mut flags = Vec::new();
    for option in options.split(',') {
        match option {
            "" | "defaults" | "nofail" | "rw" | "nodev" | "nosuid" | "relatime" => {}
            "ro" => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
            "noatime" => attributes |= MountAttrFlags::MOUNT_ATTR_NOATIME,
            "noexec" => attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC,
            "discard" | "nouuid" => flags.push(option),
            option
                if option
                    .strip_prefix("type=")
                    .is_some_and(|wanted| wanted == kind) => {}
            option if option.starts_with("type=") => {
                return Err(format!(
                    "/dev/{}: it holds {kind}, not {}",
                    disk.node,
                    &option[5..]
                ));
            }
            other => {
                return Err(format!(
                    "the local cloud does not know the mount option `{other}`"
                ));
            }
        }
    }
    let make = || -> std::io::Result<OwnedFd> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", device)?;
        if attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY) {
            fsconfig_set_flag(&context, "ro")?;
        }
        for flag in &flags {
            fsconfig_set_flag(&context, *flag)?;
        }
        fsconfig_create(&context)?;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        sys::idmap(mount.as_fd(), guest.users())?;
        Ok(mount)
    };
    make().map_err(|error| format!("/dev/{} ({kind}): {error}", disk.node))
}

/// Which file system a device holds: ext4's magic number at byte 1080, XFS's at byte 0.
fn recognise(device: &str) -> std::io::Result<Option<&'static str>> {
    let mut file = fs::File::open(device)?;
    let mut start = [0_u8; 4];
    file.read_exact(&mut start)?;
    if &start == b"XFSB" {
        return Ok(Some("xfs"));
    }
    let mut magic = [0_u8; 2];
    file.seek(SeekFrom::Start(1_080))?;
    file.read_exact(&mut magic)?;
    Ok((magic == [0x53, 0xEF]).then_some("ext4"))
}
