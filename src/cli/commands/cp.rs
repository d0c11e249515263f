//! `cp`: a file or a folder to a droplet, or from one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use camino::Utf8Path;
use tokio::time::Instant;

use super::ssh;
use crate::cli::args::Cp;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::tell;
use crate::execute::{Interrupts, Signal};
use crate::guest::cp::{Carried, CopyError, Watched, fetch, send};
use crate::report::carried::{self, View};

/// How often it is shown how far it is.
const TICK: Duration = Duration::from_millis(200);
/// What takes no longer needs no showing.
const SHORT: Duration = Duration::from_secs(1);

/// A side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side<'a> {
    Here(&'a str),
    There { address: &'a str, path: &'a str },
}

impl<'a> Side<'a> {
    /// A colon before the first slash, and outside of brackets, ends an address.
    fn of(text: &'a str) -> Self {
        let mut depth = 0_u32;
        for (at, c) in text.char_indices() {
            match c {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                '/' if depth == 0 => break,
                ':' if depth == 0 && at > 0 => {
                    return Self::There {
                        address: &text[..at],
                        path: &text[at + 1..],
                    };
                }
                _ => {}
            }
        }
        Self::Here(text)
    }
}

/// Copies.
///
/// # Errors
/// When not exactly one side is a droplet's, it is not up, or the copy fails.
pub async fn run(context: &Context, options: &Cp) -> miette::Result<Exit> {
    let (from, to) = (Side::of(&options.from), Side::of(&options.to));
    let problem = match (&from, &to) {
        (Side::Here(_), Side::Here(_)) => "neither FROM nor TO is on a droplet",
        (Side::There { .. }, Side::There { .. }) => "both FROM and TO are on droplets",
        (Side::There { address, .. }, Side::Here(_))
        | (Side::Here(_), Side::There { address, .. }) => {
            return copy(context, &from, &to, address).await;
        }
    };
    Err(CliError::CopySides { problem }.into())
}

async fn copy(
    context: &Context,
    from: &Side<'_>,
    to: &Side<'_>,
    address: &str,
) -> miette::Result<Exit> {
    let session = ssh::reachable(context)
        .await?
        .session(context, address)
        .await?;
    let watched = Watched::default();
    let mut signals = Interrupts::listen().map_err(|cause| CliError::Start { cause })?;
    let began = Instant::now();
    let copying = async {
        match (from, to) {
            (Side::Here(from), Side::There { path, .. }) => {
                send(&session, Utf8Path::new(from), path, &watched).await
            }
            (Side::There { path, .. }, Side::Here(to)) => {
                fetch(&session, path, Utf8Path::new(to), &watched).await
            }
            _ => unreachable!("exactly one side is a droplet's"),
        }
    };
    let mut copying = std::pin::pin!(copying);
    let mut ticks = tokio::time::interval(TICK);
    let mut line = Line {
        moves: context.terminal.moves && !context.global.quiet,
        is_drawn: false,
    };
    let mut ended_by = None;
    let ended = loop {
        tokio::select! {
            ended = &mut copying => break ended,
            signal = signals.next(), if ended_by.is_none() => {
                ended_by = Some(signal);
                watched.stop.cancel();
            }
            _ = ticks.tick() => {
                if began.elapsed() >= SHORT {
                    let bytes = watched.bytes.load(Ordering::Relaxed);
                    line.draw(&carried::so_far(bytes, began.elapsed()));
                }
            }
        }
    };
    line.clear();
    session.close().await;
    match (ended, ended_by) {
        (Ok(carried), _) => {
            say(context, &carried, to, address, began.elapsed());
            Ok(Exit::Success)
        }
        (Err(CopyError::Stopped), Some(signal)) => {
            tell(&format!("{}: nothing of it was kept", signal.name()));
            Ok(match signal {
                Signal::Int => Exit::Interrupted,
                Signal::Term => Exit::Terminated,
                Signal::Hup => Exit::HungUp,
            })
        }
        (Err(error), _) => Err(error.into()),
    }
}

fn say(context: &Context, carried: &Carried, to: &Side<'_>, address: &str, took: Duration) {
    if context.global.quiet {
        return;
    }
    let on = match to {
        Side::There { .. } => Some(address),
        Side::Here(_) => None,
    };
    let view = View {
        palette: context.terminal.err,
        on,
        took,
        width: context
            .terminal
            .err_folds
            .then_some(context.terminal.width()),
    };
    tell(carried::render(carried, view).trim_end());
}

/// One line that is drawn again and again.
struct Line {
    moves: bool,
    is_drawn: bool,
}

impl Line {
    fn draw(&mut self, text: &str) {
        if self.moves {
            use std::io::Write as _;
            // A terminal that went away is noticed by the signal it sends.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
            self.is_drawn = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            self.draw("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_ends_at_its_colon() {
        let there = |address, path| Side::There { address, path };
        for (text, side) in [
            ("droplet.a:/x", there("droplet.a", "/x")),
            ("droplet.a[2]:", there("droplet.a[2]", "")),
            ("droplet.a[v=1:2]:x:y", there("droplet.a[v=1:2]", "x:y")),
            ("droplet.a[v=a/b]:x", there("droplet.a[v=a/b]", "x")),
            ("shop-main-a:x", there("shop-main-a", "x")),
            ("./a:b", Side::Here("./a:b")),
            ("/a:b", Side::Here("/a:b")),
            ("a/b:c", Side::Here("a/b:c")),
            (":x", Side::Here(":x")),
            ("a", Side::Here("a")),
        ] {
            assert_eq!(Side::of(text), side, "{text:?}");
        }
    }
}
