//! What the types cannot say: names, references, paths, what excludes what.

use super::report::Report;
use super::schema::Manifest;

/// Checks a manifest. `is_environment_given` tells that its environment's name is not the text's.
pub(super) fn check(manifest: &Manifest, is_environment_given: bool, report: &mut Report) {
    let _ = (manifest, is_environment_given, report);
}
