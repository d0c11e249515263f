//! Names: what a manifest may call things, and what becomes of them on DigitalOcean.
//!
//! Alphabets and lengths there: droplets are host names of at most 63 characters; volumes have
//! `a-z0-9-` and at most 64; firewalls, keys and tags 255, which nothing here can reach.

use std::collections::HashMap;

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::{Droplet, Manifest, Scope};
use super::super::wording::{shown, shown_to};

/// The longest host name label.
const MOST_OF_DROPLET: usize = 63;
/// The longest name of a volume.
const MOST_OF_VOLUME: usize = 64;
/// The longest name of a project.
const MOST_OF_PROJECT: usize = 20;
/// The longest name of an environment: a branch's name fits.
const MOST_OF_ENVIRONMENT: usize = 40;

fn is_plain(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// A name that would do in place of one that does not: lower case, `-` for what is not allowed.
fn slugged(name: &str, most: usize) -> Option<String> {
    let mut slug = String::new();
    for c in name.chars().take(200) {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_matches('-');
    let slug = slug[..slug.len().min(most)].trim_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

/// Whether a project can have this name, and else what is wrong and what to do, as text.
///
/// # Errors
/// When it cannot.
pub fn check_project(name: &str) -> Result<(), String> {
    match project_problem(name) {
        None => Ok(()),
        Some((problem, help)) => Err(format!("{problem}: {help}")),
    }
}

pub(super) fn project(name: &str, report: &mut Report) {
    if let Some((problem, help)) = project_problem(name) {
        report.value(
            &Path::of("project"),
            Problem::new(Kind::BadName, problem).help(help),
        );
    }
}

fn project_problem(name: &str) -> Option<(String, String)> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if starts && is_plain(name) && name.len() <= MOST_OF_PROJECT {
        return None;
    }
    let mut help =
        format!("use at most {MOST_OF_PROJECT} of `a-z`, `0-9` and `-`, and begin with a letter");
    if let Some(slug) =
        slugged(name, MOST_OF_PROJECT).filter(|slug| slug.starts_with(|c: char| c.is_alphabetic()))
    {
        help.push_str(&format!(": `{slug}`"));
    }
    let problem = format!("`{}` cannot be the name of a project", shown(name));
    Some((problem, help))
}

/// The name stands in droplets' host names, in volumes' names and in tags: the alphabet is what
/// all of them allow.
pub(super) fn environment(name: &str, is_given: bool, report: &mut Report) {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.starts_with(is_edge)
        && name.ends_with(is_edge)
        && is_plain(name)
        && name.len() <= MOST_OF_ENVIRONMENT
    {
        return;
    }
    let mut help = format!(
        "use at most {MOST_OF_ENVIRONMENT} of `a-z`, `0-9` and `-`, with no `-` at its ends"
    );
    if let Some(slug) = slugged(name, MOST_OF_ENVIRONMENT) {
        help.push_str(&format!(": `{slug}`"));
    }
    let problem = Problem::new(
        Kind::BadName,
        format!("`{}` cannot be the name of an environment", shown(name)),
    )
    .help(help);
    if is_given {
        report.nowhere(problem.of_given());
    } else {
        report.value(&Path::of("environment"), problem);
    }
}

/// Checks the name of a snapshot, volume or droplet.
pub(super) fn resource(path: &Path, kind: &str, name: &str, report: &mut Report) {
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && is_plain(name) && !name.ends_with('-')
    {
        return;
    }
    let mut help =
        "use `a-z`, `0-9` and `-`, begin with a letter and do not end with `-`".to_owned();
    if let Some(slug) =
        slugged(name, 40).filter(|slug| slug.starts_with(|c: char| c.is_alphabetic()))
    {
        help.push_str(&format!(": `{slug}`"));
    }
    report.key(
        path,
        Problem::new(
            Kind::BadName,
            format!("`{}` cannot be the name of a {kind}", shown(name)),
        )
        .help(help),
    );
}

/// Checks the names that things get on DigitalOcean: how long they are, and that no two are alike.
pub(super) fn check_composed(manifest: &Manifest, is_environment_given: bool, report: &mut Report) {
    let project = &manifest.project;
    let environment = &manifest.environment;
    // With either out of hand every name would be; that is said once, there.
    if report.is_settled(&Path::of("project"))
        || project.len() > MOST_OF_PROJECT
        || environment.len() > MOST_OF_ENVIRONMENT
        || (!is_environment_given && report.is_settled(&Path::of("environment")))
    {
        return;
    }

    for name in manifest.snapshots.keys() {
        let path = Path::of("snapshots").then(name.as_str());
        let builder = format!("{project}-{environment}-builder.{name}");
        too_long(
            &path,
            "the builder of this snapshot",
            &builder,
            MOST_OF_DROPLET,
            report,
        );
    }

    let mut volumes: HashMap<String, Path> = HashMap::new();
    for (name, volume) in &manifest.volumes {
        let path = Path::of("volumes").then(name.as_str());
        let composed = match (&volume.existing, volume.scope) {
            (Some(existing), _) => existing.clone(),
            (None, Scope::Project) => format!("{project}-{name}"),
            (None, Scope::Environment) => format!("{project}-{environment}-{name}"),
        };
        too_long(&path, "this volume", &composed, MOST_OF_VOLUME, report);
        alike(&mut volumes, composed, path, report);
    }

    // Beyond what is allowed in all, which is said elsewhere, names are not worked out.
    let may_compare = super::droplets::all_instances(manifest) <= super::MOST_DROPLETS;
    let mut droplets: HashMap<String, Path> = HashMap::new();
    for (name, droplet) in &manifest.droplets {
        let path = Path::of("droplets").then(name.as_str());
        let base = format!("{project}-{environment}-{name}");
        let longest = match droplet.count {
            Some(count) => format!("{base}-{count}"),
            None => base.clone(),
        };
        too_long(&path, "this droplet", &longest, MOST_OF_DROPLET, report);
        if !may_compare {
            continue;
        }
        for composed in composed_names(&base, droplet) {
            if !alike(&mut droplets, composed, path.clone(), report) {
                break;
            }
        }
    }
}

/// The names of a droplet's instances, as far as they are built from values as they stand (others
/// bear a digest and are like no other).
fn composed_names(base: &str, droplet: &Droplet) -> Vec<String> {
    if let Some(count) = droplet.count {
        return (1..=count).map(|index| format!("{base}-{index}")).collect();
    }
    let mut names = vec![base.to_owned()];
    for values in droplet.matrix.values() {
        names = names
            .iter()
            .flat_map(|name| {
                values
                    .iter()
                    .filter(|value| {
                        value
                            .chars()
                            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.')
                    })
                    .map(move |value| format!("{name}-{value}"))
            })
            .collect();
    }
    names
}

fn too_long(path: &Path, what: &str, composed: &str, most: usize, report: &mut Report) {
    let length = composed.chars().count();
    if length <= most {
        return;
    }
    report.key(
        path,
        Problem::new(
            Kind::NameTooLong,
            format!(
                "{what} would be called `{}`: {length} characters, {most} are allowed",
                shown_to(140, composed)
            ),
        )
        .help(format!(
            "shorten this name, the project's or the environment's by {} in all",
            length - most
        )),
    );
}

/// False when the name is another's, which is reported.
fn alike(
    names: &mut HashMap<String, Path>,
    composed: String,
    path: Path,
    report: &mut Report,
) -> bool {
    match names.get(&composed) {
        Some(first) if *first != path => {
            let problem = Problem::new(
                Kind::NotUnique,
                format!("two things would be called `{composed}` on DigitalOcean"),
            )
            .help("rename one of the two");
            report.two_keys(&path, &first.clone(), problem);
            false
        }
        _ => {
            names.insert(composed, path);
            true
        }
    }
}
