//! Volumes that somebody else has: what would take them away is refused. A droplet that may be being
//! destroyed is somebody else's until it is gone.

use super::world::{World, nothing};
use super::*;
use crate::live::{DropletStatus, LiveDroplet, LiveVolume, LiveVolumeSnapshot};
use crate::plan::{StepKind, destroy};

const OWN: &str = r#"
version: 1
project: app
region: nyc3
firewall: none
volumes:
  scratch: { size: 1GiB, scope: environment }
droplets:
  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

const MOUNTED: &str = r#"
version: 1
project: app
region: nyc3
firewall: none
volumes:
  scratch: { size: 1GiB, scope: environment }
droplets:
  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, volumes: [{ volume: scratch, mount: /mnt/s }] }
"#;

const COPIES: &str = r#"
version: 1
project: app
region: nyc3
firewall: none
volumes:
  data: { size: 1GiB }
droplets:
  use:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    volumes: [{ volume: data, mount: /mnt/data, access: clone }]
"#;

fn without_volumes() -> String {
    OWN.replace(
        "volumes:\n  scratch: { size: 1GiB, scope: environment }\n",
        "",
    )
}

pub(super) fn droplet(id: u64, name: &str, tags: &[&str]) -> LiveDroplet {
    LiveDroplet {
        id,
        name: name.to_owned(),
        status: DropletStatus::Active,
        region: "nyc3".to_owned(),
        size: "c-2".to_owned(),
        image_id: 1,
        image_slug: None,
        public_ipv4: None,
        private_ipv4: None,
        volume_ids: Vec::new(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        vpc: None,
        created_at: 0,
    }
}

pub(super) fn volume(id: &str, name: &str, tags: &[&str]) -> LiveVolume {
    LiveVolume {
        id: id.to_owned(),
        name: name.to_owned(),
        region: "nyc3".to_owned(),
        size_gib: 1,
        droplet_ids: Vec::new(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        created_at: 0,
    }
}

fn give(live: &mut Live, volume: &str, holder: u64) {
    for droplet in &mut live.droplets {
        droplet.volume_ids.clear();
    }
    let mut volumes = live.volumes.iter_mut();
    let volume = volumes.find(|found| found.name == volume);
    volume.expect("a volume").droplet_ids = vec![holder];
}

/// What each command says that would delete the volume.
fn all_refused(live: &Live) -> Vec<String> {
    vec![
        refused(plan(&desired(&without_volumes()), live, Goal::Apply)),
        refused(plan(&desired(&without_volumes()), live, Goal::Test)),
        refused(plan(&desired(OWN), live, Goal::Test)),
        refused(plan(&desired(MOUNTED), live, Goal::Test)),
        refused(destroy(&scope(OWN), live, false, &[])),
        refused(destroy(&scope(&without_volumes()), live, true, &[])),
    ]
}

#[test]
fn a_volume_of_ours_that_a_foreign_droplet_has_is_not_deleted() {
    let live = applied(OWN, &nothing());
    let foreigners = [
        droplet(900, "box", &["theirs"]),
        droplet(900, "box", &[]),
        // What is being destroyed looks so, too: tags are gone at once.
        droplet(900, "app-main-old", &[]),
        droplet(900, "app-main-builder.volume-x", &[]),
        droplet(
            900,
            "app-pr-1-web",
            &["dewpoint", "dewpoint:app", "dewpoint:app:pr-1"],
        ),
        droplet(
            900,
            "web",
            &["dewpoint", "dewpoint:other", "dewpoint:other:main"],
        ),
    ];
    for foreigner in foreigners {
        let name = format!("droplet {}", foreigner.name);
        let mut listed = live.clone();
        give(&mut listed, "app-main-scratch", 900);
        let mut looked_up = listed.clone();
        listed.droplets.push(foreigner.clone());
        looked_up.holders.push(foreigner);
        for live in [listed, looked_up] {
            for refusal in all_refused(&live) {
                assert!(
                    refusal.contains("volume.scratch: it is attached to"),
                    "{refusal}"
                );
                assert!(
                    refusal.contains("dewpoint::plan::attached_elsewhere"),
                    "{refusal}"
                );
                assert!(refusal.contains(&name), "{refusal}");
            }
        }
    }
    // Only the droplet says so: either side may lag behind.
    let mut lagging = live.clone();
    let id = lagging.volumes[0].id.clone();
    let mut holder = droplet(900, "box", &["theirs"]);
    holder.volume_ids = vec![id];
    lagging.droplets.push(holder);
    assert_eq!(all_refused(&lagging).len(), 6);
    // Nobody knows yet who that is: whoever asks is told, and then looks.
    let mut unknown = live;
    give(&mut unknown, "app-main-scratch", 900);
    for refusal in all_refused(&unknown) {
        assert!(refusal.contains("droplet 900"), "{refusal}");
    }
}

#[test]
fn what_may_be_being_destroyed_has_its_volume_until_it_is_gone() {
    let live = applied(OWN, &nothing());
    let gone = |live: &Live| {
        accounts::looked_up(&Live {
            holders: Vec::new(),
            ..live.clone()
        })
    };
    // Names of the manifest, of builders, and of what it no longer has.
    for name in ["app-main-web", "app-main-old", "app-main-builder.volume-x"] {
        let mut live = live.clone();
        live.droplets.clear();
        give(&mut live, "app-main-scratch", 900);
        live.holders = vec![droplet(900, name, &[])];
        for refusal in all_refused(&live) {
            assert!(refusal.contains("half a minute"), "{refusal}");
            let who = format!("it is attached to droplet {name}, which bears no tags");
            assert!(refusal.contains(&who), "{refusal}");
        }
        let live = gone(&live);
        let plans = [
            plan(&desired(&without_volumes()), &live, Goal::Apply),
            plan(&desired(OWN), &live, Goal::Test),
            destroy(&scope(OWN), &live, false, &[]),
        ];
        for plan in plans {
            let plan = plan.unwrap_or_else(|refusals| panic!("{name}: {refusals:?}"));
            assert_checked(&plan, &live);
            let after = World::execute(&plan, &live);
            assert!(after.volumes.is_empty(), "{name}: {}", text(&plan));
        }
    }
    // A destroy itself removes what has a droplet's exact name, and the volume once that is gone.
    let mut named = live.clone();
    named.droplets.clear();
    give(&mut named, "app-main-scratch", 900);
    named.droplets = vec![droplet(900, "app-main-web", &[])];
    let plan_of = destroy(&scope(OWN), &named, false, &[]).expect("a plan");
    assert_checked(&plan_of, &named);
    let after = World::execute(&plan_of, &named);
    assert!(after.volumes.is_empty() && after.droplets.is_empty());
    let _ = refused(plan(&desired(OWN), &named, Goal::Test));

    // The droplet of a clone was deleted a moment ago.
    let mut live = applied(COPIES, &nothing());
    let leaving = live.droplets.pop().expect("a droplet");
    live.holders = vec![LiveDroplet {
        tags: Vec::new(),
        ..leaving
    }];
    for goal in [Goal::Apply, Goal::Test] {
        let refusal = refused(plan(&desired(COPIES), &live, goal));
        assert!(refusal.contains("attached_elsewhere"), "{refusal}");
        let live = gone(&live);
        let plan = plan(&desired(COPIES), &live, goal).expect("a plan");
        let after = World::execute(&plan, &live);
        let clones = after.volumes.len() - 1;
        assert_eq!(clones, if goal == Goal::Apply { 2 } else { 0 });
    }
    let live = gone(&live);
    let plan = destroy(&scope(COPIES), &live, false, &[]).expect("a plan");
    assert_checked(&plan, &live);
    assert_eq!(World::execute(&plan, &live).volumes.len(), 1);
}

#[test]
fn a_clone_has_no_name_that_is_taken() {
    let names: Vec<String> = desired(COPIES)
        .droplets
        .iter()
        .flat_map(|droplet| &droplet.mounts)
        .filter_map(|mount| Some(mount.copy.as_ref()?.name.as_str().to_owned()))
        .collect();
    let mut live = nothing();
    live.volumes = vec![volume("v-1", &names[0], &["theirs"])];
    for goal in [Goal::Apply, Goal::Test] {
        let refusal = refused(plan(&desired(COPIES), &live, goal));
        assert!(refusal.contains("dewpoint::plan::name_taken"), "{refusal}");
        assert!(refusal.contains(&names[0]), "{refusal}");
        assert!(refusal.starts_with("droplet.use[1]: "), "{refusal}");
    }
    // In another region a name is another's.
    live.volumes[0].region = "sfo3".to_owned();
    let _ = plan(&desired(COPIES), &live, Goal::Apply).expect("a plan");
    // A leftover of ours goes first.
    let ours = ["dewpoint", "dewpoint:app", "dewpoint:app:main"];
    live.volumes = vec![volume("v-1", &names[0], &ours)];
    let after = World::execute(
        &plan(&desired(COPIES), &live, Goal::Apply).expect("a plan"),
        &live,
    );
    assert_eq!(after.volumes.len(), 3);
}

fn kinds(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter();
    steps
        .map(|step| format!("{} {}", step.kind.title(), step.address))
        .collect()
}

#[test]
fn a_test_tags_nothing_that_it_deletes() {
    let mut live = applied(OWN, &nothing());
    live.volumes[0].tags.retain(|tag| !tag.contains("spec"));
    let plan = plan(&desired(OWN), &live, Goal::Test).expect("a plan");
    let tags = |step: &&crate::plan::Step| {
        matches!(step.kind, StepKind::UpdateTags { .. })
            && step.address.to_string() == "volume.scratch"
    };
    assert!(
        !plan.steps.iter().any(|step| tags(&step)),
        "{}",
        text(&plan)
    );
    let apply = super::plan(&desired(OWN), &live, Goal::Apply).expect("a plan");
    assert!(
        apply.steps.iter().any(|step| tags(&step)),
        "{}",
        text(&apply)
    );
}

#[test]
fn a_test_leaves_none_of_the_environments_volumes_and_snapshots_of_them() {
    let ours = ["dewpoint", "dewpoint:app", "dewpoint:app:main"];
    let mut live = applied(OWN, &nothing());
    let mut elsewhere = volume("v-9", "app-main-scratch", &ours);
    elsewhere.region = "sfo3".to_owned();
    live.volumes.push(elsewhere);
    live.volume_snapshots = vec![LiveVolumeSnapshot {
        id: "s-9".to_owned(),
        name: "app-main-scratch-snap-1".to_owned(),
        volume_id: "gone".to_owned(),
        regions: vec!["nyc3".to_owned()],
        min_disk_gib: 1,
        size_mb: 1,
        tags: ours.iter().map(|tag| (*tag).to_owned()).collect(),
        created_at: 0,
    }];
    let test = plan(&desired(OWN), &live, Goal::Test).expect("a plan");
    let after = World::execute(&test, &live);
    assert!(after.volumes.is_empty(), "{}", text(&test));
    assert!(after.volume_snapshots.is_empty(), "{}", text(&test));
    let left = destroy(&scope(OWN), &after, false, &[]).expect("a plan");
    assert!(!left.has_changes(), "{}", text(&left));
    // An apply takes nothing that still may hold something, and says that it is there.
    let apply = plan(&desired(OWN), &live, Goal::Apply).expect("a plan");
    assert!(
        apply
            .notices
            .iter()
            .any(|notice| notice.contains("in sfo3 stays")),
        "{:?}",
        apply.notices
    );
    assert!(
        !kinds(&apply)
            .iter()
            .any(|kind| kind.contains("delete volume"))
    );
}

const TURNS: &str = r#"
version: 1
project: app
region: nyc3
firewall: none
volumes:
  data: { size: 1GiB }
droplets:
  a: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, volumes: [{ volume: data, mount: /mnt/d }] }
  b: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, volumes: [{ volume: data, mount: /mnt/d }] }
"#;

#[test]
fn no_turn_of_a_volume_and_no_file_system_work_is_planned_on_a_droplet_that_is_off() {
    let off = |live: &Live, status: &DropletStatus| {
        let mut live = live.clone();
        for droplet in &mut live.droplets {
            droplet.status = status.clone();
        }
        live
    };
    let one = TURNS.replace("  b: { image", "  # b: { image");
    for status in [
        DropletStatus::Off,
        DropletStatus::Other("archive".to_owned()),
    ] {
        let live = off(&applied(TURNS, &nothing()), &status);
        let refusal = refused(plan(&desired(TURNS), &live, Goal::Apply));
        assert!(refusal.contains("dewpoint::plan::not_running"), "{refusal}");
        // It grows, so that its file system must.
        let live = off(&applied(&one, &nothing()), &status);
        let grown = one.replace("1GiB", "2GiB");
        let refusal = refused(plan(&desired(&grown), &live, Goal::Apply));
        assert!(refusal.contains("dewpoint::plan::not_running"), "{refusal}");
        // Nothing is to be done there: that it is off is told.
        let plan = plan(&desired(&one), &live, Goal::Apply).expect("a plan");
        assert!(!plan.has_steps(), "{}", text(&plan));
    }
}

#[test]
fn the_checker_sees_what_is_taken_from_others_and_what_is_not() {
    // Without the project's tag it is the environment's all the same.
    let mut live = applied(OWN, &nothing());
    live.volumes[0].tags = vec!["dewpoint:app:main".to_owned()];
    let gone = destroy(&scope(OWN), &live, false, &[]).expect("a plan");
    assert_checked(&gone, &live);
    // Another environment's is not ours, although it is of the project.
    let mut theirs = live.clone();
    theirs.volumes[0].tags = vec!["dewpoint:app".to_owned(), "dewpoint:app:pr-1".to_owned()];
    let violations = check::check(&gone, &theirs).expect_err("violations");
    assert!(
        violations[0].to_string().contains("is not ours"),
        "{violations:?}"
    );
    // A droplet that holds it: also one that may be being destroyed.
    let mut held = live.clone();
    held.volumes[0].droplet_ids = vec![900];
    let holders = [droplet(900, "box", &[]), droplet(900, "app-main-old", &[])];
    for holder in [None].into_iter().chain(holders.map(Some)) {
        held.holders = holder.into_iter().collect();
        let violations = check::check(&gone, &held).expect_err("violations");
        assert!(
            violations[0]
                .to_string()
                .contains("its volume is still attached"),
            "{violations:?}"
        );
    }

    // A clone that its droplet no longer mounts leaves it before it goes, and the droplet after both.
    let live = applied(COPIES, &nothing());
    let none = COPIES.replace(
        "    volumes: [{ volume: data, mount: /mnt/data, access: clone }]\n",
        "",
    );
    let test = super::plan(&desired(&none), &live, Goal::Test).expect("a plan");
    assert_eq!(World::execute(&test, &live).volumes.len(), 1);
}

const BASED: &str = r#"
version: 1
project: app
region: nyc3
firewall: none
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{ run: "true" }] }
droplets:
  web: { image: { snapshot: base }, size: s-1vcpu-1gb }
"#;

#[test]
fn droplets_on_a_twin_of_a_snapshot_stay_when_that_is_pruned() {
    // Two environments built one recipe at the same time; this one's droplet stands on the older.
    let mut live = applied(BASED, &nothing());
    let mut twin = live.images[0].clone();
    twin.id += 1_000;
    twin.created_at += 1_000;
    live.images.push(twin);
    let first = plan(&desired(BASED), &live, Goal::Apply).expect("a plan");
    assert!(
        kinds(&first).iter().any(|kind| kind.starts_with("prune ")),
        "{}",
        text(&first)
    );
    let live = World::execute(&first, &live);
    assert_eq!(live.images.len(), 1);
    let second = plan(&desired(BASED), &live, Goal::Apply).expect("a plan");
    assert!(!second.has_changes(), "{}", text(&second));
    assert_eq!(
        World::execute(&second, &live).droplets[0].id,
        live.droplets[0].id
    );
    // A recipe that is another makes it anew, also when what it stands on is gone.
    let other = BASED.replace("\"true\"", "\"false\"");
    let mut built = applied(&other, &nothing());
    built.droplets.clone_from(&live.droplets);
    let anew = plan(&desired(&other), &built, Goal::Apply).expect("a plan");
    assert!(anew.has_changes(), "{}", text(&anew));
}

#[test]
fn a_clone_that_lost_its_tag_goes_before_another_takes_its_name() {
    let yaml = COPIES.replace("count: 2", "run: [{ name: r, command: \"true\" }]");
    let yaml = format!("{yaml}    after_run: destroy\n");
    let kept = yaml.replace("after_run: destroy", "after_run: keep");
    let mut live = applied(&kept, &nothing());
    for volume in &mut live.volumes {
        volume
            .tags
            .retain(|tag| !tag.starts_with("dewpoint-clone:"));
    }
    let plan = plan(&desired(&yaml), &live, Goal::Apply).expect("a plan");
    let step = |wanted: fn(&StepKind) -> bool| {
        let found = plan.steps.iter().find(|step| wanted(&step.kind));
        found.expect("a step").id
    };
    let gone = step(|kind| matches!(kind, StepKind::DeleteVolume { .. }));
    let made = step(|kind| matches!(kind, StepKind::CloneVolume { .. }));
    assert!(
        plan.edges
            .iter()
            .any(|edge| (edge.from, edge.to) == (gone, made)),
        "{}",
        text(&plan)
    );
}

#[test]
fn the_end_of_a_project_takes_no_volume_from_a_foreign_droplet_whichever_environments_it_is() {
    let mut live = nothing();
    let pr = ["dewpoint", "dewpoint:app", "dewpoint:app:pr-1"];
    live.volumes = vec![volume("v-1", "app-pr-1-scratch", &pr)];
    live.volumes[0].droplet_ids = vec![900];
    live.holders = vec![droplet(900, "box", &["theirs"])];
    let refusal = refused(destroy(&scope(OWN), &live, true, &[]));
    assert!(
        refusal.contains("dewpoint::plan::attached_elsewhere"),
        "{refusal}"
    );
    live.volumes[0].droplet_ids.clear();
    let plan = destroy(&scope(OWN), &live, true, &[]).expect("a plan");
    assert!(World::execute(&plan, &live).volumes.is_empty());
}

#[test]
fn a_destroy_takes_the_projects_volume_from_what_is_being_destroyed() {
    let data = MOUNTED.replace(", scope: environment", "");
    let mut live = applied(&data, &nothing());
    live.droplets[0].tags.clear();
    let gone = destroy(&scope(&data), &live, false, &[]).expect("a plan");
    assert_checked(&gone, &live);
    let after = World::execute(&gone, &live);
    assert!(after.droplets.is_empty());
    assert_eq!(after.volumes.len(), 1);
}
