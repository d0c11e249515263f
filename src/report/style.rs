//! Colours by meaning, decided once for the whole program.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};

use crate::plan::Action;
use crate::seemly;

/// Whether to colour, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    coloured: bool,
}

impl Palette {
    /// Colours.
    pub const COLOURED: Self = Self { coloured: true };
    /// No colours.
    pub const PLAIN: Self = Self { coloured: false };

    /// One or the other.
    #[must_use]
    pub const fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    /// Whether it colours.
    #[must_use]
    pub const fn is_coloured(self) -> bool {
        self.coloured
    }

    /// A text as it is written: of what others put into it nothing steers the terminal.
    #[must_use]
    pub fn screen(self, text: String) -> String {
        match seemly::screen(&text, self.coloured) {
            Cow::Borrowed(_) => text,
            Cow::Owned(seemly) => seemly,
        }
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.coloured && !text.is_empty() {
            format!("{}{text}{}", style.render(), style.render_reset())
        } else {
            text.to_owned()
        }
    }

    /// Something is made, or went well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint(Style::new().fg_color(Some(AnsiColor::Green.into())), text)
    }

    /// Something goes away, or went wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint(Style::new().fg_color(Some(AnsiColor::Red.into())), text)
    }

    /// What comes, within a line of which more stays.
    #[must_use]
    pub fn good_mark(self, text: &str) -> String {
        let style = Style::new().fg_color(Some(AnsiColor::Green.into()));
        self.paint(style.bold().underline(), text)
    }

    /// What goes, within a line of which more stays.
    #[must_use]
    pub fn bad_mark(self, text: &str) -> String {
        let style = Style::new().fg_color(Some(AnsiColor::Red.into()));
        self.paint(style.bold().underline(), text)
    }

    /// Something changes, or wants attention.
    #[must_use]
    pub fn changed(self, text: &str) -> String {
        self.paint(Style::new().fg_color(Some(AnsiColor::Yellow.into())), text)
    }

    /// Something runs.
    #[must_use]
    pub fn running(self, text: &str) -> String {
        self.paint(Style::new().fg_color(Some(AnsiColor::Cyan.into())), text)
    }

    /// Names and headings.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// What can be skipped when reading fast.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    /// The sign of an action, two characters of `-/+` red and green.
    #[must_use]
    pub fn sign(self, action: Action) -> String {
        match action {
            Action::Create => self.good("+"),
            Action::Update => self.changed("~"),
            Action::Delete => self.bad("-"),
            Action::Keep => self.faint("="),
            Action::DestroyThenCreate => format!("{}/{}", self.bad("-"), self.good("+")),
            Action::CreateThenDestroy => format!("{}/{}", self.good("+"), self.bad("-")),
        }
    }
}
