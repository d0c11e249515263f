//! Soak: many cycles of apply, test and destroy with random faults and random kills. After each a
//! `destroy` ends empty; at the end nothing has leaked: no resource, mount, process or descriptor.
//!
//! `cargo test --test soak` runs a few. `DEWPOINT_SOAK_CYCLES=300` runs more, and `DEWPOINT_SOAK_SEED`
//! chooses them: the seed of each run is printed.

#[path = "../support/api_call.rs"]
mod api_call;
mod cloud;
mod dice;
mod worlds;

use std::path::Path;
use std::time::{Duration, Instant};

use cloud::{Cloud, Figures, Ran};
use dice::Dice;
use rustix::process::Signal;
use serde_json::{Value, json};
use worlds::{WORLDS, World};

/// Cycles, when nothing else is asked for: about a minute.
const CYCLES: u64 = 24;
/// Cycles until caches and pools are what they will be.
const WARM: u64 = 12;
/// Descriptors that may be open at one time and not at another: connections that come and go.
const FEW_DESCRIPTORS: usize = 8;
/// MiB that the log of requests, which has a bound, may take.
const MOST_MIB: f64 = 256.0;

/// How a command is ended.
const SIGNALS: [&[Signal]; 5] = [
    &[Signal::KILL],
    &[Signal::INT],
    &[Signal::TERM],
    &[Signal::INT, Signal::INT],
    &[Signal::HUP],
];

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "it looks for leaks in /proc")]
fn nothing_leaks_in_many_cycles_of_faults_and_kills() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>());
    let number = |name: &str| number(name).map(|number| number.expect("a number"));
    let cycles = number("DEWPOINT_SOAK_CYCLES").unwrap_or(CYCLES);
    let seed = number("DEWPOINT_SOAK_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| u64::from(now.subsec_nanos()))
    });
    println!("soak: {cycles} cycles, DEWPOINT_SOAK_SEED={seed}");
    let begun = Instant::now();
    let mut clouds = vec![Cloud::new(false)];
    if has_guests() {
        clouds.push(Cloud::new(true));
    }
    let mut weights: Vec<Option<(i32, usize, f64)>> = vec![None; clouds.len()];
    for cycle in 0..cycles {
        // Each cycle has dice of its own: one can be had again without those before it.
        let mut dice = Dice(seed.wrapping_add(cycle << 32));
        let at = usize::from(clouds.len() > 1 && dice.percent(40));
        let cloud = &mut clouds[at];
        let told = play(cloud, &mut dice);
        println!("{cycle:4} {:5.0} s  {told}", begun.elapsed().as_secs_f64());
        assert_eq!(
            cloud.processes(),
            Vec::<String>::new(),
            "cycle {cycle}: {told}"
        );
        let pid = cloud.pid();
        if cycle >= WARM && weights[at].is_none_or(|(of, ..)| of != pid) {
            let (open, mib) = cloud.weight();
            weights[at] = Some((pid, open, mib));
        }
    }
    let mut all = Figures::default();
    for (cloud, before) in clouds.iter_mut().zip(weights) {
        let (open, mib) = cloud.weight();
        println!(
            "service: {before:?} (process, descriptors, MiB) -> {open} descriptors, {mib:.0} MiB"
        );
        if let Some((_, before, _)) = before {
            assert!(
                open <= before + FEW_DESCRIPTORS,
                "{before} descriptors became {open}"
            );
        }
        assert!(mib < MOST_MIB, "{mib} MiB");
        assert_eq!(cloud.holds(), Vec::<String>::new());
        cloud.count_calls();
        cloud.reset();
        assert_eq!(cloud.mounts(), Vec::<String>::new());
        assert_eq!(cloud.processes(), Vec::<String>::new());
        let figures = &cloud.figures;
        for (sum, count) in all.killed.iter_mut().zip(figures.killed) {
            *sum += count;
        }
        all.clouds_killed += figures.clouds_killed;
        all.faults_met += figures.faults_met;
        all.calls += figures.calls;
        all.commands += figures.commands;
        all.destroys += figures.destroys;
    }
    println!(
        "soak: {cycles} cycles in {:.0} s, {} commands, {} API calls, {} calls met a fault; ended by KILL {}, \
         INT {}, TERM {}, INT twice {}, HUP {}; local clouds killed {}; {} destroys ended empty",
        begun.elapsed().as_secs_f64(),
        all.commands,
        all.calls,
        all.faults_met,
        all.killed[0],
        all.killed[1],
        all.killed[2],
        all.killed[3],
        all.killed[4],
        all.clouds_killed,
        all.destroys,
    );
}

/// Whether droplets can be logged in to here; says why not.
fn has_guests() -> bool {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let folder = camino::Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
    let probe = dewpoint::local::tiers::probe(folder);
    let can = probe.tier == dewpoint::local::seam::Tier::Namespaces;
    if !can {
        println!("NOT RUN with guests: {}", probe.reasons.join("; "));
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must run it with guests"
        );
    }
    can
}

/// One cycle: something is done, with faults, and perhaps ended early; then all is destroyed. Says what
/// it was.
fn play(cloud: &mut Cloud, dice: &mut Dice) -> String {
    let fit: Vec<&World> = WORLDS
        .iter()
        .filter(|world| world.logs_in == cloud.has_guests)
        .collect();
    let world = *dice.of(&fit);
    let folder = cloud.path(world.project);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("dewpoint.yaml"), world.manifest).expect("written");
    let command: &[&str] = *dice.of(&[
        &["apply", "--yes"][..],
        &["test"],
        &["destroy", "--project", "--yes"],
    ]);
    if command[0] == "destroy" {
        // There has to be something.
        succeeds(cloud, &["apply", "--yes"], &folder, "before the destroy");
    }
    let faults: Vec<Value> = (0..dice.below(4)).map(|_| dice.fault()).collect();
    for fault in &faults {
        cloud.call("POST", "/_local/faults", Some(fault));
    }
    let ended = dice.percent(65).then(|| dice.below(SIGNALS.len() as u64));
    let ended = ended.map(|at| usize::try_from(at).expect("an index"));
    let most = if cloud.has_guests { 5_000 } else { 1_500 };
    let later = Duration::from_millis(dice.below(most));
    let is_cloud_killed = dice.percent(25);
    if ended.is_some() && dice.percent(10) {
        // Nothing that is begun ever ends: only together with an early end.
        let never =
            json!({ "path": "/v2/**", "times": 0, "fault": { "action": { "never": true } } });
        cloud.call("POST", "/_local/faults", Some(&never));
    }
    let mut told = format!("{} {}, {} faults", world.project, command[0], faults.len());
    let mut running = cloud.start(command, &folder);
    let ran = match ended {
        None if is_cloud_killed => {
            std::thread::sleep(later);
            cloud.heal();
            cloud.kill();
            told += ", the local cloud killed";
            running.end()
        }
        None => running.end(),
        Some(at) => {
            std::thread::sleep(later);
            let mut was_sent = false;
            for signal in SIGNALS[at] {
                was_sent |= running.signal(*signal);
            }
            // What never ends would be waited for.
            if at != 0 {
                std::thread::sleep(Duration::from_millis(dice.below(300)));
            }
            cloud.heal();
            cloud.figures.killed[at] += u32::from(was_sent);
            told += &format!(", {:?} after {} ms", SIGNALS[at], later.as_millis());
            running.end()
        }
    };
    cloud.heal();
    told += &format!(" -> {:?}", ran.code);
    let trace = format!("{told}\n{}\n{}", json!(faults), ran.text);
    // 3 is the tests' fault: here nothing is, but for a droplet that somebody else destroyed.
    let is_known = matches!(ran.code, None | Some(0 | 1 | 3 | 129 | 130 | 143));
    assert!(is_known, "{trace}");
    if command[0] == "apply" && dice.percent(50) {
        succeeds(cloud, &["apply", "--yes"], &folder, &trace);
        succeeds(cloud, &["plan", "--detailed-exitcode"], &folder, &trace);
    }
    // What is still being made when a destroy looks shows later: another one sees it.
    for last in [false, true] {
        let ran = succeeds(cloud, &["destroy", "--project", "--yes"], &folder, &trace);
        cloud.figures.destroys += 1;
        let left = cloud.holds();
        if left.is_empty() {
            break;
        }
        told += ", destroyed twice";
        assert!(!last, "left: {left:?}\n{trace}\n{}", ran.text);
    }
    told
}

fn succeeds(cloud: &mut Cloud, arguments: &[&str], folder: &Path, trace: &str) -> Ran {
    let ran = cloud.run(arguments, folder);
    assert_eq!(ran.code, Some(0), "{}\nafter: {trace}", ran.text);
    ran
}
