//! The manifest: text in, a checked tree out, all problems at once.
//!
//! **Invariant:** no I/O; the text, its name and the variables' values are arguments.

pub mod schema;
mod shapes;

pub use schema::Manifest;
