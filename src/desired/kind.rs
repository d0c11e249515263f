//! The droplets of one kind: what `count` or `matrix` make of one entry of a manifest.

use super::expand::{environment_tags, sorted};
use super::spec::{BackgroundSpec, ProbeSpec, ReadySpec, RunSpec, SourceSpec};
use super::{Mount, Run, VolumeCopy, names};
use crate::address::{Address, Instance};
use crate::digest::Digest;
use crate::live::ownership;
use crate::manifest::schema::{self, Access, When};
use crate::manifest::{Manifest, http_target};
use crate::shared::{Shared, Texts};
use crate::units::Seconds;

/// How long a run step may take when the manifest does not say.
const RUN_TIMEOUT: Seconds = Seconds(60 * 60);
/// How long a background step may take to be ready when the manifest does not say.
const READY_TIMEOUT: Seconds = Seconds(60);

/// Which of its kind a droplet is, from 1.
const INDEX: &str = "DEWPOINT_INDEX";
/// How many there are of its kind.
const COUNT: &str = "DEWPOINT_COUNT";

/// What the droplets of one kind have in common: it lies in memory once for all of them.
pub(super) struct Kind<'a> {
    manifest: &'a Manifest,
    droplet: &'a schema::Droplet,
    source: Option<&'a SourceSpec>,
    /// Variables that are the same on all, those that tell them apart left out.
    environment: Variable,
    counts: Variable,
    own: Vec<Variable>,
    /// Names of variables that tell them apart.
    name: Shared<str>,
    index: Shared<str>,
    secrets: Texts,
    cwd: Option<Shared<str>>,
    runs: Vec<KindRun>,
    mounts: Vec<KindMount>,
}

/// What a run step is on all of them.
struct KindRun {
    name: Shared<str>,
    command: Shared<str>,
    artifacts: Texts,
}

/// What all of them mount.
struct KindMount {
    volume: Shared<str>,
    path: Shared<str>,
    /// Tags of their copies of the volume, if each has its own.
    copy_tags: Option<Texts>,
}

/// A variable and its value.
type Variable = (Shared<str>, Shared<str>);

impl<'a> Kind<'a> {
    pub(super) fn of(
        manifest: &'a Manifest,
        droplet: &'a schema::Droplet,
        count: usize,
        source: Option<&'a SourceSpec>,
    ) -> Self {
        let variable = |name: &str, value: &str| (Shared::from(name), Shared::from(value));
        let copy_tags = |volume: &str| {
            let mut tags = environment_tags(manifest);
            let Manifest {
                project,
                environment,
                ..
            } = manifest;
            tags.push(ownership::clone_tag(project, environment, volume));
            Shared::from(sorted(tags))
        };
        let runs = droplet.run.iter().map(|run| KindRun {
            name: run.name.as_str().into(),
            command: run.command.as_str().into(),
            artifacts: run.artifacts.clone().into(),
        });
        let mounts = droplet.volumes.iter().map(|mount| KindMount {
            volume: mount.volume.as_str().into(),
            path: mount.mount.as_str().into(),
            copy_tags: (mount.access == Access::Clone).then(|| copy_tags(&mount.volume)),
        });
        let own = droplet.env.iter();
        Self {
            manifest,
            droplet,
            source,
            environment: variable("DEWPOINT_ENV", &manifest.environment),
            counts: variable(COUNT, &count.to_string()),
            own: own.map(|(name, value)| variable(name, value)).collect(),
            name: "DEWPOINT_DROPLET".into(),
            index: INDEX.into(),
            secrets: sorted(droplet.secrets.clone()).into(),
            cwd: source.map(|source| source.into_path().into()),
            runs: runs.collect(),
            mounts: mounts.collect(),
        }
    }

    /// What one of them mounts; `name` is its own on DigitalOcean.
    pub(super) fn mounts(&self, name: &str) -> Vec<Mount> {
        let Manifest {
            project,
            environment,
            ..
        } = self.manifest;
        let mounts = self.mounts.iter().map(|mount| Mount {
            volume: mount.volume.clone(),
            path: mount.path.clone(),
            copy: mount.copy_tags.as_ref().map(|tags| VolumeCopy {
                name: names::clone(project, environment, name, &mount.volume).into(),
                tags: tags.clone(),
            }),
        });
        mounts.collect()
    }

    /// What runs on one of them, which is the `index`th of them, from 1.
    pub(super) fn runs(&self, address: &Address, name: &Shared<str>, index: usize) -> Vec<Run> {
        let mut env = Vec::with_capacity(4 + self.own.len());
        env.extend([
            self.environment.clone(),
            (self.name.clone(), name.clone()),
            (self.index.clone(), index.to_string().into()),
            self.counts.clone(),
        ]);
        if let Some(Instance::Matrix(pairs)) = address.instance() {
            let pairs = pairs.iter();
            env.extend(pairs.map(|(key, value)| {
                (
                    Shared::from(matrix_variable(key)),
                    Shared::from(value.as_str()),
                )
            }));
        }
        env.extend(self.own.iter().cloned());
        let runs = self.droplet.run.iter().zip(&self.runs);
        runs.map(|(run, kind)| {
            let mut spec = RunSpec {
                name: kind.name.clone(),
                command: kind.command.clone(),
                env: env.clone(),
                secrets: self.secrets.clone(),
                cwd: self.cwd.clone(),
                timeout: run.timeout.unwrap_or(RUN_TIMEOUT),
                retries: run.retries,
                allow_failure: run.allow_failure,
                once: None,
                background: None,
            };
            if run.background {
                let ready = run.ready.as_ref().and_then(ready_spec);
                spec.timeout = ready.as_ref().map_or(READY_TIMEOUT, |ready| ready.timeout);
                spec.background = Some(BackgroundSpec {
                    definition: definition(&spec, self.source),
                    ready,
                });
            }
            if run.when == When::Once {
                // What it does, not how patiently: the same command with more retries has run.
                let env = counted_env(&spec);
                let what = Digest::of(&(&spec.name, &spec.command, &env, &spec.cwd));
                spec.once = Some(what.short().to_owned());
            }
            Run {
                spec: spec.into(),
                artifacts: kind.artifacts.clone(),
            }
        })
        .collect()
    }
}

/// All that makes a background step what it is; when it counts as ready is no part of that.
fn definition(spec: &RunSpec, source: Option<&SourceSpec>) -> Digest {
    let commit = match source {
        Some(SourceSpec::Git { url, commit, .. }) => Some((url, commit)),
        Some(SourceSpec::Path { .. }) | None => None,
    };
    let env = counted_env(spec);
    Digest::of(&(&spec.command, &env, &spec.secrets, &spec.cwd, commit))
}

/// The variables that make a command what it is. A droplet's place among those of its kind is part of
/// that only where the command names it: else each droplet's steps would be others whenever one more
/// is asked for.
fn counted_env(spec: &RunSpec) -> Vec<&Variable> {
    let counts = |name: &str| match name {
        INDEX | COUNT => spec.command.contains(name),
        _ => true,
    };
    spec.env.iter().filter(|(name, _)| counts(name)).collect()
}

/// When a background step is ready; `None` for a manifest that its own checks refuse.
fn ready_spec(ready: &schema::Ready) -> Option<ReadySpec> {
    let probe = match (ready.tcp, &ready.http, &ready.command) {
        (Some(port), None, None) => ProbeSpec::Tcp { port },
        (None, Some(url), None) => {
            let target = http_target(url)?;
            ProbeSpec::Http {
                url: url.clone(),
                own_port: target.is_local.then_some(target.port),
            }
        }
        (None, None, Some(script)) => ProbeSpec::Command {
            script: script.clone(),
        },
        _ => return None,
    };
    Some(ReadySpec {
        probe,
        timeout: ready.timeout.unwrap_or(READY_TIMEOUT),
    })
}

/// `DEWPOINT_MATRIX_<KEY>`: upper case, and `_` for what a variable's name cannot have.
fn matrix_variable(key: &str) -> String {
    let key: String = key
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
            _ => '_',
        })
        .collect();
    format!("DEWPOINT_MATRIX_{key}")
}

// ---- names

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_among_others_counts_only_where_a_command_names_it() {
        let spec = |command: &str, place: Option<&str>| {
            let mut env: Vec<Variable> = vec![("DEWPOINT_ENV".into(), "main".into())];
            env.extend(place.map(|count| (COUNT.into(), count.into())));
            RunSpec {
                name: "serve".into(),
                command: command.into(),
                env,
                secrets: Vec::new().into(),
                cwd: None,
                timeout: RUN_TIMEOUT,
                retries: 0,
                allow_failure: false,
                once: None,
                background: None,
            }
        };
        let digest = |command, place| definition(&spec(command, place), None);
        // As before there were such variables, and whatever the count is.
        let plain = "./serve --port 8000";
        assert_eq!(digest(plain, None), digest(plain, Some("2")));
        assert_eq!(digest(plain, Some("2")), digest(plain, Some("3")));
        let counting = "./serve --of $DEWPOINT_COUNT";
        assert_ne!(digest(counting, Some("2")), digest(counting, Some("3")));
    }
}
