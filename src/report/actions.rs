//! What GitHub Actions makes of a log: groups that fold, and annotations. Pure.
//!
//! The output of droplets that run side by side would tear each other's groups, so that of a step is
//! held back until the step ends. No output begins a line of the log: a time and the droplet's address
//! stand before it, so nothing a droplet prints is taken for a command to the runner.
//!
//! Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.

use std::collections::BTreeMap;

use super::labels::step_title;
use super::lines::line_of;
use super::style::Palette;
use crate::execute::error::INTERRUPTED;
use crate::execute::{Event, EventKind};
use crate::plan::{Plan, StepId};
use crate::seemly;
use crate::times::duration;

/// How many bytes of a step's output are held back; then its group comes in parts.
const MOST_HELD: usize = 256 * 1024;

/// A piece of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A command to the runner, as it stands.
    Command(String),
    /// A line as any other, and milliseconds since the run began.
    Line(u64, String),
}

/// Output that is held back.
#[derive(Debug, Default)]
pub(super) struct Groups {
    held: BTreeMap<StepId, Held>,
}

#[derive(Debug, Default)]
struct Held {
    lines: Vec<(u64, String)>,
    bytes: usize,
    parts: u32,
}

impl Groups {
    /// What an event adds to the log.
    pub(super) fn pieces(&mut self, event: &Event, plan: &Plan, palette: Palette) -> Vec<Piece> {
        let line = line_of(event, plan, palette);
        let line = line.map(|text| Piece::Line(event.elapsed_ms, text));
        let mut pieces = Vec::new();
        match &event.kind {
            EventKind::Output { step, .. } => {
                let Some(Piece::Line(at, text)) = line else {
                    return pieces;
                };
                let held = self.held.entry(*step).or_default();
                held.bytes += text.len();
                held.lines.push((at, text));
                if held.bytes > MOST_HELD {
                    held.parts += 1;
                    let title = format!("{}, part {}", title(*step, plan), held.parts);
                    release(held, &title, &mut pieces);
                }
                return pieces;
            }
            EventKind::Done { step, took_ms, .. } => {
                self.end(*step, plan, *took_ms, "ok", &mut pieces);
            }
            EventKind::Failed {
                step,
                took_ms,
                failure,
            } => {
                let word = match failure.code.as_str() {
                    INTERRUPTED => "stopped",
                    _ if failure.allowed => "failed, allowed",
                    _ => "FAILED",
                };
                self.end(*step, plan, *took_ms, word, &mut pieces);
                if word == "FAILED" {
                    pieces.push(Piece::Command(format!(
                        "::error title={}::{}",
                        property(&title(*step, plan)),
                        data(&failure.message)
                    )));
                }
            }
            EventKind::RunFinished { .. } => {
                // A step that never told its end.
                let open: Vec<StepId> = self.held.keys().copied().collect();
                for step in open {
                    self.end(step, plan, 0, "not ended", &mut pieces);
                }
            }
            _ => {}
        }
        pieces.extend(line);
        pieces
    }

    fn end(&mut self, step: StepId, plan: &Plan, ms: u64, word: &str, into: &mut Vec<Piece>) {
        let Some(mut held) = self.held.remove(&step) else {
            return;
        };
        let title = format!("{} ({word}, {})", title(step, plan), duration(ms));
        release(&mut held, &title, into);
    }
}

fn title(step: StepId, plan: &Plan) -> String {
    plan.step(step).map(step_title).unwrap_or_default()
}

fn release(held: &mut Held, title: &str, into: &mut Vec<Piece>) {
    held.bytes = 0;
    if held.lines.is_empty() {
        return;
    }
    into.push(Piece::Command(format!("::group::{}", data(title))));
    into.extend(held.lines.drain(..).map(|(at, text)| Piece::Line(at, text)));
    into.push(Piece::Command("::endgroup::".to_owned()));
}

/// The text of a command.
fn data(text: &str) -> String {
    seemly::text(text)
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A value among the properties of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::{Failure, OutputStream};
    use crate::report::tests::plan;
    use crate::report::tests::runs::{Story, tests_failed};

    fn log(story: &Story, plan: &Plan) -> String {
        let mut groups = Groups::default();
        let mut out = String::new();
        for event in &story.0 {
            for piece in groups.pieces(event, plan, Palette::PLAIN) {
                match piece {
                    Piece::Command(text) => out.push_str(&format!("{text}\n")),
                    Piece::Line(_, text) => out.push_str(&format!("  {text}\n")),
                }
            }
        }
        out
    }

    fn says(story: Story, plan: &Plan, step: u32, line: &str) -> Story {
        story.then(EventKind::Output {
            step: StepId(step),
            address: plan.steps[step as usize].address.clone(),
            stream: OutputStream::Out,
            line: line.to_owned(),
        })
    }

    #[test]
    fn output_comes_in_groups_and_failures_as_annotations() {
        let plan = plan(1);
        let story = Story::new().started(&plan, 3).started(&plan, 2);
        let story = says(story, &plan, 3, "one");
        let story = says(story, &plan, 2, "of another");
        let story = says(story, &plan, 3, "::error::from the droplet").done(2, "");
        let failure = Failure {
            message: "50 %\nof: it".to_owned(),
            ..tests_failed()
        };
        let story = story
            .then(EventKind::Failed {
                step: StepId(3),
                took_ms: 1_500,
                failure,
            })
            .finished(1, 0, false, "0");
        insta::assert_snapshot!(log(&story, &plan));
    }

    #[test]
    fn output_without_end_is_not_held_without_end() {
        let plan = plan(1);
        let mut story = Story::new().started(&plan, 3);
        for _ in 0..300 {
            story = says(story, &plan, 3, &"x".repeat(1_000));
        }
        let log = log(&story, &plan);
        assert!(log.contains("run tests, part 1\n"), "{log}");
        assert_eq!(log.matches("::group::").count(), 1);
        assert_eq!(log.matches("::endgroup::").count(), 1);
    }
}
