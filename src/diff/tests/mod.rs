//! Differences: what they say, and laws that hold for all.

mod cases;
mod laws;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use super::{CopiedFile, CopiedFiles, Difference, Prices, Side, compare};
use crate::desired;
use crate::digest::Digest;
use crate::guest::{self, Copied};
use crate::live::{Catalog, SizeOffer};
use crate::manifest::{self, Inputs, Unset};
use crate::units::Money;

/// A side; what its recipes copy lies below a folder.
fn side(name: &str, yaml: &str, folder: &Utf8Path) -> Side {
    let inputs = Inputs {
        unset: Unset::Kept,
        ..Inputs::default()
    };
    let manifest = manifest::load(name, yaml.as_bytes(), &inputs)
        .unwrap_or_else(|errors| panic!("{name}: {:?}", errors.problems()));
    let mut copies = CopiedFiles::new();
    for from in desired::reads(&manifest).copies {
        let (digest, files) = match guest::copied(&folder.join(&from)) {
            Ok(copied) => {
                let files = match &copied {
                    Copied::File(entry) => BTreeMap::from([(String::new(), entry.clone())]),
                    Copied::Folder(entries) => entries.clone(),
                };
                (copied.digest(), files)
            }
            Err(_) => (Digest::of_bytes(from.as_bytes()), BTreeMap::new()),
        };
        copies.insert(
            from,
            CopiedFile {
                digest,
                files,
                untracked: BTreeSet::new(),
            },
        );
    }
    Side {
        name: name.to_owned(),
        manifest,
        copies,
    }
}

fn catalog() -> Catalog {
    let size = |slug: &str, hourly: &str, monthly: &str| SizeOffer {
        slug: slug.to_owned(),
        disk_gib: 25,
        memory_mib: 1_024,
        vcpus: 1,
        price_hourly: Money(hourly.parse().expect("a price")),
        price_monthly: Money(monthly.parse().expect("a price")),
        regions: vec!["nyc3".to_owned(), "sfo3".to_owned()],
        available: true,
    };
    Catalog {
        sizes: vec![
            size("s-1vcpu-1gb", "0.00893", "6"),
            size("s-2vcpu-4gb", "0.03571", "24"),
        ],
        ..Catalog::default()
    }
}

/// Compares with prices of a day.
fn compared(old: Option<&Side>, new: &Side) -> Difference {
    let catalog = catalog();
    let prices = Prices {
        catalog: &catalog,
        at: "2026-11-29T00:00:00Z".parse().expect("a moment"),
    };
    compare(old, new, Some(prices)).expect("two good manifests")
}

/// Compares two texts that copy nothing.
pub(crate) fn of(old: &str, new: &str) -> Difference {
    let nowhere = Utf8Path::new("/nonexistent");
    compared(
        Some(&side("old.yaml", old, nowhere)),
        &side("new.yaml", new, nowhere),
    )
}
