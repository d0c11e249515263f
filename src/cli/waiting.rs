//! What takes long says what it waits for, on standard error.

use std::time::Duration;

use super::context::Context;
use super::terminal::tell;

/// Silence longer than this makes people wonder.
const SILENCE: Duration = Duration::from_secs(2);

/// Drives work, and says what is waited for when it takes long.
pub async fn waiting<T>(context: &Context, what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(SILENCE) => {}
    }
    if !context.global.quiet {
        tell(&format!("waiting for {what}"));
    }
    work.await
}
