//! Whose call goes first where not all can go at once.
//!
//! A call is as urgent as the longest chain of steps that waits for it. Whoever works for a step says
//! so once, around the work: the calls are made far below, and those that share a poll are none's.

use tokio::task_local;

use super::request::{Method, Request};

task_local! {
    /// How long, in milliseconds, the chain is expected to take that waits for the work.
    static CHAIN: u64;
    /// Set while something is only looked at again and again.
    static IS_LOOK: ();
}

/// What a call is for, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    /// A delete of a run that was interrupted: whoever interrupted it may not wait long.
    LastDelete,
    /// Any other change.
    Write,
    /// A read that something waits for.
    Read,
    /// One of many looks at what takes its time.
    Poll,
}

/// How urgent a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Urgency {
    pub class: Class,
    /// Of calls of one class the one with the longest chain goes first.
    pub chain: u64,
    /// Of chains as long the one that makes something goes first: what is made takes its time.
    pub makes: bool,
}

impl Urgency {
    /// Of a request that is made here and now.
    pub fn of(request: &Request) -> Self {
        let class = match request.method {
            Method::Get if IS_LOOK.try_with(|()| ()).is_ok() => Class::Poll,
            Method::Get => Class::Read,
            Method::Post | Method::Put | Method::Delete => Class::Write,
        };
        Self {
            class,
            chain: CHAIN.try_with(|chain| *chain).unwrap_or_default(),
            makes: request.method == Method::Post,
        }
    }
}

/// Makes the calls of some work as urgent as a chain of steps that takes so many milliseconds.
pub async fn for_chain<F: Future>(chain: u64, work: F) -> F::Output {
    CHAIN.scope(chain, work).await
}

/// Makes the reads of some work give way to all others.
pub(super) async fn as_poll<F: Future>(work: F) -> F::Output {
    IS_LOOK.scope((), work).await
}
