//! What the text and the Markdown of a difference say alike.

use rust_decimal::Decimal;

use super::groups::title_of;
use crate::address::Address;
use crate::diff::{
    Amounts, CostChange, Difference, Effect, FileAction, FileChange, Outcome, RiskKind, StepAction,
    StepChange,
};
use crate::plan::FieldChange;
use crate::units::Money;

/// Outcomes with the words that count them, the loudest first.
const COUNTED: [(Outcome, &str); 9] = [
    (Outcome::Destroyed, "destroyed"),
    (Outcome::Replaced, "replaced"),
    (Outcome::Rebuilt, "built anew"),
    (Outcome::Refused, "refused"),
    (Outcome::LeftBehind, "left behind"),
    (Outcome::Changed, "changed in place"),
    (Outcome::Created, "created"),
    (Outcome::Dropped, "no longer used or made"),
    (Outcome::Later, "changed for later runs or builds"),
];

/// The sign of an outcome.
pub(super) const fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Destroyed | Outcome::Dropped => "-",
        Outcome::Replaced => "-/+",
        Outcome::Rebuilt => "+/-",
        Outcome::Refused => "x",
        Outcome::LeftBehind => "!",
        Outcome::Changed => "~",
        Outcome::Created => "+",
        Outcome::Later => ">",
    }
}

/// What becomes of something, after its name.
pub(super) fn verb(effect: &Effect) -> &'static str {
    let several = effect.addresses.len() > 1;
    match (effect.outcome, several) {
        (Outcome::Destroyed, _) => "will be destroyed",
        (Outcome::Replaced, _) => "must be replaced: destroyed, then created",
        (Outcome::Rebuilt, _) => "is built anew; old ones beyond `keep` are destroyed then",
        (Outcome::Refused, _) => "is refused",
        (Outcome::LeftBehind, false) => "is left behind on DigitalOcean",
        (Outcome::LeftBehind, true) => "are left behind on DigitalOcean",
        (Outcome::Changed, _) => "will be changed in place",
        (Outcome::Created, _) => "will be created",
        (Outcome::Dropped, false) => "is no longer used or made",
        (Outcome::Dropped, true) => "are no longer used or made",
        (Outcome::Later, false) => {
            "differs from its next run or build on; nothing that stands changes"
        }
        (Outcome::Later, true) => "differ from their next runs on; nothing that stands changes",
    }
}

/// What an effect is about: an address, or several in short.
pub(crate) fn title(effect: &Effect) -> String {
    match effect.addresses.len() {
        1 => title_of(effect.addresses.iter()),
        count => format!("{} ({count} droplets)", title_of(effect.addresses.iter())),
    }
}

/// Names on DigitalOcean: of many the first and the last.
pub(super) fn names(effect: &Effect) -> String {
    match effect.names.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, .., last] => format!("{first} to {last}"),
    }
}

/// Why, on one line.
pub(super) fn reasons(effect: &Effect) -> String {
    let reasons: Vec<&str> = effect.reasons.iter().map(|r| r.text.as_str()).collect();
    reasons.join("; ")
}

/// The counts, on one line.
pub(super) fn counts(difference: &Difference) -> String {
    let mut parts: Vec<String> = COUNTED
        .iter()
        .filter_map(|(outcome, word)| match difference.count(*outcome) {
            0 => None,
            count => Some(format!("{count} {word}")),
        })
        .collect();
    match difference.settings.len() {
        0 => {}
        1 => parts.push("1 setting".to_owned()),
        count => parts.push(format!("{count} settings")),
    }
    if parts.is_empty() {
        parts.push("nothing else changes".to_owned());
    }
    parts.join(", ")
}

/// The loud part of the summary; nothing when nothing is loud.
pub(super) fn alarms(difference: &Difference) -> Vec<String> {
    let mut alarms = Vec::new();
    match difference.data_at_risk.len() {
        0 => {}
        1 => alarms.push("DATA AT RISK".to_owned()),
        count => alarms.push(format!("DATA AT RISK ({count})")),
    }
    match difference.refused.len() {
        0 => {}
        count => alarms.push(format!("apply would refuse it ({count})")),
    }
    alarms
}

/// What kind of risk it is, in a word.
pub(super) const fn risk(kind: RiskKind) -> &'static str {
    match kind {
        RiskKind::Destroyed => "LOST",
        RiskKind::FilledAgain => "FILLED AGAIN",
        RiskKind::LeftBehind => "LEFT BEHIND",
        RiskKind::Refused => "REFUSED",
        RiskKind::Unprotected => "UNPROTECTED",
    }
}

/// One line of costs: what, before, after, difference.
pub(super) struct CostLine {
    pub(super) what: &'static str,
    pub(super) old: String,
    pub(super) new: String,
    pub(super) change: String,
}

/// The lines of costs that are known.
pub(super) fn costs(cost: &CostChange) -> Vec<CostLine> {
    let line = |what, amounts: Amounts, per: &str| {
        let change = amounts.new.0 - amounts.old.0;
        let change = if let Some(otherwise) = amounts.if_not_refused {
            match otherwise == amounts.old {
                true => "no change".to_owned(),
                false => format!("refused; else {otherwise}{per}"),
            }
        } else if change == Decimal::ZERO {
            "no change".to_owned()
        } else if change > Decimal::ZERO {
            format!("+{}", Money(change))
        } else {
            format!("-{}", Money(-change))
        };
        CostLine {
            what,
            old: format!("{}{per}", amounts.old),
            new: format!("{}{per}", amounts.new),
            change,
        }
    };
    let mut lines = Vec::new();
    if let Some(amounts) = cost.hourly_while_up {
        lines.push(line("while all droplets are up", amounts, "/h"));
    }
    if let Some(amounts) = cost.monthly_droplets {
        lines.push(line("of that, droplets that stay", amounts, "/month"));
    }
    lines.push(line("volumes that stay", cost.monthly_volumes, "/month"));
    lines
}

/// Where prices come from, and what they leave out.
pub(super) fn prices(cost: &CostChange) -> String {
    let mut text = String::new();
    if cost.monthly_volumes.if_not_refused.is_some() {
        text.push_str("apply refuses this change, so it goes on costing what it costs; ");
    }
    text.push_str(&match &cost.prices_at {
        Some(at) => format!("prices of droplets as of {at}"),
        None => "prices of droplets are unknown: a `dewpoint plan` keeps those of its cloud, so run it once on the one you ask about; with `--local`, both it and `dewpoint diff` go by the local cloud's".to_owned(),
    });
    if !cost.unpriced.is_empty() {
        text.push_str(&format!("; no price known of {}", cost.unpriced.join(", ")));
    }
    text.push_str("; snapshots are left out, their size shows once they are taken");
    text
}

/// Whether a field is shown line by line.
pub(super) fn is_block(field: &FieldChange) -> bool {
    let has_lines = |text: &Option<String>| {
        text.as_ref()
            .is_some_and(|text| text.trim_end().contains('\n'))
    };
    let is_script = matches!(field.field.as_str(), "run" | "command" | "ready.command")
        || field.field.ends_with("].command");
    has_lines(&field.old)
        || has_lines(&field.new)
        || (is_script && field.old.is_some() && field.new.is_some())
}

/// What becomes of a step, in words.
pub(super) fn step(of: &Address, step: &StepChange) -> String {
    let filling = match of {
        Address::Volume(_) => "populate ",
        _ => "",
    };
    let place = match (step.old, step.new) {
        (Some(old), Some(new)) if old != new => format!("step {old}, now {new}"),
        (_, Some(at)) | (Some(at), None) => format!("step {at}"),
        (None, None) => "step".to_owned(),
    };
    let action = match step.action {
        StepAction::Added => "added",
        StepAction::Removed => "removed",
        StepAction::Changed => "changed",
        StepAction::Moved => "moved",
    };
    format!("{filling}{place} `{}` {action}", step.name)
}

/// The sign of a step.
pub(super) const fn step_sign(step: &StepChange) -> &'static str {
    match step.action {
        StepAction::Added => "+",
        StepAction::Removed => "-",
        StepAction::Changed | StepAction::Moved => "~",
    }
}

/// The sign of a file and what becomes of it.
pub(super) fn file(file: &FileChange) -> (&'static str, String) {
    let (sign, word) = match file.action {
        FileAction::Added => ("+", "is new"),
        FileAction::Removed => ("-", "is gone"),
        FileAction::Changed => ("~", "differs"),
        FileAction::Mode => ("~", "differs in its kind or mode"),
    };
    let untracked = if file.untracked {
        " (not in git: on this machine alone)"
    } else {
        ""
    };
    (sign, format!("file {} {word}{untracked}", file.path))
}
