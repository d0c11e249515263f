//! What stands where the old manifest is taken for applied.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::desired::Desired;
use crate::diff::Known;
use crate::live::Live;

/// What stands of the old manifest: address and name by id.
pub(super) struct Standing {
    pub things: BTreeMap<String, (Address, String)>,
    /// Throw-away copies of volumes by id.
    pub copies: BTreeMap<String, StandingCopy>,
    /// What images are called by the ids made up for them.
    pub images: Vec<(String, String)>,
}

/// A throw-away copy of a volume.
pub(super) struct StandingCopy {
    /// The droplet that has it.
    pub droplet: Address,
    /// That droplet's name on DigitalOcean.
    pub droplet_name: String,
    /// The volume in the manifest.
    pub volume: String,
}

impl Standing {
    pub fn of(old: Option<&Known<'_>>, live: &Live) -> Self {
        let mut things = BTreeMap::new();
        let images = live
            .images
            .iter()
            .map(|image| (format!("image {}", image.id), image.name.clone()))
            .collect();
        let Some(Known { desired, .. }) = old else {
            return Self {
                things,
                copies: BTreeMap::new(),
                images,
            };
        };
        let copies = copies(desired, live);
        for droplet in &live.droplets {
            if let Some(of) = desired.droplets.iter().find(|of| of.name == droplet.name) {
                let what = (of.address.clone(), droplet.name.clone());
                things.insert(droplet.id.to_string(), what);
            }
        }
        for volume in &live.volumes {
            if let Some(of) = desired.volumes.iter().find(|of| of.name == volume.name) {
                let what = (of.address.clone(), volume.name.clone());
                things.insert(volume.id.clone(), what);
            }
        }
        for image in &live.images {
            let found = desired.snapshots.iter();
            if let Some(of) = found.clone().find(|of| of.image_name == image.name) {
                let what = (of.address.clone(), image.name.clone());
                things.insert(image.id.to_string(), what);
            }
        }
        for firewall in &live.firewalls {
            let what = (Address::Firewall, firewall.name.clone());
            things.insert(firewall.id.clone(), what);
        }
        for key in &live.ssh_keys {
            things.insert(key.id.to_string(), (Address::SshKey, key.name.clone()));
        }
        Self {
            things,
            copies,
            images,
        }
    }
}

fn copies(desired: &Desired, live: &Live) -> BTreeMap<String, StandingCopy> {
    let mut copies = BTreeMap::new();
    for droplet in &desired.droplets {
        for mount in &droplet.mounts {
            let Some(copy) = &mount.copy else { continue };
            let mut volumes = live.volumes.iter();
            if let Some(volume) = volumes.find(|volume| volume.name == copy.name) {
                let copy = StandingCopy {
                    droplet: droplet.address.clone(),
                    droplet_name: droplet.name.as_str().to_owned(),
                    volume: mount.volume.as_str().to_owned(),
                };
                copies.insert(volume.id.clone(), copy);
            }
        }
    }
    copies
}
