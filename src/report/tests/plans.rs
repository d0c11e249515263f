//! Plans.

use super::plan;
use crate::address::{Address, Instance};
use crate::plan::{Action, Cause, Change, Edge, EdgeKind, StepId, StepKind};
use crate::report::plan_text::{self, View};
use crate::report::style::Palette;

fn view(width: usize) -> View<'static> {
    View {
        palette: Palette::PLAIN,
        place: "DigitalOcean",
        all_steps: false,
        width,
        folds: true,
    }
}

#[test]
fn a_plan_on_a_narrow_screen() {
    insta::assert_snapshot!(plan_text::render(&plan(2), view(80)), @r"
    shop / main in nyc3 on DigitalOcean
    note: the local cloud's ubuntu-24-04-x64 stands for this machine

      # droplet.db must be replaced: destroyed, then created
      #   size s-1vcpu-1gb -> s-2vcpu-2gb
      -/+ shop-main-db
          size  s-1vcpu-1gb -> s-2vcpu-2gb  (forces replace)

      # firewall will be changed in place
      #   inbound[1] is new
      ~ shop-main
          inbound[1]  tcp 8000 from 203.0.113.0/24, 198.51.100.0/24, 192.0.2.0/24...

      # snapshot.base must be replaced: created, then the old one destroyed
      #   the recipe changed: provision[0].run
      +/- shop-base-0123456789ab
          provision[0].run
              apt-get update
            - apt-get install -y git
            + apt-get install -y git python3-venv
          id                (known after apply)

      # volume.old will be destroyed
      #   it is no longer in the manifest
      - shop-old

      = volume.models stays (shop-models): 50GiB ext4

    Every apply:
      > droplet.runner[1..2] are created, run, are destroyed (shop-main-runner-1 to
          shop-main-runner-2)
          size    s-1vcpu-1gb
          image   snapshot.base
          source  https://github.com/acme/app.git @ main (4f2a91c0)
          run tests: /opt/venv/bin/python -m pytest --jun... (+1 line) [at most 30m]

    Steps: (after ~3: once step 3 has ended, well or not)
      1  droplet.runner[1..2]  create 2 droplets
      2  volume.scratch        create volume
      3  droplet.runner[1]     sync  after 1
      4  droplet.runner[1]     run tests  after 3
      5  droplet.runner[1]     destroy droplet  after ~4
      6  droplet.runner[2]     sync  after 1
      7  droplet.runner[2]     run tests  after 6
      8  droplet.runner[2]     destroy droplet  after ~7

    Destroyed or replaced:
      -/+ droplet.db (shop-main-db)
      +/- snapshot.base (shop-base-0123456789ab)
      - volume.old (shop-old)

    Plan: 0 to add, 1 to change, 2 to replace, 1 to destroy; 2 runs; 8 steps; about
        4m; $0.0714/h while up, $5.00/month kept, about $0.0123 for this run (at
        most $0.3571).
    ");
}

#[test]
fn a_plan_on_a_wide_screen() {
    insta::assert_snapshot!(plan_text::render(&plan(2), view(160)), @r"
    shop / main in nyc3 on DigitalOcean
    note: the local cloud's ubuntu-24-04-x64 stands for this machine

      # droplet.db must be replaced: destroyed, then created
      #   size s-1vcpu-1gb -> s-2vcpu-2gb
      -/+ shop-main-db
          size  s-1vcpu-1gb -> s-2vcpu-2gb  (forces replace)

      # firewall will be changed in place
      #   inbound[1] is new
      ~ shop-main
          inbound[1]  tcp 8000 from 203.0.113.0/24, 198.51.100.0/24, 192.0.2.0/24, 2001:db8::/32

      # snapshot.base must be replaced: created, then the old one destroyed
      #   the recipe changed: provision[0].run
      +/- shop-base-0123456789ab
          provision[0].run
              apt-get update
            - apt-get install -y git
            + apt-get install -y git python3-venv
          id                (known after apply)

      # volume.old will be destroyed
      #   it is no longer in the manifest
      - shop-old

      = volume.models stays (shop-models): 50GiB ext4

    Every apply:
      > droplet.runner[1..2] are created, run, are destroyed (shop-main-runner-1 to shop-main-runner-2)
          size    s-1vcpu-1gb
          image   snapshot.base
          source  https://github.com/acme/app.git @ main (4f2a91c0)
          run tests: /opt/venv/bin/python -m pytest --junitxml=report.xml tests/ --timeout 60 -q --maxfail 5 (+1 line) [at most 30m]

    Steps: (after ~3: once step 3 has ended, well or not)
      1  droplet.runner[1..2]  create 2 droplets
      2  volume.scratch        create volume
      3  droplet.runner[1]     sync  after 1
      4  droplet.runner[1]     run tests  after 3
      5  droplet.runner[1]     destroy droplet  after ~4
      6  droplet.runner[2]     sync  after 1
      7  droplet.runner[2]     run tests  after 6
      8  droplet.runner[2]     destroy droplet  after ~7

    Destroyed or replaced:
      -/+ droplet.db (shop-main-db)
      +/- snapshot.base (shop-base-0123456789ab)
      - volume.old (shop-old)

    Plan: 0 to add, 1 to change, 2 to replace, 1 to destroy; 2 runs; 8 steps; about 4m; $0.0714/h while up, $5.00/month kept, about $0.0123 for this run (at most
        $0.3571).
    ");
}

#[test]
fn a_plan_of_many_droplets_stays_short() {
    let mut many = plan(40);
    many.changes.clear();
    many.notices.clear();
    insta::assert_snapshot!(plan_text::render(&many, view(80)), @r"
    shop / main in nyc3 on DigitalOcean

    Every apply:
      > droplet.runner[1..40] are created, run, are destroyed (shop-main-runner-1 to
          shop-main-runner-40)
          size    s-1vcpu-1gb
          image   snapshot.base
          source  https://github.com/acme/app.git @ main (4f2a91c0)
          run tests: /opt/venv/bin/python -m pytest --jun... (+1 line) [at most 30m]

    Steps:
      2 create, 40 sync, 40 run, 40 destroy (`plan --steps` lists them)

    No changes. Every apply: 40 runs; 122 steps; about 4m; $0.0714/h while up,
        $5.00/month kept, about $0.0123 for this run (at most $0.3571).
    ");
}

#[test]
fn colour_only_repeats_what_is_said() {
    let coloured = View {
        palette: Palette::COLOURED,
        ..view(80)
    };
    let text = plan_text::render(&plan(2), coloured);
    assert!(text.contains('\u{1b}'));
    let stripped = anstream::adapter::strip_str(&text).to_string();
    assert_eq!(stripped, plan_text::render(&plan(2), view(80)));
}

#[test]
fn steps_in_a_row_are_told_as_a_range_and_no_line_is_too_long() {
    let mut plan = plan(30);
    for from in [
        1, 2, 3, 5, 6, 9, 10, 11, 12, 20, 30, 40, 50, 52, 54, 56, 58, 60, 62,
    ] {
        plan.edges.push(Edge {
            from: StepId(from),
            to: StepId(64),
            kind: if from < 10 {
                EdgeKind::Needs
            } else {
                EdgeKind::After
            },
            reason: "test".into(),
        });
    }
    plan.changes[0].reasons[0].text = "a reason that goes on and on ".repeat(5);
    let all = View {
        all_steps: true,
        ..view(80)
    };
    let text = plan_text::render(&plan, all);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let at = lines
        .iter()
        .position(|line| line.contains("  65  "))
        .expect("step 65");
    insta::assert_snapshot!(lines[at..at + 2].join("\n"), @r"
    65  droplet.runner[21]     destroy droplet  after 2..4, 6, 7, 10, ~11..~13,
        ~21, ~31, ~41, ~51, ~53, ~55, ~57, ~59, ~61, ~63, ~64
    ");
    let coloured = View {
        palette: Palette::COLOURED,
        ..all
    };
    let coloured = plan_text::render(&plan, coloured);
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), text);
}

#[test]
fn a_matrix_is_told_in_bounds() {
    let mut matrix = plan(8);
    matrix.changes.clear();
    matrix.notices.clear();
    let of = |index: usize| Address::Droplet {
        name: "t".into(),
        instance: Some(Instance::Matrix(vec![
            ("python".to_owned(), format!("3.{}", 10 + index / 2)),
            ("db".to_owned(), ["mysql", "pg"][index % 2].to_owned()),
        ])),
    };
    for (index, activity) in matrix.activities.iter_mut().enumerate() {
        activity.address = of(index);
        activity.name = format!("shop-main-t-{index}").into();
    }
    for step in &mut matrix.steps {
        if let StepKind::CreateDroplets { droplets, .. } = &mut step.kind {
            step.address = of(0);
            for (index, droplet) in droplets.iter_mut().enumerate() {
                droplet.address = of(index);
            }
        }
    }
    matrix.steps[1].kind = StepKind::CreateTags { names: vec![] };
    matrix.steps.truncate(3);
    matrix.edges.clear();
    let mut keep = super::change(
        "droplet.x",
        "shop-main-t-0",
        Action::Keep,
        (Cause::Manifest, "as it is"),
    );
    keep.address = of(0);
    let other = Change {
        address: of(1),
        name: "shop-main-t-1".to_owned(),
        ..keep.clone()
    };
    matrix.changes = vec![keep, other];
    insta::assert_snapshot!(plan_text::render(&matrix, view(80)), @r"
    shop / main in nyc3 on DigitalOcean

      = droplet.t[python=3.10,db=mysql|pg] stay (shop-main-t-0 and shop-main-t-1):
          as it is

    Every apply:
      > droplet.t[python=3.10|3.11|3.12|...,db=mysql|pg] are created, run, are
          destroyed (shop-main-t-0 and 7 more)
          size    s-1vcpu-1gb
          image   snapshot.base
          source  https://github.com/acme/app.git @ main (4f2a91c0)
          run tests: /opt/venv/bin/python -m pytest --jun... (+1 line) [at most 30m]

    Steps:
      1  droplet.t[python=3.10|3.11|3.12|...,d...  create 8 droplets
      2  environment                               create tags
      3  droplet.runner[1]                         sync

    No changes. Every apply: 8 runs; 3 steps; about 4m; $0.0714/h while up,
        $5.00/month kept, about $0.0123 for this run (at most $0.3571).
    ");
}

#[test]
fn what_is_said_of_a_run_has_its_own_line_where_both_are_long() {
    let mut plan = plan(1);
    let run = &mut plan.activities[0].runs.to_mut()[0];
    run.name = "serve the models".into();
    run.command = "python3 -m http.server 8000 --directory /mnt/models --protocol HTTP/1.1".into();
    run.background = Some("it listens on port 8000".to_owned());
    let shown = |width| {
        let text = plan_text::render(&plan, view(width));
        let at = text.find("      run serve").expect("the run");
        let end = text.find("\n\nSteps:").expect("the steps");
        text[at..end].trim_start().to_owned()
    };
    insta::assert_snapshot!(shown(80), @r"
    run serve the models: python3 -m http.server 8000 --directory /mnt/mode...
              [in the background; ready when it listens on port 8000, within 30m]
    ");
    insta::assert_snapshot!(shown(160), @"run serve the models: python3 -m http.server 8000 --directory /mnt/models --protoco... [in the background; ready when it listens on port 8000, within 30m]");
}
