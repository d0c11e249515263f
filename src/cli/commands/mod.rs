//! One file a command.

pub mod adopt;
pub mod apply;
pub mod history;
pub mod init;
pub mod local;
pub mod plan;
pub mod run;
pub mod ssh;
pub mod status;
pub mod texts;
pub mod validate;
