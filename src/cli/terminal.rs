//! What the streams are, and what that means for colour, width and questions: decided once.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::args::{Colour, Global};
use super::env_vars;
use super::error::CliError;
use crate::report::style::Palette;

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
    /// Width of the screen in characters.
    pub width: usize,
    /// Whether a person can be asked.
    pub can_ask: bool,
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
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => is_terminal && !no_colour && !dumb,
        };
        let err_is_terminal = std::io::stderr().is_terminal();
        let width = rustix::termios::tcgetwinsize(std::io::stderr())
            .or_else(|_| rustix::termios::tcgetwinsize(std::io::stdout()))
            .map_or(100, |size| usize::from(size.ws_col))
            .clamp(40, 200);
        Self {
            out: Palette::new(colour(std::io::stdout().is_terminal())),
            err: Palette::new(colour(err_is_terminal)),
            err_coloured: colour(err_is_terminal),
            moves: err_is_terminal && !ci && !dumb,
            width,
            can_ask: std::io::stdin().is_terminal() && err_is_terminal,
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
            });
        // A second call would keep the first style: there is only one.
        let _ = miette::set_hook(Box::new(move |_| {
            Box::new(
                miette::MietteHandlerOpts::new()
                    .color(self.err_coloured)
                    .unicode(unicode)
                    .width(self.width)
                    .terminal_links(false)
                    .context_lines(1)
                    .build(),
            )
        }));
    }

    /// Asks for approval; only the word `yes` approves.
    ///
    /// # Errors
    /// When nobody can be asked, or the answer is another.
    pub fn approve(&self, question: &str) -> Result<(), CliError> {
        if !self.can_ask {
            return Err(CliError::NoTerminal);
        }
        let mut err = std::io::stderr();
        let asked = write!(err, "\n{question}\n  Only `yes` approves: ").and_then(|()| err.flush());
        let mut answer = String::new();
        match asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer)) {
            Ok(_) if answer.trim() == "yes" => Ok(()),
            _ => Err(CliError::NotApproved),
        }
    }
}

/// Writes a result to standard output. A reader that went away early is content with what it has.
pub fn print(text: &str) {
    // Nothing sensible can be done about a closed pipe, and it is no error (`| head`).
    let _ = std::io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| std::io::stdout().flush());
}

/// Writes a message to standard error.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
