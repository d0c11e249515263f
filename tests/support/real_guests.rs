//! What programs have in common that test real guests, and so have a main of their own.

use camino::Utf8Path;
use dewpoint::local::guests::{Tier, probe};

/// Whether the tests are to run: not where they are only listed, as test runners ask for it, nor, but for
/// CI, where there can be no guests, which is said.
pub fn are_to_run(name: &str, folder: &Utf8Path) -> bool {
    if std::env::args().any(|word| word == "--list") {
        println!("{name}: test");
        return false;
    }
    let found = probe(folder);
    if found.tier == Tier::Api {
        println!(
            "NOT RUN: this machine cannot do guests: {}",
            found.reasons.join("; ")
        );
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must run the guests' tests"
        );
        return false;
    }
    true
}
