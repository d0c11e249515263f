//! Test results among the artifacts: what pytest, cargo-nextest, jest and others write as JUnit XML.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Passed,
    /// Badly.
    Failed,
    /// It was not run.
    Skipped,
}

/// A test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTest {
    /// Its name, its class before it.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Seconds it took, as the file says it.
    pub seconds: String,
    /// What it said of its failure.
    pub message: String,
}

/// The tests of a file, in its order; none when it holds no test results, or is broken.
#[must_use]
pub fn tests(xml: &str) -> Option<Vec<FoundTest>> {
    let mut reader = Reader::from_str(xml);
    let mut tests: Vec<FoundTest> = Vec::new();
    let mut is_junit = false;
    let mut open_case = false;
    let mut open_failure = false;
    loop {
        let event = reader.read_event().ok()?;
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(tag) | Event::Empty(tag) => match tag.local_name().as_ref() {
                b"testsuites" | b"testsuite" => is_junit = true,
                b"testcase" if is_junit => {
                    tests.push(case(&tag));
                    open_case = !is_empty;
                }
                name @ (b"failure" | b"error" | b"skipped") if open_case => {
                    let test = tests.last_mut()?;
                    test.verdict = match name {
                        b"skipped" => Verdict::Skipped,
                        _ => Verdict::Failed,
                    };
                    add(&mut test.message, &attribute(&tag, "message"));
                    open_failure = !is_empty;
                }
                _ => {}
            },
            Event::End(tag) => match tag.local_name().as_ref() {
                b"testcase" => open_case = false,
                b"failure" | b"error" | b"skipped" => open_failure = false,
                _ => {}
            },
            Event::Text(text) if open_failure => {
                let text = text.decode().ok()?;
                tests.last_mut()?.message.push_str(&text);
            }
            Event::CData(text) if open_failure => {
                let text = text.decode().ok()?;
                tests.last_mut()?.message.push_str(&text);
            }
            Event::GeneralRef(name) if open_failure => {
                let name = name.decode().ok()?;
                let known =
                    quick_xml::escape::unescape(&format!("&{name};")).map(|text| text.into_owned());
                tests
                    .last_mut()?
                    .message
                    .push_str(&known.unwrap_or_default());
            }
            Event::Eof => break,
            _ => {}
        }
    }
    for test in &mut tests {
        test.message = test.message.trim().to_owned();
    }
    is_junit.then_some(tests)
}

fn case(tag: &BytesStart<'_>) -> FoundTest {
    let class = attribute(tag, "classname");
    let name = attribute(tag, "name");
    FoundTest {
        name: match class.as_str() {
            "" => name,
            class => format!("{class} {name}"),
        },
        verdict: Verdict::Passed,
        seconds: attribute(tag, "time"),
        message: String::new(),
    }
}

fn add(message: &mut String, text: &str) {
    if !text.is_empty() {
        message.push_str(text);
        message.push('\n');
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> String {
    let found = tag
        .attributes()
        .flatten()
        .find(|a| a.key.as_ref() == name.as_bytes());
    let value = found.and_then(|attribute| {
        let text = String::from_utf8_lossy(&attribute.value).into_owned();
        Some(quick_xml::escape::unescape(&text).ok()?.into_owned())
    });
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pytest_writes_is_read() {
        let xml = r#"<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">
<testsuite name="pytest" errors="0" failures="1" skipped="1" tests="3" time="0.03">
<testcase classname="tests.test_a" name="test_good" time="0.001" />
<testcase classname="tests.test_a" name="test_bad[a&lt;b]" time="0.002">
<failure message="assert 1 == 2&#10; &lt;x&gt;">def test_bad():
&gt;       assert 1 &lt; 0
<![CDATA[<raw>]]></failure></testcase>
<testcase name="test_later"><skipped type="pytest.skip" message="no GPU"/><system-out>noise</system-out></testcase>
</testsuite></testsuites>"#;
        let tests = tests(xml).expect("test results");
        let short: Vec<_> = tests.iter().map(|t| (t.name.as_str(), t.verdict)).collect();
        assert_eq!(
            short,
            [
                ("tests.test_a test_good", Verdict::Passed),
                ("tests.test_a test_bad[a<b]", Verdict::Failed),
                ("test_later", Verdict::Skipped),
            ]
        );
        assert_eq!(
            tests[1].message,
            "assert 1 == 2\n <x>\ndef test_bad():\n>       assert 1 < 0\n<raw>"
        );
        assert_eq!(tests[2].message, "no GPU");
        assert_eq!(tests[0].seconds, "0.001");
    }

    #[test]
    fn other_files_hold_none() {
        for xml in [
            "",
            "not XML at all",
            "<coverage><testcase name='x'/></coverage>",
            "<testsuite><testcase name='x'></wrong>",
        ] {
            assert_eq!(tests(xml), None, "{xml}");
        }
        assert_eq!(tests("<testsuite/>"), Some(Vec::new()));
    }
}
