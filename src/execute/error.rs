//! What ends a step badly, and its form in events.

use miette::Diagnostic;

use super::event::{Failure, FailureClass};
use super::redact::Redactor;

/// Code of the failure of a step that an interrupt ended.
pub const INTERRUPTED: &str = "dewpoint::execute::interrupted";

impl Failure {
    /// A failure of the tool, from an error: its code, message and help, and its causes, outermost
    /// first.
    #[must_use]
    pub fn from_error(error: &(impl Diagnostic + ?Sized)) -> Self {
        let mut causes: Vec<String> = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Wrappers often say what they wrap; once is enough.
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            cause = error.source();
        }
        Self {
            class: FailureClass::Tool,
            allowed: false,
            code: error.code().map_or_else(
                || "dewpoint::execute::step".to_owned(),
                |code| code.to_string(),
            ),
            message: error.to_string(),
            help: error.help().map(|help| help.to_string()),
            causes,
            exit_status: None,
            tail: Vec::new(),
        }
    }

    /// The step was ended by a signal to dewpoint.
    pub(super) fn interrupted() -> Self {
        Self {
            class: FailureClass::Tool,
            allowed: false,
            code: INTERRUPTED.to_owned(),
            message: "interrupted".to_owned(),
            help: None,
            causes: Vec::new(),
            exit_status: None,
            tail: Vec::new(),
        }
    }

    /// The step panicked.
    pub(super) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let said = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self {
            class: FailureClass::Tool,
            allowed: false,
            code: "dewpoint::execute::panicked".to_owned(),
            message: "dewpoint itself failed in this step".to_owned(),
            help: Some("report this as a bug, with the journal of this run".to_owned()),
            causes: said.into_iter().collect(),
            exit_status: None,
            tail: Vec::new(),
        }
    }

    /// Without secrets.
    pub(super) fn redacted(mut self, redactor: &Redactor) -> Self {
        self.message = redactor.redact(&self.message);
        self.help = self.help.map(|help| redactor.redact(&help));
        for text in self.causes.iter_mut().chain(&mut self.tail) {
            *text = redactor.redact(text);
        }
        self
    }
}
