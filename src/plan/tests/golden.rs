//! Worked examples: what the planner says of them.

use super::*;
use crate::plan::tests::world::{World, nothing};

const QUICKSTART: &str = r#"
version: 1
project: app
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision:
      - name: packages
        run: apt-get install -y python3
      - copy: { from: ./app.conf, to: /etc/app.conf }
volumes:
  data: { size: 1GiB }
droplets:
  runner:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    source: { path: . }
    secrets: [HF_TOKEN]
    run:
      - name: tests
        command: python3 -m unittest
        artifacts: [report.xml]
    after_run: destroy
"#;

#[test]
fn a_first_apply() {
    let plan = plan(&desired(QUICKSTART), &nothing(), Goal::Apply).expect("a plan");
    insta::assert_snapshot!(text(&plan), @r"
    app / main in nyc3 on DigitalOcean

      # ssh_key will be created
      + app-main
          fingerprint  3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa

      # firewall will be created
      + app-main
          inbound icmp all  dewpoint:app:main
          inbound tcp all   dewpoint:app:main
          inbound tcp 22    0.0.0.0/0, ::/0
          inbound udp all   dewpoint:app:main

      # volume.data will be created
      + app-data
          size        1GiB
          filesystem  ext4
          price       $0.10/month

      # snapshot.base will be created
      + app-base-3a480a623158
          name          app-base-3a480a623158
          from          ubuntu-24-04-x64
          builder       s-1vcpu-1gb
          provision[1]  apt-get install -y python3
          provision[2]  copy ./app.conf to /etc/app.conf

    Every apply:
      > droplet.runner is created, runs, is destroyed whatever happens (app-main-runner)
          size    s-1vcpu-1gb
          image   app-base-3a480a623158
          volume  data at /mnt/data
          source  . -> /opt/source
          run tests: python3 -m unittest [at most 1h]

    Steps:
       1  ssh_key         create ssh_key
       2  firewall        create tags
       3  firewall        create firewall  after 2
       4  volume.data     create volume  after 2
       5  snapshot.base   create droplet  after 1, 3
       6  snapshot.base   connect  after 5
       7  snapshot.base   provision 1/2 packages  after 6
       8  snapshot.base   provision 2/2 copy ./app.conf  after 7
       9  snapshot.base   power off  after 8
      10  snapshot.base   take snapshot  after 9
      11  snapshot.base   tag snapshot  after 10
      12  snapshot.base   destroy droplet  after ~5, ~6, ~7, ~8, ~9, ~10, ~11
      13  droplet.runner  create droplet  after 11
      14  droplet.runner  connect  after 13
      15  droplet.runner  attach  after 4, 14
      16  droplet.runner  mount /mnt/data  after 15
      17  droplet.runner  sync  after 16
      18  droplet.runner  run tests  after 17
      19  droplet.runner  collect artifacts of tests  after 17, ~18
      20  droplet.runner  unmount /mnt/data  after 16, ~17, ~18, ~19
      21  droplet.runner  detach  after 15, ~16, ~17, ~18, ~19, ~20
      22  droplet.runner  destroy droplet  after ~13, ~14, ~15, ~16, ~17, ~18, ~19, ~20, ~21
      23  firewall        delete tags  after ~12, ~22

    Plan: 4 to add, 0 to change, 0 to replace, 0 to destroy; 1 run; 23 steps; about 7 min; $0.0089/h while up, $0.10/month kept, about $0.02 for this run; price unknown of snapshot.base.
    ");
}

#[test]
fn a_second_apply_only_runs() {
    let live = applied(QUICKSTART, &nothing());
    let plan = plan(&desired(QUICKSTART), &live, Goal::Apply).expect("a plan");
    assert!(!plan.has_changes());
    insta::assert_snapshot!(text(&plan), @r"
    app / main in nyc3 on DigitalOcean

      = ssh_key stays (app-main)
      = firewall stays (app-main)
      = volume.data stays (app-data)
      = snapshot.base stays (app-base-3a480a623158)

    Every apply:
      > droplet.runner is created, runs, is destroyed whatever happens (app-main-runner)
          size    s-1vcpu-1gb
          image   app-base-3a480a623158
          volume  data at /mnt/data
          source  . -> /opt/source
          run tests: python3 -m unittest [at most 1h]

    Steps:
       1  firewall        create tags
       2  droplet.runner  create droplet  after 1
       3  droplet.runner  connect  after 2
       4  droplet.runner  attach  after 3
       5  droplet.runner  mount /mnt/data  after 4
       6  droplet.runner  sync  after 5
       7  droplet.runner  run tests  after 6
       8  droplet.runner  collect artifacts of tests  after 6, ~7
       9  droplet.runner  unmount /mnt/data  after 5, ~6, ~7, ~8
      10  droplet.runner  detach  after 4, ~5, ~6, ~7, ~8, ~9
      11  droplet.runner  destroy droplet  after ~2, ~3, ~4, ~5, ~6, ~7, ~8, ~9, ~10
      12  firewall        delete tags  after ~11

    No changes. Every apply: 1 run; 12 steps; about 3 min; $0.0089/h while up, $0.19/month kept, about $0.01 for this run.
    ");
}

#[test]
fn a_test_leaves_only_what_the_project_owns() {
    let plan = plan(&desired(QUICKSTART), &nothing(), Goal::Test).expect("a plan");
    insta::assert_snapshot!(text(&plan), @r"
    app / main in nyc3 on DigitalOcean
    note: made for this test and removed at its end: ssh_key, firewall

      # volume.data will be created
      + app-data
          size        1GiB
          filesystem  ext4
          price       $0.10/month

      # snapshot.base will be created
      + app-base-3a480a623158
          name          app-base-3a480a623158
          from          ubuntu-24-04-x64
          builder       s-1vcpu-1gb
          provision[1]  apt-get install -y python3
          provision[2]  copy ./app.conf to /etc/app.conf

    This test:
      > droplet.runner is created, runs, is destroyed whatever happens (app-main-runner)
          size    s-1vcpu-1gb
          image   app-base-3a480a623158
          volume  data at /mnt/data
          source  . -> /opt/source
          run tests: python3 -m unittest [at most 1h]

    Steps:
       1  ssh_key         create ssh_key
       2  firewall        create tags
       3  firewall        create firewall  after 2
       4  volume.data     create volume  after 2
       5  snapshot.base   create droplet  after 1, 3
       6  snapshot.base   connect  after 5
       7  snapshot.base   provision 1/2 packages  after 6
       8  snapshot.base   provision 2/2 copy ./app.conf  after 7
       9  snapshot.base   power off  after 8
      10  snapshot.base   take snapshot  after 9
      11  snapshot.base   tag snapshot  after 10
      12  snapshot.base   destroy droplet  after ~5, ~6, ~7, ~8, ~9, ~10, ~11
      13  droplet.runner  create droplet  after 11
      14  droplet.runner  connect  after 13
      15  droplet.runner  attach  after 4, 14
      16  droplet.runner  mount /mnt/data  after 15
      17  droplet.runner  sync  after 16
      18  droplet.runner  run tests  after 17
      19  droplet.runner  collect artifacts of tests  after 17, ~18
      20  droplet.runner  unmount /mnt/data  after 16, ~17, ~18, ~19
      21  droplet.runner  detach  after 15, ~16, ~17, ~18, ~19, ~20
      22  droplet.runner  destroy droplet  after ~13, ~14, ~15, ~16, ~17, ~18, ~19, ~20, ~21
      23  firewall        delete firewall  after ~3, ~12, ~22
      24  ssh_key         delete ssh_key  after ~1, ~12, ~22
      25  firewall        delete tags  after ~12, ~22, ~23

    Plan: 2 to add, 0 to change, 0 to replace, 0 to destroy; 1 run; 25 steps; about 7 min; $0.0089/h while up, $0.10/month kept, about $0.02 for this run; price unknown of snapshot.base.
    ");
    let live = World::execute(&plan, &nothing());
    assert!(live.droplets.is_empty() && live.firewalls.is_empty() && live.ssh_keys.is_empty());
    assert_eq!((live.volumes.len(), live.images.len()), (1, 1));
}

#[test]
fn a_destroy_keeps_what_the_project_owns() {
    let live = applied(QUICKSTART, &nothing());
    let plan = super::super::destroy(&scope(QUICKSTART), &live, false, &[]).expect("a plan");
    assert_checked(&plan, &live);
    insta::assert_snapshot!(text(&plan), @r"
    app / main in nyc3 on DigitalOcean

      # ssh_key will be destroyed
      #   `destroy` empties the environment
      - app-main

      # firewall will be destroyed
      #   `destroy` empties the environment
      - app-main

      = volume.data stays (app-data): the project's: `destroy --project` removes it
      = snapshot.base stays (app-base-3a480a623158): the project's: `destroy --project` removes it

    Steps:
      1  firewall  delete firewall
      2  ssh_key   delete ssh_key
      3  firewall  delete tags  after ~1

    Destroyed or replaced:
      - ssh_key (app-main)
      - firewall (app-main)

    Plan: 0 to add, 0 to change, 0 to replace, 2 to destroy; 3 steps; about 2 s; $0.19/month kept.
    ");
    let plan = super::super::destroy(&scope(QUICKSTART), &live, true, &[]).expect("a plan");
    assert_checked(&plan, &live);
    insta::assert_snapshot!(text(&plan), @r"
    app / main in nyc3 on DigitalOcean

      # ssh_key will be destroyed
      #   `destroy --project` empties the project
      - app-main

      # firewall will be destroyed
      #   `destroy --project` empties the project
      - app-main

      # volume.data will be destroyed
      #   `destroy --project` empties the project
      - app-data
          size   1GiB -> (none)
          price  $0.10/month -> (none)

      # snapshot.base will be destroyed
      #   `destroy --project` empties the project
      - app-base-3a480a623158
          size   1.5 GB -> (none)
          price  $0.09/month -> (none)

    Steps:
      1  volume.data    delete volume
      2  snapshot.base  prune app-base-3a480a623158
      3  firewall       delete firewall
      4  ssh_key        delete ssh_key
      5  firewall       delete tags  after ~1, ~2, ~3

    Destroyed or replaced:
      - ssh_key (app-main)
      - firewall (app-main)
      - volume.data (app-data)
      - snapshot.base (app-base-3a480a623158)

    Plan: 0 to add, 0 to change, 0 to replace, 4 to destroy; 5 steps; about 2 s; $0.00/month kept.
    ");
    let live = World::execute(&plan, &live);
    assert_eq!(live.tags, Vec::<String>::new());
}
