//! What comes over the connection, read by a thread.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

/// The pieces that come over the connection, read as one.
pub(super) struct Pieces {
    received: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Pieces {
    pub(super) fn new(received: mpsc::Receiver<Bytes>) -> Self {
        Self {
            received,
            current: Bytes::new(),
        }
    }

    /// The first line; `None` where none comes.
    pub(super) fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < 16 {
            match self.read(&mut byte) {
                Ok(1) if byte == *b"\n" => return Some(line),
                Ok(1) => line.push(byte[0]),
                _ => return (!line.is_empty()).then_some(line),
            }
        }
        Some(line)
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Ends what would be read into memory without bound.
pub(super) struct Measured<R> {
    pub(super) inner: R,
    pub(super) budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.budget.get().checked_sub(count as u64) {
            Some(left) => self.budget.set(left),
            None => return Err(io::Error::other("a name in it is longer than any can be")),
        }
        Ok(count)
    }
}
