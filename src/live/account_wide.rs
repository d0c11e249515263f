//! A whole account, as `sweep` looks at it: whose environments these are, no manifest says.

use std::collections::BTreeMap;

use super::Live;

/// Everything dewpoint could have made in an account, and everything else beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountWide {
    /// What there is: every droplet, volume, private image, firewall and key of the account.
    pub live: Live,
    /// How many things bear each tag that begins with `dewpoint`: also things that `live` does not
    /// have, such as snapshots of volumes.
    pub borne: BTreeMap<String, u64>,
    /// When firewalls were made, by id, seconds since 1970.
    pub firewalls_made: BTreeMap<String, i64>,
}
