//! Laws: true of whatever is compared.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_yaml::Value;

use super::cases::check_structure;
use super::{of, side};
use crate::address::Address;
use crate::desired::Desired;
use crate::diff::applied::applied;
use crate::diff::{Known, Outcome, effects};
use crate::live::{Live, ownership};
use crate::plan::tests::world::{self, World};
use crate::plan::{self, Options};
use crate::report::diff_markdown;

/// A manifest with a bit of everything; numbers choose among forms that overlap.
fn manifest(seed: [u8; 10]) -> String {
    let pick = |at: usize, of: &[&str]| of[usize::from(seed[at]) % of.len()].to_owned();
    let mut text = format!(
        "version: 1\nproject: shop\nregion: {}\nttl: {}\n",
        pick(0, &["nyc3", "nyc3", "sfo3"]),
        pick(1, &["4h", "12h"]),
    );
    text.push_str(&pick(
        2,
        &[
            "",
            "protect: [volume.data]\n",
            "firewall: none\n",
            "ssh: { key: agent }\n",
        ],
    ));
    text.push_str("snapshots:\n");
    text.push_str(&format!(
        "  base: {{ from: {}, size: s-1vcpu-1gb, keep: {}, provision: [{{ name: a, run: \"{}\" }}, {{ run: \"{}\" }}] }}\n",
        pick(3, &["ubuntu-24-04-x64", "debian-12-x64"]),
        pick(4, &["1", "2"]),
        pick(5, &["true", "false", "a\\nb"]),
        pick(6, &["x", "y"]),
    ));
    text.push_str(
        "  top: { from: { snapshot: base }, size: s-1vcpu-1gb, provision: [{ run: top }] }\n",
    );
    text.push_str(&pick(
        7,
        &[
            "volumes:\n  data: { size: 10GiB }\n  own: { size: 5GiB, scope: environment }\n",
            "volumes:\n  data: { size: 20GiB }\n  own: { existing: theirs }\n",
            "volumes:\n  data: { size: 10GiB, scope: environment }\n  own: { size: 5GiB, filesystem: xfs }\n",
            "volumes:\n  data: { size: 10GiB, populate: { image: { snapshot: base }, size: s-1vcpu-1gb, run: [{ command: fill }] } }\n  own: { size: 5GiB }\n",
            "volumes:\n  data: { size: 10GiB, scope: environment, populate: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, run: [{ name: f, command: one }, { command: two }] } }\n  own: { existing: theirs }\n",
        ],
    ));
    let is_others = text.contains("existing");
    let stays = |at: usize| seed[at].is_multiple_of(2);
    // Volumes, and whether copies of them are wanted.
    let mounts = |at: usize| -> &[(&str, bool)] {
        match seed[at] % 5 {
            0 => &[("data", false)],
            1 => &[],
            2 => &[("data", true), ("own", true)],
            3 => &[("own", true)],
            _ => &[("data", false), ("own", true)],
        }
    };
    text.push_str("droplets:\n");
    for (name, at, other) in [("web", 8, 9), ("job", 9, 8)] {
        // No copies are made of what somebody keeps, nor of someone's own.
        let kept = |volume| stays(other) && mounts(other).contains(&(volume, false));
        let mounted: Vec<String> = mounts(at)
            .iter()
            .map(|&(volume, wanted)| {
                let copied = wanted && !kept(volume) && !(volume == "own" && is_others);
                let access = if copied { ", access: clone" } else { "" };
                format!("{{ volume: {volume}, mount: /mnt/{volume}{access} }}")
            })
            .collect();
        text.push_str(&format!(
            "  {name}: {{ image: {}, size: {}, {} after_run: {}, volumes: [{}], run: [{{ name: t, command: {} }}] }}\n",
            pick(at, &["ubuntu-24-04-x64", "{ snapshot: top }", "{ snapshot: base }"]),
            pick(at, &["s-1vcpu-1gb", "s-2vcpu-4gb"]),
            if seed[at].is_multiple_of(5) { "count: 3," } else { "" },
            if stays(at) { "keep" } else { "destroy" },
            mounted.join(", "),
            pick(at, &["one", "two"]),
        ));
    }
    text
}

/// The same document with the keys of every map the other way round.
fn reversed(value: Value) -> Value {
    match value {
        Value::Mapping(map) => {
            let mut pairs: Vec<(Value, Value)> = map.into_iter().collect();
            pairs.reverse();
            Value::Mapping(
                pairs
                    .into_iter()
                    .map(|(key, value)| (key, reversed(value)))
                    .collect(),
            )
        }
        Value::Sequence(items) => Value::Sequence(items.into_iter().map(reversed).collect()),
        other => other,
    }
}

/// What stands, without ids. Which of those that have a volume in turn has it is no matter, nor
/// which snapshots there are of volumes.
fn left(desired: &Desired, live: &Live) -> BTreeMap<String, String> {
    let tags = |tags: &[String]| -> Vec<String> {
        let tags = tags.iter().filter(|tag| !ownership::is_snap_tag(tag));
        let mut tags: Vec<String> = tags.cloned().collect();
        tags.sort();
        tags
    };
    let in_turn = |name: &str| {
        let of = desired.volumes.iter().find(|volume| volume.name == name);
        let mounts = desired.droplets.iter().flat_map(|droplet| &droplet.mounts);
        let themselves = mounts.filter(|mount| {
            mount.copy.is_none()
                && of.is_some_and(|of| of.address == Address::Volume(mount.volume.clone()))
        });
        themselves.count() > 1
    };
    let mut left = BTreeMap::new();
    for droplet in &live.droplets {
        let what = format!("{} {:?}", droplet.size, tags(&droplet.tags));
        left.insert(format!("droplet {}", droplet.name), what);
    }
    for volume in &live.volumes {
        let mut droplets = live.droplets.iter();
        let has = droplets.find(|droplet| volume.droplet_ids.contains(&droplet.id));
        let has = has.map(|droplet| {
            assert!(droplet.volume_ids.contains(&volume.id));
            droplet.name.as_str()
        });
        let has = has.filter(|_| !in_turn(&volume.name));
        let what = format!("{} {has:?} {:?}", volume.size_gib, tags(&volume.tags));
        left.insert(format!("volume {}", volume.name), what);
    }
    for image in &live.images {
        let what = format!("{:?} {:?}", image.regions, tags(&image.tags));
        left.insert(format!("snapshot {}", image.name), what);
    }
    for wall in &live.firewalls {
        let what = format!("{:?} {:?} {:?}", wall.inbound, wall.outbound, wall.tags);
        left.insert(format!("firewall {}", wall.name), what);
    }
    for key in &live.ssh_keys {
        left.insert(format!("key {}", key.name), key.fingerprint.clone());
    }
    left
}

proptest! {
    #![proptest_config(crate::tried::tried(64))]

    #[test]
    fn a_manifest_does_not_differ_from_itself(seed: [u8; 10]) {
        let text = manifest(seed);
        let same = of(&text, &text);
        prop_assert!(same.is_empty(), "{same:#?}");
    }

    #[test]
    fn the_order_of_keys_is_no_difference(seed: [u8; 10]) {
        let text = manifest(seed);
        let value: Value = serde_yaml::from_str(&text).expect("YAML");
        let other = serde_yaml::to_string(&reversed(value)).expect("YAML");
        prop_assert_ne!(&text, &other);
        let same = of(&text, &other);
        prop_assert!(same.is_empty(), "{same:#?}");
    }

    /// The planner finds nothing to do where a manifest is taken for applied.
    #[test]
    fn what_is_taken_for_applied_is_what_an_apply_leaves(seed: [u8; 10]) {
        let side = side("a", &manifest(seed), camino::Utf8Path::new("/nonexistent"));
        let known = Known::of(&side).expect("a desired state");
        let live = applied(&known.desired, known.desired.ttl, None);
        let plan = plan::plan(&known.desired, &live, &Options::default(), crate::diff::applied::NOW)
            .expect("a plan");
        prop_assert!(!plan.has_changes(), "{:#?}", plan.changes);

        // Nor does it differ from what all steps of an apply leave, where nothing was.
        let mut nothing = world::nothing();
        effects::add_existing(&known.desired, &mut nothing);
        let plan = plan::plan(&known.desired, &nothing, &Options::default(), crate::diff::applied::NOW)
            .expect("a plan");
        prop_assert_eq!(left(&known.desired, &live), left(&known.desired, &World::execute(&plan, &nothing)));
    }

    /// What is said to go stands, what is said to come does not; and nothing is said twice.
    #[test]
    fn outcomes_fit_both_manifests(a: [u8; 10], b: [u8; 10]) {
        let (a, b) = (manifest(a), manifest(b));
        let difference = of(&a, &b);
        for change in &difference.resources {
            let mut names: Vec<&String> = Vec::new();
            for effect in &change.effects {
                prop_assert_eq!(effect.addresses.len(), effect.names.len());
                if effect.outcome == Outcome::Later {
                    prop_assert!(!change.fields.is_empty() || !change.steps.is_empty());
                }
                names.extend(&effect.names);
            }
            let mut once = names.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), names.len(), "{:#?}", change);
        }
        let markdown = diff_markdown::render(&difference, "dewpoint diff a b");
        check_structure(&markdown, "two manifests");
    }

    #[test]
    fn the_way_back_undoes_creations(a: [u8; 10], b: [u8; 10]) {
        let (a, b) = (manifest(a), manifest(b));
        let (there, back) = (of(&a, &b), of(&b, &a));
        prop_assert_eq!(there.is_empty(), back.is_empty());
        prop_assert_eq!(there.cost.monthly_volumes.old, of(&a, &a).cost.monthly_volumes.new);
        prop_assert_eq!(there.settings.len(), back.settings.len());
    }
}

/// A comment that is too long is cut, keeps its structure and what is lost, and says so.
#[test]
fn a_long_difference_fits_into_a_comment() {
    use std::fmt::Write as _;
    let head = "version: 1\nproject: shop\nregion: nyc3\ndroplets:\n";
    let (mut old, mut new) = (head.to_owned(), head.to_owned());
    for number in 0..150 {
        for (text, word) in [(&mut old, "old"), (&mut new, "new")] {
            let _ = write!(
                text,
                "  d{number}:\n    image: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    run:\n      - name: t\n        command: |\n"
            );
            for line in 0..20 {
                let _ = writeln!(text, "          {word} line {line} of ``` droplet {number}");
            }
        }
    }
    new.push_str("volumes: {}\n");
    old.push_str("volumes: { data: { size: 1GiB, scope: environment } }\n");
    let difference = of(&old, &new);
    let markdown = diff_markdown::render(&difference, "dewpoint diff old.yaml new.yaml");
    assert!(markdown.len() <= 65_536, "{}", markdown.len());
    assert!(markdown.len() > 60_000, "{}", markdown.len());
    check_structure(&markdown, "a long one");
    assert!(markdown.contains("**LOST** `volume.data`"));
    assert!(markdown.contains("| volumes that stay |"));
    let last = markdown.lines().last().expect("a line");
    assert!(
        last.starts_with("… ")
            && last.ends_with("left out; run `dewpoint diff old.yaml new.yaml` for all of it"),
        "{last}"
    );
}
