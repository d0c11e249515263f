//! What the streams are, and what that means for colour, width and questions: decided once.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::args::{Colour, Global};
use super::env_vars;
use super::error::CliError;
use super::problem::{Problem, pointing};
use crate::report::fold::fold;
use crate::report::style::Palette;
use crate::seemly;

/// What the streams are.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Colours for standard output.
    pub out: Palette,
    /// Colours for standard error.
    pub err: Palette,
    /// Whether standard error is coloured.
    pub err_coloured: bool,
    /// Whether standard error is a terminal on which things may move.
    pub moves: bool,
    /// Whether standard output is a terminal: what is longer than its width goes on in the next line.
    pub out_folds: bool,
    /// The same of standard error.
    pub err_folds: bool,
    /// Whether a person can be asked.
    pub can_ask: bool,
    /// Whether only ASCII and whole lines are wanted.
    pub is_plain: bool,
}

impl Terminal {
    /// Looks at the streams.
    #[must_use]
    pub fn detect(global: &Global) -> Self {
        let ci = std::env::var_os(env_vars::CI)
            .is_some_and(|value| value != "false" && !value.is_empty());
        let no_colour = std::env::var_os(env_vars::NO_COLOR).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let colour = |is_terminal: bool| match global.color {
            _ if global.plain => false,
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => is_terminal && !no_colour && !dumb,
        };
        let err_is_terminal = std::io::stderr().is_terminal();
        let out_is_terminal = std::io::stdout().is_terminal();
        Self {
            out: Palette::new(colour(out_is_terminal)),
            err: Palette::new(colour(err_is_terminal)),
            err_coloured: colour(err_is_terminal),
            // Lines of the log would tear a moving view.
            moves: err_is_terminal && !ci && !dumb && !global.plain && global.verbose == 0,
            out_folds: out_is_terminal,
            err_folds: err_is_terminal,
            is_plain: global.plain,
            can_ask: std::io::stdin().is_terminal() && err_is_terminal,
        }
    }

    /// Width of the screen in characters, now: a window may be made wider or narrower while a run goes on.
    #[must_use]
    pub fn width(&self) -> usize {
        rustix::termios::tcgetwinsize(std::io::stdout())
            .or_else(|_| rustix::termios::tcgetwinsize(std::io::stderr()))
            .ok()
            .map(|size| usize::from(size.ws_col))
            // A terminal that does not know its size says 0.
            .filter(|columns| *columns > 0)
            .unwrap_or(100)
            .clamp(40, 200)
    }

    /// What is to be written to standard output: where that is a terminal, long lines go on in the next.
    #[must_use]
    pub fn fit(&self, text: String) -> String {
        match self.out_folds {
            true => fold(&text, self.width()),
            false => text,
        }
    }

    /// The same for standard error.
    #[must_use]
    pub fn fit_err(&self, text: String) -> String {
        match self.err_folds {
            true => fold(&text, self.width()).trim_end_matches('\n').to_owned(),
            false => text,
        }
    }

    /// Decides how errors are drawn: colours and width as everywhere else, box characters only
    /// where the locale has them.
    pub fn set_error_style(self) {
        let unicode = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty())
            .is_some_and(|locale| {
                let locale = locale.to_lowercase();
                locale.contains("utf-8") || locale.contains("utf8")
            })
            && !self.is_plain;
        // A second call would keep the first style: there is only one.
        let _ = miette::set_hook(Box::new(move |_| {
            Box::new(Problem {
                pointing: pointing(self.width(), self.err_coloured, unicode),
                palette: self.err,
                width: self.err_folds.then_some(self.width()),
            })
        }));
    }

    /// Asks for approval; only the word `yes` approves. Whether there is anybody to ask is the
    /// caller's to look at.
    ///
    /// # Errors
    /// When the answer is another.
    pub fn approve(&self, question: &str) -> Result<(), CliError> {
        let mut err = std::io::stderr();
        let question = seemly::screen(question, true);
        let asked = write!(err, "\n{question}\n  Only `yes` approves: ").and_then(|()| err.flush());
        let mut answer = String::new();
        match asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer)) {
            Ok(_) if answer.trim() == "yes" => Ok(()),
            _ => Err(CliError::NotApproved),
        }
    }

    /// Asks for a line: none when nothing can be read. Whether there is anybody to ask is the
    /// caller's to look at.
    #[must_use]
    pub fn question(&self, question: &str) -> Option<String> {
        let mut err = std::io::stderr();
        write!(err, "{}", seemly::screen(question, true))
            .and_then(|()| err.flush())
            .ok()?;
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer).ok()?;
        (read > 0).then(|| answer.trim().to_owned())
    }
}

/// Writes a result to standard output. A reader that went away early is content with what it has
/// (`| head`).
///
/// # Errors
/// When it cannot be written for another reason, such as a full disk: a result that is not there
/// must not look like a success.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let text = seemly::screen(text, true);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A pipe whose reader went away, a terminal that was closed.
        Err(cause)
            if cause.kind() == std::io::ErrorKind::BrokenPipe
                || cause.raw_os_error() == Some(libc::EIO) =>
        {
            Ok(())
        }
        Err(cause) => Err(CliError::Write {
            path: "standard output".to_owned(),
            cause,
        }),
        Ok(()) => Ok(()),
    }
}

/// Writes a message to standard error.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", seemly::screen(text, true));
}
