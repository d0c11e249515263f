//! Any text as a manifest: it is read or refused, never a panic, a hang or memory without bound; a
//! refusal points into the text, and what is read is the same read again.
#![no_main]

use dewpoint::manifest::{self, Inputs, Unset};
use dewpoint::plan::saved;
use libfuzzer_sys::fuzz_target;
use miette::Diagnostic as _;

fuzz_target!(|text: &[u8]| {
    for unset in [Unset::Refused, Unset::Kept, Unset::Spared] {
        let inputs = Inputs {
            variables: vec![("size".to_owned(), "s-1vcpu-1gb".to_owned())],
            ambient: vec![("REGION".to_owned(), "nyc3".to_owned())],
            environment: None,
            unset,
        };
        match manifest::load("dewpoint.yaml", text, &inputs) {
            Ok(manifest) => {
                let again = manifest::load("dewpoint.yaml", text, &inputs).expect("as before");
                assert_eq!(saved::meaning(&manifest), saved::meaning(&again));
                // All that is asked of a manifest without the cloud.
                let _ = manifest::local_paths(&manifest).len();
                let _ = dewpoint::desired::reads(&manifest);
                let scope = dewpoint::desired::scope(&manifest);
                assert_eq!(scope.project, manifest.project.to_string());
            }
            Err(errors) => {
                assert!(!errors.problems().is_empty());
                let text = String::from_utf8_lossy(text);
                for problem in errors.problems() {
                    for place in problem.places() {
                        assert!(
                            place.start <= place.end && place.end <= text.len(),
                            "{place:?}"
                        );
                    }
                }
                let mut shown = String::new();
                let handler = miette::NarratableReportHandler::new();
                handler
                    .render_report(&mut shown, &errors)
                    .expect("it can be shown");
                let handler = miette::GraphicalReportHandler::new_themed(
                    miette::GraphicalTheme::unicode_nocolor(),
                );
                for problem in errors.related().into_iter().flatten() {
                    handler
                        .render_report(&mut shown, problem)
                        .expect("it can be shown");
                }
            }
        }
    }
});
