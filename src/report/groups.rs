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
        names_of(
            self.changes
                .iter()
                .map(|change| (&change.address, change.name.as_str())),
        )
    }
}

/// More of a kind than this are not told one by one.
const TOLD: usize = 3;

/// `shop-main-runner-1 to shop-main-runner-40` for many that are counted, `shop-main-t-3.11 and 7
/// more` for many of a matrix, the name itself for one.
pub(super) fn names_of<'a>(named: impl Iterator<Item = (&'a Address, &'a str)>) -> String {
    let named: Vec<(&Address, &str)> = named.collect();
    let counted = named
        .iter()
        .all(|(address, _)| matches!(instance(address), Some(Instance::Index(_))));
    match named.as_slice() {
        [(_, only)] => (*only).to_owned(),
        [(_, first), .., (_, last)] if counted => format!("{first} to {last}"),
        [(_, first), (_, second)] => format!("{first} and {second}"),
        [(_, first), rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    }
}

fn instance(address: &Address) -> Option<&Instance> {
    match address {
        Address::Droplet { instance, .. } => instance.as_ref(),
        _ => None,
    }
}

/// `droplet.t[python=3.11|3.12,db=mysql]`: the values that occur, the first of many.
fn title_of_matrix(addresses: &[&Address]) -> Option<String> {
    let name = droplet_name(addresses.first()?)?;
    let mut keys: Vec<(&str, Vec<&str>)> = Vec::new();
    for address in addresses {
        let Some(Instance::Matrix(pairs)) = instance(address) else {
            return None;
        };
        if droplet_name(address) != Some(name) {
            return None;
        }
        for (key, value) in pairs {
            match keys.iter_mut().find(|(known, _)| known == key) {
                Some((_, values)) if values.contains(&value.as_str()) => {}
                Some((_, values)) => values.push(value),
                None => keys.push((key, vec![value])),
            }
        }
    }
    let keys: Vec<String> = keys
        .iter()
        .map(|(key, values)| {
            let more = if values.len() > TOLD { "|..." } else { "" };
            let told: Vec<&str> = values.iter().take(TOLD).copied().collect();
            format!("{key}={}{more}", told.join("|"))
        })
        .collect();
    Some(format!("droplet.{name}[{}]", keys.join(",")))
}

/// `droplet.runner[1..40]` or `droplet.t[python=3.11|3.12]` for many, the address itself for one.
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
        if let Some(title) = title_of_matrix(&addresses) {
            return title;
        }
        let told: Vec<String> = addresses
            .iter()
            .take(TOLD)
            .map(ToString::to_string)
            .collect();
        let more = match addresses.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return format!("{}{more}", told.join(", "));
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

/// What goes away, each with those like it that are counted: of those, a range names every one. Of
/// any other kind each stands alone, so that no name is left out.
pub(super) fn group_lost<'a>(changes: &[&'a Change]) -> Vec<Group<'a>> {
    let lost: Vec<&Change> = changes
        .iter()
        .copied()
        .filter(|change| change.action.destroys())
        .collect();
    group_changes(&lost)
        .into_iter()
        .flat_map(|group| {
            let is_counted = group
                .changes
                .iter()
                .all(|change| matches!(instance(&change.address), Some(Instance::Index(_))));
            if is_counted {
                return vec![group];
            }
            let alone = group.changes.into_iter();
            alone
                .map(|change| Group {
                    changes: vec![change],
                })
                .collect()
        })
        .collect()
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
