//! Volumes that are filled.

use super::world::{World, nothing};
use super::*;
use crate::plan::StepKind;

const YAML: &str = r#"
version: 1
project: app
region: nyc3
firewall: none
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb }
volumes:
  data:
    size: 10GiB
    populate:
      image: { snapshot: base }
      size: c-2
      run: [{ name: pull, command: pull small }]
droplets:
  use:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
"#;

/// Steps about the volume, with their addresses.
fn moves(plan: &Plan) -> String {
    let steps = plan.steps.iter().filter(|step| {
        matches!(
            step.kind,
            StepKind::Attach { .. }
                | StepKind::Detach { .. }
                | StepKind::TagVolume { .. }
                | StepKind::UpdateTags { .. }
                | StepKind::Provision { .. }
                | StepKind::Mount { .. }
                | StepKind::Unmount { .. }
        )
    });
    let steps: Vec<String> = steps
        .map(|step| format!("{} {}", step.kind.title(), step.address))
        .collect();
    steps.join("\n")
}

#[test]
fn a_volume_is_filled_before_anything_uses_it() {
    let first = plan(&desired(YAML), &nothing(), Goal::Apply).expect("a plan");
    insta::assert_snapshot!(text(&first), @r"
    app / main in nyc3 on DigitalOcean

      # ssh_key will be created
      + app-main
          fingerprint  3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa

      # volume.data will be created
      + app-data
          size           10GiB
          filesystem     ext4
          price          $1.00/month
          populate       on a c-2
          populate pull  pull small

      # snapshot.base will be created
      + app-base-a30b5779b328
          name     app-base-a30b5779b328
          from     ubuntu-24-04-x64
          builder  s-1vcpu-1gb

      # droplet.use will be created
      + app-main-use
          size    s-1vcpu-1gb
          image   ubuntu-24-04-x64
          volume  data at /mnt/data

    Steps: (after ~3: once step 3 has ended, well or not)
       1  ssh_key        create ssh_key
       2  environment    create tags
       3  volume.data    create volume  after 2
       4  snapshot.base  create droplet  after 1, 2
       5  snapshot.base  connect  after 4
       6  snapshot.base  power off  after 5
       7  snapshot.base  take snapshot  after 6
       8  snapshot.base  tag snapshot  after 7
       9  snapshot.base  destroy droplet  after ~4..~8
      10  volume.data    create droplet  after 8
      11  volume.data    connect  after 10
      12  volume.data    attach  after 3, 11
      13  volume.data    mount /mnt/volume  after 12
      14  volume.data    provision 1/1 pull  after 13
      15  volume.data    unmount /mnt/volume  after ~10..~14
      16  volume.data    detach  after ~3, ~10..~15
      17  volume.data    destroy droplet  after ~10..~16
      18  volume.data    tag volume  after 14..16
      19  droplet.use    create droplet  after 1, 2
      20  droplet.use    connect  after 19
      21  droplet.use    attach  after 18, 20
      22  droplet.use    mount /mnt/data  after 21
      23  environment    delete tags  after ~9, ~17, ~18

    Plan: 4 to add, 0 to change, 0 to replace, 0 to destroy; 23 steps; about 6m; $0.0089/h while up
        ($6.00/month for droplets that stay), $1.00/month kept, about $0.03 for this run (at most
        $0.3949); the price of snapshot.base shows once it is taken.
    ");
    let live = World::execute(&first, &nothing());
    assert_eq!(live.droplets.len(), 1);
    let again = plan(&desired(YAML), &live, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));

    // A droplet that stays lets go of it while it is filled anew, and has it back after.
    let changed = YAML.replace("small", "large");
    let next = plan(&desired(&changed), &live, Goal::Apply).expect("a plan");
    insta::assert_snapshot!(moves(&next), @r"
    unmount /mnt/data droplet.use
    detach droplet.use
    update tags volume.data
    attach volume.data
    mount /mnt/volume volume.data
    provision 1/1 pull volume.data
    unmount /mnt/volume volume.data
    detach volume.data
    tag volume volume.data
    attach droplet.use
    mount /mnt/data droplet.use
    ");
    let live = World::execute(&next, &live);
    let again = plan(&desired(&changed), &live, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));

    // What it is filled on is one of the recipe: another snapshot fills it anew.
    let other = changed.replace("from: ubuntu", "provision: [{ run: x }], from: ubuntu");
    let next = plan(&desired(&other), &live, Goal::Apply).expect("a plan");
    assert!(
        text(&next).contains("its `populate` changed"),
        "{}",
        text(&next)
    );
}

#[test]
fn a_volume_that_another_environment_has_is_not_filled() {
    let mut live = applied(YAML, &nothing());
    live.droplets.clear();
    live.volumes[0].droplet_ids = vec![77];
    let changed = YAML.replace("small", "large");
    let refusal = refused(plan(&desired(&changed), &live, Goal::Apply));
    assert!(
        refusal.contains("it is attached to droplet 77"),
        "{refusal}"
    );
}

/// A detach that fails leaves the volume with its droplet: only when that is gone can it be deleted.
#[test]
fn a_volume_that_goes_waits_for_the_droplet_that_filled_it() {
    let yaml = YAML.replace(
        "    size: 10GiB\n",
        "    size: 10GiB\n    scope: environment\n",
    );
    let plan = plan(&desired(&yaml), &nothing(), Goal::Test).expect("a plan");
    let of = |wanted: &str| {
        let mut steps = plan.steps.iter();
        let step = steps
            .find(|step| step.address.to_string() == "volume.data" && step.kind.title() == wanted);
        step.unwrap_or_else(|| panic!("{wanted}")).id
    };
    let (destroy, delete) = (of("destroy droplet"), of("delete volume"));
    let waits = plan
        .edges
        .iter()
        .any(|edge| (edge.from, edge.to) == (destroy, delete));
    assert!(waits, "{}", text(&plan));
}
