//! Droplets that share a volume.

use super::world::{World, nothing};
use super::*;
use crate::plan::StepKind;

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
