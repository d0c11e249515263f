//! Worked examples: a folder each in `tests/cases/diff`, with the manifests `old.yaml` (none is a
//! first manifest) and `new.yaml`, what they copy below `old` and `new`, and what is said of them.
//!
//! A new case is a folder: with `DEWPOINT_WRITE_CASES=1` its expectations are written, to be read.

use camino::{Utf8Path, Utf8PathBuf};
use comrak::{Arena, Options, nodes::NodeValue, parse_document};

use super::{compared, side};
use crate::diff::{Difference, json_schema};
use crate::report::style::Palette;
use crate::report::{diff_markdown, diff_text};

fn cases() -> Vec<Utf8PathBuf> {
    let folder = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/diff");
    let mut cases: Vec<Utf8PathBuf> = folder
        .read_dir_utf8()
        .expect("cases")
        .map(|entry| entry.expect("an entry").into_path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 15, "{} cases", cases.len());
    cases
}

fn difference(case: &Utf8Path) -> Difference {
    let read = |name: &str| {
        let text = std::fs::read_to_string(case.join(format!("{name}.yaml"))).ok()?;
        Some(side(&format!("{name}.yaml"), &text, &case.join(name)))
    };
    let new = read("new").expect("a new manifest");
    compared(read("old").as_ref(), &new)
}

fn text(difference: &Difference) -> String {
    let view = diff_text::View {
        palette: Palette::PLAIN,
        width: 100,
        folds: false,
    };
    diff_text::render(difference, view)
}

/// What a pull request of a fleet shows on a narrow and on a wide screen.
#[test]
fn it_fits_a_narrow_and_a_wide_screen() {
    let case = cases()
        .into_iter()
        .find(|case| case.ends_with("review-fleet"));
    let difference = difference(&case.expect("the case of a fleet"));
    for width in [80, 160] {
        let view = diff_text::View {
            palette: Palette::PLAIN,
            width,
            folds: true,
        };
        let text = diff_text::render(&difference, view);
        assert!(
            text.lines().all(|line| line.chars().count() <= width),
            "{text}"
        );
        insta::assert_snapshot!(format!("a_difference_on_{width}_columns"), text);
    }
}

fn json(difference: &Difference) -> String {
    let mut text = serde_json::to_string_pretty(difference).expect("plain data");
    text.push('\n');
    text
}

#[test]
fn each_case_says_what_is_expected() {
    let writes = std::env::var_os("DEWPOINT_WRITE_CASES").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let difference = difference(&case);
        let command = "dewpoint diff old.yaml new.yaml";
        for (name, said) in [
            ("expected.txt", text(&difference)),
            ("expected.md", diff_markdown::render(&difference, command)),
            ("expected.json", json(&difference)),
        ] {
            let path = case.join(name);
            if writes {
                std::fs::write(&path, &said).expect("written");
            }
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            if said != expected {
                let lines = similar::TextDiff::from_lines(&expected, &said);
                wrong.push(format!("{path}\n{}", lines.unified_diff()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nif that is meant: DEWPOINT_WRITE_CASES=1 cargo test --lib diff::, and read what changed",
        wrong.join("\n")
    );
}

#[test]
fn json_keeps_to_the_schema_and_comes_back() {
    let validator = jsonschema::validator_for(&json_schema()).expect("a schema");
    for case in cases() {
        let difference = difference(&case);
        let value = serde_json::to_value(&difference).expect("plain data");
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{case}: {errors:?}");
        let back: Difference = serde_json::from_value(value).expect("what was written");
        assert_eq!(back, difference, "{case}");
    }
}

/// Whatever a manifest holds, the comment has its own structure and no other.
#[test]
fn markdown_renders_as_it_is_meant() {
    for case in cases() {
        let difference = difference(&case);
        let markdown = diff_markdown::render(&difference, "dewpoint diff old.yaml new.yaml");
        let marker = format!(
            "<!-- dewpoint:diff:{}:{} -->\n",
            difference.new.project, difference.new.environment
        );
        assert!(markdown.starts_with(&marker), "{case}");
        check_structure(&markdown, case.as_str());
    }
}

pub(super) fn check_structure(markdown: &str, what: &str) {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.extension.autolink = true;
    options.extension.tasklist = true;
    let arena = Arena::new();
    let root = parse_document(&arena, markdown, &options);
    let (mut opened, mut closed) = (0, 0);
    for node in root.descendants() {
        match &node.data.borrow().value {
            NodeValue::HtmlBlock(block) => {
                for line in block.literal.lines() {
                    match line {
                        "<details>" => opened += 1,
                        "</details>" => closed += 1,
                        "" => {}
                        line => assert!(
                            (line.starts_with("<summary><code>")
                                && line.ends_with("</code> in detail</summary>")
                                && line.matches('<').count() == 4)
                                || line.starts_with("<!-- dewpoint:"),
                            "{what}: `{line}`"
                        ),
                    }
                }
            }
            NodeValue::HtmlInline(tag) => assert!(
                ["<br>", "<!-- -->", "<code>", "</code>"].contains(&tag.as_str()),
                "{what}: `{tag}`"
            ),
            NodeValue::Table(table) => {
                for row in node.children() {
                    assert_eq!(row.children().count(), table.num_columns, "{what}");
                }
            }
            NodeValue::Link(link) => panic!("{what}: a link to {}", link.url),
            NodeValue::Image(image) => panic!("{what}: an image {}", image.url),
            NodeValue::Heading(heading) => assert_eq!(heading.level, 3, "{what}"),
            _ => {}
        }
    }
    assert_eq!(opened, closed, "{what}");
    assert_eq!(
        opened,
        markdown.lines().filter(|line| *line == "<details>").count(),
        "{what}"
    );
}

/// Nobody needs to unfold or run anything to see what is lost, what it costs and why.
#[test]
fn the_open_part_of_the_markdown_says_what_matters() {
    for case in cases() {
        let difference = difference(&case);
        if difference.is_empty() {
            continue;
        }
        let markdown = diff_markdown::render(&difference, "dewpoint diff old.yaml new.yaml");
        let open = markdown.split("<details>").next().expect("a beginning");
        // A bar would end a cell of a table, a bracket begin a link.
        let open = open
            .replace("&#124;", "|")
            .replace("\\[", "[")
            .replace("\\]", "]");
        for effect in difference
            .resources
            .iter()
            .flat_map(|change| &change.effects)
        {
            let title = crate::report::diff_words_title(effect);
            assert!(open.contains(&title), "{case}: {title} is not told");
        }
        for risk in &difference.data_at_risk {
            assert!(
                open.contains(&format!("`{}`", risk.address)),
                "{case}: {risk:?}"
            );
        }
        assert!(open.contains("| volumes that stay |"), "{case}");
    }
}

#[test]
fn the_checked_in_schema_is_current() {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/diff.schema.json");
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let mut current = serde_json::to_string_pretty(&json_schema()).expect("plain data");
    current.push('\n');
    assert!(
        checked_in == current,
        "run: dewpoint schema diff > schemas/diff.schema.json"
    );
}
