//! A plan in a file: the plan, and all that must still be so when it is carried out.
//!
//! The file holds the names of secrets, never their values. Its last field is the digest of the
//! rest: a file that was cut off or edited is told from one that was not. That keeps nobody from
//! writing a hostile one with a digest that fits; what a loaded plan does is judged by
//! [`super::check`] and [`Saved::strangers`] before anything of it is done.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use miette::Diagnostic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::seen::Seen;
use super::step::{ImageRef, ProvisionStep, SourceSpec, StepKind, VolumeRef};
use super::{Goal, Plan};
use crate::desired::names;
use crate::digest::Digest;
use crate::live::Live;
use crate::live::ownership::{self, Owner, expires_of};
use crate::manifest::Manifest;
use crate::manifest::schema::ImageSource;

/// The version of the file's format that this dewpoint writes and reads.
pub const VERSION: u64 = 1;
/// The key that makes a JSON document a saved plan, with the version of its format.
const MARK: &str = "saved_plan";
/// The key of the digest of everything else.
const SEAL: &str = "digest";
/// More differences than this are only counted.
const MOST_TOLD: usize = 20;

/// A saved plan: what `dewpoint plan --out FILE` writes and `dewpoint apply FILE` carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Version of the file's format: 1.
    pub saved_plan: u64,
    /// Version of the dewpoint that made it.
    pub tool: String,
    /// When it was made.
    #[schemars(with = "String")]
    pub made_at: Timestamp,
    /// The cloud it was made for.
    pub place: Place,
    /// The manifest it follows from.
    pub manifest: SavedManifest,
    /// MD5 fingerprint of the SSH key its droplets are made with; absent for a destroy.
    pub ssh_key: Option<String>,
    /// Folders of this side whose files are brought to droplets, by their path in the manifest, with the files they held.
    pub sources: BTreeMap<String, SavedSource>,
    /// What of the live state it rests on, resource by resource.
    pub seen: Seen,
    /// The plan, carried out as it stands here.
    pub plan: Plan,
    /// SHA-256 of everything above, as canonical JSON.
    #[serde(default = "unsealed", skip_serializing)]
    #[schemars(with = "String")]
    pub digest: Digest,
}

fn unsealed() -> Digest {
    Digest::of_bytes(b"")
}

/// A cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// `DigitalOcean`, `the local cloud`, or the address of another.
    pub cloud: String,
    /// Id of the account, or of the team it stands for; empty when the API did not say.
    pub account: String,
}

/// The manifest a plan follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SavedManifest {
    /// Where it was, as it was named.
    pub path: String,
    /// SHA-256 of what it means: with its variables put in; comments, blanks and the order of keys do not count.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// The environment the plan is for.
    pub environment: String,
    /// Values that were given to its variables.
    pub variables: BTreeMap<String, String>,
    /// What it meant, to tell what has changed since.
    pub meaning: Value,
}

/// The files of a folder: what each was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SavedSource {
    /// By path relative to the folder: kind, size and the first half of the SHA-256 of its contents.
    pub files: BTreeMap<String, String>,
}

/// A file that is no plan to carry out.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum SavedError {
    /// It is no JSON.
    #[error("{name} is not a saved plan")]
    #[diagnostic(code(dewpoint::saved::not_a_plan), help("{hint}"))]
    NotAPlan {
        /// Which file.
        name: String,
        /// What to do.
        hint: String,
    },
    /// It ends too early.
    #[error("{name} is cut off: it ends in the middle of the plan")]
    #[diagnostic(
        code(dewpoint::saved::cut_off),
        help("copy it again, or make the plan anew with `dewpoint plan --out FILE`")
    )]
    CutOff {
        /// Which file.
        name: String,
    },
    /// Another version wrote it.
    #[error(
        "{name} has version {version} of the format, and this dewpoint ({tool}) reads version {VERSION}"
    )]
    #[diagnostic(
        code(dewpoint::saved::version),
        help("carry it out with the dewpoint that made it{maker}, or make the plan anew")
    )]
    Version {
        /// Which file.
        name: String,
        /// Its version.
        version: String,
        /// Who made it.
        maker: String,
        /// Who reads it.
        tool: &'static str,
    },
    /// Its digest does not fit.
    #[error("{name} was edited after it was made: its digest does not fit what it holds")]
    #[diagnostic(
        code(dewpoint::saved::edited),
        help(
            "a plan is carried out as it was shown or not at all: make it anew with `dewpoint plan --out FILE`"
        )
    )]
    Edited {
        /// Which file.
        name: String,
    },
    /// It holds something else than a plan of this dewpoint.
    #[error("{name} is sealed as a plan and does not read as one: {problem}")]
    #[diagnostic(
        code(dewpoint::saved::format),
        help("another dewpoint made it: carry it out with that one, or make the plan anew")
    )]
    Format {
        /// Which file.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl Saved {
    /// The text of the file.
    #[must_use]
    pub fn seal(&self) -> String {
        let text = serde_json::to_string(self).expect("a plan is plain data");
        // What is digested is what a reader of the text finds, to the last digit of a number.
        let mut value: Value = serde_json::from_str(&text).expect("it was JSON just now");
        let digest = Digest::of(&value);
        if let Value::Object(fields) = &mut value {
            fields.insert(SEAL.to_owned(), Value::String(digest.to_string()));
        }
        let mut text = serde_json::to_string_pretty(&value).expect("it is plain data");
        text.push('\n');
        text
    }

    /// Reads the text of a file of that name.
    ///
    /// # Errors
    /// When it is no saved plan, is cut off, was edited, or was made by another version.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, SavedError> {
        let name = || name.to_owned();
        let not_a_plan = |hint: &str| SavedError::NotAPlan {
            name: name(),
            hint: hint.to_owned(),
        };
        let mut value: Value = serde_json::from_slice(bytes).map_err(|error| {
            if error.is_eof() && bytes.trim_ascii_start().starts_with(b"{") {
                SavedError::CutOff { name: name() }
            } else {
                not_a_plan("name a file that `dewpoint plan --out FILE` wrote; a manifest is named with `-f`")
            }
        })?;
        let Some(fields) = value.as_object_mut() else {
            return Err(not_a_plan(
                "name a file that `dewpoint plan --out FILE` wrote",
            ));
        };
        match fields.get(MARK) {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            Some(version) => {
                let maker = fields.get("tool").and_then(Value::as_str);
                return Err(SavedError::Version {
                    name: name(),
                    version: version.to_string(),
                    maker: maker.map(|tool| format!(" ({tool})")).unwrap_or_default(),
                    tool: env!("CARGO_PKG_VERSION"),
                });
            }
            None if fields.contains_key("steps") => {
                return Err(not_a_plan(
                    "this is what `plan --format json` prints, for people and programs to read; `dewpoint plan --out FILE` writes what can be carried out",
                ));
            }
            None => {
                return Err(not_a_plan(
                    "name a file that `dewpoint plan --out FILE` wrote",
                ));
            }
        }
        let seal = fields.remove(SEAL);
        let digest = Digest::of(&value);
        if seal.as_ref().and_then(Value::as_str) != Some(digest.as_str()) {
            return Err(SavedError::Edited { name: name() });
        }
        let mut saved: Self =
            serde_path_to_error::deserialize(value).map_err(|error| SavedError::Format {
                name: name(),
                problem: error.to_string(),
            })?;
        saved.digest = digest;
        Ok(saved)
    }

    /// What of the live state has moved since the plan was made.
    #[must_use]
    pub fn live_moved(&self, live: &Live) -> Vec<String> {
        told(self.seen.moved(&Seen::of(&self.plan, live)))
    }

    /// What of the manifest has changed since the plan was made.
    #[must_use]
    pub fn manifest_moved(&self, manifest: &Manifest) -> Vec<String> {
        let meaning = meaning(manifest);
        if Digest::of(&meaning) == self.manifest.digest {
            return Vec::new();
        }
        let mut lines = Vec::new();
        compare(&self.manifest.meaning, &meaning, "", &mut lines);
        if lines.is_empty() {
            lines.push("it does not mean what the plan says it meant".to_owned());
        }
        told(lines)
    }

    /// When what the plan makes or renews counts as expired, seconds since 1970.
    #[must_use]
    pub fn lease_ends(&self) -> Option<i64> {
        let steps = self.plan.steps.iter();
        let tags = steps.filter_map(|step| match &step.kind {
            StepKind::CreateDroplets { spec, .. } => Some(&spec.tags),
            StepKind::UpdateTags { add, .. } => Some(add),
            _ => None,
        });
        tags.filter_map(|tags| expires_of(tags)).min()
    }

    /// What the plan would take from this side or hand out that the manifest does not name: files,
    /// repositories, secrets, another environment. A plan that dewpoint made has none.
    #[must_use]
    pub fn strangers(&self, manifest: &Manifest) -> Vec<String> {
        let mut strangers = BTreeSet::new();
        let plan = &self.plan;
        if (&plan.project, &plan.environment) != (&manifest.project, &manifest.environment) {
            strangers.insert(format!(
                "it is for {} / {}, and the manifest is for {} / {}",
                plan.project, plan.environment, manifest.project, manifest.environment
            ));
        }
        if !matches!(
            plan.goal,
            Goal::Apply | Goal::Destroy | Goal::DestroyProject
        ) {
            strangers.insert("its goal is none that is saved".to_owned());
        }
        let provision = manifest.snapshots.values().flat_map(|s| &s.provision);
        let copies: BTreeSet<&str> = provision
            .filter_map(|step| step.copy.as_ref())
            .map(|copy| copy.from.as_str())
            .collect();
        let sources = || manifest.droplets.values().filter_map(|d| d.source.as_ref());
        let paths: BTreeSet<&str> = sources().filter_map(|s| s.path.as_deref()).collect();
        let repositories: BTreeSet<&str> = sources().filter_map(|s| s.git.as_deref()).collect();
        let secrets: BTreeSet<&str> = manifest
            .droplets
            .values()
            .flat_map(|droplet| droplet.secrets.iter().map(String::as_str))
            .collect();
        for step in &plan.steps {
            let at = |what: String| format!("step {}: {what}", step.id.0 + 1);
            match &step.kind {
                StepKind::Provision { step, .. } => match &**step {
                    ProvisionStep::Copy { from, .. } if !copies.contains(from.as_str()) => {
                        strangers.insert(at(format!("it copies {from}")));
                    }
                    ProvisionStep::Copy { .. } | ProvisionStep::Run { .. } => {}
                },
                StepKind::Sync { source, .. } => match &**source {
                    SourceSpec::Path { path, .. }
                        if !paths.contains(path.as_str()) || !self.sources.contains_key(path) =>
                    {
                        strangers.insert(at(format!("it takes the files of {path}")));
                    }
                    SourceSpec::Git { url, .. } if !repositories.contains(url.as_str()) => {
                        strangers.insert(at(format!("it fetches from {url}")));
                    }
                    SourceSpec::Path { .. } | SourceSpec::Git { .. } => {}
                },
                StepKind::Run { run, .. } => {
                    for name in run.secrets.iter() {
                        if !secrets.contains(name.as_str()) {
                            strangers.insert(at(format!("it is handed the secret {name}")));
                        }
                    }
                }
                _ => {}
            }
        }
        strangers.into_iter().collect()
    }

    /// What of others the plan would use that the manifest does not name: volumes that are attached,
    /// images that droplets are made from.
    #[must_use]
    pub fn strange_live(&self, manifest: &Manifest, live: &Live) -> Vec<String> {
        let owner = Owner::new(&self.plan.project, &self.plan.environment);
        let existing = |name: &str| {
            let mut volumes = manifest.volumes.values();
            volumes.any(|volume| volume.existing.as_deref() == Some(name))
        };
        let from = manifest.snapshots.values().map(|snapshot| &snapshot.from);
        let images = manifest.droplets.values().map(|droplet| &droplet.image);
        let named: BTreeSet<u64> = from
            .chain(images)
            .filter_map(|image| match image {
                ImageSource::Id(id) => Some(*id),
                _ => None,
            })
            .collect();
        let mut strangers = Vec::new();
        for step in &self.plan.steps {
            let number = step.id.0 + 1;
            match &step.kind {
                StepKind::Attach {
                    volume: VolumeRef::Known { id },
                    ..
                } => {
                    let found = live.volumes.iter().find(|volume| volume.id == *id);
                    if !found.is_some_and(|v| owner.in_project(&v.tags) || existing(&v.name)) {
                        strangers.push(format!("step {number}: it attaches volume {id}"));
                    }
                }
                StepKind::CreateDroplets { spec, .. } => {
                    let ImageRef::Id(id) = spec.image else {
                        continue;
                    };
                    let found = live.images.iter().find(|image| image.id == id);
                    let is_ours = found.is_some_and(|image| {
                        let name = names::snapshot_of(&self.plan.project, &image.name);
                        owner.in_project(&image.tags)
                            || (name.is_some() && ownership::is_unclaimed(&image.tags))
                    });
                    if !is_ours && !named.contains(&id) {
                        strangers.push(format!("step {number}: it uses image {id}"));
                    }
                }
                _ => {}
            }
        }
        strangers
    }

    /// Digests of what recipes of the plan copy, by path relative to the manifest's folder.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<&str, &Digest> {
        let steps = self.plan.steps.iter();
        steps
            .filter_map(|step| match &step.kind {
                StepKind::Provision { step, .. } => Some(&**step),
                _ => None,
            })
            .filter_map(|step| match step {
                ProvisionStep::Copy { from, digest, .. } => Some((from.as_str(), digest)),
                ProvisionStep::Run { .. } => None,
            })
            .collect()
    }
}

/// Paths of the folders of this side whose files a plan brings to droplets.
#[must_use]
pub fn source_paths(plan: &Plan) -> BTreeSet<&str> {
    let steps = plan.steps.iter();
    steps
        .filter_map(|step| match &step.kind {
            StepKind::Sync { source, .. } => Some(&**source),
            _ => None,
        })
        .filter_map(|source| match source {
            SourceSpec::Path { path, .. } => Some(path.as_str()),
            SourceSpec::Git { .. } => None,
        })
        .collect()
}

impl SavedSource {
    /// What differs between the files then and now, a line each.
    #[must_use]
    pub fn moved(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let paths: BTreeSet<&String> = self.files.keys().chain(now.files.keys()).collect();
        for path in paths {
            match (self.files.get(path), now.files.get(path)) {
                (Some(old), Some(new)) if old == new => {}
                (Some(_), Some(_)) => lines.push(format!("{path} has changed")),
                (Some(_), None) => lines.push(format!("{path} is gone")),
                (None, _) => lines.push(format!("{path} was not there")),
            }
        }
        told(lines)
    }
}

/// What a manifest means, in a form that can be compared: its variables are put in already.
#[must_use]
pub fn meaning(manifest: &Manifest) -> Value {
    let mut value = serde_json::to_value(manifest).expect("a manifest is plain data");
    if let Value::Object(fields) = &mut value {
        fields.remove("variables");
    }
    value.sort_all_objects();
    value
}

/// Differences of two documents, each with its place.
fn compare(old: &Value, new: &Value, place: &str, lines: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let inner = if place.is_empty() {
                    key.clone()
                } else {
                    format!("{place}.{key}")
                };
                let none = Value::Null;
                let old = old.get(key).unwrap_or(&none);
                let new = new.get(key).unwrap_or(&none);
                compare(old, new, &inner, lines);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (number, (old, new)) in old.iter().zip(new).enumerate() {
                compare(old, new, &format!("{place}[{number}]"), lines);
            }
        }
        (old, new) if old == new => {}
        (old, new) => lines.push(format!("{place} {} -> {}", brief(old), brief(new))),
    }
}

/// A value in a few words.
fn brief(value: &Value) -> String {
    const MOST: usize = 60;
    let text = match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.replace('\n', "\\n"),
        other => other.to_string(),
    };
    if text.chars().count() <= MOST {
        return text;
    }
    let cut: String = text.chars().take(MOST).collect();
    format!("{cut}...")
}

/// As many lines as anybody reads, and how many more there are.
fn told(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST_TOLD);
    if more > 0 {
        lines.truncate(MOST_TOLD);
        lines.push(format!("and {more} more"));
    }
    lines
}
