//! What it costs before and after.

use rust_decimal::Decimal;

use super::difference::{Amounts, CostChange, LeftBehind};
use super::{Known, Prices};
use crate::live::Live;
use crate::live::ownership::{self, Owner};
use crate::manifest::Manifest;
use crate::plan::Cost;
use crate::plan::cost::{volume_hourly, volume_monthly};
use crate::units::{Gib, Money};

/// Costs before and after. What is refused does not happen, and changes no cost.
pub(super) fn change(
    before: Option<&Cost>,
    after: &Cost,
    left_behind: Option<LeftBehind>,
    refused: bool,
    prices: Option<Prices<'_>>,
) -> CostChange {
    let nothing = Cost::default();
    let before = before.unwrap_or(&nothing);
    let amounts = |of: fn(&Cost) -> Money, stays: Option<Money>| {
        let old = of(before);
        let new = of(after) + stays.unwrap_or_default();
        Amounts {
            old,
            new: if refused { old } else { new },
            if_not_refused: refused.then_some(new),
        }
    };
    let mut unpriced: Vec<String> = before
        .unpriced_sizes()
        .chain(after.unpriced_sizes())
        .filter(|_| prices.is_some())
        .map(str::to_owned)
        .collect();
    unpriced.sort();
    unpriced.dedup();
    let stays = left_behind.as_ref();
    CostChange {
        prices_at: prices.map(|prices| prices.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        hourly_while_up: prices.map(|_| {
            amounts(
                |cost| cost.hourly_while_up,
                stays.and_then(|stays| stays.hourly),
            )
        }),
        monthly_droplets: prices.map(|_| {
            amounts(
                |cost| cost.monthly_droplets,
                stays.and_then(|stays| stays.monthly_droplets),
            )
        }),
        monthly_volumes: amounts(
            |cost| Money(cost.monthly_kept.0 - cost.monthly_droplets.0),
            stays.map(|stays| stays.monthly_volumes),
        ),
        unpriced,
        left_behind,
    }
}

/// What stays of the old environment, when another one is meant.
pub(super) fn left_behind(
    old: &Known<'_>,
    new: &Known<'_>,
    live: &Live,
    prices: Option<Prices<'_>>,
) -> Option<LeftBehind> {
    let (was, now) = (&old.side.manifest, &new.side.manifest);
    if !is_another(was, now) {
        return None;
    }
    let owner = Owner::new(&was.project, &was.environment);
    // What a project owns is counted already when it goes on.
    let another_project = was.project != now.project;
    let volumes: Vec<_> = live
        .volumes
        .iter()
        .filter(|volume| {
            owner.in_environment(&volume.tags)
                || (another_project && owner.in_project_only(&volume.tags))
        })
        .collect();
    let droplets: Vec<_> = live
        .droplets
        .iter()
        .filter(|droplet| owner.in_environment(&droplet.tags))
        .collect();
    let copies = volumes
        .iter()
        .filter(|volume| ownership::is_clone(&volume.tags));
    let copies = volume_hourly(copies.map(|copy| u64::from(copy.size_gib)).sum());
    let sizes = |prices: Prices<'_>, of: fn(&crate::live::SizeOffer) -> Money| -> Money {
        let sizes = droplets.iter();
        sizes
            .filter_map(|droplet| prices.catalog.size(&droplet.size).map(of))
            .sum()
    };
    Some(LeftBehind {
        droplets: u32::try_from(droplets.len()).unwrap_or(u32::MAX),
        volumes: u32::try_from(volumes.len()).unwrap_or(u32::MAX),
        hourly: prices.map(|prices| sizes(prices, |size| size.price_hourly) + copies),
        monthly_droplets: prices.map(|prices| sizes(prices, |size| size.price_monthly)),
        monthly_volumes: volumes
            .iter()
            .map(|volume| volume_monthly(Gib(volume.size_gib)))
            .sum(),
    })
}

fn is_another(was: &Manifest, now: &Manifest) -> bool {
    (&was.project, &was.environment) != (&now.project, &now.environment)
}

/// What it means that another environment is meant: a sentence.
pub(super) fn stays(old: &Known<'_>, new: &Known<'_>, left: &LeftBehind) -> String {
    let (was, now) = (&old.side.manifest, &new.side.manifest);
    let LeftBehind {
        droplets,
        volumes,
        hourly: _,
        monthly_droplets,
        monthly_volumes,
    } = left;
    let (what, flag) = if was.project == now.project {
        ("environment", "")
    } else {
        ("project", " --project")
    };
    let mut text = format!(
        "another {what} is meant: nothing of {} / {} is changed or destroyed",
        was.project, was.environment
    );
    let counted = |count: u32, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        count => Some(format!("{count} {what}s")),
    };
    let parts: Vec<String> = [counted(*droplets, "droplet"), counted(*volumes, "volume")]
        .into_iter()
        .flatten()
        .collect();
    if !parts.is_empty() {
        let verb = if droplets + volumes == 1 {
            "stays and costs"
        } else {
            "stay and cost"
        };
        let month = Money(monthly_droplets.unwrap_or_default().0 + monthly_volumes.0);
        let price = match (monthly_droplets, month.0 == Decimal::ZERO) {
            (None, _) if *droplets > 0 && *volumes == 0 => "on".to_owned(),
            (None, _) if *droplets > 0 => format!("on ({month}/month and the droplets)"),
            (_, true) => "on".to_owned(),
            _ => format!("{month}/month"),
        };
        text.push_str(&format!("; {} of it {verb} {price}", parts.join(" and ")));
        text.push_str(&format!(
            " until `dewpoint destroy{flag}` with the old manifest, and cost after counts them in"
        ));
    } else {
        text.push_str(&format!(
            "; `dewpoint destroy{flag}` with the old manifest removes what stays"
        ));
    }
    text
}
