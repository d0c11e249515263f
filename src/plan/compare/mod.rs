//! What should exist against what does, a kind of resource at a time.
//!
//! Each comparison takes both sides apart without `..`: a new field does not compile until someone
//! has judged whether it can change in place, forces a replace, or does not matter.

pub(super) mod droplet;
pub(super) mod firewall;
pub(super) mod lease;
pub(super) mod snapshot;
pub(super) mod ssh_key;
pub(super) mod volume;

use super::change::FieldChange;

/// A field that is changed in place.
fn in_place(
    field: &str,
    old: impl Into<Option<String>>,
    new: impl Into<Option<String>>,
) -> FieldChange {
    FieldChange {
        field: field.to_owned(),
        old: old.into(),
        new: new.into(),
        forces_replace: false,
        known_after_apply: false,
    }
}

/// A field that cannot be changed in place.
fn forces(
    field: &str,
    old: impl Into<Option<String>>,
    new: impl Into<Option<String>>,
) -> FieldChange {
    FieldChange {
        forces_replace: true,
        ..in_place(field, old, new)
    }
}

/// What tells something that is made anew from what it replaces: its id.
pub(super) fn another(old: impl Into<String>) -> FieldChange {
    FieldChange {
        known_after_apply: true,
        ..forces("id", old.into(), None)
    }
}

/// A field of something that is made.
pub(super) fn made(field: &str, new: impl Into<String>) -> FieldChange {
    in_place(field, None, new.into())
}

/// A field of something that goes away.
pub(super) fn lost(field: &str, old: impl Into<String>) -> FieldChange {
    in_place(field, old.into(), None)
}
