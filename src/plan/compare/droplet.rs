//! Droplets: tags change in place, volumes are attached and detached; for all else a droplet is
//! made anew.

use super::lease::Lease;
use super::{another, forces, in_place};
use crate::desired::{Droplet, Image};
use crate::live::{LiveDroplet, ownership};
use crate::plan::change::{Cause, FieldChange, Reason};
use crate::plan::narrow::REPLACE;
use crate::units::Seconds;

/// The image a droplet shall be made from, as far as it is known.
#[derive(Debug, Clone)]
pub(in crate::plan) enum Wanted<'a> {
    /// A public image.
    Slug(&'a str),
    /// Any of these images is right; the text is what it is called.
    AnyOf(&'a [u64], &'a str),
    /// Likewise; and any that is gone and was made by the same recipe, as the droplet's spec tells.
    Same(&'a [u64], &'a str),
    /// It is built in this plan: no droplet can have it yet.
    Built(&'a str, &'a str),
}

/// How a droplet differs.
#[derive(Debug, Default)]
pub(in crate::plan) struct Differences {
    /// What differs.
    pub fields: Vec<FieldChange>,
    /// Why that matters.
    pub reasons: Vec<Reason>,
    /// Whether it must be made anew.
    pub replace: bool,
    /// Tags it gets, sorted.
    pub add: Vec<String>,
    /// Tags it loses, sorted.
    pub remove: Vec<String>,
    /// Whether its lease is renewed: moving its expiry is no change.
    pub renews: bool,
    /// When its lease ended, if it has.
    pub expired: Option<i64>,
}

/// Compares a droplet.
pub(in crate::plan) fn compare(
    desired: &Droplet,
    region: &str,
    image: &Wanted<'_>,
    live: &LiveDroplet,
    is_private: impl Fn(u64) -> bool,
    ttl: Seconds,
    now: i64,
) -> Differences {
    let Droplet {
        address: _,
        name: _,
        image: source,
        size,
        tags,
        // Volumes are compared where it is known which exist.
        mounts: _,
        // What runs is no part of the droplet.
        source: _,
        runs: _,
        after_run: _,
        needs: _,
    } = desired;
    let LiveDroplet {
        id: _,
        name: _,
        // Whether it runs is judged where something is to run on it.
        status: _,
        region: live_region,
        size: live_size,
        image_id,
        image_slug,
        public_ipv4: _,
        private_ipv4: _,
        volume_ids: _,
        tags: live_tags,
        // The manifest has no say in it: the region's default one.
        vpc: _,
        created_at: _,
    } = live;
    let mut differences = Differences::default();
    if live_size != size {
        differences.forced("size", live_size, size);
    }
    if live_region != region {
        differences.forced("region", live_region, region);
    }
    let old_image = || {
        image_slug
            .clone()
            .unwrap_or_else(|| format!("image {image_id}"))
    };
    match image {
        Wanted::Slug(slug) => match image_slug {
            Some(live_slug) if live_slug == slug => {}
            Some(live_slug) => differences.forced("image", live_slug, slug),
            // A slug moves on to newer images and leaves the old ones without: only a private
            // image is certainly another.
            None if is_private(*image_id) => differences.forced("image", &old_image(), slug),
            None => {}
        },
        Wanted::AnyOf(ids, name) => {
            if !ids.contains(image_id) {
                differences.forced("image", &old_image(), name);
            }
        }
        Wanted::Same(ids, name) => {
            // Two environments that build one recipe at the same time make two snapshots, of which
            // one is pruned: whose droplets stand on that need not be made anew.
            let spec = ownership::spec_of(live_tags);
            let is_pruned_twin =
                || !is_private(*image_id) && spec.is_some() && spec == ownership::spec_of(tags);
            if !ids.contains(image_id) && !is_pruned_twin() {
                differences.forced("image", &old_image(), name);
            }
        }
        Wanted::Built(name, snapshot) => {
            differences
                .fields
                .push(forces("image", old_image(), (*name).to_owned()));
            differences.reasons.push(Reason {
                cause: Cause::Upstream,
                text: format!("snapshot.{snapshot} is built anew"),
            });
            differences.replace = true;
        }
    }
    compare_tags(tags, live_tags, source, ttl, now, &mut differences);
    differences
}

impl Differences {
    /// It is made anew because the command asks for it.
    pub fn asked_for(&mut self, old: u64) {
        if !self.replace {
            // What would change in place.
            self.fields.clear();
            self.reasons.clear();
        }
        self.fields.insert(0, another(old.to_string()));
        let reason = Reason {
            cause: Cause::Command,
            text: REPLACE.to_owned(),
        };
        self.reasons.insert(0, reason);
        self.replace = true;
    }

    fn forced(&mut self, field: &str, old: &str, new: &str) {
        self.fields
            .push(forces(field, old.to_owned(), new.to_owned()));
        self.reasons.push(Reason {
            cause: Cause::Manifest,
            text: format!("{field} {old} -> {new}"),
        });
        self.replace = true;
    }
}

fn compare_tags(
    tags: &[String],
    live_tags: &[String],
    source: &Image,
    ttl: Seconds,
    now: i64,
    differences: &mut Differences,
) {
    let wanted_spec = ownership::spec_of(tags);
    match (ownership::spec_of(live_tags), wanted_spec) {
        (Some(old), Some(new)) if old != new => {
            // If something that can be read back says why already, that is the better reason.
            if !differences.replace {
                let what = match source {
                    Image::Slug(_) | Image::Id(_) => {
                        "what it was given when it was made has changed: SSH key, host key policy or image"
                    }
                    Image::Snapshot(_) => {
                        "what it was given when it was made has changed: SSH key, host key policy or snapshot"
                    }
                };
                differences.reasons.push(Reason {
                    cause: Cause::Manifest,
                    text: what.to_owned(),
                });
                differences
                    .fields
                    .push(forces("spec", old.to_owned(), new.to_owned()));
            }
            differences.replace = true;
        }
        _ => {}
    }
    if differences.replace {
        return;
    }
    let is_expiry = |tag: &&String| tag.starts_with("dewpoint-expires:");
    let add: Vec<String> = tags
        .iter()
        .filter(|tag| !live_tags.contains(tag))
        .cloned()
        .collect();
    let remove: Vec<String> = live_tags
        .iter()
        .filter(|tag| !is_expiry(tag) && !tags.contains(tag))
        .cloned()
        .collect();
    if !add.is_empty() || !remove.is_empty() {
        let (ours, theirs): (Vec<_>, Vec<_>) =
            add.iter().partition(|tag| tag.starts_with("dewpoint"));
        let mut reason = |cause, text: String| differences.reasons.push(Reason { cause, text });
        if !ours.is_empty() {
            reason(
                Cause::Drift,
                "someone took tags of dewpoint from it".to_owned(),
            );
        }
        if !theirs.is_empty() || !remove.is_empty() {
            reason(
                Cause::Manifest,
                "its tags are not those of the manifest".to_owned(),
            );
        }
        differences.fields.push(in_place(
            "tags",
            (!remove.is_empty()).then(|| remove.join(", ")),
            (!add.is_empty()).then(|| add.join(", ")),
        ));
    }
    differences.add = add;
    differences.remove = remove;

    let Lease {
        add: new,
        remove: old,
        current,
        ends_soon,
        too_long,
    } = Lease::of(live_tags, ttl, now);
    let missing = current.is_none();
    differences.expired = current.filter(|at| *at <= now);
    if missing || ends_soon || too_long {
        differences.remove.extend(old);
        differences.add.extend(new);
        differences.renews = ends_soon;
        if missing {
            differences.reasons.push(Reason {
                cause: Cause::Drift,
                text: "it bears no expiry".to_owned(),
            });
            differences
                .fields
                .push(in_place("expires", None, format!("in {ttl}")));
        }
        if too_long {
            differences.reasons.push(Reason {
                cause: Cause::Manifest,
                text: format!("`ttl: {ttl}` is shorter than what it was made with"),
            });
            differences
                .fields
                .push(in_place("expires", None, format!("in {ttl}")));
        }
    }
    differences.add.sort();
    differences.remove.sort();
}
