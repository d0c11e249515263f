//! What the name of an object tells of a run: one list of names is a history. Pure.

use jiff::Timestamp;

use crate::execute::history::{By, How, PastRun, Stored, began};
use crate::plan::Goal;
use crate::units::Money;

/// Version of the names, and of what lies in a bundle.
pub(super) const VERSION: u32 = 1;
/// No name of an object is longer than 1,024 bytes, folders included.
const LONGEST_PART: usize = 40;

const GOALS: [(Goal, &str); 6] = [
    (Goal::Apply, "apply"),
    (Goal::Test, "test"),
    (Goal::Run, "run"),
    (Goal::Destroy, "destroy"),
    (Goal::DestroyProject, "destroy-project"),
    (Goal::Sweep, "sweep"),
];

const HOWS: [(How, &str); 6] = [
    (How::Succeeded, "succeeded"),
    (How::RunFailed, "run-failed"),
    (How::Failed, "failed"),
    (How::Interrupted, "interrupted"),
    (How::CutOff, "cut-off"),
    (How::Running, "running"),
];

/// The name that tells of a run: `<id>_<version>_<environment>_<goal>_<how>_<exit>_<ms>_<cost>_<who>_<machine>`,
/// with `-` for what is not known. None for one that tells nothing itself.
pub(super) fn name(run: &PastRun, by: &By) -> Option<String> {
    let goal = of(&GOALS, run.goal?)?;
    let how = of(&HOWS, run.how)?;
    let exit = run
        .exit
        .map_or_else(|| "-".to_owned(), |exit| exit.to_string());
    let cost = run.cost.map_or_else(
        || "-".to_owned(),
        |cost| cost.0.round_dp(6).normalize().to_string(),
    );
    let fields = [
        run.id.clone(),
        VERSION.to_string(),
        plain(&run.environment),
        goal.to_owned(),
        how.to_owned(),
        exit,
        run.took_ms.to_string(),
        plain(&cost),
        plain(&by.who),
        plain(&by.machine),
    ];
    Some(fields.join("_"))
}

/// What a name tells; none when it is no name of a run. Whatever a store says, it is short and plain.
pub(super) fn read(name: &str, project: &str) -> Option<PastRun> {
    let fields: Vec<&str> = name.split('_').collect();
    let id = fields.first()?;
    // As it is written: one id has one name.
    if id.parse::<ulid::Ulid>().ok()?.to_string() != *id {
        return None;
    }
    let mut run = PastRun {
        id: (*id).to_owned(),
        folder: camino::Utf8PathBuf::new(),
        began: began(id),
        project: project.to_owned(),
        environment: String::new(),
        goal: None,
        how: How::Unreadable,
        exit: None,
        took_ms: 0,
        cost: None,
        steps: Vec::new(),
        problem: None,
        stored: None,
    };
    match told(&fields) {
        Some(told) => {
            run.environment = told.environment;
            (run.goal, run.how) = (Some(told.goal), told.how);
            (run.exit, run.took_ms, run.cost) = (told.exit, told.took_ms, told.cost);
            run.stored = Some(Stored {
                by: told.by,
                address: String::new(),
            });
        }
        None => {
            let other = fields
                .get(1)
                .and_then(|version| version.parse::<u32>().ok());
            run.problem = Some(match other {
                Some(other) if other != VERSION => format!(
                    "another version of dewpoint has stored it, in format {other}; this one knows format {VERSION}"
                ),
                _ => "what the store says of it cannot be read".to_owned(),
            });
        }
    }
    Some(run)
}

struct Told {
    environment: String,
    goal: Goal,
    how: How,
    exit: Option<u8>,
    took_ms: u64,
    cost: Option<Money>,
    by: By,
}

fn told(fields: &[&str]) -> Option<Told> {
    let [
        _,
        version,
        environment,
        goal,
        how,
        exit,
        took,
        cost,
        who,
        machine,
    ] = fields
    else {
        return None;
    };
    if version.parse() != Ok(VERSION) {
        return None;
    }
    let text = |text: &str| (plain(text) == text).then(|| text.to_owned());
    let known = |text: &str| (text != "-").then(|| text.to_owned());
    Some(Told {
        environment: text(environment)?,
        goal: with(&GOALS, goal)?,
        how: with(&HOWS, how)?,
        exit: match known(exit) {
            Some(exit) => Some(exit.parse().ok()?),
            None => None,
        },
        took_ms: took.parse().ok()?,
        cost: match known(cost) {
            Some(cost) => Some(Money(text(&cost)?.parse().ok()?)),
            None => None,
        },
        by: By {
            who: text(who)?,
            machine: text(machine)?,
        },
    })
}

/// A text as a part of a name: letters, digits, `-` and `.`, and short.
fn plain(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' => c,
            _ => '-',
        })
        .take(LONGEST_PART)
        .collect();
    if plain.is_empty() {
        "-".to_owned()
    } else {
        plain
    }
}

/// The first name that a run which began at that time can have.
pub(super) fn first_since(time: Timestamp) -> String {
    let ms = u64::try_from(time.as_millisecond()).unwrap_or_default();
    ulid::Ulid::from_parts(ms, 0).to_string()
}

fn of<T: PartialEq + Copy>(table: &[(T, &'static str)], value: T) -> Option<&'static str> {
    table
        .iter()
        .find(|(known, _)| *known == value)
        .map(|(_, word)| *word)
}

fn with<T: Copy>(table: &[(T, &'static str)], word: &str) -> Option<T> {
    table
        .iter()
        .find(|(_, known)| *known == word)
        .map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q";

    #[test]
    fn a_name_tells_of_a_run() {
        let by = By {
            who: "zoë_b/../x".to_owned(),
            machine: "build-7.example.org".to_owned(),
        };
        let succeeded = format!("{ID}_1_main_apply_succeeded_0_72000_0.0123_ann_laptop");
        let mut run = read(&succeeded, "shop").expect("a run");
        assert_eq!(run.cost.expect("a cost").to_string(), "$0.0123");
        assert_eq!(
            name(&run, &run.stored.clone().expect("stored").by),
            Some(succeeded)
        );
        for (goal, _) in GOALS {
            for (how, _) in HOWS {
                (run.goal, run.how, run.exit, run.cost) = (Some(goal), how, None, None);
                let name = name(&run, &by).expect("a name");
                assert!(
                    name.ends_with("_72000_-_zo--b-..-x_build-7.example.org"),
                    "{name}"
                );
                let back = read(&name, "shop").expect("a run");
                assert_eq!((back.goal, back.how), (run.goal, run.how));
            }
        }
        run.how = How::Unreadable;
        assert_eq!(name(&run, &by), None);
    }

    #[test]
    fn names_that_tell_nothing_are_said_or_left_out() {
        for none in ["", "_", "x_1_main", "../../etc/passwd", &ID.to_lowercase()] {
            assert!(read(none, "shop").is_none(), "{none}");
        }
        for (name, problem) in [
            ("2_main_and_more", "in format 2; this one knows format 1"),
            ("1_main_apply_won_0_1_-_a_b", "cannot be read"),
            ("1_main_apply_failed_0_1_-_a_b_c", "cannot be read"),
            ("1_ma\u{1b}[31min_apply_failed_0_1_-_a_b", "cannot be read"),
            ("1_main_apply_failed_999_1_-_a_b", "cannot be read"),
            ("1_main_apply_failed_1_1_1e99_a_b", "cannot be read"),
        ] {
            let run = read(&format!("{ID}_{name}"), "shop").expect("an id");
            let said = run.problem.expect("a problem");
            assert!(said.contains(problem), "{name}: {said}");
            assert_eq!((run.how, run.goal), (How::Unreadable, None));
        }
    }

    #[test]
    fn names_are_in_the_order_of_time() {
        let time: Timestamp = "2026-08-01T00:00:00Z".parse().expect("a time");
        let first = first_since(time);
        assert!(first.as_str() < ulid::Ulid::generate().to_string().as_str());
        assert_eq!(began(&first), Some(time));
        assert!(first_since(Timestamp::MIN) < first);
    }
}
