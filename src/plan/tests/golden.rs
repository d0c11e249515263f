//! Worked examples: what the planner says of them, and what comes of it. Whole plans, as they are
//! read, are golden cases: see [`super::cases`].

use super::*;
use crate::address::Address;
use crate::plan::StepKind;
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
fn a_test_leaves_only_what_the_project_owns() {
    let plan = plan(&desired(QUICKSTART), &nothing(), Goal::Test).expect("a plan");
    let live = World::execute(&plan, &nothing());
    assert!(live.droplets.is_empty() && live.firewalls.is_empty() && live.ssh_keys.is_empty());
    assert_eq!((live.volumes.len(), live.images.len()), (1, 1));
}

#[test]
fn a_destroy_keeps_what_the_project_owns() {
    let live = applied(QUICKSTART, &nothing());
    let plan = super::super::destroy(&scope(QUICKSTART), &live, false, &[]).expect("a plan");
    assert_checked(&plan, &live);
    let left = World::execute(&plan, &live);
    assert!(left.droplets.is_empty() && left.firewalls.is_empty() && left.ssh_keys.is_empty());
    assert_eq!((left.volumes.len(), left.images.len()), (1, 1));
    let plan = super::super::destroy(&scope(QUICKSTART), &live, true, &[]).expect("a plan");
    assert_checked(&plan, &live);
    let live = World::execute(&plan, &live);
    assert_eq!(live.tags, Vec::<String>::new());
}

/// What changes, a line each, and what is done, without what stays.
fn changes(yaml: &str, live: &Live) -> String {
    brief(&plan(&desired(yaml), live, Goal::Apply).expect("a plan"))
}

fn brief(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan
        .notices
        .iter()
        .map(|note| format!("note: {note}"))
        .collect();
    for change in &plan.changes {
        if change.action == crate::plan::Action::Keep {
            continue;
        }
        let reasons: Vec<&str> = change
            .reasons
            .iter()
            .map(|reason| reason.text.as_str())
            .collect();
        lines.push(format!(
            "{} {} ({}) {}",
            change.action.sign(),
            change.address,
            change.name,
            reasons.join("; ")
        ));
        for field in &change.fields {
            let old = field.old.as_deref().unwrap_or("()");
            let new = field.new.as_deref().unwrap_or("()");
            let forces = if field.forces_replace { " !" } else { "" };
            lines.push(format!("    {}: {old} -> {new}{forces}", field.field));
        }
    }
    for activity in &plan.activities {
        lines.push(format!("> {} {}", activity.address, activity.after_run));
    }
    for step in &plan.steps {
        let waits: Vec<String> = plan
            .edges
            .iter()
            .filter(|edge| edge.to == step.id)
            .map(|edge| {
                let mark = if edge.kind == crate::plan::EdgeKind::After {
                    "~"
                } else {
                    ""
                };
                format!("{mark}{}", edge.from.0 + 1)
            })
            .collect();
        lines.push(format!(
            "{} {} {} <- [{}]",
            step.id.0 + 1,
            step.address,
            step.kind.title(),
            waits.join(" ")
        ));
    }
    lines.join("\n")
}

const KEPT: &str = r#"
version: 1
project: app
region: nyc3
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{ run: "true" }] }
volumes:
  data: { size: 1GiB }
droplets:
  web:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
"#;

fn kept() -> Live {
    applied(KEPT, &nothing())
}

#[test]
fn a_recipe_that_changed_replaces_what_is_made_from_it() {
    let yaml = KEPT.replace("run: \"true\"", "run: \"false\"");
    insta::assert_snapshot!(changes(&yaml, &kept()), @r"
    +/- snapshot.base (app-base-2bdc5e99635c) its recipe changed
        name: app-base-034c92e01a97 -> app-base-2bdc5e99635c
        from: () -> ubuntu-24-04-x64
        builder: () -> s-1vcpu-1gb
        provision[1]: () -> false
        prune: app-base-034c92e01a97 -> ()
    -/+ droplet.web (app-main-web) snapshot.base is built anew
        image: image 105 -> app-base-2bdc5e99635c !
    1 firewall create tags <- []
    2 snapshot.base create droplet <- [1]
    3 snapshot.base connect <- [2]
    4 snapshot.base provision 1/1 false <- [3]
    5 snapshot.base power off <- [4]
    6 snapshot.base take snapshot <- [5]
    7 snapshot.base tag snapshot <- [6]
    8 snapshot.base destroy droplet <- [~2 ~3 ~4 ~5 ~6 ~7]
    9 snapshot.base prune app-base-034c92e01a97 <- [7]
    10 droplet.web connect <- [7]
    11 droplet.web unmount /mnt/data <- [10]
    12 droplet.web detach <- [7 ~10 ~11]
    13 droplet.web destroy droplet <- [7 ~10 ~11 ~12]
    14 droplet.web create droplet <- [13]
    15 droplet.web connect <- [14]
    16 droplet.web attach <- [12 15]
    17 droplet.web mount /mnt/data <- [16]
    18 firewall delete tags <- [~8 ~9 ~13]
    ");
}

#[test]
fn an_older_snapshot_is_kept_when_asked_for() {
    let yaml = KEPT.replace("run: \"true\"", "run: \"false\"").replace(
        "size: s-1vcpu-1gb, provision",
        "keep: 2, size: s-1vcpu-1gb, provision",
    );
    let live = applied(&yaml, &kept());
    assert_eq!(live.images.len(), 2);
    // Keeping fewer prunes.
    let yaml = yaml.replace("keep: 2, ", "");
    insta::assert_snapshot!(changes(&yaml, &live), @r"
    ~ snapshot.base (app-base-2bdc5e99635c) `keep: 1`: older ones go
        prune: app-base-034c92e01a97 ($0.09/month) -> ()
    1 snapshot.base prune app-base-034c92e01a97 <- []
    ");
}

#[test]
fn a_volume_grows_under_a_droplet_that_stays() {
    let yaml = KEPT.replace("1GiB", "3GiB");
    insta::assert_snapshot!(changes(&yaml, &kept()), @r"
    ~ volume.data (app-data) the manifest asks for more
        size: 1GiB -> 3GiB
    1 volume.data resize volume <- []
    2 droplet.web connect <- []
    3 droplet.web mount /mnt/data <- [1 2]
    ");
}

#[test]
fn a_volume_moves_to_another_droplet() {
    let yaml = KEPT.replace(
        "    volumes: [{ volume: data, mount: /mnt/data }]\n",
        "  other:\n    image: { snapshot: base }\n    size: s-1vcpu-1gb\n    volumes: [{ volume: data, mount: /srv }]\n",
    );
    insta::assert_snapshot!(changes(&yaml, &kept()), @r"
    + droplet.other (app-main-other) 
        size: () -> s-1vcpu-1gb
        image: () -> app-base-034c92e01a97
        volume: () -> data at /srv
    ~ droplet.web (app-main-web) volume `app-data` is no longer mounted there
        volume: app-data -> ()
    1 droplet.web connect <- []
    2 droplet.web unmount /dev/disk/by-id/scsi-0DO_Volume_app-data <- [1]
    3 droplet.web detach <- [2]
    4 droplet.other create droplet <- []
    5 droplet.other connect <- [4]
    6 droplet.other attach <- [3 5]
    7 droplet.other mount /srv <- [6]
    ");
}

#[test]
fn tags_change_in_place() {
    let mut live = kept();
    live.droplets[0].tags.retain(|tag| tag != "dewpoint:app");
    live.droplets[0].tags.push("by-hand".to_owned());
    live.volumes[0].tags.retain(|tag| tag != "dewpoint");
    live.tags.clear();
    for volume in &mut live.volumes {
        volume.tags.sort();
    }
    let yaml = KEPT.replace("    volumes:", "    tags: [team]\n    volumes:");
    insta::assert_snapshot!(changes(&yaml, &live), @r"
    ~ volume.data (app-data) someone took tags of dewpoint from it
        tags: () -> dewpoint
    ~ droplet.web (app-main-web) someone took tags of dewpoint from it; its tags are not those of the manifest
        tags: by-hand -> dewpoint:app, team
    1 firewall create tags <- []
    2 volume.data update tags <- [1]
    3 droplet.web update tags <- [1]
    ");
}

#[test]
fn a_key_that_changed_replaces_droplets() {
    let mut desired = desired(KEPT);
    desired.ssh_key.fingerprint = "00:11".to_owned();
    let other_key = {
        let manifest = manifest(KEPT);
        let mut inputs = crate::desired::Inputs {
            ssh_key: desired.ssh_key.clone(),
            copies: std::collections::BTreeMap::new(),
            commits: std::collections::BTreeMap::new(),
        };
        inputs.ssh_key.generated = true;
        crate::desired::desired(&manifest, &inputs).expect("a desired state")
    };
    let plan = plan(&other_key, &kept(), Goal::Apply).expect("a plan");
    insta::assert_snapshot!(brief(&plan), @r"
    + ssh_key (app-main) 
        fingerprint: () -> 00:11
    - ssh_key (app-main) an earlier key of this environment
    -/+ droplet.web (app-main-web) what it was given when it was made has changed: SSH key, host key policy or snapshot
        spec: 0a7875eeabe5 -> e285851878e7 !
    1 ssh_key create ssh_key <- []
    2 ssh_key delete ssh_key <- []
    3 firewall create tags <- []
    4 droplet.web connect <- []
    5 droplet.web unmount /mnt/data <- [4]
    6 droplet.web detach <- [~4 ~5]
    7 droplet.web destroy droplet <- [~4 ~5 ~6]
    8 droplet.web create droplet <- [1 3 7]
    9 droplet.web connect <- [8]
    10 droplet.web attach <- [6 9]
    11 droplet.web mount /mnt/data <- [10]
    12 firewall delete tags <- [~7]
    ");
}

#[test]
fn what_leaves_the_manifest_goes() {
    let yaml = "version: 1\nproject: app\nregion: nyc3\nfirewall: none\n";
    insta::assert_snapshot!(changes(yaml, &kept()), @r"
    note: snapshot `app-base-034c92e01a97` of the project is not in the manifest and stays
    note: volume `app-data` of the project is not in the manifest and stays
    - firewall (app-main) the manifest says `firewall: none`
    - droplet.web (app-main-web) it is no longer in the manifest
    1 firewall delete firewall <- []
    2 droplet.web connect <- []
    3 droplet.web stop background steps <- [2]
    4 droplet.web unmount /dev/disk/by-id/scsi-0DO_Volume_app-data <- [2 ~3]
    5 droplet.web detach <- [~2 ~4]
    6 droplet.web destroy droplet <- [~2 ~3 ~4 ~5]
    7 firewall delete tags <- [~1 ~6]
    ");
}

#[test]
fn fewer_instances_are_wanted() {
    let three = KEPT.replace(
        "    volumes: [{ volume: data, mount: /mnt/data }]\n",
        "    count: 3\n",
    );
    let live = applied(&three, &nothing());
    insta::assert_snapshot!(changes(&three.replace("count: 3", "count: 2"), &live), @r"
    - droplet.web-3 (app-main-web-3) it is no longer in the manifest
    1 droplet.web-3 destroy droplet <- []
    ");
}

#[test]
fn a_firewall_that_someone_changed() {
    let mut live = kept();
    live.firewalls[0].inbound.retain(|rule| rule.ports != "22");
    let yaml = KEPT.replace(
        "snapshots:",
        "firewall: { inbound: [{ protocol: tcp, ports: \"8000\", from: [\"203.0.113.7/24\"] }] }\nsnapshots:",
    );
    insta::assert_snapshot!(changes(&yaml, &live), @r"
    ~ firewall (app-main) its rules are not those of the manifest
        inbound tcp 22: () -> 0.0.0.0/0, ::/0
        inbound tcp 8000: () -> 203.0.113.0/24
    1 firewall update firewall <- []
    ");
}

#[test]
fn leases_are_renewed_without_being_changes() {
    let live = kept();
    let half = 6 * 3_600;
    let desired = desired(KEPT);
    for (passed, steps) in [(half, 0), (half + 1, 3)] {
        let plan = crate::plan::plan(&desired, &live, &options(Goal::Apply), NOW + passed)
            .expect("a plan");
        assert!(!plan.has_changes());
        assert_eq!(plan.steps.len(), steps, "{}", text(&plan));
    }
    let later =
        crate::plan::plan(&desired, &live, &options(Goal::Apply), NOW + half + 1).expect("a plan");
    insta::assert_snapshot!(brief(&later), @r"
    note: droplets that expire before half of `ttl: 12h` is left are given all of it again
    1 firewall create tags <- []
    2 droplet.web update tags <- [1]
    3 firewall delete tags <- [~2]
    ");
    // One that is over says so, to the second.
    let at = |passed| {
        let plan = crate::plan::plan(&desired, &live, &options(Goal::Apply), NOW + passed);
        plan.expect("a plan").notices.join("\n")
    };
    assert!(!at(2 * half - 1).contains("expired"));
    assert!(at(2 * half).contains("the environment expired at 2026-09-22T02:13:20Z: "));
}

#[test]
fn what_an_earlier_run_left_is_finished_or_removed() {
    // The snapshot was taken and not tagged; its builder, a single-use droplet and a twin are there.
    let yaml = KEPT.replace("    volumes:", "    after_run: destroy\n    volumes:");
    let mut live = kept();
    live.images[0].tags.clear();
    let mut builder = live.droplets[0].clone();
    builder.id = 900;
    builder.name = "app-main-builder.base".to_owned();
    builder.volume_ids.clear();
    let mut twin = live.droplets[0].clone();
    twin.id = 901;
    twin.volume_ids.clear();
    let mut ghost = twin.clone();
    ghost.id = 902;
    ghost.tags.clear();
    live.droplets.extend([builder, twin, ghost]);
    insta::assert_snapshot!(changes(&yaml, &live), @r"
    note: droplet `app-main-web` (902) bears no tags: it is being destroyed, or someone else's, and left alone
    ~ snapshot.base (app-base-034c92e01a97) an earlier run took it and could not tag it any more
        tags: () -> dewpoint, dewpoint:app
    - snapshot.base (app-main-builder.base) an earlier run left this builder
    - droplet.web (app-main-web) it is still there, and `after_run: destroy` leaves none after its runs
    - droplet.web (app-main-web) an earlier run made it although one of its name was there
    > droplet.web is destroyed whatever happens
    1 snapshot.base destroy droplet <- []
    2 snapshot.base tag snapshot <- [~1]
    3 droplet.web connect <- []
    4 droplet.web unmount /mnt/data <- [3]
    5 droplet.web detach <- [~3 ~4]
    6 droplet.web destroy droplet <- [~3 ~4 ~5]
    7 droplet.web destroy droplet <- []
    8 droplet.web create droplet <- [2 6 7]
    9 droplet.web connect <- [8]
    10 droplet.web attach <- [5 9]
    11 droplet.web mount /mnt/data <- [10]
    12 droplet.web unmount /mnt/data <- [11]
    13 droplet.web detach <- [10 ~11 ~12]
    14 droplet.web destroy droplet <- [~8 ~9 ~10 ~11 ~12 ~13]
    15 firewall delete tags <- [~1 ~6 ~7 ~14]
    ");
}

#[test]
fn a_droplet_that_is_used_again() {
    let yaml = KEPT.replace(
        "    volumes:",
        "    run:\n      - { name: soft, command: \"false\", allow_failure: true }\n      - { name: hard, command: \"true\", when: once, artifacts: [a] }\n    after_run: destroy_on_success\n    volumes:",
    );
    insta::assert_snapshot!(changes(&yaml, &kept()), @r"
    > droplet.web is destroyed if every run succeeded
    1 droplet.web gather inventory <- []
    2 droplet.web connect <- []
    3 droplet.web mount /mnt/data <- [2]
    4 droplet.web prepare <- [1 2]
    5 droplet.web run soft <- [3 4]
    6 droplet.web run hard <- [3 4 ~5]
    7 droplet.web collect artifacts of hard <- [3 4 ~6]
    8 droplet.web unmount /mnt/data <- [6 ~7]
    9 droplet.web detach <- [6 ~7 ~8]
    10 droplet.web destroy droplet <- [6 ~7 ~8 ~9]
    11 firewall delete tags <- [~10]
    ");
}

/// Clean-up is done whatever happened: what hangs on success must not be.
#[test]
fn only_what_goes_whatever_happens_is_clean_up() {
    let ends = |after_run: &str, goal: Goal| -> Vec<bool> {
        let yaml = KEPT.replace(
            "    volumes:",
            &format!("    run: [{{ name: t, command: \"true\" }}]\n    after_run: {after_run}\n    volumes:"),
        );
        let plan = plan(&desired(&yaml), &applied(&yaml, &nothing()), goal).expect("a plan");
        plan.steps
            .iter()
            .filter(|step| {
                matches!(
                    step.kind,
                    StepKind::Unmount { .. }
                        | StepKind::Detach { .. }
                        | StepKind::DestroyDroplet { .. }
                ) && step.address == Address::droplet("web")
            })
            .map(|step| step.cleanup)
            .collect()
    };
    assert_eq!(ends("destroy", Goal::Apply), [true; 3]);
    assert_eq!(ends("destroy_on_success", Goal::Apply), [false; 3]);
    assert_eq!(ends("destroy_on_success", Goal::Test), [true; 3]);
}

#[test]
fn lowering_and_raising_the_count_leaves_the_first_alone() {
    let counted = |count: u32| {
        KEPT.replace(
            "    volumes: [{ volume: data, mount: /mnt/data }]\n",
            &format!("    count: {count}\n"),
        )
    };
    let one = applied(&counted(1), &nothing());
    let id = one.droplets[0].id;
    let two = applied(&counted(2), &one);
    assert_eq!(two.droplets.len(), 2);
    insta::assert_snapshot!(changes(&counted(2), &one), @r"
    + droplet.web[2] (app-main-web-2) 
        size: () -> s-1vcpu-1gb
        image: () -> app-base-034c92e01a97
    1 droplet.web[2] create droplet <- []
    ");
    insta::assert_snapshot!(changes(&counted(1), &two), @r"
    - droplet.web-2 (app-main-web-2) it is no longer in the manifest
    1 droplet.web-2 destroy droplet <- []
    ");
    let one = applied(&counted(1), &two);
    assert_eq!(one.droplets.len(), 1);
    assert_eq!(one.droplets[0].id, id);
}

#[test]
fn a_project_that_goes_takes_snapshots_along_that_were_never_tagged() {
    let mut live = kept();
    live.images[0].tags.clear();
    let mut other = live.images[0].clone();
    other.id += 1;
    other.name = "app-other-0123456789ab".to_owned();
    live.images.push(other);
    let plan = crate::plan::destroy(&scope(KEPT), &live, true, &[]).expect("a plan");
    assert_checked(&plan, &live);
    let after = World::execute(&plan, &live);
    let left: Vec<&str> = after
        .images
        .iter()
        .map(|image| image.name.as_str())
        .collect();
    assert_eq!(left, ["app-other-0123456789ab"]);
}

#[test]
fn a_droplet_whose_tag_was_taken_by_hand_is_destroyed_all_the_same() {
    let mut live = kept();
    live.droplets[0]
        .tags
        .retain(|tag| tag != "dewpoint:app:main");
    let plan = crate::plan::destroy(&scope(KEPT), &live, false, &[]).expect("a plan");
    assert_checked(&plan, &live);
    assert!(World::execute(&plan, &live).droplets.is_empty());
}

#[test]
fn a_volume_that_a_ghost_may_hold_is_not_planned_with() {
    let yaml = KEPT;
    let mut live = kept();
    // Either side may lag: the volume says so, the droplet does not.
    live.droplets[0].tags.clear();
    live.droplets[0].volume_ids.clear();
    let refusal = refused(plan(&desired(yaml), &live, Goal::Test));
    assert!(
        refusal.contains("droplet app-main-web, which bears no tags"),
        "{refusal}"
    );
    // And the other way round.
    let mut live = kept();
    live.volumes[0].droplet_ids.clear();
    assert!(plan(&desired(yaml), &live, Goal::Test).is_ok());
}

#[test]
fn a_test_uses_and_removes_what_is_there() {
    let yaml = KEPT.replace(
        "volumes:\n  data",
        "volumes:\n  own: { size: 1GiB, scope: environment }\n  data",
    );
    let live = applied(&yaml, &nothing());
    let plan = plan(&desired(&yaml), &live, Goal::Test).expect("a plan");
    insta::assert_snapshot!(brief(&plan), @r"
    - ssh_key (app-main) `test` empties the environment when it is done
    - firewall (app-main) `test` empties the environment when it is done
    - volume.own (app-main-own) `test` empties the environment when it is done
    - droplet.web (app-main-web) `test` empties the environment when it is done
    > droplet.web is destroyed whatever happens
    1 droplet.web connect <- []
    2 droplet.web mount /mnt/data <- [1]
    3 droplet.web unmount /mnt/data <- [2]
    4 droplet.web detach <- [~1 ~2 ~3]
    5 droplet.web destroy droplet <- [~1 ~2 ~3 ~4]
    6 volume.own delete volume <- []
    7 firewall delete firewall <- [~5]
    8 ssh_key delete ssh_key <- [~5]
    9 firewall delete tags <- [~5 ~6 ~7]
    ");
}

#[test]
fn a_destroy_unmounts_what_stays_and_finds_ghosts() {
    let mut live = kept();
    let mut ghost = live.droplets[0].clone();
    ghost.id = 902;
    ghost.name = "app-main-builder.base".to_owned();
    ghost.tags.clear();
    ghost.volume_ids.clear();
    live.droplets.push(ghost);
    let plan = crate::plan::destroy(&scope(KEPT), &live, false, &[]).expect("a plan");
    assert_checked(&plan, &live);
    insta::assert_snapshot!(brief(&plan), @r"
    - ssh_key (app-main) `destroy` empties the environment
    - firewall (app-main) `destroy` empties the environment
    - snapshot.base (app-main-builder.base) it bears our name and no tags: an earlier destroy is under way, or failed
        size: s-1vcpu-1gb -> ()
    - droplet.web (app-main-web) `destroy` empties the environment
        size: s-1vcpu-1gb -> ()
    1 snapshot.base destroy droplet <- []
    2 droplet.web connect <- []
    3 droplet.web unmount /mnt/data <- [2]
    4 droplet.web detach <- [~2 ~3]
    5 droplet.web destroy droplet <- [~2 ~3 ~4]
    6 firewall delete firewall <- [1 5]
    7 ssh_key delete ssh_key <- [1 5]
    8 firewall delete tags <- [~1 ~5 ~6]
    ");
}

#[test]
fn droplets_of_one_shape_are_made_together() {
    let yaml = KEPT.replace(
        "    volumes: [{ volume: data, mount: /mnt/data }]\n",
        "    count: 23\n",
    );
    let plan = plan(&desired(&yaml), &kept(), Goal::Apply).expect("a plan");
    let creates: Vec<String> = plan
        .steps
        .iter()
        .map(|step| step.kind.title())
        .filter(|title| title.starts_with("create"))
        .collect();
    assert_eq!(
        creates,
        [
            "create 10 droplets",
            "create 10 droplets",
            "create 2 droplets"
        ],
        "the one that is there is the first of them"
    );
}

/// A day, in seconds.
const DAY: i64 = 24 * 3_600;

/// The same, with every snapshot made so many days ago.
fn aged(live: &Live, days: i64) -> Live {
    let mut live = live.clone();
    for image in &mut live.images {
        image.created_at = super::NOW - days * DAY;
    }
    live
}

#[test]
fn a_snapshot_is_built_anew_when_it_is_too_old() {
    let yaml = KEPT.replace(
        "size: s-1vcpu-1gb, provision",
        "refresh: 30d, keep: 2, size: s-1vcpu-1gb, provision",
    );
    let young = aged(&kept(), 29);
    assert!(
        !plan(&desired(&yaml), &young, Goal::Apply)
            .expect("a plan")
            .has_changes()
    );
    let old = aged(&kept(), 31);
    let text = changes(&yaml, &old);
    assert!(
        text.contains("`app-base-034c92e01a97` is older than `refresh: 30d`"),
        "{text}"
    );
    assert!(text.contains("-/+ droplet.web"), "{text}");
    // Done, there is nothing to do: the older one is the second that is kept.
    let mut live = applied(&yaml, &old);
    assert_eq!(live.images.len(), 2);
    live.images[1].created_at = super::NOW;
    let text = changes(&yaml, &live);
    assert_eq!(text, "");
    // A run that ended before the droplet was replaced is finished by the next one.
    let mut between = live.clone();
    between.droplets[0].image_id = live.images[0].id;
    let text = changes(&yaml, &between);
    assert!(text.contains("-/+ droplet.web"), "{text}");
    // So is one that was taken anew and not tagged any more.
    let mut untagged = live.clone();
    untagged.images[1].tags.clear();
    let text = changes(&yaml, &untagged);
    assert!(text.contains("snapshot.base tag snapshot"), "{text}");
    assert!(!text.contains("take snapshot"), "{text}");
    // Without the wish for age, a further copy of the same recipe is of no use.
    let once = yaml.replace("refresh: 30d, ", "");
    assert!(
        changes(&once, &live).contains("prune"),
        "{}",
        changes(&once, &live)
    );
}

#[test]
fn what_is_made_from_an_aged_snapshot_is_built_anew_too() {
    let yaml = KEPT.replace(
        "size: s-1vcpu-1gb, provision: [{ run: \"true\" }] }",
        "refresh: 30d, size: s-1vcpu-1gb }\n  top: { from: { snapshot: base }, size: s-1vcpu-1gb, provision: [{ run: \"true\" }] }",
    ).replace("image: { snapshot: base }", "image: { snapshot: top }");
    let mut live = aged(&applied(&yaml, &nothing()), 31);
    let text = changes(&yaml, &live);
    assert!(
        text.contains("the snapshot it is made from is built anew"),
        "{text}"
    );
    // A run that ended in between: the lower layer is new, the upper one is not.
    for image in &mut live.images {
        if image.name.starts_with("app-base-") {
            image.created_at = super::NOW - DAY;
        }
    }
    let text = changes(&yaml, &live);
    assert!(text.contains("+/- snapshot.top"), "{text}");
    assert!(!text.contains("snapshot.base create"), "{text}");
    let mut done = applied(&yaml, &live);
    for image in &mut done.images {
        if image.name.starts_with("app-top-") {
            image.created_at = super::NOW;
        }
    }
    assert_eq!(changes(&yaml, &done), "");
}

#[test]
fn a_snapshot_is_copied_to_further_regions_and_nobody_waits_for_it() {
    let yaml = KEPT.replace(
        "size: s-1vcpu-1gb, provision",
        "regions: [sfo3, nyc3], size: s-1vcpu-1gb, provision",
    );
    let empty = nothing();
    let first = plan(&desired(&yaml), &empty, Goal::Apply).expect("a plan");
    let position = |title: &str| {
        let step = first.steps.iter().find(|step| step.kind.title() == title);
        step.expect(title).id
    };
    let copy = position("transfer to sfo3");
    assert!(first.edges.iter().all(|edge| edge.from != copy));
    let live = applied(&yaml, &empty);
    assert_eq!(live.images[0].regions, ["nyc3", "sfo3"]);
    assert_eq!(changes(&yaml, &live), "");

    // One more region is a change in place.
    let mut here = live.clone();
    here.images[0].regions.pop();
    insta::assert_snapshot!(changes(&yaml, &here), @r"
    ~ snapshot.base (app-base-034c92e01a97) it is to be in sfo3 too
        region: () -> sfo3
    1 snapshot.base transfer to sfo3 <- []
    ");
    // One that is elsewhere alone is copied here first, and droplets wait for that.
    let mut there = live.clone();
    there.images[0].regions = vec!["sfo3".to_owned()];
    there.droplets.clear();
    for volume in &mut there.volumes {
        volume.droplet_ids.clear();
    }
    let text = changes(&yaml, &there);
    assert!(text.contains("snapshot.base transfer to nyc3"), "{text}");
    let again = plan(&desired(&yaml), &there, Goal::Apply).expect("a plan");
    let waits = again.edges.iter().any(|edge| {
        let title = |id| again.step(id).expect("a step").kind.title();
        title(edge.from) == "transfer to nyc3" && title(edge.to) == "create droplet"
    });
    assert!(waits, "{text}");
    // A region that is not there is refused before anything is made.
    let mars = desired(&yaml.replace("sfo3", "mars1"));
    let refused = refused(plan(&mars, &empty, Goal::Apply));
    assert!(refused.contains("no region `mars1`"), "{refused}");
}

#[test]
fn volumes_of_an_environment_bear_its_expiry_and_those_of_a_project_none() {
    let yaml = "version: 1\nproject: app\nregion: nyc3\nttl: 4h\nvolumes:\n  data: { size: 1GiB }\n  scratch: { size: 1GiB, scope: environment }\n";
    let live = applied(yaml, &nothing());
    let expiries = |live: &Live| {
        let volumes = live.volumes.iter();
        let mut expiries: Vec<(String, Option<i64>)> = volumes
            .map(|v| {
                let at = crate::live::ownership::expires_of(&v.tags);
                (v.name.clone(), at.map(|at| at - NOW))
            })
            .collect();
        expiries.sort();
        expiries
    };
    let of = |at| {
        [
            ("app-data".to_owned(), None),
            ("app-main-scratch".to_owned(), Some(at)),
        ]
    };
    assert_eq!(expiries(&live), of(14_400));
    // Renewed once half of it has passed, which is no change; and given to one that has none.
    let desired = desired(yaml);
    let mut bare = live.clone();
    for volume in &mut bare.volumes {
        volume
            .tags
            .retain(|tag| !tag.starts_with("dewpoint-expires:"));
    }
    for (live, passed, at) in [
        (&live, 7_200, 14_400),
        (&live, 7_201, 21_601),
        (&bare, 60, 14_460),
    ] {
        let plan =
            crate::plan::plan(&desired, live, &options(Goal::Apply), NOW + passed).expect("a plan");
        assert!(!plan.has_changes(), "{}", text(&plan));
        super::assert_checked(&plan, live);
        assert_eq!(expiries(&World::execute(&plan, live)), of(at));
    }
    // Whatever a test made is gone, its expiry too.
    let test = crate::plan::plan(&desired, &nothing(), &options(Goal::Test), NOW).expect("a plan");
    let after = World::execute(&test, &nothing());
    assert!(
        after
            .tags
            .iter()
            .all(|tag| !tag.starts_with("dewpoint-expires:"))
    );
}
