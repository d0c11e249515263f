//! Resources that differ only in which instance of their droplet they are, told as one.

use crate::address::{Address, Instance};
use crate::plan::{Activity, Change};

/// Changes that differ only in the instance of their droplet.
pub(super) struct Group<'a> {
    pub(super) changes: Vec<&'a Change>,
}

impl<'a> Group<'a> {
    pub(super) fn first(&self) -> &'a Change {
        self.changes[0]
    }

    pub(super) fn title(&self) -> String {
        title_of(self.changes.iter().map(|change| &change.address))
    }

    pub(super) fn names(&self) -> String {
        names_of(self.changes.iter().map(|change| change.name.as_str()))
    }
}

/// `shop-main-runner-1 to shop-main-runner-40` for many, the name itself for one.
pub(super) fn names_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [only] => (*only).to_owned(),
        [first, .., last] => format!("{first} to {last}"),
        [] => String::new(),
    }
}

/// `droplet.runner[1..40]` for many, the address itself for one.
pub(super) fn title_of<'a>(addresses: impl Iterator<Item = &'a Address>) -> String {
    let addresses: Vec<&Address> = addresses.collect();
    if let [only] = addresses.as_slice() {
        return only.to_string();
    }
    let mut indexes = Vec::new();
    let mut base = "";
    for address in &addresses {
        if let Address::Droplet {
            name,
            instance: Some(Instance::Index(index)),
        } = address
        {
            base = name;
            indexes.push(*index);
        }
    }
    if indexes.len() != addresses.len() {
        return addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
    }
    indexes.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let ranges: Vec<String> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}..{last}")
            }
        })
        .collect();
    format!("droplet.{base}[{}]", ranges.join(","))
}

fn droplet_name(address: &Address) -> Option<&str> {
    match address {
        Address::Droplet { name, .. } => Some(name),
        _ => None,
    }
}

/// Changes, each with those like it.
pub(super) fn group_changes<'a>(changes: &[&'a Change]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for &change in changes {
        let same = groups.iter_mut().rev().find(|group| {
            let first = group.first();
            droplet_name(&first.address).is_some()
                && droplet_name(&first.address) == droplet_name(&change.address)
                && first.action == change.action
                && first.reasons == change.reasons
                && first.fields == change.fields
        });
        match same {
            Some(group) => group.changes.push(change),
            None => groups.push(Group {
                changes: vec![change],
            }),
        }
    }
    groups
}

/// What every apply does with droplets that differ only in their instance.
pub(super) struct ActivityGroup<'a> {
    pub(super) activities: Vec<&'a Activity>,
}

/// Activities, each with those like it.
pub(super) fn group_activities(activities: &[Activity]) -> Vec<ActivityGroup<'_>> {
    let mut groups: Vec<ActivityGroup<'_>> = Vec::new();
    for activity in activities {
        let same = groups.iter_mut().rev().find(|group| {
            let first = group.activities[0];
            droplet_name(&first.address) == droplet_name(&activity.address)
                && first.single_use == activity.single_use
                && first.source == activity.source
                && first.runs == activity.runs
                && first.fields == activity.fields
                && first.after_run == activity.after_run
        });
        match same {
            Some(group) => group.activities.push(activity),
            None => groups.push(ActivityGroup {
                activities: vec![activity],
            }),
        }
    }
    groups
}
