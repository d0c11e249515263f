//! `--target`, `--replace`, `--only-destroy`; where changes come from.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{World, nothing};
use super::*;
use crate::plan::step::StepKind;
use crate::plan::{Action, Cause};

const SHOP: &str = r#"
version: 1
project: app
region: nyc3
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{ run: echo 1 }] }
  top: { from: { snapshot: base }, size: s-1vcpu-1gb }
  other: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb }
volumes:
  data: { size: 1GiB }
  scratch: { size: 2GiB, scope: environment }
droplets:
  db:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: serve, command: "true", background: true, ready: { tcp: 80 } }]
  web:
    image: { snapshot: top }
    size: s-1vcpu-1gb
    needs: [db]
    volumes: [{ volume: scratch, mount: /mnt/scratch }]
    run: [{ name: tests, command: "true" }]
  idle: { image: { snapshot: other }, size: s-1vcpu-1gb }
"#;

fn narrowed(yaml: &str, live: &Live, options: Options) -> Result<Plan, Refusals> {
    let plan = crate::plan::plan(&desired(yaml), live, &options, NOW)?;
    assert_checked(&plan, live);
    Ok(plan)
}

fn targets(targets: &[&str]) -> Options {
    Options {
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        ..Options::default()
    }
}

fn replace(addresses: &[&str]) -> Options {
    Options {
        replace: addresses.iter().map(|text| (*text).to_owned()).collect(),
        ..Options::default()
    }
}

fn only_destroy() -> Options {
    Options {
        only_destroy: true,
        ..Options::default()
    }
}

/// What changes, such as `+ droplet.web`, and what runs.
fn told(plan: &Plan) -> String {
    let changes = plan.changes.iter();
    let changes = changes.filter(|change| change.action != Action::Keep);
    let changes = changes.map(|change| format!("{} {}", change.action.sign(), change.address));
    let runs = plan.activities.iter();
    let runs = runs.map(|done| format!("> {}", done.address));
    changes.chain(runs).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_target_takes_what_it_needs_with_it_and_says_what_it_leaves_out() {
    let live = nothing();
    let plan = narrowed(SHOP, &live, targets(&["droplet.web"])).expect("a plan");
    assert_eq!(
        told(&plan),
        "+ ssh_key, + firewall, + volume.data, + volume.scratch, + snapshot.base, + snapshot.top, \
         + droplet.db, + droplet.web, > droplet.db, > droplet.web"
    );
    assert_eq!(
        plan.notices[0],
        "NOT THE WHOLE PLAN: it is narrowed to its targets and what they need (`--target`): \
         droplet.web; LEFT OUT: 2 to add (snapshot.other, droplet.idle)"
    );
    let live = World::execute(&plan, &live);
    let rest = super::plan(&desired(SHOP), &live, Goal::Apply).expect("a plan");
    assert_eq!(
        told(&rest),
        "+ snapshot.other, + droplet.idle, > droplet.db, > droplet.web"
    );
    let plan = narrowed(SHOP, &nothing(), targets(&["volume.*", "firewall"])).expect("a plan");
    assert_eq!(told(&plan), "+ firewall, + volume.data, + volume.scratch");
    let all = narrowed(SHOP, &nothing(), targets(&["*"])).expect("a plan");
    assert!(
        all.notices[0].ends_with("that leaves nothing out"),
        "{:?}",
        all.notices
    );
}

#[test]
fn what_is_left_out_stays_as_it_is_and_is_known_to_the_others() {
    let live = applied(SHOP, &nothing());
    let changed = SHOP
        .replace("echo 1", "echo 2")
        .replace(
            "  idle: { image: { snapshot: other }, size: s-1vcpu-1gb }\n",
            "",
        )
        .replace("2GiB", "3GiB");
    let plan = narrowed(&changed, &live, targets(&["droplet.db"])).expect("a plan");
    assert_eq!(told(&plan), "> droplet.db");
    assert!(
        plan.notices[0].contains(
            "LEFT OUT: 1 to change (volume.scratch), 3 to replace (snapshot.base, snapshot.top, \
             droplet.web), 1 to destroy (droplet.idle), the runs of droplet.web"
        ),
        "{:?}",
        plan.notices
    );
    // Those that stay are in the inventory of those that run.
    let gathered = plan.steps.iter().find_map(|step| match &step.kind {
        StepKind::Gather { droplets } => Some(droplets.len()),
        _ => None,
    });
    assert_eq!(gathered, Some(2));
    let after = World::execute(&plan, &live);
    assert_eq!(after.images, live.images);
    assert_eq!(after.droplets.len(), live.droplets.len());

    // What is no longer in the manifest is a target, too, and leaves alone.
    let plan = narrowed(&changed, &live, targets(&["droplet.idle"])).expect("a plan");
    assert_eq!(told(&plan), "- droplet.idle");
}

#[test]
fn what_a_droplet_holds_that_is_left_out_is_not_taken_from_it() {
    let live = applied(SHOP, &nothing());
    let moved = SHOP
        .replace("    volumes: [{ volume: scratch, mount: /mnt/scratch }]\n", "")
        .replace(
            "idle: { image: { snapshot: other }, size: s-1vcpu-1gb }",
            "idle: { image: { snapshot: other }, size: s-1vcpu-1gb, volumes: [{ volume: scratch, mount: /mnt/s }] }",
        );
    let said = refused(narrowed(&moved, &live, targets(&["droplet.idle"])));
    insta::assert_snapshot!(said, @r"
    volume.scratch: it is attached to droplet.web, which this plan leaves out [dewpoint::plan::attached_elsewhere]
      help: add `--target droplet.web`, or plan without `--target`
    ");
    let both = targets(&["droplet.idle", "droplet.web"]);
    let plan = narrowed(&moved, &live, both).expect("a plan");
    assert_eq!(
        told(&plan),
        "~ droplet.idle, ~ droplet.web, > droplet.db, > droplet.web"
    );
    let gone = SHOP
        .replace("  scratch: { size: 2GiB, scope: environment }\n", "")
        .replace(
            "    volumes: [{ volume: scratch, mount: /mnt/scratch }]\n",
            "",
        );
    let said = refused(narrowed(&gone, &live, targets(&["volume.scratch"])));
    assert!(
        said.contains("attached to droplet.web, which this plan leaves out"),
        "{said}"
    );
}

#[test]
fn an_address_that_names_nothing_is_refused_with_those_nearest() {
    let said = refused(narrowed(SHOP, &nothing(), targets(&["droplet.wep"])));
    insta::assert_snapshot!(said, @r"
    `droplet.wep` names nothing of the manifest or the environment [dewpoint::plan::no_such_address]
      help: the nearest there are: droplet.web, droplet.db, droplet.idle; `*` stands for any characters, and `dewpoint plan` shows all
    ");
    let said = refused(narrowed(SHOP, &nothing(), replace(&["volume.date"])));
    assert!(said.contains("nearest there are: volume.data,"), "{said}");
}

#[test]
fn a_test_of_some_droplets_empties_the_environment_all_the_same() {
    let live = applied(SHOP, &nothing());
    let options = Options {
        goal: Goal::Test,
        ..targets(&["droplet.db"])
    };
    let plan = narrowed(SHOP, &live, options).expect("a plan");
    let runs: Vec<String> = plan
        .activities
        .iter()
        .map(|a| a.address.to_string())
        .collect();
    assert_eq!(runs, ["droplet.db"]);
    let after = World::execute(&plan, &live);
    assert!(after.droplets.is_empty() && after.firewalls.is_empty());
    assert_eq!(after.volumes.len(), 1, "the project's stays");
}

#[test]
fn only_what_should_not_be_there_is_destroyed() {
    let live = applied(SHOP, &nothing());
    let changed = SHOP
        .replace(
            "  idle: { image: { snapshot: other }, size: s-1vcpu-1gb }\n",
            "",
        )
        .replace("  scratch: { size: 2GiB, scope: environment }\n", "")
        .replace(
            "    volumes: [{ volume: scratch, mount: /mnt/scratch }]\n",
            "",
        )
        .replace("data: { size: 1GiB }", "data: { size: 5GiB }")
        + "  more: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }\n";
    let plan = narrowed(&changed, &live, only_destroy()).expect("a plan");
    assert_eq!(told(&plan), "- volume.scratch, - droplet.idle");
    insta::assert_snapshot!(plan.notices.join("\n"), @r"
    NOT THE WHOLE PLAN: it is narrowed to what is destroyed and not made again (`--only-destroy`), and nothing runs; LEFT OUT: 1 to add (droplet.more), 2 to change (volume.data, droplet.web), the runs of droplet.db, droplet.web
    droplet.web lets go of what is destroyed: what runs there in the background stops until the next apply
    ");
    let after = World::execute(&plan, &live);
    let again = narrowed(&changed, &after, only_destroy()).expect("a plan");
    assert!(
        !again.has_changes() && !again.has_steps(),
        "{}",
        text(&again)
    );
    let options = Options {
        targets: vec!["droplet.*".to_owned()],
        ..only_destroy()
    };
    let plan = narrowed(&changed, &live, options).expect("a plan");
    assert_eq!(told(&plan), "- droplet.idle");
}

#[test]
fn a_droplet_is_made_anew_because_the_command_asks_for_it() {
    let live = applied(SHOP, &nothing());
    let plan = narrowed(SHOP, &live, replace(&["droplet.db"])).expect("a plan");
    assert_eq!(told(&plan), "-/+ droplet.db, > droplet.db, > droplet.web");
    let after = World::execute(&plan, &live);
    let id = |live: &Live, name: &str| {
        let mut droplets = live.droplets.iter();
        droplets.find(|droplet| droplet.name == name).map(|d| d.id)
    };
    assert_ne!(id(&live, "app-main-db"), id(&after, "app-main-db"));
    assert_eq!(id(&live, "app-main-web"), id(&after, "app-main-web"));
    let again = super::plan(&desired(SHOP), &after, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));
}

#[test]
fn a_snapshot_is_built_anew_with_all_that_is_made_from_it() {
    for keep in ["", ", keep: 3"] {
        let yaml = SHOP.replace(
            "size: s-1vcpu-1gb, provision",
            &format!("size: s-1vcpu-1gb{keep}, provision"),
        );
        let live = applied(&yaml, &nothing());
        let plan = narrowed(&yaml, &live, replace(&["snapshot.base"])).expect("a plan");
        assert_eq!(
            told(&plan),
            "+/- snapshot.base, +/- snapshot.top, -/+ droplet.web, > droplet.db, > droplet.web"
        );
        let after = World::execute(&plan, &live);
        let newer = |before: &Live, after: &Live| {
            let old: BTreeSet<u64> = before.images.iter().map(|image| image.id).collect();
            after
                .images
                .iter()
                .filter(|image| !old.contains(&image.id))
                .count()
        };
        assert_eq!((newer(&live, &after), after.images.len()), (2, 3));
        let again = super::plan(&desired(&yaml), &after, Goal::Apply).expect("a plan");
        assert!(!again.has_changes(), "{}", text(&again));
    }
}

#[test]
fn a_volume_is_made_anew_only_when_it_is_the_environments_and_not_protected() {
    let live = applied(SHOP, &nothing());
    // Whatever would be refused otherwise.
    let yaml = SHOP.replace("2GiB, scope", "1GiB, filesystem: xfs, scope");
    let said = refused(narrowed(&yaml, &live, Options::default()));
    insta::assert_snapshot!(said, @r"
    volume.scratch: 2GiB cannot shrink to 1GiB [dewpoint::plan::shrink]
      help: set `size: 2GiB`, or give the volume a new name and copy what is needed; or `--replace volume.scratch`, which makes it anew and loses what it holds
    volume.scratch: it has ext4, and the manifest says xfs [dewpoint::plan::filesystem]
      help: set `filesystem: ext4`, or give the volume a new name; or `--replace volume.scratch`, which makes it anew and loses what it holds
    ");
    let plan = narrowed(&yaml, &live, replace(&["volume.scratch"])).expect("a plan");
    assert_eq!(
        told(&plan),
        "-/+ volume.scratch, ~ droplet.web, > droplet.db, > droplet.web"
    );
    let after = World::execute(&plan, &live);
    let again = super::plan(&desired(&yaml), &after, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));
    let size = after
        .volumes
        .iter()
        .find(|volume| volume.name == "app-main-scratch");
    assert_eq!(size.map(|volume| volume.size_gib), Some(1));

    let all = replace(&["volume.*", "firewall", "ssh_key"]);
    insta::assert_snapshot!(refused(narrowed(SHOP, &live, all)), @r"
    ssh_key: a key is the same however often it is registered [dewpoint::plan::not_replaced]
      help: leave it out of `--replace`; another key is set with `ssh: { key: … }`
    firewall: a firewall changes in place, and has nothing that could be made anew [dewpoint::plan::not_replaced]
      help: leave it out of `--replace`: `apply` gives it the manifest's rules
    volume.data: it is the project's: other environments use what it holds, which would be lost [dewpoint::plan::not_replaced]
      help: give the volume a new name in the manifest and copy what is needed; only volumes with `scope: environment` are made anew
    ");
    let protected = SHOP.replace(
        "snapshots:",
        "protect: [volume.scratch, snapshot.base, droplet.db]\nsnapshots:",
    );
    let all = replace(&["volume.scratch", "snapshot.base", "droplet.db"]);
    let said = refused(narrowed(&protected, &live, all.clone()));
    insta::assert_snapshot!(said, @r"
    volume.scratch: it would be replaced, and `protect` lists `volume.scratch` [dewpoint::plan::protected]
      help: add `--unprotect volume.scratch` if that is meant
    snapshot.base: it would be replaced, and `protect` lists `snapshot.base` [dewpoint::plan::protected]
      help: add `--unprotect snapshot.base` if that is meant
    droplet.db: it would be replaced, and `protect` lists `droplet.db` [dewpoint::plan::protected]
      help: add `--unprotect droplet.db` if that is meant
    ");
    let unprotect = ["volume.scratch", "snapshot.base", "droplet.db"];
    let lifted = Options {
        unprotect: unprotect
            .map(|text| text.parse().expect("an address"))
            .to_vec(),
        ..all
    };
    let _ = narrowed(&protected, &live, lifted).expect("a plan");
    // What the manifest itself changes is not held up: the snapshot stays as a resource.
    let recipe = protected.replace("echo 1", "echo 2");
    let _ = narrowed(&recipe, &live, Options::default()).expect("a plan");
    // Fewer instances, a goal that empties, what has left the manifest: all are refused.
    let test = Options {
        goal: Goal::Test,
        ..Options::default()
    };
    let said = refused(narrowed(&protected, &live, test));
    assert!(
        said.contains("volume.scratch: it would be destroyed, and `protect`"),
        "{said}"
    );
    let gone = protected
        .replace("  scratch: { size: 2GiB, scope: environment }\n", "")
        .replace(
            "    volumes: [{ volume: scratch, mount: /mnt/scratch }]\n",
            "",
        );
    let said = refused(narrowed(&gone, &live, Options::default()));
    assert!(
        said.contains("volume.scratch: it would be destroyed, and `protect`"),
        "{said}"
    );
    // Not what is left out.
    let _ = narrowed(&gone, &live, targets(&["droplet.db"])).expect("a plan");
}

/// The causes of what changes, by address.
fn causes(plan: &Plan) -> BTreeMap<String, BTreeSet<Cause>> {
    let changes = plan.changes.iter().filter(|c| c.action != Action::Keep);
    changes
        .map(|change| {
            let causes = change.reasons.iter().map(|reason| reason.cause);
            (change.address.to_string(), causes.collect())
        })
        .collect()
}

#[test]
fn every_change_tells_where_it_comes_from() {
    let live = applied(SHOP, &nothing());
    let only = |cause| BTreeSet::from([cause]);
    let of = |plan: &Plan, address: &str| causes(plan).remove(address).expect("a change");

    let other = SHOP.replace("echo 1", "echo 2");
    let plan = super::plan(&desired(&other), &live, Goal::Apply).expect("a plan");
    assert_eq!(of(&plan, "snapshot.base"), only(Cause::Manifest));
    assert_eq!(of(&plan, "snapshot.top"), only(Cause::Upstream));
    assert_eq!(of(&plan, "droplet.web"), only(Cause::Upstream));

    let mut robbed = live.clone();
    for droplet in &mut robbed.droplets {
        droplet.tags.retain(|tag| tag != "dewpoint:app:main");
    }
    robbed.volumes[0].tags.retain(|tag| tag != "dewpoint");
    let plan = super::plan(&desired(SHOP), &robbed, Goal::Apply).expect("a plan");
    assert_eq!(of(&plan, "droplet.db"), only(Cause::Drift));

    let fresh = SHOP.replace(
        "size: s-1vcpu-1gb, provision",
        "size: s-1vcpu-1gb, refresh: 7d, provision",
    );
    let options = Options::default();
    let later = NOW + 8 * 86_400;
    let mut dated = live.clone();
    dated
        .images
        .iter_mut()
        .for_each(|image| image.created_at = NOW);
    let plan = crate::plan::plan(&desired(&fresh), &dated, &options, later).expect("a plan");
    assert_eq!(of(&plan, "snapshot.base"), only(Cause::Age));
    assert_eq!(of(&plan, "snapshot.top"), only(Cause::Upstream));

    let mut untagged = live.clone();
    untagged
        .images
        .iter_mut()
        .for_each(|image| image.tags.clear());
    let plan = super::plan(&desired(SHOP), &untagged, Goal::Apply).expect("a plan");
    assert_eq!(of(&plan, "snapshot.base"), only(Cause::Leftover));

    let plan = narrowed(SHOP, &live, replace(&["droplet.idle"])).expect("a plan");
    assert_eq!(of(&plan, "droplet.idle"), only(Cause::Command));
    let plan = crate::plan::destroy(&scope(SHOP), &live, true, &[]).expect("a plan");
    assert!(
        causes(&plan)
            .values()
            .all(|causes| *causes == only(Cause::Command))
    );

    let account = super::sweep::making::account(&live, &BTreeMap::new());
    let late = NOW + 30 * 86_400;
    let swept = crate::plan::sweep::sweep(&account, None, late).expect("a sweep");
    let expired = |causes: &BTreeSet<Cause>| causes.contains(&Cause::Expiry);
    assert!(causes(&swept.plan).values().any(expired));
}
