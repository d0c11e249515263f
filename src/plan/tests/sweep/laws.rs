//! Laws of `sweep`, over accounts in which anything may be.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::laws::execute_in_some_order;
use super::super::{NOW, world::World};
use super::making::{self, Making, owned, texts};
use super::{AHEAD, OLD, PAST, swept, text};
use crate::live::Live;
use crate::plan::step::StepKind;
use crate::plan::sweep::{Declared, FoundKind, LEFT_AFTER};

/// Environments of which two have one name on DigitalOcean.
const ENVIRONMENTS: [(&str, &str); 4] = [
    ("app", "main"),
    ("app", "pr-1"),
    ("app-pr", "1"),
    ("shop", "a"),
];

fn tagged() -> impl Strategy<Value = (usize, Vec<String>)> {
    let lease = prop_oneof![
        3 => Just(Some(PAST.to_string())),
        1 => Just(Some((PAST - 77).to_string())),
        2 => Just(Some(AHEAD.to_string())),
        2 => Just(None),
        1 => Just(Some("1".to_owned())),
    ];
    let ownership = prop_oneof![
        6 => Just("whole"),
        1 => Just("project"),
        1 => Just("nothing"),
        1 => Just("theirs"),
        1 => Just("unmarked"),
        1 => Just("two"),
    ];
    (0..ENVIRONMENTS.len(), ownership, lease, any::<bool>()).prop_map(
        |(at, ownership, lease, spec)| {
            let (project, environment) = ENVIRONMENTS[at];
            let mut tags = match ownership {
                "whole" => owned(project, Some(environment)),
                "project" => owned(project, None),
                "theirs" => texts(&["web"]),
                "unmarked" => owned(project, Some(environment))[1..].to_vec(),
                "two" => [
                    owned(project, Some(environment)),
                    texts(&["dewpoint:app:x"]),
                ]
                .concat(),
                _ => Vec::new(),
            };
            if ownership != "nothing" {
                tags.extend(lease.map(|at| format!("dewpoint-expires:{at}")));
                if spec {
                    tags.push("dewpoint-spec:0123456789ab".to_owned());
                }
            }
            (at, tags)
        },
    )
}

/// Accounts in which something was made just now, or everything is old.
fn accounts(beginning: bool) -> impl Strategy<Value = Making> {
    let young = if beginning { NOW - 60 } else { OLD };
    let age = move || prop_oneof![Just(OLD), Just(young)];
    let droplets = prop::collection::vec((tagged(), any::<bool>(), age()), 0..6);
    let volumes = prop::collection::vec(
        (tagged(), any::<prop::sample::Index>(), any::<bool>()),
        0..5,
    );
    let walls = prop::collection::vec((0..ENVIRONMENTS.len(), 0..4_u8, age()), 0..4);
    let keys = prop::collection::vec(0..ENVIRONMENTS.len(), 0..4);
    let images = prop::collection::vec((any::<bool>(), any::<bool>(), age()), 0..3);
    let mut pool = vec![
        "dewpoint".to_owned(),
        "dewpoint:app".to_owned(),
        "dewpoint:app:main".to_owned(),
        "dewpoint:app:pr-1".to_owned(),
        "dewpoint:app-pr:1".to_owned(),
        "dewpoint:idle".to_owned(),
        "dewpoint-spec:ffffffffffff".to_owned(),
        "dewpoint-name:old".to_owned(),
        format!("dewpoint-expires:{}", PAST - 9),
        "dewpoints".to_owned(),
        "dewpoint:a:b:c".to_owned(),
    ];
    if beginning {
        pool.push(format!("dewpoint-expires:{}", AHEAD + 1));
    }
    let count = pool.len();
    let tags = prop::sample::subsequence(pool, 0..=count);
    (droplets, volumes, walls, keys, images, tags).prop_map(
        |(droplets, volumes, walls, keys, images, tags)| {
            let mut made = Making::new();
            let mut ids = Vec::new();
            for (number, ((at, tags), builder, age)) in droplets.into_iter().enumerate() {
                let (project, environment) = ENVIRONMENTS[at];
                let last = if builder {
                    "builder.base".to_owned()
                } else {
                    format!("web-{number}")
                };
                let name = format!("{project}-{environment}-{last}");
                ids.push(made.droplet(&name, tags, age));
            }
            for (number, ((at, tags), index, attached)) in volumes.into_iter().enumerate() {
                let (project, environment) = ENVIRONMENTS[at];
                let holder = (attached && !ids.is_empty()).then(|| ids[index.index(ids.len())]);
                made.volume(&format!("{project}-{environment}-{number}"), tags, holder);
            }
            let mut walled = BTreeSet::new();
            for (at, kind, age) in walls {
                let (project, environment) = ENVIRONMENTS[at];
                let name = if kind == 0 {
                    format!("theirs-{at}")
                } else {
                    format!("{project}-{environment}")
                };
                // Names of firewalls are unique.
                if walled.insert(name.clone()) {
                    let mut tags = vec![format!("dewpoint:{project}:{environment}")];
                    if kind == 1 {
                        tags.push("web".to_owned());
                    }
                    made.firewall(&name, tags, age);
                }
            }
            for at in keys {
                let (project, environment) = ENVIRONMENTS[at];
                made.key(&format!("{project}-{environment}"));
            }
            for (ours, known, age) in images {
                let tags = if ours { owned("app", None) } else { Vec::new() };
                let name = if known { "base" } else { "old" };
                made.image(&format!("app-{name}-0123456789ab"), tags, age);
            }
            made.tags(&tags);
            made
        },
    )
}

fn declared() -> Declared {
    Declared {
        snapshots: [("app".to_owned(), BTreeSet::from(["base".to_owned()]))].into(),
        images: BTreeSet::new(),
    }
}

/// Everything of an account by kind and id, or by its name where that is all there is.
fn things(live: &Live) -> BTreeSet<(FoundKind, String)> {
    let mut things = BTreeSet::new();
    let mut add = |kind, id: String| things.insert((kind, id));
    for droplet in &live.droplets {
        add(FoundKind::Droplet, droplet.id.to_string());
    }
    for volume in &live.volumes {
        add(FoundKind::Volume, volume.id.clone());
    }
    for wall in &live.firewalls {
        add(FoundKind::Firewall, wall.id.clone());
    }
    for key in &live.ssh_keys {
        add(FoundKind::SshKey, key.id.to_string());
    }
    for image in &live.images {
        add(FoundKind::Snapshot, image.id.to_string());
    }
    for snapshot in &live.volume_snapshots {
        add(FoundKind::VolumeSnapshot, snapshot.id.clone());
    }
    for tag in &live.tags {
        add(FoundKind::Tag, tag.clone());
    }
    things
}

/// What tags and time say of what may go, told apart from the sweep: nothing else ever does.
fn may_go(live: &Live, kind: FoundKind, id: &str) -> bool {
    let has = |tags: &[String], tag: &str| tags.iter().any(|t| t == tag);
    let whole = |tags: &[String]| {
        ENVIRONMENTS.iter().any(|(project, environment)| {
            has(tags, "dewpoint")
                && has(tags, &format!("dewpoint:{project}"))
                && has(tags, &format!("dewpoint:{project}:{environment}"))
        }) && !has(tags, "dewpoint:app:x")
    };
    let over = |tags: &[String]| {
        let leases = tags
            .iter()
            .filter(|tag| tag.starts_with("dewpoint-expires:"));
        let leases: Vec<i64> = leases
            .map(|tag| tag[17..].parse().expect("a number"))
            .collect();
        !leases.is_empty() && leases.iter().all(|at| *at > 1_000_000 && *at <= NOW)
    };
    let is_used = |tag: &str| {
        let droplets = live.droplets.iter().map(|droplet| &droplet.tags);
        let volumes = live.volumes.iter().map(|volume| &volume.tags);
        droplets.chain(volumes).any(|tags| {
            has(tags, tag)
                && !over(tags)
                && !tags.iter().all(|t| !t.starts_with("dewpoint-expires:"))
        })
    };
    match kind {
        FoundKind::Droplet => live.droplets.iter().any(|droplet| {
            let tags = &droplet.tags;
            let lost = has(tags, "dewpoint") && !tags.iter().any(|t| t.matches(':').count() == 2);
            let left = droplet.name.contains("builder.") && droplet.created_at == OLD;
            droplet.id.to_string() == id
                && ((whole(tags) || lost) && over(tags)
                    || whole(tags)
                        && left
                        && !tags.iter().any(|t| t.starts_with("dewpoint-expires")))
        }),
        FoundKind::Volume => live.volumes.iter().any(|volume| {
            volume.id == id
                && whole(&volume.tags)
                && (over(&volume.tags)
                    || !volume
                        .tags
                        .iter()
                        .any(|t| t.starts_with("dewpoint-expires")))
        }),
        FoundKind::Firewall => live.firewalls.iter().any(|wall| {
            wall.id == id
                && wall.tags.len() == 1
                && wall.tags[0].replace("dewpoint:", "").replace(':', "-") == wall.name
                && !is_used(&wall.tags[0])
        }),
        FoundKind::SshKey => live.ssh_keys.iter().any(|key| {
            key.id.to_string() == id
                && ENVIRONMENTS
                    .iter()
                    .filter(|(project, env)| format!("{project}-{env}") == key.name)
                    .all(|(project, env)| !is_used(&format!("dewpoint:{project}:{env}")))
        }),
        FoundKind::Snapshot => live.images.iter().any(|image| {
            image.id.to_string() == id
                && has(&image.tags, "dewpoint:app")
                && image.name.contains("-old-")
                && image.created_at == OLD
        }),
        // None of these accounts has any.
        FoundKind::VolumeSnapshot => false,
        FoundKind::Tag => !["dewpoints", "dewpoint:a:b:c"].contains(&id),
    }
}

proptest! {
    #![proptest_config(crate::tried::tried(192))]

    #[test]
    fn exactly_what_is_listed_goes_and_never_what_is_not_proven(
        made in accounts(true),
        seed in any::<u64>(),
        snapshots in any::<bool>(),
    ) {
        let account = made.account();
        let declared = snapshots.then(declared);
        let first = swept(&account, declared.as_ref(), NOW);
        let after = execute_in_some_order(&first.plan, &account.live, seed, None);
        let listed: BTreeSet<_> = first
            .found
            .iter()
            .map(|found| (found.kind, found.id.clone().unwrap_or_else(|| found.name.clone())))
            .collect();
        prop_assert_eq!(listed.len(), first.found.len());
        let before = things(&account.live);
        let gone: BTreeSet<_> = before.difference(&things(&after)).cloned().collect();
        prop_assert_eq!(&gone, &listed, "{}", text(&first));
        for (kind, id) in &gone {
            prop_assert!(may_go(&account.live, *kind, id), "{kind:?} {id}\n{}", text(&first));
        }
        // What stays is as it was, but for what was attached to what is gone.
        for droplet in &after.droplets {
            prop_assert!(account.live.droplets.contains(droplet));
        }
        for volume in &after.volumes {
            let was = account.live.volumes.iter().find(|was| was.id == volume.id).expect("it was");
            prop_assert_eq!(&was.tags, &volume.tags);
        }
        prop_assert!(after.firewalls.iter().all(|wall| account.live.firewalls.contains(wall)));
        // Once is enough.
        let again = swept(&making::account(&after, &made.firewalls_made), declared.as_ref(), NOW);
        prop_assert!(again.found.is_empty(), "{}\n{}", text(&first), text(&again));
    }

    #[test]
    fn no_tag_goes_that_something_listed_bears_whatever_the_counts_say(
        made in accounts(true),
        wrong in prop::collection::vec(0..3_u64, 40),
        snapshots in any::<bool>(),
    ) {
        let mut account = made.account();
        for (count, wrong) in account.borne.values_mut().zip(wrong) {
            *count = wrong;
        }
        let declared = snapshots.then(declared);
        let swept = swept(&account, declared.as_ref(), NOW);
        let after = World::execute(&swept.plan, &account.live);
        let droplets = after.droplets.iter().map(|droplet| &droplet.tags);
        let volumes = after.volumes.iter().map(|volume| &volume.tags);
        let images = after.images.iter().map(|image| &image.tags);
        let borne: BTreeSet<&String> = droplets.chain(volumes).chain(images).flatten().collect();
        for step in &swept.plan.steps {
            if let StepKind::DeleteTags { names } = &step.kind {
                for name in names {
                    prop_assert!(!borne.contains(name), "{name}\n{}", text(&swept));
                }
            }
        }
        for (kind, id) in things(&account.live).difference(&things(&after)) {
            prop_assert!(may_go(&account.live, *kind, id), "{kind:?} {id}\n{}", text(&swept));
        }
    }

    #[test]
    fn a_sweep_that_was_cut_off_is_finished_by_a_later_one(
        made in accounts(false),
        seed in any::<u64>(),
        failing in any::<prop::sample::Index>(),
    ) {
        let later = NOW + 2 * LEFT_AFTER;
        let finish = |live: &Live| {
            let account = making::account(live, &made.firewalls_made);
            World::execute(&swept(&account, None, later).plan, live)
        };
        let whole = made.account();
        let first = swept(&whole, None, NOW);
        let done = execute_in_some_order(&first.plan, &whole.live, seed, None);
        let fail = u32::try_from(failing.index(first.plan.steps.len().max(1))).expect("small");
        let cut = execute_in_some_order(&first.plan, &whole.live, seed, Some(fail));
        prop_assert_eq!(things(&finish(&cut)), things(&finish(&done)), "{}", text(&first));
    }
}
