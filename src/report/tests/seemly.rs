//! Nothing that others wrote steers the terminal of those who read of it.

use serde_json::Value;

use crate::plan::Plan;
use crate::report::style::Palette;
use crate::report::{diff_text, explain, hints, outcome, plan_text};

/// Clears the screen, goes up, hides, turns the direction of writing, sets a title.
pub(crate) const HOSTILE: &str = "\u{1b}[2J\u{1b}[1A\u{1b}[8m\u{202e}\u{9b}1m\u{1b}]0;mine\u{7}\r";

/// Appends it to every text under these keys.
fn poisoned(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| poisoned(value, keys)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if keys.contains(&key.as_str()) => text.push_str(HOSTILE),
                    Value::Array(values) if key == "notices" => values.push(HOSTILE.into()),
                    value => poisoned(value, keys),
                }
            }
        }
        _ => {}
    }
}

fn hostile_plan() -> Plan {
    let mut value = serde_json::to_value(super::plan(2)).expect("JSON");
    let keys = [
        "name",
        "text",
        "field",
        "old",
        "new",
        "command",
        "region",
        "source",
        "after_run",
        "reason",
        "project",
        "environment",
        "into",
    ];
    poisoned(&mut value, &keys);
    serde_json::from_value(value).expect("a plan")
}

/// Fails when something steers that is no colour of ours.
#[track_caller]
pub(crate) fn assert_seemly(text: &str, coloured: bool) {
    let is_shown = text.contains('\u{fffd}') || text.contains("\\u{1b}");
    assert!(is_shown, "nothing hostile is in it: {text}");
    let plain = match coloured {
        true => ["0", "1", "2", "4", "31", "32", "33", "36"]
            .iter()
            .fold(text.to_owned(), |text, code| {
                text.replace(&format!("\u{1b}[{code}m"), "")
            }),
        false => text.to_owned(),
    };
    let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
    assert!(!plain.contains(steers), "{plain:?}");
}

#[test]
fn plans_explanations_and_ends_are_seemly() {
    let plan = hostile_plan();
    for coloured in [false, true] {
        let palette = Palette::new(coloured);
        let view = plan_text::View {
            palette,
            place: "DigitalOcean",
            all_steps: true,
            width: 100,
            folds: true,
        };
        assert_seemly(&plan_text::render(&plan, view), coloured);
        let explained = explain::render(&plan, "*", palette).expect("something");
        assert_seemly(&explained, coloured);
        let view = outcome::View {
            palette,
            run_folder: "runs/x",
            next: &hints::Next::default(),
            width: Some(80),
            retells: true,
        };
        assert_seemly(&outcome::render(&plan, &[], view), coloured);
    }
}

#[test]
fn differences_are_seemly() {
    let manifest = |script: &str| {
        format!(
            "version: 1\nproject: shop\nregion: nyc3\nsnapshots:\n  base: {{ from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{{ run: \"{script}\" }}] }}\n"
        )
    };
    let difference = crate::diff::tests::of(&manifest("one"), &manifest("two\\e[2J\\e[8m"));
    for coloured in [false, true] {
        let view = diff_text::View {
            palette: Palette::new(coloured),
            width: 80,
            folds: true,
        };
        assert_seemly(&diff_text::render(&difference, view), coloured);
    }
}
