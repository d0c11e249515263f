//! One file a command.

pub mod adopt;
pub mod apply;
pub mod apply_file;
pub mod codes;
pub mod cp;
pub mod diff;
pub mod doctor;
pub mod drift;
pub mod graph;
pub mod history;
pub mod init;
pub mod local;
pub mod plan;
pub mod report;
pub mod run;
pub mod ssh;
pub mod status;
pub mod sweep;
pub mod texts;
pub mod validate;
