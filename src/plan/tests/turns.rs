//! Droplets that share a volume.

use proptest::prelude::*;

use super::world::{World, nothing};
use super::*;
use crate::plan::StepKind;
use crate::plan::step::VolumeRef;

const THREE: &str = r#"
version: 1
project: app
region: nyc3
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb }
volumes:
  data: { size: 10GiB }
droplets:
  early:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: r, command: "true" }]
  late:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: r, command: "true" }]
    after_run: destroy
  some:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: r, command: "true" }]
"#;

/// Attaching and detaching as the plan lists it, which is the one order it allows.
fn moves(plan: &Plan) -> String {
    let moves: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| {
            matches!(
                step.kind,
                StepKind::Attach { .. } | StepKind::Detach { .. } | StepKind::Run { .. }
            )
        })
        .map(|step| format!("{} {}", step.kind.title(), step.address))
        .collect();
    moves.join("\n")
}

#[test]
fn who_can_begin_first_comes_first_and_the_last_that_stays_keeps_the_volume() {
    let plan = plan(&desired(THREE), &nothing(), Goal::Apply).expect("a plan");
    insta::assert_snapshot!(moves(&plan), @r"
    attach droplet.late
    run r droplet.late
    detach droplet.late
    attach droplet.some
    run r droplet.some
    detach droplet.some
    attach droplet.early
    run r droplet.early
    ");
    insta::assert_snapshot!(plan.notices.join("\n"), @"volume.data is handed on in turn: droplet.late, droplet.some, droplet.early");
    let creates = plan
        .steps
        .iter()
        .filter(|step| matches!(step.kind, StepKind::CreateDroplets { .. }));
    // Nobody's boot waits for anybody's turn.
    let turn: Vec<u32> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.kind, StepKind::Detach { .. }))
        .map(|step| step.id.0)
        .collect();
    for create in creates {
        let before = plan.edges.iter().filter(|edge| edge.to == create.id);
        assert!(before.into_iter().all(|edge| !turn.contains(&edge.from.0)));
    }
}

#[test]
fn who_has_the_volume_comes_first_next_time() {
    let all_stay = THREE.replace("    after_run: destroy\n", "");
    let live = applied(&all_stay, &nothing());
    let again = plan(&desired(&all_stay), &live, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));
    insta::assert_snapshot!(moves(&again), @r"
    run r droplet.early
    detach droplet.early
    attach droplet.late
    run r droplet.late
    detach droplet.late
    attach droplet.some
    run r droplet.some
    ");
    let live = World::execute(&again, &live);
    let holder = live.volumes[0].droplet_ids[0];
    let holder = live.droplets.iter().find(|droplet| droplet.id == holder);
    assert_eq!(
        holder.map(|holder| holder.name.as_str()),
        Some("app-main-some")
    );
}

#[test]
fn of_two_shared_volumes_none_is_waited_for_in_a_circle() {
    let yaml = r#"
version: 1
project: app
region: nyc3
volumes:
  one: { size: 10GiB }
  two: { size: 10GiB }
droplets:
  a:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: one, mount: /mnt/one }, { volume: two, mount: /mnt/two }]
    run: [{ name: r, command: "true" }]
  b:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: two, mount: /mnt/two }, { volume: one, mount: /mnt/one }]
    run: [{ name: r, command: "true" }]
"#;
    let mut live = applied(yaml, &nothing());
    // Each has one of them.
    let ids: Vec<u64> = live.droplets.iter().map(|droplet| droplet.id).collect();
    for (volume, holder) in live.volumes.iter_mut().zip(&ids) {
        volume.droplet_ids = vec![*holder];
    }
    for (droplet, volume) in live.droplets.iter_mut().zip(&live.volumes) {
        droplet.volume_ids = vec![volume.id.clone()];
    }
    let again = plan(&desired(yaml), &live, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));
    insta::assert_snapshot!(moves(&again), @r"
    detach droplet.b
    attach droplet.a
    run r droplet.a
    detach droplet.a
    detach droplet.a
    attach droplet.b
    attach droplet.b
    run r droplet.b
    ");
}

#[test]
fn volumes_are_attached_in_the_one_order_that_all_environments_share() {
    let yaml = r#"
version: 1
project: app
region: nyc3
volumes:
  alpha: { size: 10GiB }
  beta: { size: 10GiB }
  gamma: { size: 10GiB }
  own: { size: 10GiB, scope: environment }
droplets:
  client:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    needs: [between]
    volumes: [{ volume: own, mount: /mnt/own }, { volume: alpha, mount: /mnt/alpha }]
    run: [{ name: r, command: "true" }]
  between:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    needs: [server]
    run: [{ name: r, command: "true" }]
  server:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: gamma, mount: /mnt/gamma }, { volume: beta, mount: /mnt/beta }]
    run: [{ name: r, command: "true" }]
"#;
    let plan = plan(&desired(yaml), &nothing(), Goal::Apply).expect("a plan");
    let volume_of = |id| {
        let kind = &plan.step(id).expect("a step").kind;
        let StepKind::Attach { volume, .. } = kind else {
            return None;
        };
        let crate::plan::step::VolumeRef::Created { step } = volume else {
            return None;
        };
        plan.step(*step).map(|step| step.address.to_string())
    };
    let mut order: Vec<String> = plan
        .edges
        .iter()
        .filter_map(|edge| {
            Some(format!(
                "{} -> {}",
                volume_of(edge.from)?,
                volume_of(edge.to)?
            ))
        })
        .collect();
    order.sort();
    // By name on one droplet; those of droplets that are needed first, also through others. What is the
    // environment's alone nobody else waits for.
    assert_eq!(
        order,
        [
            "volume.alpha -> volume.own",
            "volume.beta -> volume.gamma",
            "volume.gamma -> volume.alpha",
        ]
    );
}

/// Attachings of what environments share, in the order in which the plan lists them: the droplet, and the
/// volume's name.
fn shared_attachings(plan: &Plan, live: &Live) -> Vec<(crate::plan::StepId, String, String)> {
    let name_of = |volume: &VolumeRef| match volume {
        VolumeRef::Known { id } => {
            let mut volumes = live.volumes.iter();
            volumes
                .find(|known| known.id == *id)
                .map(|known| known.name.clone())
        }
        VolumeRef::Created { step } => match &plan.step(*step)?.kind {
            StepKind::CreateVolume { spec } => Some(spec.name.as_str().to_owned()),
            _ => None,
        },
    };
    let steps = plan.steps.iter();
    steps
        .filter_map(|step| match &step.kind {
            StepKind::Attach {
                volume, droplet, ..
            } => {
                let name = name_of(volume).filter(|name| name.starts_with("app-shared"))?;
                Some((step.id, droplet.name().to_owned(), name))
            }
            _ => None,
        })
        .collect()
}

/// Whether a step has ended whenever another starts.
fn comes_before(plan: &Plan, first: crate::plan::StepId, then: crate::plan::StepId) -> bool {
    let mut waiting = vec![then];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(at) = waiting.pop() {
        for edge in plan.edges.iter().filter(|edge| edge.to == at) {
            if edge.from == first {
                return true;
            }
            if seen.insert(edge.from) {
                waiting.push(edge.from);
            }
        }
    }
    false
}

/// Droplets that mount some of what environments share, in any order, and may need each other.
fn sharers() -> impl Strategy<Value = String> {
    let all = ["shared-a", "shared-b", "shared-c", "own"];
    let mounts = || {
        prop::sample::subsequence(all.to_vec(), 0..=4)
            .prop_shuffle()
            .prop_map(|volumes| {
                let mounts = volumes.iter();
                let mounts = mounts.map(|name| format!("{{ volume: {name}, mount: /mnt/{name} }}"));
                mounts.collect::<Vec<_>>().join(", ")
            })
    };
    let droplet = |name: &'static str, needs: &'static str| {
        (mounts(), any::<bool>(), any::<bool>()).prop_map(move |(mounts, needed, goes)| {
            let needs = if needed { needs } else { "" };
            let after = if goes { "destroy" } else { "keep" };
            format!(
                "  {name}:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    needs: [{needs}]\n    \
                 volumes: [{mounts}]\n    run: [{{ name: r, command: \"true\" }}]\n    after_run: {after}\n"
            )
        })
    };
    (droplet("one", ""), droplet("two", "one"), droplet("three", "two")).prop_map(
        |(one, two, three)| {
            format!(
                "version: 1\nproject: app\nregion: nyc3\nvolumes:\n  own: {{ size: 1GiB, scope: environment }}\n  \
                 shared-c: {{ size: 1GiB }}\n  shared-a: {{ size: 1GiB }}\n  shared-b: {{ size: 1GiB }}\n\
                 droplets:\n{three}{one}{two}"
            )
        },
    )
}

proptest! {
    #![proptest_config(crate::tried::tried(96))]

    #[test]
    fn no_droplet_waits_for_a_shared_volume_while_it_has_one_of_a_later_name(
        yaml in sharers(),
        before in sharers(),
        test in any::<bool>(),
    ) {
        let goal = if test { Goal::Test } else { Goal::Apply };
        for live in [nothing(), applied(&before, &nothing())] {
            let Ok(plan) = plan(&desired(&yaml), &live, goal) else { continue };
            let attachings = shared_attachings(&plan, &live);
            for (one, droplet, first) in &attachings {
                for (other, same, second) in &attachings {
                    if droplet == same && first < second {
                        prop_assert!(
                            comes_before(&plan, *one, *other),
                            "{droplet}: {first} is not attached before {second}\n{}",
                            text(&plan)
                        );
                    }
                }
            }
        }
    }
}
