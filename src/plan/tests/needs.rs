//! Droplets that need others, and what runs in the background.

use super::world::nothing;
use super::*;
use crate::plan::{Edge, Step, StepKind};

const CLIENT_SERVER: &str = r#"
version: 1
project: app
region: nyc3
firewall: none
volumes:
  data: { size: 1GiB }
droplets:
  client:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    needs: [server]
    run:
      - { name: tests, command: curl http://server:8000 }
    after_run: destroy
  server:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run:
      - { name: serve, command: ./serve, background: true, ready: { tcp: 8000 } }
      - { name: fill, command: ./fill }
    after_run: destroy
"#;

#[test]
fn a_server_is_ready_before_its_client_runs_and_goes_after_it() {
    let plan = plan(&desired(CLIENT_SERVER), &nothing(), Goal::Apply).expect("a plan");
    insta::assert_snapshot!(text(&plan), @r"
    app / main in nyc3 on DigitalOcean

      # ssh_key will be created
      + app-main
          fingerprint  3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa

      # volume.data will be created
      + app-data
          size        1GiB
          filesystem  ext4
          price       $0.10/month

    Every apply:
      > droplet.client is created, runs, is destroyed whatever happens (app-main-client)
          size   s-1vcpu-1gb
          image  ubuntu-24-04-x64
          run tests: curl http://server:8000 [at most 1h]
      > droplet.server is created, runs, is destroyed whatever happens (app-main-server)
          size    s-1vcpu-1gb
          image   ubuntu-24-04-x64
          volume  data at /mnt/data
          run serve: ./serve [in the background; ready when it listens on port 8000, within 1m]
          run fill: ./fill [at most 1h]

    Steps: (after ~3: once step 3 has ended, well or not)
       1  ssh_key                         create ssh_key
       2  environment                     create tags
       3  volume.data                     create volume  after 2
       4  droplet.client, droplet.server  create 2 droplets  after 1, 2
       5  droplet.client                  gather inventory  after ~4
       6  droplet.server                  connect  after 4
       7  droplet.server                  attach  after 3, 6
       8  droplet.server                  mount /mnt/data  after 7
       9  droplet.server                  prepare  after 5, 6
      10  droplet.server                  start serve  after 8, 9
      11  droplet.server                  run fill  after 10
      12  droplet.client                  connect  after 4
      13  droplet.client                  prepare  after 5, 12
      14  droplet.client                  run tests  after 11, 13
      15  droplet.client                  destroy droplet  after ~4, ~12..~14
      16  droplet.server                  collect log of serve  after 8, 9, ~10, ~11, ~14
      17  droplet.server                  stop background steps  after 6, ~7..~11, ~14, ~16
      18  droplet.server                  unmount /mnt/data  after 8, ~9..~11, ~14, ~16, ~17
      19  droplet.server                  detach  after 7, ~8..~11, ~14, ~16..~18
      20  droplet.server                  destroy droplet  after ~4, ~6..~11, ~14, ~16..~19
      21  environment                     delete tags  after ~15, ~20

    Plan: 2 to add, 0 to change, 0 to replace, 0 to destroy; 3 runs; 21 steps; about 4m; $0.0179/h while
        up, $0.10/month kept, about $0.02 for this run (at most $0.0948).
    ");
    let why = plan
        .edges
        .iter()
        .find(|edge| title(&plan, edge.from) == "run fill" && title(&plan, edge.to) == "run tests");
    insta::assert_snapshot!(why.expect("an edge").reason, @r"`needs`: runs of the other droplet must be done, its background steps ready");
}

#[test]
fn droplets_that_stay_bring_logs_back_and_nothing_is_stopped() {
    let yaml = CLIENT_SERVER.replace("after_run: destroy", "after_run: keep");
    let live = applied(&yaml, &nothing());
    let plan = plan(&desired(&yaml), &live, Goal::Apply).expect("a plan");
    assert!(!plan.has_changes());
    insta::assert_snapshot!(text(&plan), @r"
    app / main in nyc3 on DigitalOcean

      = ssh_key stays (app-main)
      = volume.data stays (app-data)
      = droplet.client stays (app-main-client)
      = droplet.server stays (app-main-server)

    Every apply:
      > droplet.client runs, then stays (app-main-client)
          run tests: curl http://server:8000 [at most 1h]
      > droplet.server runs, then stays (app-main-server)
          run serve: ./serve [in the background; ready when it listens on port 8000, within 1m]
          run fill: ./fill [at most 1h]

    Steps: (after ~3: once step 3 has ended, well or not)
       1  droplet.client  gather inventory
       2  droplet.server  connect
       3  droplet.server  mount /mnt/data  after 2
       4  droplet.server  prepare  after 1, 2
       5  droplet.server  start serve  after 3, 4
       6  droplet.server  run fill  after 5
       7  droplet.client  connect
       8  droplet.client  prepare  after 1, 7
       9  droplet.client  run tests  after 6, 8
      10  droplet.server  collect log of serve  after 3, 4, ~5, ~6, ~9

    No changes. Every apply: 3 runs; 10 steps; about 3m; $0.0179/h while up ($12.00/month for droplets
        that stay), $0.10/month kept.
    ");
    // What runs is stopped before the volume is taken from under it.
    let moved = yaml.replace("    volumes: [{ volume: data, mount: /mnt/data }]\n", "");
    let plan = super::plan(&desired(&moved), &live, Goal::Apply).expect("a plan");
    insta::assert_snapshot!(titles(&plan), @r"
    droplet.server connect
    droplet.server stop background steps
    droplet.server unmount /dev/disk/by-id/scsi-0DO_Volume_app-data
    droplet.server detach
    droplet.client gather inventory
    droplet.server prepare
    droplet.server start serve
    droplet.server run fill
    droplet.client connect
    droplet.client prepare
    droplet.client run tests
    droplet.server collect log of serve
    ");
    let gone = super::super::destroy(&scope(&yaml), &live, false, &[]).expect("a plan");
    assert_checked(&gone, &live);
    insta::assert_snapshot!(titles(&gone), @r"
    droplet.client destroy droplet
    droplet.server connect
    droplet.server stop background steps
    droplet.server unmount /mnt/data
    droplet.server detach
    droplet.server destroy droplet
    ssh_key delete ssh_key
    ");
}

#[test]
fn a_chain_of_needs_is_followed_through_droplets_on_which_nothing_runs() {
    let droplet = |name: &str, more: &str| {
        format!("  {name}: {{ image: x, size: s-1vcpu-1gb, after_run: destroy, {more} }}\n")
    };
    let yaml = format!(
        "version: 1\nproject: app\nregion: nyc3\nfirewall: none\ndroplets:\n{}{}{}",
        droplet(
            "a",
            "needs: [b], count: 2, run: [{ name: last, command: x }]"
        ),
        droplet("b", "needs: [c]"),
        droplet("c", "run: [{ name: first, command: x, background: true }]"),
    );
    let plan = plan(&desired(&yaml), &nothing(), Goal::Test).expect("a plan");
    let first = number(&plan, "start first");
    let lasts: Vec<_> = plan
        .steps
        .iter()
        .filter(|step| step.kind.title() == "run last")
        .collect();
    assert_eq!(lasts.len(), 2);
    let has_edge = |from, to| {
        plan.edges
            .iter()
            .any(|edge| edge.from == from && edge.to == to)
    };
    let stop = number(&plan, "stop background steps");
    for last in lasts {
        assert!(has_edge(first, last.id), "{}", text(&plan));
        assert!(has_edge(last.id, stop), "{}", text(&plan));
    }
}

#[test]
fn a_plan_that_stops_what_is_still_needed_is_found_out() {
    let mut plan = plan(&desired(CLIENT_SERVER), &nothing(), Goal::Apply).expect("a plan");
    let (run, stop) = (
        number(&plan, "run tests"),
        number(&plan, "stop background steps"),
    );
    plan.edges
        .retain(|edge| !(edge.from == run && edge.to == stop));
    insta::assert_snapshot!(violations(&plan), @r"step 17: step 14 could still need it");
    let before = plan.edges.clone();
    plan.edges.retain(|edge| edge.from != stop);
    insta::assert_snapshot!(violations(&plan), @r"
    step 17: it could still run when droplet app-main-server is destroyed
    step 18: what step 10 started could still run
    step 20: what step 10 started could still run
    step 17: step 14 could still need it
    ");
    plan.edges = before;
    let prepare = number(&plan, "prepare");
    let gather = number(&plan, "gather inventory");
    plan.edges
        .retain(|Edge { from, to, .. }| !(*from == gather && *to == prepare));
    insta::assert_snapshot!(violations(&plan), @r"
    step 9: it does not need the step that makes its inventory
    step 17: step 14 could still need it
    ");
}

fn violations(plan: &Plan) -> String {
    let violations = check::check(plan, &nothing()).expect_err("violations");
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn title(plan: &Plan, id: crate::plan::StepId) -> String {
    plan.step(id).expect("a step").kind.title()
}

fn number(plan: &Plan, title: &str) -> crate::plan::StepId {
    let is_it = |step: &&Step| step.kind.title() == title;
    plan.steps.iter().find(is_it).expect(title).id
}

/// What is done on droplets, in order.
fn titles(plan: &Plan) -> String {
    let steps = plan
        .steps
        .iter()
        .filter(|step| !matches!(step.kind, StepKind::DeleteTags { .. }));
    let lines: Vec<String> = steps
        .map(|step| format!("{} {}", step.address, step.kind.title()))
        .collect();
    lines.join("\n")
}
