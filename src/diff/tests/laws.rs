//! Laws: true of whatever is compared.

use proptest::prelude::*;
use serde_yaml::Value;

use super::cases::check_structure;
use super::{of, side};
use crate::diff::applied::applied;
use crate::diff::{Known, Outcome};
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
        ],
    ));
    text.push_str("droplets:\n");
    for (name, at) in [("web", 8), ("job", 9)] {
        text.push_str(&format!(
            "  {name}: {{ image: {}, size: {}, {} after_run: {}, volumes: [{}], run: [{{ name: t, command: {} }}] }}\n",
            pick(at, &["ubuntu-24-04-x64", "{ snapshot: top }", "{ snapshot: base }"]),
            pick(at, &["s-1vcpu-1gb", "s-2vcpu-4gb"]),
            if seed[at].is_multiple_of(5) { "count: 3," } else { "" },
            if seed[at].is_multiple_of(2) { "keep" } else { "destroy" },
            if seed[at].is_multiple_of(3) { "{ volume: data, mount: /mnt/data }" } else { "" },
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

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
