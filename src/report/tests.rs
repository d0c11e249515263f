//! What people read, on a narrow screen and on a wide one.

use super::outcome;
use super::plan_text::{self, View};
use super::style::Palette;
use crate::address::{Address, Instance};
use crate::digest::Digest;
use crate::execute::{Event, EventKind, Failure, FailureClass, OutputStream};
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::change::ActivityRun;
use crate::plan::step::{
    DropletRef, DropletSpec, ImageRef, NewDroplet, RunSpec, SourceSpec, VolumeSpec,
};
use crate::plan::{
    Action, Activity, Cause, Change, Cost, Edge, EdgeKind, FieldChange, Goal, Plan, Reason, Step,
    StepId, StepKind,
};
use crate::report::lines::line_of;
use crate::units::{Gib, Money, Seconds};

fn money(text: &str) -> Money {
    Money(text.parse().expect("a decimal"))
}

fn field(field: &str, old: Option<&str>, new: Option<&str>) -> FieldChange {
    FieldChange {
        field: field.to_owned(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
        forces_replace: false,
        known_after_apply: false,
    }
}

fn change(address: &str, name: &str, action: Action, reason: (Cause, &str)) -> Change {
    Change {
        address: address.parse().expect("an address"),
        name: name.to_owned(),
        id: (action != Action::Create).then(|| "1".to_owned()),
        action,
        reasons: vec![Reason {
            cause: reason.0,
            text: reason.1.to_owned(),
        }],
        fields: vec![],
    }
}

fn runner(index: u32) -> Address {
    Address::Droplet {
        name: "runner".to_owned(),
        instance: Some(Instance::Index(index)),
    }
}

/// A plan with a bit of everything: `count` single-use droplets that run tests.
fn plan(count: u32) -> Plan {
    let mut firewall = change(
        "firewall",
        "shop-main",
        Action::Update,
        (Cause::Manifest, "inbound[1] is new"),
    );
    firewall.fields = vec![field(
        "inbound[1]",
        None,
        Some("tcp 8000 from 203.0.113.0/24, 198.51.100.0/24, 192.0.2.0/24, 2001:db8::/32"),
    )];
    let mut snapshot = change(
        "snapshot.base",
        "shop-base-0123456789ab",
        Action::CreateThenDestroy,
        (Cause::Manifest, "the recipe changed: provision[0].run"),
    );
    snapshot.fields = vec![
        field(
            "provision[0].run",
            Some("apt-get update\napt-get install -y git\n"),
            Some("apt-get update\napt-get install -y git python3-venv\n"),
        ),
        FieldChange {
            known_after_apply: true,
            ..field("id", None, None)
        },
    ];
    let mut database = change(
        "droplet.db",
        "shop-main-db",
        Action::DestroyThenCreate,
        (Cause::Drift, "size s-1vcpu-1gb -> s-2vcpu-2gb"),
    );
    database.fields = vec![FieldChange {
        forces_replace: true,
        ..field("size", Some("s-1vcpu-1gb"), Some("s-2vcpu-2gb"))
    }];
    let mut models = change(
        "volume.models",
        "shop-models",
        Action::Keep,
        (Cause::Manifest, "50GiB ext4"),
    );
    models.id = Some("v-1".to_owned());
    let activity = |index: u32| {
        Activity {
        address: runner(index),
        name: format!("shop-main-runner-{index}"),
        single_use: true,
        source: Some("https://github.com/acme/app.git @ main (4f2a91c0)".to_owned()),
        runs: vec![ActivityRun {
            name: "tests".to_owned(),
            command: "/opt/venv/bin/python -m pytest --junitxml=report.xml tests/ --timeout 60 -q --maxfail 5\necho done\n".to_owned(),
            timeout: Seconds(1_800),
            once: false,
        }],
        after_run: "is destroyed".to_owned(),
        fields: vec![
            field("size", None, Some("s-1vcpu-1gb")),
            field("image", None, Some("snapshot.base")),
        ],
    }
    };
    Plan {
        version: 1,
        project: "shop".to_owned(),
        environment: "main".to_owned(),
        region: "nyc3".to_owned(),
        goal: Goal::Apply,
        desired_digest: Digest::of_bytes(b""),
        live_digest: Digest::of_bytes(b""),
        changes: vec![
            database,
            firewall,
            snapshot,
            change(
                "volume.old",
                "shop-old",
                Action::Delete,
                (Cause::Manifest, "it is no longer in the manifest"),
            ),
            models,
        ],
        activities: (1..=count).map(activity).collect(),
        steps: steps(count),
        edges: edges(count),
        cost: Cost {
            hourly_while_up: money("0.0714"),
            monthly_kept: money("5.00"),
            expected_once: money("0.0123"),
            expected_seconds: 240,
            unpriced: vec![],
        },
        notices: vec!["the local cloud's ubuntu-24-04-x64 stands for this machine".to_owned()],
    }
}

fn droplet(index: u32) -> DropletRef {
    DropletRef::Created {
        step: StepId(0),
        name: format!("shop-main-runner-{index}"),
    }
}

/// A create for all, then sync, run and destroy of each, and a volume.
fn steps(count: u32) -> Vec<Step> {
    let create = StepKind::CreateDroplets {
        spec: DropletSpec {
            region: "nyc3".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image: ImageRef::Id(1),
            tags: vec![],
            ssh_key_fingerprint: String::new(),
            user: "root".to_owned(),
            host_key: HostKeyPolicy::Derived,
        },
        droplets: (1..=count)
            .map(|index| NewDroplet {
                address: runner(index),
                name: format!("shop-main-runner-{index}"),
            })
            .collect(),
    };
    let volume = StepKind::CreateVolume {
        spec: VolumeSpec {
            name: "shop-scratch".to_owned(),
            region: "nyc3".to_owned(),
            size: Gib(1),
            tags: vec![],
        },
    };
    let mut kinds = vec![
        (runner(1), create, false),
        (Address::Volume("scratch".to_owned()), volume, false),
    ];
    for index in 1..=count {
        let sync = StepKind::Sync {
            droplet: droplet(index),
            source: SourceSpec::Path {
                path: ".".to_owned(),
                into: "/opt/app".to_owned(),
            },
        };
        let run = StepKind::Run {
            droplet: droplet(index),
            run: RunSpec {
                name: "tests".to_owned(),
                command: "pytest".to_owned(),
                env: vec![],
                secrets: vec![],
                cwd: None,
                timeout: Seconds(1_800),
                retries: 0,
                allow_failure: false,
                once: None,
            },
        };
        let destroy = StepKind::DestroyDroplet {
            droplet: droplet(index),
            tag: "dewpoint:shop:main".to_owned(),
        };
        kinds.push((runner(index), sync, false));
        kinds.push((runner(index), run, false));
        kinds.push((runner(index), destroy, true));
    }
    (0..)
        .zip(kinds)
        .map(|(id, (address, kind, cleanup))| Step {
            id: StepId(id),
            address,
            kind,
            cleanup,
            expected_seconds: 1,
        })
        .collect()
}

fn edges(count: u32) -> Vec<Edge> {
    let edge = |from: u32, to: u32, kind: EdgeKind| Edge {
        from: StepId(from),
        to: StepId(to),
        kind,
        reason: "in order".to_owned(),
    };
    (0..count)
        .flat_map(|index| {
            let sync = 2 + index * 3;
            [
                edge(0, sync, EdgeKind::Needs),
                edge(sync, sync + 1, EdgeKind::Needs),
                edge(sync + 1, sync + 2, EdgeKind::After),
            ]
        })
        .collect()
}

fn view(width: usize) -> View<'static> {
    View {
        palette: Palette::PLAIN,
        place: "DigitalOcean",
        all_steps: false,
        width,
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
      > droplet.runner[1..2] is created, runs, is destroyed (shop-main-runner-1 to shop-main-runner-2)
          size    s-1vcpu-1gb
          image   snapshot.base
          source  https://github.com/acme/app.git @ main (4f2a91c0)
          run tests: /opt/venv/bin/python -m pytest --jun... (+1 line) [at most 30m]

    Steps:
      1  droplet.runner[1]  create 2 droplets
      2  volume.scratch     create volume
      3  droplet.runner[1]  sync  after 1
      4  droplet.runner[1]  run tests  after 3
      5  droplet.runner[1]  destroy droplet  after ~4
      6  droplet.runner[2]  sync  after 1
      7  droplet.runner[2]  run tests  after 6
      8  droplet.runner[2]  destroy droplet  after ~7

    Destroyed or replaced:
      -/+ droplet.db (shop-main-db)
      +/- snapshot.base (shop-base-0123456789ab)
      - volume.old (shop-old)

    Plan: 0 to add, 1 to change, 2 to replace, 1 to destroy; 2 runs; 8 steps; about 4 min; $0.0714/h while up, $5.00/month kept, about $0.0123 for this run.
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
      > droplet.runner[1..2] is created, runs, is destroyed (shop-main-runner-1 to shop-main-runner-2)
          size    s-1vcpu-1gb
          image   snapshot.base
          source  https://github.com/acme/app.git @ main (4f2a91c0)
          run tests: /opt/venv/bin/python -m pytest --junitxml=report.xml tests/ --timeout 60 -q --maxfail 5 (+1 line) [at most 30m]

    Steps:
      1  droplet.runner[1]  create 2 droplets
      2  volume.scratch     create volume
      3  droplet.runner[1]  sync  after 1
      4  droplet.runner[1]  run tests  after 3
      5  droplet.runner[1]  destroy droplet  after ~4
      6  droplet.runner[2]  sync  after 1
      7  droplet.runner[2]  run tests  after 6
      8  droplet.runner[2]  destroy droplet  after ~7

    Destroyed or replaced:
      -/+ droplet.db (shop-main-db)
      +/- snapshot.base (shop-base-0123456789ab)
      - volume.old (shop-old)

    Plan: 0 to add, 1 to change, 2 to replace, 1 to destroy; 2 runs; 8 steps; about 4 min; $0.0714/h while up, $5.00/month kept, about $0.0123 for this run.
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
      > droplet.runner[1..40] is created, runs, is destroyed (shop-main-runner-1 to shop-main-runner-40)
          size    s-1vcpu-1gb
          image   snapshot.base
          source  https://github.com/acme/app.git @ main (4f2a91c0)
          run tests: /opt/venv/bin/python -m pytest --jun... (+1 line) [at most 30m]

    Steps:
      2 create, 40 sync, 40 run, 40 destroy (`plan --steps` lists them)

    No changes. Every apply: 40 runs; 122 steps; about 4 min; $0.0714/h while up, $5.00/month kept, about $0.0123 for this run.
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

/// Events of a run, one after the other.
struct Story(Vec<Event>);

impl Story {
    fn new() -> Self {
        Self(vec![]).then(EventKind::RunStarted {
            run: "01M0".to_owned(),
            project: "shop".to_owned(),
            environment: "main".to_owned(),
            goal: Goal::Apply,
            steps: 5,
            expected_seconds: 240,
        })
    }

    fn then(mut self, kind: EventKind) -> Self {
        let number = self.0.len() as u64;
        self.0.push(Event {
            seq: number,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: number * 1_500,
            kind,
        });
        self
    }

    fn started(self, plan: &Plan, step: u32) -> Self {
        let step = &plan.steps[step as usize];
        self.then(EventKind::Started {
            step: step.id,
            address: step.address.clone(),
            title: step.kind.title(),
        })
    }

    fn done(self, step: u32, note: &str) -> Self {
        self.then(EventKind::Done {
            step: StepId(step),
            took_ms: 1_500,
            note: note.to_owned(),
        })
    }

    fn did(self, plan: &Plan, step: u32, note: &str) -> Self {
        self.started(plan, step).done(step, note)
    }

    fn failed(self, plan: &Plan, step: u32, failure: Failure) -> Self {
        self.started(plan, step).then(EventKind::Failed {
            step: StepId(step),
            took_ms: 75_000,
            failure,
        })
    }

    fn skipped(self, step: u32, because: Option<u32>) -> Self {
        self.then(EventKind::Skipped {
            step: StepId(step),
            because: because.map(StepId),
            reason: match because {
                Some(_) => "droplet.runner[1] sync failed".to_owned(),
                None => "interrupted by SIGINT".to_owned(),
            },
        })
    }

    fn finished(self, failed: u32, skipped: u32, interrupted: bool, hourly: &str) -> Self {
        self.then(EventKind::RunFinished {
            done: 5 - failed - skipped,
            failed,
            skipped,
            runs_failed: 0,
            interrupted,
            api_calls: 21,
            cost: money("0.0012"),
            hourly: money(hourly),
        })
    }

    /// Line by line, as they come.
    fn lines(&self, plan: &Plan) -> String {
        let lines = self.0.iter();
        let lines = lines.filter_map(|event| line_of(event, plan, Palette::PLAIN));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What stands under it all.
    fn end(&self, plan: &Plan) -> String {
        let view = outcome::View {
            palette: Palette::PLAIN,
            run_folder: ".dewpoint/runs/01M0",
            flags: " --local",
        };
        outcome::render(plan, &self.0, view)
    }
}

fn tests_failed() -> Failure {
    Failure {
        class: FailureClass::RunStep,
        allowed: false,
        code: "dewpoint::run::exit".to_owned(),
        message: "exit status 1".to_owned(),
        help: None,
        causes: vec![],
        exit_status: Some(1),
        tail: vec![
            "test_greeting FAILED".to_owned(),
            "\u{1b}[31mE  AssertionError: 1 != 2\u{1b}[0m".to_owned(),
        ],
    }
}

fn sync_failed() -> Failure {
    Failure {
        class: FailureClass::Tool,
        allowed: false,
        code: "dewpoint::guest::connection_lost".to_owned(),
        message: "the connection to droplet.runner[1] was lost while bringing files".to_owned(),
        help: Some("apply again".to_owned()),
        causes: vec!["broken pipe".to_owned()],
        exit_status: None,
        tail: vec![],
    }
}

#[test]
fn a_run_line_by_line() {
    let plan = plan(1);
    let story = Story::new()
        .did(&plan, 0, "droplet 3164444 at 203.0.113.7")
        .then(EventKind::Retried {
            step: None,
            attempt: 1,
            wait_ms: 61_000,
            reason: "GET /v2/droplets is held back by the rate limit".to_owned(),
        })
        .did(&plan, 2, "12 files, 3 sent")
        .started(&plan, 3)
        .then(EventKind::Output {
            step: StepId(3),
            address: runner(1),
            stream: OutputStream::Out,
            line: "\u{1b}[32m4 passed\u{1b}[0m".to_owned(),
        })
        .then(EventKind::Retried {
            step: Some(StepId(3)),
            attempt: 2,
            wait_ms: 1_000,
            reason: "exit status 1".to_owned(),
        })
        .then(EventKind::Progress {
            step: StepId(3),
            text: "waiting".to_owned(),
        })
        .then(EventKind::Failed {
            step: StepId(3),
            took_ms: 75_000,
            failure: Failure {
                allowed: true,
                ..tests_failed()
            },
        })
        .then(EventKind::Interrupted {
            signal: "SIGINT".to_owned(),
            times: 1,
        })
        .failed(&plan, 4, sync_failed())
        .skipped(1, None)
        .then(EventKind::Notice {
            text: "something to know".to_owned(),
        })
        .then(EventKind::Interrupted {
            signal: "SIGINT".to_owned(),
            times: 2,
        });
    insta::assert_snapshot!(story.lines(&plan), @r"
    run 01M0: 5 steps
    ok droplet.runner[1] create droplet (1.5 s, droplet 3164444 at 203.0.113.7)
      waiting 61 s: GET /v2/droplets is held back by the rate limit
    ok droplet.runner[1] sync (1.5 s, 12 files, 3 sent)
    > droplet.runner[1] run tests
    droplet.runner[1] | 4 passed
      droplet.runner[1] run tests: try 2 in 1.0 s: exit status 1
    FAILED droplet.runner[1] run tests (allowed) (75 s): exit status 1
    SIGINT: no new steps; removing what is ephemeral (once more to stop at once)
    FAILED droplet.runner[1] destroy droplet (75 s): the connection to droplet.runner[1] was lost while bringing files
      caused by: broken pipe
    note: something to know
    SIGINT: stopping now
    ");
}

#[test]
fn the_end_of_a_run_that_went_well() {
    let plan = plan(1);
    let story = Story::new()
        .did(&plan, 0, "")
        .did(&plan, 1, "")
        .did(&plan, 2, "")
        .did(&plan, 3, "")
        .did(&plan, 4, "")
        .finished(0, 0, false, "0");
    insta::assert_snapshot!(story.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests    1.5 s  ok

    Done: 5 of 5 steps done, 16 s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db)
    Kept: volume.models (shop-models), volume.old (shop-old), volume.scratch (shop-scratch)
    help: `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn the_end_of_a_run_whose_tests_failed() {
    let plan = plan(1);
    let story = Story::new()
        .did(&plan, 0, "")
        .did(&plan, 1, "")
        .did(&plan, 2, "")
        .failed(&plan, 3, tests_failed())
        .did(&plan, 4, "")
        .finished(1, 0, false, "0");
    insta::assert_snapshot!(story.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests     75 s  FAILED: exit status 1

    error: droplet.runner[1] run tests [dewpoint::run::exit]
      exit status 1
      last output:
        test_greeting FAILED
        E  AssertionError: 1 != 2

    Failed: 4 of 5 steps done, 1 failed, 16 s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db)
    Kept: volume.models (shop-models), volume.old (shop-old), volume.scratch (shop-scratch)
    help: `dewpoint apply --local` runs again what failed, `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn the_end_of_a_run_that_left_droplets_up() {
    let mut plan = plan(3);
    // Kept: not destroyed by the plan.
    plan.steps.truncate(5);
    plan.changes
        .retain(|change| change.address.to_string().starts_with("volume"));
    let story = Story::new()
        .did(&plan, 0, "")
        .did(&plan, 1, "")
        .failed(&plan, 2, sync_failed())
        .skipped(3, Some(2))
        .skipped(4, Some(2))
        .finished(1, 2, false, "0.0268");
    insta::assert_snapshot!(story.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests           skipped: droplet.runner[1] sync failed

    error: droplet.runner[1] sync [dewpoint::guest::connection_lost]
      the connection to droplet.runner[1] was lost while bringing files
      caused by: broken pipe
      help: apply again
      2 steps were skipped because of this

    Failed: 2 of 5 steps done, 1 failed, 2 skipped, 13 s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.runner[1..3] (shop-main-runner-1 to shop-main-runner-3), $0.0268/h
    Kept: volume.models (shop-models), volume.old (shop-old), volume.scratch (shop-scratch)
    help: `dewpoint apply --local` goes on from here, `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn the_end_of_a_run_that_was_stopped_at_once() {
    let plan = plan(1);
    let interrupted = Failure {
        code: crate::execute::error::INTERRUPTED.to_owned(),
        message: "interrupted".to_owned(),
        ..sync_failed()
    };
    let story = Story::new()
        .did(&plan, 1, "")
        .failed(&plan, 0, interrupted)
        .skipped(2, None)
        .skipped(3, None)
        .skipped(4, None)
        .finished(1, 3, true, "0.0089");
    insta::assert_snapshot!(story.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests           skipped: interrupted by SIGINT

    Interrupted: 1 of 5 steps done, 1 stopped, 3 skipped, 12 s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db), $0.0089/h
    Kept: volume.models (shop-models), volume.old (shop-old), volume.scratch (shop-scratch)
    May be left: droplet.runner[1] (shop-main-runner-1)
    help: `dewpoint apply --local` goes on from here, `dewpoint destroy --local` finds and removes what is left
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}
