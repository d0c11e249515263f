//! How an error is shown: in one layout with the failures of a run, unless there is a place in a
//! file to underline.

use std::fmt;

use miette::{Diagnostic, MietteHandler, MietteHandlerOpts, ReportHandler};
use textwrap::{WordSeparator, WordSplitter};

use crate::report::fold::fold;
use crate::report::style::Palette;

/// Draws errors.
pub(super) struct Problem {
    /// Draws those that point into a file.
    pub(super) pointing: MietteHandler,
    /// Colours of standard error.
    pub(super) palette: Palette,
    /// Width of the screen; `None` off a terminal, where a sentence stays one line.
    pub(super) width: Option<usize>,
}

/// What draws errors that point into a file. Lines break at blanks alone, as all others do: names of
/// droplets, options and paths stay whole, and are copied whole.
pub(super) fn pointing(width: usize, is_coloured: bool, is_unicode: bool) -> MietteHandler {
    MietteHandlerOpts::new()
        .color(is_coloured)
        .unicode(is_unicode)
        .width(width)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false)
        .terminal_links(false)
        .context_lines(1)
        .build()
}

impl ReportHandler for Problem {
    fn debug(&self, error: &dyn Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if points(error) {
            return self.pointing.debug(error, f);
        }
        let text = render(error, self.palette);
        f.write_str(
            match self.width {
                Some(width) => fold(&text, width),
                None => text,
            }
            .trim_end(),
        )
    }
}

/// Whether an error, or one it consists of, has a place in a file.
fn points(error: &dyn Diagnostic) -> bool {
    let labelled = error
        .labels()
        .is_some_and(|mut labels| labels.next().is_some());
    labelled
        || error
            .related()
            .is_some_and(|mut related| related.any(points))
}

fn render(error: &dyn Diagnostic, palette: Palette) -> String {
    let mut out = String::new();
    write(&mut out, error, &palette.bad("error: "), "", palette);
    out
}

fn write(out: &mut String, error: &dyn Diagnostic, before: &str, indent: &str, palette: Palette) {
    let message = error.to_string();
    let code = match error.code() {
        Some(code) => palette.faint(&format!(" [{code}]")),
        None => String::new(),
    };
    out.push_str(&format!("{indent}{before}{message}{code}\n"));
    let mut said = message;
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !said.contains(&text) {
            out.push_str(&format!("{indent}  caused by: {text}\n"));
        }
        said = text;
        cause = inner.source();
    }
    for part in error.related().into_iter().flatten() {
        write(out, part, "", &format!("{indent}  "), palette);
    }
    if let Some(help) = error.help() {
        let word = palette.running("help:");
        out.push_str(&format!("{indent}  {word} {help}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::CliError;
    use crate::plan::{Refusal, RefusalKind, Refusals};

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let error = CliError::Write {
            path: "standard output".to_owned(),
            cause: std::io::Error::other("no space left"),
        };
        insta::assert_snapshot!(render(&error, Palette::PLAIN), @r"
        error: cannot write standard output [dewpoint::cli::write]
          caused by: no space left
        ");
    }

    #[test]
    fn a_refused_plan_names_each_reason_with_its_way_out() {
        let refusal = |address: &str, kind, reason: &str, help: &str| Refusal {
            address: Some(address.parse().expect("an address")),
            kind,
            reason: reason.to_owned(),
            help: help.to_owned(),
        };
        let refusals = Refusals {
            refusals: vec![
                refusal(
                    "droplet.t",
                    RefusalKind::Size,
                    "there is no such size",
                    "choose another",
                ),
                refusal(
                    "volume.data",
                    RefusalKind::Shrink,
                    "it would shrink",
                    "make a new one",
                ),
            ],
        };
        insta::assert_snapshot!(render(&refusals, Palette::PLAIN), @r"
        error: the plan is refused [dewpoint::plan::refused]
          droplet.t: there is no such size [dewpoint::plan::size]
            help: choose another
          volume.data: it would shrink [dewpoint::plan::shrink]
            help: make a new one
        ");
    }

    /// Errors as a screen of that width shows them.
    fn shown(error: &dyn Diagnostic, width: usize) -> String {
        struct Shown<'a>(&'a dyn Diagnostic, Problem);
        impl fmt::Display for Shown<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.1.debug(self.0, f)
            }
        }
        let problem = Problem {
            pointing: pointing(width, false, true),
            palette: Palette::PLAIN,
            width: Some(width),
        };
        Shown(error, problem).to_string()
    }

    #[test]
    fn errors_fit_a_narrow_and_a_wide_screen() {
        let manifest = b"version: 1\nproject: my_project\nregion: nyc3\ndroplets:\n  box:\n    image: { snapshot: base }\n    size: s-1vcpu-1gb\n    run: [{ name: test, comand: make test }]\n";
        let inputs = crate::manifest::Inputs::default();
        let errors =
            crate::manifest::load("dewpoint.yaml", manifest, &inputs).expect_err("it has mistakes");
        let moved = crate::cli::approval::MovedMeanwhile {
            moved: vec![crate::cli::plan_file::Moved(
                "volume.data: it was attached to nothing and is attached to droplet app-main-web by now"
                    .to_owned(),
            )],
        };
        for width in [80, 160] {
            let text = format!("{}\n\n{}", shown(&errors, width), shown(&moved, width));
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
            insta::assert_snapshot!(format!("errors_on_{width}_columns"), text);
        }
    }
    #[test]
    fn names_with_hyphens_stay_whole_on_narrow_screens() {
        let manifest = b"version: 1\nproject: fleet\nregion: nyc3\ndroplets:\n  web: {}\n";
        let text = String::from_utf8_lossy(manifest).into_owned();
        // At each place in a line once, so that each width breaks near it.
        for before in 0..60 {
            let name = "fleet-main-web-1/--lock-timeout/dewpoint-env:x";
            let help = format!("{}{name} is what is meant", "x ".repeat(before));
            let error = miette::MietteDiagnostic::new("it is not as it should be")
                .with_help(help)
                .with_label(miette::LabeledSpan::at(0..7, "here"));
            let report = miette::Report::new(error)
                .with_source_code(miette::NamedSource::new("dewpoint.yaml", text.clone()));
            for width in [60, 80] {
                let shown = shown(&*report, width);
                assert!(shown.contains(name), "at {width} columns: {shown}");
                assert!(
                    shown.lines().all(|line| line.chars().count() <= width),
                    "at {width} columns: {shown}"
                );
            }
        }
    }
}
