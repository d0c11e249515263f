//! Pieces of GitHub-flavoured Markdown, and a document that fits where it is sent.
//!
//! What names, scripts and reasons hold is text and stays text: it cannot begin a tag, end a table
//! cell or a code block, mention a person or an issue, or hide in characters that are not seen.
//! What is too long is cut in whole lines, and says of how many.

use std::fmt::Write as _;

/// The most a comment or a description on GitHub may hold. The limit is on characters; counted in
/// bytes, what fits always fits.
pub const MOST_BYTES: usize = 65_536;

/// A line of a script that is longer than this is cut: it is data, not something to read.
const MOST_LINE: usize = 1_000;

/// Text in which nothing is Markdown, on one line.
#[must_use]
pub fn text(text: &str) -> String {
    let seen = one_line(text);
    let mut out = String::with_capacity(seen.len() + 8);
    for (at, c) in seen.char_indices() {
        let rest = &seen[at + c.len_utf8()..];
        let before = &seen[..at];
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '~' | '$' | '&' => {
                out.push('\\');
                out.push(c);
            }
            // Parsers do not agree on a backslash before it in a table.
            '|' => out.push_str("&#124;"),
            // GitHub looks for these in the text it has rendered: no backslash keeps it from that.
            '@' => out.push_str("@<!-- -->"),
            '#' if rest.starts_with(|next: char| next.is_ascii_digit()) => {
                out.push_str("\\#<!-- -->");
            }
            '#' => out.push_str("\\#"),
            // Addresses become links without any sign around them.
            ':' if rest.starts_with("//") => out.push_str("\\:"),
            '.' if before.ends_with("www") => out.push_str("\\."),
            // What would begin a list or underline a heading.
            '-' | '+' | '=' if at == 0 => {
                out.push('\\');
                out.push(c);
            }
            '.' | ')' if !before.is_empty() && before.bytes().all(|b| b.is_ascii_digit()) => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Code within a line.
#[must_use]
pub fn code(code: &str) -> String {
    let seen = one_line(code);
    if seen.is_empty() {
        return "(empty)".to_owned();
    }
    let fence = "`".repeat(longest_run(&seen) + 1);
    // A blank at each end goes, if both have one: so what begins with a backtick can stand there.
    let needs_room = seen.starts_with('`')
        || seen.ends_with('`')
        || (seen.starts_with(' ') && seen.ends_with(' '));
    let room = if needs_room && !seen.trim().is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{room}{seen}{room}{fence}")
}

/// Code within a cell of a table, where a pipe would end the cell also within code.
#[must_use]
pub fn cell_code(code: &str) -> String {
    if code.contains('|') {
        format!("<code>{}</code>", text(code))
    } else {
        self::code(code)
    }
}

/// Text within HTML, on one line.
#[must_use]
pub fn html(text: &str) -> String {
    let seen = one_line(text);
    let mut out = String::with_capacity(seen.len() + 8);
    let mut rest = seen.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '@' => out.push_str("@<!-- -->"),
            '#' if rest.peek().is_some_and(char::is_ascii_digit) => out.push_str("#<!-- -->"),
            _ => out.push(c),
        }
    }
    out
}

/// A comment that nobody sees and programs find again. What a comment cannot hold is left out.
#[must_use]
pub fn marker(words: &str) -> String {
    let words: String = words
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.' | '/'))
        .collect();
    format!("<!-- {words} -->")
}

/// What is shown of a text: characters that steer a terminal or the direction of writing, or that
/// are not seen at all, become their numbers.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hides = matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        );
        if hides || (c.is_control() && !matches!(c, '\n' | '\t')) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn one_line(text: &str) -> String {
    visible(text).replace(['\n', '\t'], " ")
}

fn longest_run(text: &str) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// What is left out first when there is too much: the later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// What nobody may miss: what is lost, what it costs.
    First,
    /// What happens.
    Second,
    /// How it looks in detail.
    Third,
}

/// A part of a document that is kept, cut or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    rank: Rank,
    head: String,
    lines: Vec<String>,
    tail: String,
}

impl Part {
    /// A text that is kept or left out as a whole. It ends with an empty line.
    #[must_use]
    pub fn whole(rank: Rank, text: &str) -> Self {
        Self {
            rank,
            head: format!("{}\n\n", text.trim_end()),
            lines: Vec::new(),
            tail: String::new(),
        }
    }

    /// A table; what stands in cells comes from [`text`] and [`cell_code`].
    #[must_use]
    pub fn table(rank: Rank, headings: &[&str], rows: &[Vec<String>]) -> Self {
        let row = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let headings: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
        let rule = vec!["---".to_owned(); headings.len()];
        Self {
            rank,
            head: format!("{}\n{}\n", row(&headings), row(&rule)),
            lines: rows.iter().map(|cells| row(cells)).collect(),
            tail: "\n".to_owned(),
        }
    }

    /// A list; what stands in items may stand in a line.
    #[must_use]
    pub fn list(rank: Rank, items: &[String]) -> Self {
        Self {
            rank,
            head: String::new(),
            lines: items.iter().map(|item| format!("- {item}")).collect(),
            tail: "\n".to_owned(),
        }
    }

    /// A list that stands out, of a kind that GitHub knows: `CAUTION`, `WARNING`, `NOTE`.
    #[must_use]
    pub fn alert(rank: Rank, kind: &str, title: &str, items: &[String]) -> Self {
        Self {
            rank,
            head: format!("> [!{kind}]\n> **{}**\n>\n", text(title)),
            lines: items.iter().map(|item| format!("> - {item}")).collect(),
            tail: "\n".to_owned(),
        }
    }

    /// A block of code in a language, such as `diff`.
    #[must_use]
    pub fn block(rank: Rank, language: &str, code: &str) -> Self {
        let lines: Vec<String> = visible(code).lines().map(shortened).collect();
        let longest = lines.iter().map(|line| longest_run(line)).max();
        let fence = "`".repeat((longest.unwrap_or(0) + 1).max(3));
        Self {
            rank,
            head: format!("{fence}{language}\n"),
            lines,
            tail: format!("{fence}\n\n"),
        }
    }

    /// The part folded under a summary, which is HTML (see [`html`]).
    #[must_use]
    pub fn folded(mut self, summary: &str) -> Self {
        self.head = format!("<details>\n<summary>{summary}</summary>\n\n{}", self.head);
        self.tail.push_str("</details>\n\n");
        self
    }

    fn frame(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    fn note(&self, left_out: usize) -> String {
        let list = if self
            .lines
            .first()
            .is_some_and(|line| line.starts_with("- "))
        {
            "- "
        } else {
            ""
        };
        format!("{list}… {left_out} more {} left out", lines(left_out))
    }

    /// How many of its lines fit into that many bytes with all that stands around them; `None`
    /// when nothing of it does.
    fn fits(&self, room: usize) -> Option<usize> {
        let mut room = room.checked_sub(self.frame())?;
        let all: usize = self.lines.iter().map(|line| line.len() + 1).sum();
        if all <= room {
            return Some(self.lines.len());
        }
        room = room.checked_sub(self.note(self.lines.len()).len() + 1)?;
        let fitting = self.lines.iter().take_while(|line| {
            let fits = line.len() < room;
            room = room.saturating_sub(line.len() + 1);
            fits
        });
        Some(fitting.count()).filter(|count| *count > 0)
    }

    fn count(&self) -> usize {
        self.head.lines().count() + self.lines.len() + self.tail.lines().count()
    }
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(MOST_LINE) {
        Some((end, _)) => format!(
            "{}… ({} more characters)",
            &line[..end],
            line[end..].chars().count()
        ),
        None => line.to_owned(),
    }
}

const fn lines(count: usize) -> &'static str {
    if count == 1 { "line" } else { "lines" }
}

/// Puts parts together in their order, in at most that many bytes. What has no room is cut or left
/// out, the later ranks first, and a last line says how much and `instead`: where all of it is.
#[must_use]
pub fn document(parts: &[Part], most_bytes: usize, instead: &str) -> String {
    // Room for the last line, whatever it counts.
    let last = |left_out: usize| {
        format!(
            "… {left_out} more {} left out; {instead}\n",
            lines(left_out)
        )
    };
    let whole: usize = parts
        .iter()
        .map(|part| part.frame() + part.lines.iter().map(|line| line.len() + 1).sum::<usize>())
        .sum();
    let mut room = if whole <= most_bytes {
        most_bytes
    } else {
        most_bytes.saturating_sub(last(usize::MAX).len())
    };
    let mut kept: Vec<Option<usize>> = vec![None; parts.len()];
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&position| parts[position].rank);
    for position in order {
        let part = &parts[position];
        let Some(count) = part.fits(room) else {
            continue;
        };
        let bytes: usize = part.lines[..count].iter().map(|line| line.len() + 1).sum();
        room -= part.frame() + bytes;
        if count < part.lines.len() {
            room -= part.note(part.lines.len()).len() + 1;
        }
        kept[position] = Some(count);
    }
    let mut out = String::new();
    let mut left_out = 0;
    for (part, kept) in parts.iter().zip(kept) {
        let Some(count) = kept else {
            left_out += part.count();
            continue;
        };
        out.push_str(&part.head);
        for line in &part.lines[..count] {
            out.push_str(line);
            out.push('\n');
        }
        let missing = part.lines.len() - count;
        if missing > 0 {
            left_out += missing;
            out.push_str(&part.note(missing));
            out.push('\n');
        }
        out.push_str(&part.tail);
    }
    if left_out > 0 {
        out.push_str(&last(left_out));
    }
    let end = out.trim_end().len();
    out.truncate(end);
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use comrak::{Options, markdown_to_html};

    /// As GitHub renders it, before it takes tags away that it does not like.
    fn rendered(markdown: &str) -> String {
        let mut options = Options::default();
        options.extension.table = true;
        options.extension.strikethrough = true;
        options.extension.autolink = true;
        options.extension.tasklist = true;
        options.render.r#unsafe = true;
        markdown_to_html(markdown, &options)
    }

    const HOSTILE: [&str; 16] = [
        "<script>alert(1)</script>",
        "a|b\\|c\\\\|d",
        "`code` ``two`` ```three```",
        "@octocat and #12 and o/r#3",
        "--> <!-- <b>",
        "![x](http://evil.example/y.png) [z](javascript:1)",
        "http://evil.example www.evil.example mailto:a@b.example",
        "*bold* _thin_ ~~gone~~ $x$ &amp; &#64;",
        "- item",
        "1. item",
        "1) item",
        "# heading",
        "</details></summary><details>",
        "line\n\n<img src=x>\r\n# next",
        "  ",
        "\u{202e}nimda\u{200b} \u{1b}[31m",
    ];

    #[test]
    fn hostile_text_stays_text() {
        for hostile in HOSTILE {
            let shown = one_line(hostile);
            let escaped = rendered(&text(hostile));
            let inner = escaped.trim().replace("<!-- -->", "");
            if shown.trim().is_empty() {
                continue;
            }
            let plain = inner
                .strip_prefix("<p>")
                .and_then(|rest| rest.strip_suffix("</p>"))
                .unwrap_or_else(|| panic!("{hostile:?} is no paragraph: {escaped}"));
            assert!(!plain.contains('<'), "{hostile:?} became {escaped}");
            assert_eq!(unescaped(plain).trim(), shown.trim(), "{hostile:?}");
            // GitHub's own look for people and issues.
            assert!(!escaped.contains("@octocat") && !escaped.contains("#12"));
        }
    }

    #[test]
    fn hostile_code_stays_code() {
        for hostile in HOSTILE {
            let shown = one_line(hostile);
            let escaped = rendered(&format!("a {} b", code(hostile)));
            if shown.trim().is_empty() {
                continue;
            }
            assert!(
                escaped.starts_with("<p>a <code>") && escaped.ends_with("</code> b</p>\n"),
                "{hostile:?} became {escaped}"
            );
            let inner = &escaped["<p>a <code>".len()..escaped.len() - "</code> b</p>\n".len()];
            assert_eq!(unescaped(inner), shown, "{hostile:?}");
        }
    }

    #[test]
    fn hostile_cells_stay_in_their_columns() {
        let rows: Vec<Vec<String>> = HOSTILE
            .iter()
            .map(|hostile| vec![cell_code(hostile), text(hostile), "end".to_owned()])
            .collect();
        let part = Part::table(Rank::First, &["a", "b", "c"], &rows);
        let escaped = rendered(&document(&[part], MOST_BYTES, ""));
        assert_eq!(escaped.matches("<tr>").count(), HOSTILE.len() + 1);
        assert_eq!(escaped.matches("<td>").count(), HOSTILE.len() * 3);
        assert_eq!(escaped.matches("<td>end</td>").count(), HOSTILE.len());
        let odd = escaped
            .split("<td><code>")
            .nth(2)
            .and_then(|rest| rest.split("</code>").next());
        assert_eq!(odd, Some("a|b\\|c\\\\|d"));
    }

    #[test]
    fn hostile_blocks_and_summaries_stay_closed() {
        let all = HOSTILE.join("\n");
        let part = Part::block(Rank::First, "diff", &all).folded(&html(&all));
        let escaped = rendered(&document(&[part], MOST_BYTES, ""));
        assert_eq!(escaped.matches("<details>").count(), 1);
        assert_eq!(escaped.matches("</details>").count(), 1);
        assert_eq!(escaped.matches("</summary>").count(), 1);
        assert_eq!(escaped.matches("<pre>").count(), 1);
        assert!(!escaped.contains("<script>") && !escaped.contains("<img"));
        assert!(
            escaped.trim_end().ends_with("</pre>\n</details>"),
            "{escaped}"
        );
    }

    #[test]
    fn a_marker_cannot_be_left() {
        assert_eq!(
            marker("dewpoint:diff:shop:pr-1"),
            "<!-- dewpoint:diff:shop:pr-1 -->"
        );
        assert_eq!(marker("a --> <b>"), "<!-- a--b -->");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_counted() {
        let rows: Vec<Vec<String>> = (0..400).map(|row| vec![format!("row {row}")]).collect();
        let script: String = (0..400).map(|line| format!("+line {line}\n")).collect();
        let parts = [
            Part::whole(Rank::First, "**summary**"),
            Part::block(Rank::Third, "diff", &script).folded("script"),
            Part::table(Rank::Second, &["what"], &rows),
            Part::whole(Rank::First, "costs"),
        ];
        let instead = "run `dewpoint diff`";
        let whole = document(&parts, MOST_BYTES, instead);
        assert!(!whole.contains("left out"));
        for most in [200, 300, 1_000, 3_000, 7_000, whole.len() - 1] {
            let cut = document(&parts, most, instead);
            assert!(cut.len() <= most, "{most}: {}", cut.len());
            assert!(cut.contains("**summary**") && cut.contains("costs"));
            assert!(
                cut.ends_with("left out; run `dewpoint diff`\n"),
                "{most}: {}",
                &cut[cut.len() - 200..]
            );
            assert_eq!(
                cut.matches("<details>").count(),
                cut.matches("</details>").count()
            );
            let told: usize = cut
                .lines()
                .last()
                .and_then(|line| line.split(' ').nth(1)?.parse().ok())
                .expect("a number");
            let missing: usize = (0..400)
                .map(|n| {
                    usize::from(!cut.contains(&format!("row {n} ")))
                        + usize::from(!cut.contains(&format!("+line {n}\n")))
                })
                .sum();
            // The frames of parts that are left out are lines, too.
            assert!(
                (missing..missing + 10).contains(&told),
                "{told} for {missing}"
            );
        }
        let cut = document(&parts, 7_000, instead);
        let table = cut.find("row 399").expect("the table before the script");
        assert!(cut.find("more lines left out") < Some(table), "{cut}");
    }

    fn unescaped(html: &str) -> String {
        html.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&amp;", "&")
    }
}
