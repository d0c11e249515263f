//! Values and events -> what people and programs read.
//!
//! What comes in: plans, events, outcomes. What goes out: text, JSON lines, JUnit.
//!
//! **Invariant:** rendering is pure and its order is the plan's; only the listeners [`Lines`],
//! [`Progress`], [`JsonLines`] and [`JUnit`] write, to where they were told. A screen reads well
//! without colour; colour only repeats what signs and words say.

mod actions;
pub mod adoption;
pub mod carried;
pub mod codes;
pub mod diff_markdown;
pub mod diff_text;
mod diff_words;
pub mod doctor;
pub mod drift;
pub mod explain;
pub mod fold;
pub mod graph;
mod groups;
pub mod hints;
pub mod history;
pub mod html;
pub mod json_lines;
pub mod junit;
mod labels;
pub mod lines;
pub mod markdown;
pub mod outcome;
pub mod plan_json;
pub mod plan_markdown;
pub mod plan_text;
pub mod progress;
mod screen;
pub mod status;
pub mod style;
pub mod sweep_text;
#[cfg(test)]
pub(crate) mod tests;
pub mod text_diff;

#[cfg(test)]
pub(crate) use diff_words::title as diff_words_title;
pub use json_lines::JsonLines;
pub use junit::JUnit;
pub use lines::Lines;
pub use progress::Progress;
