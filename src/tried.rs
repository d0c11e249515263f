//! How laws are tried in the unit tests.

use proptest::prelude::ProptestConfig;

/// On so many cases, unless `PROPTEST_CASES` says on how many. `PROPTEST_RNG_SEED` makes them the
/// same ones each time. No file is written when a law is broken: the output has the case.
pub fn tried(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => default.cases,
            None => cases,
        },
        failure_persistence: None,
        max_shrink_iters: 400,
        ..default
    }
}
