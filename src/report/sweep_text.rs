//! What a sweep found, as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::fold::fold;
use super::style::Palette;
use crate::plan::Action;
use crate::plan::sweep::{Found, FoundKind, Piece, Standing, Sweep};
use crate::times;
use crate::units::Money;

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Colours.
    pub palette: Palette,
    /// Where it was looked.
    pub place: &'a str,
    /// When, seconds since 1970.
    pub now: i64,
    /// What a command that deletes what was found must be given; none when this one does.
    pub next: Option<&'a str>,
    /// What a further command must be given: empty, or with a blank before it.
    pub flags: &'a str,
    /// Width of the terminal in characters; none off one.
    pub width: Option<usize>,
}

/// More environments and projects than this are counted.
const STANDING_SHOWN: usize = 50;
/// More volumes or snapshots of one are counted.
const PIECES_SHOWN: usize = 3;

/// Renders what was found.
#[must_use]
pub fn render(sweep: &Sweep, view: View<'_>) -> String {
    view.palette.screen(render_of(sweep, view))
}

fn render_of(sweep: &Sweep, view: View<'_>) -> String {
    let palette = view.palette;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} the whole account, every project",
        palette.strong(&format!("{}:", view.place))
    );
    let mut last = None;
    for found in &sweep.found {
        let whose = whose(found);
        if last.as_ref() != Some(&whose) {
            let _ = writeln!(out, "\n{}", palette.strong(&whose));
            last = Some(whose);
        }
        write_found(&mut out, found, view);
    }
    if !sweep.left.is_empty() {
        out.push('\n');
    }
    for left in &sweep.left {
        let id = left
            .id
            .as_ref()
            .map_or_else(String::new, |id| format!(" ({id})"));
        let what = match left.kind {
            FoundKind::Tag => left.name.clone(),
            kind => format!("{} {}{id}", word(kind), left.name),
        };
        let _ = writeln!(
            out,
            "{} left alone: {what}: {}",
            palette.changed("note:"),
            left.why
        );
    }
    write_standing(&mut out, sweep, view);
    let _ = writeln!(out, "\n{}", summary(sweep, palette));
    if let Some(command) = view.next.filter(|_| !sweep.found.is_empty()) {
        let _ = writeln!(
            out,
            "{} nothing was deleted; `{command}` deletes exactly this",
            palette.running("help:")
        );
    }
    if let Some(standing) = sweep.standing.first() {
        let _ = writeln!(
            out,
            "{} `dewpoint destroy` wants the project's manifest; where that is lost, one with nothing but `version`, `project` and `region` will do, such as {}",
            palette.running("help:"),
            sample(standing),
        );
    }
    match view.width {
        Some(width) => fold(&out, width),
        None => out,
    }
}

fn whose(found: &Found) -> String {
    match (&found.project, &found.environment) {
        (Some(project), Some(environment)) => format!("{project} / {environment}"),
        (Some(project), None) => project.clone(),
        (None, _) => "tags".to_owned(),
    }
}

const fn word(kind: FoundKind) -> &'static str {
    match kind {
        FoundKind::Droplet => "droplet",
        FoundKind::Volume => "volume",
        FoundKind::Firewall => "firewall",
        FoundKind::SshKey => "ssh_key",
        FoundKind::Snapshot => "snapshot",
        FoundKind::VolumeSnapshot => "volume_snapshot",
        FoundKind::Tag => "tag",
    }
}

fn write_found(out: &mut String, found: &Found, view: View<'_>) {
    let palette = view.palette;
    let sign = palette.sign(Action::Delete);
    let _ = write!(out, "  {sign} {} {}", word(found.kind), found.name);
    if let Some(id) = &found.id {
        let _ = write!(out, " {}", palette.faint(&format!("({id})")));
    }
    let mut parts = Vec::new();
    if !found.what.is_empty() {
        parts.push(found.what.clone());
    }
    if let Some(made) = found.created_at.filter(|at| *at > 0) {
        parts.push(format!("made {} ago", age(view.now - made)));
    }
    let expired = found.expired_at.map_or_else(String::new, |at| {
        let moment = jiff::Timestamp::from_second(at)
            .map_or_else(|_| at.to_string(), |moment| moment.to_string());
        format!(" since {moment}, for {}", age(view.now - at))
    });
    parts.push(format!("{}{expired}", found.reason.text));
    let price = match (found.hourly, found.monthly) {
        (Some(hourly), _) => Some(format!("{hourly}/h")),
        (None, Some(monthly)) => Some(format!("{}/month", monthly.cents())),
        (None, None) => None,
    };
    if let Some(price) = price {
        let spent = found.spent.map_or_else(String::new, |spent| {
            format!(", about {} so far", spent.cents())
        });
        parts.push(format!("{price}{spent}"));
    }
    let _ = writeln!(out, ": {}", parts.join("; "));
}

/// A manifest that is enough to end what stands.
fn sample(standing: &Standing) -> String {
    let region = standing.regions.first().map_or("REGION", String::as_str);
    format!(
        "`{{version: 1, project: {}, region: {region}}}`",
        standing.project
    )
}

/// What no sweep touches: whose it is, what of it there is, until when, for how much, and how it ends.
fn write_standing(out: &mut String, sweep: &Sweep, view: View<'_>) {
    let palette = view.palette;
    if sweep.standing.is_empty() {
        return;
    }
    let hourly = sweep.standing.iter().map(|standing| standing.hourly).sum();
    let monthly = sweep.standing.iter().map(|standing| standing.monthly).sum();
    let money = priced(hourly, monthly).map_or_else(String::new, |money| format!(" {money}"));
    let _ = writeln!(
        out,
        "\n{}{money}",
        palette.strong("Standing, and left as it is:")
    );
    for standing in sweep.standing.iter().take(STANDING_SHOWN) {
        let _ = writeln!(out, "  {}", stands(standing, view));
        let _ = writeln!(
            out,
            "      ends with `{}{}`",
            standing.ends_with, view.flags
        );
    }
    if let more @ 1.. = sweep.standing.len().saturating_sub(STANDING_SHOWN) {
        let _ = writeln!(out, "  and {more} more: `--format json` has all");
    }
}

fn stands(standing: &Standing, view: View<'_>) -> String {
    let whose = match &standing.environment {
        Some(environment) => format!("{} / {environment}", standing.project),
        None => standing.project.clone(),
    };
    let regions: Vec<&str> = standing.regions.iter().map(String::as_str).collect();
    let place = if regions.is_empty() {
        String::new()
    } else {
        format!(" in {}", regions.join(", "))
    };
    let mut things = Vec::new();
    match standing.droplets.len() {
        0 => {}
        1 => things.push("1 droplet".to_owned()),
        count => things.push(format!("{count} droplets")),
    }
    for builder in &standing.builders {
        let since = builder.created_at.map_or_else(String::new, |made| {
            format!(", there for {}", age(view.now - made))
        });
        things.push(format!("builder {}{since}", builder.name));
    }
    things.extend(pieces("volume", "volumes", &standing.volumes));
    things.extend(pieces("snapshot", "snapshots", &standing.snapshots));
    things.extend(pieces(
        "snapshot of a volume",
        "snapshots of volumes",
        &standing.volume_snapshots,
    ));
    if things.is_empty() {
        things.extend(
            standing
                .firewall
                .iter()
                .map(|wall| format!("firewall {wall}")),
        );
    }
    let mut parts = vec![things.join(", ")];
    parts.extend(standing.expires_at.map(|at| match at - view.now {
        left @ 1.. => format!("expires in {}", age(left)),
        over => format!("expired {} ago", age(-over)),
    }));
    if standing.expires_at.is_none()
        && !(standing.droplets.is_empty() && standing.builders.is_empty())
    {
        parts.push("not all of it expires".to_owned());
    }
    parts.extend(priced(standing.hourly, standing.monthly));
    format!(
        "{}{place}: {}",
        view.palette.strong(&whose),
        parts.join("; ")
    )
}

/// Some things of one kind, the first of them by name.
fn pieces(one: &str, many: &str, pieces: &[Piece]) -> Option<String> {
    let named = |piece: &Piece| format!("{} {}", piece.name, piece.size);
    match pieces {
        [] => None,
        [piece] => Some(format!("{one} {}", named(piece))),
        pieces => {
            let shown: Vec<String> = pieces.iter().take(PIECES_SHOWN).map(named).collect();
            let more = match pieces.len().saturating_sub(PIECES_SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let count = pieces.len();
            Some(format!("{count} {many} ({}{more})", shown.join(", ")))
        }
    }
}

/// What costs by the hour and by the month, if anything does.
fn priced(hourly: Money, monthly: Money) -> Option<String> {
    let money: Vec<String> = [(hourly, "/h"), (monthly.cents(), "/month")]
        .into_iter()
        .filter(|(money, _)| money.0 > rust_decimal::Decimal::ZERO)
        .map(|(money, per)| format!("{money}{per}"))
        .collect();
    (!money.is_empty()).then(|| money.join(" and "))
}

/// The one line at the end.
fn summary(sweep: &Sweep, palette: Palette) -> String {
    if sweep.found.is_empty() {
        return palette.strong("Nothing to sweep.");
    }
    let kinds: BTreeSet<FoundKind> = sweep.found.iter().map(|found| found.kind).collect();
    let counts: Vec<String> = kinds
        .into_iter()
        .map(|kind| {
            let count = sweep
                .found
                .iter()
                .filter(|found| found.kind == kind)
                .count();
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} {}{plural}", word(kind))
        })
        .collect();
    let hourly: Money = sweep.found.iter().filter_map(|found| found.hourly).sum();
    let stored = sweep.found.iter().filter(|found| found.hourly.is_none());
    let monthly: Money = stored.filter_map(|found| found.monthly).sum();
    let spent: Money = sweep.found.iter().filter_map(|found| found.spent).sum();
    let mut parts = vec![counts.join(", ")];
    parts.extend(priced(hourly, monthly).map(|money| format!("{money} saved")));
    if spent.0 > rust_decimal::Decimal::ZERO {
        parts.push(format!("about {} so far", spent.cents()));
    }
    format!("{} {}.", palette.strong("To delete:"), parts.join("; "))
}

/// What was spent is an estimate: to the cent.
/// How long ago it was; clocks that disagree make that no time at all.
fn age(seconds: i64) -> String {
    times::age(u64::try_from(seconds).unwrap_or(0))
}
