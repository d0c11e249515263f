//! Events on a terminal: what runs now at the bottom, what happened above it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use indicatif::{
    MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike,
};

use super::fold;
use super::labels::step_label;
use super::lines::line_of;
use super::screen::Screen;
use super::style::Palette;
use crate::execute::{Event, EventKind, Listener};
use crate::plan::{Plan, StepId};
use crate::seemly;
use crate::times::about;
use crate::units::Seconds;

/// More running steps than this are only counted: the view must fit a small terminal.
const BARS: usize = 8;

/// The terminal view.
pub struct Progress {
    multi: MultiProgress,
    total: ProgressBar,
    bars: BTreeMap<StepId, ProgressBar>,
    running: BTreeMap<StepId, Running>,
    ended: u32,
    steps: u32,
    expected_seconds: u64,
    palette: Palette,
}

/// A step that has begun.
struct Running {
    what: String,
    expected_seconds: u64,
}

/// How a step that runs is drawn, and how all of them are.
const BAR: &str = "  {spinner} {took}{prefix} {wide_msg}";
const TOTAL: &str = "{spinner} {took} {wide_msg}";

impl Progress {
    /// Draws to standard error, which must be a terminal.
    #[must_use]
    pub fn new(palette: Palette) -> Self {
        Self::on(Box::new(Screen::default()), palette)
    }

    fn on(screen: Box<dyn TermLike>, palette: Palette) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(screen, 12);
        let multi = MultiProgress::with_draw_target(target);
        let total = multi.add(ProgressBar::new_spinner());
        total.set_style(style(TOTAL));
        Self {
            multi,
            total,
            bars: BTreeMap::new(),
            running: BTreeMap::new(),
            ended: 0,
            steps: 0,
            expected_seconds: 0,
            palette,
        }
    }

    fn redraw(&mut self) {
        for (step, running) in &self.running {
            if self.bars.len() >= BARS {
                break;
            }
            if !self.bars.contains_key(step) {
                let bar = self
                    .multi
                    .insert_before(&self.total, ProgressBar::new_spinner());
                bar.set_style(style(BAR));
                bar.set_message(running.what.clone());
                bar.set_prefix(match running.expected_seconds {
                    // Shorter than it takes to read.
                    0..=2 => String::new(),
                    seconds => format!(" of {}", about(seconds)),
                });
                bar.enable_steady_tick(Duration::from_millis(120));
                self.bars.insert(*step, bar);
            }
        }
        let hidden = self.running.len().saturating_sub(self.bars.len());
        let more = if hidden > 0 {
            format!(", {hidden} more running")
        } else {
            String::new()
        };
        self.total.set_message(format!(
            "{}/{} steps{more}, expected {}",
            self.ended,
            self.steps,
            about(self.expected_seconds)
        ));
    }

    fn print(&self, text: &str) {
        // `println` of indicatif is silent when standard error is no terminal; `suspend` never is.
        self.multi.suspend(|| {
            use std::io::Write as _;
            // A terminal that went away is noticed by the signal it sends, not here.
            let _ = writeln!(std::io::stderr(), "{}", seemly::screen(text, true));
        });
    }

    fn close(&mut self) {
        for bar in std::mem::take(&mut self.bars).into_values() {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
    }
}

/// A line as it is shown on a screen of that width: broken at words, but for what others wrote, which may be
/// to be copied.
fn fitted(text: &str, kind: &EventKind, width: u16) -> String {
    match kind {
        EventKind::Output { .. } => text.to_owned(),
        _ => fold::fold(text, usize::from(width)).trim_end().to_owned(),
    }
}

impl Listener for Progress {
    /// Shows what an event means.
    fn event(&mut self, event: &Event, plan: &Plan) {
        match &event.kind {
            EventKind::RunStarted {
                steps,
                expected_seconds,
                ..
            } => {
                self.steps = *steps;
                self.expected_seconds = *expected_seconds;
                self.total.enable_steady_tick(Duration::from_millis(120));
            }
            EventKind::Started { step, .. } => {
                if let Some(started) = plan.step(*step) {
                    // Made seemly before it is coloured: our own colours are no names.
                    let label = self.palette.strong(&seemly::name(&step_label(started)));
                    let title = started.kind.title();
                    let running = Running {
                        what: format!("{label} {}", seemly::name(&title)),
                        expected_seconds: started.expected_seconds,
                    };
                    self.running.insert(*step, running);
                }
            }
            EventKind::Progress { step, text } => {
                if let Some(bar) = self.bars.get(step) {
                    let what = self.running.get(step).map_or("", |running| &running.what);
                    let text = self.palette.faint(&seemly::line(text));
                    bar.set_message(format!("{what} {text}"));
                }
            }
            EventKind::Done { step, .. }
            | EventKind::Failed { step, .. }
            | EventKind::Skipped { step, .. } => {
                self.ended += 1;
                self.running.remove(step);
                if let Some(bar) = self.bars.remove(step) {
                    bar.finish_and_clear();
                    self.multi.remove(&bar);
                }
            }
            _ => {}
        }
        if let Some(text) = line_of(event, plan, self.palette) {
            self.print(&fitted(&text, &event.kind, Screen::default().width()));
        }
        if matches!(event.kind, EventKind::RunFinished { .. }) {
            self.close();
        } else {
            self.redraw();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is a constant that a test has run")
        .tick_chars("-\\|/ ")
        // Its own form of times stands still after a minute and a half, and is not ours.
        .with_key("took", |state: &ProgressState, out: &mut dyn Write| {
            // Nobody sees what a terminal was not shown.
            let _ = write!(out, "{}", Seconds(state.elapsed().as_secs()));
        })
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;
    use crate::execute::OutputStream;
    use crate::report::tests::plan;
    use crate::report::tests::runs::Story;

    #[test]
    fn templates_are_valid() {
        for template in [TOTAL, BAR] {
            let _ = style(template);
        }
    }

    #[test]
    fn lines_are_broken_at_words_and_output_is_not() {
        let text =
            "ok firewall create firewall (11ms, firewall b5a222ac-885b-42d7-a09d-4b538a91b973)";
        let done = Story::new().done(0, "");
        let done = &done.0.last().expect("an event").kind;
        insta::assert_snapshot!(fitted(text, done, 77), @r"
        ok firewall create firewall (11ms, firewall
            b5a222ac-885b-42d7-a09d-4b538a91b973)
        ");
        assert_eq!(fitted(text, done, 157), text);
        let said = EventKind::Output {
            step: StepId(0),
            address: plan(1).steps[0].address.clone(),
            stream: OutputStream::Out,
            line: text.to_owned(),
        };
        assert_eq!(fitted(text, &said, 77), text);
    }

    /// What a screen shows while two steps run, one of which has said how far it is.
    fn running(columns: u16, palette: Palette) -> String {
        let mut plan = plan(1);
        plan.steps[0].expected_seconds = 75;
        let screen = InMemoryTerm::new(24, columns);
        let mut progress = Progress::on(Box::new(screen.clone()), palette);
        let story = Story::new()
            .started(&plan, 0)
            .then(EventKind::Progress {
                step: StepId(0),
                text: "waiting for the droplet to become active, which takes a minute or so"
                    .to_owned(),
            })
            .started(&plan, 1);
        for event in &story.0 {
            progress.event(event, &plan);
        }
        progress.total.tick();
        for bar in progress.bars.values() {
            bar.tick();
        }
        screen.contents().replace(['-', '\\', '|', '/'], "")
    }

    #[test]
    fn it_fits_a_narrow_and_a_wide_screen() {
        insta::assert_snapshot!(running(80, Palette::PLAIN), @r"
          0s of about 1m15s droplet.runner[1] create droplet waiting for the droplet t
          0s volume.scratch create volume
        0s 05 steps, expected about 4m
        ");
        insta::assert_snapshot!(running(160, Palette::PLAIN), @r"
          0s of about 1m15s droplet.runner[1] create droplet waiting for the droplet to become active, which takes a minute or so
          0s volume.scratch create volume
        0s 05 steps, expected about 4m
        ");
    }

    #[test]
    fn colours_are_no_part_of_names() {
        for columns in [80, 160] {
            let coloured = running(columns, Palette::COLOURED);
            assert_eq!(coloured, running(columns, Palette::PLAIN));
        }
    }

    #[test]
    fn what_runs_is_shown_until_it_ends_and_nothing_is_left() {
        let mut plan = plan(1);
        plan.steps[0].expected_seconds = 75;
        let screen = InMemoryTerm::new(24, 80);
        let mut progress = Progress::on(Box::new(screen.clone()), Palette::PLAIN);
        let show = |progress: &mut Progress, story: &Story| {
            for event in &story.0 {
                progress.event(event, &plan);
            }
            progress.total.tick();
            for bar in progress.bars.values() {
                bar.tick();
            }
            // What turns is not what this is about.
            screen.contents().replace(['-', '\\', '|', '/'], "")
        };
        let story = Story::new().started(&plan, 0).then(EventKind::Progress {
            step: StepId(0),
            text: "waiting for the droplet to become active".to_owned(),
        });
        insta::assert_snapshot!(show(&mut progress, &story));
        let ended = Story(Story::new().done(0, "").0.split_off(1));
        let shown = show(&mut progress, &ended);
        assert!(!shown.contains("create droplet"), "{shown}");
        let finished = Story(Story::new().finished(0, 0, false, "0").0.split_off(1));
        show(&mut progress, &finished);
        drop(progress);
        assert_eq!(screen.contents(), "");
    }
}
