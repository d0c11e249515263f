//! What tags claim of a resource, read strictly: for whoever looks at a whole account, where no
//! manifest says which names to expect.

use super::LiveVolumeSnapshot;
use super::ownership::{self, TAG, is_expires_tag};

/// The longest name of a project, and of an environment.
const MOST: (usize, usize) = (20, 40);
/// Moments between which an expiry can lie: from before there was a dewpoint to beyond any `ttl`.
const EXPIRIES: std::ops::Range<i64> = 1_577_836_800..4_102_444_800;

/// Whose a resource is by its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim<'a> {
    /// No tag speaks of a project.
    Nobody,
    /// They agree.
    Owned {
        /// The project.
        project: &'a str,
        /// The environment; a project owns what bears none.
        environment: Option<&'a str>,
    },
    /// They are incomplete, misspelt or contradict each other.
    Unclear,
}

/// Until when a resource is meant to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// No tag says so.
    None,
    /// Seconds since 1970: the latest, when several tags say so.
    Until(i64),
    /// A tag says what dewpoint never writes.
    Unreadable,
}

fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The project a tag names: `dewpoint:<project>`.
#[must_use]
pub fn project_of(tag: &str) -> Option<&str> {
    let project = tag.strip_prefix("dewpoint:")?;
    is_project(project).then_some(project)
}

fn is_project(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && is_plain(name) && name.len() <= MOST.0
}

/// The project and environment a tag names: `dewpoint:<project>:<environment>`.
#[must_use]
pub fn environment_of(tag: &str) -> Option<(&str, &str)> {
    let (project, environment) = tag.strip_prefix("dewpoint:")?.split_once(':')?;
    let is_environment = !environment.is_empty()
        && !environment.starts_with('-')
        && !environment.ends_with('-')
        && is_plain(environment)
        && environment.len() <= MOST.1;
    (is_project(project) && is_environment).then_some((project, environment))
}

/// Whose a resource is by its tags.
#[must_use]
pub fn claim(tags: &[String]) -> Claim<'_> {
    let mut project = None;
    let mut environment = None;
    let mut speaks = false;
    for tag in tags.iter().filter(|tag| tag.starts_with("dewpoint:")) {
        speaks = true;
        let known = if let Some(named) = project_of(tag) {
            project.replace(named).is_none()
        } else if let Some(named) = environment_of(tag) {
            environment.replace(named).is_none()
        } else {
            false
        };
        if !known {
            return Claim::Unclear;
        }
    }
    if !speaks {
        return Claim::Nobody;
    }
    let is_marked = tags.iter().any(|tag| tag == TAG);
    match (project, environment) {
        (Some(project), Some((of, environment))) if is_marked && of == project => Claim::Owned {
            project,
            environment: Some(environment),
        },
        (Some(project), None) if is_marked => Claim::Owned {
            project,
            environment: None,
        },
        _ => Claim::Unclear,
    }
}

/// The moment an expiry tag names, when dewpoint could have written it.
#[must_use]
pub fn expiry_of(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix("dewpoint-expires:")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let at = digits.parse().ok().filter(|_| is_number)?;
    EXPIRIES.contains(&at).then_some(at)
}

/// Until when a resource is meant to be there.
#[must_use]
pub fn lease(tags: &[String]) -> Lease {
    let mut lease = Lease::None;
    for tag in tags.iter().filter(|tag| is_expires_tag(tag)) {
        lease = match (expiry_of(tag), lease) {
            (None, _) | (_, Lease::Unreadable) => Lease::Unreadable,
            (Some(at), Lease::Until(latest)) => Lease::Until(at.max(latest)),
            (Some(at), Lease::None) => Lease::Until(at),
        };
    }
    lease
}

/// The mark by which a snapshot of a volume says that copies of the volume were made from it: that of
/// one which is called as those are, and bears one mark.
#[must_use]
pub fn copied_from<'a>(project: &str, snapshot: &'a LiveVolumeSnapshot) -> Option<&'a String> {
    let mut marks = ownership::snap_tags(&snapshot.tags);
    let (Some(mark), None) = (marks.next(), marks.next()) else {
        return None;
    };
    let marker = ownership::marker_of(mark)?;
    let rest = snapshot.name.strip_prefix(project)?.strip_prefix('-')?;
    rest.ends_with(&format!("-snap-{marker}")).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|tag| (*tag).to_owned()).collect()
    }

    #[test]
    fn only_whole_and_consistent_tags_claim() {
        let owned = |environment| Claim::Owned {
            project: "app",
            environment,
        };
        let all = ["dewpoint", "dewpoint:app", "dewpoint:app:pr-1", "web"];
        assert_eq!(claim(&tags(&all)), owned(Some("pr-1")));
        assert_eq!(claim(&tags(&all[..2])), owned(None));
        for nobody in [&["web"][..], &["dewpoint"], &["dewpoints", "dewpoint-foo"]] {
            assert_eq!(claim(&tags(nobody)), Claim::Nobody, "{nobody:?}");
        }
        for unclear in [
            &["dewpoint", "dewpoint:"][..],
            &["dewpoint:app"],
            &["dewpoint", "dewpoint:app:pr-1"],
            &["dewpoint", "dewpoint:app", "dewpoint:other"],
            &[
                "dewpoint",
                "dewpoint:app",
                "dewpoint:app:a",
                "dewpoint:app:b",
            ],
            &["dewpoint", "dewpoint:app", "dewpoint:other:a"],
            &["dewpoint", "dewpoint:app", "dewpoint:app:"],
            &["dewpoint", "dewpoint:app", "dewpoint:app:a:b"],
            &["dewpoint", "dewpoint:App"],
            &["dewpoint", "dewpoint:9"],
        ] {
            assert_eq!(claim(&tags(unclear)), Claim::Unclear, "{unclear:?}");
        }
    }

    #[test]
    fn a_lease_ends_at_the_latest_moment_and_only_at_one_that_can_be() {
        let of = |texts: &[&str]| {
            let texts: Vec<String> = texts
                .iter()
                .map(|t| format!("dewpoint-expires:{t}"))
                .collect();
            lease(&texts)
        };
        assert_eq!(of(&[]), Lease::None);
        assert_eq!(of(&["1790000000"]), Lease::Until(1_790_000_000));
        assert_eq!(
            of(&["1790000000", "1780000000"]),
            Lease::Until(1_790_000_000)
        );
        for absurd in [
            "",
            "0",
            "1",
            "-5",
            "+1790000000",
            "soon",
            "1790000000000",
            "99999999999999999999",
        ] {
            assert_eq!(of(&[absurd]), Lease::Unreadable, "{absurd}");
            assert_eq!(of(&[absurd, "1790000000"]), Lease::Unreadable, "{absurd}");
            assert_eq!(of(&["1790000000", absurd]), Lease::Unreadable, "{absurd}");
        }
    }
}
