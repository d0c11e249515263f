//! Machines: what droplets of the local cloud are in its `vm` tier. Optional, slow, and real.
//!
//! What comes in: a [`BootSpec`](super::guests::BootSpec). What goes out: a QEMU machine with a kernel of
//! its own, whose cloud-init reads its user data where a droplet's does, whose own sshd answers, and
//! whose volumes are SCSI disks that come and go while it runs. Droplets are qcow2 files over one
//! base that is built once, of Debian packages.
//!
//! **Invariants:** no machine outlives the cloud process: the kernel ends it with the thread that
//! started it; QEMU is spoken to over a socket pair that no one else can open; metadata, which
//! holds a private key, is never served on the network; without all that machines need there
//! are none, never something less.

mod arguments;
mod base;
mod disks;
mod host;
mod keeper;
mod machine;
mod metadata;
mod probe;
mod qmp;
mod snapshots;

pub use base::{build, describe_image, is_built};
pub use host::MachineHost;
pub use metadata::{METADATA, metadata_main};
pub use probe::{missing, probe};
