//! `sweep`: a worked example, and what it must never touch.

mod laws;
pub(super) mod making;

use std::collections::BTreeSet;

use making::{Making, owned, texts};

use super::world::World;
use super::{NOW, assert_checked};
use crate::live::{AccountWide, LiveVolumeSnapshot};
use crate::plan::EdgeKind;
use crate::plan::step::StepKind;
use crate::plan::sweep::{Declared, FoundKind, LEFT_AFTER, Sweep, sweep};
use crate::report::style::Palette;
use crate::report::sweep_text;

const PAST: i64 = NOW - 43_200;
const AHEAD: i64 = NOW + 864_000;
const OLD: i64 = NOW - 3 * LEFT_AFTER;
fn swept(account: &AccountWide, declared: Option<&Declared>, now: i64) -> Sweep {
    let swept = sweep(account, declared, now).expect("a sweep");
    assert_checked(&swept.plan, &account.live);
    swept
}

fn text(swept: &Sweep) -> String {
    text_on(swept, None)
}

fn text_on(swept: &Sweep, width: Option<usize>) -> String {
    let view = sweep_text::View {
        palette: Palette::PLAIN,
        place: "DigitalOcean",
        now: NOW,
        next: Some("dewpoint sweep --yes"),
        flags: "",
        width,
    };
    sweep_text::render(swept, view)
}

#[test]
fn it_fits_a_narrow_and_a_wide_screen() {
    let mut made = Making::new();
    made.environment("app", "pr-7", PAST);
    let account = made.account();
    let swept = swept(&account, None, NOW);
    for width in [80, 160] {
        let text = text_on(&swept, Some(width));
        assert!(text.lines().all(|line| line.chars().count() <= width));
        insta::assert_snapshot!(format!("sweep_on_{width}_columns"), text);
    }
}

fn names(swept: &Sweep) -> Vec<String> {
    let names = swept.found.iter().map(|found| found.name.clone());
    names.collect()
}

#[test]
fn what_has_expired_is_told_and_all_else_of_it_goes_with_it() {
    let mut made = Making::new();
    made.environment("app", "pr-7", PAST);
    made.environment("app", "main", AHEAD);
    let mut builder = owned("shop", Some("main"));
    made.droplet("shop-main-builder.base", builder.clone(), OLD);
    builder.push(format!("dewpoint-expires:{AHEAD}"));
    made.droplet("shop-main-builder.top", builder, OLD);
    made.firewall(
        "app-gone",
        vec!["dewpoint:app:gone".to_owned()],
        NOW - LEFT_AFTER - 5,
    );
    made.key("app-gone");
    made.tags(&texts(&["dewpoint-spec:ffffffffffff"]));
    let account = made.account();
    let swept = swept(&account, None, NOW);
    insta::assert_snapshot!(text(&swept), @r"
    DigitalOcean: the whole account, every project

    app / gone
      - firewall app-gone (fw-1013): nothing is left of its environment
      - ssh_key app-gone (1014): nothing is left of its environment
      - tag dewpoint:app:gone: nothing is left that bears it

    app / pr-7
      - droplet app-pr-7-web (1002): s-1vcpu-1gb in nyc3; made 3d ago; its time is over since 2026-09-21T02:13:20Z, for 12h; $0.0089/h, about $0.64 so far
      - volume app-pr-7-scratch (vol-1001): 10GiB in nyc3; made 3d ago; its environment has expired; $1.00/month, about $0.10 so far
      - firewall app-pr-7 (fw-1004): its environment has expired
      - ssh_key app-pr-7 (1005): its environment has expired
      - tag dewpoint:app:pr-7: nothing is left that bears it

    shop / main
      - droplet shop-main-builder.base (1011): s-1vcpu-1gb in nyc3; made 3d ago; the builder of a snapshot: left half-built, older than a day; $0.0089/h, about $0.64 so far

    tags
      - tag dewpoint-expires:1789956800: nothing is left that bears it
      - tag dewpoint-spec:ffffffffffff: nothing is left that bears it

    Standing, and left as it is: $0.0179/h and $3.00/month
      app in nyc3: 2 volumes (app-models 10GiB, app-models 10GiB); $2.00/month
          ends with `dewpoint destroy --project`
      app / main in nyc3: 1 droplet, volume app-main-scratch 10GiB; expires in 10d; $0.0089/h and $1.00/month
          ends with `dewpoint destroy --env main`
      shop / main in nyc3: builder shop-main-builder.top, there for 3d; expires in 10d; $0.0089/h
          ends with `dewpoint destroy --env main`

    To delete: 2 droplets, 1 volume, 2 firewalls, 2 ssh_keys, 4 tags; $0.0179/h and $1.00/month saved; about $1.38 so far.
    help: nothing was deleted; `dewpoint sweep --yes` deletes exactly this
    help: `dewpoint destroy` wants the project's manifest; where that is lost, one with nothing but `version`, `project` and `region` will do, such as `{version: 1, project: app, region: nyc3}`
    ");

    // Droplets first, and verified; then the rest, their tags last.
    let order: Vec<String> = swept
        .plan
        .steps
        .iter()
        .map(|step| format!("{} {}", step.address, step.kind.title()))
        .collect();
    insta::assert_snapshot!(order.join("\n"), @r"
    volume.app-pr-7-scratch update tags
    droplet.app-pr-7-web detach
    droplet.app-pr-7-web destroy droplet
    droplet.shop-main-builder.base destroy droplet
    volume.app-pr-7-scratch delete volume
    firewall delete firewall
    firewall delete firewall
    ssh_key delete ssh_key
    ssh_key delete ssh_key
    firewall delete tags
    firewall delete tags
    firewall delete tags
    ");

    let after = World::execute(&swept.plan, &account.live);
    let left: Vec<&str> = after.droplets.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(left, ["app-main-web", "shop-main-builder.top"]);
    let left: Vec<&str> = after.volumes.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(left, ["app-models", "app-main-scratch", "app-models"]);
}

#[test]
fn what_only_looks_like_it_is_never_touched() {
    let past = format!("dewpoint-expires:{PAST}");
    let mut made = Making::new();
    // Names prove nothing, nor do tags that begin alike.
    made.droplet("dewpoint-foo", Vec::new(), OLD);
    made.droplet("app-pr-7-web", Vec::new(), OLD);
    made.droplet("a", texts(&["dewpoints", &past]), OLD);
    made.droplet("b", texts(&["dewpoint", "dewpoint:", &past]), OLD);
    made.droplet("c", texts(&["dewpoint", &past]), OLD);
    made.droplet(
        "d",
        texts(&["dewpoint:app", "dewpoint:app:pr-7", &past]),
        OLD,
    );
    made.droplet("e", texts(&["dewpoint", "dewpoint:app:pr-7", &past]), OLD);
    made.droplet(
        "app-pr-7-builder.x",
        texts(&["dewpoint", "dewpoint:app"]),
        OLD,
    );
    // Ours by their tags, and not over.
    for (name, expiry) in [
        ("app-pr-7-f", "dewpoint-expires:soon".to_owned()),
        ("app-pr-7-g", "dewpoint-expires:1".to_owned()),
        ("app-pr-7-h", "dewpoint-expires:-1790000000".to_owned()),
        ("app-pr-7-i", "dewpoint-expires:1790000000000".to_owned()),
        ("app-pr-7-j", format!("dewpoint-expires:{}", NOW + 1)),
        ("app-pr-7-k", "web".to_owned()),
    ] {
        let mut tags = owned("app", Some("pr-7"));
        tags.push(expiry);
        made.droplet(name, tags, OLD);
    }
    // Renewed, with the old tag still there.
    let mut tags = owned("app", Some("pr-7"));
    tags.extend([past.clone(), format!("dewpoint-expires:{AHEAD}")]);
    made.droplet("app-pr-7-l", tags, OLD);
    // Volumes: a project's, even with an expiry; someone's; one that someone's droplet has.
    let holder = made.droplet("theirs", Vec::new(), OLD);
    let mut tags = owned("app", None);
    tags.push(past.clone());
    made.volume("app-data", tags.clone(), None);
    made.volume("app-pr-7-scratch", texts(&[&past]), None);
    let mut tags = owned("app", Some("pr-8"));
    tags.push(past.clone());
    made.volume("app-pr-8-clone", tags, Some(holder));
    // Firewalls and keys: names alone, another's name, one that covers more, one just made.
    made.firewall("app-pr-7", Vec::new(), OLD);
    made.firewall("web", texts(&["dewpoint:app:pr-9"]), OLD);
    made.firewall("app-pr-10", texts(&["dewpoint:app:pr-10", "web"]), OLD);
    made.firewall("app-pr-11", texts(&["dewpoint:app:pr-11"]), NOW - 60);
    for key in [
        "app-pr-7",
        "app-pr-8",
        "app-pr-9x",
        "app-pr-10",
        "app-pr-11",
        "laptop",
    ] {
        made.key(key);
    }
    made.image("app-base-0123456789ab", owned("app", None), OLD);
    made.tags(&texts(&[
        "dewpointed",
        "dewpoint:App",
        "dewpoint:a:b:c",
        "dewpoint-spec:xyz",
        "dewpoint-else",
    ]));
    let swept = swept(&made.account(), None, NOW);
    assert_eq!(names(&swept), Vec::<String>::new(), "{}", text(&swept));
    assert!(!swept.plan.has_steps());
    insta::assert_snapshot!(text(&swept), @r"
    DigitalOcean: the whole account, every project

    note: left alone: droplet a (1003): it bears an expiry, and no tags that say whose it is
    note: left alone: droplet app-pr-7-builder.x (1008): nothing says when it expires; the next apply of its environment gives it an expiry
    note: left alone: droplet app-pr-7-f (1009): its expiry is none that dewpoint writes
    note: left alone: droplet app-pr-7-g (1010): its expiry is none that dewpoint writes
    note: left alone: droplet app-pr-7-h (1011): its expiry is none that dewpoint writes
    note: left alone: droplet app-pr-7-i (1012): its expiry is none that dewpoint writes
    note: left alone: droplet app-pr-7-k (1014): nothing says when it expires; the next apply of its environment gives it an expiry
    note: left alone: droplet b (1004): its tags do not say without contradiction whose it is
    note: left alone: droplet c (1005): it bears an expiry, and no tags that say whose it is
    note: left alone: droplet d (1006): its tags do not say without contradiction whose it is
    note: left alone: droplet e (1007): its tags do not say without contradiction whose it is
    note: left alone: volume app-pr-7-scratch (vol-1018): it bears an expiry, and no tags that say whose it is
    note: left alone: volume app-pr-8-clone (vol-1019): it is attached to droplet theirs, which stays
    note: left alone: firewall app-pr-10 (fw-1022): it covers more than its environment
    note: left alone: firewall app-pr-11 (fw-1023): nothing is left of its environment, but it is younger than a day

    Standing, and left as it is: $0.0714/h and $2.15/month
      app in nyc3: 1 droplet, volume app-data 10GiB, snapshot app-base-0123456789ab 2.5 GB; not all of it expires; $0.0089/h and $1.15/month
          ends with `dewpoint destroy --project`
      app / pr-10: firewall app-pr-10
          ends with `dewpoint destroy --env pr-10`
      app / pr-11: firewall app-pr-11
          ends with `dewpoint destroy --env pr-11`
      app / pr-7 in nyc3: 7 droplets; not all of it expires; $0.0625/h
          ends with `dewpoint destroy --env pr-7`
      app / pr-8 in nyc3: volume app-pr-8-clone 10GiB; expired 12h ago; $1.00/month
          ends with `dewpoint destroy --env pr-8`

    Nothing to sweep.
    help: `dewpoint destroy` wants the project's manifest; where that is lost, one with nothing but `version`, `project` and `region` will do, such as `{version: 1, project: app, region: nyc3}`
    ");
}

#[test]
fn an_apply_that_begins_keeps_its_tags() {
    let mut made = Making::new();
    made.tags(&texts(&[
        "dewpoint",
        "dewpoint:app",
        "dewpoint:app:pr-1",
        "dewpoint-spec:0123456789ab",
    ]));
    made.firewall("app-pr-1", texts(&["dewpoint:app:pr-1"]), OLD);
    made.key("app-pr-1");
    let quiet = names(&swept(&made.account(), None, NOW));
    assert_eq!(
        quiet,
        [
            "app-pr-1",
            "app-pr-1",
            "dewpoint:app:pr-1",
            "dewpoint",
            "dewpoint-spec:0123456789ab",
            "dewpoint:app",
        ]
    );
    // Its expiry is among the tags that it makes first.
    made.tags(&[format!("dewpoint-expires:{AHEAD}")]);
    let swept = swept(&made.account(), None, NOW);
    assert_eq!(names(&swept), Vec::<String>::new());
    let why: BTreeSet<&str> = swept.left.iter().map(|left| left.why.as_str()).collect();
    assert!(
        why.iter().all(|why| why.contains("seems to be beginning")),
        "{why:?}"
    );
}

#[test]
fn a_builder_that_was_kept_is_named_in_place_of_an_apply_that_begins() {
    let mut made = Making::new();
    let lease = format!("dewpoint-expires:{AHEAD}");
    let tags = [owned("shop", Some("main")), vec![lease]].concat();
    made.droplet("shop-main-builder.base", tags, NOW - 7_200);
    // What the failed run made for droplets that it did not come to.
    made.tags(&[
        format!("dewpoint-expires:{}", AHEAD + 5),
        "dewpoint-spec:0123456789ab".to_owned(),
    ]);
    let swept = swept(&made.account(), None, NOW);
    insta::assert_snapshot!(text(&swept), @r"
    DigitalOcean: the whole account, every project

    note: left alone: tags that nothing bears: the builder shop-main-builder.base stands since 2026-09-21T12:13:20Z: what made them may go on from it

    Standing, and left as it is: $0.0089/h
      shop / main in nyc3: builder shop-main-builder.base, there for 2h; expires in 10d; $0.0089/h
          ends with `dewpoint destroy --env main`

    Nothing to sweep.
    help: `dewpoint destroy` wants the project's manifest; where that is lost, one with nothing but `version`, `project` and `region` will do, such as `{version: 1, project: shop, region: nyc3}`
    ");
}

#[test]
fn what_is_not_listed_but_bears_the_tag_keeps_the_environment() {
    let mut made = Making::new();
    made.environment("app", "pr-7", PAST);
    let mut account = made.account();
    *account.borne.get_mut("dewpoint:app:pr-7").expect("a tag") += 1;
    let swept = swept(&account, None, NOW);
    let kinds: Vec<FoundKind> = swept.found.iter().map(|found| found.kind).collect();
    assert_eq!(
        kinds,
        [
            FoundKind::Droplet,
            FoundKind::Volume,
            FoundKind::Tag,
            FoundKind::Tag
        ],
        "{}",
        text(&swept)
    );
}

#[test]
fn what_others_wrote_steers_nothing() {
    use crate::report::tests::seemly::{HOSTILE, assert_seemly};
    let mut made = Making::new();
    made.environment("app", "pr-7", PAST);
    made.live.droplets[0].name.push_str(HOSTILE);
    made.droplet(HOSTILE, texts(&["dewpoint:x y"]), OLD);
    assert_seemly(&text(&swept(&made.account(), None, NOW)), false);
}

#[test]
fn a_tag_that_a_listed_volume_bears_stays_whatever_its_count_says() {
    let mut made = Making::new();
    let tags = [owned("app", None), texts(&["dewpoint-spec:0123456789ab"])].concat();
    made.volume("app-models", tags, None);
    let mut account = made.account();
    assert_eq!(names(&swept(&account, None, NOW)), Vec::<String>::new());
    account.borne.values_mut().for_each(|count| *count = 0);
    assert_eq!(names(&swept(&account, None, NOW)), Vec::<String>::new());
}

#[test]
fn snapshots_that_copies_were_made_from_go_once_none_can_be_made_any_more() {
    let mut made = Making::new();
    let mark = |marker: &str| format!("dewpoint-snap:{marker}");
    let mut volume = owned("app", None);
    volume.push(mark("aaaaaaaaaaaa"));
    made.volume("app-models", volume, None);
    let models = made.live.volumes[0].id.clone();
    let snapshots = [
        // What the volume still holds, and what it held.
        (
            "app-models-snap-aaaaaaaaaaaa",
            Some("aaaaaaaaaaaa"),
            OLD,
            models.as_str(),
        ),
        (
            "app-models-snap-bbbbbbbbbbbb",
            Some("bbbbbbbbbbbb"),
            OLD,
            models.as_str(),
        ),
        (
            "app-models-snap-cccccccccccc",
            Some("cccccccccccc"),
            NOW - 60,
            models.as_str(),
        ),
        // Its volume is gone.
        (
            "app-gone-snap-dddddddddddd",
            Some("dddddddddddd"),
            OLD,
            "vol-gone",
        ),
        // Somebody's own, whatever it is called.
        ("app-models-snap-eeeeeeeeeeee", None, OLD, models.as_str()),
        ("mine", Some("ffffffffffff"), OLD, "vol-gone"),
    ];
    for (id, (name, marker, created_at, volume_id)) in (1..).zip(snapshots) {
        let mut tags = owned("app", None);
        tags.extend(marker.map(mark));
        tags.sort();
        made.tags(&tags);
        made.live.volume_snapshots.push(LiveVolumeSnapshot {
            id: format!("snap-{id}"),
            name: name.to_owned(),
            volume_id: volume_id.to_owned(),
            regions: vec!["nyc3".to_owned()],
            min_disk_gib: 10,
            size_mb: 2_500,
            tags,
            created_at,
        });
    }
    let foreign = LiveVolumeSnapshot {
        id: "snap-foreign".to_owned(),
        tags: vec![mark("bbbbbbbbbbbb")],
        ..made.live.volume_snapshots[1].clone()
    };
    made.live.volume_snapshots.push(foreign);
    let swept = swept(&made.account(), None, NOW);
    assert_eq!(
        names(&swept),
        [
            "app-gone-snap-dddddddddddd",
            "app-models-snap-bbbbbbbbbbbb",
            "dewpoint-snap:dddddddddddd"
        ],
        "{}",
        text(&swept)
    );
    let deleted: Vec<&str> = swept
        .plan
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::DeleteVolumeSnapshot { id, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, ["snap-4", "snap-2"]);
    assert!(text(&swept).contains("2.5 GB in nyc3"), "{}", text(&swept));
    assert!(text(&swept).contains("its volume has been written to since"));
    // The judge of plans lets none go that may still be copied from, or is not ours.
    for id in ["snap-1", "snap-5", "snap-6", "snap-foreign", "snap-none"] {
        let mut plan = swept.plan.clone();
        for step in &mut plan.steps {
            if let StepKind::DeleteVolumeSnapshot { id: chosen, .. } = &mut step.kind {
                *chosen = id.to_owned();
            }
        }
        assert!(
            crate::plan::check::check(&plan, &made.live).is_err(),
            "{id}"
        );
    }
}

#[test]
fn snapshots_go_only_of_projects_whose_manifests_were_given() {
    let mut made = Making::new();
    made.image("app-base-0123456789ab", owned("app", None), OLD);
    made.image("app-old-0123456789ab", owned("app", None), OLD);
    made.image("app-new-0123456789ab", owned("app", None), NOW - 60);
    made.image("app-untagged-0123456789ab", Vec::new(), OLD);
    made.image("app-manual", owned("app", None), OLD);
    let pinned = made.image("app-pinned-0123456789ab", owned("app", None), OLD);
    made.image("shop-base-0123456789ab", owned("shop", None), OLD);
    let account = made.account();
    assert!(swept(&account, None, NOW).found.is_empty());
    let declared = Declared {
        snapshots: [("app".to_owned(), BTreeSet::from(["base".to_owned()]))].into(),
        images: [pinned].into(),
    };
    let swept = swept(&account, Some(&declared), NOW);
    assert_eq!(names(&swept), ["app-old-0123456789ab"]);
    assert!(text(&swept).contains("app-new-0123456789ab"));
}
#[test]
fn nothing_is_deleted_before_what_holds_it_is_gone() {
    let mut made = Making::new();
    made.environment("app", "pr-7", PAST);
    let swept = swept(&made.account(), None, NOW);
    let step = |wanted: fn(&StepKind) -> bool| {
        let found = swept.plan.steps.iter().find(|step| wanted(&step.kind));
        found.expect("a step").id
    };
    let destroy = step(|kind| matches!(kind, StepKind::DestroyDroplet { .. }));
    for wanted in [
        (|kind| matches!(kind, StepKind::DeleteFirewall { .. })) as fn(&StepKind) -> bool,
        |kind| matches!(kind, StepKind::DeleteSshKey { .. }),
    ] {
        let to = step(wanted);
        let mut edges = swept.plan.edges.iter();
        assert!(
            edges.any(|edge| edge.from == destroy && edge.to == to && edge.kind == EdgeKind::Needs)
        );
    }
}
