//! Loop devices (`loop(4)`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::sys::check;

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_SET_CAPACITY: libc::c_ulong = 0x4C07;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// A loop device over a file. It is cleared by the kernel when the last user lets go.
#[derive(Debug)]
pub(super) struct Loop {
    device: File,
    path: String,
}

impl Loop {
    /// Takes a free device for a file.
    pub(super) fn attach(file: &Path) -> io::Result<Self> {
        let backing: OwnedFd = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(file)?
            .into();
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
        // Another process may take the device between the two calls.
        for _ in 0..64 {
            // SAFETY: no memory is involved.
            let number =
                check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) })?;
            let path = format!("/dev/loop{number}");
            let device = OpenOptions::new().read(true).write(true).open(&path)?;
            // SAFETY: the struct is plain data for which zeros are valid.
            let mut config: LoopConfig = unsafe { std::mem::zeroed() };
            config.fd =
                u32::try_from(backing.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
            config.info.flags = LO_FLAGS_AUTOCLEAR;
            // SAFETY: the struct is the kernel's and outlives the call.
            match check(unsafe {
                libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config)
            }) {
                Ok(_) => return Ok(Self { device, path }),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Takes over the size of a file that has grown.
    pub(super) fn refresh(&self) -> io::Result<()> {
        // SAFETY: no memory is involved.
        check(unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_SET_CAPACITY as _) }).map(drop)
    }

    /// Such as `/dev/loop3`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Its device number.
    pub(super) fn number(&self) -> io::Result<u64> {
        Ok(self.device.metadata()?.rdev())
    }
}
