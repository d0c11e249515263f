//! One file a command.

pub mod apply;
pub mod graph;
pub mod apply_file;
pub mod diff;
pub mod init;
pub mod local;
pub mod plan;
pub mod run;
pub mod sweep;
pub mod texts;
pub mod validate;
