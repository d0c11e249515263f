//! A plan as one JSON document.

use crate::plan::Plan;

/// The plan, indented, with a newline at its end.
#[must_use]
pub fn render(plan: &Plan) -> String {
    let mut text = serde_json::to_string_pretty(plan).expect("a plan is plain data");
    text.push('\n');
    text
}
