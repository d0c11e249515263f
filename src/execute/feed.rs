//! What steps tell the engine while they run, in the order they tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::event::{EventKind, Failure, OutputStream};
use super::redact::Redactor;
use crate::address::Address;
use crate::plan::{Step, StepId};

/// How far, in bytes of messages, the engine may be behind before steps are held up: a droplet that
/// prints without end must not fill this machine's memory. By bytes, for a line may be empty or
/// 16 KiB long.
const MOST_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// What a message takes besides its text.
const MESSAGE_BYTES: usize = 384;

/// A message of a step.
#[derive(Debug)]
pub(super) enum Message {
    /// Something for the stream of events.
    Event(EventKind),
    /// The step is over. Comes after all else of it.
    Ended(StepId, Result<String, Failure>),
}

impl Message {
    /// About what it takes while it waits. Only output comes in masses.
    fn bytes(&self) -> usize {
        let text = match self {
            Self::Event(EventKind::Output { line, .. }) => line.len(),
            _ => 0,
        };
        MESSAGE_BYTES + text
    }
}

/// The sending side. Clones share it.
#[derive(Debug, Clone)]
pub struct Feed {
    sender: mpsc::UnboundedSender<Message>,
    backlog: Arc<Backlog>,
    redactor: Arc<Redactor>,
    hurried: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Backlog {
    waiting_bytes: AtomicUsize,
    room: Notify,
}

/// The engine's side.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Message>,
    backlog: Arc<Backlog>,
}

/// Makes both sides. Whatever is told goes through the redactor first.
pub(super) fn feed(redactor: Redactor) -> (Feed, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let backlog = Arc::new(Backlog::default());
    let feed = Feed {
        sender,
        backlog: Arc::clone(&backlog),
        redactor: Arc::new(redactor),
        hurried: Arc::default(),
    };
    (feed, Inbox { receiver, backlog })
}

impl Inbox {
    /// The next message; waits for ever when there is none. Nothing is lost when it is given up.
    pub(super) async fn next(&mut self) -> Message {
        match self.receiver.recv().await {
            Some(message) => {
                let bytes = message.bytes();
                let before = self
                    .backlog
                    .waiting_bytes
                    .fetch_sub(bytes, Ordering::AcqRel);
                if before - bytes <= MOST_WAITING_BYTES / 2 {
                    self.backlog.room.notify_waiters();
                }
                message
            }
            None => std::future::pending().await,
        }
    }
}

impl Feed {
    /// Tells something that belongs to no step.
    pub fn notice(&self, text: &str) {
        let text = self.redactor.redact(text);
        self.send(Message::Event(EventKind::Notice { text }));
    }

    /// Tells that the whole client waits before it goes on.
    pub fn client_waits(&self, attempt: u32, wait: Duration, reason: &str) {
        self.send(Message::Event(EventKind::Retried {
            step: None,
            attempt,
            wait_ms: milliseconds(wait),
            reason: self.redactor.redact(reason),
        }));
    }

    /// From here on time is short: whoever interrupted the run may end it soon.
    pub(super) fn hurry(&self) {
        self.hurried.store(true, Ordering::Release);
    }

    /// The reporter of one step.
    pub(super) fn reporter(&self, step: &Step, cancel: CancellationToken) -> Reporter {
        Reporter {
            feed: self.clone(),
            step: step.clone(),
            cancel,
        }
    }

    fn send(&self, message: Message) {
        let bytes = message.bytes();
        self.backlog
            .waiting_bytes
            .fetch_add(bytes, Ordering::AcqRel);
        // The engine is gone only when the run is over, and then nobody listens any more.
        let _ = self.sender.send(message);
    }

    /// Drives work that tells things, and holds it up while the engine is behind. The work must
    /// yield now and then: between two of its polls alone can it be held.
    pub(super) async fn hold_up<F: Future>(&self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        let is_full = || self.backlog.waiting_bytes.load(Ordering::Acquire) >= MOST_WAITING_BYTES;
        loop {
            let mut room = std::pin::pin!(self.backlog.room.notified());
            // Listening before looking, so that no word of room is missed.
            room.as_mut().enable();
            if is_full() {
                room.await;
                continue;
            }
            let output = std::future::poll_fn(|context| {
                if is_full() {
                    std::task::Poll::Ready(None)
                } else {
                    work.as_mut().poll(context).map(Some)
                }
            });
            if let Some(output) = output.await {
                return output;
            }
        }
    }
}

/// What a step uses to tell what it does. Clones share it.
#[derive(Debug, Clone)]
pub struct Reporter {
    feed: Feed,
    step: Step,
    cancel: CancellationToken,
}

impl Reporter {
    /// Hands over a line of a droplet's output, secrets redacted already: see [`Redactor`].
    pub fn output(&self, stream: OutputStream, line: String) {
        self.feed.send(Message::Event(EventKind::Output {
            step: self.step.id,
            address: self.step.address.clone(),
            stream,
            line,
        }));
    }

    /// Says what the step does or waits for.
    pub fn progress(&self, text: &str) {
        self.feed.send(Message::Event(EventKind::Progress {
            step: self.step.id,
            text: self.feed.redactor.redact(text),
        }));
    }

    /// Says that the step is tried again, and when.
    pub fn retried(&self, attempt: u32, wait: Duration, reason: &str) {
        self.feed.send(Message::Event(EventKind::Retried {
            step: Some(self.step.id),
            attempt,
            wait_ms: milliseconds(wait),
            reason: self.feed.redactor.redact(reason),
        }));
    }

    /// Which step it is.
    #[must_use]
    pub const fn step(&self) -> StepId {
        self.step.id
    }

    /// What the step belongs to.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.step.address
    }

    /// Tells something the reader should know that belongs to no step.
    pub fn notice(&self, text: &str) {
        self.feed.notice(text);
    }

    /// What hides secrets in what a droplet says.
    #[must_use]
    pub fn redactor(&self) -> &Arc<Redactor> {
        &self.feed.redactor
    }

    /// Ends once the step is asked to come to an end of its own, for the run was interrupted.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether the run was interrupted, so that what is only tidy has to wait for no one.
    #[must_use]
    pub fn is_hurried(&self) -> bool {
        self.feed.hurried.load(Ordering::Acquire)
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn ended(&self, result: Result<String, Failure>) {
        let redactor = &self.feed.redactor;
        let result = result
            .map(|note| redactor.redact(&note))
            .map_err(|failure| failure.redacted(redactor));
        self.feed.send(Message::Ended(self.step.id, result));
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces as they come off the wire, cut into lines of every length.
    const CHUNK_BYTES: usize = 32 * 1024;

    #[tokio::test]
    async fn whoever_talks_without_end_is_held_up_whatever_the_length_of_its_lines() {
        for line_bytes in [0, 1, 80, 16 * 1024] {
            let (feed, mut inbox) = feed(Redactor::new([]));
            let backlog = Arc::clone(&feed.backlog);
            let lines = CHUNK_BYTES / (line_bytes + 1);
            let flood = async {
                for _ in 0..2_000 {
                    for _ in 0..lines {
                        feed.send(Message::Event(EventKind::Output {
                            step: StepId(0),
                            address: Address::SshKey,
                            stream: OutputStream::Out,
                            line: "x".repeat(line_bytes),
                        }));
                    }
                    tokio::task::yield_now().await;
                }
            };
            let mut flood = std::pin::pin!(feed.hold_up(flood));
            let one_chunk = lines * (MESSAGE_BYTES + line_bytes);
            let mut most = 0;
            let mut heard = 0;
            // Nobody listens until the flood stands still, then a little, then it goes on.
            while heard < 20 * lines {
                for _ in 0..3_000 {
                    let polled = futures_util::poll!(flood.as_mut());
                    assert!(polled.is_pending(), "it was not held up");
                }
                most = most.max(backlog.waiting_bytes.load(Ordering::Acquire));
                for _ in 0..lines {
                    inbox.next().await;
                    heard += 1;
                }
            }
            assert!(most >= MOST_WAITING_BYTES, "{most}");
            assert!(most <= MOST_WAITING_BYTES + one_chunk, "{most}");
        }
    }
}
