//! What resources are called on DigitalOcean. The alphabets are those of digitalocean's API: a
//! droplet's name is its host name (letters, digits, `.`, `-`, at most 63), a volume's name has
//! `a-z0-9-` and at most 64.

use crate::address::{Address, Instance};
use crate::digest::Digest;

/// What a builder's own part of its name begins with when it fills a volume.
const OF_VOLUME: &str = "volume.";
/// The longest host name.
pub const DROPLET_MAX: usize = 63;
/// The longest name of a volume.
pub const VOLUME_MAX: usize = 64;

/// The name of an environment's firewall and SSH key, and the beginning of its droplets' names.
#[must_use]
pub fn environment(project: &str, environment: &str) -> String {
    format!("{project}-{environment}")
}

/// The name of a droplet. One that would be too long is cut and told apart by a digest.
///
/// The first of several is called like an only one, so that raising `count` adds droplets and
/// lowering it removes some, and the first stays what it is.
#[must_use]
pub fn droplet(
    project: &str,
    environment: &str,
    name: &str,
    instance: Option<&Instance>,
) -> String {
    let base = format!("{project}-{environment}-{}", host_part(name));
    let full = match instance {
        None | Some(Instance::Index(1)) => base,
        Some(Instance::Index(index)) => format!("{base}-{index}"),
        Some(Instance::Matrix(pairs)) => format!("{base}-{}", matrix(pairs)),
    };
    fit(full)
}

/// The name of the builder of a snapshot. The `.` before its name keeps it apart from every
/// droplet of a manifest, whose names have none.
#[must_use]
pub fn builder(project: &str, environment: &str, snapshot: &str) -> String {
    fit(format!(
        "{project}-{environment}-builder.{}",
        host_part(snapshot)
    ))
}

/// The name of the droplet that fills a volume: a builder too.
#[must_use]
pub fn populator(project: &str, environment: &str, volume: &str) -> String {
    builder(project, environment, &format!("{OF_VOLUME}{volume}"))
}

/// Whether the name of a droplet is that of what builds a snapshot or fills a volume.
#[must_use]
pub fn is_builder_of(project: &str, environment: &str, address: &Address, droplet: &str) -> bool {
    match address {
        Address::Snapshot(name) => droplet == builder(project, environment, name),
        Address::Volume(name) => droplet == populator(project, environment, name),
        Address::SshKey | Address::Firewall | Address::Droplet { .. } => false,
    }
}

/// The name of a volume that the project owns.
#[must_use]
pub fn project_volume(project: &str, name: &str) -> String {
    format!("{project}-{}", volume_part(name))
}

/// The name of a volume that the environment owns.
#[must_use]
pub fn environment_volume(project: &str, environment: &str, name: &str) -> String {
    format!("{project}-{environment}-{}", volume_part(name))
}

/// The name of a droplet's throw-away copy of a volume; `droplet` is the droplet's own name, `volume`
/// the volume's in the manifest. A digest keeps it apart from every other name.
#[must_use]
pub fn clone(project: &str, environment: &str, droplet: &str, volume: &str) -> String {
    let digest = Digest::of(&(droplet, volume));
    let of = droplet
        .strip_prefix(&format!("{project}-{environment}-"))
        .unwrap_or(droplet);
    let base = format!(
        "{project}-{environment}-clone-{}-{}",
        volume_part(of),
        volume_part(volume)
    );
    let room = base.len().min(VOLUME_MAX - 9);
    let cut = base[..room].trim_end_matches('-');
    format!("{cut}-{}", &digest.short()[..8])
}

/// The name of a snapshot of a volume; `marker` tells it from others of that volume.
#[must_use]
pub fn volume_snapshot(volume: &str, marker: &str) -> String {
    format!("{volume}-snap-{marker}")
}

/// What all snapshots of one name have in common: all of their name but the digest.
#[must_use]
pub fn lineage(project: &str, name: &str) -> String {
    format!("{project}-{name}-")
}

/// The name of a snapshot.
#[must_use]
pub fn snapshot(project: &str, name: &str, digest: &Digest) -> String {
    format!("{}{}", lineage(project, name), digest.short())
}

/// The name in the manifest of a snapshot of that name on DigitalOcean, if it could be the project's.
#[must_use]
pub fn snapshot_of<'a>(project: &str, image: &'a str) -> Option<&'a str> {
    let rest = image.strip_prefix(project)?.strip_prefix('-')?;
    let (name, digest) = rest.rsplit_once('-')?;
    let is_digest = digest.len() == 12
        && digest
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_digest && !name.is_empty()).then_some(name)
}

/// The address of a droplet that the manifest does not know (any more), from its name.
#[must_use]
pub fn address_of_stray(project: &str, environment: &str, droplet: &str) -> Address {
    let rest = droplet
        .strip_prefix(&format!("{project}-{environment}-"))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(droplet);
    match rest.strip_prefix("builder.") {
        Some(built) if !built.is_empty() => match built.strip_prefix(OF_VOLUME) {
            Some(volume) => Address::volume(volume),
            None => Address::snapshot(built),
        },
        _ => Address::droplet(rest),
    }
}

/// The part of a droplet's name that tells the instances of a matrix apart. Values that are
/// written as they are need no more; where two combinations could read alike, a digest follows.
fn matrix(pairs: &[(String, String)]) -> String {
    let slugs: Vec<String> = pairs.iter().map(|(_, value)| host_part(value)).collect();
    let lossy = slugs
        .iter()
        .zip(pairs)
        .any(|(slug, (_, value))| slug != value || slug.is_empty());
    let ambiguous = pairs.len() > 1 && slugs.iter().any(|slug| slug.contains('-'));
    let mut parts: Vec<String> = slugs.into_iter().filter(|slug| !slug.is_empty()).collect();
    if lossy || ambiguous {
        parts.push(Digest::of(&pairs).short()[..8].to_owned());
    }
    parts.join("-")
}

/// Lower-case letters, digits, `.` and single `-`; neither at its ends.
fn host_part(text: &str) -> String {
    slug(text, |c| c.is_ascii_alphanumeric() || c == '.')
}

fn volume_part(text: &str) -> String {
    slug(text, |c| c.is_ascii_alphanumeric())
}

fn slug(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if keeps(c) {
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches(['-', '.']).to_owned()
}

fn fit(name: String) -> String {
    if name.len() <= DROPLET_MAX {
        return name;
    }
    let digest = Digest::of_bytes(name.as_bytes());
    // A plan in a file may say what no manifest does.
    let end = (0..=DROPLET_MAX - 9).rev();
    let end = end.into_iter().find(|at| name.is_char_boundary(*at));
    let cut = name[..end.unwrap_or_default()].trim_end_matches(['-', '.']);
    format!("{cut}-{}", &digest.short()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_matrix(pairs: &[(&str, &str)]) -> String {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        droplet("app", "main", "runner", Some(&Instance::Matrix(pairs)))
    }

    #[test]
    fn names_are_those_of_the_contract() {
        assert_eq!(droplet("app", "main", "runner", None), "app-main-runner");
        let second = Instance::Index(2);
        assert_eq!(
            droplet("app", "main", "runner", Some(&second)),
            "app-main-runner-2"
        );
        let first = Instance::Index(1);
        assert_eq!(
            droplet("app", "main", "runner", Some(&first)),
            droplet("app", "main", "runner", None)
        );
        assert_eq!(of_matrix(&[("python", "3.12")]), "app-main-runner-3.12");
        assert_eq!(
            of_matrix(&[("python", "3.12"), ("os", "deb")]),
            "app-main-runner-3.12-deb"
        );
        assert_eq!(builder("app", "main", "base"), "app-main-builder.base");
        assert_eq!(project_volume("app", "models"), "app-models");
        assert_eq!(
            environment_volume("app", "main", "scratch"),
            "app-main-scratch"
        );
    }

    #[test]
    fn values_that_could_collide_bear_a_digest() {
        assert_ne!(
            of_matrix(&[("a", "x-y"), ("b", "z")]),
            of_matrix(&[("a", "x"), ("b", "y-z")])
        );
        assert_ne!(of_matrix(&[("a", "x_y")]), of_matrix(&[("a", "x-y")]));
        assert_ne!(of_matrix(&[("a", "X")]), of_matrix(&[("a", "x")]));
        assert_ne!(of_matrix(&[("a", "")]), of_matrix(&[("a", "-")]));
    }

    #[test]
    fn copies_of_volumes_have_names_of_volumes() {
        let of = |droplet: &str| clone("app", "main", droplet, "data");
        assert!(of("app-main-runner-3.12").starts_with("app-main-clone-runner-3-12-data-"));
        assert_ne!(of("app-main-runner-3.12"), of("app-main-runner-3-12"));
        let long = clone(
            "app",
            "main",
            &format!("app-main-{}", "x".repeat(60)),
            "data",
        );
        assert!(long.len() <= VOLUME_MAX, "{long}");
        assert!(
            long.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        );
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = |last: char| droplet("app", "main", &format!("{}{last}", "x".repeat(80)), None);
        assert!(long('a').len() <= DROPLET_MAX);
        assert_ne!(long('a'), long('b'));
    }

    #[test]
    fn snapshots_are_known_by_their_names() {
        assert_eq!(snapshot_of("app", "app-base-0123456789ab"), Some("base"));
        assert_eq!(snapshot_of("app", "app-base-0123456789AB"), None);
        assert_eq!(snapshot_of("app", "app-base"), None);
        assert_eq!(snapshot_of("app", "apps-base-0123456789ab"), None);
    }
}
