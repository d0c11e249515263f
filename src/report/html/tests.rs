//! Pages of runs that are told here, event by event, and read back from their folders.

use camino::Utf8Path;

use super::*;
use crate::execute::journal::{self, log_path};
use crate::execute::{EventKind, Failure, history, past_files};
use crate::plan::{Plan, StepId};
use crate::report::tests::plan;
use crate::report::tests::runs::{Story, sync_failed, tests_failed};

const ID: &str = "01K3G5Q2N8ZT4V7W9X1Y2Z3A4B";

/// A run's folder with a journal, a plan, logs and artifacts.
struct Folder(tempfile::TempDir);

impl Folder {
    fn of(story: &Story, plan: Option<&Plan>) -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        std::fs::create_dir(folder.path()).expect("made");
        let lines = story.0.iter().map(|event| {
            let line = serde_json::to_string(event).expect("plain data");
            line + "\n"
        });
        folder.write(journal::FILE, &lines.collect::<String>());
        if let Some(plan) = plan {
            let plan = serde_json::to_string(plan).expect("plain data");
            folder.write(journal::PLAN, &plan);
        }
        folder
    }

    fn path(&self) -> camino::Utf8PathBuf {
        let runs = Utf8Path::from_path(self.0.path()).expect("UTF-8");
        runs.join(ID)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn page(&self) -> String {
        let runs = Utf8Path::from_path(self.0.path()).expect("UTF-8");
        let run = history::read(runs, ID, |_, _| false);
        let page = render(Page {
            run: &run,
            files: &past_files::read(&run),
            is_in_folder: true,
        });
        // What it looks like is not what these tests are about.
        page.replace(STYLE, "")
            .replace(run.folder.as_str(), "RUN")
            .replace("<tr>", "\n<tr>")
            .replace("<details", "\n<details")
            .replace("<a class", "\n<a class")
            .replace("<h", "\n<h")
            .replace("<li>", "\n<li>")
            .replace("<div><dt>", "\n<div><dt>")
    }
}

fn hostile() -> Failure {
    Failure {
        message: "exit status 1 </pre><script>alert(1)</script>".to_owned(),
        help: Some("\"><img src=x onerror=alert(2)>".to_owned()),
        ..tests_failed()
    }
}

#[test]
fn a_run_whose_tests_failed() {
    let plan = plan(1);
    let story = Story::new()
        .did(&plan, 0, "droplet 3164444 at 203.0.113.7")
        .then(EventKind::Retried {
            step: None,
            attempt: 1,
            wait_ms: 61_000,
            reason: "GET /v2/droplets is held back by the rate limit".to_owned(),
        })
        .did(&plan, 1, "")
        .did(&plan, 2, "12 files, 3 sent")
        .started(&plan, 3)
        .then(EventKind::Retried {
            step: Some(StepId(3)),
            attempt: 2,
            wait_ms: 1_000,
            reason: "exit status 1".to_owned(),
        })
        .then(EventKind::Failed {
            step: StepId(3),
            took_ms: 75_000,
            failure: tests_failed(),
        })
        .failed(&plan, 4, sync_failed())
        .then(EventKind::Notice {
            text: "the artifact `x` matched nothing".to_owned(),
        })
        .finished(2, 0, false, "0");
    let folder = Folder::of(&story, Some(&plan));
    let log = log_path(&plan.steps[3]);
    folder.write(
        log.as_str(),
        "\u{1b}[32mcollected 2 items\u{1b}[0m\n1 < 2\n",
    );
    folder.write(
        "artifacts/box/report.xml",
        r#"<testsuite><testcase classname="a" name="good" time="0.1"/><testcase classname="a" name="bad"><failure message="1 != 2"/></testcase></testsuite>"#,
    );
    folder.write("artifacts/box/logs/a b.txt", "x");
    insta::assert_snapshot!(folder.page());
}

#[test]
fn nothing_that_comes_from_outside_becomes_part_of_the_page() {
    let plan = plan(1);
    let story = Story::new()
        .did(&plan, 0, "</p><script>alert(3)</script>")
        .failed(&plan, 3, hostile())
        .then(EventKind::Notice {
            text: "<script>alert(4)</script>".to_owned(),
        });
    let folder = Folder::of(&story, Some(&plan));
    let log = log_path(&plan.steps[3]);
    folder.write(log.as_str(), "</pre><script>alert(5)</script>\n");
    folder.write("artifacts/b/<script>alert(6)<.xml", "<testsuite><testcase name='&lt;script>alert(7)&lt;/script>'><failure/></testcase></testsuite>");
    let page = folder.page();
    for number in 1..=7 {
        assert!(
            page.contains(&format!("alert({number})")) || number == 6,
            "{number}: {page}"
        );
    }
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("<img"), "{page}");
}

#[test]
fn a_run_that_was_killed_and_one_without_a_plan_have_pages_too() {
    let plan = plan(1);
    let story = Story::new().did(&plan, 0, "").started(&plan, 3);
    let killed = Folder::of(&story, Some(&plan)).page();
    assert!(killed.contains("not ended"), "{killed}");
    let without = Folder::of(&story, None).page();
    assert!(!without.contains("Critical path"), "{without}");
    assert!(without.contains("run tests"), "{without}");
    // Nor does a folder with nothing of use in it make it fail.
    let empty = Folder(tempfile::tempdir().expect("a temporary folder"));
    std::fs::create_dir(empty.path()).expect("made");
    let page = empty.page();
    assert!(page.contains("unreadable"), "{page}");
}

#[test]
fn the_critical_path_is_what_the_last_step_waited_for() {
    let plan = plan(1);
    let story = Story::new()
        .started(&plan, 1)
        .did(&plan, 0, "")
        .done(1, "")
        .did(&plan, 2, "")
        .did(&plan, 3, "");
    let chart = chart(&story.0, Some(&plan));
    let path: Vec<&str> = chart
        .critical
        .iter()
        .map(|bar| chart.bars[*bar].title.as_str())
        .collect();
    insta::assert_debug_snapshot!((path, &plan.edges));
}

#[test]
fn a_run_of_hundreds_is_folded_and_what_failed_is_not() {
    let plan = plan(100);
    let story = (0..100).fold(Story::new().did(&plan, 0, ""), |story, index| {
        let story = story.did(&plan, 2 + index * 3, "12 files");
        let story = match index {
            41 => story.failed(&plan, 3 + index * 3, tests_failed()),
            _ => story.did(&plan, 3 + index * 3, ""),
        };
        story.did(&plan, 4 + index * 3, "")
    });
    let page = Folder::of(&story, Some(&plan)).page();
    let at = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("{text} is missing"))
    };
    assert!(at("<nav>") < at("<h2 id=\"failures\""));
    assert!(at("<h2 id=\"failures\"") < at("<h2 id=\"runs\""));
    // One row in sight, and the others where they can be looked at.
    let runs = &page[at("<h2 id=\"runs\"")..at("<h2 id=\"timeline\"")];
    let (seen, folded) = runs.split_once("<details").expect("some are folded");
    assert_eq!(seen.matches("<tr>").count(), 2, "{seen}");
    assert!(seen.contains("droplet.runner[42]"), "{seen}");
    assert!(folded.contains("99 of 100 went well"), "{folded}");
    assert_eq!(folded.matches("<tr>").count(), 100);
    assert!(page.contains("class=\"timeline dense\""));
    let steps = &page[at("<h2 id=\"steps\"")..];
    assert_eq!(steps.matches("<details class=\"group\" open").count(), 1);
    assert_eq!(steps.matches("<details class=\"group well\"").count(), 100);
    // Links still lead to every step.
    for step in [0, 125, 301] {
        assert!(page.contains(&format!("id=\"step-{step}\"")), "{step}");
    }
}
