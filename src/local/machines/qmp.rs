//! QEMU's own protocol (QMP): a JSON object a line, over a socket.
//!
//! <https://www.qemu.org/docs/master/interop/qmp-spec.html>

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as Turn, broadcast, oneshot};

/// How long QEMU may take to answer: it answers in milliseconds, unless the machine it runs on is
/// overwhelmed.
const TO_ANSWER: Duration = Duration::from_secs(60);
/// Events that whoever waits for one may lag behind.
const EVENTS: usize = 256;

type Answers = HashMap<u64, oneshot::Sender<io::Result<Value>>>;

/// A conversation with one machine.
pub(super) struct Qmp {
    write: Turn<OwnedWriteHalf>,
    /// `None` once QEMU is gone.
    waiting: Arc<Mutex<Option<Answers>>>,
    next: AtomicU64,
    events: broadcast::Sender<Value>,
}

impl Qmp {
    /// Begins a conversation: takes the greeting, and agrees on what is spoken.
    ///
    /// # Errors
    /// When the other end closes, or is no QEMU.
    pub(super) async fn begin(socket: UnixStream) -> io::Result<Self> {
        let (read, write) = socket.into_split();
        let mut read = BufReader::new(read);
        let mut greeting = String::new();
        read.read_line(&mut greeting).await?;
        let greets = serde_json::from_str::<Value>(&greeting)
            .is_ok_and(|greeting| greeting.get("QMP").is_some());
        if !greets {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "QEMU ended before it could be spoken to",
            ));
        }
        let waiting = Arc::new(Mutex::new(Some(Answers::new())));
        let (events, _) = broadcast::channel(EVENTS);
        tokio::spawn(listen(read, Arc::clone(&waiting), events.clone()));
        let qmp = Self {
            write: Turn::new(write),
            waiting,
            next: AtomicU64::new(1),
            events,
        };
        qmp.ask("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Asks for something, and waits for the answer.
    ///
    /// # Errors
    /// QEMU's own words when it refuses; when it is gone or does not answer.
    pub(super) async fn ask(&self, what: &str, arguments: Value) -> io::Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        lock(&self.waiting)
            .as_mut()
            .ok_or_else(gone)?
            .insert(id, reply);
        let mut line = json!({ "execute": what, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        self.write.lock().await.write_all(line.as_bytes()).await?;
        match tokio::time::timeout(TO_ANSWER, answer).await {
            Ok(Ok(answer)) => answer.map_err(|error| {
                io::Error::new(error.kind(), format!("QEMU refuses {what}: {error}"))
            }),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("QEMU does not answer {what}"),
            )),
        }
    }

    /// Whatever happens from here on.
    pub(super) fn events(&self) -> broadcast::Receiver<Value> {
        self.events.subscribe()
    }
}

/// Waits for an event that `is_it` knows.
///
/// # Errors
/// When QEMU is gone, or it does not come in time.
pub(super) async fn wait_for(
    events: &mut broadcast::Receiver<Value>,
    within: Duration,
    is_it: impl Fn(&str, &Value) -> bool,
) -> io::Result<Value> {
    let waiting = async {
        loop {
            match events.recv().await {
                Ok(event) => {
                    let name = event["event"].as_str().unwrap_or_default();
                    if is_it(name, &event["data"]) {
                        return Ok(event["data"].clone());
                    }
                }
                // What was missed may have been it: the deadline decides.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Err(gone()),
            }
        }
    };
    tokio::time::timeout(within, waiting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the machine is powered off")
}

fn lock(waiting: &Mutex<Option<Answers>>) -> MutexGuard<'_, Option<Answers>> {
    // Nothing that can panic happens under the lock.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(
    mut read: BufReader<OwnedReadHalf>,
    waiting: Arc<Mutex<Option<Answers>>>,
    events: broadcast::Sender<Value>,
) {
    let mut line = String::new();
    loop {
        line.clear();
        match read.read_line(&mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            tracing::debug!(line, "QEMU said what is no JSON");
            continue;
        };
        if said.get("event").is_some() {
            // Nobody may be waiting for one.
            let _ = events.send(said);
            continue;
        }
        let answer = match said.get("error") {
            Some(error) => Err(io::Error::other(
                error["desc"].as_str().unwrap_or("no reason").to_owned(),
            )),
            None => Ok(said["return"].clone()),
        };
        let reply = said["id"]
            .as_u64()
            .and_then(|id| lock(&waiting).as_mut()?.remove(&id));
        if let Some(reply) = reply {
            // Whoever asked may have given up.
            let _ = reply.send(answer);
        }
    }
    // Whoever still waits learns by this that nothing comes any more.
    *lock(&waiting) = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that says these lines, one for each it is told.
    fn scripted(lines: Vec<String>) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        tokio::spawn(async move {
            let (read, mut write) = theirs.into_split();
            let mut read = BufReader::new(read);
            let mut told = String::new();
            for line in lines {
                write.write_all(line.as_bytes()).await.expect("written");
                write.write_all(b"\n").await.expect("written");
                read.read_line(&mut told).await.expect("read");
            }
        });
        ours
    }

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
    const AGREED: &str = r#"{"return": {}, "id": 1}"#;

    #[tokio::test]
    async fn answers_come_to_whoever_asked_and_events_to_whoever_waits() {
        let socket = scripted(vec![
            GREETING.to_owned(),
            format!("{AGREED}\n{{\"event\": \"STOP\", \"data\": {{}}}}"),
            "{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"d1\"}}\n{\"return\": {\"status\": \"running\"}, \"id\": 2}".to_owned(),
            r#"{"error": {"class": "GenericError", "desc": "no such disk"}, "id": 3}"#.to_owned(),
        ]);
        let qmp = Qmp::begin(socket).await.expect("a conversation");
        let mut events = qmp.events();
        let status = qmp.ask("query-status", json!({})).await.expect("an answer");
        assert_eq!(status["status"], "running");
        let data = wait_for(&mut events, TO_ANSWER, |name, data| {
            name == "DEVICE_DELETED" && data["device"] == "d1"
        })
        .await
        .expect("the event");
        assert_eq!(data["device"], "d1");
        let error = qmp.ask("device_del", json!({})).await.expect_err("refused");
        assert_eq!(error.to_string(), "QEMU refuses device_del: no such disk");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_qemu_that_is_gone() {
        let socket = scripted(vec![GREETING.to_owned(), AGREED.to_owned()]);
        let qmp = Qmp::begin(socket).await.expect("a conversation");
        let error = qmp.ask("quit", json!({})).await.expect_err("it is gone");
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        let error = qmp.ask("quit", json!({})).await.expect_err("still gone");
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe
            ),
            "{error}"
        );
        let silent = scripted(Vec::new());
        assert!(Qmp::begin(silent).await.is_err());
    }
}
