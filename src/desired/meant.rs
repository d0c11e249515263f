//! Which droplet was meant by a word that names none.

use crate::address::{Address, Instance};
use crate::manifest::nearest;

/// The address that most likely was meant: one that says the same in another way (its kind left out, the
/// name by which droplets know each other), else one that is written almost so. `None` when no address
/// is near.
#[must_use]
pub fn meant<'a>(given: &str, addresses: &'a [Address]) -> Option<&'a Address> {
    let plain = given.strip_prefix("droplet.").unwrap_or(given);
    let spoken = addresses.iter().find(|address| {
        rest_of(address) == plain || spoken(address).is_some_and(|spoken| spoken == plain)
    });
    spoken.or_else(|| {
        // Of `droplet.` everything is near that begins so.
        let is_droplet = !given.contains('.') || given.starts_with("droplet.");
        let texts: Vec<String> = addresses
            .iter()
            .map(|address| match (address, is_droplet) {
                (Address::Droplet { .. }, true) => rest_of(address),
                (Address::Droplet { .. }, false) | (_, true) => String::new(),
                (other, false) => other.to_string(),
            })
            .collect();
        let near = nearest(plain, texts.iter().map(String::as_str))?;
        addresses.get(texts.iter().position(|text| text == near)?)
    })
}

/// An address without its kind.
fn rest_of(address: &Address) -> String {
    let text = address.to_string();
    text.split_once('.')
        .map_or(String::new(), |(_, rest)| rest.to_owned())
}

/// What other droplets of the environment call one of several.
fn spoken(address: &Address) -> Option<String> {
    match address {
        Address::Droplet {
            name,
            instance: Some(Instance::Index(1)),
        } => Some(name.as_str().to_owned()),
        Address::Droplet {
            name,
            instance: Some(Instance::Index(index)),
        } => Some(format!("{name}-{index}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_for_an_address_and_slips_of_the_pen_find_it() {
        let several = |index| Address::Droplet {
            name: "w".into(),
            instance: Some(Instance::Index(index)),
        };
        let mut addresses = vec![Address::droplet("tests"), Address::Snapshot("base".into())];
        addresses.extend((1..=20).map(several));
        for (given, expected) in [
            ("tests", Some("droplet.tests")),
            ("test", Some("droplet.tests")),
            ("droplet.tets", Some("droplet.tests")),
            ("base", Some("snapshot.base")),
            ("w-13", Some("droplet.w[13]")),
            ("droplet.w-13", Some("droplet.w[13]")),
            ("w[13]", Some("droplet.w[13]")),
            ("w", Some("droplet.w[1]")),
            ("snapshot.bas", Some("snapshot.base")),
            ("droplet.x", None),
            ("firewall", None),
            ("something-else", None),
            ("", None),
        ] {
            let found = meant(given, &addresses).map(ToString::to_string);
            assert_eq!(found.as_deref(), expected, "{given}");
        }
    }
}
