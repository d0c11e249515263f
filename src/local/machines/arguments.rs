//! How QEMU is started, as words. Pure.

use camino::{Utf8Path, Utf8PathBuf};

use super::metadata::{ADDRESS, GATEWAY, NETWORK, RESOLVER, SERVER, hardware_address};

/// The block device that is a machine's root.
pub(super) const ROOT: &str = "root";
/// The bus that volumes are attached to.
pub(super) const VOLUMES: &str = "volumes.0";

/// What runs a machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's translation of them, some ten to twenty times slower.
    Tcg,
}

impl Accelerator {
    /// As QEMU calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    const fn processor(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}

/// A machine to start.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) accelerator: Accelerator,
    pub(super) droplet: u64,
    pub(super) memory_mib: u32,
    pub(super) vcpus: u32,
    pub(super) kernel: Utf8PathBuf,
    pub(super) initrd: Utf8PathBuf,
    /// Its root, a qcow2.
    pub(super) disk: Utf8PathBuf,
    /// Where its console is written.
    pub(super) console: Utf8PathBuf,
    /// Where its SSH server is reached.
    pub(super) ssh: std::net::SocketAddr,
    /// The command line that answers one request for metadata, for a shell.
    pub(super) metadata: String,
    /// The descriptor QEMU is spoken to over.
    pub(super) control: i32,
}

/// A value that QEMU splits at commas.
fn escaped(value: impl AsRef<str>) -> String {
    value.as_ref().replace(',', ",,")
}

fn path(path: &Utf8Path) -> String {
    escaped(path.as_str())
}

/// The words after the program's name. The machine waits until it is told to go on.
pub(super) fn arguments(plan: &Plan) -> Vec<String> {
    let accelerator = plan.accelerator;
    let mac = hardware_address(plan.droplet);
    let network = format!(
        "user,id=public,net={NETWORK},host={GATEWAY},dns={RESOLVER},dhcpstart={ADDRESS},ipv6=off,\
         hostfwd=tcp:{}:{}-{ADDRESS}:22,guestfwd=tcp:{SERVER}:80-cmd:{}",
        plan.ssh.ip(),
        plan.ssh.port(),
        escaped(&plan.metadata),
    );
    let words = [
        ("-machine", "q35,usb=off,vmport=off".to_owned()),
        ("-accel", accelerator.name().to_owned()),
        ("-cpu", accelerator.processor().to_owned()),
        ("-m", plan.memory_mib.to_string()),
        ("-smp", plan.vcpus.to_string()),
        ("-kernel", plan.kernel.to_string()),
        ("-initrd", plan.initrd.to_string()),
        ("-append", KERNEL.to_owned()),
        (
            "-smbios",
            format!(
                "type=1,manufacturer=DigitalOcean,product=Droplet,serial={}",
                plan.droplet
            ),
        ),
        // What the machine flushes lies in this system's memory: it survives the end of QEMU at
        // any time, which is a power cut to the machine, and only this system's own does harm.
        (
            "-blockdev",
            format!(
                "driver=qcow2,node-name={ROOT},discard=unmap,cache.no-flush=on,file.driver=file,\
                 file.discard=unmap,file.cache.no-flush=on,file.filename={}",
                path(&plan.disk)
            ),
        ),
        ("-device", format!("virtio-blk-pci,drive={ROOT}")),
        ("-device", "virtio-scsi-pci,id=volumes".to_owned()),
        ("-device", "virtio-rng-pci".to_owned()),
        ("-netdev", network),
        (
            "-device",
            format!("virtio-net-pci,netdev=public,romfile=,mac={mac}"),
        ),
        (
            "-chardev",
            format!("file,id=console,path={}", path(&plan.console)),
        ),
        ("-serial", "chardev:console".to_owned()),
        ("-chardev", format!("socket,id=control,fd={}", plan.control)),
        ("-mon", "chardev=control,mode=control".to_owned()),
    ];
    let mut arguments: Vec<String> = ["-nodefaults", "-no-user-config", "-S", "-display", "none"]
        .map(str::to_owned)
        .into();
    for (option, value) in words {
        arguments.push(option.to_owned());
        arguments.push(value);
    }
    arguments
}

/// What the kernel is told. Interfaces have the names they have on a droplet.
pub(super) const KERNEL: &str = "root=/dev/vda ro console=ttyS0 net.ifnames=0 quiet";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_what_a_droplet_is() {
        let plan = Plan {
            accelerator: Accelerator::Tcg,
            droplet: 540_000_001,
            memory_mib: 1024,
            vcpus: 1,
            kernel: "/b/kernel".into(),
            initrd: "/b/initrd".into(),
            disk: "/a,b/disk.qcow2".into(),
            console: "/a,b/console.log".into(),
            ssh: "127.77.1.2:22022".parse().expect("an address"),
            metadata: "'/d p' __machine-metadata '/a,b/metadata.json'".to_owned(),
            control: 7,
        };
        insta::assert_snapshot!(arguments(&plan).join("\n"), @r"
        -nodefaults
        -no-user-config
        -S
        -display
        none
        -machine
        q35,usb=off,vmport=off
        -accel
        tcg
        -cpu
        max
        -m
        1024
        -smp
        1
        -kernel
        /b/kernel
        -initrd
        /b/initrd
        -append
        root=/dev/vda ro console=ttyS0 net.ifnames=0 quiet
        -smbios
        type=1,manufacturer=DigitalOcean,product=Droplet,serial=540000001
        -blockdev
        driver=qcow2,node-name=root,discard=unmap,cache.no-flush=on,file.driver=file,file.discard=unmap,file.cache.no-flush=on,file.filename=/a,,b/disk.qcow2
        -device
        virtio-blk-pci,drive=root
        -device
        virtio-scsi-pci,id=volumes
        -device
        virtio-rng-pci
        -netdev
        user,id=public,net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,dhcpstart=169.254.1.15,ipv6=off,hostfwd=tcp:127.77.1.2:22022-169.254.1.15:22,guestfwd=tcp:169.254.169.254:80-cmd:'/d p' __machine-metadata '/a,,b/metadata.json'
        -device
        virtio-net-pci,netdev=public,romfile=,mac=04:01:20:2f:bf:01
        -chardev
        file,id=console,path=/a,,b/console.log
        -serial
        chardev:console
        -chardev
        socket,id=control,fd=7
        -mon
        chardev=control,mode=control
        ");
    }
}
