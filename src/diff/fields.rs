//! Entries of a manifest as fields: what means the same is the same list.
//!
//! Each is taken apart without `..`: a new key does not compile until someone has judged what it
//! means here. Order counts only where it has a meaning.

use std::collections::BTreeMap;

use crate::manifest::Manifest;
use crate::manifest::schema::{
    Access, AfterRun, AfterRunWord, Droplet, Filesystem, HostKeyPolicy, ImageSource, Limits,
    Populate, Scope, Snapshot, Source, Ssh, Variable, Volume, VolumeMount,
};
use crate::plan::FieldChange;
use crate::units::Money;

/// Names and values of fields, in declared order.
pub(super) type Fields = Vec<(String, String)>;

/// What differs, in the order of the new fields; those that are gone come last.
pub(super) fn differences(
    old: &Fields,
    new: &Fields,
    forces: impl Fn(&str) -> bool,
) -> Vec<FieldChange> {
    let before: BTreeMap<&str, &str> = pairs(old);
    let after: BTreeMap<&str, &str> = pairs(new);
    let gone = old
        .iter()
        .filter(|(name, _)| !after.contains_key(name.as_str()));
    new.iter()
        .chain(gone)
        .filter_map(|(name, _)| {
            let old = before.get(name.as_str()).copied();
            let new = after.get(name.as_str()).copied();
            (old != new).then(|| FieldChange {
                field: name.clone(),
                old: old.map(str::to_owned),
                new: new.map(str::to_owned),
                forces_replace: forces(name),
                known_after_apply: false,
            })
        })
        .collect()
}

fn pairs(fields: &Fields) -> BTreeMap<&str, &str> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// Collects fields.
#[derive(Debug, Default)]
pub(super) struct Collected(pub Fields);

impl Collected {
    pub(super) fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    pub(super) fn some(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// A set: its order means nothing.
    pub(super) fn set(&mut self, name: &str, values: &[String]) {
        let mut values = values.to_vec();
        values.sort();
        values.dedup();
        if !values.is_empty() {
            self.add(name, values.join(", "));
        }
    }
}

/// What an image is called.
pub(super) fn image(image: &ImageSource) -> String {
    match image {
        ImageSource::Slug(slug) => slug.clone(),
        ImageSource::Id(id) => format!("image {id}"),
        ImageSource::Snapshot(reference) => format!("snapshot.{}", reference.snapshot),
    }
}

/// The fields of a volume but for the steps that fill it.
pub(super) fn volume(volume: &Volume) -> Fields {
    let Volume {
        size,
        filesystem,
        scope,
        populate,
        // A rename is told by what becomes of the volume; later it means nothing any more.
        was: _,
        existing,
    } = volume;
    let mut fields = Collected::default();
    fields.some("existing", existing.as_ref());
    fields.some("size", size.map(|size| size.to_string()));
    if existing.is_none() {
        fields.add(
            "filesystem",
            match filesystem {
                Filesystem::Ext4 => "ext4",
                Filesystem::Xfs => "xfs",
            },
        );
        fields.add("scope", scope_word(*scope));
    }
    if let Some(Populate {
        image: of,
        size,
        // Steps are compared as such.
        run: _,
    }) = populate
    {
        fields.add("populate.image", image(of));
        fields.add("populate.size", size);
    }
    fields.0
}

/// The word for whose a volume is.
pub(super) const fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Project => "project",
        Scope::Environment => "environment",
    }
}

/// The fields of a snapshot but for its recipe's steps.
pub(super) fn snapshot(snapshot: &Snapshot) -> Fields {
    let Snapshot {
        from,
        size,
        // Steps are compared as such.
        provision: _,
        keep,
        refresh,
        regions,
    } = snapshot;
    let mut fields = Collected::default();
    fields.add("from", image(from));
    fields.add("size", size);
    fields.add("keep", keep.to_string());
    fields.some("refresh", refresh.map(|refresh| refresh.to_string()));
    if let Some(regions) = regions {
        fields.set("regions", regions);
    }
    fields.0
}

/// The fields of a droplet but for its runs.
pub(super) fn droplet(droplet: &Droplet) -> Fields {
    let Droplet {
        image: of,
        size,
        count,
        matrix,
        volumes,
        source,
        env,
        secrets,
        // Runs are compared as such.
        run: _,
        needs,
        tags,
        after_run,
    } = droplet;
    let mut fields = Collected::default();
    fields.add("image", image(of));
    fields.add("size", size);
    match count.unwrap_or(1) {
        // As good as not written.
        1 => {}
        count => fields.add("count", count.to_string()),
    }
    for (key, values) in matrix {
        fields.add(format!("matrix.{key}"), values.join(", "));
    }
    if matrix.len() > 1 {
        // Names of instances are made in this order.
        let keys: Vec<&str> = matrix.keys().map(String::as_str).collect();
        fields.add("matrix", keys.join(", "));
    }
    for mount in volumes {
        let VolumeMount {
            volume,
            mount,
            access,
        } = mount;
        let access = match access {
            Access::Exclusive => "",
            Access::Clone => ", access: clone (a throw-away copy)",
        };
        fields.add(format!("volume {volume}"), format!("at {mount}{access}"));
    }
    if let Some(Source {
        git,
        reference,
        path,
        into,
    }) = source
    {
        fields.some(
            "source.git",
            git.as_deref().map(crate::guest::without_credentials),
        );
        fields.some("source.ref", reference.as_ref());
        fields.some("source.path", path.as_ref());
        fields.some("source.into", into.as_ref());
    }
    let mut variables: Vec<(&String, &String)> = env.iter().collect();
    variables.sort();
    for (name, value) in variables {
        fields.add(format!("env.{name}"), value);
    }
    fields.set("secrets", secrets);
    fields.set("needs", needs);
    fields.set("tags", tags);
    fields.add("after_run", after_run_word(*after_run));
    fields.0
}

/// `after_run` as it is written.
pub(super) fn after_run_word(after_run: AfterRun) -> String {
    match after_run {
        AfterRun::Word(AfterRunWord::Keep) => "keep".to_owned(),
        AfterRun::Word(AfterRunWord::Destroy) => "destroy".to_owned(),
        AfterRun::Word(AfterRunWord::DestroyOnSuccess) => "destroy_on_success".to_owned(),
        AfterRun::KeepOnFailure(keep) => format!("keep {} after a failure", keep.keep),
    }
}

/// What stands in a manifest beside resources.
pub(super) fn settings(manifest: &Manifest) -> Fields {
    let Manifest {
        // There is one.
        version: _,
        project,
        environment,
        region,
        ttl,
        limits,
        protect,
        variables,
        ssh,
        // A resource.
        firewall: _,
        snapshots: _,
        volumes: _,
        droplets: _,
    } = manifest;
    let mut fields = Collected::default();
    fields.add("project", project);
    fields.add("environment", environment);
    fields.add("region", region);
    fields.add("ttl", ttl.to_string());
    if let Some(Limits {
        droplets,
        cost_per_hour,
        sizes,
    }) = limits
    {
        fields.some("limits.droplets", droplets.map(|most| most.to_string()));
        fields.some(
            "limits.cost_per_hour",
            cost_per_hour.map(|most| Money(most).to_string()),
        );
        if let Some(sizes) = sizes {
            fields.set("limits.sizes", sizes);
        }
    }
    fields.set("protect", protect);
    let mut declared: Vec<(&String, &Variable)> = variables.iter().collect();
    declared.sort_by_key(|(name, _)| *name);
    for (name, variable) in declared {
        let Variable {
            default,
            // For readers, as a comment is.
            description: _,
        } = variable;
        fields.add(
            format!("variables.{name}"),
            match default {
                Some(default) => default.clone(),
                None => "must be given".to_owned(),
            },
        );
    }
    let Ssh {
        user,
        key,
        // Rules of the firewall.
        allow_from: _,
        host_key,
    } = ssh;
    fields.add("ssh.user", user);
    fields.add("ssh.key", key);
    fields.add(
        "ssh.host_key",
        match host_key {
            HostKeyPolicy::Derived => "derived",
            HostKeyPolicy::AcceptNew => "accept-new",
        },
    );
    fields.0
}
