//! Saved plans: what a file may be, and what may not have moved.

use std::collections::BTreeMap;

use super::world::{World, nothing};
use super::*;
use crate::plan::saved::{Place, Saved, SavedError, SavedManifest, SavedSource, VERSION, meaning};
use crate::plan::seen::Seen;
use crate::plan::step::{DropletRef, ImageRef, SourceSpec, StepKind, VolumeRef};
use crate::plan::{Edge, EdgeKind, Step, StepId};

const APP: &str = r#"
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
    source: { path: . }
    secrets: [TOKEN]
    run: [{ name: tests, command: "true" }]
"#;

fn saved(yaml: &str, live: &Live) -> Saved {
    let manifest = manifest(yaml);
    let plan = plan(&desired(yaml), live, Goal::Apply).expect("a plan");
    let meaning = meaning(&manifest);
    Saved {
        saved_plan: VERSION,
        tool: "0.0.0".to_owned(),
        made_at: jiff::Timestamp::UNIX_EPOCH,
        place: Place {
            cloud: "DigitalOcean".to_owned(),
            account: String::new(),
        },
        manifest: SavedManifest {
            path: "dewpoint.yaml".to_owned(),
            digest: Digest::of(&meaning),
            environment: manifest.environment.clone(),
            variables: BTreeMap::new(),
            meaning,
        },
        ssh_key: None,
        sources: [(".".to_owned(), SavedSource::default())].into(),
        seen: Seen::of(&plan, live),
        plan,
        digest: Digest::of_bytes(b""),
    }
}

fn code(error: &SavedError) -> String {
    use miette::Diagnostic as _;
    error.code().expect("a code").to_string()
}

#[test]
fn what_is_no_plan_says_what_it_is() {
    let saved = saved(APP, &nothing());
    let text = saved.seal();
    let read = Saved::read("p", text.as_bytes()).expect("a plan");
    assert_eq!(read.seal(), text);
    // How it is laid out does not count.
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(Saved::read("p", value.to_string().as_bytes()).is_ok());

    let printed = crate::report::plan_json::render(&saved.plan);
    let newer = text.replace("\"saved_plan\": 1", "\"saved_plan\": 2");
    let edited = text.replace("\"name\": \"tests\"", "\"name\": \"other\"");
    let mut resealed = value.clone();
    resealed["plan"]["steps"][0]["kind"] = "format_the_disk".into();
    resealed.as_object_mut().expect("fields").remove("digest");
    let digest = Digest::of(&resealed);
    resealed["digest"] = digest.as_str().into();
    let resealed = resealed.to_string();
    for (bytes, expected) in [
        ("", "dewpoint::saved::not_a_plan"),
        ("version: 1\nproject: app\n", "dewpoint::saved::not_a_plan"),
        ("[1, 2]", "dewpoint::saved::not_a_plan"),
        ("{}", "dewpoint::saved::not_a_plan"),
        (printed.as_str(), "dewpoint::saved::not_a_plan"),
        (&text[..text.len() / 2], "dewpoint::saved::cut_off"),
        (&text[..text.len() - 3], "dewpoint::saved::cut_off"),
        (&newer, "dewpoint::saved::version"),
        (&edited, "dewpoint::saved::edited"),
        (&resealed, "dewpoint::saved::format"),
    ] {
        let error = Saved::read("p", bytes.as_bytes()).expect_err(expected);
        assert_eq!(code(&error), expected, "{error}");
    }
    let error = Saved::read("p", printed.as_bytes()).expect_err("printed");
    assert!(format!("{:?}", miette::Report::new(error)).contains("--out"));
}

/// What is told of a live state that became another.
fn moved(change: impl FnOnce(&mut Live)) -> String {
    moved_of(APP, change)
}

fn moved_of(yaml: &str, change: impl FnOnce(&mut Live)) -> String {
    let live = applied(APP, &nothing());
    let saved = saved(yaml, &live);
    let mut now = live;
    change(&mut now);
    saved.live_moved(&now).join("\n")
}

#[test]
fn what_moved_is_told_resource_by_resource() {
    insta::assert_snapshot!(moved(|live| live.droplets.clear()), @"droplet app-main-web (106) is gone");
    insta::assert_snapshot!(moved(|live| live.droplets[0].size = "c-2".to_owned()), @"droplet app-main-web (106): size s-1vcpu-1gb -> c-2");
    insta::assert_snapshot!(moved(|live| live.volumes[0].size_gib = 2), @"volume app-data (vol-103): size 1GiB -> 2GiB");
    insta::assert_snapshot!(moved(|live| {
        live.droplets[0].tags.retain(|tag| tag != "dewpoint:app");
    }), @"droplet app-main-web (106): tag dewpoint:app -> (none)");
    insta::assert_snapshot!(moved(|live| live.images.clear()), @"snapshot app-base-034c92e01a97 (105) is gone");
    insta::assert_snapshot!(moved(|live| live.droplets[0].status = crate::live::DropletStatus::Off), @"droplet app-main-web (106): power on -> off");
    insta::assert_snapshot!(moved(|live| live.firewalls[0].inbound.truncate(3)), @"firewall app-main (fw-102): rule in udp all with dewpoint:app:main -> (none)");
    insta::assert_snapshot!(moved(|live| live.ssh_keys.clear()), @"ssh key app-main (101) is gone");
    // Someone took a name that the plan would make.
    let more = APP.replace(
        "data: { size: 1GiB }",
        "data: { size: 1GiB }\n  more: { size: 1GiB }",
    );
    insta::assert_snapshot!(moved_of(&more, |live| {
        let mut taken = live.volumes[0].clone();
        taken.id = "theirs".to_owned();
        taken.name = "app-more".to_owned();
        taken.tags.clear();
        live.volumes.push(taken);
    }), @"volume app-more (theirs) was not there");
    // A price is part of what was approved.
    let larger = APP.replace("s-1vcpu-1gb\n    volumes", "s-2vcpu-4gb\n    volumes");
    insta::assert_snapshot!(moved_of(&larger, |live| {
        live.catalog.sizes[2].price_hourly = live.catalog.sizes[0].price_hourly;
    }), @"size s-2vcpu-4gb in nyc3: price of an hour $0.0357 -> $0.0625");
}

#[test]
fn what_means_nothing_to_a_plan_is_no_move() {
    let told = moved(|live| {
        live.account.droplet_limit = 7;
        live.tags.push("dewpoint:other".to_owned());
        live.catalog.sizes[0].price_hourly = live.catalog.sizes[1].price_hourly;
        let droplet = &mut live.droplets[0];
        droplet.status = crate::live::DropletStatus::New;
        droplet.created_at += 5;
        droplet.public_ipv4 = None;
        droplet.image_slug = Some("another".to_owned());
        for tag in &mut droplet.tags {
            if tag.starts_with("dewpoint-expires:") {
                "dewpoint-expires:1".clone_into(tag);
            }
        }
        live.images[0].size_mb += 1;
        live.volumes[0].created_at += 1;
        // Others' resources, and those of another environment.
        let mut other = droplet.clone();
        other.id = 7;
        other.name = "app-pr-1-web".to_owned();
        other.tags = ["dewpoint", "dewpoint:app", "dewpoint:app:pr-1"]
            .map(str::to_owned)
            .to_vec();
        live.droplets.push(other);
        let mut volume = live.volumes[0].clone();
        volume.id = "other".to_owned();
        volume.name = "app-pr-1-scratch".to_owned();
        volume.tags = ["dewpoint", "dewpoint:app", "dewpoint:app:pr-1"]
            .map(str::to_owned)
            .to_vec();
        live.volumes.push(volume);
    });
    assert_eq!(told, "");
}

#[test]
fn a_plan_that_was_carried_out_is_stale() {
    let live = nothing();
    let saved = saved(APP, &live);
    let after = World::execute(&saved.plan, &live);
    assert!(!saved.live_moved(&after).is_empty());
}

#[test]
fn what_changed_in_a_manifest_is_told_by_its_place() {
    let saved = saved(APP, &nothing());
    let same = APP.replace(
        "data: { size: 1GiB }",
        "# a comment\n  data:\n    size: \"1GiB\"",
    );
    assert!(saved.manifest_moved(&manifest(&same)).is_empty());
    let other = APP
        .replace("size: 1GiB", "size: 2GiB")
        .replace("command: \"true\"", "command: \"false\"")
        .replace("secrets: [TOKEN]", "secrets: [TOKEN, MORE]");
    insta::assert_snapshot!(saved.manifest_moved(&manifest(&other)).join("\n"), @r#"
    droplets.web.run[0].command true -> false
    droplets.web.secrets ["TOKEN"] -> ["TOKEN","MORE"]
    volumes.data.size 1GiB -> 2GiB
    "#);
}

#[test]
fn files_that_changed_are_named() {
    let files = |pairs: &[(&str, &str)]| SavedSource {
        files: pairs
            .iter()
            .map(|(path, looks)| ((*path).to_owned(), (*looks).to_owned()))
            .collect(),
    };
    let then = files(&[("a", "f 1 00"), ("b", "f 1 00"), ("c", "f 1 00")]);
    let now = files(&[("a", "f 1 00"), ("b", "x 1 00"), ("d", "f 1 00")]);
    assert_eq!(
        then.moved(&now),
        ["b has changed", "c is gone", "d was not there"]
    );
    let many: Vec<(String, String)> = (0..100).map(|n| (n.to_string(), String::new())).collect();
    let many = SavedSource {
        files: many.into_iter().collect(),
    };
    let told = many.moved(&SavedSource::default());
    assert_eq!(told.len(), 21);
    assert_eq!(told[20], "and 80 more");
}

/// Everything that is said against a plan from a hostile file.
fn judged(yaml: &str, live: &Live, spoil: impl FnOnce(&mut Plan)) -> Vec<String> {
    let mut saved = saved(yaml, live);
    spoil(&mut saved.plan);
    let manifest = manifest(yaml);
    let mut said = saved.strangers(&manifest);
    said.extend(saved.strange_live(&manifest, live));
    if let Err(violations) = check::check(&saved.plan, live) {
        said.extend(violations.iter().map(ToString::to_string));
    }
    said
}

#[test]
fn a_hostile_plan_touches_nothing_that_is_not_ours() {
    let mut live = nothing();
    live.droplets = serde_json::from_value(serde_json::json!([{
        "id": 7, "name": "theirs", "status": "active", "region": "nyc3", "size": "s-1vcpu-1gb",
        "image_id": 1, "image_slug": null, "public_ipv4": null, "private_ipv4": null,
        "volume_ids": [], "tags": ["web"], "vpc": null, "created_at": 0,
    }]))
    .expect("droplets");
    live.volumes = serde_json::from_value(serde_json::json!([{
        "id": "v7", "name": "their-data", "region": "nyc3", "size_gib": 1,
        "droplet_ids": [], "tags": [], "created_at": 0,
    }]))
    .expect("volumes");
    live.images = serde_json::from_value(serde_json::json!([{
        "id": 70, "name": "their-image", "status": "available", "regions": ["nyc3"],
        "min_disk_gib": 25, "size_mb": 1, "tags": [], "created_at": 0,
    }]))
    .expect("images");
    assert_eq!(judged(APP, &live, |_| ()), Vec::<String>::new());

    fn each(plan: &mut Plan, change: impl Fn(&mut StepKind)) {
        for step in &mut plan.steps {
            change(&mut step.kind);
        }
    }
    fn more(plan: &mut Plan, kind: StepKind) {
        let id = StepId(u32::try_from(plan.steps.len()).expect("few"));
        for step in 0..id.0 {
            plan.edges.push(Edge {
                from: StepId(step),
                to: id,
                kind: EdgeKind::Needs,
                reason: "so it is said".into(),
            });
        }
        plan.steps.push(Step {
            id,
            address: crate::address::Address::droplet("web"),
            kind,
            cleanup: false,
            expected_seconds: 1,
        });
    }
    let theirs = || DropletRef::Known {
        id: 7,
        name: "theirs".into(),
    };
    let volume = || VolumeRef::Known {
        id: "v7".to_owned(),
    };
    type Spoil = Box<dyn FnOnce(&mut Plan)>;
    let spoils: Vec<(&str, Spoil)> = vec![
        (
            "another project",
            Box::new(|plan| plan.project = "bank".to_owned()),
        ),
        ("another goal", Box::new(|plan| plan.goal = Goal::Test)),
        (
            "a droplet of others is destroyed",
            Box::new(move |plan| {
                more(
                    plan,
                    StepKind::DestroyDroplet {
                        droplet: theirs(),
                        tag: "dewpoint:app:main".into(),
                    },
                )
            }),
        ),
        (
            "a droplet of others is found by its tag",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::DestroyDroplet { tag, .. } = kind {
                        *tag = "web".into();
                    }
                })
            }),
        ),
        (
            "a droplet of others is found by its name",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::CreateDroplets { droplets, .. } = kind {
                        droplets[0].name = "theirs".into();
                    }
                })
            }),
        ),
        (
            "what is made is not tagged",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::CreateDroplets { spec, .. } = kind {
                        spec.tags = vec!["web".to_owned()];
                    }
                })
            }),
        ),
        (
            "the firewall covers others",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::CreateFirewall { spec } = kind {
                        spec.tags.push("web".to_owned());
                    }
                })
            }),
        ),
        (
            "a volume of others is deleted",
            Box::new(move |plan| {
                more(
                    plan,
                    StepKind::DeleteVolume {
                        volume: volume(),
                        name: "their-data".into(),
                        sort: crate::plan::step::DeletedVolume::Alone,
                    },
                )
            }),
        ),
        (
            "a volume of others is used",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::Attach { volume, .. } = kind {
                        *volume = VolumeRef::Known {
                            id: "v7".to_owned(),
                        };
                    }
                })
            }),
        ),
        (
            "a volume of others is formatted",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::Mount { volume_name, .. } = kind {
                        *volume_name = "their-data".into();
                    }
                })
            }),
        ),
        (
            "an image of others is deleted",
            Box::new(|plan| {
                more(
                    plan,
                    StepKind::Prune {
                        id: 70,
                        name: "their-image".to_owned(),
                    },
                )
            }),
        ),
        (
            "an image of others is used",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::CreateDroplets { spec, .. } = kind {
                        spec.image = ImageRef::Id(70);
                    }
                })
            }),
        ),
        (
            "a key of others is deleted",
            Box::new(|plan| {
                more(
                    plan,
                    StepKind::DeleteSshKey {
                        name: "theirs".to_owned(),
                        fingerprint: "aa".to_owned(),
                        forget_private_key: false,
                    },
                )
            }),
        ),
        (
            "tags of others are deleted",
            Box::new(|plan| {
                more(
                    plan,
                    StepKind::DeleteTags {
                        names: vec!["web".to_owned()],
                    },
                )
            }),
        ),
        (
            "other files are sent",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::Sync { source, .. } = kind {
                        *source = SourceSpec::Path {
                            path: "/root".to_owned(),
                            into: "/opt/a".to_owned(),
                        }
                        .into();
                    }
                })
            }),
        ),
        (
            "another repository is fetched",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::Sync { source, .. } = kind {
                        *source = SourceSpec::Git {
                            url: "ext::sh -c id".to_owned(),
                            reference: "main".to_owned(),
                            commit: "a".repeat(40),
                            into: "/opt/a".to_owned(),
                        }
                        .into();
                    }
                })
            }),
        ),
        (
            "another secret is handed out",
            Box::new(|plan| {
                each(plan, |kind| {
                    if let StepKind::Run { run, .. } = kind {
                        run.to_mut()
                            .secrets
                            .to_mut()
                            .push("AWS_SECRET_ACCESS_KEY".to_owned());
                    }
                })
            }),
        ),
        ("steps wait for none", Box::new(|plan| plan.edges.clear())),
        (
            "an edge leads nowhere",
            Box::new(|plan| plan.edges[0].to = StepId(4_000_000_000)),
        ),
    ];
    for (what, spoil) in spoils {
        let said = judged(APP, &live, spoil);
        assert!(!said.is_empty(), "nothing is said against this: {what}");
    }
}
