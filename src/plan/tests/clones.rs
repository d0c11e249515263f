//! Throw-away copies of volumes.

use super::world::{World, nothing};
use super::*;
use crate::live::LiveVolumeSnapshot;
use crate::plan::StepKind;
use crate::plan::destroy;

const COPIES: &str = r#"
version: 1
project: app
region: nyc3
firewall: none
volumes:
  data: { size: 10GiB, filesystem: xfs }
droplets:
  use:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    volumes: [{ volume: data, mount: /mnt/data, access: clone }]
    run: [{ name: r, command: "true" }]
    after_run: destroy
"#;

const FILL: &str = r#"
  fill:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: f, command: "true" }]
    after_run: destroy_on_success
"#;

#[test]
fn clones_are_made_of_what_is_left_and_go_with_their_droplets() {
    let yaml = format!("{COPIES}{FILL}");
    let plan = plan(&desired(&yaml), &nothing(), Goal::Apply).expect("a plan");
    insta::assert_snapshot!(text(&plan), @r"
    app / main in nyc3 on DigitalOcean

      # ssh_key will be created
      + app-main
          fingerprint  3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa

      # volume.data will be created
      + app-data
          size        10GiB
          filesystem  xfs
          price       $1.00/month

    Every apply:
      > droplet.fill is created, runs, is destroyed if every run succeeded (app-main-fill)
          size    s-1vcpu-1gb
          image   ubuntu-24-04-x64
          volume  data at /mnt/data
          run f: true [at most 1h]
      > droplet.use[1..2] are created, run, are destroyed whatever happens (app-main-use to
          app-main-use-2)
          size    s-1vcpu-1gb
          image   ubuntu-24-04-x64
          volume  a clone of data at /mnt/data
          run r: true [at most 1h]

    Steps: (after ~3: once step 3 has ended, well or not)
       1  ssh_key                                       create ssh_key
       2  environment                                   create tags
       3  volume.data                                   create volume  after 2
       4  droplet.fill, droplet.use[1], droplet.use[2]  create 3 droplets  after 1, 2
       5  droplet.fill                                  gather inventory  after ~4
       6  droplet.fill                                  connect  after 4
       7  droplet.fill                                  attach  after 3, 6
       8  droplet.fill                                  mount /mnt/data  after 7
       9  droplet.fill                                  prepare  after 5, 6
      10  droplet.fill                                  run f  after 8, 9
      11  droplet.fill                                  unmount /mnt/data  after 10
      12  droplet.fill                                  detach  after 10, ~11
      13  droplet.fill                                  destroy droplet  after 10, ~11, ~12
      14  droplet.use[1]                                connect  after 4
      15  volume.data                                   take snapshot  after 12
      16  droplet.use[1]                                clone data  after 15
      17  droplet.use[1]                                attach  after 14, 16
      18  droplet.use[1]                                mount /mnt/data  after 17
      19  droplet.use[1]                                prepare  after 5, 14
      20  droplet.use[1]                                run r  after 18, 19
      21  droplet.use[1]                                destroy droplet  after ~4, ~14, ~17..~20
      22  droplet.use[1]                                delete clone  after ~16, 21
      23  droplet.use[2]                                connect  after 4
      24  droplet.use[2]                                clone data  after 15
      25  droplet.use[2]                                attach  after 23, 24
      26  droplet.use[2]                                mount /mnt/data  after 25
      27  droplet.use[2]                                prepare  after 5, 23
      28  droplet.use[2]                                run r  after 26, 27
      29  droplet.use[2]                                destroy droplet  after ~4, ~23, ~25..~28
      30  droplet.use[2]                                delete clone  after ~24, 29
      31  environment                                   delete tags  after ~13, ~21, ~22, ~29, ~30

    Plan: 2 to add, 0 to change, 0 to replace, 0 to destroy; 3 runs; 31 steps; about 4m; $0.0298/h while
        up, $1.00/month kept, about $0.0301 for this run (at most $0.1698).
    ");
}

/// Steps about volumes, with their addresses.
fn moves(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .filter(|step| {
            matches!(
                step.kind,
                StepKind::SnapshotVolume { .. }
                    | StepKind::CloneVolume { .. }
                    | StepKind::DeleteVolume { .. }
                    | StepKind::DeleteVolumeSnapshot { .. }
                    | StepKind::Attach { .. }
                    | StepKind::Detach { .. }
                    | StepKind::DestroyDroplet { .. }
            )
        })
        .map(|step| format!("{} {}", step.kind.title(), step.address))
        .collect()
}

#[test]
fn a_snapshot_is_used_again_until_the_volume_is_written_to() {
    let live = applied(COPIES, &nothing());
    assert_eq!(live.volume_snapshots.len(), 1);
    let again = plan(&desired(COPIES), &live, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));
    assert_eq!(moves(&again)[0], "reuse snapshot volume.data");
    // Each apply writes to it first: each needs a new one.
    let yaml = format!("{COPIES}{FILL}");
    let live = applied(&yaml, &live);
    assert_eq!(live.volume_snapshots.len(), 2);
    let again = plan(&desired(&yaml), &live, Goal::Apply).expect("a plan");
    assert!(moves(&again).contains(&"take snapshot volume.data".to_owned()));
}

#[test]
fn a_droplet_that_stays_keeps_its_clone_and_one_without_a_droplet_goes() {
    let kept = COPIES.replace("after_run: destroy", "after_run: keep");
    let live = applied(&kept, &nothing());
    assert_eq!(live.volumes.len(), 3);
    let again = plan(&desired(&kept), &live, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));
    assert_eq!(moves(&again), Vec::<String>::new());

    // Someone destroys one of the droplets: its clone stays behind.
    let mut robbed = live.clone();
    let gone = robbed.droplets.pop().expect("a droplet");
    // For some seconds the clone shows as attached to it; who that is has to be looked up.
    let early = refused(plan(&desired(&kept), &robbed, Goal::Apply));
    assert!(early.contains("attached_elsewhere"), "{early}");
    let mut looked_up = robbed.clone();
    looked_up.holders = vec![crate::live::LiveDroplet {
        tags: Vec::new(),
        ..gone.clone()
    }];
    let early = refused(plan(&desired(&kept), &looked_up, Goal::Apply));
    assert!(early.contains("which bears no tags"), "{early}");
    for volume in &mut robbed.volumes {
        volume.droplet_ids.retain(|id| *id != gone.id);
    }
    let mended = plan(&desired(&kept), &robbed, Goal::Apply).expect("a plan");
    insta::assert_snapshot!(moves(&mended).join("\n"), @r"
    delete clone volume.clone-use-2-data-02b323de
    reuse snapshot volume.data
    clone data droplet.use[2]
    attach droplet.use[2]
    ");
    assert_eq!(World::execute(&mended, &robbed).volumes.len(), 3);

    // Fewer droplets, fewer clones; none when the droplet has the volume itself.
    let fewer = kept.replace("count: 2", "count: 1");
    let after = applied(&fewer, &live);
    assert_eq!(after.volumes.len(), 2);
    let itself = fewer.replace(", access: clone", "");
    let after = applied(&itself, &after);
    assert_eq!(after.volumes.len(), 1);
    assert_eq!(after.volumes[0].droplet_ids.len(), 1);
}

#[test]
fn a_volume_that_another_environment_has_is_not_cloned() {
    let mut live = applied(COPIES, &nothing());
    live.volumes[0].droplet_ids = vec![77];
    let refusal = refused(plan(&desired(COPIES), &live, Goal::Apply));
    assert!(
        refusal.contains("it is attached to droplet 77"),
        "{refusal}"
    );
}

#[test]
fn a_destroy_removes_clones_and_of_the_whole_project_snapshots_too() {
    let kept = COPIES.replace("after_run: destroy", "after_run: keep");
    let live = applied(&kept, &nothing());
    let gone = destroy(&scope(&kept), &live, false, &[]).expect("a plan");
    assert_checked(&gone, &live);
    let after = World::execute(&gone, &live);
    assert_eq!(after.volumes.len(), 1);
    assert_eq!(after.volume_snapshots.len(), 1);
    let gone = destroy(&scope(&kept), &after, true, &[]).expect("a plan");
    insta::assert_snapshot!(text(&gone), @r"
    app / main in nyc3 on DigitalOcean

      # volume.data will be destroyed
      #   `destroy --project` empties the project
      - app-data
          size   10GiB -> (none)
          price  $1.00/month -> (none)

      # volume.data-snap-105 will be destroyed
      #   a snapshot of a volume: `destroy --project` empties the project
      - app-data-snap-105
          size   0.1 GB -> (none)
          price  $0.006/month -> (none)

    Steps: (after ~3: once step 3 has ended, well or not)
      1  volume.data           delete volume
      2  volume.data-snap-105  delete snapshot
      3  environment           delete tags  after ~1, ~2

    Destroyed or replaced:
      - volume.data (app-data)
      - volume.data-snap-105 (app-data-snap-105)

    Plan: 0 to add, 0 to change, 0 to replace, 2 to destroy; 3 steps; about 2s; $0.00/month kept.
    ");
    assert_eq!(World::execute(&gone, &after), nothing());
}

#[test]
fn the_checker_sees_clones_that_would_stay_and_snapshots_of_what_is_in_use() {
    let live = applied(COPIES, &nothing());
    let mut plan = plan(&desired(COPIES), &live, Goal::Apply).expect("a plan");
    for step in &mut plan.steps {
        if let StepKind::DeleteVolume { name, .. } = &step.kind {
            step.kind = StepKind::Prune {
                id: 0,
                name: name.as_str().to_owned(),
            };
        }
    }
    let mut held = live.clone();
    held.volumes[0].droplet_ids = vec![77];
    held.volume_snapshots.push(LiveVolumeSnapshot {
        tags: Vec::new(),
        ..held.volume_snapshots[0].clone()
    });
    let violations = check::check(&plan, &held).expect_err("violations");
    let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    for sentence in [
        "its volume is attached, so it may be written to",
        "a clone of a volume is never deleted",
    ] {
        assert!(text.contains(sentence), "{text}");
    }
}
