//! Whatever the bytes: no panic, and no more memory and time than their number warrants.

use proptest::prelude::*;

use super::meaning::FULL;
use super::*;

#[test]
fn billion_laughs_are_refused_before_they_are_told() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            before.trim_end_matches(", ")
        ));
    }
    assert_eq!(codes(&text), ["too_large"]);
    insta::assert_snapshot!(rendered(&text));
}

#[test]
fn many_aliases_of_one_long_list_are_refused() {
    let text = format!(
        "a: &a [{}]\nb: [{}]\n",
        "x, ".repeat(3_000),
        "*a, ".repeat(3_000)
    );
    assert_eq!(codes(&text), ["too_large"]);
}

#[test]
fn many_aliases_of_one_long_text_are_refused() {
    let text = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(100_000),
        "*a, ".repeat(1_000)
    );
    assert_eq!(codes(&text), ["too_large"]);
}

#[test]
fn a_long_variable_named_often_is_refused() {
    let text = format!(
        "{HEAD}variables: {{ a: {{ default: {} }} }}\ndroplets: {{ d: {{ image: x, size: y, env: {{ A: \"{}\" }} }} }}\n",
        "x".repeat(100_000),
        "${var.a}".repeat(1_000)
    );
    assert_eq!(codes(&text), ["too_large"]);
}

#[test]
fn deep_brackets_are_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!("a: {}{}\n", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(codes(&text), ["too_large"]);
    }
    let steps: String = (0..200)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    assert_eq!(codes(&steps), ["too_large"]);
    let dashes = format!("a:\n  {}x\n", "- ".repeat(200));
    assert_eq!(codes(&dashes), ["too_large"]);
}

#[test]
fn a_manifest_of_ten_thousand_droplets_is_read() {
    let droplets: String = (0..10_000)
        .map(|index| format!("  d{index}: {{ image: x, size: \"${{var.s}}\" }}\n"))
        .collect();
    let manifest = loaded(&format!(
        "{HEAD}variables: {{ s: {{ default: y }} }}\ndroplets:\n{droplets}"
    ));
    assert_eq!(manifest.droplets.len(), 10_000);
}

/// One change of a manifest's text.
#[derive(Debug, Clone)]
enum Mutation {
    Cut(usize, usize),
    Repeat(usize, usize),
    Insert(usize, &'static str),
    Swap(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let position = 0..FULL.len();
    let snippets = prop::sample::select(vec![
        "\t",
        "\n",
        "  ",
        "- ",
        ": ",
        "~",
        "null",
        "*x",
        "&x ",
        "<<: ",
        "!t ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "#",
        "|",
        ">",
        "${var.n}",
        "${var.",
        "$${",
        "é",
        "日",
        "\u{feff}",
        "\0",
        "---\n",
        "0x1F",
        "1e3",
        "3.10",
        "-1",
        "99999999999999999999",
        "true",
        "..",
        "/",
        "%",
    ]);
    prop_oneof![
        (position.clone(), 0..80_usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (position.clone(), 0..80_usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        (position.clone(), snippets).prop_map(|(at, text)| Mutation::Insert(at, text)),
        (0..80_usize, 0..80_usize).prop_map(|(a, b)| Mutation::Swap(a, b)),
    ]
}

fn mutate(text: &mut Vec<u8>, mutation: &Mutation) {
    let length = text.len();
    match mutation {
        Mutation::Cut(at, count) => {
            let at = (*at).min(length);
            text.drain(at..(at + count).min(length));
        }
        Mutation::Repeat(at, count) => {
            let at = (*at).min(length);
            let end = (at + count).min(length);
            let piece = text[at..end].to_vec();
            text.splice(end..end, piece);
        }
        Mutation::Insert(at, piece) => {
            let at = (*at).min(length);
            text.splice(at..at, piece.bytes());
        }
        Mutation::Swap(a, b) => {
            let mut lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            let count = lines.len();
            lines.swap(a % count, b % count);
            *text = lines.join(&b'\n');
        }
    }
}

/// Reads it, and renders what is wrong, as a user would see it.
fn survives(bytes: &[u8]) {
    if let Err(errors) = load("dewpoint.yaml", bytes, &Inputs::default()) {
        assert!(!errors.problems().is_empty());
        assert!(errors.problems().len() <= 50);
        render(&errors);
    }
}

proptest! {
    #![proptest_config(crate::tried::tried(256))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        survives(&bytes);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,400}") {
        survives(text.as_bytes());
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(text in "[a-z0-9:{}\\[\\]*&!|>'\"%@,#~$. \\n\\t-]{0,300}") {
        survives(text.as_bytes());
    }

    #[test]
    fn any_change_of_a_manifest_is_read_or_refused(mutations in prop::collection::vec(mutation(), 1..8)) {
        let mut text = FULL.as_bytes().to_vec();
        for mutation in &mutations {
            mutate(&mut text, mutation);
        }
        survives(&text);
    }
}

#[test]
fn twenty_million_droplets_are_refused_before_they_are_named() {
    let droplets: String = (0..2_000)
        .map(|index| format!("  d{index}: {{ image: x, size: y, count: 10000 }}\n"))
        .collect();
    assert_eq!(codes(&format!("{HEAD}droplets:\n{droplets}")), ["too_many"]);
}

#[test]
fn a_very_long_line_is_named_and_not_shown() {
    let text = format!("{HEAD}protect: [\"{}\"]\n", "${var.a} ".repeat(100_000));
    assert!(rendered(&text).len() < 1_000);
}
