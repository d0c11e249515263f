//! Laws: true of whatever the planner plans.

use proptest::prelude::*;

use super::world::{World, nothing};
use super::*;
use crate::live::{DropletStatus, LiveDroplet, LiveImage, LiveVolume, LiveVolumeSnapshot};
use crate::plan::EdgeKind;
use crate::plan::destroy;
use crate::plan::durations::longest;

/// A manifest of few names, so that two of them overlap: it can follow another on the same account.
pub(super) fn manifests() -> BoxedStrategy<String> {
    let droplet = |name: &'static str| {
        (
            prop_oneof![
                Just("ubuntu-24-04-x64"),
                Just("{ snapshot: base }"),
                Just("{ snapshot: top }")
            ],
            prop_oneof![Just("s-1vcpu-1gb"), Just("s-2vcpu-4gb")],
            prop_oneof![
                Just(""),
                Just("    count: 3\n"),
                Just("    count: 12\n"),
                Just("    matrix: { v: [a, b-c, \"3.12\"] }\n")
            ],
            prop_oneof![
                Just("keep"),
                Just("destroy"),
                Just("destroy_on_success"),
                Just("{ keep: 30m }")
            ],
            prop_oneof![Just(""), Just("    tags: [team]\n")],
            0..4_usize,
            0..3_usize,
        )
            .prop_map(move |(image, size, many, after, tags, runs, mounts)| {
                let runs = ["background: true, ready: { tcp: 80 }", "", "artifacts: [a]", "allow_failure: true, artifacts: [b], background: true"]
                    .iter()
                    .enumerate()
                    .take(runs)
                    .map(|(i, more)| {
                        // Nothing runs on that takes turns.
                        let shares = mounts > 0 && !(many.is_empty() && name == "web");
                        if shares { (i, more.replace("background: true", "retries: 0").replace(", ready: { tcp: 80 }", "")) } else { (i, (*more).to_owned()) }
                    })
                    .map(|(i, more)| format!("{{ name: r{i}, command: \"true\", {more} }}"))
                    .collect::<Vec<_>>()
                    .join(", ");
                let volumes = ["data", "scratch"]
                    .iter()
                    .take(mounts)
                    .map(|volume| format!("{{ volume: {volume}, mount: /mnt/{volume} }}"))
                    .collect::<Vec<_>>()
                    .join(", ");
                format!(
                    "  {name}:\n    image: {image}\n    size: {size}\n{many}{tags}    after_run: {after}\n    run: [{runs}]\n    volumes: [{volumes}]\n"
                )
            })
            .boxed()
    };
    (
        prop::sample::subsequence(vec![0, 1], 0..=2),
        droplet("web"),
        droplet("api"),
        0..3_u32,
        1..3_u32,
        any::<bool>(),
        any::<bool>(),
        1..3_u32,
        clones(),
    )
        .prop_map(|(which, web, api, recipe, keep, walled, waits, copies, (models, clones))| {
            let api = if which.len() == 2 && web.contains("background") {
                let (rest, _) = api.split_once("    volumes:").expect("a list");
                format!("{rest}    volumes: []\n")
            } else {
                api
            };
            let api = if waits && which.len() == 2 { format!("{api}    needs: [web]\n") } else { api };
            let droplets: String = which
                .into_iter()
                .map(|at| if at == 0 { web.as_str() } else { api.as_str() })
                .collect();
            let droplets = format!("{droplets}{clones}");
            let droplets = if droplets.is_empty() { "  {}\n".to_owned() } else { droplets };
            let copies = if copies == 1 { "" } else { "    regions: [sfo3, nyc3]\n" };
            let firewall = if walled { "" } else { "firewall: none\n" };
            format!(
                "version: 1\nproject: app\nregion: nyc3\n{firewall}snapshots:\n  base:\n    from: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    keep: {keep}\n{copies}    provision: [{{ run: echo {recipe} }}]\n  top: {{ from: {{ snapshot: base }}, size: s-1vcpu-1gb }}\nvolumes:\n  data: {{ size: 1GiB }}\n  scratch: {{ size: 2GiB, scope: environment, filesystem: xfs }}\n{models}droplets:\n{droplets}"
            )
        })
        .boxed()
}

/// A volume, droplets that get a copy of it, and perhaps one that has it itself before.
fn clones() -> BoxedStrategy<(&'static str, String)> {
    (
        prop_oneof![
            Just(""),
            Just("  models: { size: 3GiB }\n"),
            Just("  models: { size: 4GiB, scope: environment }\n"),
            Just("  models: { size: 3GiB, populate: { image: { snapshot: base }, size: c-2, run: [{ command: a }, { command: b }] } }\n"),
            Just("  models: { size: 4GiB, scope: environment, populate: { image: { snapshot: base }, size: c-2, run: [{ command: a }] } }\n")
        ],
        any::<bool>(),
        1..4_u32,
        prop_oneof![Just("keep"), Just("destroy"), Just("destroy_on_success")],
        any::<bool>(),
    )
        .prop_map(|(models, fills, count, after, runs)| {
            if models.is_empty() {
                return (models, String::new());
            }
            let fill = if fills {
                "  fill: { image: ubuntu-24-04-x64, size: c-2, volumes: [{ volume: models, mount: /mnt/m }], run: [{ name: f, command: \"true\" }], after_run: destroy_on_success }\n"
            } else {
                ""
            };
            let runs = if runs { "{ name: u, command: \"true\" }" } else { "" };
            (models, format!("{fill}  copy: {{ image: ubuntu-24-04-x64, size: c-2, count: {count}, volumes: [{{ volume: models, mount: /mnt/m, access: clone }}], run: [{runs}], after_run: {after} }}\n"))
        })
        .boxed()
}

/// An account that others use too.
pub(super) fn shared() -> Live {
    let mut live = nothing();
    let droplet = |id: u64, name: &str, tags: &[&str]| LiveDroplet {
        id,
        name: name.to_owned(),
        status: DropletStatus::Active,
        region: "nyc3".to_owned(),
        size: "c-2".to_owned(),
        image_id: 1,
        image_slug: None,
        public_ipv4: None,
        private_ipv4: None,
        volume_ids: Vec::new(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        vpc: None,
        created_at: 0,
    };
    live.droplets = vec![
        droplet(11, "web", &["web"]),
        droplet(12, "app-main-web", &["theirs"]),
        droplet(
            13,
            "app-pr-1-web",
            &["dewpoint", "dewpoint:app", "dewpoint:app:pr-1"],
        ),
    ];
    live.volumes = vec![LiveVolume {
        id: "their-volume".to_owned(),
        name: "models".to_owned(),
        region: "nyc3".to_owned(),
        size_gib: 5,
        droplet_ids: vec![11],
        tags: Vec::new(),
        created_at: 0,
    }];
    live.volume_snapshots = vec![LiveVolumeSnapshot {
        id: "their-snapshot".to_owned(),
        name: "app-models-snap-1".to_owned(),
        volume_id: "their-volume".to_owned(),
        regions: vec!["nyc3".to_owned()],
        min_disk_gib: 5,
        size_mb: 1,
        tags: Vec::new(),
        created_at: 0,
    }];
    live.images = vec![LiveImage {
        id: 21,
        name: "app-base-0123456789ab".to_owned(),
        status: "available".to_owned(),
        regions: vec!["nyc3".to_owned()],
        min_disk_gib: 25,
        size_mb: 1,
        tags: vec!["theirs".to_owned()],
        created_at: 0,
    }];
    live.tags = vec![
        "dewpoint".to_owned(),
        "dewpoint:app".to_owned(),
        "dewpoint:app:pr-1".to_owned(),
    ];
    live
}

/// What of an account is not ours.
fn foreign(live: &Live) -> Live {
    let ours = |tags: &[String]| {
        tags.contains(&"dewpoint:app:main".to_owned())
            || (tags.contains(&"dewpoint:app".to_owned())
                && !tags.contains(&"dewpoint:app:pr-1".to_owned()))
    };
    let mut live = live.clone();
    live.droplets.retain(|droplet| !ours(&droplet.tags));
    live.volumes.retain(|volume| !ours(&volume.tags));
    live.volume_snapshots
        .retain(|snapshot| !ours(&snapshot.tags));
    // One that a run took and could not tag any more is ours too: the next run tags it.
    live.images
        .retain(|image| !image.tags.is_empty() && !ours(&image.tags));
    live.firewalls.clear();
    live.ssh_keys.clear();
    live.tags.clear();
    live
}

/// What there is, by name.
fn names(live: &Live) -> Vec<String> {
    let mut names: Vec<String> = live
        .droplets
        .iter()
        .map(|droplet| format!("{} {} {:?}", droplet.name, droplet.size, droplet.tags))
        .chain(
            live.volumes
                .iter()
                .map(|volume| format!("{} {}", volume.name, volume.size_gib)),
        )
        .chain(live.images.iter().map(|image| image.name.clone()))
        .chain(live.firewalls.iter().map(|wall| wall.name.clone()))
        // Which number a snapshot of a volume bears, and how often one was taken, follows from how many
        // there were just then.
        .chain(live.tags.iter().map(|tag| match tag.rsplit_once('-') {
            Some((of, _)) if tag.starts_with("dewpoint-snap:") => of.to_owned(),
            _ => tag.clone(),
        }))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Does the steps in an order that the edges allow, chosen by `seed`; those in `fail` fail, and
/// what depends on them is skipped as early as an engine may.
pub(super) fn execute_in_some_order(
    plan: &Plan,
    live: &Live,
    seed: u64,
    fail: Option<u32>,
) -> Live {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Waiting,
        Done,
        Failed,
    }
    let mut world = World::new(live);
    let mut states = vec![State::Waiting; plan.steps.len()];
    let mut before = vec![Vec::new(); plan.steps.len()];
    for edge in &plan.edges {
        before[edge.to.0 as usize].push((edge.from.0 as usize, edge.kind));
    }
    let mut seed = seed;
    loop {
        // Skip at once whatever can no longer run.
        for at in 0..plan.steps.len() {
            let hopeless = before[at]
                .iter()
                .any(|&(from, kind)| kind == EdgeKind::Needs && states[from] == State::Failed);
            if states[at] == State::Waiting && hopeless {
                states[at] = State::Failed;
            }
        }
        let ready: Vec<usize> = (0..plan.steps.len())
            .filter(|&at| states[at] == State::Waiting)
            .filter(|&at| {
                before[at]
                    .iter()
                    .all(|&(from, _)| states[from] != State::Waiting)
            })
            .collect();
        if ready.is_empty() {
            break;
        }
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = ready[(seed >> 33) as usize % ready.len()];
        if fail == Some(u32::try_from(at).expect("a small number")) {
            states[at] = State::Failed;
            continue;
        }
        let step = &plan.steps[at];
        if let Err(error) = world.step(step) {
            panic!(
                "{} of {}: {error}\n{}",
                step.kind.title(),
                step.address,
                text(plan)
            );
        }
        states[at] = State::Done;
    }
    world.live
}

/// A value as one that was read from a file: nothing in it is shared.
fn apart<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("it is written");
    serde_json::from_str(&text).expect("it is read")
}

proptest! {
    #![proptest_config(crate::tried::tried(48))]

    #[test]
    fn applying_twice_changes_nothing(first in manifests(), second in manifests()) {
        let live = applied(&first, &shared());
        let live = applied(&second, &live);
        let again = plan(&desired(&second), &live, Goal::Apply).expect("a plan");
        prop_assert!(!again.has_changes(), "{}", text(&again));
        let after = World::execute(&again, &live);
        prop_assert_eq!(foreign(&after), foreign(&shared()));
    }

    #[test]
    fn only_what_somebody_else_did_is_drift(
        first in manifests(),
        second in manifests(),
        third in manifests(),
        which in any::<prop::sample::Index>(),
    ) {
        let live = applied(&second, &applied(&first, &shared()));
        let record = desired(&second);
        let drift = crate::plan::drift::drift(&record, &live, NOW);
        prop_assert!(drift.is_empty(), "{drift:?}");
        // An edit of the manifest is none.
        let mut edited = plan(&desired(&third), &live, Goal::Apply).expect("a plan");
        let before = edited.clone();
        edited.tell_drift(&record, &live, NOW);
        prop_assert_eq!(&edited, &before);

        // What goes behind its back is, and nothing else is.
        let ours: Vec<LiveDroplet> = live
            .droplets
            .iter()
            .filter(|droplet| droplet.tags.contains(&"dewpoint:app:main".to_owned()))
            .cloned()
            .collect();
        if ours.is_empty() {
            return Ok(());
        }
        let gone = &ours[which.index(ours.len())];
        let mut tampered = live.clone();
        tampered.droplets.retain(|droplet| droplet.id != gone.id);
        for volume in &mut tampered.volumes {
            volume.droplet_ids.retain(|id| *id != gone.id);
        }
        let drift = crate::plan::drift::drift(&record, &tampered, NOW);
        let gone_ones = drift.iter().filter(|drift| drift.kind == crate::plan::DriftKind::Gone);
        let names: Vec<&str> = gone_ones.map(|drift| drift.name.as_str()).collect();
        let stays = record.droplets.iter().any(|droplet| {
            droplet.name == gone.name && droplet.after_run == crate::manifest::schema::AfterRun::default()
        });
        let expected: Vec<&str> = stays.then_some(gone.name.as_str()).into_iter().collect();
        prop_assert_eq!(names, expected, "{:?}", drift);
        let mut told = plan(&record, &tampered, Goal::Apply).expect("a plan");
        let steps = told.steps.clone();
        told.tell_drift(&record, &tampered, NOW);
        prop_assert_eq!(&told.steps, &steps, "a cause changes no step");
    }

    #[test]
    fn a_narrowed_plan_is_part_of_the_whole_and_the_whole_after_it_ends_the_same(
        first in manifests(),
        yaml in manifests(),
        which in prop::sample::subsequence(
            vec!["droplet.web", "droplet.api", "droplet.copy*", "volume.*", "snapshot.base", "droplet.web[2]", "firewall"],
            1..=2,
        ),
        only_destroy in any::<bool>(),
    ) {
        let live = applied(&first, &shared());
        let targets: Vec<String> = which.into_iter().map(ToOwned::to_owned).collect();
        let targets = if only_destroy { Vec::new() } else { targets };
        let narrow = crate::plan::Options { targets, only_destroy, ..crate::plan::Options::default() };
        let whole = plan(&desired(&yaml), &live, Goal::Apply).expect("a plan");
        // What names nothing, and what would be taken from a droplet that is left out, is refused.
        if let Ok(part) = crate::plan::plan(&desired(&yaml), &live, &narrow, NOW) {
            assert_checked(&part, &live);
            for change in part.changes.iter().filter(|c| c.action != crate::plan::Action::Keep) {
                let is_same = |other: &crate::plan::Change| {
                    (&other.address, &other.id, &other.name) == (&change.address, &change.id, &change.name)
                        && (other.action == change.action || only_destroy)
                };
                prop_assert!(whole.changes.iter().any(is_same), "{change:?}\n{}\n{}", text(&part), text(&whole));
            }
            let partly = World::execute(&part, &live);
            prop_assert_eq!(foreign(&partly), foreign(&live));
            let rest = plan(&desired(&yaml), &partly, Goal::Apply).expect("a plan");
            let one = World::execute(&rest, &partly);
            let other = World::execute(&whole, &live);
            let but_for_runs = |live: &Live| {
                let mut names = names(live);
                names.retain(|name| !name.starts_with("dewpoint-snap:"));
                names
            };
            prop_assert_eq!(but_for_runs(&one), but_for_runs(&other));
            let again = plan(&desired(&yaml), &one, Goal::Apply).expect("a plan");
            prop_assert!(!again.has_changes(), "{}", text(&again));
            // What lives for its runs has run once or twice here and once there, and a second run may be
            // the first that takes a snapshot of a volume: after one more of each nothing differs at all.
            let second = plan(&desired(&yaml), &other, Goal::Apply).expect("a plan");
            prop_assert_eq!(
                names(&World::execute(&again, &one)),
                names(&World::execute(&second, &other))
            );
        }
    }

    #[test]
    fn what_is_made_anew_ends_like_what_was(yaml in manifests(), seed in any::<u64>()) {
        let live = applied(&yaml, &shared());
        let replace = vec!["droplet.*".to_owned(), "snapshot.*".to_owned(), "volume.scratch".to_owned()];
        let options = crate::plan::Options { replace, ..crate::plan::Options::default() };
        if let Ok(anew) = crate::plan::plan(&desired(&yaml), &live, &options, NOW) {
            assert_checked(&anew, &live);
            let after = execute_in_some_order(&anew, &live, seed, None);
            prop_assert_eq!(foreign(&after), foreign(&live));
            prop_assert_eq!(names(&after), names(&live));
            let again = plan(&desired(&yaml), &after, Goal::Apply).expect("a plan");
            prop_assert!(!again.has_changes(), "{}", text(&again));
        }
    }

    #[test]
    fn no_run_costs_or_takes_more_than_the_most(
        yaml in manifests(),
        took in prop::collection::vec(0..=100_u64, 600),
    ) {
        let plan = plan(&desired(&yaml), &shared(), Goal::Test).expect("a plan");
        let took: Vec<u64> = plan
            .steps
            .iter()
            .zip(took.iter().cycle())
            // Half of them until their timeout, the others somewhere before.
            .map(|(step, percent)| longest(&step.kind) * 10 * (2 * percent).min(100))
            .collect();
        let mut cost = plan.cost.clone();
        cost.expect(&plan.steps, &plan.edges, &took, &shared().catalog);
        prop_assert!(cost.expected_once <= plan.cost.most_once, "{cost:?}");
        prop_assert!(cost.expected_seconds <= plan.cost.most_seconds, "{cost:?}");
        prop_assert!(plan.cost.expected_once <= plan.cost.most_once, "{:?}", plan.cost);
    }

    /// What lies in memory once is only quicker: a desired state or a plan from a file has nothing in
    /// common with itself, and comes to the same.
    #[test]
    fn what_is_shared_changes_nothing(yaml in manifests(), without in any::<prop::sample::Index>()) {
        let desired = desired(&yaml);
        for goal in [Goal::Apply, Goal::Test] {
            let made = plan(&desired, &shared(), goal).expect("a plan");
            prop_assert_eq!(&plan(&apart(&desired), &shared(), goal).expect("a plan"), &made);
            let mut read: Plan = apart(&made);
            assert_checked(&read, &shared());
            let cost = |plan: &Plan| {
                let took: Vec<u64> = (1..).take(plan.steps.len()).map(|ms| ms * 1_000).collect();
                let mut cost = plan.cost.clone();
                cost.expect(&plan.steps, &plan.edges, &took, &shared().catalog);
                cost
            };
            prop_assert_eq!(cost(&read), cost(&made));
            // It is judged alike, too, where there is something to find.
            let mut made = made;
            if !made.edges.is_empty() {
                let without = without.index(made.edges.len());
                read.edges.remove(without);
                made.edges.remove(without);
            }
            let judged = |plan: &Plan| crate::plan::check::check(plan, &shared());
            prop_assert_eq!(judged(&read), judged(&made));
        }
    }

    #[test]
    fn destroying_leaves_nothing_of_ours(yaml in manifests()) {
        let live = applied(&yaml, &shared());
        let gone = destroy(&scope(&yaml), &live, false, &[]).expect("a plan");
        assert_checked(&gone, &live);
        let live = World::execute(&gone, &live);
        prop_assert!(live.firewalls.is_empty() && live.ssh_keys.is_empty());
        let ours = "dewpoint:app:main".to_owned();
        prop_assert!(!live.droplets.iter().any(|droplet| droplet.tags.contains(&ours)));
        prop_assert!(!live.volumes.iter().any(|volume| volume.tags.contains(&ours)));
        prop_assert!(!live.tags.contains(&ours));
        prop_assert_eq!(foreign(&live), foreign(&shared()));
        let again = destroy(&scope(&yaml), &live, false, &[]).expect("a plan");
        prop_assert!(!again.has_changes(), "{}", text(&again));

        // Alone in the account, nothing at all is left.
        let live = applied(&yaml, &nothing());
        let gone = destroy(&scope(&yaml), &live, true, &[]).expect("a plan");
        assert_checked(&gone, &live);
        prop_assert_eq!(World::execute(&gone, &live), nothing());
    }

    #[test]
    fn testing_leaves_only_what_the_project_owns(first in manifests(), yaml in manifests()) {
        let live = applied(&first, &shared());
        let test = plan(&desired(&yaml), &live, Goal::Test).expect("a plan");
        let live = World::execute(&test, &live);
        let left = destroy(&scope(&yaml), &live, false, &[]).expect("a plan");
        prop_assert!(!left.has_changes(), "{}\n{}", text(&test), text(&left));
        prop_assert!(!live.tags.iter().any(|tag| tag.starts_with("dewpoint-expires:")), "{:?}", live.tags);
        prop_assert_eq!(foreign(&live), foreign(&shared()));
    }

    #[test]
    fn every_order_that_edges_allow_ends_the_same(
        first in manifests(),
        yaml in manifests(),
        seed in any::<u64>(),
        test in any::<bool>(),
    ) {
        let goal = if test { Goal::Test } else { Goal::Apply };
        let live = applied(&first, &shared());
        let plan = plan(&desired(&yaml), &live, goal).expect("a plan");
        let one = execute_in_some_order(&plan, &live, seed, None);
        let other = World::execute(&plan, &live);
        prop_assert_eq!(names(&one), names(&other));
    }

    #[test]
    fn whatever_step_fails_the_next_run_finishes(
        yaml in manifests(),
        seed in any::<u64>(),
        failing in any::<prop::sample::Index>(),
        test in any::<bool>(),
    ) {
        let goal = if test { Goal::Test } else { Goal::Apply };
        let live = shared();
        let first = plan(&desired(&yaml), &live, goal).expect("a plan");
        let fail = u32::try_from(failing.index(first.steps.len().max(1))).expect("small");
        let after = execute_in_some_order(&first, &live, seed, Some(fail));
        prop_assert_eq!(foreign(&after), foreign(&live));
        if test {
            // What was made for the test is gone, but for what could not be removed.
            let strays = after.droplets.iter().filter(|d| d.tags.contains(&"dewpoint:app:main".to_owned()));
            prop_assert!(strays.count() <= 1);
        }
        let second = plan(&desired(&yaml), &after, Goal::Apply).expect("a plan");
        let done = execute_in_some_order(&second, &after, seed, None);
        let third = plan(&desired(&yaml), &done, Goal::Apply).expect("a plan");
        prop_assert!(!third.has_changes(), "{}", text(&third));
    }

    #[test]
    fn plans_are_the_same_whatever_the_order_and_survive_json(
        first in manifests(),
        yaml in manifests(),
    ) {
        let live = applied(&first, &shared());
        let manifest = manifest(&yaml);
        let one = plan(&desired_of(&manifest), &live, Goal::Apply).expect("a plan");
        let mut turned = live.clone();
        turned.droplets.reverse();
        turned.volumes.reverse();
        turned.volume_snapshots.reverse();
        turned.images.reverse();
        turned.firewalls.reverse();
        let mut reversed = manifest.clone();
        reversed.droplets.reverse();
        reversed.volumes.reverse();
        reversed.snapshots.reverse();
        let other = plan(&desired_of(&reversed), &turned, Goal::Apply).expect("a plan");
        prop_assert_eq!(&one, &other);
        let json = crate::report::plan_json::render(&one);
        let read: Plan = serde_json::from_str(&json).expect("a plan");
        prop_assert_eq!(read, one);
    }
}

/// What is quadratic would be felt here: how long it takes is measured in `benches/`.
#[test]
fn ten_thousand_droplets_are_no_trouble() {
    let yaml = "version: 1\nproject: app\nregion: nyc3\ndroplets:\n  web:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    count: 10000\n    source: { path: . }\n    run: [{ name: tests, command: \"true\", artifacts: [a] }]\n    after_run: destroy\n";
    let desired = desired(yaml);
    let plan = plan(&desired, &nothing(), Goal::Apply).expect("a plan");
    assert_eq!(plan.activities.len(), 10_000);
    let titles = plan.steps.iter().map(|step| step.kind.title());
    let creates = titles.filter(|title| title == "create 10 droplets");
    assert_eq!(creates.count(), 1_000);
}
