//! The right to change the account, which can be lost while a run goes on.

use super::client::Client;
use super::error::CloudError;
use super::request::{Method, Request};

/// Says whether the account may still be changed.
pub trait Fence: std::fmt::Debug + Send + Sync {
    /// Why it may not; `None` while it may. Asked right before each request that changes something,
    /// and has to answer at once.
    fn closed(&self) -> Option<String>;
}

impl Client {
    /// Puts this client, and its clones, behind a fence.
    pub fn set_fence(&self, fence: std::sync::Arc<dyn Fence>) {
        *self
            .inner
            .fence
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(fence);
    }

    /// Whether a request may be sent now. Looking does no harm.
    pub(super) fn check_fence(&self, request: &Request) -> Result<(), CloudError> {
        if request.method == Method::Get {
            return Ok(());
        }
        let fence = self
            .inner
            .fence
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match fence.as_ref().and_then(|fence| fence.closed()) {
            Some(why) => Err(CloudError::Fenced {
                call: request.label(),
                why,
            }),
            None => Ok(()),
        }
    }
}
