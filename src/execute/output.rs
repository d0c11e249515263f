//! Output of a command on its way from a droplet to the stream of events.

use std::collections::VecDeque;

use super::event::OutputStream;
use super::feed::Reporter;
use super::redact::StreamRedactor;
use crate::guest::{OutputSink, Stream};

/// How many of the last lines a failure shows.
const TAIL_LINES: usize = 20;
/// How much of a line is kept for that: binary output has lines of 16 KiB, and many fail at once.
const TAIL_LINE_CHARS: usize = 2_000;

/// Takes a command's output: hides secrets, hands lines on, keeps the last ones.
pub(super) struct CommandOutput<'a> {
    reporter: &'a Reporter,
    out: StreamRedactor,
    err: StreamRedactor,
    tail: VecDeque<String>,
    line: Option<u32>,
}

impl<'a> CommandOutput<'a> {
    pub(super) fn new(reporter: &'a Reporter) -> Self {
        let redactor = || StreamRedactor::new(std::sync::Arc::clone(reporter.redactor()));
        Self {
            reporter,
            out: redactor(),
            err: redactor(),
            tail: VecDeque::new(),
            line: None,
        }
    }

    /// The end of the command: hands on what was held back, gives the last lines, and the line of
    /// the script whose command ended it.
    pub(super) fn finish(mut self) -> (Vec<String>, Option<u32>) {
        if let Some(line) = self.out.finish() {
            self.pass_on(OutputStream::Out, line);
        }
        if let Some(line) = self.err.finish() {
            self.pass_on(OutputStream::Err, line);
        }
        (self.tail.into(), self.line)
    }

    fn pass_on(&mut self, stream: OutputStream, line: String) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        let end = line.char_indices().nth(TAIL_LINE_CHARS);
        let shown = &line[..end.map_or(line.len(), |(at, _)| at)];
        self.tail.push_back(shown.to_owned());
        self.reporter.output(stream, line);
    }
}

impl OutputSink for CommandOutput<'_> {
    fn line(&mut self, stream: Stream, line: &str) {
        let (stream, redactor) = match stream {
            Stream::Out => (OutputStream::Out, &mut self.out),
            Stream::Err => (OutputStream::Err, &mut self.err),
        };
        if let Some(shown) = redactor.feed(line) {
            self.pass_on(stream, shown);
        }
    }

    fn failed_at(&mut self, line: u32) {
        self.line = Some(line);
    }
}
