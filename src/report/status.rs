//! What there is of an environment, as text and JSON.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use serde::Serialize;

use super::hints::Flags;
use super::plan_text::cut;
use super::style::Palette;
use crate::desired::Scope;
use crate::live::ownership::{self, Owner};
use crate::live::{DropletStatus, Live};
use crate::plan::cost::{image_monthly, volume_monthly};
use crate::plan::drift::certain;
use crate::plan::inventory::Inventory;
use crate::plan::{Action, Plan};
use crate::times;
use crate::units::{Gib, Money};

/// What there is.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Name of the project.
    pub project: String,
    /// Name of the environment.
    pub environment: String,
    /// Slug of the region.
    pub region: String,
    /// Whether the environment owns nothing.
    pub is_empty: bool,
    /// Its droplets.
    pub droplets: Vec<Droplet>,
    /// Volumes of the environment and of the project.
    pub volumes: Vec<Stored>,
    /// The project's snapshots.
    pub snapshots: Vec<Stored>,
    /// Snapshots of the volumes, from which throw-away copies are made: each bears the address of its
    /// volume.
    pub volume_snapshots: Vec<Stored>,
    /// The environment's firewall, by its name.
    pub firewall: Option<String>,
    /// What the droplets cost by the hour while they are up.
    pub hourly: Money,
    /// What the droplets have cost since they were made.
    pub so_far: Money,
    /// What volumes and snapshots cost by the month.
    pub monthly: Money,
    /// What is no longer as it was made.
    pub drift: Vec<Drift>,
    /// How many changes the next apply would make; unknown when no plan can be made.
    pub changes: Option<usize>,
    /// Why no plan can be made.
    pub no_plan: Option<String>,
}

/// A droplet.
#[derive(Debug, Clone, Serialize)]
pub struct Droplet {
    /// Its address.
    pub address: String,
    /// Its name on DigitalOcean.
    pub name: String,
    /// Its id there.
    pub id: u64,
    /// Where it is in its life.
    pub status: String,
    /// Slug of its size.
    pub size: String,
    /// Its public address.
    pub public_ipv4: Option<std::net::Ipv4Addr>,
    /// How long it has been there, in seconds.
    pub age_seconds: u64,
    /// When it counts as expired, seconds since 1970.
    pub expires_at: Option<i64>,
    /// Seconds until then; negative when it has passed.
    pub expires_in_seconds: Option<i64>,
    /// What it has cost; none when the price of its size is not known.
    pub so_far: Option<Money>,
}

/// Something that is billed by the month.
#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    /// Its address.
    pub address: String,
    /// Its name on DigitalOcean.
    pub name: String,
    /// Its id there.
    pub id: String,
    /// Its size, in words.
    pub size: String,
    /// `environment` or `project`: with whom it goes.
    pub scope: &'static str,
    /// The environment's droplet that has it; `elsewhere` when another has.
    pub attached_to: Option<String>,
    /// How long it has been there, in seconds.
    pub age_seconds: u64,
    /// What it costs by the month.
    pub monthly: Money,
}

/// Something that is no longer as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Which resource.
    pub address: String,
    /// What of it, in words.
    pub reason: String,
}

impl Status {
    /// From what was found at a time, and the plan that would be carried out, if one can be made.
    #[must_use]
    pub fn of(scope: &Scope, live: &Live, plan: Result<&Plan, String>, now: i64) -> Self {
        let found = Inventory::of(scope, live);
        let owner = Owner::new(&scope.project, &scope.environment);
        let age = |created_at: i64| u64::try_from(now - created_at).unwrap_or_default();
        let price = |size: &str| live.catalog.size(size).map(|size| size.price_hourly);
        let droplets: Vec<Droplet> = found
            .droplets
            .iter()
            .map(|(address, droplet)| {
                let expires_at = ownership::expires_of(&droplet.tags);
                Droplet {
                    address: address.to_string(),
                    name: droplet.name.clone(),
                    id: droplet.id,
                    status: match &droplet.status {
                        DropletStatus::New => "new".to_owned(),
                        DropletStatus::Active => "active".to_owned(),
                        DropletStatus::Off => "off".to_owned(),
                        DropletStatus::Other(word) => word.clone(),
                    },
                    size: droplet.size.clone(),
                    public_ipv4: droplet.public_ipv4,
                    age_seconds: age(droplet.created_at),
                    expires_at,
                    expires_in_seconds: expires_at.map(|at| at - now),
                    so_far: price(&droplet.size).map(|hourly| {
                        let seconds = Decimal::from(age(droplet.created_at));
                        Money(hourly.0 * seconds / Decimal::from(3_600))
                    }),
                }
            })
            .collect();
        let volumes: Vec<Stored> = found
            .volumes
            .iter()
            .map(|(address, volume)| Stored {
                address: address.to_string(),
                name: volume.name.clone(),
                id: volume.id.clone(),
                size: Gib(volume.size_gib).to_string(),
                scope: if owner.in_environment(&volume.tags) {
                    "environment"
                } else {
                    "project"
                },
                attached_to: volume.droplet_ids.first().map(|holder| {
                    let known = droplets.iter().find(|droplet| droplet.id == *holder);
                    known.map_or_else(|| "elsewhere".to_owned(), |d| d.address.clone())
                }),
                age_seconds: age(volume.created_at),
                monthly: volume_monthly(Gib(volume.size_gib)),
            })
            .collect();
        let snapshots: Vec<Stored> = found
            .snapshots
            .iter()
            .map(|(address, image)| Stored {
                address: address.to_string(),
                name: image.name.clone(),
                id: image.id.to_string(),
                size: gb(image.size_mb),
                scope: "project",
                attached_to: None,
                age_seconds: age(image.created_at),
                monthly: image_monthly(image.size_mb),
            })
            .collect();
        let volume_snapshots: Vec<Stored> = found
            .volume_snapshots
            .iter()
            .map(|(address, snapshot)| Stored {
                address: address.to_string(),
                name: snapshot.name.clone(),
                id: snapshot.id.clone(),
                size: gb(snapshot.size_mb),
                scope: if owner.in_environment(&snapshot.tags) {
                    "environment"
                } else {
                    "project"
                },
                attached_to: None,
                age_seconds: age(snapshot.created_at),
                monthly: image_monthly(snapshot.size_mb),
            })
            .collect();
        let stored = volumes.iter().chain(&snapshots).chain(&volume_snapshots);
        Self {
            project: scope.project.clone(),
            environment: scope.environment.clone(),
            region: scope.region.clone(),
            is_empty: found.is_empty(scope),
            firewall: found.firewall.map(|wall| wall.name.clone()),
            hourly: found
                .droplets
                .iter()
                .filter_map(|(_, droplet)| price(&droplet.size))
                .sum(),
            so_far: droplets.iter().filter_map(|droplet| droplet.so_far).sum(),
            monthly: stored.map(|stored| stored.monthly).sum(),
            drift: plan
                .as_ref()
                .map(|plan| drift(&certain(plan)))
                .unwrap_or_default(),
            changes: plan.as_ref().ok().map(|plan| {
                let changes = plan.changes.iter();
                changes
                    .filter(|change| change.action != Action::Keep)
                    .count()
            }),
            no_plan: plan.err(),
            droplets,
            volumes,
            snapshots,
            volume_snapshots,
        }
    }
}

/// What is no longer as it was applied, in words.
#[must_use]
pub fn drift(found: &[crate::plan::Drift]) -> Vec<Drift> {
    found
        .iter()
        .map(|drift| Drift {
            address: drift.address.to_string(),
            reason: super::drift::sentence(drift),
        })
        .collect()
}

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Colours.
    pub palette: Palette,
    /// Where it is: such as `DigitalOcean`.
    pub place: &'a str,
    /// Width of the screen in characters.
    pub width: usize,
    /// What a further command has to be given.
    pub flags: &'a Flags,
}

/// Renders it.
#[must_use]
pub fn render(status: &Status, view: View<'_>) -> String {
    view.palette.screen(render_of(status, view))
}

fn render_of(status: &Status, view: View<'_>) -> String {
    let palette = view.palette;
    let mut out = String::new();
    let what = format!("{} / {}", status.project, status.environment);
    let _ = writeln!(
        out,
        "{} in {} on {}{}",
        palette.strong(&what),
        status.region,
        view.place,
        if status.is_empty {
            ": the environment is empty"
        } else {
            ""
        }
    );
    if !status.droplets.is_empty() {
        out.push('\n');
        table(&mut out, &droplet_rows(status), view);
    }
    let stored: Vec<&Stored> = status.volumes.iter().chain(&status.snapshots).collect();
    if !(stored.is_empty() && status.volume_snapshots.is_empty()) {
        out.push('\n');
        let rows = stored_rows(&stored, &status.volume_snapshots);
        table(&mut out, &rows, view);
    }
    let monthly = status.monthly.cents();
    if !status.droplets.is_empty() {
        let _ = writeln!(
            out,
            "\nCost: {}/h while droplets are up, about {} so far; {monthly}/month kept.",
            status.hourly,
            status.so_far.cents(),
        );
    } else if !stored.is_empty() || !status.volume_snapshots.is_empty() {
        let _ = writeln!(out, "\nCost: {monthly}/month kept.");
    }
    for drift in &status.drift {
        let _ = writeln!(
            out,
            "{} {}: {}",
            palette.changed("drifted:"),
            drift.address,
            drift.reason
        );
    }
    match (status.changes, &status.no_plan) {
        (_, Some(why)) => {
            let _ = writeln!(out, "{} {why}", palette.changed("note:"));
        }
        (Some(0), _) if !status.is_empty => out.push_str("As the manifest says.\n"),
        (Some(count), _) if !status.is_empty => {
            let _ = writeln!(
                out,
                "{count} {} from the manifest: `dewpoint plan{}` shows {}.",
                if count == 1 {
                    "difference"
                } else {
                    "differences"
                },
                view.flags,
                if count == 1 { "it" } else { "them" }
            );
        }
        _ => {}
    }
    out
}

fn droplet_rows(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![
        [
            "droplet", "state", "size", "address", "age", "expires", "so far",
        ]
        .map(ToOwned::to_owned)
        .to_vec(),
    ];
    for droplet in &status.droplets {
        let expires = match droplet.expires_in_seconds {
            Some(left) if left > 0 => format!("in {}", times::age(left.unsigned_abs())),
            Some(over) => format!("{} ago", times::age(over.unsigned_abs())),
            None => "never".to_owned(),
        };
        rows.push(vec![
            droplet.address.clone(),
            droplet.status.clone(),
            droplet.size.clone(),
            droplet
                .public_ipv4
                .map_or_else(|| "-".to_owned(), |address| address.to_string()),
            times::age(droplet.age_seconds),
            expires,
            droplet.so_far.map_or_else(
                || "?".to_owned(),
                |so_far| Money(so_far.0.round_dp(3)).to_string(),
            ),
        ]);
    }
    rows
}

/// A size in GB, of which the API tells thousandths.
fn gb(size_mb: u64) -> String {
    format!("{}.{} GB", size_mb / 1_000, size_mb % 1_000 / 100)
}

/// Each of the first, and how many there are of the second by volume.
fn stored_rows(stored: &[&Stored], of_volumes: &[Stored]) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["kept", "size", "whose", "age", "cost", "attached to"]
            .map(ToOwned::to_owned)
            .to_vec(),
    ];
    for stored in stored {
        rows.push(vec![
            stored.address.clone(),
            stored.size.clone(),
            stored.scope.to_owned(),
            times::age(stored.age_seconds),
            format!("{}/month", stored.monthly.cents()),
            stored.attached_to.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let mut rest = of_volumes;
    while let Some(first) = rest.first() {
        let (same, more) = rest.split_at(
            rest.iter()
                .take_while(|other| other.address == first.address)
                .count(),
        );
        let monthly: Money = same.iter().map(|snapshot| snapshot.monthly).sum();
        let youngest = same.iter().map(|snapshot| snapshot.age_seconds).min();
        rows.push(vec![
            format!("snapshots of {}", first.address),
            same.len().to_string(),
            first.scope.to_owned(),
            times::age(youngest.unwrap_or_default()),
            format!("{}/month", monthly.cents()),
            "-".to_owned(),
        ]);
        rest = more;
    }
    rows
}

/// Columns that are as wide as they must be; a line that is too long is cut at the screen's edge.
fn table(out: &mut String, rows: &[Vec<String>], view: View<'_>) {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        })
        .collect();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let line = cut(line.trim_end(), view.width);
        out.push_str(&if number == 0 {
            view.palette.faint(&line)
        } else {
            line
        });
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn live() -> Live {
        let text = r#"{
          "account": {"droplet_limit": 10, "volume_limit": 0, "status": "active"},
          "droplets": [
            {"id": 7, "name": "app-main-runner", "status": "active", "region": "nyc3", "size": "s-1vcpu-1gb",
             "image_id": 1, "image_slug": null, "public_ipv4": "203.0.113.7", "private_ipv4": null,
             "volume_ids": ["vol-1"], "tags": ["dewpoint", "dewpoint-expires:1790003600", "dewpoint:app", "dewpoint:app:main"],
             "vpc": null, "created_at": 1789992800},
            {"id": 8, "name": "app-main-builder.base", "status": "off", "region": "nyc3", "size": "unheard-of",
             "image_id": 1, "image_slug": null, "public_ipv4": null, "private_ipv4": null,
             "volume_ids": [], "tags": ["dewpoint", "dewpoint-expires:1789999970", "dewpoint:app", "dewpoint:app:main"],
             "vpc": null, "created_at": 1789999955},
            {"id": 9, "name": "app-pr-1-runner", "status": "active", "region": "nyc3", "size": "s-1vcpu-1gb",
             "image_id": 1, "image_slug": null, "public_ipv4": "203.0.113.9", "private_ipv4": null,
             "volume_ids": [], "tags": ["dewpoint", "dewpoint:app", "dewpoint:app:pr-1"], "vpc": null, "created_at": 1}
          ],
          "holders": [],
          "volumes": [
            {"id": "vol-1", "name": "old-name", "region": "nyc3", "size_gib": 50, "droplet_ids": [7],
             "tags": ["dewpoint", "dewpoint-name:app-models", "dewpoint:app"], "created_at": 1785680000},
            {"id": "vol-2", "name": "theirs", "region": "nyc3", "size_gib": 5, "droplet_ids": [], "tags": [], "created_at": 1}
          ],
          "images": [
            {"id": 70, "name": "golden", "status": "available", "regions": ["nyc3"], "min_disk_gib": 25, "size_mb": 2340,
             "tags": ["dewpoint", "dewpoint-name:app-base-0123456789ab", "dewpoint:app"], "created_at": 1789900000}
          ],
          "firewalls": [], "ssh_keys": [], "tags": [],
          "catalog": {"sizes": [{"slug": "s-1vcpu-1gb", "disk_gib": 25, "memory_mib": 1024, "vcpus": 1,
             "price_hourly": "0.00893", "price_monthly": "6", "regions": ["nyc3"], "available": true}],
             "regions": [], "images": {}, "distributions": []}
        }"#;
        serde_json::from_str(text).expect("a live state")
    }

    fn scope(environment: &str) -> Scope {
        let text = format!(
            "version: 1\nproject: app\nenvironment: {environment}\nregion: nyc3\nvolumes:\n  models: {{ size: 50GiB }}\ndroplets:\n  runner: {{ image: ubuntu-24-04-x64, size: s-1vcpu-1gb }}\n"
        );
        crate::desired::scope(&serde_yaml::from_str(&text).expect("a manifest"))
    }

    fn text(status: &Status, width: usize) -> String {
        let view = View {
            palette: Palette::PLAIN,
            place: "DigitalOcean",
            width,
            flags: &Flags::default().option("--env", "x"),
        };
        super::super::fold::fold(&render(status, view), width)
    }

    #[test]
    fn what_others_wrote_steers_nothing() {
        use crate::report::tests::seemly::{HOSTILE, assert_seemly};
        let mut live = live();
        live.droplets[0].status = crate::live::DropletStatus::Other(HOSTILE.to_owned());
        live.droplets[0].size = HOSTILE.to_owned();
        live.volumes[0].name = HOSTILE.to_owned();
        let status = Status::of(&scope("main"), &live, Err(HOSTILE.to_owned()), NOW);
        for coloured in [false, true] {
            let view = View {
                palette: Palette::new(coloured),
                place: "DigitalOcean",
                width: 80,
                flags: &Flags::default(),
            };
            assert_seemly(&render(&status, view), coloured);
        }
    }

    #[test]
    fn what_there_is_fits_a_screen() {
        let mut status = Status::of(&scope("main"), &live(), Err("why not".to_owned()), NOW);
        insta::assert_snapshot!(text(&status, 80), @r"
        app / main in nyc3 on DigitalOcean

          droplet         state   size         address      age  expires  so far
          snapshot.base   off     unheard-of   -            45s  30s ago  ?
          droplet.runner  active  s-1vcpu-1gb  203.0.113.7  2h   in 1h    $0.018

          kept           size    whose    age   cost         attached to
          volume.models  50GiB   project  50d   $5.00/month  droplet.runner
          snapshot.base  2.3 GB  project  1d3h  $0.14/month  -

        Cost: $0.0089/h while droplets are up, about $0.02 so far; $5.14/month kept.
        note: why not
        ");
        status.no_plan = None;
        status.changes = Some(2);
        status.drift = vec![Drift {
            address: "droplet.runner".to_owned(),
            reason: "someone took tags of dewpoint from it".to_owned(),
        }];
        insta::assert_snapshot!(text(&status, 160), @r"
        app / main in nyc3 on DigitalOcean

          droplet         state   size         address      age  expires  so far
          snapshot.base   off     unheard-of   -            45s  30s ago  ?
          droplet.runner  active  s-1vcpu-1gb  203.0.113.7  2h   in 1h    $0.018

          kept           size    whose    age   cost         attached to
          volume.models  50GiB   project  50d   $5.00/month  droplet.runner
          snapshot.base  2.3 GB  project  1d3h  $0.14/month  -

        Cost: $0.0089/h while droplets are up, about $0.02 so far; $5.14/month kept.
        drifted: droplet.runner: someone took tags of dewpoint from it
        2 differences from the manifest: `dewpoint plan --env x` shows them.
        ");
        let value = serde_json::to_value(&status).expect("JSON");
        assert_eq!(value["droplets"][1]["expires_in_seconds"], 3600);
        assert_eq!(value["volumes"][0]["attached_to"], "droplet.runner");
    }

    #[test]
    fn snapshots_of_volumes_are_counted_by_volume_and_priced() {
        let mut live = live();
        for number in 1..=3 {
            live.volume_snapshots.push(crate::live::LiveVolumeSnapshot {
                id: format!("snap-{number}"),
                name: format!("app-models-snap-{number}"),
                volume_id: if number < 3 { "vol-1" } else { "vol-2" }.to_owned(),
                regions: vec!["nyc3".to_owned()],
                min_disk_gib: 50,
                size_mb: 5_000,
                tags: vec!["dewpoint".to_owned(), "dewpoint:app".to_owned()],
                created_at: NOW - 7_200 * number,
            });
        }
        let status = Status::of(&scope("main"), &live, Err(String::new()), NOW);
        let shown = text(&status, 160);
        let line = shown.lines().find(|line| line.contains("snapshots of"));
        insta::assert_snapshot!(line.unwrap_or_default(), @"  snapshots of volume.models  2       project  2h    $0.60/month  -");
        assert!(shown.contains("$5.74/month kept"), "{shown}");
    }

    #[test]
    fn nothing_is_one_line() {
        let mut live = live();
        live.volumes.clear();
        live.images.clear();
        let status = Status::of(&scope("other"), &live, Err(String::new()), NOW);
        let status = Status {
            no_plan: None,
            ..status
        };
        assert_eq!(
            text(&status, 80),
            "app / other in nyc3 on DigitalOcean: the environment is empty\n"
        );
    }
}
