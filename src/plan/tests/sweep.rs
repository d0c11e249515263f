//! `sweep`: a worked example, what it must never touch, and laws.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::laws::execute_in_some_order;
use super::world::{World, nothing};
use super::{NOW, assert_checked};
use crate::live::{
    AccountWide, DropletStatus, Live, LiveDroplet, LiveFirewall, LiveImage, LiveSshKey, LiveVolume,
    LiveVolumeSnapshot,
};
use crate::plan::EdgeKind;
use crate::plan::step::StepKind;
use crate::plan::sweep::{Declared, FoundKind, LEFT_AFTER, Sweep, sweep};
use crate::report::style::Palette;
use crate::report::sweep_text;

const PAST: i64 = NOW - 43_200;
const AHEAD: i64 = NOW + 864_000;
const OLD: i64 = NOW - 3 * LEFT_AFTER;

/// An account that is being made up.
#[derive(Clone)]
struct Making {
    live: Live,
    firewalls_made: BTreeMap<String, i64>,
    next: u64,
}

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for droplet in &self.live.droplets {
            writeln!(f, "{} {} {:?}", droplet.id, droplet.name, droplet.tags)?;
        }
        for volume in &self.live.volumes {
            let LiveVolume {
                id,
                name,
                droplet_ids,
                tags,
                ..
            } = volume;
            writeln!(f, "{id} {name} on {droplet_ids:?} {tags:?}")?;
        }
        for wall in &self.live.firewalls {
            writeln!(f, "{} {} {:?}", wall.id, wall.name, wall.tags)?;
        }
        for key in &self.live.ssh_keys {
            writeln!(f, "{} {}", key.id, key.name)?;
        }
        writeln!(f, "{:?}", self.live.tags)
    }
}

fn owned(project: &str, environment: Option<&str>) -> Vec<String> {
    let mut tags = vec!["dewpoint".to_owned(), format!("dewpoint:{project}")];
    tags.extend(environment.map(|environment| format!("dewpoint:{project}:{environment}")));
    tags
}

fn texts(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

impl Making {
    fn new() -> Self {
        Self {
            live: nothing(),
            firewalls_made: BTreeMap::new(),
            next: 1_000,
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn tags(&mut self, tags: &[String]) {
        for tag in tags.iter().filter(|tag| tag.starts_with("dewpoint")) {
            if !self.live.tags.contains(tag) {
                self.live.tags.push(tag.clone());
            }
        }
        self.live.tags.sort();
    }

    fn droplet(&mut self, name: &str, mut tags: Vec<String>, created_at: i64) -> u64 {
        tags.sort();
        self.tags(&tags);
        let id = self.id();
        self.live.droplets.push(LiveDroplet {
            id,
            name: name.to_owned(),
            status: DropletStatus::Active,
            region: "nyc3".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image_id: 1,
            image_slug: None,
            public_ipv4: Some([203, 0, 113, 1].into()),
            private_ipv4: None,
            volume_ids: Vec::new(),
            tags,
            vpc: None,
            created_at,
        });
        id
    }

    fn volume(&mut self, name: &str, mut tags: Vec<String>, droplet: Option<u64>) {
        tags.sort();
        self.tags(&tags);
        let id = format!("vol-{}", self.id());
        if let Some(droplet) = droplet {
            let droplets = &mut self.live.droplets;
            let holder = droplets.iter_mut().find(|live| live.id == droplet);
            holder.expect("a droplet").volume_ids.push(id.clone());
        }
        self.live.volumes.push(LiveVolume {
            id,
            name: name.to_owned(),
            region: "nyc3".to_owned(),
            size_gib: 10,
            droplet_ids: droplet.into_iter().collect(),
            tags,
            created_at: OLD,
        });
    }

    fn firewall(&mut self, name: &str, tags: Vec<String>, created_at: i64) {
        self.tags(&tags);
        let id = format!("fw-{}", self.id());
        self.firewalls_made.insert(id.clone(), created_at);
        self.live.firewalls.push(LiveFirewall {
            id,
            name: name.to_owned(),
            inbound: Vec::new(),
            outbound: Vec::new(),
            tags,
            droplet_ids: Vec::new(),
        });
    }

    fn key(&mut self, name: &str) {
        let id = self.id();
        self.live.ssh_keys.push(LiveSshKey {
            id,
            name: name.to_owned(),
            fingerprint: format!("fp:{id}"),
        });
    }

    fn image(&mut self, name: &str, tags: Vec<String>, created_at: i64) -> u64 {
        self.tags(&tags);
        let id = self.id();
        self.live.images.push(LiveImage {
            id,
            name: name.to_owned(),
            status: "available".to_owned(),
            regions: vec!["nyc3".to_owned()],
            min_disk_gib: 25,
            size_mb: 2_500,
            tags,
            created_at,
        });
        id
    }

    /// A whole environment whose droplets have this lease.
    fn environment(&mut self, project: &str, environment: &str, expires: i64) {
        let name = format!("{project}-{environment}");
        let mut tags = owned(project, Some(environment));
        self.volume(&format!("{name}-scratch"), tags.clone(), None);
        tags.push(format!("dewpoint-expires:{expires}"));
        tags.push("dewpoint-spec:0123456789ab".to_owned());
        let droplet = self.droplet(&format!("{name}-web"), tags, OLD);
        self.volume(
            &format!("{project}-models"),
            owned(project, None),
            Some(droplet),
        );
        let tag = format!("dewpoint:{project}:{environment}");
        self.firewall(&name, vec![tag], OLD);
        self.key(&name);
    }

    fn account(&self) -> AccountWide {
        account(&self.live, &self.firewalls_made)
    }
}

/// What a sweep would read of this.
pub(super) fn account(live: &Live, firewalls_made: &BTreeMap<String, i64>) -> AccountWide {
    let mut borne: BTreeMap<String, u64> = live.tags.iter().map(|tag| (tag.clone(), 0)).collect();
    let droplets = live.droplets.iter().map(|droplet| &droplet.tags);
    let volumes = live.volumes.iter().map(|volume| &volume.tags);
    let images = live.images.iter().map(|image| &image.tags);
    let snapshots = live.volume_snapshots.iter().map(|snapshot| &snapshot.tags);
    let all = droplets.chain(volumes).chain(images).chain(snapshots);
    for tag in all.flatten() {
        if let Some(count) = borne.get_mut(tag) {
            *count += 1;
        }
    }
    AccountWide {
        live: live.clone(),
        borne,
        firewalls_made: firewalls_made.clone(),
    }
}

fn swept(account: &AccountWide, declared: Option<&Declared>, now: i64) -> Sweep {
    let swept = sweep(account, declared, now).expect("a sweep");
    assert_checked(&swept.plan, &account.live);
    swept
}

fn text(swept: &Sweep) -> String {
    let view = sweep_text::View {
        palette: Palette::PLAIN,
        place: "DigitalOcean",
        now: NOW,
        next: Some("dewpoint sweep --yes"),
        width: None,
    };
    sweep_text::render(swept, view)
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

    To delete: 2 droplets, 1 volume, 2 firewalls, 2 ssh_keys, 4 tags; $0.0179/h and $1.00/month saved; about $1.38 so far.
    help: nothing was deleted; `dewpoint sweep --yes` deletes exactly this
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

    Nothing to sweep.
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
        let again = swept(&super::sweep::account(&after, &made.firewalls_made), declared.as_ref(), NOW);
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
            let account = account(live, &made.firewalls_made);
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
