//! The one seam for tests: what performs a step.

use async_trait::async_trait;

use super::event::Failure;
use super::feed::Reporter;
use crate::plan::Step;

/// Performs steps. The engine decides which and when, and nothing else does.
#[async_trait]
pub trait Perform: Send + Sync + 'static {
    /// Performs a step to its end; gives a note on what came of it, which may be empty.
    ///
    /// The work may be dropped at any await, by an interrupt: then nothing of it may run on.
    ///
    /// # Errors
    /// What went wrong, in its final form.
    async fn perform(&self, step: &Step, reporter: &Reporter) -> Result<String, Failure>;

    /// Calls to the API so far, those of planning included.
    fn api_calls(&self) -> u64;

    /// The run was interrupted: what clean-up does goes first from here on.
    fn hurry(&self);

    /// Lets go of what is held open. Called once, when all steps have ended; gives what the reader should
    /// know of what is still under way.
    async fn close(&self) -> Option<String>;
}
