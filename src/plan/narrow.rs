//! Narrowing: a plan of some addresses alone (`--target`), of removals alone (`--only-destroy`), and
//! what is made anew although nothing is wrong with it (`--replace`).
//!
//! Narrowed are the verdicts: what is left out stays as it is, so that the steps are drawn of what
//! really happens and nothing is cut out of them afterwards.

use std::collections::{BTreeSet, HashMap};

use super::Options;
use super::build::Draft;
use super::change::{Action, Change};
use super::compare::{firewall, lease::Lease, snapshot, volume};
use super::error::{Refusal, RefusalKind};
use super::inventory::Inventory;
use crate::address::Address;
use crate::desired::{Desired, Droplet, Image, Volume};
use crate::live::Live;
use crate::manifest::schema::Scope as VolumeScope;

/// Why something is made anew.
pub(super) const REPLACE: &str = "`--replace` asks for it";

/// How many addresses of a kind a notice lists before it only counts.
const MOST_TOLD: usize = 8;

/// How many addresses are named in the place of one that names nothing.
const MOST_NEAR: usize = 3;

/// Which resources a plan is about.
#[derive(Debug)]
pub(super) struct Narrow<'o> {
    options: &'o Options,
    /// Whether the plan empties the environment at its end: what is to go then goes, named or not.
    empties: bool,
    /// What is named, with all that needs; absent when everything is meant.
    within: Option<BTreeSet<Address>>,
    /// Names on DigitalOcean of the throw-away copies of volumes that droplets within get.
    copies: BTreeSet<String>,
    /// What is made anew.
    replace: BTreeSet<Address>,
}

impl<'o> Narrow<'o> {
    /// What the options name; an address that names nothing, or what cannot be made anew, is refused.
    pub fn of(
        desired: &Desired,
        live: &Live,
        options: &'o Options,
        empties: bool,
        refusals: &mut Vec<Refusal>,
    ) -> Self {
        let of_manifest = match options.targets.is_empty() && options.replace.is_empty() {
            // Nothing is looked up among them.
            true => BTreeSet::new(),
            false => of_manifest(desired),
        };
        let mut all = of_manifest.clone();
        if !options.targets.is_empty() {
            all.extend(that_exist(desired, live));
        }
        let mut replace = BTreeSet::new();
        for pattern in &options.replace {
            let found = named(pattern, &of_manifest);
            if found.is_empty() {
                let whose = "nothing of the manifest";
                refusals.push(no_such(pattern, whose, &of_manifest));
            }
            for address in found {
                match irreplaceable(desired, address) {
                    Some(refusal) => refusals.push(refusal),
                    None => drop(replace.insert(address.clone())),
                }
            }
        }
        let mut narrow = Self {
            options,
            empties,
            within: None,
            copies: BTreeSet::new(),
            replace,
        };
        if options.targets.is_empty() {
            return narrow;
        }
        let mut wanted: Vec<Address> = narrow.replace.iter().cloned().collect();
        for pattern in &options.targets {
            let found = named(pattern, &all);
            if found.is_empty() {
                let whose = "nothing of the manifest or the environment";
                refusals.push(no_such(pattern, whose, &all));
            }
            wanted.extend(found.into_iter().cloned());
        }
        let within = if options.only_destroy {
            // Nothing is made, so nothing is needed.
            wanted.into_iter().collect()
        } else {
            with_needs(desired, wanted)
        };
        let droplets = desired.droplets.iter();
        narrow.copies = droplets
            .filter(|droplet| !options.only_destroy && within.contains(&droplet.address))
            .flat_map(|droplet| &droplet.mounts)
            .filter_map(|mount| mount.copy.as_ref())
            .map(|copy| copy.name.as_str().to_owned())
            .collect();
        narrow.within = Some(within);
        narrow
    }

    /// Whether a resource is made, changed and worked on as the manifest says.
    pub fn makes(&self, address: &Address) -> bool {
        !self.options.only_destroy && self.is_within(address)
    }

    /// Whether of an address what should not be there is removed.
    pub fn removes(&self, address: &Address) -> bool {
        self.empties || self.is_within(address)
    }

    /// Whether a leftover volume is removed: also one whose name a new copy is to have.
    pub fn removes_volume(&self, address: &Address, name: &str) -> bool {
        self.removes(address) || self.copies.contains(name)
    }

    /// Whether a resource is made anew although nothing is wrong with it.
    pub fn replaces(&self, address: &Address) -> bool {
        self.replace.contains(address)
    }

    /// Whether what droplets hold that stay as they are is taken from them when it goes.
    pub fn releases(&self) -> bool {
        self.options.only_destroy
    }

    pub fn empties(&self) -> bool {
        self.empties
    }

    fn is_within(&self, address: &Address) -> bool {
        self.within
            .as_ref()
            .is_none_or(|within| within.contains(address))
    }

    /// The firewall's verdict.
    pub fn firewall<'a>(&self, verdict: firewall::Verdict<'a>) -> firewall::Verdict<'a> {
        use firewall::Verdict;
        let address = &Address::Firewall;
        match verdict {
            Verdict::Delete(_) if !self.removes(address) => Verdict::Nothing,
            Verdict::Create(_) | Verdict::Taken(_) if !self.makes(address) => Verdict::Nothing,
            Verdict::Update(spec, live, _) if !self.makes(address) => Verdict::Keep(spec, live),
            verdict => verdict,
        }
    }

    /// A volume's verdict; none when it is not there and is not made.
    pub fn volume<'a>(&self, verdict: volume::Verdict<'a>) -> Option<volume::Verdict<'a>> {
        if self.makes(&verdict.volume.address) {
            return Some(verdict);
        }
        verdict.live?;
        Some(volume::Verdict {
            volume: verdict.volume,
            live: verdict.live,
            replaces: None,
            grow: None,
            add: Vec::new(),
            remove: Vec::new(),
            fields: Vec::new(),
            lease: Lease::default(),
            populate: None,
        })
    }

    /// A snapshot's verdict; none when it is not there and is not built.
    pub fn snapshot<'a>(
        &self,
        mut verdict: snapshot::Verdict<'a>,
    ) -> Option<snapshot::Verdict<'a>> {
        let address = &verdict.snapshot.address;
        if self.makes(address) {
            return Some(verdict);
        }
        verdict.transfers.clear();
        match verdict.state {
            // What is older goes only once the one of this recipe counts.
            snapshot::State::Build => return None,
            snapshot::State::Complete(image) => {
                verdict.state = snapshot::State::Keep(image);
                verdict.prune.clear();
            }
            snapshot::State::Keep(_) if !self.removes(address) => verdict.prune.clear(),
            snapshot::State::Keep(_) => {}
        }
        Some(verdict)
    }
}

/// Every address of the manifest, whether or not it is there.
fn of_manifest(desired: &Desired) -> BTreeSet<Address> {
    let mut all = BTreeSet::from([Address::SshKey, Address::Firewall]);
    all.extend(desired.volumes.iter().map(|volume| volume.address.clone()));
    all.extend(desired.snapshots.iter().map(|s| s.address.clone()));
    all.extend(desired.droplets.iter().map(|d| d.address.clone()));
    all
}

/// Every address of what the environment and its project have.
fn that_exist(desired: &Desired, live: &Live) -> BTreeSet<Address> {
    let found = Inventory::of(&desired.scope, live);
    let droplets = found.droplets.into_iter().map(|(address, _)| address);
    let volumes = found.volumes.into_iter().map(|(address, _)| address);
    let snapshots = found.snapshots.into_iter().map(|(address, _)| address);
    droplets.chain(volumes).chain(snapshots).collect()
}

/// The addresses that a pattern names.
fn named<'a>(pattern: &str, all: &'a BTreeSet<Address>) -> Vec<&'a Address> {
    all.iter()
        .filter(|address| address.matches(pattern))
        .collect()
}

/// Addresses with all that they need to be made and worked on.
fn with_needs(desired: &Desired, mut wanted: Vec<Address>) -> BTreeSet<Address> {
    let droplets: HashMap<&Address, &Droplet> = desired
        .droplets
        .iter()
        .map(|droplet| (&droplet.address, droplet))
        .collect();
    let volumes: HashMap<&Address, &Volume> = desired
        .volumes
        .iter()
        .map(|volume| (&volume.address, volume))
        .collect();
    // Once they are needed they are not there any more: nobody need add them again.
    let mut instances: HashMap<&str, Vec<&Address>> = HashMap::new();
    for droplet in &desired.droplets {
        if let Address::Droplet { name, .. } = &droplet.address {
            instances.entry(name).or_default().push(&droplet.address);
        }
    }
    let mut within = BTreeSet::new();
    let from = |image: &Image| match image {
        Image::Snapshot(name) => Some(Address::snapshot(name)),
        Image::Slug(_) | Image::Id(_) => None,
    };
    while let Some(address) = wanted.pop() {
        if within.contains(&address) {
            continue;
        }
        let mut makes_droplets = true;
        match &address {
            Address::Droplet { .. } => {
                if let Some(droplet) = droplets.get(&address) {
                    wanted.extend(from(&droplet.image));
                    let volumes = droplet.mounts.iter();
                    wanted.extend(volumes.map(|mount| Address::volume(&mount.volume)));
                    for name in droplet.needs.iter() {
                        let needed = instances.remove(name.as_str());
                        wanted.extend(needed.into_iter().flatten().cloned());
                    }
                } else {
                    makes_droplets = false;
                }
            }
            Address::Snapshot(name) => match desired.snapshot(name) {
                Some(snapshot) => wanted.extend(from(&snapshot.from)),
                None => makes_droplets = false,
            },
            Address::Volume(_) => {
                let volume = volumes.get(&address);
                match volume.and_then(|volume| volume.populate.as_ref()) {
                    Some(populate) => wanted.extend(from(&populate.image)),
                    None => makes_droplets = false,
                }
            }
            Address::SshKey | Address::Firewall => makes_droplets = false,
        }
        if makes_droplets {
            wanted.extend([Address::SshKey, Address::Firewall]);
        }
        within.insert(address);
    }
    within
}

/// Why something cannot be made anew, if it cannot.
fn irreplaceable(desired: &Desired, address: &Address) -> Option<Refusal> {
    let (reason, help) = match address {
        Address::Droplet { .. } | Address::Snapshot(_) => return None,
        Address::Firewall => (
            "a firewall changes in place, and has nothing that could be made anew",
            "leave it out of `--replace`: `apply` gives it the manifest's rules".to_owned(),
        ),
        Address::SshKey => (
            "a key is the same however often it is registered",
            "leave it out of `--replace`; another key is set with `ssh: { key: … }`".to_owned(),
        ),
        Address::Volume(_) => {
            let mut volumes = desired.volumes.iter();
            let volume = volumes.find(|volume| volume.address == *address)?;
            match (volume.size, volume.scope) {
                (Some(_), VolumeScope::Environment) => return None,
                (Some(_), VolumeScope::Project) => (
                    "it is the project's: other environments use what it holds, which would be lost",
                    "give the volume a new name in the manifest and copy what is needed; only volumes with `scope: environment` are made anew"
                        .to_owned(),
                ),
                (None, _) => (
                    "it is someone's own, which dewpoint uses and never deletes",
                    "leave it out of `--replace`".to_owned(),
                ),
            }
        }
    };
    Some(Refusal {
        address: Some(address.clone()),
        kind: RefusalKind::NotReplaced,
        reason: reason.to_owned(),
        help,
    })
}

fn no_such(pattern: &str, whose: &str, all: &BTreeSet<Address>) -> Refusal {
    let mut near: Vec<String> = all.iter().map(ToString::to_string).collect();
    near.sort_by_cached_key(|text| strsim::damerau_levenshtein(text, pattern));
    near.truncate(MOST_NEAR);
    Refusal {
        address: None,
        kind: RefusalKind::NoSuchAddress,
        reason: format!("`{pattern}` names {whose}"),
        help: format!(
            "the nearest there are: {}; `*` stands for any characters, and `dewpoint plan` shows all",
            near.join(", ")
        ),
    }
}

/// What to do about something that a droplet holds which stays as it is.
pub(super) fn held_by_left_out(address: &Address, holder: &Address) -> Refusal {
    Refusal {
        address: Some(address.clone()),
        kind: RefusalKind::AttachedElsewhere,
        reason: format!("it is attached to {holder}, which this plan leaves out"),
        help: format!("add `--target {holder}`, or plan without `--target`"),
    }
}

/// Says loudly what a narrowed plan leaves out of the whole one; nothing of one that is not narrowed.
pub(super) fn tell(options: &Options, narrowed: &Draft<'_>, whole: &Draft<'_>) -> String {
    let to = match (options.targets.is_empty(), options.only_destroy) {
        (_, true) => "to what is destroyed and not made again (`--only-destroy`), and nothing runs"
            .to_owned(),
        (_, false) => "to its targets and what they need (`--target`)".to_owned(),
    };
    let among = match (options.targets.is_empty(), options.only_destroy) {
        (false, true) => format!(" among {}", options.targets.join(", ")),
        (false, false) => format!(": {}", options.targets.join(", ")),
        (true, _) => String::new(),
    };
    let identity = |change: &Change| (change.address.clone(), change.action, change.id.clone());
    let kept: BTreeSet<_> = narrowed.changes.iter().map(identity).collect();
    let mut left: Vec<&Change> = whole
        .changes
        .iter()
        .filter(|change| change.action != Action::Keep && !kept.contains(&identity(change)))
        .collect();
    left.sort_by(|a, b| (&a.address, a.action).cmp(&(&b.address, b.action)));
    let mut parts = Vec::new();
    let kinds: [(&str, IsMeant); 4] = [
        ("to add", |action| action == Action::Create),
        ("to change", |action| action == Action::Update),
        ("to replace", |action| {
            matches!(
                action,
                Action::DestroyThenCreate | Action::CreateThenDestroy
            )
        }),
        ("to destroy", |action| action == Action::Delete),
    ];
    for (word, is_meant) in kinds {
        let of = left.iter().filter(|change| is_meant(change.action));
        let addresses: Vec<&Address> = of.map(|change| &change.address).collect();
        if !addresses.is_empty() {
            parts.push(format!("{} {word} ({})", addresses.len(), list(&addresses)));
        }
    }
    let busy: BTreeSet<&Address> = narrowed
        .activities
        .iter()
        .map(|done| &done.address)
        .collect();
    let mut idle: Vec<&Address> = whole.activities.iter().map(|done| &done.address).collect();
    idle.retain(|address| !busy.contains(address));
    idle.sort();
    if !idle.is_empty() {
        parts.push(format!("the runs of {}", list(&idle)));
    }
    let left_out = if parts.is_empty() {
        "that leaves nothing out".to_owned()
    } else {
        format!("LEFT OUT: {}", parts.join(", "))
    };
    format!("NOT THE WHOLE PLAN: it is narrowed {to}{among}; {left_out}")
}

/// Whether an action is of some kind.
type IsMeant = fn(Action) -> bool;

fn list(addresses: &[&Address]) -> String {
    let told: Vec<String> = addresses
        .iter()
        .take(MOST_TOLD)
        .map(ToString::to_string)
        .collect();
    match addresses.len() - told.len() {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}
