//! Small programs inside a guest that stand for what a user namespace may not do itself.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// `mount` of a volume: the kernel lets no user namespace mount a block device, so the cloud
/// process makes the mount and init puts it in place. Everything else goes to the real mount.
const MOUNT: &str = r#"#!/bin/sh
real=/usr/bin/mount; [ -x "$real" ] || real=/bin/mount
options=; type=; device=; path=; plain=yes
for word in "$@"; do
  case "$expect" in
    o) options="${options:+$options,}$word"; expect=; continue ;;
    t) type=$word; expect=; continue ;;
  esac
  case "$word" in
    -o) expect=o ;;
    -t) expect=t ;;
    -o*) options="${options:+$options,}${word#-o}" ;;
    -t*) type=${word#-t} ;;
    --) ;;
    -*) plain=no ;;
    *) if [ -z "$device" ]; then device=$word; elif [ -z "$path" ]; then path=$word; else plain=no; fi ;;
  esac
done
node=$(readlink -f -- "$device" 2>/dev/null)
if [ "$plain" = no ] || [ -z "$path" ] || [ ! -b "$node" ]; then exec "$real" "$@"; fi
if [ ! -d "$path" ]; then echo "mount: $path: mount point does not exist." >&2; exit 32; fi
path=$(readlink -f -- "$path")
reply=/run/dewpoint/reply.$$
mkfifo -m 600 "$reply" || exit 32
exec 3<>"$reply"
printf 'mount\t%s\t%s\t%s\t%s\n' "$reply" "$node" "$path" "${type:+type=$type,}$options" > /run/dewpoint/requests
IFS= read -r problem <&3
rm -f "$reply"
if [ -n "$problem" ]; then echo "mount: $problem" >&2; exit 32; fi
"#;

/// Powers the guest off, or starts it again: process 1 is not systemd.
const POWEROFF: &str = "#!/bin/sh
wanted=poweroff
case \"${0##*/}\" in reboot) wanted=reboot ;; esac
for word in \"$@\"; do
  case \"$word\" in
    -c) echo 'a shutdown that is not under way cannot be cancelled' >&2; exit 1 ;;
    -r|--reboot) wanted=reboot ;;
  esac
done
echo \"$wanted\" > /run/dewpoint/requests
";

/// Says what cannot be, rather than hang or lie.
const SYSTEMCTL: &str = "#!/bin/sh
case \"$1\" in
  poweroff|halt|reboot) exec \"/run/dewpoint/bin/$1\" ;;
  is-system-running) echo offline; exit 1 ;;
  daemon-reload) exit 0 ;;
esac
echo \"systemctl: this guest of dewpoint's local cloud has no systemd (its process 1 is dewpoint); start the service's program in the background instead\" >&2
exit 1
";

/// cloud-init as far as provisioning scripts use it: there is nothing left to wait for.
const CLOUD_INIT: &str = "#!/bin/sh
case \"$1\" in
  status)
    case \"$*\" in *--wait*) [ ! -d /run/systemd/system ] || systemctl is-system-running --wait >/dev/null 2>&1 ;; esac
    echo 'status: done'; exit 0 ;;
  clean) rm -rf /var/lib/cloud/instance; case \"$*\" in *--machine-id*) echo uninitialized > /etc/machine-id ;; esac; exit 0 ;;
  --version) echo '/usr/bin/cloud-init dewpoint-local'; exit 0 ;;
esac
echo \"cloud-init: the local cloud knows status and clean only\" >&2
exit 2
";

/// Nothing of a file-backed disk can be trimmed from inside.
const FSTRIM: &str = "#!/bin/sh
exit 0
";

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Names of what ends a guest.
const ENDS: [&str; 4] = ["poweroff", "halt", "shutdown", "reboot"];

/// Writes the programs of a running guest, below /run: they are in no snapshot.
pub(super) fn write_run() -> io::Result<()> {
    let folder = Path::new("/run/dewpoint/bin");
    fs::create_dir_all(folder)?;
    fs::set_permissions("/run/dewpoint", fs::Permissions::from_mode(0o755))?;
    write(&folder.join("mount"), MOUNT)?;
    write(&folder.join("fstrim"), FSTRIM)
}

/// Writes what a running guest needs where its process 1 is not systemd.
pub(super) fn write_without_systemd() -> io::Result<()> {
    let folder = Path::new("/run/dewpoint/bin");
    write(&folder.join("systemctl"), SYSTEMCTL)?;
    ENDS.iter()
        .try_for_each(|name| write(&folder.join(name), POWEROFF))
}

/// Writes the programs that belong to the image, laid over the host's `/usr`.
pub(super) fn write_image(usr: &Path) -> io::Result<()> {
    fs::create_dir_all(usr.join("bin"))?;
    write(&usr.join("bin/cloud-init"), CLOUD_INIT)
}

/// Writes what is laid over the host's `/usr` where process 1 is not systemd.
pub(super) fn write_image_without_systemd(usr: &Path) -> io::Result<()> {
    for folder in ["bin", "sbin"] {
        fs::create_dir_all(usr.join(folder))?;
    }
    write(&usr.join("bin/systemctl"), SYSTEMCTL)?;
    ENDS.iter()
        .try_for_each(|name| write(&usr.join("sbin").join(name), POWEROFF))
}
