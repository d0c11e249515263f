//! Run steps as a JUnit report, for CI systems that show one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8PathBuf;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::outcome::{RunResult, run_results};
use crate::execute::{Event, EventKind, Listener};
use crate::guest::openssh::write_private;
use crate::plan::Plan;

/// Writes `junit.xml` when a run has finished, if the plan has run steps.
pub struct JUnit {
    folder: Utf8PathBuf,
    events: Vec<Event>,
    unwritten: Arc<Mutex<Option<std::io::Error>>>,
}

/// The report's name in the folder of its run.
pub const FILE: &str = "junit.xml";

impl JUnit {
    /// Writes into the folder of the run.
    #[must_use]
    pub fn new(folder: Utf8PathBuf) -> Self {
        Self {
            folder,
            events: Vec::new(),
            unwritten: Arc::default(),
        }
    }

    /// Where it is said, after the run, why the report could not be written.
    #[must_use]
    pub fn unwritten(&self) -> Arc<Mutex<Option<std::io::Error>>> {
        Arc::clone(&self.unwritten)
    }
}

impl Listener for JUnit {
    fn event(&mut self, event: &Event, plan: &Plan) {
        match event.kind {
            EventKind::Output { .. } | EventKind::Progress { .. } => {}
            EventKind::RunFinished { .. } => {
                let results = run_results(plan, &self.events);
                if results.is_empty() {
                    return;
                }
                let path = self.folder.join(FILE);
                let name = format!("{} / {}", plan.project, plan.environment);
                let written = render(&name, &results)
                    .map_err(std::io::Error::other)
                    .and_then(|xml| write_private(&path, &xml));
                if let Err(error) = written {
                    let unwritten = self.unwritten.lock();
                    *unwritten.unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
            _ => self.events.push(event.clone()),
        }
    }
}

/// Renders `junit.xml`: a suite a droplet, a case a run step.
///
/// # Errors
/// When the XML cannot be written, which memory alone could cause.
pub fn render(name: &str, results: &[RunResult]) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new(name);
    let mut suites: Vec<TestSuite> = Vec::new();
    for result in results {
        let status = match (&result.failure, &result.skipped) {
            (Some(failure), _) if !failure.allowed => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status
                    .set_message(&failure.message)
                    .set_type(&failure.code)
                    .set_description(failure.tail.join("\n"));
                status
            }
            (None, Some(reason)) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(reason);
                status
            }
            _ => TestCaseStatus::success(),
        };
        let mut case = TestCase::new(&result.run, status);
        case.set_classname(&result.droplet);
        if let Some(took) = result.took_ms {
            case.set_time(Duration::from_millis(took));
        }
        match suites
            .iter_mut()
            .find(|suite| suite.name.as_str() == result.droplet)
        {
            Some(suite) => {
                suite.add_test_case(case);
            }
            None => {
                let mut suite = TestSuite::new(&result.droplet);
                suite.add_test_case(case);
                suites.push(suite);
            }
        }
    }
    report.add_test_suites(suites);
    report.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::{Failure, FailureClass};

    #[test]
    fn a_failure_and_a_skip_are_told_apart() {
        let failure = Failure {
            class: FailureClass::RunStep,
            allowed: false,
            code: "dewpoint::run::exit".to_owned(),
            message: "exit status 1".to_owned(),
            help: None,
            causes: vec![],
            exit_status: Some(1),
            script: Vec::new(),
            tail: vec!["AssertionError: 1 != <2>".to_owned()],
        };
        let result = |run: &str, failure: Option<Failure>, skipped: Option<&str>| RunResult {
            droplet: "droplet.runner".to_owned(),
            run: run.to_owned(),
            took_ms: Some(1_500),
            failure,
            skipped: skipped.map(str::to_owned),
            tries: 1,
            log: Utf8PathBuf::new(),
        };
        let xml = render(
            "shop / main",
            &[
                result("tests", Some(failure), None),
                result("lint", None, Some("tests failed")),
                result("build", None, None),
            ],
        )
        .expect("XML");
        insta::assert_snapshot!(xml);
    }
}
