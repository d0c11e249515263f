//! Events on a terminal: what runs now at the bottom, what happened above it.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::labels::step_label;
use super::lines::line_of;
use super::screen::Screen;
use super::style::Palette;
use crate::execute::{Event, EventKind, Listener};
use crate::plan::{Plan, StepId};

/// More running steps than this are only counted: the view must fit a small terminal.
const BARS: usize = 8;

/// The terminal view.
pub struct Progress {
    multi: MultiProgress,
    total: ProgressBar,
    bars: BTreeMap<StepId, ProgressBar>,
    running: BTreeMap<StepId, String>,
    ended: u32,
    steps: u32,
    expected_seconds: u64,
    palette: Palette,
}

impl Progress {
    /// Draws to standard error, which must be a terminal.
    #[must_use]
    pub fn new(palette: Palette) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(
            Box::new(Screen::default()),
            12,
        ));
        let total = multi.add(ProgressBar::new_spinner());
        total.set_style(style("{spinner} {elapsed} {msg}"));
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
        for (step, what) in &self.running {
            if self.bars.len() >= BARS {
                break;
            }
            if !self.bars.contains_key(step) {
                let bar = self
                    .multi
                    .insert_before(&self.total, ProgressBar::new_spinner());
                bar.set_style(style("  {spinner} {msg} {elapsed}"));
                bar.set_message(what.clone());
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
            "{}/{} steps{more}, expected {} s",
            self.ended, self.steps, self.expected_seconds
        ));
    }

    fn print(&self, text: &str) {
        // `println` of indicatif is silent when standard error is no terminal; `suspend` never is.
        self.multi.suspend(|| {
            use std::io::Write as _;
            // A terminal that went away is noticed by the signal it sends, not here.
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }

    fn close(&mut self) {
        for bar in std::mem::take(&mut self.bars).into_values() {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
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
                    let label = self.palette.strong(&step_label(started));
                    let what = format!("{label} {}", started.kind.title());
                    self.running.insert(*step, what);
                }
            }
            EventKind::Progress { step, text } => {
                if let Some(bar) = self.bars.get(step) {
                    let what = self.running.get(step).cloned().unwrap_or_default();
                    bar.set_message(format!("{what} {}", self.palette.faint(text)));
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
            self.print(&text);
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
}

#[cfg(test)]
mod tests {
    use super::style;

    #[test]
    fn templates_are_valid() {
        for template in ["{spinner} {elapsed} {msg}", "  {spinner} {msg} {elapsed}"] {
            let _ = style(template);
        }
    }
}
