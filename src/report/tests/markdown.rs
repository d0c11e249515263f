//! Plans as Markdown, held against a real parser of GitHub's dialect.

use comrak::{Options, markdown_to_html};

use super::{change, field, plan};
use crate::plan::change::ActivityRun;
use crate::plan::{Action, Cause};
use crate::report::markdown::MOST_BYTES;
use crate::report::plan_markdown::render;
use crate::units::Seconds;

/// As GitHub renders it, before it takes tags away that it does not like.
fn rendered(markdown: &str) -> String {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.extension.autolink = true;
    options.extension.tasklist = true;
    options.extension.alerts = true;
    options.render.r#unsafe = true;
    markdown_to_html(markdown, &options)
}

/// Fails unless a plan's Markdown begins with its marker, fits, and becomes nothing but headings,
/// lists, tables, code and folded parts, each closed.
pub(crate) fn assert_reads_well(markdown: &str) {
    const KNOWN: [&str; 23] = [
        "p",
        "h3",
        "h4",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "pre",
        "strong",
        "b",
        "br",
        "br /",
        "details",
        "summary",
        "div",
        "blockquote",
        "ol",
        "hr",
    ];
    let markers = ["<!-- dewpoint:plan:", "<!-- dewpoint:drift:"];
    let is_marked = markers.iter().any(|marker| markdown.starts_with(marker));
    assert!(is_marked, "{markdown}");
    assert!(markdown.len() <= MOST_BYTES);
    let html = rendered(markdown);
    let mut open: Vec<&str> = Vec::new();
    for piece in html.split('<').skip(1) {
        let tag = piece.split('>').next().expect("a tag");
        if tag.starts_with("!--") {
            continue;
        }
        let (name, closes) = match tag.strip_prefix('/') {
            Some(name) => (name, true),
            None => (tag.split_once(' ').map_or(tag, |(name, _)| name), false),
        };
        assert!(KNOWN.contains(&name), "<{tag}> in\n{markdown}");
        if matches!(name, "br" | "hr") {
            continue;
        }
        if closes {
            assert_eq!(open.pop(), Some(name), "{html}");
        } else {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} in\n{html}");
    // A row that has more cells than its table loses them without a word.
    for table in html.split("<table>").skip(1) {
        let table = table.split("</table>").next().expect("a table");
        assert!(
            table.matches("<tr>").count() > 1,
            "a table without rows: {table}"
        );
    }
}

#[test]
fn a_plan_as_a_comment() {
    let markdown = render(&plan(2), "DigitalOcean", MOST_BYTES);
    assert_reads_well(&markdown);
    insta::assert_snapshot!(markdown);
}

#[test]
fn what_is_hostile_stays_text() {
    let hostile = [
        "</details><script>alert(1)</script>",
        "a | b\n| c | d |\n\n# heading",
        "@octocat closes #12 ![x](http://evil.example/x.png)",
        "``` `code` ~~~\n```\n<img src=x>",
        "--> <!-- \u{202e}nimda",
    ];
    let mut plan = plan(2);
    for text in hostile {
        let mut change = change("volume.data", text, Action::Delete, (Cause::Manifest, text));
        change.fields = vec![
            field(text, Some(text), Some("one line")),
            field("script", Some(text), Some(&format!("{text}\nmore"))),
        ];
        plan.changes.push(change);
        plan.notices.push(text.to_owned());
        plan.activities[0].runs.to_mut().push(ActivityRun {
            name: text.into(),
            command: text.into(),
            timeout: Seconds(60),
            once: false,
            background: Some(text.to_owned()),
        });
    }
    let markdown = render(&plan, "DigitalOcean", MOST_BYTES);
    assert_reads_well(&markdown);
    let html = rendered(&markdown);
    // Nobody is mentioned and nothing linked from code.
    let prose: String = html
        .split("<code")
        .map(|part| part.split_once("</code>").map_or(part, |(_, rest)| rest))
        .collect();
    for bad in ["@octocat", "#12"] {
        assert!(!prose.contains(bad), "{bad} in\n{prose}");
    }
    for bad in ["<script", "<img", "<h1", "href=\"http://evil"] {
        assert!(!html.contains(bad), "{bad} in\n{html}");
    }
    assert_eq!(
        html.matches("<details>").count(),
        html.matches("</details>").count()
    );
}

#[test]
fn what_is_too_long_is_cut_and_nothing_that_goes_is_lost() {
    let mut plan = plan(40);
    for number in 0..200 {
        let name = format!("shop-old-{number}");
        let mut gone = change(
            &format!("volume.old-{number}"),
            &name,
            Action::Delete,
            (Cause::Manifest, "it is no longer in the manifest"),
        );
        gone.fields = vec![field("size", Some("1GiB"), None)];
        plan.changes.push(gone);
        let mut made = change(
            &format!("volume.new-{number}"),
            &format!("shop-new-{number}"),
            Action::Create,
            (Cause::Manifest, "it is new"),
        );
        made.fields = vec![field(
            "script",
            None,
            Some(&"echo one more line\n".repeat(40)),
        )];
        plan.changes.push(made);
    }
    let markdown = render(&plan, "DigitalOcean", MOST_BYTES);
    assert_reads_well(&markdown);
    assert!(markdown.len() > MOST_BYTES / 2);
    let (loud, _) = markdown.split_once("#### Changes").expect("changes");
    for number in 0..200 {
        assert!(
            loud.contains(&format!("shop\\_old-{number}"))
                || loud.contains(&format!("shop-old-{number}"))
        );
    }
    let last = markdown.lines().last().expect("a line");
    assert!(
        last.contains("left out") && last.contains("`dewpoint plan"),
        "{last}"
    );
}
