//! The recipe of a snapshot, and its digest: an unchanged recipe never rebuilds, on any machine.
//!
//! What counts is what can alter the result: what the builder is made from (an image, or the
//! digest of the snapshot below), and in order each script with its environment and each copied
//! file with its place, contents and modes. What does not: names of steps, timeouts, the size of
//! the builder, where a copied file lies on this side, the order in which variables are written.

use std::collections::BTreeMap;

use serde::Serialize;

use super::spec::ProvisionStep;
use crate::digest::Digest;

/// What a builder is made from, as far as the recipe goes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Base<'a> {
    /// A public image.
    Slug(&'a str),
    /// A private image.
    Id(u64),
    /// The snapshot below: its digest.
    Snapshot(&'a Digest),
}

#[derive(Serialize)]
struct Canonical<'a> {
    /// Raised when the meaning of a recipe changes, so that old snapshots no longer count.
    version: u32,
    from: Base<'a>,
    steps: Vec<CanonicalStep<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum CanonicalStep<'a> {
    Run {
        script: &'a str,
        env: BTreeMap<&'a str, &'a str>,
    },
    Copy {
        to: &'a str,
        digest: &'a Digest,
    },
}

/// The digest of a recipe.
#[must_use]
pub fn digest(from: Base<'_>, steps: &[ProvisionStep]) -> Digest {
    let steps = steps
        .iter()
        .map(|step| match step {
            ProvisionStep::Run {
                name: _,
                script,
                env,
                timeout: _,
            } => CanonicalStep::Run {
                script,
                env: env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            },
            ProvisionStep::Copy {
                name: _,
                from: _,
                to,
                digest,
            } => CanonicalStep::Copy { to, digest },
        })
        .collect();
    Digest::of(&Canonical {
        version: 1,
        from,
        steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seconds;

    fn run(name: &str, script: &str, env: &[(&str, &str)], timeout: u64) -> ProvisionStep {
        ProvisionStep::Run {
            name: name.to_owned(),
            script: script.to_owned(),
            env: env
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            timeout: Seconds(timeout),
        }
    }

    fn copy(from: &str, to: &str, contents: &[u8]) -> ProvisionStep {
        ProvisionStep::Copy {
            name: "copy".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            digest: Digest::of_bytes(contents),
        }
    }

    #[test]
    fn names_timeouts_and_order_of_variables_do_not_count() {
        let base = Base::Slug("ubuntu-24-04-x64");
        let a = [
            run("one", "true", &[("A", "1"), ("B", "2")], 60),
            copy("a", "/a", b"x"),
        ];
        let b = [
            run("two", "true", &[("B", "2"), ("A", "1")], 90),
            copy("b", "/a", b"x"),
        ];
        assert_eq!(digest(base, &a), digest(base, &b));
    }

    #[test]
    fn whatever_alters_the_result_counts() {
        let base = Base::Slug("ubuntu-24-04-x64");
        let below = Digest::of_bytes(b"below");
        let recipes = [
            digest(base, &[]),
            digest(Base::Slug("debian-12-x64"), &[]),
            digest(Base::Id(1), &[]),
            digest(Base::Snapshot(&below), &[]),
            digest(base, &[run("", "true", &[], 60)]),
            digest(base, &[run("", "false", &[], 60)]),
            digest(base, &[run("", "true", &[("A", "1")], 60)]),
            digest(base, &[copy("a", "/a", b"x")]),
            digest(base, &[copy("a", "/b", b"x")]),
            digest(base, &[copy("a", "/a", b"y")]),
            digest(base, &[run("", "true", &[], 60), copy("a", "/a", b"x")]),
            digest(base, &[copy("a", "/a", b"x"), run("", "true", &[], 60)]),
        ];
        let distinct: std::collections::BTreeSet<&Digest> = recipes.iter().collect();
        assert_eq!(distinct.len(), recipes.len());
    }

    /// A digest that moves between versions of dewpoint would rebuild everyone's snapshots.
    #[test]
    fn digests_are_the_same_for_ever() {
        let steps = [run("", "true", &[("A", "1")], 60), copy("a", "/a", b"x")];
        insta::assert_snapshot!(digest(Base::Slug("ubuntu-24-04-x64"), &steps).short(), @"f6fe876d14ee");
    }
}
