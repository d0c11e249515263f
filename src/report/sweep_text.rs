//! What a sweep found, as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::fold::fold;
use super::style::Palette;
use crate::plan::Action;
use crate::plan::sweep::{Found, FoundKind, Sweep};
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
    /// Width of the terminal in characters; none off one.
    pub width: Option<usize>,
}

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
    let _ = writeln!(out, "\n{}", summary(sweep, palette));
    if let Some(command) = view.next.filter(|_| !sweep.found.is_empty()) {
        let _ = writeln!(
            out,
            "{} nothing was deleted; `{command}` deletes exactly this",
            palette.running("help:")
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
        (None, Some(monthly)) => Some(format!("{monthly}/month")),
        (None, None) => None,
    };
    if let Some(price) = price {
        let spent = found.spent.map_or_else(String::new, |spent| {
            format!(", about {} so far", cents(spent))
        });
        parts.push(format!("{price}{spent}"));
    }
    let _ = writeln!(out, ": {}", parts.join("; "));
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
    let is_some = |money: Money| money.0 > rust_decimal::Decimal::ZERO;
    let money: Vec<String> = [(hourly, "/h"), (monthly, "/month")]
        .into_iter()
        .filter(|(money, _)| is_some(*money))
        .map(|(money, per)| format!("{money}{per}"))
        .collect();
    if !money.is_empty() {
        parts.push(format!("{} saved", money.join(" and ")));
    }
    if is_some(spent) {
        parts.push(format!("about {} so far", cents(spent)));
    }
    format!("{} {}.", palette.strong("To delete:"), parts.join("; "))
}

/// What was spent is an estimate: to the cent.
fn cents(money: Money) -> Money {
    Money(money.0.round_dp(2))
}

/// How long ago it was; clocks that disagree make that no time at all.
fn age(seconds: i64) -> String {
    times::age(u64::try_from(seconds).unwrap_or(0))
}
