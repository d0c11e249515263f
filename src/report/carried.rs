//! What `cp` says: how far it is, and what it came to.

use std::fmt::Write as _;
use std::time::Duration;

use bytesize::ByteSize;

use super::fold::fold;
use super::style::Palette;
use crate::guest::cp::Carried;
use crate::times::duration;
use crate::units::Seconds;

/// How many things that were left out are named.
const NAMED: usize = 5;

/// How the end of a copy is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Colours.
    pub palette: Palette,
    /// The droplet it went to; none when it came here.
    pub on: Option<&'a str>,
    /// How long it took.
    pub took: Duration,
    /// Width of the terminal in characters; `None` off one.
    pub width: Option<usize>,
}

/// How far a copy is.
#[must_use]
pub fn so_far(bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate is shown by two or three digits"
    )]
    let rate = (bytes as f64 / seconds) as u64;
    format!(
        "{} after {}, {}/s",
        ByteSize(bytes),
        Seconds(took.as_secs()),
        ByteSize(rate)
    )
}

/// What a copy came to.
#[must_use]
pub fn render(carried: &Carried, view: View<'_>) -> String {
    let place = match view.on {
        Some(address) => format!("{address}:{}", carried.place),
        None => carried.place.clone(),
    };
    let files = match carried.files {
        1 => "1 file".to_owned(),
        files => format!("{files} files"),
    };
    let took = u64::try_from(view.took.as_millis()).unwrap_or(u64::MAX);
    let mut out = format!(
        "{} {} {}",
        view.palette.good("ok"),
        view.palette.strong(&place),
        view.palette.faint(&format!(
            "({files}, {}, {})",
            ByteSize(carried.bytes),
            duration(took)
        )),
    );
    let note = view.palette.changed("note:");
    if !carried.left_out.is_empty() {
        let mut named = carried
            .left_out
            .iter()
            .take(NAMED)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        if carried.left_out.len() > NAMED {
            let _ = write!(named, " and {} more", carried.left_out.len() - NAMED);
        }
        let _ = write!(
            out,
            "\n{note} left out, for they are neither files, folders nor links: {named}"
        );
    }
    for line in carried.warnings.lines() {
        let _ = write!(out, "\n{note} {line}");
    }
    out.push('\n');
    view.palette.screen(match view.width {
        Some(width) => fold(&out, width),
        None => out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_it_is_and_what_is_not() {
        let carried = Carried {
            files: 1_204,
            bytes: 52_400_000,
            place: "/mnt/models/llama".to_owned(),
            left_out: ["a", "b", "c", "d", "e", "f", "g"]
                .map(str::to_owned)
                .into(),
            warnings: "tar: ./app.log: file changed as we read it".to_owned(),
        };
        let view = |width| View {
            palette: Palette::PLAIN,
            on: Some("droplet.runner[2]"),
            took: Duration::from_millis(2_300),
            width,
        };
        insta::assert_snapshot!(render(&carried, view(Some(80))), @r"
        ok droplet.runner[2]:/mnt/models/llama (1204 files, 50.0 MiB, 2.3s)
        note: left out, for they are neither files, folders nor links: a, b, c, d, e and
            2 more
        note: tar: ./app.log: file changed as we read it
        ");
        insta::assert_snapshot!(render(&carried, view(Some(160))), @r"
        ok droplet.runner[2]:/mnt/models/llama (1204 files, 50.0 MiB, 2.3s)
        note: left out, for they are neither files, folders nor links: a, b, c, d, e and 2 more
        note: tar: ./app.log: file changed as we read it
        ");
        let one = Carried {
            files: 1,
            place: "./report.xml".to_owned(),
            ..Carried::default()
        };
        let here = View {
            on: None,
            ..view(None)
        };
        insta::assert_snapshot!(render(&one, here), @"ok ./report.xml (1 file, 0 B, 2.3s)");
        insta::assert_snapshot!(so_far(52_400_000, Duration::from_millis(2_500)), @"50.0 MiB after 2s, 20.0 MiB/s");
    }
}
