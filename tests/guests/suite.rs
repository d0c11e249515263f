//! Real guests, driven over real SSH: what design promises of the `namespaces` tier.
//!
//! The program has a main of its own: it is its own guests' supervisor too, and the cloud process
//! that a test kills. A word on the command line runs the tests whose name contains it.

mod hostile;
mod killed;
mod life;
mod limits;
mod login;
mod many;
mod network;
#[path = "../support/real_guests.rs"]
mod real_guests;
mod systemd;

use std::future::Future;

use camino::{Utf8Path, Utf8PathBuf};
use dewpoint::local::guests::Options;

/// First argument that makes this program a cloud process for [`killed`].
const CLOUD: &str = "__cloud";

const WITH: Options = Options { systemd: true };
const WITHOUT: Options = Options { systemd: false };

pub fn main() {
    let mut words = std::env::args().skip(1);
    let first = words.next().unwrap_or_default();
    if first == dewpoint::local::SUPERVISOR {
        dewpoint::local::guests::supervisor_main();
    }
    // What guests warn of is what explains a test that fails.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if first == CLOUD {
        let folder = Utf8PathBuf::from(words.next().expect("a folder"));
        return runtime.block_on(killed::cloud(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
    if !real_guests::are_to_run("guests", folder) {
        return;
    }
    let mut suite = Suite {
        runtime,
        wanted: std::env::args().skip(1).find(|word| !word.starts_with('-')),
        count: 0,
    };
    suite.run("life_with_systemd", life::of_guests(folder, WITH));
    suite.run("life_without_systemd", life::of_guests(folder, WITHOUT));
    suite.run("hostile_with_systemd", hostile::commands(folder, WITH));
    suite.run(
        "hostile_without_systemd",
        hostile::commands(folder, WITHOUT),
    );
    suite.run("systemd_services", systemd::services(folder));
    suite.run("reboot_without_systemd", systemd::reboot_without(folder));
    suite.run("same_ports", limits::same_ports(folder));
    suite.run("memory_hog", limits::memory_hog(folder));
    suite.run("network_between_guests", network::between_guests(folder));
    suite.run("many_at_once", many::at_once(folder, 100));
    suite.run("killed_cloud", killed::leaves_nothing(folder));
    suite.run("unknown_files", killed::unknown_files_go(folder));
    nothing_left(folder).expect("nothing left");
    println!("guests: {} passed, 0 failed", suite.count);
}

struct Suite {
    runtime: tokio::runtime::Runtime,
    wanted: Option<String>,
    count: usize,
}

impl Suite {
    /// Runs one test; it panics where it fails, and so ends the program.
    fn run(&mut self, name: &str, test: impl Future<Output = ()>) {
        if self
            .wanted
            .as_deref()
            .is_some_and(|word| !name.contains(word))
        {
            return;
        }
        println!("guests: {name}");
        let start = std::time::Instant::now();
        self.runtime.block_on(test);
        println!(
            "guests: {name} passed in {} ms",
            start.elapsed().as_millis()
        );
        self.count += 1;
    }
}

/// Whether a mount, a loop device or a control group of guests in `folder` is there, and which.
fn nothing_left(folder: &Utf8Path) -> Result<(), String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    if mounts.contains(folder.as_str()) {
        return Err(format!("a mount was left: {mounts}"));
    }
    for entry in std::fs::read_dir("/sys/block").expect("disks") {
        let backing = entry.expect("a disk").path().join("loop/backing_file");
        let backing = std::fs::read_to_string(backing).unwrap_or_default();
        if backing.starts_with(folder.as_str()) {
            return Err(format!("a loop device was left: {backing}"));
        }
    }
    Ok(())
}
