//! Any file as a saved plan. A seal that is wrong ends it, so here it is always right: what somebody
//! with an editor and sha256 can make.
#![no_main]

use dewpoint::digest::Digest;
use dewpoint::live::Live;
use dewpoint::plan::schedule::Schedule;
use dewpoint::plan::{self, Saved};
use dewpoint::report::graph::Graph;
use dewpoint::report::plan_text::{self, View};
use dewpoint::report::style::Palette;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde_json::Value;

/// The key of the digest of all else.
const SEAL: &str = "digest";

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    dewpoint_fuzz::mutate(data, size, max_size, seed, None)
});

fuzz_target!(|bytes: &[u8]| {
    let _ = Saved::read("plan.json", bytes);
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(bytes) else {
        return;
    };
    fields.remove(SEAL);
    let digest = Digest::of(&Value::Object(fields.clone()));
    fields.insert(SEAL.to_owned(), Value::String(digest.to_string()));
    let sealed = Value::Object(fields).to_string();
    let Ok(saved) = Saved::read("plan.json", sealed.as_bytes()) else {
        return;
    };
    let again = Saved::read("plan.json", saved.seal().as_bytes()).expect("it was sealed just now");
    assert_eq!(again.plan, saved.plan);

    let live = Live::default();
    let judged = plan::check::check(&saved.plan, &live);
    let _ = saved.live_moved(&live);
    let _ = saved.lease_ends();
    let _ = saved.copies();
    let _ = plan::saved::source_paths(&saved.plan);
    // What does not pass the judge is never shown or carried out.
    if judged.is_err() {
        return;
    }
    let _ = Schedule::of(&saved.plan);
    let text = plan_text::render(
        &saved.plan,
        View {
            palette: Palette::PLAIN,
            place: "a cloud",
            all_steps: true,
            width: 80,
            folds: true,
        },
    );
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    let _ = dewpoint::report::plan_json::render(&saved.plan);
    let _ = dewpoint::report::plan_markdown::render(&saved.plan, "a cloud", 60_000);
    let graph = Graph::of(&saved.plan, false);
    let _ = dewpoint::report::graph::svg(&graph);
});
