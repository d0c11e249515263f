//! Existing volumes and snapshots that become what an address stands for.

use super::world::{World, nothing};
use super::*;
use crate::live::{LiveImage, LiveVolume};
use crate::plan::adopt::{Adoption, Wanted, adopt, judge_filesystem};
use crate::plan::{RefusalKind, destroy};

const MANIFEST: &str = "
version: 1
project: app
region: nyc3
volumes:
  models: { size: 20GiB }
  scratch: { size: 1GiB, scope: environment }
  theirs: { existing: lent }
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{ run: \"true\" }] }
  top: { from: { snapshot: base }, size: s-1vcpu-1gb, provision: [{ run: \"true\" }] }
droplets:
  web:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: models, mount: /mnt/models }]
    run: [{ name: r, command: \"true\" }]
    after_run: destroy
";

fn volume(id: &str, name: &str, size_gib: u32, tags: &[&str]) -> LiveVolume {
    LiveVolume {
        id: id.to_owned(),
        name: name.to_owned(),
        region: "nyc3".to_owned(),
        size_gib,
        droplet_ids: vec![],
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        created_at: 1,
    }
}

fn image(id: u64, name: &str, tags: &[&str]) -> LiveImage {
    LiveImage {
        id,
        name: name.to_owned(),
        status: "available".to_owned(),
        regions: vec!["nyc3".to_owned()],
        min_disk_gib: 25,
        size_mb: 2_340,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        created_at: 1,
    }
}

fn foreign() -> Live {
    let mut live = nothing();
    live.volumes = vec![
        volume("vol-1", "my-models", 20, &["team-ml"]),
        volume("vol-2", "lent", 5, &[]),
        volume("vol-3", "other-data", 5, &["dewpoint", "dewpoint:other"]),
        volume(
            "vol-4",
            "pr-data",
            5,
            &["dewpoint", "dewpoint:app", "dewpoint:app:pr-1"],
        ),
    ];
    live.images = vec![
        image(7, "golden", &[]),
        image(8, "twice", &[]),
        image(9, "twice", &[]),
        image(
            10,
            "other-base-0123456789ab",
            &["dewpoint", "dewpoint:other"],
        ),
    ];
    live
}

fn asked(yaml: &str, live: &Live, address: &str, id: &str) -> Result<Adoption, Refusals> {
    let address = address.parse().expect("an address");
    let wanted = Wanted {
        address: &address,
        id,
        attached: false,
    };
    adopt(&desired(yaml), live, wanted, NOW)
}

/// What exists once an adoption was carried out.
fn tagged(live: &Live, adoption: &Adoption) -> Live {
    let mut live = live.clone();
    let change = |tags: &mut Vec<String>| {
        tags.retain(|tag| !adoption.remove.contains(tag));
        tags.extend(adoption.add.iter().cloned());
        tags.sort();
    };
    for volume in live.volumes.iter_mut().filter(|v| v.id == adoption.id) {
        change(&mut volume.tags);
    }
    for image in live.images.iter_mut() {
        if image.id.to_string() == adoption.id {
            change(&mut image.tags);
        }
    }
    live.tags = adoption.add.clone();
    live
}

fn why(result: Result<Adoption, Refusals>) -> String {
    refused(result.map(|adoption| panic!("{adoption:?}")))
}

#[test]
fn an_adopted_volume_is_the_addresss_and_keeps_its_name() {
    let live = foreign();
    for id in ["vol-1", "my-models"] {
        let adoption = asked(MANIFEST, &live, "volume.models", id).expect("adopted");
        insta::allow_duplicates! {
            insta::assert_snapshot!(
                crate::report::adoption::render(&adoption, "app", "main", Palette::PLAIN), @r"
                # volume.models will be `my-models`
                  ~ my-models (vol-1): 20GiB in nyc3
                      + tag dewpoint
                      + tag dewpoint-name:app-models
                      + tag dewpoint-spec:fc994b76a9ea
                      + tag dewpoint:app

                It keeps its name; the tag remembers that here it is app-models.
                It will be the project's: `destroy --project` deletes it with all it holds.
                The next apply uses it as it is.
                ");
        }
        let live = tagged(&live, &adoption);
        let next = plan(&desired(MANIFEST), &live, Goal::Apply).expect("a plan");
        let change = next.changes.iter().find(|c| c.address == adoption.address);
        let change = change.expect("the volume");
        assert_eq!(
            (change.action, change.id.as_deref()),
            (crate::plan::Action::Keep, Some("vol-1"))
        );
        // Once more is nothing, and it goes with the project.
        let again = asked(MANIFEST, &live, "volume.models", id).expect("adopted");
        assert!(again.is_done(), "{again:?}");
        let gone = destroy(&scope(MANIFEST), &live, true, &[]).expect("a plan");
        assert_checked(&gone, &live);
        let after = World::execute(&gone, &live);
        assert!(after.volumes.iter().all(|volume| volume.id != "vol-1"));
        // Another project still bears this one.
        assert_eq!(after.tags, ["dewpoint"]);
    }
    let larger = MANIFEST.replace("20GiB", "80GiB");
    let adoption = asked(&larger, &live, "volume.models", "vol-1").expect("adopted");
    let text = crate::report::adoption::render(&adoption, "app", "main", Palette::PLAIN);
    assert!(
        text.contains("The next apply changes it: size 20GiB -> 80GiB."),
        "{text}"
    );
    let scratch = asked(MANIFEST, &live, "volume.scratch", "my-models");
    assert!(why(scratch).contains("cannot shrink"));
}

#[test]
fn an_adopted_snapshot_stands_for_the_recipe_as_it_is() {
    let live = foreign();
    let adoption = asked(MANIFEST, &live, "snapshot.base", "golden").expect("adopted");
    insta::assert_snapshot!(
        crate::report::adoption::render(&adoption, "app", "main", Palette::PLAIN), @r"
        # snapshot.base will be `golden`
          ~ golden (7): 2.3 GB in nyc3, for disks of 25GiB and more
              + tag dewpoint
              + tag dewpoint-name:app-base-034c92e01a97
              + tag dewpoint:app

        It will stand for the recipe as the manifest has it now: what is really on it is not looked at.
        It keeps its name; the tag remembers that here it is app-base-034c92e01a97.
        It will be the project's: `keep` counts it, and `destroy --project` deletes it.
        The next apply uses it as it is.
        ");
    let live = tagged(&live, &adoption);
    let next = plan(&desired(MANIFEST), &live, Goal::Apply).expect("a plan");
    let keeps: Vec<String> = next
        .changes
        .iter()
        .filter(|change| matches!(change.address, crate::address::Address::Snapshot(_)))
        .map(|change| format!("{:?} {} {}", change.action, change.address, change.name))
        .collect();
    insta::assert_snapshot!(keeps.join("\n"), @r"
    Keep snapshot.base golden
    Create snapshot.top app-top-d578a70c92d5
    ");
    let again = asked(MANIFEST, &live, "snapshot.base", "7").expect("adopted");
    assert!(again.is_done(), "{again:?}");

    // Another recipe makes it an older one, which goes once the new one counts.
    let edited = MANIFEST.replacen("\"true\"", "\"false\"", 1);
    let rebuilt = plan(&desired(&edited), &live, Goal::Apply).expect("a plan");
    let built = World::execute(&rebuilt, &live);
    assert!(
        built.images.iter().all(|image| image.id != 7),
        "{:?}",
        built.images
    );
    assert!(
        !built
            .tags
            .iter()
            .any(|tag| tag.starts_with("dewpoint-name:"))
    );
    // Or it is said of the new one, too.
    let moved = asked(&edited, &live, "snapshot.base", "7").expect("adopted");
    assert_eq!((moved.add.len(), moved.remove.len()), (1, 1), "{moved:?}");
    let gone = destroy(&scope(MANIFEST), &live, true, &[]).expect("a plan");
    assert_checked(&gone, &live);
    assert_eq!(World::execute(&gone, &live).tags, ["dewpoint"]);
}

#[test]
fn what_is_anothers_or_would_not_fit_is_refused() {
    let mut live = foreign();
    let cases = [
        ("volume.models", "other-data"),
        ("volume.models", "pr-data"),
        ("volume.models", "my-model"),
        ("volume.modles", "my-models"),
        ("volume.theirs", "my-models"),
        ("volume.models", "lent"),
        ("droplet.web", "1"),
        ("snapshot.base", "twice"),
        ("snapshot.base", "10"),
        ("snapshot.bsae", "golden"),
        ("snapshot.base", "silver"),
    ];
    let mut text: Vec<String> = cases
        .iter()
        .map(|(address, id)| why(asked(MANIFEST, &live, address, id)))
        .collect();

    live.volumes[0].droplet_ids = vec![42];
    text.push(why(asked(MANIFEST, &live, "volume.models", "vol-1")));
    let meant = Wanted {
        address: &"volume.models".parse().expect("an address"),
        id: "vol-1",
        attached: true,
    };
    adopt(&desired(MANIFEST), &live, meant, NOW).expect("it was said so");
    live.volumes[0].droplet_ids.clear();
    live.volumes[0].region = "sfo3".to_owned();
    text.push(why(asked(MANIFEST, &live, "volume.models", "vol-1")));
    live.volumes[0].region = "nyc3".to_owned();
    live.volumes[0].size_gib = 200;
    text.push(why(asked(MANIFEST, &live, "volume.models", "vol-1")));
    live.images[0].status = "pending".to_owned();
    text.push(why(asked(MANIFEST, &live, "snapshot.base", "golden")));
    live.images[0].status = "available".to_owned();
    live.images[0].regions = vec!["sfo3".to_owned()];
    text.push(why(asked(MANIFEST, &live, "snapshot.base", "golden")));
    live.images[0].regions = vec!["nyc3".to_owned()];
    live.images[0].min_disk_gib = 500;
    text.push(why(asked(MANIFEST, &live, "snapshot.base", "golden")));
    live.images[0].min_disk_gib = 25;
    let aging = MANIFEST.replacen("from: ubuntu", "refresh: 30d, from: ubuntu", 1);
    text.push(why(asked(&aging, &live, "snapshot.base", "golden")));

    // What is there already.
    let owned = applied(MANIFEST, &foreign());
    text.push(why(asked(MANIFEST, &owned, "volume.models", "my-models")));
    text.push(why(asked(MANIFEST, &owned, "snapshot.base", "golden")));
    text.push(why(asked(MANIFEST, &owned, "volume.scratch", "app-models")));
    let both = MANIFEST.replace("  scratch:", "  other: { size: 20GiB }\n  scratch:");
    text.push(why(asked(&both, &owned, "volume.other", "app-models")));
    let top = owned
        .images
        .iter()
        .find(|image| image.name.starts_with("app-top-"));
    let top = top.expect("a snapshot").id.to_string();
    text.push(why(asked(MANIFEST, &owned, "snapshot.base", &top)));
    let adoption = asked(MANIFEST, &foreign(), "volume.models", "vol-1").expect("adopted");
    text.push(refused(
        judge_filesystem(&desired(MANIFEST), &adoption, "xfs").map(|()| panic!()),
    ));
    judge_filesystem(&desired(MANIFEST), &adoption, "ext4").expect("the manifest's");
    insta::assert_snapshot!(text.join("\n"), @r"
    volume.models: `other-data` belongs to project other [dewpoint::plan::owned]
      help: adopt another; or take that owner's `dewpoint` tags from it first, if nobody there needs it any more
    volume.models: `pr-data` belongs to environment pr-1 of this project [dewpoint::plan::owned]
      help: adopt another; or take that owner's `dewpoint` tags from it first, if nobody there needs it any more
    volume.models: the account has no volume `my-model` [dewpoint::plan::missing]
      help: give an id or a name; the nearest there is: `my-models`
    volume.modles: it is not in the manifest [dewpoint::plan::no_such_address]
      help: the nearest there is: `volume.models`
    volume.theirs: the manifest says `existing`: someone's own volume, which is used and never tagged [dewpoint::plan::owned]
      help: write its `size` in place of `existing` if it shall become the project's
    volume.models: volume.theirs uses `lent` as someone's own (`existing`) [dewpoint::plan::owned]
      help: take volume.theirs out of the manifest first
    droplet.web: only volumes and snapshots can be adopted [dewpoint::plan::no_such_address]
      help: droplets, the firewall and the key are made anew by `dewpoint apply`
    snapshot.base: there are 2 snapshots named `twice` [dewpoint::plan::name_taken]
      help: give an id: 8 or 9
    snapshot.base: `other-base-0123456789ab` belongs to project other [dewpoint::plan::owned]
      help: adopt another; or take that owner's `dewpoint` tags from it first, if nobody there needs it any more
    snapshot.bsae: it is not in the manifest [dewpoint::plan::no_such_address]
      help: the nearest there is: `snapshot.base`
    snapshot.base: the account has no snapshot `silver` [dewpoint::plan::missing]
      help: give an id or a name; the nearest there is: `golden`
    volume.models: `my-models` is attached to droplet 42, which is not of this environment [dewpoint::plan::attached_elsewhere]
      help: detach it first; or add `--attached` to adopt it all the same: it can be mounted once it is detached
    volume.models: `my-models` is in sfo3, and a volume cannot move to nyc3 [dewpoint::plan::region]
      help: set `region: sfo3`, or adopt a volume in nyc3
    volume.models: 200GiB cannot shrink to 20GiB [dewpoint::plan::shrink]
      help: set `size: 200GiB`, or give the volume a new name and copy what is needed
    snapshot.base: `golden` is pending, not available [dewpoint::plan::image]
      help: wait until it is, or adopt another
    snapshot.base: `golden` is in sfo3, not in nyc3 [dewpoint::plan::region]
      help: add `regions: [nyc3]` to snapshot.base so that it is copied here, or set `region` to where it is
    droplet.web: size s-1vcpu-1gb has 25 GiB of disk, and its image needs 500 GiB [dewpoint::plan::disk]
      help: use a size with at least 500 GiB of disk, or build snapshot.base on a smaller size under another name
    snapshot.base: the next apply would not use `golden`: `golden` is older than `refresh: 30d` [dewpoint::plan::image]
      help: change the manifest so that it would, or adopt another
    volume.models: it is `app-models` (vol-13) already [dewpoint::plan::name_taken]
      help: give the one to adopt an address of its own in the manifest
    snapshot.base: there is a snapshot of this recipe already: `app-base-034c92e01a97` (16) [dewpoint::plan::name_taken]
      help: one is enough; to use the other one, delete this one first
    volume.scratch: `app-models` belongs to the project, and the manifest's is the environment's [dewpoint::plan::owned]
      help: set `scope: project` (the default): what the project keeps is not to go with an environment
    volume.other: `app-models` is volume.models already [dewpoint::plan::owned]
      help: to rename it, replace volume.models in the manifest by volume.other with `was`: a volume has one address
    snapshot.base: `app-top-d578a70c92d5` is of snapshot.top [dewpoint::plan::owned]
      help: adopt another: an image stands for one snapshot of the manifest
    volume.models: `my-models` has xfs, and the manifest says ext4 [dewpoint::plan::filesystem]
      help: set `filesystem: xfs`, or adopt another
    ");
}

#[test]
fn what_stands_in_the_way_elsewhere_does_not_matter() {
    let mut live = foreign();
    // Someone else's volume has the name of one of the environment's.
    live.volumes
        .push(volume("vol-9", "app-main-scratch", 1, &[]));
    let before = plan(&desired(MANIFEST), &live, Goal::Apply).expect_err("refused");
    assert_eq!(before.refusals[0].kind, RefusalKind::NameTaken);
    let adoption = asked(MANIFEST, &live, "volume.models", "vol-1").expect("adopted");
    assert_eq!(adoption.next, None);
    // The one with our very name needs no other.
    let adoption = asked(MANIFEST, &live, "volume.scratch", "vol-9").expect("adopted");
    assert_eq!(adoption.called, None);
}
