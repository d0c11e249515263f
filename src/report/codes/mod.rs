//! The pages of error codes: what each means, what it says, what is so then, what to do.
//!
//! `codes.json` is made from the source, by `tests/error_codes.rs`; `notes.md` is written by hand: what
//! the code cannot tell, and for each part of dewpoint how things stand when one of its errors shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::Deserialize;

use super::fold;
use super::markdown;
use super::style::Palette;

/// What is known of a code.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Such as `dewpoint::cloud::rate_limited`.
    pub code: String,
    /// What it means; empty when its note says it.
    meaning: String,
    /// Patterns of its messages.
    messages: Vec<String>,
    /// What it advises.
    help: Vec<String>,
}

static CODES: LazyLock<Vec<Code>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("codes.json")).expect("a list of codes, which a test keeps")
});

static NOTES: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(|| {
    let mut notes = BTreeMap::new();
    for part in include_str!("notes.md").split("\n#") {
        let part = part.trim_start_matches('#').trim_start();
        if let Some((heading, text)) = part.split_once('\n') {
            notes.insert(heading.trim(), text.trim().to_owned());
        }
    }
    notes
});

/// All codes, sorted.
#[must_use]
pub fn all() -> &'static [Code] {
    &CODES
}

impl Code {
    /// The part of dewpoint it belongs to, such as `cloud`.
    #[must_use]
    pub fn area(&self) -> &str {
        self.code.split("::").nth(1).unwrap_or_default()
    }

    fn note(&self) -> Option<&'static str> {
        NOTES.get(self.code.as_str()).map(String::as_str)
    }

    fn of_area(&self) -> Option<&'static str> {
        NOTES.get(self.area()).map(String::as_str)
    }

    /// What it means, in a sentence or two.
    fn meaning(&self) -> &str {
        if self.meaning.is_empty() {
            self.note().unwrap_or_default()
        } else {
            &self.meaning
        }
    }
}

/// The codes that are meant: the one of that name, or all that end so, or all of an area.
#[must_use]
pub fn find(given: &str) -> Vec<&'static Code> {
    let given = given
        .trim()
        .trim_start_matches("dewpoint::")
        .trim_matches(':');
    let of_area: Vec<&Code> = all().iter().filter(|code| code.area() == given).collect();
    if !of_area.is_empty() {
        return of_area;
    }
    let ending = format!("::{given}");
    all()
        .iter()
        .filter(|code| code.code.ends_with(&ending))
        .collect()
}

/// The codes that are most like a word that is none; none when nothing is near.
#[must_use]
pub fn nearest(given: &str) -> Vec<&'static str> {
    let given = given.trim().trim_start_matches("dewpoint::");
    let length = given.chars().count();
    let mut known: Vec<(usize, &Code)> = all()
        .iter()
        .filter_map(|code| {
            let short = code.code.trim_start_matches("dewpoint::");
            let last = short.rsplit("::").next().unwrap_or(short);
            let distances = [short, last].map(|text| {
                let distance = strsim::damerau_levenshtein(text, given);
                // As of a manifest's words: a third of the letters may differ.
                (distance <= length.max(text.chars().count()) / 3).then_some(distance)
            });
            Some((distances.into_iter().flatten().min()?, code))
        })
        .collect();
    known.sort_by_key(|(distance, _)| *distance);
    known
        .iter()
        .take(3)
        .map(|(_, code)| code.code.as_str())
        .collect()
}

/// The page of a code, as text.
#[must_use]
pub fn page(code: &Code, palette: Palette, width: usize) -> String {
    let mut out = format!("{}\n\n", palette.strong(&code.code));
    // Writing to a string cannot fail.
    let mut paragraph = |title: &str, text: &str| {
        let indented = format!("  {title}{text}\n");
        // Prose: its lines are flush.
        let _ = writeln!(out, "{}", fold::fold_at(&indented, width, 2));
    };
    paragraph("", code.meaning());
    if !code.meaning.is_empty()
        && let Some(note) = code.note()
    {
        paragraph("", note);
    }
    for message in &code.messages {
        paragraph("It says: ", message);
    }
    for help in &code.help {
        paragraph("What to do: ", help);
    }
    if let Some(area) = code.of_area() {
        paragraph("How things stand: ", area);
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

/// All codes with their meanings, as text.
#[must_use]
pub fn list(palette: Palette, width: usize) -> String {
    let mut out = String::new();
    let mut area = "";
    for code in all() {
        if code.area() != area {
            if !area.is_empty() {
                out.push('\n');
            }
            area = code.area();
        }
        let line = format!(
            "{}  {}",
            palette.strong(&code.code),
            first_sentence(code.meaning())
        );
        let _ = writeln!(out, "{}", fold::fold(&line, width).trim_end());
    }
    let _ = writeln!(out, "\n`dewpoint explain CODE` shows one in full.");
    out
}

fn first_sentence(text: &str) -> &str {
    match text.split_once(". ") {
        Some((first, _)) => first,
        None => text.trim_end_matches('.'),
    }
}

/// All pages as one Markdown document: what `docs/errors.md` holds.
#[must_use]
pub fn document() -> String {
    let mut out = String::from(
        "# Error codes\n\nEvery error bears a code; `dewpoint explain CODE` shows its page. This file is made from the code\n(`dewpoint explain --markdown`).\n",
    );
    let mut area = "";
    for code in all() {
        if code.area() != area {
            area = code.area();
            let _ = write!(out, "\n## {area}\n\n");
            if let Some(text) = code.of_area() {
                let _ = write!(out, "{}\n\n", prose(text));
            }
            out.push_str("| code | meaning | what to do |\n| --- | --- | --- |\n");
        }
        let mut meaning = prose(code.meaning());
        if let (false, Some(note)) = (code.meaning.is_empty(), code.note()) {
            meaning = format!("{meaning} {}", prose(note));
        }
        let help: Vec<String> = code.help.iter().map(|help| prose(help)).collect();
        let _ = writeln!(
            out,
            "| {} | {meaning} | {} |",
            markdown::cell_code(&code.code),
            help.join("; ")
        );
    }
    out
}

/// Our own words, in which only what stands between backticks is Markdown.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| match at % 2 {
            0 => markdown::text(part),
            _ => markdown::cell_code(part),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_that_says_what_it_means_and_how_things_stand() {
        for code in all() {
            assert!(!code.meaning().is_empty(), "{} means nothing", code.code);
            assert!(
                code.of_area().is_some(),
                "nothing is said of {}",
                code.area()
            );
            let page = page(code, Palette::PLAIN, 80);
            assert!(
                page.lines().all(|line| line.chars().count() <= 80),
                "{page}"
            );
        }
        // No note is of a code, or a part, that does not exist.
        for heading in NOTES.keys() {
            let known = all()
                .iter()
                .any(|code| code.code == *heading || code.area() == *heading);
            assert!(known, "there is no `{heading}`");
        }
    }

    #[test]
    fn a_code_is_found_by_its_end_and_a_slip_by_its_likeness() {
        let found = |given: &str| -> Vec<&str> {
            find(given).iter().map(|code| code.code.as_str()).collect()
        };
        let limited = ["dewpoint::cloud::rate_limited"];
        assert_eq!(found("dewpoint::cloud::rate_limited"), limited);
        assert_eq!(found("cloud::rate_limited"), limited);
        assert_eq!(found("rate_limited"), limited);
        assert_eq!(found("name_taken").len(), 2);
        assert!(found("cloud").len() > 20);
        assert!(found("rate_limitd").is_empty());
        assert_eq!(nearest("rate_limitd")[0], limited[0]);
        assert_eq!(nearest("nope"), Vec::<&str>::new());
    }

    #[test]
    fn pages() {
        insta::assert_snapshot!(page(find("plan::protected")[0], Palette::PLAIN, 80));
        for width in [80, 160] {
            let text = page(find("rate_limited")[0], Palette::PLAIN, width);
            assert!(text.lines().all(|line| line.chars().count() <= width));
            insta::assert_snapshot!(format!("page_on_{width}_columns"), text);
        }
    }
}
