//! The account's prices as they were last seen, for what is estimated without asking a cloud.
//!
//! One file for each cloud in the user's cache folder, not beside the manifest: a fresh clone has
//! none there. It is a cache: one that is not there, damaged or foreign is as good as none, and one
//! that cannot be written costs nothing but its use.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};

use super::context::{Context, private_folder};
use super::endpoint;
use crate::digest::Digest;
use crate::live::Catalog;
use crate::live::catalog::SizeOffer;

/// Version of the file's format: one of another is as good as none.
const VERSION: u32 = 1;
/// DigitalOcean has some 150 sizes, which take 60 kB; this is no file of ours.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    /// Whose prices: the file's name could be another's, too.
    cloud: String,
    at: jiff::Timestamp,
    sizes: Vec<SizeOffer>,
}

/// Keeps the prices that a cloud has just told. That it cannot is no failure of a plan.
pub fn store(context: &Context, catalog: &Catalog, at: jiff::Timestamp) {
    if catalog.sizes.is_empty() {
        return;
    }
    if let (Some(cloud), Some(folder)) = (cloud(context), folder())
        && let Err(error) = write(&folder, &cloud, catalog, at)
    {
        tracing::info!(%error, "prices are not kept for later");
    }
}

/// The prices last seen on the cloud that is asked for, and when: sizes alone, no regions or images.
#[must_use]
pub fn cached(context: &Context) -> Option<(Catalog, jiff::Timestamp)> {
    read(&folder()?, &cloud(context)?)
}

/// Which cloud, without asking it or needing a token.
fn cloud(context: &Context) -> Option<String> {
    endpoint::address(&context.global)
        .ok()
        .map(|address| address.unwrap_or_else(|| "local".to_owned()))
}

fn folder() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.cache_dir().join("dewpoint").join("prices"))
}

fn file(folder: &Path, cloud: &str) -> PathBuf {
    let name = match cloud {
        "local" => "local".to_owned(),
        endpoint::DIGITALOCEAN => "digitalocean".to_owned(),
        other => Digest::of_bytes(other.as_bytes()).short().to_owned(),
    };
    folder.join(format!("{name}.json"))
}

fn write(
    folder: &Path,
    cloud: &str,
    catalog: &Catalog,
    at: jiff::Timestamp,
) -> std::io::Result<()> {
    let written = Written {
        version: VERSION,
        cloud: cloud.to_owned(),
        at,
        sizes: catalog.sizes.clone(),
    };
    private_folder(folder)?;
    // For its owner alone from the start, and never seen half written.
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(&serde_json::to_vec(&written)?)?;
    new.persist(file(folder, cloud))?;
    Ok(())
}

fn read(folder: &Path, cloud: &str) -> Option<(Catalog, jiff::Timestamp)> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(file(folder, cloud)).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    let written: Written = serde_json::from_slice(&bytes).ok()?;
    if written.version != VERSION || written.cloud != cloud {
        return None;
    }
    let catalog = Catalog {
        sizes: written.sizes,
        ..Catalog::default()
    };
    Some((catalog, written.at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Money;

    fn catalog() -> Catalog {
        Catalog {
            sizes: vec![SizeOffer {
                slug: "s-1vcpu-1gb".to_owned(),
                disk_gib: 25,
                memory_mib: 1_024,
                vcpus: 1,
                price_hourly: Money("0.00893".parse().expect("a price")),
                price_monthly: Money("6".parse().expect("a price")),
                regions: vec!["nyc3".to_owned()],
                available: true,
            }],
            ..Catalog::default()
        }
    }

    #[test]
    fn prices_come_back_with_their_date_each_clouds_its_own() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("cache/dewpoint/prices");
        let at: jiff::Timestamp = "2026-11-29T00:00:00Z".parse().expect("a moment");
        assert_eq!(read(&folder, endpoint::DIGITALOCEAN), None);
        write(&folder, endpoint::DIGITALOCEAN, &catalog(), at).expect("written");
        assert_eq!(read(&folder, endpoint::DIGITALOCEAN), Some((catalog(), at)));
        assert_eq!(read(&folder, "local"), None);
        assert_eq!(read(&folder, "https://api.example.com"), None);

        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode(&folder) & 0o777, 0o700);
        let kept = file(&folder, endpoint::DIGITALOCEAN);
        assert_eq!(mode(&kept) & 0o777, 0o600);
        // Nothing but the file itself is left.
        assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 1);
    }

    #[test]
    fn a_file_that_is_damaged_or_anothers_is_as_good_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = jiff::Timestamp::UNIX_EPOCH;
        write(folder.path(), "local", &catalog(), at).expect("written");
        let kept = file(folder.path(), "local");
        let good = std::fs::read_to_string(&kept).expect("text");
        for bad in [
            String::new(),
            good[..good.len() - 3].to_owned(),
            good.replace("\"version\":1", "\"version\":2"),
            good.replace("\"cloud\":\"local\"", "\"cloud\":\"other\""),
            good.replace("\"0.00893\"", "\"free\""),
        ] {
            assert_ne!(bad, good);
            std::fs::write(&kept, bad).expect("written");
            assert_eq!(read(folder.path(), "local"), None);
        }
        std::fs::remove_file(&kept).expect("removed");
        std::fs::create_dir(&kept).expect("a folder in its place");
        assert_eq!(read(folder.path(), "local"), None);
        assert!(write(folder.path(), "local", &catalog(), at).is_err());
    }
}
