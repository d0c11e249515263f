//! Planning from memory: what a plan of 100 to 100,000 droplets takes, in time and memory, and how
//! that grows; and what comes before it, from the manifest's text to what should exist.
//!
//! Times are the processor's: nothing here waits. Memory that was given back is kept for the next
//! round, of small and large plans alike; else only the large ones are charged, each round, with what
//! the kernel takes to hand out the same pages again.
//!
//! A command plans once, and with the memory it gets then: beside it stands what one plan takes `in a
//! fresh process`, where every page is new and no round before has filled the caches.
//!
//! `cargo bench --bench planning` prints the table. `cargo bench --bench planning -- --once CASE N` does
//! one of them once, for a profiler; with `planned TIMES` or `judged TIMES` as further words it does that so
//! often.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

use dewpoint::desired::{self, Desired, Image, Inputs, SshKey};
use dewpoint::live::{
    Account, Catalog, DropletStatus, Live, LiveDroplet, LiveFirewall, LiveImage, LiveSshKey,
    RegionOffer, SizeOffer, ownership,
};
use dewpoint::manifest::{self, Manifest};
use dewpoint::plan::{self, Options, Plan};
use dewpoint::units::Money;
use support::{Budget, Report, Spread, processor_ms, processor_times_ms};

/// How many droplets.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// The one that has a budget.
const BUDGETED: usize = 10_000;
/// Of planning that many.
const MOST_MS: f64 = 250.0;
/// Of planning that many, with what it is made of.
const MOST_MIB: f64 = 200.0;
/// By how much more than tenfold ten times as many may take.
const GROWTH: f64 = 1.3;

/// When the bench plans.
const NOW: i64 = 1_790_000_000;

/// What is planned.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    /// Droplets that are there, and nothing is to be done.
    Kept,
    /// Droplets that are not there.
    Made,
    /// Droplets that are there, each with a working tree, a run step and artifacts.
    Run,
    /// Droplets that are not there, with the same, made from a snapshot and gone afterwards.
    Tested,
    /// Likewise, each with a copy of a volume, and something that runs in the background.
    Cloned,
}

impl Case {
    const ALL: [Self; 5] = [
        Self::Kept,
        Self::Made,
        Self::Run,
        Self::Tested,
        Self::Cloned,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Kept => "nothing to do",
            Self::Made => "from empty",
            Self::Run => "to run on all",
            Self::Tested => "test from empty",
            Self::Cloned => "test with copies of a volume",
        }
    }

    fn sizes(self) -> &'static [usize] {
        match self {
            // It has twice as many steps as the others.
            Self::Cloned => &SIZES[..3],
            _ => &SIZES,
        }
    }

    fn manifest(self, droplets: usize) -> Manifest {
        let more = match self {
            Self::Kept | Self::Made => "",
            Self::Cloned => {
                "    volumes: [{ volume: data, mount: /mnt/data, access: clone }]
    run:
      - { name: serve, command: python3 -m http.server, background: true }
      - { name: tests, command: python3 -m pytest, artifacts: [report.xml] }
volumes:
  data: { size: 10GiB }
"
            }
            Self::Run | Self::Tested => {
                "    source: { path: ./app, into: /opt/app }
    env: { LANG: C.UTF-8 }
    run: [{ name: tests, command: python3 -m pytest, artifacts: [report.xml] }]
"
            }
        };
        let text = format!(
            "version: 1
project: fleet
region: nyc3
snapshots:
  base: {{ from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{{ run: echo base }}] }}
droplets:
  web:
    image: {{ snapshot: base }}
    size: s-1vcpu-1gb
    count: 2
{more}"
        );
        let mut manifest = loaded(&text);
        // A manifest may not ask for as many as the last.
        let web = manifest.droplets.get_mut("web").expect("it is there");
        web.count = u32::try_from(droplets).ok();
        manifest
    }

    fn goal(self) -> plan::Goal {
        match self {
            Self::Tested | Self::Cloned => plan::Goal::Test,
            _ => plan::Goal::Apply,
        }
    }

    fn world(self, droplets: usize) -> World {
        let desired = desired_of(&self.manifest(droplets));
        let live = match self {
            Self::Kept | Self::Run => everything(&desired),
            Self::Made | Self::Tested | Self::Cloned => nothing(),
        };
        World {
            desired,
            live,
            options: Options {
                goal: self.goal(),
                ..Options::default()
            },
        }
    }
}

/// What a plan is made of.
struct World {
    desired: Desired,
    live: Live,
    options: Options,
}

impl World {
    fn plan(&self) -> Plan {
        plan::plan(&self.desired, &self.live, &self.options, NOW).expect("nothing is refused")
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == FRESH) {
        println!("{}", fresh(&arguments[at + 1..]));
        return ExitCode::SUCCESS;
    }
    keep_memory();
    if let Some(at) = arguments.iter().position(|argument| argument == "--once") {
        once(&arguments[at + 1..]);
        return ExitCode::SUCCESS;
    }
    let mut report = Report::new("planning");
    for case in Case::ALL {
        let mut least = BTreeMap::new();
        for &droplets in case.sizes() {
            let mib = peak_mib(|| case.world(droplets).plan());
            let world = case.world(droplets);
            judge(case, droplets, &world.plan());
            let rounds = if droplets > BUDGETED { 5 } else { 15 };
            let times = processor_times_ms(rounds, || world.plan());
            least.insert(droplets, Spread::of(&times).least);
            let has_budget = droplets == BUDGETED;
            let at_most = |most| has_budget.then_some(Budget::AtMost(most));
            let name = format!("{}, {}", case.name(), grouped(droplets));
            report.values(&name, "ms", &times, at_most(MOST_MS));
            report.value(&format!("{name}: peak"), "MiB", mib, at_most(MOST_MIB));
        }
        for pair in case.sizes()[1..].windows(2) {
            let [fewer, more] = *pair else { unreachable!() };
            // The least disturbed rounds: what grows is the work, not what else goes on here.
            let growth = least[&more] / least[&fewer] / 10.0;
            let name = format!(
                "{}, {} to {}: of linear",
                case.name(),
                grouped(fewer),
                grouped(more)
            );
            report.value(&name, "x", growth, Budget::AtMost(GROWTH));
        }
    }
    in_fresh_processes(&mut report);
    before_planning(&mut report);
    after_planning(&mut report);
    report.finish()
}

/// From the manifest's text to what should exist.
fn before_planning(report: &mut Report) {
    let text = "version: 1\nproject: fleet\nregion: nyc3\ndroplets:\n  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 10000 }\n";
    let times = processor_times_ms(15, || loaded(text));
    report.values(
        "manifest of `count: 10000`: read and checked",
        "ms",
        &times,
        None,
    );
    let manifest = loaded(text);
    let times = processor_times_ms(15, || desired_of(&manifest));
    report.values("manifest of `count: 10000`: expanded", "ms", &times, None);
    let mut least = Vec::new();
    for droplets in [100, 1_000, 10_000] {
        let text = written_out(droplets);
        let times = processor_times_ms(5, || loaded(&text));
        least.push(Spread::of(&times).least);
        let name = format!(
            "manifest of {} written out: read and checked",
            grouped(droplets)
        );
        report.values(&name, "ms", &times, None);
    }
    let growth = least[2] / least[1] / 10.0;
    let name = "manifest of 1,000 to 10,000 written out: of linear";
    report.value(name, "x", growth, Budget::AtMost(GROWTH));
}

/// What follows a plan before anything is done.
fn after_planning(report: &mut Report) {
    for case in Case::ALL {
        let mut least = Vec::new();
        for droplets in [1_000, BUDGETED] {
            let world = case.world(droplets);
            let plan = world.plan();
            let times = processor_times_ms(5, || plan::check::check(&plan, &world.live));
            least.push(Spread::of(&times).least);
            let name = format!("{}, {}: judged", case.name(), grouped(droplets));
            report.values(&name, "ms", &times, None);
        }
        let growth = least[1] / least[0] / 10.0;
        let name = format!("{}, 1,000 to 10,000 judged: of linear", case.name());
        report.value(&name, "x", growth, Budget::AtMost(GROWTH));
    }
}

/// One plan of a case, for a profiler.
fn once(arguments: &[String]) {
    let (case, droplets, more) = match arguments {
        [case, droplets] => (case, droplets, None),
        [case, droplets, what, times] => (case, droplets, Some((what.as_str(), times))),
        _ => panic!("--once CASE N [planned TIMES | judged TIMES]"),
    };
    let world = world_called(case, droplets);
    let plan = world.plan();
    let times = more.map_or(0, |(_, times)| times.parse().expect("a number"));
    for _ in 0..times {
        match more {
            Some(("planned", _)) => assert_eq!(world.plan().steps.len(), plan.steps.len()),
            Some(("judged", _)) => {
                plan::check::check(&plan, &world.live).expect("a good plan");
            }
            _ => panic!("`planned` or `judged`"),
        }
    }
    println!("{} steps", plan.steps.len());
}

fn world_called(case: &str, droplets: &str) -> World {
    let case = Case::ALL.into_iter().find(|known| known.name() == case);
    let case = case.expect("the name of a case");
    case.world(droplets.parse().expect("a number"))
}

/// Asks for [`fresh`], with a case and a number of droplets.
const FRESH: &str = "--fresh";
/// How often something is done once.
const FRESH_ROUNDS: usize = 15;

/// What one plan takes of the processor, in milliseconds: as a command has it, but for what it takes
/// to get to know what it is made of.
fn fresh(arguments: &[String]) -> f64 {
    let [case, droplets] = arguments else {
        panic!("{FRESH} CASE N");
    };
    let world = world_called(case, droplets);
    let (took, plan) = processor_ms(|| world.plan());
    assert!(plan.version > 0, "it is used");
    took
}

/// What one plan takes where none was made before.
fn in_fresh_processes(report: &mut Report) {
    let program = std::env::current_exe().expect("the bench has a path");
    for case in Case::ALL {
        let mut before: Option<(usize, f64)> = None;
        for &droplets in &case.sizes()[1..] {
            let times: Vec<f64> = (0..FRESH_ROUNDS)
                .map(|_| {
                    let mut command = Command::new(&program);
                    command.args([FRESH, case.name(), &droplets.to_string()]);
                    let output = command.output().expect("it starts");
                    assert!(output.status.success(), "{output:?}");
                    let text = String::from_utf8_lossy(&output.stdout);
                    text.trim().parse().expect("a number of milliseconds")
                })
                .collect();
            let least = Spread::of(&times).least;
            let name = format!("{}, {}, in a fresh process", case.name(), grouped(droplets));
            report.values(&name, "ms", &times, None);
            if let Some((fewer, before)) = before.replace((droplets, least)) {
                let name = format!(
                    "{}, {} to {}, in a fresh process: of linear",
                    case.name(),
                    grouped(fewer),
                    grouped(droplets)
                );
                let growth = least / before / 10.0;
                report.value(&name, "x", growth, Budget::AtMost(GROWTH));
            }
        }
    }
}

/// That a plan is what its case is about.
fn judge(case: Case, droplets: usize, plan: &Plan) {
    let steps = plan.steps.len();
    match case {
        Case::Kept => assert!(!plan.has_changes() && steps == 0, "{steps} steps"),
        Case::Run => assert!(!plan.has_changes() && steps > 4 * droplets, "{steps} steps"),
        Case::Made => assert!(plan.new_droplets().len() > droplets),
        Case::Tested => assert!(steps > 6 * droplets, "{steps} steps"),
        Case::Cloned => assert!(steps > 11 * droplets, "{steps} steps"),
    }
}

fn loaded(text: &str) -> Manifest {
    let inputs = manifest::Inputs::default();
    manifest::load("dewpoint.yaml", text.as_bytes(), &inputs).expect("a good manifest")
}

/// A manifest that names each of its droplets.
fn written_out(droplets: usize) -> String {
    let mut text = "version: 1\nproject: fleet\nregion: nyc3\ndroplets:\n".to_owned();
    for number in 0..droplets {
        text.push_str(&format!(
            "  web-{number}: {{ image: ubuntu-24-04-x64, size: s-1vcpu-1gb, tags: [team] }}\n"
        ));
    }
    text
}

fn desired_of(manifest: &Manifest) -> Desired {
    let inputs = Inputs {
        ssh_key: SshKey {
            public_key: "ssh-ed25519 AAAA fleet-main".to_owned(),
            fingerprint: "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa".to_owned(),
            generated: true,
        },
        copies: BTreeMap::new(),
        commits: BTreeMap::new(),
    };
    desired::desired(manifest, &inputs).expect("a desired state")
}

/// An account with nothing in it.
fn nothing() -> Live {
    let money = |text: &str| Money(text.parse().expect("a price"));
    Live {
        account: Account {
            id: String::new(),
            droplet_limit: 0,
            volume_limit: 0,
            status: "active".to_owned(),
        },
        catalog: Catalog {
            sizes: vec![SizeOffer {
                slug: "s-1vcpu-1gb".to_owned(),
                disk_gib: 25,
                memory_mib: 1_024,
                vcpus: 1,
                price_hourly: money("0.00893"),
                price_monthly: money("6"),
                regions: vec!["nyc3".to_owned()],
                available: true,
            }],
            regions: vec![RegionOffer {
                slug: "nyc3".to_owned(),
                available: true,
                features: vec!["storage".to_owned()],
            }],
            ..Catalog::default()
        },
        ..Live::default()
    }
}

/// An account with all that should exist.
fn everything(desired: &Desired) -> Live {
    let expires = ownership::expires_tag(NOW + 43_000);
    let tagged = |tags: &[String]| {
        let mut tags = tags.to_vec();
        tags.push(expires.clone());
        tags.sort();
        tags
    };
    let mut live = nothing();
    live.ssh_keys.push(LiveSshKey {
        id: 1,
        name: desired.scope.environment_name(),
        fingerprint: desired.ssh_key.fingerprint.clone(),
    });
    live.firewalls
        .extend(desired.firewall.iter().map(|wall| LiveFirewall {
            id: "wall".to_owned(),
            name: wall.name.clone(),
            inbound: wall.inbound.clone(),
            outbound: wall.outbound.clone(),
            tags: wall.tags.clone(),
            droplet_ids: Vec::new(),
        }));
    live.images
        .extend(desired.snapshots.iter().map(|snapshot| LiveImage {
            id: 7,
            name: snapshot.image_name.clone(),
            status: "available".to_owned(),
            regions: vec![desired.scope.region.clone()],
            min_disk_gib: 25,
            size_mb: 2_000,
            tags: snapshot.tags.clone(),
            created_at: NOW - 1_000,
        }));
    live.droplets = (100..)
        .zip(&desired.droplets)
        .map(|(id, droplet)| LiveDroplet {
            id,
            name: droplet.name.as_str().to_owned(),
            status: DropletStatus::Active,
            region: desired.scope.region.clone(),
            size: droplet.size.as_str().to_owned(),
            image_id: 7,
            image_slug: match &droplet.image {
                Image::Slug(slug) => Some(slug.as_str().to_owned()),
                _ => None,
            },
            public_ipv4: Some([203, 0, 113, 1].into()),
            private_ipv4: Some([10, 0, 0, 1].into()),
            volume_ids: Vec::new(),
            tags: tagged(&droplet.tags),
            vpc: Some("vpc".to_owned()),
            created_at: NOW - 200,
        })
        .collect();
    live
}

/// `10,000`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

// ---- memory

/// Has what is freed kept for what is asked for next.
fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only sets how the allocator goes about its work, before any other thread is there.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_MMAP_MAX, 0);
    }
}

/// Counts what is allocated, when it is asked to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static NOW_BYTES: AtomicIsize = AtomicIsize::new(0);
static PEAK_BYTES: AtomicIsize = AtomicIsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn add(bytes: isize) {
        if COUNTS.load(Ordering::Relaxed) {
            let now = NOW_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
            PEAK_BYTES.fetch_max(now, Ordering::Relaxed);
        }
    }
}

fn signed(bytes: usize) -> isize {
    // No allocation is larger: the layout says so.
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: all of it is the system's allocator; only sums are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(signed(layout.size()));
        // SAFETY: as given.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(signed(layout.size()));
        // SAFETY: as given.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::add(-signed(layout.size()));
        // SAFETY: as given.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::add(signed(size) - signed(layout.size()));
        // SAFETY: as given.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The most that is held at once while something is made, with all it is made of.
fn peak_mib<T>(what: impl FnOnce() -> T) -> f64 {
    NOW_BYTES.store(0, Ordering::Relaxed);
    PEAK_BYTES.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let made = what();
    COUNTS.store(false, Ordering::Relaxed);
    drop(made);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    let mib = PEAK_BYTES.load(Ordering::Relaxed) as f64 / (1024.0 * 1024.0);
    mib
}
