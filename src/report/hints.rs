//! Commands that are proposed to a reader: each means what the one meant that proposes it, its manifest,
//! environment, cloud and values of variables. One that did not could destroy things.

use std::fmt;

use crate::execute::Event;
use crate::execute::EventKind;
use crate::guest::quote;
use crate::plan::{Goal, Plan};

/// What every proposed command begins with.
const PROGRAM: &str = "dewpoint ";

/// Options that a further command is given. Shown with a blank before each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(Vec<Flag>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Flag {
    name: &'static str,
    /// As it is typed.
    text: String,
}

impl Flags {
    /// With an option that has no value.
    #[must_use]
    pub fn switch(mut self, name: &'static str) -> Self {
        let text = name.to_owned();
        self.0.push(Flag { name, text });
        self
    }

    /// With an option and its value.
    #[must_use]
    pub fn option(mut self, name: &'static str, value: &str) -> Self {
        let text = format!("{name} {}", quote(value));
        self.0.push(Flag { name, text });
        self
    }

    /// With these, too.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// With the value of a variable.
    #[must_use]
    pub fn variable(mut self, variable: &str, value: &str) -> Self {
        let name = "--var";
        let text = format!("{name} {}={}", quote(variable), quote(value));
        self.0.push(Flag { name, text });
        self
    }

    /// Those that say which cloud is meant.
    #[must_use]
    pub fn of_cloud(&self) -> Self {
        self.only(|name| matches!(name, "--local" | "--local-dir"))
    }

    fn only(&self, is_wanted: impl Fn(&str) -> bool) -> Self {
        let flags = self.0.iter().filter(|flag| is_wanted(flag.name));
        Self(flags.cloned().collect())
    }

    /// Each as `hide` leaves it.
    #[must_use]
    pub fn hidden(&self, hide: impl Fn(&str) -> String) -> Self {
        let flags = self.0.iter().map(|flag| Flag {
            name: flag.name,
            text: hide(&flag.text),
        });
        Self(flags.collect())
    }

    /// Those that a command takes which works on the manifest, or on the cloud alone.
    fn of_command(&self, verb: &str) -> Self {
        match verb {
            "plan" | "graph" | "apply" | "test" | "run" | "destroy" | "adopt" | "status"
            | "ssh" | "cp" | "forward" | "ssh-config" | "doctor" => self.clone(),
            "history" | "logs" | "report" | "validate" => {
                self.only(|name| !matches!(name, "--local" | "--local-dir"))
            }
            "sweep" => self.of_cloud(),
            "local" => self.only(|name| name == "--local-dir"),
            _ => Self::default(),
        }
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|flag| write!(f, " {}", flag.text))
    }
}

/// A text in which every proposed command, in backticks, is given the options it lacks. What tells of a
/// command that was given before (`dewpoint plan --out FILE` wrote it) stays as it is.
#[must_use]
pub fn complete(text: &str, flags: &Flags) -> String {
    let opening = format!("`{PROGRAM}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once(&opening) {
        let Some((command, after)) = from.split_once('`') else {
            break;
        };
        out.push_str(before);
        out.push_str(&opening);
        if after.starts_with(" wrote") {
            out.push_str(command);
        } else {
            out.push_str(&completed(command, flags));
        }
        out.push('`');
        rest = after;
    }
    out.push_str(rest);
    out
}

fn completed(command: &str, flags: &Flags) -> String {
    let mut words = command.split(' ');
    let flags = flags.of_command(words.next().unwrap_or_default());
    let words: Vec<&str> = words.collect();
    let flags = flags.only(|name| !words.contains(&name));
    match command.split_once(" -- ") {
        Some((ours, theirs)) => format!("{ours}{flags} -- {theirs}"),
        None => format!("{command}{flags}"),
    }
}

/// What was typed to come to a plan, beside the options of every command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Given {
    /// No more than the plan's goal says.
    #[default]
    Goal,
    /// A command and what it was given, such as `test --target droplet.web`.
    Command {
        /// As it is typed again.
        text: String,
        /// Options that it is given again unless all is made, and only tests have failed.
        until_made: Flags,
        /// Whether only a part of what there is was meant.
        is_part: bool,
    },
    /// A saved plan, which is carried out once.
    Saved,
}

/// What a command that goes on from a run is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Next {
    /// Options of every command.
    pub flags: Flags,
    /// Options of commands that change things: which lock is taken, where runs are stored.
    pub shared: Flags,
    /// What was typed.
    pub given: Given,
}

impl Next {
    /// Each text as `hide` leaves it: for what must not be shown.
    #[must_use]
    pub fn hidden(&self, hide: impl Fn(&str) -> String) -> Self {
        Self {
            flags: self.flags.hidden(&hide),
            shared: self.shared.hidden(&hide),
            given: match &self.given {
                Given::Command {
                    text,
                    until_made,
                    is_part,
                } => Given::Command {
                    text: hide(text),
                    until_made: until_made.hidden(&hide),
                    is_part: *is_part,
                },
                Given::Goal | Given::Saved => self.given.clone(),
            },
        }
    }

    /// How to go on after a run that did not end well; `only_runs_failed` when nothing but tests did.
    pub(super) fn again(&self, plan: &Plan, only_runs_failed: bool) -> String {
        let Self {
            flags,
            shared,
            given,
        } = self;
        let is_part = matches!(given, Given::Command { is_part: true, .. });
        let verb = match plan.goal {
            Goal::Test if is_part => "does this part of the test again",
            Goal::Test => "does the whole test again",
            Goal::Apply if only_runs_failed => {
                "runs all run steps again, but for `when: once` that has succeeded"
            }
            _ => "goes on from here",
        };
        let text = match (given, plan.goal) {
            (Given::Saved, Goal::Apply) => {
                return format!(
                    "`dewpoint plan{flags} --out FILE`, with the options this plan was made with, plans what is left"
                );
            }
            (Given::Command { text, .. }, Goal::Apply) if only_runs_failed => text.clone(),
            (
                Given::Command {
                    text, until_made, ..
                },
                _,
            ) => format!("{text}{until_made}"),
            (Given::Goal | Given::Saved, _) => command(plan),
        };
        format!("`dewpoint {text}{flags}{shared}` {verb}")
    }

    /// What removes what a run left.
    pub(super) fn destroy(&self) -> String {
        format!("`dewpoint destroy{}{}`", self.flags, self.shared)
    }
}

/// Whether a run did all of its plan.
pub(super) fn ended_well(events: &[Event]) -> bool {
    matches!(
        events.last().map(|event| &event.kind),
        Some(EventKind::RunFinished {
            failed: 0,
            skipped: 0,
            interrupted: false,
            ..
        })
    )
}

/// The command that makes such a plan.
fn command(plan: &Plan) -> String {
    let word = match plan.goal {
        Goal::Apply => "apply",
        Goal::Test => "test",
        Goal::Run => {
            let mut addresses = plan.changes.iter().map(|change| &change.address);
            let first = addresses
                .next()
                .map_or_else(String::new, ToString::to_string);
            let name = first.split('[').next().unwrap_or_default();
            let pattern = if plan.changes.len() <= 1 {
                first.as_str()
            } else if addresses.all(|address| address.matches(name)) {
                name
            } else {
                "droplet.*"
            };
            return format!("run {}", quote(pattern));
        }
        Goal::Destroy => "destroy",
        Goal::DestroyProject => "destroy --project",
        Goal::Sweep => "sweep --yes",
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags::default()
            .switch("--local")
            .option("-f", "my file.yaml")
            .option("--env", "pr-1")
            .option("--var-file", "vars.yaml")
            .variable("n", "3")
            .variable("cmd", "make `all`")
    }

    #[test]
    fn options_are_typed_as_a_shell_reads_them() {
        let text = flags().to_string();
        let words = shlex::split(&text).expect("a shell reads it");
        assert_eq!(
            words,
            [
                "--local",
                "-f",
                "my file.yaml",
                "--env",
                "pr-1",
                "--var-file",
                "vars.yaml",
                "--var",
                "n=3",
                "--var",
                "cmd=make `all`"
            ]
        );
        assert!(text.contains(" --var n=3 "), "{text}");
    }

    #[test]
    fn proposed_commands_are_given_what_they_lack() {
        let flags = Flags::default()
            .switch("--local")
            .option("-f", "n.yaml")
            .option("--env", "b")
            .variable("n", "3");
        let complete = |text: &str| complete(text, &flags);
        assert_eq!(
            complete("run `dewpoint destroy --env a`; or `dewpoint plan --destroy` first"),
            "run `dewpoint destroy --env a --local -f n.yaml --var n=3`; or `dewpoint plan --destroy --local -f n.yaml --env b --var n=3` first"
        );
        assert_eq!(
            complete("`dewpoint ssh ADDRESS -- COMMAND` reads the rest"),
            "`dewpoint ssh ADDRESS --local -f n.yaml --env b --var n=3 -- COMMAND` reads the rest"
        );
        assert_eq!(
            complete("`dewpoint sweep --yes`, `dewpoint history`"),
            "`dewpoint sweep --yes --local`, `dewpoint history -f n.yaml --env b --var n=3`"
        );
        for same in [
            "write one with `dewpoint init`, or name one with `-f FILE`",
            "name a file that `dewpoint plan --out FILE` wrote",
            "start it with `dewpoint local up`",
            "`dewpoint explain CODE` and an `open end, `dewpoint plan",
        ] {
            assert_eq!(complete(same), same);
        }
    }
}
