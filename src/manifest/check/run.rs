//! `droplets.*.run`: the commands.

use std::collections::HashMap;

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::{Ready, RunStep, When};
use super::super::wording::shown;
use super::{exactly_one, not_blank, paths};

/// More tries than this are a loop, not a retry.
const MOST_RETRIES: u32 = 100;

/// Names stand in plans, logs and file names.
const MOST_OF_NAME: usize = 80;

pub(super) fn check(path: &Path, steps: &[RunStep], report: &mut Report) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        let item = path.then(index);
        let name = item.then("name");
        if step.name.trim().is_empty() {
            not_blank(&name, "`name`", &step.name, report);
        } else if step.name.contains(char::is_control) || step.name.chars().count() > MOST_OF_NAME {
            report.value(
                &name,
                Problem::new(
                    Kind::BadName,
                    format!("`{}` cannot be the name of a step", shown(&step.name)),
                )
                .help(format!("use one line of at most {MOST_OF_NAME} characters")),
            );
        }
        if let Some(first) = names.insert(&step.name, index) {
            report.two_values(
                &name,
                &path.then(first).then("name"),
                Problem::new(
                    Kind::NotUnique,
                    format!("two steps are called `{}`", shown(&step.name)),
                )
                .help("rename one of the two"),
            );
        }
        not_blank(&item.then("command"), "`command`", &step.command, report);
        if step.retries > MOST_RETRIES {
            report.value(
                &item.then("retries"),
                Problem::new(
                    Kind::TooMany,
                    format!(
                        "{} retries are more than the {MOST_RETRIES} there may be",
                        step.retries
                    ),
                )
                .help("retry inside the command, with a pause between the tries"),
            );
        }
        for (position, pattern) in step.artifacts.iter().enumerate() {
            paths::artifact(&item.then("artifacts").then(position), pattern, report);
        }
        if let Some(ready) = &step.ready {
            check_ready(&item.then("ready"), ready, report);
        }
        check_background(&item, step, report);
    }
}

fn check_ready(path: &Path, ready: &Ready, report: &mut Report) {
    exactly_one(
        path,
        &[
            ("tcp", ready.tcp.is_some()),
            ("http", ready.http.is_some()),
            ("command", ready.command.is_some()),
        ],
        report,
    );
    if ready.tcp == Some(0) {
        report.value(
            &path.then("tcp"),
            Problem::new(Kind::BadValue, "0 is not a port").help("write a port from 1 to 65535"),
        );
    }
    if let Some(url) = &ready.http
        && crate::manifest::http_target(url).is_none()
    {
        report.value(
            &path.then("http"),
            Problem::new(
                Kind::BadValue,
                format!("`{}` is not an address that can be asked", shown(url)),
            )
            .help(
                "write an address as the droplet sees it, such as `http://localhost:8000/health`",
            ),
        );
    }
    if let Some(command) = &ready.command {
        not_blank(&path.then("command"), "`command`", command, report);
    }
}

/// What only one of both kinds of step can have.
fn check_background(item: &Path, step: &RunStep, report: &mut Report) {
    let mut without_effect = |key: &str, message: &str, help: &str| {
        report.key(
            &item.then(key),
            Problem::new(Kind::BadValue, message).help(help),
        );
    };
    if !step.background {
        if step.ready.is_some() {
            without_effect(
                "ready",
                "`ready` has no effect on a step that is waited for",
                "remove it, or write `background: true` beside it",
            );
        }
        return;
    }
    if step.timeout.is_some() {
        without_effect(
            "timeout",
            "`timeout` has no effect on a background step",
            "remove it; how long to wait until it is ready is `ready: { timeout: ... }`",
        );
    }
    if step.when == When::Once {
        without_effect(
            "when",
            "a background step cannot run only once",
            "remove `when`: a later apply leaves the step alone unless something changed",
        );
    }
}
