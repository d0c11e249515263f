//! What dewpoint itself runs on a droplet, as texts for sh. Pure.
//!
//! Each may be run again after it broke off anywhere. They call `mount`, `blkid` and the like by
//! name, whatever stands first in the `PATH`; root's folders are added for users who lack them.

use super::shell::quote;
use super::sync::STATE_FOLDER;
use crate::desired::spec::VolumeUse;
use crate::digest::Digest;
use crate::manifest::schema::Filesystem;

/// Exit code of [`first_boot`]: cloud-init ended with an error.
pub(super) const FIRST_BOOT_FAILED: i32 = 20;
/// Exit code of [`first_boot`]: done, though something was wrong.
pub(super) const FIRST_BOOT_DEGRADED: i32 = 21;
/// Exit code of [`first_boot`]: this image has no cloud-init.
pub(super) const FIRST_BOOT_NONE: i32 = 22;
/// Exit code of [`mount_volume`]: no device.
pub(super) const NO_DEVICE: i32 = 30;
/// Exit code of [`mount_volume`]: another file system, named on standard output.
pub(super) const OTHER_FILESYSTEM: i32 = 31;
/// Exit code of [`mount_volume`]: whether it is blank cannot be told.
pub(super) const UNREADABLE: i32 = 32;
/// Exit code of [`mount_volume`]: something else is mounted there.
pub(super) const PLACE_TAKEN: i32 = 33;
/// Exit code of [`mount_volume`]: a program is missing, named on standard output.
pub(super) const NO_PROGRAM: i32 = 34;
/// Exit code of [`mount_volume`] and [`unmount`]: in use.
pub(super) const BUSY: i32 = 35;

/// How long a device is waited for: udev makes it some moments after the attach is done.
pub(super) const DEVICE_SECONDS: u32 = 60;
/// What [`seal`] says before it powers off: from there on a lost connection is success.
pub(super) const POWERING_OFF: &str = "dewpoint: powering off";

/// Where a script finds the system: `/`, but for tests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    /// What is put before every absolute path.
    pub(super) root: &'a str,
    /// How long a device is waited for.
    pub(super) device_seconds: u32,
}

impl Places<'static> {
    const REAL: Self = Self {
        root: "",
        device_seconds: DEVICE_SECONDS,
    };
}

/// Tells how long the system is up, in seconds; when its first process began, in clock ticks since
/// then; and how many ticks a second has. Fields of `/proc/1/stat` are counted after the name, which
/// may hold blanks.
pub(super) fn time_since_boot() -> String {
    "read -r up rest </proc/uptime && stat=$(cat /proc/1/stat) && set -- ${stat##*) } && \
     echo \"$up ${20} $(getconf CLK_TCK 2>/dev/null || echo 100)\""
        .to_owned()
}

/// Wraps a text so that root runs it: directly, or through sudo without a password.
pub(super) fn as_root(script: &str) -> String {
    format!(
        "PATH=$PATH:/usr/sbin:/sbin; export PATH\nscript={}\n\
         if [ \"$(id -u)\" = 0 ]; then exec sh -c \"$script\"; fi\n\
         exec sudo -n -- sh -c \"$script\"",
        quote(script)
    )
}

/// Waits until cloud-init is done with the first boot. An image without it has nothing to wait
/// for; "recoverable errors" (exit 2, which deprecations alone cause) are no failure.
#[must_use]
pub fn first_boot() -> String {
    format!(
        r#"command -v cloud-init >/dev/null 2>&1 || exit {FIRST_BOOT_NONE}
cloud-init status --wait >/dev/null 2>&1
code=$?
[ "$code" -eq 0 ] && exit 0
cloud-init status --long 2>&1
case $code in
  2) exit {FIRST_BOOT_DEGRADED} ;;
  *) exit {FIRST_BOOT_FAILED} ;;
esac"#
    )
}

/// Mounts a volume: waits for its device, makes the file system while it is blank, grows it when
/// the device is larger, and says on standard output what it did (`formatted`, `grown`, `already`).
/// Someone's own volume is neither formatted nor grown.
#[must_use]
pub fn mount_volume(volume: &str, filesystem: Filesystem, usage: VolumeUse, path: &str) -> String {
    mount_volume_in(volume, filesystem, usage, path, Places::REAL)
}

pub(super) fn filesystem_name(filesystem: Filesystem) -> &'static str {
    match filesystem {
        Filesystem::Ext4 => "ext4",
        Filesystem::Xfs => "xfs",
    }
}

pub(super) fn mount_volume_in(
    volume: &str,
    filesystem: Filesystem,
    usage: VolumeUse,
    path: &str,
    places: Places<'_>,
) -> String {
    let Places {
        root,
        device_seconds,
    } = places;
    let device = quote(&format!("{root}{BY_VOLUME}{volume}"));
    format!(
        r#"set -u
device={device}
path={path}
wanted={wanted}
changes={changes}
mounts={root}/proc/self/mountinfo
{FUNCTIONS}
waited=0
until [ -e "$device" ]; do
  [ "$waited" -lt {waits} ] || exit {NO_DEVICE}
  waited=$((waited + 1)); sleep 0.2
done
node=$(readlink -f -- "$device") || exit {NO_DEVICE}
number=$((0x$(stat -L -c %t -- "$node"))):$((0x$(stat -L -c %T -- "$node")))
mkdir -p -- "$path" || exit 1
path=$(readlink -f -- "$path")

# Only the last mount at a place is seen there.
there=$(awk -v path="$path" '$5 == path {{ number = $3 }} END {{ print number }}' "$mounts")
if [ -n "$there" ] && [ "$there" != "$number" ]; then
  awk -v path="$path" '$5 == path {{ for (i = 6; i < NF; i++) if ($i == "-") found = $(i + 1) " " $(i + 2) }} END {{ print found }}' "$mounts"
  exit {PLACE_TAKEN}
fi
# The image may have mounted it elsewhere by itself.
for other in $(awk -v number="$number" -v path="$path" '$3 == number && $4 == "/" && $5 != path {{ print $5 }}' "$mounts"); do
  unmount "$other" || exit {BUSY}
done

if [ -z "$there" ]; then
  # blkid answers "nothing found" for what it cannot read, too.
  if ! said=$(dd if="$node" of=/dev/null bs=4096 count=1 2>&1); then printf '%s\n' "$said"; exit {UNREADABLE}; fi
  need blkid
  said=$(blkid -p -o export -- "$node" 2>&1)
  code=$?
  case $code in
    0)
      found=$(printf '%s\n' "$said" | sed -n 's/^TYPE=//p')
      table=$(printf '%s\n' "$said" | sed -n 's/^PTTYPE=//p')
      if [ "$found" != "$wanted" ]; then
        printf '%s\n' "${{found:-a partition table (${{table:-of an unknown kind}})}}"
        exit {OTHER_FILESYSTEM}
      fi ;;
    2)
      # What blkid does not know may be somebody's data all the same, unless it is half a file system
      # of our own: then the mark is there.
      if ! is_marked; then
        found=$(data_at)
        if [ -n "$found" ]; then printf 'data of a kind that is not known (%s)\n' "$found"; exit {OTHER_FILESYSTEM}; fi
      fi
      if [ "$changes" = no ]; then echo 'nothing (it is blank)'; exit {OTHER_FILESYSTEM}; fi
      need "mkfs.$wanted"
      said=$(printf '%s' "$mark" | set_mark 2>&1) || {{ printf '%s\n' "$said" >&2; exit 1; }}
      said=$("mkfs.$wanted" -q "$node" 2>&1 </dev/null) || {{ printf '%s\n' "$said" >&2; exit 1; }}
      head -c 4096 /dev/zero | set_mark 2>/dev/null
      echo formatted ;;
    *) printf 'blkid: exit %s %s\n' "$code" "$said"; exit {UNREADABLE} ;;
  esac
fi

if [ "$wanted" = ext4 ] && [ "$changes" = yes ] && is_short; then
  if [ -z "$there" ] || ! resize2fs "$node" >/dev/null 2>&1; then
    # A kernel that does not grow it while mounted does so when it is not.
    if [ -n "$there" ]; then unmount "$path" || exit {BUSY}; there=; fi
    said=$(e2fsck -fp "$node" 2>&1)
    [ $? -lt 4 ] || {{ printf '%s\n' "$said" >&2; exit 1; }}
    said=$(resize2fs "$node" 2>&1) || {{ printf '%s\n' "$said" >&2; exit 1; }}
  fi
  echo grown
fi

if [ -z "$there" ]; then
  said=$(mount -t "$wanted" -o defaults,nofail,discard,noatime{twin} "$node" "$path" 2>&1) ||
    said=$(mount -t "$wanted" -o defaults,nofail,noatime{twin} "$node" "$path" 2>&1) ||
    {{ printf '%s\n' "$said" >&2; exit 1; }}
else
  echo already
fi
if [ "$wanted" = xfs ] && [ "$changes" = yes ]; then
  need xfs_growfs
  before=$(blocks)
  said=$(xfs_growfs -d "$path" 2>&1) || {{ printf '%s\n' "$said" >&2; exit 1; }}
  [ "$before" = "$(blocks)" ] || echo grown
fi
exit 0"#,
        path = quote(&format!("{root}{path}")),
        wanted = filesystem_name(filesystem),
        changes = match usage {
            VolumeUse::Own | VolumeUse::Clone => "yes",
            VolumeUse::Existing => "no",
        },
        // A copy has the UUID of what it is a copy of, which xfs would refuse beside it.
        twin = match (usage, filesystem) {
            (VolumeUse::Clone, Filesystem::Xfs) => ",nouuid",
            _ => "",
        },
        root = root,
        waits = device_seconds * 5,
    )
}

/// What mounting and unmounting share. `unmount` waits a little for what is just ending, then says
/// on standard output who holds on.
const FUNCTIONS: &str = r#"need() { command -v "$1" >/dev/null 2>&1 || { printf '%s\n' "$1"; exit 34; }; }
blocks() { stat -f -c %b -- "$path" 2>/dev/null; }
# Whether the device has room that the file system does not use: 16 MiB or more, for less may be
# too little to hold another group of blocks.
is_short() {
  size=$(size_of)
  used=$(dumpe2fs -h "$node" 2>/dev/null | awk -F: '/^Block count/ { count = $2 } /^Block size/ { size = $2 } END { printf "%.0f", count * size }')
  [ -n "$used" ] && [ "$used" -gt 0 ] && [ $((size - used)) -ge 16777216 ]
}
size_of() { blockdev --getsize64 "$node" 2>/dev/null || stat -L -c %s -- "$node"; }
# While a file system is made a mark stands 1 MiB before the device's end, where none puts what it
# needs: a droplet may go in the midst of it.
mark='dewpoint: this file system is only half made'
marked_at() { echo $(($(size_of) / 4096 - 256)); }
is_marked() { [ "$(dd if="$node" bs=4096 skip="$(marked_at)" count=1 2>/dev/null | head -c ${#mark} | tr '\000' ' ')" = "$mark" ]; }
set_mark() { dd of="$node" bs=4096 seek="$(marked_at)" count=1 iflag=fullblock conv=sync,notrunc,fsync; }
# Where a device that has no file system holds anything but zeros; says nothing when it is blank. Its
# first 16 and its last 2 MiB are read, and 64 KiB at 62 places in between.
data_at() {
  chunks=$(($(size_of) / 65536))
  holds_data 0 256 && { echo 'in its first 16 MiB'; return; }
  [ "$chunks" -gt 256 ] || return 0
  holds_data $((chunks - 32)) 33 && { echo 'in its last 2 MiB'; return; }
  { part=1; while [ "$part" -lt 63 ]; do chunk $((chunks / 63 * part)) 1; part=$((part + 1)); done; } |
    is_not_blank && echo 'beyond its first 16 MiB'
}
chunk() { dd if="$node" bs=65536 skip="$1" count="$2" 2>/dev/null; }
is_not_blank() { [ "$(tr -d '\000' | head -c 1 | wc -c)" -ne 0 ]; }
holds_data() { chunk "$1" "$2" | is_not_blank; }
holders() {
  for process in /proc/[0-9]*; do
    for link in "$process"/cwd "$process"/root "$process"/exe "$process"/fd/*; do
      case "$(readlink -- "$link" 2>/dev/null)" in
        "$1"|"$1"/*)
          printf 'held by process %s: %s\n' "${process##*/}" "$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null | cut -c1-200)"
          break ;;
      esac
    done
  done
}
unmount() {
  sync -f "$1" 2>/dev/null || sync
  tries=0
  until said=$(umount -- "$1" 2>&1); do
    case $said in *"not mounted"*) return 0 ;; esac
    tries=$((tries + 1))
    if [ "$tries" -ge 10 ]; then printf '%s\n' "$said"; holders "$1"; return 1; fi
    sleep 0.3
  done
}"#;

/// Where a volume's device is found by the volume's name.
pub(super) const BY_VOLUME: &str = "/dev/disk/by-id/scsi-0DO_Volume_";

/// Flushes and unmounts what is mounted at a path, or from a device wherever that is mounted;
/// nothing mounted is success.
#[must_use]
pub fn unmount(path: &str) -> String {
    unmount_in(path, Places::REAL)
}

pub(super) fn unmount_in(path: &str, places: Places<'_>) -> String {
    let root = places.root;
    // Submounts come after what they lie on, so the last is taken first.
    let (number, of_it) = if path.starts_with(BY_VOLUME) {
        (
            "number=$((0x$(stat -L -c %t -- \"$path\"))):$((0x$(stat -L -c %T -- \"$path\")))",
            "$3 == number",
        )
    } else {
        ("number=", "$5 == path")
    };
    format!(
        r#"set -u
mounts={root}/proc/self/mountinfo
{FUNCTIONS}
path=$(readlink -e -- {path}) || exit 0
{number}
while place=$(awk -v path="$path" -v number="$number" '{of_it} {{ place = $5 }} END {{ print place }}' "$mounts"); [ -n "$place" ]; do
  rounds=$((${{rounds:-0}} + 1))
  if [ "$rounds" -gt 20 ]; then echo 'it is still mounted'; exit {BUSY}; fi
  unmount "$place" || exit {BUSY}
done"#,
        path = quote(&format!("{root}{path}")),
    )
}

/// Cleans a builder for its snapshot, and powers it off: whoever comes from the snapshot shall find
/// no key, no identity and no history of the builder's, above all not the host key that stands in
/// its user data.
#[must_use]
pub fn seal(user: &str) -> String {
    seal_in(user, Places::REAL)
}

pub(super) fn seal_in(user: &str, places: Places<'_>) -> String {
    let root = places.root;
    // What only tidies may fail; what must not be in a snapshot may not. Keys come last: until
    // then one can still log in and look.
    format!(
        r#"set -u
quietly() {{ "$@" >/dev/null 2>&1 </dev/null || :; }}
if command -v apt-get >/dev/null 2>&1; then quietly apt-get clean; rm -rf {root}/var/lib/apt/lists/*; fi
if command -v dnf >/dev/null 2>&1; then quietly dnf clean all; fi
quietly find {root}/tmp {root}/var/tmp -xdev -mindepth 1 -delete
rm -f {root}/etc/udev/rules.d/99-digitalocean-automount.rules
if command -v journalctl >/dev/null 2>&1; then quietly journalctl --rotate; quietly journalctl --vacuum-time=1s; fi
if command -v cloud-init >/dev/null 2>&1; then quietly cloud-init clean --logs; fi
quietly find {root}/var/log -xdev -type f '(' -name '*.gz' -o -name '*.old' -o -name '*.[0-9]' ')' -delete
quietly find {root}/var/log -xdev -type f -exec truncate -s 0 '{{}}' +
rm -f {root}/root/.*_history {root}/home/*/.*_history
set -e
rm -rf {root}/var/lib/dewpoint {root}/var/lib/cloud/instance {root}/var/lib/cloud/instances {root}/var/lib/cloud/data {root}/var/lib/cloud/sem
if [ -e {root}/etc/machine-id ]; then : >{root}/etc/machine-id; fi
if [ ! -L {root}/var/lib/dbus/machine-id ]; then rm -f {root}/var/lib/dbus/machine-id; fi
rm -f {root}/var/lib/systemd/random-seed
rm -f {root}/etc/ssh/ssh_host_*
home=$(getent passwd {user} | cut -d: -f6) || :
home={root}${{home:-/home/{user}}}
rm -rf "$home/.local/state/dewpoint"
rm -f {root}/root/.ssh/authorized_keys "$home/.ssh/authorized_keys"
quietly fstrim -a
sync
echo '{POWERING_OFF}'
exec poweroff"#,
        user = quote(user),
    )
}

/// Writes the inventory, of which so many bytes come first on standard input, and then the lines
/// that name droplets in /etc/hosts, between marks. Lines beyond the marks are left alone, and a
/// file that has the right ones already is not written.
pub(super) fn write_inventory(length: usize) -> String {
    write_inventory_in(length, Places::REAL)
}

pub(super) fn write_inventory_in(length: usize, places: Places<'_>) -> String {
    let root = places.root;
    format!(
        r#"set -eu
umask 022
folder={root}/run/dewpoint; hosts={root}/etc/hosts
mkdir -p "$folder"
head -c {length} >"$folder/inventory.new"
[ "$(wc -c <"$folder/inventory.new")" -eq {length} ]
chmod 0644 "$folder/inventory.new"
cat >"$folder/hosts.block"
touch "$hosts"
{{
  awk -v begin='{HOSTS_BEGIN}' -v end='{HOSTS_END}' '
    $0 == begin {{ inside = 1 }}
    !inside {{ print }}
    $0 == end {{ inside = 0 }}' "$hosts"
  echo '{HOSTS_BEGIN}'
  cat "$folder/hosts.block"
  echo '{HOSTS_END}'
}} >"$folder/hosts.new"
# Written in place: it may be a mount.
cmp -s "$folder/hosts.new" "$hosts" || cat "$folder/hosts.new" >"$hosts"
rm -f "$folder/hosts.new" "$folder/hosts.block"
mv -f "$folder/inventory.new" "$folder/inventory.json""#
    )
}

/// The lines in /etc/hosts between which names of droplets stand.
const HOSTS_BEGIN: &str = "# begin dewpoint: written before runs, do not edit";
const HOSTS_END: &str = "# end dewpoint";

/// Exits 0 if what this digest stands for has succeeded on the droplet before, else 1.
#[must_use]
pub fn has_run_once(digest: &Digest) -> String {
    format!("{STATE_FOLDER}[ -e \"$state/once/{digest}\" ]")
}

/// Remembers that it has succeeded. A snapshot does not carry the memory on.
#[must_use]
pub fn mark_run_once(digest: &Digest) -> String {
    format!(
        "set -eu\n{STATE_FOLDER}mkdir -p -- \"$state/once\"\n: >\"$state/once/{digest}\"\nsync -f \"$state/once/{digest}\" 2>/dev/null || sync"
    )
}
