//! Volumes that get another name in the manifest.

use super::world::{World, nothing};
use super::*;
use crate::plan::destroy;

fn yaml(name: &str, was: &str) -> String {
    format!(
        "version: 1\nproject: app\nregion: nyc3\nprotect: [volume.{name}]\nvolumes:\n  {name}: {{ size: 10GiB{was} }}\ndroplets:\n  web:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    volumes: [{{ volume: {name}, mount: /mnt/data }}]\n    run: [{{ name: r, command: \"true\" }}]\n"
    )
}

fn changes(plan: &Plan) -> String {
    let changes = plan.changes.iter().map(|change| {
        let reasons: Vec<&str> = change.reasons.iter().map(|r| r.text.as_str()).collect();
        format!(
            "{:?} {} {} {}",
            change.action,
            change.address,
            change.name,
            reasons.join("; ")
        )
    });
    changes
        .filter(|line| line.contains("volume."))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_renamed_volume_is_the_same_volume() {
    let live = applied(&yaml("old", ""), &nothing());
    let id = live.volumes[0].id.clone();
    let renamed = yaml("new", ", was: old");
    let first = plan(&desired(&renamed), &live, Goal::Apply).expect("a plan");
    insta::assert_snapshot!(changes(&first), @"Update volume.new app-old it is renamed: it stays `app-old` on DigitalOcean, and a tag remembers");
    let live = World::execute(&first, &live);
    assert_eq!(live.volumes.len(), 1);
    assert_eq!(
        (&live.volumes[0].id, live.volumes[0].name.as_str()),
        (&id, "app-old")
    );

    // From then on also without `was`.
    for after in [&renamed, &yaml("new", "")] {
        let again = plan(&desired(after), &live, Goal::Apply).expect("a plan");
        assert!(!again.has_changes(), "{}", text(&again));
    }
    // It is protected by the name it has in the manifest, and goes as one.
    let scope = scope(&yaml("new", ""));
    insta::assert_snapshot!(refused(destroy(&scope, &live, true, &[])), @r"
    volume.new: it would be destroyed, and `protect` lists `volume.new` [dewpoint::plan::protected]
      help: add `--unprotect volume.new` if that is meant
    ");
    let unprotect = ["volume.new".parse().expect("an address")];
    let gone = destroy(&scope, &live, true, &unprotect).expect("a plan");
    assert_checked(&gone, &live);
    assert_eq!(World::execute(&gone, &live), nothing());

    // Once more, and back.
    let third = applied(&yaml("third", ", was: new"), &live);
    assert_eq!(third.volumes[0].id, id);
    let back = applied(&yaml("old", ", was: third"), &third);
    assert_eq!(back.volumes[0].id, id);
    assert!(
        !back.volumes[0]
            .tags
            .iter()
            .any(|tag| tag.starts_with("dewpoint-name:"))
    );
    let again = plan(&desired(&yaml("old", "")), &back, Goal::Apply).expect("a plan");
    assert!(!again.has_changes(), "{}", text(&again));
}

#[test]
fn a_name_that_stays_taken_and_one_that_means_two() {
    let old = applied(&yaml("old", ""), &nothing());
    let live = applied(&yaml("new", ", was: old"), &old);
    insta::assert_snapshot!(refused(plan(&desired(&yaml("old", "")), &live, Goal::Apply)), @r"
    volume.old: `app-old` was renamed to another volume of the project, and keeps its name on DigitalOcean [dewpoint::plan::name_taken]
      help: give this volume another name
    ");
    let mut both = old;
    let mut other = both.volumes[0].clone();
    other.id = "vol-999".to_owned();
    other.name = "app-new".to_owned();
    other.droplet_ids.clear();
    both.volumes.push(other);
    insta::assert_snapshot!(
        refused(plan(&desired(&yaml("new", ", was: old")), &both, Goal::Apply)), @r"
    volume.new: there are both `app-new` and `app-old`, which `was` says it is [dewpoint::plan::name_taken]
      help: remove `was`, or give the volume a name that is not taken
    ");
}

#[test]
fn without_anything_to_rename_it_is_made() {
    let live = applied(&yaml("new", ", was: old"), &nothing());
    assert_eq!(live.volumes[0].name, "app-new");
}
