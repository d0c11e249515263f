//! How long a plan takes when the longest chain of steps begins first, against the plan's own order,
//! where not all that is ready may begin at once.
//!
//! `cargo bench --bench schedule` plays made-up plans by the engine's own order and limits, without
//! doing anything, prints a table, writes `target/bench/schedule.json`, and fails when the longest
//! chain first is slower on the whole, or takes long to find.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use dewpoint::address::Address;
use dewpoint::execute::Limits;
use dewpoint::execute::rehearsal::rehearse;
use dewpoint::plan::{Edge, EdgeKind, Plan, Step, StepId, StepKind, schedule};
use support::{Budget, Report, ms, times_ms};

/// Plans of each kind.
const ROUNDS: u64 = 40;
/// Droplets of the largest plan, and how long its order may take to find.
const MANY: usize = 10_000;
const FOUND_WITHIN: Duration = Duration::from_millis(250);

/// The same numbers each time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// A plan, and how long each of its steps takes.
struct Play {
    plan: Plan,
    took: Vec<u64>,
}

impl Play {
    fn new() -> Self {
        Self {
            plan: support::empty_plan(),
            took: vec![],
        }
    }

    /// A step that takes so long and needs others.
    fn step(&mut self, took: u64, needs: &[StepId]) -> StepId {
        let id = StepId(u32::try_from(self.took.len()).expect("few"));
        self.plan.steps.push(Step {
            id,
            address: Address::Firewall,
            kind: StepKind::DeleteTags { names: vec![] },
            cleanup: false,
            expected_seconds: 0,
        });
        self.took.push(took);
        self.plan.edges.extend(needs.iter().map(|from| Edge {
            from: *from,
            to: id,
            kind: EdgeKind::Needs,
            reason: "".into(),
        }));
        id
    }

    /// When all has ended, in the plan's order and the longest chain first.
    fn play(mut self, room: usize) -> (u64, u64) {
        self.plan.edges.sort();
        let limits = Limits {
            api: room,
            logins: room,
            transfers: room,
            commands: room,
        };
        let chains = schedule::chains(&self.took, &self.plan.edges);
        let whole = |chains: &[u64]| rehearse(&self.plan, &self.took, chains, limits).whole;
        (whole(&[]), whole(&chains))
    }
}

/// Droplets of a matrix: made, logged in to, given the source, one run each, which takes as long as
/// it takes; and a few whose run is long, named last as the alphabet will have it.
fn matrix(numbers: &mut Numbers, droplets: usize) -> Play {
    let mut play = Play::new();
    for droplet in 0..droplets {
        let made = play.step(40, &[]);
        let there = play.step(15, &[made]);
        let synced = play.step(3, &[there]);
        let is_long = droplet * 20 >= droplets * 19;
        let run = if is_long { 600 } else { 20 + numbers.below(60) };
        let ran = play.step(run, &[synced]);
        play.step(3, &[ran]);
    }
    play
}

/// Snapshots that others are made from, and droplets that use them.
fn layers(numbers: &mut Numbers) -> Play {
    let mut play = Play::new();
    for _ in 0..20 {
        let alone = play.step(40, &[]);
        play.step(numbers.below(120), &[alone]);
    }
    let mut below = Vec::new();
    for _ in 0..4 {
        let built = play.step(60 + numbers.below(300), &below);
        below = vec![play.step(90, &[built])];
        for _ in 0..5 {
            let made = play.step(40, &below);
            play.step(numbers.below(200), &[made]);
        }
    }
    play
}

fn main() -> ExitCode {
    let mut report = Report::new("schedule");
    type Kind = (&'static str, fn(&mut Numbers) -> Play);
    let kinds: [Kind; 2] = [
        ("100 droplets, five of them long", |n| matrix(n, 100)),
        ("layers of snapshots", layers),
    ];
    for (name, make) in kinds {
        for room in [2, 4, 16, 64] {
            let mut sums = (0, 0);
            for round in 0..ROUNDS {
                let (plain, chained) = make(&mut Numbers(round)).play(room);
                sums = (sums.0 + plain, sums.1 + chained);
            }
            let (plain, chained) = (sums.0 as f64, sums.1 as f64);
            report.value(
                &format!("{name}, {room} at once: longest chain first, of the plan's order"),
                "x",
                chained / plain,
                Budget::AtMost(1.0),
            );
        }
    }
    let mut large = matrix(&mut Numbers(1), MANY);
    large.plan.edges.sort();
    let times = times_ms(9, || schedule::chains(&large.took, &large.plan.edges));
    report.values(
        &format!("chains of {} steps found", large.took.len()),
        "ms",
        &times,
        Budget::AtMost(ms(FOUND_WITHIN)),
    );
    report.note(
        "made-up plans, played by the engine's own order and limits: how long the whole takes",
    );
    report.finish()
}
