//! The environment's key. It has no state but its being there: another key is another resource.

use crate::desired::Desired;
use crate::live::{Live, LiveSshKey};

/// What becomes of the key.
#[derive(Debug)]
pub(in crate::plan) struct Verdict<'a> {
    /// The key as the account has it, under whatever name.
    pub found: Option<&'a LiveSshKey>,
    /// Whether that key bears our name: only then is it ours to delete.
    pub ours: bool,
    /// Whether it is registered when it is not there.
    pub wanted: bool,
    /// Keys that bear our name and are not the one: earlier keys of the environment.
    pub older: Vec<&'a LiveSshKey>,
}

/// Compares the key.
pub(in crate::plan) fn compare<'a>(desired: &Desired, live: &'a Live) -> Verdict<'a> {
    let name = desired.scope.environment_name();
    let mut verdict = Verdict {
        found: None,
        ours: false,
        wanted: true,
        older: Vec::new(),
    };
    let mut keys: Vec<&LiveSshKey> = live.ssh_keys.iter().collect();
    keys.sort_by_key(|key| key.id);
    for key in keys {
        let LiveSshKey {
            id: _,
            name: live_name,
            fingerprint,
        } = key;
        if *fingerprint == desired.ssh_key.fingerprint {
            verdict.found = Some(key);
            verdict.ours = *live_name == name;
        } else if *live_name == name {
            verdict.older.push(key);
        }
    }
    verdict
}
