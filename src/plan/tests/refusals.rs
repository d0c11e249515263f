//! What the planner refuses, and the way out it names.

use super::world::nothing;
use super::*;
use crate::live::{DropletStatus, ImageOffer, LiveFirewall};
use crate::plan::destroy;
use crate::units::Money;

const PLAIN: &str = r#"
version: 1
project: app
region: nyc3
volumes:
  data: { size: 10GiB }
droplets:
  web:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: tests, command: "true" }]
"#;

fn check(yaml: &str, live: &Live) -> String {
    refused(plan(&desired(yaml), live, Goal::Apply))
}

#[test]
fn a_volume_neither_shrinks_nor_changes_its_file_system() {
    let live = applied(PLAIN, &nothing());
    let smaller = PLAIN.replace("10GiB", "5GiB, filesystem: xfs");
    insta::assert_snapshot!(check(&smaller, &live), @r"
    volume.data: 10GiB cannot shrink to 5GiB [dewpoint::plan::shrink]
      help: set `size: 10GiB`, or give the volume a new name and copy what is needed
    volume.data: it has ext4, and the manifest says xfs [dewpoint::plan::filesystem]
      help: set `filesystem: ext4`, or give the volume a new name
    ");
}

#[test]
fn a_volume_does_not_move() {
    let mut live = applied(PLAIN, &nothing());
    live.droplets.clear();
    live.volumes[0].droplet_ids.clear();
    live.volumes[0].region = "sfo3".to_owned();
    insta::assert_snapshot!(check(PLAIN, &live), @r"
    volume.data: `app-data` is in sfo3, and a volume cannot move to nyc3 [dewpoint::plan::region]
      help: set `region: sfo3`, or give the volume a new name
    ");
}

#[test]
fn a_name_that_is_taken() {
    let mut live = applied(PLAIN, &nothing());
    live.droplets.clear();
    live.volumes[0].droplet_ids.clear();
    live.volumes[0].tags = vec!["theirs".to_owned()];
    live.firewalls = vec![LiveFirewall {
        id: "fw-1".to_owned(),
        name: "app-main".to_owned(),
        inbound: Vec::new(),
        outbound: Vec::new(),
        tags: vec!["dewpoint:app-main:x".to_owned()],
        droplet_ids: Vec::new(),
    }];
    insta::assert_snapshot!(check(PLAIN, &live), @r"
    firewall: a firewall `app-main` that covers dewpoint:app-main:x exists [dewpoint::plan::name_taken]
      help: rename the project or the environment: together they are the firewall's name
    volume.data: nyc3 has a volume `app-data` that is not the project's [dewpoint::plan::name_taken]
      help: rename the volume in the manifest, or give the existing one the project's tags
    ");
}

#[test]
fn a_volume_that_someone_else_holds() {
    let mut live = applied(PLAIN, &nothing());
    live.droplets.clear();
    live.volumes[0].droplet_ids = vec![4711];
    insta::assert_snapshot!(check(PLAIN, &live), @r"
    volume.data: it is attached to droplet 4711, which is not of this environment [dewpoint::plan::held]
      help: detach it there first; if that droplet was just destroyed, try again in half a minute
    ");
}

#[test]
fn a_droplet_that_is_off_gets_no_volume() {
    let yaml = "version: 1\nproject: app\nregion: nyc3\nvolumes:\n  data: { size: 1GiB }\ndroplets:\n  web:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n";
    let mut live = applied(yaml, &nothing());
    live.droplets[0].status = DropletStatus::Off;
    assert!(plan(&desired(yaml), &live, Goal::Apply).is_ok());
    let yaml = format!("{yaml}    volumes: [{{ volume: data, mount: /mnt/data }}]\n");
    insta::assert_snapshot!(check(&yaml, &live), @r"
    droplet.web: droplet 104 is off, so no volume can be mounted there [dewpoint::plan::not_running]
      help: power it on, or make it anew: `dewpoint apply --replace droplet.web`
    ");
}

#[test]
fn a_droplet_that_is_off() {
    let mut live = applied(PLAIN, &nothing());
    live.droplets[0].status = DropletStatus::Off;
    insta::assert_snapshot!(check(PLAIN, &live), @r"
    droplet.web: droplet 104 is off, so nothing can run on it [dewpoint::plan::not_running]
      help: power it on, or make it anew: `dewpoint apply --replace droplet.web`
    ");
}

#[test]
fn sizes_regions_and_accounts() {
    let mut live = nothing();
    live.account.droplet_limit = 1;
    live.account.volume_limit = 1;
    live.account.status = "locked".to_owned();
    live.catalog.regions[0].available = false;
    live.catalog.regions[0].features.clear();
    live.catalog.sizes[0].regions = vec!["sfo3".to_owned()];
    let yaml = PLAIN
        .replace("s-1vcpu-1gb", "c-2\n    count: 2")
        .replace("    volumes: [{ volume: data, mount: /mnt/data }]\n", "")
        .replace(
            "data: { size: 10GiB }",
            "data: { size: 10GiB }\n  more: { size: 1GiB }",
        );
    insta::assert_snapshot!(check(&yaml, &live), @r"
    region nyc3 has no volumes [dewpoint::plan::region]
      help: use a region with the feature `storage`
    region nyc3 takes no new droplets now [dewpoint::plan::region]
      help: use another region, or try later
    the account would have 2 volumes, and may have 1 [dewpoint::plan::account_limit]
      help: delete volumes that are not needed, or ask DigitalOcean for a higher limit
    the environment would have 2 droplets at once, and the account may have 1 [dewpoint::plan::account_limit]
      help: lower `count`, or ask DigitalOcean for a higher limit
    the account is locked, so nothing can be made [dewpoint::plan::account_state]
      help: see the account's page on DigitalOcean, or use another token
    droplet.web[1]: size c-2 is not to be had in nyc3 [dewpoint::plan::size]
      help: use another size, or one of the regions sfo3
    ");
    let elsewhere = PLAIN.replace("nyc3", "mars1").replace("s-1vcpu-1gb", "s-9");
    insta::assert_snapshot!(check(&elsewhere, &nothing()), @r"
    there is no region `mars1` [dewpoint::plan::region]
      help: use one of nyc3, sfo3
    droplet.web: there is no size `s-9` [dewpoint::plan::size]
      help: use a size that the account is offered, such as s-1vcpu-1gb
    ");
}

#[test]
fn limits_of_the_manifest() {
    let yaml = PLAIN.replace(
        "volumes:\n  data",
        "limits: { droplets: 0, cost_per_hour: 0.001, sizes: [\"c-*\"] }\nvolumes:\n  data",
    );
    insta::assert_snapshot!(check(&yaml, &nothing()), @r"
    an hour costs $0.0089 while all is up, and `limits.cost_per_hour` is $0.001 [dewpoint::plan::limits]
      help: use fewer or smaller droplets, or raise the limit
    the manifest asks for 1 droplet, and `limits.droplets` is 0 [dewpoint::plan::limits]
      help: lower `count`, or raise the limit
    droplet.web: size s-1vcpu-1gb is not among `limits.sizes` [dewpoint::plan::limits]
      help: use a size that fits c-*
    ");
}

#[test]
fn a_disk_that_is_too_small() {
    let yaml = r#"
version: 1
project: app
region: nyc3
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-2vcpu-4gb }
droplets:
  web: { image: { snapshot: base }, size: s-1vcpu-1gb }
"#;
    insta::assert_snapshot!(check(yaml, &nothing()), @r"
    droplet.web: size s-1vcpu-1gb has 25 GiB of disk, and its image needs 80 GiB [dewpoint::plan::disk]
      help: use a size with at least 80 GiB of disk, or build snapshot.base on a smaller size under another name
    ");
    let live = applied(&yaml.replace("s-1vcpu-1gb", "s-2vcpu-4gb"), &nothing());
    let mut elsewhere = live;
    elsewhere.images[0].regions = vec!["sfo3".to_owned()];
    elsewhere.droplets.clear();
    insta::assert_snapshot!(check(&yaml.replace("s-1vcpu-1gb", "s-2vcpu-4gb"), &elsewhere), @r"
    snapshot.base: `app-base-a30b5779b328` is in sfo3, not in nyc3 [dewpoint::plan::region]
      help: add `regions: [nyc3]` so that it is copied here, or set `region` to where it is
    ");
}

#[test]
fn what_is_protected() {
    let yaml = PLAIN.replace(
        "volumes:\n  data",
        "protect: [droplet.web, \"volume.*\"]\nvolumes:\n  data",
    );
    let live = applied(&yaml, &nothing());
    let other_size = yaml.replace("s-1vcpu-1gb", "s-2vcpu-4gb");
    insta::assert_snapshot!(check(&other_size, &live), @r"
    droplet.web: it would be replaced, and `protect` lists `droplet.web` [dewpoint::plan::protected]
      help: add `--unprotect droplet.web` if that is meant
    ");
    let everything = destroy(&scope(&yaml), &live, true, &[]);
    insta::assert_snapshot!(refused(everything), @r"
    volume.data: it would be destroyed, and `protect` lists `volume.*` [dewpoint::plan::protected]
      help: add `--unprotect volume.data` if that is meant
    droplet.web: it would be destroyed, and `protect` lists `droplet.web` [dewpoint::plan::protected]
      help: add `--unprotect droplet.web` if that is meant
    ");
    let unprotect = ["droplet.web", "volume.data"].map(|text| text.parse().expect("an address"));
    let _ = destroy(&scope(&yaml), &live, true, &unprotect).expect("a plan");
    let unprotected = Options {
        goal: Goal::Apply,
        unprotect: unprotect.to_vec(),
        ..Options::default()
    };
    let _ = crate::plan::plan(&desired(&other_size), &live, &unprotected, NOW).expect("a plan");
}

#[test]
fn a_project_that_others_use() {
    let live = applied(
        &PLAIN.replace("project: app", "project: app\nenvironment: pr-1"),
        &nothing(),
    );
    insta::assert_snapshot!(refused(destroy(&scope(PLAIN), &live, true, &[])), @r"
    other environments of the project have droplets: app-pr-1-web (environment pr-1) [dewpoint::plan::in_use]
      help: destroy those environments first, each with `destroy --env NAME`
    volume.data: it is attached to droplet app-pr-1-web of environment pr-1, which was made at 1970-01-01T00:00:00Z and expires at 2026-09-22T02:13:20Z [dewpoint::plan::attached_elsewhere]
      help: wait until that one is done with it (`apply` and `test` do, unless told `--no-wait`), or run `dewpoint destroy --env pr-1`; with `scope: environment` each environment has a volume of its own
    ");
    let plan = destroy(&scope(PLAIN), &live, false, &[]).expect("a plan");
    assert!(!plan.has_changes(), "{}", text(&plan));
}

#[test]
fn prices_of_a_plan() {
    let plan = plan(&desired(PLAIN), &nothing(), Goal::Apply).expect("a plan");
    let money = |text: &str| Money(text.parse().expect("money"));
    assert_eq!(plan.cost.hourly_while_up, money("0.00893"));
    // A droplet for $6 and ten gibibytes at $0.10.
    assert_eq!(plan.cost.monthly_kept, money("7"));
    assert_eq!(plan.cost.expected_once, money("0.01"));
}

#[test]
fn someone_s_own_volume_is_used_where_it_is_and_never_changed() {
    let yaml = PLAIN.replace("{ size: 10GiB }", "{ existing: old-data }");
    insta::assert_snapshot!(check(&yaml, &nothing()), @r"
    volume.data: the account has no volume `old-data` [dewpoint::plan::missing]
      help: correct the name after `existing`, or write `size` for a volume of the project's own
    ");
    let mut live = nothing();
    live.volumes.push(crate::live::LiveVolume {
        id: "v-1".to_owned(),
        name: "old-data".to_owned(),
        region: "sfo3".to_owned(),
        size_gib: 5,
        droplet_ids: Vec::new(),
        tags: vec!["theirs".to_owned()],
        created_at: 0,
    });
    insta::assert_snapshot!(check(&yaml, &live), @r"
    volume.data: `old-data` is in sfo3, and a volume cannot move to nyc3 [dewpoint::plan::region]
      help: set `region: sfo3`, or name a volume in nyc3
    ");
    live.volumes[0].region = "nyc3".to_owned();
    let before = live.volumes.clone();
    let live = applied(&yaml, &live);
    assert_eq!(live.volumes[0].droplet_ids, [live.droplets[0].id]);
    let again = plan(&desired(&yaml), &live, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));
    let gone = destroy(&scope(&yaml), &live, true, &[]).expect("a plan");
    assert_checked(&gone, &live);
    let live = super::world::World::execute(&gone, &live);
    assert_eq!(live.volumes, before);
}

#[test]
fn images_that_are_not_there_or_not_for_this() {
    let mut live = nothing();
    let offer = |min_disk_gib: u32, region: &str, status: &str| {
        Some(ImageOffer {
            min_disk_gib,
            regions: vec![region.to_owned()],
            status: status.to_owned(),
        })
    };
    live.catalog.images = [
        ("mars-os", None),
        ("ubuntu-24-04", None),
        ("huge", offer(100, "nyc3", "available")),
        ("far", offer(1, "sfo3", "available")),
        ("old", offer(1, "nyc3", "retired")),
    ]
    .map(|(slug, offer)| (slug.to_owned(), offer))
    .into();
    live.catalog.distributions = [
        "debian-12-x64",
        "fedora-41-x64",
        "ubuntu-22-04-x64",
        "ubuntu-24-04-x64",
    ]
    .map(str::to_owned)
    .to_vec();
    let yaml = r#"
version: 1
project: app
region: nyc3
snapshots:
  base: { from: ubuntu-24-04, size: s-1vcpu-1gb }
droplets:
  mars: { image: mars-os, size: s-1vcpu-1gb }
  huge: { image: huge, size: s-1vcpu-1gb }
  far: { image: far, size: s-1vcpu-1gb }
  old: { image: old, size: s-1vcpu-1gb }
"#;
    insta::assert_snapshot!(check(yaml, &live), @r"
    snapshot.base: there is no image `ubuntu-24-04` [dewpoint::plan::image]
      help: use the slug of a distribution, such as ubuntu-24-04-x64, ubuntu-22-04-x64, debian-12-x64, fedora-41-x64, or the id of an image
    droplet.far: image far is in sfo3, not in nyc3 [dewpoint::plan::image]
      help: use another image, or one of its regions
    droplet.huge: size s-1vcpu-1gb has 25 GiB of disk, and its image needs 100 GiB [dewpoint::plan::disk]
      help: use a size with at least 100 GiB of disk
    droplet.mars: there is no image `mars-os` [dewpoint::plan::image]
      help: use the slug of a distribution, such as debian-12-x64, fedora-41-x64, ubuntu-22-04-x64, ubuntu-24-04-x64, or the id of an image
    droplet.old: image old is `retired`, so nothing can be made from it [dewpoint::plan::image]
      help: use another image
    ");
    let slugs = desired(yaml).public_images();
    assert!(
        slugs
            .iter()
            .map(String::as_str)
            .eq(["far", "huge", "mars-os", "old", "ubuntu-24-04"])
    );

    // Only what something is made from: no call for a plan that changes nothing.
    let of = |live: &Live| {
        plan(&desired(PLAIN), live, Goal::Apply)
            .expect("a plan")
            .public_images()
    };
    assert!(
        of(&nothing())
            .into_iter()
            .eq(["ubuntu-24-04-x64".to_owned()])
    );
    assert!(of(&applied(PLAIN, &nothing())).is_empty());
}

#[test]
fn a_volume_that_another_environment_holds_is_told_by_names() {
    let mut live = applied(PLAIN, &nothing());
    let mut other = live.droplets.remove(0);
    other.name = "app-pr-1-web".to_owned();
    other.tags = vec![
        "dewpoint".to_owned(),
        "dewpoint:app".to_owned(),
        "dewpoint:app:pr-1".to_owned(),
        "dewpoint-expires:1790043200".to_owned(),
    ];
    other.created_at = NOW - 600;
    live.holders = vec![other];
    insta::assert_snapshot!(check(PLAIN, &live), @r"
    volume.data: it is attached to droplet app-pr-1-web of environment pr-1, which was made at 2026-09-21T14:03:20Z and expires at 2026-09-22T02:13:20Z [dewpoint::plan::held]
      help: wait until that one is done with it (`apply` and `test` do, unless told `--no-wait`), or run `dewpoint destroy --env pr-1`; with `scope: environment` each environment has a volume of its own
    ");
    // That is all there is, and it passes; what stands in the way beside it does not.
    let held = |yaml: &str, live: &Live| match plan(&desired(yaml), live, Goal::Apply) {
        Ok(_) => panic!("planned"),
        Err(refusals) => refusals.held().map(|held| {
            held.into_iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        }),
    };
    assert_eq!(held(PLAIN, &live), Some(vec!["volume.data".to_owned()]));
    let shrunk = PLAIN.replace("size: 10GiB", "size: 1GiB");
    assert_ne!(shrunk, PLAIN);
    assert_eq!(held(&shrunk, &live), None);
    // A droplet that is gone lets go of it soon.
    let holders = std::mem::take(&mut live.holders);
    assert_eq!(held(PLAIN, &live), Some(vec!["volume.data".to_owned()]));
    live.holders = holders;
    live.holders[0].tags.clear();
    live.holders[0].name = "box".to_owned();
    assert_eq!(held(PLAIN, &live), None);
    insta::assert_snapshot!(check(PLAIN, &live), @r"
    volume.data: it is attached to droplet box, which is not of this environment [dewpoint::plan::attached_elsewhere]
      help: detach it there first
    ");
}
