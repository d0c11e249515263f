//! The right to change the account, which can be lost while a run goes on.

use std::sync::Arc;

use tokio::task_local;

use super::client::Client;
use super::error::CloudError;
use super::request::{Method, Request};

/// Says whether the account may still be changed.
pub trait Fence: std::fmt::Debug + Send + Sync {
    /// Why it may not; `None` while it may. Asked right before each request that changes something,
    /// and has to answer at once.
    fn closed(&self) -> Option<String>;
}

task_local! {
    /// What has to be open besides, for the work in whose midst a call is made.
    static FENCE: Arc<dyn Fence>;
}

/// Two fences, of which both have to be open.
#[derive(Debug)]
struct Both(Arc<dyn Fence>, Arc<dyn Fence>);

impl Fence for Both {
    fn closed(&self) -> Option<String> {
        self.0.closed().or_else(|| self.1.closed())
    }
}

/// Puts the calls of some work behind a further fence.
pub async fn fenced_by<F: Future>(fence: Arc<dyn Fence>, work: F) -> F::Output {
    let fence = match FENCE.try_with(Arc::clone) {
        Ok(outer) => Arc::new(Both(outer, fence)),
        Err(_) => fence,
    };
    FENCE.scope(fence, work).await
}

impl Client {
    /// Puts this client, and its clones, behind a fence.
    pub fn set_fence(&self, fence: Arc<dyn Fence>) {
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
        let of_work = || FENCE.try_with(|fence| fence.closed()).ok().flatten();
        match fence
            .as_ref()
            .and_then(|fence| fence.closed())
            .or_else(of_work)
        {
            Some(why) => Err(CloudError::Fenced {
                call: request.label(),
                why,
            }),
            None => Ok(()),
        }
    }
}
